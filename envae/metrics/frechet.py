"""Fréchet distance between two sets of images in the feature space of a network.

.. math:: \\|\\mu_1 - \\mu_2\\|^2
          + \\mathrm{tr}(\\Sigma_1 + \\Sigma_2 - 2 (\\Sigma_1 \\Sigma_2)^{1/2})

for the means and covariances of the features: Eq. 24 of xu2025, Eq. 12 of takida2022. With the
Inception network of pytorch-fid it is called FID; with any other network, FD (name).
"""

import numpy as np
from torch import Tensor

from envae import _torchvision as _torchvision  # before pytorch_fid, which imports torchvision
from envae.metrics.extractor import Extractor

# ruff: noqa: I001
from pytorch_fid.fid_score import calculate_frechet_distance


def frechet_distance(features: Tensor, reference: Tensor) -> float:
    """Fréchet distance between two sets of features.

    Parameters
    ----------
    features, reference
        Shapes `(N, F)` and `(N', F)`, with more rows than columns: fewer cannot give a covariance
        of full rank, and the distance would depend on how few there are.

    Raises
    ------
    ValueError
        If the shapes do not fit, there are too few rows, or a value is not finite.
    """
    moments = [_moments(features), _moments(reference)]
    if features.shape[1] != reference.shape[1]:
        raise ValueError(
            f"features and reference need the same width, received {tuple(features.shape)} "
            f"and {tuple(reference.shape)}"
        )
    return float(calculate_frechet_distance(*moments[0], *moments[1]))


def fd(extractor: Extractor, images: Tensor, reference: Tensor) -> float:
    """FD (name of the extractor) between two sets of images `(N, C, H, W)` in [0, 1]."""
    return frechet_distance(extractor.features(images), extractor.features(reference))


def _moments(features: Tensor) -> tuple[np.ndarray, np.ndarray]:
    if features.ndim != 2 or len(features) <= features.shape[1]:
        raise ValueError(
            "a Fréchet distance needs features (N, F) with N > F, "
            f"received shape {tuple(features.shape)}"
        )
    values = features.double().cpu().numpy()
    if not np.isfinite(values).all():
        raise ValueError("features must be finite: the images behind them are not")
    return values.mean(0), np.cov(values, rowvar=False)
