"""How an objective is made: its result, the steps that all of them share, and their names.

A new one is one class. It says what a decoded image costs; encoding, drawing, decoding, the KL term
and the log are :class:`Objective`'s::

    @register("huber", paper="Huber (1964)")
    class Huber(Objective):
        unit = "squared data units per image"

        def __init__(self, delta: float = 1.0, alpha: float = 0.1):
            super().__init__()
            check_positive(delta=delta, alpha=alpha)
            self.delta, self.kl_weight = delta, alpha

        def per_image(self, x, image, head=None):
            loss = huber_loss(image, x, reduction="none", delta=self.delta)
            return loss.flatten(1).sum(1)

`training.fit` takes it whether it is registered or not.
"""

import contextlib
import dataclasses
import functools
import inspect
import numbers
import re
import weakref
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    Protocol,
    TypeAlias,
    TypeVar,
    runtime_checkable,
)

import torch
from torch import Tensor, nn

from envae._unknown import unknown
from envae.scores import check_floats, of_all_models
from envae.scores import stacked as stacked
from envae.vae import (
    EncodesAndDecodes,
    MayTakeContext,
    Posterior,
    called,
    gaussian,
    is_gaussian,
    kl_to_prior,
    posterior_of,
    prior_of,
    with_context,
)

NATS = "nats per image"
ANY_SHAPE = "(B, *event), such as (B, D), (B, C, T), (B, C, H, W), (B, C, D, H, W)"
WITH_CHANNELS = "(B, C, *grid), such as (B, C, T), (B, C, H, W), (B, C, D, H, W)"
IMAGES = "(B, C, H, W)"

# ln p(x|z) in nats, (K, B), of images (B, C, H, W) and K codes for each, (K, B, d_z).
LogDensity = Callable[[Tensor, Tensor], Tensor]
Parts = dict[str, Tensor]


