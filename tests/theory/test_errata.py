"""Each mended formula agrees with an independent computation; the printed constant does not."""

import math

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from envae import energy_score
from envae.theory import errata


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def affine_case():
    """Residual, Jacobian, mean and posterior variance of an affine decoder of four pixels."""
    return normal(4), normal(4, 2, seed=1), normal(2, seed=2), torch.tensor([0.3, 0.8]).double()


def exact_error(residual, jacobian, variance):
    """E(r - J e)^2 of each pixel for e ~ N(0, diag(variance)), from points exact for squares."""
    d = len(variance)
    points = math.sqrt(d) * torch.cat([torch.eye(d), -torch.eye(d)]).double() * variance.sqrt()
    return (residual - points @ jacobian.mT).square().mean(0)


def kl_agrees(**constants):
    mean, variance = normal(5, 3), torch.tensor([0.1, 0.4, 1.0, 2.0, 0.7]).double()
    posterior = Independent(Normal(mean, variance.sqrt()[:, None].expand(5, 3)), 1)
    prior = Independent(Normal(torch.zeros(3).double(), torch.ones(3).double()), 1)
    expected = kl_divergence(posterior, prior)
    return torch.allclose(errata.kl_shared(mean, variance, **constants), expected)


def linearized_objective_agrees(**constants):
    residual, jacobian, mean, variance = affine_case()
    error = exact_error(residual, jacobian, variance).sum()
    posterior, prior = Normal(mean, variance.sqrt()), Normal(torch.zeros(2), torch.ones(2))
    of_variance = 0.5 * (variance - variance.log() - 1).sum()  # left out in Eq. 4
    expected = error / (2 * 0.6) + kl_divergence(posterior, prior).sum() - of_variance
    found = errata.linearized_objective(residual, jacobian, mean, variance, 0.6, **constants)
    return torch.allclose(found, expected)


def dimension_dies_at_its_eigenvalue(**constants):
    """The collapsed point is a saddle of Eq. 4 just below sigma_x^2 = lambda, no longer above."""

    def curvature(sigma2):
        def objective(scales):
            w, v = scales
            residual = (1 - w * v) * math.sqrt(3.0)  # of an image at one standard deviation
            mean = v * math.sqrt(3.0)
            return errata.linearized_objective(
                residual.reshape(1), w.reshape(1, 1), mean.reshape(1), 1.0, sigma2, **constants
            )

        hessian = torch.func.hessian(objective)(torch.zeros(2).double())
        return torch.linalg.eigvalsh(hessian)[0].item()

    return curvature(2.9) < 0 < curvature(3.1)


def diag_d_objective_agrees(**constants):
    residual, jacobian, mean, variance = affine_case()
    pixel_variance = normal(4, seed=3).exp()
    error = exact_error(residual, jacobian, variance) / pixel_variance
    expected = 0.5 * (error.sum() + mean.square().sum())
    found = errata.diag_d_objective(residual, jacobian, mean, variance, pixel_variance, **constants)
    return torch.allclose(found, expected)


def squared_gradient_is_the_trace_of_the_gram_matrix(**constants):
    jacobian = normal(6, 2)
    found = errata.squared_gradient(jacobian, **constants)
    return torch.allclose(found, torch.trace(jacobian.mT @ jacobian))


def lipschitz_bound_is_below_the_largest_stretch(**constants):
    jacobians = [2 * torch.eye(8).double(), normal(20, 8), 3 * normal(8, 8, seed=1)]
    bounds = [errata.lipschitz_bound(errata.squared_gradient(j), 8, **constants) for j in jacobians]
    largest = [torch.linalg.matrix_norm(j, 2) for j in jacobians]
    return all(b <= k * (1 + 1e-12) for b, k in zip(bounds, largest, strict=True))


def information_estimate_agrees(**constants):
    """Codes N(0, I) in 2 dimensions, noise of variance 0.1: (2/2) ln 11 nats."""
    codes = normal(4000, 2)
    draws = normal(4000, 2, seed=1) + math.sqrt(0.1) * normal(4000, 2, seed=2)
    found = errata.information_estimate(draws, codes, 0.1, **constants).item()
    return found == pytest.approx(math.log(11), abs=0.15)


def entropy_agrees(**constants):
    expected = MultivariateNormal(torch.zeros(8).double(), 0.1 * torch.eye(8).double()).entropy()
    found = errata.gaussian_entropy(0.1, 8, **constants)
    return found == pytest.approx(expected.item())


def code_variance_stays_below_its_bound(**constants):
    """A code that tells apart images at equal distance: +-1/sqrt(2) at random on 2n points."""
    images = torch.cat([torch.eye(8), -torch.eye(8)]).double()
    code = math.sqrt(0.5) * torch.tensor([1, -1] * 8).double()
    stretch = (code[:, None] - code).abs() / (torch.cdist(images, images) + torch.eye(16))
    bound = errata.code_variance_bound(images.mT @ images / 16, stretch.max().item(), **constants)
    return code.var(unbiased=False) <= bound


