"""Tensors that are kept in the cache folder: once computed, whole, and only where there is room."""

import resource

import pytest
import torch

from envae.datasets import files


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "envae"


def computed(log):
    log.append("computed")
    return {"bytes": torch.arange(200, dtype=torch.uint8), "numbers": torch.tensor([1.5, 2.5])}


def test_tensors_are_computed_once_and_read_to_the_last_bit(cache):
    log = []
    first, second = (files.kept("some/name", lambda: computed(log)) for _ in range(2))
    assert log == ["computed"]
    assert [path.name for path in cache.glob("some/*")] == ["name.safetensors"]
    for name, tensor in first.items():
        assert second[name].dtype == tensor.dtype
        assert torch.equal(second[name], tensor)


@pytest.mark.parametrize("damage", ["bit", "short", "header", "empty"])
def test_a_damaged_file_is_not_taken(cache, damage):
    log = []
    whole = files.kept("name", lambda: computed(log))
    file = cache / "name.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= damage == "bit"
    content[0] ^= damage == "header"
    length = {"short": len(content) - 5, "empty": 0}.get(damage, len(content))
    file.write_bytes(content[:length])
    for _ in range(2):
        again = files.kept("name", lambda: computed(log))
        assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
    assert log == ["computed", "computed"]  # and written anew


def test_without_a_folder_to_write_to_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "file").touch()  # root may write anywhere but into a file
    log = []
    for _ in range(2):
        assert files.kept("name", lambda: computed(log))["numbers"].tolist() == [1.5, 2.5]
    assert log == ["computed", "computed"]


def test_on_a_full_disk_nothing_is_kept(cache):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        log = []
        for _ in range(2):
            assert files.kept("name", lambda: computed(log))["numbers"].tolist() == [1.5, 2.5]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert log == ["computed", "computed"]
    assert not list(cache.iterdir())


def test_digests_tell_values_types_and_shapes():
    x = torch.arange(6.0)
    others = [x + 1, x.double(), x.reshape(2, 3)]
    assert files.digest(x) == files.digest(x.clone())
    assert len({files.digest(x), *map(files.digest, others)}) == 4
    assert files.digest(x.bfloat16()) != files.digest(x.bfloat16() + 1)
