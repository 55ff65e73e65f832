"""The picture of the front page and of the README, from recorded runs: front.py

Samples of some rows at the two largest scales; `make refresh` makes it anew.
"""

from pathlib import Path

from torch import Tensor

from envae.companion import plots, recorded_rows
from envae.experiments import kept_pictures

OUT = Path(__file__).parent / "_static" / "front.png"
SCALES = {"mnist": "MNIST, 28 × 28", "cifar10-jpeg-10000": "photographs, 32 × 32"}
ROWS = ["L2", "Iso-I, mle", "EnVAE, M = 4, mirrored", "FEnVAE"]
SEED = 1


def pictures(scale: str) -> dict[str, dict[str, Tensor]]:
    """Pictures that were kept of each row's first seed at a scale."""
    runs = recorded_rows.runs(scale).query("seed == @SEED").set_index("label").loc[ROWS]
    return {
        label: kept_pictures.load(run["experiment"], run["key"]) for label, run in runs.iterrows()
    }


def cells() -> dict[str, dict[str, Tensor]]:
    """Images by row and scale, as `plots.image_table` takes them: test images, then samples."""
    kept = {title: pictures(scale) for scale, title in SCALES.items()}
    table = {"test images": {title: of[ROWS[0]]["test"] for title, of in kept.items()}}
    for row in ROWS:
        name = row.removesuffix(", mle").replace(", mirrored", "\nin mirrored pairs")
        table[name] = {title: of[row]["prior"] for title, of in kept.items()}
    return table


if __name__ == "__main__":
    plots.use_style()
    plots.image_table(cells(), columns=6, side=0.6).savefig(OUT)
