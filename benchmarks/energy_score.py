"""Time and memory of the energy score, forward and backward, against what it cannot avoid.

    python benchmarks/energy_score.py            # about two minutes, up to 2 GB
    python benchmarks/energy_score.py --scoringrules   # its fair estimator as well: 22 GB, minutes
    python benchmarks/energy_score.py --grid     # from small events to large ones, two minutes

In one process, alternating: our `energy_score`, and the two batched matrix products of the samples
that it is made of (a Gram matrix, and weights times samples). Reported are medians and the ratio of
the two. `--grid` does so for many sizes, the smallest of some repeats, with the formula as it is
written (all differences, then their norms) beside them, which ours should never be slower than.
Memory is the peak of this process above the samples and their gradient, in a process of
its own for each function, as a multiple of the samples' size.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from envae.scores import energy_score

FUNCTIONS = ("ours", "products", "formula", "scoringrules")
GRID = {"draws": (2, 3, 4, 8, 10, 16, 32), "values": (64, 784, 3072, 12288), "batch": (16, 64, 256)}
LARGEST = 2**27  # numbers in the differences that the formula holds


def forward_and_backward(function: str, samples: torch.Tensor, x: torch.Tensor, beta: float):
    """One evaluation with its gradient; returns the gradient."""
    if function == "products":
        points = samples.detach().flatten(2).transpose(0, 1)  # (B, M, n)
        gram = torch.bmm(points, points.mT)
        return torch.bmm(gram, points)
    if function == "ours":
        score = energy_score(samples, x, beta=beta)
    elif function == "formula":
        score = as_written(samples, x, beta)
    else:
        import scoringrules

        score = scoringrules.es_ensemble(
            x.flatten(1), samples.transpose(0, 1).flatten(2), estimator="fair", backend="torch"
        )
    (gradient,) = torch.autograd.grad(score.sum(), samples)
    return gradient


def as_written(samples: torch.Tensor, x: torch.Tensor, beta: float) -> torch.Tensor:
    """Eq. 3 of xu2025 with a difference for each pair."""
    draws = len(samples)
    first, second = torch.triu_indices(draws, draws, offset=1)
    near = (samples - x).flatten(2).norm(dim=2) ** beta
    apart = (samples[first] - samples[second]).flatten(2).norm(dim=2) ** beta
    return near.mean(0) - apart.sum(0) / (draws * (draws - 1))


def grid(beta: float, repeats: int) -> None:
    """Print both ratios for all sizes, on one thread."""
    torch.set_num_threads(1)
    for values, batch, draws in itertools.product(GRID["values"], GRID["batch"], GRID["draws"]):
        if draws * draws * batch * values > 2 * LARGEST:
            continue
        samples, x = torch.randn(draws, batch, values), torch.randn(batch, values)
        samples.requires_grad_()
        best = dict.fromkeys(("ours", "products", "formula"), float("inf"))
        for _ in range(repeats + 2):
            for function in best:
                best[function] = min(best[function], timed(function, samples, x, beta))
        ours = best["ours"]
        print(
            f"M = {draws:2d}, {values:5d} values, batch {batch:3d}: {1e3 * ours:8.2f} ms, "
            f"{ours / best['products']:5.2f} x products, {ours / best['formula']:5.2f} x formula",
            flush=True,
        )


def make(options: argparse.Namespace) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    event = (3, options.side, options.side)
    samples = torch.randn(options.draws, options.batch, *event, generator=generator)
    return samples.requires_grad_(), torch.randn(options.batch, *event, generator=generator)


def timed(function: str, samples: torch.Tensor, x: torch.Tensor, beta: float) -> float:
    start = time.perf_counter()
    forward_and_backward(function, samples, x, beta)
    return time.perf_counter() - start


def extra_memory(function: str, samples: torch.Tensor, x: torch.Tensor, beta: float) -> float:
    """Peak above samples and their gradient, as a multiple of the samples' size."""
    # Once on little first, so that the code that is loaded on first use is not counted.
    forward_and_backward(
        function, torch.randn(2, 3, 4, requires_grad=True), torch.randn(3, 4), beta
    )
    resident = memory("VmRSS")
    forward_and_backward(function, samples, x, beta)
    size = samples.numel() * samples.element_size()
    return (memory("VmHWM") - resident) / size - 1  # the gradient has the samples' size


def memory(field: str) -> int:
    """Bytes in a field of this process's status: VmRSS now, VmHWM at its peak. Linux only.

    Not getrusage: its peak starts from that of the process that started this one.
    """
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{field}:")[1].split()[0])


def in_own_process(function: str, options: argparse.Namespace, beta: float) -> float:
    arguments = [f"--{name}={getattr(options, name)}" for name in ("draws", "batch", "side")]
    command = [sys.executable, __file__, "--memory", function, "--beta", str(beta), *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=50, help="M")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--side", type=int, default=64, help="of the images, with 3 channels")
    parser.add_argument("--beta", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--scoringrules", action="store_true", help="22 GB of memory")
    parser.add_argument("--grid", action="store_true", help="many sizes, with the formula")
    parser.add_argument("--memory", choices=FUNCTIONS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.grid:
        grid(options.beta, options.repeats)
        return
    samples, x = make(options)
    if options.memory:
        print(extra_memory(options.memory, samples, x, options.beta))
        return

    event = f"3 x {options.side} x {options.side}"
    threads = torch.get_num_threads()
    print(f"M = {options.draws}, batch {options.batch}, {event}, float32, {threads} threads")
    for beta in (1.0, 1.5):
        warm: dict[str, list[float]] = {"ours": [], "products": []}
        for repeat in range(options.repeats + 2):
            for function, values in warm.items():
                value = timed(function, samples, x, beta)
                if repeat >= 2:
                    values.append(value)
        if options.scoringrules and beta == 1:  # it has no other beta
            warm["scoringrules"] = [timed("scoringrules", samples, x, beta)]
        median = {name: statistics.median(values) for name, values in warm.items()}
        for name, value in median.items():
            spread = f"({min(warm[name]):.3f} .. {max(warm[name]):.3f})"
            ratios = (
                f"{value / median['products']:.2f} x products, {value / median['ours']:.2f} x ours"
            )
            print(f"beta = {beta}: {name:12s} {value:7.3f} s {spread}, {ratios}")
        extra = in_own_process("ours", options, beta)
        print(f"beta = {beta}: ours, memory beside samples and gradient: {extra:.2f} x samples")


if __name__ == "__main__":
    main()
