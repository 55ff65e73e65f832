"""Training: one readable loop, on Lightning Fabric."""

from envae.training._loop import evaluate, fit
from envae.training._run import Pair

__all__ = ["Pair", "evaluate", "fit"]
