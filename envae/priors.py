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

    Encoder and decoder have three hidden layers; the input joins their result before the last
    layer. The codes' variance given their own codes is one number gamma: the objective is an Iso-I.
    A sample is decoded from N(0, I) and has noise of variance gamma added, as in the authors' code.
    """

    vae: VAE
    gamma: float

    @classmethod
    def fit(
        cls,
        codes: Tensor,
        *,
        seed: int = 0,
        hidden: int = 256,
        estimate: str = "mle",
        epochs: int = 800,
        patience: int | None = 100,
        batch_size: int = 64,
        lr: float = 1e-3,
        accelerator: str = "auto",
    ) -> Self:
        """Train the second stage with Adam until codes that are held out get no likelier.

        The authors' setting is `hidden=1024, estimate="trainable", patience=None, lr=1e-4`. There
        gamma starts from 1, and Adam changes its logarithm by no more than the learning rate in a
        step. It comes from 1 to 0.1 in 23,000 steps: 25 epochs of 60,000 codes, but 1,000 of 1,500,
        and until then every sample has too much noise. By maximum likelihood gamma fits the decoder
        in every step, the learning rate can be larger, and there is an end to it before the
        decoder has learned a small set by heart. A quarter of the units takes a seventh of the
        time.

        The authors also halve the learning rate every 300 epochs, and draw the codes anew from
        their posteriors in every epoch. Here the rate is constant and the codes are those given:
        several draws per image can be given one after another.

        Parameters
        ----------
        codes
            `(N, d_z)`.
        seed
            Seed of the weights, the order and the noise.
        hidden
            Units of each hidden layer.
        estimate
            How gamma is found, as `objectives.variance` takes it; a trainable one starts from 1.
        epochs
            At most so many.
        patience
            Stop when the loss of a tenth of the codes, which is not trained on, has not improved
            for so many epochs, and go back to the best one. It takes as many as 100 where the codes
            are few: their loss is noisy, and rests for a while before gamma leaves their variance.
            None: train on all codes, to the end.
        batch_size, lr, accelerator
            As `training.fit` takes them.

        Raises
        ------
        ValueError
            If the codes are not finite or not `(N, d_z)`, or an argument is out of range.
        """
        codes = _checked(codes, 2).float()
        check_count(hidden=hidden)
        latent_dim = codes.shape[1]
        shape = (latent_dim, 1, 1)
        with seeded(seed):
            encoder = nn.Sequential(nn.Flatten(), _Dense(latent_dim, 2 * latent_dim, hidden))
            decoder = nn.Sequential(_Dense(latent_dim, latent_dim, hidden), nn.Unflatten(1, shape))
            vae = VAE(encoder, decoder, shape, latent_dim)
            likelihood = IsoI(estimate=estimate, initial=1.0)
            train = held_out = codes[torch.randperm(len(codes))].reshape(-1, *shape)
            if patience is not None:
                held_out, train = train.tensor_split([max(len(codes) // 10, 1)])
            fit(
                vae,
                likelihood,
                train,
                epochs=epochs,
                batch_size=batch_size,
                lr=lr,
                seed=seed,
                validation=None if patience is None else held_out,
                patience=patience,
                accelerator=accelerator,
                progress=False,
            )
            # Codes that were trained on have smaller residuals than new ones.
            gamma = likelihood.cpu().variance(vae.cpu(), held_out).mean().item()
        return cls(vae, gamma)

    def sample(self, count: int, generator: Generator) -> Tensor:
        first, noise = torch.randn(2, count, self.vae.latent_dim, generator=generator)
        with torch.no_grad():
            return self.vae.decode(first).flatten(1) + self.gamma**0.5 * noise


class _Dense(nn.Module):
    """Three hidden layers; the last layer sees their result and the input."""

    def __init__(self, inputs: int, outputs: int, hidden: int):
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
