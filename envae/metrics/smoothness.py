"""How much a decoder's output, or an encoder's, changes with its input.

All functions take the map itself, such as `vae.decode`: a function of a batch `(B, *in)` that
treats its rows alike and apart, and returns `(B, *out)`. Norms are Euclidean, over all coordinates.

What bounds what, for a map of d inputs with Lipschitz constant K: the largest ratio over sampled
pairs, the largest spectral norm of a Jacobian, and sqrt(ELS / d) are at most K; the product of the
layers' norms is at least K.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from envae.objectives.base import check_finite

Map = Callable[[Tensor], Tensor]
_AT_ONCE = 2**23  # bytes of Jacobians computed in one call; a network holds 6 to 130 times that


def expected_gap(
    decode: Map, codes: Tensor, variance: float, *, generator: torch.Generator | None = None
) -> float:
    """Mean squared distance of two decoded perturbations of a code (Eqs. 5, C.1 of takida2022).

    .. math:: \\Delta^2(s^2) = \\mathbb E\\,\\|g(\\mu + \\epsilon) - g(\\mu + \\epsilon')\\|^2,
              \\qquad \\epsilon, \\epsilon' \\sim \\mathcal N(0, s^2 I)

    Parameters
    ----------
    decode
        The decoder g.
    codes
        Posterior means mu, `(B, d_z)`; each is perturbed once by each of the two.
    variance
        s^2, in squared units of the code.
    generator
        Source of the perturbations.

    Returns
    -------
    float
        In squared data units, summed over pixels.

    Raises
    ------
    ValueError
        If the variance is not a positive number, or a code is not finite.
    """
    check_finite(codes=codes)
    if not 0 < variance < math.inf:
        raise ValueError(f"variance must be a positive number, received {variance}")
    noise = torch.randn(2, *codes.shape, generator=generator, dtype=codes.dtype)
    first, second = codes + math.sqrt(variance) * noise.to(codes.device)
    with torch.no_grad():
        return (decode(first) - decode(second)).square().flatten(1).sum(1).mean().item()


def smoothness_from_gap(gap: float, variance: float) -> float:
    """ELS from the expected gap, gap / (2 s^2): exact for an affine decoder (Eq. C.8)."""
    return gap / (2 * variance)


def expected_local_smoothness(decode: Map, codes: Tensor) -> float:
    """ELS: mean squared Frobenius norm of the decoder's Jacobian at the codes (Eq. 6), exact.

    The columns ELS of Tables 1 and E.8 of takida2022 hold this over d_z, the quantity of Eq. C.7.
    """
    return jacobians(decode, codes).square().sum((1, 2)).mean().item()


def jacobians(function: Map, points: Tensor) -> Tensor:
    """Jacobian of a map at each point `(B, *in)`: `(B, out, in)`, coordinates in one axis each.

    As many points at once as have Jacobians of 8 MiB together, at least one.

    Raises
    ------
    ValueError
        If a point is not finite.
    """
    check_finite(points=points)

    def of_one(point: Tensor) -> Tensor:
        return function(point.unflatten(0, points.shape[1:]).unsqueeze(0)).flatten()

    points = points.detach()
    flat = points.flatten(1)
    inputs, outputs = flat.shape[1], function(points[:1]).numel()
    few_inputs = inputs <= outputs
    of_all = torch.vmap((torch.func.jacfwd if few_inputs else torch.func.jacrev)(of_one))
    # In chunks: a Jacobian holds the activations of as many images as it has columns or rows.
    size = max(_AT_ONCE // (inputs * outputs * flat.element_size()), 1)
    return torch.cat([of_all(chunk).detach() for chunk in flat.split(size)])


def lipschitz_from_jacobians(function: Map, points: Tensor) -> float:
    """Largest spectral norm of the Jacobians at the points: a lower bound of Lipschitz's constant.

    It is the best lower bound that these points give: no pair near one of them stretches more.
    """
    return torch.linalg.matrix_norm(jacobians(function, points), ord=2).max().item()


def lipschitz_from_pairs(function: Map, points: Tensor) -> float:
    """Largest ratio of distances over all pairs of points (Eq. 26 of xu2025): a lower bound.

    Equation 26 takes the supremum over data points; of these points it is the maximum.

    Raises
    ------
    ValueError
        If no two of the points differ, or one is not finite.
    """
    check_finite(points=points)
    with torch.no_grad():
        outputs = function(points).flatten(1).double()
    before = torch.pdist(points.flatten(1).double())
    apart = before > 0
    if not apart.any():
        raise ValueError(f"needs two points that differ, received {len(points)} alike")
    return (torch.pdist(outputs)[apart] / before[apart]).max().item()


def lipschitz_of_layers(network: nn.Sequential, input_shape: tuple[int, ...]) -> float:
    """Product of the layers' own Lipschitz constants: an upper bound for the whole network.

    A linear or convolutional layer counts with its largest singular value on inputs of the shape
    it gets (for convolutions an iterative solver's, exact to its tolerance), an activation with
    its largest slope: 1 for ReLU, 1/4 for the sigmoid.

    Parameters
    ----------
    network
        Layers in their order, nested or not.
    input_shape
        Shape of one input, such as `(d_z,)` for a decoder.

    Raises
    ------
    ValueError
        If a layer is of a kind whose constant is not known here.
    """
    bound, x = 1.0, torch.zeros(1, *input_shape)
    for layer in _leaves(network):
        bound *= _layer_norm(layer, x)
        with torch.no_grad():
            x = layer(x)
    return bound


def lipschitz_bounds(network: nn.Sequential, points: Tensor) -> dict[str, float]:
    """The bounds of a network's Lipschitz constant that some inputs `(B, *in)` give, by name.

    From below `pairs` and `Jacobians`, from above `layers`: see :func:`lipschitz_from_pairs`,
    :func:`lipschitz_from_jacobians`, :func:`lipschitz_of_layers`.
    """
    return {
        "pairs": lipschitz_from_pairs(network, points),
        "Jacobians": lipschitz_from_jacobians(network, points),
        "layers": lipschitz_of_layers(network, tuple(points.shape[1:])),
    }


def _leaves(network: nn.Module) -> list[nn.Module]:
    if isinstance(network, nn.Sequential):
        return [leaf for child in network for leaf in _leaves(child)]
    return [network]


_SLOPES = {nn.ReLU: 1.0, nn.Sigmoid: 0.25, nn.Identity: 1.0, nn.Flatten: 1.0, nn.Unflatten: 1.0}
_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


def _layer_norm(layer: nn.Module, x: Tensor) -> float:
    """Lipschitz constant of a layer for inputs of the shape of x, `(1, *in)`."""
    if isinstance(layer, nn.Linear):
        return torch.linalg.matrix_norm(layer.weight.detach(), ord=2).item()
    if isinstance(layer, _CONVOLUTIONS):
        return _operator_norm(layer, x)
    if type(layer) not in _SLOPES:
        known = [kind.__name__ for kind in (nn.Linear, *_CONVOLUTIONS, *_SLOPES)]
        raise ValueError(
            f"no Lipschitz constant is known here for a layer {type(layer).__name__}; "
            f"known are {known}"
        )
    return _SLOPES[type(layer)]


def _operator_norm(layer: nn.Module, x: Tensor) -> float:
    """Largest singular value of an affine layer's linear part, from its products alone."""
    from scipy.sparse.linalg import LinearOperator, svds  # takes a while to import

    y, transposed = torch.func.vjp(layer, torch.zeros_like(x))[:2]
    offset = y.detach()

    def product(function: Map, like: Tensor, vector: np.ndarray) -> Tensor:
        with torch.no_grad():
            return function(torch.from_numpy(vector).to(like).reshape(like.shape)).flatten()

    operator = LinearOperator(
        (y.numel(), x.numel()),
        matvec=functools.partial(product, lambda v: layer(v) - offset, x),
        rmatvec=functools.partial(product, lambda v: transposed(v)[0], y),
        dtype="float32",
    )
    return float(svds(operator, k=1, return_singular_vectors=False, random_state=0)[0])
