"""Minimum of a smooth function of a few numbers, for checks of closed forms."""

from collections.abc import Callable

import torch
from torch import Tensor


def minimize(function: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """Where a function is smallest near a start, by L-BFGS with a strong Wolfe line search.

    Parameters
    ----------
    function
        Differentiable, from a tensor of the start's shape to a scalar. Several problems are solved
        at once by adding up their values.
    start
        Float64 tensor of any shape.

    Raises
    ------
    ValueError
        If the start is not float64: in single precision the search stops far from the minimum.
    FloatingPointError
        If the search leaves the finite numbers: there may be no minimum.
    """
    if start.dtype != torch.float64:
        raise ValueError(f"start must be float64, received {start.dtype}")
    found = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [found], max_iter=3000, max_eval=6000, history_size=50,
        tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = function(found)
        value.backward()
        return value

    optimizer.step(closure)
    if not found.isfinite().all():
        raise FloatingPointError("the search left the finite numbers: there may be no minimum")
    return found.detach()
