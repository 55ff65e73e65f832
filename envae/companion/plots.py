"""One style for every figure."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pandas import Series
from torch import Tensor

from envae._unknown import extra, unknown

with extra("book"):
    import matplotlib.pyplot as plt
    import seaborn as sns
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import LogLocator, NullLocator

# Opaque, since a transparent figure is unreadable on a dark page.
_STYLE = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 200,  # twice what a page has room for
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "legend.frameon": False,
    "lines.linewidth": 2,
}


# One colour a method through the book: EnVAE is blue, darker with more draws, FEnVAE red, and a
# squared error grey. A method's variants, such as "Iso-I, mle", have its colour.
_COLOURS = {
    "L2": "#6b6b6b",
    "L1": "#ca9161",
    "VAE": "#a9a9a9",
    "EnVAE": "#0a2f5c",
    "EnVAE, M = 4": "#0173b2",
    "EnVAE, 4 mirrored": "#0173b2",
    "EnVAE, M = 3": "#56b4e9",
    "EnVAE, M = 2": "#56b4e9",
    "EnVAE, small weight": "#56b4e9",
    "antithetic pair": "#6fbf73",
    "FEnVAE": "#d55e00",
    "FEnVAE, ramp": "#de8f05",
    "Iso-I": "#029e73",
    "Diag-I": "#6fbf73",
    "Iso-D": "#cc78bc",
    "Diag-D": "#7b3294",
    "AE": "#8c564b",
    "RAE": "#8c6d31",
    "RAE-GP": "#c9a66b",
    "WAE-MMD": "#b8a100",
    "CE": "#e377c2",
    "SSIM": "#17a2a2",
    "FFL": "#bcbd22",
    "InfoVAE": "#7f5f00",
    "Student-t": "#5254a3",
    "DistVAE": "#9edae5",
    "MoL": "#ff9896",
}


def colour_of(row: str) -> str:
    """Colour of a method of the papers, the same in every figure.

    Raises
    ------
    ValueError
        If it has none.
    """
    name = row
    while name not in _COLOURS:
        name, comma, _ = name.rpartition(", ")
        if not comma:
            raise ValueError(unknown("method", row, _COLOURS))
    return _COLOURS[name]


def use_style() -> None:
    """Make the book's style the default of this process."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind", rc=_STYLE)


def image_rows(rows: dict[str, Tensor], *, columns: int = 10) -> Figure:
    """Images in labelled rows.

    Parameters
    ----------
    rows
        For each label, images `(N, C, H, W)` in [0, 1] with C = 1 or 3.
    columns
        Images shown of each row, the first ones.
    """
    return image_table({label: {"": images} for label, images in rows.items()}, columns=columns)


def image_table(
    cells: dict[str, dict[str, Tensor]], *, columns: int = 5, side: float = 0.72
) -> Figure:
    """Images in labelled rows, and in titled groups side by side.

    Parameters
    ----------
    cells
        For each row's label and each group's title, images as :func:`image_rows` takes them. A row
        that lacks a group leaves its place empty; the first row has all of them.
    columns
        Images shown of each group, the first ones.
    side
        Of an image, in inches of as many more dots: a wide table that a page makes smaller has
        labels that can still be read with less.
    """
    titles = list(next(iter(cells.values())))
    lines = [line for label in cells for line in label.split("\n")]
    labels = 0.3 + 0.08 * max(map(len, lines))  # inches: about what a letter takes
    figure, axes = plt.subplots(
        len(cells),
        len(titles),
        squeeze=False,
        figsize=(side * columns * len(titles) + labels, (side + 0.02) * len(cells) + 0.1),
        dpi=plt.rcParams["figure.dpi"] * 0.72 / side,
        # Of images, whose shape is fixed: a tight layout lets the groups overlap.
        layout=ConstrainedLayoutEngine(compress=True, w_pad=0.07, h_pad=0.03, hspace=0, wspace=0),
    )
    for row, (label, groups) in zip(axes, cells.items(), strict=True):
        for axis, title in zip(row, titles, strict=True):
            _bare(axis)
            if title in groups:
                strip = _strip(groups[title][:columns].clamp(0, 1))
                axis.imshow(strip, cmap="gray", vmin=0, vmax=1)
        row[0].set_ylabel(label, rotation=0, ha="right", va="center")
    for column, title in zip(axes.T, titles, strict=True):
        column[0].set_title(title)
        # Fewer images than in another row stand below its first ones.
        shown = [axis for axis in column if axis.images]
        plt.setp(shown, xlim=(None, max(axis.get_xlim()[1] for axis in shown)))
    return figure


