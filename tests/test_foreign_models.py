"""A stranger's model: what its methods may return, its context, its prior, its data."""

import copy
import re

import pytest
import torch
from torch import nn
from torch.distributions import (
    Categorical,
    Gumbel,
    Independent,
    Laplace,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    StudentT,
    kl_divergence,
    register_kl,
)
from torch.utils.data import DataLoader, TensorDataset

from envae import Given, evaluation, gaussian, objectives
from envae.adapters import FromTuple
from envae.objectives import base, objective
from envae.training import Pair, fit
from envae.vae import kl_to_prior, mean_and_stddev, posterior_of

MEAN, LOG_VARIANCE = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
STDDEV = torch.exp(0.5 * LOG_VARIANCE)
TORCHS_KL = kl_divergence(Normal(MEAN, STDDEV), Normal(0.0, 1.0)).sum(1)


class Foreign(nn.Module):
    """Not ours: it encodes what its function makes of a mean and the logarithm of a variance."""

    def __init__(self, shape, posterior=lambda mean, log: gaussian(mean, log_variance=log), maps=0):
        super().__init__()
        size = torch.Size(shape).numel()
        self.shape, self.posterior, self.maps = shape, posterior, maps
        self.encoder, self.decoder = nn.Linear(size, 6), nn.Linear(3, size)
        self.head = nn.Linear(3, maps * (size // shape[0])) if maps else None

    def encode(self, x):
        return self.posterior(*self.encoder(x.flatten(1)).chunk(2, dim=1))

    def decode(self, z):
        return torch.sigmoid(self.decoder(z)).reshape(-1, *self.shape)

    def decode_with_head(self, z):
        return self.decode(z), self.head(z).reshape(len(z), self.maps, *self.shape[1:])


# --- what encode and decode return ------------------------------------------------------------

FORMS = {
    "gaussian": lambda mean, stddev: gaussian(mean, log_variance=2 * stddev.log()),
    "Independent": lambda mean, stddev: Independent(Normal(mean, stddev), 1),
    "a bare Normal": Normal,
    "MultivariateNormal": lambda mean, stddev: MultivariateNormal(
        mean, torch.diag_embed(stddev**2)
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_posterior_in_any_form_has_the_same_kl_and_draws_of_its_own(form):
    posterior = posterior_of(FORMS[form](MEAN, STDDEV), 5)
    torch.testing.assert_close(kl_to_prior(posterior), TORCHS_KL)
    assert posterior.rsample((7,)).shape == (7, 5, 3)
    torch.testing.assert_close(posterior.mean, MEAN)


def test_a_correlated_posterior_has_its_closed_form():
    factor = torch.randn(5, 3, 3, dtype=torch.float64).tril(-1)
    factor = factor + torch.diag_embed(STDDEV.double())
    posterior = MultivariateNormal(MEAN.double(), scale_tril=factor)
    trace = factor.square().sum((1, 2))
    logdet = 2 * factor.diagonal(dim1=1, dim2=2).abs().log().sum(1)
    expected = 0.5 * (trace + MEAN.double().square().sum(1) - 3 - logdet)
    torch.testing.assert_close(kl_to_prior(posterior_of(posterior, 5)), expected)
    with pytest.raises(ValueError, match="a measure takes Gaussians with independent coordinates"):
        mean_and_stddev(posterior)


def test_a_map_of_codes_that_is_independent_in_part_is_taken_as_a_whole():
    mean, stddev = torch.randn(4, 2, 3, 3), torch.rand(4, 2, 3, 3) + 0.1
    whole = kl_to_prior(gaussian(mean, stddev))
    for inner in range(4):
        posterior = posterior_of(Independent(Normal(mean, stddev), inner), 4)
        assert posterior.batch_shape == (4,)
        torch.testing.assert_close(kl_to_prior(posterior), whole)


def test_another_distribution_has_the_kl_that_torch_was_told():
    posterior = posterior_of(Laplace(MEAN, STDDEV), 5)
    expected = kl_divergence(Laplace(MEAN, STDDEV), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_to_prior(posterior), expected)

    class Mine(Independent):
        pass

    mine = posterior_of(Mine(Laplace(MEAN, STDDEV), 1), 5)
    register_kl(Mine, Independent)(lambda q, p: q.mean.sum(1))
    torch.testing.assert_close(kl_to_prior(mine), MEAN.sum(1))
    loss = objective("envae", alpha=1.0)
    model = Foreign((8,), lambda mean, log: Mine(Laplace(mean, log.exp()), 1))
    assert loss(model, torch.rand(5, 8)).parts["kl"].isfinite()
    with pytest.raises(ValueError, match=r"register_kl\(Independent, MixtureSameFamily\)"):
        kl_to_prior(gaussian(MEAN, STDDEV), mixture())


def test_what_torch_is_to_be_told_of_independent_coordinates_is_that_of_one():
    class Broad(StudentT):
        pass

    posterior, prior = gaussian(MEAN, STDDEV), Independent(Broad(3.0, torch.zeros(3)), 1)
    with pytest.raises(ValueError, match=r"register_kl\(Normal, Broad\)"):
        kl_to_prior(posterior, prior)
    register_kl(Normal, Broad)(lambda q, p: q.mean + 0 * p.loc)
    torch.testing.assert_close(kl_to_prior(posterior, prior), MEAN.sum(1))


def test_mirrored_draws_are_draws():
    loss = objective("envae", samples=4, pairs="mirrored")
    for form in ("gaussian", "MultivariateNormal"):
        model = Foreign((8,), lambda mean, log, form=form: FORMS[form](mean, log.exp()))
        assert loss(model, torch.rand(5, 8)).total.isfinite()
    model = Foreign((8,), lambda mean, log: Gumbel(mean, log.exp()))
    with pytest.raises(ValueError, match=r"symmetric about its mean.*take pairs='cyclic'"):
        loss(model, torch.rand(5, 8))


NO_POSTERIOR = {
    "a pair": ((MEAN, LOG_VARIANCE), r"a tuple \(a tensor of shape \(5, 3\), a tensor"),
    "nothing": (None, "builtins.NoneType"),
    "no reparametrization": (Categorical(torch.ones(5, 3)), "torch.distributions.cat"),
}


@pytest.mark.parametrize("case", NO_POSTERIOR)
def test_what_is_no_posterior_is_refused_with_the_lines_to_write(case):
    returned, told = NO_POSTERIOR[case]
    model = Foreign((8,), lambda *_: returned)
    for use in (lambda: objective("l2")(model, torch.rand(5, 8)),
                lambda: evaluation.encode(model, torch.rand(5, 8))):  # fmt: skip
        with pytest.raises(ValueError, match=f"(?s)encode returned {told}.*log_variance = .*retur"):
            use()


@pytest.mark.parametrize("second", ["log_variance", "stddev"])
def test_a_model_that_returns_a_pair_is_taken_where_it_is_said_what_the_pair_is(second):
    torch.manual_seed(0)
    model, x = Foreign((8,), lambda mean, log: (mean, log.exp())), torch.rand(5, 8)
    mean, value = model.encode(x)
    stddev = value if second == "stddev" else torch.exp(0.5 * value)
    found = FromTuple(model, second).encode(x)
    torch.testing.assert_close((found.mean, found.stddev), (mean, stddev))
    objective("envae")(FromTuple(model, second), x).total.backward()
    assert all(weight.grad.abs().sum() > 0 for weight in model.parameters())


def test_a_pair_is_taken_of_a_conditional_model_with_a_prior_too():
    class WithPair(Conditional):
        def encode(self, x, label):
            posterior = super().encode(x, label)
            return posterior.mean, posterior.stddev

        def prior(self, label):
            return Independent(Normal(label[:, None].expand(-1, 3) * 1.0, 1.0), 1)

    torch.manual_seed(0)
    model, x, labels = WithPair(), torch.rand(5, 8), torch.tensor([3, 1, 4, 1, 5])
    kl = objective("l2")(Given(FromTuple(model, "stddev"), labels), x).parts["kl"]
    posterior = Independent(Normal(*model.encode(x, labels)), 1)
    torch.testing.assert_close(kl, kl_divergence(posterior, model.prior(labels)).mean())


def test_a_pair_that_is_none_is_refused():
    with pytest.raises(ValueError, match="unknown second 'logvar'"):
        FromTuple(Foreign((8,)), "logvar")
    three = Foreign((8,), lambda mean, log: (mean, mean, log))
    with pytest.raises(
        ValueError, match=r"two tensors, received a tuple \(a tensor of shape \(5, 3"
    ):
        objective("l2")(FromTuple(three, "log_variance"), torch.rand(5, 8))
    pair = Foreign((8,), lambda mean, log: (mean, log))
    with pytest.raises(ValueError, match=r"Or leave it as it is: envae.adapters.FromTuple\(vae, "):
        objective("l2")(pair, torch.rand(5, 8))


@pytest.mark.parametrize("shape", [(4, 3), (5,), (1, 3)])
def test_a_posterior_for_another_number_of_images_is_refused(shape):
    mean = torch.zeros(shape)
    with pytest.raises(ValueError, match=r"shape \(5, \*code\), received"):
        posterior_of(Normal(mean, torch.ones_like(mean)), 5)


def test_codes_alone_are_for_objectives_that_draw_nothing():
    model = Foreign((8,), lambda mean, log: mean)
    x = torch.rand(5, 8)
    for name in ("ae", "rae", "rae_gp", "wae_mmd"):
        objective(name)(model, x).total.backward()
    with pytest.raises(ValueError, match=r"codes without a spread, which ae, rae, rae_gp and wae"):
        objective("envae")(model, x)
    assert evaluation.encode(model, x).stddev.eq(0).all()


class Broken(Foreign):
    """A model with one slip."""

    def __init__(self, **methods):
        super().__init__((8,))
        vars(self).update({name: method.__get__(self) for name, method in methods.items()})


class NoDecoder(nn.Module):
    def encode(self, x):
        return gaussian(x, torch.ones_like(x))


X = torch.rand(5, 8, generator=torch.Generator().manual_seed(0))
SLIPS = {
    "x in float64": (lambda: Foreign((8,)), X.double(), "received torch.float64 on cpu.*float32"),
    "weights in float64": (lambda: Foreign((8,)).double(), X, "received torch.float32 .*float64"),
    "weights elsewhere": (lambda: Foreign((8,)).to("meta"), X, "on cpu, and its .* on meta"),
    "no decode": (NoDecoder, X, "needs the methods encode and decode, which NoDecoder has not"),
    "a number for a model": (lambda: 4, X, "needs the methods encode and decode, which int has"),
    "codes alone": (
        lambda: Foreign((8,), lambda mean, _: mean), X, "encode returned a tensor, codes without"
    ),
    "a logarithm as stddev": (
        lambda: Foreign((8,), gaussian), X, r"negative values: .* gaussian\(mean, log_variance="
    ),
    "labels for encode": (
        lambda: Broken(encode=lambda self, x, y: x), X, r"encode of Broken .* 0 tensors .*: missing"
    ),
    "labels for decode": (
        lambda: Broken(decode=lambda self, z, y: z), X, r"decode of Broken .* 0 tensors .*: missing"
    ),
    "no labels for decode": (
        lambda: Given(Broken(encode=lambda self, x, y: Foreign.encode(self, x)), torch.arange(5)),
        X, r"decode of Broken was called with a batch and 1 tensors of context: too many",
    ),
    "a prior of other codes": (
        lambda: Broken(prior=lambda self: Independent(Normal(torch.zeros(2), torch.ones(2)), 1)),
        X, r"prior is over codes of shape \(2,\), and the posterior over \(3,\)",
    ),
    "a dictionary": (lambda: Foreign((8,)), {"x": X}, r"received builtins.dict$"),
    "an array": (lambda: Foreign((8,)), X.numpy(), r"numpy.ndarray: take torch.as_tensor\(...\)$"),
    "bytes": (lambda: Foreign((8,)), X.byte(), r"of torch.uint8: of 8-bit images take x / 255$"),
    "integers": (lambda: Foreign((8,)), X.int(), r"of torch.int32: take x.float\(\)$"),
    "what was decoded": (lambda: X, X, r"of shape \(5, 8\) in place of a model.*EnergyScore"),
    "the wrong order": (lambda: X, Foreign((8,)), r"in place of a model: .* loss\(vae, x\), and"),
    "a wrapped model": (
        lambda: Given(nn.DataParallel(Foreign((8,))), torch.arange(5)), X,
        r"which DataParallel has not: .* training.Pair\(vae, loss\)",
    ),
    "a single x": (
        lambda: Foreign((1, 2, 4)), torch.rand(1, 2, 4),
        r"of shape \(1, 1, 2, 4\) for x of shape \(1, 2, 4\): a single x goes in as x\[None\]",
    ),
    "two lengths": (
        lambda: Foreign((8,), lambda mean, log: gaussian(mean, log_variance=log[:, :2])),
        X, r"mean and log_variance of one shape, received \(5, 3\) and \(5, 2\)",
    ),
    "no gradient": (
        lambda: Broken(decode=lambda self, z: Foreign.decode(self, z).detach()),
        X, r"what decode returned has no gradient, .* no detach\(\)",
    ),
    "decoded integers": (
        lambda: Broken(decode=lambda self, z: Foreign.decode(self, z).int()),
        X, r"what decode returned must be a floating-point tensor, .*: take x.float\(\)$",
    ),
    "decoded elsewhere": (
        lambda: Broken(decode=lambda self, z: Foreign.decode(self, z).to("meta")),
        X, "the decoder returned images on meta for x on cpu",
    ),
    "a prior of other images": (
        lambda: Broken(
            prior=lambda self: Independent(Normal(torch.zeros(2, 3), torch.ones(2, 3)), 1)
        ),
        X, r"the prior is of \(2,\) observations, and the posterior of \(5,\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SLIPS)
def test_a_slip_is_one_error_that_says_what_would_do(case):
    made, x, told = SLIPS[case]
    with pytest.raises(ValueError, match=told):
        objective("envae", samples=4, pairs="mirrored")(made(), x)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"encode": lambda self, x: x @ torch.ones(3, 3)}, r"encode of Broken .* \(5, 8\)$"),
        (
            {"decode": lambda self, z: Foreign.decode(self, z).view(5, 8)},
            r"decode of Broken received a tensor of shape \(10, 3\): M draws for each x",
        ),
    ],
)
def test_an_error_of_shapes_in_a_model_is_told_what_the_model_received(change, told):
    with pytest.raises(RuntimeError) as caught:
        objective("envae", samples=2)(Broken(**change), X)
    assert re.match(told, *caught.value.__notes__)


def test_labels_elsewhere_are_told():
    class OnMeta(Conditional):
        def encode(self, x, label):
            return Foreign.encode(self, x + label)

    with pytest.raises(ValueError, match="received a context on meta and the rest on cpu: move"):
        objective("l2")(Given(OnMeta(), torch.rand(5, 8, device="meta")), X)


@pytest.mark.parametrize(
    ("context", "told"),
    [
        (
            [3, 1, 4, 1, 5],
            r"a list \(builtins.int, builtins.int, builtins.int, ...\): take torch.as_",
        ),
        (torch.arange(5).numpy(), "numpy.ndarray: take torch.as_tensor"),
        (torch.tensor(3), r"a tensor of shape \(\)$"),
        (None, "builtins.NoneType$"),
    ],
)
def test_a_context_that_is_no_tensor_is_told_shortly(context, told):
    with pytest.raises(ValueError, match=f"context is tensors with first axis B, received {told}"):
        Given(Conditional(), context)


def test_an_option_that_is_read_once_cannot_be_set_and_the_weight_of_the_kl_term_can():
    loss = objective("envae", samples=4, pairs="mirrored", alpha=0.1)
    with pytest.raises(AttributeError, match=r"envae took its option 'alpha' .* is kl_weight$"):
        loss.alpha = 0.5
    loss.kl_weight = 0.5
    value = loss(Foreign((8,)), X)
    torch.testing.assert_close(value.regularizer.detach(), 0.5 * value.parts["kl"])
    loss.samples = 3
    with pytest.raises(ValueError, match="an even number of samples from 4 up, received 3"):
        loss(Foreign((8,)), X)


def test_a_class_of_ones_own_may_keep_an_option_of_its_base_under_the_same_name():
    class Mine(objectives.energy.EnVAE):
        def __init__(self, alpha=0.5, samples=2):
            super().__init__(alpha=alpha, samples=samples)
            self.alpha = alpha

    mine = Mine(samples=4)
    assert mine.options == {"alpha": 0.5, "samples": 4}
    mine.alpha = 0.25
    assert (mine.alpha, mine.samples) == (0.25, 4)


def test_a_pair_in_the_wrong_order_is_told():
    with pytest.raises(ValueError, match=r"a model and an objective, .*received EnVAE and Foreign"):
        Pair(objective("envae"), Foreign((8,)))


def test_an_error_of_the_models_own_is_its_own():
    def fails(self, x):
        raise TypeError("of its own")

    def misfit(self, x):
        return torch.ones(2, 3) @ torch.ones(2, 3)

    with pytest.raises(TypeError, match="of its own"):
        objective("l2")(Broken(encode=fails), X)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        objective("l2")(Broken(encode=misfit), X)


def test_a_prior_that_is_an_attribute_is_the_prior():
    model = Foreign((8,))
    model.prior = Independent(Normal(torch.full((3,), 5.0), torch.ones(3)), 1)
    found = objective("l2")(model, X).parts["kl"]
    torch.testing.assert_close(found, kl_divergence(model.encode(X), model.prior).mean())
    given = objective("l2")(Given(FromTuple(Pairs(model), "stddev")), X).parts["kl"]
    torch.testing.assert_close(found, given)


class Pairs(nn.Module):
    """The same model, whose `encode` returns a pair."""

    def __init__(self, model):
        super().__init__()
        self.decode, self.prior = model.decode, model.prior
        self.encode = lambda x: (model.encode(x).mean, model.encode(x).stddev)


def test_a_loss_says_what_is_minimized():
    loss = objective("l2")(Foreign((8,)), X)
    for name in ("backward", "item"):
        with pytest.raises(
            AttributeError, match=rf"no '{name}'.*loss\(vae, x\).total.backward\(\)"
        ):
            getattr(loss, name)


def test_gaussian_takes_one_spread():
    torch.testing.assert_close(gaussian(MEAN, log_variance=LOG_VARIANCE).stddev, STDDEV)
    for given in ({}, {"stddev": STDDEV, "log_variance": LOG_VARIANCE}):
        with pytest.raises(ValueError, match="stddev or log_variance, one of the two"):
            gaussian(MEAN, **given)
    deviations = torch.func.vmap(lambda mean, stddev: gaussian(mean, stddev).stddev)
    torch.testing.assert_close(deviations(MEAN[:, None], STDDEV[:, None])[:, 0], STDDEV)
    whole = gaussian(MEAN, log_variance=LOG_VARIANCE[:, :1])  # one number for a whole code
    torch.testing.assert_close(whole.stddev, STDDEV[:, :1].expand(5, 3))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda images: (images,), "decode must return a tensor (10, *shape of an image), rec"),
        (lambda images: images[:4], "the decoder returned 4 images for 10 codes"),
        (lambda images: images[:, :4], "images of shape (5, 4) for x of shape (5, 8)"),
    ],
)
def test_decode_returns_a_tensor_with_an_image_for_each_code(change, told):
    class Wrong(Foreign):
        def decode(self, z):
            return change(super().decode(z))

    with pytest.raises(ValueError, match=re.escape(told)):
        objective("envae", samples=2)(Wrong((8,)), torch.rand(5, 8))


