"""The criteria of Table 1, of linear models whose weights are set to the closed form."""

import math

import pytest
import torch

from envae import networks
from envae.datasets import Dataset
from envae.experiments.measures import collapse
from envae.objectives import objective
from envae.theory import linear

EIGENVALUES = torch.tensor([4.0, 2.0, 0.3, 0.1])


def gaussian_images(count, seed):
    """Images of four independent pixels with these variances."""
    noise = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return (noise * EIGENVALUES.sqrt()).reshape(count, 1, 1, 4)


def dataset(count=4000):
    labels = torch.zeros(count, dtype=torch.long)
    return Dataset(
        name="gaussian",
        train=gaussian_images(count, 0),
        train_labels=labels,
        test=gaussian_images(count, 1),
        test_labels=labels,
        place="made here",
    )


def optimal_vae(sigma2, posterior=None):
    """The linear VAE at its optimum: code i is pixel i, for the two largest variances."""
    best = linear.optimum(EIGENVALUES, 2, sigma2)
    vae = networks.build("linear", (1, 1, 4), 2, posterior=posterior, seed=0)
    encoder, decoder = vae.encoder.mean[1], vae.decoder[0]
    with torch.no_grad():
        for parameter in (encoder.weight, encoder.bias, decoder.weight, decoder.bias):
            parameter.zero_()
        encoder.weight[:, :2] = torch.diag(best.decoder_scale / EIGENVALUES[:2])
        decoder.weight[:2] = torch.diag(best.decoder_scale)
        if posterior is None:
            vae.encoder.log_variance.copy_(best.posterior_variance.log())
    return vae, best


def values_of(vae, **options):
    measured = collapse.measure(vae, objective("l2", sigma2=0.2), dataset(), 0, **options)
    assert all(unit for _, unit in measured.values())
    return {name: value for name, (value, _) in measured.items()}


def test_all_criteria_of_a_linear_vae_are_its_closed_forms():
    sigma2 = 0.2
    vae, best = optimal_vae(sigma2)
    values = values_of(vae)
    els, kl = best.expected_local_smoothness.item(), best.kl.sum().item()
    # A dimension leaves sigma^2 of its variance; the others leave all of theirs.
    assert values["squared_error"] == pytest.approx(2 * sigma2 + 0.4, rel=0.05)
    assert values["squared_error_test"] == pytest.approx(2 * sigma2 + 0.4, rel=0.05)
    assert values["squared_error_mean"] == pytest.approx(
        0.4 + (sigma2**2 / EIGENVALUES[:2]).sum().item(), rel=0.05
    )
    assert values["posterior_variance"] == pytest.approx(best.posterior_variance.mean().item())
    assert values["kl"] == pytest.approx(kl, rel=0.05)
    assert values["kl_test"] == pytest.approx(kl, rel=0.05)
    assert values["els"] == pytest.approx(els, rel=1e-5)
    assert values["els_from_gap"] == pytest.approx(els, rel=0.05)
    assert values["gap_1e-2"] == pytest.approx(2e-2 * els, rel=0.05)
    assert values["gap_1e-3"] == pytest.approx(2e-3 * els, rel=0.05)
    assert values["code_norm2"] == pytest.approx(2 - best.posterior_variance.sum().item(), rel=0.05)
    # At the optimum the aggregated posterior is the prior, and the information is the KL.
    assert values["mi_code_low"] == pytest.approx(kl, rel=0.05)
    assert values["mi_code_high"] == pytest.approx(kl, rel=0.05)
    of_images = 0.5 * (best.decoder_scale.square() / sigma2).log1p().sum().item()
    assert values["mi_image_low"] == pytest.approx(of_images, rel=0.05)
    assert values["mi_image_high"] == pytest.approx(of_images, rel=0.05)


@pytest.mark.parametrize(
    ("name", "options", "variance"),
    [("l2", {"alpha": 0.3}, 0.3), ("rae", {"code_weight": 0.3}, 0.3), ("iso_i", {}, None)],
)
def test_the_noise_of_reconstructions_is_the_objectives_own_variance(name, options, variance):
    vae, best = optimal_vae(0.2)
    measured = collapse.measure(vae, objective(name, **options), dataset(), 0, jacobians=1)
    variance = variance or measured["squared_error"][0] / 4
    expected = 0.5 * (best.decoder_scale.square() / variance).log1p().sum().item()
    assert measured["mi_image_low"][0] == pytest.approx(expected, rel=0.05)


def test_a_deterministic_encoder_has_no_kl_and_no_information_of_its_code():
    vae, best = optimal_vae(0.2, posterior=0.0)
    values = values_of(vae, images=500, jacobians=10)
    assert {name for name in values if name.startswith(("kl", "mi_code", "posterior"))} == set()
    assert values["squared_error"] == values["squared_error_mean"]
    assert values["els"] == pytest.approx(best.expected_local_smoothness.item(), rel=1e-5)
    assert values["mi_image_low"] <= math.log(500)


def test_the_same_seed_gives_the_same_values_and_leaves_the_global_generator_alone():
    vae, _ = optimal_vae(0.2)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert values_of(vae, images=200) == values_of(vae, images=200)
    assert torch.equal(torch.get_rng_state(), before)
