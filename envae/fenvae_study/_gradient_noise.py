"""How far the gradients of an objective scatter, and where they point."""

from collections.abc import Mapping

import pandas as pd
import torch
from torch import Tensor

from envae.objectives import Objective
from envae.vae import VAE


def gradient_noise(
    vae: VAE,
    objectives: Mapping[str, Objective],
    x: Tensor,
    *,
    reference: Objective,
    repeats: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Bias and variance of gradients of the same batch, over draws of the posterior alone.

    Parameters
    ----------
    vae
        Model whose parameters the gradients are of.
    objectives
        What is compared, by label.
    x
        One batch.
    reference
        Unbiased objective, with many draws; the bias is the distance to its mean gradient.
    repeats
        Gradients of each.

    Returns
    -------
    DataFrame
        By label: `variance` (trace of the covariance) and `bias` (length), both relative to the
        length of the mean gradient of the reference, squared for the variance; `cosine` of the
        two mean gradients.
    """
    torch.manual_seed(seed)
    target, target_noise = _gradients(vae, reference, x, repeats)
    size = target.norm()
    rows = {}
    for label, minimized in objectives.items():
        mean, variance = _gradients(vae, minimized, x, repeats)
        # The two means are off by noise of their own, which their distance contains.
        excess = (mean - target).square().sum() - (variance + target_noise) / repeats
        rows[label] = {
            "variance": (variance / size**2).item(),
            "bias": (excess.clamp(min=0).sqrt() / size).item(),
            "cosine": torch.cosine_similarity(mean, target, dim=0).item(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _gradients(vae: VAE, minimized: Objective, x: Tensor, repeats: int) -> tuple[Tensor, Tensor]:
    """Mean of the gradient `(P,)` and trace of its covariance, over draws."""
    weights = list(vae.parameters())
    total, squares = torch.zeros(sum(w.numel() for w in weights)), 0.0
    for _ in range(repeats):
        gradient = torch.autograd.grad(minimized(vae, x).total, weights)
        flat = torch.cat([part.flatten() for part in gradient])
        total += flat
        squares += flat.square().sum()
    mean = total / repeats
    return mean, (squares - repeats * mean.square().sum()) / (repeats - 1)
