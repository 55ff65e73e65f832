"""Executable companion to two papers on VAE decoders.

The energy score instead of a likelihood (EnVAE, FEnVAE; xu2025), and the decoder's variance by
maximum likelihood (AR-ELBO; takida2022). From the ground up:

- scores and models: `scores`, `vae`, `networks`, `datasets`, `noise`
- closed forms: `linear`, `linear_gaussian`, `linear_energy`, `theory`, `minimize`, `errata`
- training: `objectives`, `training`, `ensemble`, `sweep`
- after it: `priors`, `interpolation`, `metrics`
- the book: `published`, `audit`, `records`, `claims`, `plots`, `fenvae_study`
- for other programs: `adapters`, `cli`
"""

import importlib

__all__ = ["VAE", "energy_score", "objective"]
_HOMES = {"VAE": "vae", "energy_score": "scores", "objective": "objectives"}


def __getattr__(name: str):
    # At first use: importing torch takes a second, and `envae --help` does without it.
    if name not in _HOMES:
        raise AttributeError(f"module 'envae' has no attribute {name!r}")
    return getattr(importlib.import_module(f"envae.{_HOMES[name]}"), name)
