"""The classifiers whose features are stored: how they are trained.

python -m envae.experiments.classifiers digits

Those of `digits` and `mnist` see all training images, which rows of the tables are trained on too.
That of `cifar10-jpeg` sees only the 40,000 that are not among the 10,000 of its rows.
"""

import argparse
import dataclasses
import time
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from envae import datasets
from envae.evaluation import seeded
from envae.experiments import records
from envae.metrics.extractor import FEATURES, Extractor, name_for, store
from envae.training import batch_sizes

_SEED = 0
_SHIFT = 4  # pixels, at most


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How the classifier of a data set is trained.

    Attributes
    ----------
    epochs, batch_size, lr, weight_decay
        Of AdamW.
    one_cycle
        Whether the learning rate rises to `lr` and falls to nearly 0; otherwise it is constant.
    augmented
        Whether images are mirrored at random and shifted by up to four pixels each way.
    left_out
        Size of the part of the training images, `Dataset.subset`, that rows are trained on and the
        classifier is not; 0 where it sees all images.
    """

    epochs: int
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 1e-2
    one_cycle: bool = False
    augmented: bool = False
    left_out: int = 0


RECIPES = {
    "digits": Recipe(60),  # about as many steps for a small data set as for a large one
    "mnist": Recipe(3),
    "cifar10-jpeg": Recipe(
        16, batch_size=128, lr=1e-2, one_cycle=True, augmented=True, left_out=10_000
    ),
}


def train(dataset: datasets.Dataset) -> tuple[Extractor, dict[str, Any]]:
    """Train an extractor to classify a whole data set, by its recipe in `RECIPES`.

    Returns
    -------
    tuple
        The extractor and its manifest, with the accuracy on the test split as a fraction.

    Raises
    ------
    ValueError
        If there is no recipe for the data set.
    """
    if dataset.name not in RECIPES:
        raise ValueError(f"extractors are trained on {', '.join(RECIPES)}, received {dataset.name}")
    recipe = RECIPES[dataset.name]
    start = time.perf_counter()
    seen = dataset.left_out(recipe.left_out) if recipe.left_out else dataset
    classes = int(seen.train_labels.max()) + 1
    with seeded(_SEED):
        extractor = Extractor(name_for(dataset.name), dataset.image_shape, classes)
        _fit(extractor, seen, recipe)
    extractor.eval()
    with torch.no_grad():
        scores = torch.cat([extractor(batch) for batch in dataset.test.split(1000)])
    right = scores.argmax(1) == dataset.test_labels
    manifest = records.manifest() | {
        "name": extractor.name,
        "image_shape": list(dataset.image_shape),
        "classes": classes,
        "features": FEATURES,
        "training": dataclasses.asdict(recipe) | {"seed": _SEED},
        "data": {
            "name": seen.name,
            "checksum": seen.checksum,
            "train": len(seen.train),
            "test": len(seen.test),
        },
        "test_accuracy": right.double().mean().item(),
        "seconds": round(time.perf_counter() - start, 1),
    }
    return extractor, manifest


def _fit(extractor: Extractor, dataset: datasets.Dataset, recipe: Recipe) -> None:
    """Train on the training images, with noise from the global generator."""
    optimizer = torch.optim.AdamW(
        extractor.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay
    )
    sizes = batch_sizes(len(dataset.train), recipe.batch_size)
    schedule = (
        torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.lr, total_steps=recipe.epochs * len(sizes)
        )
        if recipe.one_cycle
        else torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1)
    )
    for _ in range(recipe.epochs):
        for batch in torch.randperm(len(dataset.train)).split(sizes):
            images = dataset.train[batch]
            optimizer.zero_grad()
            scores = extractor(augmented(images) if recipe.augmented else images)
            cross_entropy(scores, dataset.train_labels[batch]).backward()
            optimizer.step()
            schedule.step()


def augmented(images: Tensor) -> Tensor:
    """Images `(N, C, H, W)`, half of them mirrored, all shifted by up to four pixels each way.

    What a shift brings in from outside is the mirror image of the border.
    """
    count, _, height, width = images.shape
    mirrored = torch.where(torch.rand(count, 1, 1, 1) < 0.5, images.flip(3), images)
    padded = pad(mirrored, [_SHIFT] * 4, mode="reflect")
    top, left = torch.randint(2 * _SHIFT + 1, (2, count, 1))
    rows, columns = top + torch.arange(height), left + torch.arange(width)
    image = torch.arange(count)[:, None, None]
    cut = padded[image, :, rows[:, :, None], columns[:, None, :]]  # channels last
    return cut.permute(0, 3, 1, 2)


def main(arguments: list[str] | None = None) -> None:
    """Train an extractor on a data set, store its weights and manifest in data/features."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("dataset", choices=RECIPES)
    options = parser.parse_args(arguments)
    extractor, manifest = train(datasets.load(options.dataset))
    weights = store(extractor, manifest)
    print(f"{weights}: test accuracy {manifest['test_accuracy']:.3f}")


if __name__ == "__main__":
    main()