# --- any shape and range ----------------------------------------------------------------------

SHAPES = [(12,), (2, 12), (1, 8, 8), (3, 8, 8), (1, 4, 6, 5)]


def of(name, shape):
    loss = objective(name, **{"latent_dim": 3} if name == "dt_vae" else {})
    loss.prepare(shape)
    return loss, Foreign(shape, maps=loss.head_maps(shape[0]))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", objectives.names())
def test_an_objective_takes_the_batches_that_its_table_says_and_quotes_it_for_others(name, shape):
    loss, model = of(name, shape)
    has_shape = {base.IMAGES: 3, base.WITH_CHANNELS: len(shape)}.get(loss.takes.shape, len(shape))
    taken = has_shape == len(shape) and (loss.takes.shape == base.ANY_SHAPE or len(shape) > 1)
    batches = {
        "in [0, 1]": (torch.rand(4, *shape), taken),
        "standardized": (torch.randn(4, *shape), taken and not loss.takes.unit_range),
        "one": (torch.rand(1, *shape), taken and loss.takes.least == 1),
        "none": (torch.rand(0, *shape), False),
    }
    for kind, (x, expected) in batches.items():
        if expected:
            value = loss(model, x).total
            value.backward()
            assert value.isfinite(), kind
        else:
            told = re.escape(f"{name} takes x of shape {loss.takes}")
            with pytest.raises(ValueError, match=told):
                loss(model, x)


