"""Linear networks of one pixel and one latent dimension, trained on N(0, 1): see chapter 02."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.distributions import Normal

from envae import networks
from envae.experiments import batched
from envae.objectives import Objective


class Trained(NamedTuple):
    """Where training has led a network."""

    posterior_variance: float
    generator_variance: float


def train(objectives: Sequence[Objective], *, epochs: int, seed: int = 0) -> list[Trained]:
    """Train a network for each objective, all at once.

    The data are 4000 quantiles of N(0, 1), scaled to variance 1. After passes in batches of 500,
    as many passes with all data in each step and a tenth of the rate average the noise out.

    Parameters
    ----------
    objectives
        What to minimize, as `batched.fit` takes them; none that needs maps beside the image.
    epochs
        Passes over the data, for each of the two.
    seed
        Of weights, order and noise.
    """
    x = Normal(0.0, 1.0).icdf((torch.arange(4000) + 0.5) / 4000)
    x = (x / x.square().mean().sqrt()).view(-1, 1, 1, 1)
    vaes = [networks.build("linear", (1, 1, 1), 1, seed=seed) for _ in objectives]
    for size, lr in ((500, 1e-2), (4000, 1e-3)):
        # Four numbers are trained: nothing that an accelerator would speed up.
        batched.fit(
            vaes, objectives, x, epochs=epochs, seeds=[seed] * len(vaes), batch_size=size, lr=lr,
            accelerator="cpu",
        )  # fmt: skip
    trained = []
    with torch.no_grad():
        for vae in vaes:
            weight = vae.decode(torch.ones(1, 1)) - vae.decode(torch.zeros(1, 1))
            variance = vae.encode(x[:1]).variance
            trained.append(Trained(variance.item(), weight.item() ** 2))
    return trained
