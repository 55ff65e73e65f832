"""Chapter 11: Table 2 of xu2025 from records, its verdicts, and figures of what an energy does."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from envae.companion import beside
from envae.companion.claims import Finding, Ledger, on_all
from envae.companion.differences import Difference, paired
from envae.companion.scale import Scale
from envae.companion.tables import NOTHING
from envae.experiments import paper_rows, records
from envae.experiments.paper_rows import ENERGY_BASED

# What is added to a method's name, and what its reconstruction term is called.
LOSSES = {
    "": "squared error",
    " + EnL": "energy score (EnL)",
    " + FEnL": "one-draw surrogate (FEnL)",
}
ENDINGS = tuple(LOSSES)
PRINTED = ("DT-VAE", "NCP-VAE", "EC-VAE")  # in the order of the table
METHODS = ("VAE", *PRINTED, "DT-VAE, weight 0.3", "EC-VAE, multiplier 1")
_PLAIN = {"L2": "VAE", "EnVAE": "VAE + EnL", "FEnVAE": "VAE + FEnL"}
_PUBLISHED = {"samples": "FID_gen", "reconstructions": "FID_re"}
# What stands for EC-VAE where the calibration of the digits does not train: its numbers were chosen
# on each data set by one search on held-out images, with the squared error.
_CALIBRATED = {"mnist-5000": "EC-VAE, multiplier 1"}
_PRIORS = {
    "fd_generated": "N(0, I)",
    "fd_ncp": "NCP, Langevin",
    "fd_ncp_sir": "NCP, resampling",
    "fd_gmm10": "mixture of 10",
}


def quality(rows: pd.DataFrame, plain: pd.DataFrame) -> pd.DataFrame:
    """Runs with what Table 2 measures, and the VAEs beneath them under names of the same form.

    Parameters
    ----------
    rows, plain
        As `Experiment.all_runs` gives them: of `ENERGY_BASED`, and of L2, EnVAE and FEnVAE.

    Returns
    -------
    DataFrame
        The runs, with the columns `samples` (of an NCP-VAE from its prior) and `reconstructions`.
    """
    runs = pd.concat([plain.assign(label=plain["label"].map(_PLAIN)), rows], ignore_index=True)
    nowhere = pd.Series(float("nan"), runs.index)
    judged = {
        label: ENERGY_BASED[label].judged_by if label in ENERGY_BASED else "fd_generated"
        for label in runs["label"].unique()
    }
    samples = [runs.get(judged[label], nowhere)[index] for index, label in runs["label"].items()]
    return runs.assign(samples=samples, reconstructions=runs.get("fd_reconstructed", nowhere))


def recorded(dataset: str, seeds: int) -> pd.DataFrame:
    """Runs on data that need not be here, as :func:`quality` gives them, of rows with all seeds."""
    rows, plain = (
        paper_rows.labelled(f"{prefix}_{dataset}")
        for prefix in ("energy_based", "energy_based_plain")
    )
    # There the VAEs are those of NCP-VAE, which a record does not tell.
    contrastive = {ours: name.replace("VAE", "NCP-VAE") for ours, name in _PLAIN.items()}
    runs = quality(rows.assign(label=rows["label"].replace(contrastive)), plain)
    done = runs[runs["state"] == "done"].groupby("label").size()
    return runs[runs["label"].isin(done[done >= seeds].index)]


def as_calibrated(data: str, runs: pd.DataFrame) -> pd.DataFrame:
    """The runs, with the row that stands for EC-VAE on this data under its name."""
    if data not in _CALIBRATED:
        return runs
    others = runs[~runs["label"].isin(["EC-VAE" + ending for ending in ENDINGS])]
    label = others["label"].str.replace(_CALIBRATED[data], "EC-VAE", regex=False)
    return others.assign(label=label)


def tuned(dataset: str) -> pd.DataFrame:
    """Runs of EC-VAE that chose its calibration: squared error, KL weight 0.03, held-out images.

    A row for each calibration that was tried, what came nearest first.
    """
    names = [f"energy_based_{dataset}_{kind}" for kind in ("tuning", "search")]
    found = pd.concat([records.load(name) for name in names], ignore_index=True)
    options = found["options"]
    same = options.map(lambda of: (of.get("loss"), of.get("alpha")) == ("l2", 0.03))
    found = found[same & (found["objective"] == "ec_vae")]
    tried = [_calibration(of) for of in found["options"]]
    return found.assign(calibration=tried).set_index("calibration").sort_values("fd_generated")


def _calibration(options: Mapping[str, Any]) -> str:
    """What is said of the multiplier of an EC-VAE."""
    if options.get("rate") == 0:
        return f"multiplier {options['calibration']:g}"
    rate = f", rate {options['rate']:g}" if "rate" in options else ""
    return f"tolerance {options['tolerance']:g}{rate}"


def by_prior(runs: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Mean and spread of the FD of samples, a row per prior, a column per row of the table."""
    cells = {name: beside.spread(runs, metric) for metric, name in _PRIORS.items()}
    return pd.DataFrame(cells).reindex(labels).fillna(NOTHING).T


