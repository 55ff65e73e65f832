"""Chapter 11's verdicts, of runs that are made up."""

import numpy as np
import pandas as pd
import pytest

from envae.companion.chapters import energy_based_models as chapter
from envae.companion.claims import IN_PART, NOT_RUN, Ledger
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
    assert (found["reproduced"], found["in_part"]) == (False, True)
    assert "DT-VAE, samples; NCP-VAE, samples; EC-VAE, samples" in found["evidence"]
    surrogate = chapter.lower(runs, " + FEnL")
    assert (surrogate["reproduced"], surrogate["in_part"]) == (False, False)
    assert surrogate["evidence"].endswith("none")


def test_gains_and_emptied_posteriors(runs):
    assert chapter.gains(runs, " + EnL")["VAE"] == pytest.approx(0.5, abs=0.02)
    assert not chapter.modest(runs)["reproduced"]  # halved everywhere
    energies = runs["label"].isin([f"{method} + EnL" for method in chapter.PRINTED])
    assert chapter.modest(runs.assign(samples=runs["samples"] + energies))["reproduced"]
    found = chapter.only_the_loss(runs)
    assert (found["as_written"], found["corrected"]) == (False, True)
    found = chapter.reweighted(runs)  # below N(0, I) of the same VAE, level with the VAE's own
    assert (found["reproduced"], found["in_part"]) == (False, False)
    contrastive = runs["label"].str.startswith("NCP-VAE")
    assert chapter.reweighted(runs.assign(samples=runs["samples"] - contrastive))["reproduced"]
    assert not chapter.improved(runs, "EC-VAE")["reproduced"]


def test_a_verdict_needs_every_run_of_its_rows(runs):
    ledger = Ledger("11_energy_based_models")
    chapter.announce(ledger, "E-T2-enl", runs, SCALE)
    runs.loc[0, "state"] = "missing"  # of the VAE
    chapter.announce(ledger, "E-6.4-dt", runs, SCALE)
    verdicts = ledger.table()["verdict"]
    assert verdicts["E-T2-enl"] == IN_PART
    assert verdicts["E-6.4-dt"] == NOT_RUN


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
        "DT-VAE + EnL", "NCP-VAE + EnL", "DT-VAE, weight 0.3 + EnL"
    }  # fmt: skip
    priors = chapter.by_prior(runs, ["NCP-VAE", "EC-VAE + EnL"])
    assert priors.loc["NCP, Langevin", "NCP-VAE"] == "2.00 ± 0.00"
    assert priors.loc["NCP, resampling", "NCP-VAE"] == "–"
    assert set(priors["EC-VAE + EnL"]) == {"–"}


def test_published_rows_have_the_form_of_ours(runs):
    theirs = chapter.published("samples")
    assert list(theirs.index) == list(chapter.table(runs, "samples").index)
    assert list(theirs.columns) == list(chapter.PRINTED)
    assert theirs.loc["energy score (EnL)", "NCP-VAE"] == "23.72"  # Table 2, FID of samples


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
