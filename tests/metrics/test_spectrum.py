"""Power spectra against NumPy, Parseval's theorem, waves and noise."""

import numpy as np
import pytest
import torch

from envae.metrics import spectrum


def wave(vertical, horizontal, *, height=16, width=16):
    """cos(2 pi k p) with k in cycles per pixel, `(1, 1, H, W)`."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None, :]
    phase = 2 * torch.pi * (vertical * rows + horizontal * columns)
    return phase.cos()[None, None]


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (2, 3, 6, 10), (1, 1, 7, 5)])
def test_power_is_that_of_numpy_and_adds_up_to_the_squares(shape):
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = spectrum.power(images)
    expected = np.abs(np.fft.fft2(images.numpy())) ** 2 / (shape[-1] * shape[-2])
    np.testing.assert_allclose(found.numpy(), expected)
    torch.testing.assert_close(found.sum((-2, -1)), images.square().sum((-2, -1)))


def test_a_wave_has_its_power_in_one_ring():
    frequencies, power = spectrum.radial_power(wave(3 / 16, 4 / 16))
    ring = power.argmax()
    assert frequencies[ring] == pytest.approx(5 / 16)  # the hypotenuse
    others = torch.cat([power[:ring], power[ring + 1 :]])
    assert others.max() < 1e-6 * power[ring]


def test_white_noise_is_flat():
    noise = 2 * torch.randn(4000, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    frequencies, power = spectrum.radial_power(noise)
    torch.testing.assert_close(power, torch.full_like(power, 4.0), rtol=0.1, atol=0)
    assert frequencies[0] == 0
    assert frequencies[-1] == pytest.approx(0.5 * 2**0.5, abs=0.5 / 8)  # the corner


def test_rings_of_an_oblong_image_lie_at_distances_in_cycles_per_pixel():
    frequencies, power = spectrum.radial_power(wave(0, 4 / 20, height=10, width=20))
    assert frequencies[power.argmax()] == pytest.approx(0.2)
    assert frequencies[1] == pytest.approx(1 / 10)  # a step of the shorter side


def test_energy_above_a_frequency():
    images = torch.cat([wave(1 / 16, 0), wave(6 / 16, 0)])
    assert spectrum.energy_above(images[:1]) == pytest.approx(0, abs=1e-6)
    assert spectrum.energy_above(images[1:]) == pytest.approx(16 * 16 / 2, rel=1e-5)
    assert spectrum.energy_above(images) == pytest.approx(16 * 16 / 4, rel=1e-5)
    assert spectrum.energy_above(images, 0.0) == pytest.approx(16 * 16 / 2, rel=1e-5)
    with pytest.raises(ValueError, match=r"\(16, 16\) have no frequency from 1.0 on"):
        spectrum.energy_above(images, 1.0)


def test_channels_are_averaged_in_a_ring_and_added_up_in_an_energy():
    """Red, green and blue waves of sizes 1, 2 and 3, and an image without any."""
    colour = wave(6 / 16, 0) * torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    images = torch.cat([colour, torch.zeros_like(colour)])
    assert spectrum.energy_above(images) == pytest.approx(16 * 16 / 2 * 14 / 2, rel=1e-5)
    _, grey = spectrum.radial_power(wave(6 / 16, 0))
    torch.testing.assert_close(spectrum.radial_power(images)[1], grey * 14 / 6)


def test_frequencies_from_the_lowest_on_count():
    """A wave at half of the highest frequency, which is where `energy_above` begins."""
    assert spectrum.energy_above(wave(spectrum.HIGH, 0)) == pytest.approx(16 * 16 / 2, rel=1e-5)
    assert spectrum.HIGH == 0.25


def test_decibels_apart_are_a_root_mean_square_over_the_rings():
    images = wave(0, 0, height=8, width=8) + 0.5 * wave(0, 4 / 8, height=8, width=8)
    images = images + torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    other = images + wave(3 / 8, 0, height=8, width=8)
    _, apart = spectrum.decibels(images, other)
    assert apart.std() > 0.5
    expected = (apart.double() ** 2).mean() ** 0.5
    assert spectrum.decibels_apart(images, other) == pytest.approx(expected.item(), rel=1e-5)


def test_ten_times_the_power_is_ten_decibels_apart():
    images = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    frequencies, louder = spectrum.decibels(10**0.5 * images, images)
    torch.testing.assert_close(louder, torch.full_like(frequencies, 10.0))
    assert spectrum.decibels_apart(10**0.5 * images, images) == pytest.approx(10, rel=1e-4)
    assert spectrum.decibels_apart(images, images.flip(0)) == pytest.approx(0, abs=1e-5)
    with pytest.raises(ValueError, match=r"received \(3, 8, 8\) and \(1, 8, 8\)"):
        spectrum.decibels_apart(images, images[:, :1])
