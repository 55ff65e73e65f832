"""Looking at a model changes nothing: neither its mode and statistics, nor torch's generator."""

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from envae import evaluation, networks
from envae.evaluation import evaluating, seeded
from envae.vae import Given, gaussian

IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def normalized():
    """A model with batch normalization, one layer of which is held in evaluation mode."""
    vae = networks.build("arelbo_mnist", (1, 8, 8), 3, seed=0)
    layers = [layer for layer in vae.modules() if isinstance(layer, nn.BatchNorm1d)]
    vae.train()
    layers[0].eval()
    return vae


def test_every_layer_has_its_own_mode_again_also_after_an_error():
    vae = normalized()
    before = [layer.training for layer in vae.modules()]
    assert len(set(before)) == 2
    state = {name: value.clone() for name, value in vae.state_dict().items()}
    with evaluating(vae, object()):
        assert not any(layer.training for layer in vae.modules())
        vae.decode(vae.encode(IMAGES).mean)
    with pytest.raises(KeyError), evaluating(vae):
        raise KeyError
    assert [layer.training for layer in vae.modules()] == before
    assert all(torch.equal(value, state[name]) for name, value in vae.state_dict().items())


def test_a_seed_is_for_the_block_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with seeded(7):
        first = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with seeded(7):
        assert torch.equal(torch.rand(3), first)


class Plain:
    """Two methods and nothing else, as another code base may have them."""

    def encode(self, x):
        mean = x.flatten(1)[:, :2]
        return gaussian(mean, torch.ones_like(mean))

    def decode(self, z):
        return z.sum(-1).reshape(*z.shape[:-1], 1, 1, 1).expand(*z.shape[:-1], 1, 8, 8)


def test_an_object_without_weights_takes_images_where_they_are():
    assert evaluation.device_of(Plain()) is None
    assert evaluation.encode(Plain(), IMAGES).mean.shape == (5, 2)
    assert evaluation.decoded_draws(Plain(), IMAGES, draws=3).shape == (3, 5, 1, 8, 8)


def test_batches_give_what_one_call_gives(monkeypatch):
    vae = networks.build("mlp", (1, 8, 8), 3, seed=0)
    images = torch.rand(2100, 1, 8, 8)
    whole = vae.encode(images)
    torch.testing.assert_close(evaluation.encode(vae, images).mean, whole.mean)
    torch.testing.assert_close(evaluation.decode(vae, whole.mean), vae.decode(whole.mean))
    sizes = [len(batch) for batch in evaluation.batches(vae, images)]
    assert sizes == [1000, 1000, 100]


def test_draws_come_from_the_generator_that_is_given():
    vae = networks.build("mlp", (1, 8, 8), 3, seed=0)
    first, second = (
        evaluation.decoded_draws(vae, IMAGES, torch.Generator().manual_seed(3), draws=2)
        for _ in range(2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first[0], first[1])


class Labelled(Plain):
    """Both of its methods add the label."""

    def encode(self, x, label):
        return gaussian(x.flatten(1)[:, :2] + label[:, None], torch.ones(len(x), 2))

    def decode(self, z, label):
        return super().decode(z + label[:, None])


def test_a_conditional_model_is_measured_with_the_context_of_each_image():
    """Of more images than are encoded in one call, and of several draws of each."""
    labels, images = torch.arange(1300) % 7, torch.rand(1300, 1, 8, 8)
    vae = Given(Labelled(), labels)
    posterior = evaluation.encode(vae, images)
    torch.testing.assert_close(posterior.mean, images.flatten(1)[:, :2] + labels[:, None])
    codes = posterior.mean.repeat(3, 1)
    expected = (posterior.mean + labels[:, None]).sum(1).repeat(3)
    torch.testing.assert_close(evaluation.decode(vae, codes)[:, 0, 0, 0], expected)
    assert evaluation.decoded_draws(vae, images, draws=3).shape == (3, 1300, 1, 8, 8)
    with pytest.raises(ValueError, match=r"received \(1300,\) for 2600"):
        evaluation.encode(vae, images.repeat(2, 1, 1, 1))


def test_a_posterior_of_any_kind_has_decoded_draws():
    root = torch.tensor([[2.0, 0.0], [1.5, 0.5]])

    class Correlated(Plain):
        def encode(self, x):
            return MultivariateNormal(x.flatten(1)[:, :2], scale_tril=root.expand(len(x), 2, 2))

    def draws(seed):
        source = torch.Generator().manual_seed(seed)
        return evaluation.decoded_draws(Correlated(), IMAGES, source, draws=4000)[..., 0, 0, 0]

    found = draws(0)
    assert torch.equal(found, draws(0))
    assert not torch.equal(found, draws(1))
    # Plain decodes to the sum of the coordinates.
    expected = (root @ root.T).sum().sqrt().expand(5)
    torch.testing.assert_close(found.std(0), expected, rtol=0.05, atol=0)
    torch.testing.assert_close(found.mean(0), IMAGES.flatten(1)[:, :2].sum(1), rtol=0, atol=0.25)


class PassesOn:
    """A decoder of codes as they are, and posteriors of standard deviations 0.1 and 3."""

    def encode(self, x):
        return gaussian(x.flatten(1)[:, :2], torch.tensor([0.1, 3.0]).expand(len(x), 2))

    def decode(self, z):
        return z


def test_decoded_draws_have_the_standard_deviation_of_the_posterior():
    generator = torch.Generator().manual_seed(0)
    drawn = evaluation.decoded_draws(PassesOn(), IMAGES, generator, draws=4000)
    mean = IMAGES.flatten(1)[:, :2]
    stddev = torch.tensor([0.1, 3.0]).expand(5, 2)
    assert ((drawn.mean(0) - mean) / stddev).abs().max() < 4 / 4000**0.5
    torch.testing.assert_close(drawn.std(0), stddev, rtol=0.05, atol=0)


def test_squared_error_is_a_sum_over_pixels_and_a_mean_over_images():
    images, x = torch.zeros(2, 3, 1, 2), torch.ones(2, 3, 1, 2)
    x[1] = 2
    assert evaluation.squared_error(images, x) == (6 * 1 + 6 * 4) / 2
    with pytest.raises(ValueError, match=r"x must be .* received shape .* of torch\.uint8"):
        evaluation.squared_error(images, x.byte())  # else modulo 256
