"""Noise patterns, against counts and moments that are known."""

import pytest
import torch

from envae import datasets
from envae.datasets import noise


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def test_unknown_pattern_lists_the_known_ones():
    known = "uniform, spatial, conditional, spatial-conditional"
    with pytest.raises(ValueError, match=rf"unknown noise pattern 'checkerboard' \(known: {known}"):
        noise.mask("checkerboard", torch.arange(10), (1, 8, 8))


def test_unknown_law_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown noise law 'gauss', did you mean 'gaussian'\?"):
        noise.draw((1, 1, 8, 8), 0.1, law="gauss", generator=torch.Generator())


@pytest.mark.parametrize("variance", [-0.1, float("nan"), float("inf")])
def test_variance_out_of_range_is_an_error(digits, variance):
    with pytest.raises(ValueError, match="the variance of the noise must be from 0 up"):
        noise.noisy(digits, "uniform", variance)


@pytest.mark.parametrize("mask", [torch.ones(8, 8), torch.ones(4, 4, dtype=torch.bool)])
def test_a_mask_that_is_not_boolean_or_does_not_fit_is_an_error(digits, mask):
    with pytest.raises(ValueError, match=r"a mask must be boolean, of shape \(8, 8\) or"):
        noise.noisy(digits, mask, 0.1)


@pytest.mark.parametrize("image_shape", [(1, 8, 8), (3, 5, 7), (1, 28, 28)])
def test_partitions_cover_every_pixel_once(image_shape):
    parts = noise.partitions(torch.arange(10), image_shape)
    assert list(parts) == ["SU", "SL", "BU", "BL"]
    assert (torch.stack(list(parts.values())).sum(0) == 1).all()
    channels, height, width = image_shape
    assert parts["SU"].sum() == 5 * channels * (height // 2) * width
    assert parts["BL"].sum() == 5 * channels * (height - height // 2) * width
    assert parts["SU"][4, :, 0].all()
    assert not parts["SU"][5].any()


@pytest.mark.parametrize(
    ("pattern", "share"),
    [("uniform", 1.0), ("spatial", 0.5), ("conditional", 0.5), ("spatial-conditional", 0.25)],
)
def test_patterns_cover_the_share_of_the_pixels_that_the_paper_says(pattern, share):
    assert noise.mask(pattern, torch.arange(10), (1, 28, 28)).float().mean() == share


@pytest.mark.parametrize("law", ["gaussian", "laplace", "correlated", "shared"])
def test_every_law_has_the_variance_asked_for_at_every_pixel(law):
    generator = torch.Generator().manual_seed(0)
    drawn = noise.draw((40_000, 1, 4, 4), 0.3, law=law, generator=generator)
    assert drawn.shape == (40_000, 1, 4, 4)
    assert drawn.mean(0).abs().max() < 0.02
    assert torch.allclose(drawn.var(0), torch.tensor(0.3), rtol=0.06)


@pytest.mark.parametrize("law", ["gaussian", "laplace", "correlated", "shared"])
def test_every_law_draws_from_the_generator_alone(law):
    drawn = [
        noise.draw((5, 2, 4, 4), 0.3, law=law, generator=torch.Generator().manual_seed(seed))
        for seed in (3, 3, 4)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_laws_differ_where_they_should():
    generator = torch.Generator().manual_seed(0)
    drawn = {
        law: noise.draw((40_000, 1, 4, 4), 1, law=law, generator=generator)
        for law in ("gaussian", "laplace", "correlated", "shared")
    }
    fourth = {law: of_law[:, 0, 0, 0].pow(4).mean().item() for law, of_law in drawn.items()}
    beside = {
        law: (of_law[:, 0, 1, 1] * of_law[:, 0, 1, 2]).mean().item()
        for law, of_law in drawn.items()
    }
    assert fourth["gaussian"] == pytest.approx(3, rel=0.1)
    assert fourth["laplace"] == pytest.approx(6, rel=0.1)
    # Two overlapping 3 x 3 windows share 6 of their 9 draws.
    expected = {"gaussian": 0, "laplace": 0, "correlated": 6 / 9, "shared": 1}
    assert beside == pytest.approx(expected, abs=0.03)


def test_noise_falls_where_the_mask_says_and_nowhere_else(digits):
    added = noise.noisy(digits, "spatial-conditional", 0.1, seed=1)
    for split in ("train", "test"):
        difference = getattr(added, split) - getattr(digits, split)
        labels = getattr(digits, f"{split}_labels")
        parts = noise.partitions(labels, digits.image_shape)
        assert difference[parts["SU"]].var() == pytest.approx(0.1, rel=0.05)
        for clean in ("SL", "BU", "BL"):
            assert (difference[parts[clean]] == 0).all()


def test_noise_is_fixed_by_its_seed_and_told_by_the_name(digits):
    first, same, other = (noise.noisy(digits, "spatial", 0.1, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.train, same.train)
    assert not torch.equal(first.train, other.train)
    assert first.name == "digits+spatial-gaussian-0.1-1"
    assert other.name != first.name
    assert first.checksum != digits.checksum


def test_a_mask_of_ones_own_is_accepted_at_any_image_size(digits):
    larger = torch.nn.functional.interpolate(digits.train[:20], size=(11, 9))
    data = datasets.Dataset("x", larger, torch.zeros(20), larger, torch.zeros(20), "here")
    checkerboard = (torch.arange(11)[:, None] + torch.arange(9)) % 2 == 0
    added = noise.noisy(data, checkerboard, 0.037)
    difference = added.train - data.train
    assert (difference[..., ~checkerboard] == 0).all()
    assert (difference[..., checkerboard] != 0).all()
    assert added.name.startswith("x+mask-")
    assert added.name != noise.noisy(data, ~checkerboard, 0.037).name


@pytest.mark.parametrize("law", noise._LAWS)
def test_every_law_has_the_shape_of_images_that_are_not_square(law):
    drawn = noise.draw((3, 2, 5, 9), 0.1, law=law, generator=torch.Generator().manual_seed(0))
    assert drawn.shape == (3, 2, 5, 9)
