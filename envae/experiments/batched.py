"""Many small models of one structure, trained side by side as one batched model.

A small network leaves a core idle between its operations: a grid of runs that differ in seed, data
or weights of the loss is trained several times faster as one model with a batch axis in front of
its weights. Each member is trained as `training.fit` trains it alone: with its own order and its
own noise, from its own seed.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from envae.evaluation import seeded
from envae.experiments._graphs import simplified
from envae.objectives import Objective
from envae.objectives.base import check_count
from envae.training import (
    Pair,
    batch_sizes,
    check_training_images,
    epoch_means,
    epoch_seed,
    plain_numbers,
)
from envae.vae import VAE

# Steps from which writing one down, a quarter of a second, takes less time than it saves.
_MANY = 150


class NotTogether(ValueError):
    """Models whose objective cannot be evaluated for several of them at once."""


def fit(
    vaes: Sequence[VAE],
    objectives: Sequence[Objective],
    images: Tensor | Callable[[int], Tensor],
    *,
    epochs: int,
    seeds: Sequence[int],
    batch_size: int = 64,
    lr: float = 1e-3,
    accelerator: str = "auto",
    after_epoch: Callable[[int], None] | None = None,
) -> list[pd.DataFrame]:
    """Minimize M objectives with Adam, each over its own model and images, all at once.

    The models do not touch each other. As `training.fit`, it leaves them on the device, in
    evaluation mode, and torch's own generator where it was.

    Parameters
    ----------
    vaes, objectives
        M models of one network, and M objectives of one name; trained in place. Numbers among the
        objectives' options, such as the weight of the KL term, may differ.
    images
        Training images `(N, C, H, W)` for all members, or `(M, N, C, H, W)`; or a function that
        gives them for each epoch, counted from 0: data that are drawn anew.
    seeds
        Of each member, as `training.fit` takes one.
    epochs, batch_size, lr, accelerator
        As `training.fit` takes them.
    after_epoch
        Called after every epoch with the number of epochs so far; the models are up to date.

    Returns
    -------
    list of DataFrame
        The history of each member, as `training.fit` gives it; `seconds` are its share. A member
        whose loss is not finite in an epoch has no rows from there on, and the others go on.

    Raises
    ------
    ValueError
        If there are not as many objectives, seeds and image sets as models, a number is out of
        range, the models are not of one network, or images are not as
        `training.check_training_images` wants them.
    NotTogether
        If the objectives differ in more than numbers, or do what cannot be done for several models
        at once.
    """
    from lightning_fabric import Fabric

    draw = images if callable(images) else lambda epoch: images
    first = draw(0)
    members = len(vaes)
    check_count(models=members, epochs=epochs, batch_size=batch_size)
    if any(str(vae) != str(vaes[0]) for vae in vaes) or len({id(vae) for vae in vaes}) < members:
        raise ValueError("the models of a stack are of one network, and no model is there twice")
    own_images = first.ndim == 5
    sets = len(first) if own_images else members
    if not members == len(objectives) == len(seeds) == sets:
        raise ValueError(
            "a stack needs an objective, a seed and an image set for each model, received "
            f"{members} models, {len(objectives)} objectives, {len(seeds)} seeds and {sets} image "
            "sets"
        )
    for index, of_member in enumerate(first if own_images else [first]):
        check_training_images(vaes[index], images=of_member)
    device = Fabric(accelerator=accelerator, devices=1).device
    for minimized in objectives:
        minimized.prepare(tuple(first.shape[-3:]))
    pairs = [Pair(*pair).to(device).train() for pair in zip(vaes, objectives, strict=True)]
    count = first.shape[1] if own_images else first.shape[0]
    many = epochs * (count // batch_size) >= _MANY
    stack = _Stack(pairs, device, often=batch_size if many else 0)
    optimizer = torch.optim.Adam(
        stack.leaves.values(), lr=lr, betas=objectives[0].betas, fused=True
    )
    member = torch.arange(members, device=device)[:, None]
    rows: list[dict[str, Tensor]] = []
    for epoch in range(epochs):
        start = time.perf_counter()
        of_epoch = draw(epoch).to(device)
        sources = [Generator().manual_seed(epoch_seed(seed, epoch)) for seed in seeds]
        order = torch.stack([torch.randperm(count, generator=source) for source in sources])
        table, sizes = [], []
        for batch in order.to(device).split(batch_sizes(count, batch_size), dim=1):
            x = of_epoch[member, batch] if own_images else of_epoch[batch]
            parts, gradients = stack.step(x, sources)
            for weight, gradient in zip(stack.leaves.values(), gradients, strict=True):
                weight.grad = gradient
            optimizer.step()
            table.append(parts)
            sizes.append(batch.shape[1])
        # Read once per epoch: (steps, parts, M), and its mean over the epoch's images.
        means = epoch_means(torch.stack(table).cpu().double(), sizes)
        seconds = torch.full((members,), (time.perf_counter() - start) / members)
        rows.append(dict(zip(stack.parts, means, strict=True)) | {"seconds": seconds})
        if after_epoch or epoch + 1 == epochs:
            stack.write_back()
        if after_epoch:
            after_epoch(epoch + 1)
    for pair in pairs:
        pair.eval()
    return [_history(rows, index) for index in range(members)]


def _history(rows: list[dict[str, Tensor]], member: int) -> pd.DataFrame:
    """Rows of a member up to the first that is not finite."""
    frame = pd.DataFrame(
        [
            {"epoch": epoch} | {name: values[member].item() for name, values in row.items()}
            for epoch, row in enumerate(rows, 1)
        ]
    )
    finite = torch.from_numpy(frame.to_numpy(float)).isfinite().all(1)
    return frame[finite.cumprod(0).bool().numpy()]


# Parts of the loss, (parts, M), and gradients by the weights.
Step = Callable[..., tuple[Tensor, list[Tensor]]]


class _Stack:
    """Pairs of model and objective as one, with the members in front of every weight.

    `often`: size of the batches that there are many of; 0 for none.

    Attributes
    ----------
    leaves
        Stacked weights by name, matrices transposed: as products of stacked matrices give their
        gradients, which would be copied at every step if they were laid out otherwise.
    parts
        Names of the loss's parts, known after the first step.
    """

    def __init__(self, pairs: list[Pair], device: torch.device, often: int):
        self._pairs = pairs
        self._device = device
        weights, self._buffers = stack_module_state(pairs)
        self.leaves = {
            name: _turned(weight).detach().contiguous() for name, weight in weights.items()
        }
        self.parts: list[str] = []
        numbers = _different_numbers([pair.objective for pair in pairs])
        self._numbers = {name: values.to(device) for name, values in numbers.items()}
        self._skeleton = copy.deepcopy(pairs[0]).to("meta")
        self._shapes: dict[int, list[torch.Size]] = {}  # of the noise, by size of the batch
        self._often = often
        self._step: Step | None = None  # on batches of that size
        self._loss_of_each = vmap(self._loss_of_one)

    def step(self, x: Tensor, sources: list[Generator]) -> tuple[Tensor, list[Tensor]]:
        """Parts of the loss, `(parts, M)`, and the gradient by each of `leaves`.

        Of a batch for each member, `(M, B, C, H, W)`.
        """
        size = x.shape[1]
        try:
            if size not in self._shapes:
                self._shapes[size] = self._shapes_of_noise(x[0])
            noise = [torch.empty(len(sources), *shape) for shape in self._shapes[size]]
            for member, source in enumerate(sources):
                for drawn in noise:
                    drawn[member].normal_(generator=source)
            given = (
                list(self.leaves.values()), self._buffers, self._numbers, x,
                [drawn.to(self._device) for drawn in noise],
            )  # fmt: skip
            if size != self._often:
                return self._loss_and_gradients(*given)
            self._step = self._step or self._written_down(given)
            return self._step(*given)
        except RuntimeError as error:
            if not any(word in str(error) for word in ("vmap", "functorch")):
                raise
            name = self._pairs[0].objective.name
            raise NotTogether(
                f"{name!r} cannot be trained for several models at once ({error}): train one after "
                "the other with training.fit"
            ) from error

    def _written_down(self, given: tuple[Any, ...]) -> Step:
        """A step on batches of one size as the list of its operations on tensors.

        They are the same at every step, and finding them, through the objective, distributions,
        `vmap` and autograd, takes as long as doing them in a small network. Not so where the
        objective asks for a value, as a check may, or counts its calls.
        """
        from torch.fx.experimental.proxy_tensor import make_fx

        untouched, self._skeleton = self._skeleton, copy.deepcopy(self._skeleton)
        copies = tree_map(torch.clone, given)  # writing them down does them
        before = self._counts()
        try:
            written = make_fx(lambda *tensors: self._loss_and_gradients(*tensors))(*copies)
        except RuntimeError:
            written = None
        if written is None or self._counts() != before:
            self._skeleton = untouched
            return self._loss_and_gradients
        return torch.no_grad()(simplified(written))

    def _counts(self) -> dict[tuple[str, str], Any]:
        """Plain numbers in the objective and its parts that are the same for all members."""
        held = plain_numbers(self._skeleton.objective)
        return {key: value for key, value in held.items() if key[1] not in self._numbers}

    def _loss_and_gradients(
        self,
        leaves: list[Tensor],
        buffers: dict[str, Tensor],
        numbers: dict[str, Tensor],
        x: Tensor,
        noise: list[Tensor],
    ) -> tuple[Tensor, list[Tensor]]:
        with torch.enable_grad():
            leaves = [leaf.detach().requires_grad_() for leaf in leaves]
            weights = {name: _turned(leaf) for name, leaf in zip(self.leaves, leaves, strict=True)}
            parts = self._loss_of_each(weights, buffers, numbers, x, noise)
            gradients = torch.autograd.grad(parts["total"].sum(), leaves)
        self.parts = list(parts)
        # Fused Adam reads gradients as if they were laid out as the weights are.
        return torch.stack([part.detach() for part in parts.values()]), [
            gradient.contiguous() for gradient in gradients
        ]

    def _loss_of_one(
        self,
        weights: dict[str, Tensor],
        buffers: dict[str, Tensor],
        numbers: dict[str, Tensor],
        x: Tensor,
        noise: list[Tensor],
    ) -> dict[str, Tensor]:
        vars(self._skeleton.objective).update(numbers)
        with _GivenNoise(noise):
            return functional_call(self._skeleton, (weights, buffers), (x,))

    def _shapes_of_noise(self, x: Tensor) -> list[torch.Size]:
        """Shapes of what a loss draws for a batch, in its order."""
        pair = copy.deepcopy(self._pairs[0])
        with seeded(0), torch.no_grad(), _GivenNoise(None) as given:
            pair(x)
        return given.shapes

    def write_back(self) -> None:
        """Bring the members' own modules up to date."""
        weights = {name: _turned(leaf) for name, leaf in self.leaves.items()}
        stacked = weights | self._buffers
        for index, pair in enumerate(self._pairs):
            pair.load_state_dict({name: value[index].detach() for name, value in stacked.items()})


