"""Support of chapter 06: runs that watch what FEnVAE's loss is paid for, and what they are made of.

A :class:`Case` is one point of a sweep, finer than a table's row: network with or without batch
normalization, start of the posterior, variants of the objective that nobody should use elsewhere.
"""

from envae.fenvae_study._case import Case, Row, weighted
from envae.fenvae_study._follow import follow, follow_all
from envae.fenvae_study._gradient_noise import gradient_noise
from envae.fenvae_study._measures import (
    latent_walk,
    lipschitz,
    measure,
    normalized_apart,
    spread_terms,
)
from envae.fenvae_study._step_cost import (
    record_steps,
    recorded_steps,
    step_ratios,
    step_seconds,
)
from envae.fenvae_study._sweep import complete, parameters, recorded, run, search, searched
from envae.fenvae_study._variants import (
    VARIANTS,
    Antithetic,
    StopCenter,
    StopDecoder,
    ThreeCalls,
    with_batch_norm,
)

__all__ = [
    "VARIANTS",
    "Antithetic",
    "Case",
    "Row",
    "StopCenter",
    "StopDecoder",
    "ThreeCalls",
    "complete",
    "follow",
    "follow_all",
    "gradient_noise",
    "latent_walk",
    "lipschitz",
    "measure",
    "normalized_apart",
    "parameters",
    "record_steps",
    "recorded",
    "recorded_steps",
    "run",
    "search",
    "searched",
    "spread_terms",
    "step_ratios",
    "step_seconds",
    "weighted",
    "with_batch_norm",
]
