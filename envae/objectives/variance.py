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

import torch
from torch import Tensor, nn

from envae.objectives._base import (
    Loss,
    Objective,
    check_positive,
    decode_with_head,
    encode,
    register,
    with_kl,
)
from envae.vae import EncodesAndDecodes


class GaussianWithVariance(Objective):
    """Negative ELBO of a Gaussian decoder whose variance is estimated; all constants kept.

    With `estimate="mle"` the variance is a statistic of the batch that the loss is computed on.
    Where a batch is split over devices (torch.distributed is initialized) the mean inside the
    logarithm is taken over all of them, not over each part.

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
        `(C, H, W)`; needed by a trainable `diag_i`, which holds a parameter per pixel.
    """

    one_for_all_pixels: bool
    one_for_all_images: bool

    def __init__(
        self,
        estimate: str = "mle",
        draws: int = 1,
        epsilon: float | None = None,
        initial: float = 0.1,
        image_shape: tuple[int, int, int] | None = None,
    ):
        super().__init__()
        if estimate not in ("mle", "trainable"):
            raise ValueError(f"estimate must be 'mle' or 'trainable', received {estimate!r}")
        if not isinstance(draws, int) or draws < 1:
            raise ValueError(f"draws must be an integer from 1 up, received {draws!r}")
        if epsilon is None:
            epsilon = 0.0 if self.name == "iso_i" else 1e-6
        if not 0 <= epsilon < math.inf:
            raise ValueError(f"epsilon must be a number from 0 up, received {epsilon}")
        check_positive(initial=initial)
        self.estimate, self.draws, self.epsilon, self.initial = estimate, draws, epsilon, initial
        self.log_variance = self._parameter(image_shape)

    def _parameter(self, image_shape) -> nn.Parameter | None:
        """The trained log variance, if it is one that all images share."""
        if self.estimate == "mle" or not self.one_for_all_images:
            return None
        if self.one_for_all_pixels:
            shape = ()
        elif image_shape is None:
            raise ValueError(
                f"{self.name} with estimate='trainable' holds a parameter per pixel: "
                "give image_shape=(C, H, W)"
            )
        else:
            shape = tuple(image_shape)
        return nn.Parameter(torch.full(shape, math.log(self.initial)))

    def head_maps(self, channels: int) -> int:
        """A trainable variance of each image comes from the head, as its log over `initial`.

        One map, averaged over pixels, for `iso_d`; a map per channel for `diag_d`.
        """
        if self.estimate == "mle" or self.one_for_all_images:
            return 0
        return 1 if self.one_for_all_pixels else channels

    def forward(self, vae: EncodesAndDecodes, x: Tensor) -> Loss:
        posterior = encode(vae, x)
        images, heads = decode_with_head(vae, posterior.rsample((self.draws,)), x, self)
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
        return with_kl(
            posterior, reconstruction, 1.0, squared_error=squared_error, variance=variance
        )

    def variance(self, vae: EncodesAndDecodes, x: Tensor) -> Tensor:
        """Estimated variance of every pixel of every image, in the shape of x, without gradient.

        By maximum likelihood it is the estimate on these images.
        """
        with torch.no_grad():
            draws = encode(vae, x).rsample((self.draws,))
            images, heads = decode_with_head(vae, draws, x, self)
            if self.estimate == "mle":
                return self._most_likely((x - images).square())[0].expand_as(x)
            return self.trained_log_variance(heads).exp().expand(self.draws, *x.shape).mean(0)

    def _most_likely(self, squared: Tensor) -> Tensor:
        """Mean of squared residuals `(K, B, *event)` over what shares a variance; 1 for each."""
        mean = squared.mean(0, keepdim=True)
        if self.one_for_all_pixels:
            mean = mean.mean(tuple(range(2, squared.ndim)), keepdim=True)
        return _mean_over_whole_batch(mean) if self.one_for_all_images else mean

    def trained_log_variance(self, heads: Tensor | None) -> Tensor:
        """Log variance that broadcasts with `(K, B, *event)`."""
        if self.log_variance is not None:
            return self.log_variance
        log_ratio = heads.mean((-3, -2, -1), keepdim=True) if self.one_for_all_pixels else heads
        return math.log(self.initial) + log_ratio


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
    def forward(ctx, values: Tensor) -> Tensor:
        values = values.clone()
        torch.distributed.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _AllSum.forward(ctx, gradient)


@register("iso_i", paper="Eqs. G.4-G.5 of takida2022")
class IsoI(GaussianWithVariance):
    """One variance for all pixels of all images: (n/2) ln E||x - g(z)||^2 and constants."""

    one_for_all_pixels, one_for_all_images = True, True


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