def _turned(stacked: Tensor) -> Tensor:
    """Stacked matrices transposed; anything else as it is."""
    return stacked.mT if stacked.ndim == 3 else stacked


def _different_numbers(objectives: Sequence[Objective]) -> dict[str, Tensor]:
    """Numbers that the objectives hold and that differ among them, `(M,)` each, by name.

    Raises
    ------
    NotTogether
        If they differ in anything else.
    """
    first = objectives[0]
    different: dict[str, Tensor] = {}
    for name, _ in first.named_modules():
        held = [dict(minimized.named_modules()).get(name) for minimized in objectives]
        if unlike := _unlike([type(of_member) for of_member in held]):
            raise NotTogether(
                f"a stack minimizes one objective, received {first!r} and {objectives[unlike]!r}"
            )
        for attribute, values in _attributes(held):
            unlike = _unlike(values)
            if unlike and (name or not all(isinstance(value, float) for value in values)):
                raise NotTogether(
                    "objectives of a stack may differ in floats alone, received "
                    f"{first!r} and {objectives[unlike]!r}"
                )
            if unlike:
                different[attribute] = torch.tensor(values, dtype=torch.float32)
    return different


def _attributes(modules: Sequence[Any]) -> Iterator[tuple[str, list[Any]]]:
    """What the modules hold beside weights and parts, by name; `nn.Module`'s own left out."""
    own = {*vars(nn.Module()), "options"}
    for name in sorted({name for module in modules for name in vars(module)} - own):
        yield name, [vars(module).get(name) for module in modules]


