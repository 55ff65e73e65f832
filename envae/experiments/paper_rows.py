"""The rows of the papers' tables as runs: Tables 1 and 5 of xu2025, Tables 4 to 7 of takida2022.

Neither paper says how it chose what its objectives leave free, the weight of the KL term above
all. Here every row has one free number, which is searched over as many values as any other row's,
on a part of the training images that is held out.
"""

import dataclasses
import functools
from typing import Any

import pandas as pd

from envae._unknown import unknown
from envae.datasets import Dataset
from envae.experiments import records, runs
from envae.experiments.measures import quality
from envae.experiments.runs import Point, Setting
from envae.metrics import extractor
from envae.metrics.frechet import HasFeatures, unit
from envae.vae import VAE

SEARCH_SEED = 0  # of the runs that choose; those that are reported have others
_HELD_OUT = 5  # one training image in so many
_LR = (1e-3, 3e-3, 1e-2)


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table, as this project runs it.

    Attributes
    ----------
    objective, options
        As `objective(name, **options)` takes them.
    free
        What is searched: an option of the objective, or `lr` where it leaves nothing free.
    values
        The values tried.
    xu2025, takida2022
        The row's name in that paper's tables; empty where it is not among them.
    judged_by
        Metric that the search minimizes on the held-out images: samples from the prior, or from a
        mixture where codes are not asked to follow the prior and the paper prints no such value.
    """

    objective: str
    options: dict[str, Any]
    free: str
    values: tuple[float, ...]
    xu2025: str = ""
    takida2022: str = ""
    judged_by: str = "fd_generated"


def _variance(label: str, objective: str) -> dict[str, Row]:
    """A variance parameterization of takida2022, by maximum likelihood and trained."""
    kinds = {"mle": "proposed MLE", "trainable": "trainable Sigma_x"}
    return {
        f"{label}, {estimate}": Row(
            objective, {"estimate": estimate}, "lr", _LR, takida2022=f"{label} [{kind}]"
        )
        for estimate, kind in kinds.items()
    }


_WEIGHTS = (0.01, 0.03, 0.1)  # of the KL term beside half a squared error, or an energy score

ROWS: dict[str, Row] = {
    "L2": Row("l2", {}, "alpha", _WEIGHTS, "L2"),
    "L1": Row("l1", {}, "scale", (0.03, 0.1, 0.3), "L1"),
    "CE": Row("bernoulli", {}, "lr", _LR, "CE", "VAE w/ Bernoulli"),
    "SSIM": Row("ssim", {}, "alpha", (1e-3, 3e-3, 1e-2), "SSIM"),
    # A KL weight of 0.03. With a scaling of 10 every share from 0.9 to 0.99 collapsed on digits.
    "InfoVAE": Row("infovae", {"information": 0.97}, "scaling", (0.1, 1.0, 10.0), "InfoVAE"),
    "FFL": Row("ffl", {}, "alpha", _WEIGHTS, "FFL"),
    "Student-t": Row("student_t", {}, "lr", _LR, "Student-t"),
    "DistVAE": Row("distvae", {}, "alpha", (0.05, 0.15, 0.5), "DistVAE"),
    "EnVAE": Row("envae", {"samples": 10}, "alpha", _WEIGHTS, "EnVAE"),
    "FEnVAE": Row("fenvae", {"draws": "single"}, "alpha", _WEIGHTS, "FEnVAE"),
    "FEnVAE, double": Row("fenvae", {"draws": "double"}, "alpha", _WEIGHTS, "FEnVAE_double"),
    "VAE, variance 1": Row(
        "l2", {"sigma2": 1.0}, "lr", _LR, takida2022="VAE w/ Gaussian (sigma_x^2=1.0)"
    ),
    "MoL": Row("mol", {}, "lr", _LR, takida2022="VAE w/ MoL"),
    "AE": Row("ae", {}, "lr", _LR, takida2022="AE", judged_by="fd_gmm10"),
    "WAE-MMD": Row("wae_mmd", {}, "mmd_weight", (25.0, 80.0, 250.0), takida2022="WAE-MMD"),
    "RAE": Row(
        "rae", {}, "code_weight", (0.005, 0.02, 0.05), takida2022="RAE", judged_by="fd_gmm10"
    ),
    "RAE-GP": Row(
        "rae_gp", {}, "gradient_weight", _WEIGHTS, takida2022="RAE-GP", judged_by="fd_gmm10"
    ),
    **_variance("Iso-I", "iso_i"),
    **_variance("Diag-I", "diag_i"),
    **_variance("Iso-D", "iso_d"),
    **_variance("Diag-D", "diag_d"),
}

SEEDS = (1, 2, 3)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What all rows share on one data set.

    Attributes
    ----------
    dataset, setting
        As `runs.run` takes them. A row that searches the learning rate overrides the setting's.
    extractor, samples
        As `quality.measure` takes them.
    seeds
        Of the runs that are reported.
    priors
        Fitted after training, names in `quality.PRIORS`.
    likelihood_draws, likelihood_images
        As `quality.measure` takes them.
    """

    dataset: Dataset
    setting: Setting
    extractor: HasFeatures | None
    samples: int | None = None
    seeds: tuple[int, ...] = SEEDS
    priors: tuple[str, ...] = ("gmm10",)
    likelihood_draws: int = 500
    likelihood_images: int | None = None

    @property
    def name(self) -> str:
        """Name that the reported runs are recorded under; the search adds `_search`."""
        return f"fid_tables_{self.dataset.name}"

    def search(self, label: str, *, train: bool) -> pd.DataFrame:
        """Runs that choose a row's free number: one per value, on most of the training images.

        Parameters
        ----------
        label
            Key of `ROWS`.
        train
            Whether to run what is missing; otherwise it is only told.

        Returns
        -------
        DataFrame
            As `runs.progress` gives it, a row per value, in the column `tried`.

        Raises
        ------
        ValueError
            If there is no such row, or nothing to judge by.
        """
        row = _row(label)
        if self.extractor is None:
            raise ValueError("a search needs an extractor: it is judged by a Fréchet distance")
        measure = functools.partial(
            quality.measure,
            extractor=self.extractor,
            against="test",
            samples=self.samples,
            priors=("gmm10",) if row.judged_by == "fd_gmm10" else (),
        )
        points = [self._point(row, value, SEARCH_SEED) for value in row.values]
        found = _table(
            points, held_out(self.dataset), f"{self.name}_search", measure if train else None
        )
        return found.assign(tried=row.values)

    def chosen(self, label: str) -> float | None:
        """The value whose samples came closest to the held-out images; None before the search."""
        found = self.search(label, train=False)
        if (found["state"] == "missing").any() or not found["done"].any():
            return None
        return found.loc[found[_row(label).judged_by].idxmin(), "tried"]

    def runs(self, label: str, *, train: bool) -> pd.DataFrame:
        """The reported runs of a row, at the value that the search chose; a row per seed.

        All missing before the search is done, all failed if every run of the search failed.
        Parameters and errors as in :meth:`search`.
        """
        value = self.chosen(label)
        if value is None:
            return self._none_chosen(label)
        measure = functools.partial(
            quality.measure,
            extractor=self.extractor,
            samples=self.samples,
            priors=self.priors,
            interpolate=True,
            likelihood_draws=self.likelihood_draws,
            likelihood_images=self.likelihood_images,
        )
        points = [self._point(_row(label), value, seed) for seed in self.seeds]
        return _table(points, self.dataset, self.name, measure if train else None)

    def complete(self, label: str) -> pd.DataFrame:
        """Search, then the reported runs; whatever is recorded already is not run again."""
        self.search(label, train=True)
        return self.runs(label, train=True)

    def all_runs(self) -> pd.DataFrame:
        """The reported runs of all rows, as :meth:`runs` gives them, in the column `label`."""
        parts = [self.runs(label, train=False).assign(label=label) for label in ROWS]
        return pd.concat(parts, ignore_index=True)

    def model(self, label: str, seed: int) -> VAE:
        """A row's model at the value that the search chose, trained now and not recorded.

        Raises
        ------
        ValueError
            If the search has not been done.
        """
        value = self.chosen(label)
        if value is None:
            raise ValueError(f"row {label!r} has not been searched on {self.dataset.name} yet")
        vae, *_ = runs.train(self._point(_row(label), value, seed), self.dataset)
        return vae

    def _none_chosen(self, label: str) -> pd.DataFrame:
        """The reported runs of a row whose search is not done, or failed for every value."""
        found = self.search(label, train=False)
        failed = (found["state"] == "failed").all()
        return pd.DataFrame(
            {
                "state": "failed" if failed else "missing",
                "error": f"every run of the search: {found['error'][0]}" if failed else "",
                "seed": self.seeds,
            }
        )

    def _point(self, row: Row, value: float, seed: int) -> Point:
        """The row with its free number at a value, from a seed."""
        if row.free == "lr":
            setting = dataclasses.replace(self.setting, lr=value)
            return Point(row.objective, row.options, seed, setting)
        return Point(row.objective, row.options | {row.free: value}, seed, self.setting)


