"""Recorded floors of the tables of distances."""

import json
import math

import pytest

from envae import datasets
from envae.experiments import floors
from envae.metrics import extractor, frechet


def test_floors_are_recorded_by_data_split_and_count(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    monkeypatch.setattr(floors, "EXPERIMENT", "floor_of_this_test")
    digits, network = datasets.load("digits"), extractor.load("digits-cnn")[0]
    floors.record(digits, network, [100, 400])
    table = floors.table()
    assert list(table.index) == [("digits", s, n) for s in ("test", "train") for n in (100, 400)]
    assert (table["floor"].xs(100, level="count") > table["floor"].xs(400, level="count")).all()
    for split in ("train", "test"):
        floor = frechet.floor(network, getattr(digits, split), 100)
        assert table["floor"]["digits", split, 100] == pytest.approx(floor)
    given_back = table["training_images"]["digits"]
    assert given_back["test", 100] == pytest.approx(frechet.fd(network, digits.train, digits.test))
    assert math.isnan(given_back["train", 100])
    manifests = [json.loads(path.read_text())["manifest"] for path in tmp_path.rglob("*.json")]
    assert {manifest["data"] for manifest in manifests} == {digits.checksum}
