"""Tensors that are kept in the cache folder: once computed, whole, and only where there is room."""

import contextlib
import errno
import gc
import resource
import socket
import threading
import time
import warnings
from pathlib import Path

import pytest
import requests
import torch

from envae import datasets
from envae._files import whole
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


@pytest.fixture
def homeless(monkeypatch):
    """A user whom the system does not know."""
    for name in ("HOME", "XDG_CACHE_HOME", "ENVAE_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)


def test_without_a_home_nothing_is_kept_and_the_rest_says_what_to_set(homeless, monkeypatch):
    assert files.kept("name", lambda: computed([]))["numbers"].tolist() == [1.5, 2.5]
    with pytest.raises(FileNotFoundError, match=r"looked for MNIST/raw in no folder, .*ENVAE_DATA"):
        datasets.load("mnist")
    with pytest.raises(FileNotFoundError, match=r"no home .* set \$ENVAE_DATA"):
        datasets.download("mnist")
    monkeypatch.setenv("ENVAE_DATA", "data")
    assert files.places() == [Path("data")]


@contextlib.contextmanager
def silent_host():
    """Address of a host that takes a call, says nothing, and hangs up after five seconds."""
    import torchvision.datasets  # noqa: F401  # now, since on a cold machine it takes as long

    with socket.create_server(("127.0.0.1", 0)) as host:
        hung_up = threading.Timer(5, host.close)
        hung_up.start()
        began = time.monotonic()
        yield "http://{}:{}".format(*host.getsockname())
        assert time.monotonic() - began < 5, "was not given up before"
        hung_up.cancel()
    with warnings.catch_warnings():
        # Python's own: 3.11.2 (not 3.11.7) leaves a connection to a silent proxy to it.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_a_host_that_says_nothing_is_given_up(tmp_path, monkeypatch):
    """A proxy that takes the call and is silent."""
    monkeypatch.setenv("ENVAE_DATA", str(tmp_path))
    monkeypatch.setattr("envae.datasets._download._SILENCE", 0.05)
    with silent_host() as address:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, address)
        monkeypatch.delenv("no_proxy", raising=False)
        with pytest.raises(ConnectionError, match=r"could not download mnist .*by hand, in"):
            datasets.download("mnist")
    assert socket.getdefaulttimeout() is None


def test_a_silent_host_of_a_package_with_time_outs_of_its_own_is_given_up(tmp_path, monkeypatch):
    """As gdown, which torchvision gets CelebA with, asks by way of requests."""
    import torchvision.datasets  # after envae._torchvision

    def gdown(folder, download):
        requests.get(address, stream=True)

    send = requests.Session.send
    monkeypatch.setenv("ENVAE_DATA", str(tmp_path))
    monkeypatch.setattr("envae.datasets._download._SILENCE", 0.05)
    monkeypatch.setattr(torchvision.datasets, "CelebA", gdown)
    with silent_host() as address:
        monkeypatch.setenv("no_proxy", "*")
        with pytest.raises(ConnectionError, match=r"could not download celeba64 .*by hand, in"):
            datasets.download("celeba64")
    assert requests.Session.send is send


def test_all_that_a_file_holds_is_as_it_was_written_or_not_taken(tmp_path):
    """Names and what is told of the tensors too: one bit of any byte."""
    file = tmp_path / "a.safetensors"
    written = {"mean": torch.arange(3.0), "count": torch.tensor([7])}, {"history": "[1.5, 2.5]"}
    files.write_tensors(file, *written)
    content = file.read_bytes()
    tensors, told = files.read_tensors(file)
    assert told == written[1]
    for place in range(8, len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        found = files.read_tensors(file)
        assert found is None or (found[1] == told and found[0].keys() == tensors.keys())
        assert found is None or all(torch.equal(found[0][name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("name", ["n" * 240, "ä" * 120 + ".safetensors", "n" * 255])
def test_a_file_may_have_any_name_that_the_system_allows(tmp_path, name):
    files.write_tensors(tmp_path / name, {"a": torch.zeros(1)})
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_error_names_the_file_that_was_asked_for(tmp_path):
    with pytest.raises(NotADirectoryError, match=r"'.*/asked'$"), whole(tmp_path / "asked") as file:
        raise NotADirectoryError(errno.ENOTDIR, "as the system says", str(file))
    assert not list(tmp_path.iterdir())


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
