"""Table 3 of takida2022: models trained on noisy images, and the variances that they report."""

from envae.recovery._cells import COLUMNS, cells, printed, recorded, table
from envae.recovery._gradient_signal import gradient_signal
from envae.recovery._train import AfterEpoch, Case, Row, train, train_all

__all__ = [
    "COLUMNS",
    "AfterEpoch",
    "Case",
    "Row",
    "cells",
    "gradient_signal",
    "printed",
    "recorded",
    "table",
    "train",
    "train_all",
]
