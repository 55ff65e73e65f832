"""Models of other code bases, with the two methods that every objective asks for.

An adapter holds the model it is given and trains its weights; nothing is copied. Both packages are
optional: `pip install envae[pythae]`, `pip install envae[diffusers]`.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from envae import _torchvision as _torchvision  # before diffusers, which imports torchvision
from envae.vae import Posterior, gaussian

if TYPE_CHECKING:
    import pythae.models
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL


class FromPythae(nn.Module):
    """A VAE of pythae 0.1, whatever its class: its encoder and decoder are used, not its loss.

    Parameters
    ----------
    model
        Its encoder returns `embedding` and `log_covariance`, as those of `pythae.models.VAE` and
        its relatives do.
    """

    def __init__(self, model: "pythae.models.VAE"):
        super().__init__()
        self.model = model

    def encode(self, x: Tensor) -> Posterior:
        """Posterior of images `(B, C, H, W)` in [0, 1].

        Raises
        ------
        ValueError
            If the encoder returns no variance, as that of a plain autoencoder.
        """
        encoded = self.model.encoder(x)
        if "log_covariance" not in encoded:
            raise ValueError(
                f"the encoder of {type(self.model).__name__} returns {list(encoded)}, "
                "but a posterior needs embedding and log_covariance"
            )
        return gaussian(encoded["embedding"], torch.exp(0.5 * encoded["log_covariance"]))

    def decode(self, z: Tensor) -> Tensor:
        """Images of codes, `(N, d_z)` to `(N, C, H, W)`."""
        return self.model.decoder(z)["reconstruction"]


class FromDiffusers(nn.Module):
    """An `AutoencoderKL` of diffusers: its codes are maps, and its images lie in [-1, 1].

    Images are taken and returned in [0, 1], as everywhere here. The code is the encoder's own,
    without the scaling that a latent diffusion model applies to it.

    Parameters
    ----------
    model
        The autoencoder.
    """

    def __init__(self, model: "AutoencoderKL"):
        super().__init__()
        self.model = model

    def encode(self, x: Tensor) -> Posterior:
        """Posterior of images `(B, C, H, W)` in [0, 1], over codes `(B, c, h, w)`."""
        posterior = self.model.encode(2 * x - 1).latent_dist
        return gaussian(posterior.mean, posterior.std)

    def decode(self, z: Tensor) -> Tensor:
        """Images of codes, `(N, c, h, w)` to `(N, C, H, W)`."""
        return 0.5 * (self.model.decode(z).sample + 1)
