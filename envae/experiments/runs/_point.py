"""What a run is."""

import dataclasses
import operator
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

import pandas as pd

from envae import networks
from envae.datasets import Dataset
from envae.experiments.records import Values
from envae.objectives import Objective, objective
from envae.objectives.base import check_count
from envae.vae import VAE


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all rows of a table share, so that they differ in their objective alone.

    Attributes
    ----------
    network, latent_dim
        As `networks.build` takes them.
    epochs, batch_size, lr
        As `training.fit` takes them.
    posterior
        As `networks.build` takes it; None is the network's own.
    """

    network: str = "mlp"
    latent_dim: int = 16
    epochs: int = 60
    batch_size: int = 64
    lr: float = 1e-3
    posterior: str | float | None = None

    def __post_init__(self) -> None:
        for name in ("latent_dim", "epochs", "batch_size"):
            check_count(**{name: getattr(self, name)})
            # NumPy's integers are no JSON.
            object.__setattr__(self, name, operator.index(getattr(self, name)))


@dataclasses.dataclass(frozen=True)
class Start:
    """What a model is trained with first, in some of the epochs that its setting grants.

    Attributes
    ----------
    objective, options
        As `objectives.objective` takes them.
    epochs
        How many; the rest are left for the point's own objective, with an optimizer of its own.
    """

    objective: str
    options: Mapping[str, Any]
    epochs: int

    def __post_init__(self) -> None:
        check_count(epochs=self.epochs)
        object.__setattr__(self, "epochs", operator.index(self.epochs))


@dataclasses.dataclass(frozen=True)
class Point:
    """One run. A kind of run with more to it is a subclass that says what is different.

    Attributes
    ----------
    objective, options
        As `objectives.objective` takes them.
    seed
        Seed of weights, order, noise and whatever is drawn to measure.
    setting
        What it shares with other points.
    start
        A warm start, or none.
    """

    objective: str
    options: Mapping[str, Any]
    seed: int
    setting: Setting = Setting()
    start: Start | None = None

    # Whether it is trained as a stack whatever its network, be it of one.
    stacked: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", operator.index(self.seed))  # NumPy's integers are others
        if self.start is not None and self.start.epochs not in range(1, self.setting.epochs):
            raise ValueError(
                f"a start takes from 1 to {self.setting.epochs - 1} of the setting's "
                f"{self.setting.epochs} epochs, received {self.start.epochs}"
            )

    @property
    def redraws(self) -> bool:
        """Whether its data change from epoch to epoch, which only a stack can be trained on."""
        return False

    @property
    def own_epochs(self) -> int:
        """Epochs of the setting that are left for the point's own objective."""
        return self.setting.epochs - (0 if self.start is None else self.start.epochs)

    def parameters(self, dataset: str) -> dict[str, Any]:
        """What a run on a data set is recorded under.

        The posterior is among it if it is not the network's, and the start if there is one.
        """
        told = dataclasses.asdict(self.setting)
        if self.setting.posterior is None:
            del told["posterior"]
        told |= {"objective": self.objective, "options": dict(self.options), "seed": self.seed}
        if self.start is not None:
            told["start"] = dataclasses.asdict(self.start)
        return told | {"dataset": dataset}

    def data(self, dataset: Dataset, epoch: int = 0) -> Dataset:
        """What the model sees of a data set in an epoch, counted from 0."""
        return dataset

    def build(self, image_shape: tuple[int, int, int]) -> tuple[VAE, Objective]:
        """Model and objective, new."""
        minimized = objective(self.objective, **self.options)
        return self.build_for(minimized, image_shape), minimized

    def build_for(self, minimized: Objective, image_shape: tuple[int, int, int]) -> VAE:
        """A new model for an objective."""
        setting = self.setting
        return networks.build(
            setting.network, image_shape, setting.latent_dim,
            objective=minimized, posterior=setting.posterior, seed=self.seed,
        )  # fmt: skip

    def lost(self, epoch: int) -> Values:
        """Values to record of a run whose loss left the finite numbers in an epoch, from 1.

        Raises
        ------
        FloatingPointError
            Where such a run is no result.
        """
        raise FloatingPointError(
            f"the loss is not finite at epoch {epoch}: try a smaller learning rate"
        )


Kind = TypeVar("Kind", bound=Point)


@dataclasses.dataclass(frozen=True)
class Outcome(Generic[Kind]):
    """A run that was done: its trained model and objective, on the CPU, and what is recorded."""

    point: Kind
    vae: VAE
    objective: Objective
    parameters: dict[str, Any]
    metrics: dict[str, float]
    history: pd.DataFrame
    seconds: float


def points(
    rows: Iterable[tuple[str, Mapping[str, Any]]], seeds: Iterable[int], setting: Setting
) -> list[Point]:
    """Each of some objectives with its options, from each of some seeds."""
    seeds = list(seeds)
    return [Point(name, options, seed, setting) for name, options in rows for seed in seeds]
