"""The networks of AR-ELBO (takida2022), Appendices D.1 and I.

Each takes images of other sizes than the paper's as well, with the same layers, as long as the
sides can be halved so often; a head adds maps to the decoder's last layer.
"""

import math

from torch import nn

from envae.networks._build import Shape, network
from envae.networks._posterior import ISOTROPIC


@network("arelbo_smoothness", posterior=ISOTROPIC)
def arelbo_smoothness(shape: Shape) -> tuple[nn.Module, nn.Module]:
    """Network of Sec. 4.2 and App. E of takida2022 (App. D.1): 4 x 4 filters, no normalization.

    For MNIST at d_z = 8, as the text says; the listing's "z in R^16" is a slip, for the collapsed
    rows of Table E.8 have the KL divergence of 8 dimensions. The encoder gives the mean alone:
    the variance is one number for all images (Sec. 4), which the listing's FC_16 does not show.
    """
    return _two_convolutions(shape, filters=4, normalize=False)


@network("arelbo_mnist")
def arelbo_mnist(shape: Shape) -> tuple[nn.Module, nn.Module]:
    """MNIST network of takida2022 (App. I.1), d_z = 16: 5 x 5 filters and batch normalization.

    The last layer too has 5 x 5 filters and stride 2: the text leaves it out of its rule and does
    not say what it has, but it doubles the side. "The difference" to App. D.1 is not batch
    normalization alone, as the text has it: filters and d_z differ as well.
    """
    return _two_convolutions(shape, filters=5, normalize=True)


@network("arelbo_celeba")
def arelbo_celeba(shape: Shape) -> tuple[nn.Module, nn.Module]:
    """CelebA network of takida2022 (App. I.2), 3 x 64 x 64 at d_z = 64.

    As listed: neither a nonlinearity after the decoder's first layer, nor batch normalization
    after its second. The last layer keeps the side; its filters, which the text leaves out of its
    rule, are 5 x 5 here like the others.
    """
    return _four_convolutions(shape)


@network("arelbo_celebahq")
def arelbo_celebahq(shape: Shape) -> tuple[nn.Module, nn.Module]:
    """CelebA-HQ network of takida2022 (App. I.3), 3 x 128 x 128 at d_z = 256.

    The layers of `arelbo_celeba` on images of twice the side: the listing's encoder has
    "x in R^(64 x 64)", but its first map is 64 x 64 after a stride of 2.
    """
    return _four_convolutions(shape)


def _two_convolutions(
    shape: Shape, *, filters: int, normalize: bool
) -> tuple[nn.Module, nn.Module]:
    """Two convolutions and a hidden layer of 1,024 units, and back."""
    inner = (128, *shape.sides_divisible_by(4))
    units = math.prod(inner)

    def norm(layer: type[nn.Module], features: int) -> list[nn.Module]:
        return [layer(features)] if normalize else []

    encoder = nn.Sequential(
        _halve(shape.image[0], 64, filters),
        nn.ReLU(),
        _halve(64, 128, filters),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(units, 1024),
        *norm(nn.BatchNorm1d, 1024),
        nn.ReLU(),
        nn.Linear(1024, shape.outputs),
    )
    decoder = nn.Sequential(
        nn.Linear(shape.latent_dim, 1024),
        *norm(nn.BatchNorm1d, 1024),
        nn.ReLU(),
        nn.Linear(1024, units),
        *norm(nn.BatchNorm1d, units),
        nn.ReLU(),
        nn.Unflatten(1, inner),
        _double(128, 64, filters),
        *norm(nn.BatchNorm2d, 64),
        nn.ReLU(),
        _double(64, shape.maps[0], filters),
    )
    return encoder, decoder


def _four_convolutions(shape: Shape) -> tuple[nn.Module, nn.Module]:
    """Four convolutions of stride 2 to 1,024 channels; three back, and one that keeps the side."""
    height, width = shape.sides_divisible_by(16)
    outer = (1024, 2 * height, 2 * width)
    encoder = nn.Sequential(
        _halve(shape.image[0], 128, 5),
        nn.ReLU(),
        _halve(128, 256, 5),
        nn.BatchNorm2d(256),
        nn.ReLU(),
        _halve(256, 512, 5),
        nn.BatchNorm2d(512),
        nn.ReLU(),
        _halve(512, 1024, 5),
        nn.BatchNorm2d(1024),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1024 * height * width, shape.outputs),
    )
    decoder = nn.Sequential(
        nn.Linear(shape.latent_dim, math.prod(outer)),
        nn.Unflatten(1, outer),
        _double(1024, 512, 5),
        nn.ReLU(),
        _double(512, 256, 5),
        nn.BatchNorm2d(256),
        nn.ReLU(),
        _double(256, 128, 5),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.ConvTranspose2d(128, shape.maps[0], 5, padding=2),
    )
    return encoder, decoder


def _halve(channels: int, out: int, filters: int) -> nn.Module:
    """Convolution that halves an even side."""
    return nn.Conv2d(channels, out, filters, stride=2, padding=(filters - 1) // 2)


def _double(channels: int, out: int, filters: int) -> nn.Module:
    """Transposed convolution that doubles the side."""
    return nn.ConvTranspose2d(
        channels, out, filters, stride=2, padding=(filters - 1) // 2, output_padding=filters % 2
    )
