"""Where data lie on this machine, whether they are those that were published, what is kept."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from envae._files import whole


def places() -> list[Path]:
    """Folders that are searched, in order; a download goes to the first.

    `$ENVAE_DATA` where it is set, then the cache folder where there is one.
    """
    configured, cache = os.environ.get("ENVAE_DATA"), _cache()
    return ([Path(configured)] if configured else []) + ([cache] if cache else [])


def _cache() -> Path | None:
    """The cache folder; None where the user has no home folder that it would be in."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "envae"
    except RuntimeError:
        return None


def find(name: str, relative: Sequence[str], by_hand: str | None = None) -> Path:
    """First of some paths, each relative to a place, that exists.

    Parameters
    ----------
    name
        The data set's name, for the error.
    relative
        Paths that would do, in order.
    by_hand
        How to get the data, where `envae data NAME` cannot.

    Raises
    ------
    FileNotFoundError
        If there is none; says where it was looked for and how to get the data.
    """
    for place in places():
        for path in relative:
            if (place / path).exists():
                return place / path
    searched = " and in ".join(map(str, places())) or "no folder, for there is no home"
    raise FileNotFoundError(
        f"no {name} data: looked for {' or '.join(relative)} in {searched}; "
        f"{by_hand or f'run `envae data {name}`'}, or set $ENVAE_DATA to the folder that holds it"
    )


def verify(name: str, folder: Path, md5: Mapping[str, str]) -> None:
    """Compare files with their published checksums.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is truncated or corrupt; names it.
    """
    remedy = f"remove {folder} and run `envae data {name}`, or set $ENVAE_DATA to another copy"
    for file, expected in md5.items():
        path = folder / file
        if not path.exists():
            raise FileNotFoundError(f"{name} is not complete: {path} is missing; {remedy}")
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "md5").hexdigest()
        if found != expected:
            raise ValueError(
                f"{path} ({path.stat().st_size} bytes) is truncated or corrupt: its MD5 is "
                f"{found}, not {expected}; {remedy}"
            )


def kept(name: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors that are computed once and then read from a file in the cache folder.

    A file that is truncated or corrupt is not taken, but computed and written anew. Where the
    folder cannot be written, or there is none, nothing is kept.

    Parameters
    ----------
    name
        Path in the cache folder, without its ending. It must tell whatever the tensors are
        computed from, such as by a :func:`digest`.
    compute
        Gives the tensors, on the CPU, where there is no such file.
    """
    if (cache := _cache()) is None:
        return compute()
    file = cache / f"{name}.safetensors"
    if (found := read_tensors(file)) is not None:
        return found[0]
    tensors = compute()
    with contextlib.suppress(OSError):  # no room or no permission: whoever comes next computes them
        write_tensors(file, tensors)
    return tensors


def write_tensors(file: Path, tensors: Mapping[str, Tensor], told: Mapping[str, str] = {}) -> None:
    """Write tensors and what is told of them, for :func:`read_tensors`, whole or not at all.

    Raises
    ------
    OSError
        If they cannot be written.
    """
    # Copies, since weights that a model uses twice share their memory, which a file cannot.
    copies = {
        name: value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    with whole(file) as partial:
        try:
            save_file(copies, partial, {**told, "digest": _digest_of_all(tensors, told)})
        except SafetensorError as error:  # as it calls a full disk
            raise OSError(f"{file}: {error}") from error


def read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """What :func:`write_tensors` wrote; None where there is no such file, or not all of it."""
    try:
        with safe_open(file, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            told = stored.metadata() or {}
    except (OSError, SafetensorError):
        return None
    written = told.pop("digest", "")
    return (tensors, told) if written == _digest_of_all(tensors, told) else None


def digest(*tensors: Tensor) -> str:
    """Sixteen hexadecimal digits that stand for tensors, their types and their shapes."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        # As bytes, since NumPy has no bfloat16.
        found.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]


def _digest_of_all(tensors: Mapping[str, Tensor], told: Mapping[str, str]) -> str:
    """As :func:`digest`, of names and of what is told too: all that a file holds."""
    names = json.dumps([sorted(tensors), sorted(told.items())]).encode()
    of_tensors = digest(*(tensors[name] for name in sorted(tensors)))
    return f"{of_tensors}{hashlib.sha256(names).hexdigest()[:16]}"
