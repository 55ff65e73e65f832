"""Models trained as a batch, against the same models trained alone."""

import pytest
import torch

from envae import datasets, networks, training
from envae.experiments import batched
from envae.objectives import objective

SHAPE = (1, 8, 8)


def _models(count, **options):
    name = options.pop("name", "rae")
    objectives = [objective(name, **options) for _ in range(count)]
    head = objectives[0].head_maps(1)
    vaes = [networks.build("mlp64", SHAPE, 4, head=head, seed=seed) for seed in range(count)]
    return vaes, objectives


def test_each_model_ends_as_it_does_alone():
    """With one batch per epoch and a deterministic objective nothing is left to chance."""
    images = datasets.load("digits").train[:120].reshape(3, 40, *SHAPE)
    together, objectives = _models(3)
    batched.fit(together, objectives, images, epochs=5, batch_size=40, lr=1e-2)
    alone, objectives = _models(3)
    for index, vae in enumerate(alone):
        training.fit(
            vae, objectives[index], images[index], epochs=5, batch_size=40, lr=1e-2,
            accelerator="cpu", progress=False,
        )  # fmt: skip
        for mine, its in zip(together[index].parameters(), vae.parameters(), strict=True):
            assert torch.allclose(mine, its, atol=1e-4)


def test_a_model_that_diverges_leaves_the_others_alone():
    images = torch.rand(2, 32, *SHAPE)
    images[1, 0] = torch.inf
    vaes, objectives = _models(2)
    losses = batched.fit(vaes, objectives, images, epochs=3, batch_size=16)
    assert losses.shape == (3, 2)
    assert losses[:, 0].isfinite().all()
    assert not losses[-1, 1].isfinite()
    assert all(weight.isfinite().all() for weight in vaes[0].parameters())


@pytest.mark.parametrize("name", ["envae", "fenvae", "ffl", "bernoulli", "ssim"])
def test_objectives_that_cannot_be_batched_say_so_and_others_train(name):
    vaes, objectives = _models(2, name=name)
    images = torch.rand(2, 32, *SHAPE)
    if name in ("envae", "fenvae", "ssim"):
        losses = batched.fit(vaes, objectives, images, epochs=30, batch_size=16, lr=1e-2)
        assert (losses[-1] < losses[0]).all()
    else:
        with pytest.raises(ValueError, match=f"'{name}' cannot be trained for several models"):
            batched.fit(vaes, objectives, images, epochs=1, batch_size=16)


def test_parameters_of_the_objective_are_trained_too():
    vaes, objectives = _models(2, name="diag_i", estimate="trainable")
    for minimized in objectives:
        minimized.prepare(SHAPE)
    before = objectives[0].log_variance.clone()
    batched.fit(vaes, objectives, torch.rand(2, 32, *SHAPE), epochs=1, batch_size=16)
    assert not torch.equal(objectives[0].log_variance, before)
    assert not torch.equal(objectives[0].log_variance, objectives[1].log_variance)


def test_images_may_be_drawn_anew_and_the_models_are_up_to_date_after_each_epoch():
    vaes, objectives = _models(2)
    asked, seen = [], []

    def images(epoch):
        asked.append(epoch)
        return torch.rand(2, 8, *SHAPE, generator=torch.Generator().manual_seed(epoch))

    def after_epoch(epochs):
        seen.append((epochs, next(vaes[0].parameters()).detach().clone()))

    batched.fit(vaes, objectives, images, epochs=2, batch_size=8, lr=0.1, after_epoch=after_epoch)
    assert set(asked) == {0, 1}
    assert [epochs for epochs, _ in seen] == [1, 2]
    assert not torch.equal(seen[0][1], seen[1][1])


def test_the_numbers_of_models_and_image_sets_must_agree():
    vaes, objectives = _models(2)
    with pytest.raises(ValueError, match="2 models, 2 objectives and 3 image sets"):
        batched.fit(vaes, objectives, torch.rand(3, 8, *SHAPE), epochs=1)


def test_a_posterior_variance_that_is_fixed_stays_what_it_was():
    vaes = [networks.build("mlp64", SHAPE, 4, posterior=0.5, seed=seed) for seed in range(2)]
    objectives = [objective("iso_i") for _ in vaes]
    batched.fit(vaes, objectives, torch.rand(2, 32, *SHAPE), epochs=1, batch_size=16)
    variance = vaes[1].encode(torch.rand(3, *SHAPE)).variance
    assert torch.allclose(variance, torch.full_like(variance, 0.5))


def test_an_ensemble_minimizes_one_objective():
    vaes, _ = _models(2)
    for other in (objective("l2", sigma2=0.01), objective("rae", code_weight=1.0)):
        with pytest.raises(ValueError, match=r"minimizes one objective, received RAE\(.* and "):
            batched.fit(vaes, [objective("rae"), other], torch.rand(2, 8, *SHAPE), epochs=1)
