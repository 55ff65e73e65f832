"""What a training step costs, as a multiple of the L2 loss's, in one run.

    python benchmarks/step_cost.py                    # conv network, 3 x 32 x 32, about a minute
    python benchmarks/step_cost.py --side 64 --draws 2 10 50

Objectives take turns; reported is the median over the repeats, and the smallest and largest ratio
to the L2 step of the same round. Once for the step alone (compute-bound: the images lie in memory)
and once with a batch of JPEG files of 178 x 218 pixels, CelebA's size, decoded and scaled before
every step by one process, as a data loader without workers does (data-bound).
"""

import argparse
import io

import numpy as np
from PIL import Image

from envae.fenvae_study import Case, step_seconds


def jpeg() -> bytes:
    """A smooth random picture of CelebA's size, compressed."""
    coarse = np.random.default_rng(0).integers(0, 256, (14, 12, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((178, 218), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def cases(options: argparse.Namespace) -> dict[str, Case]:
    """Objectives by label, with the number of their decodes."""
    rows = {
        "L2 (1)": ("l2", {}),
        "FEnVAE (3)": ("fenvae", {}),
        "antithetic pair (2)": ("antithetic", {}),
        "EnVAE, 4 mirrored draws (4)": ("envae", {"samples": 4, "pairs": "mirrored"}),
    }
    rows |= {f"EnVAE, all pairs ({m})": ("envae", {"samples": m}) for m in options.draws}
    rows |= {
        f"EnVAE, cyclic pairs ({m})": ("envae", {"samples": m, "pairs": "cyclic"})
        for m in options.draws
        if m > 3
    }
    shared = {"network": options.network, "latent_dim": 64, "batch_size": options.batch}
    return {label: Case(name, given, **shared) for label, (name, given) in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="conv")
    parser.add_argument("--side", type=int, default=32, help="of the images, with 3 channels")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--draws", type=int, nargs="+", default=[2, 3, 10, 50], help="M")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    file, shape = jpeg(), (3, options.side, options.side)

    def load() -> None:
        for _ in range(options.batch):
            Image.open(io.BytesIO(file)).convert("RGB").resize(shape[1:]).tobytes()

    for label, loader in (("compute-bound", None), ("data-bound", load)):
        seconds = step_seconds(cases(options), shape, repeats=options.repeats, load=loader)
        ratios = seconds / seconds.iloc[0]
        print(f"{label}: L2 step {1000 * seconds.iloc[0].median():.1f} ms, batch {options.batch}")
        for row, values in ratios.iterrows():
            print(f"  {row:30s} {values.median():6.2f}  ({values.min():.2f} .. {values.max():.2f})")


if __name__ == "__main__":
    main()
