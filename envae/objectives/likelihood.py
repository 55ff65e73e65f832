"""Objectives with a likelihood of fixed shape: negative ELBOs."""

from torch import Tensor

from envae.objectives._base import (
    Loss,
    Objective,
    check_positive,
    decode,
    encode,
    register,
    with_kl,
)
from envae.vae import EncodesAndDecodes


@register("l2", paper="Table 1 and Eq. 19 of xu2025; Eq. 3 of takida2022")
class L2(Objective):
    """Gaussian likelihood with one fixed variance: the ordinary VAE.

    .. math:: \\frac{1}{2\\sigma^2} E_{q(z|x)} \\|x - g(z)\\|^2 + KL(q(z|x) \\| p(z)),

    with one draw of z and the constant (n/2) ln(2 pi sigma^2) dropped.

    Parameters
    ----------
    sigma2
        Variance of a pixel given its code; 1 if neither option is given. The loss is in nats.
    alpha
        Instead of sigma2: weight of the KL term in half the squared error + alpha KL, which is the
        loss above times sigma2 = alpha. The loss is in squared units of the data.
    """

    def __init__(self, sigma2: float | None = None, alpha: float | None = None):
        super().__init__()
        if sigma2 is not None and alpha is not None:
            raise ValueError("l2 takes sigma2 or alpha, not both: alpha is sigma2 times the loss")
        if alpha is not None:
            check_positive(alpha=alpha)
            self.error_weight, self.kl_weight = 0.5, alpha
            self.unit = "squared data units per image"
        else:
            sigma2 = 1.0 if sigma2 is None else sigma2
            check_positive(sigma2=sigma2)
            self.error_weight, self.kl_weight = 0.5 / sigma2, 1.0

    def forward(self, vae: EncodesAndDecodes, x: Tensor) -> Loss:
        posterior = encode(vae, x)
        decoded = decode(vae, posterior.rsample((1,)), x)[0]
        squared_error = (x - decoded).square().flatten(1).sum(1)  # (B,)
        reconstruction = self.error_weight * squared_error
        return with_kl(posterior, reconstruction, self.kl_weight, squared_error=squared_error)
