"""Small exact models behind the theory chapters."""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def table_information(joint: Tensor) -> Tensor:
    """Mutual information in nats of two discrete variables, from their joint tables `(..., a, b)`.

    A probability of zero counts as nothing, the limit of p ln p.
    """
    margins = joint.sum(-2), joint.sum(-1)
    nats = torch.special.xlogy(joint, joint).sum((-2, -1))
    return nats - sum(torch.special.xlogy(margin, margin).sum(-1) for margin in margins)


def two_images(signal: Tensor) -> tuple[Tensor, Tensor]:
    """Two images, -1 and 1, with codes N(-m, s) and N(m, s), and the best decoder there can be.

    That decoder answers E[x|z] = tanh(m z / s). Its squared error is the conditional variance,
    which depends on a = m / sqrt(s) alone, and so does the information.

    Parameters
    ----------
    signal
        a, `(K,)`, from 0 to 8; the error falls to 1e-14 there.

    Returns
    -------
    tuple of Tensor
        Expected squared error, and mutual information of image and code in nats, `(K,)` each.
    """
    noise = torch.linspace(-14, 14, 5601, dtype=signal.dtype)
    weight = torch.exp(-0.5 * noise**2)
    weight = weight / weight.sum()  # the trapezoidal rule: the ends are e^-98
    half_odds = signal[:, None] * (signal[:, None] + noise)  # of the right image, (K, nodes)
    right, wrong = logsigmoid(2 * half_odds), logsigmoid(-2 * half_odds)
    error = half_odds.cosh() ** -2
    return error @ weight, math.log(2) + (right.exp() * right + wrong.exp() * wrong) @ weight


def transport_map(first: Tensor, second: Tensor) -> Tensor:
    """Matrix of the map that carries N(0, first) to N(0, second) at the least mean squared way.

    .. math:: \\Sigma_1^{-1/2} (\\Sigma_1^{1/2} \\Sigma_2 \\Sigma_1^{1/2})^{1/2} \\Sigma_1^{-1/2}
    """
    root = square_root(first)
    inverse = torch.linalg.inv(root)
    return inverse @ square_root(root @ second @ root) @ inverse


def square_root(matrix: Tensor) -> Tensor:
    """Symmetric square root of a positive definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.sqrt() @ vectors.mT
