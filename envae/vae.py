"""The variational autoencoder: a Gaussian posterior over codes, and a deterministic decoder.

Objectives use a model through two methods only, :meth:`VAE.encode` and :meth:`VAE.decode`. Any
object that has them (:class:`EncodesAndDecodes`) can be trained with them: that is how another
code base takes the loss. What `encode` may return stands at :func:`posterior_of`. Beyond the two,

- labels or another context, which both methods take beside their input: `loss(vae, x, y)`, see
  :class:`Given`
- a prior other than N(0, I): a method `prior()`, see :func:`prior_of`
"""

import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol, TypeAlias, TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from envae.scores import check_floats, stacked

# q(z|x): a Gaussian over codes with independent coordinates. Generic for type checkers alone, since
# in torch before 2.8 the class is not.
if TYPE_CHECKING:
    Posterior: TypeAlias = Independent[Normal]
else:
    Posterior = Independent


Called: TypeAlias = Literal["encode", "decode", "decode_with_head"]


class EncodesAndDecodes(Protocol):
    """What an objective needs of a model."""

    def encode(self, x: Tensor, /) -> Distribution | Tensor:
        """Posterior q(z|x) over codes, one for each of the B observations: :func:`posterior_of`."""
        ...

    def decode(self, z: Tensor, /) -> Tensor:
        """Decoded codes: `(N, *code)` to `(N, *event)`, the event shape of x."""
        ...


class MayTakeContext(Protocol):
    """What an objective needs of a model that is called with a context as well, or with none."""

    # Any arguments: the first of them, x or codes, and the context after it.
    def encode(self, *args: Any, **kwargs: Any) -> Distribution | Tensor:
        """As that of :class:`EncodesAndDecodes`."""
        ...

    def decode(self, *args: Any, **kwargs: Any) -> Tensor:
        """As that of :class:`EncodesAndDecodes`."""
        ...


class VAE(nn.Module):
    """Encoder and decoder for images of one shape.

    Parameters
    ----------
    encoder
        Maps images `(B, C, H, W)` to `(B, 2 * latent_dim)`: the posterior's mean and the logarithm
        of its variance.
    decoder
        Maps codes `(N, latent_dim)` to maps `(N, C + head, H, W)`: an image, and what an objective
        may need beside it.
    image_shape
        `(C, H, W)`.
    latent_dim
        Dimension d_z of the code.
    activation
        Applied to the image's maps; none by default. The head's maps are left as they are.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        activation: nn.Module | None = None,
    ):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        channels, height, width = image_shape
        self.image_shape = (channels, height, width)
        self.latent_dim = latent_dim
        self.activation = activation or nn.Identity()

    def encode(self, x: Tensor) -> Posterior:
        """Posterior q(z|x) of images `(B, C, H, W)`; `.mean` and `.stddev` are `(B, d_z)`.

        Raises
        ------
        ValueError
            If the images do not have the shape the model was built for.
        """
        if x.ndim != 4 or tuple(x.shape[1:]) != self.image_shape:
            raise ValueError(
                f"this VAE encodes images of shape (B, {', '.join(map(str, self.image_shape))}), "
                f"received {tuple(x.shape)}"
            )
        # Under autocast the networks alone compute in half precision.
        mean, log_variance = self.encoder(x).to(x.dtype).chunk(2, dim=-1)
        return gaussian(mean, log_variance=log_variance)

    def decode(self, z: Tensor) -> Tensor:
        """Images of the codes: `(..., B, d_z)` to `(..., B, C, H, W)`.

        Raises
        ------
        ValueError
            If the codes do not have the dimension the model was built for.
        """
        return self.decode_with_head(z)[0]

    def decode_with_head(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Images of the codes, and the head's maps `(..., B, K, H, W)`; K is 0 without a head.

        Raises
        ------
        ValueError
            If the codes do not have the dimension the model was built for.
        """
        if z.ndim < 2 or z.shape[-1] != self.latent_dim:
            raise ValueError(
                f"this VAE decodes codes of shape (..., B, {self.latent_dim}), "
                f"received {tuple(z.shape)}"
            )
        maps = self.decoder(z.flatten(0, -2)).to(z.dtype)
        channels = self.image_shape[0]
        image, head = maps.split([channels, maps.shape[1] - channels], dim=1)
        return (
            self.activation(image).unflatten(0, z.shape[:-1]),
            head.unflatten(0, z.shape[:-1]),
        )


