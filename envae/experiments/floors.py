"""What images drawn anew have in the tables of distances, recorded: data may not be at hand."""

import pandas as pd

from envae.datasets import Dataset
from envae.experiments import records
from envae.metrics import frechet

EXPERIMENT = "fd_floor"


def record(dataset: Dataset, extractor: frechet.HasFeatures, counts: list[int]) -> None:
    """Record `metrics.frechet.floor` of each split, for each number of samples.

    Beside it, for the test split, what a model has that gives the training images back.
    """
    unit = frechet.unit(extractor)
    for split in ("train", "test"):
        images = getattr(dataset, split)
        for count in counts:
            about: dict[str, object] = {
                "dataset": dataset.name,
                "extractor": extractor.name,
                "against": split,
            }
            metrics = {"floor": (frechet.floor(extractor, images, count), unit)}
            if split == "test":
                given_back = frechet.fd(extractor, dataset.train, images)
                metrics["training_images"] = (given_back, unit)
            records.save_values(
                EXPERIMENT, about | {"count": count}, metrics, data_checksum=dataset.checksum
            )


def table() -> pd.DataFrame:
    """The recorded floors: `floor` and `training_images` by data set, split and count."""
    found = records.load(EXPERIMENT).set_index(["dataset", "against", "count"])
    return found.reindex(columns=["floor", "training_images"]).sort_index()
