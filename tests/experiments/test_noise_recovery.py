"""Estimated variance, residual and spread, against models whose noise is known."""

import dataclasses

import pandas as pd
import pytest
import torch

from envae import datasets
from envae.datasets.noise import PATTERNS, noisy
from envae.experiments import noise_recovery, published, records, runs
from envae.experiments.runs import Setting
from envae.metrics import uncertainty
from envae.objectives import objective
from envae.vae import gaussian


class Known:
    """Codes N(0, s^2) whatever the image; every pixel is the code, so all moments are known."""

    stddev = 0.5

    def encode(self, x):
        mean = torch.zeros(len(x), 1)
        return gaussian(mean, torch.full_like(mean, self.stddev))

    def decode(self, z):
        return z.reshape(*z.shape[:-1], 1, 1, 1).expand(*z.shape[:-1], 1, 2, 2)


def test_residual_and_spread_of_a_known_model():
    torch.manual_seed(0)
    images = torch.full((4, 1, 2, 2), 2.0)
    maps = uncertainty.maps(Known(), objective("l2"), images, draws=20_000)
    assert set(maps) == {"residual", "spread"}
    assert torch.allclose(maps["spread"], torch.tensor(0.25), rtol=0.05)
    assert torch.allclose(maps["residual"], torch.tensor(4 + 0.25), rtol=0.05)


def test_a_spread_needs_two_draws():
    with pytest.raises(ValueError, match="draws must be at least 2, received 1"):
        uncertainty.maps(Known(), objective("l2"), torch.zeros(1, 1, 2, 2), draws=1)


@pytest.mark.parametrize(
    ("name", "axes"),
    [("iso_i", (0, 1, 2, 3)), ("diag_i", (0,)), ("iso_d", (1, 2, 3)), ("diag_d", ())],
)
def test_the_estimate_is_the_residual_averaged_over_what_shares_it(name, axes):
    torch.manual_seed(0)
    images = torch.rand(6, 1, 2, 2)
    maps = uncertainty.maps(Known(), objective(name), images, draws=3000)
    residual = maps["residual"].mean(axes, keepdim=True) if axes else maps["residual"]
    assert torch.allclose(maps["variance"], residual.expand_as(images), rtol=0.1)


def test_readings_of_a_perfect_decoder_are_the_noise():
    """A model that gives zeros for images of zeros with noise: its residual is the noise."""

    class Zeros(Known):
        def decode(self, z):
            return torch.zeros(*z.shape[:-1], 1, 8, 8)

    digits = datasets.load("digits")
    blank = datasets.Dataset(
        "blank", 0 * digits.train, digits.train_labels, 0 * digits.test, digits.test_labels, "here"
    )
    data = noisy(blank, "spatial", 0.1, seed=1)
    values = noise_recovery.readings(Zeros(), objective("diag_i"), data, 0)
    for split in ("train", "test"):
        for part, expected in {"SU": 0.1, "BU": 0.1, "SL": 0.0, "BL": 0.0}.items():
            value, unit = values[f"variance_{split}_{part}"]
            assert value == pytest.approx(expected, rel=0.05)
            assert unit == uncertainty.UNIT
            assert values[f"spread_{split}_{part}"][0] == 0


