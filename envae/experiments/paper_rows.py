"""The rows of the papers' tables as runs: Tables 1, 2, 5 of xu2025, Tables 4 to 7 of takida2022.

Neither paper says how it chose what its objectives leave free, the weight of the KL term above
all. Here every row has one free number, which is searched by one rule for all rows, on a part of
the training images that is held out; test images are only for the report.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from torch import Tensor

from envae import datasets, networks
from envae._unknown import unknown
from envae.datasets import Dataset
from envae.experiments import classifiers, records, runs, step_cost
from envae.experiments.measures import quality
from envae.experiments.runs import Draw, Point, Setting, Start
from envae.metrics import extractor, random_convolutions
from envae.metrics.frechet import HasFeatures, unit
from envae.metrics.random_convolutions import RandomConvolutions
from envae.objectives import Objective
from envae.vae import VAE

SEARCH_SEED = 0  # of the runs that choose; those that are reported have others
TRIED = 5  # values of each row
MORE = 4  # values tried at most beyond these, while the best one is at an end
_HELD_OUT = 5  # one training image in so many


def ladder(middle: float, steps: int) -> float:
    """The value so many steps up from one of ..., 0.01, 0.03, 0.1, 0.3, 1, 3, 10, ..."""
    place = round(2 * math.log10(middle)) + steps
    return float(f"{(1, 3)[place % 2]}e{place // 2}")


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table, as this project runs it.

    Attributes
    ----------
    objective, options
        As `objective(name, **options)` takes them.
    free
        What is searched: an option of the objective, or `lr` where it leaves nothing free.
    middle
        Of the values tried first, on the steps of :func:`ladder`.
    xu2025, takida2022
        The row's name in that paper's tables; empty where it is not among them.
    judged_by
        Metric that the search minimizes on the held-out images: samples from the prior, or from a
        mixture where codes are not asked to follow the prior and the paper prints no such value,
        or from a prior that is what the row is about.
    one_less
        Whether the option is one less the value tried, which is the KL weight.
    of_setting
        Options of the objective that are numbers of the setting, by their name in both.
    beside
        Priors that reported runs are sampled from too, names in `quality.PRIORS`.
    """

    objective: str
    options: dict[str, Any]
    free: str
    middle: float
    xu2025: str = ""
    takida2022: str = ""
    judged_by: str = "fd_generated"
    one_less: bool = False
    of_setting: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def priors(self) -> tuple[str, ...]:
        """What must be fitted to judge by, names in `quality.PRIORS`."""
        name = self.judged_by.removeprefix("fd_")
        return (name,) if name in quality.PRIORS else ()

    @property
    def values(self) -> list[float]:
        """The values that every search begins with."""
        return self.around_middle(TRIED)

    def around_middle(self, count: int) -> list[float]:
        """So many values, an odd number, on the steps of :func:`ladder`."""
        return [ladder(self.middle, step) for step in range(-(count // 2), count // 2 + 1)]

    def options_at(self, value: float) -> dict[str, Any]:
        """Options of the objective where the free number has a value."""
        if self.free == "lr":
            return self.options
        return self.options | {self.free: self._other(value)}

    def value_in(self, options: Mapping[str, Any]) -> float:
        """The value of the free number, an option of the objective, that gives these options."""
        return self._other(float(options[self.free]))

    def _other(self, number: float) -> float:
        """The option of a value, and the value of an option."""
        return round(1 - number, 9) if self.one_less else number


def _variance(label: str, objective: str) -> dict[str, Row]:
    """A variance parameterization of takida2022, by maximum likelihood and trained."""
    kinds = {"mle": "proposed MLE", "trainable": "trainable Sigma_x"}
    return {
        f"{label}, {estimate}": Row(
            objective, {"estimate": estimate}, "lr", _LR, takida2022=f"{label} [{kind}]"
        )
        for estimate, kind in kinds.items()
    }


_LR = 1e-3  # middle of the learning rates
_WEIGHT = 0.03  # of the KL weights beside half a squared error
_SCORED = 0.1  # beside an energy score

ROWS: dict[str, Row] = {
    "L2": Row("l2", {}, "alpha", _WEIGHT, "L2"),
    "L1": Row("l1", {}, "scale", 0.1, "L1"),
    "CE": Row("bernoulli", {}, "alpha", 0.3, "CE", "VAE w/ Bernoulli"),
    "SSIM": Row("ssim", {}, "alpha", 0.01, "SSIM"),
    # With a scaling of 10 every KL weight from 0.01 to 0.1 collapsed on digits.
    "InfoVAE": Row("infovae", {"scaling": 1.0}, "information", _WEIGHT, "InfoVAE", one_less=True),
    "FFL": Row("ffl", {}, "alpha", 0.1, "FFL"),
    "Student-t": Row("student_t", {}, "alpha", 1.0, "Student-t"),
    "DistVAE": Row("distvae", {}, "alpha", 0.1, "DistVAE"),
    "EnVAE": Row("envae", {"samples": 10}, "alpha", _SCORED, "EnVAE"),
    "EnVAE, M = 2": Row("envae", {"samples": 2}, "alpha", _SCORED),
    "EnVAE, M = 4, mirrored": Row("envae", {"samples": 4, "pairs": "mirrored"}, "alpha", _SCORED),
    "FEnVAE": Row("fenvae", {"draws": "single"}, "alpha", 0.01, "FEnVAE"),
    "FEnVAE, double": Row("fenvae", {"draws": "double"}, "alpha", 0.01, "FEnVAE_double"),
    "VAE, variance 1": Row(
        "l2", {"sigma2": 1.0}, "lr", _LR, takida2022="VAE w/ Gaussian (sigma_x^2=1.0)"
    ),
    "MoL": Row("mol", {}, "alpha", 1.0, takida2022="VAE w/ MoL"),
    "AE": Row("ae", {}, "lr", _LR, takida2022="AE", judged_by="fd_gmm10"),
    "WAE-MMD": Row("wae_mmd", {}, "mmd_weight", 30.0, takida2022="WAE-MMD"),
    "RAE": Row("rae", {}, "code_weight", 0.03, takida2022="RAE", judged_by="fd_gmm10"),
    "RAE-GP": Row("rae_gp", {}, "gradient_weight", 0.03, takida2022="RAE-GP", judged_by="fd_gmm10"),
    **_variance("Iso-I", "iso_i"),
    **_variance("Diag-I", "diag_i"),
    **_variance("Iso-D", "iso_d"),
    **_variance("Diag-D", "diag_d"),
}

# What Table 2 of xu2025 puts into each method: the reconstruction term of a VAE.
_PUT_IN: dict[str, tuple[str, dict[str, Any]]] = {
    "": ("l2", {}),
    " + EnL": ("envae", {"samples": 10}),
    " + FEnL": ("fenvae", {"draws": "single"}),
}


def _around(method: str, objective: str, options: dict[str, Any], **fields: Any) -> dict[str, Row]:
    """A method of Table 2 with each of the reconstruction terms."""
    return {
        method + ending: Row(
            objective, {"loss": loss, "loss_options": more} | options, "alpha", _WEIGHT, **fields
        )
        for ending, (loss, more) in _PUT_IN.items()
    }


def _printed(rows: dict[str, Row]) -> dict[str, Row]:
    return {name: dataclasses.replace(row, xu2025=name) for name, row in rows.items()}


# Table 2 of xu2025. The numbers that are no KL weight are the same with every reconstruction term.
ENERGY_BASED: dict[str, Row] = _printed(
    {
        **_around("DT-VAE", "dt_vae", {"weight": 1.0}, of_setting=("latent_dim",)),
        # Fitted after training: the VAE beneath is that of Table 1.
        **{
            f"NCP-VAE{ending}": Row(
                loss, options, "alpha", _WEIGHT, judged_by="fd_ncp", beside=("ncp_sir",)
            )
            for ending, (loss, options) in _PUT_IN.items()
        },
        **_around("EC-VAE", "ec_vae", {"tolerance": 0.01, "steps": 5}),
    }
)
# Beside them, what trains where a printed row does not: a part of the triangle, since the whole one
# empties the posterior, and a multiplier that stays, since on larger images one that follows the
# tolerance of the digits goes to its limit.
ENERGY_BASED |= _around("DT-VAE, weight 0.3", "dt_vae", {"weight": 0.3}, of_setting=("latent_dim",))
ENERGY_BASED |= _around(
    "EC-VAE, multiplier 1", "ec_vae", {"calibration": 1.0, "rate": 0.0, "steps": 5}
)

ALL_ROWS: dict[str, Row] = {**ROWS, **ENERGY_BASED}

# Experiments by their prefix, each with its rows. Of Table 2 two: a record of an NCP-VAE would
# else be one of the VAE beneath.
ROWS_OF: dict[str, tuple[str, ...]] = {
    "fid_tables": tuple(ROWS),
    "energy_based": tuple(ENERGY_BASED),
    "energy_based_plain": ("L2", "EnVAE", "FEnVAE"),
}

# Compared under every prior. A second stage takes half a minute, more than the model before it.
UNDER_EVERY_PRIOR = (
    "EnVAE",
    "EnVAE, M = 2",
    "EnVAE, M = 4, mirrored",
    "L2",
    "Iso-I, mle",
    "AE",
    "RAE",
    "RAE-GP",
)

SEEDS = (1, 2, 3, 4, 5)


@dataclasses.dataclass(frozen=True)
class Due:
    """Runs of a row that have neither a record nor failed, and wait for no other.

    Attributes
    ----------
    experiment, dataset
        Names that they are recorded under.
    points
        The runs; empty where the row's number must come from elsewhere first.
    run
        Runs some of the points; gives their table, as `runs.progress` does, and in the column
        `run` what tells them apart.
    """

    experiment: str
    dataset: str
    points: list[Point]
    run: Callable[[list[Point]], pd.DataFrame]


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
        Of the runs that are reported; a ValueError, if the search's is among them.
    prefix
        Of the name that the runs are recorded under.
    priors
        Fitted after training, names in `quality.PRIORS`.
    second_stage
        Rows for which a second stage is trained too.
    likelihood_draws, likelihood_images
        As `quality.measure` takes them.
    numbers_of
        Experiment whose rows' free numbers are taken instead of a search of its own, where a search
        would take days; rows that search the learning rate then take the setting's. Empty for none.
    draw
        Called, as `runs.complete` calls it, for the first seed of the reported runs alone.
    start
        What every run is trained with first, in some of the setting's epochs; give it a prefix of
        its own.
    tried, more
        Values of each row's search, and values tried at most beyond these; by default `TRIED` and
        `MORE`.
    random_space
        Whether reported runs are measured by random convolutions too.
    """

    dataset: Dataset
    setting: Setting
    extractor: HasFeatures | None
    samples: int | None = None
    seeds: tuple[int, ...] = SEEDS
    prefix: str = "fid_tables"
    priors: tuple[str, ...] = ("gmm10",)
    second_stage: tuple[str, ...] = UNDER_EVERY_PRIOR
    likelihood_draws: int = 500
    likelihood_images: int | None = None
    numbers_of: str = ""
    draw: Draw | None = None
    start: Start | None = None
    tried: int | None = None
    more: int | None = None
    random_space: bool = True

    def __post_init__(self) -> None:
        if SEARCH_SEED in self.seeds:
            raise ValueError(
                f"the search has seed {SEARCH_SEED}: runs that are reported need others, received "
                f"{self.seeds}"
            )

    @classmethod
    def of(
        cls,
        *,
        dataset: str,
        train_size: int,
        network: str,
        latent_dim: int,
        epochs: int,
        batch_size: int,
        lr: float,
        extractor: str,
        samples: int,
        seeds: Sequence[int],
        priors: Sequence[str] = ("gmm10",),
        likelihood_draws: int = 0,
        likelihood_images: int = 0,
        numbers_of: str = "",
        prefix: str = "fid_tables",
        **_: Any,
    ) -> "Experiment":
        """The experiment that the parameters of a notebook of rows describe, and its prefix.

        Its other parameters say what is shown, and are let pass. 0 stands for all: of the training
        images, of the test images of the likelihood, and for as many samples as training images.
        Second stages are for the prefix `fid_tables` alone.

        Raises
        ------
        FileNotFoundError
            If the data or the extractor's weights are not there; says how to get them.
        ValueError
            If a name is unknown.
        """
        networks.check_name(network)
        quality.check_priors(priors)
        return cls(
            datasets.load(dataset, train_size=train_size or None),
            Setting(network, latent_dim, epochs, batch_size, lr),
            network_of_features(extractor),
            samples=samples or None,
            seeds=tuple(seeds),
            priors=tuple(priors),
            likelihood_draws=likelihood_draws,
            likelihood_images=likelihood_images or None,
            numbers_of=numbers_of,
            prefix=prefix,
            second_stage=UNDER_EVERY_PRIOR if prefix == "fid_tables" else (),
        )

    @property
    def name(self) -> str:
        """Name that the reported runs are recorded under."""
        return f"{self.prefix}_{self.dataset.name}"

    @property
    def search_name(self) -> str:
        """Name that the runs of the searches are recorded under."""
        return f"{self.name}_search"

    def search(self, label: str, *, train: bool) -> pd.DataFrame:
        """Runs that choose a row's free number, on most of the training images.

        One rule for every row: `TRIED` values a factor of about 3 apart; while the best of them is
        the first or the last one tried, one more beyond it, at most `MORE` of them. A run that
        fails counts as tried.

        Parameters
        ----------
        label
            Key of `ALL_ROWS`.
        train
            Whether to run what is missing; otherwise it is only told.

        Returns
        -------
        DataFrame
            As `runs.progress` gives it, a row per value, ascending, in the column `tried`.

        Raises
        ------
        ValueError
            If there is no such row, or nothing to judge by.
        """
        row = _row(label)
        first = TRIED if self.tried is None else self.tried
        most = first + (MORE if self.more is None else self.more)
        if self.extractor is None:
            raise ValueError("a search needs an extractor: it is judged by a Fréchet distance")
        new = tried = row.around_middle(first)
        while True:
            if train:
                self._search(row, self._points(row, new))
            found = self._progress(self._points(row, tried)).assign(tried=tried)
            end = _end(found, row.judged_by)
            if not end or len(tried) == most:
                return found
            new = [ladder(tried[0 if end < 0 else -1], end)]
            tried = sorted(tried + new)

    def _points(self, row: Row, values: Sequence[float]) -> list[Point]:
        return [self._point(row, value, SEARCH_SEED) for value in values]

    def _progress(self, points: list[Point]) -> pd.DataFrame:
        return runs.progress(
            points, dataset=_name_held_out(self.dataset), experiment=self.search_name
        )

    def _search(self, row: Row, points: list[Point]) -> pd.DataFrame:
        """Runs of a search, run first where they have no record."""
        judge = functools.partial(
            quality.measure,
            extractor=self.extractor,
            against="test",  # of `held_out`: training images
            samples=self.samples,
            priors=row.priors,
        )
        found = runs.complete(
            points, dataset=self._held_out, experiment=self.search_name, measure=judge
        )
        values = [
            point.setting.lr if row.free == "lr" else point.options[row.free] for point in points
        ]
        return found.assign(run=[f"{row.free} {value:g}" for value in values])

    @functools.cached_property
    def _held_out(self) -> Dataset:
        return held_out(self.dataset)

    def chosen(self, label: str) -> float | None:
        """The value whose samples came closest to the held-out images; None before the search.

        Where there is no search, the value that is taken instead.
        """
        if self.numbers_of:
            return self.setting.lr if _row(label).free == "lr" else _taken(self.numbers_of, label)
        found = self.search(label, train=False)
        if (found["state"] == "missing").any() or not found["done"].any():
            return None
        return float(found.loc[found[_row(label).judged_by].idxmin(), "tried"])

    def inside(self, label: str) -> bool:
        """Whether values were tried on both sides of the chosen one; False without a search."""
        if self.numbers_of:
            return False
        found, value = self.search(label, train=False), self.chosen(label)
        done = found.loc[found["state"] == "done", "tried"]
        return value is not None and bool(done.min() < value < done.max())

    def runs(self, label: str, *, train: bool) -> pd.DataFrame:
        """The reported runs of a row, at the value that the search chose; a row per seed.

        All missing before the search is done, all failed if every run of the search failed.
        Parameters and errors as in :meth:`search`.
        """
        more = ("second_stage",) if label in self.second_stage else ()
        return self._at_chosen(
            label,
            self.setting.epochs,
            self.name,
            train=train,
            priors=tuple(
                dict.fromkeys(self.priors + _row(label).priors + _row(label).beside + more)
            ),
            interpolate=True,
            likelihood_draws=self.likelihood_draws,
            likelihood_images=self.likelihood_images,
            others=(RandomConvolutions(self.dataset.train),) if train and self.random_space else (),
            two_sample=True,
            draw=self.draw and functools.partial(_of_seed, self.seeds[0], self.draw),
        )

    def lengths(self, label: str, epochs: Sequence[int], *, train: bool) -> pd.DataFrame:
        """The reported runs of a row again, each from the start in so many epochs.

        At the value that the search chose for the setting's own number of epochs, whose runs are
        not repeated. Parameters and errors as in :meth:`search`; a row per seed and number, which
        is in the column `epochs`.
        """
        parts = [
            self.runs(label, train=train)
            if count == self.setting.epochs
            else self._at_chosen(
                label, count, f"{self.name}_epochs", train=train, priors=self.priors
            )
            for count in epochs
        ]
        return pd.concat(parts, ignore_index=True)

    def _at_chosen(
        self,
        label: str,
        epochs: int,
        experiment: str,
        *,
        train: bool,
        draw: Draw | None = None,
        **measured: Any,
    ) -> pd.DataFrame:
        """Runs from the seeds at the chosen value, measured on the test images."""
        value = self.chosen(label)
        if value is None:
            return self._none_chosen(label).assign(epochs=epochs)
        measure = functools.partial(
            quality.measure,
            extractor=self.extractor,
            against="test",
            samples=self.samples,
            **measured,
        )
        setting = dataclasses.replace(self.setting, epochs=epochs)
        points = [self._point(_row(label), value, seed, setting) for seed in self.seeds]
        if not train:
            return runs.progress(points, dataset=self.dataset.name, experiment=experiment)
        return runs.complete(
            points, dataset=self.dataset, experiment=experiment, measure=measure, draw=draw
        )

    def complete(self, label: str) -> pd.DataFrame:
        """Search, then the reported runs; whatever is recorded already is not run again."""
        if not self.numbers_of:
            self.search(label, train=True)
        return self.runs(label, train=True)

    def due(self, label: str) -> Due | None:
        """What a row lacks that could be run now: of its search as it stands, else reported runs.

        These need not be run together, nor in one process. None where nothing is missing.
        """
        row = _row(label)
        if not self.numbers_of:
            found = self.search(label, train=False)
            values = found.loc[found["state"] == "missing", "tried"].tolist()
            if values:
                return Due(
                    self.search_name,
                    _name_held_out(self.dataset),
                    self._points(row, values),
                    functools.partial(self._search, row),
                )
        found = self.runs(label, train=False)
        seeds = found.loc[found["state"] == "missing", "seed"].tolist()
        if not seeds:
            return None
        value = self.chosen(label)
        points = [] if value is None else [self._point(row, value, seed) for seed in seeds]
        return Due(self.name, self.dataset.name, points, functools.partial(self._report, label))

    def _report(self, label: str, points: list[Point]) -> pd.DataFrame:
        """Some of the reported runs, run first where they have no record."""
        seeds = tuple(point.seed for point in points)
        draw = self.draw if self.seeds[0] in seeds else None
        found = dataclasses.replace(self, seeds=seeds, draw=draw).runs(label, train=True)
        return found.assign(run=[f"seed {seed}" for seed in seeds])

    def steps(self, *, searched: bool) -> int:
        """Steps of a run of the search, or of one that is reported."""
        images = len(self.dataset.train)
        images -= images // _HELD_OUT if searched else 0
        return -(-images // self.setting.batch_size) * self.setting.epochs

    def step_seconds(self, label: str) -> float:
        """What a step of a row's training takes on this machine now, by a few of them."""
        row, short = _row(label), dataclasses.replace(self.setting, epochs=2)
        point = self._point(row, row.middle, SEARCH_SEED, short)
        return step_cost.seconds_in_training(point, self.dataset)

    def all_runs(self, rows: Iterable[str] = tuple(ROWS)) -> pd.DataFrame:
        """The reported runs of rows, as :meth:`runs` gives them, in the column `label`."""
        parts = [self.runs(label, train=False).assign(label=label) for label in rows]
        return pd.concat(parts, ignore_index=True)

    def _none_chosen(self, label: str) -> pd.DataFrame:
        """The reported runs of a row whose search is not done, or failed for every value."""
        if self.numbers_of:
            return pd.DataFrame({"state": "missing", "error": "", "seed": self.seeds})
        found = self.search(label, train=False)
        failed = (found["state"] == "failed").all()
        return pd.DataFrame(
            {
                "state": "failed" if failed else "missing",
                "error": f"every run of the search: {found['error'][0]}" if failed else "",
                "seed": self.seeds,
            }
        )

    def _point(self, row: Row, value: float, seed: int, setting: Setting | None = None) -> Point:
        """The row with its free number at a value, from a seed."""
        setting = setting or self.setting
        if row.free == "lr":
            setting = dataclasses.replace(setting, lr=value)
        options = row.options_at(value) | {name: getattr(setting, name) for name in row.of_setting}
        return Point(row.objective, options, seed, setting, self.start)


def _end(found: pd.DataFrame, metric: str) -> int:
    """-1 or 1 where the best of the values tried is the first or the last; 0 inside or unknown."""
    if (found["state"] == "missing").any() or not found["done"].any():
        return 0
    best = found[metric].idxmin()
    return {0: -1, len(found) - 1: 1}.get(best, 0)


def _of_seed(
    seed: int, draw: Draw, vae: VAE, minimized: Objective, dataset: Dataset, of_run: int
) -> Mapping[str, Tensor]:
    """Pictures of the run with this seed, and none of the others."""
    return draw(vae, minimized, dataset, of_run) if of_run == seed else {}


def network_of_features(name: str) -> HasFeatures:
    """`inception`, for FID, or a stored extractor such as `digits-cnn`, for an FD.

    Raises
    ------
    FileNotFoundError
        If its weights are not there; says how to get them.
    ValueError
        If it is none of those, nor stored here.
    """
    known = ["inception", *map(extractor.name_for, classifiers.RECIPES)]
    if name not in known and not extractor.files(name)[0].is_file():
        raise ValueError(unknown("extractor", name, known))
    if name != "inception":
        return extractor.load(name)[0]
    from envae.metrics import inception  # needs pytorch-fid, an extra of the book

    return inception.load()


def network_for(dataset: Dataset) -> tuple[HasFeatures | None, str]:
    """The network that measures distances on a data set, and what it is or why there is none.

    The classifier that was trained on these images here, if one is stored; else Inception, if its
    weights are there and the images are enough for a covariance of its features; else convolutions
    with random weights, if the images are enough for theirs, those that a search holds out too.
    """
    stored = extractor.name_for(dataset.name)
    with contextlib.suppress(FileNotFoundError):
        network, manifest = extractor.load(stored)
        # Not for CIFAR-10 itself the classifier of its lossy copy.
        if dataset.name.startswith(manifest["data"]["name"].partition("-without-")[0]):
            accuracy = manifest["test_accuracy"]
            return network, f"{stored}: right on {accuracy:.1%} of the test images"
    found, told = _inception_for(dataset)
    if found is not None:
        return found, told
    fewest = min(len(dataset.train) // _HELD_OUT, len(dataset.test))
    if fewest > random_convolutions.FEATURES:
        return RandomConvolutions(dataset.train), f"random convolutions, trained on nothing: {told}"
    return None, (
        f"no distances: {told}; and random convolutions need more than "
        f"{random_convolutions.FEATURES} test images and as many in a fifth of the training images"
    )


def _inception_for(dataset: Dataset) -> tuple[HasFeatures | None, str]:
    """Inception, or why it cannot measure these images."""
    from envae.metrics import inception  # needs pytorch-fid, an extra of the book

    fewest = min(len(dataset.train), len(dataset.test))
    if fewest <= inception.FEATURES:
        return None, (
            f"{dataset.name} has no classifier of its own, and an FID needs more "
            f"than {inception.FEATURES} training and test images, not {fewest}"
        )
    try:
        network = inception.load()
    except FileNotFoundError as error:
        return None, str(error)
    return network, f"pytorch-fid's Inception network: {unit(network)}"


def labelled(experiment: str) -> pd.DataFrame:
    """The reported runs of an experiment on data that need not be here, in the column `label`.

    As :meth:`Experiment.all_runs` gives them, but without what is missing.
    """
    search = f"{experiment}_search"
    lost = _with_labels(runs.failures(search)).drop_duplicates("label")
    lost = lost[~lost["label"].isin(_with_labels(records.load(search))["label"])]
    lost = pd.concat([lost, _with_labels(runs.failures(experiment))], ignore_index=True)
    done = _with_labels(records.load(experiment)).assign(state="done", error="")
    lost = lost.reindex(columns=["label", "error"]).assign(state="failed")
    return pd.concat([done, lost], ignore_index=True)


def _taken(experiment: str, label: str) -> float | None:
    """Free number of a row's runs in an experiment; None where it has none."""
    found = labelled(experiment)
    done = found[(found["label"] == label) & (found["state"] == "done")]
    if done.empty:
        return None
    return _row(label).value_in(done["options"].iloc[0])


def _with_labels(points: pd.DataFrame) -> pd.DataFrame:
    """Points with the row that each belongs to, in the column `label`."""
    if points.empty:
        return pd.DataFrame({"label": []})
    pairs = zip(points["objective"], points["options"], strict=True)
    return points.assign(label=[_label(objective, options) for objective, options in pairs])


def _label(objective: str, options: dict[str, Any]) -> str:
    """The row that a recorded objective and its options belong to.

    An NCP-VAE is not told from the VAE beneath it: it has an experiment of its own.
    """
    for label, row in ALL_ROWS.items():
        free = (row.free, *row.of_setting)
        fixed = {name: value for name, value in options.items() if name not in free}
        if row.objective == objective and fixed == row.options:
            return label
    raise ValueError(f"no row of the tables is {objective} with {options}")


def held_out(dataset: Dataset) -> Dataset:
    """A data set without its test images: a fifth of the training images take their place."""
    order = dataset.subset(len(dataset.train))  # in a fixed random order
    count = len(dataset.train) // _HELD_OUT
    return dataclasses.replace(
        order,
        name=_name_held_out(dataset),
        train=order.train[count:],
        train_labels=order.train_labels[count:],
        test=order.train[:count],
        test_labels=order.train_labels[:count],
    )


def _name_held_out(dataset: Dataset) -> str:
    return f"{dataset.name}-without-test"


def _row(label: str) -> Row:
    if label not in ALL_ROWS:
        raise ValueError(unknown("row", label, ALL_ROWS))
    return ALL_ROWS[label]
