"""A run between its epochs: model and objective as one, history, best weights, checkpoint."""

import hashlib
import itertools
import json
import re
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from envae._files import check_file, check_room
from envae.datasets import files
from envae.objectives import Objective
from envae.training._step import plain_numbers
from envae.vae import MayTakeContext

if TYPE_CHECKING:
    from lightning_fabric.plugins import Precision


class Pair(nn.Module):
    """Model and objective as one module, since both may hold parameters; gives the loss's parts.

    Called with x, or with x and the context that a conditional model takes (:class:`envae.Given`).

    Parameters
    ----------
    precision
        Context that losses are computed in, such as autocast; by default none.

    Raises
    ------
    ValueError
        If the second is no objective.
    """

    def __init__(
        self,
        vae: MayTakeContext,
        objective: Objective,
        precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ):
        super().__init__()
        if not isinstance(objective, Objective):
            raise ValueError(
                "Pair takes a model and an objective, in this order, received "
                f"{type(vae).__name__} and {type(objective).__name__}"
            )
        self.vae = vae
        self.objective = objective
        self.precision = precision

    def forward(self, x: Tensor, *context: Tensor) -> dict[str, Tensor]:
        with self.precision():
            loss = self.objective(self.vae, x, *context)
        terms = {
            "reconstruction": loss.reconstruction.detach(),
            "regularizer": loss.regularizer.detach(),
        }
        return {"total": loss.total} | terms | loss.parts


class UnusableCheckpoint(ValueError):
    """A checkpoint that a run cannot go on from: damaged, of another run, or too far."""


class Run:
    """State of a run between epochs: history, best weights, and the checkpoint file.

    Parameters
    ----------
    settings
        What tells this run from others, beside model and objective; JSON values.
    scaling
        The precision, whose state is how far it scales losses for half precision on a GPU.
    """

    def __init__(
        self,
        pair: Pair,
        optimizer: Optimizer,
        checkpoint: str | Path | None,
        settings: Mapping[str, Any],
        scaling: "Precision",
    ):
        self.pair = pair
        self.optimizer = optimizer
        self.scaling = scaling
        self.path = None if checkpoint is None else Path(checkpoint)
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        if self.path is not None:
            self._settings = {
                "objective": pair.objective.name,
                "options": json.loads(json.dumps(dict(pair.objective.options), default=_told)),
                "weights": _structure(pair),
                **settings,
            }
            # What it starts from: the weights, the plain numbers, and whatever else there is.
            self._start = {"weights": _digest(pair.state_dict()), **_beside_weights(pair)}

    def add(self, row: dict[str, Any]) -> None:
        """Append an epoch, remember its weights if they are the best, write the checkpoint."""
        self.history.append(row)
        if "validation" in row and _best_epoch(self.history) == len(self.history):
            self.best = {name: value.clone() for name, value in self.pair.state_dict().items()}
        self._write()

    def renew(self) -> None:
        """Write the checkpoint again if what is beside the weights was changed since then."""
        if self.path is not None and _beside_weights(self.pair) != self._written:
            self._write()

    def exhausted(self, patience: int | None) -> bool:
        """Whether validation has not improved for `patience` epochs."""
        return _exhausted(self.history, patience)

    def restore_best(self) -> None:
        self.pair.load_state_dict(self.best)

    def _write(self) -> None:
        if self.path is None:
            return
        tensors = {f"model/{name}": value for name, value in self.pair.state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam/{index}/{name}": value for name, value in state.items()}
        for name, number in self.scaling.state_dict().items():
            tensors[f"scaling/{name}"] = torch.tensor(number)
        self._written = _beside_weights(self.pair)
        told = {
            "settings": self._settings,
            "start": self._start,
            "history": self.history,
            "beside": self._written,
        }
        files.write_tensors(
            self.path, tensors, {name: json.dumps(value) for name, value in told.items()}
        )

    def resume(self, epochs: int, patience: int | None) -> None:
        """Take up the state in the checkpoint, if there is one, for a run of so many epochs.

        Raises
        ------
        UnusableCheckpoint
            If the checkpoint is damaged, of another run, or further than this one goes.
        OSError
            If there is something else than a file, or nothing and none can be written.
        """
        if self.path is None:
            return
        check_file(self.path)
        if not self.path.exists():
            weights = self.pair.state_dict().values()
            # And two moments of Adam, and the best epoch's.
            check_room(self.path.resolve().parent, 4 * sum(value.nbytes for value in weights))
            return
        groups, told = _read(self.path)
        start, history = told["start"], told["history"]
        differs = [k for k, value in self._settings.items() if told["settings"].get(k) != value]
        # Whoever goes on with a model that was trained has what is in the file.
        current = {"weights": _digest(groups["model"]), **told["beside"]}
        best = {"weights": _digest(groups["best"]), **told["beside"]}
        if not differs and self._start not in (start, current, best):
            differs = ["the weights or numbers that it starts from"]
        if differs:
            raise UnusableCheckpoint(
                f"the checkpoint {self.path} is of another run: it differs in {differs}; "
                "remove it or give another path"
            )
        asked = next(
            (done for done in range(len(history)) if _exhausted(history[:done], patience)), epochs
        )
        if len(history) > asked:
            raise UnusableCheckpoint(
                f"the checkpoint {self.path} holds {len(history)} epochs, and {asked} were asked "
                "for: remove it or give another path"
            )
        self._take(groups["model"], told["beside"]["numbers"])
        self.best = groups["best"]
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in groups["adam"].items():
            index, _, part = name.partition("/")
            state.setdefault(int(index), {})[part] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})
        if scaling := {name: value.item() for name, value in groups["scaling"].items()}:
            self.scaling.load_state_dict(scaling)
        self.history, self._start, self._written = history, start, told["beside"]

    def _take(self, weights: dict[str, Tensor], numbers: list[list[Any]]) -> None:
        self.pair.load_state_dict(weights)
        parts = dict(self.pair.named_modules())
        for of, name, value in numbers:
            setattr(parts[of], name, value)

    @contextmanager
    def left_whole(self) -> Iterator[None]:
        """An error in the block leaves the model as the last epoch in the checkpoint did."""
        try:
            yield
        except BaseException:
            if self.path is not None and self.path.exists():
                groups, told = _read(self.path)
                self._take(groups["model"], told["beside"]["numbers"])
            raise