def test_vectors_are_trained_on_like_images():
    """Data without channels or pixels, `(N, D)`."""
    torch.manual_seed(0)
    fitted = {"objective": objective("envae"), "batch_size": 8, "progress": False}
    history = fit(Foreign((5,)), images=torch.rand(64, 5), epochs=30, **fitted)
    assert history["total"].iloc[-1] < history["total"].iloc[0]
    with pytest.raises(ValueError, match=r"with N >= 1, received shape \(5,\)"):
        fit(Foreign((5,)), images=torch.rand(5), epochs=1, **fitted)


# --- context, prior, groups of codes ----------------------------------------------------------


class Conditional(Foreign):
    """Both of its methods take labels."""

    def __init__(self):
        super().__init__((8,))
        self.of_label = nn.Embedding(10, 8)

    def encode(self, x, label):
        return super().encode(x + self.of_label(label))

    def decode(self, z, label):
        return super().decode(z) + self.of_label(label)


@pytest.mark.parametrize("name", ["l2", "envae", "fenvae", "rae_gp", "iso_d"])
def test_each_draw_is_decoded_with_the_context_of_its_image(name):
    """Against a loop over the draws, with labels as they are."""
    torch.manual_seed(0)
    model, x, labels = Conditional(), torch.rand(5, 8), torch.tensor([3, 1, 4, 1, 5])
    loss = objective(name)
    torch.manual_seed(1)
    value = loss(Given(model, labels), x)

    class Loop(nn.Module):
        def encode(self, x):
            return model.encode(x, labels)

        def decode(self, z):
            return torch.cat([model.decode(draw, labels) for draw in z.split(5)])

    torch.manual_seed(1)
    expected = loss(Loop(), x)
    torch.testing.assert_close(value.total, expected.total)
    torch.manual_seed(1)
    torch.testing.assert_close(loss(model, x, labels).total, expected.total)
    value.total.backward()
    assert model.of_label.weight.grad[[1, 3, 4, 5]].abs().sum(1).gt(0).all()
    with pytest.raises(ValueError, match=r"as many images as the batch: received \(4,\) for 5"):
        loss(Given(model, labels[:4]), x)
    with pytest.raises(ValueError, match=r"as many images as the batch: received \(1,\) for 5"):
        loss(Given(model, labels[:1]), x)


