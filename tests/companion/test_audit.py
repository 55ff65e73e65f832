import math

import numpy as np
import pandas as pd
import pytest

from envae.companion import audit


def test_printed_keeps_the_digits():
    table = audit.printed("takida2022_table3").set_index(["row", "metric"])
    cell = table.loc[("Uniform | s_x^2=0.1 | Iso-I", "sigma2_hat[SU+SL+BU+BL]")]
    assert (cell["text"], cell["value"], cell["half_unit"]) == ("0.10", 0.1, 0.005)


def test_wide_keeps_order_and_empty_cells():
    table = audit.wide("takida2022_table4")
    assert table.index[0] == "VAE w/ Gaussian (sigma_x^2=1.0)"
    assert table.loc["AE", ("MNIST", "MSE")] == 4.31
    assert np.isnan(table.loc["AE", ("MNIST", "FID_prior")])
    assert list(audit.wide("xu2025_table3", "CIFAR-10").columns[:2]) == ["Var", "Lip"]


@pytest.mark.parametrize(
    ("text", "expected"), [("0.10", 0.005), ("9.56e-2", 5e-5), ("115", 0.5), ("1.0e+2", 5.0)]
)
def test_half_unit(text, expected):
    assert audit.half_unit(text) == pytest.approx(expected)


def test_half_unit_of_no_finite_number_is_an_error():
    with pytest.raises(ValueError, match="finite number, received 'nan'"):
        audit.half_unit("nan")


def test_agrees_up_to_rounding():
    assert audit.agrees("7.18", 7.177)
    assert not audit.agrees("7.74", 7.177)
    assert audit.agrees("-2.26", -2.2578)
    assert audit.agrees("0.5", 0.55)  # a tie


def test_relative_improvement():
    # (97.101 - 90.132) / 97.101 = 6.969 / 97.101
    assert audit.relative_improvement(90.132, 97.101) == pytest.approx(7.17706, abs=1e-5)
    assert audit.relative_improvement(110, 100) == -10


def test_within_with_and_without_rounding():
    assert audit.within([0.105, 0.106], [0.1, 0.1], 0.05).tolist() == [True, False]
    assert audit.within(0.013, 0.017, 0.05).item() is False
    # 0.016 may stand for 0.0165, which is within 5 % of 0.017; 0.015 for 0.0155, which is not
    assert audit.within([0.016, 0.015], [0.017, 0.017], 0.05, slack=0.0005).tolist() == [
        True,
        False,
    ]


def test_rising_and_reversals():
    assert audit.rising([1, 1, 2])
    assert not audit.rising([1, 2, 1.9])
    assert audit.rising([1, 2, 1.9], forgive=0.2)
    assert audit.reversals([5, 4, 4.5, 4, 4.1]) == [2, 4]
    assert audit.reversals([3, 2, 1]) == audit.reversals([3, 2, 2]) == []


def test_rank_correlation():
    assert audit.spearman([1, 2, 3], [10, 30, 20]) == pytest.approx(0.5)
    # in the group "a" the pair agrees, in "b" it does not; pairs across groups do not count
    assert audit.concordant_pairs([1, 2, 3, 4], [1, 2, 9, 0], ["a", "a", "b", "b"]) == (1, 2)


def test_fit_of_a_line():
    x = np.array([1.0, 2.0, 4.0])
    assert audit.line_r2(x, 3 + 2 * x) == pytest.approx(1)


def test_kl_of_variance():
    # 8 / 2 (10 - ln 10 - 1) = 4 * 6.697415
    assert audit.kl_of_variance(10, 8) == pytest.approx(26.78966, abs=1e-5)
    assert audit.kl_of_variance(1, 8) == 0
    assert audit.latent_dim_from_kl(26.78966, 10) == pytest.approx(8, abs=1e-5)
    # KL = 1/2 |mu|² + the part of the variance
    assert audit.squared_mean(26.78966 + 1.5, 10, 8) == pytest.approx(3, abs=1e-4)


