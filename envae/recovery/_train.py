"""Models trained on noisy images as one ensemble, read out and recorded."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence

import pandas as pd
import torch
from joblib import delayed
from torch import Tensor

from envae import ensemble, networks, records, sweep
from envae._parallel import side_by_side
from envae.datasets import Dataset
from envae.metrics.uncertainty import readings
from envae.noise import noisy
from envae.objectives import Objective, objective
from envae.sweep import Outcome, Setting
from envae.vae import VAE

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
    return side_by_side(delayed(train)(row, cases, **shared) for row in rows)
