"""Runs side by side keep their own random numbers, wherever they are started."""

import threading

import torch
from joblib import delayed

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
