"""Variants of the objectives and of the networks that only chapter 06 asks about."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from envae.objectives.base import decode
from envae.objectives.energy import EnVAE, FEnVAE, mirrored_draws
from envae.scores import antithetic_score


class ThreeCalls(FEnVAE):
    """FEnVAE with a call of the decoder for each of its codes: batch statistics of their own."""

    def decode(self, vae, codes, x):
        return torch.cat([decode(vae, code[None], x) for code in codes]), None


class StopCenter(FEnVAE):
    """FEnVAE without a gradient through g(mu), which is held fixed where the draw leaves it."""

    def reconstruct(self, x, images, heads):
        draw, stretched, center = images
        return super().reconstruct(x, torch.stack([draw, stretched, center.detach()]), heads)


class StopDecoder(FEnVAE):
    """FEnVAE whose second term trains the encoder alone: the decoder is not paid for spread."""

    def decode(self, vae, codes, x):
        draw = decode(vae, codes[:1], x)
        with _frozen(vae.decoder):
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


class Antithetic(EnVAE):
    """One mirrored pair of draws, which are pushed apart."""

    def __init__(self, beta: float = 1.0, alpha: float = 0.1):
        super().__init__(samples=2, beta=beta, alpha=alpha)

    def draw(self, posterior) -> Tensor:
        return mirrored_draws(posterior, 2)

    def reconstruct(self, x, images, heads):
        return antithetic_score(*images, x, beta=self.beta), {}


VARIANTS = {
    "antithetic": Antithetic,
    "three_calls": ThreeCalls,
    "stop_center": StopCenter,
    "stop_decoder": StopDecoder,
}


def with_batch_norm(network: nn.Sequential) -> nn.Sequential:
    """The same layers, with batch normalization before every ReLU."""
    layers, last = [], None
    for layer in network:
        if isinstance(layer, nn.ReLU):
            if isinstance(last, nn.Linear):
                layers.append(nn.BatchNorm1d(last.out_features))
            else:
                layers.append(nn.BatchNorm2d(last.out_channels))
        layers.append(layer)
        last = layer
    return nn.Sequential(*layers)
