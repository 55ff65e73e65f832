"""Points of a table: train a model, sample from it, measure it, record it."""

import dataclasses
import time
from collections.abc import Iterable

import pandas as pd
import torch
from joblib import Parallel, delayed
from torch import Tensor

from envae import networks, records
from envae.datasets import Dataset
from envae.metrics.extractor import Extractor
from envae.metrics.frechet import fd
from envae.objectives import objective
from envae.training import fit
from envae.vae import VAE, kl_to_prior


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all rows of a table share, so that they differ in their objective alone.

    Attributes
    ----------
    network, latent_dim
        As `networks.build` takes them.
    epochs, batch_size, lr
        As `training.fit` takes them.
    """

    network: str = "mlp"
    latent_dim: int = 16
    epochs: int = 60
    batch_size: int = 64
    lr: float = 1e-3


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A trained model with its parameters, metrics, training history and wall time."""

    vae: VAE
    parameters: dict
    metrics: dict[str, float]
    history: pd.DataFrame
    seconds: float


def run(
    name: str,
    options: dict,
    *,
    dataset: Dataset,
    extractor: Extractor,
    setting: Setting,
    seed: int,
    experiment: str,
) -> Outcome:
    """Train with an objective, measure, and write the run's record.

    Parameters
    ----------
    name, options
        The objective, as `objective(name, **options)`.
    dataset
        Trained on its train split.
    extractor
        Network in whose features distances are measured.
    setting
        What is shared with the other rows.
    seed
        Seed of weights, order, noise and samples.
    experiment
        Name under which the run is recorded.
    """
    start = time.perf_counter()
    vae = networks.build(setting.network, dataset.image_shape, setting.latent_dim, seed=seed)
    history = fit(
        vae,
        objective(name, **options),
        dataset.train,
        epochs=setting.epochs,
        batch_size=setting.batch_size,
        lr=setting.lr,
        seed=seed,
        progress=False,
    )
    metrics = measure(vae, dataset, extractor, seed=seed)
    seconds = time.perf_counter() - start
    parameters = dataclasses.asdict(setting) | {
        "dataset": dataset.name,
        "objective": name,
        "options": options,
        "seed": seed,
    }
    fd_unit = f"FD ({extractor.name})"
    records.save(
        experiment,
        parameters,
        metrics,
        units={
            "fd_generated": f"{fd_unit}, {len(dataset.train)} samples against the train split",
            "fd_reconstructed": f"{fd_unit}, test split from posterior means against itself",
            "fd_reconstructed_draw": f"{fd_unit}, test split from posterior draws against itself",
            "squared_error": "posterior means; sum over pixels, mean over the test split",
            "squared_error_draw": "posterior draws; sum over pixels, mean over the test split",
            "kl": "nats per image, test split",
        },
        seconds=round(seconds, 2),
        curves={"total": history["total"]},
        data_checksum=dataset.checksum,
    )
    # Off the device: models come back from processes of their own, and meet data held in memory.
    return Outcome(vae.cpu(), parameters, metrics, history, seconds)


def run_all(points: Iterable[tuple[str, dict, int]], **shared) -> list[Outcome]:
    """Several points side by side, one process per core; in the order they are given.

    Parameters
    ----------
    points
        Objective, options and seed of each.
    shared
        The other arguments of :func:`run`, the same for all.
    """
    return Parallel(n_jobs=-1)(
        delayed(run)(name, options, seed=seed, **shared) for name, options, seed in points
    )


def measure(vae: VAE, dataset: Dataset, extractor: Extractor, *, seed: int) -> dict[str, float]:
    """Quality of samples from the prior, and of reconstructions.

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

    return {
        "fd_generated": fd(extractor, generated, dataset.train),
        "fd_reconstructed": fd(extractor, from_mean, dataset.test),
        "fd_reconstructed_draw": fd(extractor, from_draw, dataset.test),
        "squared_error": squared_error(from_mean),
        "squared_error_draw": squared_error(from_draw),
        "kl": kl,
    }
