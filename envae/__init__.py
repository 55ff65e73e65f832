"""Executable companion to two papers on VAE decoders.

The energy score instead of a likelihood (EnVAE, FEnVAE; xu2025), and the decoder's variance by
maximum likelihood (AR-ELBO; takida2022). Four rooms, each of which imports only those above it:

- the library, for a VAE of one's own: `scores`, `vae`, `evaluation`, `objectives`, `networks`,
  `datasets`, `training`, `priors`, `metrics`, `adapters`
- `theory`: models whose optimum is known, formulas as printed and as meant
- `experiments`: runs, their records, the papers' tables and what is measured for them
- `companion`: the ledger of claims, figures, notebooks; and the command line, `cli`
"""

import ctypes
import importlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from envae import datasets, networks, training
    from envae.experiments import records
    from envae.objectives import objective
    from envae.scores import EnergyScore, energy_score
    from envae.vae import VAE, Given, gaussian

__all__ = [
    "VAE",
    "EnergyScore",
    "Given",
    "datasets",
    "energy_score",
    "gaussian",
    "networks",
    "objective",
    "records",
    "training",
]
_HOMES = {
    "VAE": "envae.vae",
    "EnergyScore": "envae.scores",
    "Given": "envae.vae",
    "gaussian": "envae.vae",
    "energy_score": "envae.scores",
    "objective": "envae.objectives",
    "records": "envae.experiments",
}


def _keep_freed_memory() -> None:
    """Let glibc keep the memory that it is given back, for the next step of a training.

    By default it hands every larger tensor back to the system, which clears its pages anew at each
    step: a convolutional network on a CPU trains 1.1 to 1.4 times slower. Where the environment
    sets glibc's limits, they stand; where there is no glibc, nothing happens.
    """
    chosen = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if chosen or not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**28)
        mallopt(_M_TRIM_THRESHOLD, 2**30)
        mallopt(_M_TOP_PAD, 2**26)


_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
_keep_freed_memory()


if not TYPE_CHECKING:  # a checker would take it for any name

    def __getattr__(name: str) -> object:
        # At first use: importing torch takes a second, and `envae --help` does without it.
        if name in _HOMES:
            home = importlib.import_module(_HOMES[name])
            # A module of a package is its attribute only once it was imported.
            return getattr(home, name, None) or importlib.import_module(f"{_HOMES[name]}.{name}")
        if name in __all__:
            return importlib.import_module(f"envae.{name}")
        raise AttributeError(f"module 'envae' has no attribute {name!r}")