def kept_table(
    kept: Mapping[str, Mapping[str, Tensor]], *, columns: int = 5, side: float = 0.5
) -> Figure:
    """Pictures that were kept of some rows: decoded means, decoded draws, samples from the prior.

    Above them test images: those that are reconstructed, and others over the samples. A row that
    draws no codes leaves their place empty.

    Parameters
    ----------
    kept
        For each row's label what `kept_pictures.load` gives, of one data set.
    columns, side
        As :func:`image_table` takes them.
    """
    originals = next(iter(kept.values()))["test"]
    cells = {
        "test images": {
            "means": originals, "draws": originals, "samples": originals[-columns:]
        }
    }  # fmt: skip
    for label, pictures in kept.items():
        cells[label] = {"means": pictures["means"], "samples": pictures["prior"]}
        if "draws" in pictures:
            cells[label]["draws"] = pictures["draws"][0]
    return image_table(cells, columns=columns, side=side)


def heat_rows(images: Tensor, maps: dict[str, Tensor], *, label: str, columns: int = 10) -> Figure:
    """Images, and under them maps of the same images with one scale of colours for all.

    Parameters
    ----------
    images
        `(N, C, H, W)` in [0, 1] with C = 1 or 3.
    maps
        For each label, one map per image: `(N, 1, H, W)`, from 0 up.
    label
        What the colours mean.
    columns
        Images shown, the first ones.
    """
    figure, axes = plt.subplots(
        len(maps) + 1,
        1,
        figsize=(0.72 * columns + 2, 0.74 * (len(maps) + 1) + 0.1),
        layout="constrained",
    )
    highest = max(map_[:columns].max().item() for map_ in maps.values())
    strip = _strip(images[:columns].clamp(0, 1))
    axes[0].imshow(strip, cmap="gray", vmin=0, vmax=1)
    for axis, map_ in zip(axes[1:], maps.values(), strict=True):
        drawn = axis.imshow(
            _strip(map_[:columns], gap=np.nan), cmap="viridis", vmin=0, vmax=highest
        )
    for axis, name in zip(axes, ["image", *maps], strict=True):
        _bare(axis)
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
    # Beside all rows, so that they stay in line, and as high as the maps.
    share = len(maps) / len(axes)
    figure.colorbar(drawn, ax=axes, label=label, pad=0.02, shrink=share, anchor=(0, 0))
    return figure


def _bare(axis: Axes) -> None:
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def _strip(images: Tensor, *, gap: float = 0.85) -> np.ndarray:
    """Images side by side with a gap of this value, `(H, W')` or `(H, W', 3)`."""
    images = images.detach().cpu()
    between = images.new_full((*images.shape[1:3], 1), gap)
    tiles = [part for image in images for part in (image, between)][:-1]
    strip = np.concatenate([tile.numpy() for tile in tiles], axis=2)  # (C, H, W')
    return strip.transpose(1, 2, 0) if strip.shape[0] == 3 else strip[0]


def label_ticks(axis: Axis, values: Iterable[float]) -> None:
    """Ticks of a logarithmic axis at these values alone, in plain numbers."""
    values = list(values)
    axis.set_ticks(values, [f"{value:g}" for value in values])
    axis.set_ticks([], minor=True)


def plain_ticks(axis: Axis) -> None:
    """Ticks of a logarithmic axis where its range has round numbers, written in full."""
    axis.set_major_locator(_Round())
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


_MULTIPLES = ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))  # of powers of ten
_MOST = 7


class _Round(LogLocator):
    """As many round numbers as there are, but `_MOST` at most."""

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        low, high = sorted((vmin, vmax))
        for multiples in _MULTIPLES:
            self.set_params(subs=multiples)
            ticks = super().tick_values(vmin, vmax)
            if sum(low <= tick <= high for tick in ticks) <= _MOST:
                break
        return ticks


def in_published_order(axis: Axes, theirs: Series, ours: dict[str, list[float]]) -> None:
    """Our values of a table's rows as points, the rows in the order the paper prints.

    Parameters
    ----------
    axis
        Where to draw; the values' axis is logarithmic.
    theirs
        Published values by row, the smallest at the top; they stand in brackets at the labels.
    ours
        Values of each row, one per seed. Rows without any are labelled and empty.
    """
    order = theirs.dropna().sort_values(ascending=False)
    for height, row in enumerate(order.index):
        axis.plot(ours.get(row, []), [height] * len(ours.get(row, [])), "o", color="C0", alpha=0.7)
    labels = [f"{row}  ({value:.1f})" for row, value in order.items()]
    axis.set(
        xscale="log", yticks=range(len(order)), yticklabels=labels, ylim=(-0.6, len(order) - 0.4)
    )
    plain_ticks(axis.xaxis)
    axis.grid(axis="x", alpha=0.4)
