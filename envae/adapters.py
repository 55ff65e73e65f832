"""Models of other code bases, with the two methods that every objective asks for.

An adapter holds the model it is given and trains its weights; nothing is copied. pythae and
diffusers are optional: `pip install envae[pythae]`, `pip install envae[diffusers]`.
"""

from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn
from torch.distributions import Distribution

from envae import _torchvision as _torchvision  # before diffusers, which imports torchvision
from envae._unknown import unknown
from envae.objectives.base import check_images
from envae.scores import stacked
from envae.vae import Posterior, called, gaussian, prior_given, told_as

if TYPE_CHECKING:
    import pythae.models
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny


class FromTuple(nn.Module):
    """A VAE whose `encode` returns `(mean, log_variance)` or `(mean, stddev)`, as it is.

    >>> loss(FromTuple(vae, "log_variance"), x)

    A conditional one too, inside of `Given`; a prior that it has is asked.

    Parameters
    ----------
    model
        Its `decode` is used as it is.
    second
        What the second of the pair is.

    Raises
    ------
    ValueError
        If that is unknown, or `encode` returns something else than two tensors.
    """

    def __init__(self, model: Any, second: Literal["log_variance", "stddev"]):
        super().__init__()
        if second not in ("log_variance", "stddev"):
            raise ValueError(unknown("second", second, ("log_variance", "stddev")))
        self.model, self.second = model, second

    def encode(self, x: Tensor, *context: Tensor) -> Posterior:
        """Posterior of observations `(B, *event)`."""
        pair = called(self.model, "encode", x, *context)
        if not isinstance(pair, tuple | list) or not [type(each) for each in pair] == [Tensor] * 2:
            raise ValueError(f"encode must return two tensors, received {told_as(pair)}")
        return gaussian(pair[0], **{self.second: pair[1]})

    def decode(self, z: Tensor, *context: Tensor) -> Tensor:
        """What the model decodes of codes `(N, *code)`."""
        return called(self.model, "decode", z, *context)

    def prior(self, *context: Tensor) -> Distribution | None:
        """The model's own, if it has one."""
        return prior_given(self.model, *context)


# Classes whose codes, posterior or prior are not what the encoder's Gaussian and N(0, I) say.
_REFUSED = {
    "HVAE": "moves draws of its posterior by Hamiltonian steps",
    "RHVAE": "moves draws of its posterior by Hamiltonian steps",
    "VAE_LinNF": "sends draws of its posterior through a flow",
    "VAE_IAF": "sends draws of its posterior through a flow",
    "SVAE": "has codes on a sphere",
    "PoincareVAE": "has codes in hyperbolic space",
    "VAMP": "has a prior of learned pseudo-inputs",
    "VQVAE": "has codes from a codebook",
    "VQModel": "has codes from a codebook",
}


def _check_kind(model: nn.Module) -> None:
    """Raise a ValueError where the class, or one that it is made of, is refused."""
    for kind in type(model).__mro__:
        if kind.__name__ in _REFUSED:
            raise ValueError(
                f"{type(model).__name__} {_REFUSED[kind.__name__]}, which the adapter would drop: "
                "write encode, and prior where it has one, as envae.vae says"
            )


class FromPythae(nn.Module):
    """A VAE or an autoencoder of pythae 0.1: its encoder and decoder are used, not its loss.

    Parameters
    ----------
    model
        `pythae.models.VAE` and those of its relatives that differ in their loss; or `AE`, `RAE_L2`,
        `RAE_GP`, `WAE_MMD`, whose codes have no spread: for objectives that draw nothing.

    Raises
    ------
    ValueError
        Of a model that is more than its encoder and decoder say, such as `VAMP` or `PoincareVAE`.
    """

    def __init__(self, model: "pythae.models.BaseAE"):
        super().__init__()
        _check_kind(model)
        self.model = model

    def encode(self, x: Tensor) -> Posterior | Tensor:
        """Posterior of images `(B, C, H, W)` in [0, 1], or codes `(B, d_z)` where it has none."""
        encoded = self.model.encoder(x)
        if "log_covariance" not in encoded:
            return encoded["embedding"]
        return gaussian(encoded["embedding"], log_variance=encoded["log_covariance"])

    def decode(self, z: Tensor) -> Tensor:
        """Images of codes, `(N, d_z)` to `(N, C, H, W)`."""
        return self.model.decoder(z)["reconstruction"]


class FromDiffusers(nn.Module):
    """An autoencoder of diffusers: its codes are maps, and its images lie in [-1, 1].

    Images are taken and returned in [0, 1], as everywhere here. The code is the encoder's own,
    without the scaling that a latent diffusion model applies to it.

    Parameters
    ----------
    model
        `AutoencoderKL` or another with a `latent_dist`; `AutoencoderTiny`, whose codes have no
        spread, for objectives that draw nothing.

    Raises
    ------
    ValueError
        Of a `VQModel`.
    """

    def __init__(self, model: "AutoencoderKL | AutoencoderTiny"):
        super().__init__()
        _check_kind(model)
        self.model = model

    def encode(self, x: Tensor) -> Posterior | Tensor:
        """Posterior of images `(B, C, H, W)` in [0, 1], or codes alone: `(B, c, h, w)`.

        Raises
        ------
        ValueError
            Of images in another range, which on a GPU would have to be waited for, and passes.
        """
        if x.device.type == "cpu" and not stacked(x):
            check_images(x=x)
        encoded = self.model.encode(2 * x - 1)
        if not hasattr(encoded, "latent_dist"):
            return encoded.latents
        return gaussian(encoded.latent_dist.mean, encoded.latent_dist.std)

    def decode(self, z: Tensor) -> Tensor:
        """Images of codes, `(N, c, h, w)` to `(N, C, H, W)`."""
        return 0.5 * (self.model.decode(z).sample + 1)
