"""Training: one readable loop, on Lightning Fabric."""

from envae.training._held import batch_sizes
from envae.training._loop import check_training_images, epoch_means, epoch_seed, evaluate, fit
from envae.training._run import Pair, UnusableCheckpoint
from envae.training._step import plain_numbers

__all__ = [
    "Pair",
    "UnusableCheckpoint",
    "batch_sizes",
    "check_training_images",
    "epoch_means",
    "epoch_seed",
    "evaluate",
    "fit",
    "plain_numbers",
]
