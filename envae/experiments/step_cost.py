"""What a training step costs beside another objective's, measured and recorded."""

import dataclasses
import time
from collections.abc import Callable, Mapping

import pandas as pd
import torch

from envae.datasets import Dataset
from envae.experiments import records, runs
from envae.experiments.records import Values
from envae.experiments.runs import Point
from envae.training import Pair, batch_sizes

_EXPERIMENT = "step_cost"
_BETWEEN = " | "  # a row and what is told of it, in the name of a metric


def step_seconds(
    cases: Mapping[str, Point],
    image_shape: tuple[int, int, int],
    *,
    repeats: int = 10,
    load: Callable[[], object] | None = None,
) -> pd.DataFrame:
    """Seconds of a training step of each case on random images, the cases taking turns.

    Parameters
    ----------
    cases
        By label; their `batch_size` images are used in every step.
    image_shape
        `(C, H, W)`.
    repeats
        Timed steps of each; a column each, after two that are not timed.
    load
        Called before every step and timed with it: what fetching a batch takes, where nothing
        fetches the next one meanwhile.
    """
    steps = {label: _step(case, image_shape) for label, case in cases.items()}
    seconds: dict[str, list[float]] = {label: [] for label in steps}
    for _ in range(repeats + 2):
        for label, step in steps.items():
            start = time.perf_counter()
            if load is not None:
                load()
            step()
            seconds[label].append(time.perf_counter() - start)
    return pd.DataFrame.from_dict(seconds, orient="index").iloc[:, 2:]


def seconds_in_training(case: Point, dataset: Dataset, *, steps: int = 4) -> float:
    """Seconds of a step as a training by itself takes it, where it takes it: on a GPU too.

    The case is trained on so many batches of the images; timed is the last epoch, of two or more.
    """
    count = steps * case.setting.batch_size
    few = dataclasses.replace(
        dataset, train=dataset.train[:count], train_labels=dataset.train_labels[:count]
    )
    *_, history = runs.train(case, few)
    done = len(batch_sizes(len(few.train), case.setting.batch_size))
    return float(history["seconds"].iloc[-1]) / done


def _step(case: Point, image_shape: tuple[int, int, int]) -> Callable[[], None]:
    """One step of training, as `training.fit` takes it, on one batch of random images."""
    vae, minimized = case.build(image_shape)
    weights = Pair(vae, minimized).parameters()
    optimizer = torch.optim.Adam(weights, lr=case.setting.lr, betas=minimized.betas, fused=True)
    x = torch.rand(
        case.setting.batch_size, *image_shape, generator=torch.Generator().manual_seed(0)
    )

    def step() -> None:
        optimizer.zero_grad()
        minimized(vae, x).total.backward()
        optimizer.step()

    return step


def step_ratios(seconds: pd.DataFrame) -> pd.DataFrame:
    """Cost of each step beside the first row's in the same round.

    A ratio is taken within a round, so that a machine that is slow for a while slows both.

    Parameters
    ----------
    seconds
        As :func:`step_seconds` gives them.

    Returns
    -------
    DataFrame
        By row: `median`, `low` and `high` of the ratio over rounds, and `seconds`, the median of
        the step itself.
    """
    ratios = seconds / seconds.iloc[0]
    return pd.DataFrame(
        {
            "median": ratios.median(axis=1),
            "low": ratios.min(axis=1),
            "high": ratios.max(axis=1),
            "seconds": seconds.median(axis=1),
        }
    )


def record_steps(
    seconds: pd.DataFrame,
    kind: str,
    cases: Mapping[str, Point],
    image_shape: tuple[int, int, int],
) -> None:
    """Write :func:`step_ratios` as a run record, in place of one of the same kind and setting.

    Parameters
    ----------
    seconds, cases, image_shape
        What :func:`step_seconds` gave, and what it was given; the cases differ in their objective
        alone.
    kind
        What was timed, such as `compute-bound`.

    Raises
    ------
    ValueError
        If the cases have not one network, one latent dimension and one batch size.
    """
    settings = {
        (case.setting.network, case.setting.latent_dim, case.setting.batch_size)
        for case in cases.values()
    }
    if len(settings) != 1:
        raise ValueError(
            "cases of one record share network, latent_dim and batch_size, "
            f"received {sorted(settings)}"
        )
    network, latent_dim, batch_size = settings.pop()
    rounds = seconds.shape[1]
    ratio = f"ratio to the step of {seconds.index[0]} in the same round"
    values = as_values(step_ratios(seconds), ratio, rounds)
    values["threads"] = (torch.get_num_threads(), "threads of torch")
    parameters = {
        "kind": kind,
        "network": network,
        "image_shape": list(image_shape),
        "latent_dim": latent_dim,
        "batch_size": batch_size,
    }
    records.save_values(_EXPERIMENT, parameters, values)


def recorded_steps(kind: str, network: str) -> pd.DataFrame:
    """What :func:`record_steps` wrote, as :func:`step_ratios` gives it; rows by name.

    Raises
    ------
    LookupError
        If there is not exactly one record of this kind and network.
    """
    stored = records.load(_EXPERIMENT)
    found = stored if stored.empty else stored.query("kind == @kind and network == @network")
    if len(found) != 1:
        raise LookupError(
            f"{len(found)} records of {kind} steps of {network!r}, where there should be one: "
            "python benchmarks/step_cost.py --record"
        )
    return as_table(found.iloc[0])


def as_values(ratios: pd.DataFrame, what: str, rounds: int) -> Values:
    """Values to record of a table of ratios, as :func:`step_ratios` gives one.

    Parameters
    ----------
    ratios
        By row: `median`, `low`, `high`, and `seconds`.
    what
        What the ratios are, for the values' units.
    rounds
        Over how many rounds.
    """
    units = {
        "median": f"{what}, median of {rounds} rounds",
        "low": f"{what}, lowest of {rounds} rounds",
        "high": f"{what}, highest of {rounds} rounds",
        "seconds": f"seconds, median of {rounds} rounds",
    }
    return {
        f"{row}{_BETWEEN}{column}": (value, units[column])
        for (row, column), value in ratios.stack().items()
    }


def as_table(record: pd.Series) -> pd.DataFrame:
    """The table of ratios that a row of `records.load` holds; see :func:`as_values`."""
    values = record.filter(like=_BETWEEN).dropna().astype(float)
    values.index = pd.MultiIndex.from_tuples([name.split(_BETWEEN) for name in values.index])
    columns = ["median", "low", "high", "seconds"]
    return values.unstack().loc[values.index.get_level_values(0).unique(), columns]