def test_a_head_is_given_the_context_of_its_image_too():
    """Two draws for each of three images, whose labels shift what is decoded beside an image."""

    class WithHead:
        def decode_with_head(self, z, label):
            return torch.cat([z, z], 1), label[:, None].float()

    codes, labels = torch.rand(2, 3, 2).flatten(0, 1), torch.tensor([7, 8, 9])
    images, head = Given(WithHead(), labels).decode_with_head(codes)
    assert torch.equal(images, torch.cat([codes, codes], 1))
    assert head[:, 0].tolist() == [7, 8, 9, 7, 8, 9]


def mixture():
    parts = Independent(Normal(torch.randn(2, 3), torch.ones(2, 3)), 1)
    return MixtureSameFamily(Categorical(torch.ones(2)), parts)


class WithPrior(Foreign):
    """Its prior is trained with it."""

    def __init__(self):
        super().__init__((8,))
        self.place = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
        self.log_scale = nn.Parameter(torch.tensor([0.3, 0.0, -0.4]))

    def prior(self):
        return Independent(Normal(self.place, self.log_scale.exp()), 1)


@pytest.mark.parametrize("name", ["l2", "envae", "iso_i", "infovae", "wae_mmd", "dt_vae", "ec_vae"])
def test_codes_are_held_to_a_prior_of_the_models_own(name):
    torch.manual_seed(0)
    model, x = WithPrior(), torch.rand(40, 8)
    loss, _ = of(name, (8,))
    value = loss(model, x)
    if name != "wae_mmd":
        expected = kl_divergence(model.encode(x), model.prior()).mean()
        torch.testing.assert_close(value.parts["kl"], expected.detach())
    plain = Foreign((8,))
    plain.load_state_dict(model.state_dict(), strict=False)
    torch.manual_seed(0)
    here = loss(model, x)
    torch.manual_seed(0)
    assert not torch.isclose(here.regularizer, loss(plain, x).regularizer)
    if name in ("l2", "envae", "iso_i"):
        value.total.backward()
        assert model.place.grad.abs().gt(0).all()


