"""Deterministic autoencoders: the posterior's mean is the code (Ghosh et al., 2020)."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import jvp, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from envae.objectives.base import HalfSquaredError, Parts, check_count, check_positive, register
from envae.vae import EncodesAndDecodes, Posterior


@register("ae", paper="Table 4 of takida2022")
class AE(HalfSquaredError):
    """Plain autoencoder: half the squared error.

    .. math:: \\tfrac12 \\|x - g(\\mu(x))\\|^2
    """

    deterministic = True

    def regularize(
        self, vae: EncodesAndDecodes, posterior: Posterior, codes: Tensor
    ) -> tuple[Tensor, Parts]:
        penalties = self.penalties(vae, codes[0])
        parts = {name: value.mean() for name, (_, value) in penalties.items()}
        weighted = (weight * 0.5 * parts[name] for name, (weight, _) in penalties.items())
        return sum(weighted, start=codes.new_zeros(())), parts

    def penalties(self, vae: EncodesAndDecodes, code: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Weight and values `(B,)` of each penalty; half of each is added to the loss."""
        return {}


@register("rae", paper="Table 4 of takida2022")
class RAE(AE):
    """Regularized autoencoder: codes are held near zero.

    .. math:: \\tfrac12 \\|x - g(z)\\|^2 + \\tfrac{w}{2} \\|z\\|^2, \\qquad z = \\mu(x)

    Parameters
    ----------
    code_weight
        w. The paper does not say which it used.
    """

    def __init__(self, code_weight: float = 0.05):
        super().__init__()
        check_positive(code_weight=code_weight)
        self.code_weight = code_weight

    @property
    def pixel_variance(self) -> float:
        """Half the squared error + sigma_x^2 / 2 ||mu||^2: sigma_x^2 is the code's weight."""
        return self.code_weight

    def penalties(self, vae: EncodesAndDecodes, code: Tensor) -> dict[str, tuple[float, Tensor]]:
        return {"code": (self.code_weight, code.flatten(1).square().sum(1))}


@register("rae_gp", paper="Table 4 of takida2022; compare its Eq. 4")
class RAEGP(RAE):
    """Regularized autoencoder with a gradient penalty on the decoder at the code.

    .. math:: \\tfrac12 \\|x - g(z)\\|^2 + \\tfrac{w}{2} \\|z\\|^2
              + \\tfrac{w_J}{2} \\|J_g(z)\\|_F^2, \\qquad z = \\mu(x)

    Eq. 4 of takida2022 up to its weights. The gradient reaches the encoder through z as well. The
    decoder must have forward-mode derivatives (torch.func.jvp); diffusers' attention has none.

    Parameters
    ----------
    code_weight
        w.
    gradient_weight
        w_J. The paper does not say which it used.
    probes
        Random directions for a Hutchinson estimate of the squared Frobenius norm, unbiased. By
        default exact, one direction per latent dimension, up to `exact_up_to` dimensions, and one
        probe above.
    exact_up_to
        Largest latent dimension whose norm is exact by default. At 16 dimensions it makes a step
        cost ten of `l2` on a small network, an estimate by one probe fewer than three; the noise
        of the estimate is averaged over the images of a batch and the steps of a training.
    """

    def __init__(
        self,
        code_weight: float = 0.05,
        gradient_weight: float = 0.01,
        probes: int | None = None,
        exact_up_to: int = 8,
    ):
        super().__init__(code_weight)
        check_positive(gradient_weight=gradient_weight)
        if probes is not None:
            check_count(probes=probes)
        check_count(0, exact_up_to=exact_up_to)
        self.gradient_weight, self.probes = gradient_weight, probes
        self.exact_up_to = exact_up_to

    def penalties(self, vae: EncodesAndDecodes, code: Tensor) -> dict[str, tuple[float, Tensor]]:
        jacobian = squared_jacobian(vae, code, self._directions(code))
        return super().penalties(vae, code) | {"jacobian": (self.gradient_weight, jacobian)}

    def _directions(self, code: Tensor) -> Tensor:
        """Directions `(P, B, *code)`: the axes, or random ones of as much length on average."""
        dimensions = code[0].numel()
        if self.probes is None and dimensions <= self.exact_up_to:
            axes = torch.eye(dimensions, device=code.device, dtype=code.dtype)
            return axes.reshape(dimensions, 1, *code.shape[1:]).expand(-1, *code.shape)
        probes = self.probes or 1
        return torch.randn(probes, *code.shape, device=code.device, dtype=code.dtype) / probes**0.5


def squared_jacobian(vae: EncodesAndDecodes, code: Tensor, directions: Tensor) -> Tensor:
    """Sum over directions of ||J_g(z) v||^2, `(B,)`; with the axes it is ||J_g(z)||_F^2.

    Parameters
    ----------
    code
        Codes z, `(B, *code)`.
    directions
        Directions v, `(P, B, *code)`.
    """

    def along(direction: Tensor) -> Tensor:
        tangent = jvp(vae.decode, (code,), (direction,))[1]
        return tangent.flatten(1).square().sum(1)

    with _running_statistics_kept(vae):
        return vmap(along)(directions).sum(0)


@contextlib.contextmanager
def _running_statistics_kept(vae: EncodesAndDecodes) -> Iterator[None]:
    """Batch normalization uses its batch and updates nothing, which vmap could not do."""
    layers = [
        layer
        for layer in (vae.modules() if isinstance(vae, nn.Module) else ())
        if isinstance(layer, _BatchNorm) and layer.training and layer.track_running_stats
    ]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
