"""What every objective shares: its result, its checks, and how it is found by name."""

import dataclasses
import inspect
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Independent

from envae._names import unknown
from envae.vae import EncodesAndDecodes, kl_to_prior

NATS = "nats per image"


@dataclasses.dataclass(frozen=True, slots=True)
class Loss:
    """Value of an objective on a batch: scalars, means over the batch.

    Attributes
    ----------
    total
        What is minimized: `reconstruction + regularizer`.
    reconstruction, regularizer
        The two terms, each with the weight it has in `total`.
    parts
        Detached pieces for logging, without weights: `kl` and whatever else the objective has.
    """

    reconstruction: Tensor
    regularizer: Tensor
    parts: dict[str, Tensor]

    @property
    def total(self) -> Tensor:
        return self.reconstruction + self.regularizer


class Objective(nn.Module):
    """Base of all objectives: called as `loss = objective(vae, x)`.

    Attributes
    ----------
    name
        The name that `objective(name)` knows it by.
    paper
        Equation or table that defines it.
    unit
        Unit of the loss.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    unit: str = NATS

    def head_maps(self, channels: int) -> int:
        """Maps that the decoder must return beside an image of so many channels."""
        return 0

    def forward(self, vae: EncodesAndDecodes, x: Tensor) -> Loss:
        """Loss of a batch.

        Parameters
        ----------
        vae
            Anything with `encode` and `decode`.
        x
            Images, `(B, C, H, W)`, float, in [0, 1].

        Raises
        ------
        ValueError
            If x is not a batch of floats or the decoder returns another shape than x has.
        """
        raise NotImplementedError


_REGISTRY: dict[str, type[Objective]] = {}


def register(name: str, paper: str):
    """Class decorator: make an objective known by name; `paper` says where it is defined."""

    def enter(cls: type[Objective]) -> type[Objective]:
        cls.name, cls.paper = name, paper
        _REGISTRY[name] = cls
        return cls

    return enter


def objective(name: str, **options) -> Objective:
    """Make an objective by name.

    Parameters
    ----------
    name
        One of `objectives.names()`.
    options
        Options of that objective; see its class.

    Returns
    -------
    Objective
        An `nn.Module`, called as `loss = objective(vae, x)`; minimize `loss.total`.

    Raises
    ------
    ValueError
        If the name or an option is unknown, or an option's value is out of range.
    """
    if name not in _REGISTRY:
        raise ValueError(unknown("objective", name, _REGISTRY))
    known = list(inspect.signature(_REGISTRY[name]).parameters)
    for option in options:
        if option not in known:
            raise ValueError(unknown(f"{name} option", option, known))
    return _REGISTRY[name](**options)


def names() -> list[str]:
    """Names that :func:`objective` knows."""
    return list(_REGISTRY)


def check_positive(**values: float) -> None:
    """Raise a ValueError that names the first value that is not a positive finite number."""
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be a positive number, received {value}")


def encode(vae: EncodesAndDecodes, x: Tensor) -> Independent:
    """Posterior of a batch, after a check of the batch."""
    if x.ndim < 2 or not x.is_floating_point():
        raise ValueError(
            "an objective needs a batch of float images (B, C, H, W) in [0, 1], "
            f"received shape {tuple(x.shape)} of {x.dtype}"
        )
    return vae.encode(x)


def decode(vae: EncodesAndDecodes, draws: Tensor, x: Tensor) -> Tensor:
    """Decode M draws per image in one call: `(M, B, *code)` to `(M, B, *event)`."""
    decoded = vae.decode(draws.flatten(0, 1)).unflatten(0, draws.shape[:2])
    _check_decoded(decoded, x)
    return decoded


def decode_with_head(
    vae: EncodesAndDecodes, draws: Tensor, x: Tensor, objective: Objective
) -> tuple[Tensor, Tensor | None]:
    """Images of M draws per image, and the head's maps `(M, B, K, H, W)` where one is needed."""
    needed = objective.head_maps(x.shape[1])
    if not needed:
        return decode(vae, draws, x), None
    remedy = (
        f"objective {objective.name!r} needs {needed} maps beside an image of {x.shape[1]} "
        f"channels: networks.build(..., head={needed})"
    )
    if not hasattr(vae, "decode_with_head"):
        raise ValueError(f"{remedy}; {type(vae).__name__} has no method decode_with_head")
    images, head = vae.decode_with_head(draws.flatten(0, 1))
    if head.shape[1] != needed:
        raise ValueError(f"{remedy}; received {head.shape[1]}")
    images = images.unflatten(0, draws.shape[:2])
    _check_decoded(images, x)
    return images, head.unflatten(0, draws.shape[:2])


def _check_decoded(decoded: Tensor, x: Tensor) -> None:
    if decoded.shape[1:] != x.shape:
        raise ValueError(
            f"the decoder returned images of shape {tuple(decoded.shape[1:])} "
            f"for x of shape {tuple(x.shape)}"
        )


def with_kl(posterior: Independent, reconstruction: Tensor, weight: float, **parts: Tensor) -> Loss:
    """Loss from per-image reconstruction terms `(B,)` and the weighted KL to the prior."""
    kl = kl_to_prior(posterior).mean()
    logged = {"kl": kl} | parts
    return Loss(
        reconstruction=reconstruction.mean(),
        regularizer=weight * kl,
        parts={name: torch.as_tensor(part).detach().mean() for name, part in logged.items()},
    )