def test_a_prior_of_each_image_and_a_prior_that_is_none():
    class OfLabel(Conditional):
        def prior(self, label):
            mean = torch.nn.functional.one_hot(label, 3).float()
            return Independent(Normal(mean, torch.ones(len(label), 3)), 1)

    model, x, labels = OfLabel(), torch.rand(5, 8), torch.tensor([0, 1, 2, 1, 0])
    value = objective("envae", samples=2)(Given(model, labels), x)
    expected = kl_divergence(model.encode(x, labels), model.prior(labels)).mean()
    torch.testing.assert_close(value.parts["kl"], expected.detach())
    assert objective("wae_mmd")(Given(model, labels), x).total.isfinite()

    for returned in (Normal(0.0, 1.0), Normal(torch.zeros(3), torch.ones(3)), "N(0, I)"):

        class Wrong(Foreign):
            def prior(self, returned=returned):
                return returned

        with pytest.raises(ValueError, match="prior of Wrong is or returned"):
            objective("l2")(Wrong((8,)), x)


def test_a_prior_that_takes_arguments_and_a_context_that_is_no_tensor_are_told():
    class Sampler(Foreign):
        def prior(self, count):
            return torch.randn(count, 3)

    with pytest.raises(ValueError, match="prior of Sampler takes arguments"):
        objective("l2")(Sampler((8,)), torch.rand(5, 8))
    for context in ({"label": 1}, torch.tensor(1.0)):
        with pytest.raises(ValueError, match="context is tensors with first axis B, received"):
            Given(Conditional(), context)


