"""Small classifiers, trained here, whose features take Inception's place in a Fréchet distance.

A distance measured with one of them is an **FD (name)**, never an FID. They are trained and stored
by `envae.experiments.classifiers`.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from envae import _checkout
from envae.objectives.base import check_images

FEATURES = 32  # few enough for a covariance from some hundred images


class Extractor(nn.Module):
    """Convolutions and a hidden layer, whose units are the features.

    Two convolutions for images of one channel; for colour five, each with batch normalization.

    Features are standardized (mean 0, variance 1 on the training images as they were seen, mirrored
    and shifted in colour), so that a distance of 1 means the same for every extractor: half a
    standard deviation in four of them, say.

    Parameters
    ----------
    name
        Name of the extractor, such as `digits-cnn`.
    image_shape
        `(C, H, W)`.
    classes
        Number of classes it tells apart.
    """

    def __init__(self, name: str, image_shape: tuple[int, int, int], classes: int):
        super().__init__()
        self.name = name
        channels, height, width = image_shape
        self.image_shape = (channels, height, width)
        convolutions, width = _convolutions(channels)
        self.body = nn.Sequential(
            *convolutions,
            nn.Flatten(),
            nn.Linear(width, FEATURES),
            nn.BatchNorm1d(FEATURES, affine=False),
        )
        self.classify = nn.Sequential(nn.ReLU(), nn.Linear(FEATURES, classes))

    def features(self, images: Tensor) -> Tensor:
        """Features `(N, FEATURES)` of images `(N, C, H, W)` in [0, 1], without gradient.

        Raises
        ------
        ValueError
            If the images do not have the shape the extractor was trained on, or are no floats in
            [0, 1].
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != self.image_shape:
            raise ValueError(
                f"{self.name} takes images (N, {', '.join(map(str, self.image_shape))}), "
                f"received {tuple(images.shape)}"
            )
        check_images(images=images)
        with torch.no_grad():
            return torch.cat([self.body(batch.float()) for batch in images.split(1000)])

    def forward(self, images: Tensor) -> Tensor:
        """Class scores `(N, classes)`."""
        return self.classify(self.body(images))


def _convolutions(channels: int) -> tuple[list[nn.Module], int]:
    """Layers from images of so many channels to maps of a fixed size, and their units."""
    if channels == 1:
        layers = [
            nn.Conv2d(channels, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
        ]
        return layers, 64 * 16
    layers = [
        *_normalized(channels, 32),
        nn.MaxPool2d(2),
        *_normalized(32, 64),
        *_normalized(64, 64),
        nn.MaxPool2d(2),
        *_normalized(64, 128),
        nn.MaxPool2d(2),
        *_normalized(128, 128),
        nn.AdaptiveMaxPool2d(2),
    ]
    return layers, 128 * 4


def _normalized(channels: int, maps: int) -> list[nn.Module]:
    """A convolution without a bias, which batch normalization brings."""
    return [
        nn.Conv2d(channels, maps, 3, padding=1, bias=False),
        nn.BatchNorm2d(maps),
        nn.ReLU(),
    ]


def name_for(dataset: str) -> str:
    """Name of the extractor of a data set: `cifar10-cnn` for `cifar10-jpeg-10000`."""
    return f"{dataset.partition('-')[0]}-cnn"


def load(name: str) -> tuple[Extractor, dict[str, Any]]:
    """A stored extractor, ready to use, and its manifest (data, training, accuracy, versions).

    Raises
    ------
    FileNotFoundError
        If no extractor of that name is stored.
    """
    weights, description = files(name)
    if not weights.is_file():
        known = sorted(file.stem for file in weights.parent.glob("*.safetensors"))
        raise FileNotFoundError(
            f"no extractor {name!r} in {weights.parent}: stored are {known}; train it with "
            f"python -m envae.experiments.classifiers {name.removesuffix('-cnn')}"
        )
    manifest = json.loads(description.read_text())
    extractor = Extractor(name, manifest["image_shape"], manifest["classes"])
    extractor.load_state_dict(load_file(weights))
    return extractor.eval(), manifest


def files(name: str) -> tuple[Path, Path]:
    """Weights and manifest of a stored extractor, in the checkout."""
    folder = _checkout.root() / "data" / "features"
    return folder / f"{name}.safetensors", folder / f"{name}.json"
