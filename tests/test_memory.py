"""What is asked of the C library when the package is imported."""

import ctypes
import types

import pytest

import envae


@pytest.fixture
def asked(monkeypatch):
    """What glibc is asked for, on Linux, where the environment says nothing of it."""
    limits = {}
    library = types.SimpleNamespace(mallopt=limits.__setitem__)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(envae.sys, "platform", "linux")
    for name in list(envae.os.environ):
        if name.startswith(("MALLOC_", "GLIBC_TUNABLES")):
            monkeypatch.delenv(name)
    return limits


def test_freed_memory_is_kept_for_the_next_step(asked):
    """M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD are -1, -2 and -3 in glibc's malloc.h."""
    envae._keep_freed_memory()
    assert asked == {-1: 2**30, -2: 2**26, -3: 2**28}


@pytest.mark.parametrize("name", ["MALLOC_TOP_PAD_", "GLIBC_TUNABLES"])
def test_limits_of_the_environment_stand(asked, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    envae._keep_freed_memory()
    assert asked == {}


def test_other_systems_and_libraries_are_left_alone(asked, monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: types.SimpleNamespace())  # as musl
    envae._keep_freed_memory()
    monkeypatch.setattr(ctypes, "CDLL", None)
    monkeypatch.setattr(envae.sys, "platform", "darwin")
    envae._keep_freed_memory()
    assert asked == {}