def test_a_learned_mixture_as_a_prior_by_one_draw():
    prior = mixture()

    class Held(Independent):
        pass

    @register_kl(Held, MixtureSameFamily)
    def _(q, p):
        z = q.rsample()
        return q.log_prob(z) - p.log_prob(z)

    torch.manual_seed(0)
    posterior = Held(Normal(MEAN.expand(20_000, 5, 3), STDDEV), 2)
    q = Independent(Normal(MEAN, STDDEV), 1)
    z = q.sample((20_000,))
    expected = (q.log_prob(z) - prior.log_prob(z)).mean(0)
    by_draws = kl_divergence(
        Held(Normal(MEAN.repeat(20_000, 1), STDDEV.repeat(20_000, 1)), 1), prior
    )
    torch.testing.assert_close(by_draws.reshape(-1, 5).mean(0), expected, rtol=0.05, atol=0.05)
    assert posterior.event_shape == (5, 3)


# --- around it --------------------------------------------------------------------------------


def test_a_batch_as_a_loader_gives_it_is_refused_with_the_line_to_write():
    loss, model = of("envae", (8,))
    loader = DataLoader(TensorDataset(torch.rand(6, 8), torch.arange(6)), batch_size=3)
    with pytest.raises(ValueError, match=r"received a list of 2, .*`for x, \*_ in loader`"):
        loss(model, next(iter(loader)))
    for x, *_ in loader:
        loss(model, x).total.backward()


