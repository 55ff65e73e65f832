"""Random convolutions: a space of features that nothing was trained on.

A Fréchet distance is no better than its extractor, and an extractor that was trained on the images
it judges prefers what it was trained on. An untrained network has no such preference, so a
conclusion that holds in its space too does not hang on the other's.
"""

import torch
from torch import Generator, Tensor, nn

from envae.evaluation import single_precision
from envae.objectives.base import check_finite, check_images

SMALLEST = 8  # pixels, in height and in width
_WIDTHS = (32, 32, 24)
_POOLED = 2  # cells in height and in width whose mean activation is a feature
FEATURES = _WIDTHS[-1] * _POOLED**2  # few enough for a covariance from some hundred images
FEWEST = _WIDTHS[-1]  # with one cell: for fewer images still
_AT_ONCE = 1000


class RandomConvolutions(nn.Module):
    """Three convolutions with fixed random weights and pooling, a `frechet.HasFeatures`.

    ReLU and mean pooling between them, and the mean of each quarter of the image at the end. The
    weights are normal with He's variance, from a generator of their own, so that they are the same
    in every process. Those of a filter add up to zero: it would else measure the brightness, as all
    others do. Features are standardized (mean 0, variance 1 on the images given here), as those of
    `extractor.Extractor` are; but 96 features are not 32, and distances in the two spaces are not
    to be compared with each other.

    Parameters
    ----------
    images
        Training images `(N, C, H, W)` in [0, 1], of any size from 8 x 8 up and any number of
        channels. They choose the features' unit, nothing else.
    seed
        Of the weights. Another seed is another space, and has its number in its name.
    few
        Whether the mean of the whole image is taken instead of each quarter's: 24 features, a
        covariance of which needs fewer images. The name says it, `random-conv-few`.

    Raises
    ------
    ValueError
        If the images are too small or no floats in [0, 1], or no two of them differ.
    """

    mean: Tensor
    scale: Tensor

    @single_precision()
    def __init__(self, images: Tensor, *, seed: int = 0, few: bool = False):
        super().__init__()
        if images.ndim != 4 or len(images) < 2 or min(images.shape[2:]) < SMALLEST:
            raise ValueError(
                f"needs 2 or more images (N, C, H, W) of at least {SMALLEST} x {SMALLEST} pixels, "
                f"received shape {tuple(images.shape)}"
            )
        self.name = "random-conv" if seed == 0 else f"random-conv-{seed}"
        cells, count = (1, FEWEST) if few else (_POOLED, FEATURES)
        if few:
            self.name += "-few"
        self.channels = images.shape[1]
        generator = Generator().manual_seed(seed)
        layers: list[nn.Module] = []
        incoming = self.channels
        for width in _WIDTHS:
            layers += [_convolution(incoming, width, generator), nn.ReLU(), nn.AvgPool2d(2)]
            incoming = width
        # The last activations stay signed: a feature that is nearly always 0 would, standardized,
        # be decided by few images.
        layers[-2:] = [nn.AdaptiveAvgPool2d(cells), nn.Flatten()]
        self.body = nn.Sequential(*layers).requires_grad_(False)
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))
        raw = self.features(images)
        check_finite(features=raw)
        self.mean, spread = raw.mean(0), raw.std(0)
        # A feature that no image moves says nothing, and must not divide by zero.
        moved = spread > 1e-6
        if not moved.any():
            raise ValueError(
                f"needs images that differ, received {len(images)} alike: no feature has a unit, "
                "and all distances would be 0"
            )
        self.scale = spread.where(moved, torch.inf)

    def features(self, images: Tensor) -> Tensor:
        """Features `(N, FEATURES)`, or `(N, FEWEST)`, of images `(N, C, H, W)` in [0, 1].

        Raises
        ------
        ValueError
            If the images have another number of channels, are too small, or no floats in [0, 1].
        """
        if images.ndim != 4 or images.shape[1] != self.channels or min(images.shape[2:]) < SMALLEST:
            raise ValueError(
                f"{self.name} takes images (N, {self.channels}, H, W) of at least {SMALLEST} x "
                f"{SMALLEST} pixels, received {tuple(images.shape)}"
            )
        check_images(images=images)
        with torch.no_grad():
            raw = torch.cat([self.body(batch.float()) for batch in images.split(_AT_ONCE)])
        return (raw - self.mean) / self.scale


def _convolution(incoming: int, outgoing: int, generator: Generator) -> nn.Conv2d:
    # Without torch's own draw of weights, which would move its global generator.
    layer = nn.utils.skip_init(nn.Conv2d, incoming, outgoing, 3, padding=1)
    weight = torch.randn(layer.weight.shape, generator=generator)
    weight -= weight.mean((1, 2, 3), keepdim=True)
    with torch.no_grad():
        layer.weight.copy_(weight * (2 / weight[0].numel()) ** 0.5)
        layer.bias.copy_(0.1 * torch.randn(outgoing, generator=generator))
    return layer