class NoDensity(ValueError):
    """A decoder has no density p(x|z) under an objective; the message says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Loss:
    """Value of an objective on a batch: scalars, means over the batch.

    Attributes
    ----------
    total
        What is minimized: `reconstruction + regularizer`.
    reconstruction, regularizer
        The two terms, each with the weight it has in `total`.
    parts
        Detached pieces for logging, without weights: `kl` and whatever else the objective has.
    """

    reconstruction: Tensor
    regularizer: Tensor
    parts: Parts

    @property
    def total(self) -> Tensor:
        return self.reconstruction + self.regularizer

    if not TYPE_CHECKING:  # a checker would take it for any name

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(
                f"a Loss has no {name!r}: minimize its total, `loss(vae, x).total.backward()`"
            )


@dataclasses.dataclass(frozen=True, slots=True)
class Takes:
    """What batches an objective takes; as a string, what its errors quote.

    Attributes
    ----------
    shape
        Axes of a batch: B first, and after it those of an observation.
    unit_range
        Whether values must lie in [0, 1].
    least
        Observations of a batch, at least.
    """

    shape: str = ANY_SHAPE
    unit_range: bool = False
    least: int = 1

    def __str__(self) -> str:
        values = " in [0, 1]" if self.unit_range else " of any range"
        batch = f", B >= {self.least}" if self.least > 1 else ""
        return f"{self.shape}{values}{batch}"

    def check(self, name: str, x: Tensor) -> None:
        """Raise a ValueError if a batch has another shape, or too few observations."""
        if not self._has_shape(x) or len(x) < self.least or not x.numel():
            raise ValueError(f"{name} takes x of shape {self}, received {tuple(x.shape)}")

    def _has_shape(self, x: Tensor) -> bool:
        if self.shape == IMAGES:
            return x.ndim == 4
        return x.ndim >= (3 if self.shape == WITH_CHANNELS else 2)


class Objective(nn.Module):
    """Base of all objectives: called as `loss = objective(vae, x)`.

    A subclass defines :meth:`per_image`, or :meth:`reconstruct` where it scores several draws
    together. The other steps of :meth:`forward` can be replaced one by one.

    Attributes
    ----------
    name
        The name that `objective(name)` knows it by; by default the class's own, `snake_case`.
    paper
        Equation or table that defines it.
    takes
        Shape and range of the batches that it takes.
    unit
        Unit of the loss.
    kl_weight
        Weight of the KL term.
    options
        What it was made with, defaults included.
    deterministic
        Whether it trains the posterior's mean alone, so that its spread means nothing.
    betas
        Of the Adam that trains it.
    """

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    deterministic: ClassVar[bool] = False
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    takes: Takes = Takes()
    unit: str = NATS
    kl_weight: float = 1.0
    options: Mapping[str, Any] = MappingProxyType({})

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "name" not in vars(cls):
            cls.name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()
        if "__init__" in vars(cls):
            # A checker takes an assigned method for a mistake; wrapping it is the purpose here.
            cls.__init__ = _remembering(cls.__init__)  # type: ignore[method-assign]

    # --- the steps of a loss ------------------------------------------------------------------

    if TYPE_CHECKING:  # nn.Module's own call takes and gives anything

        def __call__(self, vae: MayTakeContext, x: Tensor, *context: Tensor) -> Loss: ...

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.options and not hasattr(self, name):
            raise AttributeError(
                f"{self.name} took its option {name!r} when it was made, and reads it no more: "
                "make a new one; the KL term's weight, which may change in training, is kl_weight"
            )
        super().__setattr__(name, value)

    def forward(self, vae: MayTakeContext, x: Tensor, *context: Tensor) -> Loss:
        """Loss of a batch.

        Under `torch.autocast` the model encodes and decodes in half precision; what it gives is
        scored in the precision of x. Where model and x differ it is scored in the finer of both,
        half precision in float32.

        Parameters
        ----------
        vae
            Anything with `encode` and `decode`; see :mod:`envae.vae`.
        x
            Floats, of shape and range as `takes` says: images `(B, C, H, W)` in [0, 1] for all.
        context
            Of a conditional model, labels or what else its methods take beside their input:
            `loss(vae, x, labels)` is `loss(Given(vae, labels), x)`.

        Raises
        ------
        ValueError
            If x is not such a batch, the encoder returns no posterior for each of it, or the
            decoder another shape than x has.
        """
        vae = with_context(vae, *context)
        posterior = encode(vae, x, self)
        self.prepare(tuple(x.shape[1:]))
        codes = self.draw(posterior)  # (M, B, *code)
        images, heads = self.decode(vae, codes, x)
        with _whole_precision(x):
            reconstruction, parts = self.reconstruct(x.to(images.dtype), images, heads)
            regularizer, others = self.regularize(vae, posterior, codes)
        if reconstruction.shape != x.shape[:1]:
            raise ValueError(
                f"the reconstruction term of {self.name!r} must be one number per image, "
                f"({len(x)},), received shape {tuple(reconstruction.shape)}"
            )
        logged = others | parts
        return Loss(
            reconstruction=reconstruction.mean(),
            regularizer=regularizer,
            parts={name: torch.as_tensor(part).detach().mean() for name, part in logged.items()},
        )

    def draw(self, posterior: Posterior) -> Tensor:
        """Codes to decode, `(M, B, *code)`: one draw of the posterior, or its mean alone."""
        if self.deterministic:
            return posterior.mean[None]
        return posterior.rsample(torch.Size([1]))

    def decode(self, vae: EncodesAndDecodes, codes: Tensor, x: Tensor) -> tuple[Tensor, Any]:
        """Images `(M, B, *event)` of the codes, and the head's maps or None."""
        return decode_with_head(vae, codes, x, self)

    def reconstruct(self, x: Tensor, images: Tensor, heads: Any) -> tuple[Tensor, Parts]:
        """Reconstruction term of each image, `(B,)`, and parts to log.

        Parameters
        ----------
        x
            Observed images, `(B, *event)`.
        images
            Decoded draws, `(M, B, *event)`.
        heads
            The decoder's other maps, `(M, B, K, H, W)`, if `head_maps` asks for any, else None.
        """
        image, head = images[0], None if heads is None else heads[0]
        squared_error = (x - image).square().flatten(1).sum(1)  # (B,)
        return self.per_image(x, image, head), {"squared_error": squared_error}

    def per_image(self, x: Tensor, image: Tensor, head: Any = None) -> Tensor:
        """Reconstruction term of each image from one decoded draw, `(B,)`.

        Parameters
        ----------
        x, image
            Observed and decoded images, `(B, *event)`.
        head
            The decoder's other maps, `(B, K, H, W)`, if `head_maps` asks for any.
        """
        raise NotImplementedError(f"{type(self).__name__} must define per_image or reconstruct")

    def regularize(
        self, vae: EncodesAndDecodes, posterior: Posterior, codes: Tensor
    ) -> tuple[Tensor, Parts]:
        """Regularizer of the batch, a scalar, and parts to log: the weighted KL to the prior."""
        kl = kl_to_prior(posterior, prior_of(vae)).mean()
        return self.kl_weight * kl, {"kl": kl}

    def check_range(self, **images: Tensor) -> None:
        """:func:`check_images` of every batch; on a GPU, which would have to wait, of the first.

        Of none in a graph of `torch.compile`, which holds no values.
        """
        if torch.compiler.is_compiling():
            return
        on_cpu = any(values.device.type == "cpu" for values in images.values())
        if on_cpu or self not in _LOOKED:
            try:
                check_images(**images)
            except ValueError as error:
                raise ValueError(f"{self.name} takes x of shape {self.takes}: {error}") from None
            _LOOKED.add(self)

    # --- what it asks of a model --------------------------------------------------------------

    def head_maps(self, channels: int) -> int:
        """Maps that the decoder must return beside an image of so many channels."""
        return 0

    def prepare(self, image_shape: tuple[int, ...]) -> None:
        """Give parameters that depend on the image's shape their own; most objectives have none.

        `training.fit` and `networks.build(..., objective=...)` call it. In a loop of one's own the
        first loss does, or this call, before anything asks for the number of parameters.
        """

    # --- what a measure may ask ---------------------------------------------------------------

    @property
    def pixel_variance(self) -> float | None:
        """Variance of a pixel given its code, where the objective fixes it."""
        return None

    def variance(self, vae: EncodesAndDecodes, x: Tensor) -> Tensor | None:
        """Estimated variance of every pixel of every image, in the shape of x; None without one."""
        return None

    def density(self, vae: EncodesAndDecodes, train: Tensor, *, seed: int = 0) -> LogDensity:
        """The decoder's log density ln p(x|z); see `metrics.likelihood`.

        Parameters
        ----------
        vae
            The trained model, in evaluation mode.
        train
            Training images, for what is estimated from them.
        seed
            Seed of the draws that it is estimated from.

        Raises
        ------
        NoDensity
            If there is none.
        """
        raise NoDensity(
            f"objective {self.name!r} has no density p(x|z): its loss is in {self.unit}"
        )

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())


