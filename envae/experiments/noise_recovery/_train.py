"""Models trained on noisy images, and what is measured of them."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from envae.datasets import Dataset
from envae.datasets.noise import noisy, noisy_name
from envae.evaluation import seeded
from envae.experiments.records import Values
from envae.experiments.runs import Outcome, Point, Setting, Start, run_all
from envae.metrics import uncertainty
from envae.objectives import Objective
from envae.vae import VAE


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
    """

    noise: Noise = Noise("uniform", 0.0, 0)

    stacked: ClassVar[bool] = True

    @property
    def redraws(self) -> bool:
        return self.noise.redraw

    def parameters(self, dataset: str) -> dict[str, Any]:
        noise = self.noise
        name = noisy_name(dataset, noise.pattern, noise.variance, law=noise.law, seed=noise.seed)
        told = super().parameters(name) | {"redraw": noise.redraw}
        start = told.pop("start", {"epochs": 0})
        return told | {"warm_up": start["epochs"]}  # of iso_i: see group

    def data(self, dataset: Dataset, epoch: int = 0) -> Dataset:
        return self.noise.apply(dataset, epoch if self.noise.redraw else 0)

    def lost(self, epoch: int) -> Values:
        return {"diverged_epoch": (epoch, "epochs")}


def group(
    name: str,
    options: Mapping[str, Any],
    noises: Iterable[Noise],
    setting: Setting,
    *,
    warm_up: int = 0,
) -> list[NoisyPoint]:
    """A point for each kind of noise, of one objective with its options.

    `warm_up`: epochs, of those that the setting grants, in which `iso_i` is minimized instead.
    """
    start = Start("iso_i", {}, warm_up) if warm_up else None
    return [NoisyPoint(name, options, noise.seed, setting, start, noise=noise) for noise in noises]


def train_all(
    groups: Iterable[Sequence[NoisyPoint]], *, clean: Dataset, experiment: str
) -> list[list[Outcome[NoisyPoint]]]:
    """Train the models of several groups, read each out, and record it.

    Parameters
    ----------
    groups
        As :func:`group` makes them.
    clean
        Images that the noise is added to.
    experiment
        Name under which the runs are recorded.

    Returns
    -------
    list of list of Outcome
        In the order of groups and points. Metrics as :func:`readings` names them; a model whose
        loss left the finite numbers has one only, `diverged_epoch`.
    """
    groups = [list(group) for group in groups]
    points = [point for group in groups for point in group]
    outcomes = iter(run_all(points, dataset=clean, experiment=experiment, measure=readings))
    return [[next(outcomes) for _ in group] for group in groups]


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