def gaussian(
    mean: Tensor, stddev: Tensor | None = None, *, log_variance: Tensor | None = None
) -> Posterior:
    """Gaussian over codes with independent coordinates: what `encode` returns.

    Parameters are not validated, but for a negative standard deviation on a CPU, most likely a
    logarithm: where training diverges, `training.fit` says so with epoch and step, which an error
    from inside a distribution could not.

    Parameters
    ----------
    mean
        `(B, *code)`.
    stddev, log_variance
        One of the two, in the shape of the mean.

    Raises
    ------
    ValueError
        If neither or both are given, one is no tensor of floats, the shapes differ, or a standard
        deviation is negative.
    """
    if (stddev is None) == (log_variance is None):
        raise ValueError("gaussian takes stddev or log_variance, one of the two")
    name, second = ("stddev", stddev) if log_variance is None else ("log_variance", log_variance)
    second = cast(Tensor, second)
    check_floats(mean=mean, **{name: second})
    if second.shape != mean.shape and not _fits(second.shape, mean.shape):
        raise ValueError(
            f"gaussian takes mean and {name} of one shape, received {tuple(mean.shape)} and "
            f"{tuple(second.shape)}"
        )
    if log_variance is not None:
        stddev = torch.exp(0.5 * log_variance)
    elif _has_negative(cast(Tensor, stddev)):
        raise ValueError(
            "stddev has negative values: of the logarithm of a variance, "
            "gaussian(mean, log_variance=...)"
        )
    return _Gaussian(Normal(mean, cast(Tensor, stddev), validate_args=False), mean.ndim - 1)


def _fits(shape: torch.Size, into: torch.Size) -> bool:
    """Whether a tensor of a shape is spread over another, as one number for a whole code is."""
    try:
        return torch.broadcast_shapes(shape, into) == into
    except RuntimeError:
        return False


def _has_negative(stddev: Tensor) -> bool:
    """Whether a value is below zero; False where reading one costs more than it is worth."""
    if stddev.device.type != "cpu" or stacked(stddev):
        return False
    return bool((stddev < 0).any())


class _Gaussian(Posterior):
    """One that knows its standard deviation itself; torch takes the root of the variance.

    The variance of a sharp posterior may be too small for a float, and its root then zero.
    """

    @property
    def stddev(self) -> Tensor:
        return self.base_dist.stddev