# Objectives that have seen a batch. Not in themselves: two would be unlike that differ in it.
_LOOKED: "weakref.WeakSet[Objective]" = weakref.WeakSet()


class HalfSquaredError(Objective):
    """Base of those whose reconstruction term is half the squared error of one decoded code."""

    unit = "squared data units per image"

    def reconstruct(self, x: Tensor, images: Tensor, heads: Any) -> tuple[Tensor, Parts]:
        squared_error = (x - images[0]).square().flatten(1).sum(1)  # (B,)
        return 0.5 * squared_error, {"squared_error": squared_error}


def _remembering(init: Callable[..., None]) -> Callable[..., None]:
    """An `__init__` that keeps its arguments as `options`; of several, the outermost call's."""

    @functools.wraps(init)
    def wrapped(self: Objective, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if type(self).__init__ is not wrapped:  # that of a base class
            return
        bound = inspect.signature(init).bind(self, *args, **kwargs)
        bound.apply_defaults()
        object.__setattr__(self, "options", dict(list(bound.arguments.items())[1:]))

    return wrapped


# --- names ------------------------------------------------------------------------------------

_REGISTRY: dict[str, type[Objective]] = {}
_Kind = TypeVar("_Kind", bound=Objective)


def register(name: str, paper: str = "") -> Callable[[type[_Kind]], type[_Kind]]:
    """Class decorator: make an objective known by name; `paper` says where it is defined.

    Raises
    ------
    ValueError
        If another class has the name.
    """

    def enter(cls: type[_Kind]) -> type[_Kind]:
        other = _REGISTRY.get(name, cls)
        # The same class again is a cell or a module that was run again.
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"an objective {name!r} exists already: {other.__module__}")
        cls.name, cls.paper = name, paper
        _REGISTRY[name] = cls
        return cls

    return enter


# For editors, which list them; classes that others register have names of their own.
Name: TypeAlias = Literal[
    "ae", "rae", "rae_gp", "envae", "fenvae", "dt_vae", "ec_vae", "ssim", "ffl", "l2", "l1",
    "bernoulli", "student_t", "wae_mmd", "infovae", "mol", "distvae", "iso_i", "iso_d", "diag_i",
    "diag_d",
]  # fmt: skip