def information_bound_is_reached_by_a_gaussian_code(**constants):
    covariance = torch.diag(torch.tensor([0.2, 0.5, 1.0]).double())
    joint = torch.cat(
        [torch.cat([covariance, covariance - 0.1 * torch.eye(3)], 1),
         torch.cat([covariance - 0.1 * torch.eye(3)] * 2, 1)]
    )  # fmt: skip
    apart = torch.block_diag(covariance, covariance - 0.1 * torch.eye(3))
    information = 0.5 * (torch.logdet(apart) - torch.logdet(joint))
    found = errata.information_bound(covariance, 0.1, **constants)
    return torch.allclose(found, information)


def covariance_gradient_agrees(**constants):
    root = normal(5, 4)
    outer = root.mT @ root / 5
    covariance = (outer + torch.eye(4)).requires_grad_()
    value = 0.5 * (torch.trace(torch.linalg.solve(covariance, outer)) + torch.logdet(covariance))
    (expected,) = torch.autograd.grad(value, covariance)
    return torch.allclose(
        errata.covariance_gradient(outer, covariance.detach(), **constants), expected
    )


def kl_term_agrees(**constants):
    mean, variance = normal(5, 3), normal(5, 3, seed=1).exp()
    prior = Normal(torch.zeros(3).double(), torch.ones(3).double())
    expected = kl_divergence(Normal(mean, variance.sqrt()), prior).sum(1)
    return torch.allclose(errata.kl_term(mean, variance, **constants), expected)


def score_at_two_agrees(**constants):
    samples, x = normal(5, 20, 3), normal(20, 3, seed=1)
    expected = energy_score(samples, x, beta=2.0)
    return torch.allclose(errata.score_at_two(samples, x, **constants), expected)


def largest_eigenvalue(matrix):
    return torch.linalg.eigvalsh(matrix)[-1]


PRINTED = {
    "Sec. 4.1, ||mu||^2": (kl_agrees, {"mean_weight": 1.0}),
    "Sec. 4.1, common logarithm": (kl_agrees, {"log": torch.log10}),
    "Eq. 4": (linearized_objective_agrees, {"norm_weight": 2.0}),
    "Eq. 4, threshold": (dimension_dies_at_its_eigenvalue, {"norm_weight": 2.0}),
    "Eq. 8": (diag_d_objective_agrees, {"whole_residual": True}),
    "Eq. B.6": (squared_gradient_is_the_trace_of_the_gram_matrix, {"rows": 2}),
    "Sec. 4.2, Lipschitz": (lipschitz_bound_is_below_the_largest_stretch, {"exponent": 1.0}),
    "Eq. D.1": (information_estimate_agrees, {"dimension": 784}),
    "Eq. F.6": (entropy_agrees, {"constant_power": 1}),
    "Eq. F.9": (code_variance_stays_below_its_bound, {"size": largest_eigenvalue}),
    "Eq. F.10": (information_bound_is_reached_by_a_gaussian_code, {"determinant_weight": 1.5}),
    "Eq. G.2, sign": (covariance_gradient_agrees, {"sign": 1.0}),
    "Eq. G.2, inverses": (covariance_gradient_agrees, {"power": 0}),
    "Eq. G.2": (covariance_gradient_agrees, {"sign": 1.0, "power": 0}),
    "EnVAE, Eq. 18, sign": (kl_term_agrees, {"sign": 1.0}),
    "EnVAE, Eq. 18, variances": (score_at_two_agrees, {"left_over": 0.0}),
    "EnVAE, below Eq. 1": (score_at_two_agrees, {"power": 1}),
}  # fmt: skip


@pytest.mark.parametrize("place", PRINTED)
def test_mended_constant_passes_and_printed_one_fails(place):
    agrees, printed = PRINTED[place]
    assert agrees()
    assert not agrees(**printed)


def test_several_images_at_once_are_each_of_them_alone():
    """As many as pixels: an axis that is lost would not be noticed."""
    residual, jacobian, mean = normal(4, 4), normal(4, 4, 2, seed=1), normal(4, 2, seed=2)
    variance, of_pixels = normal(4, 2, seed=3).exp(), normal(4, 4, seed=4).exp()
    given = residual, jacobian, mean, variance
    calls = [
        (errata.kl_shared, (mean, variance[:, 0]), {}),
        (errata.kl_term, (mean, variance), {}),
        (errata.linearized_objective, (*given, of_pixels[:, 0]), {}),
        (errata.diag_d_objective, (*given, of_pixels), {}),
        (errata.diag_d_objective, (*given, of_pixels), {"whole_residual": True}),
        (errata.squared_gradient, (jacobian,), {}),
    ]
    for formula, tensors, constants in calls:
        alone = [formula(*each, **constants) for each in zip(*tensors, strict=True)]
        torch.testing.assert_close(formula(*tensors, **constants), torch.stack(alone))


def test_information_of_one_draw_among_two_codes_by_hand():
    """At one code, two units from the other, in a plane, with variance 4: e^0 and e^(-1/2)."""
    draw, codes = torch.zeros(1, 2), torch.tensor([[0.0, 0.0], [0.0, 2.0]])
    expected = -math.log((1 + math.exp(-0.5)) / 2) - 1
    assert errata.information_estimate(draw, codes, 4.0).item() == pytest.approx(expected)
