"""FID against pytorch-fid's own, on the same images and with the same weights."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import one_hot

from envae.metrics import frechet, inception

# ruff: noqa: I001
from pytorch_fid import fid_score, inception as pytorch_fid  # after envae._torchvision
from torch_fidelity.metric_isc import isc_features_to_metric


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of pytorch-fid's network, where it looks for its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytorch_fid, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(nn.Module, "load_state_dict", lambda *_: None)
        network = pytorch_fid.fid_inception_v3()
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    home = tmp_path_factory.mktemp("torch")
    file = home / "hub" / "checkpoints" / pytorch_fid.FID_WEIGHTS_URL.split("/")[-1]
    file.parent.mkdir(parents=True)
    torch.save(network.state_dict(), file)
    return home, file


@pytest.mark.filterwarnings("ignore:Matrix is singular")  # pytorch-fid goes on from there
def test_fid_agrees_with_pytorch_fids(weights, tmp_path, monkeypatch):
    """Its statistics of two folders, all 2048 features; and the distance between 64 of them.

    The distance is a function of the statistics alone, and pytorch-fid's matrix root of all of them
    takes 20 s. 64 features of 6 images are as singular as 2048.
    """
    home, file = weights
    monkeypatch.setenv("TORCH_HOME", str(home))
    width = inception.FEATURES
    theirs = pytorch_fid.InceptionV3([pytorch_fid.InceptionV3.BLOCK_INDEX_BY_DIM[width]])
    ours = inception.load(file)
    generator = torch.Generator().manual_seed(0)
    sets = torch.rand(2, 6, 3, 16, 16, generator=generator)
    sets[1] = sets[1].sqrt()
    expected, found = [], []
    for number, images in enumerate(sets):
        folder = tmp_path / str(number)
        folder.mkdir()
        for index, image in enumerate((255 * images).round().byte()):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{index}.png")
        mean, covariance = fid_score.compute_statistics_of_path(
            str(folder), theirs, batch_size=6, dims=width, device="cpu", num_workers=0
        )
        moments = frechet.moments(ours, images.split(4))
        np.testing.assert_allclose(moments.mean, mean, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(moments.covariance, covariance, rtol=1e-4, atol=1e-4)
        few = slice(64)
        expected += [mean[few], covariance[few, few]]
        # As if there were enough images: pytorch-fid has no check.
        found.append(frechet.Moments(moments.mean[few], moments.covariance[few, few], count=10_000))
    distance = frechet.distance(*found)
    assert distance > 0.1
    assert distance == pytest.approx(fid_score.calculate_frechet_distance(*expected), rel=1e-3)


def test_only_pytorch_fids_own_weights_give_an_fid(weights):
    network = inception.load(weights[1])
    assert re.fullmatch(r"FD \(inception with weights [0-9a-f]{8}\)", frechet.unit(network))
    state = torch.load(weights[1], weights_only=True)
    genuine = inception.Inception(state, "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1b")
    assert frechet.unit(genuine) == "FID"


def test_grey_images_are_three_equal_channels_and_probabilities_add_up(weights):
    network = inception.load(weights[1])
    grey = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    features = network.features(grey)
    assert features.shape == (2, inception.FEATURES)
    torch.testing.assert_close(features, network.features(grey.repeat(1, 3, 1, 1)))
    probabilities = network.probabilities(grey)
    assert probabilities.shape == (2, 1008)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2))
    with pytest.raises(ValueError, match=r"\(N, 1 or 3, H, W\), received \(2, 2, 8, 8\)"):
        network.features(torch.rand(2, 2, 8, 8))
    with pytest.raises(ValueError, match=r"must have values in \[0, 1\], received"):
        network.probabilities(2 * grey - 1)
    with pytest.raises(ValueError, match=r"of torch\.uint8"):
        network.features((255 * grey).byte())


def test_weights_are_found_in_torch_hubs_cache(weights, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(weights[0]))
    assert not inception.load().measures_fid  # found, and not taken for pytorch-fid's


def test_missing_and_broken_weights_are_errors(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no Inception weights at .*curl -L .*\.pth"):
        inception.load()
    other = tmp_path / "other.pth"
    torch.save({"fc.weight": torch.zeros(1008, 2048)}, other)
    with pytest.raises(ValueError, match="does not hold weights of pytorch-fid's Inception"):
        inception.load(other)
    other.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="does not hold weights of pytorch-fid's Inception"):
        inception.load(other)


def test_inception_score_against_its_closed_forms():
    sure = one_hot(torch.arange(40) % 4, 7).double()
    assert inception.inception_score(sure, splits=2) == pytest.approx((4, 0))
    unsure = torch.full((40, 7), 1 / 7)
    assert inception.inception_score(unsure, splits=4) == pytest.approx((1, 0))
    # Two classes, each seen with probability p: exp(ln 2 - entropy of p).
    p = torch.tensor([0.9, 0.1], dtype=torch.float64)
    mixed = torch.stack([p, p.flip(0)]).repeat(10, 1)
    expected = (0.6931471805599453 + (p * p.log()).sum()).exp().item()
    assert inception.inception_score(mixed, splits=1) == pytest.approx((expected, 0))


def test_inception_score_is_torch_fidelitys():
    logits = 3 * torch.randn(60, 11, generator=torch.Generator().manual_seed(0))
    expected = isc_features_to_metric(logits, splits=5, shuffle=False)
    found = inception.inception_score(logits.softmax(1), splits=5)
    assert found == pytest.approx(tuple(expected.values()), rel=1e-5)


@pytest.mark.parametrize("wrong", ["logits", "nan", "percent", "negative"])
def test_what_is_no_distribution_over_classes_has_no_inception_score(wrong):
    rows = torch.full((20, 4), 0.25)
    rows[7] = {
        "logits": torch.tensor([2.0, -1.0, 0.5, 0.0]),
        "nan": torch.full((4,), torch.nan),
        "percent": torch.full((4,), 25.0),
        "negative": torch.tensor([1.5, -0.5, 0.0, 0.0]),
    }[wrong]
    with pytest.raises(ValueError, match=r"softmax\(1\) of logits does; row 7 has"):
        inception.inception_score(rows, splits=2)


def test_probabilities_add_up_to_one_within_a_thousandth():
    rows = torch.full((8, 4), 0.25)
    assert inception.inception_score(rows * 1.0008, splits=2) == pytest.approx((1, 0), abs=1e-3)
    with pytest.raises(ValueError, match=r"row 0 has .* adds up to 1\.0015"):
        inception.inception_score(rows * 1.0015, splits=2)


@pytest.mark.parametrize("splits", [0, 1.5, None, "a", True])
def test_splits_that_are_no_number_of_parts_are_an_error(splits):
    with pytest.raises(
        ValueError, match=f"splits must be an integer from 1 up, received {splits!r}"
    ):
        inception.inception_score(torch.full((3, 2), 0.5), splits=splits)


def test_inception_score_is_a_mean_over_splits():
    first, second = one_hot(torch.arange(10) % 5, 5), one_hot(torch.zeros(10).long(), 5)
    mean, spread = inception.inception_score(torch.cat([first, second]).double(), splits=2)
    assert (mean, spread) == pytest.approx((3, 2))
    with pytest.raises(ValueError, match="received 10 splits of 3 images"):
        inception.inception_score(torch.full((3, 2), 0.5))
