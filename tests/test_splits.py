"""Which split a number comes from: it changes with the images of that one, and with no other's."""

import dataclasses
import fnmatch
import functools

import pytest
import torch
from common import EXTRACTOR, MEASURES

from envae import datasets, networks
from envae.experiments import kept_pictures
from envae.experiments.measures import calibration, quality
from envae.objectives import objective

DIGITS = datasets.load("digits")
DATA = dataclasses.replace(
    DIGITS,
    train=DIGITS.train[:150],
    train_labels=DIGITS.train_labels[:150],
    test=DIGITS.test[:60],
    test_labels=DIGITS.test_labels[:60],
)
OTHER = {
    "train": dataclasses.replace(DATA, train=0.3 * DIGITS.train[150:300]),
    "test": dataclasses.replace(DATA, test=0.3 * DIGITS.test[60:120]),
}
# Of samples and draws that look alike, as those of a model that is not trained: all or none.
SHARES = {"precision": "test", "recall": "", "reached": "test"}
FROM = {
    "quality": {  # samples are compared with the training images
        "fd_generated": "train", "fd_gmm10": "train", "energy_distance*": "train",
        "fd_midpoint": "train test", "fd_random_ratio": "train test",
        "nll": "train test",  # of a variance that was fitted
        "*": "test",
    },
    "quality, against test": {
        "fd_gmm10": "train test", **SHARES, "*": "test",
    },
    "quality of an energy": {"multiplier": "", "moved": "", "*": "test"},
    "collapse": {"*_test": "test", "*": "train"},
    "pictures": {"*_samples": "train", "*": "test"},
    "chapter 12": {"fd_generated": "train", "*": "test"},
    "chapter 06": {"*_train_*": "train", "*_test_*": "test"},
    "calibration": {
        # Pixels that vary among training images; the noise is estimated on them.
        "*_train": "train", "*_coverage_*_test": "train test", "*_skill_test": "train test",
        "draws_distance_rank_*": "", "*_rank_*": "train test",
        "spread": "train", "missed": "train", "dimensions_in_use": "train", **SHARES, "*": "test",
    },
    "kept pictures": {"prior": "", "gmm10": "train", "*": "test"},
}  # fmt: skip
READ = MEASURES | {
    "quality, against test": functools.partial(
        quality.measure, extractor=EXTRACTOR, against="test", samples=60, priors=("gmm10",),
        two_sample=True,
    ),
    "quality of an energy": functools.partial(quality.measure, extractor=None, samples=20),
    "calibration": functools.partial(calibration.measure, extractor=EXTRACTOR, images=60, steps=16),
    "kept pictures": kept_pictures.draw,
}  # fmt: skip


@pytest.mark.parametrize("name", FROM)
def test_numbers_come_from_the_split_that_they_are_said_to_come_from(name):
    loss = objective("ec_vae" if "energy" in name else "iso_i")
    vae = networks.build("mlp64", (1, 8, 8), 4, objective=loss, seed=0)
    loss.prepare((1, 8, 8))
    loss.eval()
    here, *there = (READ[name](vae, loss, data, 0) for data in (DATA, *OTHER.values()))
    found, expected = {}, {}
    for of in here:
        pattern = next(pattern for pattern in FROM[name] if fnmatch.fnmatchcase(of, pattern))
        changed = {
            split
            for split, values in zip(OTHER, there, strict=True)
            if not torch.equal(torch.as_tensor(values[of][0]), torch.as_tensor(here[of][0]))
        }
        # Of few images, one share alone may be the same by chance.
        what = pattern if "rank" in of or "coverage" in of else of
        found.setdefault(what, set()).update(changed)
        expected[what] = set(FROM[name][pattern].split())
    assert found == expected
