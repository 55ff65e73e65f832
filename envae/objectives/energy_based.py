"""VAEs with an energy beside them, trained jointly: two of the three of Table 2 of xu2025.

Each is a plug-in around the loss of a VAE, of which xu2025 replaces the reconstruction term alone
("+ EnL", "+ FEnL"). The third, a prior that is fitted after training, is
:class:`envae.priors.NoiseContrastive`.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from envae.evaluation import evaluating
from envae.objectives.base import (
    Loss,
    Objective,
    Parts,
    check_count,
    check_from_zero,
    check_positive,
    decode,
    encode,
    objective,
    register,
)
from envae.objectives.energies import (
    ImageEnergy,
    JointEnergy,
    langevin,
    langevin_unchecked,
    maximized,
)
from envae.vae import EncodesAndDecodes, MayTakeContext, Posterior, codes_of_prior, with_context

_LARGEST = 100.0  # multiplier, as in the authors' code


class WithEnergy(Objective):
    """Base of both: reconstruction term of another objective, alpha KL, and what an energy adds.

    Its energy is made by :meth:`prepare`, so that `networks.build(..., objective=...)` seeds it.
    """

    betas: ClassVar[tuple[float, float]] = (0.0, 0.9)  # the authors'; theirs is a game of two
    unit = "as of its reconstruction term"
    energy: nn.Module | None

    def __init__(
        self,
        loss: str,
        alpha: float,
        loss_options: Mapping[str, Any] | None,
        image_shape: Sequence[int] | None,
    ):
        super().__init__()
        check_positive(alpha=alpha)
        # The weight of the KL term is this objective's own: models that differ in it are a stack.
        self.base = objective(loss, **{"alpha": 1.0} | dict(loss_options or {}))
        if "alpha" in (loss_options or {}):
            raise ValueError(f"give alpha to {self.name} itself, not in loss_options")
        if self.base.head_maps(1) or isinstance(self.base, WithEnergy):
            raise ValueError(
                f"{self.name} takes a loss without a head and an energy of its own, "
                f"received {loss!r}"
            )
        self.unit, self.takes, self.kl_weight = self.base.unit, self.base.takes, alpha
        self.energy = None
        if image_shape is not None:
            self.prepare(tuple(image_shape))

    def prepare(self, image_shape: tuple[int, ...]) -> None:
        """Make the energy for images of a shape, with new random weights, if there is none yet.

        Raises
        ------
        ValueError
            If there is one for another shape, or the dimension of the code is needed and not known.
        """
        self.base.prepare(image_shape)
        if self.energy is None:
            self.energy = self._new_energy(image_shape)
        else:
            self._check_shape(image_shape)

    def _new_energy(self, image_shape: tuple[int, ...]) -> nn.Module:
        raise NotImplementedError

    def forward(self, vae: MayTakeContext, x: Tensor, *context: Tensor) -> Loss:
        """As any objective's.

        Raises
        ------
        ValueError
            If the energy was not made: its weights must be there before an optimizer is.
        """
        vae = with_context(vae, *context)
        posterior = encode(vae, x, self)
        if self.energy is None:
            raise ValueError(
                f"{self.name} has no energy yet: call its prepare(image_shape) before the "
                "optimizer is made, or give it image_shape; training.fit and "
                "networks.build(..., objective=...) do it"
            )
        codes = self.base.draw(posterior)
        images, heads = self.base.decode(vae, codes, x)
        reconstruction, parts = self.base.reconstruct(x.to(images.dtype), images, heads)
        weighted_kl, regularized = self.regularize(vae, posterior, codes)
        self._check_shape(tuple(x.shape[1:]))
        # All draws are alike to the energy, but those that are no draws of the posterior: the first
        # is one for every objective.
        added, others = self.energize(self.energy, vae, posterior, codes[0], x)
        logged = regularized | parts | others
        return Loss(
            reconstruction=reconstruction.mean(),
            regularizer=weighted_kl + added,
            parts={name: torch.as_tensor(part).detach().mean() for name, part in logged.items()},
        )

    def _check_shape(self, image_shape: tuple[int, ...]) -> None:
        own = getattr(self.energy, "image_shape", None)  # somebody's own energy may have none
        if own is not None and image_shape != own:
            raise ValueError(
                f"this {self.name} holds an energy of images of shape {own}, received {image_shape}"
            )

    def energize(
        self,
        energy: nn.Module,
        vae: EncodesAndDecodes,
        posterior: Posterior,
        code: Tensor,
        x: Tensor,
    ) -> tuple[Tensor, Parts]:
        """What the energy adds to the loss of a batch, a scalar, and parts to log.

        `code`: a draw of the posterior, `(B, *code)`.
        """
        raise NotImplementedError


def _from_prior(vae: EncodesAndDecodes, code: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Codes of the prior, as many as there are, and what they decode to."""
    new = codes_of_prior(vae, code)
    return new, decode(vae, new[None], x)[0]


