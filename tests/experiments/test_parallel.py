"""Runs side by side keep their own random numbers, wherever they are started."""

import os
import threading
import warnings

import pytest
import torch
from joblib import delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from envae.datasets import Dataset
from envae.experiments.parallel import side_by_side


def draw(seed: int) -> tuple[float, str]:
    torch.manual_seed(seed)
    return torch.randn(()).item(), threading.current_thread().name


def draws(jobs: int) -> list[tuple[float, str]]:
    return side_by_side((delayed(draw)(seed) for seed in range(4)), jobs=jobs)


def test_results_come_in_the_order_of_the_calls():
    assert draws(2) == draws(1) == [draw(seed) for seed in range(4)]


def test_a_run_within_a_run_has_a_process_too():
    """Threads, which joblib would take there, share torch's generator."""
    first, second = side_by_side((delayed(draws)(2) for _ in range(2)), jobs=2)
    assert first == second == draws(1)


def test_a_run_by_itself_has_a_process_whose_death_is_an_error_here():
    with pytest.raises(TerminatedWorkerError):
        side_by_side([delayed(os.abort)()], jobs=2)


def test_processes_that_are_there_already_see_the_settings_of_now(monkeypatch):
    """Records of a second sweep would go where those of the first went."""
    for value in ("here", "there", None):
        monkeypatch.delenv("ENVAE_RUNS", raising=False)
        if value is not None:
            monkeypatch.setenv("ENVAE_RUNS", value)
        seen = side_by_side([delayed(os.environ.get)("ENVAE_RUNS")] * 2, jobs=2)
        assert seen == [value, value]


def sum_and_file(dataset: Dataset) -> tuple[float, str]:
    """Sum of the images, and the file that this process maps them from."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return dataset.train.double().sum().item(), dataset._arrays["train"].filename


def test_processes_map_the_images_of_a_data_set_from_one_file():
    images = torch.rand(500, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(500, dtype=torch.long)
    dataset = Dataset("random", images, labels, images[:10], labels[:10], "here")
    found = side_by_side((delayed(sum_and_file)(dataset) for _ in range(4)), jobs=2)
    assert {total for total, _ in found} == {images.double().sum().item()}
    assert len({file for _, file in found}) == 1
