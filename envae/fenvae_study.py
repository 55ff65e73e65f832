"""Support of chapter 06: runs that watch what FEnVAE's loss is paid for, and what they are made of.

A :class:`Case` is one point of a sweep, finer than a table's row: network with or without batch
normalization, start of the posterior, variants of the objective that nobody should use elsewhere.
"""

import copy
import dataclasses
import functools
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
from joblib import Parallel, delayed
from torch import Tensor, nn

from envae import networks, records
from envae.datasets import Dataset
from envae.metrics import quality, smoothness
from envae.metrics._common import Values
from envae.metrics.extractor import Extractor
from envae.objectives import Objective, objective
from envae.objectives._base import decode, encode, with_kl
from envae.objectives.energy import EnVAE, FEnVAE, mirrored_draws
from envae.scores import antithetic_score, energy_score
from envae.training import fit
from envae.vae import VAE


class ThreeCalls(FEnVAE):
    """FEnVAE with a call of the decoder for each of its codes: batch statistics of their own."""

    def _decode(self, vae, codes, x):
        return torch.cat([decode(vae, code[None], x) for code in codes])


class StopCenter(FEnVAE):
    """FEnVAE without a gradient through g(mu), which is held fixed where the draw leaves it."""

    def _decode(self, vae, codes, x):
        draw, stretched, center = super()._decode(vae, codes, x)
        return torch.stack([draw, stretched, center.detach()])


class StopDecoder(FEnVAE):
    """FEnVAE whose second term trains the encoder alone: the decoder is not paid for spread."""

    def _decode(self, vae, codes, x):
        draw = decode(vae, codes[:1], x)
        with _frozen(vae.decoder):
            others = decode(vae, codes[1:], x)
        return torch.cat([draw, others])


class Antithetic(EnVAE):
    """One mirrored pair of draws, which are pushed apart."""

    def __init__(self, beta: float = 1.0, alpha: float = 0.1):
        super().__init__(samples=2, beta=beta, alpha=alpha)

    def forward(self, vae, x):
        posterior = encode(vae, x)
        pair = decode(vae, mirrored_draws(posterior, 2), x)
        return with_kl(posterior, antithetic_score(*pair, x, beta=self.beta), self.alpha)


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Gradients pass through the module to its input, and not to its parameters."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


