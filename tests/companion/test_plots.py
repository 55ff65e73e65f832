"""Figures: what they show, and that a dark page does not shine through."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from envae.companion import plots
from envae.experiments import paper_rows

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


def test_table_of_images_has_titled_groups_and_leaves_gaps():
    images = torch.rand(4, 1, 3, 3)
    figure = plots.image_table(
        {"data": {"first": images, "second": images[1:]}, "model": {"second": images}}, columns=2
    )
    shown = [len(axis.images) for axis in figure.axes]
    assert shown == [1, 1, 0, 1]
    assert [axis.get_title() for axis in figure.axes] == ["first", "second", "", ""]
    assert [axis.get_ylabel() for axis in figure.axes] == ["data", "", "model", ""]
    strip = figure.axes[1].images[0].get_array()
    np.testing.assert_allclose(strip[:, :3], images[1, 0].numpy())
    assert strip.shape == (3, 7)


@pytest.mark.parametrize("rows", [2, 6])
def test_groups_of_images_do_not_overlap_and_labels_are_whole(rows):
    groups = dict.fromkeys(["first", "second"], torch.rand(6, 1, 8, 8))
    with matplotlib.rc_context():
        plots.use_style()
        figure = plots.image_table(
            {f"row {i}, a long name": groups for i in range(rows)}, columns=6
        )
        figure.canvas.draw()
    for first, second in np.reshape(figure.axes, (rows, 2)):
        left, right = first.get_window_extent(), second.get_window_extent()
        assert right.x0 - left.x1 > 0.05 * figure.dpi
        assert first.yaxis.label.get_window_extent().x0 >= 0
    plt.close(figure)


def test_fewer_images_stand_below_the_first_ones_of_other_rows():
    images = torch.rand(4, 1, 3, 3)
    figure = plots.image_rows({"four": images, "one": images[:1]}, columns=4)
    figure.canvas.draw()
    first, second = (axis.get_window_extent() for axis in figure.axes)
    assert (second.x0, second.width) == pytest.approx((first.x0, first.width), abs=1)
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim() == (-0.5, 14.5)
    assert figure.axes[1].images[0].get_extent()[:2] == [-0.5, 2.5]
    plt.close(figure)


def test_kept_pictures_stand_under_the_test_images():
    test, decoded = torch.rand(2, 6, 1, 3, 3)
    drawn = {"test": test, "means": decoded, "draws": decoded[None] / 2, "prior": decoded / 4}
    mean_alone = {"test": test, "means": decoded, "prior": decoded}
    figure = plots.kept_table({"VAE": drawn, "AE": mean_alone}, columns=2)
    assert [axis.get_title() for axis in figure.axes[:3]] == ["means", "draws", "samples"]
    shown = [[axis.images[0].get_array()[:, :3] if axis.images else None for axis in row]
             for row in np.reshape(figure.axes, (3, 3))]  # fmt: skip
    for found, image in zip(shown[0], (test[0], test[0], test[4]), strict=True):
        np.testing.assert_allclose(found, image[0])
    for found, image in zip(shown[1], (decoded[0], decoded[0] / 2, decoded[0] / 4), strict=True):
        np.testing.assert_allclose(found, image[0])
    assert shown[2][1] is None


def test_maps_share_their_colours_and_lie_under_their_images():
    images = torch.rand(3, 1, 4, 4)
    maps = {"small": 0.1 * images, "large": 5 * images}
    figure = plots.heat_rows(images, maps, label="spread", columns=2)
    *rows, bar = figure.axes
    assert [axis.get_ylabel() for axis in rows] == ["image", "small", "large"]
    assert bar.get_ylabel() == "spread"
    for axis in rows[1:]:
        assert axis.images[0].get_clim() == (0, pytest.approx(5 * images[:2].max().item()))
    shown = rows[2].images[0].get_array()
    np.testing.assert_allclose(shown[:, :4], 5 * images[0, 0].numpy())
    assert np.ma.getmaskarray(shown)[:, 4].all()  # the gap has no colour
    figure.canvas.draw()
    assert len({round(axis.get_position().x0, 4) for axis in rows}) == 1


def test_rows_stand_in_the_published_order_with_their_values_as_points():
    theirs = pd.Series({"good": 10.0, "bad": 99.0, "not reported": np.nan, "fair": 20.0})
    figure, axis = plt.subplots()
    plots.in_published_order(axis, theirs, {"good": [3.0, 4.0], "bad": [1.0]})
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == ["bad  (99.0)", "fair  (20.0)", "good  (10.0)"]
    points = [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines]
    assert points == [([1.0], [0]), ([], []), ([3.0, 4.0], [2, 2])]
    assert axis.get_xscale() == "log"
    plt.close(figure)


def test_distances_of_rows_have_plain_ticks_at_1_2_and_5_and_every_row_has_room():
    figure, axis = plt.subplots()
    plots.in_published_order(axis, pd.Series({"good": 10.0, "bad": 99.0}), {"good": [3.0, 90.0]})
    axis.set_xlim(2, 100)
    figure.canvas.draw()
    shown = [(tick.get_loc(), tick.label1.get_text()) for tick in axis.xaxis.get_major_ticks()]
    assert [text for at, text in shown if 2 <= at <= 100] == ["2", "5", "10", "20", "50", "100"]
    assert list(axis.get_xticks(minor=True)) == []
    low, high = axis.get_ylim()
    assert -1 < low < 0
    assert 1 < high < 2
    plt.close(figure)


@pytest.mark.parametrize(
    ("draw", "columns"),
    [
        (lambda images: plots.image_rows({"a": images}), 10),
        (lambda images: plots.image_table({"a": {"b": images}}), 5),
        (lambda images: plots.kept_table({"a": {"test": images, "means": images,
                                                "prior": images}}), 5),
        (lambda images: plots.heat_rows(images, {"a": images}, label="b"), 10),
    ],
)  # fmt: skip
def test_images_stand_on_grey_between_black_and_white_and_have_no_frame(draw, columns):
    """As many as a page has room for."""
    images = torch.rand(12, 1, 2, 3)
    figure = draw(images)
    strip = figure.axes[0].images[0]
    assert strip.get_array().shape == (2, 4 * columns - 1)
    assert (strip.get_array()[:, 3] == np.float32(0.85)).all()
    assert (strip.get_clim(), strip.get_cmap().name) == ((0, 1), "gray")
    for axis in (axis for axis in figure.axes if axis.images):
        assert not any(spine.get_visible() for spine in axis.spines.values())
        assert (list(axis.get_xticks()), list(axis.get_yticks())) == ([], [])
    plt.close(figure)


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (0.3, 3, ["0.3", "0.5", "0.7", "1", "1.5", "2", "3"]),
        (1, 100, ["1", "2", "5", "10", "20", "50", "100"]),
        (0.003, 1, ["0.003", "0.01", "0.03", "0.1", "0.3", "1"]),
        (0.01, 1000, ["0.01", "0.1", "1", "10", "100", "1000"]),
        (20, 2, ["20", "15", "10", "7", "5", "3", "2"]),
    ],
)
def test_ticks_are_round_and_there_are_seven_at_most(low, high, shown):
    figure, axis = plt.subplots()
    axis.set(xscale="log", xlim=(low, high))
    plots.plain_ticks(axis.xaxis)
    figure.canvas.draw()
    inside = [tick for tick in axis.xaxis.get_major_ticks()
              if min(low, high) * 0.999 <= tick.get_loc() <= 1.001 * max(low, high)]  # fmt: skip
    assert {tick.label1.get_text() for tick in inside} == set(shown)
    assert list(axis.get_xticks(minor=True)) == []
    plt.close(figure)


def test_a_logarithmic_axis_has_the_ticks_that_were_asked_for_and_no_others():
    figure, axis = plt.subplots()
    axis.plot([0.5, 40.0], [1, 2])
    axis.set(xscale="log")
    plots.label_ticks(axis.xaxis, iter([0.5, 2, 20]))
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0.5", "2", "20"]
    assert list(axis.get_xticks()) == [0.5, 2, 20]
    assert list(axis.get_xticks(minor=True)) == []
    plt.close(figure)


def test_figures_are_opaque():
    with matplotlib.rc_context():
        plots.use_style()
        assert matplotlib.rcParams["savefig.facecolor"] == "white"


def test_a_method_has_one_colour_and_its_variants_have_it_too():
    assert plots.colour_of("Iso-I, mle") == plots.colour_of("Iso-I")
    assert plots.colour_of("EnVAE, M = 10, cyclic") == plots.colour_of("EnVAE")
    apart = ["L2", "EnVAE", "EnVAE, M = 2", "EnVAE, M = 4, mirrored", "FEnVAE", "Iso-I", "Diag-D"]
    assert len({plots.colour_of(row) for row in apart}) == len(apart)
    assert all(plots.colour_of(row) for row in paper_rows.ROWS)
    with pytest.raises(ValueError, match="EnVAE"):
        plots.colour_of("ENVAE")
