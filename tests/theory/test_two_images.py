"""The small exact models against closed forms and Monte Carlo means."""

import math

import pytest
import torch

from envae.theory import two_images


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_information_of_tables():
    copied = torch.eye(4, dtype=torch.float64) / 4
    rows, columns = normal(5).softmax(0), normal(3, seed=1).softmax(0)
    apart = torch.outer(rows, columns)
    assert two_images.table_information(copied).item() == pytest.approx(math.log(4))
    assert two_images.table_information(apart).item() == pytest.approx(0, abs=1e-12)
    batch = two_images.table_information(torch.stack([copied, copied.flip(0)]))
    assert batch.tolist() == pytest.approx([math.log(4)] * 2)


def test_two_images_against_draws():
    signal = torch.tensor([0.0, 0.5, 1.0, 2.0], dtype=torch.float64)
    error, information = two_images.two_images(signal)
    z = signal + normal(200_000, 4)  # codes of the image 1, in units of their spread
    answer = torch.tanh(signal * z)
    torch.testing.assert_close(error, (1 - answer).square().mean(0), rtol=0, atol=0.01)
    right = (1 + answer) / 2
    entropy = -(torch.special.xlogy(right, right) + torch.special.xlogy(1 - right, 1 - right))
    torch.testing.assert_close(information, math.log(2) - entropy.mean(0), rtol=0, atol=0.01)
    assert (error[0].item(), information[0].item()) == pytest.approx((1, 0), abs=1e-12)


def test_two_images_told_apart_have_no_error_and_one_bit():
    error, information = two_images.two_images(torch.tensor([8.0], dtype=torch.float64))
    assert 0 < error.item() < 1e-13
    assert information.item() == pytest.approx(math.log(2))


def test_transport_map_carries_the_first_covariance_to_the_second():
    roots = normal(2, 4, 6)
    first, second = roots @ roots.mT
    map_ = two_images.transport_map(first, second)
    torch.testing.assert_close(map_ @ first @ map_.mT, second)
    torch.testing.assert_close(map_, map_.mT)
    diagonal = two_images.transport_map(torch.diag(torch.tensor([1.0, 4.0])), torch.eye(2))
    torch.testing.assert_close(diagonal, torch.diag(torch.tensor([1.0, 0.5])))
