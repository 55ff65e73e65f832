"""Objectives that match the aggregate posterior to the prior by its maximum mean discrepancy."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from envae._unknown import unknown
from envae.objectives.base import HalfSquaredError, Parts, Takes, check_positive, register
from envae.vae import EncodesAndDecodes, Posterior, codes_of_prior

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # of Tolstikhin et al. (2018)


def imq(squared_distance: Tensor, dimensions: int) -> Tensor:
    """Sum of seven inverse multiquadratic kernels C / (C + d^2), C = 2 s d_z, s in `SCALES`."""
    widths = (torch.tensor(SCALES) * 2 * dimensions).to(squared_distance).reshape(-1, 1, 1)
    return (widths / (widths + squared_distance)).sum(0)


def rbf(squared_distance: Tensor, dimensions: int) -> Tensor:
    """Gaussian kernel exp(-d^2 / (2 d_z)): bandwidth of the prior's own spread."""
    return torch.exp(-squared_distance / (2 * dimensions))


KERNELS: dict[str, Callable[[Tensor, int], Tensor]] = {"imq": imq, "rbf": rbf}


def mmd(codes: Tensor, prior: Tensor, kernel: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Unbiased estimate of the squared maximum mean discrepancy between two samples.

    Parameters
    ----------
    codes, prior
        Both `(B, d_z)`, B >= 2.
    kernel
        One of `KERNELS`.

    Returns
    -------
    Tensor
        A scalar; it can be negative, being unbiased.
    """
    if len(codes) < 2:
        raise ValueError(f"the MMD needs at least 2 images in a batch, received {len(codes)}")
    count, dimensions = codes.shape
    within = [_squared_distances(points, points) for points in (codes, prior)]
    pairs = [kernel(distance, dimensions) for distance in within]
    means = [(k.sum() - k.diagonal().sum()) / (count * (count - 1)) for k in pairs]
    across = kernel(_squared_distances(codes, prior), dimensions)
    return means[0] + means[1] - 2 * across.mean()


def _squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Squared Euclidean distances `(N, N')`; codes are short, so differences are affordable."""
    return (first[:, None] - second[None]).square().sum(-1)


class _Matching(HalfSquaredError):
    """Half the squared error of a decoded code, with a weighted MMD and a weighted KL term."""

    takes = Takes(least=2)
    kl_weight = 0.0

    def __init__(self, mmd_weight: float, kernel: str):
        super().__init__()
        check_positive(mmd_weight=mmd_weight)
        if kernel not in KERNELS:
            raise ValueError(unknown("kernel", kernel, KERNELS))
        self.mmd_weight, self.kernel = mmd_weight, kernel

    def regularize(
        self, vae: EncodesAndDecodes, posterior: Posterior, codes: Tensor
    ) -> tuple[Tensor, Parts]:
        flat = codes[0].flatten(1)
        prior = codes_of_prior(vae, codes[0]).flatten(1)
        discrepancy = mmd(flat, prior, KERNELS[self.kernel])
        if self.deterministic:
            return self.mmd_weight * discrepancy, {"mmd": discrepancy}
        weighted_kl, parts = super().regularize(vae, posterior, codes)
        return self.mmd_weight * discrepancy + weighted_kl, {"mmd": discrepancy} | parts


@register("wae_mmd", paper="Tables 4-6 of takida2022 (Tolstikhin et al., 2018)")
class WAEMMD(_Matching):
    """Wasserstein autoencoder: squared error plus MMD of the codes to the prior, no KL term.

    .. math:: \\tfrac12 \\|x - g(\\mu(x))\\|^2 + \\lambda\\, \\mathrm{MMD}^2(q(z), p(z))

    The encoder is deterministic: its mean is the code.

    Parameters
    ----------
    mmd_weight
        lambda. The paper does not say which it used. Tolstikhin et al. use 100 beside 0.05 times
        the squared error on [-1, 1], which is 250 beside half the squared error on [0, 1].
    kernel
        `"imq"`, the seven-scale kernel that the paper names, or `"rbf"`.
    """

    deterministic = True

    def __init__(self, mmd_weight: float = 250.0, kernel: Literal["imq", "rbf"] = "imq"):
        super().__init__(mmd_weight, kernel)


@register("infovae", paper="Table 1 and Sec. 6.4.2 of xu2025 (Zhao et al., 2017)")
class InfoVAE(_Matching):
    """VAE with part of its KL term replaced by an MMD of the aggregate posterior.

    .. math:: \\tfrac{1}{2} \\|x - g(z)\\|^2 + (1 - a)\\, KL(q(z|x) \\| p(z))
              + (a + \\lambda - 1)\\, \\mathrm{MMD}^2(q(z), p(z))

    Parameters
    ----------
    information
        a (alpha of Zhao et al.), at most 1; 0 keeps the whole KL term, 1 drops it.
    scaling
        lambda, with a + lambda > 1. xu2025 does not say which values it used; these are those of
        pythae's configurations for MNIST and CelebA.
    kernel
        `"imq"` or `"rbf"`.
    """

    def __init__(
        self,
        information: float = 0.0,
        scaling: float = 1000.0,
        kernel: Literal["imq", "rbf"] = "imq",
    ):
        if information > 1 or information + scaling <= 1:
            raise ValueError(
                "infovae needs information <= 1 and information + scaling > 1, "
                f"received {information} and {scaling}"
            )
        super().__init__(information + scaling - 1, kernel)
        self.kl_weight = 1 - information