def test_a_wrapped_model_is_refused_where_its_gradients_would_not_be_synchronized():
    loss, model = of("envae", (8,))
    with pytest.raises(ValueError, match=r"decode, which DataParallel has not.*training.Pair"):
        loss(nn.DataParallel(model), torch.rand(3, 8))
    with pytest.raises(ValueError, match=r"decode, which Linear has not$"):
        loss(nn.Linear(2, 2), torch.rand(3, 8))
    with pytest.raises(ValueError, match=r"make one, Foreign\(\)$"):
        loss(Foreign, torch.rand(3, 8))


def test_model_and_loss_as_a_pair_go_into_data_parallel_training(tmp_path):
    loss, model = of("envae", (8,))
    plain, x = copy.deepcopy(model), torch.rand(3, 8)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        both = nn.parallel.DistributedDataParallel(Pair(model, loss))
        torch.manual_seed(0)
        both(x)["total"].backward()
        with pytest.raises(ValueError, match=r"which DistributedDataParallel has not.*Pair\(vae"):
            loss(nn.parallel.DistributedDataParallel(model), x)
    finally:
        torch.distributed.destroy_process_group()
    torch.manual_seed(0)
    loss(plain, x).total.backward()
    for ours, expected in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, expected.grad)


@pytest.mark.filterwarnings("ignore:.*:UserWarning", "ignore:.*:DeprecationWarning")
@pytest.mark.parametrize("name", ["envae", "ffl", "bernoulli"])
def test_a_model_and_its_loss_are_one_graph_for_the_compiler(name):
    loss, model = of(name, (1, 8, 8))
    x = torch.rand(3, 1, 8, 8)
    compiled = torch.compile(Pair(model, loss), fullgraph=True, backend="eager")
    torch.manual_seed(0)
    found = compiled(x)["total"]
    torch.manual_seed(0)
    torch.testing.assert_close(found, loss(model, x).total)
    found.backward()


