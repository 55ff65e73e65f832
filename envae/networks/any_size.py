"""Networks that fit images of any size: affine, two hidden layers, convolutions."""

import math

from torch import nn

from envae.networks._build import Shape, network
from envae.networks._posterior import COORDINATE


@network("linear", posterior=COORDINATE, activation=nn.Identity)
def linear(shape: Shape) -> tuple[nn.Module, nn.Module]:
    """The linear VAE of Lucas et al. (2019): affine maps, and a variance shared by all images."""
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape.image), shape.outputs))
    decoder = nn.Sequential(
        nn.Linear(shape.latent_dim, math.prod(shape.maps)), nn.Unflatten(1, shape.maps)
    )
    return encoder, decoder


@network("mlp")
def mlp(shape: Shape) -> tuple[nn.Module, nn.Module]:
    """Two hidden layers of 256 units each way; pixels through a sigmoid."""
    return _two_hidden_layers(shape, 256)


@network("mlp64")
def mlp64(shape: Shape) -> tuple[nn.Module, nn.Module]:
    """Two hidden layers of 64 units each way, for grids of many models; see `batched.fit`."""
    return _two_hidden_layers(shape, 64)


def _two_hidden_layers(shape: Shape, hidden: int) -> tuple[nn.Module, nn.Module]:
    encoder = nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(shape.image), hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, shape.outputs),
    )
    decoder = nn.Sequential(
        nn.Linear(shape.latent_dim, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, math.prod(shape.maps)),
        nn.Unflatten(1, shape.maps),
    )
    return encoder, decoder


@network("conv")
def conv(shape: Shape) -> tuple[nn.Module, nn.Module]:
    """Convolutions of stride 2, from 32 channels up, until the side is below 8; no normalization.

    The decoder goes the same way back; pixels through a sigmoid. Without batch normalization a
    decoded image depends on its own code alone, however many are decoded in one call.

    xu2025 does not give its networks: in its tables, at 32 and 64 pixels, this one stands in.
    """
    channels, height, width = shape.image
    if min(height, width) < 8:
        raise ValueError(f"the conv network needs images of at least 8 x 8, received {shape.image}")
    sides, widths = [(height, width)], [channels]  # per level, the image being the first
    while min(sides[-1]) >= 8:
        height, width = sides[-1]
        sides.append((height // 2, width // 2))
        widths.append(min(32 * 2 ** (len(sides) - 2), 256))
    down: list[nn.Module] = []
    up: list[nn.Module] = []
    for level in range(len(sides) - 1):
        down += [nn.Conv2d(widths[level], widths[level + 1], 4, stride=2, padding=1), nn.ReLU()]
        height, width = sides[level]
        odd = (height % 2, width % 2)  # the pixels that halving lost
        out = widths[level] if level else shape.maps[0]
        upward = nn.ConvTranspose2d(
            widths[level + 1], out, 4, stride=2, padding=1, output_padding=odd
        )
        up = [upward, *([nn.ReLU()] if level else []), *up]
    inner = (widths[-1], *sides[-1])
    units = math.prod(inner)
    encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(units, shape.outputs))
    decoder = nn.Sequential(
        nn.Linear(shape.latent_dim, units), nn.ReLU(), nn.Unflatten(1, inner), *up
    )
    return encoder, decoder
