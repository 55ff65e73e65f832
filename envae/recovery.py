"""Table 3 of takida2022: models trained on noisy images, and the variances that they report."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence

import pandas as pd
import scipy.stats
import torch
from joblib import Parallel, delayed
from torch import Tensor

from envae import ensemble, networks, published, records, sweep
from envae.datasets import Dataset
from envae.metrics.uncertainty import readings
from envae.noise import PATTERNS, mask, noisy, partitions
from envae.objectives import Objective, objective
from envae.sweep import Outcome, Setting
from envae.vae import VAE

# The columns of Table 3: the partitions over which each parameterization shares its variance.
COLUMNS = {
    "Iso-I": ["SU+SL+BU+BL"],
    "Diag-I": ["SU+BU", "SL+BL"],
    "Iso-D": ["SU+SL", "BU+BL"],
    "Diag-D": ["SU", "SL", "BU", "BL"],
}
_KEYS = ["model", "pattern", "s2", "part"]

AfterEpoch = Callable[[int, list[VAE], list[Objective]], None]


@dataclasses.dataclass(frozen=True)
class Row:
    """What models are trained with.

    Attributes
    ----------
    name, options
        The objective, as `objective(name, **options)`.
    warm_up
        Epochs, of those that the setting grants, in which `iso_i` is minimized instead.
    """

    name: str
    options: dict = dataclasses.field(default_factory=dict)
    warm_up: int = 0


@dataclasses.dataclass(frozen=True)
class Case:
    """The noise that one model is trained on.

    Attributes
    ----------
    pattern, variance, law
        As `noise.noisy` takes them.
    seed
        Seed of the noise, of the weights and of the readings.
    redraw
        Whether the training noise is drawn anew in every epoch.
    """

    pattern: str | Tensor
    variance: float
    seed: int
    law: str = "gaussian"
    redraw: bool = False

    def apply(self, clean: Dataset, epoch: int = 0) -> Dataset:
        """The noisy data; every epoch has a draw of its own."""
        seed = self.seed + 1_000_003 * epoch
        return noisy(clean, self.pattern, self.variance, law=self.law, seed=seed)


def train(
    row: Row,
    cases: Sequence[Case],
    *,
    clean: Dataset,
    setting: Setting,
    experiment: str,
    after_epoch: AfterEpoch | None = None,
) -> list[Outcome]:
    """Train a model on each case with one objective, as one ensemble; read it out, and record it.

    Parameters
    ----------
    row
        What is minimized.
    cases
        What the models differ in.
    clean
        Images that the noise is added to.
    setting
        What the models share.
    experiment
        Name under which the runs are recorded.
    after_epoch
        Called after every epoch with the number of epochs so far, the models, the objectives.

    Returns
    -------
    list of Outcome
        In the order of the cases. Metrics as `uncertainty.readings` names them; a model whose loss
        left the finite numbers has one only, `diverged_epoch`.
    """
    start = time.perf_counter()
    drawn = [case.apply(clean) for case in cases]
    images = torch.stack([data.train for data in drawn])
    objectives = [objective(row.name, **row.options) for _ in cases]
    head = objectives[0].head_maps(clean.image_shape[0])
    vaes = [
        networks.build(
            setting.network, clean.image_shape, setting.latent_dim, head=head, seed=case.seed
        )
        for case in cases
    ]

    def of_epoch(epoch: int) -> Tensor:
        for index, case in enumerate(cases):
            if case.redraw:
                images[index] = case.apply(clean, epoch).train
        return images

    shared = {"batch_size": setting.batch_size, "lr": setting.lr, "seed": cases[0].seed}
    if row.warm_up:
        ensemble.fit(
            vaes, [objective("iso_i") for _ in cases], of_epoch, epochs=row.warm_up, **shared
        )
    losses = ensemble.fit(
        vaes,
        objectives,
        lambda epoch: of_epoch(row.warm_up + epoch),
        epochs=setting.epochs - row.warm_up,
        after_epoch=after_epoch and (lambda epoch: after_epoch(epoch, vaes, objectives)),
        **shared,
    )
    seconds = (time.perf_counter() - start) / len(cases)
    outcomes = []
    for case, data, vae, trained, loss in zip(
        cases, drawn, vaes, objectives, losses.T, strict=True
    ):
        if loss.isfinite().all():
            values = readings(vae, trained, data, case.seed)
        else:
            values = {"diverged_epoch": (1 + loss.isfinite().int().argmin().item(), "epochs")}
        history = pd.DataFrame({"total": loss[loss.isfinite()].tolist()})
        parameters = _parameters(row, case, data, setting, len(cases))
        metrics = records.save_values(
            experiment,
            parameters,
            values,
            seconds=round(seconds, 2),
            curves={"total": history["total"]},
            data_checksum=data.checksum,
        )
        outcomes.append(Outcome(vae, trained, parameters, metrics, history, seconds))
    return outcomes


def _parameters(row: Row, case: Case, data: Dataset, setting: Setting, members: int) -> dict:
    """What a run is recorded under; those of an ensemble depend on its size, by their noise."""
    point = sweep.point(row.name, row.options, dataset=data, setting=setting, seed=case.seed)
    return point | {"warm_up": row.warm_up, "redraw": case.redraw, "ensemble": members}


def train_all(rows: Iterable[Row], cases: Sequence[Case], **shared) -> list[list[Outcome]]:
    """:func:`train` for several objectives, one process per core; in the order of the rows."""
    return Parallel(n_jobs=-1)(delayed(train)(row, cases, **shared) for row in rows)


def table(runs: dict[str, Sequence[Outcome]], cases: Sequence[Case]) -> pd.DataFrame:
    """All readings of the outcomes of :func:`train`, one per line.

    Returns
    -------
    DataFrame
        Columns `model` (key of `runs`), `pattern`, `s2`, `law`, `redraw`, `seed`, `map`, `split`,
        `part`, `value`. Models that left the finite numbers have no lines.
    """
    lines = [
        (model, case.pattern, case.variance, case.law, case.redraw, case.seed, *key.split("_"), v)
        for model, outcomes in runs.items()
        for case, outcome in zip(cases, outcomes, strict=True)
        for key, v in outcome.metrics.items()
        if "diverged_epoch" not in outcome.metrics
    ]
    columns = ["model", "pattern", "s2", "law", "redraw", "seed", "map", "split", "part", "value"]
    return pd.DataFrame(lines, columns=columns)


def recorded(experiment: str) -> pd.DataFrame:
    """Readings of recorded runs of maximum likelihood, on the training images.

    Returns
    -------
    DataFrame
        Columns `model` (as in `COLUMNS`), `warm_up`, `pattern`, `s2`, `seed`, `part`, `value`;
        empty where nothing is recorded.
    """
    stored = records.load(experiment)
    if stored.empty:
        return stored
    noise_of = stored["dataset"].str.extract(r"\+(?P<pattern>.*)-gaussian-(?P<s2>[\d.]+)-\d+$")
    model = (
        stored["objective"].str.split("_").map(lambda name: f"{name[0].title()}-{name[1].upper()}")
    )
    told = stored.assign(model=model, pattern=noise_of["pattern"], s2=noise_of["s2"].astype(float))
    parts = {f"variance_train_{part}": part for part in COLUMNS["Diag-D"]}
    return told.rename(columns=parts).melt(
        ["model", "warm_up", "pattern", "s2", "seed"], list(parts.values()), "part"
    )


def cells(readings: pd.DataFrame, clean: Dataset) -> pd.DataFrame:
    """The cells of Table 3 from readings of one map and one split.

    Parameters
    ----------
    readings
        Lines of :func:`table`, whose `model` are the keys of `COLUMNS`. Lines of the pattern
        `uniform` at s2 = 0 are the clean images: every cell is compared with s_x^2, times the
        share of its pixels that are noisy, plus the same model's estimate there.
    clean
        The images without noise, for the shares.

    Returns
    -------
    DataFrame
        Indexed by `model`, `pattern`, `s2`, `part`: `value` (mean over seeds), `clean` and
        `target`; `deviation` (mean, relative to the target) and `half` (half the width of its
        95 % interval by Student's t); `share`; `kind` (noisy, clean or mixed) and `sufficient`,
        whether no cell of this model and pattern is mixed.
    """
    wide = readings.pivot(index=["model", "pattern", "s2", "seed"], columns="part", values="value")
    each = (
        pd.concat(
            {
                (model, part): wide.xs(model)[part.split("+")].mean(axis=1)
                for model, of_model in COLUMNS.items()
                if model in wide.index
                for part in of_model
            },
            names=["model", "part"],
        )
        .rename("value")
        .reset_index()
    )
    without = each[each["s2"] == 0].set_index(["model", "part", "seed"])["value"]
    each = each[each["s2"] > 0].join(without.rename("clean"), on=["model", "part", "seed"])
    shares = {
        (pattern, part): _share(pattern, part.split("+"), clean)
        for pattern in PATTERNS
        for part in set(each["part"])
    }
    each["share"] = [shares[key] for key in zip(each["pattern"], each["part"], strict=True)]
    each["target"] = each["share"] * each["s2"] + each["clean"]
    each["deviation"] = each["value"] / each["target"] - 1
    grouped = each.groupby(_KEYS, sort=False)
    frame = grouped[["value", "clean", "target", "deviation", "share"]].mean()
    quantile = scipy.stats.t.ppf(0.975, grouped.size() - 1)
    frame["half"] = quantile * grouped["deviation"].std() / grouped.size() ** 0.5
    frame["kind"] = frame["share"].map({0: "clean", 1: "noisy"}).fillna("mixed")
    in_order = [
        (model, pattern, s2, part)
        for model, parts in COLUMNS.items()
        for pattern in PATTERNS
        for s2 in sorted(set(each["s2"]))
        for part in parts
    ]
    frame = frame.loc[[key for key in in_order if key in frame.index]]
    mixed = (frame["kind"] == "mixed").groupby(["model", "pattern"]).transform("any")
    return frame.assign(sufficient=~mixed)


def _share(pattern: str, parts: list[str], clean: Dataset) -> float:
    """Share of the pixels in these partitions that a pattern makes noisy."""
    labels, shape = clean.train_labels, clean.image_shape
    within = partitions(labels, shape)
    union = torch.stack([within[part] for part in parts]).any(0)
    return mask(pattern, labels, shape)[union].float().mean().item()


def printed() -> pd.Series:
    """Table 3 as it is printed, indexed as :func:`cells`."""
    table3 = published.table("takida2022", 3)
    names = table3["row"].str.split(" | ", regex=False, expand=True)
    return pd.Series(
        table3["value"].to_numpy(),
        index=pd.MultiIndex.from_arrays(
            [
                names[2],
                names[0].str.lower(),
                names[1].str.removeprefix("s_x^2=").astype(float),
                table3["metric"].str.extract(r"\[(.*)\]")[0],
            ],
            names=_KEYS,
        ),
        name="published",
    )


def gradient_signal(
    objective: Objective, vae: VAE, images: Tensor, *, batch_size: int = 64, batches: int = 200
) -> float:
    """Signal-to-noise ratio of a minibatch's gradient, of the reconstruction term by the weights.

    The squared length of the mean gradient over the mean squared distance from it, over batches
    drawn at random; the part of the squared length that is noise is taken off, so that the ratio
    may come out a little below zero where there is no signal.
    """
    gradients = []
    for batch in torch.randint(len(images), (batches, batch_size)):
        loss = objective(vae, images[batch]).reconstruction
        of_weights = torch.autograd.grad(loss, list(vae.parameters()))
        gradients.append(torch.cat([gradient.flatten() for gradient in of_weights]))
    stacked = torch.stack(gradients)
    noise = stacked.var(0).sum()
    return ((stacked.mean(0).square().sum() - noise / batches) / noise).item()
