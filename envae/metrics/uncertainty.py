"""What a trained model says about the noise in its data: estimated variance, residual, spread."""

import torch
from torch import Tensor

from envae.datasets import Dataset
from envae.metrics._common import Values, decoded_draws
from envae.noise import partitions
from envae.objectives import Objective
from envae.objectives.variance import GaussianWithVariance
from envae.vae import VAE

UNIT = "squared pixel value, mean over the partition's pixels"
KINDS = ("variance", "residual", "spread")


def maps(vae: VAE, objective: Objective, images: Tensor, *, draws: int = 4) -> dict[str, Tensor]:
    """Per pixel of every image, averaged over draws of z: `(N, C, H, W)` each.

    Parameters
    ----------
    vae, objective
        A trained model and what it was trained with.
    images
        `(N, C, H, W)`.
    draws
        Draws of z per image, at least 2.

    Returns
    -------
    dict
        `residual`: E_q (x - g(z))^2. `spread`: the variance of g(z) under q. `variance`: the
        estimated variance, where the objective has one; by maximum likelihood it is the mean of
        the residual over whatever shares it (Eqs. G.4, G.7, G.11, G.15 of takida2022).

    Raises
    ------
    ValueError
        If there are fewer than two draws, which have no spread.
    """
    decoded = decoded_draws(vae, images, draws=draws)
    values = {"residual": (images - decoded).square().mean(0), "spread": decoded.var(0)}
    if isinstance(objective, GaussianWithVariance):
        estimates = [objective.variance(vae, images) for _ in range(draws)]
        values["variance"] = torch.stack(estimates).mean(0)
    return values


def over_partitions(values: Tensor, labels: Tensor) -> dict[str, float]:
    """Mean of values `(N, C, H, W)` over each of `noise.partitions` that has any image."""
    parts = partitions(labels, tuple(values.shape[1:]))
    return {name: values[part].mean().item() for name, part in parts.items() if part.any()}


def readings(
    vae: VAE, objective: Objective, dataset: Dataset, seed: int, *, draws: int = 4
) -> Values:
    """Means of :func:`maps` with their unit, for `sweep.run`: `<map>_<split>_<partition>`."""
    torch.manual_seed(seed)
    values = {}
    for split in ("train", "test"):
        images, labels = getattr(dataset, split), getattr(dataset, f"{split}_labels")
        for kind, of_images in maps(vae, objective, images, draws=draws).items():
            for part, value in over_partitions(of_images, labels).items():
                values[f"{kind}_{split}_{part}"] = (value, UNIT)
    return values
