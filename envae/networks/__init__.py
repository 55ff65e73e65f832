"""Encoder and decoder pairs, by name."""

# Importing a family registers its networks.
from envae.networks import any_size, arelbo  # noqa: F401
from envae.networks._build import build, check_name, names

__all__ = ["build", "check_name", "names"]
