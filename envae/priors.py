"""What to sample codes from after training, where they do not follow the standard normal prior.

Each is fitted to codes of the training images, draws from their posteriors or its means, and then
gives new codes to decode (Sec. 6.1 of takida2022):

>>> prior = GaussianMixture.fit(codes, components=10, seed=0)
>>> images = vae.decode(prior.sample(100, torch.Generator().manual_seed(0)))
"""

import copy
import dataclasses
import functools
import math
import warnings
from typing import TYPE_CHECKING, Protocol, Self

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import softplus

from envae._unknown import unknown
from envae.evaluation import seeded, single_precision
from envae.objectives.base import check_count, check_positive
from envae.objectives.energies import langevin
from envae.objectives.variance import Estimate, IsoI
from envae.training import fit
from envae.vae import VAE

if TYPE_CHECKING:
    from sklearn import mixture


_FEWEST = 20  # codes: a tenth of fewer says nothing
_AT_ONCE = 10_000  # codes in one call of a classifier
_PRIOR_DRAWS = 10_000  # of the prior, that a ratio's loss and mean are taken over
_LOOK = 25  # updates between looks at the codes held out
_CHANCE = 2 * math.log(2)  # cross entropy of both classes of a classifier that knows nothing
_WORSE = 1.1  # so many times that one is worse, and not only noisy
# Mean of a ratio over the prior that is far from 1: the prior has hardly a draw where codes are.
_FAR = 10.0


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

    @single_precision()
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
    @single_precision()
    def fit(
        cls,
        codes: Tensor,
        *,
        seed: int = 0,
        hidden: int = 256,
        estimate: Estimate = "mle",
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
                cuda_graph=True,
            )
            # Codes that were trained on have smaller residuals than new ones.
            gamma = likelihood.cpu().variance(vae.cpu(), held_out).mean().item()
        return cls(vae, gamma)

    @single_precision()
    def sample(self, count: int, generator: Generator) -> Tensor:
        first, noise = torch.randn(2, count, self.vae.latent_dim, generator=generator)
        with torch.no_grad():
            return self.vae.decode(first).flatten(1) + self.gamma**0.5 * noise


