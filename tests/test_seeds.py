"""A run's seed is the only source of all that is drawn to measure it; and what search has, others.

What a seed does in training is told by tests/test_training.py and tests/experiments/test_runs.py.
"""

import functools

import common
import pytest
import torch

from envae import datasets, networks
from envae.experiments import kept_pictures
from envae.experiments.measures import calibration, quality
from envae.objectives import objective

DIGITS = datasets.load("digits").subset(150)
MEASURES = common.MEASURES | {
    "calibration": functools.partial(calibration.measure, extractor=None, images=40, steps=16),
}
# What is measured without a draw, whatever the seed.
FIXED = {
    "kl", "kl_test", "squared_error", "squared_error_mean", "fd_reconstructed", "els", "code_norm2",
    "posterior_variance", "posterior_share", "mean_variance", "lipschitz_encoder",
    "lipschitz_decoder", "sharpness_means", "high_means", "decibels_means", "residual_low_means",
    "residual_high_means",
}  # fmt: skip


@functools.cache
def built():
    loss = objective("diag_i")
    return networks.build("mlp", (1, 8, 8), 4, objective=loss, seed=0).eval(), loss


@pytest.mark.parametrize("name", MEASURES)
def test_all_that_a_measure_draws_comes_from_its_seed(name):
    found = []
    for state, seed in ((0, 1), (1, 1), (0, 2)):
        torch.manual_seed(state)
        found.append(MEASURES[name](*built(), DIGITS, seed))
    first, again, other = found
    assert first == again
    alike = {key for key in first if first[key] == other[key]}
    if name == "calibration":  # ranks of few images may agree by chance
        assert len(alike) < len(first) / 2
    else:
        drawn = {"squared_error"} if name == "collapse" else set()  # which has both
        assert alike == (FIXED - drawn) & set(first)


def test_priors_are_fitted_and_likelihoods_estimated_from_the_seed(monkeypatch):
    seeds = []

    def keeping(call):
        return lambda *given, seed, **named: seeds.append(seed) or call(*given, seed=seed, **named)

    vae, loss = built()
    monkeypatch.setitem(quality.PRIORS, "gmm10", keeping(quality.PRIORS["gmm10"]))
    monkeypatch.setattr(
        quality, "negative_log_likelihood", keeping(quality.negative_log_likelihood)
    )
    monkeypatch.setattr(loss, "density", keeping(loss.density), raising=False)
    MEASURES["quality"](vae, loss, DIGITS, 7)
    assert set(seeds) == {7}
    assert len(seeds) >= 3


def test_pictures_that_are_kept_are_drawn_from_the_seed():
    first, other = (kept_pictures.draw(*built(), DIGITS, seed) for seed in (1, 2))
    alike = {kind for kind in first if torch.equal(first[kind], other[kind])}
    assert alike == {"test", "means", "walk"}
    again = kept_pictures.draw(*built(), DIGITS, 1)
    assert all(torch.equal(first[kind], again[kind]) for kind in first)
    assert not torch.equal(first["draws"][0], first["draws"][1])
