"""Calibration of a trained model's draws, and the diversity of its samples.

xu2025 promises "reliable uncertainty quantification" (Sec. 1) and shows maps of the variance of 50
decoded draws (Sec. 4.2). What a map cannot show is measured here: whether the image lies among the
draws as one of them would.

The forecast of an image is made from its own code, so it has seen the image. The question is
still a fair one: given what the encoder kept, is the image like another draw?
"""

import torch
from torch import Generator, Tensor

from envae.datasets import Dataset
from envae.evaluation import decoded_draws, encode, evaluating, seeded
from envae.experiments.measures import quality
from envae.experiments.records import Values
from envae.metrics import calibration
from envae.metrics.frechet import HasFeatures
from envae.objectives import Objective
from envae.objectives.variance import GaussianWithVariance
from envae.vae import VAE

DRAWS = 39  # so that there are central intervals of all of LEVELS
LEVELS = (0.5, 0.8, 0.9, 0.95)
BINS = 10
VARY = 0.1  # standard deviation over training images of a pixel that is looked at


def noise_variance(
    vae: VAE, objective: Objective, images: Tensor, train: Tensor, *, seed: int
) -> Tensor | None:
    """Variance of the decoder's noise at every pixel of images, which broadcasts with them.

    What all images share is estimated on the training images. `iso_d` and `diag_d` by maximum
    likelihood estimate it from the image itself, whose error is thereby known to its forecast.
    None where the decoder has no Gaussian noise.
    """
    if objective.pixel_variance is not None:
        return torch.tensor(objective.pixel_variance)
    if not isinstance(objective, GaussianWithVariance):
        return None
    shared = objective.one_for_all_images
    with seeded(seed):
        found = objective.variance(vae, train if shared else images).cpu()
    return found[:1] if shared else found


def forecasts(
    vae: VAE,
    objective: Objective,
    images: Tensor,
    train: Tensor,
    *,
    seed: int,
    draws: int = DRAWS,
) -> dict[str, Tensor]:
    """Draws `(draws, N, C, H, W)` of what the model says of images `(N, C, H, W)`, on the CPU.

    Returns
    -------
    dict
        `draws`: decoded draws of the posterior, all that an energy score has. With a Gaussian
        decoder also `noise`: the decoder's noise about *one* decoded draw, the same for all. If the
        model were right this would be calibrated, since image and code then come from
        p(z) p(x|z). And `both`: noise about each of the draws, which is too wide by construction:
        the noise is estimated as the error of a decoded draw, in which the draws' spread is
        contained already.
    """
    generator = Generator().manual_seed(seed)
    with evaluating(vae), torch.no_grad():
        found = {"draws": decoded_draws(vae, images, generator, draws=draws).cpu()}
        variance = noise_variance(vae, objective, images, train, seed=seed)
    if variance is not None:
        noise = torch.randn(found["draws"].shape, generator=generator) * variance.sqrt()
        found |= {"noise": found["draws"][:1] + noise, "both": found["draws"] + noise}
    return found


def varying(train: Tensor) -> Tensor:
    """Pixels that are looked at, `(C, H, W)` of booleans: those that differ between images."""
    return train.std(0) > VARY


def of_forecast(
    draws: Tensor, images: Tensor, train: Tensor, *, steps: int, seed: int
) -> dict[str, Tensor]:
    """Ranks of images among a forecast's draws: `pixels`, `(N, varying pixels)`, `images`, `(N,)`.

    For the pixels' ranks, images and draws are rounded to the grey levels of the files, and noise
    beyond black and white is cut. Distances are between images as the model has them.
    """
    generator, kept = Generator().manual_seed(seed), varying(train)
    stored, seen = (calibration.as_stored(values, steps) for values in (draws, images))
    return {
        "pixels": calibration.ranks(stored[..., kept], seen[:, kept], generator),
        "images": calibration.distance_ranks(draws, images, generator),
    }


def measure(
    vae: VAE,
    objective: Objective,
    dataset: Dataset,
    seed: int,
    *,
    extractor: HasFeatures | None,
    others: tuple[HasFeatures, ...] = (),
    steps: int = 255,
    images: int = 500,
) -> Values:
    """Values with their units, a `runs.Measure`.

    Parameters
    ----------
    vae, objective
        A trained model and what it was trained with.
    dataset, seed
        What it was trained on, and the seed of all that is drawn here.
    extractor, others
        As `quality.measure` takes them.
    steps
        Grey levels of the files but one: 16 for digits, 255 for 8 bits.
    images
        Of each split, the first ones; and samples, which are compared with the test split.

    Returns
    -------
    dict
        Those of `quality.measure`, with `two_sample`. For each of :func:`forecasts` and each split:
        `<forecast>_coverage_50_<split>`, ..., `<forecast>_spread_skill_<split>`; on the test split
        the histograms `<forecast>_rank_0`, ... of the pixels' ranks and
        `<forecast>_distance_rank_0`, ... of the images'. And :func:`balance`.
    """
    values = quality.measure(
        vae, objective, dataset, seed, extractor=extractor, others=others, against="test",
        samples=images, two_sample=True,
    )  # fmt: skip
    kept = varying(dataset.train)
    for split, shown in (("test", dataset.test[:images]), ("train", dataset.train[:images])):
        for name, draws in forecasts(vae, objective, shown, dataset.train, seed=seed).items():
            found = of_forecast(draws, shown, dataset.train, steps=steps, seed=seed)
            over = f"{len(shown)} images of the {split} split, {len(draws)} draws"
            for level in LEVELS:
                values[f"{name}_coverage_{100 * level:.0f}_{split}"] = (
                    calibration.coverage(found["pixels"], len(draws), level),
                    f"share of ranks in the central interval, varying pixels, {over}",
                )
            values[f"{name}_spread_skill_{split}"] = (
                calibration.spread_skill(draws[..., kept], shown[:, kept]),
                f"ratio of root mean squares, varying pixels, {over}",
            )
            if split == "test":
                for kind, label in {"pixels": "rank", "images": "distance_rank"}.items():
                    of_bins = calibration.histogram(found[kind], len(draws), BINS)
                    values |= {
                        f"{name}_{label}_{index}": (value, f"frequency over uniform, {over}")
                        for index, value in enumerate(of_bins.tolist())
                    }
    return values | balance(vae, dataset.train[:images], seed=seed)


def balance(vae: VAE, images: Tensor, *, seed: int, draws: int = DRAWS) -> Values:
    """What `theory.spread_balance` relates, on images that the model was trained on.

    Returns
    -------
    dict
        `spread`, `missed`: variance of decoded draws, and squared error of the mean of infinitely
        many (what the noise of `draws` adds is subtracted). `dimensions_in_use`: sum over latent
        dimensions of 1 - s^2, with the posterior's variance s^2.
    """
    generator = Generator().manual_seed(seed)
    with evaluating(vae), torch.no_grad():
        decoded = decoded_draws(vae, images, generator, draws=draws).cpu().flatten(2)
        in_use = 1 - encode(vae, images).stddev.square().cpu()
    spread = decoded.var(0).sum(1).mean().item()
    missed = (decoded.mean(0) - images.flatten(1)).square().sum(1).mean().item()
    over = f"sum over pixels, mean over {len(images)} training images"
    return {
        "spread": (spread, f"variance of {draws} draws, {over}"),
        "missed": (missed - spread / draws, f"squared error of the mean of draws, {over}"),
        "dimensions_in_use": (in_use.sum(1).mean().item(), "sum of 1 - s^2 over dimensions"),
    }
