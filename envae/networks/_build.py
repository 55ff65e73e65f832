"""How an encoder and a decoder become a VAE, and how they are found by name."""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Protocol

from torch import nn

from envae._unknown import unknown
from envae.evaluation import seeded
from envae.networks._posterior import IMAGE, Variance, outputs, with_variance
from envae.vae import VAE

ImageShape = tuple[int, int, int]


class AsksOfModels(Protocol):
    """What an objective says of the model that it wants: see `objectives.base.Objective`."""

    def head_maps(self, channels: int) -> int: ...

    def prepare(self, image_shape: tuple[int, ...]) -> None: ...


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a network is built for.

    Attributes
    ----------
    image
        `(C, H, W)`.
    maps
        What the decoder returns, the image's channels and the head's: `(C + head, H, W)`.
    latent_dim
        Dimension d_z of the code.
    outputs
        Units of the encoder's last layer: d_z means, and d_z log variances if each image has its
        own.
    """

    image: ImageShape
    maps: ImageShape
    latent_dim: int
    outputs: int

    def sides_divisible_by(self, factor: int) -> tuple[int, int]:
        """Height and width over `factor`; a ValueError if that is not whole."""
        _, height, width = self.image
        if height % factor or width % factor:
            raise ValueError(
                f"this network needs images with sides divisible by {factor}, received {self.image}"
            )
        return height // factor, width // factor


_Builder = Callable[[Shape], tuple[nn.Module, nn.Module]]


@dataclasses.dataclass(frozen=True)
class _Network:
    """Entry of the registry; `activation` makes pixels of the decoder's image maps."""

    builder: _Builder
    posterior: Variance
    activation: type[nn.Module]


_NETWORKS: dict[str, _Network] = {}


def network(
    name: str, *, posterior: Variance = IMAGE, activation: type[nn.Module] = nn.Sigmoid
) -> Callable[[_Builder], _Builder]:
    """Decorator: make a function from a shape to encoder and decoder known by name."""

    def enter(builder: _Builder) -> _Builder:
        _NETWORKS[name] = _Network(builder, posterior, activation)
        return builder

    return enter


def build(
    name: str,
    image_shape: ImageShape,
    latent_dim: int,
    *,
    head: int = 0,
    objective: AsksOfModels | None = None,
    posterior: Variance | None = None,
    seed: int | None = None,
) -> VAE:
    """Make a new VAE with random weights.

    Parameters
    ----------
    name
        One of `names()`: `linear` (one affine map each way), `mlp`, `conv` (sides from 8 up), and
        takida2022's `arelbo_smoothness` (App. D.1; d_z = 8), `arelbo_mnist`, `arelbo_celeba` and
        `arelbo_celebahq` (App. I; d_z = 16, 64, 256).
    image_shape
        `(C, H, W)`.
    latent_dim
        Dimension d_z of the code.
    head
        Maps that the decoder returns beside the image, for an objective that needs any.
    objective
        What the model will be trained with. It says how many maps that is, and takes the images'
        shape for its own parameters; instead of `head`.
    posterior
        Variance of the posterior. `"image"`: one per image and coordinate of the code, from the
        encoder. `"coordinate"`: one learned per coordinate, for all images. `"isotropic"`: a
        single learned one, sigma_z^2 of Sec. 4 of takida2022. A number: that variance, fixed
        (App. E). With 0 the encoder is deterministic, draws are the mean and the KL term is
        infinite: objectives that take the mean alone (`ae`, `rae`) can train it, a negative ELBO
        cannot. Learned variances start from 1. By default `coordinate` for `linear`, `isotropic`
        for `arelbo_smoothness`, `image` for the others.
    seed
        Seed of the initial weights, those that the objective makes for itself included; the global
        generator is used, and advanced, where it is None.

    Raises
    ------
    ValueError
        If the name or posterior is unknown, or a size is out of range.
    """
    check_name(name)
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(f"image_shape must be (C, H, W), received {image_shape}")
    if latent_dim < 1:
        raise ValueError(f"latent_dim must be at least 1, received {latent_dim}")
    if head < 0:
        raise ValueError(f"head must be at least 0, received {head}")
    if objective is not None:
        if head:
            raise ValueError(f"give head or objective, not both; received head {head}")
        head = objective.head_maps(image_shape[0])
    entry = _NETWORKS[name]
    posterior = entry.posterior if posterior is None else posterior
    channels, height, width = image_shape
    shape = Shape(
        image=(channels, height, width),
        maps=(channels + head, height, width),
        latent_dim=latent_dim,
        outputs=outputs(posterior, latent_dim),
    )
    with contextlib.nullcontext() if seed is None else seeded(seed):
        encoder, decoder = entry.builder(shape)
        if objective is not None:
            objective.prepare(shape.image)
    encoder = with_variance(encoder, posterior, latent_dim)
    return VAE(encoder, decoder, shape.image, latent_dim, entry.activation())


def names() -> list[str]:
    """Names that :func:`build` knows."""
    return list(_NETWORKS)


def check_name(name: str) -> None:
    """Raise a ValueError for a name that :func:`build` does not know."""
    if name not in _NETWORKS:
        raise ValueError(unknown("network", name, _NETWORKS))
