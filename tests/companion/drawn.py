"""What a figure shows, in numbers and names, and whether it is what it was when somebody looked.

Positions, colours, limits, ticks set by hand, legends and names; not what `plant_faults.SHOWN`
calls looks: sizes, widths, opacity.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

FOLDER = Path(__file__).parent / "drawn"
_FEW = 16  # numbers that are kept as they are; of more, what says that they are the same


def numbers(values: Any) -> list[float]:
    flat = np.ma.filled(np.ma.asarray(values, dtype=float), np.nan).ravel()
    if len(flat) > _FEW:
        weighted = flat * np.cos(np.arange(len(flat)))  # another order has another sum
        flat = np.array([len(flat), np.nanmin(flat), np.nanmax(flat), np.nansum(weighted)])
    return [float(f"{value:.6g}") for value in flat]


def colours(values: Any) -> list[str]:
    given = [to_hex(colour) for colour in to_rgba_array(values)]
    return sorted(set(given)) if len(given) > _FEW else given


def ticks(axis: Axis) -> dict[str, Any]:
    if not isinstance(axis.get_major_locator(), FixedLocator | NullLocator):
        return {}  # matplotlib's own choice, another one in other versions
    labels = [label.get_text() for label in axis.get_ticklabels()]
    minor = isinstance(axis.get_minor_locator(), NullLocator)
    return {"ticks": numbers(axis.get_ticklocs()), "labels": labels, "no minor ticks": minor}


def in_panel(panel: Axes) -> Iterator[dict[str, Any]]:
    """Every line, area, point, image and text of a panel, in the order in which it was drawn."""
    for line in panel.lines:
        yield {
            "line": [numbers(line.get_xdata()), numbers(line.get_ydata())],
            "across": line.get_transform() != panel.transData,
            "colour": colours(line.get_color()),
            "style": [line.get_linestyle(), str(line.get_marker()), line.get_drawstyle()],
        }
    for drawn in panel.collections:
        values = drawn.get_array()
        yield {
            "at": numbers(drawn.get_offsets()),
            "paths": [numbers(path.vertices) for path in drawn.get_paths()[:_FEW]],
            "colours": [colours(drawn.get_facecolor()), colours(drawn.get_edgecolor())],
            "values": None if values is None else [numbers(values), drawn.get_cmap().name],
        }
    for patch in panel.patches:
        yield {
            "patch": numbers(patch.get_path().transformed(patch.get_patch_transform()).vertices),
            "colours": [colours(patch.get_facecolor()), colours(patch.get_edgecolor())],
            "hatch": patch.get_hatch(),
        }
    for image in panel.images:
        yield {
            "image": [list(image.get_array().shape), numbers(image.get_array())],
            "range": [numbers(image.get_clim()), image.get_cmap().name],
            "extent": numbers(image.get_extent()),
            "smooth": image.get_interpolation(),
        }
    for text in panel.texts:
        yield {"text": text.get_text(), "at": numbers(text.get_position())}


def of_panel(panel: Axes) -> dict[str, Any]:
    shared = panel.get_shared_x_axes(), panel.get_shared_y_axes()
    legend = panel.get_legend()
    sides = {}
    for name, axis in (("x", panel.xaxis), ("y", panel.yaxis)):
        sides[name] = {
            "name": axis.get_label_text(),
            "scale": axis.get_scale(),
            "limits": numbers(axis.get_view_interval()),
            "visible": axis.get_visible(),
            "grid": any(line.get_visible() for line in axis.get_gridlines()),
            **ticks(axis),
        }
    return {
        "title": [panel.get_title(place) for place in ("left", "center", "right")],
        "aspect": str(panel.get_aspect()),
        "frame": panel.axison,
        "shares": [[panel.figure.axes.index(one) for one in group.get_siblings(panel)
                    if one in panel.figure.axes] for group in shared],  # fmt: skip
        **sides,
        "legend": legend and [text.get_text() for text in legend.get_texts()],
        "drawn": list(in_panel(panel)),
    }


def of_figure(figure: Figure) -> list[dict[str, Any]]:
    named = figure.get_suptitle(), figure.get_supxlabel(), figure.get_supylabel()
    legends = [[text.get_text() for text in box.get_texts()] for box in figure.legends]
    texts = [text.get_text() for text in figure.texts]
    whole = {"names": list(named), "legends": legends, "texts": texts}
    return [whole, *(of_panel(panel) for panel in figure.axes)]


def differences(now: Any, before: Any, at: str = "") -> Iterator[str]:
    """Where two descriptions differ; numbers up to what processors do differently."""
    if isinstance(now, dict) and isinstance(before, dict) and now.keys() == before.keys():
        for key in now:
            yield from differences(now[key], before[key], f"{at}.{key}")
    elif isinstance(now, list) and isinstance(before, list) and len(now) == len(before):
        for place, (one, other) in enumerate(zip(now, before, strict=True)):
            yield from differences(one, other, f"{at}[{place}]")
    elif isinstance(now, float) and isinstance(before, float | int):
        if not np.isclose(now, before, rtol=1e-4, atol=1e-5, equal_nan=True):
            yield f"{at}: {now} for {before}"
    elif now != before:
        yield f"{at}: {now!r} for {before!r}"


def check(name: str, figures: list[Figure]) -> None:
    """That a test's figures are what its file in `drawn/` says.

    Where there is no file, it is written, and the test fails once: look at the figure, and commit
    the file. A figure that is meant to be another: remove its file.
    """
    file = FOLDER / f"{re.sub(r'[^a-z0-9]+', '_', name.lower()).strip('_')}.json"
    now = [each for figure in figures for each in of_figure(figure)]
    if not file.exists():
        FOLDER.mkdir(exist_ok=True)
        lines = [json.dumps(each, ensure_ascii=False) for each in now]
        file.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
        raise AssertionError(f"{file} was written: look at the figure, and commit it")
    before = json.loads(file.read_text(encoding="utf-8"))
    assert list(differences(now, before)) == [], f"another figure; if that is meant, remove {file}"
