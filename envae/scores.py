"""Proper scoring rules on samples: functions of tensors, without a model.

The energy score of Gneiting and Raftery (2007), Eq. 1 of xu2025, of a forecast distribution P at an
observation x, for 0 < beta <= 2:

.. math:: S(P, x) = E\\|X - x\\|^\\beta - \\tfrac12 E\\|X - X'\\|^\\beta,
          \\qquad X, X' \\sim P \\text{ independent.}

Smaller is better. It is strictly proper for beta < 2; at beta = 2 it sees only the mean of P.
"""

import functools
import numbers
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from envae._unknown import unknown


def energy_score(samples: Tensor, x: Tensor, *, beta: float = 1.0) -> Tensor:
    """Energy score of M samples per observation: the unbiased ("fair") estimator.

    Eq. 3 of xu2025, and the first two terms of its Eq. 5:

    .. math:: \\frac1M \\sum_i \\|x_i - x\\|^\\beta
              - \\frac{1}{2M(M-1)} \\sum_{i \\ne j} \\|x_i - x_j\\|^\\beta

    Few numbers are scored by all differences, as the formula says; of many the distances come from
    two batched matrix products of the samples with themselves, and beside the samples and their
    gradient hardly any memory is used. Either way the result stays accurate when the samples lie
    close together compared with their size, and its gradient is finite everywhere: where two points
    coincide, their pair contributes none. It can be differentiated again, and under `torch.func` in
    reverse mode; a second derivative is that of the differences, and takes their memory, M^2 / 2
    times that of x.

    The products have lost the distances of samples that lie close together while another is far
    away. On a CPU such observations are scored by their differences, which takes their time; a GPU,
    which would have to wait to be asked, takes all products in float64, where what is lost begins
    at about 10^7 times the distance.

    Parameters
    ----------
    samples
        Shape `(M, B, *event)`: M independent draws for each of B observations, M >= 2.
    x
        Observations, shape `(B, *event)`.
    beta
        Exponent of the distance, 0 < beta <= 2.

    Returns
    -------
    Tensor
        Shape `(B,)`, in units of the data to the power beta.

    Raises
    ------
    ValueError
        If M < 2, beta is outside (0, 2], the shapes do not match, or an argument is not of
        floating point.
    """
    _check_samples(samples, x, beta)
    draws = len(samples)
    if draws**2 * samples.numel() <= _FEW:
        return _by_differences(samples, x, beta, steps=draws // 2)
    return _EnergyScore.apply(samples, x, beta)[0]


class EnergyScore(nn.Module):
    """:func:`energy_score` as a loss module, for models that are no VAE.

    Of M samples `(M, B, D)` for B observations x, `EnergyScore()(samples, x)` is the mean of the B
    scores; of samples `(B, M, D)` it is `EnergyScore(dim=1)(samples, x)`. Other packages:

    - scoringrules: `es_ensemble(x, samples, estimator="fair")`, samples `(B, M, D)`, gives `(B,)`.
      Its default has 1 / M^2 where this has 1 / (M (M - 1)): a score that is larger, and least for
      forecasts that are too narrow.
    - engression: `energy_loss_two_sample(x, first, second)`, the mean for M = 2.

    Parameters
    ----------
    beta
        Exponent of the distance, 0 < beta <= 2.
    reduction
        Of the B scores: `"mean"`, `"sum"` or `"none"`, as torch's losses have it.
    dim
        Axis of the samples that holds the M draws.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """

    def __init__(
        self,
        beta: float = 1.0,
        *,
        reduction: Literal["mean", "sum", "none"] = "mean",
        dim: int = 0,
    ):
        super().__init__()
        check_beta(beta)
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(unknown("reduction", reduction, ("mean", "sum", "none")))
        self.beta, self.reduction, self.dim = beta, reduction, dim

    def forward(self, samples: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """The score, a scalar, or `(B,)` without a reduction.

        Parameters
        ----------
        samples, x
            As :func:`energy_score` takes them, the draws along `dim`.
        weight
            Of each observation, `(B,)`, not negative; the mean is the weighted one, of weights that
            are not all zero. A GPU, which would have to wait, is not asked for their values.

        Raises
        ------
        ValueError
            As :func:`energy_score`, or if the weights are not `(B,)`, or none that have a mean.
        """
        check_floats(samples=samples, x=x)
        self._check_axes(samples, x)
        scores = energy_score(samples.movedim(self.dim, 0), x, beta=self.beta)
        if weight is not None:
            check_floats(weight=weight)
            if weight.shape != scores.shape:
                raise ValueError(
                    f"weight must be a number for each observation, {tuple(scores.shape)}, "
                    f"received shape {tuple(weight.shape)}"
                )
            self._check_weight(weight)
            scores = weight * scores
        if self.reduction == "none":
            return scores
        if self.reduction == "sum":
            return scores.sum()
        return scores.mean() if weight is None else scores.sum() / weight.sum()

    def _check_weight(self, weight: Tensor) -> None:
        """Raise a ValueError if weights are negative or not finite, or their mean is of none."""
        if stacked(weight) or _not_looked_at(weight):
            return
        low, high = (bound.item() for bound in weight.detach().aminmax())
        if not 0 <= low <= high < float("inf"):
            raise ValueError(
                f"weight must hold finite numbers from 0 up, received [{low:.3g}, {high:.3g}]"
            )
        if self.reduction == "mean" and high == 0:
            raise ValueError("weight must hold a number above 0 to take a mean, received zeros")

    def _check_axes(self, samples: Tensor, x: Tensor) -> None:
        """Raise a ValueError where the draws lie along another axis, and say along which."""
        axes = [axis for axis in range(samples.ndim) if _without(samples, axis) == x.shape]
        if self.dim in axes or self.dim + samples.ndim in axes:
            return
        remedy = f": take EnergyScore(dim={axes[0]})" if axes else ""
        if _without(x, 0) == samples.shape:
            remedy = ": samples come first, and x after them"
        raise ValueError(
            f"samples of shape {tuple(samples.shape)}, of which axis {self.dim} holds the draws, "
            f"do not fit x of shape {tuple(x.shape)}, which is theirs without that axis{remedy}"
        )

    def extra_repr(self) -> str:
        return f"beta={self.beta}, reduction={self.reduction!r}, dim={self.dim}"


def _without(samples: Tensor, axis: int) -> tuple[int, ...]:
    """The shape without an axis."""
    return (*samples.shape[:axis], *samples.shape[axis + 1 :])


# Numbers in the samples times M^2, which is what their differences take: up to here that is less
# time than products take before their first number, in dozens of operations on small matrices.
# Measured on a CPU for M from 2 to 32 and 64 to 12,288 values (benchmarks/energy_score.py).
_FEW = 2**21


def _by_differences(samples: Tensor, x: Tensor, beta: float, *, steps: int) -> Tensor:
    """Score from the distances of each sample to the one 1, 2, ... `steps` further on, cyclically.

    In float32 or float64. With M // 2 steps it has every pair of samples once.
    """
    dtype = torch.promote_types(samples.dtype, x.dtype)
    samples = samples.to(torch.promote_types(samples.dtype, torch.float32))
    draws = len(samples)
    opposite = 2 * steps == draws  # half way round, where each pair would be met twice
    rolls = range(1, steps if opposite else steps + 1)
    differences = [samples - x, *(samples - samples.roll(-step, 0) for step in rolls)]
    if opposite:
        differences.append(samples[:steps] - samples[steps:])
    powers = norm_power(torch.cat(differences), beta, axes=2)
    return (powers[:draws].mean(0) - 0.5 * powers[draws:].mean(0)).to(dtype)


def _check_samples(samples: Tensor, x: Tensor, beta: float) -> None:
    check_beta(beta)
    check_floats(samples=samples, x=x)
    if samples.ndim < 2 or samples.shape[0] < 2 or 0 in samples.shape:
        raise ValueError(
            "the energy score needs samples of shape (M, B, *event) with M >= 2, "
            f"received shape {tuple(samples.shape)}"
        )
    if samples.shape[1:] != x.shape:
        raise ValueError(
            f"samples of shape {tuple(samples.shape)} need x of shape {tuple(samples.shape[1:])}, "
            f"received {tuple(x.shape)}"
        )
    if samples.device != x.device:
        raise ValueError(f"samples are on {samples.device} and x on {x.device}: move one of them")


def check_floats(**tensors: Tensor) -> None:
    """Raise a ValueError that names the first that is no floating-point tensor.

    Integers would be subtracted as such: 8-bit ones modulo 256.
    """
    for name, values in tensors.items():
        if not isinstance(values, Tensor):
            told = f"{type(values).__module__}.{type(values).__qualname__}"
            if hasattr(values, "__array__") or isinstance(values, int | float):
                told += ": take torch.as_tensor(...)"
        elif not values.is_floating_point():
            told = f"shape {tuple(values.shape)} of {values.dtype}"
            if values.dtype == torch.uint8:
                told += ": of 8-bit images take x / 255"
            elif not values.is_complex():
                told += ": take x.float()"
        else:
            continue
        raise ValueError(f"{name} must be a floating-point tensor, received {told}")


# What lies beneath vmap, None before torch 2.7.
_BENEATH: Callable[[Tensor], Tensor] | None = getattr(torch.func, "debug_unwrap", None)


def of_all_models(values: Tensor) -> Tensor:
    """Values of all models, where `torch.func.vmap` shows those of one."""
    return values if _BENEATH is None else _BENEATH(values)


def stacked(values: Tensor) -> bool:
    """Whether these are values of several models, under `torch.func.vmap`, or of none yet.

    The latter where `torch.compile` traces. Who reads them there cannot be written down as
    operations on tensors (`experiments.batched`, which shows an objective a batch of one model
    first).
    """
    if torch.compiler.is_compiling():
        return True
    return _BENEATH is None or _BENEATH(values) is not values


def _one_operation(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: where operations are written down, as in `experiments.batched`, this is one.

    What it does may then depend on values, which are not those of the step that is written down.
    """

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        operation = torch.library.custom_op(f"envae::{name}", function, mutates_args=())

        @functools.wraps(function)
        def called(*arguments: Any) -> Any:
            return (function if get_proxy_mode() is None else operation)(*arguments)

        return called

    return enter


class _EnergyScore(torch.autograd.Function):
    """The score as a weighted sum of distances between M + 1 points: the samples and x.

    With c = 1/M for a pair (sample, x) and c = -1/(M(M-1)) for a pair of samples, the score is
    the sum of c_ij d_ij^beta over the pairs, d_ij^2 = G_ii + G_jj - 2 G_ij from the Gram matrix
    G = P P^T of the points. Its gradient is L P, with L the graph Laplacian of the weights
    beta c_ij d_ij^(beta-2). Points are centred on the samples' mean before the products, so that
    what cancels in d_ij^2 is of the size of the spread and not of the samples.
    """

    @staticmethod
    @_one_operation("energy_score")
    def forward(samples: Tensor, x: Tensor, beta: float) -> tuple[Tensor, Tensor, Tensor]:
        draws = samples.shape[0]
        with torch.autocast(samples.device.type, enabled=False):
            grams = [torch.bmm(points, points.mT) for _, points in _centered(samples, x)]
            squared, lost = _squared_distances(torch.cat(grams))  # (B, M+1, M+1), (B,)

            pair = squared.new_full((draws + 1, draws + 1), -1 / (draws * (draws - 1)))
            pair[draws] = pair[:, draws] = 1 / draws
            terms = pair.fill_diagonal_(0) * squared ** (beta / 2)
            score = 0.5 * terms.sum((1, 2))  # each pair stands twice in the sum

            laplacian = terms / squared.masked_fill(squared == 0, torch.inf) * -beta
            laplacian.diagonal(dim1=1, dim2=2).copy_(-laplacian.sum(-1))
        score = score.to(torch.promote_types(samples.dtype, x.dtype))
        for part in _fallen_back(lost, samples):
            score[part] = _by_differences(samples[:, part], x[part], beta, steps=draws // 2)
        return score, laplacian[:, :draws].contiguous(), lost

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor, float], output: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        samples, x, ctx.beta = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(samples, x, *output[1:])

    @staticmethod
    def backward(ctx: Any, grad_score: Tensor, *_: Tensor) -> tuple[Tensor, Tensor | None, None]:
        samples, x, laplacian, lost = ctx.saved_tensors
        gradient = _ScoreGradient.apply(samples, x, grad_score, laplacian, lost, ctx.beta)
        # Moving samples and x together changes nothing: their gradients add up to zero.
        grad_x = -gradient.sum(0).to(x.dtype) if ctx.needs_input_grad[1] else None
        return gradient.to(samples.dtype), grad_x, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], samples: Tensor, x: Tensor, beta: float
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """Several batches at once are one batch of all their observations."""
        size = info.batch_size
        samples = _batched(samples, in_dims[0], size, at=1).flatten(1, 2)  # (M, V B, *event)
        x = _batched(x, in_dims[1], size, at=0).flatten(0, 1)  # (V B, *event)
        output = _EnergyScore.apply(samples, x, beta)
        return tuple(each.unflatten(0, (size, -1)) for each in output), (0, 0, 0)


class _ScoreGradient(torch.autograd.Function):
    """Gradient of the score by the samples; its own is that of the differences."""

    @staticmethod
    @_one_operation("energy_score_gradient")
    def forward(
        samples: Tensor, x: Tensor, grad_score: Tensor, laplacian: Tensor, lost: Tensor, beta: float
    ) -> Tensor:
        draws, batch = samples.shape[:2]
        gradient = torch.empty(batch, draws, samples[0, 0].numel(), device=x.device, dtype=x.dtype)
        with torch.autocast(samples.device.type, enabled=False):
            weighted = laplacian * grad_score.to(laplacian.dtype)[:, None, None]
            for rows, points in _centered(samples, x):
                gradient[rows] = torch.bmm(weighted[rows], points)  # (b, M, n)
        gradient = gradient.transpose(0, 1).reshape(samples.shape)
        for part in _fallen_back(lost, samples):
            gradient[:, part] = _gradient_of_differences(
                samples[:, part], x[part], grad_score[part], beta
            ).to(gradient.dtype)
        return gradient

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *_, ctx.beta = inputs
        ctx.save_for_backward(*inputs[:3])

    @staticmethod
    def backward(ctx: Any, grad_gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradient = functools.partial(_gradient_of_differences, beta=ctx.beta)
        pull_back = torch.func.vjp(gradient, *ctx.saved_tensors)[1]
        return (*pull_back(grad_gradient), None, None, None)

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        samples: Tensor,
        *others: Any,
    ) -> tuple[Tensor, int]:
        size = info.batch_size
        *tensors, beta = others  # each of the tensors with the axis B first
        gradient = _ScoreGradient.apply(
            _batched(samples, in_dims[0], size, at=1).flatten(1, 2),
            *(
                _batched(each, dim, size, at=0).flatten(0, 1)
                for each, dim in zip(tensors, in_dims[1:-1], strict=True)
            ),
            beta,
        )
        return gradient.unflatten(1, (size, -1)), 1


def _gradient_of_differences(samples: Tensor, x: Tensor, grad_score: Tensor, beta: float) -> Tensor:
    """Gradient by the samples from all differences, in plain operations."""
    score = functools.partial(_by_differences, x=x, beta=beta, steps=len(samples) // 2)
    gradient: Tensor = torch.func.vjp(score, samples)[1](grad_score)[0]
    return gradient


def _fallen_back(lost: Tensor, samples: Tensor) -> Iterator[Tensor]:
    """Indices of the observations without digits, as many at a time as differences may be held."""
    if _not_looked_at(samples) or not lost.any():
        return iter(())
    at_once = _CHUNK // (len(samples) ** 2 * samples[0, 0].numel())
    return iter(lost.nonzero().squeeze(1).split(max(at_once, 1)))


def _not_looked_at(values: Tensor) -> bool:
    """Whether a look at values would make a GPU wait: then all products are taken in float64."""
    return values.is_cuda


def _batched(tensor: Tensor, dim: int | None, size: int, *, at: int) -> Tensor:
    """A tensor with the axis that vmap runs over in a given place, repeated where it had none."""
    if dim is None:
        return tensor.unsqueeze(at).expand(*tensor.shape[:at], size, *tensor.shape[at:])
    return tensor.movedim(dim, at)


_CHUNK = 2**22  # numbers in a buffer of centred points, 16 MB of float32


def _centered(samples: Tensor, x: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Samples and x less the samples' mean, `(b, M + 1, n)`, for a few observations at a time.

    In float32 or float64: half precision cannot hold a Gram matrix. A copy of all samples at once
    would cost more time for its memory than the products do for their arithmetic.
    """
    draws, batch = samples.shape[:2]
    least = torch.float64 if _not_looked_at(samples) else torch.float32
    dtype = torch.promote_types(samples.dtype, least)
    flat, target = samples.reshape(draws, batch, -1), x.reshape(batch, -1)  # (M, B, n), (B, n)
    step = max(1, _CHUNK // ((draws + 1) * flat.shape[-1]))
    for start in range(0, batch, step):
        rows = slice(start, start + step)
        part = flat[:, rows].to(dtype)
        center = part.mean(0)  # (b, n)
        points = part.new_empty(len(center), draws + 1, flat.shape[-1])
        torch.sub(part, center, out=points[:, :draws].transpose(0, 1))
        torch.sub(target[rows].to(dtype), center, out=points[:, draws])
        yield rows, points


def _squared_distances(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances between points, `(B, N, N)`, from their Gram matrix of the same shape.

    Also which of the B have one that has lost more than three quarters of its digits. What is left
    of the rounding when two points coincide is set to zero: otherwise its power beta - 2 would turn
    into a large gradient in a random direction.
    """
    size = gram.diagonal(dim1=1, dim2=2)  # squared norms (B, N)
    sizes = size[:, :, None] + size[:, None, :]
    squared = sizes - 2 * gram
    rounding = 4 * torch.finfo(gram.dtype).eps * sizes
    unknown = squared <= rounding
    unsure = squared < 2**10 * rounding
    unsure.diagonal(dim1=1, dim2=2).fill_(False)
    lost = unsure.sum((1, 2)) > 0  # `any` takes three times as long
    return squared.masked_fill(unknown, 0), lost  # not a number stays so


def cyclic_energy_score(samples: Tensor, x: Tensor, *, beta: float = 1.0) -> Tensor:
    """Energy score of M samples with M of their M(M-1)/2 distances: each sample with the next.

    .. math:: \\frac1M \\sum_i \\|x_i - x\\|^\\beta
              - \\frac{1}{2M} \\sum_i \\|x_i - x_{i+1}\\|^\\beta, \\qquad x_{M+1} = x_1

    Unbiased, as :func:`energy_score` is, at a cost that is linear in M; for M = 2 and M = 3 it is
    the same number. For beta <= 1 it is never negative, on any draw, since the triangle inequality
    bounds each distance by two of those to x.

    Parameters, returns and errors as for :func:`energy_score`.
    """
    _check_samples(samples, x, beta)
    return _by_differences(samples, x, beta, steps=1)


def fenvae_surrogate(
    draw: Tensor, stretched: Tensor, center: Tensor, x: Tensor, *, beta: float = 1.0
) -> Tensor:
    """FEnVAE's one-draw surrogate of the energy score: Eq. 14 of xu2025 without its KL term.

    .. math:: \\|g(z) - x\\|^\\beta
              - \\tfrac12 \\|g(\\mu + \\sqrt2\\,(z - \\mu)) - g(\\mu)\\|^\\beta

    Its expectation is the energy score if the decoder g is affine. For a curved decoder it is not,
    and nothing but the range of the decoder's output bounds it below: the second term grows with g
    at two codes that the first never visits.

    Parameters
    ----------
    draw, stretched, center
        Decoded codes g(z), g(mu + sqrt(2) (z - mu)) and g(mu), each of shape `(B, *event)`. With
        independent noise in `stretched` it is Eq. 13, "double sampling".
    x
        Observations, shape `(B, *event)`.
    beta
        Exponent of the distance, 0 < beta <= 2.

    Returns
    -------
    Tensor
        Shape `(B,)`, in units of the data to the power beta.

    Raises
    ------
    ValueError
        If beta is outside (0, 2], the shapes differ, or an argument is not of floating point.
    """
    _check_alike(beta, draw=draw, stretched=stretched, center=center, x=x)
    return norm_power(draw - x, beta) - 0.5 * norm_power(stretched - center, beta)


def antithetic_score(first: Tensor, second: Tensor, x: Tensor, *, beta: float = 1.0) -> Tensor:
    """Energy score from one mirrored pair, a = g(mu + delta) and b = g(mu - delta).

    .. math:: \\tfrac12 \\|a - x\\|^\\beta + \\tfrac12 \\|b - x\\|^\\beta
              - \\tfrac12\\, 2^{-\\beta/2} \\|a - b\\|^\\beta

    For an affine decoder a mirrored pair lies sqrt(2) times as far apart as an independent one, and
    the expectation is the energy score; for a curved one it is not. It is never negative, on any
    draw, for any beta up to 2.

    Parameters
    ----------
    first, second
        Decoded codes, each of shape `(B, *event)`.
    x
        Observations, shape `(B, *event)`.
    beta
        Exponent of the distance, 0 < beta <= 2.

    Returns
    -------
    Tensor
        Shape `(B,)`, in units of the data to the power beta.

    Raises
    ------
    ValueError
        If beta is outside (0, 2], the shapes differ, or an argument is not of floating point.
    """
    _check_alike(beta, first=first, second=second, x=x)
    near = 0.5 * (norm_power(first - x, beta) + norm_power(second - x, beta))
    return near - 0.5 * 2 ** (-beta / 2) * norm_power(first - second, beta)


def crps(samples: Tensor, x: Tensor) -> Tensor:
    """Continuous ranked probability score of M samples, for every coordinate by itself.

    The energy score with beta = 1 in one dimension, fair estimator, by sorting.

    Parameters
    ----------
    samples
        Shape `(M, B, *event)`, M >= 2.
    x
        Observations, shape `(B, *event)`.

    Returns
    -------
    Tensor
        Shape `(B, *event)`, in units of the data.

    Raises
    ------
    ValueError
        If M < 2, the shapes do not match, or an argument is not of floating point.
    """
    check_floats(samples=samples, x=x)
    draws = samples.shape[0] if samples.ndim else 0
    if draws < 2 or samples.shape[1:] != x.shape:
        raise ValueError(
            "the CRPS needs samples of shape (M, *shape of x) with M >= 2, received "
            f"{tuple(samples.shape)} with x of shape {tuple(x.shape)}"
        )
    # The sum of |x_i - x_j| over ordered pairs is 2 sum_k (2k - M + 1) x_(k), k = 0 .. M-1.
    rank = torch.arange(draws, device=samples.device, dtype=samples.dtype)
    weight = (2 * rank - draws + 1).reshape(-1, *[1] * x.ndim) / (draws * (draws - 1))
    return (samples - x).abs().mean(0) - (weight * samples.sort(0).values).sum(0)


def norm_power(difference: Tensor, beta: float, *, axes: int = 1) -> Tensor:
    """Euclidean norm to the power beta over all but the first axes, in their shape.

    Its gradient is zero, not infinite, where the difference is zero.
    """
    check_floats(difference=difference)
    squared = difference.reshape(*difference.shape[:axes], -1).square().sum(-1)
    # The power is taken of 1 in place of 0; what it is too much is constant.
    zero = (squared == 0).to(squared.dtype)
    return (squared + zero) ** (beta / 2) - zero


def _check_alike(beta: float, **tensors: Tensor) -> None:
    check_beta(beta)
    check_floats(**tensors)
    shapes = {tuple(tensor.shape) for tensor in tensors.values()}
    if len(shapes) > 1:
        *names, last = tensors
        raise ValueError(f"{', '.join(names)} and {last} must have one shape, received {shapes}")


def check_beta(beta: float) -> None:
    """Raise a ValueError if the exponent lies outside (0, 2]."""
    if isinstance(beta, bool) or not isinstance(beta, numbers.Real | Tensor) or not 0 < beta <= 2:
        raise ValueError(f"beta must lie in (0, 2], received {beta!r}")
