"""What is minimized: one class per row of the papers' tables, found by name.

>>> from envae import objective
>>> loss = objective("envae", samples=2)(vae, x)
>>> loss.total.backward()
"""

# Importing a family registers its objectives.
from envae.objectives import (  # noqa: F401
    autoencoder,
    energy,
    energy_based,
    image,
    likelihood,
    matching,
    mixture,
    quantile,
    variance,
)
from envae.objectives.base import Loss, Objective, names, objective, told_options

__all__ = ["Loss", "Objective", "names", "objective"]

# For `help(objective)`, and the page of the API.
objective.__doc__ = f"{objective.__doc__}{told_options()}"
