"""What a run of a sweep is recorded under."""

import dataclasses
import json

import pytest
import torch

from envae import _project, datasets, records, sweep

RECORDS = sorted((_project.root() / "data" / "runs" / "fid_digits").glob("*.json"))
DIGITS = datasets.load("digits")


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_committed_records_are_found_under_the_points_that_wrote_them(path):
    told = json.loads(path.read_text())["parameters"]
    fields = {field.name for field in dataclasses.fields(sweep.Setting)}
    setting = sweep.Setting(**{name: told[name] for name in fields & set(told)})
    point = sweep.point(
        told["objective"], told["options"], dataset=DIGITS, setting=setting, seed=told["seed"]
    )
    assert records.key("fid_digits", point) == path.stem


def test_a_posterior_other_than_the_networks_own_is_told_and_built(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    setting = sweep.Setting(epochs=1, posterior=0.25)
    outcome = sweep.run(
        "l2", {}, dataset=DIGITS.subset(64), setting=setting, seed=0, experiment="try",
        measure=lambda vae, objective, dataset, seed: {"answer": (42.0, "none")},
    )  # fmt: skip
    assert outcome.parameters["posterior"] == 0.25
    assert outcome.parameters["dataset"] == "digits-64"
    stddev = outcome.vae.encode(DIGITS.test[:3]).stddev
    torch.testing.assert_close(stddev, torch.full((3, 16), 0.5))
