"""Where codes lie, against closed forms and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from envae.metrics import codes
from envae.vae import gaussian

NORMAL = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))


def test_share_of_a_posterior_is_that_of_its_variance_in_the_whole():
    mean = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])  # variance 1 over the images, in all
    assert codes.posterior_share(gaussian(mean, torch.full((2, 2), 0.5))) == pytest.approx(1 / 3)
    assert codes.posterior_share(gaussian(mean, torch.zeros(2, 2))) == 0
    assert codes.posterior_share(gaussian(torch.ones(2, 2), torch.ones(2, 2))) == 1


def test_share_is_that_of_draws():
    stddev = NORMAL.abs() + 0.1
    torch.manual_seed(0)
    posterior = gaussian(2 * NORMAL, stddev)
    draws = posterior.sample((4000,))
    whole = draws.flatten(0, 1).var(0).sum()
    found = draws.var(0).mean(0).sum() / whole
    assert codes.posterior_share(posterior) == pytest.approx(found.item(), rel=0.01)


def test_agreement_is_that_of_the_nearest_neighbour_of_scikit_learn():
    labels = (NORMAL[:, 0] > 0).long()
    nearest = KNeighborsClassifier(2).fit(NORMAL, labels).kneighbors(NORMAL)[1][:, 1]
    expected = (labels[nearest] == labels).float().mean().item()
    assert 0.5 < expected < 1
    assert codes.class_agreement(NORMAL, labels) == pytest.approx(expected)


@pytest.mark.parametrize(("count", "labels"), [(1, 1), (5, 4)])
def test_codes_without_neighbours_or_labels_are_an_error(count, labels):
    with pytest.raises(ValueError, match="at least two codes"):
        codes.class_agreement(NORMAL[:count], torch.zeros(labels))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_codes_that_are_not_finite_are_nobodys_neighbours(value):
    broken = NORMAL.index_fill(0, torch.tensor([3]), value)
    with pytest.raises(ValueError, match="codes must be finite: 4 of 800 values are not"):
        codes.class_agreement(broken, torch.zeros(200))


def test_groups_that_are_far_apart_stay_apart_in_the_plane():
    first, second = codes.in_plane(NORMAL[:50], NORMAL[50:80] + 30)
    assert (first.shape, second.shape) == ((50, 2), (30, 2))
    centers = first.mean(0), second.mean(0)
    radii = [
        np.linalg.norm(group - center, axis=1).max()
        for group, center in zip((first, second), centers, strict=True)
    ]
    assert np.linalg.norm(centers[0] - centers[1]) > sum(radii)


@pytest.mark.parametrize(("given", "seed"), [({}, 0), ({"seed": 3}, 3)])
def test_an_embedding_is_that_of_its_seed_from_components_in_half_of_the_iterations(
    monkeypatch, given, seed
):
    """Asked of scikit-learn, whose solver draws numbers for many codes alone."""
    asked = {}

    class Plane:
        def __init__(self, **options):
            asked.update(options)

        def fit_transform(self, points):
            return points[:, :2]

    monkeypatch.setattr("sklearn.manifold.TSNE", Plane)
    groups = NORMAL[:7], NORMAL[7:9], NORMAL[9:12]
    planes = codes.in_plane(*groups, **given)
    assert asked == {"init": "pca", "max_iter": 500, "random_state": seed}
    for plane, group in zip(planes, groups, strict=True):
        np.testing.assert_array_equal(plane, group[:, :2].numpy())
    with pytest.raises(ValueError, match="group 2"):
        codes.in_plane(NORMAL[:7], NORMAL[7:9] / 0)


def test_embedding_keeps_the_classes_of_digits_together():
    images, labels = load_digits(n_class=4, return_X_y=True)
    (plane,) = codes.in_plane(torch.from_numpy(images[:200]).float())
    assert codes.class_agreement(torch.from_numpy(plane), torch.from_numpy(labels[:200])) > 0.95