class _Codes(Distribution):
    """Codes without a spread, of an encoder that gives no more: a mean, and nothing to draw."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  # torch's own name

    def __init__(self, codes: Tensor):
        super().__init__(codes.shape[:1], codes.shape[1:], validate_args=False)
        self.codes = codes

    @property
    def mean(self) -> Tensor:
        return self.codes

    def rsample(self, sample_shape: Any = ()) -> NoReturn:
        raise ValueError(
            "encode returned a tensor, codes without a spread, which ae, rae, rae_gp and wae_mmd "
            f"take alone; the others draw codes: {_LINES}"
        )


_LINES = (
    "let encode end with\n"
    "    from envae import gaussian\n"
    "    mean, log_variance = self.encoder(x).chunk(2, dim=1)\n"
    "    return gaussian(mean, log_variance=log_variance)\n"
    "or return another torch.distributions.Distribution with rsample over codes (B, *code)"
)


def posterior_of(encoded: object, batch: int) -> Posterior:
    """What a model's `encode` returned for B observations, as the posterior q(z|x).

    - `envae.gaussian(mean, log_variance=...)`: the posterior itself.
    - `Independent(Normal(mean, stddev), n)`, whatever n, or `Normal(mean, stddev)`: the same.
    - `MultivariateNormal`: the posterior; its KL is in closed form.
    - Any `Distribution` with `rsample` and a `mean`: the posterior; its KL to the prior is what
      `torch.distributions.register_kl` was told.
    - A tensor of codes: a mean alone, for objectives that draw nothing.

    A tuple is refused: of `(mean, log_variance)` and `(mean, stddev)` nothing says which it is.
    `envae.adapters.FromTuple` is told.

    Raises
    ------
    ValueError
        If it is something else, or not one posterior for each observation; shows the lines to
        write.
    """
    posterior: Distribution
    if isinstance(encoded, Tensor):
        posterior, shape = _Codes(encoded), encoded.shape
    elif isinstance(encoded, Distribution) and encoded.has_rsample:
        posterior, shape = encoded, encoded.batch_shape + encoded.event_shape
    else:
        pair = isinstance(encoded, tuple | list) and len(encoded) == 2
        kept = ". Or leave it as it is: envae.adapters.FromTuple(vae, 'log_variance')" * pair
        raise ValueError(f"encode returned {told_as(encoded)}: {_LINES}{kept}")
    if len(shape) < 2 or shape[0] != batch:
        raise ValueError(
            f"encode returned {told_as(encoded)} for {batch} observations, which needs codes of "
            f"shape ({batch}, *code), received {tuple(shape)}"
        )
    if len(posterior.batch_shape) > 1:  # coordinates that are told as a batch
        base = posterior.base_dist if is_gaussian(posterior) else posterior
        if isinstance(base, Normal):
            return gaussian(base.loc, base.scale)
        posterior = Independent(posterior, len(posterior.batch_shape) - 1)
    # Not a Gaussian with independent coordinates, but what objectives ask of one: mean and draws.
    return cast(Posterior, posterior)


def with_context(vae: MayTakeContext, *context: Tensor) -> EncodesAndDecodes:
    """A model as an objective takes it: :class:`Given` its context, where there is any."""
    return Given(vae, *context) if context else vae


def called(vae: object, method: Called, rows: Tensor, *context: Tensor) -> Any:
    """What a model's method returns for x or codes and, of a conditional one, for the context.

    Raises
    ------
    ValueError
        If there is no such method, it takes another number of arguments, or what it is given is of
        another type than the weights, or elsewhere.
    """
    function = getattr(vae, method, None)
    if function is None or isinstance(vae, type):
        raise ValueError(_without_methods(vae))
    try:
        return function(rows, *context)
    except TypeError:
        if refusal := _refusal(function, rows, *context):
            raise ValueError(
                f"{method} of {type(vae).__name__} was called with a batch and {len(context)} "
                f"tensors of context: {refusal}. Labels or another context, which both encode and "
                "decode take, go in by `loss(vae, x, labels)` or `Given(vae, labels)`; training."
                "fit takes `(images, labels)`"
            ) from None
        raise
    except RuntimeError as error:
        name = f"{method} of {type(vae).__name__}"
        weights = next(vae.parameters(), rows) if isinstance(vae, nn.Module) else rows
        if (weights.dtype, weights.device) != (rows.dtype, rows.device):
            raise ValueError(
                f"{name} received {rows.dtype} on {rows.device}, and its "
                f"weights are {weights.dtype} on {weights.device}: convert one of them ({error})"
            ) from error
        for each in context:
            if each.device != rows.device:
                raise ValueError(
                    f"{name} received a context on {each.device} and the rest on {rows.device}: "
                    f"move one of them ({error})"
                ) from error
        several = ": M draws for each x, so that its length is not that of the batch"
        error.add_note(f"{name} received {told_as(rows)}{several * (method != 'encode')}")
        raise


def _without_methods(vae: object) -> str:
    """Why something is no model, for an error."""
    if isinstance(vae, type):
        return f"received the class {vae.__name__} in place of a model: make one, {vae.__name__}()"
    if isinstance(vae, Tensor):
        return (
            f"received {told_as(vae)} in place of a model: a loss is called with the model and x, "
            "loss(vae, x), and decodes by itself; samples without a model are for "
            "envae.EnergyScore()(samples, x)"
        )
    told = f"a model needs the methods encode and decode, which {type(vae).__name__} has not"
    if hasattr(getattr(vae, "module", None), "encode"):
        told += (
            ": what is wrapped synchronizes gradients in its own forward alone, so wrap "
            "training.Pair(vae, loss) instead, and call that with x"
        )
    return told


def _refusal(method: Callable[..., Any], *arguments: Tensor) -> TypeError | None:
    """Why a method does not take so many arguments; None where it takes them.

    Asked after a call has failed: `torch.compile` traces no signatures.
    """
    try:
        inspect.signature(method).bind(*arguments)
    except TypeError as error:
        return error
    return None


_TOLD = 3  # items of a list, which may be as long as the data


def told_as(received: object) -> str:
    """What was received, for an error."""
    if isinstance(received, tuple | list):
        parts = [*map(told_as, received[:_TOLD]), *["..."] * (len(received) > _TOLD)]
        return f"a {type(received).__name__} ({', '.join(parts)})"
    if isinstance(received, Tensor):
        return f"a tensor of shape {tuple(received.shape)}"
    return f"{type(received).__module__}.{type(received).__qualname__}"


def is_gaussian(posterior: Distribution) -> "TypeGuard[Independent[Normal]]":
    """Whether its coordinates are independent and normal."""
    return isinstance(posterior, Independent) and isinstance(posterior.base_dist, Normal)


def has_stddev(posterior: Distribution) -> bool:
    """Whether :func:`mean_and_stddev` knows what :func:`posterior_of` gave."""
    return isinstance(posterior, _Codes) or is_gaussian(posterior)


def mean_and_stddev(posterior: Distribution) -> tuple[Tensor, Tensor]:
    """Of a Gaussian with independent coordinates, `(B, *code)` each; of codes alone, no spread.

    Raises
    ------
    ValueError
        If it is another distribution.
    """
    if isinstance(posterior, _Codes):
        return posterior.codes, torch.zeros_like(posterior.codes)
    if not is_gaussian(posterior):
        raise ValueError(
            f"a measure takes Gaussians with independent coordinates, not {told_as(posterior)}"
        )
    return posterior.mean, posterior.base_dist.stddev


def kl_to_prior(posterior: Posterior, prior: Distribution | None = None) -> Tensor:
    """KL(q(z|x) || p(z)) of each image in nats, shape `(B,)`: the last term of Eq. 4, xu2025.

    Between Gaussians with independent coordinates it is finite wherever the posterior's standard
    deviation is above zero, be its square too small for a float; infinite where it is zero. For
    other posteriors and priors it is torch's `kl_divergence`. One that torch does not know is told
    it, here by one draw, without bias::

        @torch.distributions.register_kl(MyPosterior, MyPrior)
        def _(q, p):
            z = q.rsample()
            return q.log_prob(z) - p.log_prob(z)

    Parameters
    ----------
    posterior
        As :func:`posterior_of` gives it.
    prior
        Over codes, batch shape `()` or `(B,)`; by default N(0, I), which `register_kl` knows as
        `Independent`.

    Raises
    ------
    ValueError
        If torch knows no KL of the two.
    """
    if prior is None:
        if is_gaussian(posterior):
            mean, stddev = posterior.mean, posterior.base_dist.stddev
            return (0.5 * (mean.square() + stddev.square() - 1) - stddev.log()).flatten(1).sum(1)
        prior = _standard_normal(posterior)
    elif prior.event_shape != posterior.event_shape:
        raise ValueError(
            f"the prior is over codes of shape {tuple(prior.event_shape)}, and the posterior over "
            f"{tuple(posterior.event_shape)}"
        )
    elif prior.batch_shape not in ((), posterior.batch_shape):
        raise ValueError(
            f"the prior is of {tuple(prior.batch_shape)} observations, and the posterior of "
            f"{tuple(posterior.batch_shape)}: one for all, or one for each"
        )
    if is_gaussian(posterior) and is_gaussian(prior):
        mean, stddev = posterior.mean, posterior.base_dist.stddev
        towards, spread = prior.mean, prior.base_dist.stddev
        deviation, ratio = (mean - towards) / spread, stddev / spread
        return (0.5 * (deviation.square() + ratio.square() - 1) - ratio.log()).flatten(1).sum(1)
    pair = posterior, prior
    try:
        kl = kl_divergence(*pair)
    except NotImplementedError:
        # Of independent coordinates torch adds up what it is told of one.
        bases = [each.base_dist for each in pair if isinstance(each, Independent)]
        told = bases if len(bases) == 2 else pair
        q, p = (type(each).__name__.replace("_Gaussian", "Independent") for each in told)
        raise ValueError(
            f"torch knows no KL of {q} to {p}: tell it by\n"
            f"    @torch.distributions.register_kl({q}, {p})\n"
            "    def _(q, p):\n"
            "        z = q.rsample()\n"
            "        return q.log_prob(z) - p.log_prob(z)"
        ) from None
    if kl.shape != posterior.batch_shape:
        raise ValueError(
            f"the KL of {told_as(posterior)} to {told_as(prior)} must be one number per image, "
            f"{tuple(posterior.batch_shape)}, received shape {tuple(kl.shape)}"
        )
    return kl


def _standard_normal(posterior: Distribution) -> Distribution:
    """N(0, I) over the codes of a posterior."""
    zeros = torch.zeros(posterior.event_shape, device=posterior.mean.device)
    zeros = zeros.to(posterior.mean.dtype)
    if isinstance(posterior, MultivariateNormal | LowRankMultivariateNormal):
        return MultivariateNormal(zeros, scale_tril=torch.diag_embed(torch.ones_like(zeros)))
    return Independent(Normal(zeros, torch.ones_like(zeros)), zeros.ndim)


def prior_of(vae: object) -> Distribution | None:
    """The prior that a model's method `prior()` gives; None, which is N(0, I), without one.

    An attribute `prior` that is a distribution is one too.

    A `torch.distributions.Distribution` over codes: event shape `code`, batch shape `()`, or `(B,)`
    where it depends on the context. Its parameters may be trained.

    Raises
    ------
    ValueError
        If the method gives something else.
    """
    try:
        prior = prior_given(vae)
    except TypeError:
        if not _refusal(vae.prior):  # type: ignore[attr-defined]  # a method, which was called
            raise
        told = "takes arguments"
    else:
        if prior is None:
            return None
        if isinstance(prior, Distribution) and prior.event_shape and len(prior.batch_shape) < 2:
            return prior
        told = f"is or returned {told_as(prior)}"
    raise ValueError(
        f"prior of {type(vae).__name__} {told}: objectives call it without any for the "
        "prior over codes, a torch.distributions.Distribution with event shape (*code,), such as "
        "Independent(Normal(mean, stddev), 1); of a conditional model use Given"
    )


def prior_given(vae: object, *context: Tensor) -> Distribution | None:
    """A model's prior of codes given a context, by its method or attribute; None without one."""
    prior = getattr(vae, "prior", None)
    if inspect.ismethod(prior):
        return prior(*context)
    return prior if isinstance(prior, Distribution) else None


