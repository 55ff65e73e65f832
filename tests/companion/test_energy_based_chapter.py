"""Chapter 11's verdicts, of runs that are made up."""

import numpy as np
import pandas as pd
import pytest

from envae.companion.chapters import energy_based_models as chapter
from envae.companion.claims import (
    CAVEAT,
    FALSE,
    HOLDS,
    IN_PART,
    NOT_REPRODUCED,
    NOT_RUN,
    REPRODUCED,
    Ledger,
)
from envae.companion.scale import Scale
from envae.experiments import records

SCALE = Scale("digits", "8 x 8", "mlp", 100, 1, 2, None)


@pytest.fixture
def runs():
    """Three seeds of every row; the energy score halves samples and leaves reconstructions."""
    rows, random = [], np.random.default_rng(0)
    for method in chapter.METHODS:
        for ending in chapter.ENDINGS:
            for seed in (1, 2, 3):
                noise = 0.02 * random.random()
                rows.append(
                    {"label": method + ending, "seed": seed, "state": "done",
                     "samples": {"": 4.0, " + EnL": 2.0, " + FEnL": 9.0}[ending] + noise,
                     "reconstructions": 1.0 + 0.1 * random.random(),
                     "fd_generated": 5.0 + seed, "fd_refined": 3.9,
                     "stddev": 0.02 if method == "DT-VAE" else 0.6}
                )  # fmt: skip
    return pd.DataFrame(rows)


def test_what_is_lower_in_samples_alone_is_reproduced_in_part(runs):
    found = chapter.lower(runs, " + EnL")
    assert (found.reproduced, found.in_part) == (False, True)
    assert "below: DT-VAE, samples; NCP-VAE, samples; EC-VAE, samples, above: none" in found.told
    surrogate = chapter.lower(runs, " + FEnL")
    assert (surrogate.reproduced, surrogate.in_part) == (False, False)
    assert (
        "below: none, above: DT-VAE, samples; NCP-VAE, samples; EC-VAE, samples" in surrogate.told
    )


def test_gains(runs):
    assert chapter.gains(runs, " + EnL")["VAE"] == pytest.approx(0.5, abs=0.02)
    assert "EC-VAE" not in chapter.gains(runs[runs["label"] != "EC-VAE + EnL"], " + EnL")
    assert not chapter.modest(runs).reproduced  # halved everywhere
    energies = runs["label"].isin([f"{method} + EnL" for method in chapter.PRINTED])
    assert chapter.modest(runs.assign(samples=runs["samples"] + energies)).reproduced
    found = chapter.reweighted(runs)  # below N(0, I) of the same VAE, level with the VAE's own
    assert (found.reproduced, found.in_part) == (False, False)
    contrastive = runs["label"].str.startswith("NCP-VAE")
    assert chapter.reweighted(runs.assign(samples=runs["samples"] - contrastive)).reproduced
    assert not chapter.improved(runs, "EC-VAE").reproduced


def test_runs_are_paired_by_seed_in_whatever_order_they_are_read(runs):
    """Of a method whose seeds differ by far more than the loss changes."""
    runs = runs.assign(samples=runs["samples"] + 10 * runs["seed"])
    shuffled = pd.concat([runs[runs["label"] != "DT-VAE"], runs[runs["label"] == "DT-VAE"][::-1]])
    assert chapter.changes(shuffled, " + EnL") == chapter.changes(runs, " + EnL")
    assert chapter.changes(shuffled, " + EnL")["DT-VAE", "samples"].below


@pytest.mark.parametrize(("after_chain", "verdict"), [(2.8, (True, True)), (2.0, (False, True))])
def test_a_calibrated_model_is_better_and_done_without_a_chain(runs, after_chain, verdict):
    samples = runs["samples"].where(runs["label"] != "EC-VAE", 3.0)
    found = chapter.calibrated(runs.assign(samples=samples, fd_refined=after_chain))
    assert (found.reproduced, found.in_part) == verdict


def verdict(claim, runs, ledger=None):
    """Entry of the ledger, of runs by the name of their data."""
    ledger = ledger or Ledger("11_energy_based_models")
    chapter.announce(ledger, claim, runs, dict.fromkeys(runs, SCALE))
    return ledger.table().loc[claim]


