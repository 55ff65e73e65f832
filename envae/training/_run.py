"""A run between its epochs: model and objective as one, history, best weights, checkpoint."""

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from envae._files import whole
from envae.objectives import Objective
from envae.vae import EncodesAndDecodes


class Pair(nn.Module):
    """Model and objective as one module, since both may hold parameters; gives the loss's parts.

    Parameters
    ----------
    precision
        Context that losses are computed in, such as autocast; by default none.
    """

    def __init__(
        self,
        vae: EncodesAndDecodes,
        objective: Objective,
        precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ):
        super().__init__()
        self.vae = vae
        self.objective = objective
        self.precision = precision

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        with self.precision():
            loss = self.objective(self.vae, x)
        terms = {
            "reconstruction": loss.reconstruction.detach(),
            "regularizer": loss.regularizer.detach(),
        }
        return {"total": loss.total} | terms | loss.parts


class Run:
    """State of a run between epochs: history, best weights, and the checkpoint file."""

    def __init__(self, pair: Pair, optimizer: Optimizer, checkpoint: str | Path | None):
        self.pair = pair
        self.optimizer = optimizer
        self.path = None if checkpoint is None else Path(checkpoint)
        weights = {name: list(value.shape) for name, value in pair.state_dict().items()}
        self.settings: dict[str, Any] = {
            "objective": pair.objective.name,
            "options": json.loads(json.dumps(dict(pair.objective.options), default=str)),
            "weights": hashlib.sha256(json.dumps(weights).encode()).hexdigest()[:12],
        }
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}

    def add(self, row: dict[str, Any]) -> None:
        """Append an epoch, remember its weights if they are the best, write the checkpoint."""
        self.history.append(row)
        if "validation" in row and self._best_epoch() == len(self.history):
            self.best = {name: value.clone() for name, value in self.pair.state_dict().items()}
        if self.path is not None:
            self._write(self.path)

    def exhausted(self, patience: int | None) -> bool:
        """Whether validation has not improved for `patience` epochs."""
        return patience is not None and len(self.history) - self._best_epoch() >= patience

    def restore_best(self) -> None:
        self.pair.load_state_dict(self.best)

    def _best_epoch(self) -> int:
        """Epoch with the smallest validation loss, counted from 1; 0 before the first."""
        values = [row["validation"] for row in self.history]
        return values.index(min(values)) + 1 if values else 0

    def _write(self, path: Path) -> None:
        tensors = {f"model/{name}": value for name, value in self.pair.state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam/{index}/{name}": value for name, value in state.items()}
        text = {"settings": json.dumps(self.settings), "history": json.dumps(self.history)}
        # Copies, since weights that a model uses twice share their memory, which a file cannot.
        copies = {
            name: value.detach().clone(memory_format=torch.contiguous_format)
            for name, value in tensors.items()
        }
        with whole(path) as partial:
            save_file(copies, partial, text)

    def resume(self, epochs: int) -> None:
        """Take up the state in the checkpoint, if there is one, for a run of so many epochs."""
        if self.path is None or not self.path.exists():
            return
        settings, history = _read_text(self.path)
        if settings != self.settings:
            differs = [k for k in self.settings if settings.get(k) != self.settings[k]]
            raise ValueError(
                f"the checkpoint {self.path} is of another run: it differs in {differs}; "
                "remove it or give another path"
            )
        if len(history) > epochs:
            raise ValueError(
                f"the checkpoint {self.path} holds {len(history)} epochs, and {epochs} were asked "
                "for: remove it or give another path"
            )
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "adam": {}}
        for name, value in load_file(self.path).items():
            group, _, rest = name.partition("/")
            groups[group][rest] = value
        self.pair.load_state_dict(groups["model"])
        self.best = groups["best"]
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in groups["adam"].items():
            index, _, part = name.partition("/")
            state.setdefault(int(index), {})[part] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})
        self.history = history


def _read_text(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Settings and history in a checkpoint's header."""
    try:
        with safe_open(path, framework="pt") as file:
            text = file.metadata()
        return json.loads(text["settings"]), json.loads(text["history"])
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is not a checkpoint of this project ({error}): remove it"
        ) from error


def checksum(images: Tensor | None) -> str | None:
    """Twelve hexadecimal digits that stand for images and their shape."""
    if images is None:
        return None
    digest = hashlib.sha256(str((tuple(images.shape), images.dtype)).encode())
    digest.update(images.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:12]
