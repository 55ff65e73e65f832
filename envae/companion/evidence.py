"""Lines of evidence made of what was found: the same on any machine, true under any verdict."""

import numpy as np
from torch import Tensor


def precision(error: Tensor | float, tolerance: float) -> str:
    """How exactly two things agree: "to 1e-9", or "only to 0.3" where they do not.

    An error of rounding differs from machine to machine, the tolerance does not: an error below it
    is not told.

    Parameters
    ----------
    error
        Largest deviation, in any unit; a tensor of any shape is searched for it.
    tolerance
        What was asked for, in the same unit.
    """
    largest = float(np.abs(np.asarray(error, float)).max())
    if largest < tolerance:
        return f"to {_short(tolerance)}"
    return f"only to {_short(largest)}"


def _short(number: float) -> str:
    """One significant digit: 0.02, 1e-9."""
    if number < 0.01:
        return np.format_float_scientific(number, precision=0, trim="-", exp_digits=1)
    return f"{number:.1g}"
