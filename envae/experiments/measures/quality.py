"""Quality of a trained model: its samples, reconstructions and interpolations, and its likelihood.

One measure for the columns of xu2025's Table 1 and of Tables 4 to 7 of takida2022, and for what
neither paper measures: samples in a second space of features, without one, and their diversity.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Generator, Tensor

from envae._unknown import unknown
from envae.datasets import Dataset
from envae.evaluation import (
    AT_ONCE,
    batches,
    encode,
    evaluating,
    placed,
    seeded,
    squared_error,
)
from envae.experiments.records import Values
from envae.metrics import frechet
from envae.metrics.frechet import HasFeatures
from envae.metrics.interpolation import between_pairs
from envae.metrics.likelihood import negative_log_likelihood
from envae.metrics.two_sample import energy_distance, precision_recall, reached
from envae.objectives import Objective
from envae.objectives.base import NoDensity, check_count
from envae.objectives.energy_based import EnergyCalibrated, WithEnergy
from envae.priors import GaussianMixture, NoiseContrastive, Prior, SecondStageVAE
from envae.vae import VAE, gaussian, kl_to_prior

# Fitted after training to codes of the training images, called as fit(codes, seed=...).
PRIORS: dict[str, Callable[..., Prior]] = {
    "gmm10": functools.partial(GaussianMixture.fit, components=10),
    "gmm100": functools.partial(GaussianMixture.fit, components=100),
    "second_stage": SecondStageVAE.fit,
    "ncp": functools.partial(NoiseContrastive.fit, draws="langevin"),
    "ncp_sir": NoiseContrastive.fit,
}
# Draws of each posterior that a prior is fitted to, where it is not one: a classifier of as many
# codes as there are images learns them by heart.
_DRAWS = {"ncp": 10, "ncp_sir": 10}
# Of an energy: whether it does anything, and what it did to the posterior.
_OF_ENERGY = {
    "energy_gap": "nats of an unnormalized density, model's images less the test split's",
    "stddev": "of the posterior, mean over coordinates and images of the test split",
    "moved": "squared distance of samples to themselves after Langevin steps, sum over pixels",
    "multiplier": "of the calibration, after training",
}
_OF_RATIO = {
    "loss": "nats, cross entropy of both classes on held-out codes; 1.386 at chance",
    "mean_ratio": "over the prior; 1 where the classifier is calibrated",
    "effective": "share of the proposals that is effective",
    "moved": "distance in the space of codes, by the ratio, after Langevin steps",
}
# Interpolation ratio, as `between_pairs` takes it.
RATIOS: dict[str, float | None] = {"midpoint": 0.5, "random_ratio": None}


def check_priors(names: Iterable[str]) -> None:
    """Raise a ValueError for a name that is not in `PRIORS`."""
    for name in names:
        if name not in PRIORS:
            raise ValueError(unknown("prior", name, PRIORS))


def measure(
    vae: VAE,
    objective: Objective,
    dataset: Dataset,
    seed: int,
    *,
    extractor: frechet.HasFeatures | None,
    against: str = "train",
    samples: int | None = None,
    priors: Sequence[str] = (),
    interpolate: bool = False,
    likelihood_draws: int = 0,
    likelihood_images: int | None = None,
    others: Sequence[frechet.HasFeatures] = (),
    two_sample: bool = False,
) -> Values:
    """Values with their units, a `runs.Measure`.

    Test images are reconstructed from the mean of their posterior and from one draw of it, since
    the papers do not say which they mean.

    Parameters
    ----------
    vae, objective
        A trained model and what it was trained with.
    dataset, seed
        What it was trained on, and the seed of all that is drawn here.
    extractor
        Network whose features are compared. None, where there is none: no distances.
    against
        Split that generated images are compared with.
    samples
        Images generated of each kind, and at most so many test images measured; by default as
        many as there are training images, and all test images.
    priors
        Names in `PRIORS`, to be fitted to the codes of the training images and sampled.
    interpolate
        Whether to decode codes between those of pairs of test images.
    likelihood_draws
        Draws per test image for the negative log-likelihood, 500 in the paper; 0 for none. An
        objective whose decoder has no density gives none either: see `metrics.likelihood`.
    likelihood_images
        At most so many of the test images, evenly spread, for the negative log-likelihood; all of
        them by default. Each draw of each image is decoded: the paper's 500 of MNIST's 10,000 are
        five million images, ten minutes of one core with a small convolutional network.
    others
        More spaces of features, such as `metrics.random_convolutions`, for every distance. Their
        columns end in their names.
    two_sample
        Whether samples from the standard normal prior are compared by `metrics.two_sample` too.

    Returns
    -------
    dict
        `fd_generated`, `fd_<prior>`, `fd_midpoint`, `fd_random_ratio`: samples and interpolations.
        `fd_generated_random_conv`, ...: the same in the other spaces.
        `energy_distance_generated`: of the samples' pixels.
        `precision`, `recall`, `reached`: of the samples, in the extractor's space, and in the other
        spaces under names that end as above.
        `is_generated`: Inception Score of the samples, if the extractor is Inception.
        `fd_reconstructed`, `fd_reconstructed_draw`: test images, against themselves.
        `squared_error`, `squared_error_draw`: summed over pixels, mean over images.
        `kl`: of the posteriors of the test images to the prior, in nats.
        `energy_gap`, `stddev`, `moved`, `multiplier`: of an objective with an energy, as its parts.
        `fd_refined`: samples after the Langevin steps of an `ec_vae`.
        `ncp_loss`, `ncp_mean_ratio`, ...: of a noise-contrastive prior, its diagnostics.
        `nll`: upper bound, in nats per image.
        No draws and no KL where the objective is deterministic.

    Raises
    ------
    ValueError
        If a prior or a split is unknown, a number is out of range, or a set has too few images for
        a distance.
    """
    check_priors(priors)
    if against not in ("train", "test"):
        raise ValueError(unknown("split", against, ("train", "test")))
    check_count(0, likelihood_draws=likelihood_draws)
    if likelihood_images is not None:
        check_count(likelihood_images=likelihood_images)
    if samples is not None:
        check_count(2, samples=samples)
    count = samples or len(dataset.train)
    model = _Model(vae, Generator().manual_seed(seed), drawn=not objective.deterministic)
    test = dataset.test[: samples or len(dataset.test)]
    with evaluating(vae), torch.no_grad():
        new = {"generated": torch.randn(count, vae.latent_dim, generator=model.generator)}
        networks = {"": extractor} if extractor is not None else {}
        networks |= {f"_{other.name.replace('-', '_')}": other for other in others}
        values = _reconstructions(model, test, networks)
        if networks:
            codes_of_priors, told = _codes_of_priors(model, dataset.train, priors, seed, count)
            new, values = new | codes_of_priors, values | told
            if interpolate:
                means, _ = model.posterior(test)
                new |= {
                    name: between_pairs(means, model.generator, pairs=count, ratio=ratio)
                    for name, ratio in RATIOS.items()
                }
        real = getattr(dataset, against)
        compared = f"{count} samples against the {against} split"
        for ending, network in networks.items():
            unit, reference = frechet.unit(network), frechet.reference(network, real)
            for name, codes in new.items():
                found = frechet.moments(network, model.pictures(codes))
                distance = frechet.distance(found, reference)
                values[f"fd_{name}{ending}"] = (distance, f"{unit}, {compared}")
            if isinstance(objective, EnergyCalibrated):
                generator = Generator().manual_seed(seed)
                refined = functools.partial(objective.refine, generator=generator)
                images = model.pictures(new["generated"], refined)
                distance = frechet.distance(frechet.moments(network, images), reference)
                values[f"fd_refined{ending}"] = (distance, f"{unit}, {compared}")
        if isinstance(objective, WithEnergy):
            with seeded(seed):
                parts = objective(vae, placed(vae, test[:AT_ONCE])).parts
            values |= {
                name: (parts[name].item(), unit)
                for name, unit in _OF_ENERGY.items()
                if name in parts
            }
        if two_sample:
            values |= _two_sample(model, new["generated"], real, networks, compared)
        if extractor is not None and hasattr(extractor, "probabilities"):
            # Its package is an extra of the book; who has the network has the package.
            from envae.metrics.inception import inception_score

            batches = model.pictures(new["generated"])
            seen = torch.cat([extractor.probabilities(batch) for batch in batches])
            values["is_generated"] = (inception_score(seen)[0], f"IS by {extractor.name}")
        if likelihood_draws:
            scored = from_all_parts(test, likelihood_images or len(test))
            values |= _likelihood(model, objective, dataset.train, scored, likelihood_draws, seed)
    return values


def _same(images: Tensor) -> Tensor:
    return images


@dataclasses.dataclass(frozen=True)
class _Model:
    """A model in batches, with its source of noise; `drawn`: codes are drawn in training."""

    vae: VAE
    generator: Generator
    drawn: bool

    def decode(self, codes: Tensor, after: Callable[[Tensor], Tensor] = _same) -> Iterator[Tensor]:
        """Images of codes `(N, d_z)`, in batches, on the CPU, after what is done to them."""
        for batch in batches(self.vae, codes):
            yield after(self.vae.decode(batch)).cpu()

    def pictures(
        self, codes: Tensor, after: Callable[[Tensor], Tensor] = _same
    ) -> Iterator[Tensor]:
        """The same as files would hold them: decoders and Langevin steps may overshoot."""
        return (images.clamp(0, 1) for images in self.decode(codes, after))

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations `(N, d_z)` of the codes of images, on the CPU."""
        posterior = encode(self.vae, images)
        return posterior.mean.cpu(), posterior.stddev.cpu()

    def draw(self, means: Tensor, stddevs: Tensor) -> Tensor:
        return means + stddevs * torch.randn(means.shape, generator=self.generator)


