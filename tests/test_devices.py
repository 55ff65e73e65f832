"""Every measure of a model on a device takes data that are not there, and gives the same values.

On a fake device, which refuses what a GPU refuses: see `fake_device.py`.
"""

import copy
import functools
from types import SimpleNamespace

import pytest
import torch
from common import MEASURES, of_codes
from fake_device import DEVICE, FakeDevice, OnDevice

from envae import datasets, evaluation, networks
from envae.experiments import batched, kept_pictures
from envae.metrics import smoothness, uncertainty
from envae.metrics.likelihood import negative_log_likelihood
from envae.objectives import names, objective

DIGITS = datasets.load("digits").subset(150)


def built(name, **options):
    loss = objective(name, **options)
    vae = networks.build("mlp", (1, 8, 8), 4, objective=loss, seed=0)
    return vae.eval(), loss


def on_both(measure, name, **options):
    """What a measure gives of a model on the CPU, and of the same on the fake device."""
    here = measure(*built(name, **options))
    with FakeDevice():
        vae, loss = built(name, **options)
        return here, measure(vae.to(DEVICE), loss.to(DEVICE))


def test_the_device_refuses_what_a_gpu_refuses():
    x = torch.rand(3, 2)
    with FakeDevice():
        y = x.to(DEVICE)
        assert isinstance(y, OnDevice)
        assert y.device == DEVICE
        with pytest.raises(RuntimeError, match="tensors of two devices"):
            y + x
        vae = networks.build("mlp", (1, 8, 8), 4).to(DEVICE)
        with pytest.raises(RuntimeError, match="tensors of two devices"):
            vae.encode(DIGITS.test)
    assert torch.equal((y + 1).held if isinstance(y + 1, OnDevice) else y.held + 1, x + 1)


def one_by_one(function, points):
    """Some Jacobians, without torch.func, whose wrappers the fake device cannot see through."""
    columns = [
        torch.autograd.functional.jacobian(lambda p: function(p[None]).flatten(), point)
        for point in points[:3]
    ]
    return torch.stack([column.flatten(1) for column in columns])


@pytest.mark.parametrize("name", ["l2", "envae", "diag_i", "iso_d", "rae", "mol"])
@pytest.mark.parametrize("measure", MEASURES)
def test_a_measure_gives_on_a_device_what_it_gives_on_the_cpu(measure, name, monkeypatch):
    monkeypatch.setattr(smoothness, "jacobians", one_by_one)
    here, there = on_both(lambda vae, loss: MEASURES[measure](vae, loss, DIGITS, 1), name)
    assert list(here) == list(there)
    for key, (value, unit) in here.items():
        assert there[key] == (pytest.approx(value, rel=1e-3, abs=1e-5), unit)


def test_pictures_drawn_on_a_device_are_those_of_the_cpu():
    draw = functools.partial(kept_pictures.draw, dataset=DIGITS, seed=0)
    here, there = on_both(draw, "l2")
    for kind, images in here.items():
        assert (images.int() - there[kind].int()).abs().max() <= 1, kind


# `torch.func` and the vectors of a spectral norm are more than the fake device can do.
BEYOND = {"rae_gp", "dt_vae", "ec_vae"}


@pytest.mark.parametrize("name", [name for name in names() if name not in BEYOND])
def test_a_loss_and_its_gradient_on_a_device_are_those_of_the_cpu(name):
    loss = of_codes(name)
    vae = networks.build("mlp", (1, 8, 8), 4, objective=loss, seed=0)

    def gradients(vae, loss, x):
        with evaluation.seeded(0):
            total = loss(vae, x).total
        total.backward()
        return [total, *(each.grad for each in vae.parameters())]

    x = DIGITS.train[:6]
    here = gradients(copy.deepcopy(vae), copy.deepcopy(loss), x)
    with FakeDevice():
        there = gradients(vae.to(DEVICE), loss.to(DEVICE), x.to(DEVICE))
        for expected, found in zip(here, there, strict=True):
            assert (found is None) == (expected is None)
            if found is not None:
                torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("estimate", ["mle", "trainable"])
@pytest.mark.parametrize("name", ["iso_i", "diag_i", "iso_d", "diag_d"])
def test_estimated_variances_come_from_the_device(name, estimate):
    def maps(vae, loss):
        with evaluation.seeded(0):
            return uncertainty.maps(vae, loss, DIGITS.test, draws=2)

    here, there = on_both(maps, name, estimate=estimate)
    for kind, values in here.items():
        torch.testing.assert_close(there[kind], values, rtol=1e-3, atol=1e-5)
        assert not isinstance(there[kind], OnDevice)


def test_a_likelihood_comes_from_the_device():
    def nats(vae, loss):
        density = loss.density(vae, DIGITS.train)
        return negative_log_likelihood(vae, density, DIGITS.test[:20], draws=5)

    for name in ("l2", "diag_i"):
        here, there = on_both(nats, name)
        torch.testing.assert_close(there, here)


def test_models_trained_together_meet_their_images_on_the_device(monkeypatch):
    def losses(device):
        monkeypatch.setattr("lightning_fabric.Fabric", lambda **_: SimpleNamespace(device=device))
        vaes = [networks.build("mlp64", (1, 8, 8), 4, seed=seed) for seed in range(2)]
        losses = [objective("iso_i") for _ in vaes]
        images = DIGITS.train[:60].reshape(2, 30, 1, 8, 8)
        histories = batched.fit(vaes, losses, images, epochs=2, seeds=[0, 1], batch_size=10)
        return [total for history in histories for total in history["total"]]

    here = losses(torch.device("cpu"))
    with FakeDevice():
        there = losses(DEVICE)
    assert there == pytest.approx(here)
