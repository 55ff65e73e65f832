"""What independent draws tell of an expectation."""

import dataclasses
import math

from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Mean of independent draws, with its standard error in the same unit."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Tensor) -> "Estimate":
        """Of draws of any shape, at least two."""
        return cls(values.mean().item(), values.std().item() / math.sqrt(values.numel()))

    def deviation(self, other: "Estimate | float") -> float:
        """How far it lies above an exact value, or an independent estimate, in standard errors."""
        if not isinstance(other, Estimate):
            other = Estimate(other, 0.0)
        return (self.mean - other.mean) / math.hypot(self.error, other.error)
