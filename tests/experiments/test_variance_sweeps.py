"""The sweeps of Tables 1 and E.8: what is published, and what is recorded."""

import pandas as pd
import pytest

from envae.experiments import published, records, variance_sweeps


def test_a_published_sweep_holds_the_tables_rows_of_its_kind():
    stochastic = variance_sweeps.published_sweep(1, "stochastic")
    assert list(stochastic.index) == pytest.approx([x / 10 for x in range(-10, 1)])
    assert set(stochastic) == set(variance_sweeps.COLUMNS)
    deterministic = variance_sweeps.published_sweep(1, "deterministic")
    assert set(stochastic) - set(deterministic) == {"KL", "sigma_z2"}
    assert len(variance_sweeps.published_sweep("E8", "log10")) == 21


def test_smoothness_is_told_as_equation_6_has_it():
    printed = published.wide("takida2022_table1", "MNIST")["ELS"]
    sweep = variance_sweeps.published_sweep(1, "stochastic")
    assert sweep.loc[-0.5, "ELS"] == 8 * printed["stochastic; log10 sigma_x^2=-0.5"]


RUNS = pd.DataFrame(
    [
        ("l2", {"sigma2": 1.0}, "isotropic", "mlp64", 0, 5, 3.0),
        ("l2", {"sigma2": 1.0}, "isotropic", "mlp64", 0, 20, 2.0),
        ("l2", {"sigma2": 1.0}, "isotropic", "mlp64", 1, 5, 8.0),
        ("l2", {"sigma2": 0.1}, "isotropic", "mlp64", 0, 20, 1.0),
        ("l2", {"sigma2": 0.1}, "isotropic", "conv", 0, 20, 9.0),
        ("iso_i", {}, 10.0, "mlp64", 0, 20, 4.0),
        ("iso_i", {}, "isotropic", "mlp64", 0, 20, 5.0),
    ],
    columns=["objective", "options", "posterior", "network", "seed", "epochs", "kl"],
)


@pytest.mark.parametrize("order", [1, -1])
def test_a_recorded_sweep_takes_the_longest_run_of_each_seed_at_each_variance(monkeypatch, order):
    monkeypatch.setattr(records, "load", lambda experiment: RUNS[::order])
    over_option = variance_sweeps.recorded_sweep("l2", "sigma2")
    assert over_option["kl"].to_dict() == {(-1.0, 0): 1.0, (0.0, 0): 2.0, (0.0, 1): 8.0}
    over_posterior = variance_sweeps.recorded_sweep("iso_i")
    assert over_posterior["kl"].to_dict() == {(1.0, 0): 4.0}
    of_network = variance_sweeps.recorded_sweep("l2", "sigma2", "conv")
    assert of_network["kl"].to_dict() == {(-1.0, 0): 9.0}
