"""Spherical interpolation against its closed forms."""

import math

import pytest
import torch

from envae.metrics.interpolation import between_pairs, slerp

CODES = torch.randn(50, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def unit(codes):
    return codes / codes.norm(dim=-1, keepdim=True)


def test_ends_are_the_codes():
    torch.testing.assert_close(slerp(CODES[:20], CODES[20:40], 0.0), CODES[:20])
    torch.testing.assert_close(slerp(CODES[:20], CODES[20:40], 1.0), CODES[20:40])


def test_codes_stay_on_their_sphere_and_the_angle_is_divided():
    start, end = 3 * unit(CODES[:20]), 3 * unit(CODES[20:40])
    whole = torch.cosine_similarity(start, end, dim=-1).arccos()
    ratio = torch.linspace(0.05, 0.95, 20, dtype=torch.float64)
    between = slerp(start, end, ratio.unsqueeze(1))
    torch.testing.assert_close(between.norm(dim=-1), torch.full((20,), 3.0, dtype=torch.float64))
    part = torch.cosine_similarity(start, between, dim=-1).arccos()
    torch.testing.assert_close(part, ratio * whole)


def test_mid_point_is_the_sum_over_twice_the_cosine_of_half_the_angle():
    start, end = CODES[:20], CODES[20:40]
    angle = torch.cosine_similarity(start, end, dim=-1, eps=0).arccos().unsqueeze(1)
    expected = (start + end) / (2 * (angle / 2).cos())
    torch.testing.assert_close(slerp(start, end, 0.5), expected)


@pytest.mark.parametrize("factor", [1.0, 2.0, -2.0])
def test_parallel_codes_are_joined_by_the_straight_line(factor):
    start = CODES[:5].float()
    torch.testing.assert_close(slerp(start, factor * start, 0.25), (0.75 + 0.25 * factor) * start)


def test_nearly_parallel_codes_are_continuous():
    """Just above the angle below which the straight line is taken."""
    start, end = torch.tensor([1.0, 0.0]), torch.tensor([math.cos(2e-3), math.sin(2e-3)])
    expected = torch.tensor([math.cos(1e-3), math.sin(1e-3)])
    torch.testing.assert_close(slerp(start, end, 0.5), expected, rtol=0, atol=1e-6)


def test_pairs_are_of_different_images_and_their_ratios_are_uniform():
    axes = 2 * torch.eye(40)
    between = between_pairs(axes, torch.Generator().manual_seed(0), pairs=5000, ratio=None)
    assert between.shape == (5000, 40)
    assert ((between != 0).sum(1) == 2).all()
    torch.testing.assert_close(between.norm(dim=1), torch.full((5000,), 2.0))
    smaller, larger = between.topk(2).values.unbind(1)[::-1]
    share = torch.atan2(smaller, larger) / (math.pi / 2)  # the smaller of t and 1 - t
    assert share.mean().item() == pytest.approx(0.25, abs=0.01)
    middle = between_pairs(axes, torch.Generator().manual_seed(0), pairs=5)
    torch.testing.assert_close(middle.amax(1), torch.full((5,), 2**0.5))


def test_two_codes_have_a_middle():
    found = between_pairs(CODES[:2], torch.Generator().manual_seed(0), pairs=3)
    torch.testing.assert_close(found, slerp(*CODES[:2, None], 0.5).expand(3, -1))


@pytest.mark.parametrize(
    ("codes", "options", "message"),
    [
        (CODES[:1], {}, r"N >= 2, received shape \(1, 8\)"),
        (CODES, {"ratio": 1.5}, r"ratio in \[0, 1\] or None, received 1.5"),
        (CODES, {"ratio": "a"}, r"ratio in \[0, 1\] or None, received 'a'"),
        (CODES, {"pairs": 0}, "pairs must be an integer from 1 up"),
        (CODES, {"pairs": 1.5}, "pairs must be an integer from 1 up"),
    ],
)
def test_arguments_out_of_range_are_errors(codes, options, message):
    with pytest.raises(ValueError, match=message):
        between_pairs(codes, torch.Generator(), **options)


@pytest.mark.parametrize("ratio", [0.5, None])
def test_pairs_and_ratios_are_those_of_the_generator(ratio):
    codes = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    one, same, other = (
        between_pairs(codes, torch.Generator().manual_seed(seed), pairs=20, ratio=ratio)
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("end", "ratio"), [((3, 4), (5, 1)), ((2, 4), ()), ((3, 4), (3,)), ((3, 4), (3, 4))]
)
def test_shapes_that_do_not_fit_are_told(end, ratio):
    with pytest.raises(ValueError, match=r"must broadcast, received \(3, 4\), "):
        slerp(torch.ones(3, 4), torch.ones(end), torch.full(ratio, 0.5))


def test_codes_that_are_no_floats_are_told():
    for codes in ((CODES.byte(), CODES), (CODES, CODES.byte())):
        with pytest.raises(ValueError, match="must be a floating-point tensor, received shape"):
            slerp(*codes, 0.5)


def test_many_ratios_between_two_codes():
    found = slerp(torch.tensor([1.0, 0]), torch.tensor([0.0, 1]), torch.linspace(0, 1, 3)[:, None])
    torch.testing.assert_close(found, torch.tensor([[1, 0], [0.5**0.5, 0.5**0.5], [0, 1]]))
