"""AR-ELBO (takida2022): the decoder's variance by maximum likelihood, or as trained parameters.

The decoder is Gaussian with mean g(z) and a diagonal variance that is, or is not, shared by the
pixels of an image and by the images of the data (Table 2):

=========  ==================  ======================
objective  one for all pixels  one for all images
=========  ==================  ======================
`iso_i`    yes                 yes
`iso_d`    yes                 no
`diag_i`   no                  yes
`diag_d`   no                  no
=========  ==================  ======================

The variance that maximizes the likelihood is the mean squared residual over whatever shares it.
Put into the likelihood it leaves half the logarithm of that mean per pixel (Eq. 10, Appendix G).
"""

import math
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from envae import evaluation
from envae._unknown import unknown
from envae.objectives.base import (
    LogDensity,
    NoDensity,
    Objective,
    Parts,
    check_count,
    check_from_zero,
    check_positive,
    decode_with_head,
    register,
)
from envae.vae import EncodesAndDecodes, Posterior

Estimate: TypeAlias = Literal["mle", "trainable"]


class GaussianWithVariance(Objective):
    """Negative ELBO of a Gaussian decoder whose variance is estimated; all constants kept.

    With `estimate="mle"` the variance is a statistic of the batch that the loss is computed on.
    Where a batch is split over devices (torch.distributed is initialized) the mean inside the
    logarithm is taken over all of them, not over each part: in training mode and with gradients,
    since a device that evaluates may be the only one.

    Parameters
    ----------
    estimate
        `"mle"`: the maximum-likelihood variance, in closed form. `"trainable"`: a parameter or a
        map of the decoder's head, trained with the rest.
    draws
        Draws K of z inside the expectation. The paper uses 1. With one draw and a variance of its
        own for each image, the variance is a single squared error (Eqs. G.9, G.17).
    epsilon
        Added to the maximum-likelihood variance inside the logarithm; 1e-6 as the paper suggests,
        "except for Iso-I", where it is 0.
    initial
        Variance that a trainable estimate starts from. The paper does not say; 0.1 is what the
        authors' later code has for a trainable Iso-I.
    image_shape
        `(C, H, W)`. A trainable `diag_i` holds a parameter per pixel: by default it takes the shape
        of the first images that it sees (:meth:`prepare`).
    """

    one_for_all_pixels: bool
    one_for_all_images: bool
    default_epsilon = 1e-6

    def __init__(
        self,
        estimate: Estimate = "mle",
        draws: int = 1,
        epsilon: float | None = None,
        initial: float = 0.1,
        image_shape: tuple[int, int, int] | None = None,
    ):
        super().__init__()
        if estimate not in ("mle", "trainable"):
            raise ValueError(unknown("estimate", estimate, ("mle", "trainable")))
        check_count(draws=draws)
        if epsilon is None:
            epsilon = self.default_epsilon
        check_from_zero(epsilon=epsilon)
        check_positive(initial=initial)
        self.estimate, self.draws, self.epsilon, self.initial = estimate, draws, epsilon, initial
        # The trained one, if all images share it.
        self.log_variance: nn.Parameter | nn.UninitializedParameter | None = None
        if estimate == "trainable" and self.one_for_all_images:
            # Without a shape until the images are known; whoever holds it then holds the same one.
            self.log_variance = nn.UninitializedParameter()
            if self.one_for_all_pixels:
                self.prepare(())
            elif image_shape is not None:
                self.prepare(tuple(image_shape))

    def prepare(self, image_shape: tuple[int, ...]) -> None:
        """Give the trained variance of every pixel the shape of an image.

        Raises
        ------
        ValueError
            If it has another shape already.
        """
        held = self.log_variance
        if isinstance(held, nn.UninitializedParameter):
            held.materialize(tuple(image_shape))
            nn.init.constant_(held, math.log(self.initial))
        elif held is not None and held.ndim and tuple(held.shape) != tuple(image_shape):
            raise ValueError(
                f"this {self.name} holds a variance for images of shape {tuple(held.shape)}, "
                f"received {tuple(image_shape)}"
            )

    def head_maps(self, channels: int) -> int:
        """A trainable variance of each image comes from the head, as its log over `initial`.

        One map or number, averaged over pixels, for `iso_d`; a map per channel for `diag_d`.
        """
        if self.estimate == "mle" or self.one_for_all_images:
            return 0
        return 1 if self.one_for_all_pixels else channels

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:  # type: ignore[no-untyped-def]
        stored = state_dict.get(f"{prefix}log_variance")
        if stored is not None:
            self.prepare(tuple(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def draw(self, posterior: Posterior) -> Tensor:
        return posterior.rsample(torch.Size([self.draws]))

    def reconstruct(self, x: Tensor, images: Tensor, heads: Any) -> tuple[Tensor, Parts]:
        squared = (x - images).square()  # (K, B, *event)
        if self.estimate == "mle":
            variance = self._most_likely(squared)
            # The residuals over their own mean square add up to one per pixel.
            nats = 1 + torch.log(2 * math.pi * (variance + self.epsilon))
        else:
            log_variance = self.trained_log_variance(heads)
            variance = log_variance.exp()
            nats = squared / variance + log_variance + math.log(2 * math.pi)
        reconstruction = 0.5 * nats.expand(self.draws, *x.shape).flatten(2).sum(2).mean(0)
        squared_error = squared.mean(0).flatten(1).sum(1)
        return reconstruction, {"squared_error": squared_error, "variance": variance}

    def variance(self, vae: EncodesAndDecodes, x: Tensor) -> Tensor:
        """Estimated variance of every pixel of every image, in the shape of x, without gradient.

        By maximum likelihood it is the estimate on these images, which may be many: they are
        decoded in batches, on the model's device.
        """
        self.prepare(tuple(x.shape[1:]))
        with evaluation.evaluating(vae), torch.no_grad():
            posterior = evaluation.encode(vae, x)
            codes = posterior.rsample(torch.Size([self.draws]))
            parts = []
            for batch, drawn in zip(
                evaluation.batches(vae, x), codes.split(evaluation.AT_ONCE, dim=1), strict=True
            ):
                images, heads = decode_with_head(vae, drawn, batch, self)
                if self.estimate == "mle":
                    parts.append((batch - images).square())
                else:
                    variance = self.trained_log_variance(heads).exp()
                    parts.append(variance.expand(self.draws, *batch.shape))
            found = torch.cat(parts, dim=1)  # (K, B, *event)
            if self.estimate == "mle":
                return self._most_likely(found)[0].expand_as(found[0])
            return found.mean(0)

    def density(self, vae: EncodesAndDecodes, train: Tensor, *, seed: int = 0) -> LogDensity:
        """A Gaussian with the variance estimated on the training images, or the trained one.

        Raises
        ------
        NoDensity
            For `iso_d` and `diag_d` by maximum likelihood: see `metrics.likelihood`.
        """
        if self.one_for_all_images:
            variance = self._of_training_images(vae, train, seed)
            return lambda x, z: _gaussian(x, decode_with_head(vae, z, x, self)[0], variance)
        if self.estimate == "mle":
            raise NoDensity(
                f"{self.name} by maximum likelihood has no density p(x|z): its variance is "
                "estimated from the image that is scored, so that nothing normalizes it over "
                "images; estimate='trainable' has one"
            )

        def log_density(x: Tensor, z: Tensor) -> Tensor:
            images, heads = decode_with_head(vae, z, x, self)
            return _gaussian(x, images, self.trained_log_variance(heads).exp())

        return log_density

    def _of_training_images(self, vae: EncodesAndDecodes, train: Tensor, seed: int) -> Tensor:
        """Variance that all images share, in the shape of an image: its mean over the batches."""
        with evaluation.seeded(seed), torch.no_grad():
            parts = [len(x) * self.variance(vae, x)[0] for x in evaluation.batches(vae, train)]
        variance = torch.stack(parts).sum(0) / len(train)
        return variance + self.epsilon if self.estimate == "mle" else variance

    def _most_likely(self, squared: Tensor) -> Tensor:
        """Mean of squared residuals `(K, B, *event)` over what shares a variance; 1 for each."""
        mean = squared.mean(0, keepdim=True)
        if self.one_for_all_pixels:
            mean = mean.mean(tuple(range(2, squared.ndim)), keepdim=True)
        if not self.one_for_all_images:
            return mean
        # A device that only looks, such as one that validates while the others are done, is alone.
        if self.training and torch.is_grad_enabled():
            return _mean_over_whole_batch(mean)
        return mean.mean(1, keepdim=True)

    def trained_log_variance(self, heads: Any) -> Tensor:
        """Log variance that broadcasts with `(K, B, *event)`."""
        if self.log_variance is not None:
            return self.log_variance
        log_ratio = heads
        if self.one_for_all_pixels:
            log_ratio = heads.mean(tuple(range(2, heads.ndim)), keepdim=True)
        return math.log(self.initial) + log_ratio


def _gaussian(x: Tensor, images: Tensor, variance: Tensor) -> Tensor:
    """ln N(x; image, variance) of each image, `(K, B)`."""
    nats = (x - images).square() / variance + variance.log() + math.log(2 * math.pi)
    return -0.5 * nats.expand_as(images).flatten(2).sum(2)


def _mean_over_whole_batch(values: Tensor) -> Tensor:
    """Mean over axis 1 (kept), also where the batch is split over devices.

    Every device gets the mean over all of them, and the gradient through it; averaged over the
    devices, as data-parallel training does, the gradients are those of the whole batch.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values.mean(1, keepdim=True)
    count = torch.tensor(float(values.shape[1]), device=values.device)
    return _AllSum.apply(values.sum(1, keepdim=True)) / _AllSum.apply(count)


class _AllSum(torch.autograd.Function):
    """Sum over all devices; its gradient is the sum over all devices too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        values = values.clone()
        torch.distributed.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _AllSum.forward(ctx, gradient)


@register("iso_i", paper="Eqs. G.4-G.5 of takida2022")
class IsoI(GaussianWithVariance):
    """One variance for all pixels of all images: (n/2) ln E||x - g(z)||^2 and constants."""

    one_for_all_pixels, one_for_all_images = True, True
    default_epsilon = 0.0


@register("iso_d", paper="Eqs. G.7-G.9 of takida2022")
class IsoD(GaussianWithVariance):
    """One variance per image: (n/2) E_x ln E_z||x - g(z)||^2 and constants."""

    one_for_all_pixels, one_for_all_images = True, False


@register("diag_i", paper="Eqs. G.11-G.13 of takida2022")
class DiagI(GaussianWithVariance):
    """One variance per pixel: (1/2) sum_i ln E(x_i - g_i(z))^2 and constants."""

    one_for_all_pixels, one_for_all_images = False, True


@register("diag_d", paper="Eqs. G.15-G.17 of takida2022")
class DiagD(GaussianWithVariance):
    """One variance per pixel of each image: (1/2) sum_i E_x ln E_z(x_i - g_i(z))^2."""

    one_for_all_pixels, one_for_all_images = False, False
