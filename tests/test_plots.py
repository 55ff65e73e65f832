"""Figures: what they show, and that a dark page does not shine through."""

import matplotlib
import numpy as np
import pytest
import torch

from envae import plots

matplotlib.use("agg")


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_of_images_show_the_first_ones_side_by_side(channels):
    images = torch.rand(5, channels, 4, 6)
    images[0, :, 0, 0] = 2.0  # out of range: clipped
    figure = plots.image_rows({"data": images, "again": images[:2]}, columns=3)
    first, second = figure.axes
    shown = first.images[0].get_array()
    assert shown.shape[:2] == (4, 3 * 6 + 2)  # two gaps of one pixel
    assert second.images[0].get_array().shape[1] == 2 * 6 + 1
    assert shown.max() == 1
    expected = images[1].permute(1, 2, 0).squeeze(-1).numpy()
    np.testing.assert_allclose(shown[:, 7:13], expected)
    assert [axis.get_ylabel() for axis in figure.axes] == ["data", "again"]


def test_figures_are_opaque():
    with matplotlib.rc_context():
        plots.use_style()
        assert matplotlib.rcParams["savefig.facecolor"] == "white"
