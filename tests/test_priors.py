"""What codes are sampled from after training, against distributions that are known."""

import dataclasses
import functools
import math

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.distributions import Independent, Normal, kl_divergence

from envae import priors
from envae.vae import VAE


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(count, mean, stddev, seed=0):
    mean, stddev = torch.tensor(mean), torch.tensor(stddev)
    return mean + stddev * torch.randn(count, len(mean), generator=generator(seed))


def test_standard_normal_has_its_moments_whatever_the_codes():
    codes = priors.StandardNormal.fit(gaussian(50, [3.0, 1.0, 0.0], [0.1, 1.0, 2.0])).sample(
        40_000, generator()
    )
    torch.testing.assert_close(codes.mean(0), torch.zeros(3), atol=0.03, rtol=0)
    torch.testing.assert_close(codes.T.cov(), torch.eye(3), atol=0.03, rtol=0)


def test_mixture_is_recovered():
    """Two Gaussians of known weights, means and covariances."""
    codes = torch.cat(
        [gaussian(6000, [4.0, 0.0], [1.0, 0.5]), gaussian(2000, [-4.0, 1.0], [0.3, 2.0], seed=1)]
    )
    prior = priors.GaussianMixture.fit(codes, components=2)
    sampled = prior.sample(80_000, generator(2))
    right = sampled[:, 0] > 0
    assert right.double().mean().item() == pytest.approx(0.75, abs=0.01)
    for part, mean, stddev in [
        (sampled[right], [4.0, 0.0], [1.0, 0.5]),
        (sampled[~right], [-4.0, 1.0], [0.3, 2.0]),
    ]:
        torch.testing.assert_close(part.mean(0), torch.tensor(mean), atol=0.1, rtol=0)
        torch.testing.assert_close(part.std(0), torch.tensor(stddev), atol=0.05, rtol=0)
    halves = [half.double().mean().item() for half in right.split(40_000)]
    assert halves[0] == pytest.approx(halves[1], abs=0.02)  # not sorted by component


def test_samples_of_a_mixture_are_scikit_learns_of_a_seed_that_the_generator_draws():
    """What is recorded of them comes again."""
    prior = priors.GaussianMixture.fit(gaussian(100, [1.0, -2.0], [0.5, 1.5]), components=3)
    found, source = prior.sample(20, generator(4)), generator(4)
    seed = int(torch.randint(2147483648, (), generator=source))
    codes, _ = prior.mixture.set_params(random_state=seed).sample(20)
    order = torch.randperm(20, generator=source)
    assert torch.equal(found, torch.from_numpy(codes).float()[order])


def test_one_component_has_the_moments_of_the_codes():
    codes = gaussian(500, [1.0, -2.0], [0.5, 1.5])
    mixture = priors.GaussianMixture.fit(codes, components=1).mixture
    torch.testing.assert_close(torch.from_numpy(mixture.means_[0]).float(), codes.mean(0))
    expected = codes.T.cov(correction=0)
    covariance = torch.from_numpy(mixture.covariances_[0]).float()
    torch.testing.assert_close(covariance, expected, rtol=1e-4, atol=1e-5)


second_stage = functools.partial(
    priors.SecondStageVAE.fit, hidden=64, batch_size=50, lr=3e-3, accelerator="cpu"
)


def test_second_stage_samples_as_the_codes_are_distributed():
    """Covariance [[5, 4], [4, 5]] about (2, 2); the standard normal is far from both."""
    along, across = torch.randn(2, 600, generator=generator(3)) * torch.tensor([[3.0], [1.0]])
    codes = 2 + torch.stack([along + across, along - across], dim=1) / 2**0.5
    sampled = second_stage(codes, epochs=40, lr=1e-3).sample(5000, generator())
    torch.testing.assert_close(sampled.mean(0), codes.mean(0), atol=0.4, rtol=0)
    torch.testing.assert_close(sampled.T.cov(), codes.T.cov(), atol=1.0, rtol=0)


def energy_distance(first, second):
    """0 for two sets from one distribution, whichever it is."""
    apart, within, across = (
        torch.cdist(*pair).mean().item()
        for pair in [(first, second), (first, first), (second, second)]
    )
    return 2 * apart - within - across


