"""Objectives without a likelihood: the energy score in its place (xu2025)."""

import math
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from envae._unknown import unknown
from envae.objectives.base import Objective, Parts, check_count, check_positive, register
from envae.scores import check_beta, cyclic_energy_score, energy_score, fenvae_surrogate
from envae.vae import Posterior, has_stddev


@register("envae", paper="Eq. 5 of xu2025")
class EnVAE(Objective):
    """Energy score of M decoded draws of the posterior, plus the weighted KL term.

    .. math:: \\frac1M \\sum_i \\|g(z_i) - x\\|^\\beta
              - \\frac{1}{2M(M-1)} \\sum_{i \\ne j} \\|g(z_i) - g(z_j)\\|^\\beta
              + \\alpha\\, KL(q(z|x) \\| p(z))

    For beta <= 1 the score is never negative, on any draw: the samples that are pushed apart are
    the samples that are held near x.

    **Mirrored draws** (`pairs="mirrored"`) are what we recommend, with `samples=4`. The draws come
    in pairs mu + delta_k, mu - delta_k, and only samples of different pairs are pushed apart, which
    are independent: so the estimate is as unbiased as the paper's, for every decoder, and as
    bounded. What is odd in delta cancels from its first term, and the gradient has less noise: on
    our data four mirrored draws do what ten independent ones do. With three decodes or two, where
    no two pairs can be had, take `samples=3` or `samples=2`. Chapter 12 of the book compares them.

    Parameters
    ----------
    samples
        M, draws of z and decodes per image, at least 2. The paper uses 10 to 100.
    beta
        Exponent of the distance, in (0, 2].
    alpha
        Weight of the KL term. The paper does not say which it used.
    pairs
        Which samples are pushed apart. `"all"`: every pair, as the paper has it. `"cyclic"`: each
        sample and the next, unbiased too, at a cost linear in M (`scores.cyclic_energy_score`).
        `"mirrored"`: the same, with mirrored draws; M even, at least 4.
    """

    unit = "data units ** beta per image"

    def __init__(
        self,
        samples: int = 10,
        beta: float = 1.0,
        alpha: float = 0.1,
        pairs: Literal["all", "cyclic", "mirrored"] = "all",
    ):
        super().__init__()
        check_count(2, samples=samples)
        check_positive(alpha=alpha)
        check_beta(beta)
        if pairs not in ("all", "cyclic", "mirrored"):
            raise ValueError(unknown("pairs", pairs, ("all", "cyclic", "mirrored")))
        if pairs == "mirrored":
            _check_mirrored(samples)
        self.samples, self.beta, self.kl_weight, self.pairs = samples, beta, alpha, pairs

    def draw(self, posterior: Posterior) -> Tensor:
        if self.pairs == "mirrored":
            _check_mirrored(self.samples)  # again, since it is an attribute that can be set
            return mirrored_draws(posterior, self.samples)
        return posterior.rsample(torch.Size([self.samples]))

    def reconstruct(self, x: Tensor, images: Tensor, heads: Any) -> tuple[Tensor, Parts]:
        score = energy_score if self.pairs == "all" else cyclic_energy_score
        return score(images, x, beta=self.beta), {}


def _check_mirrored(samples: int) -> None:
    """Raise a ValueError where neighbours of so many draws would not all be independent."""
    if samples < 4 or samples % 2:
        raise ValueError(
            f"mirrored draws need an even number of samples from 4 up, received {samples}"
        )


def mirrored_draws(posterior: Posterior, samples: int) -> Tensor:
    """M/2 draws of the posterior and their mirror images at its mean, `(M, B, *code)`, M even.

    Draw k and its image stand M/2 apart: from M = 4 up, neighbours are independent.

    Raises
    ------
    ValueError
        If the posterior is no Gaussian: a mirror image would be no draw of it.
    """
    if not has_stddev(posterior) and not isinstance(posterior, MultivariateNormal):
        raise ValueError(
            "mirrored draws need a posterior that is symmetric about its mean, a Normal or a "
            f"MultivariateNormal, received {type(posterior).__name__}: take pairs='cyclic'"
        )
    draws = posterior.rsample(torch.Size([samples // 2]))
    return torch.cat([draws, 2 * posterior.mean - draws])


Draws: TypeAlias = Literal["single", "double"]


@register("fenvae", paper="Eq. 14 of xu2025")
class FEnVAE(Objective):
    """One-draw surrogate of the energy score, plus the weighted KL term; as the paper prints it.

    .. math:: \\|g(z) - x\\|^\\beta
              - \\tfrac12 \\|g(\\mu + \\sqrt2 (z - \\mu)) - g(\\mu)\\|^\\beta
              + \\alpha\\, KL(q(z|x) \\| p(z))

    The score's argument does not bound it below (see `scores.fenvae_surrogate`), and in our runs
    training makes use of that: a mean decodes to no reconstruction, so decode draws. Train some
    epochs with another loss first, or many times as long: at first draws and samples suffer too
    (chapter 13). The three codes are decoded in one call, so that batch normalization, where a
    decoder has it, treats them alike.

    Parameters
    ----------
    beta
        Exponent of the distance, in (0, 2].
    alpha
        Weight of the KL term. The paper does not say which it used.
    draws
        `"single"`: the noise of z is used in both terms (Eq. 14). `"double"`: the second term has
        noise of its own (Eq. 13, Table 5).
    """

    unit = "data units ** beta per image"

    def __init__(self, beta: float = 1.0, alpha: float = 0.1, draws: Draws = "single"):
        super().__init__()
        check_positive(alpha=alpha)
        check_beta(beta)
        if draws not in ("single", "double"):
            raise ValueError(unknown("draws", draws, ("single", "double")))
        self.beta, self.kl_weight, self.draws = beta, alpha, draws

    def draw(self, posterior: Posterior) -> Tensor:
        """The draw, the stretched draw and the mean, `(3, B, *code)`."""
        mean = posterior.mean
        draw = other = posterior.rsample()
        if self.draws == "double":
            other = posterior.rsample()
        return torch.stack([draw, mean + math.sqrt(2) * (other - mean), mean])

    def reconstruct(self, x: Tensor, images: Tensor, heads: Any) -> tuple[Tensor, Parts]:
        draw, stretched, center = images
        spread = (stretched - center).flatten(1).norm(dim=1)  # (B,)
        return fenvae_surrogate(draw, stretched, center, x, beta=self.beta), {"spread": spread}
