"""The classifiers whose features are stored: how they are trained.

python -m envae.experiments.classifiers digits
"""

import argparse
import json
import time
from typing import Any

import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

from envae import datasets
from envae.evaluation import seeded
from envae.experiments import records
from envae.metrics.extractor import FEATURES, Extractor, files

_BATCH_SIZE, _LR, _WEIGHT_DECAY, _SEED = 64, 1e-3, 1e-2, 0
_EPOCHS = {"digits": 60, "mnist": 3}  # about as many steps for a small data set as for a large one


def train(dataset: datasets.Dataset) -> tuple[Extractor, dict[str, Any]]:
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
    epochs = _EPOCHS[dataset.name]
    start = time.perf_counter()
    classes = int(dataset.train_labels.max()) + 1
    with seeded(_SEED):
        extractor = Extractor(f"{dataset.name}-cnn", dataset.image_shape, classes)
        optimizer = torch.optim.AdamW(extractor.parameters(), lr=_LR, weight_decay=_WEIGHT_DECAY)
        for _ in range(epochs):
            for batch in torch.randperm(len(dataset.train)).split(_BATCH_SIZE):
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
        "training": {
            "epochs": epochs,
            "batch_size": _BATCH_SIZE,
            "lr": _LR,
            "weight_decay": _WEIGHT_DECAY,
            "seed": _SEED,
        },
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


def main(arguments: list[str] | None = None) -> None:
    """Train an extractor on a data set, store its weights and manifest in data/features."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("dataset", choices=datasets.names())
    options = parser.parse_args(arguments)
    extractor, manifest = train(datasets.load(options.dataset))
    weights, description = files(extractor.name)
    save_file(extractor.state_dict(), weights)
    description.write_text(json.dumps(manifest, indent=1) + "\n")
    print(f"{weights}: test accuracy {manifest['test_accuracy']:.3f}")


if __name__ == "__main__":
    main()
