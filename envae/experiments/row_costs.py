"""What the runs that a row of the tables lacks would take on a machine like this one."""

import dataclasses
import statistics
from collections.abc import Callable

import pandas as pd

from envae.experiments import records
from envae.experiments.paper_rows import ROWS_OF, Experiment


@dataclasses.dataclass(frozen=True)
class Left:
    """What a row has and lacks.

    Attributes
    ----------
    done, missing, failed
        Runs, those of the search among them; of a search that is not done as many as it is known
        to need.
    seconds
        Of one core, for those that are missing.
    without_measuring
        Whether `seconds` leave out what measuring takes, since nothing like it was recorded.
    waits_for
        Experiment whose records must give the row's number before it can be run; else empty.
    """

    done: int
    missing: int
    failed: int
    seconds: float
    without_measuring: bool
    waits_for: str = ""


class Costs:
    """Costs of the rows of an experiment.

    A run is expected to take what the row's recorded runs took on a device of this one's name, in
    the mean. Where there are none, its training is expected from a few of its steps, timed once,
    and its measuring from what is recorded of other rows. Runs of small networks are trained
    several as one, and take less than that.

    Parameters
    ----------
    experiment
        The experiment.
    announce
        Called with a row before steps of it are timed.
    """

    def __init__(self, experiment: Experiment, announce: Callable[[str], None]):
        self._experiment = experiment
        self._announce = announce
        self._device = records.device_name()
        self._steps: dict[str, float] = {}
        self._measurings: dict[bool, float | None] = {}

    def left(self, label: str) -> Left:
        """What a row has and lacks."""
        counts = {"done": 0, "missing": 0, "failed": 0}
        seconds, without = 0.0, False
        for searched in (True, False):
            found = self._found(label, searched)
            if found.empty:
                continue
            for state, count in found["state"].value_counts().items():
                counts[str(state)] += count
            missing = int((found["state"] == "missing").sum())
            if missing:
                one, measured = self._seconds(label, found, searched)
                seconds += missing * one
                without |= not measured
        waits_for = self._experiment.numbers_of if counts["missing"] else ""
        if waits_for and self._experiment.chosen(label) is not None:
            waits_for = ""
        return Left(**counts, seconds=seconds, without_measuring=without, waits_for=waits_for)

    def _found(self, label: str, searched: bool) -> pd.DataFrame:
        """The table of a row's search, or of its reported runs."""
        if not searched:
            return self._experiment.runs(label, train=False)
        if self._experiment.numbers_of:
            return pd.DataFrame()
        return self._experiment.search(label, train=False)

    def _done_here(self, found: pd.DataFrame) -> pd.DataFrame:
        """Runs that are recorded with their seconds, on a device of this one's name."""
        if not (found["state"] == "done").any():
            return found.iloc[:0]
        return found[(found["device"] == self._device) & found["seconds"].notna()]

    def _seconds(self, label: str, found: pd.DataFrame, searched: bool) -> tuple[float, bool]:
        """What one more run takes, and whether that holds its measuring."""
        done = self._done_here(found)
        if len(done):
            return float(done["seconds"].mean()), True
        if label not in self._steps:
            self._announce(label)
            self._steps[label] = self._experiment.step_seconds(label)
        if searched not in self._measurings:
            self._measurings[searched] = self._measuring(searched)
        training = self._steps[label] * self._experiment.steps(searched=searched)
        measuring = self._measurings[searched]
        return training + (measuring or 0.0), measuring is not None

    def _measuring(self, searched: bool) -> float | None:
        """What measuring took, in the median over recorded runs of all rows; None without any."""
        experiment = self._experiment.search_name if searched else self._experiment.name
        took = []
        for label in ROWS_OF[self._experiment.prefix]:
            found = self._found(label, searched)
            if found.empty:
                continue
            for _, run in self._done_here(found).iterrows():
                curve = records.curves(experiment, run["key"])["seconds"]
                took.append(run["seconds"] - statistics.fmean(curve) * run["epochs"])
        return statistics.median(took) if took else None
