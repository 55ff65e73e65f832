"""Table 3 of takida2022: models trained on noisy images, and the variances that they report."""

from envae.experiments.noise_recovery._cells import (
    COLUMNS,
    against_level,
    cells,
    printed,
    recorded_readings,
    share,
    sizes,
    table,
)
from envae.experiments.noise_recovery._follow import follow
from envae.experiments.noise_recovery._train import (
    Noise,
    NoisyPoint,
    group,
    readings,
    train_all,
)

__all__ = [
    "COLUMNS",
    "Noise",
    "NoisyPoint",
    "against_level",
    "cells",
    "follow",
    "group",
    "printed",
    "readings",
    "recorded_readings",
    "share",
    "sizes",
    "table",
    "train_all",
]