def test_second_stage_finds_what_no_gaussian_has():
    """1,500 codes in two narrow groups; a Gaussian of their moments fills the room between."""
    sign = torch.randint(2, (3000, 1), generator=generator(1)) * 2 - 1
    codes = 0.3 * torch.randn(3000, 4, generator=generator(2)) + sign * torch.tensor([1.0, 1, 0, 0])
    codes, others = codes.split(1500)
    prior = second_stage(codes, epochs=60, patience=10)
    noise = torch.randn(1500, 4, generator=generator(3))
    moments = codes.mean(0) + noise @ torch.linalg.cholesky(codes.T.cov()).T
    found = energy_distance(prior.sample(1500, generator()), others)
    # By 3.5 to 6 from five seeds, and another number wherever a step is rounded otherwise.
    assert 3 * found < energy_distance(moments, others) < energy_distance(noise, others)


def test_second_stage_stops_before_it_knows_a_small_set_by_heart():
    codes = torch.randn(20, 8, generator=generator())
    early, late = (second_stage(codes, epochs=500, patience=patience) for patience in (10, None))
    assert late.gamma < 0.5 * early.gamma


@pytest.mark.parametrize(("spread", "least", "most"), [(0.1, 0.9, 0.99), (5.0, 1.01, 1.1)])
def test_second_stage_learns_its_variance_as_the_authors_do(spread, least, most):
    """From 1 towards what is left of the codes, in 40 steps: down for narrow, up for wide ones."""
    codes = gaussian(160, [0.0, 0.0], [spread, spread])
    prior = second_stage(
        codes, estimate="trainable", patience=None, epochs=2, batch_size=8, lr=1e-3
    )
    assert least < prior.gamma < most


def test_second_stage_by_maximum_likelihood_is_as_narrow_as_the_codes():
    codes = gaussian(400, [0.0, 0.0], [0.1, 0.1])
    assert second_stage(codes, epochs=20).gamma <= 0.012


def test_second_stage_network_is_that_of_dai_and_wipf():
    def affine(inputs, outputs):
        return inputs * outputs + outputs

    hidden = affine(2, 1024) + 2 * affine(1024, 1024)
    expected = 2 * hidden + affine(2 + 1024, 4) + affine(2 + 1024, 2)
    vae = second_stage(torch.randn(50, 2), hidden=1024, epochs=1).vae
    assert sum(weight.numel() for weight in vae.parameters()) == expected


def test_second_stage_adds_noise_of_variance_gamma_to_what_it_decodes():
    """A decoder of one point: all that is left of a sample is the noise."""
    point = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Unflatten(1, (2, 1, 1)))
    torch.nn.init.zeros_(point[0].weight)
    sampled = priors.SecondStageVAE(VAE(point, point, (2, 1, 1), 2), 0.09).sample(
        20_000, generator()
    )
    expected = point[0].bias.detach()
    torch.testing.assert_close(sampled.mean(0), expected, atol=0.01, rtol=0)
    torch.testing.assert_close(sampled.T.cov(), 0.09 * torch.eye(2), atol=0.004, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codes": torch.randn(1, 2)}, r"N >= 2, received shape \(1, 2\)"),
        ({"codes": torch.randn(30)}, r"float codes \(N, d_z\)"),
        ({"codes": torch.full((30, 2), math.inf)}, "codes must be finite"),
        *[
            ({name: 0}, f"{name} must be an integer from 1 up")
            for name in ("hidden", "epochs", "batch_size", "patience")
        ],
        ({"lr": 0.0}, "lr must be a positive number"),
        ({"estimate": "map"}, "unknown estimate 'map'"),
    ],
)
def test_bad_codes_and_options_of_a_second_stage_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        priors.SecondStageVAE.fit(**{"codes": torch.randn(30, 2)} | options)


