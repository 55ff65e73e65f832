"""Arithmetic on the papers' printed numbers: what follows from a table, and what it rounds to."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from envae.experiments.published import half_unit, printed, wide


def agrees(text: str, value: float) -> bool:
    """Whether a computed value rounds to the printed one (a tie may round either way)."""
    return abs(float(text) - value) <= half_unit(text) * (1 + 1e-9)


def relative_improvement(value: ArrayLike, reference: ArrayLike) -> np.ndarray:
    """How far `value` lies below `reference`, in percent of `reference`: positive is better."""
    value, reference = np.asarray(value, float), np.asarray(reference, float)
    return 100 * (reference - value) / reference


def within(
    value: ArrayLike, target: ArrayLike, tolerance: float, *, slack: ArrayLike = 0.0
) -> np.ndarray:
    """Whether values lie within a relative tolerance of their targets.

    Parameters
    ----------
    value, target
        Arrays of the same shape.
    tolerance
        Largest relative deviation from the target that counts: 0.05 for 5 %.
    slack
        Absolute deviation forgiven on top, such as `half_unit` of a printed value: then the answer
        is whether *any* number that rounds to the printed one lies within the tolerance.
    """
    value, target = np.asarray(value, float), np.asarray(target, float)
    return np.abs(value - target) <= tolerance * np.abs(target) + np.asarray(slack) + 1e-12


def rising(values: Sequence[float], *, forgive: float = 0.0) -> bool:
    """Whether no value is smaller than the one before it, by more than `forgive`."""
    return bool((np.diff(np.asarray(values, float)) >= -forgive).all())


def reversals(values: Sequence[float]) -> list[int]:
    """Positions at which a sequence that should fall is larger than just before."""
    return (np.flatnonzero(np.diff(np.asarray(values, float)) > 0) + 1).tolist()


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation."""
    return float(stats.spearmanr(x, y).statistic)


def concordant_pairs(x: ArrayLike, y: ArrayLike, group: ArrayLike) -> tuple[int, int]:
    """Pairs within a group that `x` and `y` put in the same order, and all such pairs."""
    x, y, group = np.asarray(x, float), np.asarray(y, float), np.asarray(group)
    first, second = np.triu_indices(len(x), 1)
    same = group[first] == group[second]
    first, second = first[same], second[same]
    return int(((x[first] - x[second]) * (y[first] - y[second]) > 0).sum()), len(first)


def line_r2(x: ArrayLike, y: ArrayLike) -> float:
    """Share of the variance of `y` that a straight line in `x` explains."""
    return float(stats.linregress(x, y).rvalue ** 2)


def kl_of_variance(variance: ArrayLike, latent_dim: int) -> np.ndarray:
    """KL divergence of N(0, s I) from N(0, I) in nats: `latent_dim / 2 (s - ln s - 1)`.

    The KL term of Sec. 3.1 of takida2022 at a posterior mean of 0, with the natural logarithm.
    """
    variance = np.asarray(variance, float)
    return latent_dim / 2 * (variance - np.log(variance) - 1)


def squared_mean(kl: ArrayLike, variance: ArrayLike, latent_dim: int) -> np.ndarray:
    """Expected squared norm of the posterior mean, from the KL divergence and the variance."""
    return 2 * (np.asarray(kl, float) - kl_of_variance(variance, latent_dim))


def latent_dim_from_kl(kl: float, variance: float) -> float:
    """Latent dimension at which N(0, s I) has this KL divergence from N(0, I)."""
    return kl / float(kl_of_variance(variance, 1))


def gradient_from_gap(gap: ArrayLike, perturbation: float) -> np.ndarray:
    """Expected squared Frobenius norm of the decoder's gradient: `gap / (2 s²)`.

    Eq. C.8 of takida2022; exact for an affine decoder, the limit of a small perturbation else.
    """
    return np.asarray(gap, float) / (2 * perturbation)


def gaussian_constant(dimension: int) -> float:
    """`dimension / 2 ln(2 pi)`: what a unit-variance Gaussian adds to half the squared error."""
    return dimension / 2 * math.log(2 * math.pi)


def plug_in_mass(smallest: float, largest: float) -> float:
    """Integral of the density N(r; 0, r²) over residuals with smallest < abs(r) < largest.

    The variance of Iso-D and Diag-D (takida2022, Sec. 5) is estimated from the residual that it
    then scores; in one dimension with one draw it is `r²`. A density would integrate to at most 1.
    """
    return 2 * math.log(largest / smallest) / math.sqrt(2 * math.pi * math.e)


def spread_term(samples: ArrayLike, *, start: Callable[[int], int]) -> float:
    """Second term of Eq. 3 of xu2025 at beta = 1 for samples `(M,)`.

    Parameters
    ----------
    samples
        Real numbers, at least two.
    start
        For each j (counted from 0), the first i of the inner sum over i: `lambda j: 0` is the
        estimator of Eq. 5, `lambda j: j` the limit that Eq. 3 prints.
    """
    x = np.asarray(samples, float)
    total = sum(abs(x[i] - x[j]) for j in range(len(x)) for i in range(start(j), len(x)))
    return float(total / (2 * len(x) * (len(x) - 1)))


# --- Tables beside what follows from them ---------------------------------------------------------