def _reconstructions(model: _Model, test: Tensor, networks: dict[str, HasFeatures]) -> Values:
    means, stddevs = model.posterior(test)
    values, codes = {}, {"means": means}
    if model.drawn:
        codes["draws"] = model.draw(means, stddevs)
        kl = kl_to_prior(gaussian(means, stddevs)).mean().item()
        values["kl"] = (kl, "nats per image, test split")
    for kind, chosen in codes.items():
        ending = "" if kind == "means" else "_draw"
        images = torch.cat(list(model.decode(chosen)))
        values[f"squared_error{ending}"] = (
            squared_error(images, test),
            f"posterior {kind}; sum over pixels, mean over the test split",
        )
        for space, network in networks.items():
            values[f"fd_reconstructed{ending}{space}"] = (
                frechet.fd(network, images.clamp(0, 1), test),
                f"{frechet.unit(network)}, test split from posterior {kind} against itself",
            )
    return values


def _two_sample(
    model: _Model, codes: Tensor, real: Tensor, networks: dict[str, HasFeatures], compared: str
) -> Values:
    """Samples against real images without a Gaussian in between."""
    images = torch.cat(list(model.decode(codes)))
    values = {
        "energy_distance_generated": (
            energy_distance(images, real),
            f"energy distance, root of a sum over pixels, {compared}",
        )
    }
    for space, network in networks.items():
        features = network.features(images.clamp(0, 1)), network.features(real)
        precision, recall = precision_recall(*features)
        for name, neighbours, share in (
            ("precision", 3, precision),
            ("recall", 3, recall),
            ("reached", 5, reached(*features)),
        ):
            unit = f"share, {neighbours} nearest neighbours in {network.name}, {compared}"
            values[f"{name}{space}"] = (share, unit)
    return values