def objective(name: Name | str, **options: Any) -> Objective:
    """Make an objective by name.

    Parameters
    ----------
    name
        One of `objectives.names()`.
    options
        Options of that objective; listed below, told by its class.

    Returns
    -------
    Objective
        An `nn.Module`, called as `loss = objective(vae, x)`; minimize `loss.total`.

    Raises
    ------
    ValueError
        If the name or an option is unknown, or an option's value is out of range.
    """
    if name not in _REGISTRY:
        raise ValueError(unknown("objective", name, _REGISTRY))
    known = list(inspect.signature(_REGISTRY[name]).parameters)
    for option in options:
        if option not in known:
            raise ValueError(unknown(f"{name} option", option, known))
    return _REGISTRY[name](**options)


def names() -> list[str]:
    """Names that :func:`objective` knows."""
    return list(_REGISTRY)


def told_options() -> str:
    """Names with their options and defaults, as the end of a docstring."""
    calls = [f"{name}{inspect.signature(kind, eval_str=True)}" for name, kind in _REGISTRY.items()]
    without = ("*args: Any, **kwargs: Any", " -> None", "collections.abc.", "typing.")
    calls = [functools.reduce(lambda call, part: call.replace(part, ""), without, c) for c in calls]
    lines = "\n".join(f"        {call}" for call in calls)
    return f"""
    Notes
    -----
    Options and their defaults::

{lines}
    """


# --- what the steps are made of ---------------------------------------------------------------


def check_positive(**values: float) -> None:
    """Raise a ValueError that names the first value that is not a positive finite number."""
    for name, value in values.items():
        if not _is_number(value) or not 0 < value < float("inf"):
            raise ValueError(f"{name} must be a positive number, received {value!r}")


def check_from_zero(**values: float) -> None:
    """Raise a ValueError that names the first value that is not a finite number from 0 up."""
    for name, value in values.items():
        if not _is_number(value) or not 0 <= value < float("inf"):
            raise ValueError(f"{name} must be a number from 0 up, received {value!r}")


def check_count(least: int = 1, **values: int) -> None:
    """Raise a ValueError that names the first value that is no integer from `least` up."""
    for name, value in values.items():
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be an integer from {least} up, received {value!r}")


def check_images(**images: Tensor) -> None:
    """Raise a ValueError that names the first that is no float tensor with values in [0, 1].

    What is not a number passes: a loss or a feature made of it is none, and says so. Under
    `torch.func.vmap` the values of all models are looked at.
    """
    check_floats(**images)
    for name, values in images.items():
        if not values.numel():
            continue
        low, high = (bound.item() for bound in of_all_models(values.detach()).aminmax())
        if low < 0 or high > 1:
            raise ValueError(
                f"{name} must have values in [0, 1], received [{low:.3g}, {high:.3g}]: of images "
                "in [0, 255] take x / 255, in [-1, 1] (x + 1) / 2, of a decoder that overshoots "
                "x.clamp(0, 1)"
            )


def check_finite(**values: Tensor) -> None:
    """Raise a ValueError that names the first that is no float tensor of finite values.

    For what compares values: a comparison with one that is not a number is false, and gives a
    result all the same.
    """
    check_floats(**values)
    for name, tensor in values.items():
        bad = (~tensor.isfinite()).sum().item()
        if bad:
            raise ValueError(f"{name} must be finite: {bad} of {tensor.numel()} values are not")


def _is_number(value: object) -> bool:
    """Whether it is one number; tensors hold the weights of a stack, in `experiments.batched`."""
    return isinstance(value, numbers.Real | Tensor) and not isinstance(value, bool)


def encode(vae: EncodesAndDecodes, x: Tensor, objective: Objective) -> Posterior:
    """Posterior of a batch, after a check of the batch."""
    if isinstance(vae, Tensor):  # before what stands in the place of x
        return called(vae, "encode", x)
    if isinstance(x, list | tuple):
        raise ValueError(
            f"x must be a tensor, received a {type(x).__name__} of {len(x)}, as a DataLoader gives "
            "it: `for x, *_ in loader`; labels that the model needs go in by `Given(vae, labels)`"
        )
    check_floats(x=x)
    objective.takes.check(objective.name, x)
    posterior = posterior_of(called(vae, "encode", x), len(x))
    if not _is_half(x) or not is_gaussian(posterior):
        return posterior
    return gaussian(_whole(posterior.mean, x), _whole(posterior.base_dist.stddev, x))


