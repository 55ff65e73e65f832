"""Training: one readable loop, on Lightning Fabric."""

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from envae._held import Held
from envae.evaluation import evaluating, seeded
from envae.objectives import Objective
from envae.vae import EncodesAndDecodes

if TYPE_CHECKING:
    import pandas as pd


def fit(
    vae: EncodesAndDecodes,
    objective: Objective,
    images: Tensor,
    *,
    epochs: int,
    batch_size: int = 64,
    lr: float = 1e-3,
    seed: int = 0,
    validation: Tensor | None = None,
    patience: int | None = None,
    accelerator: str = "auto",
    precision: str = "32-true",
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> "pd.DataFrame":
    """Minimize an objective with Adam; the model is trained in place.

    It is left on the device, in evaluation mode. torch's own generator is left where it was.

    A GPU holds the images where they fit, as bytes where they come from 8-bit files; else they are
    streamed to it. Every epoch draws its order and its noise from a seed of its own, so that a
    resumed run gives the numbers of one that was never interrupted.

    Parameters
    ----------
    vae
        Model with `encode` and `decode`, an `nn.Module`.
    objective
        What to minimize; its own parameters, if it has any, are trained too.
    images
        Training images `(N, C, H, W)`, float in [0, 1].
    epochs
        Passes over the images.
    batch_size
        Images per step. The last, smaller batch of an epoch is used as well.
    lr
        Learning rate of Adam.
    seed
        Seed of the order and of the noise.
    validation
        Held-out images; their loss is in the history's column `validation`.
    patience
        Stop when `validation` has not improved for so many epochs, and go back to the best one.
    accelerator, precision
        Passed to Fabric: `"auto"`, `"cpu"`, `"cuda"`; `"32-true"`, `"bf16-mixed"`, ...
    checkpoint
        File (safetensors) written after every epoch. If it exists, training goes on from it: it
        must be of the same objective with the same options, the same images, seed, batch size,
        learning rate and precision, and hold at most `epochs` epochs.
    progress
        Whether to show a progress bar.

    Returns
    -------
    DataFrame
        A row per epoch: `epoch`, `total`, `reconstruction`, `regularizer`, the objective's parts,
        `validation` if asked for, and `seconds`. Loss values are means over the epoch's images.

    Raises
    ------
    ValueError
        If an argument is out of range, or the checkpoint belongs to another run.
    FloatingPointError
        If a loss is not finite; names the epoch, the step and the part.
    """
    # Here, since importing them takes longer than importing torch.
    import pandas as pd
    from lightning_fabric import Fabric

    _check(images, validation, epochs=epochs, batch_size=batch_size, lr=lr, patience=patience)
    fabric = Fabric(accelerator=accelerator, devices=1, precision=precision)
    objective.prepare(tuple(images.shape[1:]))
    pair = Pair(vae, objective)
    model, optimizer = fabric.setup(pair, torch.optim.Adam(pair.parameters(), lr=lr))
    held = Held(images, fabric.device)
    held_out = None if validation is None else Held(validation, fabric.device)
    run = _Run(pair, optimizer, checkpoint)
    if checkpoint is not None:
        run.settings |= {"seed": seed, "batch_size": batch_size, "lr": lr, "precision": precision}
        run.settings |= {"images": _checksum(images), "validation": _checksum(validation)}
        run.resume(epochs)

    bar = tqdm(
        range(len(run.history), epochs), initial=len(run.history), total=epochs,
        desc=objective.name, disable=not progress,
    )  # fmt: skip
    for epoch in bar:
        if run.exhausted(patience):
            break
        start = time.perf_counter()
        # Mixed, so that neighbouring seeds and epochs do not share a stream of noise.
        with seeded((seed * 1_000_003 + epoch) * 2_654_435_761 % 2**63):
            row = _epoch(fabric, model, optimizer, held, batch_size, epoch)
            if held_out is not None:
                row["validation"] = evaluate(model, held_out, batch_size)["total"]
        row["seconds"] = time.perf_counter() - start
        run.add(row)
        bar.set_postfix(total=row["total"])
    if patience is not None:
        run.restore_best()
    pair.eval()
    return pd.DataFrame(run.history)


def evaluate(pair: nn.Module, images: Held, batch_size: int) -> dict[str, float]:
    """Mean loss parts over images, without gradients, in evaluation mode."""
    with evaluating(pair), torch.no_grad():
        values = [(len(batch), pair(batch)) for batch in images.batches(batch_size)]
    names = values[0][1]
    return {
        name: sum(count * parts[name].item() for count, parts in values) / len(images)
        for name in names
    }


class Pair(nn.Module):
    """Model and objective as one module, since both may hold parameters; gives the loss's parts."""

    def __init__(self, vae: EncodesAndDecodes, objective: Objective):
        super().__init__()
        self.vae = vae
        self.objective = objective

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        loss = self.objective(self.vae, x)
        terms = {"reconstruction": loss.reconstruction, "regularizer": loss.regularizer}
        return {"total": loss.total} | terms | loss.parts


def _epoch(fabric, model, optimizer, images: Held, batch_size: int, epoch: int) -> dict:
    """One pass over the images; the history's row, without its time."""
    model.train()
    order = torch.randperm(len(images))
    values, counts = [], []
    for batch in images.batches(batch_size, order):
        parts = model(batch)
        optimizer.zero_grad()
        fabric.backward(parts["total"])
        optimizer.step()
        values.append(torch.stack([part.detach() for part in parts.values()]))
        counts.append(len(batch))
    # Read once per epoch: a value read at every step would make a GPU wait at every step.
    table = torch.stack(values).cpu().double()  # (steps, parts)
    _check_finite(table, list(parts), epoch)
    weight = torch.tensor(counts, dtype=torch.float64)
    means = (table * weight[:, None]).sum(0) / weight.sum()
    return {"epoch": epoch + 1} | dict(zip(parts, means.tolist(), strict=True))


def _check_finite(table: Tensor, names: list[str], epoch: int) -> None:
    bad = (~table.isfinite()).nonzero()
    if len(bad):
        step, _ = bad[0].tolist()
        parts = [names[part] for where, part in bad.tolist() if where == step]
        raise FloatingPointError(
            f"the loss is not finite at epoch {epoch + 1}, step {step + 1}, in {', '.join(parts)}: "
            "try a smaller learning rate"
        )


class _Run:
    """State of a run between epochs: history, best weights, and the checkpoint file."""

    def __init__(self, pair: Pair, optimizer, checkpoint: str | Path | None):
        self.pair = pair
        self.optimizer = optimizer
        self.path = None if checkpoint is None else Path(checkpoint)
        weights = {name: list(value.shape) for name, value in pair.state_dict().items()}
        self.settings = {
            "objective": pair.objective.name,
            "options": json.loads(json.dumps(dict(pair.objective.options), default=str)),
            "weights": hashlib.sha256(json.dumps(weights).encode()).hexdigest()[:12],
        }
        self.history: list[dict] = []
        self.best: dict[str, Tensor] = {}

    def add(self, row: dict) -> None:
        """Append an epoch, remember its weights if they are the best, write the checkpoint."""
        self.history.append(row)
        if "validation" in row and self._best_epoch() == len(self.history):
            self.best = {name: value.clone() for name, value in self.pair.state_dict().items()}
        if self.path:
            self._write()

    def exhausted(self, patience: int | None) -> bool:
        """Whether validation has not improved for `patience` epochs."""
        return patience is not None and len(self.history) - self._best_epoch() >= patience

    def restore_best(self) -> None:
        self.pair.load_state_dict(self.best)

    def _best_epoch(self) -> int:
        """Epoch with the smallest validation loss, counted from 1; 0 before the first."""
        values = [row["validation"] for row in self.history]
        return values.index(min(values)) + 1 if values else 0

    def _write(self) -> None:
        tensors = {f"model/{name}": value for name, value in self.pair.state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam/{index}/{name}": value for name, value in state.items()}
        text = {"settings": json.dumps(self.settings), "history": json.dumps(self.history)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(self.path.name + ".partial")
        # Copies, since weights that a model uses twice share their memory, which a file cannot.
        save_file(
            {
                name: value.detach().clone(memory_format=torch.contiguous_format)
                for name, value in tensors.items()
            },
            partial,
            text,
        )
        partial.replace(self.path)

    def resume(self, epochs: int) -> None:
        """Take up the state in the checkpoint, if there is one, for a run of so many epochs."""
        if self.path is None or not self.path.exists():
            return
        settings, history = _read_text(self.path)
        if settings != self.settings:
            differs = [k for k in self.settings if settings.get(k) != self.settings[k]]
            raise ValueError(
                f"the checkpoint {self.path} is of another run: it differs in {differs}; "
                "remove it or give another path"
            )
        if len(history) > epochs:
            raise ValueError(
                f"the checkpoint {self.path} holds {len(history)} epochs, and {epochs} were asked "
                "for: remove it or give another path"
            )
        groups: dict[str, dict] = {"model": {}, "best": {}, "adam": {}}
        for name, value in load_file(self.path).items():
            group, _, rest = name.partition("/")
            groups[group][rest] = value
        self.pair.load_state_dict(groups["model"])
        self.best = groups["best"]
        state: dict[int, dict] = {}
        for name, value in groups["adam"].items():
            index, _, part = name.partition("/")
            state.setdefault(int(index), {})[part] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})
        self.history = history


def _read_text(path: Path) -> tuple[dict, list[dict]]:
    """Settings and history in a checkpoint's header."""
    try:
        with safe_open(path, framework="pt") as file:
            text = file.metadata()
        return json.loads(text["settings"]), json.loads(text["history"])
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is not a checkpoint of this project ({error}): remove it"
        ) from error


def _checksum(images: Tensor | None) -> str | None:
    """Twelve hexadecimal digits that stand for images and their shape."""
    if images is None:
        return None
    digest = hashlib.sha256(str((tuple(images.shape), images.dtype)).encode())
    digest.update(images.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()[:12]


def _check(images, validation, *, epochs, batch_size, lr, patience) -> None:
    for name, batch in {"images": images, "validation": validation}.items():
        if batch is None:
            continue
        if batch.ndim < 2 or len(batch) == 0 or not batch.is_floating_point():
            raise ValueError(
                f"{name} must be a float tensor (N, C, H, W) with N >= 1, "
                f"received shape {tuple(batch.shape)} of {batch.dtype}"
            )
    for name, value in {"epochs": epochs, "batch_size": batch_size}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, received {value}")
    if not 0 < lr < float("inf"):
        raise ValueError(f"lr must be a positive number, received {lr}")
    if patience is not None and (patience < 1 or validation is None):
        raise ValueError(
            f"patience must be at least 1 and needs validation images, received {patience}"
        )