def _table(
    points: list[Point], dataset: Dataset, experiment: str, measure: runs.Measure | None
) -> pd.DataFrame:
    """State and records of points; what is missing is run where there is a measure."""
    if measure is None:
        return runs.progress(points, dataset=dataset.name, experiment=experiment)
    return runs.complete(points, dataset=dataset, experiment=experiment, measure=measure)


def network_of_features(name: str) -> HasFeatures:
    """`inception`, for FID, or a stored extractor such as `digits-cnn`, for an FD.

    Raises
    ------
    FileNotFoundError
        If its weights are not there; says how to get them.
    """
    if name != "inception":
        return extractor.load(name)[0]
    from envae.metrics import inception  # needs pytorch-fid, an extra of the book

    return inception.load()


def network_for(dataset: Dataset) -> tuple[HasFeatures | None, str]:
    """The network that measures distances on a data set, and what it is or why there is none.

    The classifier that was trained on these images here, if one is stored; else Inception, if its
    weights are there and the images are enough for a covariance of its features.
    """
    stored = f"{dataset.name.partition('-')[0]}-cnn"
    network: HasFeatures
    try:
        network, manifest = extractor.load(stored)
        accuracy = manifest["test_accuracy"]
        return network, f"{stored}: right on {accuracy:.1%} of the test images"
    except FileNotFoundError:
        fewest = min(len(dataset.train), len(dataset.test))
    from envae.metrics import inception  # needs pytorch-fid, an extra of the book

    if fewest <= inception.FEATURES:
        return None, (
            f"no distances: {dataset.name} has no classifier of its own, and an FID needs more "
            f"than {inception.FEATURES} training and test images, not {fewest}"
        )
    try:
        network = inception.load()
    except FileNotFoundError as error:
        return None, f"no distances: {error}"
    return network, f"pytorch-fid's Inception network: {unit(network)}"