def test_gradient_from_gap():
    # an affine decoder J = 2 I_3: E|J(e - e')|² = 4 * 2 s² * 3 and |J|_F² = 12
    assert audit.gradient_from_gap(4 * 2 * 0.01 * 3, 0.01) == pytest.approx(12)


def test_gaussian_constant():
    assert audit.gaussian_constant(2) == pytest.approx(1.8378770664)


def test_plug_in_mass():
    # N(r | 0, r²) = 1 / (|r| sqrt(2 pi e)): over 1 < |r| < e the integral is 2 / sqrt(2 pi e)
    assert audit.plug_in_mass(1, math.e) == pytest.approx(2 / math.sqrt(2 * math.pi * math.e))
    assert audit.plug_in_mass(1e-6, 1) > 1


def test_spread_term():
    # samples 0, 1, 3: ordered pairs sum to 2 (1 + 3 + 2) = 12, over 2 * 3 * 2
    assert audit.spread_term([0, 1, 3], start=lambda j: 0) == pytest.approx(1)
    assert audit.spread_term([0, 1, 3], start=lambda j: j) == pytest.approx(0.5)


def test_gaps_of_fenvae():
    gap = audit.fenvae_gaps(3).loc[("CelebA-64", "dim=64")]
    # (78.941 - 80.012) / 78.941
    assert gap["computed"] == pytest.approx(-1.35671, abs=1e-5)
    assert (gap["published"], gap["agrees"]) == ("-1.36", True)
    off = audit.fenvae_gaps(7).query("not agrees")
    assert list(off.index) == [("CIFAR-10", "dim=64")]


def test_smoothness_criteria():
    by_x = audit.smoothness_criteria("takida2022_table1", 8)
    assert len(by_x) == 11
    assert list(by_x.index[:2]) == [0.0, -0.1]
    by_z = audit.smoothness_criteria("takida2022_tableE8", 8)
    assert by_z.loc[1.0, "sigma_z2"] == 10
    # Its KL is that of a mean of 0.
    assert by_z.loc[1.0, "mu2"] == pytest.approx(0, abs=0.02)
    # A gap of 2 s^2 d_z ELS
    assert by_x["els_ratio"].between(7.9, 8.2).all()


def test_above_bounds():
    criteria = pd.DataFrame(
        {"MI": [3.0, 1.0], "KL": [2.0, 2.0], "mu2": [1.0, 1.0], "sigma_z2": [1.0, 0.5]}
    )
    counts = audit.above_bounds(criteria, train_images=10, batch_images=100, spare=1.5)
    assert counts == {
        "rows": 2,
        "above KL": 1,
        "above ln N": 1,  # ln 10 = 2.3
        "above ln(batch)": 0,
        "above Jensen + 1.5": 1,  # 2.5 and 3.5
    }


def test_recovered_variances_and_mixtures():
    table = audit.recovered_variances(0.007, 0.05)
    row = table[table["row"] == "Uniform | s_x^2=0.01 | Iso-I"].iloc[0]
    assert (row["pattern"], row["model"], row["noise"]) == ("Uniform", "Iso-I", 0.01)
    assert row["target"] == pytest.approx(0.017)  # 0.013 is printed
    assert row["deviation"] == pytest.approx(100 * (0.013 - 0.017) / 0.017)  # percent
    assert not row["within"]
    assert not row["rounded"]
    mixed = audit.mixed_partitions(table, dict.fromkeys(table["model"], 0.004), 0.6)
    assert set(mixed["kind"]) == {"mixed"}
    share = mixed.groupby(["pattern", "model"])["share"].first()
    assert share["Spatial", "Iso-D"] == 0.5
    assert share["Spatial-conditional", "Iso-I"] == pytest.approx(0.3)  # half of the pixels
    assert share["Spatial-conditional", "Diag-I"] == 0.6  # of the upper half
    expected = 0.004 + mixed["share"] * mixed["noise"]
    assert mixed["predicted"].to_numpy() == pytest.approx(expected.to_numpy())
    off = 100 * (mixed["value"] - expected) / expected
    assert mixed["off"].to_numpy() == pytest.approx(off.to_numpy())
