"""The loop, on Lightning Fabric."""

import math
import operator
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from envae.datasets import files
from envae.evaluation import evaluating, seeded
from envae.objectives import Objective
from envae.objectives.base import check_count, check_positive
from envae.scores import check_floats
from envae.training._held import Held, batches
from envae.training._run import Pair, Run
from envae.training._step import Step
from envae.vae import MayTakeContext

if TYPE_CHECKING:
    import pandas as pd

# Images, or images and the context of each of them.
Data: TypeAlias = Tensor | tuple[Tensor, ...]


def fit(
    vae: MayTakeContext,
    objective: Objective,
    images: Data,
    *,
    epochs: int,
    batch_size: int = 64,
    lr: float = 1e-3,
    seed: int = 0,
    validation: Data | None = None,
    patience: int | None = None,
    accelerator: str = "auto",
    precision: str = "32-true",
    checkpoint: str | Path | None = None,
    progress: bool = True,
    cuda_graph: bool = False,
    after_epoch: "Callable[[pd.DataFrame], None] | None" = None,
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
        Training images `(N, C, H, W)`, float in [0, 1]; or what else the objective takes. Of a
        conditional model a tuple of them and of the context, tensors with first axis N that its
        methods take after their input, as by :class:`envae.Given`: `(images, labels)`.
    epochs
        Passes over the images.
    batch_size
        Images per step. The last, smaller batch of an epoch is used as well; a single image that
        would be left over joins the batch before it.
    lr
        Learning rate of Adam.
    seed
        Seed of the order and of the noise.
    validation
        Held-out images of the same shape, with their context where there is one; their loss is in
        the history's column `validation`.
    patience
        Stop when `validation` has not improved for so many epochs, and go back to the best one.
    accelerator, precision
        Passed to Fabric: `"auto"`, `"cpu"`, `"cuda"`; `"32-true"`, `"bf16-mixed"`, ... Under a
        mixed one the networks compute in half precision, and the objective in that of the images.
        On a processor without instructions for bfloat16 a warning says so.
    checkpoint
        File (safetensors) written after every epoch. If it exists, training goes on from it: it
        must be of the same network and objective with the same options and plain numbers, started
        from the same weights (or from those that it holds), on the same images, with the same seed,
        batch size, learning rate and precision, and hold no more epochs than `epochs` and
        `patience` would have run. An error in training leaves the model as the file has it.
    progress
        Whether to show a progress bar.
    cuda_graph
        Whether a GPU may replay one recorded step, several times faster for a small network. What
        model and objective do in Python is then done at the first few steps alone: it must not
        change from step to step. Steps that wait for the GPU are not recorded; after an epoch in
        which a plain number of theirs was changed, as by `after_epoch`, a step is recorded anew.
    after_epoch
        Called after every epoch that is trained in this call, with the history so far. It may look
        at the model, in evaluation mode and with draws of its own: the run goes on as if it had
        not. It must leave weights and buffers as they are; plain numbers that it changes are in the
        checkpoint. An epoch whose call fails is there too, and not repeated.

    Returns
    -------
    DataFrame
        A row per epoch: `epoch`, `total`, `reconstruction`, `regularizer`, the objective's parts,
        `validation` if asked for, and `seconds`. Loss values are means over the epoch's images.

    Raises
    ------
    TypeError
        If the model is no `nn.Module`, or the objective none.
    ValueError
        If an argument is out of range, an image is not finite or of another dtype than the weights,
        or the checkpoint belongs to another run.
    FloatingPointError
        If a loss is not finite; names the epoch, the step and the part.
    OSError
        If the checkpoint cannot be written, before anything is trained where that is known.
    """
    # Here, since importing them takes longer than importing torch.
    import pandas as pd
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import MixedPrecision

    train, held_out = _parts(images), _parts(validation)
    _check(
        vae, objective, train, held_out,
        epochs=epochs, batch_size=batch_size, lr=lr, patience=patience,
    )  # fmt: skip
    fabric = Fabric(
        accelerator=accelerator,
        devices=1,
        precision=precision,  # type: ignore[arg-type]  # Fabric says which names it knows
    )
    if fabric.device.type == "cpu" and str(precision).startswith("bf16"):
        _warn_without_bf16()
    objective.prepare(tuple(train[0].shape[1:]))
    recorded = cuda_graph and fabric.device.type == "cuda"
    pair = Pair(vae, objective)
    adam = torch.optim.Adam(
        pair.parameters(), lr=lr, betas=objective.betas, fused=True, capturable=recorded
    )
    model, optimizer = fabric.setup(pair, adam)
    if isinstance(fabric.strategy.precision, MixedPrecision):
        # What Fabric made of it would round the images as well.
        pair.precision, model = fabric.autocast, pair
    step = Step(fabric, model, optimizer, batch_size if recorded else None)
    held, validated = ([Held(part, fabric.device) for part in parts] for parts in (train, held_out))
    settings: dict[str, Any] = {}
    if checkpoint is not None:
        settings = {
            "seed": operator.index(seed),
            "batch_size": operator.index(batch_size),
            "lr": float(lr),
            "precision": precision,
            "images": files.digest(*train),
            "validation": files.digest(*held_out) if held_out else None,
        }
    run = Run(pair, optimizer, checkpoint, settings, fabric.strategy.precision)
    run.resume(epochs, patience)

    bar = tqdm(
        range(len(run.history), epochs), initial=len(run.history), total=epochs,
        desc=objective.name, disable=not progress,
    )  # fmt: skip
    with run.left_whole():
        for epoch in bar:
            if run.exhausted(patience):
                break
            start = time.perf_counter()
            with seeded(epoch_seed(seed, epoch)):
                row = _epoch(model, step, held, batch_size, epoch)
                if validated:
                    row["validation"] = evaluate(model, validated, batch_size)["total"]
                    if not math.isfinite(row["validation"]):
                        raise FloatingPointError(
                            f"the validation loss is not finite at epoch {epoch + 1}"
                        )
            row["seconds"] = time.perf_counter() - start
            run.add(row)
            if after_epoch is not None:
                # Another stream than the epoch's own order and noise.
                with evaluating(pair), seeded(epoch_seed(~operator.index(seed), epoch)):
                    after_epoch(pd.DataFrame(run.history))
                run.renew()
            bar.set_postfix(total=row["total"])
    if patience is not None:
        run.restore_best()
    pair.eval()
    return pd.DataFrame(run.history)


def epoch_seed(seed: int, epoch: int) -> int:
    """Seed of an epoch, counted from 0, of a run's order and noise.

    Mixed, so that neighbouring seeds and epochs do not share a stream of noise.
    """
    return (operator.index(seed) * 1_000_003 + epoch) * 2_654_435_761 % 2**63


def evaluate(pair: nn.Module, images: Sequence[Held], batch_size: int) -> dict[str, float]:
    """Mean loss parts over images, without gradients, in evaluation mode."""
    with evaluating(pair), torch.no_grad():
        values = [(len(batch[0]), pair(*batch)) for batch in batches(images, batch_size)]
    names = values[0][1]
    return {
        name: sum(count * parts[name].item() for count, parts in values) / len(images[0])
        for name in names
    }


def _epoch(
    model: nn.Module, step: Step, images: Sequence[Held], batch_size: int, epoch: int
) -> dict[str, float]:
    """One pass over the images; the history's row, without its time."""
    model.train()
    step.begin()
    order = torch.randperm(len(images[0]))
    values, counts = [], []
    for batch in batches(images, batch_size, order):
        values.append(step(batch))
        counts.append(len(batch[0]))
    # Read once per epoch: a value read at every step would make a GPU wait at every step.
    table = torch.stack(values).cpu().double()  # (steps, parts)
    _check_finite(table, step.names, epoch)
    row: dict[str, float] = {"epoch": epoch + 1}
    return row | dict(zip(step.names, epoch_means(table, counts).tolist(), strict=True))


def epoch_means(steps: Tensor, sizes: list[int]) -> Tensor:
    """Means over the images of an epoch, of `(steps, ...)` values from batches of these sizes."""
    weight = torch.tensor(sizes, dtype=torch.float64).reshape(-1, *[1] * (steps.ndim - 1))
    return (steps * weight).sum(0) / weight.sum()


def _warn_without_bf16() -> None:
    # Recent torch only; where it does not tell, nothing is said.
    told: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    kinds = [supported for name, supported in told.items() if "bf16" in name]
    if kinds and not any(kinds):
        warnings.warn(
            f"this processor ({told.get('cpu_name', 'CPU')}) has no instructions for bfloat16, "
            "which may take many times as long as precision='32-true'",
            stacklevel=3,
        )


def _check_finite(table: Tensor, names: list[str], epoch: int) -> None:
    bad = (~table.isfinite()).nonzero()
    if len(bad):
        step, _ = bad[0].tolist()
        parts = [names[part] for where, part in bad.tolist() if where == step]
        raise FloatingPointError(
            f"the loss is not finite at epoch {epoch + 1}, step {step + 1}, in {', '.join(parts)}: "
            "try a smaller learning rate"
        )


def check_training_images(vae: nn.Module, **images: Tensor) -> None:
    """Raise a ValueError that names the first images that a model cannot be trained on.

    Float tensors `(N, C, H, W)`, finite and in the precision of the model's weights, N at least 1.
    """
    weights = next((weight.dtype for weight in vae.parameters()), None)
    for name, batch in images.items():
        check_floats(**{name: batch})
        if batch.ndim < 2 or len(batch) == 0:
            raise ValueError(
                f"{name} must be (N, C, H, W) with N >= 1, received shape {tuple(batch.shape)}"
            )
        if weights not in (None, batch.dtype):
            raise ValueError(
                f"{name} are {batch.dtype} and the model's weights {weights}: convert one of them"
            )
        bad = (~batch.flatten(1).isfinite().all(1)).nonzero()
        if len(bad):
            raise ValueError(
                f"{name} must be finite: {len(bad)} of {len(batch)} are not, "
                f"the first at index {bad[0].item()}"
            )


def _parts(data: Data | None) -> tuple[Tensor, ...]:
    """Images and their context; empty without images."""
    if data is None:
        return ()
    return tuple(data) if isinstance(data, tuple | list) else (data,)


def _check(
    vae: object,
    objective: object,
    images: tuple[Tensor, ...],
    validation: tuple[Tensor, ...],
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    patience: int | None,
) -> None:
    if not isinstance(vae, nn.Module):
        raise TypeError(f"fit trains an nn.Module, received {type(vae).__name__}")
    if not isinstance(objective, Objective):
        raise TypeError(
            f"fit minimizes an objective, as envae.objective('envae'), received "
            f"{type(objective).__name__}"
        )
    if not images:
        raise ValueError("images must be a tensor, or a tuple of one and its context; received ()")
    for name, parts in {"images": images, "validation": validation}.items():
        if not parts:
            continue
        if isinstance(parts[0], DataLoader | Dataset):
            raise ValueError(
                f"{name} must be tensors, received a {type(parts[0]).__name__}: what it gives can "
                "be joined by torch.cat, or take a loop of your own, with loss(vae, x).total"
            )
        check_training_images(vae, **{name: parts[0]})
        if len(parts) != len(images):
            raise ValueError(
                f"{name} need the same context as images: {len(images) - 1} tensors, received "
                f"{len(parts) - 1}"
            )
        for own, others in zip(parts, images, strict=True):
            if isinstance(own, Tensor) and own.shape[1:] != others.shape[1:]:
                raise ValueError(
                    f"{name} must be of the shape that is trained on, (N, "
                    f"{str(tuple(others.shape[1:]))[1:]}, received {tuple(own.shape)}"
                )
        for place, context in enumerate(parts[1:], 1):
            if not isinstance(context, Tensor) or context.shape[:1] != parts[0].shape[:1]:
                shape = getattr(context, "shape", None)
                told = type(context).__name__ if shape is None else f"shape {tuple(shape)}"
                raise ValueError(
                    f"{name}[{place}] is the context of {len(parts[0])} images, a tensor with as "
                    f"many rows, received {told}"
                )
            if not context.isfinite().all():
                raise ValueError(f"{name}[{place}], the context of images, must be finite")
    check_count(epochs=epochs, batch_size=batch_size)
    check_positive(lr=lr)
    if patience is not None:
        check_count(patience=patience)
        if not validation:
            raise ValueError(f"patience needs validation images, received {patience} and none")
