"""Negative log-likelihood by importance sampling (Burda et al., 2015; Sec. 6.4 of takida2022).

.. math:: -\\ln p(x) \\approx -\\ln \\frac1k \\sum_{i=1}^k \\frac{p(x|z_i)\\, p(z_i)}{q(z_i|x)},
          \\qquad z_i \\sim q(z|x)

In expectation it is an upper bound, which falls with k to the exact value. It asks for a decoder
that has a density p(x|z), which :func:`decoder_density` gets from a trained model and its
objective, where there is one.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from envae.metrics._common import AT_ONCE, batches
from envae.objectives import Objective
from envae.objectives._base import NATS, decode, decode_with_head
from envae.objectives.likelihood import Bernoulli, Likelihood
from envae.objectives.variance import GaussianWithVariance
from envae.vae import EncodesAndDecodes, gaussian

# ln p(x|z) in nats, (K, B), of images (B, C, H, W) and K codes for each, (K, B, d_z).
LogDensity = Callable[[Tensor, Tensor], Tensor]


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
        Its posterior is the proposal; put it in evaluation mode first.
    log_density
        ln p(x|z), as :func:`decoder_density` gives it.
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
    for name, value in {"draws": draws, "decoded_at_once": decoded_at_once}.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be an integer from 1 up, received {value!r}")
    generator = torch.Generator().manual_seed(seed)
    batch_size = max(decoded_at_once // draws, 1)
    with torch.no_grad():
        weights = [
            _log_weights(vae, log_density, batch, draws, generator, decoded_at_once)
            for batch in batches(vae, images, batch_size)
        ]
    return math.log(draws) - torch.cat(weights, dim=1).logsumexp(0)


def _log_weights(vae, log_density, x, draws, generator, decoded_at_once) -> Tensor:
    """ln p(x|z) + ln p(z) - ln q(z|x) of draws from q, `(k, B)`, float64, on the CPU."""
    posterior = vae.encode(x)
    mean, stddev = posterior.mean.double(), posterior.stddev.double()
    if not (stddev > 0).all():
        raise ValueError("needs a posterior with a density: a standard deviation is 0")
    noise = torch.randn(draws, *mean.shape, generator=generator, dtype=torch.float64).to(
        mean.device
    )
    codes = mean + stddev * noise  # (k, B, d_z)
    prior = gaussian(torch.zeros_like(mean), torch.ones_like(mean))
    log_ratio = prior.log_prob(codes) - gaussian(mean, stddev).log_prob(codes)
    parts = codes.to(x.dtype).split(max(decoded_at_once // len(x), 1))
    return (torch.cat([log_density(x, part) for part in parts]).double() + log_ratio).cpu()


def decoder_density(
    vae: EncodesAndDecodes,
    objective: Objective,
    train: Tensor,
    *,
    seed: int = 0,
    batch_size: int = AT_ONCE,
) -> LogDensity:
    """The decoder's log density ln p(x|z) under the objective that it was trained with.

    Objectives with a likelihood of fixed form give it as it is (for `mol`, the probability of grey
    levels, which is not comparable with densities). `iso_i` and `diag_i` by maximum likelihood
    give a Gaussian with the variance estimated on the training images, one number or one per
    pixel, with `epsilon` added as in the loss. With a trained variance all four give one: there
    it depends on z.

    `iso_d` and `diag_d` by maximum likelihood give none. Their variance is an estimate from the
    very image that is scored: the "density" N(x; g(z), r^2) with the residual r = x - g(z) itself
    has no finite integral over x, so its logarithm is not a likelihood, and Table 7 of takida2022
    compares what cannot be compared.

    Parameters
    ----------
    vae
        The trained model, in evaluation mode.
    objective
        What it was trained with.
    train
        Training images.
    seed
        Seed of the draws that the variance is estimated from.
    batch_size
        Training images at a time.

    Raises
    ------
    ValueError
        If the objective has no density; says why. For `bernoulli`, when the density is asked for
        images that are not of zeros and ones.
    """
    if objective.unit == NATS and isinstance(objective, Likelihood):
        return lambda x, z: _of_fixed_form(vae, objective, x, z)
    if not isinstance(objective, GaussianWithVariance):
        raise ValueError(
            f"objective {objective.name!r} has no density p(x|z): its loss is in {objective.unit}"
        )
    if objective.one_for_all_images:
        variance = _variance(vae, objective, train, seed, batch_size)
        return lambda x, z: _gaussian(x, decode(vae, z, x), variance)
    if objective.estimate == "mle":
        raise ValueError(
            f"{objective.name} by maximum likelihood has no density p(x|z): its variance is "
            "estimated from the image that is scored, so that nothing normalizes it over images; "
            "estimate='trainable' has one"
        )
    return lambda x, z: _of_trained_variance(vae, objective, x, z)


def _of_fixed_form(vae, objective: Likelihood, x: Tensor, z: Tensor) -> Tensor:
    if isinstance(objective, Bernoulli) and not ((x == 0) | (x == 1)).all():
        raise ValueError(
            "bernoulli is a likelihood of pixels that are 0 or 1 only; received grey values"
        )
    images, heads = decode_with_head(vae, z, x, objective)
    observed = x.expand_as(images).flatten(0, 1)
    head = None if heads is None else heads.flatten(0, 1)
    nats = objective.negative_log_likelihood(observed, images.flatten(0, 1), head)
    return -nats.unflatten(0, z.shape[:2])


def _of_trained_variance(vae, objective: GaussianWithVariance, x: Tensor, z: Tensor) -> Tensor:
    images, heads = decode_with_head(vae, z, x, objective)
    return _gaussian(x, images, objective.trained_log_variance(heads).exp())


def _variance(vae, objective: GaussianWithVariance, train, seed, batch_size) -> Tensor:
    """Variance that all images share, in the shape of an image: its mean over the batches."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        parts = [len(x) * objective.variance(vae, x)[0] for x in batches(vae, train, batch_size)]
    variance = torch.stack(parts).sum(0) / len(train)
    return variance + objective.epsilon if objective.estimate == "mle" else variance


def _gaussian(x: Tensor, images: Tensor, variance: Tensor) -> Tensor:
    """ln N(x; image, variance) of each image, `(K, B)`."""
    nats = (x - images).square() / variance + variance.log() + math.log(2 * math.pi)
    return -0.5 * nats.expand_as(images).flatten(2).sum(2)
