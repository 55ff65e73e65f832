"""Trained models that are kept for other chapters, and for the next execution of the same one."""

import contextlib
import functools
import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import pandas as pd
import torch

import envae
from envae.datasets import Dataset, files
from envae.experiments import records
from envae.experiments.runs._point import Point
from envae.experiments.runs._train import Trained
from envae.objectives import objective
from envae.training import Pair

# What tells and draws, and trains nothing.
_TRAINS_NOTHING = ("companion", "cli.py", "theory")
_FOLDER = "envae-models-"  # and the code's digest
_DAY = 24 * 60 * 60


def find(point: Point, dataset: Dataset) -> Trained | None:
    """A point's model, objective and history, if they were kept by :func:`keep`.

    None where `$ENVAE_MODELS` names no folder, where the file is not whole, and after any change of
    the data, of torch or of this package's code; what is not this package's is never kept.
    """
    path = _path(point, dataset)
    found = None if path is None else files.read_tensors(path)
    if found is None:
        return None
    state, told = found
    vae, minimized = point.build(dataset.image_shape)
    if not _is_of_this_package(point, minimized):
        return None
    minimized.prepare(dataset.image_shape)
    pair = Pair(vae, minimized)
    pair.load_state_dict(state)
    pair.eval()
    return vae, minimized, pd.DataFrame(json.loads(told["history"]))


def keep(point: Point, dataset: Dataset, trained: Trained) -> None:
    """Keep what was trained in `$ENVAE_MODELS`, if that names a folder that can be written.

    Models of other code that were written there more than a day ago are removed.
    """
    path = _path(point, dataset)
    vae, minimized, history = trained
    if path is None or not _is_of_this_package(point, minimized):
        return
    state, told = Pair(vae, minimized).state_dict(), json.dumps(history.to_dict("list"))
    with contextlib.suppress(OSError):
        files.write_tensors(path, state, {"history": told})
    for older in path.parent.parent.glob(f"{_FOLDER}*"):
        if older != path.parent and time.time() - older.stat().st_mtime > _DAY:
            shutil.rmtree(older, ignore_errors=True)


def _is_of_this_package(point: Point, minimized: object) -> bool:
    """Whether all the code that trains the point is what :func:`_code` has seen."""
    kinds = [type(point), type(minimized)]
    if point.start is not None:
        kinds.append(type(objective(point.start.objective, **point.start.options)))
    return all(kind.__module__.startswith("envae.") for kind in kinds)


def _path(point: Point, dataset: Dataset) -> Path | None:
    folder = os.environ.get("ENVAE_MODELS")
    if not folder:
        return None
    told = {"kind": type(point).__name__} | point.parameters(dataset.name)
    name = records.key(dataset.checksum, told)
    return Path(folder) / f"{_FOLDER}{_code()}" / f"{name}.safetensors"


@functools.cache
def _code() -> str:
    """Twelve hexadecimal digits for torch and the code that a training may depend on."""
    digest = hashlib.sha256(torch.__version__.encode())
    folder = Path(envae.__path__[0])
    for path in sorted(folder.rglob("*.py")):
        if path.relative_to(folder).parts[0] not in _TRAINS_NOTHING:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
