"""What a trained model says about the noise in its data: estimated variance, residual, spread."""

import torch
from torch import Tensor

from envae.datasets.noise import partitions
from envae.evaluation import decoded_draws, evaluating
from envae.objectives import Objective
from envae.vae import EncodesAndDecodes

UNIT = "squared pixel value, mean over the partition's pixels"


def maps(
    vae: EncodesAndDecodes, objective: Objective, images: Tensor, *, draws: int = 4
) -> dict[str, Tensor]:
    """Per pixel of every image, averaged over draws of z: `(N, C, H, W)` each, on the CPU.

    Parameters
    ----------
    vae, objective
        A trained model, measured in evaluation mode, and what it was trained with.
    images
        `(N, C, H, W)`, as many as there are; they are decoded in batches on the model's device.
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
    with evaluating(vae):
        decoded = decoded_draws(vae, images, draws=draws)
        residual = (images.to(decoded.device) - decoded).square().mean(0)
        values = {"residual": residual, "spread": decoded.var(0)}
        estimates = [
            estimate
            for _ in range(draws)
            if (estimate := objective.variance(vae, images)) is not None
        ]
    if estimates:
        values["variance"] = torch.stack(estimates).mean(0)
    return {kind: value.cpu() for kind, value in values.items()}


def over_partitions(values: Tensor, labels: Tensor) -> dict[str, float]:
    """Mean of values `(N, C, H, W)` over each of `noise.partitions` that has any image."""
    _, channels, height, width = values.shape
    parts = partitions(labels, (channels, height, width))
    return {name: values[part].mean().item() for name, part in parts.items() if part.any()}
