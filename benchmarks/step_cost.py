"""What a training step costs, as a multiple of another objective's step in the same round.

    python benchmarks/step_cost.py             # prints; a few minutes
    python benchmarks/step_cost.py --record    # also writes the run records that the book reads

Objectives take turns; told are the median over the rounds, and the lowest and highest. Steps alone,
the images in memory (compute-bound); with a batch of JPEG files of 178 x 218 pixels, CelebA's size,
decoded and scaled before every step by one process, as a data loader without workers does
(data-bound); the rows of Fig. 2 of takida2022 (variance-rows); and all rows of the papers' tables
(all-rows). To record, leave the machine
nothing else to do.
"""

import argparse
import io
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from envae.experiments.fenvae import Case
from envae.experiments.paper_rows import ROWS
from envae.experiments.runs import Setting
from envae.experiments.step_cost import record_steps, step_ratios, step_seconds

DRAWS = (2, 3, 5, 10, 20, 50, 100)  # M, up to the last column of Table 6 of xu2025
ENERGY = {
    "L2": ("l2", {}),
    "FEnVAE": ("fenvae", {}),
    "antithetic pair": ("antithetic", {}),
    "EnVAE, 4 mirrored": ("envae", {"samples": 4, "pairs": "mirrored"}),
    **{f"EnVAE, M = {m}": ("envae", {"samples": m}) for m in DRAWS},
    # Up to three draws, neighbours are all pairs.
    **{
        f"EnVAE, M = {m}, cyclic": ("envae", {"samples": m, "pairs": "cyclic"})
        for m in DRAWS
        if m > 3
    },
}
VARIANCE = {
    label: (ROWS[label].objective, ROWS[label].options)
    for label in (
        "VAE, variance 1",
        "Iso-I, mle",
        "Diag-I, mle",
        "Iso-D, mle",
        "Diag-D, mle",
        "AE",
        "WAE-MMD",
        "RAE",
    )
}

# L2 first, beside which the others are told.
ALL = {
    label: (row.objective, row.options | ({} if row.free == "lr" else {row.free: row.values[1]}))
    for label, row in ROWS.items()
}


def jpeg() -> bytes:
    """A smooth random picture of CelebA's size, compressed."""
    coarse = np.random.default_rng(0).integers(0, 256, (14, 12, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((178, 218), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def load(file: bytes, side: int, count: int) -> None:
    """Decode and scale so many pictures."""
    for _ in range(count):
        Image.open(io.BytesIO(file)).convert("RGB").resize((side, side)).tobytes()


class Measurement(NamedTuple):
    """Rows that take turns, and what they share."""

    kind: str
    rows: dict[str, tuple[str, dict]]
    network: str
    image_shape: tuple[int, int, int]
    latent_dim: int
    batch_size: int
    load: Callable[[], None] | None = None

    def cases(self) -> dict[str, Case]:
        """A case for every row."""
        setting = Setting(self.network, self.latent_dim, batch_size=self.batch_size)
        return {
            label: Case(objective, options, seed=1, setting=setting)
            for label, (objective, options) in self.rows.items()
        }


MEASUREMENTS = (
    Measurement("compute-bound", ENERGY, "conv", (3, 32, 32), 64, 16),
    Measurement("data-bound", ENERGY, "conv", (3, 32, 32), 64, 16, partial(load, jpeg(), 32, 16)),
    Measurement("variance-rows", VARIANCE, "mlp", (1, 8, 8), 16, 64),
    Measurement("variance-rows", VARIANCE, "arelbo_mnist", (1, 28, 28), 16, 64),
    Measurement("all-rows", ALL, "conv", (1, 28, 28), 16, 64),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write run records: `step_cost`")
    parser.add_argument("--repeats", type=int, default=30, help="rounds that are timed")
    options = parser.parse_args()
    for measurement in MEASUREMENTS:
        cases, shape = measurement.cases(), measurement.image_shape
        seconds = step_seconds(cases, shape, repeats=options.repeats, load=measurement.load)
        print(f"{measurement.kind}: {measurement.network}, {shape}, batch {measurement.batch_size}")
        print(step_ratios(seconds).round({"median": 2, "low": 2, "high": 2, "seconds": 4}))
        if options.record:
            record_steps(seconds, measurement.kind, cases, shape)


if __name__ == "__main__":
    main()