def test_a_part_without_images_is_left_out():
    values = uncertainty.over_partitions(torch.ones(3, 1, 2, 2), torch.tensor([0, 1, 2]))
    assert values == {"SU": 1.0, "SL": 1.0}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    noises = [
        noise_recovery.Noise("spatial", 0.1, 1),
        noise_recovery.Noise("uniform", 0.0, 2, redraw=True),
    ]
    points = noise_recovery.group("diag_i", {}, noises, runs.Setting("mlp64", 4, 3), warm_up=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENVAE_RUNS", str(tmp_path_factory.mktemp("runs")))
        clean = datasets.load("digits").subset(200)
        return noise_recovery.train_all([points], clean=clean, experiment="test")[0]


def test_every_reading_of_every_case_is_in_the_table(outcomes):
    table = noise_recovery.table({"Diag-I": outcomes})
    assert len(table) == 2 * 3 * 2 * 4  # cases, maps, splits, partitions
    assert set(table["map"]) == {"variance", "residual", "spread"}
    assert list(table["redraw"].unique()) == [False, True]
    assert outcomes[0].parameters["dataset"] == "digits-200+spatial-gaussian-0.1-1"
    assert outcomes[0].parameters["warm_up"] == 1


# --- the cells of Table 3 ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def exact():
    """Cells of readings without any error, in no order, over a clean-data variance of 0.02."""
    sizes = noise_recovery.sizes(datasets.load("digits"))
    lines = [
        (model, pattern, s2, seed, part, 0.02 + share * s2)
        for model, unions in noise_recovery.COLUMNS.items()
        for pattern, s2 in [("uniform", 0.0), *((name, 0.1) for name in PATTERNS)]
        for seed in (1, 2)
        for union in unions
        for share in [noise_recovery.share(pattern, union.split("+"), sizes)]
        for part in union.split("+")
    ]
    columns = ["model", "pattern", "s2", "seed", "part", "value"]
    readings = pd.DataFrame(lines, columns=columns).sample(frac=1, random_state=0)
    return noise_recovery.cells(readings, sizes)


def test_cells_come_in_the_order_of_the_printed_table(exact):
    assert exact.index.tolist() == [
        (model, pattern, 0.1, part)
        for model, parts in noise_recovery.COLUMNS.items()
        for pattern in PATTERNS
        for part in parts
    ]


def test_exact_readings_meet_their_targets(exact):
    assert exact["deviation"].abs().max() < 1e-6
    assert exact["half"].abs().max() < 1e-6
    assert exact["clean"].to_numpy() == pytest.approx(0.02)
    assert exact.loc[("Iso-I", "uniform", 0.1, "SU+SL+BU+BL"), "target"] == pytest.approx(0.12)
    assert exact.loc[("Iso-I", "spatial", 0.1, "SU+SL+BU+BL"), "share"] == pytest.approx(0.5)


def test_what_a_cell_can_express_agrees_with_the_reading_of_the_printed_table(exact):
    printed = noise_recovery.printed()
    assert len(printed) == 72
    notes = published.table("takida2022", 3)["note"].str.split("; ", expand=True)
    notes.index = printed.index
    notes = notes.loc[exact.index]
    assert (notes[0].map({"sufficient": True, "insufficient": False}) == exact["sufficient"]).all()
    assert (notes[1] == exact["kind"]).all()


def test_a_cell_is_a_mean_over_seeds_with_students_interval():
    """Targets of 0.12: deviations of 0, 0.25 and 0.5, so a spread of 0.25 over three seeds."""
    parts = ["SU", "SL", "BU", "BL"]
    lines = [
        ("Iso-I", "uniform", s2, seed, part, value + (-0.01, 0.01)[place % 2])
        for s2, values in ((0.0, [0.02] * 3), (0.1, [0.12, 0.15, 0.18]))
        for seed, value in enumerate(values)
        for place, part in enumerate(parts)
    ]
    columns = ["model", "pattern", "s2", "seed", "part", "value"]
    sizes = dict.fromkeys(parts, 0.25)
    found = noise_recovery.cells(pd.DataFrame(lines, columns=columns), sizes)
    [cell] = found.to_dict("records")
    half = 4.30265273 * 0.25 / 3**0.5  # t of 97.5 % with two degrees of freedom
    expected = {"value": 0.15, "clean": 0.02, "target": 0.12, "deviation": 0.25, "share": 1}
    assert {name: cell[name] for name in expected} == pytest.approx(expected)
    assert cell["half"] == pytest.approx(half)
    assert (cell["kind"], cell["sufficient"]) == ("noisy", True)
    [moved] = noise_recovery.against_level(found, "Iso-I", 0.05).to_dict("records")
    assert (moved["clean"], moved["target"]) == pytest.approx((0.05, 0.15))
    assert (moved["deviation"], moved["half"]) == pytest.approx((0, half * 0.12 / 0.15))


def test_another_clean_level_moves_the_targets_of_one_model_alone(exact):
    moved = noise_recovery.against_level(exact, "Diag-D", 0.12)
    others = exact.index.get_level_values("model") != "Diag-D"
    pd.testing.assert_frame_equal(moved[others], exact[others])
    of_model = moved.loc["Diag-D"]
    assert of_model["target"].to_numpy() == pytest.approx(of_model["share"] * 0.1 + 0.12)
    # Each value is 0.02 plus its share of the noise: 0.1 short of the new target.
    assert (of_model["deviation"] * of_model["target"]).to_numpy() == pytest.approx(-0.1)


@pytest.mark.parametrize(("stops", "steps"), [(2, [4, 8]), (30, [2, 4, 6, 8])])
def test_following_a_group_reads_both_splits_of_every_model_at_every_stop(
    monkeypatch, tmp_path, stops, steps
):
    """Of 4 epochs of 2 batches; there are no more stops than epochs."""
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    noises = [noise_recovery.Noise("uniform", 0.1, seed) for seed in (1, 2)]
    points = noise_recovery.group("iso_i", {}, noises, runs.Setting("mlp64", 4, 4))
    clean = datasets.load("digits").subset(100)
    lines = noise_recovery.follow(points, clean=clean, experiment="test", stops=stops)
    assert list(lines["step"].unique()) == steps
    assert len(lines) == len(steps) * 2 * 2  # splits, models
    assert set(lines["images"]) == {100}
    assert (lines["value"] > 0.1).all()  # the noise, and what the model has not learned


def test_sizes_of_the_partitions_are_their_share_of_pixels():
    digits = datasets.load("digits").subset(20)
    small = (digits.train_labels < 5).double().mean().item()
    halves = {"S": small / 2, "B": (1 - small) / 2}
    sizes = noise_recovery.sizes(digits)
    assert sizes == pytest.approx({part: halves[part[0]] for part in ("SU", "SL", "BU", "BL")})
    assert noise_recovery.share("conditional", ["SU", "BU"], sizes) == pytest.approx(small)
    assert noise_recovery.share("spatial", ["SU", "BU"], sizes) == 1
    assert noise_recovery.share("spatial-conditional", ["SL"], sizes) == 0


SHORT = Setting("mlp64", 2, epochs=3)
OF_READINGS = {
    "objective": "diag_d", "options": {}, "seed": 2, "redraw": False,
    "dataset": "blank-9+spatial-conditional-gaussian-0.01-2",
    "network": "mlp64", "latent_dim": 2, "epochs": 3, "batch_size": 64, "lr": 1e-3,
}  # fmt: skip


def test_recorded_readings_say_how_a_variance_was_found(monkeypatch, tmp_path):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    parts = {f"variance_train_{part}": value for part, value in
             {"SU": 0.1, "SL": 0.2, "BU": 0.3, "BL": 0.4}.items()}  # fmt: skip
    cases = {
        "MLE": ({}, parts),
        "trainable": ({"estimate": "trainable"}, {"diverged_epoch": 3.0}),
        "floor": ({"epsilon": 1e-3}, parts),
        "draws": ({"draws": 8}, parts),
    }
    for options, metrics in cases.values():
        told = OF_READINGS | {"options": options}
        records.save("readings", told, metrics, units=dict.fromkeys(metrics, ""))
    found = noise_recovery.recorded_readings("readings", "blank-9", SHORT)
    assert set(found["how"]) == set(cases)
    assert set(found["model"]) == {"Diag-D"}
    assert set(found["pattern"]) == {"spatial-conditional"}
    assert set(found["s2"]) == {0.01}
    floor = found[found["how"] == "floor"].set_index("part")["value"]
    assert floor.to_dict() == {"SU": 0.1, "SL": 0.2, "BU": 0.3, "BL": 0.4}
    assert found[found["how"] == "trainable"]["value"].isna().all()


def test_nothing_recorded_is_an_empty_table(monkeypatch, tmp_path):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    assert noise_recovery.recorded_readings("no_such_experiment", "blank-9", SHORT).empty


def test_readings_are_those_of_one_setting_on_the_noise_of_table_3(monkeypatch, tmp_path):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    others = [
        {"objective": "envae"}, {"objective": "l2"}, {"redraw": True}, {"epochs": 4}, {"lr": 2e-3},
        {"posterior": 1.0},
        {"dataset": "blank-90+spatial-conditional-gaussian-0.01-2"},
        {"dataset": "blank-9+spatial-conditional-laplace-0.01-2"},
    ]  # fmt: skip
    for value, other in enumerate([{}, *others]):
        metrics = {f"variance_train_{part}": float(value) for part in ("SU", "SL", "BU", "BL")}
        records.save("readings", OF_READINGS | other, metrics, units=dict.fromkeys(metrics, ""))
    found = noise_recovery.recorded_readings("readings", "blank-9", SHORT)
    assert found["value"].tolist() == [0.0] * 4


def test_a_group_has_a_point_for_each_noise_from_its_seed():
    setting = Setting("mlp64", 2, epochs=9)
    noises = [noise_recovery.Noise("uniform", 0.2, 5), noise_recovery.Noise("ring", 0.1, 7)]
    points = noise_recovery.group("l2", {"alpha": 0.1}, iter(noises), setting)
    assert [point.noise for point in points] == noises
    for point, seed in zip(points, (5, 7), strict=True):
        assert (point.objective, point.options) == ("l2", {"alpha": 0.1})
        assert (point.seed, point.setting, point.start) == (seed, setting, None)
    [warm, _] = noise_recovery.group("diag_i", {}, noises, setting, warm_up=4)
    assert warm.start == runs.Start("iso_i", {}, 4)
    assert warm.own_epochs == 5


def test_a_noisy_run_is_recorded_under_its_noise_and_one_that_is_lost_under_its_epoch():
    noise = noise_recovery.Noise("uniform", 0.2, 5, law="laplace", redraw=True)
    setting = Setting("mlp64", 2, epochs=9)
    [point] = noise_recovery.group("l2", {}, [noise], setting, warm_up=4)
    told = point.parameters("any")
    assert told["dataset"] == "any+uniform-laplace-0.2-5"
    assert (told["redraw"], told["warm_up"], told["seed"]) == (True, 4, 5)
    assert "start" not in told
    [plain] = noise_recovery.group("l2", {}, [dataclasses.replace(noise, redraw=False)], setting)
    told = plain.parameters("any")
    assert (told["redraw"], told["warm_up"]) == (False, 0)
    assert (point.redraws, plain.redraws) == (True, False)
    assert (point.stacked, plain.stacked) == (True, True)
    assert point.lost(3) == {"diverged_epoch": (3, "epochs")}
    clean = datasets.load("digits").subset(20)
    for epoch, seed in ((0, 5), (2, 2_000_011)):
        drawn = noisy(clean, "uniform", 0.2, law="laplace", seed=seed)
        assert torch.equal(point.data(clean, epoch).train, drawn.train)
        assert torch.equal(point.data(clean, epoch).test, drawn.test)


def test_noise_that_is_fixed_stays_and_noise_that_is_redrawn_changes_with_the_epoch():
    clean, setting = datasets.load("digits").subset(100), Setting("mlp64", 2, epochs=3)
    noises = [noise_recovery.Noise("uniform", 0.1, seed, redraw=redraw)
              for seed in (1, 2) for redraw in (False, True)]  # fmt: skip
    points = noise_recovery.group("l2", {}, noises, setting)
    drawn = {
        (point.seed, point.redraws, epoch): point.data(clean, epoch).train - clean.train
        for point in points
        for epoch in range(3)
    }
    for seed in (1, 2):
        assert all(torch.equal(drawn[seed, False, 0], drawn[seed, False, e]) for e in (1, 2))
        assert torch.equal(drawn[seed, True, 0], drawn[seed, False, 0])
    different = [drawn[seed, True, epoch].flatten() for seed in (1, 2) for epoch in range(3)]
    alike = torch.corrcoef(torch.stack(different)) - torch.eye(6)
    assert alike.abs().max() < 0.1
    # And training sees it: the first epoch is the same, the others are not.
    (fixed, redrawn), _ = (
        [history["total"].tolist() for *_, history in runs.train_stack(pair, clean)]
        for pair in (points[:2], points[2:])
    )
    assert fixed[0] == pytest.approx(redrawn[0], rel=1e-5)
    assert abs(fixed[1] - redrawn[1]) > 1e-5 * fixed[1]
    # Alone as well, as where there are as many processes as points.
    [(_, _, history)] = runs.train_stack([points[1]], clean)
    assert history["total"].tolist() == pytest.approx(redrawn, rel=1e-5)


def test_noise_that_is_redrawn_goes_on_after_a_warm_up_and_does_not_begin_anew(monkeypatch):
    clean, asked = datasets.load("digits").subset(100), []
    data = noise_recovery.NoisyPoint.data
    monkeypatch.setattr(
        noise_recovery.NoisyPoint, "data",
        lambda point, dataset, epoch=0: asked.append(epoch) or data(point, dataset, epoch),
    )  # fmt: skip
    noises = [noise_recovery.Noise("uniform", 0.1, seed, redraw=True) for seed in (1, 2)]
    setting = Setting("mlp64", 2, epochs=5)
    runs.train_stack(noise_recovery.group("iso_d", {}, noises, setting, warm_up=2), clean)
    assert set(asked) == set(range(5))
