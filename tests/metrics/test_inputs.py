"""What no measure takes: bytes, arrays of NumPy, values that are not numbers, no images."""

import numpy as np
import pytest
import torch

from envae import evaluation, networks, scores
from envae.metrics import (
    calibration,
    codes,
    extractor,
    frechet,
    inception,
    interpolation,
    smoothness,
    spectrum,
    two_sample,
)

IMAGES = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
NETWORK, _ = extractor.load("digits-cnn")
GENERATOR = torch.Generator()


def flat(images):
    return images.reshape(len(images), -1)


# Each gives a number for images; these are the ways in which a value enters.
MEASURES = {
    "fd": lambda bad: frechet.fd(NETWORK, bad, IMAGES),
    "fd, reference": lambda bad: frechet.fd(NETWORK, IMAGES, bad),
    "frechet_distance": lambda bad: frechet.frechet_distance(flat(bad), flat(IMAGES)),
    "inception_score": lambda bad: inception.inception_score(flat(bad)),
    "energy_distance": lambda bad: two_sample.energy_distance(bad, IMAGES),
    "energy_distance, other": lambda bad: two_sample.energy_distance(IMAGES, bad),
    "precision_recall": lambda bad: two_sample.precision_recall(flat(bad), flat(IMAGES)),
    "reached": lambda bad: two_sample.reached(flat(IMAGES), flat(bad)),
    "power": spectrum.power,
    "energy_above": spectrum.energy_above,
    "decibels_apart": lambda bad: spectrum.decibels_apart(IMAGES, bad),
    "ranks": lambda bad: calibration.ranks(bad[None], IMAGES, GENERATOR),
    "ranks, observed": lambda bad: calibration.ranks(IMAGES[None], bad, GENERATOR),
    "spread_skill": lambda bad: calibration.spread_skill(bad.reshape(2, -1, 64), flat(IMAGES[:20])),
    "class_agreement": lambda bad: codes.class_agreement(flat(bad), torch.arange(40)),
    "in_plane": lambda bad: codes.in_plane(flat(IMAGES), flat(bad)),
    "between_pairs": lambda bad: interpolation.between_pairs(flat(bad), GENERATOR),
    "expected_gap": lambda bad: smoothness.expected_gap(torch.sin, flat(bad), 1.0),
    "lipschitz_from_pairs": lambda bad: smoothness.lipschitz_from_pairs(torch.sin, flat(bad)),
    "jacobians": lambda bad: smoothness.jacobians(torch.sin, flat(bad)),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_no_measure_takes_bytes_or_arrays(measure):
    with pytest.raises(ValueError, match=r"floating-point tensor.* of 8-bit images take x / 255"):
        measure((255 * IMAGES).byte())
    with pytest.raises(ValueError, match=r"received numpy\.ndarray: take torch\.as_tensor"):
        measure(np.asarray(IMAGES))


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_what_is_not_a_number_is_no_measurement(measure):
    bad = IMAGES.clone()
    bad[3, 0, 2, 2] = torch.nan
    with pytest.raises(ValueError, match=r"finite|probabilities"):
        measure(bad)


def test_no_images_are_one_error():
    with pytest.raises(ValueError, match="received none"):
        spectrum.power(IMAGES[:0])
    with pytest.raises(ValueError, match=r"received shape \(4, 0, 1, 8, 8\)"):
        scores.energy_score(torch.rand(4, 0, 1, 8, 8), IMAGES[:0])


def test_bytes_are_not_encoded():
    with pytest.raises(ValueError, match="of 8-bit images take x / 255"):
        evaluation.encode(networks.build("mlp", (1, 8, 8), 2, seed=0), (255 * IMAGES).byte())
