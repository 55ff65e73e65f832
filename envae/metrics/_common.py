"""What several measurements share: their type, a model in batches, draws, the squared error."""

from collections.abc import Iterator

import torch
from torch import Generator, Tensor
from torch.distributions import Independent

from envae.vae import VAE, gaussian

Values = dict[str, tuple[float, str]]  # what a measurement gives: the unit beside each value

AT_ONCE = 1000  # images encoded or decoded in one call


def batches(vae: VAE, images: Tensor, size: int = AT_ONCE) -> Iterator[Tensor]:
    """Images a batch at a time on the model's device, which need not have room for all."""
    device = next(vae.parameters()).device
    return (batch.to(device) for batch in images.split(size))


def encode(vae: VAE, images: Tensor) -> Independent:
    """Posteriors of images `(N, C, H, W)`, encoded in batches on the model's device."""
    parts = [vae.encode(batch) for batch in batches(vae, images)]
    return gaussian(
        torch.cat([part.mean for part in parts]), torch.cat([part.stddev for part in parts])
    )


def decoded_draws(
    vae: VAE, images: Tensor, generator: Generator | None = None, *, draws: int
) -> Tensor:
    """Decoded draws of the posteriors of images, `(draws, N, C, H, W)`, without gradient.

    Raises
    ------
    ValueError
        If there are fewer than two draws, which have no spread.
    """
    if draws < 2:
        raise ValueError(f"draws must be at least 2, received {draws}")
    source = images.device if generator is None else generator.device
    with torch.no_grad():
        posterior = vae.encode(images)
        noise = torch.randn(draws, *posterior.mean.shape, generator=generator, device=source)
        return vae.decode(posterior.mean + posterior.stddev * noise.to(images))


def squared_error(images: Tensor, x: Tensor) -> float:
    """Summed over pixels, mean over images."""
    return (images - x).square().flatten(1).sum(1).mean().item()