def codes_of_prior(vae: object, like: Tensor) -> Tensor:
    """Codes drawn from a model's prior, in number and shape of the others, `(B, *code)`."""
    prior = prior_of(vae)
    if prior is None:
        return torch.randn_like(like)
    return prior.sample(like.shape[: 1 - len(prior.batch_shape)])


class Given(nn.Module):
    """A conditional model with the context of one batch: what an objective is called with.

    `loss(Given(vae, y), x)`, or for short `loss(vae, x, y)`, calls `vae.encode(x, y)`, and
    `vae.decode(z, y)` with the context of every code: of M draws for each of B images, image b's
    draw m is code m B + b, so that the context is repeated M times as a whole. `vae.prior(y)`,
    where there is one, is p(z|y).

    Parameters
    ----------
    vae
        Its methods take the context after their input, be it to ignore it.
    context
        Tensors with first axis B: labels, one-hot or not, a mask, an image to start from.

    Raises
    ------
    ValueError
        If one is no such tensor.
    """

    def __init__(self, vae: Any, *context: Tensor):
        super().__init__()
        for each in context:
            if not isinstance(each, Tensor) or each.ndim == 0:
                many = isinstance(each, list) or hasattr(each, "__array__")
                tensor = ": take torch.as_tensor(...)" * (many and not isinstance(each, Tensor))
                raise ValueError(
                    f"context is tensors with first axis B, received {told_as(each)}{tensor}"
                )
        self.vae = vae
        self.context = context

    def encode(self, x: Tensor) -> Distribution | Tensor:
        """`vae.encode(x, *context)`."""
        return called(self.vae, "encode", x, *self._for(x, draws=1))

    def decode(self, z: Tensor) -> Tensor:
        """`vae.decode(z, *context)`, each code with its own."""
        return called(self.vae, "decode", z, *self._for(z))

    def decode_with_head(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """`vae.decode_with_head(z, *context)`, each code with its own."""
        return called(self.vae, "decode_with_head", z, *self._for(z))

    def prior(self) -> Distribution | None:
        """`vae.prior(*context)`; None where the model has no such method."""
        return prior_given(self.vae, *self.context)

    def split(
        self, rows: Tensor, size: int, *, draws: int | None = None, device: torch.device | None
    ) -> Iterator["Given"]:
        """The same model with the context of each batch of so many of the rows, on a device.

        Rows are codes, M draws of each image, or with `draws=1` the images.
        """
        context = self._for(rows, draws)
        for start in range(0, len(rows), size):
            parts = (each[start : start + size] for each in context)
            yield Given(self.vae, *(part if device is None else part.to(device) for part in parts))

    def _for(self, rows: Tensor, draws: int | None = None) -> tuple[Tensor, ...]:
        """The context of each of N = M B rows, for a known number M of draws or for any.

        Raises
        ------
        ValueError
            If it is none: the context is another batch's.
        """
        for each in self.context:
            wrong = not len(each) or len(rows) % len(each)
            if wrong or (draws and len(rows) != draws * len(each)):
                raise ValueError(
                    f"the context must be of as many images as the batch: received "
                    f"{tuple(each.shape)} for {len(rows)}"
                )
        return tuple(
            each.repeat(len(rows) // len(each), *[1] * (each.ndim - 1)) for each in self.context
        )