def table(runs: pd.DataFrame, metric: str, methods: Sequence[str] = METHODS) -> pd.DataFrame:
    """Mean and spread of a metric: a row per loss, a column per method, a dash where none ran."""
    return _by_loss(beside.spread(runs, metric).replace(beside.NOT_YET, NOTHING), methods)


def beside_published(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Table 2 on CIFAR-10 beside ours: a row per method and loss, the two measures of each data.

    Parameters
    ----------
    runs
        As :func:`quality` gives them, by the name of the data.
    """
    parts = {}
    for metric, name in _PUBLISHED.items():
        theirs = beside.as_published("xu2025", 2, "CIFAR-10")[name].map("{:.2f}".format)
        for data, of in runs.items():
            parts[metric, data] = table(of, metric).unstack()
        parts[metric, "published"] = _by_loss(theirs, PRINTED).unstack()
    rows = pd.MultiIndex.from_product([METHODS, LOSSES.values()])
    return pd.DataFrame(parts).reindex(rows).fillna(NOTHING)


def _by_loss(texts: pd.Series, methods: Sequence[str]) -> pd.DataFrame:
    rows = {
        method: {told: texts.get(method + ending, NOTHING) for ending, told in LOSSES.items()}
        for method in methods
    }
    return pd.DataFrame(rows)


def values(runs: pd.DataFrame, label: str, metric: str = "samples") -> list[float]:
    """A row's values by seed."""
    return runs[runs["label"] == label].sort_values("seed")[metric].tolist()


def changes(runs: pd.DataFrame, ending: str) -> dict[tuple[str, str], Difference]:
    """What a loss changes in each printed method, by method and metric, paired by seed."""
    return {
        (method, metric): paired(
            values(runs, method + ending, metric), values(runs, method, metric)
        )
        for method in PRINTED
        for metric in ("samples", "reconstructions")
    }


def gains(runs: pd.DataFrame, ending: str) -> pd.Series:
    """Share of the samples' distance that a loss takes away, by method that has runs of both."""
    means = runs.groupby("label")["samples"].mean()
    both = [method for method in METHODS if {method, method + ending} <= set(means.index)]
    return pd.Series({method: 1 - means[method + ending] / means[method] for method in both})


def beyond_the_loss(runs: pd.DataFrame) -> dict[str, str]:
    """Samples of each method with the energy score against those of a VAE with it, if both ran."""
    alone, *rows = (method + " + EnL" for method in METHODS)
    return {
        row: paired(values(runs, row), values(runs, alone)).apart
        for row in rows
        if not missing(runs, [row, alone])
    }


def differences(runs: pd.DataFrame) -> pd.DataFrame:
    """What the energy score changes in each method whose rows ran, with 95 % intervals.

    The last column is what a method with it has more than a VAE with it.
    """
    changed = pd.DataFrame(
        {
            metric: {
                method: str(
                    paired(values(runs, method + " + EnL", metric), values(runs, method, metric))
                )
                for method in METHODS
                if not missing(runs, [method, method + " + EnL"])
            }
            for metric in ("samples", "reconstructions", "fd_gmm10")
        }
    ).rename(columns={"fd_gmm10": "samples from a mixture"})
    alone, *rows = (method + " + EnL" for method in METHODS)
    beyond = {
        method: str(paired(values(runs, row), values(runs, alone)))
        for method, row in zip(METHODS[1:], rows, strict=True)
        if not missing(runs, [row, alone])
    }
    return changed.assign(
        **{"samples, both with it, less the VAE's": pd.Series(beyond, dtype=object)}
    )


def missing(runs: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    """Which of some rows have a run without a record, or none at all."""
    of_rows = runs[runs["label"].isin(labels)]
    without = set(of_rows.loc[of_rows["state"] != "done", "label"])
    return sorted(without | (set(labels) - set(of_rows["label"])))


def codes(places: dict[str, tuple[Tensor, Tensor]], labels: Tensor) -> Figure:
    """Codes of images, coloured by class, and draws of the prior, `(N, 2)`: `fig-energy-codes`."""
    figure, [axes] = plt.subplots(1, len(places), figsize=(4.2 * len(places), 3.8), squeeze=False)
    for axis, (title, (of_images, of_prior)) in zip(axes, places.items(), strict=True):
        axis.plot(*of_prior.T, ".", color="0.75", markersize=3)
        axis.scatter(*of_images.T, s=6, c=labels, cmap="tab10")
        axis.set(title=title, xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), aspect="equal")
    figure.tight_layout()
    return figure


def ratios(known: Tensor, found: Tensor) -> Figure:
    """ln r of codes, known and found: `fig-ratio`."""
    figure, axis = plt.subplots(figsize=(4.2, 3.6))
    axis.plot(known, found, ".", markersize=3, alpha=0.4)
    axis.axline((0, 0), slope=1, color="0.4")
    axis.set(xlabel="known ln q/p", ylabel="classifier's logit")
    figure.tight_layout()
    return figure


def calibration(history: pd.DataFrame) -> Figure:
    """What a calibration does over the epochs: `fig-calibration-energy`."""
    told = {
        "moved": "squared distance moved",
        "multiplier": "multiplier",
        "energy_gap": "energy of samples less data",
    }
    figure, axes = plt.subplots(1, 3, figsize=(9.5, 2.8))
    for axis, (column, label) in zip(axes, told.items(), strict=True):
        axis.plot(history["epoch"], history[column], color="C0")
        axis.set(xlabel="epoch", title=label)
    figure.tight_layout()
    return figure


# --- verdicts ---------------------------------------------------------------------------------

Check = Callable[[pd.DataFrame], Finding]


def lower(runs: pd.DataFrame, ending: str) -> Finding:
    """Whether a loss lowers both distances of all three methods, by an interval.

    In part, where it lowers some by an interval and raises none.
    """
    found = changes(runs, ending)
    below = [", ".join(place) for place, by in found.items() if by.below]
    above = [", ".join(place) for place, by in found.items() if by.above]
    return Finding(
        len(below) == len(found),
        bool(below) and not above,
        f"mean below plain in {sum(by.mean < 0 for by in found.values())} of {len(found)}; by a "
        f"95 % interval below: {'; '.join(below) or 'none'}, above: {'; '.join(above) or 'none'}",
    )


def modest(runs: pd.DataFrame) -> Finding:
    """Whether the energy score gains a smaller share in each method than in a VAE, by intervals."""
    gained = {
        method: [
            1 - with_score / without
            for with_score, without in zip(
                values(runs, method + " + EnL"), values(runs, method), strict=True
            )
        ]
        for method in ("VAE", *PRINTED)
    }
    less = [method for method in PRINTED if paired(gained[method], gained["VAE"]).below]
    return Finding(
        len(less) == len(PRINTED),
        bool(less),
        "a smaller share of the samples' FD is gained than in a VAE, by a 95 % interval: "
        f"{_told(less)}",
    )


def improved(runs: pd.DataFrame, method: str) -> Finding:
    """Whether a method's samples are nearer to the data than a VAE's."""
    by = paired(values(runs, method), values(runs, "VAE"))
    return Finding(by.below, False, f"FD of samples {by.apart} that of the VAE, 95 % interval")


def reweighted(runs: pd.DataFrame) -> Finding:
    """Whether samples of the fitted prior are nearer to the data than those of N(0, I).

    Those of the same VAE, and of the VAE whose weight was chosen by them: a weight that is chosen
    for the fitted prior is too small for N(0, I).
    """
    rows = ("NCP-VAE", "NCP-VAE + EnL")
    own, chosen = (
        [row for row, other in others if paired(values(runs, row), other).below]
        for others in (
            [(row, values(runs, row, "fd_generated")) for row in rows],
            [(row, values(runs, row.removeprefix("NCP-"))) for row in rows],
        )
    )
    return Finding(
        own == chosen == list(rows),
        bool(chosen),
        f"below the same VAE's samples of N(0, I): {_told(own)}; below those of the VAE at its own "
        f"weight: {_told(chosen)} (of {_told(rows)})",
    )


def _told(rows: Sequence[str]) -> str:
    return ", ".join(rows) or "none"


def calibrated(runs: pd.DataFrame) -> Finding:
    """Whether samples are better, and a chain at test time gains less than a tenth."""
    found = improved(runs, "EC-VAE")
    left = 1 - sum(values(runs, "EC-VAE", "fd_refined")) / sum(values(runs, "EC-VAE"))
    chain = f"; a chain at test time gains {'less' if left < 0.1 else 'more'} than a tenth"
    return Finding(found.reproduced and left < 0.1, found.reproduced, found.told + chain)


def _with(method: str, *endings: str) -> list[str]:
    return [method + ending for ending in endings]


_BY_LOSS = {
    ending: [row for method in PRINTED for row in _with(method, "", ending)]
    for ending in ENDINGS[1:]
}
# Each measurement with its check and the rows that it needs.
CHECKS: dict[str, tuple[Check, list[str]]] = {
    "E-T2-enl": (partial(lower, ending=" + EnL"), _BY_LOSS[" + EnL"]),
    "E-T2-fenl": (partial(lower, ending=" + FEnL"), _BY_LOSS[" + FEnL"]),
    "E-T2-modest": (modest, [*_BY_LOSS[" + EnL"], *_with("VAE", "", " + EnL")]),
    "E-6.4-dt": (partial(improved, method="DT-VAE"), ["DT-VAE", "VAE"]),
    "E-6.4-ncp": (reweighted, [*_with("NCP-VAE", "", " + EnL"), *_with("VAE", "", " + EnL")]),
    "E-6.4-ec": (calibrated, ["EC-VAE", "VAE"]),
}
# Where an energy score has something to work on.
_ALIVE = 0.3  # standard deviation of a posterior
_TRIANGLES = ("DT-VAE + EnL", "DT-VAE, weight 0.3 + EnL")


def announce(
    ledger: Ledger, claim: str, runs: Mapping[str, pd.DataFrame], scales: Mapping[str, Scale]
) -> None:
    """Verdict of a measurement from all data sets where the rows that it needs are recorded.

    Not run, where that is none.

    Parameters
    ----------
    ledger, claim
        The chapter's ledger and a key of `CHECKS`.
    runs, scales
        By the name of the data, what comes first in the evidence first.
    """
    check, needed = CHECKS[claim]
    by_data = {name: as_calibrated(name, of) for name, of in runs.items()}
    ready = _ready(ledger, claim, by_data, needed)
    if not ready:
        return
    findings = {name: {claim: check(of)} for name, of in ready.items()}
    found = on_all(findings, claim)
    if any(row.startswith("EC-VAE") for row in needed):
        for name in _CALIBRATED.keys() & ready.keys():
            found["evidence"] += f" ({name}: {_CALIBRATED[name]}"
            if not missing(runs[name], needed):
                found["evidence"] += f"; with EC-VAE as printed {check(runs[name]).told}"
            found["evidence"] += ")"
    ledger.announce(claim, tried_on=[scales[name] for name in ready], **found)


def _ready(
    ledger: Ledger, claim: str, runs: Mapping[str, pd.DataFrame], needed: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """The data sets where some rows are all recorded; where that is none, the claim is not run."""
    ready = {name: of for name, of in runs.items() if not missing(of, needed)}
    if not ready:
        without = missing(next(iter(runs.values())), needed)
        ledger.not_run(claim, f"runs of {', '.join(without)}")
    return ready


def announce_spread(ledger: Ledger, runs: Mapping[str, pd.DataFrame]) -> None:
    """Verdict of `E-6.4-only`: whether DT-VAE's posterior keeps a spread for the energy score.

    `runs` as :func:`announce` takes them.
    """
    ready = _ready(ledger, "E-6.4-only", runs, _TRIANGLES)
    if not ready:
        return
    least = {
        name: {row: min(values(of, row, "stddev")) for row in _TRIANGLES}
        for name, of in ready.items()
    }
    printed, part = (all(of[row] > _ALIVE for of in least.values()) for row in _TRIANGLES)
    told = "; ".join(
        f"{name}: {', '.join(f'{row} {value:.2f}' for row, value in of.items())}"
        for name, of in least.items()
    )
    ledger.announce(
        "E-6.4-only",
        as_written=printed,
        corrected=part,
        evidence="NCP-VAE, EC-VAE: nothing else is replaced; DT-VAE: its posterior has to keep a "
        f"width for draws to differ in, a mean standard deviation above {_ALIVE:g} on every seed; "
        f"smallest, recorded: {told}",
    )