def _entropy(posterior: Posterior) -> Tensor:
    """Mean over a batch, a scalar."""
    try:
        return posterior.entropy().mean()
    except (NotImplementedError, AttributeError):
        raise ValueError(
            f"dt_vae needs the entropy of the posterior, which {type(posterior).__name__} does not "
            "have: give its class a method entropy()"
        ) from None


@register("dt_vae", paper="Table 2 of xu2025 (Han et al., 2020)")
class DivergenceTriangle(WithEnergy):
    """VAE and an energy of images with codes, by the triangle of their divergences.

    .. math:: \\min_{q, g} \\max_E\\; \\ell(x) + \\alpha\\, KL(q(z|x) \\| p(z))
              + \\alpha w\\, \\big( E_P[E(x, z)] - E_Q[E(x, z)] + H(q(z|x)) \\big)

    P: a code of the prior and what it decodes to; Q: an image and a draw of its posterior. With the
    squared error and w = 1 this is KL(Q|P) + KL(P|Pi) - KL(Q|Pi) for Pi = exp(-E) / Z up to
    constants: Z cancels, so that no chain is run. So does the entropy of the posterior, which the
    KL term holds with the other sign: at w = 1 the energy alone keeps its spread, and does not (it
    falls to 0.01 on digits). With w = 0.3 it lives.

    The energy is not learned by maximum likelihood: its negative samples are the decoder's. One
    step trains all three, where the authors' code takes three.

    Parameters
    ----------
    loss
        Objective whose reconstruction term is taken: one with `alpha` and without a head.
    alpha
        Weight of the KL term.
    loss_options
        The loss's other options.
    weight
        w, in (0, 1]: above 1 a posterior without spread has a loss without lower bound.
    latent_dim
        Dimension of the code, for the energy.
    image_shape
        `(C, H, W)`, for the energy; by default of the first images that it is prepared for.
    """

    def __init__(
        self,
        loss: str = "l2",
        alpha: float = 0.1,
        loss_options: Mapping[str, Any] | None = None,
        weight: float = 1.0,
        latent_dim: int | None = None,
        image_shape: Sequence[int] | None = None,
    ):
        if not 0 < weight <= 1:
            raise ValueError(
                f"weight must lie in (0, 1], received {weight}: above 1 the loss has no lower bound"
            )
        if latent_dim is not None:
            check_count(latent_dim=latent_dim)
        self.latent_dim, self.weight = latent_dim, weight
        super().__init__(loss, alpha, loss_options, image_shape)

    def _new_energy(self, image_shape: tuple[int, ...]) -> nn.Module:
        if self.latent_dim is None:
            raise ValueError("dt_vae needs latent_dim, the dimension of the code, for its energy")
        return JointEnergy(image_shape, self.latent_dim)

    def energize(
        self,
        energy: nn.Module,
        vae: EncodesAndDecodes,
        posterior: Posterior,
        code: Tensor,
        x: Tensor,
    ) -> tuple[Tensor, Parts]:
        if self.latent_dim not in (None, code[0].numel()):  # none, with somebody's own energy
            raise ValueError(
                f"this {self.name} has latent_dim={self.latent_dim} for its energy, and the codes "
                f"of the VAE have {code[0].numel()} numbers"
            )
        new, decoded = _from_prior(vae, code, x)
        # In one call, so that a step has one power iteration.
        energies = maximized(energy, torch.cat([decoded, x]), torch.cat([new, code]))
        of_prior, of_data = energies.chunk(2)
        gap, entropy = (of_prior - of_data).mean(), _entropy(posterior)
        added = self.kl_weight * self.weight * (gap + entropy)
        return added, {"energy_gap": gap, "stddev": posterior.stddev}


