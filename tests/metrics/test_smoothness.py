"""Gap, ELS and Lipschitz estimates against closed forms of affine maps, and against each other."""

import math

import pytest
import torch
from torch import nn

from envae import networks
from envae.experiments import published
from envae.metrics import smoothness

WEIGHT = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])  # singular values 3 and sqrt 2


def affine(z):
    return z @ WEIGHT.T + 1


def codes(count, dim=2):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(0))


def draws():
    return torch.Generator().manual_seed(1)


def test_an_affine_decoder_has_its_closed_forms():
    z = codes(40_000)
    gap = smoothness.expected_gap(affine, z, 0.01, generator=draws())
    assert gap == pytest.approx(2 * 0.01 * 11, rel=0.02)
    assert smoothness.smoothness_from_gap(gap, 0.01) == pytest.approx(11, rel=0.02)
    assert smoothness.expected_local_smoothness(affine, z[:10]) == pytest.approx(11, rel=1e-6)
    assert smoothness.lipschitz_from_jacobians(affine, z[:10]) == pytest.approx(3, rel=1e-6)
    pairs = smoothness.lipschitz_from_pairs(affine, z[:200])
    assert 2.99 < pairs <= 3 + 1e-6


def test_tables_print_els_over_the_latent_dimension():
    """Stochastic rows: ELS = gap / (2 s^2) is eight times the printed value, to its rounding."""
    rows = published.table("takida2022", 1).query("row.str.startswith('stochastic')")
    values = rows.assign(value=rows["value"].astype(float)).pivot(
        index="row", columns="metric", values="value"
    )
    from_gap = smoothness.smoothness_from_gap(values["gap_1e3"], 1e-3)
    assert (from_gap / (8 * values["ELS"]) - 1).abs().max() < 0.02


def test_gap_over_twice_the_variance_goes_to_the_exact_smoothness():
    vae = networks.build("mlp", (1, 8, 8), 4, seed=0)
    z = 3 * codes(5000, 4)
    els = smoothness.expected_local_smoothness(vae.decode, z)
    gap = smoothness.expected_gap(vae.decode, z, 1e-6, generator=draws())
    assert smoothness.smoothness_from_gap(gap, 1e-6) == pytest.approx(els, rel=0.05)


def test_jacobians_of_many_and_of_few_inputs_are_those_of_autograd():
    vae = networks.build("conv", (1, 8, 8), 3, seed=0)
    images = torch.rand(2, 1, 8, 8, generator=draws())
    for function, points in (
        (vae.decode, codes(2, 3)),
        (lambda x: vae.encode(x).mean, images),
    ):
        expected = torch.stack(
            [
                torch.autograd.functional.jacobian(function, point[None]).reshape(-1, point.numel())
                for point in points
            ]
        )
        torch.testing.assert_close(smoothness.jacobians(function, points), expected)


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_bounds_of_the_lipschitz_constant_lie_in_their_order(name):
    vae = networks.build(name, (1, 8, 8), 4, seed=0)
    decoder = nn.Sequential(vae.decoder, vae.activation)
    z = codes(200, 4)
    els = smoothness.expected_local_smoothness(vae.decode, z)
    bounds = smoothness.lipschitz_bounds(decoder, z)
    assert math.sqrt(els / 4) <= bounds["Jacobians"] < bounds["layers"]
    assert bounds["pairs"] < bounds["layers"]


def test_the_layers_norms_are_exact_for_one_linear_and_one_convolutional_layer():
    linear = nn.Linear(2, 3)
    with torch.no_grad():
        linear.weight.copy_(WEIGHT)
    assert smoothness.lipschitz_of_layers(linear, (2,)) == pytest.approx(3, rel=1e-6)
    torch.manual_seed(0)
    for layer in (
        nn.Conv2d(2, 3, 4, stride=2, padding=1),
        nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1),
    ):
        matrix = smoothness.jacobians(layer, torch.randn(1, 2, 8, 8))[0]
        expected = torch.linalg.matrix_norm(matrix, ord=2).item()
        found = smoothness.lipschitz_of_layers(layer, (2, 8, 8))
        assert found == pytest.approx(expected, rel=1e-4)
        assert type(found) is float  # records hold no others


def test_activations_count_with_their_largest_slope():
    network = nn.Sequential(
        nn.Linear(1, 1), nn.Sequential(nn.ReLU(), nn.Linear(1, 1)), nn.Sigmoid()
    )
    with torch.no_grad():
        network[0].weight.fill_(-2)
        network[1][1].weight.fill_(3)
    assert smoothness.lipschitz_of_layers(network, (1,)) == pytest.approx(6 / 4)


def test_bad_arguments_are_errors():
    with pytest.raises(ValueError, match="positive number, received 0"):
        smoothness.expected_gap(affine, codes(3), 0)
    with pytest.raises(ValueError, match="received 3 alike"):
        smoothness.lipschitz_from_pairs(affine, torch.ones(3, 2))
    with pytest.raises(ValueError, match="layer Tanh; known are"):
        smoothness.lipschitz_of_layers(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), (2,))


def test_jacobians_are_the_same_however_many_fit_at_once(monkeypatch):
    vae = networks.build("conv", (1, 8, 8), 3, seed=0)
    expected = smoothness.jacobians(vae.decode, codes(20, 3))
    seen = []

    def counted(z):
        seen.append(len(z))
        return vae.decode(z)

    for bytes_at_once in (1, 7 * 64 * 3 * 4):
        monkeypatch.setattr(smoothness, "_AT_ONCE", bytes_at_once)
        torch.testing.assert_close(smoothness.jacobians(counted, codes(20, 3)), expected)
    # A first call tells the number of outputs; then one call per point, and one per seven.
    assert len(seen) == (1 + 20) + (1 + 3)


def test_a_point_that_is_not_finite_is_no_pair_without_a_distance():
    points = codes(5, 3).index_fill(0, torch.tensor([2]), torch.nan)
    with pytest.raises(ValueError, match="points must be finite: 3 of 15"):
        smoothness.lipschitz_from_pairs(lambda x: x, points)
