"""How much of a gradient is noise: over draws of the posterior, and over batches."""

from collections.abc import Callable, Iterator, Mapping

import pandas as pd
import torch
from torch import Tensor, nn

from envae.evaluation import seeded
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
    seed
        Seed of the draws.

    Returns
    -------
    DataFrame
        By label: `variance` (trace of the covariance) and `bias` (length), both relative to the
        length of the mean gradient of the reference, squared for the variance; `cosine` of the
        two mean gradients.
    """

    def moments(minimized: Objective) -> tuple[Tensor, Tensor]:
        return _moments(_gradients(vae, lambda: minimized(vae, x).total, repeats))

    rows = {}
    with seeded(seed):
        target, target_noise = moments(reference)
        size = target.norm()
        for label, minimized in objectives.items():
            mean, variance = moments(minimized)
            # The two means are off by noise of their own, which their distance contains.
            excess = (mean - target).square().sum() - (variance + target_noise) / repeats
            rows[label] = {
                "variance": (variance / size**2).item(),
                "bias": (excess.clamp(min=0).sqrt() / size).item(),
                "cosine": torch.cosine_similarity(mean, target, dim=0).item(),
            }
    return pd.DataFrame.from_dict(rows, orient="index")


def gradient_signal(
    objective: Objective,
    vae: VAE,
    images: Tensor,
    *,
    batch_size: int = 64,
    batches: int = 200,
) -> float:
    """Signal-to-noise ratio of a minibatch's gradient, of the reconstruction term by the weights.

    The squared length of the mean gradient over the mean squared distance from it, over batches
    drawn at random; the part of the squared length that is noise is taken off, so that the ratio
    may come out a little below zero where there is no signal.
    """
    chosen = iter(torch.randint(len(images), (batches, batch_size)))
    mean, noise = _moments(
        _gradients(vae, lambda: objective(vae, images[next(chosen)]).reconstruction, batches)
    )
    return ((mean.square().sum() - noise / batches) / noise).item()


def _gradients(model: nn.Module, loss: Callable[[], Tensor], repeats: int) -> Iterator[Tensor]:
    """Gradient `(P,)` by the weights of each of several evaluations of a loss."""
    weights = list(model.parameters())
    for _ in range(repeats):
        parts = torch.autograd.grad(loss(), weights)
        yield torch.cat([part.flatten() for part in parts])


def _moments(gradients: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean of gradients `(P,)` and trace of their covariance; none but the sums are held."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for gradient in gradients:
        count, total, squares = count + 1, total + gradient, squares + gradient.square().sum()
    mean = total / count
    return mean, (squares - count * mean.square().sum()) / (count - 1)
