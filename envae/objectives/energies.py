"""Networks that give an energy, what climbs and what descends it: for the energy-based VAEs.

An energy E is the negative logarithm of a density that nothing normalizes. Here every layer has a
spectral norm of 1, and the leaky ReLUs between them change nothing by more than it was changed: so
an energy differs between two images by no more than their distance, and its maximum over the
weights is bounded.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call, grad
from torch.nn.functional import normalize, softplus

from envae.evaluation import evaluating
from envae.objectives.base import check_count, check_from_zero
from envae.scores import check_floats
from envae.vae import told_as

Energy = Callable[[Tensor], Tensor]  # (B, *event) to (B,)

_SIDE = 16  # pixels from which an image is convolved
_SLOPE = 0.1  # of the leaky ReLUs
_FIRST = 15  # power iterations at the start; then one in each step of a training


class Bounded(nn.Module):
    """An affine layer whose weights are divided by their largest singular value.

    Estimated by a power iteration for each batch in training mode, as in Miyato et al. (2018);
    the weights of a convolution count as one matrix, a row per channel that comes out. Unlike
    `torch.nn.utils.parametrizations.spectral_norm` it can be pickled, which brings a trained
    objective back from another process.

    Parameters
    ----------
    layer
        `nn.Linear` or `nn.Conv2d`, without a bias: it has one of its own.
    """

    left: Tensor

    def __init__(self, layer: nn.Linear | nn.Conv2d):
        super().__init__()
        outputs = len(layer.weight)
        self.layer = layer
        self.bias = nn.Parameter(layer.weight.new_zeros(outputs, *[1] * (layer.weight.ndim - 2)))
        self.register_buffer("left", normalize(torch.randn(outputs).to(layer.weight), dim=0))
        with torch.no_grad():
            for _ in range(_FIRST):
                self._iterate()

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.layer.weight.dtype)  # an energy is float32, whatever the VAE computes in
        with torch.no_grad():
            left, right = self._iterate() if self.training else (self.left, self._right(self.left))
        largest = left @ self._matrix @ right
        return self.layer(x) / largest + self.bias

    @property
    def _matrix(self) -> Tensor:
        return self.layer.weight.flatten(1)

    def _right(self, left: Tensor) -> Tensor:
        return normalize(self._matrix.mT @ left, dim=0)

    def _iterate(self) -> tuple[Tensor, Tensor]:
        """Singular vectors after one more iteration, kept for the next."""
        right = self._right(self.left)
        left = normalize(self._matrix @ right, dim=0)
        self.left.copy_(left)
        return left, right


class ImageEnergy(nn.Module):
    """Energy of images `(B, *event)`, `(B,)`; of no sign.

    Two hidden layers below 16 pixels; two convolutions of stride 2 and a hidden layer from there.

    Parameters
    ----------
    image_shape
        `(C, H, W)`, or another shape of an event.
    hidden
        Units of a hidden layer.
    """

    def __init__(self, image_shape: Sequence[int], hidden: int = 128):
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.features = _features(self.image_shape, hidden)
        self.last = _linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.features(x))[:, 0]


class JointEnergy(nn.Module):
    """Energy of images `(B, *event)` with codes `(B, d_z)`, `(B,)`; never negative, by a softplus.

    Parameters
    ----------
    image_shape, hidden
        As :class:`ImageEnergy` takes them.
    latent_dim
        Numbers of a code; codes of another shape are flattened.
    """

    def __init__(self, image_shape: Sequence[int], latent_dim: int, hidden: int = 128):
        super().__init__()
        check_count(latent_dim=latent_dim)
        self.image_shape, self.latent_dim = tuple(image_shape), latent_dim
        self.of_images = _features(self.image_shape, hidden)
        self.of_codes = nn.Sequential(_linear(latent_dim, hidden), nn.LeakyReLU(_SLOPE))
        self.joined = nn.Sequential(
            _linear(2 * hidden, hidden), nn.LeakyReLU(_SLOPE), _linear(hidden, 1)
        )

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        both = torch.cat([self.of_images(x), self.of_codes(z.flatten(1))], dim=1)
        return softplus(self.joined(both)[:, 0])


def _features(shape: tuple[int, ...], hidden: int) -> nn.Sequential:
    """From images to `(B, hidden)`."""
    check_count(hidden=hidden)
    if len(shape) != 3 or min(shape[1:]) < _SIDE:
        layers: list[nn.Module] = [nn.Flatten(), _linear(math.prod(shape), hidden)]
        return nn.Sequential(
            *layers, nn.LeakyReLU(_SLOPE), _linear(hidden, hidden), nn.LeakyReLU(_SLOPE)
        )
    channels, height, width = shape
    return nn.Sequential(
        _halving(channels, 32), nn.LeakyReLU(_SLOPE),
        _halving(32, 64), nn.LeakyReLU(_SLOPE), nn.Flatten(),
        _linear(64 * (height // 4) * (width // 4), hidden), nn.LeakyReLU(_SLOPE),
    )  # fmt: skip


def _linear(inputs: int, outputs: int) -> Bounded:
    return Bounded(nn.Linear(inputs, outputs, bias=False))


def _halving(channels: int, out: int) -> Bounded:
    return Bounded(nn.Conv2d(channels, out, 4, stride=2, padding=1, bias=False))


def maximized(module: nn.Module, *args: Tensor) -> Tensor:
    """What a module gives, with the gradient of its own weights reversed.

    Who minimizes a loss with this term maximizes it over the module's weights: a game of two in
    one loss and one step of one optimizer. Gradients by the arguments are as they are.
    """
    reverse = {name: 2 * weight.detach() - weight for name, weight in module.named_parameters()}
    return functional_call(module, reverse, args)


def langevin(
    energy: Energy,
    start: Tensor,
    *,
    steps: int,
    step_size: float,
    noise: float,
    generator: Generator | None = None,
) -> Tensor:
    """Points after so many steps of `x - step_size dE/dx + noise n`, n standard normal.

    With `noise = sqrt(2 step_size)` and small steps, the points come to follow exp(-E): unadjusted
    Langevin dynamics. No step is refused, so that the end is off by the order of the step: on a
    Gaussian energy of variance 1 the variance is 1 / (1 - step_size / 2).

    Parameters
    ----------
    energy
        From points to an energy of each, `(B,)`; in evaluation mode for as long, if a module.
    start
        Points `(B, *event)`.
    steps
        How many; 0 gives the start back.
    step_size, noise
        Factors of the gradient and of the noise, from 0 up.
    generator
        Of the CPU, for the noise; by default torch's own.

    Returns
    -------
    Tensor
        Points `(B, *event)`, without gradient.

    Raises
    ------
    ValueError
        If a number is out of range, a start is not finite or no float, or the energy is not one
        number per point.
    FloatingPointError
        If a point is not finite in the end, because the energy diverges or is not finite.
    """
    check_count(0, steps=steps)
    check_from_zero(step_size=step_size, noise=noise)
    check_floats(start=start)
    if not start.isfinite().all():
        raise ValueError("start must be finite: what it was decoded or drawn from is not")
    end = langevin_unchecked(
        energy, start, steps=steps, step_size=step_size, noise=noise, generator=generator
    )
    lost = int((~end.flatten(1).isfinite().all(1)).sum())
    if lost:
        raise FloatingPointError(
            f"{lost} of {len(end)} points are not finite after {steps} Langevin steps of "
            f"{step_size:g}: the energy is not finite or falls without end; train it longer or "
            "more carefully, or take smaller steps"
        )
    return end


def langevin_unchecked(
    energy: Energy,
    start: Tensor,
    *,
    steps: int,
    step_size: float,
    noise: float,
    generator: Generator | None = None,
) -> Tensor:
    """:func:`langevin` that looks at no value, and lets a GPU run ahead: for losses."""

    def total(points: Tensor) -> Tensor:
        energies = energy(points)
        if not isinstance(energies, Tensor) or energies.shape != points.shape[:1]:
            raise ValueError(
                f"an energy must be one number per point, ({len(points)},), received "
                f"{told_as(energies)}"
            )
        return energies.sum()

    points = start.detach()
    with evaluating(energy), torch.no_grad():
        for _ in range(steps):
            drawn = (
                torch.randn_like(points)
                if generator is None
                else torch.randn(points.shape, generator=generator).to(points)
            )
            points = points - step_size * grad(total)(points) + noise * drawn
    return points
