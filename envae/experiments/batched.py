"""Many small models of one structure, trained side by side as one batched model.

A small network leaves a core idle between its operations: a grid of runs that differ in data and
seed alone is trained several times faster as one model with a batch axis in front of its weights.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from envae.evaluation import seeded
from envae.objectives import Objective
from envae.training import Pair
from envae.vae import VAE


def fit(
    vaes: Sequence[VAE],
    objectives: Sequence[Objective],
    images: Tensor | Callable[[int], Tensor],
    *,
    epochs: int,
    batch_size: int = 64,
    lr: float = 1e-3,
    seed: int = 0,
    accelerator: str = "auto",
    after_epoch: Callable[[int], None] | None = None,
) -> Tensor:
    """Minimize M objectives with Adam, each over its own model and images, all at once.

    As `training.fit`, it leaves them on the device, in evaluation mode, and torch's own generator
    where it was.

    The models do not touch each other. They differ in weights, images and order; at one step they
    share the numbers that the code's noise is made from, since `torch.distributions` draws in
    place, which `vmap` allows only so.

    Parameters
    ----------
    vaes, objectives
        M models of one network, and M objectives with the same name and options; trained in place.
    images
        Training images `(M, N, C, H, W)`; or a function that gives them for each epoch, counted
        from 0: data that are drawn anew.
    epochs, batch_size, lr, seed, accelerator
        As `training.fit` takes them.
    after_epoch
        Called after every epoch with the number of epochs so far; the models are up to date.

    Returns
    -------
    Tensor
        Total loss of the last step of each epoch, `(epochs, M)`, on the CPU. A model whose
        loss is not finite stays so, to be seen here, and the others go on.

    Raises
    ------
    ValueError
        If there are not as many objectives and image sets as models, or the objective does what
        cannot be done for several models at once.
    """
    draw = images if callable(images) else lambda epoch: images
    with seeded(seed):
        shape = draw(0).shape
    if not len(vaes) == len(objectives) == shape[0]:
        raise ValueError(
            "an ensemble needs an objective and an image set for each model, received "
            f"{len(vaes)} models, {len(objectives)} objectives and {shape[0]} image sets"
        )
    first = objectives[0]
    for other in objectives:
        if (type(other), other.options) != (type(first), first.options):
            raise ValueError(
                f"an ensemble minimizes one objective, received {first!r} and {other!r}"
            )
    device = Fabric(accelerator=accelerator, devices=1).device
    for minimized in objectives:
        minimized.prepare(tuple(shape[2:]))
    pairs = [Pair(*pair).to(device).train() for pair in zip(vaes, objectives, strict=True)]
    weights, buffers = stack_module_state(pairs)
    skeleton = copy.deepcopy(pairs[0]).to("meta")
    loss_of_each = vmap(
        lambda weights, buffers, x: functional_call(skeleton, (weights, buffers), (x,))["total"],
        randomness="same",
    )
    optimizer = torch.optim.Adam(weights.values(), lr=lr, fused=True)
    member = torch.arange(shape[0], device=device)[:, None]
    history = []
    with seeded(seed):
        for epoch in range(epochs):
            of_epoch = draw(epoch).to(device)
            # On the CPU whatever the device, (M, N): a permutation for each model.
            order = torch.rand(shape[:2]).argsort(1).to(device)
            for batch in order.split(batch_size, dim=1):
                try:
                    losses = loss_of_each(weights, buffers, of_epoch[member, batch])
                except RuntimeError as error:
                    if "vmap" not in str(error):
                        raise
                    raise ValueError(
                        f"{objectives[0].name!r} cannot be trained for several models at once "
                        f"({error}): train one after the other with training.fit"
                    ) from error
                optimizer.zero_grad()
                losses.sum().backward()
                optimizer.step()
            history.append(losses.detach().cpu())
            if after_epoch or epoch + 1 == epochs:
                _write_back(pairs, weights | buffers)
            if after_epoch:
                after_epoch(epoch + 1)
    for pair in pairs:
        pair.eval()
    return torch.stack(history)


def _write_back(pairs: list[Pair], stacked: dict[str, Tensor]) -> None:
    for index, pair in enumerate(pairs):
        state = {name: values[index].detach() for name, values in stacked.items()}
        pair.load_state_dict(state)