@pytest.mark.parametrize(("count", "held_out"), [(2, 1), (19, 1), (20, 2), (39, 3)])
def test_a_tenth_of_the_codes_is_held_out_of_a_second_stage_and_the_rest_trained(
    monkeypatch, count, held_out
):
    """Asked of the training, which is another module's, in place of it."""
    codes, told = torch.arange(2.0 * count).reshape(count, 2), {}

    def train(vae, likelihood, images, **options):
        told.update(options, vae=vae, likelihood=likelihood, images=images)

    monkeypatch.setattr(priors, "fit", train)
    given = {"epochs": 7, "batch_size": 5, "lr": 0.02, "accelerator": "cpu", "patience": 3}
    priors.SecondStageVAE.fit(codes.double(), seed=4, hidden=6, **given)
    assert {name: told[name] for name in given} == given
    assert told["seed"] == 4
    assert told["cuda_graph"]  # what makes it quick on a GPU
    assert told["images"].shape == (count - held_out, 2, 1, 1)
    assert told["validation"].shape == (held_out, 2, 1, 1)
    both = torch.cat([told["validation"], told["images"]]).flatten(1)
    assert torch.equal(both.sort(0).values, codes)
    assert not torch.equal(both, codes) or count == 2  # in a random order
    assert told["likelihood"].options["estimate"] == "mle"
    priors.SecondStageVAE.fit(codes, estimate="trainable", patience=None)
    assert told["images"].shape == (count, 2, 1, 1)
    assert (told["validation"], told["patience"]) == (None, None)
    assert told["likelihood"].options["estimate"] == "trainable"
    assert told["likelihood"].options["initial"] == 1


def test_second_stage_leaves_the_generator_alone():
    torch.manual_seed(1)
    expected = torch.randn(3)
    torch.manual_seed(1)
    codes = torch.randn(20, 2, generator=generator())
    second_stage(codes, epochs=1)
    assert torch.equal(torch.randn(3), expected)


@pytest.mark.parametrize(
    "fit",
    [
        priors.StandardNormal.fit,
        priors.GaussianMixture.fit,
        functools.partial(second_stage, epochs=1),
    ],
)
def test_same_seeds_same_codes_and_other_generators_others(fit):
    codes = gaussian(60, [1.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    first, second, other = (fit(codes).sample(5, generator(seed)) for seed in (0, 0, 1))
    assert first.shape == (5, 3)
    assert first.dtype == torch.float32
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.randn(9, 3), r"N >= 10, received shape \(9, 3\)"),
        (torch.randn(30), r"\(N, d_z\)"),
        (torch.ones(30, 2, dtype=torch.int64), "float codes"),
        (torch.full((30, 2), torch.nan), "finite"),
    ],
)
def test_bad_codes_are_errors(codes, message):
    with pytest.raises(ValueError, match=message):
        priors.GaussianMixture.fit(codes)


def test_number_of_components_out_of_range_is_an_error():
    with pytest.raises(ValueError, match="components must be an integer from 1 up, received 0"):
        priors.GaussianMixture.fit(torch.randn(30, 2), components=0)


# --- noise-contrastive ------------------------------------------------------------------------

MEAN, STDDEV = [0.8, -0.5, 0.0], [0.6, 1.0, 0.7]


@pytest.fixture(scope="module")
def contrastive():
    return priors.NoiseContrastive.fit(gaussian(4000, MEAN, STDDEV), updates=400, hidden=64)


def known(log_ratio, **options):
    """A prior whose ratio is given."""
    module = torch.nn.Module()
    module.forward = lambda codes: log_ratio(codes)[:, None]
    return priors.NoiseContrastive(module, 2, **options)


def test_the_ratio_of_two_gaussians_is_found(contrastive):
    """Against the densities, and against the quadratic logistic regression of scikit-learn."""
    q = Normal(torch.tensor(MEAN), torch.tensor(STDDEV))
    p = Normal(torch.zeros(3), torch.ones(3))
    codes, noise = gaussian(20_000, MEAN, STDDEV, seed=5), torch.randn(20_000, 3)
    expected = (q.log_prob(codes) - p.log_prob(codes)).sum(1)
    found = contrastive.log_ratio(codes)
    assert torch.corrcoef(torch.stack([found, expected]))[0, 1] > 0.97
    assert found.mean().item() == pytest.approx(kl_divergence(q, p).sum().item(), abs=0.15)
    mixture = [torch.logaddexp(each.log_prob(z).sum(1), other.log_prob(z).sum(1)) - math.log(2)
               for each, other, z in [(q, p, codes), (p, q, noise)]]  # fmt: skip
    twice_jensen_shannon = sum(
        (each.log_prob(z).sum(1) - log_mean).mean().item()
        for each, z, log_mean in [(q, codes, mixture[0]), (p, noise, mixture[1])]
    )
    assert 2 * math.log(2) - contrastive.loss == pytest.approx(twice_jensen_shannon, abs=0.1)

    def squares(z):
        return torch.cat([z, z.square()], 1).numpy()

    labels = [1] * len(codes) + [0] * len(noise)
    regression = LogisticRegression().fit(squares(torch.cat([codes, noise])), labels)
    second = torch.from_numpy(regression.decision_function(squares(codes))).float()
    assert (second - expected).square().mean().sqrt() < 0.1
    assert (second - found).square().mean().sqrt() < 0.4
    assert contrastive.diagnostics()["mean_ratio"] == pytest.approx(1, abs=0.2)
    assert not contrastive.ratio.training
    assert not any(weight.requires_grad for weight in contrastive.ratio.parameters())