def _best_epoch(history: list[dict[str, Any]]) -> int:
    """Epoch with the smallest validation loss, counted from 1; 0 before the first."""
    values = [row["validation"] for row in history]
    return values.index(min(values)) + 1 if values else 0


def _exhausted(history: list[dict[str, Any]], patience: int | None) -> bool:
    return patience is not None and len(history) - _best_epoch(history) >= patience


def _read(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Tensors of a checkpoint by what they belong to, and what is told beside them."""
    found = files.read_tensors(path)
    if found is None or "settings" not in found[1]:
        raise UnusableCheckpoint(
            f"{path} is damaged, or not a checkpoint of this project: remove it"
        )
    tensors, told = found
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "adam": {}, "scaling": {}}
    for name, value in tensors.items():
        group, _, rest = name.partition("/")
        groups[group][rest] = value
    names = ("settings", "start", "history", "beside")
    return groups, {name: json.loads(told[name]) for name in names}


def _digest(state: dict[str, Tensor]) -> str:
    """Of values alone, in the order of their names."""
    return files.digest(*(state[name] for name in sorted(state)))


def _structure(pair: Pair) -> str:
    """Twelve hexadecimal digits for the layers of a model, and for what is trained of a pair.

    Weights that are used twice have one of their names.
    """
    weights = [
        (name, list(value.shape), str(value.dtype), value.requires_grad)
        for name, value in itertools.chain(pair.named_parameters(), pair.named_buffers())
    ]
    # Words and functions that are no layer's own, such as an activation; numbers are `_numbers`.
    words = [
        (of, name, _told(value))
        for of, part in pair.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, str | types.FunctionType | types.BuiltinFunctionType)
        and not hasattr(type(part), name)  # a method replaced, such as by one that looks on
    ]
    layers = f"{_told(pair.vae)} {words}"
    return hashlib.sha256(f"{layers} {weights}".encode()).hexdigest()[:12]


def _told(value: object) -> str:
    """What stands for a value that is no JSON: the same in every process, all of it told."""
    if isinstance(value, np.ndarray):
        value = value.tolist() if value.dtype.kind in "OSU" else torch.as_tensor(value)
    if isinstance(value, Tensor):
        return files.digest(value)
    if isinstance(value, types.FunctionType) and value.__name__ == "<lambda>":
        code = value.__code__  # which tells those of one place apart, in one version of Python
        value = f"{value.__qualname__} {code.co_code.hex()} {code.co_consts} {code.co_names}"
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))  # such as a function's address


def _beside_weights(pair: Pair) -> dict[str, Any]:
    """What beside its weights may be a state of a pair, or change what is minimized.

    `numbers`: part, name and value of plain numbers, which a run that is resumed is given back;
    `others`: what stands for tensors, lists and the like that are in no state_dict.
    """
    own = vars(nn.Module())
    found = plain_numbers(pair).items()
    numbers = [[of, name, value] for (of, name), value in found if name not in own]
    saved = pair.state_dict()
    others = [(name, _told(value)) for name, value in pair.named_buffers() if name not in saved]
    others += [
        (f"{of}.{name}", json.dumps(value, default=_told, skipkeys=True))
        for of, part in pair.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, Tensor | np.ndarray | list | tuple | dict) and name not in own
    ]
    return {"numbers": numbers, "others": hashlib.sha256(str(others).encode()).hexdigest()[:12]}
