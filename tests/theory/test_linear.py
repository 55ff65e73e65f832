"""The linear VAE's closed forms against scikit-learn's pPCA, minimization and training."""

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from envae import networks
from envae.objectives import objective
from envae.theory import linear
from envae.training import fit

EIGENVALUES = torch.tensor([3.0, 1.5, 0.5, 0.2, 0.1], dtype=torch.float64)


def data(count=4000):
    """Images of five pixels whose sample covariance has exactly these eigenvalues."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    whitened = torch.linalg.qr(noise - noise.mean(0)).Q * math.sqrt(count)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64)).Q
    return whitened * EIGENVALUES.sqrt() @ rotation


def test_likelihood_at_the_most_likely_variance_is_that_of_scikit_learn():
    x = data() * math.sqrt(3999 / 4000)  # scikit-learn's covariance divides by N - 1
    pca = PCA(2).fit(x.numpy())
    variance = linear.most_likely_variance(EIGENVALUES, 2)
    assert variance == pytest.approx(pca.noise_variance_, rel=1e-9)
    best = linear.optimum(EIGENVALUES, 2, variance)
    # The mean over the N images sees (N - 1)/N of that covariance.
    assert best.negative_elbo.item() == pytest.approx(-pca.score(x.numpy()), rel=1e-3)


@pytest.mark.parametrize("sigma2", [0.05, 0.3, 1.0, 2.0, 5.0])
def test_optimum_is_where_minimization_ends(sigma2):
    """Per dimension: (l - 2 w v l + w^2 (v^2 l + s)) / (2 sigma^2) + KL."""
    kept = EIGENVALUES[:3]
    raw = torch.full((3, 3), 0.5, dtype=torch.float64, requires_grad=True)  # w, v, ln s
    optimizer = torch.optim.LBFGS([raw], max_iter=500, line_search_fn="strong_wolfe")

    def loss():
        w, v, log_s = raw
        code = v**2 * kept + log_s.exp()
        error = kept - 2 * w * v * kept + w**2 * code
        return (error / (2 * sigma2) + 0.5 * (code - log_s - 1)).sum()

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    for _ in range(5):
        optimizer.step(closure)
    best = linear.optimum(EIGENVALUES, 3, sigma2)
    torch.testing.assert_close(raw[0].abs().detach(), best.decoder_scale, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(raw[2].exp().detach(), best.posterior_variance, atol=1e-3, rtol=1e-3)
    rest = EIGENVALUES[3:].sum() / (2 * sigma2) + 2.5 * math.log(2 * math.pi * sigma2)
    assert (loss() + rest).item() == pytest.approx(best.negative_elbo.item(), rel=1e-6)
    _, v, log_s = raw.detach()
    kl = 0.5 * (v**2 * kept + log_s.exp() - log_s - 1)
    torch.testing.assert_close(kl, best.kl, atol=1e-4, rtol=1e-3)


def test_shared_variance_is_where_minimization_ends():
    """Best over v and w in closed form, sum sqrt(l s)/sigma - (d/2) ln s, minimized over s."""
    kept, sigma2 = EIGENVALUES[:3], 0.2
    s = torch.linspace(0.01, 1, 99_001, dtype=torch.float64)
    value = (kept[:, None] * s / sigma2).sqrt().sum(0) - 1.5 * s.log()
    expected = s[value.argmin()].item()
    assert linear.shared_posterior_variance(kept, sigma2) == pytest.approx(expected, abs=2e-5)
    with pytest.raises(ValueError, match="not every latent dimension is active"):
        linear.shared_posterior_variance(kept, 2.0)


@pytest.mark.parametrize("sigma2_z", [0.05, 0.3, 1.0, 1.9, 4.0])
def test_optimum_at_a_fixed_posterior_variance_is_where_minimization_ends(sigma2_z):
    """Per dimension the error l - 2 w v l + w^2 (v^2 l + s); the loss is that of iso_i."""
    kept, rest = EIGENVALUES[:3], EIGENVALUES[3:].sum()
    best = linear.optimum_at_posterior_variance(EIGENVALUES, 3, sigma2_z)
    start = torch.rand(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    raw = (0.5 + start).requires_grad_()  # w, v
    optimizer = torch.optim.LBFGS([raw], max_iter=500, line_search_fn="strong_wolfe")

    def parts():
        w, v = raw
        code = v**2 * kept + sigma2_z
        error = (kept - 2 * w * v * kept + w**2 * code).sum() + rest
        return error, 0.5 * (code - math.log(sigma2_z) - 1).sum(), w

    def closure():
        optimizer.zero_grad()
        error, kl, _ = parts()
        value = 2.5 * error.log() + kl
        value.backward()
        return value

    for _ in range(5):
        optimizer.step(closure)
    error, kl, w = (value.detach() for value in parts())
    assert best.squared_error == pytest.approx(error.item(), rel=1e-4)
    assert best.pixel_variance == pytest.approx(error.item() / 5, rel=1e-4)
    assert best.kl == pytest.approx(kl.item(), abs=1e-4)
    assert best.expected_local_smoothness == pytest.approx(w.square().sum().item(), abs=1e-3)
    codes = raw[1].detach() ** 2 * kept
    information = 0.5 * (codes / sigma2_z).log1p().sum().item()
    assert best.information == pytest.approx(information, abs=1e-3)


def test_a_fixed_posterior_variance_collapses_the_information_but_not_the_kl():
    """At s = n l_1 / trace: there even the largest eigenvalue is no more than sigma_x^2 s."""
    threshold = 5 * EIGENVALUES[0].item() / EIGENVALUES.sum().item()
    below = linear.optimum_at_posterior_variance(EIGENVALUES, 3, 0.99 * threshold)
    above = linear.optimum_at_posterior_variance(EIGENVALUES, 3, 1.01 * threshold)
    assert below.information > 0
    assert (below.active, above.active) == (1, 0)
    assert above.information == 0
    s = 1.01 * threshold
    assert above.kl == pytest.approx(1.5 * (s - math.log(s) - 1))
    with pytest.raises(ValueError, match="positive number, received 0"):
        linear.optimum_at_posterior_variance(EIGENVALUES, 3, 0)


def test_dimensions_collapse_at_their_eigenvalues():
    sigma2 = torch.tensor([0.49, 0.51, 1.49, 1.51, 2.99, 3.01])
    active = linear.optimum(EIGENVALUES, 3, sigma2).decoder_scale > 0
    assert active.sum(-1).tolist() == [3, 2, 2, 1, 1, 0]


def test_trained_linear_network_comes_to_the_closed_form():
    x = data(1000).float().reshape(-1, 1, 1, 5)
    vae = networks.build("linear", (1, 1, 5), 2, seed=0)
    history = fit(
        vae, objective("l2", sigma2=0.4), x, epochs=60, batch_size=100, lr=1e-2, progress=False
    )
    best = linear.optimum(EIGENVALUES, 2, 0.4)
    assert history["total"].iloc[-1] == pytest.approx(best.negative_elbo.item(), rel=0.01)
    assert history["kl"].iloc[-1] == pytest.approx(best.kl.sum().item(), rel=0.05)


def test_exact_loss_is_what_the_objective_draws_samples_of():
    x = data(2000).float().reshape(-1, 1, 1, 5)
    vae = networks.build("linear", (1, 1, 5), 2, seed=0)
    with torch.no_grad():
        vae.encoder.mean[1].bias.zero_()
        vae.decoder[0].bias.zero_()
        vae.encoder.log_variance.copy_(torch.tensor([-1.0, -2.0]))
        loss = objective("l2", sigma2=0.4)(vae, x.repeat(50, 1, 1, 1))
        model = linear.Trained(
            vae.encoder.mean[1].weight[None],
            vae.decoder[0].weight[None],
            vae.encoder.log_variance.exp()[None],
        )
        covariance = x.flatten(1).T @ x.flatten(1) / len(x)
        error, kl = linear.loss_terms(model, covariance)
    assert error.item() == pytest.approx(loss.parts["squared_error"].item(), rel=0.01)
    assert kl.item() == pytest.approx(loss.parts["kl"].item(), rel=1e-4)


def test_training_at_many_variances_ends_at_the_closed_form():
    covariance = torch.diag(EIGENVALUES)
    sigma2 = torch.tensor([0.1, 0.4, 1.0, 4.0], dtype=torch.float64)
    model = linear.train(covariance, 2, sigma2, steps=2000)
    best = linear.optimum(EIGENVALUES, 2, sigma2)
    variance = model.posterior_variance.sort().values
    torch.testing.assert_close(variance, best.posterior_variance, atol=1e-3, rtol=1e-2)
    els = model.decoder.square().sum((1, 2))
    torch.testing.assert_close(els, best.expected_local_smoothness, atol=1e-3, rtol=1e-2)


def test_training_is_adam_on_the_exact_loss_with_a_step_size_that_falls_along_a_cosine():
    """One pixel and one code, w and v the weights of encoder and decoder, s the variance.

    (c (1 - v w)^2 + v^2 s) / (2 sigma^2) + (w^2 c + s - ln s - 1) / 2, derived by hand.
    """
    c, sigma2, steps = 2.0, np.array([0.5, 1.5]), 5

    def trained(steps):
        model = linear.train(
            torch.tensor([[c]], dtype=torch.float64), 1, torch.from_numpy(sigma2), steps=steps
        )
        parts = model.encoder, model.decoder, model.posterior_variance.log()
        return np.stack([part.flatten().numpy() for part in parts])

    at = trained(0)
    mean, square = np.zeros_like(at), np.zeros_like(at)
    for step in range(steps):
        w, v, log_s = at
        s, missed = np.exp(log_s), 1 - v * w
        slope = np.stack(
            [
                -v * missed * c / sigma2 + w * c,
                (v * s - w * missed * c) / sigma2,
                v**2 * s / (2 * sigma2) + 0.5 * (s - 1),
            ]
        )
        mean = 0.9 * mean + 0.1 * slope
        square = 0.999 * square + 0.001 * slope**2
        size = 0.03 * (1 + math.cos(math.pi * step / steps)) / 2
        unbiased = square / (1 - 0.999 ** (step + 1))
        at = at - size * mean / (1 - 0.9 ** (step + 1)) / (np.sqrt(unbiased) + 1e-8)
    np.testing.assert_allclose(trained(steps), at, rtol=1e-9)


def test_training_starts_small_and_alike_at_all_variances_and_from_each_seed_elsewhere():
    covariance, sigma2 = torch.eye(40, dtype=torch.float64), torch.tensor([0.1, 4.0])
    start, again, other = (
        linear.train(covariance, 30, sigma2, steps=0, **given)
        for given in ({}, {"seed": 0}, {"seed": 1})
    )
    assert (start.encoder.shape, start.decoder.shape) == ((2, 30, 40), (2, 40, 30))
    assert torch.equal(start.posterior_variance, torch.ones(2, 30, dtype=torch.float64))
    for weights in (start.encoder, start.decoder):
        assert torch.equal(weights[0], weights[1])
        assert weights.std().item() == pytest.approx(0.1, rel=0.05)
        assert not weights.requires_grad
    assert not torch.equal(start.encoder, start.decoder.mT)
    assert torch.equal(start.encoder, again.encoder)
    assert not torch.equal(start.encoder, other.encoder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((EIGENVALUES, 6, 1.0), "1 <= latent_dim <= n"),
        ((EIGENVALUES, 0, 1.0), "1 <= latent_dim <= n"),
        ((-EIGENVALUES, 2, 1.0), "finite, none negative and one positive"),
        ((EIGENVALUES - 0.15, 2, 1.0), "finite, none negative and one positive"),
        ((0 * EIGENVALUES, 2, 1.0), "finite, none negative and one positive"),
        ((EIGENVALUES / 0, 2, 1.0), "finite, none negative and one positive"),
        ((EIGENVALUES[None], 1, 1.0), "eigenvalues \\(n,\\)"),
        ((EIGENVALUES, 2, 0.0), "sigma2 must be positive"),
    ],
)
def test_arguments_out_of_range_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        linear.optimum(*arguments)


def test_eigenvalues_come_in_any_order_and_some_may_be_zero():
    """The largest is 4, of which 4 - 1/2 is modelled; of the others each leaves the noise alone."""
    given = torch.tensor([0.0, 4.0, 1.0], dtype=torch.float64)
    best = linear.optimum(given, 1, 0.5)
    assert best.decoder_scale.tolist() == [math.sqrt(3.5)]
    nats = 3 * math.log(2 * math.pi) + math.log(4) + 1 + 2 * math.log(0.5) + 1 / 0.5
    assert best.negative_elbo.item() == pytest.approx(0.5 * nats)
    assert linear.most_likely_variance(given, 1) == 0.5
    assert linear.most_likely_variance(given, 2) == 0.0
    with pytest.raises(ValueError, match="no variance is left to estimate"):
        linear.most_likely_variance(given, 3)
    assert linear.optimum(given, 3, 0.5).decoder_scale.square().tolist() == pytest.approx(
        [3.5, 0.5, 0.0]
    )