def _codes_of_priors(
    model: _Model, train: Tensor, names: Sequence[str], seed: int, count: int
) -> tuple[dict[str, Tensor], Values]:
    """New codes `(count, d_z)` from each of the priors, fitted to the codes of the images.

    And what a noise-contrastive one tells of itself.
    """
    if not names:
        return {}, {}
    means, stddevs = model.posterior(train)
    codes = model.draw(means, stddevs) if model.drawn else means
    # Of a generator of their own: all other draws are the same, with such a prior or without.
    other = dataclasses.replace(model, generator=Generator().manual_seed(~seed))

    def codes_for(name: str) -> Tensor:
        if name not in _DRAWS or not model.drawn:
            return codes
        return other.draw(*(each.expand(_DRAWS[name], *each.shape) for each in (means, stddevs)))

    with torch.enable_grad():  # a second stage is trained
        priors = {name: PRIORS[name](codes_for(name), seed=seed) for name in names}
    told: Values = {}
    for name, prior in priors.items():
        if isinstance(prior, NoiseContrastive):
            found = prior.diagnostics(seed=seed)
            told |= {f"{name}_{what}": (found[what], unit) for what, unit in _OF_RATIO.items()}
    return {name: prior.sample(count, model.generator) for name, prior in priors.items()}, told


def from_all_parts(images: Tensor, count: int) -> Tensor:
    """At most so many of the images `(N, ...)`, from all parts of a set that may be sorted."""
    count = min(count, len(images))
    return images[torch.arange(count) * len(images) // count]


def _likelihood(
    model: _Model, objective: Objective, train: Tensor, test: Tensor, draws: int, seed: int
) -> Values:
    """Bound on the negative log-likelihood; empty where the decoder has no density."""
    try:
        density = objective.density(model.vae, train, seed=seed)
        nats = negative_log_likelihood(model.vae, density, test, draws=draws, seed=seed)
    except NoDensity:
        return {}
    unit = f"nats per image, upper bound, {draws} draws for each of {len(test)} test images"
    return {"nll": (nats.mean().item(), unit)}
