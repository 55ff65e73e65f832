"""Reported runs trained again, to fit more priors to their codes: Table 4 of takida2022.

A second stage takes longer than the model before it, so that the sweeps of all rows fit none.
"""

import dataclasses
import functools
from collections.abc import Collection
from typing import Any

import pandas as pd

from envae.datasets import Dataset
from envae.experiments import paper_rows
from envae.experiments.measures import quality
from envae.experiments.runs import Point, Setting, complete
from envae.metrics.frechet import HasFeatures
from envae.metrics.random_convolutions import RandomConvolutions

PRIORS = ("gmm10", "gmm100", "second_stage")


def name_of(experiment: str) -> str:
    """Name that the runs are recorded under."""
    return f"{experiment}_priors"


def points(experiment: str, rows: Collection[str], seeds: Collection[int]) -> list[Point]:
    """The reported runs of some rows, at the numbers that their searches chose.

    Parameters
    ----------
    experiment
        Name that they are recorded under, such as `fid_tables_digits`.
    rows
        Labels, as `paper_rows.ROWS` has them; those without a run are left out.
    seeds
        Those with another one are left out.
    """
    found = paper_rows.labelled(experiment).query("state == 'done'")
    found = found[found["label"].isin(rows) & found["seed"].isin(seeds)]
    return [_point(run) for run in found.to_dict("records")]


def _point(run: dict[str, Any]) -> Point:
    fields = [field for field in dataclasses.fields(Setting) if pd.notna(run.get(field.name))]
    # A table's integers are floats where another run lacks the column.
    told: dict[str, Any] = {
        of.name: int(run[of.name]) if of.type is int else run[of.name] for of in fields
    }
    return Point(run["objective"], run["options"], int(run["seed"]), Setting(**told))


def record(
    wanted: list[Point],
    dataset: Dataset,
    *,
    experiment: str,
    extractor: HasFeatures | None,
    samples: int | None = None,
) -> None:
    """Train what has no record yet, and compare samples from each of `PRIORS` with the test images.

    Parameters
    ----------
    wanted
        As :func:`points` gives them.
    dataset
        What they were trained on.
    experiment
        As :func:`points` takes it.
    extractor, samples
        As `quality.measure` takes them; random convolutions stand beside the extractor.
    """
    measure = functools.partial(
        quality.measure,
        extractor=extractor,
        against="test",
        samples=samples,
        priors=PRIORS,
        others=(RandomConvolutions(dataset.train),),
    )
    complete(wanted, dataset=dataset, experiment=name_of(experiment), measure=measure)
