"""Chapter 14: figures that stand beside the papers' pictures, and rules of verdicts."""

from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from torch import Tensor

from envae.companion import plots
from envae.companion.claims import Finding
from envae.evaluation import seeded
from envae.experiments.measures.pictures import contours, contrast, correlation, sharpness
from envae.metrics import spectrum
from envae.vae import Posterior

_STYLES = ("-", "--", ":")  # of the lines of rows that have one colour
Spectrum = tuple[Tensor, Tensor]  # frequencies and decibels, as `spectrum.decibels` gives them


def residuals(of_means: Mapping[str, Tensor], of_draws: Mapping[str, Tensor]) -> Figure:
    """Histograms of residuals, a line for each row: `fig-residuals`.

    Parameters
    ----------
    of_means, of_draws
        For each row x - g(z) at every pixel, in data units and of any shape: of reconstructions
        from posterior means, and from draws.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    bins = np.linspace(-1.2, 1.2, 49)
    for axis, of_rows in zip(axes, (of_means, of_draws), strict=True):
        for row, values in of_rows.items():
            density, _ = np.histogram(values.numpy(), bins, density=True)
            axis.stairs(density, bins, label=row, linewidth=2, color=plots.colour_of(row))
    axes[0].set(yscale="log", xlabel="residual, posterior means", ylabel="density")
    axes[1].set(xlabel="residual, draws")
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=4)
    return figure


def sharpness_of_kept(kept: Mapping[str, Mapping[str, Tensor]]) -> pd.DataFrame:
    """Sharpness of kept pictures over that of the test images, and how far the spectra are apart.

    Parameters
    ----------
    kept
        For each row what `kept_pictures.load` gives, with draws, of one data set.

    Returns
    -------
    DataFrame
        A line for each row: for each kind of picture, 1 where they are as sharp as test images; and
        the distance of the spectrum of samples from the prior to theirs, in decibels.
    """
    kinds = {"means": "means", "draws": "draws", "prior": "prior", "gmm10": "mixture"}
    return pd.DataFrame(
        {
            row: {
                **{
                    f"sharpness, {told}": sharpness(pictures[kind]) / sharpness(pictures["test"])
                    for kind, told in kinds.items()
                },
                "spectra apart, prior (dB)": spectrum.decibels_apart(
                    pictures["prior"], pictures["test"]
                ),
            }
            for row, pictures in kept.items()
        }
    ).T


def standard_error(kept: Iterable[Mapping[str, Tensor]]) -> float:
    """Largest standard error, over rows, of the sharpness of samples from the prior.

    Over the sharpness of the test images, as :func:`sharpness_of_kept` has it.

    Parameters
    ----------
    kept
        Of each row, as :func:`sharpness_of_kept` takes it; two samples or more.
    """
    errors = []
    for pictures in kept:
        of_each = torch.tensor([sharpness(image) for image in pictures["prior"]])
        errors.append(of_each.std() / len(of_each) ** 0.5 / sharpness(pictures["test"]))
    return float(max(errors))


def maps_of_kept(kept: Mapping[str, Mapping[str, Tensor]]) -> pd.DataFrame:
    """How clearly the kept maps of uncertainty follow the contours of their images.

    `kept` as :func:`sharpness_of_kept` takes it.

    Returns
    -------
    DataFrame
        A line for each row: `contours` and `contrast`, as `measures.pictures.measure` has them.
    """
    return pd.DataFrame(
        {
            row: {
                "contours": correlation(pictures["spread"], contours(pictures["test"])),
                "contrast": contrast(pictures["spread"]),
            }
            for row, pictures in kept.items()
        }
    ).T


def spectra_of_kept(kept: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """The spectra of kept pictures: draws of posteriors, and samples from the prior.

    `kept` as :func:`sharpness_of_kept` takes it.
    """
    return spectra(
        {
            row: [
                (
                    spectrum.decibels(pictures["draws"].flatten(0, 1), pictures["test"]),
                    spectrum.decibels(pictures["prior"], pictures["test"]),
                )
            ]
            for row, pictures in kept.items()
        }
    )


def spectra(of_rows: Mapping[str, Sequence[tuple[Spectrum, Spectrum]]]) -> Figure:
    """Power over that of real images, a line for each seed: `fig-spectra`.

    Parameters
    ----------
    of_rows
        For each row and seed the spectra of reconstructions from draws and of samples.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    colours = [plots.colour_of(row) for row in of_rows]
    for number, (row, of_seeds) in enumerate(of_rows.items()):
        color = colours[number]
        style = _STYLES[colours[:number].count(color)]
        for seed, pair in enumerate(of_seeds):
            label = None if seed else row
            for axis, (frequencies, ratio) in zip(axes, pair, strict=True):
                axis.plot(
                    frequencies[1:],
                    ratio[1:],
                    style,
                    linewidth=1.5,
                    color=color,
                    label=label,
                )
    for axis, title in zip(axes, ("reconstructions, draws", "samples"), strict=True):
        axis.axhline(0, color="black", linewidth=1, linestyle=":")
        axis.set(title=title, xlabel="cycles per pixel")
    axes[0].set_ylabel("power over real images (dB)")
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=4)
    return figure


