"""Figures of chapters: which numbers they draw, where, and under which name."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex, to_rgba_array
from matplotlib.patches import StepPatch

from envae.companion.chapters import (
    calibration,
    energy_based_models,
    fenvae_examined,
    fenvae_warm_start,
    linear_vae_smoothness,
    noisy_mnist_variance,
    pictures,
)
from envae.companion.plots import _COLOURS, colour_of
from envae.theory import linear
from envae.vae import gaussian

MODELS = ("FEnVAE", "EnVAE, M = 2")


def numbered(axis):
    """Whether numbers stand at an axis, none of them a category."""
    shown = [label for label in axis.get_ticklabels() if label.get_visible()]
    texts = [label.get_text().replace("\N{MINUS SIGN}", "-").strip("$") for label in shown]
    return bool(texts) and not any(text[:1].isalpha() for text in texts)


def without_a_label(figure):
    """Axes of numbers whose quantity nobody names; a panel's title may name what is upwards.

    A plane, a picture of points by their coordinates, has a title alone.
    """
    for panel in figure.axes:
        named_x = bool(panel.get_xlabel() or figure.get_supxlabel())
        named_y = bool(panel.get_ylabel() or figure.get_supylabel())
        plane = panel.get_title() and not named_x and not named_y
        if panel.axison and not plane:
            if numbered(panel.xaxis) and not named_x:
                yield f"x of panel {panel.get_title()!r}"
            if numbered(panel.yaxis) and not named_y and not panel.get_title():
                yield f"y of panel {panel.get_title()!r}"


def of_a_rows_colour(figure):
    """References, drawn all across a panel or up it, in a colour of a row or of what is there."""
    kept = {to_hex(name) for name in (*_COLOURS.values(), *(f"C{n}" for n in range(10)))}
    for panel in figure.axes:
        drawn = [line for line in panel.lines if line.get_transform() == panel.transData]
        taken = kept | {colour(line) for line in drawn}
        for line in panel.lines:
            if line not in drawn and colour(line) in taken:
                yield f"{colour(line)} in panel {panel.get_title()!r}"


def on_a_scale_of_its_own(figure):
    """Panels beside one that names what is upwards, which do not and have another scale."""
    placed = [panel for panel in figure.axes if panel.get_subplotspec() is not None]
    for panel in placed:
        row = panel.get_subplotspec().rowspan
        named = [one for one in placed
                 if one.get_ylabel() and one.get_subplotspec().rowspan == row]  # fmt: skip
        drawn = panel.axison and (panel.lines or panel.collections)
        shared = any(panel.get_shared_y_axes().joined(panel, one) for one in named)
        if drawn and named and not panel.get_ylabel() and not shared:
            yield f"panel {panel.get_title()!r}"


@pytest.fixture(autouse=True)
def _labelled_and_closed():
    yield
    figures = [plt.figure(number) for number in plt.get_fignums()]
    nameless = [each for figure in figures for each in without_a_label(figure)]
    apart = [each for figure in figures for each in on_a_scale_of_its_own(figure)]
    mistaken = [each for figure in figures for each in of_a_rows_colour(figure)]
    plt.close("all")
    assert nameless == []
    assert apart == []
    assert mistaken == []


def lines(axis):
    """Points of every line, in the order in which they were drawn; a level has none."""
    return [
        [(round(float(x), 6), round(float(y), 6)) for x, y in zip(*line.get_data(), strict=True)]
        for line in axis.lines
        if not (len(line.get_xdata()) == 2 and list(line.get_xdata()) == [0, 1])
    ]


def levels(axis):
    """Heights of the lines all across an axis."""
    across = [line for line in axis.lines if list(line.get_xdata()) == [0, 1]]
    return [line.get_ydata()[0] for line in across]


def named(axis):
    """Names in the legend that an axis shows, else its figure, and what stands beside each."""
    box = axis.get_legend() or axis.figure.legends[0]
    names = [text.get_text() for text in box.get_texts()]
    assert len(set(names)) == len(names)
    return dict(zip(names, box.legend_handles, strict=True))


def colour(drawn):
    """Of a line, or of the edge of anything else."""
    of = drawn.get_color if hasattr(drawn, "get_color") else drawn.get_edgecolor
    return to_hex(to_rgba_array(of())[0])


def colours(axis):
    """Names in that legend, and their colours."""
    return {name: colour(handle) for name, handle in named(axis).items()}


def of_rows(rows):
    return {row: to_hex(colour_of(row)) for row in rows}


def points(xs, ys):
    return [(round(float(x), 6), round(float(y), 6)) for x, y in zip(xs, ys, strict=True)]


def ticks(axis):
    """Numbers at the ticks that an axis shows, as they are written: none is a power of ten."""
    low, high = sorted(axis.get_view_interval())
    at = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
    return [float(label.get_text()) for place, label in at if low <= place <= high]


def by(names, *values):
    return pd.MultiIndex.from_product(values, names=names)


# --- 06 ---------------------------------------------------------------------------------------


def test_deviations_stand_in_their_rows_and_panels():
    cells = pd.DataFrame(
        [("Iso-I", 0.1, "noisy", 0.5, 0.1), ("Iso-I", 0.1, "noisy", -0.25, 0.05),
         ("Diag-I", 0.1, "clean", 0.1, 0.02), ("Diag-I", 0.2, "noisy", 0.3, 0.03)],
        columns=["row", "s2", "kind", "deviation", "half"],
    )  # fmt: skip
    figure = noisy_mnist_variance.deviations(cells, [0.2, 0.1], tolerance=0.07)
    second, first = figure.axes
    assert [axis.get_title() for axis in (second, first)] == ["$s_x^2$ = 0.2", "$s_x^2$ = 0.1"]
    noisy, clean = first.containers
    assert (noisy.get_label(), clean.get_label()) == ("noisy", "clean")
    assert noisy.lines[0].get_ydata().tolist() == [50, -25]
    assert clean.lines[0].get_ydata().tolist() == [10]
    bars = [segment[:, 1].tolist() for segment in noisy.lines[2][0].get_segments()]
    np.testing.assert_allclose(bars, [[40, 60], [-30, -20]])
    places = np.asarray(noisy.lines[0].get_xdata(), float)
    assert places.round().tolist() == [0, 0]
    assert places[0] < places[1]  # side by side
    assert places.mean() < 0
    assert 1 < clean.lines[0].get_xdata()[0] < 1.3
    assert second.containers[0].lines[0].get_ydata().tolist() == [30]
    assert [text.get_text() for text in first.get_xticklabels()] == ["Iso-I", "Diag-I"]
    for axis in (first, second):
        band = axis.patches[0].get_extents().transformed(axis.transData.inverted())
        assert (band.y0, band.y1) == pytest.approx((-7, 7))
        kinds = [colour(kind.lines[0]) for kind in axis.containers]
        assert len({*kinds, to_hex(axis.patches[0].get_facecolor())}) == 3
    assert colours(first) == dict(zip(("noisy", "clean"), kinds, strict=True))


def test_one_level_of_noise_has_a_panel():
    cells = pd.DataFrame(
        [("Iso-I", 0.1, "noisy", 0.5, 0.1)], columns=["row", "s2", "kind", "deviation", "half"]
    )
    [axis] = noisy_mnist_variance.deviations(cells, [0.1], tolerance=0.07).axes
    assert axis.containers[0].lines[0].get_ydata().tolist() == [50]


def test_maps_are_means_of_two_groups_with_a_gap_between():
    maps = {
        pattern: {title: torch.rand(4, 1, 3, 2) for title in ("Iso-I", "Diag-I")}
        for pattern in ("one-side", "ring")
    }
    small = torch.tensor([True, False, False, True])
    figure = noisy_mnist_variance.pattern_maps(maps, small, highest=0.4)
    *axes, bar = figure.axes
    assert [axis.get_title() for axis in axes] == ["Iso-I", "Diag-I", "", ""]
    assert [axis.get_ylabel() for axis in axes] == ["one-\nside", "", "ring", ""]
    assert bar.get_ylabel() == "variance"
    for axis, values in zip(axes, [m for of in maps.values() for m in of.values()], strict=True):
        shown = np.ma.filled(axis.images[0].get_array(), np.nan)
        np.testing.assert_allclose(shown[:, :2], values[[0, 3], 0].mean(0).numpy(), rtol=1e-6)
        np.testing.assert_allclose(shown[:, 3:], values[[1, 2], 0].mean(0).numpy(), rtol=1e-6)
        assert np.isnan(shown[:, 2]).all()
        assert axis.images[0].get_clim() == (0, 0.4)


def test_single_images_stand_beside_their_own_maps():
    images, iso, diag = torch.rand(3, 5, 2, 4, 4)
    figure = noisy_mnist_variance.single_images(
        images, {"Iso-D": iso, "Diag-D": diag}, [3, 1], highest=0.3
    )
    rows = np.reshape(figure.axes, (2, 3))
    assert [axis.get_title() for axis in rows[0]] == ["noisy image", "Iso-D", "Diag-D"]
    for row, index in zip(rows, (3, 1), strict=True):
        for axis, values, end in zip(row, (images, iso, diag), (1, 0.3, 0.3), strict=True):
            shown = axis.images[0].get_array()
            np.testing.assert_allclose(shown, values[index].mean(0).numpy())
            assert axis.images[0].get_clim() == (0, end)
        assert [axis.images[0].get_cmap().name for axis in row] == ["gray", "viridis", "viridis"]


# --- 05 ---------------------------------------------------------------------------------------

POINTS = [-1.0, 0.0, 1.0]


def sweep(*columns):
    """Three points from two seeds, every number another."""
    index = by(["point", "seed"], POINTS, [1, 2])
    values = np.random.default_rng(0).uniform(0.1, 1, (len(index), len(columns)))
    return pd.DataFrame(values, index, list(columns))


def test_table_one_draws_each_source_in_its_panel():
    told = {"sigma_z2": "posterior_variance", "ELS": "els", "MI": "mi_image_high"}
    told = {name: linear_vae_smoothness.COLUMNS[name] for name in told}
    computed = {
        kind: sweep(*told.values(), "mi_code_low") * factor
        for kind, factor in (("stochastic", 1), ("deterministic", 3))
    }
    published = {
        kind: pd.DataFrame({name: np.arange(3.0) + 5 * place for place, name in enumerate(told)},
                           POINTS) + factor
        for kind, factor in (("stochastic", 100), ("deterministic", 200))
    }  # fmt: skip
    recorded = pd.DataFrame(
        {name: [7.0, 6.0, 8.0] for name in told.values()},
        pd.MultiIndex.from_tuples([(0.0, 1), (0.0, 2), (0.5, 1)], names=["point", "seed"]),
    )
    figure = linear_vae_smoothness.table_one(published, recorded, computed)
    for axis, (name, ours) in zip(figure.axes, told.items(), strict=True):
        kinds = ("stochastic", "deterministic") if name == "ELS" else ("stochastic",)
        expected = []
        for kind in kinds:
            expected.append(points(POINTS, computed[kind][ours].groupby("point").mean()))
            expected.append(points(POINTS, published[kind][name]))
        expected.append([(0, 7), (0, 6), (0.5, 8)])
        if name == "MI":
            of_code = computed["stochastic"]["mi_code_low"].groupby("point").mean()
            expected.append(points(POINTS, of_code))
        assert lines(axis) == expected
        for mean, dashed in zip(axis.lines[0 : 2 * len(kinds) : 2], axis.lines[1::2], strict=False):
            assert (colour(mean), dashed.get_linestyle()) == (colour(dashed), "--")
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["posterior variance", "ELS", "information (nats)"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "computed", "published", "recorded"
    ]  # fmt: skip
    notes = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert notes == ["without noise", "with noise", "upper bound", "lower bound"]
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    of_point = computed["stochastic"][told["sigma_z2"]].groupby("point")
    assert set(np.round(band[:, 1], 6)) == {
        *of_point.min().round(6), *of_point.max().round(6)
    }  # fmt: skip


def test_table_e8_draws_each_source_and_the_linear_model():
    spectrum = torch.tensor([3.0, 1.0, 0.2], dtype=torch.float64)
    computed = sweep("els", "kl", "mi_code_low")
    recorded = pd.DataFrame(
        {"els": [1.0], "kl": [2.0], "mi_code_low": [3.0]}, by(["point", "seed"], [0.5], [1])
    )
    published = pd.DataFrame({"ELS": [4.0, 5.0], "KL": [6.0, 7.0]}, [-1.0, 0.0])
    figure = linear_vae_smoothness.table_e8(
        published, recorded, computed, spectrum=spectrum, latent_dim=2, threshold=0.1
    )
    closed = {"els": "expected_local_smoothness", "kl": "kl", "mi_code_low": "information"}
    for axis, (ours, form) in zip(figure.axes, closed.items(), strict=True):
        found = lines(axis)
        assert found[0] == points(POINTS, computed[ours].groupby("point").mean())
        assert (found[1][0][0], found[1][-1][0], len(found[1])) == (-1, 1, 60)
        for point, value in (found[1][0], found[1][-1]):
            best = linear.optimum_at_posterior_variance(spectrum, 2, 10**point)
            assert value == pytest.approx(float(getattr(best, form)), rel=1e-4, abs=1e-6)
        assert found[2] == points([0.5], recorded[ours])
        if ours != "mi_code_low":
            assert found[3] == points([-1, 0], published[{"els": "ELS", "kl": "KL"}[ours]])
        assert found[-1] == [(-1, 0), (-1, 1)]  # the threshold, from the bottom to the top
        colours = [to_hex(line.get_color()) for line in axis.lines]
        assert colours.count(to_hex("0.8")) == 1  # that of no curve
        assert colours[-1] == to_hex("0.8")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["computed", "linear model", "recorded", "published"]
    assert [axis.get_title() for axis in figure.axes] == [
        "ELS", "KL (nats)", r"$I(x; z)$, same images (nats)"
    ]  # fmt: skip


# --- 12 and 13 --------------------------------------------------------------------------------


def frame(index, *columns):
    values = np.random.default_rng(1).uniform(0.5, 5, (len(index), len(columns)))
    return pd.DataFrame(values, index, list(columns))


def of_colour(axis, colour):
    """Points of the lines of a colour, without those that stand for a name alone."""
    kept = [line for line in axis.lines if to_hex(line.get_color()) == to_hex(colour)]
    return [points(*line.get_data()) for line in kept if len(line.get_xdata())]


def test_a_runaway_is_drawn_by_epoch():
    curves = frame(by(["row", "seed", "stop"], MODELS, [1, 2], [5, 10]),
                   "epoch", "stand_in", "spread", "squared_error")  # fmt: skip
    curves = curves.sort_index()
    terms, errors = fenvae_examined.runaway(curves, 3.5).axes
    for row in MODELS:
        of_seeds = [curves.loc[row, seed] for seed in (1, 2)]
        assert of_colour(terms, colour_of(row)) == [
            points(of["epoch"], of[name]) for of in of_seeds for name in ("stand_in", "spread")
        ]
        assert of_colour(errors, colour_of(row)) == [
            points(of["epoch"], of["squared_error"]) for of in of_seeds
        ]
        assert named(terms)[f"{row}: stand-in"].get_linestyle() == "-"
        assert named(terms)[f"{row}: spread"].get_linestyle() == "--"
        assert to_hex(named(errors)[row].get_color()) == to_hex(colour_of(row))
    assert levels(errors) == [3.5]
    assert list(named(errors)) == [*MODELS, "mean training image"]
    assert len(ticks(errors.yaxis)) > 2


def test_one_change_at_a_time_stands_at_its_name():
    grid = frame(by(["change", "row", "seed"], ["none", "beta"], MODELS, [1, 2]), "ratio", "error")
    axes = fenvae_examined.one_change_at_a_time(grid).axes
    for axis, column in zip(axes, ("ratio", "error"), strict=True):
        for row, side in zip(MODELS, (1, -1), strict=True):
            [found] = of_colour(axis, colour_of(row))
            assert [x for x, _ in found] == grid.xs(row, level="row")[column].round(6).tolist()
            heights = np.array([y for _, y in found])
            assert heights.round().tolist() == [0, 0, -1, -1]
            assert (side * (heights - heights.round()) > 0).all()
        assert 1 in ticks(axis.xaxis)
    assert [text.get_text() for text in axes[0].get_yticklabels()] == ["none", "beta"]
    assert axes[0].get_yticks().tolist() == [0, -1]
    assert [axis.get_xlabel().split()[0] for axis in axes] == ["stand-in", "squared"]
    assert colours(axes[1]) == of_rows(MODELS)


def test_quality_stands_beside_the_number_of_decodes():
    distances = frame(by(["row", "seed"], ["L2", *MODELS], [1, 2]), "fd")["fd"]
    decodes = {"FEnVAE": 3, "L2": 1, "EnVAE, M = 2": 2}
    axis = fenvae_examined.quality_and_decodes(distances, decodes, label="FD").axes[0]
    for place, row in enumerate(decodes):
        assert of_colour(axis, colour_of(row)) == [points(distances[row], [-place] * 2)]
    assert [text.get_text() for text in axis.get_yticklabels()] == [
        "FEnVAE (3)", "L2 (1)", "EnVAE, M = 2 (2)"
    ]  # fmt: skip
    assert axis.get_yticks().tolist() == [0, -1, -2]


DRAWS = list(range(10, 101, 10))
SIX = pd.DataFrame(
    {"CelebA": 10.0 + np.arange(12), "CIFAR": 40.0 - np.arange(12), "LSUN": 3.0 * np.arange(1, 13)},
    ["VAE", *(f"EnVAE M={m}" for m in DRAWS), "FEnVAE"],
)


def test_costs_are_relative_to_the_vae():
    rows = ["EnVAE, M = 2", "EnVAE, M = 5", "FEnVAE", "VAE"]
    steps = {kind: frame(pd.Index(rows), "median") for kind in fenvae_examined.STEPS}
    steps["data-bound"] *= 2
    axis = fenvae_examined.cost(steps, [2, 5], SIX).axes[0]
    expected = []
    for table in steps.values():
        expected += [points([2, 5], table["median"][rows[:2]]), [
            (3, round(table["median"]["FEnVAE"], 6))]]  # fmt: skip
    for name in SIX:
        of_vae = SIX[name] / SIX.loc["VAE", name]
        expected += [points(DRAWS, of_vae[1:-1]), points([3], [of_vae["FEnVAE"]])]
    assert lines(axis) == expected
    assert ticks(axis.xaxis) == [2, 5]
    assert 1 in ticks(axis.yaxis)
    assert list(named(axis)) == [
        "recorded, images in memory", "recorded, JPEG files decoded",
        *(f"published, {name}" for name in SIX),
    ]  # fmt: skip


def test_convergence_is_of_means_over_seeds():
    curves = frame(by(["row", "seed", "stop"], MODELS, [1, 2], [5, 10]),
                   "epoch", "seconds", "fd_generated")  # fmt: skip
    axes = fenvae_examined.convergence(curves, MODELS[::-1], label="FD").axes
    for axis, x in zip(axes, ("epoch", "seconds"), strict=True):
        for row in MODELS:
            mean = curves.loc[row].groupby("stop").mean()
            assert of_colour(axis, colour_of(row)) == [points(mean[x], mean["fd_generated"])]
    assert list(colours(axes[1]).items()) == list(of_rows(MODELS[::-1]).items())


def test_numbers_of_draws_stand_beside_the_published_ones():
    distances = {
        "ours": frame(pd.Index([2, 10]), 1, 2),
        "others": 3 * frame(pd.Index([2, 10]), 1, 2),
    }
    *ours, theirs = fenvae_examined.number_of_draws(
        distances, SIX, best_l2={"ours": 2.5, "others": 7.5}, spaces={"ours": "FD", "others": "FD2"}
    ).axes
    for axis, (name, of_data), level in zip(ours, distances.items(), (2.5, 7.5), strict=True):
        expected = [of_data.mean(axis=1), of_data[1], of_data[2]]
        assert lines(axis) == [points([2, 10], each) for each in expected]
        assert levels(axis) == [level]
        assert list(named(axis)) == ["L2, best weight"]
        mean, *seeds = (colour(line) for line in axis.lines[:3])
        assert seeds == 2 * [seeds[0]] != 2 * [mean]
        assert axis.get_title() == name
    assert [axis.get_ylabel() for axis in ours] == ["FD of samples", "FD2 of samples"]
    assert lines(theirs) == [
        points(DRAWS, SIX[name].iloc[1:-1] / SIX.loc["VAE", name]) for name in SIX
    ]
    assert list(named(theirs)) == list(SIX)


def test_exponents_have_means_and_seeds():
    runs = frame(by(["row", "beta", "seed"], MODELS, [0.5, 1.0], [1, 2]),
                 "fd_generated", "spread")  # fmt: skip
    by_beta = {"ours": runs, "others": 3 * runs}
    axes = fenvae_examined.exponent(by_beta, spaces={"ours": "FD", "others": "FD2"}).axes
    panels = [(name, column) for name in by_beta for column in ("fd_generated", "spread")]
    for axis, (name, column) in zip(axes, panels, strict=True):
        for row in MODELS:
            seeds = by_beta[name].loc[row][column].unstack("seed")
            expected = [seeds.mean(axis=1), seeds[1], seeds[2]]
            assert of_colour(axis, colour_of(row)) == [points([0.5, 1], each) for each in expected]
        assert axis.get_title() == name
        assert ticks(axis.yaxis)
        low, high = by_beta[name][column].min() / 1.5, by_beta[name][column].max() * 1.5
        assert all(low <= tick <= high for tick in ticks(axis.yaxis))
    half = "half the distance of two draws"
    assert [axis.get_ylabel() for axis in axes] == ["FD of samples", half, "FD2 of samples", half]
    assert colours(axes[0]) == of_rows(MODELS)


def test_exponents_of_one_data_set_have_a_row():
    runs = frame(by(["row", "beta", "seed"], MODELS, [0.5, 1.0], [1, 2]), "fd_generated", "spread")
    axes = fenvae_examined.exponent({"ours": runs}, spaces={"ours": "FD"}).axes
    assert [axis.get_title() for axis in axes] == ["ours", "ours"]


COLORS = fenvae_warm_start.COLORS


def test_starts_are_the_rows_of_a_figure():
    index = by(["row", "start", "seed"], COLORS, ["cold", "L2"], [1, 2])
    runs = frame(index, "fd_generated", "energy_distance")
    axes = fenvae_warm_start.by_start(
        runs, {"fd_generated": "FD", "energy_distance": "energy"}
    ).axes
    for axis, column in zip(axes, ("fd_generated", "energy_distance"), strict=True):
        found = {row: of_colour(axis, color)[0] for row, color in COLORS.items()}
        for row, of_row in found.items():
            assert [x for x, _ in of_row] == runs.loc[row][column].round(6).tolist()
        heights = np.array([[y for _, y in of_row] for of_row in found.values()])
        assert (heights.round() == [0, 0, -1, -1]).all()
        assert (np.diff(heights, axis=0) < 0).all()  # one below the other, in this order
        assert heights[:, 0].mean() == pytest.approx(0)
    assert [text.get_text() for text in axes[0].get_yticklabels()] == ["cold", "L2"]
    assert axes[0].get_yticks().tolist() == [0, -1]
    assert colours(axes[0]) == of_rows(COLORS)


def test_lengths_have_a_panel_for_each_start():
    runs = frame(by(["row", "start", "epochs", "seed"], COLORS, ["cold", "L2"], [50, 100], [1, 2]),
                 "fd_generated")  # fmt: skip
    runs = runs.sort_index()
    axes = fenvae_warm_start.by_length(runs, label="FD").axes
    for axis, start in zip(axes, ("L2", "cold"), strict=True):
        assert axis.get_title() == f"start: {start}"
        for row, color in COLORS.items():
            seeds = runs.loc[row, start]["fd_generated"].unstack("seed")
            expected = [seeds.mean(axis=1), seeds[1], seeds[2]]
            assert of_colour(axis, color) == [points([50, 100], each) for each in expected]
        assert ticks(axis.xaxis) == [50, 100]
    assert len(ticks(axes[0].yaxis)) > 2
    assert colours(axes[0]) == of_rows(COLORS)


def test_sizes_have_a_panel_for_each_measure():
    runs = frame(by(["d_z", "row", "seed"], [2, 16], MODELS, [1, 2]), "fd_generated", "error")
    panels = {"fd_generated": "FD", "error": "squared error"}
    axes = fenvae_warm_start.by_size(runs, panels).axes
    for axis, (column, label) in zip(axes, panels.items(), strict=True):
        assert axis.get_ylabel() == label
        for row in MODELS:
            seeds = runs.xs(row, level="row")[column].unstack("seed")
            expected = [seeds.mean(axis=1), seeds[1], seeds[2]]
            assert of_colour(axis, COLORS[row]) == [points([2, 16], each) for each in expected]
        assert ticks(axis.xaxis) == [2, 16]
        assert len(ticks(axis.yaxis)) > 2
    assert colours(axes[0]) == of_rows(MODELS)


def test_draws_lie_across_and_means_up():
    values = frame(by(["row", "start", "seed"], MODELS, ["cold"], [1, 2]),
                   "squared_error", "squared_error_draw")  # fmt: skip
    axis = fenvae_warm_start.draws_and_means(values, MODELS, mean_image=4.5).axes[0]
    for row in MODELS:
        of = values.loc[row]
        assert of_colour(axis, COLORS[row]) == [
            points(of["squared_error_draw"], of["squared_error"])
        ]
    assert levels(axis) == [4.5]
    assert colours(axis).items() > of_rows(MODELS).items()
    assert list(named(axis)) == [*MODELS, "mean training image"]
    assert axis.get_xlabel().endswith("decoded draws")
    assert axis.get_xscale() == axis.get_yscale() == "log"


def test_terms_are_correlated_row_by_row():
    pairs = {row: tuple(torch.rand(2, 4)) for row in ("a", "b", "c", "d")}
    own, other = {row: pairs[row] for row in "ab"}, {row: pairs[key] for row, key in zip(
        "ab", "cd", strict=True)}  # fmt: skip
    axes = fenvae_warm_start.correlation(other, own).axes
    for axis, row in zip(axes, "ab", strict=True):
        assert axis.get_title() == row
        assert lines(axis) == [points(*other[row]), points(*own[row])]
        assert [colour(line) for line in axis.lines] == [to_hex("C2"), to_hex("C0")]


# --- 14 ---------------------------------------------------------------------------------------


def test_residuals_are_densities_of_each_row():
    of_means = {"L2": torch.tensor([0.01, 0.02, -1.19]), "FEnVAE": torch.tensor([[1.19], [0.0]])}
    of_draws = {row: -values for row, values in of_means.items()}
    for axis, of_kind in zip(
        pictures.residuals(of_means, of_draws).axes, (of_means, of_draws), strict=True
    ):
        assert colours(axis) == of_rows(of_kind)
        drawn = [patch for patch in axis.patches if isinstance(patch, StepPatch)]
        for patch, (row, values) in zip(drawn, of_kind.items(), strict=True):
            heights, edges, _ = patch.get_data()
            width = edges[1] - edges[0]
            assert (edges[0], edges[-1], width) == pytest.approx((-1.2, 1.2, 0.05))
            assert heights.sum() * width == pytest.approx(1)
            assert heights[0] == pytest.approx((values < -1.15).float().mean() / width)
            assert heights[-1] == pytest.approx((values > 1.15).float().mean() / width)
            assert to_hex(patch.get_edgecolor()) == to_hex(colour_of(row))
            assert patch.get_label() == row


def test_spectra_leave_the_mean_out_and_have_a_line_for_each_seed():
    def spectrum():
        return torch.linspace(0, 0.5, 4), torch.rand(4)

    each = {row: [(spectrum(), spectrum()) for _ in range(2)] for row in ("L2", "FEnVAE")}
    axes = pictures.spectra(each).axes
    for place, (axis, title) in enumerate(
        zip(axes, ("reconstructions, draws", "samples"), strict=True)
    ):
        assert axis.get_title() == title
        assert list(colours(axis).items()) == list(of_rows(["L2", "FEnVAE"]).items())
        assert levels(axis) == [0]
        for row, of_seeds in each.items():
            assert of_colour(axis, colour_of(row)) == [
                points(frequencies[1:], ratio[1:])
                for frequencies, ratio in (pair[place] for pair in of_seeds)
            ]


def test_kept_draws_and_samples_have_the_spectra_of_their_kinds(monkeypatch):
    test, draws = torch.rand(2, 6, 1, 8, 8)
    kept = {"L2": {"test": test, "draws": draws[None], "prior": test / 2}}
    monkeypatch.setattr(pictures, "spectra", lambda of_rows: of_rows)
    [(of_draws, of_prior)] = pictures.spectra_of_kept(kept)["L2"]
    torch.testing.assert_close(of_prior[1][1:], torch.full_like(of_prior[1][1:], -6.0206))
    expected = pictures.spectrum.decibels(draws, test)
    assert all(map(torch.equal, of_draws, expected))


def test_rows_of_one_colour_have_lines_of_their_own():
    pair = (torch.arange(3.0), torch.arange(3.0))
    rows = {row: [(pair, pair)] * 2 for row in ("FEnVAE", "L2", "FEnVAE, after L2")}
    for axis in pictures.spectra(rows).axes:
        drawn = [(line.get_color(), line.get_linestyle()) for line in axis.lines[:-1]]
        assert drawn[0] == drawn[1]  # seeds
        assert drawn[0][0] == drawn[4][0] == colour_of("FEnVAE")
        assert [style for _, style in drawn[::2]] == ["-", "-", "--"]


def test_codes_of_one_image_lie_among_those_of_all():
    mean = torch.tensor([[5.0, -3.0], *[[0.0, 0.0]] * 999])
    plane = gaussian(mean, torch.tensor([0.1, 0.2]).expand(1000, 2))
    figure = pictures.one_posterior({"L2": ([0, 4], plane), "EnVAE": ([1, 2], plane)})
    for axis, numbers in zip(figure.axes, ((1, 5), (2, 3)), strict=True):
        everything, of_one = (np.asarray(drawn.get_offsets()) for drawn in axis.collections)
        assert (len(everything), len(of_one)) == (1000, 300)
        np.testing.assert_allclose(of_one.mean(0), [5, -3], atol=0.05)
        np.testing.assert_allclose(of_one.std(0), [0.1, 0.2], rtol=0.15)
        np.testing.assert_allclose(everything.mean(0), [0, 0], atol=0.03)
        marks = [*axis.collections, *axis.patches]
        assert [colour(mark) for mark in marks] == [*map(to_hex, ("0.7", "C1", "C0", "C0"))]
        assert [patch.get_radius() for patch in axis.patches] == [1, 2]
        assert {tuple(patch.center) for patch in axis.patches} == {(0, 0)}
        assert (axis.get_xlabel(), axis.get_ylabel()) == tuple(f"coordinate {n}" for n in numbers)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "all images", "one image", "prior, 1 and 2 standard deviations"
    ]  # fmt: skip


def test_codes_are_coloured_by_their_class():
    embedded = {str(row): tuple(np.random.default_rng(row).normal(size=(2, 6, 2)))
                for row in range(8)}  # fmt: skip
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    figure = pictures.classes_of_codes(embedded, labels)
    for axis, (row, (codes, prior)) in zip(figure.axes, embedded.items(), strict=True):
        assert axis.get_title() == row
        of_prior, of_images = axis.collections
        np.testing.assert_allclose(of_prior.get_offsets(), prior)
        np.testing.assert_allclose(of_images.get_offsets(), codes)
        assert of_images.get_array().tolist() == labels.tolist()
        assert colour(of_prior) == to_hex("pink")  # of no class
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [text.strip("$").removeprefix(r"\mathdefault{")[0] for text in texts] == [*"012p"]
    assert (texts[-1], colours(figure.axes[0])["prior"]) == ("prior", to_hex("pink"))


# --- 15 and 16 --------------------------------------------------------------------------------


def test_histograms_of_ranks_have_their_mean_and_each_seed():
    of_forecasts = {
        name: {kind: np.random.default_rng(place).uniform(size=(2, bins))
               for kind, bins in (("pixels", 5), ("images", 4))}
        for place, name in enumerate(("L2, noise", "EnVAE"))
    }  # fmt: skip
    figure = calibration.rank_histograms(of_forecasts)
    axes = np.reshape(figure.axes, (2, 2))
    assert [axis.get_title() for axis in axes[0]] == ["L2\nnoise", "EnVAE"]
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ["pixels", "images"]
    for column, of_kinds in zip(axes.T, of_forecasts.values(), strict=True):
        for axis, seeds in zip(column, of_kinds.values(), strict=True):
            drawn = [patch.get_data() for patch in axis.patches]
            for (heights, edges, _), expected in zip(drawn, [seeds.mean(0), *seeds], strict=True):
                np.testing.assert_allclose(heights, expected)
                np.testing.assert_allclose(edges, np.linspace(0, 1, seeds.shape[1] + 1))
            assert levels(axis) == [1]


@pytest.mark.parametrize(("forecasts", "kinds"), [(1, 1), (1, 2), (2, 1)])
def test_ranks_of_one_forecast_or_of_one_kind_have_their_panels(forecasts, kinds):
    of_kinds = {f"kind {number}": np.ones((2, 5)) for number in range(kinds)}
    figure = calibration.rank_histograms({f"row {number}": of_kinds for number in range(forecasts)})
    axes = np.reshape(figure.axes, (kinds, forecasts))
    assert [axis.get_title() for axis in axes[0]] == [f"row {n}" for n in range(forecasts)]
    assert [axis.get_ylabel() for axis in axes[:, 0]] == [*of_kinds]


def test_coverage_is_a_mean_over_seeds_beside_the_nominal_one():
    nominal = [0.5, 0.8, 0.9]
    of_forecasts = {
        name: frame(pd.RangeIndex(3), *nominal) for name in ("L2, noise", "EnVAE, M = 2")
    }
    axis = calibration.coverage(of_forecasts).axes[0]
    assert lines(axis) == [
        *(points(nominal, of.mean()) for of in of_forecasts.values()), points(nominal, nominal)
    ]  # fmt: skip
    assert colours(axis) == of_rows(of_forecasts) | {"calibrated": to_hex("black")}
    assert list(named(axis)) == [*of_forecasts, "calibrated"]
    assert [line.get_linestyle() for line in axis.lines] == ["--", "-", ":"]


def test_spread_and_distance_are_drawn_by_weight():
    runs = {row: frame(by(["alpha", "seed"], [0.1, 1.0], [1, 2]), "ratio", "distance")
            for row in MODELS}  # fmt: skip
    predicted = {MODELS[1]: pd.Series([0.5, 2.0], [0.1, 1.0])}
    axes = calibration.by_weight(runs, predicted, "FD").axes
    for axis, column in zip(axes, ("ratio", "distance"), strict=True):
        expected = []
        for row, of_row in runs.items():
            seeds = of_row[column].unstack("seed")
            expected += [
                points([0.1, 1], each) for each in (seeds.mean(axis=1), seeds[1], seeds[2])
            ]
            if column == "ratio" and row in predicted:
                expected.append([(0.1, 0.5), (1, 2)])
        assert lines(axis) == expected
    assert levels(axes[0]) == [1]
    assert all(len(ticks(axis.yaxis)) > 2 for axis in axes)
    assert list(named(axes[0])) == [*MODELS, f"{MODELS[1]}: predicted"]
    first, second, predicted = colours(axes[0]).values()
    assert first != second == predicted
    assert axes[1].get_ylabel() == "FD"


SETS = by(["data", "beta", "alpha", "seed"], ["digits", "mnist"], [0.5, 1.0], [0.1, 1.0], [1, 2])
NAMES = [rf"{data}, $\beta$ = {beta}" for data in ("digits", "mnist") for beta in ("0.5", "1")]


def test_each_run_lies_at_its_prediction():
    runs = frame(SETS, "ratio", "predicted")
    axis = calibration.predicted_ratios(runs).axes[0]
    *found, (low, high) = lines(axis)
    for drawn, (_, of_set) in zip(found, runs.groupby(level=["data", "beta"]), strict=True):
        assert drawn == points(of_set["predicted"], of_set["ratio"])
    ends = round(runs.to_numpy().min(), 6), round(runs.to_numpy().max(), 6)
    assert (low, high) == ((ends[0],) * 2, (ends[1],) * 2)
    assert list(named(axis)) == NAMES
    assert len({colour(line) for line in axis.lines}) == len(NAMES) + 1


def test_quality_is_relative_to_the_best_weight_of_each_set():
    runs = frame(SETS, "fd", "suggested", "dimensions_in_use")
    runs = runs.assign(latent_dim=16.0)
    figure = calibration.quality_by_weight(runs, "fd", "FD")
    means = runs.groupby(level=["data", "beta", "alpha"]).mean()
    for axis, place in zip(figure.axes, ("alpha", "suggested", "share"), strict=True):
        for drawn, (_, of_set) in zip(
            lines(axis), means.groupby(level=["data", "beta"]), strict=True
        ):
            alpha = of_set.index.get_level_values("alpha").to_numpy()
            across = {
                "alpha": alpha, "suggested": alpha / of_set["suggested"],
                "share": of_set["dimensions_in_use"] / 16,
            }[place]  # fmt: skip
            assert drawn == points(across, of_set["fd"] / of_set["fd"].min())
    assert [axis.get_xscale() for axis in figure.axes] == ["log", "log", "linear"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == NAMES
    other_way = calibration.quality_by_weight(runs[::-1], "fd", "FD")
    assert [text.get_text() for text in other_way.legends[0].get_texts()] == NAMES[::-1]


def test_power_is_drawn_by_dimension_and_error():
    index = by(["field", "error", "pixels"], ["white", "smooth"], ["mean", "scale"], [64, 3072])
    rows = frame(index, "change", "images", "likelihood") - 1
    rows = rows.sort_index()
    figure = calibration.power(rows)
    axes = np.reshape(figure.axes, (2, 2))
    for column, field in zip(axes.T, ("smooth", "white"), strict=True):
        assert column[0].get_title() == field
        of_errors = [rows.loc[field, error] for error in ("mean", "scale")]
        assert lines(column[0]) == [points([64, 3072], 100 * of["change"]) for of in of_errors]
        assert lines(column[1]) == [
            points([64, 3072], of[name].clip(lower=1))
            for of in of_errors for name in ("images", "likelihood")
        ]  # fmt: skip
        assert ticks(column[1].xaxis) == [64, 3072]
        mean, scale = (colour(line) for line in column[0].lines)
        assert [colour(line) for line in column[1].lines] == [mean, mean, scale, scale]
    assert colours(axes[0, 1]) == {"mean": mean, "scale": scale}


# --- 11 ---------------------------------------------------------------------------------------


def test_figures_of_energies_draw_what_they_are_given():
    of_images, of_prior = torch.rand(2, 5, 2)
    labels = torch.arange(5)
    places = {"VAE": (of_images, of_prior), "EC-VAE": (of_prior, of_images)}
    for axis, (title, (shown, prior)) in zip(
        energy_based_models.codes(places, labels).axes, places.items(), strict=True
    ):
        assert axis.get_title() == title
        assert lines(axis) == [points(*prior.T)]
        np.testing.assert_allclose(axis.collections[0].get_offsets(), shown.numpy())
        assert axis.collections[0].get_array().tolist() == labels.tolist()
        assert axis.get_xlim() == axis.get_ylim() == (-3.5, 3.5)
        classes = axis.collections[0].to_rgba(torch.arange(10))
        assert colour(axis.lines[0]) not in map(to_hex, classes)
    [axis] = energy_based_models.ratios(of_images[:, 0], of_images[:, 1]).axes
    assert points(*axis.lines[0].get_data()) == points(*of_images.T)
    assert (axis.lines[1].get_xy1(), axis.lines[1].get_slope()) == ((0, 0), 1)
    history = frame(pd.RangeIndex(3), "epoch", "moved", "multiplier", "energy_gap")
    axes = energy_based_models.calibration(history).axes
    for axis, column in zip(axes, ("moved", "multiplier", "energy_gap"), strict=True):
        assert lines(axis) == [points(history["epoch"], history[column])]
    assert [axis.get_title() for axis in axes] == [
        "squared distance moved", "multiplier", "energy of samples less data"
    ]  # fmt: skip


# --- one panel --------------------------------------------------------------------------------

ONE_PANEL = {
    "starts": lambda: fenvae_warm_start.by_start(
        frame(by(["row", "start", "seed"], COLORS, ["cold"], [1, 2]), "fd_generated"),
        {"fd_generated": "FD"},
    ),
    "lengths": lambda: fenvae_warm_start.by_length(
        frame(by(["row", "start", "epochs", "seed"], COLORS, ["cold"], [50, 100], [1, 2]),
              "fd_generated").sort_index(),
        label="FD",
    ),
    "sizes": lambda: fenvae_warm_start.by_size(
        frame(by(["d_z", "row", "seed"], [2, 16], MODELS, [1, 2]), "fd_generated"),
        {"fd_generated": "FD"},
    ),
    "terms": lambda: fenvae_warm_start.correlation(
        {"a": tuple(torch.rand(2, 4))}, {"a": tuple(torch.rand(2, 4))}
    ),
    "maps": lambda: noisy_mnist_variance.pattern_maps(
        {"ring": {"Iso-I": torch.rand(4, 1, 3, 2)}},
        torch.tensor([True, False, False, True]),
        highest=0.4,
    ),
    "codes of one image": lambda: pictures.one_posterior(
        {"L2": ([0, 1], gaussian(torch.rand(9, 2), torch.rand(9, 2)))}
    ),
    "energies": lambda: energy_based_models.codes(
        {"VAE": tuple(torch.rand(2, 5, 2))}, torch.arange(5)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_PANEL)
def test_what_has_a_panel_for_each_of_several_may_have_one(name):
    axes = ONE_PANEL[name]().axes
    assert [axis for axis in axes if axis.lines or axis.collections or axis.images]


def test_one_image_has_a_row_of_maps():
    images, iso = torch.rand(2, 5, 2, 4, 4)
    figure = noisy_mnist_variance.single_images(images, {"Iso-D": iso}, [3], highest=0.3)
    assert [axis.get_title() for axis in figure.axes] == ["noisy image", "Iso-D"]


def test_the_power_of_one_field_has_a_column():
    index = by(["field", "error", "pixels"], ["white"], ["mean", "scale"], [64, 3072])
    rows = (frame(index, "change", "images", "likelihood") - 1).sort_index()
    assert len(calibration.power(rows).axes) == 2
