"""How an objective is made: one class with its per-image term, known by name or not."""

import copy
import math
import re
import types
import typing

import numpy as np
import pytest
import torch
from torch.nn.functional import huber_loss

from envae import networks
from envae.objectives import Objective, base, names, objective
from envae.training import fit
from envae.vae import gaussian

IMAGES = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class HuberLoss(Objective):
    """The example of `objectives.base`, registered nowhere."""

    unit = "squared data units per image"

    def __init__(self, delta: float = 1.0, alpha: float = 0.1):
        super().__init__()
        base.check_positive(delta=delta, alpha=alpha)
        self.delta, self.kl_weight = delta, alpha

    def per_image(self, x, image, head=None):
        return huber_loss(image, x, reduction="none", delta=self.delta).flatten(1).sum(1)


def test_a_class_with_its_term_is_all_that_training_needs():
    vae = networks.build("mlp", (1, 8, 8), 3, seed=0)
    history = fit(vae, HuberLoss(delta=0.5), IMAGES, epochs=20, lr=1e-2, progress=False)
    assert history["total"].iloc[-1] < history["total"].iloc[0]
    assert {"kl", "squared_error"} <= set(history.columns)


def test_where_residuals_are_small_huber_is_half_the_squared_error():
    vae = networks.build("mlp", (1, 8, 8), 3, seed=0)
    losses = []
    for loss in (HuberLoss(delta=2.0, alpha=0.3), objective("l2", alpha=0.3)):
        torch.manual_seed(0)
        losses.append(loss(vae, IMAGES).total)
    torch.testing.assert_close(*losses)


class Known:
    """Posteriors N(1, 1) and N(0, 2^2) of two vectors of two numbers, which it decodes as zeros."""

    def encode(self, x):
        return gaussian(torch.tensor([[1.0], [0.0]]), torch.tensor([[1.0], [2.0]]))

    def decode(self, z):
        assert z.shape == (2, 1), "one code for each"
        return 0 * z.expand(-1, 2)


@pytest.mark.parametrize("loss", [HuberLoss(delta=2.0, alpha=0.3), objective("ae")])
def test_terms_and_what_is_logged_are_means_over_the_batch(loss):
    """Squared errors of 0.2 and 0.36; divergences of 1/2 and of 3/2 - ln 2."""
    found = loss(Known(), torch.tensor([[0.2, 0.4], [0.6, 0.0]]))
    kl = (0.5 + 1.5 - math.log(2)) / 2
    assert found.reconstruction.item() == pytest.approx((0.1 + 0.18) / 2)
    assert found.parts["squared_error"].item() == pytest.approx((0.2 + 0.36) / 2)
    if loss.deterministic:
        assert found.regularizer == 0
    else:
        assert found.regularizer.item() == pytest.approx(0.3 * kl)
        assert found.parts["kl"].item() == pytest.approx(kl)
    assert found.total == found.reconstruction + found.regularizer
    assert all(part.ndim == 0 for part in found.parts.values())


def test_it_knows_its_name_and_the_options_it_was_made_with():
    loss = HuberLoss(0.5)
    assert loss.name == "huber_loss"
    assert loss.options == {"delta": 0.5, "alpha": 0.1}
    assert repr(loss) == "HuberLoss(delta=0.5, alpha=0.1)"
    assert copy.deepcopy(loss).options == loss.options
    assert objective("ae").options == {}
    assert objective("envae", samples=3).options["samples"] == 3
    assert objective("iso_d", draws=2).options["draws"] == 2  # made by the class above it


def test_a_class_without_a_term_says_what_is_missing():
    class Empty(Objective):
        pass

    with pytest.raises(NotImplementedError, match="Empty must define per_image or reconstruct"):
        Empty()(networks.build("mlp", (1, 8, 8), 3), IMAGES)


def test_a_name_has_one_class(monkeypatch):
    monkeypatch.setattr(base, "_REGISTRY", dict(base._REGISTRY))
    base.register("huber")(HuberLoss)
    assert "huber" in names()
    assert objective("huber", delta=2.0).delta == 2
    base.register("huber")(HuberLoss)  # a cell that is run again

    class Other(HuberLoss):
        pass

    with pytest.raises(ValueError, match="an objective 'huber' exists already"):
        base.register("huber")(Other)


