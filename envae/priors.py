"""What to sample codes from after training, where they do not follow the standard normal prior.

Each is fitted to codes of the training images, draws from their posteriors or its means, and then
gives new codes to decode (Sec. 6.1 of takida2022):

>>> prior = GaussianMixture.fit(codes, components=10, seed=0)
>>> images = vae.decode(prior.sample(100, torch.Generator().manual_seed(0)))
"""

import dataclasses
from typing import TYPE_CHECKING, Protocol, Self

import torch
from torch import Generator, Tensor, nn

from envae.evaluation import seeded
from envae.objectives.base import check_count
from envae.objectives.variance import IsoI
from envae.training import fit
from envae.vae import VAE

if TYPE_CHECKING:
    from sklearn import mixture


class Prior(Protocol):
    """A distribution of codes."""

    def sample(self, count: int, generator: Generator) -> Tensor:
        """New codes `(count, d_z)`, float32, on the CPU; the generator is one of the CPU."""
        ...


@dataclasses.dataclass(frozen=True)
class StandardNormal:
    """The prior that the KL term asks for, N(0, I); nothing is fitted but its dimension."""

    latent_dim: int

    @classmethod
    def fit(cls, codes: Tensor, *, seed: int = 0) -> Self:
        """As many dimensions as the codes `(N, d_z)` have."""
        return cls(_checked(codes, 1).shape[1])

    def sample(self, count: int, generator: Generator) -> Tensor:
        return torch.randn(count, self.latent_dim, generator=generator)


@dataclasses.dataclass(frozen=True)
class GaussianMixture:
    """Mixture of Gaussians with full covariances, as Ghosh et al. (2020) fit it to codes."""

    mixture: "mixture.GaussianMixture"

    @classmethod
    def fit(cls, codes: Tensor, *, components: int = 10, seed: int = 0) -> Self:
        """Fit by expectation maximization.

        Parameters
        ----------
        codes
            `(N, d_z)`, at least as many as components.
        components
            Number of Gaussians; 10 and 100 in Tables 4 to 6 of takida2022.
        seed
            Seed of the start (k-means).

        Raises
        ------
        ValueError
            If the codes are too few, not finite, or not `(N, d_z)`.
        """
        check_count(components=components)
        from sklearn.mixture import GaussianMixture as Mixture  # takes a second to import

        codes = _checked(codes, max(components, 2))
        mixture = Mixture(components, max_iter=2000, random_state=seed)
        return cls(mixture.fit(codes.double().numpy()))

    def sample(self, count: int, generator: Generator) -> Tensor:
        seed = torch.randint(2**31, (), generator=generator).item()
        codes, _ = self.mixture.set_params(random_state=seed).sample(count)
        order = torch.randperm(count, generator=generator)  # they come sorted by component
        return torch.from_numpy(codes).float()[order]


@dataclasses.dataclass(frozen=True)
class SecondStageVAE:
    """A VAE of the codes, whose own codes follow N(0, I) better (Dai & Wipf, 2019).

    Encoder and decoder have three hidden layers of 1,024 units; the input joins their result
    before the last layer. The codes' variance given their own codes is one learned number gamma:
    the objective is a trainable Iso-I. A sample is decoded from N(0, I) and has noise of variance
    gamma added, as in the authors' code.
    """

    vae: VAE
    gamma: float

    @classmethod
    def fit(
        cls,
        codes: Tensor,
        *,
        seed: int = 0,
        epochs: int = 800,
        batch_size: int = 64,
        lr: float = 1e-4,
        accelerator: str = "auto",
    ) -> Self:
        """Train the second stage with Adam.

        The authors halve the learning rate every 300 epochs, and draw the codes anew from their
        posteriors in every epoch. Here the rate is constant and the codes are those given: several
        draws per image can be given one after another.

        Parameters
        ----------
        codes
            `(N, d_z)`.
        seed
            Seed of the weights, the order and the noise.
        epochs, batch_size, lr, accelerator
            As `training.fit` takes them; the defaults are the authors'.

        Raises
        ------
        ValueError
            If the codes are not finite or not `(N, d_z)`.
        """
        codes = _checked(codes, 2).float()
        latent_dim = codes.shape[1]
        with seeded(seed):
            shape = (latent_dim, 1, 1)
            encoder = nn.Sequential(nn.Flatten(), _Dense(latent_dim, 2 * latent_dim))
            decoder = nn.Sequential(_Dense(latent_dim, latent_dim), nn.Unflatten(1, shape))
            vae = VAE(encoder, decoder, shape, latent_dim)
            likelihood = IsoI(estimate="trainable", initial=1.0)
            fit(
                vae,
                likelihood,
                codes.reshape(-1, *shape),
                epochs=epochs,
                batch_size=batch_size,
                lr=lr,
                seed=seed,
                accelerator=accelerator,
                progress=False,
            )
        return cls(vae.cpu(), likelihood.trained_log_variance(None).exp().item())

    def sample(self, count: int, generator: Generator) -> Tensor:
        first, noise = torch.randn(2, count, self.vae.latent_dim, generator=generator)
        with torch.no_grad():
            return self.vae.decode(first).flatten(1) + self.gamma**0.5 * noise


class _Dense(nn.Module):
    """Three hidden layers of 1,024 units; the last layer sees their result and the input."""

    def __init__(self, inputs: int, outputs: int, hidden: int = 1024):
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        self.last = nn.Linear(inputs + hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([x, self.hidden(x)], dim=1))


def _checked(codes: Tensor, least: int) -> Tensor:
    """Codes on the CPU, after a check of their shape, number and values."""
    if codes.ndim != 2 or len(codes) < least or not codes.is_floating_point():
        raise ValueError(
            f"needs float codes (N, d_z) with N >= {least}, "
            f"received shape {tuple(codes.shape)} of {codes.dtype}"
        )
    if not codes.isfinite().all():
        raise ValueError("codes must be finite: the encoder behind them is not")
    return codes.detach().cpu()
