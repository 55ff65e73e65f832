"""How much of a minibatch's gradient is signal."""

import torch
from torch import Tensor

from envae.objectives import Objective
from envae.vae import VAE


def gradient_signal(
    objective: Objective, vae: VAE, images: Tensor, *, batch_size: int = 64, batches: int = 200
) -> float:
    """Signal-to-noise ratio of a minibatch's gradient, of the reconstruction term by the weights.

    The squared length of the mean gradient over the mean squared distance from it, over batches
    drawn at random; the part of the squared length that is noise is taken off, so that the ratio
    may come out a little below zero where there is no signal.
    """
    gradients = []
    for batch in torch.randint(len(images), (batches, batch_size)):
        loss = objective(vae, images[batch]).reconstruction
        of_weights = torch.autograd.grad(loss, list(vae.parameters()))
        gradients.append(torch.cat([gradient.flatten() for gradient in of_weights]))
    stacked = torch.stack(gradients)
    noise = stacked.var(0).sum()
    return ((stacked.mean(0).square().sum() - noise / batches) / noise).item()
