"""What the parts of this project cost beside what they cannot avoid, or beside another's.

    python benchmarks/budget.py             # prints; about five minutes of an idle core
    python benchmarks/budget.py --record    # also writes the run record that the book reads

In one process and one thread, each pair alternating: the ratio of processor times is told, its
median, lowest and highest over the rounds. What a step of each objective costs is told by
step_cost.py, memory of the energy score by energy_score.py, and what the chapters took by
`make times` and at the end of `make test`. To record, leave the machine nothing else to do.
"""

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pandas as pd
import scipy.linalg
import torch
from energy_score import forward_and_backward  # beside this file
from torch import Tensor

from envae import datasets, networks, training
from envae.evaluation import seeded
from envae.experiments import batched, records
from envae.experiments.step_cost import as_values, step_ratios
from envae.metrics import frechet
from envae.objectives import Objective, objective
from envae.vae import VAE


class Pair(NamedTuple):
    """What is timed, and what it is divided by."""

    label: str
    ours: Callable[[], object]
    reference: Callable[[], object]
    rounds: int = 7


def models(network: str, images: Tensor, count: int) -> tuple[list[VAE], list[Objective]]:
    shape = tuple(images.shape[1:])
    vaes = [networks.build(network, shape, 16, seed=seed) for seed in range(count)]
    return vaes, [objective("l2") for _ in vaes]


def bare_loop(network: str, images: Tensor, epochs: int) -> None:
    """The least that trains the same model: no records of parts, no checks, no Fabric."""
    [vae], [minimized] = models(network, images, 1)
    minimized.prepare(tuple(images.shape[1:]))
    optimizer = torch.optim.Adam(vae.train().parameters(), lr=1e-3, fused=True)
    with seeded(0):
        for _ in range(epochs):
            for chosen in torch.randperm(len(images)).split(64):
                optimizer.zero_grad()
                minimized(vae, images[chosen]).total.backward()
                optimizer.step()


def fit(network: str, images: Tensor, epochs: int, *, count: int = 1) -> None:
    """So many models, one after the other."""
    for vae, minimized in zip(*models(network, images, count), strict=True):
        training.fit(vae, minimized, images, epochs=epochs, accelerator="cpu", progress=False)


def stack(network: str, images: Tensor, epochs: int, *, count: int) -> None:
    vaes, objectives = models(network, images, count)
    batched.fit(vaes, objectives, images, epochs=epochs, seeds=range(count), accelerator="cpu")


def gaussian(dimension: int, scale: float) -> frechet.Moments:
    """Moments of features whose variances decay as those of a network do."""
    generator = torch.Generator().manual_seed(0)
    features = scale * torch.randn(2 * dimension, dimension, generator=generator).double()
    features *= torch.arange(1, dimension + 1).double() ** -0.5
    return frechet.Moments(features.mean(0), features.T.cov(), len(features))


def by_square_root(one: frechet.Moments, other: frechet.Moments) -> None:
    """A Fréchet distance by the root of a matrix, as pytorch-fid and others compute it."""
    root = scipy.linalg.sqrtm((one.covariance @ other.covariance).numpy())
    apart = (one.mean - other.mean).square().sum()
    apart + one.covariance.trace() + other.covariance.trace() - 2 * root.real.trace()


def pairs() -> list[Pair]:
    digits = datasets.load("digits").train
    noise = torch.Generator().manual_seed(0)
    larger = torch.rand(640, 1, 28, 28, generator=noise)
    found = [
        Pair("fit beside a bare loop, conv, 28 x 28", *fits("conv", larger, 1)),
        Pair("fit beside a bare loop, mlp, 8 x 8", *fits("mlp", digits, 5)),
    ]
    for network, count in (("mlp64", 32), ("mlp", 16)):
        trained = {"network": network, "images": digits, "epochs": 2, "count": count}
        label = f"{count} models as a stack beside one by one, {network}, 8 x 8"
        found.append(Pair(label, partial(stack, **trained), partial(fit, **trained), rounds=3))
    for draws, side in ((2, 8), (10, 28), (50, 64)):
        channels = 3 if side == 64 else 1
        samples = torch.rand(draws, 64, channels, side, side, generator=noise).requires_grad_()
        x = torch.rand(64, channels, side, side, generator=noise)
        event = f"M = {draws}, {channels} x {side} x {side}"
        times = {8: 300, 28: 10, 64: 1}[side]
        ours, formula, products = (
            partial(often, partial(forward_and_backward, name, samples, x, 1.0), times)
            for name in ("ours", "formula", "products")
        )
        others = {"the direct formula": formula}
        if draws > 4:
            others["its two products"] = products
        for name, other in others.items():
            found.append(Pair(f"energy score beside {name}, {event}", ours, other))
    moments = [gaussian(1024, scale) for scale in (1.0, 1.1)]
    distances = partial(frechet.distance, *moments), partial(by_square_root, *moments)
    found.append(
        Pair("Fréchet distance beside a root by SciPy, 1,024 features", *distances, rounds=3)
    )
    return found


def fits(network: str, images: Tensor, epochs: int) -> tuple[Callable, Callable]:
    return partial(fit, network, images, epochs), partial(bare_loop, network, images, epochs)


def often(call: Callable[[], object], times: int) -> None:
    """So often that a timer can tell it."""
    for _ in range(times):
        call()


def seconds(pair: Pair) -> pd.DataFrame:
    """Processor seconds of both, `(2, rounds)`, after a round that is not counted."""
    calls = {"reference": pair.reference, "ours": pair.ours}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(pair.rounds + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            taken[name].append(time.process_time() - start)
    return pd.DataFrame.from_dict(taken, orient="index").iloc[:, 1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the run record: `budget`")
    options = parser.parse_args()
    torch.set_num_threads(1)
    values, load = {}, os.getloadavg()[0]
    for pair in pairs():
        ours = step_ratios(seconds(pair)).loc[["ours"]].set_axis([pair.label])
        print(ours.round(3).to_string(header=not values), flush=True)
        values |= as_values(ours, "ratio of processor times", pair.rounds)
    values["load"] = (load, "processes that wanted a core when the benchmark began")
    if options.record:
        records.save_values("budget", {"threads": 1}, values)


if __name__ == "__main__":
    main()
