"""Train the three small decoders that book/play.md shows, and write what the page loads.

    OMP_NUM_THREADS=1 nice -n 10 python book/decoders.py   # needs MNIST: `envae data mnist`

Writes, into book/_static: decoders.js, weights of 8 bits, codes and test images, as a script, since
a page opened from a file can load no data; decoders.json, what they are and what they took; and
decoders.png, the picture for readers without JavaScript.
"""

import base64
import gzip
import json
import time
from pathlib import Path

import numpy as np
import torch
from joblib import delayed
from matplotlib.figure import Figure
from torch import nn

from envae import datasets
from envae._files import whole
from envae.datasets import Dataset
from envae.experiments.parallel import side_by_side
from envae.experiments.records import manifest
from envae.experiments.runs import Point, Setting, Start, train
from envae.vae import VAE

PLACE = Path(__file__).parent / "_static"
SETTING = Setting("mlp64", latent_dim=2, epochs=6, batch_size=128, lr=2e-3)
L2 = {"alpha": 0.1}
# An error of r counts r^2 / 2 in L2 and r here, where r is about 6: the KL term as much as there.
ALPHA = 0.02
ROWS = {
    "L2": Point("l2", L2, 0, SETTING),
    "EnVAE": Point("envae", {"samples": 4, "pairs": "mirrored", "alpha": ALPHA}, 0, SETTING),
    "FEnVAE": Point("fenvae", {"alpha": ALPHA}, 0, SETTING, Start("l2", L2, 2)),
}
CODES = 400  # test images whose codes are on the map
LEVELS = 127  # largest quantized weight
BEGINNING = "const DECODERS = "  # of decoders.js; JSON follows


def quantized(weight: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights as integers of 8 bits, and the number that each is a multiple of."""
    step = float(np.abs(weight).max()) / LEVELS
    return np.round(weight / step).astype(np.int8), step


def packed(vae: VAE) -> tuple[list[dict], bytes]:
    """What a decoder of linear layers is: sizes, steps and biases, and its weights' bytes."""
    layers, weights = [], []
    for layer in vae.decoder:
        if isinstance(layer, nn.Linear):
            integers, step = quantized(layer.weight.detach().numpy())
            bias = [round(value, 4) for value in layer.bias.tolist()]
            sizes = {"inputs": layer.in_features, "outputs": layer.out_features}
            layers.append(sizes | {"step": step, "bias": bias})
            weights.append(integers.tobytes())
    return layers, b"".join(weights)


def decoded(layers: list[dict], weights: bytes, codes: np.ndarray) -> np.ndarray:
    """Images `(B, pixels)` of codes `(B, 2)`, as play.js decodes them."""
    values, start = codes, 0
    for number, layer in enumerate(layers, 1):
        size = layer["inputs"] * layer["outputs"]
        integers = np.frombuffer(weights, np.int8, size, start).reshape(-1, layer["inputs"])
        values = layer["step"] * (values @ integers.T.astype(float)) + layer["bias"]
        if number < len(layers):
            values = np.maximum(values, 0)
        start += size
    return 1 / (1 + np.exp(-values))


def read(file: Path) -> tuple[dict, bytes]:
    """What decoders.js holds: a mapping, and the weights of all its models, one after the other."""
    content = json.loads(file.read_text().removeprefix(BEGINNING).rstrip(";\n"))
    return content, gzip.decompress(base64.b64decode(content["weights"]))


def main() -> None:
    start = time.monotonic()
    data = datasets.load("mnist")
    told = manifest() | {"command": "python book/decoders.py", "data": data.checksum}
    models, weights, trained, kept = {}, b"", {}, {}
    shown = [int((data.test_labels == digit).nonzero()[0]) for digit in range(10)]
    done = side_by_side((delayed(_timed)(point, data) for point in ROWS.values()), jobs=len(ROWS))
    for (name, point), (vae, seconds) in zip(ROWS.items(), done, strict=True):
        trained[name] = vae
        with torch.no_grad():
            posterior = vae.encode(data.test[:CODES])
            chosen = vae.encode(data.test[shown])
            exact = vae.decode(chosen.mean).flatten(1).numpy()
        layers, own = packed(vae)
        models[name] = {
            "layers": layers,
            "codes": posterior.mean.numpy().round(3).tolist(),
            "means": chosen.mean.numpy().round(5).tolist(),
            "stddevs": chosen.stddev.numpy().round(5).tolist(),
        }
        error = np.abs(decoded(layers, own, np.array(models[name]["means"])) - exact)
        kept[name] = point.parameters(data.name) | {
            "seconds": seconds,
            "quantization_error": {"mean": float(error.mean()), "largest": float(error.max())},
            "first": base64.b64encode((255 * exact[0]).round().astype(np.uint8)).decode(),
        }
        weights += own
        print(f"{name}: {seconds} s, error of 8 bits {error.mean():.4f}, at most {error.max():.3f}")
    content = {
        "models": models,
        "labels": data.test_labels[:CODES].tolist(),
        "images": base64.b64encode((255 * data.test[shown]).byte().numpy()).decode(),
        "weights": base64.b64encode(gzip.compress(weights, 9, mtime=0)).decode(),
    }
    told |= {"seconds": round(time.monotonic() - start), "weights": len(weights), "rows": kept}
    with whole(PLACE / "decoders.js") as file:
        file.write_text(BEGINNING + json.dumps(content, separators=(",", ":")) + ";\n")
    with whole(PLACE / "decoders.json") as file:
        file.write_text(json.dumps(told, indent=1) + "\n")
    with whole(PLACE / "decoders.png") as file:
        _picture(trained).savefig(file, format="png", dpi=110)


def _timed(point: Point, data: Dataset) -> tuple[VAE, int]:
    """A trained model, and the seconds it took."""
    torch.set_num_threads(1)
    start = time.monotonic()
    vae, _, _ = train(point, data)
    return vae.eval(), round(time.monotonic() - start)


def _picture(trained: dict[str, VAE], side: int = 11) -> Figure:
    """Images decoded from a grid of codes between -2.5 and 2.5, for each decoder."""
    figure = Figure(figsize=(9, 3.3), layout="constrained")
    axes = figure.subplots(1, len(trained))
    across = torch.linspace(-2.5, 2.5, side)
    grid = torch.cartesian_prod(across.flip(0), across).flip(1)  # up is the second coordinate
    for axis, (name, vae) in zip(axes, trained.items(), strict=True):
        with torch.no_grad():
            images = vae.decode(grid)[:, 0]
        rows = images.unflatten(0, (side, side)).permute(0, 2, 1, 3).flatten(0, 1).flatten(1)
        axis.imshow(rows, cmap="gray", vmin=0, vmax=1, extent=(-2.75, 2.75, -2.75, 2.75))
        axis.set(title=name, xlabel="z₁", ylabel="z₂" if axis is axes[0] else "")
    return figure


if __name__ == "__main__":
    main()
