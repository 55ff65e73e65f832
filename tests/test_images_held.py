"""Training images as bytes or floats, on the device or streamed to it: the same batches."""

import functools

import pytest
import torch

from envae import datasets, networks
from envae.objectives import objective
from envae.training import _loop, fit
from envae.training._held import Held, as_bytes

CPU = torch.device("cpu")
BYTES = torch.arange(256, dtype=torch.uint8).repeat(3 * 1300)[: 1300 * 3 * 64].reshape(-1, 3, 8, 8)
IMAGES = BYTES.float().div_(255)  # every grey level, more images than are converted at once
ORDER = torch.randperm(len(IMAGES), generator=torch.Generator().manual_seed(0))
PLENTY, NONE = 2**40, 0  # bytes of room

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def same_bits(first, second):
    return torch.equal(first.view(torch.int32), second.view(torch.int32))


def test_bytes_of_images_from_files_are_those_of_the_files():
    assert torch.equal(as_bytes(IMAGES), BYTES)
    assert as_bytes(BYTES.float() * (1 / 255)) is None  # some differ in their last bit


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        -0.1,
        -0.0,
        0.5,
        torch.nan,
        torch.inf,
        torch.nextafter(IMAGES[0, 0, 0, 7], torch.ones(())),
    ],
)
def test_one_other_value_anywhere_keeps_all_images_float(value):
    images = IMAGES.clone()
    images[-1, -1, -1, -1] = value
    assert as_bytes(images) is None
    held = Held(images, CPU, room=PLENTY)
    assert held._stored.nbytes == images.nbytes
    assert same_bits(next(held.batches(len(images))), images)


def test_digits_noisy_images_and_other_precisions_stay_float():
    digits = datasets.load("digits").train
    for images in (digits, IMAGES + 0.1 * torch.randn(IMAGES.shape), IMAGES.double()):
        assert as_bytes(images) is None


@pytest.mark.parametrize("room", [None, PLENTY, NONE])
def test_batches_are_the_images_to_the_last_bit(room):
    held = Held(IMAGES, CPU, room=room)
    assert len(held) == len(IMAGES)
    in_order, shuffled = list(held.batches(100)), list(held.batches(64, ORDER))
    assert [len(batch) for batch in shuffled] == 20 * [64] + [20]
    assert same_bits(torch.cat(in_order), IMAGES)
    assert same_bits(torch.cat(shuffled), IMAGES[ORDER])


def test_bytes_take_a_quarter_of_the_memory_and_the_cpu_copies_nothing():
    assert Held(IMAGES, CPU, room=PLENTY)._stored.nbytes == IMAGES.nbytes / 4
    whole = next(Held(IMAGES, CPU).batches(len(IMAGES)))
    assert whole.data_ptr() == IMAGES.data_ptr()


def test_images_lie_on_the_device_exactly_where_they_fit():
    device, size = torch.device("meta"), IMAGES.nbytes // 4  # a device of any machine, without data
    assert Held(IMAGES, device, room=size).place == device
    assert Held(IMAGES, device, room=size - 1).place == CPU


def test_streamed_batches_arrive_on_the_device(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda batch: batch)  # which needs a GPU
    device = torch.device("meta")
    for images in (IMAGES, IMAGES / 2):
        batch, *_ = Held(images, device, room=NONE).batches(64, ORDER)
        assert (batch.device, batch.shape, batch.dtype) == (device, (64, 3, 8, 8), torch.float32)


def trained(monkeypatch=None, room=None, **options):
    """Loss per epoch, and weights, of a training on images of 8-bit grey levels."""
    if monkeypatch:
        monkeypatch.setattr(_loop, "Held", functools.partial(Held, room=room))
    vae = networks.build("mlp", (3, 8, 8), 4, seed=0)
    shown = {"images": IMAGES[:150], "validation": IMAGES[150:200], "progress": False}
    history = fit(vae, objective("envae", samples=2), epochs=2, **shown | options)
    return history.drop(columns="seconds"), torch.cat([p.flatten() for p in vae.parameters()])


@pytest.mark.parametrize("free", [2, 1])
def test_images_may_take_half_of_what_a_gpu_has_free(monkeypatch, free):
    images, gpu, put = torch.rand(7, 3, 8, 8), torch.device("cuda"), []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free * images.nbytes, 0))
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device: put.append(device) or self)
    Held(images, gpu)
    assert put == [gpu] * (free == 2)


@pytest.mark.parametrize("room", [PLENTY, NONE])
def test_training_does_not_depend_on_where_the_images_are_held(monkeypatch, room):
    history, weights = trained(accelerator="cpu")
    same_history, same_weights = trained(monkeypatch, room, accelerator="cpu")
    assert same_history.equals(history)
    assert torch.equal(same_weights, weights)


@needs_gpu
def test_a_gpu_sees_the_same_images_held_and_streamed():
    gpu = torch.device("cuda", 0)
    for images in (IMAGES, datasets.load("digits").train):
        order = ORDER % len(images)
        for room, place in ((None, gpu), (PLENTY, gpu), (NONE, CPU)):
            held = Held(images, gpu, room=room)
            assert held.place == place
            batches = list(held.batches(64, order))
            assert all(batch.device == gpu for batch in batches)
            assert same_bits(torch.cat(batches).cpu(), images[order])


@needs_gpu
def test_a_gpu_trains_alike_held_and_streamed(monkeypatch):
    history, weights = trained(accelerator="cuda")
    streamed_history, streamed_weights = trained(monkeypatch, NONE, accelerator="cuda")
    assert streamed_history.equals(history)
    assert torch.equal(streamed_weights, weights)
