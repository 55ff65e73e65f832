"""The criteria of Tables 1 and E.8 of takida2022: is the decoder oversmoothed, the code empty?"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from envae import evaluation
from envae.datasets import Dataset
from envae.evaluation import evaluating, seeded, squared_error
from envae.experiments.records import Values
from envae.metrics.information import mutual_information
from envae.metrics.smoothness import expected_gap, expected_local_smoothness, smoothness_from_gap
from envae.objectives import Objective
from envae.vae import VAE, Posterior, gaussian, kl_to_prior


def measure(
    vae: VAE,
    objective: Objective,
    dataset: Dataset,
    seed: int,
    *,
    images: int = 10_000,
    jacobians: int = 1000,
) -> Values:
    """Values with their units, a `runs.Measure`, on training images as App. D.1 has it.

    The tables' MI is bounded here in two places: of image and code, and of code and noisy
    reconstruction, x' ~ N(g(z), sigma_x^2 I). Each has an estimate from its own images (`low`)
    and one between two halves of them (`high`): see `information.mutual_information`.

    Parameters
    ----------
    images
        Training images measured, the first ones; the paper's batch has 10,000.
    jacobians
        Of these, images at which the exact ELS is taken.

    Returns
    -------
    dict
        `squared_error`, `squared_error_mean`, `squared_error_test`: from posterior draws, from
        means, from draws for test images. `gap_1e-2`, `gap_1e-3`, `els`, `els_from_gap` (the
        smaller perturbation's), `code_norm2`: mean ||mu||^2. `mi_image_low`, `mi_image_high`.
        If the posterior has a variance also `posterior_variance`, `kl`, `kl_test`, `mi_code_low`,
        `mi_code_high`.
    """
    x, test = (evaluation.placed(vae, of) for of in (dataset.train[:images], dataset.test))
    with evaluating(vae), seeded(seed):
        with torch.no_grad():
            posterior, of_test = evaluation.encode(vae, x), evaluation.encode(vae, test)
        values = _of_reconstructions(vae, objective, x, posterior) | {
            "squared_error_test": (
                squared_error(_decoder(vae)(of_test.sample()), test),
                "posterior draws; sum over pixels, test split",
            )
        }
        values |= _of_decoder(vae, posterior.mean, jacobians)
        if (posterior.stddev > 0).all():
            values |= _of_codes(posterior, of_test)
    return values


def _of_reconstructions(vae: VAE, objective: Objective, x: Tensor, posterior: Posterior) -> Values:
    decode = _decoder(vae)
    from_draws = decode(posterior.sample())
    error = squared_error(from_draws, x)
    flat = from_draws.flatten(1)
    # sigma_x^2 where the objective fixes it, else its maximum-likelihood value.
    fixed = objective.pixel_variance
    noise = math.sqrt(error / flat.shape[1] if fixed is None else fixed)
    return {
        "squared_error": (error, "posterior draws; sum over pixels"),
        "squared_error_mean": (
            squared_error(decode(posterior.mean), x),
            "posterior means; sum over pixels",
        ),
    } | _bounds("mi_image", gaussian(flat, torch.full_like(flat, noise)))


def _of_decoder(vae: VAE, mean: Tensor, jacobians: int) -> Values:
    decode = _decoder(vae)
    wide, narrow = (expected_gap(decode, mean, variance) for variance in (1e-2, 1e-3))
    jacobian_unit = "squared data over code units"
    return {
        "gap_1e-2": (wide, "sum over pixels, perturbation variance 1e-2"),
        "gap_1e-3": (narrow, "sum over pixels, perturbation variance 1e-3"),
        "els": (
            expected_local_smoothness(vae.decode, mean[:jacobians]),
            f"{jacobian_unit}, {min(jacobians, len(mean))} images",
        ),
        "els_from_gap": (smoothness_from_gap(narrow, 1e-3), jacobian_unit),
        "code_norm2": (mean.square().sum(1).mean().item(), "squared units of the code"),
    }


def _of_codes(posterior: Posterior, of_test: Posterior) -> Values:
    return {
        "posterior_variance": (posterior.variance.mean().item(), "squared units of the code"),
        "kl": (kl_to_prior(posterior).mean().item(), "nats per image"),
        "kl_test": (kl_to_prior(of_test).mean().item(), "nats per image, test split"),
    } | _bounds("mi_code", posterior)


def _bounds(name: str, channel: Posterior) -> Values:
    """Mutual information of the channel, from below, and from above by one half on the other."""
    half = len(channel.mean) // 2
    one, other = (
        gaussian(channel.mean[part], channel.stddev[part])
        for part in (slice(half), slice(half, None))
    )
    return {
        f"{name}_low": (
            mutual_information(channel),
            f"nats, at most {math.log(len(channel.mean)):.2f}",
        ),
        f"{name}_high": (mutual_information(one, reference=other), "nats"),
    }


def _decoder(vae: VAE) -> Callable[[Tensor], Tensor]:
    """Decoding in batches, without gradients."""

    @torch.no_grad()
    def decode(codes: Tensor) -> Tensor:
        return evaluation.decode(vae, codes)

    return decode
