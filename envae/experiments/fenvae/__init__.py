"""Support of chapter 12: runs that watch what FEnVAE's loss is paid for, and what they are made of.

A :class:`Case` is one point of a sweep, finer than a table's row: network with or without batch
normalization, start of the posterior, variants of the objective that nobody should use elsewhere.
"""

from envae.experiments.fenvae._case import Case, Unweighted, at_lengths, searched, weighted
from envae.experiments.fenvae._follow import follow, follow_all
from envae.experiments.fenvae._measures import (
    latent_walk,
    measure,
    measure_walks,
    measure_with_lipschitz,
    normalized_apart,
    spread_terms,
    walked,
)
from envae.experiments.fenvae._terms import (
    many_draws,
    record_terms,
    recorded_terms,
    second_term,
    term_correlations,
)
from envae.experiments.fenvae._variants import (
    VARIANTS,
    Antithetic,
    Ramped,
    StopCenter,
    StopDecoder,
    ThreeCalls,
    with_batch_norm,
)

__all__ = [
    "VARIANTS",
    "Antithetic",
    "Case",
    "Ramped",
    "StopCenter",
    "StopDecoder",
    "ThreeCalls",
    "Unweighted",
    "at_lengths",
    "follow",
    "follow_all",
    "latent_walk",
    "many_draws",
    "measure",
    "measure_walks",
    "measure_with_lipschitz",
    "normalized_apart",
    "record_terms",
    "recorded_terms",
    "searched",
    "second_term",
    "spread_terms",
    "term_correlations",
    "walked",
    "weighted",
    "with_batch_norm",
]