def _unlike(values: Sequence[Any]) -> int:
    """Index of a value that is not the first one's equal; 0 where all are."""
    return next((i for i, value in enumerate(values) if not _equal(value, values[0])), 0)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return one is other or bool(one == other)


# torch.distributions draws by the first or, in older releases, by the second of them.
_NORMAL = ("normal_", "normal", "randn", "randn_like")


class _GivenNoise(TorchFunctionMode):
    """Normal draws are made of standard normal ones from a list, or their shapes written down."""

    def __init__(self, noise: list[Tensor] | None):
        super().__init__()
        self._noise = None if noise is None else iter(noise)
        self.shapes: list[torch.Size] = []

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if name not in _NORMAL:
            return function(*args, **kwargs)
        if self._noise is None:
            drawn = function(*args, **kwargs)
            self.shapes.append(drawn.shape)
            return drawn
        noise = next(self._noise)
        if name.startswith("randn"):
            return noise
        if name == "normal_":
            # One tensor cannot hold what each member draws: whoever goes on with it, and not with
            # what the call returns, finds that it is no number.
            args[0].fill_(torch.nan)
            args = args[1:]
        given = dict(zip(("mean", "std"), args, strict=False)) | kwargs
        return given.get("mean", 0.0) + given.get("std", 1.0) * noise