def fenvae_gaps(number: int) -> pd.DataFrame:
    """Published and recomputed gap between EnVAE's and FEnVAE's FID, Tables 3, 4 and 7 of xu2025.

    Returns
    -------
    DataFrame
        Indexed by `(dataset, row)`: the table's metrics; `published`, its improvement in percent as
        printed; `computed`, that of the printed FIDs; `agrees`, whether the one rounds to the
        other.
    """
    table = printed(f"xu2025_table{number}").set_index(["dataset", "row", "metric"])
    order = table.index.droplevel("metric").unique()
    value, text = (table[kind].unstack().loc[order] for kind in ("value", "text"))
    found = relative_improvement(value["F_FID_gen"], value["E_FID_gen"])
    same = [agrees(t, v) for t, v in zip(text["Impr"], found, strict=True)]
    return value.assign(published=text["Impr"], computed=found, agrees=same)


def smoothness_criteria(name: str, latent_dim: int) -> pd.DataFrame:
    """Table 1 or E.8 of takida2022 on MNIST with what follows from its columns.

    Parameters
    ----------
    name
        `"takida2022_table1"` or `"takida2022_tableE8"`.
    latent_dim
        d_z of the models.

    Returns
    -------
    DataFrame
        Rows with stochastic encoding, indexed by `log10`, the exponent of their variance. Beside
        the table's metrics: `sigma_z2`, which is that variance in Table E.8; `els_ratio`, the gap
        over 2 s^2 (Eq. C.8) in units of the column ELS; `mu2`, the expected squared norm of the
        posterior mean.
    """
    table = wide(name, "MNIST")
    table = table[~table.index.str.startswith("det")]
    exponent = table.index.str.split("=").str[1].astype(float)
    table = table.assign(log10=exponent.to_numpy())
    if "sigma_z2" not in table:
        table["sigma_z2"] = 10 ** table["log10"]
    table["els_ratio"] = gradient_from_gap(table["gap_1e3"], 1e-3) / table["ELS"]
    table["mu2"] = squared_mean(table["KL"], table["sigma_z2"], latent_dim)
    return table.set_index("log10")


def above_bounds(
    criteria: pd.DataFrame, *, train_images: int, batch_images: int, spare: float
) -> dict[str, int]:
    """In how many rows the column MI is above each of its bounds.

    Parameters
    ----------
    criteria
        As :func:`smoothness_criteria` gives it.
    train_images
        N: a code tells at most ln N nats about which image it belongs to.
    batch_images
        Images whose mean Eq. D.1 takes: it is at most the logarithm of their number.
    spare
        Nats forgiven above Jensen's bound of Eq. D.1, the expected ||mu||^2 / sigma_z^2.
    """
    information = criteria["MI"]
    bounds = {
        "KL": criteria["KL"],
        "ln N": math.log(train_images),
        "ln(batch)": math.log(batch_images),
        f"Jensen + {spare:g}": criteria["mu2"] / criteria["sigma_z2"] + spare,
    }
    above = {f"above {name}": int((information > bound).sum()) for name, bound in bounds.items()}
    return {"rows": len(criteria)} | above


def recovered_variances(clean: float, tolerance: float) -> pd.DataFrame:
    """Estimates of Table 3 of takida2022 beside the variances that its caption promises.

    Parameters
    ----------
    clean
        Variance of the images without noise.
    tolerance
        Largest relative deviation, 0.05 in the caption.

    Returns
    -------
    DataFrame
        As :func:`printed` gives it, with `pattern`, `model` and `noise` (its variance) of the row;
        `sufficient`, whether the model can express the pattern; `kind` of the partition, noisy,
        clean or mixed; `target`; `deviation` from it in percent; whether that is `within` the
        tolerance, and whether it is for any number that is `rounded` to the printed one.
    """
    table = printed("takida2022_table3")
    parts = table["row"].str.split(" | ", regex=False)
    table["pattern"], table["model"] = parts.str[0], parts.str[2]
    table["noise"] = parts.str[1].str.removeprefix("s_x^2=").astype(float)
    notes = table["note"].str.split("; ")
    table["sufficient"], table["kind"] = notes.str[0] == "sufficient", notes.str[1]
    table["target"] = clean + table["noise"].where(table["kind"] == "noisy", 0)
    table["deviation"] = 100 * (table["value"] / table["target"] - 1)
    table["within"] = within(table["value"], table["target"], tolerance)
    slack = table["half_unit"]
    table["rounded"] = within(table["value"], table["target"], tolerance, slack=slack)
    return table


def mixed_partitions(
    recovered: pd.DataFrame, level: dict[str, float], share_small: float
) -> pd.DataFrame:
    """Mixed cells of Table 3 beside the average that a coarser parameterization should return.

    Parameters
    ----------
    recovered
        As :func:`recovered_variances` gives it.
    level
        What each model estimates without noise.
    share_small
        Share of the digits that the conditional patterns put noise on.

    Returns
    -------
    DataFrame
        The mixed rows with `share`, the noisy part of their pixels; `predicted`, level plus share
        times noise; and how far the value is `off` that, in percent.
    """
    mixed = recovered[recovered["kind"] == "mixed"].copy()
    shares = {"Spatial": 0.5, "Conditional": share_small, "Spatial-conditional": share_small / 2}
    mixed["share"] = mixed["pattern"].map(shares)
    # Of four partitions one is noisy: these two have one mixed estimate, and one that is clean.
    one_mixed = {"Diag-I": share_small, "Iso-D": 0.5}
    both_ways = (mixed["pattern"] == "Spatial-conditional") & (mixed["model"] != "Iso-I")
    mixed.loc[both_ways, "share"] = mixed.loc[both_ways, "model"].map(one_mixed)
    mixed["predicted"] = mixed["model"].map(level) + mixed["share"] * mixed["noise"]
    mixed["off"] = 100 * (mixed["value"] / mixed["predicted"] - 1)
    return mixed