# --- parameters that have the shape of an image -----------------------------------------------


def test_a_variance_per_pixel_takes_its_shape_from_the_first_images():
    loss = objective("diag_i", estimate="trainable", initial=0.2)
    vae = networks.build("mlp", (1, 8, 8), 3, seed=0)
    # A loop of one's own makes the optimizer first: what it holds must be what is trained.
    optimizer = torch.optim.Adam([*vae.parameters(), *loss.parameters()], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        loss(vae, IMAGES).total.backward()
        optimizer.step()
    assert loss.log_variance.shape == (1, 8, 8)
    start = torch.tensor(0.2).log()
    assert not torch.isclose(loss.log_variance, start, atol=0.05).any()


def test_a_variance_per_pixel_fits_one_shape_only():
    loss = objective("diag_i", estimate="trainable")
    networks.build("mlp", (1, 8, 8), 3, objective=loss)
    assert loss.log_variance.shape == (1, 8, 8)
    with pytest.raises(ValueError, match=r"shape \(1, 8, 8\), received \(3, 8, 8\)"):
        loss.prepare((3, 8, 8))
    given = objective("diag_i", estimate="trainable", image_shape=(1, 8, 8))
    assert given.log_variance.shape == (1, 8, 8)


def test_a_model_is_built_with_the_head_that_an_objective_asks_for():
    loss = objective("student_t")
    vae = networks.build("mlp", (1, 8, 8), 3, objective=loss)
    loss(vae, IMAGES).total.backward()
    with pytest.raises(ValueError, match="head or objective, not both"):
        networks.build("mlp", (1, 8, 8), 3, head=1, objective=loss)


# --- what measures ask ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("l2", {"sigma2": 0.3}, 0.3),
        ("l2", {"alpha": 0.3}, 0.3),
        ("rae", {"code_weight": 0.05}, 0.05),
        ("iso_i", {}, None),
        ("envae", {}, None),
    ],
)
def test_a_fixed_pixel_variance_is_told(name, options, expected):
    assert objective(name, **options).pixel_variance == pytest.approx(expected)


def test_deterministic_objectives_are_those_that_decode_the_mean_alone():
    told = {name for name in names() if objective(name).deterministic}
    assert told == {"ae", "rae", "rae_gp", "wae_mmd"}


# --- what a stranger's class may do wrong -----------------------------------------------------


def test_a_term_that_is_not_one_number_per_image_is_an_error():
    class PerPixel(HuberLoss):
        def per_image(self, x, image, head=None):
            return (x - image).square()

    with pytest.raises(ValueError, match=r"one number per image, \(32,\), received shape \(32, 1"):
        PerPixel()(networks.build("mlp", (1, 8, 8), 3), IMAGES)


def test_a_subclass_keeps_its_own_name_and_its_parents_defaults():
    class Mine(type(objective("iso_i"))):
        name = "my_own"

    assert Mine.name == "my_own"
    assert Mine().epsilon == objective("iso_i").epsilon == 0
    assert objective("diag_i").epsilon == 1e-6


def test_a_stored_variance_per_pixel_is_found_again_by_a_new_objective():
    stored = objective("diag_i", estimate="trainable", image_shape=(1, 8, 8), initial=0.3)
    new = objective("diag_i", estimate="trainable")
    new.load_state_dict(stored.state_dict())
    assert torch.equal(new.log_variance, stored.log_variance)


def test_an_estimated_variance_leaves_the_model_as_it_was():
    vae, loss = networks.build("arelbo_mnist", (1, 8, 8), 3, seed=0), objective("iso_i")
    vae.train()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    loss.variance(vae, IMAGES)
    loss.density(vae, IMAGES)
    assert vae.training
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())


@pytest.mark.parametrize("value", ["0.3", None, True, [0.1], 0, -1.0, float("nan"), float("inf")])
def test_a_weight_is_one_positive_number(value):
    with pytest.raises(ValueError, match="alpha must be a positive number, received"):
        objective("envae", alpha=value)
    assert objective("envae", alpha=np.float64(0.3)).options["alpha"] == 0.3


