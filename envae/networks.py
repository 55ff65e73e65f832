"""Encoder and decoder pairs, by name."""

import math
from collections.abc import Callable

import torch
from torch import nn

from envae._names import unknown
from envae.vae import VAE

ImageShape = tuple[int, int, int]
_Builder = Callable[[ImageShape, int, int], VAE]
_BUILDERS: dict[str, _Builder] = {}


def build(
    name: str,
    image_shape: ImageShape,
    latent_dim: int,
    *,
    head: int = 0,
    seed: int | None = None,
) -> VAE:
    """Make a new VAE with random weights.

    Parameters
    ----------
    name
        One of `names()`: `linear` (one affine map each way), `mlp`, `conv` (sides from 8 up).
    image_shape
        `(C, H, W)`.
    latent_dim
        Dimension d_z of the code.
    head
        Maps that the decoder returns beside the image, as `objective.head_maps(C)` says.
    seed
        Seed of the initial weights; the global generator is used, and advanced, where it is None.

    Raises
    ------
    ValueError
        If the name is unknown or a size is out of range.
    """
    if name not in _BUILDERS:
        raise ValueError(unknown("network", name, _BUILDERS))
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(f"image_shape must be (C, H, W), received {image_shape}")
    if latent_dim < 1:
        raise ValueError(f"latent_dim must be at least 1, received {latent_dim}")
    if head < 0:
        raise ValueError(f"head must be at least 0, received {head}")
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        return _BUILDERS[name](tuple(image_shape), latent_dim, head)


def names() -> list[str]:
    """Names that :func:`build` knows."""
    return list(_BUILDERS)


def _network(builder: _Builder) -> _Builder:
    _BUILDERS[builder.__name__.strip("_")] = builder
    return builder


def _maps(image_shape: ImageShape, head: int) -> ImageShape:
    """Shape of what a decoder returns: the image's channels and the head's, `(C + head, H, W)`."""
    return (image_shape[0] + head, *image_shape[1:])


class _SharedVariance(nn.Module):
    """Posterior parameters with a mean from a network and one learned variance per coordinate."""

    def __init__(self, mean: nn.Module, latent_dim: int):
        super().__init__()
        self.mean = mean
        self.log_variance = nn.Parameter(torch.zeros(latent_dim))

    def forward(self, x):
        mean = self.mean(x)  # (B, d_z)
        return torch.cat([mean, self.log_variance.expand_as(mean)], dim=-1)


@_network
def _linear(image_shape: ImageShape, latent_dim: int, head: int) -> VAE:
    """The linear VAE of Lucas et al. (2019): affine maps, and a variance shared by all images."""
    pixels, maps = math.prod(image_shape), _maps(image_shape, head)
    encoder = _SharedVariance(
        nn.Sequential(nn.Flatten(), nn.Linear(pixels, latent_dim)), latent_dim
    )
    decoder = nn.Sequential(nn.Linear(latent_dim, math.prod(maps)), nn.Unflatten(1, maps))
    return VAE(encoder, decoder, image_shape, latent_dim)


@_network
def _mlp(image_shape: ImageShape, latent_dim: int, head: int) -> VAE:
    """Two hidden layers of 256 units each way; pixels through a sigmoid."""
    pixels, maps, hidden = math.prod(image_shape), _maps(image_shape, head), 256
    encoder = nn.Sequential(
        nn.Flatten(),
        nn.Linear(pixels, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 2 * latent_dim),
    )
    decoder = nn.Sequential(
        nn.Linear(latent_dim, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, math.prod(maps)),
        nn.Unflatten(1, maps),
    )
    return VAE(encoder, decoder, image_shape, latent_dim, nn.Sigmoid())


@_network
def _conv(image_shape: ImageShape, latent_dim: int, head: int) -> VAE:
    """Convolutions of stride 2, from 32 channels up, until the side is below 8; no normalization.

    The decoder goes the same way back; pixels through a sigmoid. Without batch normalization a
    decoded image depends on its own code alone, however many are decoded in one call.
    """
    channels, *side = image_shape
    if min(side) < 8:
        raise ValueError(f"the conv network needs images of at least 8 x 8, received {image_shape}")
    sides, widths = [tuple(side)], [channels]  # per level, the image being the first
    while min(sides[-1]) >= 8:
        sides.append(tuple(s // 2 for s in sides[-1]))
        widths.append(min(32 * 2 ** (len(sides) - 2), 256))
    down, up = [], []
    for level in range(len(sides) - 1):
        down += [nn.Conv2d(widths[level], widths[level + 1], 4, stride=2, padding=1), nn.ReLU()]
        odd = tuple(s % 2 for s in sides[level])  # the side that halving lost
        out = widths[level] if level else channels + head
        upward = nn.ConvTranspose2d(
            widths[level + 1], out, 4, stride=2, padding=1, output_padding=odd
        )
        up = [upward, *([nn.ReLU()] if level else []), *up]
    inner = (widths[-1], *sides[-1])
    units = math.prod(inner)
    encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(units, 2 * latent_dim))
    decoder = nn.Sequential(nn.Linear(latent_dim, units), nn.ReLU(), nn.Unflatten(1, inner), *up)
    return VAE(encoder, decoder, image_shape, latent_dim, nn.Sigmoid())
