"""A trained model, looked at: in evaluation mode, in batches on its device, by seeded draws.

Nothing here changes what it looks at: a model keeps the mode it was in, and torch's generator the
place it was at.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.distributions import Distribution

from envae.scores import check_floats
from envae.vae import (
    EncodesAndDecodes,
    Given,
    Posterior,
    gaussian,
    has_stddev,
    mean_and_stddev,
    posterior_of,
)

AT_ONCE = 1000  # images encoded or decoded in one call


@contextmanager
def evaluating(*models: object) -> Iterator[None]:
    """Evaluation mode for as long as the block runs; then every layer has its own mode again.

    What is no `nn.Module`, such as another code base's object with `encode` and `decode`, has no
    mode and is left alone.
    """
    modules = [model for model in models if isinstance(model, nn.Module)]
    modes = [(layer, layer.training) for module in modules for layer in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for layer, mode in modes:
            layer.training = mode


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's generators start from a seed, and after the block go on as if it had not run."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


@contextmanager
def single_precision() -> Iterator[None]:
    """New tensors are float32, whatever `torch.set_default_dtype` has asked for.

    For what is defined in float32: features that distances are measured in, and priors.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def device_of(model: object) -> torch.device | None:
    """Device of a model's weights; None where it has none, and takes images where they are."""
    weights = model.parameters() if isinstance(model, nn.Module) else iter(())
    return next((weight.device for weight in weights), None)


def batches(model: object, images: Tensor, size: int = AT_ONCE) -> Iterator[Tensor]:
    """Images a batch at a time, as :func:`placed` gives them: a device needs no room for all."""
    where = _place(model, images)
    return (batch.to(**where) for batch in images.split(size))


def placed(model: object, images: Tensor) -> Tensor:
    """Images or codes on the model's device, in its precision if its weights have one in common."""
    return images.to(**_place(model, images))


def _place(model: object, images: Tensor) -> dict[str, Any]:
    """Device and type that such images are given to a model in; None leaves them as they are."""
    weights = model.parameters() if isinstance(model, nn.Module) else iter(())
    found = {weight.dtype for weight in weights if weight.is_floating_point()}
    one = images.is_floating_point() and len(found) == 1
    return {"device": device_of(model), "dtype": found.pop() if one else None}


def _beside(
    vae: EncodesAndDecodes, rows: Tensor, draws: int | None = None
) -> Iterator[tuple[EncodesAndDecodes, Tensor]]:
    """Model and batch; of a conditional one, :class:`envae.Given`, with the batch's context."""
    models: Iterator[EncodesAndDecodes] = itertools.repeat(vae)
    if isinstance(vae, Given):
        models = vae.split(rows, AT_ONCE, draws=draws, device=device_of(vae))
    return zip(models, batches(vae, rows), strict=False)


def _posteriors(vae: EncodesAndDecodes, images: Tensor) -> list[Posterior]:
    return [posterior_of(of.encode(x), len(x)) for of, x in _beside(vae, images, draws=1)]


def encode(vae: EncodesAndDecodes, images: Tensor) -> Posterior:
    """Posteriors of images `(N, C, H, W)`, encoded in batches, on the model's device.

    A conditional model is `Given(vae, *context)`, with the context of all N images. Codes without a
    spread, as a plain autoencoder's, are Gaussians with none.

    Raises
    ------
    ValueError
        If the images are no floating-point tensor, or the posteriors no Gaussians with independent
        coordinates.
    """
    check_floats(images=images)
    return _joined(_posteriors(vae, images))


def _joined(parts: list[Posterior]) -> Posterior:
    means, stddevs = zip(*map(mean_and_stddev, parts), strict=True)
    return gaussian(torch.cat(means), torch.cat(stddevs))


def decode(vae: EncodesAndDecodes, codes: Tensor) -> Tensor:
    """Images of codes `(N, *code)`, decoded in batches, on the model's device."""
    return torch.cat([of.decode(batch) for of, batch in _beside(vae, codes)])


def decoded_draws(
    vae: EncodesAndDecodes, images: Tensor, generator: Generator | None = None, *, draws: int
) -> Tensor:
    """Decoded draws of the posteriors of images, without gradient, on the model's device.

    Posteriors of any kind that :func:`envae.vae.posterior_of` takes.

    Parameters
    ----------
    images
        `(N, C, H, W)`, on any device.
    generator
        On the CPU; by default torch's own there.
    draws
        Of each posterior, at least 2: fewer have no spread.

    Returns
    -------
    Tensor
        `(draws, N, C, H, W)`.

    Raises
    ------
    ValueError
        If there are fewer than two draws.
    """
    if draws < 2:
        raise ValueError(f"draws must be at least 2, received {draws}")
    with torch.no_grad():
        parts = _posteriors(vae, images)
        if all(map(has_stddev, parts)):
            posterior = _joined(parts)
            noise = torch.randn(draws, *posterior.mean.shape, generator=generator)
            codes = posterior.mean + posterior.stddev * noise.to(posterior.mean)
        else:
            codes = torch.cat([drawn(part, generator, draws=draws) for part in parts], dim=1)
        return decode(vae, codes.flatten(0, 1)).unflatten(0, codes.shape[:2])


def drawn(posterior: Distribution, generator: Generator | None = None, *, draws: int) -> Tensor:
    """Draws of a distribution of any kind, `(draws, B, *code)`.

    A distribution takes no generator: this one's next number seeds torch's own.
    """
    if generator is None:
        return posterior.rsample(torch.Size([draws]))
    with seeded(int(torch.randint(2**62, (), generator=generator))):
        return posterior.rsample(torch.Size([draws]))


def squared_error(images: Tensor, x: Tensor) -> float:
    """Summed over pixels, mean over images; a ValueError if one is not of floating point."""
    check_floats(images=images, x=x)
    return (images - x).square().flatten(1).sum(1).mean().item()
