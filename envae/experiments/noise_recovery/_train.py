"""Models trained on noisy images as one group, and what is measured of them."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from joblib import delayed
from torch import Tensor

from envae.datasets import Dataset
from envae.datasets.noise import noisy, noisy_name
from envae.evaluation import seeded
from envae.experiments import batched
from envae.experiments.parallel import side_by_side
from envae.experiments.records import Values
from envae.experiments.runs import Outcome, Point, Setting, Trained, run_group
from envae.metrics import uncertainty
from envae.objectives import Objective, objective
from envae.vae import VAE

AfterEpoch = Callable[[int, list[VAE], list[Objective]], None]


@dataclasses.dataclass(frozen=True)
class Noise:
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
        return noisy(
            clean, self.pattern, self.variance, law=self.law, seed=self.seed + 1_000_003 * epoch
        )


@dataclasses.dataclass(frozen=True)
class NoisyPoint(Point):
    """A run on noisy images.

    Attributes
    ----------
    noise
        What is added to the images; its seed is the point's.
    warm_up
        Epochs, of those that the setting grants, in which `iso_i` is minimized instead.
    """

    noise: Noise = Noise("uniform", 0.0, 0)
    warm_up: int = 0

    def parameters(self, dataset: str) -> dict[str, Any]:
        noise = self.noise
        name = noisy_name(dataset, noise.pattern, noise.variance, law=noise.law, seed=noise.seed)
        told = super().parameters(name)
        return told | {"warm_up": self.warm_up, "redraw": noise.redraw}

    def data(self, dataset: Dataset, epoch: int = 0) -> Dataset:
        return self.noise.apply(dataset, epoch if self.noise.redraw else 0)


def group(
    name: str,
    options: Mapping[str, Any],
    noises: Iterable[Noise],
    setting: Setting,
    *,
    warm_up: int = 0,
) -> list[NoisyPoint]:
    """A point for each kind of noise, of one objective with its options."""
    return [
        NoisyPoint(name, options, noise.seed, setting, noise=noise, warm_up=warm_up)
        for noise in noises
    ]


def train(
    points: Sequence[NoisyPoint],
    *,
    clean: Dataset,
    experiment: str,
    after_epoch: AfterEpoch | None = None,
) -> list[Outcome[NoisyPoint]]:
    """Train the models of a group as one, read each out, and record it.

    Parameters
    ----------
    points
        Of one objective and one setting, as :func:`group` makes them.
    clean
        Images that the noise is added to.
    experiment
        Name under which the runs are recorded.
    after_epoch
        Called after every epoch with the number of epochs so far, the models, the objectives.

    Returns
    -------
    list of Outcome
        In the order of the points. Metrics as :func:`readings` names them; a model whose loss left
        the finite numbers has one only, `diverged_epoch`.
    """

    def together(points: Sequence[NoisyPoint], clean: Dataset) -> list[Trained]:
        return _together(points, clean, after_epoch)

    return run_group(points, train=together, dataset=clean, experiment=experiment, measure=readings)


def train_all(
    groups: Iterable[Sequence[NoisyPoint]], **shared: Any
) -> list[list[Outcome[NoisyPoint]]]:
    """:func:`train` for several groups, one process per core; in their order."""
    return side_by_side(delayed(train)(group, **shared) for group in groups)


def _together(
    points: Sequence[NoisyPoint], clean: Dataset, after_epoch: AfterEpoch | None
) -> list[Trained]:
    """Model, objective, history and, of those that diverged, what is told instead of readings."""
    first = points[0]
    setting, warm_up = first.setting, first.warm_up
    images = torch.stack([point.data(clean).train for point in points])
    vaes, objectives = map(
        list, zip(*(point.build(clean.image_shape) for point in points), strict=True)
    )

    def of_epoch(epoch: int) -> Tensor:
        if epoch and any(point.noise.redraw for point in points):
            return torch.stack([point.data(clean, epoch).train for point in points])
        return images

    fit = functools.partial(
        batched.fit, batch_size=setting.batch_size, lr=setting.lr, seed=first.seed
    )
    if warm_up:
        warming = [objective("iso_i") for _ in points]
        fit(vaes, warming, of_epoch, epochs=warm_up)
    losses = fit(
        vaes,
        objectives,
        lambda epoch: of_epoch(warm_up + epoch),
        epochs=setting.epochs - warm_up,
        after_epoch=(
            None if after_epoch is None else lambda epoch: after_epoch(epoch, vaes, objectives)
        ),
    )
    trained = []
    for vae, minimized, loss in zip(vaes, objectives, losses.T, strict=True):
        finite = loss.isfinite()
        history = pd.DataFrame({"total": loss[finite].tolist()})
        diverged = {} if finite.all() else {
            "diverged_epoch": (1 + finite.int().argmin().item(), "epochs")
        }  # fmt: skip
        trained.append((vae.cpu(), minimized.cpu(), history, diverged))
    return trained


def readings(
    vae: VAE, objective: Objective, dataset: Dataset, seed: int, *, draws: int = 4
) -> Values:
    """Means of `uncertainty.maps` over the partitions, a `runs.Measure`: `<map>_<split>_<part>`."""
    values = {}
    with seeded(seed):
        for split in ("train", "test"):
            images, labels = getattr(dataset, split), getattr(dataset, f"{split}_labels")
            for kind, of_images in uncertainty.maps(vae, objective, images, draws=draws).items():
                for part, value in uncertainty.over_partitions(of_images, labels).items():
                    values[f"{kind}_{split}_{part}"] = (value, uncertainty.UNIT)
    return values
