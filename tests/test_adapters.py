"""Models of pythae and diffusers under our objectives; small and randomly initialized."""

import pytest
import torch
from common import of_codes

from envae import datasets
from envae.adapters import FromDiffusers, FromPythae
from envae.objectives import names, objective
from envae.training import fit

PLAIN = [name for name in names() if objective(name).head_maps(3) == 0]


@pytest.fixture
def pythae_vae():
    models = pytest.importorskip("pythae.models")
    torch.manual_seed(0)
    return models.VAE(models.VAEConfig(input_dim=(1, 8, 8), latent_dim=4))


@pytest.fixture
def autoencoder_kl():
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    return diffusers.AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=2,
        sample_size=16,
    )


@pytest.mark.parametrize("name", PLAIN)
def test_every_objective_without_a_head_takes_a_pythae_model(pythae_vae, name):
    model = FromPythae(pythae_vae)
    loss = of_codes(name)
    loss.prepare((1, 8, 8))
    loss(model, datasets.load("digits").train[:5]).total.backward()
    assert all(weight.grad.isfinite().all() for weight in pythae_vae.decoder.parameters())


@pytest.mark.parametrize(
    "name", [name for name in PLAIN if name not in ("bernoulli", "rae_gp", "dt_vae")]
)
def test_objectives_take_an_autoencoder_kl(autoencoder_kl, name):
    """Not those that need images in [0, 1], forward-mode derivatives of its attention, or vectors.

    Its codes are maps.
    """
    model = FromDiffusers(autoencoder_kl)
    loss = objective(name)
    loss.prepare((3, 16, 16))
    loss(model, torch.rand(2, 3, 16, 16)).total.backward()
    assert all(weight.grad.isfinite().all() for weight in autoencoder_kl.decoder.parameters())


def test_pythae_model_gives_its_own_loss_with_our_l2(pythae_vae):
    """pythae: half the squared error + KL, in evaluation of the same draw."""
    x = datasets.load("digits").train[:6]
    torch.manual_seed(3)
    theirs = pythae_vae({"data": x})
    torch.manual_seed(3)
    ours = objective("l2", alpha=1.0)(FromPythae(pythae_vae), x)
    torch.testing.assert_close(ours.total, theirs.loss)


def test_diffusers_images_are_rescaled_both_ways(autoencoder_kl):
    model = FromDiffusers(autoencoder_kl)
    x = torch.rand(2, 3, 16, 16)
    posterior = autoencoder_kl.encode(2 * x - 1).latent_dist
    torch.testing.assert_close(model.encode(x).mean, posterior.mean)
    torch.testing.assert_close(model.encode(x).stddev, posterior.std)
    decoded = autoencoder_kl.decode(posterior.mean).sample
    torch.testing.assert_close(2 * model.decode(posterior.mean) - 1, decoded)
    with pytest.raises(ValueError, match=r"values in \[0, 1\], received \[-1.*\(x \+ 1\) / 2"):
        model.encode(torch.linspace(-1, 1, 768).reshape(1, 3, 16, 16))


def test_adapted_models_train(pythae_vae):
    images = datasets.load("digits").train[:640]
    history = fit(
        FromPythae(pythae_vae), objective("envae", samples=2), images, epochs=5, progress=False
    )
    assert history["total"].iloc[-1] < 0.95 * history["total"].iloc[0]


@pytest.mark.parametrize("kind", ["AE", "RAE_L2", "RAE_GP", "WAE_MMD"])
def test_a_pythae_autoencoder_has_a_mean_for_objectives_that_draw_nothing(kind):
    models = pytest.importorskip("pythae.models")
    config = getattr(models, f"{kind}_Config" if "_" in kind else f"{kind}Config")
    model = FromPythae(getattr(models, kind)(config(input_dim=(1, 8, 8), latent_dim=4)))
    x = torch.rand(4, 1, 8, 8)
    for name in ("ae", "rae", "rae_gp", "wae_mmd"):
        objective(name)(model, x).total.backward()
    with pytest.raises(ValueError, match="codes without a spread"):
        objective("envae")(model, x)


REFUSED = ["HVAE", "RHVAE", "VAE_LinNF", "VAE_IAF", "SVAE", "PoincareVAE", "VAMP", "VQVAE"]


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_lose_its_prior_or_posterior_is_refused(kind):
    models = pytest.importorskip("pythae.models")
    config = getattr(models, f"{kind}_Config" if "_" in kind else f"{kind}Config")
    with pytest.raises(ValueError, match=f"^{kind} .*which the adapter would drop"):
        FromPythae(getattr(models, kind)(config(input_dim=(1, 8, 8), latent_dim=4)))


def test_every_class_of_pythae_is_taken_or_refused_on_purpose():
    models = pytest.importorskip("pythae.models")
    taken = {
        "AE", "RAE_L2", "RAE_GP", "WAE_MMD", "VAE", "BetaVAE", "IWAE", "CIWAE", "MIWAE", "PIWAE",
        "INFOVAE_MMD", "Adversarial_AE", "VAEGAN", "MSSSIM_VAE", "DisentangledBetaVAE", "FactorVAE",
        "BetaTCVAE",
    }  # fmt: skip
    found = {
        name
        for name in models.__all__
        if isinstance(kind := getattr(models, name), type) and issubclass(kind, torch.nn.Module)
    }
    assert found - {"BaseAE", "AutoModel"} == taken | set(REFUSED)


def test_a_tiny_autoencoder_of_diffusers_has_codes_alone_and_a_codebook_is_refused():
    diffusers = pytest.importorskip("diffusers")
    tiny = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8,), decoder_block_out_channels=(8,),
        num_encoder_blocks=(1,), num_decoder_blocks=(1,), latent_channels=2,
    )  # fmt: skip
    x = torch.rand(2, 3, 16, 16)
    objective("ae")(FromDiffusers(tiny), x).total.backward()
    with pytest.raises(ValueError, match="codes without a spread"):
        objective("envae")(FromDiffusers(tiny), x)
    with pytest.raises(ValueError, match=r"^VQModel has codes from a codebook"):
        FromDiffusers(diffusers.VQModel(block_out_channels=(8,), norm_num_groups=4))