@pytest.mark.parametrize("draws", ["sir", "langevin"])
def test_its_samples_follow_the_codes(contrastive, draws):
    sampled = dataclasses.replace(contrastive, draws=draws).sample(3000, generator())
    torch.testing.assert_close(sampled.mean(0), torch.tensor(MEAN), atol=0.12, rtol=0)
    torch.testing.assert_close(sampled.std(0), torch.tensor(STDDEV), atol=0.1, rtol=0)
    assert energy_distance(sampled, gaussian(3000, MEAN, STDDEV, seed=6)) < 0.02
    assert energy_distance(torch.randn(3000, 3, generator=generator()),
                           gaussian(3000, MEAN, STDDEV, seed=6)) > 0.2  # fmt: skip


def test_resampling_tilts_a_gaussian_by_as_much_as_its_proposals_allow():
    """log r = a z: one proposal is the prior, exactly; many give N(a, I)."""
    a = torch.tensor([0.8, -0.3])
    prior = known(lambda codes: codes @ a, proposals=1)
    assert torch.equal(prior.sample(50, generator()), torch.randn(50, 2, generator=generator()))
    few, many = [
        dataclasses.replace(prior, proposals=count).sample(4000, generator()).mean(0)
        for count in (3, 300)
    ]
    assert 0.3 < few[0] < 0.7
    torch.testing.assert_close(many, a, atol=0.05, rtol=0)
    sampled = dataclasses.replace(prior, draws="langevin").sample(4000, generator())
    torch.testing.assert_close(sampled.mean(0), a * (1 - 0.975**100), atol=0.05, rtol=0)


def test_a_ratio_that_does_nothing_is_seen_to_do_nothing():
    flat = known(lambda codes: 0 * codes[:, 0])
    found = flat.diagnostics(count=50)
    assert (found["mean_ratio"], found["moved"]) == (1, 0)
    assert found["effective"] == pytest.approx(1)
    sampled = flat.sample(20_000, generator())
    torch.testing.assert_close(sampled.T.cov(), torch.eye(2), atol=0.03, rtol=0)
    # Codes that follow the prior give no classifier more than chance.
    trained = priors.NoiseContrastive.fit(
        gaussian(2000, [0.0, 0.0], [1.0, 1.0]), updates=50, hidden=16
    )
    assert trained.loss == pytest.approx(2 * math.log(2), abs=0.03)
    assert trained.diagnostics(count=50)["effective"] > 0.95
    assert known(lambda codes: codes[:, 0]).diagnostics(count=50)["moved"] > 0.5


def test_a_sampler_that_returns_its_start_is_seen(monkeypatch, contrastive):
    assert contrastive.diagnostics(count=50)["moved"] > 0.5
    monkeypatch.setattr(priors, "langevin", lambda energy, start, **_: start)
    assert contrastive.diagnostics(count=50)["moved"] == 0


