"""A step of training; on a GPU it can be replayed instead of launched operation by operation."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Steps done before one is recorded: what is made at first use must be there, and the last of them
# is watched.
_BEFORE = 3


class Step:
    """A step of the optimizer on a batch `(x, *context)`; gives the parts of the loss, `(parts,)`.

    Parameters
    ----------
    fabric, model, optimizer
        As `Fabric.setup` gave them.
    replayed
        Size of the batches whose step is recorded as a CUDA graph, once, and then replayed: in a
        small network a GPU computes faster than Python launches. A step that makes
        the processor wait for the GPU, or that counts in plain numbers of the model or the
        objective, is not the same every time, and is never recorded. None without a GPU.

    Attributes
    ----------
    names
        Of the parts, known after the first step.
    """

    def __init__(
        self, fabric: "Fabric", model: nn.Module, optimizer: Optimizer, replayed: int | None
    ):
        self._fabric, self._model, self._optimizer = fabric, model, optimizer
        self._size = replayed
        self._before = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self.names: list[str] = []

    def begin(self) -> None:
        """Look, before an epoch, whether what was recorded is still what would be done."""
        if self._graph is not None and plain_numbers(self._model) != self._counted:
            self._graph = None
            self._before = _BEFORE - 1

    def __call__(self, batch: tuple[Tensor, ...]) -> Tensor:
        if len(batch[0]) != self._size:
            return self._launched(batch)
        if self._graph is None:
            if self._before < _BEFORE:
                return self._prepared(batch)
            self._record(batch)
        assert self._graph is not None
        for held, part in zip(self._batch, batch, strict=True):
            held.copy_(part)
        self._graph.replay()
        return self._parts.clone()

    def _launched(self, batch: tuple[Tensor, ...]) -> Tensor:
        parts = self._model(*batch)
        self._optimizer.zero_grad()
        self._fabric.backward(parts["total"])
        self._optimizer.step()
        self.names = list(parts)
        return torch.stack([part.detach() for part in parts.values()])

    def _prepared(self, batch: tuple[Tensor, ...]) -> Tensor:
        """A step on the stream that records; the last one decides whether there is a record."""
        if self._before == 0:
            self._stream = torch.cuda.Stream()
        self._before += 1
        counted = plain_numbers(self._model)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream), _waits() as told:
            parts = self._launched(batch)
        torch.cuda.current_stream().wait_stream(self._stream)
        if self._before == _BEFORE and (told or plain_numbers(self._model) != counted):
            self._size = None
        return parts

    def _record(self, batch: tuple[Tensor, ...]) -> None:
        """Record a step, which is not done thereby."""
        self._batch = tuple(part.clone() for part in batch)
        self._counted = plain_numbers(self._model)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            self._parts = self._launched(self._batch)
        self._graph = graph


def plain_numbers(module: nn.Module) -> dict[tuple[str, str], Any]:
    """Plain numbers in a module and its parts, by part and name: a count of calls, say."""
    return {
        (of, name): value
        for of, part in module.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, int | float)
    }


@contextmanager
def _waits() -> Iterator[list[warnings.WarningMessage]]:
    """Warnings of operations in the block that make the processor wait for the GPU."""
    before = torch.cuda.get_sync_debug_mode()
    found: list[warnings.WarningMessage] = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(before)
    for one in told:
        if "called a synchronizing" in str(one.message):
            found.append(one)
        elif "ynchronization debug mode" not in str(one.message):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
