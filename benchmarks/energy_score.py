"""Time and memory of the energy score, forward and backward, against what it cannot avoid.

    python benchmarks/energy_score.py            # about two minutes, up to 2 GB
    python benchmarks/energy_score.py --scoringrules   # its fair estimator as well: 22 GB, minutes

In one process, alternating: our `energy_score`, and the two batched matrix products of the samples
that it is made of (a Gram matrix, and weights times samples). Reported are medians and the ratio of
the two. Memory is the peak of this process above the samples and their gradient, in a process of
its own for each function, as a multiple of the samples' size.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from envae.scores import energy_score

FUNCTIONS = ("ours", "products", "scoringrules")


def forward_and_backward(function: str, samples: torch.Tensor, x: torch.Tensor, beta: float):
    """One evaluation with its gradient; returns the gradient."""
    if function == "products":
        points = samples.detach().flatten(2).transpose(0, 1)  # (B, M, n)
        gram = torch.bmm(points, points.mT)
        return torch.bmm(gram, points)
    if function == "ours":
        score = energy_score(samples, x, beta=beta)
    else:
        import scoringrules

        score = scoringrules.es_ensemble(
            x.flatten(1), samples.transpose(0, 1).flatten(2), estimator="fair", backend="torch"
        )
    (gradient,) = torch.autograd.grad(score.sum(), samples)
    return gradient


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
    parser.add_argument("--memory", choices=FUNCTIONS, help=argparse.SUPPRESS)
    options = parser.parse_args()
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