def test_a_collapsed_resampling_and_a_ratio_that_is_no_number_are_told():
    with pytest.warns(RuntimeWarning, match="resampling has collapsed: of 200 proposals 1"):
        known(lambda codes: 1000 * codes[:, 0]).sample(20, generator())
    with pytest.raises(FloatingPointError, match="the ratio of a proposal is not finite"):
        known(lambda codes: codes[:, 0] / 0 * 0).sample(20, generator())
    falling = known(lambda codes: 1e3 * codes.square().sum(1), draws="langevin")
    with pytest.raises(FloatingPointError, match="20 of 20 points are not finite"):
        falling.sample(20, generator())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codes": torch.zeros(19, 2)}, r"float codes \(N, d_z\) with N >= 20, received shape"),
        ({"codes": torch.full((30, 2), torch.nan)}, "codes must be finite"),
        ({"draws": "gibbs"}, r"unknown draws 'gibbs' \(known: sir, langevin\)"),
        *[
            ({name: 0}, f"{name} must be an integer from 1 up")
            for name in ("proposals", "steps", "updates", "batch_size", "hidden")
        ],
        ({"step": 0.0}, "step must be a positive number"),
        ({"step": 4.0}, "step must be below 4"),
        (
            {"codes": torch.randn(100, 2, 4, 4)},
            r"received \(100, 2, 4, 4\): flatten codes that are",
        ),
        ({"codes": torch.randn(100)}, r"received \(100,\)"),
        ({"codes": [[0.0, 1.0]] * 30}, "received list"),
        ({"lr": math.nan}, "lr must be a positive number"),
    ],
)
def test_bad_codes_and_options_of_a_contrastive_prior_are_errors(options, message):
    given = {"codes": torch.randn(30, 2)} | options
    with pytest.raises(ValueError, match=message):
        priors.NoiseContrastive.fit(**given)


@pytest.mark.filterwarnings("ignore:the (classifier|prior):RuntimeWarning")
def test_several_draws_of_a_posterior_are_held_out_together():
    """Of 20 images that lie far apart, the classifier that is kept has not seen two."""
    centers = 3 * torch.randn(20, 2, generator=generator())
    draws = centers + 1e-3 * torch.randn(50, 20, 2, generator=generator(1))
    options = {"updates": 300, "hidden": 64, "lr": 3e-3}
    together = priors.NoiseContrastive.fit(draws, **options)
    apart = priors.NoiseContrastive.fit(draws.flatten(0, 1), **options)
    assert together.log_ratio(centers).shape == (20,)
    assert together.loss > apart.loss + 0.2  # learned by heart, seen and not seen
    assert torch.equal(
        priors.NoiseContrastive.fit(draws[:1], **options).log_ratio(centers),
        priors.NoiseContrastive.fit(draws[0], **options).log_ratio(centers),
    )
    with pytest.raises(ValueError, match="N >= 20"):
        priors.NoiseContrastive.fit(draws[:, :19], **options)


def test_a_classifier_that_diverges_is_an_error():
    with pytest.raises(FloatingPointError, match="loss is not finite after 25 updates"):
        priors.NoiseContrastive.fit(1e25 * torch.randn(30, 2), lr=1e30, updates=50, hidden=8)


def test_a_contrastive_prior_works_on_a_model_of_somebody_elses():
    class Foreign:
        def encode(self, x):
            return Independent(Normal(x[:, :3] * 0.2 + 0.5, 0.3), 1)

        def decode(self, z):
            return torch.cat([z, z], 1)

    vae, images = Foreign(), torch.randn(500, 6, generator=generator())
    # The five lines.
    codes = vae.encode(images).sample(torch.Size([10]))
    prior = priors.NoiseContrastive.fit(codes, draws="langevin", updates=150, hidden=32)
    new = vae.decode(prior.sample(200, generator()))
    told = prior.diagnostics(count=100)
    assert new.mean().item() == pytest.approx(0.5, abs=0.15)
    assert told["loss"] < 1.2


@pytest.mark.parametrize(
    ("codes", "options", "message"),
    [
        (torch.randn(300, 4) + 8, {}, "hardly a draw where the codes are"),
        (0.01 * torch.randn(300, 4), {}, "hardly a draw where the codes are"),
        (torch.randn(500, 4), {"lr": 1e3}, "worse than chance"),
    ],
)
def test_a_ratio_that_cannot_be_trusted_is_told(codes, options, message):
    with pytest.warns(RuntimeWarning, match=message):
        priors.NoiseContrastive.fit(codes, updates=300, hidden=32, **options)


@pytest.mark.parametrize(
    ("log_mean", "loss", "told"),
    [
        (0.0, math.nan, ""),
        (0.0, 2.1 * math.log(2), ""),
        (0.0, 2.3 * math.log(2), "does worse than chance on codes held out: a loss of 1.59, at"),
        (math.log(9.9), math.nan, ""),
        (math.log(10.1), math.nan, "r has a mean of 10 over it"),
        (-math.log(9.9), math.nan, ""),
        (-math.log(10.1), math.nan, "r has a mean of 0.099 over it"),
    ],
)
def test_a_ratio_is_doubted_beyond_a_tenth_of_chance_and_ten_times_of_its_mean(
    log_mean, loss, told
):
    """Chance is 2 ln 2, and the mean over the prior of a ratio of densities is 1."""
    prior = known(lambda codes: log_mean + 0 * codes[:, 0], loss=loss)
    doubt = prior._doubt(0)
    assert told in doubt
    assert bool(doubt) == bool(told)


