"""What is kept of results tells apart what a reader would."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from kept import Calls, check, described, differences


def figure(**changes):
    given = {"colour": "C0", "limits": (0, 2), "name": "x", "ticks": [0, 1], "marker": "o"}
    given |= {"label": "a", "bars": [1, 2], "image": [[0.0, 1.0]], "range": 1.0, "scale": "linear"}
    given |= changes
    drawn, axes = plt.subplots(1, 3)
    line = {"color": given["colour"], "marker": given["marker"], "label": given["label"]}
    axes[0].plot([1, 2], [1, 2], **line)
    axes[0].set(xlim=given["limits"], xlabel=given["name"], xticks=given["ticks"])
    axes[0].legend()
    axes[1].bar(["a", "b"], given["bars"])
    axes[1].set_yscale(given["scale"])
    axes[1].scatter([0, 1], given["bars"], color=given["colour"])
    axes[2].imshow(given["image"], vmin=0, vmax=given["range"])
    plt.close(drawn)
    return described(drawn)


@pytest.mark.parametrize(
    ("what", "other"),
    {
        "colour": "C1", "limits": (0, 3), "name": "y", "ticks": [0, 2], "marker": "s",
        "label": "b", "bars": [1, 3], "image": [[1.0, 0.0]], "range": 2.0, "scale": "log",
    }.items(),
)  # fmt: skip
def test_a_figure_is_another_by_what_it_shows(what, other):
    assert list(differences(figure(), figure())) == []
    assert list(differences(figure(**{what: other}), figure())) != []


VALUES = {
    "a number": (1.0, 1.001),
    "a flag": (True, np.False_),
    "a text": ("a", "b"),
    "one more": ([1, 2], [1, 2, 3]),
    "the order": (torch.arange(40.0), torch.arange(40.0).roll(1)),
    "the shape": (torch.zeros(2, 3), torch.zeros(3, 2)),
    "a column": (pd.DataFrame({"a": [1.0]}), pd.DataFrame({"b": [1.0]})),
    "the order of columns": (pd.DataFrame({"a": [1], "b": 1}), pd.DataFrame({"b": [1], "a": 1})),
    "a row": (pd.Series([1.0], ["a"]).to_frame(), pd.Series([1.0], ["b"]).to_frame()),
    "what is no number": (float("nan"), 0.0),
}


@pytest.mark.parametrize(("one", "other"), VALUES.values(), ids=VALUES)
def test_values_are_told_apart(one, other):
    assert list(differences(described(one), described(one))) == []
    assert list(differences(described(one), described(other))) != []


def test_values_are_the_same_up_to_what_processors_do_differently():
    assert list(differences(described(1.0), described(1.00001))) == []
    now, later = (pd.DataFrame({"a": [1.0], "date": [day]}) for day in ("today", "tomorrow"))
    assert described(now) == described(later)


def test_only_calls_from_outside_are_kept(monkeypatch):
    calls, module = Calls(), type(pytest)("made_up")
    source = "def inner():\n    return 1\ndef outer():\n    return inner() + 1\n"
    exec(source, vars(module))  # as Python makes a module
    calls.watch(module, monkeypatch.setattr)
    assert (module.outer(), module.inner()) == (2, 1)
    assert calls.given == [{"outer": [2.0]}, {"inner": [1.0]}]


def test_what_was_kept_is_compared_and_what_was_not_is_written_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr("kept.FOLDER", tmp_path / "kept")
    with pytest.raises(AssertionError, match=r"a_test_2\.json was written"):
        check("a test[2]", [{"f": [1.0]}])
    check("a test[2]", [{"f": [1.0]}])
    with pytest.raises(AssertionError, match="other than before"):
        check("a test[2]", [{"f": [2.0]}])