def test_a_verdict_needs_every_run_of_its_rows(runs):
    assert verdict("E-T2-enl", {"digits": runs})["verdict"] == IN_PART
    runs.loc[0, "state"] = "missing"  # of the VAE
    found = verdict("E-6.4-dt", {"digits": runs})
    assert (found["verdict"], found["evidence"]) == (NOT_RUN, "runs of VAE")


def test_data_without_all_runs_say_nothing_of_a_verdict(runs):
    better = runs.assign(samples=runs["samples"] - (runs["label"] == "DT-VAE"))
    both = {"elsewhere": runs, "digits": better}
    assert verdict("E-6.4-dt", both)["verdict"] == IN_PART  # on one of two
    both["elsewhere"] = runs[runs["label"] != "DT-VAE"]
    found = verdict("E-6.4-dt", both)
    assert found["verdict"] == REPRODUCED
    assert "elsewhere" not in found["evidence"]


def test_on_mnist_the_row_with_a_multiplier_that_stays_is_ec_vae(runs):
    stays = runs["label"].str.startswith("EC-VAE, multiplier 1")
    better = runs.assign(samples=runs["samples"] - stays, fd_refined=2.9)
    found = verdict("E-6.4-ec", {"mnist-5000": better})
    assert found["verdict"] == REPRODUCED
    _, _, substitute = found["evidence"].partition(" (mnist-5000: EC-VAE, multiplier 1")
    assert substitute.startswith("; with EC-VAE as printed FD of samples not apart")
    printed = better["label"].str.fullmatch("EC-VAE")
    without = verdict("E-6.4-ec", {"mnist-5000": better[~printed]})
    assert without["evidence"].endswith("(mnist-5000: EC-VAE, multiplier 1)")
    assert verdict("E-6.4-ec", {"digits": better})["verdict"] == NOT_REPRODUCED
    told = chapter.as_calibrated("mnist-5000", better)
    assert not told["label"].str.contains("multiplier").any()
    assert (told[told["label"] == "EC-VAE"]["samples"] < 3.1).all()
    assert chapter.as_calibrated("digits", better) is better


@pytest.mark.parametrize(
    ("printed", "part", "verdict"),
    [(0.02, 0.6, CAVEAT), (0.6, 0.6, HOLDS), (0.02, 0.02, FALSE)],
)
def test_the_loss_alone_is_replaced_where_a_posterior_keeps_a_spread_everywhere(
    runs, printed, part, verdict
):
    ledger = Ledger("11_energy_based_models")
    spread = {"DT-VAE + EnL": printed, "DT-VAE, weight 0.3 + EnL": part}
    elsewhere = runs.assign(stddev=runs["label"].map(spread).fillna(0.6))
    alive = runs.assign(stddev=0.6)
    chapter.announce_spread(ledger, {"digits": alive, "elsewhere": elsewhere})
    assert ledger.table().loc["E-6.4-only", "verdict"] == verdict


def test_a_spread_that_was_not_run_is_no_verdict(runs):
    ledger = Ledger("11_energy_based_models")
    chapter.announce_spread(ledger, {"digits": runs[runs["label"] != "DT-VAE + EnL"]})
    assert ledger.table().loc["E-6.4-only", "verdict"] == NOT_RUN


def test_calibrations_that_were_tried_are_told_the_nearest_first(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))

    def record(kind, distance, objective="ec_vae", **options):
        options = {"loss": "l2", "alpha": 0.03} | options
        parameters = {"objective": objective, "options": options, "seed": 0}
        values = {"fd_generated": (distance, "FD")}
        records.save_values(f"energy_based_there_{kind}", parameters, values, seconds=1.0)

    record("tuning", 3.0, tolerance=0.1)
    record("tuning", 2.0, tolerance=0.1, rate=0.01)
    record("tuning", 9.0, "l2")
    record("search", 1.0, calibration=1.0, rate=0.0)
    record("search", 0.5, calibration=1.0, rate=0.0, alpha=0.1)
    record("search", 0.4, tolerance=0.1, loss="envae")
    found = chapter.tuned("there")["fd_generated"]
    assert list(found.items()) == [
        ("multiplier 1", 1.0), ("tolerance 0.1, rate 0.01", 2.0), ("tolerance 0.1", 3.0)
    ]  # fmt: skip