VARIANTS = {
    "antithetic": Antithetic,
    "three_calls": ThreeCalls,
    "stop_center": StopCenter,
    "stop_decoder": StopDecoder,
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One run.

    Attributes
    ----------
    objective, options
        As `objectives.objective` takes them, or a name of `VARIANTS` with FEnVAE's options.
    network
        As `networks.build` knows it; with `+bn` after it, batch normalization before every ReLU.
    latent_dim
        Dimension of the code.
    initial_variance
        Factor on the variance of the posterior before training, which is about 1.
    lr, epochs, batch_size, seed
        As `training.fit` takes them.
    """

    objective: str
    options: Mapping
    network: str = "mlp"
    latent_dim: int = 16
    initial_variance: float = 1.0
    lr: float = 1e-3
    epochs: int = 50
    batch_size: int = 64
    seed: int = 1

    def build(self, image_shape: tuple[int, int, int]) -> tuple[VAE, Objective]:
        """Model and objective, new."""
        name = self.network.removesuffix("+bn")
        vae = networks.build(name, image_shape, self.latent_dim, seed=self.seed)
        if self.network.endswith("+bn"):
            vae.encoder, vae.decoder = map(with_batch_norm, (vae.encoder, vae.decoder))
        if self.initial_variance != 1:
            with torch.no_grad():
                vae.encoder[-1].bias[self.latent_dim :] += math.log(self.initial_variance)
        make = VARIANTS.get(self.objective) or functools.partial(objective, self.objective)
        return vae, make(**self.options)

    def train(self, vae: VAE, minimized: Objective, images: Tensor, **options) -> pd.DataFrame:
        """Train, and leave the model on the CPU; options of `training.fit` beside the case's."""
        settings = {"epochs": self.epochs, "batch_size": self.batch_size, "lr": self.lr}
        settings |= {"seed": self.seed, "progress": False}
        history = fit(vae, minimized, images, **settings | options)
        vae.cpu()
        return history


def with_batch_norm(network: nn.Sequential) -> nn.Sequential:
    """The same layers, with batch normalization before every ReLU."""
    layers, last = [], None
    for layer in network:
        if isinstance(layer, nn.ReLU):
            if isinstance(last, nn.Linear):
                layers.append(nn.BatchNorm1d(last.out_features))
            else:
                layers.append(nn.BatchNorm2d(last.out_channels))
        layers.append(layer)
        last = layer
    return nn.Sequential(*layers)


def run(case: Case, *, dataset: Dataset, extractor: Extractor, experiment: str) -> None:
    """Train, measure and record a case."""
    vae, minimized = case.build(dataset.image_shape)
    history = case.train(vae, minimized, dataset.train)
    values = measure(vae, minimized, dataset, case.seed, extractor=extractor)
    values |= lipschitz(vae, dataset.test[:500])
    records.save_values(
        experiment,
        parameters(case, dataset.name),
        values,
        seconds=round(history["seconds"].sum(), 2),
        curves={"total": history["total"]},
        data_checksum=dataset.checksum,
    )


def parameters(case: Case, dataset: str) -> dict:
    """What a case is recorded under."""
    return dataclasses.asdict(case) | {"dataset": dataset}


def complete(
    cases: Iterable[Case], *, dataset: Dataset, experiment: str, jobs: int = -1, **shared
) -> None:
    """Run the cases that have no record yet, side by side. See :func:`run`."""
    cases = list(cases)
    rows = records.load(experiment, [parameters(case, dataset.name) for case in cases])
    done = set(rows.loc[rows["done"], "key"])
    left = [
        case
        for case in cases
        if records.key(experiment, parameters(case, dataset.name)) not in done
    ]
    Parallel(n_jobs=jobs)(
        delayed(run)(case, dataset=dataset, experiment=experiment, **shared) for case in left
    )


def recorded(cases: Iterable[Case], *, dataset: str, experiment: str) -> pd.DataFrame:
    """Records of the cases in their order, with the options as columns.

    Raises
    ------
    LookupError
        If a case was not recorded.
    """
    rows = records.load(experiment, [parameters(case, dataset) for case in cases])
    if not rows["done"].all():
        count = (~rows["done"]).sum()
        raise LookupError(f"{count} of {len(rows)} runs of {experiment!r} have no record")
    options = pd.DataFrame(list(rows["options"]), index=rows.index)
    return rows.drop(columns="options").join(options)


Row = tuple[str, Mapping]  # an objective and its options, without the KL weight


def weighted(row: Row, alpha: float, **settings) -> Case:
    """Case of a row at a KL weight, which is multiplied by beta, as the loss's slope is."""
    name, options = row
    return Case(
        name, {**options, "alpha": round(float(alpha) * options.get("beta", 1.0), 4)}, **settings
    )


def search(
    rows: Mapping[str, Row],
    alphas: Iterable[float],
    *,
    lookup: Callable[[list[Case]], pd.DataFrame],
    **settings,
) -> pd.DataFrame:
    """FD of samples by row and weight, from runs with seed 0: the same search for every row.

    Parameters
    ----------
    rows
        By label.
    alphas
        Weights, as :func:`weighted` takes them.
    lookup
        Gives the records of cases, such as :func:`recorded`.
    settings
        What the cases share.
    """
    alphas = list(alphas)
    cases = [weighted(row, alpha, seed=0, **settings) for row in rows.values() for alpha in alphas]
    found = lookup(cases)["fd_generated"].to_numpy().reshape(len(rows), len(alphas))
    return pd.DataFrame(found, index=list(rows), columns=alphas)


def measure(
    vae: VAE, minimized: Objective, dataset: Dataset, seed: int, *, extractor: Extractor
) -> Values:
    """Values with their units: those of `quality.measure`, and spreads, on the test split."""
    values = quality.measure(vae, minimized, dataset, seed, extractor=extractor)
    vae.eval()
    with torch.no_grad():
        terms = spread_terms(vae, dataset.test, draws=10, seed=seed)
        posterior = vae.encode(dataset.test)
    vae.train()
    unit = "data units, mean over the test split"
    return values | {
        "spread": (terms["spread"].mean().item(), f"{unit}; half the distance of two draws"),
        "stand_in": (terms["stand_in"].mean().item(), f"{unit}; half FEnVAE's second distance"),
        "energy_score": (terms["energy_score"].mean().item(), f"{unit}; beta 1, 10 draws"),
        "posterior_variance": (posterior.variance.mean().item(), "mean over codes and images"),
        "mean_variance": (posterior.mean.var(0).mean().item(), "of posterior means, over images"),
    }


def lipschitz(vae: VAE, images: Tensor) -> Values:
    """Lower bounds of the Lipschitz constants of the encoder's mean and of the decoder."""
    vae.eval()
    with torch.no_grad():
        codes = vae.encode(images[:100]).mean
    values = {
        "lipschitz_encoder": (
            smoothness.lipschitz_from_pairs(lambda x: vae.encode(x).mean, images),
            f"largest ratio over pairs of {len(images)} test images",
        ),
        "lipschitz_decoder": (
            smoothness.lipschitz_from_jacobians(vae.decode, codes),
            f"largest spectral norm of the Jacobian at {len(codes)} posterior means",
        ),
    }
    vae.train()
    return values


def spread_terms(vae: VAE, images: Tensor, *, draws: int, seed: int) -> dict[str, Tensor]:
    """Second terms of the score and of FEnVAE's surrogate on images, without gradient, `(B,)` each.

    Returns
    -------
    dict
        `spread`: half the mean distance of independent draws, over the pairs of `draws` of them.
        `stand_in`: half the distance of g(mu + sqrt(2) delta) and g(mu), for one draw.
        `first`: mean distance of the draws to the image. `energy_score`: `first - spread`.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        posterior = vae.encode(images)
        noise = torch.randn(draws, *posterior.mean.shape, generator=generator)
        decoded = vae.decode(posterior.mean + posterior.stddev * noise)
        stretched, center = vae.decode(
            torch.stack(
                [posterior.mean + math.sqrt(2) * posterior.stddev * noise[0], posterior.mean]
            )
        )
        score = energy_score(decoded, images)
    first = (decoded - images).flatten(2).norm(dim=2).mean(0)
    stand_in = 0.5 * (stretched - center).flatten(1).norm(dim=1)
    return {"spread": first - score, "stand_in": stand_in, "first": first, "energy_score": score}


def normalized_apart(vae: VAE, images: Tensor, *, seed: int) -> dict[str, float]:
    """Stand-in over spread in training mode, all codes decoded in one call or in one each.

    The running statistics of batch normalization are left as they are.
    """
    vae = copy.deepcopy(vae).train()
    torch.manual_seed(seed)
    with torch.no_grad():
        posterior = vae.encode(images)
        first, second = posterior.rsample((2,))
        stretched = posterior.mean + math.sqrt(2) * (first - posterior.mean)
        codes = torch.stack([first, second, stretched, posterior.mean])
        decoded = {
            "training, one call": vae.decode(codes),
            "training, a call each": torch.stack([vae.decode(code) for code in codes]),
        }
    ratios = {}
    for label, (a, b, c, d) in decoded.items():
        apart, between = (
            (one - other).flatten(1).norm(dim=1).mean() for one, other in ((c, d), (a, b))
        )
        ratios[label] = (apart / between).item()
    return ratios


def follow(
    case: Case, epochs: Iterable[int], *, dataset: Dataset, extractor: Extractor
) -> tuple[VAE, pd.DataFrame]:
    """Train as :func:`run` does, and stop to measure after so many epochs; nothing is recorded.

    Returns
    -------
    tuple
        The model after the last stop, and a row of measures for each stop, with `epoch` and
        `seconds` of training so far.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "run.safetensors"
        for count in epochs:
            vae, minimized = case.build(dataset.image_shape)
            history = case.train(vae, minimized, dataset.train, epochs=count, checkpoint=checkpoint)
            values = measure(vae, minimized, dataset, case.seed, extractor=extractor)
            row = {name: value for name, (value, _) in values.items()}
            rows.append(row | {"epoch": count, "seconds": history["seconds"].sum()})
    return vae, pd.DataFrame(rows)


def follow_all(
    cases: Iterable[Case], epochs: Iterable[int], **shared
) -> list[tuple[VAE, pd.DataFrame]]:
    """Cases side by side, one process per core, in the order given. See :func:`follow`."""
    return Parallel(n_jobs=-1)(delayed(follow)(case, epochs, **shared) for case in cases)


def gradient_noise(
    vae: VAE,
    objectives: Mapping[str, Objective],
    x: Tensor,
    *,
    reference: Objective,
    repeats: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Bias and variance of gradients of the same batch, over draws of the posterior alone.

    Parameters
    ----------
    vae
        Model whose parameters the gradients are of.
    objectives
        What is compared, by label.
    x
        One batch.
    reference
        Unbiased objective, with many draws; the bias is the distance to its mean gradient.
    repeats
        Gradients of each.

    Returns
    -------
    DataFrame
        By label: `variance` (trace of the covariance) and `bias` (length), both relative to the
        length of the mean gradient of the reference, squared for the variance; `cosine` of the
        two mean gradients.
    """
    torch.manual_seed(seed)
    target, target_noise = _gradients(vae, reference, x, repeats)
    size = target.norm()
    rows = {}
    for label, minimized in objectives.items():
        mean, variance = _gradients(vae, minimized, x, repeats)
        # The two means are off by noise of their own, which their distance contains.
        excess = (mean - target).square().sum() - (variance + target_noise) / repeats
        rows[label] = {
            "variance": (variance / size**2).item(),
            "bias": (excess.clamp(min=0).sqrt() / size).item(),
            "cosine": torch.cosine_similarity(mean, target, dim=0).item(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _gradients(vae: VAE, minimized: Objective, x: Tensor, repeats: int) -> tuple[Tensor, Tensor]:
    """Mean of the gradient `(P,)` and trace of its covariance, over draws."""
    weights = list(vae.parameters())
    total, squares = torch.zeros(sum(w.numel() for w in weights)), 0.0
    for _ in range(repeats):
        gradient = torch.autograd.grad(minimized(vae, x).total, weights)
        flat = torch.cat([part.flatten() for part in gradient])
        total += flat
        squares += flat.square().sum()
    mean = total / repeats
    return mean, (squares - repeats * mean.square().sum()) / (repeats - 1)


def step_seconds(
    cases: Mapping[str, Case],
    image_shape: tuple[int, int, int],
    *,
    repeats: int = 10,
    load: Callable[[], object] | None = None,
) -> pd.DataFrame:
    """Seconds of a training step of each case on random images, the cases taking turns.

    Parameters
    ----------
    cases
        By label; their `batch_size` images are used in every step.
    image_shape
        `(C, H, W)`.
    repeats
        Timed steps of each; a column each, after two that are not timed.
    load
        Called before every step and timed with it: what fetching a batch takes, where nothing
        fetches the next one meanwhile.
    """
    steps = {label: _step(case, image_shape) for label, case in cases.items()}
    seconds: dict[str, list[float]] = {label: [] for label in steps}
    for _ in range(repeats + 2):
        for label, step in steps.items():
            start = time.perf_counter()
            if load is not None:
                load()
            step()
            seconds[label].append(time.perf_counter() - start)
    return pd.DataFrame.from_dict(seconds, orient="index").iloc[:, 2:]


def _step(case: Case, image_shape: tuple[int, int, int]) -> Callable[[], None]:
    """One step of training, as `training.fit` takes it, on one batch of random images."""
    vae, minimized = case.build(image_shape)
    optimizer = torch.optim.Adam(vae.parameters(), lr=case.lr)
    x = torch.rand(case.batch_size, *image_shape, generator=torch.Generator().manual_seed(0))

    def step() -> None:
        optimizer.zero_grad()
        minimized(vae, x).total.backward()
        optimizer.step()

    return step


def latent_walk(vae: VAE, images: Tensor, *, between: int = 10) -> Tensor:
    """Decoded codes on the line between the means of two images, `(between + 2, P, C, H, W)`.

    Image k is paired with image k + P, of 2 P images, as in Figs. 21-23 of xu2025.
    """
    with torch.no_grad():
        start, end = vae.encode(images).mean.chunk(2)
        share = torch.linspace(0, 1, between + 2)[:, None, None]
        return vae.decode(start + share * (end - start))
