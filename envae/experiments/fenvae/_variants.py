"""Variants of the objectives and of the networks that only chapter 12 asks about."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from envae.objectives.base import Objective, Parts, check_count, decode
from envae.objectives.energy import Draws, EnVAE, FEnVAE, mirrored_draws
from envae.scores import antithetic_score, norm_power
from envae.vae import VAE, EncodesAndDecodes, Posterior


class ThreeCalls(FEnVAE):
    """FEnVAE with a call of the decoder for each of its codes: batch statistics of their own."""

    def decode(self, vae: EncodesAndDecodes, codes: Tensor, x: Tensor) -> tuple[Tensor, None]:
        return torch.cat([decode(vae, code[None], x) for code in codes]), None


class StopCenter(FEnVAE):
    """FEnVAE without a gradient through g(mu), which is held fixed where the draw leaves it."""

    def reconstruct(self, x: Tensor, images: Tensor, heads: Any) -> tuple[Tensor, Parts]:
        draw, stretched, center = images
        return super().reconstruct(x, torch.stack([draw, stretched, center.detach()]), heads)


class StopDecoder(FEnVAE):
    """FEnVAE whose second term trains the encoder alone: the decoder is not paid for spread."""

    def decode(self, vae: EncodesAndDecodes, codes: Tensor, x: Tensor) -> tuple[Tensor, None]:
        draw = decode(vae, codes[:1], x)
        with _frozen(cast(VAE, vae).decoder):  # the chapter trains nothing else
            others = decode(vae, codes[1:], x)
        return torch.cat([draw, others]), None


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Gradients pass through the module to its input, and not to its parameters."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


class Ramped(FEnVAE):
    """FEnVAE whose second term grows from nothing to its full weight over the first steps.

    Parameters
    ----------
    beta, alpha, draws
        As FEnVAE takes them.
    ramp
        Training steps until the second term has its full weight.
    """

    steps: Tensor

    def __init__(
        self, beta: float = 1.0, alpha: float = 0.1, draws: Draws = "single", ramp: int = 1000
    ):
        super().__init__(beta, alpha, draws)
        check_count(1, ramp=ramp)
        self.ramp = ramp
        self.register_buffer("steps", torch.zeros(()))

    def reconstruct(self, x: Tensor, images: Tensor, heads: Any) -> tuple[Tensor, Parts]:
        score, parts = super().reconstruct(x, images, heads)
        _, stretched, center = images
        left_out = (1 - self.steps / self.ramp).clamp(min=0)
        if self.training:
            self.steps.add_(1)
        return score + left_out * 0.5 * norm_power(stretched - center, self.beta), parts


class Antithetic(EnVAE):
    """One mirrored pair of draws, which are pushed apart."""

    def __init__(self, beta: float = 1.0, alpha: float = 0.1):
        super().__init__(samples=2, beta=beta, alpha=alpha)

    def draw(self, posterior: Posterior) -> Tensor:
        return mirrored_draws(posterior, 2)

    def reconstruct(self, x: Tensor, images: Tensor, heads: Any) -> tuple[Tensor, Parts]:
        first, second = images
        return antithetic_score(first, second, x, beta=self.beta), {}


VARIANTS: dict[str, Callable[..., Objective]] = {
    "antithetic": Antithetic,
    "ramped": Ramped,
    "three_calls": ThreeCalls,
    "stop_center": StopCenter,
    "stop_decoder": StopDecoder,
}


def with_batch_norm(network: nn.Module) -> nn.Sequential:
    """The same layers, with batch normalization before every ReLU.

    Raises
    ------
    ValueError
        If the network is not a sequence of layers, each ReLU after an affine one.
    """
    if not isinstance(network, nn.Sequential):
        raise ValueError(f"needs a sequence of layers, received {type(network).__name__}")
    layers: list[nn.Module] = []
    last = None
    for layer in network:
        if isinstance(layer, nn.ReLU):
            layers.append(_batch_norm_after(last))
        layers.append(layer)
        last = layer
    return nn.Sequential(*layers)


def _batch_norm_after(layer: nn.Module | None) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return nn.BatchNorm1d(layer.out_features)
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return nn.BatchNorm2d(layer.out_channels)
    raise ValueError(f"needs an affine layer before a ReLU, received {type(layer).__name__}")
