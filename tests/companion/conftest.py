"""What chapters compute and draw in tests is compared with what was looked at."""

import importlib
import pkgutil

import kept
import pytest
import torch

from envae.companion import audit, chapters, plots

_MODULES = [audit, plots] + [
    importlib.import_module(f"{chapters.__name__}.{module.name}")
    for module in pkgutil.iter_modules(chapters.__path__)
]


@pytest.fixture(autouse=True)
def _as_it_was(request, monkeypatch):
    torch.manual_seed(0)
    calls = kept.Calls()
    for module in _MODULES:
        calls.watch(module, monkeypatch.setattr)
    yield
    if calls.given:
        kept.check(f"{request.path.stem.removeprefix('test_')}_{request.node.name}", calls.given)