@pytest.mark.filterwarnings("ignore:.*:UserWarning", "ignore:.*:DeprecationWarning")
def test_a_conditional_pair_is_called_with_its_context_and_is_one_graph():
    torch.manual_seed(0)
    model, x, labels = Conditional(), torch.rand(5, 8), torch.tensor([3, 1, 4, 1, 5])
    pair = Pair(model, objective("envae", samples=4, pairs="mirrored"))
    torch.manual_seed(1)
    expected = pair.objective(Given(model, labels), x).total
    for called in (pair, torch.compile(pair, fullgraph=True, backend="eager")):
        torch.manual_seed(1)
        torch.testing.assert_close(called(x, labels)["total"], expected)


# Images of a batch meet in them; the others are a mean over images.
NOT_ADDITIVE = {"iso_i", "diag_i", "wae_mmd", "infovae"}


@pytest.mark.parametrize("name", [n for n in objectives.names() if n not in ("dt_vae", "ec_vae")])
def test_accumulated_gradients_are_those_of_the_whole_batch_but_where_images_meet(name):
    shape = (1, 8, 8)
    torch.manual_seed(0)
    loss, model = of(name, shape)
    model, loss = model.double(), loss.double()
    # As good as without noise, which would be another's in each split.
    model.posterior = lambda mean, log: gaussian(mean, log_variance=log - 80)
    x = torch.rand(8, *shape, dtype=torch.float64)

    def gradient(*parts):
        own = copy.deepcopy(model)
        for part in parts:
            torch.manual_seed(0)
            (loss(own, part).total / len(parts)).backward()
        return torch.cat([w.grad.flatten() for w in own.parameters()])

    whole, added = gradient(x), gradient(*x.split(4))
    far = (whole - added).norm() / whole.norm()
    assert (far > 1e-6) == (name in NOT_ADDITIVE), far