@register("ec_vae", paper="Table 2 of xu2025 (Luo et al., 2024)")
class EnergyCalibrated(WithEnergy):
    """VAE whose samples are calibrated by an energy of images during training, and not after.

    .. math:: \\ell(x) + \\alpha\\, KL(q(z|x) \\| p(z))
              + \\tfrac\\lambda2 \\|\\hat x - \\tilde x\\|^2, \\qquad \\min_E\\; E(x) - E(\\hat x)

    A sample of the decoder, x~, is moved by some Langevin steps on the energy to x^, and the
    decoder is drawn after it. The multiplier lambda rises while samples are moved by more than the
    tolerance, and falls below it. When training is done the decoder's samples are the model's.

    Watch the multiplier, a part of the loss that is logged. The defaults train on 8 x 8 digits. On
    5,000 images of MNIST, 28 x 28, it went to its limit or to 0 at every tolerance from 0.01 to 1,
    and the decoder learned little; one that stays at 1 (`calibration=1, rate=0`) trained.

    Parameters
    ----------
    loss, alpha, loss_options, image_shape
        As :class:`DivergenceTriangle` takes them.
    calibration
        lambda at the start; it stays in [0, 100]. The authors' code begins with 30. Where it is at
        100 when training ends, a RuntimeWarning says so.
    tolerance
        Squared distance, summed over pixels, that samples may be moved by.
    rate
        Of lambda's change: it grows by `rate (moved - tolerance)` in a step. 0 keeps it.
    steps, step_size, noise
        As `energies.langevin` takes them.
    """

    multiplier: Tensor

    def __init__(
        self,
        loss: str = "l2",
        alpha: float = 0.1,
        loss_options: Mapping[str, Any] | None = None,
        calibration: float = 1.0,
        tolerance: float = 0.01,
        rate: float = 0.3,
        steps: int = 5,
        step_size: float = 0.1,
        noise: float = 1e-3,
        image_shape: Sequence[int] | None = None,
    ):
        check_count(0, steps=steps)
        check_from_zero(
            calibration=calibration, tolerance=tolerance, rate=rate, step_size=step_size,
            noise=noise,
        )  # fmt: skip
        if calibration > _LARGEST:
            raise ValueError(f"calibration is at most {_LARGEST:g}, received {calibration}")
        super().__init__(loss, alpha, loss_options, image_shape)
        self.tolerance, self.rate = tolerance, rate
        self.steps, self.step_size, self.noise = steps, step_size, noise
        self.register_buffer("multiplier", torch.tensor(float(calibration)))

    def train(self, mode: bool = True) -> Self:
        """As of any module; a multiplier that has come to its limit is told at the end."""
        ends = self.training and not mode and self.rate > 0
        if ends and not self.multiplier.is_meta and self.multiplier.item() >= _LARGEST:
            warnings.warn(
                f"the multiplier of this {self.name} is at its limit, {_LARGEST:g}: samples are "
                f"moved by more than tolerance={self.tolerance:g}, and the decoder learns little "
                "else. Try rate=0, a multiplier that stays, or a larger tolerance",
                RuntimeWarning,
                stacklevel=2,
            )
        return super().train(mode)

    def _new_energy(self, image_shape: tuple[int, ...]) -> nn.Module:
        return ImageEnergy(image_shape)

    def energize(
        self,
        energy: nn.Module,
        vae: EncodesAndDecodes,
        posterior: Posterior,
        code: Tensor,
        x: Tensor,
    ) -> tuple[Tensor, Parts]:
        _, sample = _from_prior(vae, code, x)
        refined = langevin_unchecked(
            energy, sample, steps=self.steps, step_size=self.step_size, noise=self.noise
        )
        of_refined, of_data = energy(torch.cat([refined, x.detach()])).chunk(2)
        gap = (of_refined - of_data).mean()
        moved = (refined - sample).flatten(1).square().sum(1).mean()
        multiplier = self.multiplier.clone()  # that of this step; its gradient is taken later
        if self.training:
            with torch.no_grad():
                step = self.rate * (moved - self.tolerance)
                self.multiplier.copy_((multiplier + step).clamp(0, _LARGEST))
        # The energy's loss gives its gradient and no value: it is another game's.
        own = gap.detach() - gap
        added = 0.5 * multiplier * moved + own
        return added, {"moved": moved, "multiplier": multiplier, "energy_gap": gap}

    def refine(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Images `(N, *event)` after the Langevin steps of a training step, without gradient.

        What the model would gain from a chain at test time; where it is calibrated, little.

        Raises
        ------
        ValueError
            If there is no energy yet.
        FloatingPointError
            If an image is not finite afterwards.
        """
        if self.energy is None:
            raise ValueError(f"{self.name} has no energy yet: train it first")
        self._check_shape(tuple(images.shape[1:]))
        with evaluating(self):
            return langevin(
                self.energy, images, steps=self.steps, step_size=self.step_size, noise=self.noise,
                generator=generator,
            )  # fmt: skip
