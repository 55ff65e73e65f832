"""Encoder and decoder pairs, by name."""

# Importing a family registers its networks.
from envae.networks import any_size, arelbo  # noqa: F401
from envae.networks._build import build, names

__all__ = ["build", "names"]