def one_posterior(planes: Mapping[str, tuple[Sequence[int], Posterior]]) -> Figure:
    """Codes of one image among those of all, and the prior, in the plane: `fig-posterior`.

    Parameters
    ----------
    planes
        For each row which two coordinates are shown, counted from 0, and the posteriors of images
        in these; mean and stddev are `(N, 2)`, the one image is the first.
    """
    figure, [axes] = plt.subplots(
        1, len(planes), figsize=(9.5, 3.8),
        sharex=True, sharey=True, layout="constrained", squeeze=False,
    )  # fmt: skip
    with seeded(0):
        for axis, (row, (coordinates, plane)) in zip(axes, planes.items(), strict=True):
            axis.scatter(*plane.sample().T, s=7, color="0.7", label="all images")
            of_one = plane.sample((300,))[:, 0]
            axis.scatter(*of_one.T, s=7, color="C1", alpha=0.6, label="one image")
            for radius in (1, 2):
                axis.add_patch(
                    Circle((0, 0), radius, fill=False, color="C0", linestyle="--", zorder=3)
                )
            first, second = (f"coordinate {number + 1}" for number in coordinates)
            axis.set(title=row, xlabel=first, ylabel=second, aspect="equal")
    handles, labels = axes[0].get_legend_handles_labels()
    handles.append(Line2D([], [], color="C0", linestyle="--"))
    labels.append("prior, 1 and 2 standard deviations")
    figure.legend(handles, labels, loc="outside upper center", ncols=3, markerscale=2)
    return figure


def classes_of_codes(
    embedded: Mapping[str, tuple[np.ndarray, np.ndarray]], labels: Tensor
) -> Figure:
    """Codes in the plane, coloured by class, and the prior in pink: `fig-codes`.

    Parameters
    ----------
    embedded
        For each of eight rows codes of images and draws of the prior, `(N, 2)` each.
    labels
        Classes of the images, `(N,)`.
    """
    figure, axes = plt.subplots(2, 4, figsize=(11, 5.8), layout="constrained")
    for axis, (row, (codes, prior)) in zip(axes.flat, embedded.items(), strict=True):
        axis.scatter(*prior.T, s=6, color="pink")
        points = axis.scatter(*codes.T, s=6, c=labels, cmap="tab10")
        axis.set(title=row, xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    handles, names = points.legend_elements()
    handles.append(Line2D([], [], marker="o", linestyle="", color="pink"))
    figure.legend(handles, [*names, "prior"], loc="outside right center")
    return figure


# --- what the runs on one data set say of the claims -------------------------------------------

_KINDS = ("means", "draws", "samples")
_FOLLOWS = 0.5  # correlation of a map with contours that it follows
_SAID = {True: "yes", False: "no"}


def always(metrics: pd.DataFrame, metric: str, above: str, below: str) -> bool:
    """Whether a metric of one row is larger than another's, every seed against every seed.

    Parameters
    ----------
    metrics
        Of `measures.pictures.measure`, indexed by row and seed.
    """
    return bool(metrics.loc[above, metric].min() > metrics.loc[below, metric].max())


def of_sharpness(metrics: pd.DataFrame, judged: str) -> Finding:
    """Whether a row's images are sharper than L2's, and FEnVAE's means decode to images.

    `metrics` as :func:`always` takes them, of rows VAE, L2, FEnVAE and the judged one.
    """
    sharper = all(always(metrics, f"sharpness_{kind}", judged, "L2") for kind in _KINDS)
    images = always(metrics, "residual_high_means", "VAE", "FEnVAE")
    return Finding(
        sharper and images,
        sharper,
        f"{judged} sharper than L2, reconstructions and samples, on every seed: {_SAID[sharper]}; "
        f"FEnVAE's means, from scratch, decode to images: {_SAID[images]}",
    )


def of_spectra(metrics: pd.DataFrame, judged: str) -> Finding:
    """Whether EnVAE's and FEnVAE's images have more at high frequencies, nearer to real ones.

    Parameters as for :func:`of_sharpness`.
    """

    def nearer(row: str, other: str) -> bool:
        return all(
            always(metrics, f"high_{kind}", row, other)
            and always(metrics, f"decibels_{kind}", other, row)
            for kind in _KINDS
        )

    energy, fast = all(nearer(judged, other) for other in ("VAE", "L2")), nearer("FEnVAE", "L2")
    return Finding(
        energy and fast,
        energy,
        f"{judged} has more at high frequencies and is nearer to real images than L2, on every "
        f"seed: {_SAID[energy]}; FEnVAE, from scratch: {_SAID[fast]}",
    )


def of_maps(metrics: pd.DataFrame, judged: str) -> Finding:
    """Whether maps of uncertainty follow contours, more clearly than L2's, and go with errors.

    Parameters as for :func:`of_sharpness`.
    """

    def clearer(row: str, other: str) -> bool:
        return all(always(metrics, f"map_{name}", row, other) for name in ("contours", "contrast"))

    follows = bool(metrics.loc[judged, "map_contours"].min() > _FOLLOWS)
    finds = all(always(metrics, "map_error", judged, other) for other in ("VAE", "L2"))
    than_l2, fast = clearer(judged, "L2"), clearer("FEnVAE", "L2")
    return Finding(
        follows and than_l2 and fast,
        follows and finds,
        f"maps of {judged} follow contours: {_SAID[follows]}, more clearly than L2's at its best "
        f"weight: {_SAID[than_l2]}, than those of the VAE with variance 1: "
        f"{_SAID[clearer(judged, 'VAE')]}; they go more with the error than both: {_SAID[finds]}; "
        f"FEnVAE's, from scratch, clearer than L2's: {_SAID[fast]}",
    )