def labelled(experiment: str) -> pd.DataFrame:
    """The reported runs of an experiment on data that need not be here, in the column `label`.

    As :meth:`Experiment.all_runs` gives them, but without what is missing.
    """
    search = f"{experiment}_search"
    lost = _with_labels(runs.failures(search)).drop_duplicates("label")
    lost = lost[~lost["label"].isin(_with_labels(records.load(search))["label"])]
    done = _with_labels(records.load(experiment)).assign(state="done", error="")
    lost = lost.reindex(columns=["label", "error"]).assign(state="failed")
    return pd.concat([done, lost], ignore_index=True)


def _with_labels(points: pd.DataFrame) -> pd.DataFrame:
    """Points with the row that each belongs to, in the column `label`."""
    if points.empty:
        return pd.DataFrame({"label": []})
    pairs = zip(points["objective"], points["options"], strict=True)
    return points.assign(label=[_label(objective, options) for objective, options in pairs])


def _label(objective: str, options: dict[str, Any]) -> str:
    """The row that a recorded objective and its options belong to."""
    for label, row in ROWS.items():
        fixed = row.options.items() <= options.items()
        if row.objective == objective and fixed and (row.free == "lr" or row.free in options):
            return label
    raise ValueError(f"no row of the tables is {objective} with {options}")


def held_out(dataset: Dataset) -> Dataset:
    """A data set without its test images: a fifth of the training images take their place."""
    order = dataset.subset(len(dataset.train))  # in a fixed random order
    count = len(dataset.train) // _HELD_OUT
    return dataclasses.replace(
        order,
        name=f"{dataset.name}-without-test",
        train=order.train[count:],
        train_labels=order.train_labels[count:],
        test=order.train[:count],
        test_labels=order.train_labels[:count],
    )


def _row(label: str) -> Row:
    if label not in ROWS:
        raise ValueError(unknown("row", label, ROWS))
    return ROWS[label]
