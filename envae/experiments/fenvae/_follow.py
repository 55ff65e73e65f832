"""Runs that stop to be measured on the way, and are not recorded."""

import dataclasses
import functools
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from envae.datasets import Dataset
from envae.experiments import runs
from envae.experiments.fenvae._case import Case
from envae.experiments.fenvae._measures import measure
from envae.experiments.records import Values
from envae.metrics.extractor import Extractor
from envae.objectives import Objective
from envae.vae import VAE


def follow(
    case: Case, epochs: Iterable[int], *, dataset: Dataset, extractor: Extractor
) -> tuple[VAE, pd.DataFrame]:
    """Train as `runs.run` does, and stop to measure after so many epochs; nothing is recorded.

    Returns
    -------
    tuple
        The model after the last stop, and a row of measures for each stop, with `epoch` and
        `seconds` of training so far.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "run.safetensors"
        for count in epochs:
            trained = runs.train(_until(case, count), dataset, checkpoint=checkpoint)
            vae, minimized, history = trained
            values = measure(vae, minimized, dataset, case.seed, extractor=extractor)
            rows.append(_row(values) | {"epoch": count, "seconds": history["seconds"].sum()})
    return vae, pd.DataFrame(rows)


def follow_all(
    cases: Iterable[Case], epochs: Iterable[int], **shared: Any
) -> list[tuple[VAE, pd.DataFrame]]:
    """Cases in the order given, several as one where `runs.stacks` says so. See :func:`follow`."""
    call = functools.partial(_follow_stack, epochs=list(epochs), **shared)
    return runs.of_stacks(call, cases)


def _follow_stack(
    cases: list[Case], epochs: list[int], *, dataset: Dataset, extractor: Extractor
) -> list[tuple[VAE, pd.DataFrame]]:
    """What :func:`follow` gives for each case of a stack."""
    if len(cases) == 1:
        return [follow(cases[0], epochs, dataset=dataset, extractor=extractor)]
    cases = [_until(case, epochs[-1]) for case in cases]
    started = epochs[-1] - cases[0].own_epochs
    rows: list[list[dict[str, float]]] = [[] for _ in cases]

    def read(epoch: int, vaes: list[VAE], objectives: list[Objective]) -> None:
        if started + epoch not in epochs:
            return
        for case, pair, of_case in zip(
            cases, zip(vaes, objectives, strict=True), rows, strict=True
        ):
            values = measure(*pair, dataset, case.seed, extractor=extractor)
            of_case.append(_row(values) | {"epoch": started + epoch})

    trained = runs.train_stack(cases, dataset, after_epoch=read)
    for case, of_case, (_, _, history) in zip(cases, rows, trained, strict=True):
        if len(history) < case.own_epochs:
            case.lost(len(history) + 1)
        for row in of_case:
            row["seconds"] = history["seconds"][: int(row["epoch"]) - started].sum()
    return [
        (vae, pd.DataFrame(of_case)) for (vae, _, _), of_case in zip(trained, rows, strict=True)
    ]


def _until(case: Case, epochs: int) -> Case:
    return dataclasses.replace(case, setting=dataclasses.replace(case.setting, epochs=epochs))


def _row(values: Values) -> dict[str, float]:
    return {name: value for name, (value, _) in values.items()}
