"""Quality of a trained model: its samples, and its reconstructions."""

import torch
from torch import Tensor

from envae.datasets import Dataset
from envae.metrics.extractor import Extractor
from envae.metrics.frechet import fd
from envae.objectives import Objective
from envae.vae import VAE, kl_to_prior


def measure(
    vae: VAE, objective: Objective, dataset: Dataset, seed: int, *, extractor: Extractor
) -> dict[str, tuple[float, str]]:
    """Values with their units, for `sweep.run`.

    Test images are reconstructed from the mean of their posterior and from one draw of it, since
    the papers do not say which they mean.

    Returns
    -------
    dict
        `fd_generated`: as many samples as training images, against the training images.
        `fd_reconstructed`, `fd_reconstructed_draw`: test images, against themselves.
        `squared_error`, `squared_error_draw`: summed over pixels, mean over images.
        `kl`: of the posteriors of the test images to the prior, in nats.
    """
    device = next(vae.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randn(len(dataset.train), vae.latent_dim, generator=generator)
    noise = torch.randn(len(dataset.test), vae.latent_dim, generator=generator)
    vae.eval()
    with torch.no_grad():
        generated = vae.decode(codes.to(device)).cpu()
        posterior = vae.encode(dataset.test.to(device))
        from_mean = vae.decode(posterior.mean).cpu()
        from_draw = vae.decode(posterior.mean + posterior.stddev * noise.to(device)).cpu()
        kl = kl_to_prior(posterior).mean().item()
    vae.train()

    def squared_error(images: Tensor) -> float:
        return (images - dataset.test).square().flatten(1).sum(1).mean().item()

    unit = f"FD ({extractor.name})"
    against_itself = "test split from posterior {} against itself"
    error_unit = "posterior {}; sum over pixels, mean over the test split"
    return {
        "fd_generated": (
            fd(extractor, generated, dataset.train),
            f"{unit}, {len(dataset.train)} samples against the train split",
        ),
        "fd_reconstructed": (
            fd(extractor, from_mean, dataset.test),
            f"{unit}, {against_itself.format('means')}",
        ),
        "fd_reconstructed_draw": (
            fd(extractor, from_draw, dataset.test),
            f"{unit}, {against_itself.format('draws')}",
        ),
        "squared_error": (squared_error(from_mean), error_unit.format("means")),
        "squared_error_draw": (squared_error(from_draw), error_unit.format("draws")),
        "kl": (kl, "nats per image, test split"),
    }
