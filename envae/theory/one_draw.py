"""FEnVAE's single draw beside the pair of draws that the energy score asks for (xu2025, Sec. 3.2).

Several decoders are tried at once. They are one function from codes `(D, N, d_z)` to images
`(D, N, n)`, N codes for each of D decoders; the codes are draws of N(mean, sigma^2 I) with a mean
of shape `(D, 1, d_z)`. Observations are 0.
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from envae.scores import energy_score, fenvae_surrogate, norm_power
from envae.theory.monte_carlo import Estimate

Decoders = Callable[[Tensor], Tensor]


def second_terms(
    decoders: Decoders,
    mean: Tensor,
    sigma: float,
    *,
    draws: int,
    generator: Generator,
    beta: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """The second term of the energy score and of FEnVAE's surrogate, on every draw.

    .. math:: \\tfrac12 \\|g(\\mu + \\sigma\\epsilon) - g(\\mu + \\sigma\\epsilon')\\|^\\beta,
              \\qquad \\tfrac12 \\|g(\\mu + \\sqrt2\\,\\sigma\\bar\\epsilon) - g(\\mu)\\|^\\beta

    FEnVAE's noise is coupled with the pair, as the difference of its two over sqrt(2). Each draw
    comes with its mirror image, so that odd powers of sigma, which have no mean, do not hide the
    even ones.

    Parameters
    ----------
    draws
        Of each decoder, half of them mirror images; an even number.

    Returns
    -------
    tuple of Tensor
        `(D, draws)` each, in units of the images to the power beta.
    """
    half = _normal(2, len(mean), draws // 2, mean.shape[-1], like=mean, generator=generator)
    first, second = torch.cat([half, -half], dim=2)
    together = (first - second) / math.sqrt(2)
    pair = decoders(mean + sigma * first) - decoders(mean + sigma * second)
    one = decoders(mean + sigma * math.sqrt(2) * together) - decoders(mean)
    return 0.5 * pair.norm(dim=-1) ** beta, 0.5 * one.norm(dim=-1) ** beta


def surrogate_and_score(
    decoders: Decoders, mean: Tensor, sigma: float, *, draws: int, generator: Generator
) -> tuple[Estimate, Estimate]:
    """Means of FEnVAE's surrogate and of the energy score of two samples, each with its own draws.

    Both by the functions that training uses, at beta = 1.

    Parameters
    ----------
    draws
        Of each decoder.
    """
    shape = len(mean), draws, mean.shape[-1]
    noise = [_normal(*shape, like=mean, generator=generator) for _ in range(3)]
    draw, *pair = [decoders(mean + sigma * e).flatten(0, 1) for e in noise]  # (D draws, n)
    stretched = decoders(mean + math.sqrt(2) * sigma * noise[0]).flatten(0, 1)
    center = _everywhere(decoders(mean), draws)
    x = torch.zeros_like(draw)
    surrogate = fenvae_surrogate(draw, stretched, center, x)
    return Estimate.of(surrogate), Estimate.of(energy_score(torch.stack(pair), x))


def one_noise_and_two(
    decoders: Decoders, mean: Tensor, sigma: float, *, draws: int, generator: Generator
) -> tuple[Estimate, Estimate]:
    """Means of Eq. 14, where both terms have one noise, and of Eq. 13, where each has its own.

    Arguments as for :func:`surrogate_and_score`.
    """
    noises = _normal(2, len(mean), draws, mean.shape[-1], like=mean, generator=generator)
    draw = decoders(mean + sigma * noises[0]).flatten(0, 1)
    center = _everywhere(decoders(mean), draws)
    x = torch.zeros_like(draw)
    stretched = [decoders(mean + math.sqrt(2) * sigma * noise).flatten(0, 1) for noise in noises]
    single, double = (Estimate.of(fenvae_surrogate(draw, s, center, x)) for s in stretched)
    return single, double


def variance_ratios(
    dimension: int, miss: float, beta: float, *, draws: int, generator: Generator
) -> tuple[float, float]:
    """Variance with one noise over variance with two, of the loss and of its derivative.

    For a decoder that is affine with a residual r the terms are, with a = J sigma epsilon,

    .. math:: \\|r + a\\|^\\beta - \\tfrac12 \\|\\sqrt2\\, a\\|^\\beta ,

    the second with the same a or with another. The derivative is that by ln sigma.

    Parameters
    ----------
    dimension
        Of a, which is standard normal.
    miss
        Length of r, in units of the length of a.
    draws
        Of a, and of the other.
    """
    like = torch.zeros(dimension, dtype=torch.float64)
    a, other = _normal(2, draws, dimension, like=like, generator=generator)
    r = like.index_fill(0, torch.tensor([0]), miss * math.sqrt(dimension))
    first = norm_power(r + a, beta)
    # d/d(ln sigma) of ||r + a||^beta is beta ||r + a||^(beta - 2) (r + a).a
    slope = beta * norm_power(r + a, beta) ** (1 - 2 / beta) * ((r + a) * a).sum(1)
    same, apart = (norm_power(math.sqrt(2) * noise, beta) for noise in (a, other))
    loss = (first - 0.5 * same).var() / (first - 0.5 * apart).var()
    derivative = (slope - 0.5 * beta * same).var() / (slope - 0.5 * beta * apart).var()
    return loss.item(), derivative.item()


def _normal(*shape: int, like: Tensor, generator: Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=like.dtype)


def _everywhere(center: Tensor, draws: int) -> Tensor:
    """The image of each decoder's mean code `(D, 1, n)` beside every draw, `(D draws, n)`."""
    return center.expand(-1, draws, -1).flatten(0, 1)
