"""The variational autoencoder: a Gaussian posterior over codes, and a deterministic decoder.

Objectives use a model through two methods only, :meth:`VAE.encode` and :meth:`VAE.decode`. Any
object that has them (:class:`EncodesAndDecodes`) can be trained with them: that is how another
code base takes the loss.
"""

from typing import TYPE_CHECKING, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

# q(z|x): a Gaussian over codes with independent coordinates. Generic for type checkers alone, since
# in torch before 2.8 the class is not.
if TYPE_CHECKING:
    Posterior: TypeAlias = Independent[Normal]
else:
    Posterior = Independent


class EncodesAndDecodes(Protocol):
    """What an objective needs of a model."""

    def encode(self, x: Tensor) -> Posterior:
        """Posterior q(z|x): an `Independent(Normal)` over codes, batch shape `(B,)`."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """Decoded codes: `(N, d_z)` to `(N, *event)`, the event shape of x."""
        ...


class VAE(nn.Module):
    """Encoder and decoder for images of one shape.

    Parameters
    ----------
    encoder
        Maps images `(B, C, H, W)` to `(B, 2 * latent_dim)`: the posterior's mean and the logarithm
        of its variance.
    decoder
        Maps codes `(N, latent_dim)` to maps `(N, C + head, H, W)`: an image, and what an objective
        may need beside it.
    image_shape
        `(C, H, W)`.
    latent_dim
        Dimension d_z of the code.
    activation
        Applied to the image's maps; none by default. The head's maps are left as they are.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        activation: nn.Module | None = None,
    ):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        channels, height, width = image_shape
        self.image_shape = (channels, height, width)
        self.latent_dim = latent_dim
        self.activation = activation or nn.Identity()

    def encode(self, x: Tensor) -> Posterior:
        """Posterior q(z|x) of images `(B, C, H, W)`; `.mean` and `.stddev` are `(B, d_z)`.

        Raises
        ------
        ValueError
            If the images do not have the shape the model was built for.
        """
        if x.ndim != 4 or tuple(x.shape[1:]) != self.image_shape:
            raise ValueError(
                f"this VAE encodes images of shape (B, {', '.join(map(str, self.image_shape))}), "
                f"received {tuple(x.shape)}"
            )
        # Under autocast the networks alone compute in half precision.
        mean, log_variance = self.encoder(x).to(x.dtype).chunk(2, dim=-1)
        return gaussian(mean, torch.exp(0.5 * log_variance))

    def decode(self, z: Tensor) -> Tensor:
        """Images of the codes: `(..., B, d_z)` to `(..., B, C, H, W)`.

        Raises
        ------
        ValueError
            If the codes do not have the dimension the model was built for.
        """
        return self.decode_with_head(z)[0]

    def decode_with_head(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Images of the codes, and the head's maps `(..., B, K, H, W)`; K is 0 without a head.

        Raises
        ------
        ValueError
            If the codes do not have the dimension the model was built for.
        """
        if z.ndim < 2 or z.shape[-1] != self.latent_dim:
            raise ValueError(
                f"this VAE decodes codes of shape (..., B, {self.latent_dim}), "
                f"received {tuple(z.shape)}"
            )
        maps = self.decoder(z.flatten(0, -2)).to(z.dtype)
        channels = self.image_shape[0]
        image, head = maps.split([channels, maps.shape[1] - channels], dim=1)
        return (
            self.activation(image).unflatten(0, z.shape[:-1]),
            head.unflatten(0, z.shape[:-1]),
        )


def gaussian(mean: Tensor, stddev: Tensor) -> Posterior:
    """Gaussian over codes with independent coordinates; mean and stddev are `(B, *code)`.

    Parameters are not validated: where training diverges, `training.fit` says so with epoch and
    step, which an error from inside a distribution could not.
    """
    return _Gaussian(Normal(mean, stddev, validate_args=False), mean.ndim - 1)


class _Gaussian(Posterior):
    """One that knows its standard deviation itself; torch takes the root of the variance.

    The variance of a sharp posterior may be too small for a float, and its root then zero.
    """

    @property
    def stddev(self) -> Tensor:
        return self.base_dist.stddev


def kl_to_prior(posterior: Posterior) -> Tensor:
    """KL(q(z|x) || N(0, I)) of each image in nats, shape `(B,)`: the last term of Eq. 4, xu2025.

    Finite wherever the posterior's standard deviation is above zero, be its square too small for a
    float; infinite where it is zero.
    """
    mean, stddev = posterior.mean, posterior.base_dist.stddev  # of any Independent(Normal)
    return (0.5 * (mean.square() + stddev.square() - 1) - stddev.log()).flatten(1).sum(1)
