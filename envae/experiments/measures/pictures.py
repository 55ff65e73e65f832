"""What pictures are shown for, in numbers: sharpness, spectra, uncertainty maps, residuals, codes.

Section 4.2, Figures 2 to 4, and Sections 6.8 and 6.11 of xu2025 compare models by pictures.
"""

import numpy as np
import torch
from torch import Generator, Tensor

from envae import evaluation
from envae.datasets import Dataset
from envae.evaluation import decoded_draws, evaluating
from envae.experiments.records import Values
from envae.metrics import spectrum
from envae.metrics.codes import posterior_share
from envae.objectives import Objective
from envae.vae import VAE

TAILS = (0.01, 0.99)  # quantiles of a residual


def sharpness(images: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels of images `(..., H, W)`, both directions."""
    down, across = (images.diff(dim=dim).abs().mean() for dim in (-2, -1))
    return 0.5 * (down + across).item()


def contours(images: Tensor) -> Tensor:
    """Length of the gradient at every pixel of images `(..., H, W)`, by central differences."""
    return torch.hypot(*torch.gradient(images, dim=(-2, -1)))


def contrast(maps: Tensor) -> float:
    """Standard deviation of maps `(N, ...)` over their mean, over pixels, mean over images."""
    flat = maps.flatten(1)
    return (flat.std(1) / flat.mean(1)).mean().item()


def correlation(first: Tensor, second: Tensor) -> float:
    """Correlation over the pixels of each image, mean over images.

    Parameters
    ----------
    first, second
        Maps `(N, ...)` of one shape; none of them constant.

    Raises
    ------
    ValueError
        If a map is constant: it has no correlation.
    """
    first, second = (
        map_.flatten(1) - map_.flatten(1).mean(1, keepdim=True) for map_ in (first, second)
    )
    lengths = first.norm(dim=1) * second.norm(dim=1)
    if (lengths == 0).any():
        raise ValueError("a map with the same value at every pixel has no correlation")
    return ((first * second).sum(1) / lengths).mean().item()


def measure(
    vae: VAE,
    objective: Objective,
    dataset: Dataset,
    seed: int,
    *,
    draws: int = 50,
    images: int = 500,
) -> Values:
    """Values with their units, a `runs.Measure`.

    Of three kinds of image: reconstructions of test images from posterior means (`means`) and from
    draws (`draws`), both beside these images, and samples from the prior (`samples`), beside as
    many training images.

    Parameters
    ----------
    vae, objective
        A trained model and what it was trained with.
    dataset, seed
        What it was trained on, and the seed of all that is drawn here.
    draws
        Draws of each posterior; 50 in xu2025.
    images
        Test images that are reconstructed, the first ones, and samples.

    Returns
    -------
    dict
        `sharpness_<kind>`, `high_<kind>`: sharpness and energy at high frequencies, over those of
        the real images. `decibels_<kind>`: distance of the spectra. `residual_low_<kind>`,
        `residual_high_<kind>` (not of samples): quantiles of x - g(z) over pixels, images and
        draws. `map_error`, `map_contours`: correlation of the standard deviation of the draws at
        every pixel with the error of their mean, and with the gradient of the image;
        `map_contrast`: its variation over the image, relative to its mean; `map_scale`: its size,
        relative to that of the error, 1 where it says how large errors are. `posterior_share`: as
        `codes.posterior_share` gives it, on test images.
    """
    generator = Generator().manual_seed(seed)
    test, train = dataset.test[:images], dataset.train[:images]
    with evaluating(vae), torch.no_grad():
        decoded = decoded_draws(vae, test, generator, draws=draws)
        codes = torch.randn(len(train), vae.latent_dim, generator=generator)
        posterior = evaluation.encode(vae, test)
        test, train = test.to(decoded.device), train.to(decoded.device)
        kinds = {
            "means": (evaluation.decode(vae, posterior.mean), test),
            "draws": (decoded.flatten(0, 1), test),
            "samples": (evaluation.decode(vae, codes), train),
        }
    values = {"posterior_share": (posterior_share(posterior), "of a code's variance, test images")}
    for kind, (shown, real) in kinds.items():
        values |= {
            f"sharpness_{kind}": (sharpness(shown) / sharpness(real), "over real images"),
            f"high_{kind}": (
                spectrum.energy_above(shown) / spectrum.energy_above(real),
                f"over real images, from {spectrum.HIGH} cycles per pixel on",
            ),
            f"decibels_{kind}": (spectrum.decibels_apart(shown, real), "dB, from real images"),
        }
    for kind, residual in {"means": test - kinds["means"][0], "draws": test - decoded}.items():
        low, high = np.quantile(residual.cpu().numpy(), TAILS).tolist()
        values |= {
            f"residual_low_{kind}": (low, f"data units, {TAILS[0]:.0%} quantile, test images"),
            f"residual_high_{kind}": (high, f"data units, {TAILS[1]:.0%} quantile, test images"),
        }
    return values | _of_maps(decoded, test)


def _of_maps(decoded: Tensor, images: Tensor) -> Values:
    spread, error = decoded.std(0), (images - decoded.mean(0)).abs()
    over = f"over pixels, mean over test images, {len(decoded)} draws"
    return {
        "map_error": (correlation(spread, error), f"correlation {over}"),
        "map_contours": (correlation(spread, contours(images)), f"correlation {over}"),
        "map_contrast": (contrast(spread), f"coefficient of variation {over}"),
        "map_scale": (
            (spread.square().mean() / error.square().mean()).sqrt().item(),
            f"ratio of root mean squares, test images, {len(decoded)} draws",
        ),
    }
