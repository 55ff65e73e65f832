"""One run: a model and an objective, and how they are trained."""

import dataclasses
import functools
import math
from collections.abc import Mapping

import pandas as pd
import torch
from torch import Tensor

from envae import networks
from envae.fenvae_study._variants import VARIANTS, with_batch_norm
from envae.objectives import Objective, objective
from envae.training import fit
from envae.vae import VAE

Row = tuple[str, Mapping]  # an objective and its options, without the KL weight


@dataclasses.dataclass(frozen=True)
class Case:
    """One run.

    Attributes
    ----------
    objective, options
        As `objectives.objective` takes them, or a name of `VARIANTS` with FEnVAE's options.
    network
        As `networks.build` knows it; with `+bn` after it, batch normalization before every ReLU.
    latent_dim
        Dimension of the code.
    initial_variance
        Factor on the variance of the posterior before training, which is about 1.
    lr, epochs, batch_size, seed
        As `training.fit` takes them.
    """

    objective: str
    options: Mapping
    network: str = "mlp"
    latent_dim: int = 16
    initial_variance: float = 1.0
    lr: float = 1e-3
    epochs: int = 50
    batch_size: int = 64
    seed: int = 1

    def build(self, image_shape: tuple[int, int, int]) -> tuple[VAE, Objective]:
        """Model and objective, new."""
        name = self.network.removesuffix("+bn")
        vae = networks.build(name, image_shape, self.latent_dim, seed=self.seed)
        if self.network.endswith("+bn"):
            vae.encoder, vae.decoder = map(with_batch_norm, (vae.encoder, vae.decoder))
        if self.initial_variance != 1:
            with torch.no_grad():
                vae.encoder[-1].bias[self.latent_dim :] += math.log(self.initial_variance)
        make = VARIANTS.get(self.objective) or functools.partial(objective, self.objective)
        return vae, make(**self.options)

    def train(self, vae: VAE, minimized: Objective, images: Tensor, **options) -> pd.DataFrame:
        """Train, and leave the model on the CPU; options of `training.fit` beside the case's."""
        settings = {"epochs": self.epochs, "batch_size": self.batch_size, "lr": self.lr}
        settings |= {"seed": self.seed, "progress": False}
        history = fit(vae, minimized, images, **settings | options)
        vae.cpu()
        return history


def weighted(row: Row, alpha: float, **settings) -> Case:
    """Case of a row at a KL weight, which is multiplied by beta, as the loss's slope is."""
    name, options = row
    return Case(
        name, {**options, "alpha": round(float(alpha) * options.get("beta", 1.0), 4)}, **settings
    )
