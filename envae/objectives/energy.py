"""Objectives without a likelihood: the energy score in its place (xu2025)."""

import math

import torch
from torch import Tensor

from envae.objectives._base import (
    Loss,
    Objective,
    check_positive,
    decode,
    encode,
    register,
    with_kl,
)
from envae.scores import check_beta, energy_score, fenvae_surrogate
from envae.vae import EncodesAndDecodes


@register("envae", paper="Eq. 5 of xu2025")
class EnVAE(Objective):
    """Energy score of M decoded draws of the posterior, plus the weighted KL term.

    .. math:: \\frac1M \\sum_i \\|g(z_i) - x\\|^\\beta
              - \\frac{1}{2M(M-1)} \\sum_{i \\ne j} \\|g(z_i) - g(z_j)\\|^\\beta
              + \\alpha\\, KL(q(z|x) \\| p(z))

    For beta <= 1 the score is never negative, on any draw: the samples that are pushed apart are
    the samples that are held near x.

    Parameters
    ----------
    samples
        M, draws of z and decodes per image, at least 2. The paper uses 10 to 100.
    beta
        Exponent of the distance, in (0, 2].
    alpha
        Weight of the KL term. The paper does not say which it used.
    """

    unit = "data units ** beta per image"

    def __init__(self, samples: int = 10, beta: float = 1.0, alpha: float = 0.1):
        super().__init__()
        if not isinstance(samples, int) or samples < 2:
            raise ValueError(f"envae needs at least 2 samples (an integer), received {samples!r}")
        check_positive(alpha=alpha)
        check_beta(beta)
        self.samples, self.beta, self.alpha = samples, beta, alpha

    def forward(self, vae: EncodesAndDecodes, x: Tensor) -> Loss:
        posterior = encode(vae, x)
        decoded = decode(vae, posterior.rsample((self.samples,)), x)  # (M, B, *event)
        return with_kl(posterior, energy_score(decoded, x, beta=self.beta), self.alpha)


@register("fenvae", paper="Eq. 14 of xu2025")
class FEnVAE(Objective):
    """One-draw surrogate of the energy score, plus the weighted KL term; as the paper prints it.

    .. math:: \\|g(z) - x\\|^\\beta
              - \\tfrac12 \\|g(\\mu + \\sqrt2 (z - \\mu)) - g(\\mu)\\|^\\beta
              + \\alpha\\, KL(q(z|x) \\| p(z))

    It has no lower bound (see `scores.fenvae_surrogate`), and training can run away with it. The
    three codes are decoded in one call, so that batch normalization, where a decoder has it,
    treats them alike.

    Parameters
    ----------
    beta
        Exponent of the distance, in (0, 2].
    alpha
        Weight of the KL term. The paper does not say which it used.
    draws
        `"single"`: the noise of z is used in both terms (Eq. 14). `"double"`: the second term has
        noise of its own (Eq. 13, Table 5).
    """

    unit = "data units ** beta per image"

    def __init__(self, beta: float = 1.0, alpha: float = 0.1, draws: str = "single"):
        super().__init__()
        check_positive(alpha=alpha)
        check_beta(beta)
        if draws not in ("single", "double"):
            raise ValueError(f"draws must be 'single' or 'double', received {draws!r}")
        self.beta, self.alpha, self.draws = beta, alpha, draws

    def forward(self, vae: EncodesAndDecodes, x: Tensor) -> Loss:
        posterior = encode(vae, x)
        mean = posterior.mean
        draw = other = posterior.rsample()
        if self.draws == "double":
            other = posterior.rsample()
        stretched = mean + math.sqrt(2) * (other - mean)
        decoded = decode(vae, torch.stack([draw, stretched, mean]), x)
        surrogate = fenvae_surrogate(*decoded, x, beta=self.beta)
        spread = (decoded[1] - decoded[2]).flatten(1).norm(dim=1)  # (B,)
        return with_kl(posterior, surrogate, self.alpha, spread=spread)
