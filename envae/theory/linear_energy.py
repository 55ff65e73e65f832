"""The linear EnVAE in closed form: what Eq. 4 of xu2025 asks for where everything is Gaussian.

Data N(0, diag(lambda_1 ... lambda_n)); an encoder with mean v_i x_i / sqrt(lambda_i) and variance
s_i^2 in latent dimension i; a decoder that answers w_i z_i. All differences are Gaussian then, and
the energy score needs one kind of expectation only: :func:`mean_norm_power`.

Scaling a code by c, and its weight by 1/c, leaves the score as it is. So the KL term alone decides
the scale, and at any optimum v_i^2 + s_i^2 = 1: v_i is the correlation of input and code.
"""

import dataclasses
import math

import torch
from torch import Tensor

from envae.scores import check_beta
from envae.theory.linear import check_spectrum
from envae.theory.minimize import minimize

_STEP = 0.25  # of the quadrature below, in ln t; the integrand is analytic in a strip of width pi
_TAIL = 34.0  # e^-34 is below the rounding error of a double


def mean_norm_power(variances: Tensor, beta: float, *, mean: Tensor | None = None) -> Tensor:
    """E||N(mean, diag(variances))||^beta, to about ten digits.

    .. math:: \\mathbb E\\,Q^p = \\frac{p}{\\Gamma(1-p)} \\int_0^\\infty
              \\bigl(1 - \\mathbb E e^{-tQ}\\bigr)\\, t^{-p-1} dt,
              \\qquad \\mathbb E e^{-tQ} = \\prod_i (1 + 2 t d_i)^{-1/2}
              \\exp\\Bigl(-\\frac{t m_i^2}{1 + 2 t d_i}\\Bigr)

    for the squared norm Q, with p = beta / 2 < 1, by the trapezoidal rule in ln t. At beta = 2 it
    is the sum of the variances and of the squared means.

    Parameters
    ----------
    variances
        The d_i, from 0 up and not all 0, `(..., n)`, float64.
    beta
        Exponent in (0, 2].
    mean
        The m_i, `(..., n)`; 0 by default.

    Returns
    -------
    Tensor
        Shape `(...)`.
    """
    check_beta(beta)
    total = variances.sum(-1)
    if mean is not None:
        total = total + mean.square().sum(-1)
    if beta == 2:
        return total
    p = beta / 2
    nodes = torch.arange(-_TAIL, _TAIL / p, _STEP, dtype=variances.dtype)  # of ln t
    shares = variances / total.unsqueeze(-1)  # (..., n): the range above is for a sum of 1
    times = nodes.exp().unsqueeze(-1)  # (nodes, 1)
    stretched = 2 * times * shares.unsqueeze(-2)  # (..., nodes, n)
    decay = 0.5 * torch.log1p(stretched).sum(-1)
    if mean is not None:
        squares = (mean.square() / total.unsqueeze(-1)).unsqueeze(-2)
        decay = decay + (times * squares / (1 + stretched)).sum(-1)
    integrand = -torch.expm1(-decay) * torch.exp(-p * nodes)  # (..., nodes)
    # Below the nodes the integrand is t^(1-p): what the rule adds up there is a geometric series.
    below = math.exp(-(1 - p) * _TAIL) / math.expm1((1 - p) * _STEP)
    constant = p / math.gamma(1 - p) * _STEP
    return constant * (integrand.sum(-1) + below) * total**p


def expected_loss(
    eigenvalues: Tensor,
    weight: Tensor,
    code: Tensor,
    posterior_variance: Tensor,
    *,
    alpha: float,
    beta: float = 1.0,
) -> Tensor:
    """Eq. 4 of xu2025 for the linear model, in expectation over data and draws.

    Parameters
    ----------
    eigenvalues
        Of the data's covariance, largest first, `(n,)`.
    weight, code, posterior_variance
        w_i, v_i and s_i^2 of each latent dimension, `(..., d_z)`.
    alpha
        Weight of the KL term.
    beta
        Exponent of the score, in (0, 2].

    Returns
    -------
    Tensor
        Shape `(...)`.
    """
    latent_dim = weight.shape[-1]
    kept, discarded = eigenvalues[:latent_dim], eigenvalues[latent_dim:]
    spread = weight.square() * posterior_variance
    error = (kept.sqrt() - weight * code).square() + spread
    error = torch.cat([error, discarded.expand(*error.shape[:-1], -1)], -1)  # (..., n)
    score = mean_norm_power(error, beta) - 0.5 * mean_norm_power(2 * spread, beta)
    kl = 0.5 * (code.square() + posterior_variance - posterior_variance.log() - 1).sum(-1)
    return score + alpha * kl


@dataclasses.dataclass(frozen=True)
class Optimum:
    """The best linear EnVAE; tensors per latent dimension, `(d_z,)`.

    Attributes
    ----------
    weight
        w_i: the generator's variance along direction i is its square.
    posterior_variance
        s_i^2 = 1 - v_i^2.
    kl
        In nats; also the mutual information of image and code, since the aggregate posterior is
        the prior.
    loss
        Value of Eq. 4, a scalar.
    """

    weight: Tensor
    posterior_variance: Tensor
    kl: Tensor
    loss: Tensor


def optimum(eigenvalues: Tensor, latent_dim: int, *, alpha: float, beta: float = 1.0) -> Optimum:
    """Minimum of :func:`expected_loss` over weights and correlations, found numerically.

    Raises
    ------
    ValueError
        If an argument is out of range. At beta = 2 there is no minimum, hence no answer.
    """
    eigenvalues = check_spectrum(eigenvalues, latent_dim).double()
    if not 0 < beta < 2:
        raise ValueError(f"beta must be in (0, 2): at 2 there is no minimum; received {beta}")
    if not alpha > 0:
        raise ValueError(f"alpha must be positive, received {alpha}")
    scale = eigenvalues[:latent_dim].sqrt()
    # Weights in units of the data's spread, and the log odds of the squared correlation.
    start = torch.tensor([[1.0], [0.0]], dtype=torch.float64).expand(2, latent_dim)

    def loss(raw: Tensor) -> Tensor:
        return expected_loss(eigenvalues, *_unpack(raw, scale), alpha=alpha, beta=beta)

    found = minimize(loss, start)
    weight, _, posterior_variance = _unpack(found, scale)
    return Optimum(weight, posterior_variance, -0.5 * posterior_variance.log(), loss(found))


def _unpack(raw: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weight, code and posterior variance, with code^2 + variance = 1."""
    squared = torch.sigmoid(raw[1])
    return raw[0] * scale, squared.sqrt(), torch.sigmoid(-raw[1])
