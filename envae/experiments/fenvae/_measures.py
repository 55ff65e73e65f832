"""What is measured of a trained model, beside what every chapter measures."""

import copy
import math
from typing import Any

import torch
from torch import Tensor

from envae import evaluation
from envae.datasets import Dataset
from envae.evaluation import evaluating, seeded
from envae.experiments.measures import pictures, quality
from envae.experiments.records import Values
from envae.metrics import smoothness
from envae.metrics.extractor import Extractor
from envae.objectives import Objective
from envae.scores import energy_score
from envae.vae import VAE


def measure(
    vae: VAE,
    minimized: Objective,
    dataset: Dataset,
    seed: int,
    *,
    extractor: Extractor,
    samples: int | None = None,
    **more: Any,
) -> Values:
    """Values with their units: those of `quality.measure`, and spreads, on the test split.

    `samples` as there: how many images are generated, and at most how many test images measured.
    `more`: its other arguments.
    """
    values = quality.measure(
        vae, minimized, dataset, seed, extractor=extractor, samples=samples, **more
    )
    test = dataset.test[:samples]
    terms = spread_terms(vae, test, draws=10, seed=seed)
    with evaluating(vae), torch.no_grad():
        posterior = evaluation.encode(vae, test)
    unit = "data units, mean over the test split"
    return values | {
        "spread": (terms["spread"].mean().item(), f"{unit}; half the distance of two draws"),
        "stand_in": (terms["stand_in"].mean().item(), f"{unit}; half FEnVAE's second distance"),
        "energy_score": (terms["energy_score"].mean().item(), f"{unit}; beta 1, 10 draws"),
        "posterior_variance": (posterior.variance.mean().item(), "mean over codes and images"),
        "mean_variance": (posterior.mean.var(0).mean().item(), "of posterior means, over images"),
    }


def measure_with_lipschitz(
    vae: VAE,
    minimized: Objective,
    dataset: Dataset,
    seed: int,
    *,
    extractor: Extractor,
    samples: int | None = None,
) -> Values:
    """:func:`measure`, and lower bounds of the Lipschitz constants of encoder mean and decoder."""
    values = measure(vae, minimized, dataset, seed, extractor=extractor, samples=samples)
    images = evaluation.placed(vae, dataset.test[:500])
    with evaluating(vae):
        with torch.no_grad():
            codes = vae.encode(images[:100]).mean
        return values | {
            "lipschitz_encoder": (
                smoothness.lipschitz_from_pairs(lambda x: vae.encode(x).mean, images),
                f"largest ratio over pairs of {len(images)} test images",
            ),
            "lipschitz_decoder": (
                smoothness.lipschitz_from_jacobians(vae.decode, codes),
                f"largest spectral norm of the Jacobian at {len(codes)} posterior means",
            ),
        }


def spread_terms(vae: VAE, images: Tensor, *, draws: int, seed: int) -> dict[str, Tensor]:
    """Second terms of the score and of FEnVAE's surrogate on images, without gradient, `(B,)` each.

    Returns
    -------
    dict
        `spread`: half the mean distance of independent draws, over the pairs of `draws` of them.
        `stand_in`: half the distance of g(mu + sqrt(2) delta) and g(mu), for one draw.
        `first`: mean distance of the draws to the image. `energy_score`: `first - spread`.
    """
    generator = torch.Generator().manual_seed(seed)
    with evaluating(vae), torch.no_grad():
        posterior = evaluation.encode(vae, images)
        mean, stddev = posterior.mean, posterior.stddev
        noise = torch.randn(draws, *mean.shape, generator=generator).to(mean)
        codes = torch.cat(
            [mean + stddev * noise, (mean + math.sqrt(2) * stddev * noise[0])[None], mean[None]]
        )
        *decoded, stretched, center = evaluation.decode(vae, codes.flatten(0, 1)).unflatten(
            0, codes.shape[:2]
        )
        decoded = torch.stack(decoded).cpu()
        score = energy_score(decoded, images)
    first = (decoded - images).flatten(2).norm(dim=2).mean(0)
    stand_in = 0.5 * (stretched - center).cpu().flatten(1).norm(dim=1)
    return {"spread": first - score, "stand_in": stand_in, "first": first, "energy_score": score}


def normalized_apart(vae: VAE, images: Tensor, *, seed: int) -> dict[str, float]:
    """Stand-in over spread in training mode, all codes decoded in one call or in one each.

    The running statistics of batch normalization are left as they are.
    """
    vae = copy.deepcopy(vae).train()
    with seeded(seed), torch.no_grad():
        posterior = vae.encode(images)
        first, second = posterior.rsample((2,))
        stretched = posterior.mean + math.sqrt(2) * (first - posterior.mean)
        codes = torch.stack([first, second, stretched, posterior.mean])
        decoded = {
            "training, one call": vae.decode(codes),
            "training, a call each": torch.stack([vae.decode(code) for code in codes]),
        }
    ratios = {}
    for label, (a, b, c, d) in decoded.items():
        apart, between = (
            (one - other).flatten(1).norm(dim=1).mean() for one, other in ((c, d), (a, b))
        )
        ratios[label] = (apart / between).item()
    return ratios


def latent_walk(vae: VAE, images: Tensor, *, between: int = 10) -> Tensor:
    """Decoded codes on the line between the means of two images, `(between + 2, P, C, H, W)`.

    Image k is paired with image k + P, of 2 P images. Figs. 21-23 of xu2025 are such walks between
    two sampled points; Sec. 6.12 does not say from what these are drawn.
    """
    with evaluating(vae), torch.no_grad():
        start, end = vae.encode(images).mean.chunk(2)
        share = torch.linspace(0, 1, between + 2)[:, None, None]
        return vae.decode(start + share * (end - start))


def walked(vae: VAE, images: Tensor) -> dict[str, float]:
    """How sharp and how even the walks of :func:`latent_walk` are, their ends left out.

    Returns
    -------
    dict
        `sharpness`: mean difference of neighbouring pixels. `unevenness`: largest of a walk's steps
        over their mean, mean over the walks.
    """
    between = latent_walk(vae, images)
    jumps = between.diff(dim=0).flatten(2).norm(dim=2)  # (steps, P)
    return {
        "sharpness": pictures.sharpness(between[1:-1]),
        "unevenness": (jumps.amax(0) / jumps.mean(0)).mean().item(),
    }


def measure_walks(vae: VAE, minimized: Objective, dataset: Dataset, seed: int) -> Values:
    """:func:`walked` over the first 500 test images, a `runs.Measure`.

    And `mean_image`, the squared error of who shows them the mean training image.
    """
    images = dataset.test[:500]
    told = f"between {len(images)} test images"
    units = {
        "sharpness": f"mean difference of neighbouring pixels, walks {told}",
        "unevenness": f"largest step over the mean one, walks {told}",
        "mean_image": f"sum over pixels, mean over {len(images)} test images",
    }
    values = walked(vae, evaluation.placed(vae, images))
    values["mean_image"] = evaluation.squared_error(dataset.train.mean(0), images)
    return {name: (value, units[name]) for name, value in values.items()}