@pytest.mark.parametrize("value", [True, 2.0, "2", 1, np.int64(1)])
def test_a_count_is_an_integer(value):
    with pytest.raises(ValueError, match="must be an integer from 2 up, received"):
        base.check_count(least=2, samples=value)
    base.check_count(least=2, samples=np.int64(2))


@pytest.mark.parametrize("value", ["0.3", None, True, [0.1], -1e-9, float("nan"), float("inf")])
def test_a_number_from_zero_up_may_be_zero(value):
    with pytest.raises(ValueError, match="rate must be a number from 0 up, received"):
        base.check_from_zero(first=0, rate=value)
    base.check_from_zero(first=0, rate=np.float32(0.0), weights=torch.tensor(0.5))


def test_values_of_images_are_from_0_to_1_and_not_beyond():
    least, most = torch.tensor([0.0, 1e-6]), torch.tensor([0.5, 1.0])
    base.check_images(least=least, most=most, none=torch.empty(0), unknown=torch.tensor([math.nan]))
    for wrong, told in ((least - 1e-6, r"\[-1e-06, 0\]"), (most + 1e-3, r"\[0.501, 1\]")):
        with pytest.raises(ValueError, match=rf"^x must have values in \[0, 1\], received {told}"):
            base.check_images(first=least, x=wrong)
    with pytest.raises(ValueError, match="x must be"):
        base.check_images(first=least, x=torch.tensor([0, 1]))


def test_the_range_of_images_on_a_gpu_is_looked_at_once_by_each_objective(monkeypatch):
    """A look makes a GPU wait; on the CPU every batch is looked at."""
    looked = []

    def look(**images):
        looked.append(set(images))
        if "bad" in images:
            raise ValueError("bad must have values in [0, 1]")

    monkeypatch.setattr(base, "check_images", look)
    there, here = (types.SimpleNamespace(device=torch.device(kind)) for kind in ("cuda", "cpu"))
    first, second = objective("bernoulli"), objective("bernoulli")
    for _ in range(2):  # what is refused was no batch
        with pytest.raises(ValueError, match=r"^bernoulli takes x of shape \(B, .*\]: bad must"):
            first.check_range(x=there, bad=there)
    first.check_range(x=there)
    first.check_range(bad=there)
    assert looked == [{"x", "bad"}, {"x", "bad"}, {"x"}]
    second.check_range(x=there)
    assert len(looked) == 4
    with pytest.raises(ValueError, match="bad must have values"):
        first.check_range(bad=here, x=there)


def test_values_that_are_not_finite_are_counted():
    finite, not_all = torch.ones(4), torch.tensor([1.0, math.nan, math.inf, -math.inf, 0.0])
    base.check_finite(first=finite)
    with pytest.raises(ValueError, match=r"^codes must be finite: 3 of 5 values are not$"):
        base.check_finite(first=finite, codes=not_all)
    with pytest.raises(ValueError, match="codes must be"):
        base.check_finite(first=finite, codes=torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("takes", "right", "wrong", "told"),
    [
        (base.Takes(), [(1, 1), (4, 2), (4, 1, 8), (4, 2, 3, 8, 8)], [(4,), (0, 3), (4, 0)],
         "(B, *event), such as (B, D), (B, C, T), (B, C, H, W), (B, C, D, H, W) of any range"),
        (base.Takes(base.WITH_CHANNELS, least=3), [(3, 1, 8), (4, 2, 3, 8, 8)],
         [(2, 1, 8), (3, 2), (3, 0, 8)],
         "(B, C, *grid), such as (B, C, T), (B, C, H, W), (B, C, D, H, W) of any range, B >= 3"),
        (base.Takes(base.IMAGES, unit_range=True, least=2), [(2, 1, 8, 8)],
         [(1, 1, 8, 8), (2, 8, 8), (2, 1, 1, 8, 8), (2, 1, 8, 0)],
         "(B, C, H, W) in [0, 1], B >= 2"),
    ],
)  # fmt: skip
def test_a_batch_has_the_axes_and_the_observations_that_are_taken(takes, right, wrong, told):
    assert str(takes) == told
    for shape in right:
        takes.check("mine", torch.zeros(shape))
    for shape in wrong:
        message = f"mine takes x of shape {told}, received {shape}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            takes.check("mine", torch.zeros(shape))


def test_editors_are_told_every_name():
    assert set(typing.get_args(base.Name)) == set(names())