@dataclasses.dataclass(frozen=True)
class NoiseContrastive:
    """The standard normal prior, reweighted: p(z) r(z) / Z, of Aneja et al. (2021).

    A classifier learns to tell codes from draws of p. Its logit is ln r, at its best the logarithm
    of the ratio of the two densities. The prior is sampled in one of two ways:

    - `draws="sir"`, sampling-importance-resampling: of so many proposals from p, one is kept, with
      a probability in proportion to r. With one proposal it is p.
    - `draws="langevin"`: a draw of p follows `steps` Langevin steps on -ln r - ln p.

    On a VAE that was trained anywhere:

    >>> with torch.no_grad():
    ...     codes = vae.encode(images).sample(torch.Size([10])).cpu()
    ...     prior = NoiseContrastive.fit(codes)
    ...     print(prior.diagnostics())
    ...     new = vae.decode(prior.sample(100, torch.Generator().manual_seed(0)).to(images.device))

    The same ratio sampled in the other way: `dataclasses.replace(prior, draws="langevin")`.

    Attributes
    ----------
    ratio
        From codes `(N, d_z)` to ln r, `(N, 1)`, in evaluation mode on the CPU.
        It is put there.
    latent_dim
        d_z.
    draws, proposals, steps, step
        How it is sampled, as :meth:`fit` takes them; a ValueError, if one is out of range.
    loss
        Cross entropy of both classes on codes that were held out, 2 ln 2 = 1.386 of a classifier
        at chance. 2 ln 2 - loss is at most twice the Jensen-Shannon divergence from p.
    """

    ratio: nn.Module
    latent_dim: int
    draws: str = "sir"
    proposals: int = 200
    steps: int = 100
    step: float = 0.05
    loss: float = math.nan

    def __post_init__(self) -> None:
        check_count(latent_dim=self.latent_dim, proposals=self.proposals, steps=self.steps)
        check_positive(step=self.step)
        if self.step >= 4:
            raise ValueError(
                f"step must be below 4, received {self.step}: Langevin steps on N(0, I) itself run "
                "away from there on, and are exact for small ones"
            )
        if self.draws not in ("sir", "langevin"):
            raise ValueError(unknown("draws", self.draws, ("sir", "langevin")))
        self.ratio.eval()

    @classmethod
    def fit(
        cls,
        codes: Tensor,
        *,
        seed: int = 0,
        draws: str = "sir",
        proposals: int = 200,
        steps: int = 100,
        step: float = 0.05,
        updates: int = 1000,
        batch_size: int = 256,
        lr: float = 1e-3,
        hidden: int = 128,
    ) -> Self:
        """Train the classifier with Adam, against new draws of p for every batch.

        The codes of a tenth of the images are held out, and the classifier that does best on them
        is kept: one trained for too long learns the codes by heart. It takes longer where there
        are several draws of each posterior.

        Parameters
        ----------
        codes
            Of at least 20 images by any VAE: `(N, d_z)`, a draw of each posterior, or
            `(K, N, d_z)`, K of them.
        seed
            Seed of the weights, the order and the draws.
        draws, proposals, steps, step
            How to sample: `"sir"` from so many proposals, or `"langevin"` with so many steps of
            `step / 2` times the gradient and noise of variance `step`.
        updates
            Steps of Adam.
        batch_size, lr
            Of the classifier.
        hidden
            Units of each of its three hidden layers.

        Raises
        ------
        ValueError
            If the codes are too few, not finite or misshapen, or an argument is out of range.
        FloatingPointError
            If the classifier's loss is not finite.

        Warns
        -----
        RuntimeWarning
            If the classifier does worse than chance on codes that were held out, or the prior has
            hardly a draw where the codes are: no reweighting of p then gives their density.
        """
        check_count(updates=updates, batch_size=batch_size, hidden=hidden)
        check_positive(lr=lr)
        if not isinstance(codes, Tensor) or codes.ndim not in (2, 3):
            told = tuple(codes.shape) if isinstance(codes, Tensor) else type(codes).__name__
            raise ValueError(
                f"codes must be a tensor (N, d_z), or (K, N, d_z) for K draws of each posterior, "
                f"received {told}: flatten codes that are maps"
            )
        given = functools.partial(cls, draws=draws, proposals=proposals, steps=steps, step=step)
        given(nn.Identity(), codes.shape[-1])  # refused before it is trained
        # Images in front, so that a tenth of them is held out and not a tenth of their codes.
        images = codes.movedim(0, 1) if codes.ndim == 3 else codes[:, None]
        latent_dim = codes.shape[-1]
        images = _checked(images.flatten(1), _FEWEST).float()
        with seeded(seed), torch.enable_grad():
            parts = images[torch.randperm(len(images))].tensor_split([len(images) // 10])
            held_out, train = (part.reshape(-1, latent_dim) for part in parts)
            ratio, loss = _classifier(train, held_out, updates, batch_size, lr, hidden)
        fitted = given(ratio, latent_dim, loss=loss)
        if doubt := fitted._doubt(seed):
            warnings.warn(doubt, RuntimeWarning, stacklevel=2)
        return fitted

    def _doubt(self, seed: int) -> str:
        """Why this ratio should not be trusted; empty if it may be."""
        if self.loss > _WORSE * _CHANCE:
            return (
                f"the classifier of the codes does worse than chance on codes held out: a loss of "
                f"{self.loss:.3g}, at chance {_CHANCE:.3g}; try a smaller learning rate"
            )
        draws = self._proposed(_PRIOR_DRAWS, Generator().manual_seed(seed))
        mean = self.log_ratio(draws).double().exp().mean().item()
        if not 1 / _FAR <= mean <= _FAR:
            return (
                "the prior N(0, I) has hardly a draw where the codes are: r has a mean of "
                f"{mean:.2g} over it, 1 where r is a ratio of densities. Fit to codes that lie "
                "within N(0, I), from a VAE with a larger KL weight, or fit a mixture of Gaussians"
            )
        return ""

    def log_ratio(self, codes: Tensor) -> Tensor:
        """ln r of codes `(N, d_z)`, `(N,)`, without gradient.

        Raises
        ------
        ValueError
            If the codes are not `(N, d_z)`, or the ratio is not one number for each.
        """
        if codes.ndim != 2 or codes.shape[1] != self.latent_dim:
            raise ValueError(f"codes must be (N, {self.latent_dim}), received {tuple(codes.shape)}")
        with torch.no_grad():
            return torch.cat([self._of(batch) for batch in codes.split(_AT_ONCE)])

    def _of(self, codes: Tensor) -> Tensor:
        found = self.ratio(codes)
        if found.shape != (len(codes), 1):
            raise ValueError(
                f"a ratio gives ({len(codes)}, 1) for as many codes, received {tuple(found.shape)}"
            )
        return found[:, 0]

    def sample(self, count: int, generator: Generator) -> Tensor:
        """New codes `(count, d_z)`.

        Warns
        -----
        RuntimeWarning
            If resampling has collapsed: of many proposals, fewer than two are effective.

        Raises
        ------
        FloatingPointError
            If a ratio or a code is not finite.
        ValueError
            If the count is no integer from 1 up.
        """
        check_count(count=count)
        if self.draws == "langevin":
            return self._after_steps(self._proposed(count, generator), generator)
        kept, effective = [], 0.0
        for part in torch.arange(count).split(max(_AT_ONCE // self.proposals, 1)):
            proposed = self._proposed(len(part) * self.proposals, generator)
            log_ratio = self.log_ratio(proposed).unflatten(0, (len(part), self.proposals))
            if not log_ratio.isfinite().all():
                raise FloatingPointError(
                    "the ratio of a proposal is not finite: train the classifier anew, on codes "
                    "that are not far from the prior, or with a smaller learning rate"
                )
            chosen = torch.multinomial(log_ratio.softmax(1), 1, generator=generator)
            kept.append(
                proposed.unflatten(0, log_ratio.shape)[torch.arange(len(part)), chosen[:, 0]]
            )
            effective += effective_share(log_ratio).sum().item() * self.proposals
        if effective < min(2, self.proposals / 2) * count:
            warnings.warn(
                f"resampling has collapsed: of {self.proposals} proposals {effective / count:.2g} "
                "are effective, and samples are those that the classifier likes best; take more "
                "proposals, or draws='langevin'",
                RuntimeWarning,
                stacklevel=2,
            )
        return torch.cat(kept)

    def diagnostics(self, *, count: int = 1000, seed: int = 0) -> dict[str, float]:
        """Whether the ratio and the sampler do anything, and how well they do it.

        Parameters
        ----------
        count
            Samples that are looked at.
        seed
            Of their draws.

        Returns
        -------
        dict
            `loss`: see the attribute; 1.386 of a classifier at chance.
            `mean_ratio`: E_p[r], 1 where r is the ratio of two densities.
            `effective`: share of :attr:`proposals` that is effective, 1 where r is constant.
            `moved`: mean distance of samples by Langevin steps from where the same noise would take
            them with r = 1; 0 of a ratio that does nothing.
        """
        check_count(count=count)
        generator = Generator().manual_seed(seed)
        log_ratio = self.log_ratio(self._proposed(count * self.proposals, generator))
        start = self._proposed(count, generator)
        ends = [
            self._after_steps(start, Generator().manual_seed(seed), weight) for weight in (1.0, 0.0)
        ]
        return {
            "loss": self.loss,
            "mean_ratio": log_ratio.double().exp().mean().item(),
            "effective": effective_share(log_ratio.reshape(count, -1)).mean().item(),
            "moved": (ends[0] - ends[1]).norm(dim=1).mean().item(),
        }

    @single_precision()
    def _proposed(self, count: int, generator: Generator) -> Tensor:
        return torch.randn(count, self.latent_dim, generator=generator)

    def _after_steps(self, start: Tensor, generator: Generator, weight: float = 1.0) -> Tensor:
        """Langevin steps on the prior whose ratio has this weight; 0 is p itself."""

        def energy(codes: Tensor) -> Tensor:
            return 0.5 * codes.square().sum(1) - weight * self._of(codes)

        return langevin(
            energy, start, steps=self.steps, step_size=self.step / 2, noise=self.step**0.5,
            generator=generator,
        )  # fmt: skip


def effective_share(log_weights: Tensor) -> Tensor:
    """Effective share of weighted draws, `(..., M)` to `(...,)`: (sum w)^2 / (M sum w^2).

    1 where all weights are alike, 1 / M where one has all.
    """
    weights = log_weights.double().softmax(-1)
    return 1 / (weights.square().sum(-1) * weights.shape[-1])


@single_precision()
def _classifier(
    train: Tensor, held_out: Tensor, updates: int, batch_size: int, lr: float, hidden: int
) -> tuple[nn.Module, float]:
    """Of codes against the prior: the best on the codes held out, and its loss there."""
    ratio = _Dense(train.shape[1], 1, hidden)
    adam = torch.optim.Adam(ratio.parameters(), lr=lr, fused=True)

    def loss_on(codes: Tensor, prior: Tensor) -> Tensor:
        return softplus(-ratio(codes)).mean() + softplus(ratio(prior)).mean()

    fixed = torch.randn(_PRIOR_DRAWS, train.shape[1])
    best, state = math.inf, copy.deepcopy(ratio.state_dict())
    for update in range(1, updates + 1):
        batch = train[torch.randint(len(train), (batch_size,))]
        adam.zero_grad()
        loss_on(batch, torch.randn_like(batch)).backward()
        adam.step()
        if update % _LOOK == 0 or update == updates:
            with torch.no_grad():
                loss = loss_on(held_out, fixed).item()
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"the classifier's loss is not finite after {update} updates: "
                    "try a smaller learning rate"
                )
            if loss < best:
                best, state = loss, copy.deepcopy(ratio.state_dict())
    ratio.load_state_dict(state)
    return ratio.eval().requires_grad_(False), best


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