def test_samples_of_a_fitted_prior_count_where_a_row_is_judged_by_it():
    rows = pd.DataFrame(
        {"label": ["NCP-VAE", "EC-VAE"], "fd_generated": [4.0, 3.0], "fd_ncp": [2.0, None]}
    )
    plain = pd.DataFrame({"label": ["L2"], "fd_generated": [5.0]})
    found = chapter.quality(rows, plain).set_index("label")["samples"]
    assert found.to_dict() == {"VAE": 5.0, "NCP-VAE": 2.0, "EC-VAE": 3.0}


def test_tables_have_dashes_for_what_has_not_run(runs):
    runs = runs[runs["label"] != "EC-VAE + EnL"].assign(fd_gmm10=1.0, fd_ncp=2.0)
    runs.loc[(runs["label"] == "DT-VAE + FEnL") & (runs["seed"] == 3), "state"] = "missing"
    table = chapter.table(runs, "samples", chapter.METHODS[:4])
    assert list(table.columns) == list(chapter.METHODS[:4])
    assert table.loc["energy score (EnL)", "EC-VAE"] == "–"
    assert table.loc["one-draw surrogate (FEnL)", "DT-VAE"] == "–"
    assert table.loc["squared error", "VAE"].startswith("4.0")
    changed = chapter.differences(runs)
    assert "EC-VAE" not in changed.index
    assert changed.loc["VAE", "samples"].startswith("-2.0")
    assert changed.loc["DT-VAE"].iloc[-1].startswith(("+0.0", "-0.0"))  # two VAEs with EnL
    beyond = chapter.beyond_the_loss(runs)
    assert set(beyond) == {
        "DT-VAE + EnL", "NCP-VAE + EnL", "DT-VAE, weight 0.3 + EnL", "EC-VAE, multiplier 1 + EnL"
    }  # fmt: skip
    priors = chapter.by_prior(runs, ["NCP-VAE", "EC-VAE + EnL"])
    assert priors.loc["NCP, Langevin", "NCP-VAE"] == "2.00 ± 0.00"
    assert priors.loc["NCP, resampling", "NCP-VAE"] == "–"
    assert set(priors["EC-VAE + EnL"]) == {"–"}


def test_published_rows_stand_beside_ours(runs):
    other = runs.assign(samples=runs["samples"] + 10)
    table = chapter.beside_published({"mnist": other, "digits": runs})
    assert list(table) == [
        (metric, data)
        for metric in ("samples", "reconstructions")
        for data in ("mnist", "digits", "published")
    ]
    assert table.index.get_level_values(0).unique().tolist() == list(chapter.METHODS)
    row = table.loc["NCP-VAE", "energy score (EnL)"]
    assert row["samples", "published"] == "23.72"  # Table 2, FID of samples
    assert row["samples", "digits"].startswith("2.0")
    assert row["samples", "mnist"].startswith("12.0")
    assert row["reconstructions", "digits"].startswith("1.0")
    assert table.loc["VAE", "squared error"]["samples", "published"] == "–"


def test_records_elsewhere_are_read_by_experiment_and_rows_that_lack_a_seed_are_left_out(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))

    def record(prefix, seed, objective, options, **values):
        parameters = {"objective": objective, "options": options, "seed": seed}
        metrics = {name: (value, "FD") for name, value in values.items()}
        records.save_values(f"{prefix}_there", parameters, metrics, seconds=1.0)

    for seed in (1, 2):
        record("energy_based", seed, "l2", {"alpha": 0.1}, fd_generated=3.0, fd_ncp=2.0)
        record("energy_based_plain", seed, "l2", {"alpha": 0.1}, fd_generated=4.0)
    record("energy_based_plain", 1, "envae", {"samples": 10, "alpha": 0.1}, fd_generated=1.0)
    found = chapter.recorded("there", 2)
    assert found.groupby("label")["samples"].mean().to_dict() == {"NCP-VAE": 2.0, "VAE": 4.0}
    nothing = chapter.recorded("nowhere", 2)
    assert nothing.empty
    assert chapter.beyond_the_loss(nothing) == {}
    assert chapter.differences(nothing).empty
