"""Trained models that are kept for other chapters, and for the next execution of the same one."""

import functools
import hashlib
import json
import os
import shutil
from pathlib import Path

import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import envae
from envae._files import whole
from envae.datasets import Dataset
from envae.experiments import records
from envae.experiments.runs._point import Point
from envae.experiments.runs._train import Trained
from envae.training import Pair

# What tells and draws, and trains nothing.
_TRAINS_NOTHING = ("companion", "cli.py", "theory")


def find(point: Point, dataset: Dataset) -> Trained | None:
    """A point's model, objective and history, if they were kept by :func:`keep`.

    None where `$ENVAE_MODELS` names no folder, and after any change of the data, of torch or of
    the code that a training may depend on.
    """
    path = _path(point, dataset)
    if path is None or not path.is_file():
        return None
    vae, minimized = point.build(dataset.image_shape)
    minimized.prepare(dataset.image_shape)
    pair = Pair(vae, minimized)
    pair.load_state_dict(load_file(path))
    pair.eval()
    with safe_open(path, "pt") as file:
        history = pd.DataFrame(json.loads(file.metadata()["history"]))
    return vae, minimized, history


def keep(point: Point, dataset: Dataset, trained: Trained) -> None:
    """Keep what was trained in `$ENVAE_MODELS`, if that names a folder."""
    path = _path(point, dataset)
    if path is None:
        return
    vae, minimized, history = trained
    path.parent.mkdir(parents=True, exist_ok=True)
    for older in path.parent.parent.iterdir():
        if older != path.parent:
            shutil.rmtree(older, ignore_errors=True)  # of other code: never found again
    # Copies, since weights that a model uses twice share their memory, which a file cannot.
    state = {name: value.clone() for name, value in Pair(vae, minimized).state_dict().items()}
    told = {"history": json.dumps(history.to_dict("list"))}
    with whole(path) as partial:
        save_file(state, partial, metadata=told)


def _path(point: Point, dataset: Dataset) -> Path | None:
    folder = os.environ.get("ENVAE_MODELS")
    if not folder:
        return None
    told = {"kind": type(point).__name__} | point.parameters(dataset.name)
    name = records.key(dataset.checksum, told)
    return Path(folder) / _code() / f"{name}.safetensors"


@functools.cache
def _code() -> str:
    """Twelve hexadecimal digits for torch and the code that a training may depend on."""
    digest = hashlib.sha256(torch.__version__.encode())
    folder = Path(envae.__path__[0])
    for path in sorted(folder.rglob("*.py")):
        if path.relative_to(folder).parts[0] not in _TRAINS_NOTHING:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
