"""Executable companion to two papers on VAE decoders.

The energy score instead of a likelihood (EnVAE, FEnVAE; xu2025), and the decoder's variance by
maximum likelihood (AR-ELBO; takida2022). The parts, from the ground up: `scores`, `vae`,
`networks`, `linear`, `datasets`, `objectives`, `training`, `metrics`, `sweep`, `published`,
`audit`, `records`, `claims`, `plots`, `adapters`, `cli`.
"""

import importlib

__all__ = ["VAE", "energy_score", "objective"]
_HOMES = {"VAE": "vae", "energy_score": "scores", "objective": "objectives"}


def __getattr__(name: str):
    # At first use: importing torch takes a second, and `envae --help` does without it.
    if name not in _HOMES:
        raise AttributeError(f"module 'envae' has no attribute {name!r}")
    return getattr(importlib.import_module(f"envae.{_HOMES[name]}"), name)
