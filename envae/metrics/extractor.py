"""Small classifiers, trained here, whose features take Inception's place in a Fréchet distance.

A distance measured with one of them is an **FD (name)**, never an FID. Train one and store it with

    python -m envae.metrics.extractor digits
"""

import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from envae import _project, datasets, records

FEATURES = 32  # few enough for a covariance from some hundred images
_TRAINING = {"batch_size": 64, "lr": 1e-3, "weight_decay": 1e-2, "seed": 0}
_EPOCHS = {"digits": 60, "mnist": 3}  # about as many steps for a small data set as for a large one


class Extractor(nn.Module):
    """Two convolutions and a hidden layer, whose units are the features.

    Features are standardized (mean 0, variance 1 on the training images), so that a distance of 1
    means the same for every extractor: half a standard deviation in four of them, say.

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
        self.image_shape = tuple(image_shape)
        self.body = nn.Sequential(
            nn.Conv2d(image_shape[0], 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(64 * 16, FEATURES),
            nn.BatchNorm1d(FEATURES, affine=False),
        )
        self.classify = nn.Sequential(nn.ReLU(), nn.Linear(FEATURES, classes))

    def features(self, images: Tensor) -> Tensor:
        """Features `(N, FEATURES)` of images `(N, C, H, W)` in [0, 1], without gradient.

        Raises
        ------
        ValueError
            If the images do not have the shape the extractor was trained on.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != self.image_shape:
            raise ValueError(
                f"{self.name} takes images (N, {', '.join(map(str, self.image_shape))}), "
                f"received {tuple(images.shape)}"
            )
        with torch.no_grad():
            return torch.cat([self.body(batch) for batch in images.split(1000)])

    def forward(self, images: Tensor) -> Tensor:
        """Class scores `(N, classes)`."""
        return self.classify(self.body(images))


def load(name: str) -> tuple[Extractor, dict]:
    """A stored extractor, ready to use, and its manifest (data, training, accuracy, versions).

    Raises
    ------
    FileNotFoundError
        If no extractor of that name is stored.
    """
    weights, description = _files(name)
    if not weights.is_file():
        known = sorted(file.stem for file in weights.parent.glob("*.safetensors"))
        raise FileNotFoundError(
            f"no extractor {name!r} in {weights.parent}: stored are {known}; train it with "
            f"python -m envae.metrics.extractor {name.removesuffix('-cnn')}"
        )
    manifest = json.loads(description.read_text())
    extractor = Extractor(name, tuple(manifest["image_shape"]), manifest["classes"])
    extractor.load_state_dict(load_file(weights))
    return extractor.eval(), manifest


def train(dataset: datasets.Dataset) -> tuple[Extractor, dict]:
    """Train an extractor to classify a data set.

    Returns
    -------
    tuple
        The extractor and its manifest, with the accuracy on the test split as a fraction.

    Raises
    ------
    ValueError
        If no number of epochs is known for the data set.
    """
    if dataset.name not in _EPOCHS:
        raise ValueError(f"extractors are trained on {', '.join(_EPOCHS)}, received {dataset.name}")
    training = {"epochs": _EPOCHS[dataset.name]} | _TRAINING
    start = time.perf_counter()
    classes = int(dataset.train_labels.max()) + 1
    torch.manual_seed(_TRAINING["seed"])
    extractor = Extractor(f"{dataset.name}-cnn", dataset.image_shape, classes)
    optimizer = torch.optim.AdamW(
        extractor.parameters(), lr=_TRAINING["lr"], weight_decay=_TRAINING["weight_decay"]
    )
    for _ in range(training["epochs"]):
        for batch in torch.randperm(len(dataset.train)).split(_TRAINING["batch_size"]):
            optimizer.zero_grad()
            scores = extractor(dataset.train[batch])
            cross_entropy(scores, dataset.train_labels[batch]).backward()
            optimizer.step()
    extractor.eval()
    with torch.no_grad():
        scores = torch.cat([extractor(batch) for batch in dataset.test.split(1000)])
    right = scores.argmax(1) == dataset.test_labels
    manifest = records.manifest() | {
        "name": extractor.name,
        "image_shape": list(dataset.image_shape),
        "classes": classes,
        "features": FEATURES,
        "training": training,
        "data": {
            "name": dataset.name,
            "checksum": dataset.checksum,
            "train": len(dataset.train),
            "test": len(dataset.test),
        },
        "test_accuracy": right.double().mean().item(),
        "seconds": round(time.perf_counter() - start, 1),
    }
    return extractor, manifest


def _files(name: str) -> tuple[Path, Path]:
    folder = _project.root() / "data" / "features"
    return folder / f"{name}.safetensors", folder / f"{name}.json"


def main(arguments: list[str] | None = None) -> None:
    """Train an extractor on a data set, store its weights and manifest in data/features."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("dataset", choices=datasets.names())
    options = parser.parse_args(arguments)
    extractor, manifest = train(datasets.load(options.dataset))
    weights, description = _files(extractor.name)
    save_file(extractor.state_dict(), weights)
    description.write_text(json.dumps(manifest, indent=1) + "\n")
    print(f"{weights}: test accuracy {manifest['test_accuracy']:.3f}")


if __name__ == "__main__":
    main()