@pytest.mark.parametrize(
    ("weights", "share"),
    [([1.0, 1.0, 1.0, 1.0], 1.0), ([1.0, 0.0, 0.0, 0.0], 0.25), ([3.0, 1.0], 16 / 20),
     ([1e-30, 1e-30], 1.0)],
)  # fmt: skip
def test_the_effective_share_of_weights_is_the_square_of_their_sum_by_that_of_squares(
    weights, share
):
    log_weights = torch.tensor([weights, weights]).log()
    torch.testing.assert_close(
        priors.effective_share(log_weights), torch.full((2,), share, dtype=torch.float64)
    )


def test_the_standard_normal_takes_one_code_and_says_how_many_dimensions_it_has():
    assert priors.StandardNormal.fit(torch.zeros(1, 5)) == priors.StandardNormal(5)
    with pytest.raises(ValueError, match=r"N >= 1, received shape \(0, 5\)"):
        priors.StandardNormal.fit(torch.zeros(0, 5))
    with pytest.raises(ValueError, match="latent_dim must be an integer from 1 up, received 0"):
        priors.NoiseContrastive(torch.nn.Identity(), 0)


@pytest.mark.parametrize(("components", "least"), [(1, 2), (2, 2), (3, 3)])
def test_a_mixture_takes_as_many_codes_as_components_and_two_at_least(components, least):
    codes = torch.tensor([[0.0], [1.0], [5.0]])
    mixture = priors.GaussianMixture.fit(codes[:least], components=components).mixture
    assert mixture.n_components == components
    assert (mixture.max_iter, mixture.random_state) == (2000, 0)
    with pytest.raises(ValueError, match=f"N >= {least}, received"):
        priors.GaussianMixture.fit(codes[: least - 1], components=components)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": "gibbs"}, "unknown draws 'gibbs'"),
        ({"proposals": 0}, "proposals must be an integer from 1 up"),
        ({"step": 5.0}, "step must be below 4"),
    ],
)
def test_a_contrastive_prior_of_somebodys_own_ratio_is_checked(options, message):
    with pytest.raises(ValueError, match=message):
        known(lambda codes: codes[:, 0], **options)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(known(lambda codes: codes[:, 0]), **options)


def test_a_ratio_is_one_number_per_code_and_in_evaluation_mode():
    ratio = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())
    prior = priors.NoiseContrastive(ratio, 2)
    assert not ratio.training
    with pytest.raises(ValueError, match=r"a ratio gives \(7, 1\) for as many codes, received"):
        prior.log_ratio(torch.randn(7, 2))
    with pytest.raises(ValueError, match=r"codes must be \(N, 2\), received \(7, 3\)"):
        prior.log_ratio(torch.randn(7, 3))
    for count in (0, -1, 2.5):
        with pytest.raises(ValueError, match="count must be an integer from 1 up"):
            prior.sample(count, generator())
        with pytest.raises(ValueError, match="count must be an integer from 1 up"):
            prior.diagnostics(count=count)


@pytest.mark.parametrize("proposals", [1, 2, 3])
def test_few_proposals_that_do_their_work_have_not_collapsed(proposals):
    known(lambda codes: 0.5 * codes[:, 0], proposals=proposals).sample(50, generator())


def test_resampling_has_collapsed_where_less_than_two_proposals_are_effective():
    known(lambda codes: 2 * codes[:, 0], proposals=5).sample(2000, generator())  # 2.2
    with pytest.warns(RuntimeWarning, match="of 5 proposals 1.8 are effective"):
        known(lambda codes: 3 * codes[:, 0], proposals=5).sample(2000, generator())


@pytest.mark.parametrize("shape", [(30, 0), (2, 30, 0)])
def test_codes_without_a_dimension_are_refused_before_a_classifier_is_trained(shape):
    with pytest.raises(ValueError, match="latent_dim must be an integer from 1 up, received 0"):
        priors.NoiseContrastive.fit(torch.zeros(shape))
