"""Small classifiers, trained here, whose features take Inception's place in a Fréchet distance.

A distance measured with one of them is an **FD (name)**, never an FID. They are trained and stored
by `envae.experiments.classifiers`.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from envae import _checkout
from envae._files import whole
from envae.evaluation import single_precision
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

    @single_precision()
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
    ValueError
        If a file of it is truncated or corrupt, or its weights and its manifest are of two
        extractors: one wrong bit would move every distance.
    """
    weights, description = files(name)
    again = f"python -m envae.experiments.classifiers {name.removesuffix('-cnn')}"
    if not weights.is_file():
        known = sorted(file.stem for file in weights.parent.glob("*.safetensors"))
        raise FileNotFoundError(
            f"no extractor {name!r} in {weights.parent}: stored are {known}; train it with {again}"
        )
    remedy = f"get {weights.name} and {description.name} from the repository again, or run {again}"
    try:
        manifest = json.loads(description.read_text(encoding="utf-8"))
        extractor = Extractor(name, manifest["image_shape"], manifest["classes"])
        expected = manifest["sha256"]
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{description} is no manifest ({error!r}): {remedy}") from error
    content = weights.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ValueError(
            f"{weights} ({len(content)} bytes) is truncated or corrupt: its SHA-256 is {found}, "
            f"not {expected}; {remedy}"
        )
    try:
        extractor.load_state_dict(safetensors.torch.load(content))
    except RuntimeError as error:  # of a line for each layer
        raise ValueError(
            f"{weights} does not hold weights for {extractor.image_shape} and "
            f"{manifest['classes']} classes, as {description.name} says: {remedy}"
        ) from error
    return extractor.eval(), manifest


def store(extractor: Extractor, manifest: Mapping[str, Any]) -> Path:
    """Write an extractor for :func:`load`, and its manifest with the checksum of its weights.

    Returns
    -------
    Path
        File of the weights.
    """
    weights, description = files(extractor.name)
    content = safetensors.torch.save(extractor.state_dict())
    told = {**manifest, "sha256": hashlib.sha256(content).hexdigest()}
    with whole(weights) as partial:
        partial.write_bytes(content)
    with whole(description) as partial:
        partial.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return weights


def files(name: str) -> tuple[Path, Path]:
    """Weights and manifest of a stored extractor, in the checkout."""
    folder = _checkout.root() / "data" / "features"
    return folder / f"{name}.safetensors", folder / f"{name}.json"
