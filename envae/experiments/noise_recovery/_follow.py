"""The noise that models find while they train, read again and again."""

from collections.abc import Sequence

import pandas as pd

from envae.datasets import Dataset
from envae.evaluation import seeded
from envae.experiments.noise_recovery._train import NoisyPoint, readings
from envae.experiments.runs import run_stack
from envae.metrics import uncertainty
from envae.objectives import Objective
from envae.vae import VAE


def follow(
    points: Sequence[NoisyPoint], *, clean: Dataset, experiment: str, stops: int = 30
) -> pd.DataFrame:
    """Train a group as :func:`train_all` does, and on the way read its mean squared residuals.

    For a variance by maximum likelihood the residual, averaged over what shares it, is the
    estimate.

    Parameters
    ----------
    points
        As :func:`group` makes them.
    clean, experiment
        As :func:`train_all` takes them.
    stops
        About how many readings there are, at equal distances.

    Returns
    -------
    DataFrame
        Columns `images` (their number), `redraw`, `step` (of the optimizer, so far), `split`,
        `seed`, `value` (squared pixel value, mean over images and pixels).
    """
    first, images = points[0], len(clean.train)
    per_epoch = -(-images // first.setting.batch_size)
    every = max(1, first.setting.epochs // stops)
    data = [point.data(clean) for point in points]
    lines: list[tuple[int, bool, int, str, int, float]] = []

    def read(epoch: int, vaes: list[VAE], objectives: list[Objective]) -> None:
        if epoch % every:
            return
        for split in ("train", "test"):
            for point, vae, minimized, drawn in zip(points, vaes, objectives, data, strict=True):
                with seeded(point.seed):
                    maps = uncertainty.maps(vae, minimized, getattr(drawn, split), draws=2)
                value = maps["residual"].mean().item()
                told = (images, point.noise.redraw, epoch * per_epoch, split, point.seed, value)
                lines.append(told)

    run_stack(points, dataset=clean, experiment=experiment, measure=readings, after_epoch=read)
    return pd.DataFrame(lines, columns=["images", "redraw", "step", "split", "seed", "value"])