def _is_half(x: Tensor) -> bool:
    """Whether operations on a tensor's device compute in half precision now."""
    kind = x.device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def _whole(values: Tensor, x: Tensor) -> Tensor:
    """What a network gave, in the precision that it is scored in beside x.

    The finer of both, that of x where the network computes in half of it; at least single.
    """
    dtype = x.dtype if _is_half(x) else torch.promote_types(values.dtype, x.dtype)
    return values.to(torch.promote_types(dtype, torch.float32))


def _whole_precision(x: Tensor) -> contextlib.AbstractContextManager[None]:
    """A block in which operations on a tensor's device compute in the precision of their input."""
    half = _is_half(x)  # asked first, since entering costs ten times as much
    return torch.autocast(x.device.type, enabled=False) if half else contextlib.nullcontext()


def decode(vae: EncodesAndDecodes, draws: Tensor, x: Tensor) -> Tensor:
    """Decode M draws per image in one call: `(M, B, *code)` to `(M, B, *event)`."""
    return _decoded(called(vae, "decode", draws.flatten(0, 1)), draws, x)


@runtime_checkable
class HasHead(Protocol):
    """A model whose decoder returns maps beside the image."""

    def decode_with_head(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Images `(N, *event)` and maps `(N, K, H, W)`, or numbers `(N, K)`, of codes."""
        ...


def decode_with_head(
    vae: EncodesAndDecodes, draws: Tensor, x: Tensor, objective: Objective
) -> tuple[Tensor, Tensor | None]:
    """Images of M draws per image, and the head's maps `(M, B, K, H, W)` where one is needed.

    A head's axes after K are those of x after its channels, or of one element, and may be missing
    at the end: a number for the whole image.
    """
    needed = objective.head_maps(x.shape[1])
    if not needed:
        return decode(vae, draws, x), None
    remedy = (
        f"objective {objective.name!r} needs {needed} maps beside an image of {x.shape[1]} "
        f"channels: networks.build(..., head={needed})"
    )
    if not isinstance(vae, HasHead):
        raise ValueError(f"{remedy}; {type(vae).__name__} has no method decode_with_head")
    images, head = vae.decode_with_head(draws.flatten(0, 1))
    if head.shape[1] != needed:
        raise ValueError(f"{remedy}; received {head.shape[1]}")
    images = _decoded(images, draws, x)
    maps = head[(..., *[None] * (x.ndim - head.ndim))]
    axes = zip(maps.shape[2:], x.shape[2:], strict=False)
    if maps.ndim != x.ndim or any(own not in (1, of_x) for own, of_x in axes):
        raise ValueError(
            f"{remedy}; received maps of shape {tuple(head.shape)} for x of {tuple(x.shape)}"
        )
    return images, _whole(maps.unflatten(0, draws.shape[:2]), x)


def _decoded(decoded: object, draws: Tensor, x: Tensor) -> Tensor:
    """What `decode` returned for `(M B, *code)`, checked: `(M, B, *event)`."""
    count = draws.shape[0] * draws.shape[1]
    if not isinstance(decoded, Tensor):
        kind = f"{type(decoded).__module__}.{type(decoded).__qualname__}"
        raise ValueError(
            f"decode must return a tensor ({count}, *shape of an image), received {kind}"
        )
    if len(decoded) != count:
        raise ValueError(f"the decoder returned {len(decoded)} images for {count} codes")
    check_floats(**{"what decode returned": decoded})
    images: Tensor = decoded.unflatten(0, draws.shape[:2])
    if images.shape[1:] != x.shape:
        one = images.shape[2:] == x.shape
        raise ValueError(
            f"the decoder returned images of shape {tuple(images.shape[1:])} for x of shape "
            f"{tuple(x.shape)}: {'a single x goes in as x[None]' if one else 'give them one shape'}"
        )
    if images.device != x.device:
        raise ValueError(f"the decoder returned images on {images.device} for x on {x.device}")
    if draws.requires_grad and not (images.requires_grad or stacked(images)):
        raise ValueError(
            "what decode returned has no gradient, where the codes have one: no detach() or "
            "no_grad() in it"
        )
    return _whole(images, x)
