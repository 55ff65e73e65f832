"""Models trained as a stack, against the same models trained alone."""

import pytest
import torch

from envae import datasets, networks, training
from envae.experiments import batched, fenvae
from envae.objectives import names, objective
from envae.objectives.base import Objective

SHAPE = (1, 8, 8)
DIGITS = datasets.load("digits").train[:120]


def build(name, options, network="mlp64"):
    """Models and objectives, one of each for the options of each member."""
    needed = {"latent_dim": 4} if name == "dt_vae" else {}
    objectives = [objective(name, **needed | each) for each in options]
    vaes = [
        networks.build(network, SHAPE, 4, objective=minimized, seed=seed)
        for seed, minimized in enumerate(objectives)
    ]
    return vaes, objectives


def alone(name, options, images, **settings):
    """Histories and weights of the same models, one after the other."""
    vaes, objectives = build(name, options)
    histories = [
        training.fit(*pair, each, seed=seed, accelerator="cpu", progress=False, **settings)
        for seed, (pair, each) in enumerate(
            zip(zip(vaes, objectives, strict=True), images, strict=True)
        )
    ]
    return vaes, histories


@pytest.mark.parametrize("name", names())
def test_a_stack_gives_the_losses_that_fit_gives(name, monkeypatch):
    """Same order, same noise: from the same seeds, to the rounding of a batched product.

    A few steps, since any rounding grows from step to step; written down as in a long training.
    """
    monkeypatch.setattr(batched, "_MANY", 1)
    # With its own weight, 999, of a difference of like sums, their rounding is seen.
    options = [{"scaling": 10.0} if name == "infovae" else {}] * 2
    vaes, objectives = build(name, options)
    together = batched.fit(vaes, objectives, DIGITS, epochs=2, seeds=[0, 1], batch_size=50)
    others, histories = alone(name, options, [DIGITS] * 2, epochs=2, batch_size=50)
    for mine, its in zip(together, histories, strict=True):
        assert list(mine) == list(its)
        values = mine.drop(columns="seconds").to_numpy()
        # Adam without momentum (ec_vae) follows a sign at first, and a rounding with it.
        expected = its.drop(columns="seconds").to_numpy()
        assert values == pytest.approx(expected, rel=1e-5, abs=5e-6 if name == "ec_vae" else 1e-6)
    assert together[0]["total"].iloc[-1] != together[1]["total"].iloc[-1]
    assert not vaes[0].training
    for vae, other in zip(vaes, others, strict=True):
        for weight, its in zip(vae.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(weight, its, rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("name", "option", "values"),
    [
        ("envae", "alpha", (0.01, 0.3)),
        ("fenvae", "alpha", (0.01, 0.3)),
        ("l2", "sigma2", (0.01, 1.0)),
        ("rae", "code_weight", (0.01, 1.0)),
        ("wae_mmd", "mmd_weight", (25.0, 250.0)),
        ("infovae", "scaling", (1.5, 10.0)),
        ("dt_vae", "alpha", (0.01, 0.1)),
        ("ec_vae", "alpha", (0.01, 0.1)),
    ],
)
def test_a_search_over_a_number_is_one_stack(name, option, values):
    options = [{option: value} for value in values]
    vaes, objectives = build(name, options)
    together = batched.fit(vaes, objectives, DIGITS, epochs=2, seeds=[0, 1], batch_size=50)
    _, histories = alone(name, options, [DIGITS] * 2, epochs=2, batch_size=50)
    for mine, its in zip(together, histories, strict=True):
        assert mine["total"].tolist() == pytest.approx(its["total"].tolist(), rel=1e-5)


def test_each_model_may_have_images_of_its_own():
    images = DIGITS.reshape(3, 40, *SHAPE)
    vaes, objectives = build("rae", [{}] * 3)
    together = batched.fit(vaes, objectives, images, epochs=3, seeds=range(3), batch_size=16)
    _, histories = alone("rae", [{}] * 3, images, epochs=3, batch_size=16)
    for mine, its in zip(together, histories, strict=True):
        assert mine["total"].tolist() == pytest.approx(its["total"].tolist(), rel=1e-5)


def test_a_model_that_diverges_leaves_the_others_alone():
    images = torch.rand(2, 32, *SHAPE)
    vaes, objectives = build("l2", [{}, {"sigma2": 1e-39}])
    first, second = batched.fit(vaes, objectives, images, epochs=3, seeds=[0, 1], batch_size=16)
    assert (len(first), len(second)) == (3, 0)
    assert all(weight.isfinite().all() for weight in vaes[0].parameters())


def test_images_that_are_not_finite_are_an_error_that_names_them():
    images = torch.rand(2, 32, *SHAPE)
    images[1, 5] = torch.nan
    with pytest.raises(ValueError, match="1 of 32 are not, the first at index 5"):
        batched.fit(*build("rae", [{}] * 2), images, epochs=3, seeds=[0, 1], batch_size=16)


def test_a_single_image_that_is_left_over_joins_the_batch_before_it_in_a_stack_too():
    options = [{"scaling": 10.0}] * 2
    vaes, objectives = build("infovae", options)
    images = DIGITS[:33]
    together = batched.fit(vaes, objectives, images, epochs=1, seeds=[0, 1], batch_size=16)
    _, histories = alone("infovae", options, [images] * 2, epochs=1, batch_size=16)
    for mine, its in zip(together, histories, strict=True):
        assert mine["total"].tolist() == pytest.approx(its["total"].tolist(), rel=1e-5)


def test_probes_drawn_in_the_loss_are_those_of_fit():
    vaes, objectives = build("rae_gp", [{"probes": 2}] * 2)
    together = batched.fit(vaes, objectives, DIGITS, epochs=2, seeds=[0, 1], batch_size=50)
    _, histories = alone("rae_gp", [{"probes": 2}] * 2, [DIGITS] * 2, epochs=2, batch_size=50)
    for mine, its in zip(together, histories, strict=True):
        assert mine["total"].tolist() == pytest.approx(its["total"].tolist(), rel=1e-5)


class Asking(Objective):
    """Looks at a value, which a stack has several of."""

    unit = "squared data units per image"

    def per_image(self, x, image, head=None):
        return (
            (x - image).square().flatten(1).sum(1) if image.max() < 2 else image.flatten(1).sum(1)
        )


class Uniform(Objective):
    """Draws numbers that are not normal, which nobody hands out to the members."""

    unit = "squared data units per image"

    def per_image(self, x, image, head=None):
        return torch.rand(len(image)) * (x - image).square().flatten(1).sum(1)


class Noisy(Objective):
    """Adds normal noise of its own, as `training.fit` would; or draws it in place."""

    unit = "squared data units per image"

    def __init__(self, in_place: bool = False):
        super().__init__()
        self.in_place = in_place

    def per_image(self, x, image, head=None):
        if self.in_place:
            noise = torch.empty_like(x)
            noise.normal_(0, 0.1)
        else:
            noise = torch.normal(0.5, 0.1, x.shape)
        return (x - image + noise).square().flatten(1).sum(1)


@pytest.mark.parametrize("in_place", [False, True])
def test_draws_have_their_mean_and_spread_and_those_in_place_are_lost(in_place):
    vaes, _ = build("l2", [{}] * 2)
    others, _ = build("l2", [{}] * 2)
    found, _ = batched.fit(vaes, [Noisy(in_place), Noisy(in_place)], DIGITS, epochs=1, seeds=[0, 1])
    alone = training.fit(others[0], Noisy(in_place), DIGITS, epochs=1, seed=0, progress=False)
    if in_place:
        assert found.empty  # not a number, and never a wrong one
    else:
        assert found["total"].tolist() == pytest.approx(alone["total"].tolist(), rel=1e-5)


class Hidden(Objective):
    """Keeps a number where it likes, or in a part of its own."""

    unit = "squared data units per image"

    def __init__(self, factor: float = 1.0, nested: bool = False):
        super().__init__()
        self._factor = 1.0 if nested else factor
        self.part = torch.nn.LeakyReLU(factor if nested else 0.1)

    def per_image(self, x, image, head=None):
        return self._factor * self.part(x - image).square().flatten(1).sum(1)


def test_a_number_is_each_members_own_wherever_it_is_kept():
    vaes, _ = build("l2", [{}] * 2)
    others, _ = build("l2", [{}] * 2)
    _, found = batched.fit(vaes, [Hidden(1.0), Hidden(5.0)], DIGITS, epochs=1, seeds=[0, 1])
    alone = training.fit(others[1], Hidden(5.0), DIGITS, epochs=1, seed=1, progress=False)
    assert found["total"].tolist() == pytest.approx(alone["total"].tolist(), rel=1e-5)
    with pytest.raises(batched.NotTogether, match="may differ in floats alone"):
        batched.fit(
            vaes,
            [Hidden(0.2, nested=True), Hidden(0.5, nested=True)],
            DIGITS,
            epochs=1,
            seeds=[0, 1],
        )


def test_models_of_a_stack_are_of_one_network():
    vaes, objectives = build("l2", [{}] * 2)
    vaes[1].activation = torch.nn.Identity()
    with pytest.raises(ValueError, match="of one network"):
        batched.fit(vaes, objectives, DIGITS, epochs=1, seeds=[0, 1])
    with pytest.raises(ValueError, match="no model is there twice"):
        batched.fit(vaes[:1] * 2, objectives, DIGITS, epochs=1, seeds=[0, 1])


@pytest.mark.parametrize("name", ["epochs", "batch_size", "models"])
def test_a_stack_has_models_epochs_and_batches(name):
    vaes, objectives = build("l2", [{}] * (0 if name == "models" else 2))
    given = {"epochs": 1, "batch_size": 16, "seeds": [0, 1]} | {name: 0}
    given.pop("models", None)
    with pytest.raises(ValueError, match=f"{name} must be an integer from 1 up, received 0"):
        batched.fit(vaes, objectives, DIGITS, **given)


@pytest.mark.parametrize("kind", [Asking, Uniform])
def test_an_objective_that_cannot_be_evaluated_for_several_models_is_refused(kind):
    vaes, _ = build("l2", [{}] * 2)
    with pytest.raises(batched.NotTogether, match="cannot be trained for several models at once"):
        batched.fit(vaes, [kind(), kind()], DIGITS, epochs=1, seeds=[0, 1])


def test_parameters_of_the_objective_are_trained_too():
    vaes, objectives = build("diag_i", [{"estimate": "trainable"}] * 2)
    for minimized in objectives:
        minimized.prepare(SHAPE)
    before = objectives[0].log_variance.clone()
    batched.fit(vaes, objectives, DIGITS, epochs=1, seeds=[0, 1])
    assert not torch.equal(objectives[0].log_variance, before)
    assert not torch.equal(objectives[0].log_variance, objectives[1].log_variance)


def test_objectives_of_a_stack_learn_the_shape_of_its_images():
    """From a model that knows none of them, as `training.fit` tells it to them."""
    own = DIGITS[:80].reshape(2, 40, *SHAPE)
    options = {"name": "diag_i", "estimate": "trainable"}
    for images, of_member in ((DIGITS, [DIGITS] * 2), (own, own)):
        vaes, _ = build("l2", [{}] * 2)
        others, _ = build("l2", [{}] * 2)
        pair = [objective(**options) for _ in vaes]
        together = batched.fit(vaes, pair, images, epochs=1, seeds=[0, 1])
        for seed, history in enumerate(together):
            alone = training.fit(
                others[seed], objective(**options), of_member[seed], epochs=1, seed=seed,
                accelerator="cpu", progress=False,
            )  # fmt: skip
            assert history["total"].tolist() == pytest.approx(alone["total"].tolist(), rel=1e-5)
            assert pair[seed].log_variance.shape == SHAPE


def test_images_may_be_drawn_anew_and_the_models_are_up_to_date_after_each_epoch():
    vaes, objectives = build("rae", [{}] * 2)
    asked, seen = [], []

    def images(epoch):
        asked.append(epoch)
        return torch.rand(2, 8, *SHAPE, generator=torch.Generator().manual_seed(epoch))

    def after_epoch(epochs):
        seen.append((epochs, next(vaes[0].parameters()).detach().clone()))

    batched.fit(vaes, objectives, images, epochs=2, seeds=[0, 1], lr=0.1, after_epoch=after_epoch)
    assert set(asked) == {0, 1}
    assert [epochs for epochs, _ in seen] == [1, 2]
    assert not torch.equal(seen[0][1], seen[1][1])


class Counting(Objective):
    """Weighs each loss by the number of the call, kept as a plain number."""

    unit = "squared data units per image"

    def __init__(self):
        super().__init__()
        self.calls = 0

    def per_image(self, x, image, head=None):
        self.calls += 1
        return self.calls * (x - image).square().flatten(1).sum(1)


class InfiniteOnce(Counting):
    """A loss that is no number at the second call, and whose gradient is one."""

    def per_image(self, x, image, head=None):
        loss = super().per_image(x, image, head)
        return loss + torch.inf if self.calls == 2 else loss


def test_a_history_ends_before_a_loss_that_is_not_finite_even_if_later_ones_are():
    vaes, _ = build("l2", [{}] * 2)
    pair, seen = [InfiniteOnce(), InfiniteOnce()], []
    histories = batched.fit(
        vaes, pair, DIGITS, epochs=3, seeds=[0, 1], batch_size=120, after_epoch=seen.append
    )
    assert seen == [1, 2, 3]
    assert [history["epoch"].tolist() for history in histories] == [[1], [1]]


@pytest.mark.parametrize(
    "make",
    [lambda: objective("envae"), lambda: fenvae.Ramped(ramp=4), Counting],
    ids=["envae", "a buffer", "a plain number"],
)
def test_a_step_that_is_written_down_gives_the_same_numbers(make, monkeypatch):
    def trained():
        vaes, _ = build("l2", [{}] * 2)
        found = batched.fit(vaes, [make(), make()], DIGITS, epochs=2, seeds=[0, 1], batch_size=40)
        return [history["total"].tolist() for history in found]

    found = trained()
    monkeypatch.setattr(batched, "_MANY", 1)
    assert trained() == found


def test_torchs_generator_is_left_where_it_was():
    vaes, objectives = build("envae", [{}] * 2)
    before = torch.get_rng_state()
    batched.fit(vaes, objectives, DIGITS, epochs=1, seeds=[0, 1])
    assert torch.equal(torch.get_rng_state(), before)


def test_the_numbers_of_models_seeds_and_image_sets_must_agree():
    vaes, objectives = build("rae", [{}] * 2)
    with pytest.raises(ValueError, match="2 models, 2 objectives, 2 seeds and 3 image sets"):
        batched.fit(vaes, objectives, torch.rand(3, 8, *SHAPE), epochs=1, seeds=[0, 1])
    with pytest.raises(ValueError, match="2 models, 2 objectives, 1 seeds and 2 image sets"):
        batched.fit(vaes, objectives, torch.rand(2, 8, *SHAPE), epochs=1, seeds=[0])


def test_a_posterior_variance_that_is_fixed_stays_what_it_was():
    vaes = [
        networks.build("mlp64", SHAPE, 4, posterior=variance, seed=0) for variance in (0.5, 2.0)
    ]
    objectives = [objective("iso_i") for _ in vaes]
    batched.fit(vaes, objectives, DIGITS, epochs=1, seeds=[0, 1])
    for vae, expected in zip(vaes, (0.5, 2.0), strict=True):
        variance = vae.encode(DIGITS[:3]).variance
        assert torch.allclose(variance, torch.full_like(variance, expected))


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (("l2", {"sigma2": 0.01}), r"minimizes one objective, received EnVAE\(.* and L2\("),
        (("envae", {"samples": 3}), r"may differ in floats alone, received .*samples=3"),
    ],
)
def test_a_stack_minimizes_one_objective(other, told):
    vaes, _ = build("envae", [{}] * 2)
    name, options = other
    with pytest.raises(ValueError, match=told):
        batched.fit(
            vaes, [objective("envae"), objective(name, **options)], DIGITS, epochs=1, seeds=[0, 1]
        )
