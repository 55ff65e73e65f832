"""Runs that stop to be measured on the way, and are not recorded."""

import dataclasses
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import delayed

from envae.datasets import Dataset
from envae.experiments import runs
from envae.experiments.fenvae._case import Case
from envae.experiments.fenvae._measures import measure
from envae.experiments.parallel import side_by_side
from envae.metrics.extractor import Extractor
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
            setting = dataclasses.replace(case.setting, epochs=count)
            until = dataclasses.replace(case, setting=setting)
            vae, minimized, history = runs.train(until, dataset, checkpoint=checkpoint)
            values = measure(vae, minimized, dataset, case.seed, extractor=extractor)
            row = {name: value for name, (value, _) in values.items()}
            rows.append(row | {"epoch": count, "seconds": history["seconds"].sum()})
    return vae, pd.DataFrame(rows)


def follow_all(
    cases: Iterable[Case], epochs: Iterable[int], **shared: Any
) -> list[tuple[VAE, pd.DataFrame]]:
    """Cases side by side, one process per core, in the order given. See :func:`follow`."""
    return side_by_side(delayed(follow)(case, epochs, **shared) for case in cases)
