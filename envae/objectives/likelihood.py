"""Objectives with a likelihood of fixed form: negative ELBOs, in nats per image.

Each is E_q[-ln p(x|z)] + KL(q(z|x) || p(z)) with one draw of z, summed over pixels, all constants
kept, so that the values of different likelihoods can be compared. With an option `alpha` other than
1 the KL term is weighted, and the loss is no bound.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, softplus

from envae.objectives.base import (
    NATS,
    LogDensity,
    NoDensity,
    Objective,
    Takes,
    check_positive,
    decode_with_head,
    register,
)
from envae.vae import EncodesAndDecodes


class Likelihood(Objective):
    """Negative ELBO of a decoder with a density: a subclass's `per_image` is -ln p(x|z) in nats."""

    def density(self, vae: EncodesAndDecodes, train: Tensor, *, seed: int = 0) -> LogDensity:
        """ln p(x|z) as the loss has it; nothing is estimated."""
        if self.unit != NATS:
            return super().density(vae, train, seed=seed)

        def log_density(x: Tensor, z: Tensor) -> Tensor:
            images, heads = decode_with_head(vae, z, x, self)
            observed = x.expand_as(images).flatten(0, 1).to(images.dtype)
            head = None if heads is None else heads.flatten(0, 1)
            return -self.per_image(observed, images.flatten(0, 1), head).unflatten(0, z.shape[:2])

        return log_density


@register("l2", paper="Table 1 and Eq. 19 of xu2025; Eq. 3 of takida2022")
class L2(Likelihood):
    """Gaussian likelihood with one fixed variance: the ordinary VAE.

    .. math:: \\frac{1}{2\\sigma^2} \\|x - g(z)\\|^2 + \\frac n2 \\ln(2\\pi\\sigma^2)

    Parameters
    ----------
    sigma2
        Variance of a pixel given its code; 1 if neither option is given.
    alpha
        Instead of sigma2: weight of the KL term in half the squared error + alpha KL. That is the
        loss above, without its constant, times sigma2 = alpha, in squared units of the data.
    """

    def __init__(self, sigma2: float | None = None, alpha: float | None = None):
        super().__init__()
        if sigma2 is not None and alpha is not None:
            raise ValueError("l2 takes sigma2 or alpha, not both: alpha is sigma2 times the loss")
        if alpha is not None:
            check_positive(alpha=alpha)
            self.error_weight, self.constant, self.kl_weight = 0.5, 0.0, alpha
            self.unit = "squared data units per image"
        else:
            sigma2 = 1.0 if sigma2 is None else sigma2
            check_positive(sigma2=sigma2)
            self.error_weight = 0.5 / sigma2
            self.constant = 0.5 * math.log(2 * math.pi * sigma2)  # nats per pixel

    @property
    def pixel_variance(self) -> float:
        return 0.5 * self.kl_weight / self.error_weight

    def per_image(self, x: Tensor, image: Tensor, head: Any = None) -> Tensor:
        squared_error = (x - image).square().flatten(1)
        return (self.error_weight * squared_error + self.constant).sum(1)


@register("l1", paper="Table 1 and Eq. 20 of xu2025")
class L1(Likelihood):
    """Laplace likelihood with one fixed scale.

    .. math:: \\frac1b \\|x - g(z)\\|_1 + n \\ln(2b)

    Parameters
    ----------
    scale
        b, in data units: the mean absolute deviation of a pixel given its code.
    """

    def __init__(self, scale: float = 1.0):
        super().__init__()
        check_positive(scale=scale)
        self.scale = scale

    def per_image(self, x: Tensor, image: Tensor, head: Any = None) -> Tensor:
        absolute = (x - image).abs().flatten(1)
        return (absolute / self.scale + math.log(2 * self.scale)).sum(1)


@register("bernoulli", paper="Table 1 (CE) and Eq. 21 of xu2025; Table 4 of takida2022")
class Bernoulli(Likelihood):
    """Cross entropy of pixels in [0, 1] with a decoder of probabilities.

    .. math:: -\\sum_i x_i \\ln g_i(z) + (1 - x_i) \\ln(1 - g_i(z))

    A likelihood only for pixels that are 0 or 1. For grey values it is not normalized, and its
    minimum is the entropy of the pixels, not zero. Outside [0, 1] it is not a number; on the CPU
    values outside are an error in every batch, on a GPU in the first one, since reading values
    makes a GPU wait.

    Parameters
    ----------
    alpha
        Weight of the KL term; neither paper has one here.
    """

    takes = Takes(unit_range=True)

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        check_positive(alpha=alpha)
        self.kl_weight = alpha

    def per_image(self, x: Tensor, image: Tensor, head: Any = None) -> Tensor:
        self.check_range(**{"x": x, "the decoded image": image})
        # On a GPU the cross entropy of a value outside would be the end of the process.
        inside = (image >= 0) & (image <= 1) & (x >= 0) & (x <= 1)
        image, x = image.where(inside, 0.5), x.where(inside, 0.5)
        nats = binary_cross_entropy(image, x, reduction="none")
        return nats.where(inside, math.nan).flatten(1).sum(1)

    def density(self, vae: EncodesAndDecodes, train: Tensor, *, seed: int = 0) -> LogDensity:
        """ln p(x|z) of images of zeros and ones; of others there is none, and it says so."""
        of_binary = super().density(vae, train, seed=seed)

        def log_density(x: Tensor, z: Tensor) -> Tensor:
            if not ((x == 0) | (x == 1)).all():
                raise NoDensity(
                    "bernoulli is a likelihood of pixels that are 0 or 1 only; received grey values"
                )
            return of_binary(x, z)

        return log_density


@register("student_t", paper="Table 1 and Sec. 6.4.2 of xu2025 (Takahashi et al., 2018)")
class StudentT(Likelihood):
    """Student-t likelihood per pixel: a Gaussian whose precision is integrated out.

    With a Gamma(a, b) prior on the precision of a pixel, p(x|z) is a Student-t distribution with
    location g(z), precision lambda = a / b and nu = 2 a degrees of freedom. Both are maps of the
    decoder's head, `2 C` of them, made positive by a softplus.

    Parameters
    ----------
    alpha
        Weight of the KL term; the paper has none here.
    """

    least = 1e-4  # keeps lambda and nu away from zero, where the density has no limit

    def __init__(self, alpha: float = 1.0):
        super().__init__()
        check_positive(alpha=alpha)
        self.kl_weight = alpha

    def head_maps(self, channels: int) -> int:
        return 2 * channels

    def per_image(self, x: Tensor, image: Tensor, head: Any = None) -> Tensor:
        precision, freedom = (softplus(head) + self.least).chunk(2, dim=1)
        # Written out, since torch's refuses what training has diverged to: see `vae.gaussian`.
        half = 0.5 * freedom
        nats = (half + 0.5) * torch.log1p(precision * (x - image).square() / freedom)
        constant = 0.5 * torch.log(math.pi * freedom / precision) - _log_gamma_rise(half)
        return (nats + constant).flatten(1).sum(1)


def _log_gamma_rise(half: Tensor) -> Tensor:
    """ln Gamma(h + 1/2) - ln Gamma(h), elementwise, for positive h.

    Both grow like h ln h and agree in more and more digits: single precision has none left of their
    difference at a million. From 32 on it is Stirling's series, to the last digit of a double.
    """
    inverse = 1 / half
    square = inverse.square()
    series = 0.5 * half.log() - inverse * (1 / 8 - square * (1 / 192 - square / 640))
    return torch.where(half < 32, torch.lgamma(half + 0.5) - torch.lgamma(half), series)
