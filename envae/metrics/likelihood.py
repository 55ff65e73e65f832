"""Negative log-likelihood by importance sampling (Burda et al., 2015; Sec. 6.4 of takida2022).

.. math:: -\\ln p(x) \\approx -\\ln \\frac1k \\sum_{i=1}^k \\frac{p(x|z_i)\\, p(z_i)}{q(z_i|x)},
          \\qquad z_i \\sim q(z|x)

In expectation it is an upper bound, which falls with k to the exact value. It asks for a decoder
that has a density p(x|z), which a trained model's objective gives where there is one::

    density = objective.density(vae, training_images)
    nats = negative_log_likelihood(vae, density, images)

Objectives with a likelihood of fixed form give it as it is (for `mol`, the probability of grey
levels, which is not comparable with densities). `iso_i` and `diag_i` by maximum likelihood give a
Gaussian with the variance estimated on the training images, one number or one per pixel, with
`epsilon` added as in the loss. With a trained variance all four give one: there it depends on z.

`iso_d` and `diag_d` by maximum likelihood give none. Their variance is an estimate from the very
image that is scored: the "density" N(x; g(z), r^2) with the residual r = x - g(z) itself has no
finite integral over x, so its logarithm is not a likelihood, and Table 7 of takida2022 compares
what cannot be compared.
"""

import math

import torch
from torch import Tensor

from envae.evaluation import batches, drawn, evaluating
from envae.objectives.base import LogDensity, check_count
from envae.vae import (
    EncodesAndDecodes,
    gaussian,
    has_stddev,
    mean_and_stddev,
    posterior_of,
    prior_of,
)


def negative_log_likelihood(
    vae: EncodesAndDecodes,
    log_density: LogDensity,
    images: Tensor,
    *,
    draws: int = 500,
    seed: int = 0,
    decoded_at_once: int = 1000,
) -> Tensor:
    """Estimate of -ln p(x) of each image, in nats.

    Parameters
    ----------
    vae
        Its posterior is the proposal, of any kind that has a density. It is measured in evaluation
        mode.
    log_density
        ln p(x|z), as `objective.density` gives it.
    images
        `(N, C, H, W)`, in [0, 1].
    draws
        k, draws of z per image. The paper uses 500.
    seed
        Seed of the draws.
    decoded_at_once
        Codes decoded in one call, which bounds the memory. Another number makes other draws.

    Returns
    -------
    Tensor
        `(N,)`, float64, on the CPU.

    Raises
    ------
    ValueError
        If an argument is out of range, or the posterior is a point, without a density.
    """
    check_count(draws=draws, decoded_at_once=decoded_at_once)
    generator = torch.Generator().manual_seed(seed)
    batch_size = max(decoded_at_once // draws, 1)
    with evaluating(vae), torch.no_grad():
        weights = [
            _log_weights(vae, log_density, batch, draws, generator, decoded_at_once)
            for batch in batches(vae, images, batch_size)
        ]
    return math.log(draws) - torch.cat(weights, dim=1).logsumexp(0)


def _log_weights(
    vae: EncodesAndDecodes,
    log_density: LogDensity,
    x: Tensor,
    draws: int,
    generator: torch.Generator,
    decoded_at_once: int,
) -> Tensor:
    """ln p(x|z) + ln p(z) - ln q(z|x) of draws from q, `(k, B)`, float64, on the CPU."""
    posterior = posterior_of(vae.encode(x), len(x))
    if has_stddev(posterior):
        mean, stddev = (each.double() for each in mean_and_stddev(posterior))
        if not (stddev > 0).all():
            raise ValueError("needs a posterior with a density: a standard deviation is 0")
        noise = torch.randn(draws, *mean.shape, generator=generator, dtype=torch.float64).to(
            mean.device
        )
        codes, proposal = mean + stddev * noise, gaussian(mean, stddev)
    else:
        codes, proposal = drawn(posterior, generator, draws=draws), posterior
    # Codes are (k, B, *code).
    prior = prior_of(vae) or gaussian(torch.zeros_like(codes[0]), torch.ones_like(codes[0]))
    try:
        log_ratio = prior.log_prob(codes) - proposal.log_prob(codes)
    except NotImplementedError:
        kinds = " or ".join(type(each).__name__ for each in (proposal, prior))
        raise ValueError(f"needs densities: {kinds} has no log_prob") from None
    parts = codes.to(x.dtype).split(max(decoded_at_once // len(x), 1))
    return (torch.cat([log_density(x, part) for part in parts]).double() + log_ratio).cpu()
