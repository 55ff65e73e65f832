"""Energy distance against SciPy and a closed form, precision and recall against torch-fidelity."""

import math

import pytest
import scipy.spatial
import scipy.stats
import torch

from envae.metrics import two_sample
from envae.metrics.two_sample import energy_distance, precision_recall, reached

# ruff: noqa: I001
import envae._torchvision  # noqa: F401  before torch_fidelity, which imports torchvision
from torch_fidelity.metric_prc import prc_features_to_metric


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(params=[7, 1000])
def batches(request, monkeypatch):
    monkeypatch.setattr(two_sample, "_AT_ONCE", request.param)


@pytest.mark.usefixtures("batches")
def test_energy_distance_on_the_line_is_scipys():
    """SciPy's is the root, and its means count each member's distance from itself, which is 0."""
    x, y = normal(40, 1), 2 * normal(30, 1, seed=1) + 1
    expected = scipy.stats.energy_distance(x[:, 0], y[:, 0]) ** 2
    for values in (x, y):
        within = scipy.spatial.distance.pdist(values).mean()
        expected -= within / len(values)
    assert energy_distance(x, y) == pytest.approx(expected, rel=1e-9)
    assert energy_distance(y, x) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("spread", [1.0, 1.5])
def test_energy_distance_of_gaussians_against_its_closed_form(spread):
    """E|Z| of a standard Gaussian in d dimensions is sqrt 2 Gamma((d + 1) / 2) / Gamma(d / 2)."""
    d = 6
    length = math.sqrt(2) * math.gamma((d + 1) / 2) / math.gamma(d / 2)
    expected = length * (2 * math.sqrt(1 + spread**2) - math.sqrt(2) * (1 + spread))
    x, y = normal(6000, 1, 2, 3), spread * normal(6000, 1, 2, 3, seed=1)
    assert energy_distance(x, y) == pytest.approx(expected, abs=0.006)


def test_energy_distance_of_a_shift_grows_with_it():
    x, y = normal(1000, 4), normal(1000, 4, seed=1)
    values = [energy_distance(x, y + shift) for shift in (0.0, 0.2, 1.0, 50.0)]
    assert values == sorted(values)
    assert values[-1] == pytest.approx(2 * 100, rel=0.05)  # far away, twice the distance


def test_rounding_in_single_precision_does_not_show():
    x, y = normal(1500, 64), normal(1200, 64, seed=1)
    expected = energy_distance(x, y)
    assert energy_distance(x.float(), y.float()) == pytest.approx(expected, abs=1e-4)
    assert energy_distance(x, x.clone()) == pytest.approx(
        -2 / len(x) * scipy.spatial.distance.pdist(x).mean(), rel=1e-6
    )


@pytest.mark.usefixtures("batches")
@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_precision_and_recall_are_torch_fidelitys(neighbours):
    generated, real = 0.7 * normal(60, 4), normal(80, 4, seed=1)
    expected = prc_features_to_metric(
        generated, real, prc_neighborhood=neighbours, prc_batch_size=1000, save_cpu_ram=False,
        verbose=False,
    )  # fmt: skip
    found = precision_recall(generated, real, neighbours=neighbours)
    assert found == pytest.approx((expected["precision"], expected["recall"]))
    assert found[0] > found[1]  # too narrow


def test_precision_and_recall_of_a_hand_made_case():
    """On the line, one neighbour: the real have balls of radius 1 about 0, 1, 10, 11."""
    real = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    generated = torch.tensor([[0.5], [0.6], [50.0]])  # radii 0.1, 0.1, 49.4
    precision, recall = precision_recall(generated, real, neighbours=1)
    assert precision == pytest.approx(2 / 3)
    assert recall == pytest.approx(3 / 4)  # all but 0 are within 49.4 of 50
    assert precision_recall(real, real) == (1, 1)


@pytest.mark.usefixtures("batches")
def test_real_images_are_reached_from_nearby_alone():
    """As above; a sample far away reaches nothing, however large recall's ball around it is."""
    real = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    generated = torch.tensor([[0.5], [0.6], [50.0]])
    assert reached(generated, real, neighbours=1) == pytest.approx(2 / 4)
    assert precision_recall(generated, real, neighbours=1)[1] == pytest.approx(3 / 4)
    assert reached(real, real, neighbours=1) == 1
    assert reached(real + 0.9, real, neighbours=1) == 1
    assert reached(real - 1.1, real, neighbours=1) == pytest.approx(2 / 4)
    spread = normal(300, 4)
    assert reached(spread, normal(300, 4, seed=1)) > 0.9 > 0.2 > reached(9 + spread, spread)


def test_bad_sets_are_errors():
    with pytest.raises(ValueError, match=r"at least 2 members, received shapes \(1, 4\)"):
        energy_distance(torch.rand(1, 4), torch.rand(5, 4))
    with pytest.raises(ValueError, match=r"shapes \(5, 3\) and \(5, 4\)"):
        energy_distance(torch.rand(5, 3), torch.rand(5, 4))
    with pytest.raises(ValueError, match="of more than 3 members"):
        precision_recall(torch.rand(3, 4), torch.rand(5, 4))
    with pytest.raises(ValueError, match="of more than 5 members"):
        reached(torch.rand(9, 4), torch.rand(5, 4))
    for measure in (precision_recall, reached):
        with pytest.raises(ValueError, match="neighbours must be an integer from 1 up, received 0"):
            measure(torch.rand(5, 4), torch.rand(5, 4), neighbours=0)


def test_close_sets_far_from_zero_keep_their_digits():
    generator = torch.Generator().manual_seed(0)
    real, new = 50 + 0.05 * torch.randn(2, 300, 32, generator=generator)
    own = two_sample.precision_recall(new, real), two_sample.reached(new, real)
    exact = new.double(), real.double()
    assert own == (two_sample.precision_recall(*exact), two_sample.reached(*exact))
    near = 1e-3 * real
    assert two_sample.precision_recall(1e-3 * new, near) == pytest.approx(own[0], abs=0.02)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_members_that_are_not_finite_are_refused(value):
    good, bad = torch.rand(9, 3), torch.rand(9, 3)
    bad[4, 1] = value
    for measure in (two_sample.precision_recall, two_sample.reached, two_sample.energy_distance):
        for pair in ((good, bad), (bad, good)):
            with pytest.raises(ValueError, match="must be finite"):
                measure(*pair)


def test_a_ball_has_its_surface():
    """On a line, with balls of radius 1 around 0, 1, 2 and 3: -1 and 4 lie on one, 5 on none."""
    real = torch.arange(4.0)[:, None]
    generated = torch.tensor([[-1.0], [5.0]])  # each in a ball of radius 6
    assert precision_recall(generated, real, neighbours=1) == (0.5, 1.0)
    assert reached(torch.tensor([[4.0], [9.0]]), real, neighbours=1) == 0.25
