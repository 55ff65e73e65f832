"""Getting data sets that a host gives away, by torchvision."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from envae import _torchvision as _torchvision  # before torchvision
from envae._unknown import unknown
from envae.datasets import files

_SILENCE = 60.0  # seconds that a host, or a proxy before it, may say nothing

# torchvision's class, and what to do where the host refuses.
DOWNLOADS = {
    "mnist": (
        "MNIST",
        "get train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
        "t10k-labels-idx1-ubyte, unpacked, into MNIST/raw",
    ),
    "cifar10": (
        "CIFAR10",
        "unpack cifar-10-python.tar.gz of www.cs.toronto.edu/~kriz/cifar.html",
    ),
    "celeba64": (
        "CelebA",
        "get list_eval_partition.txt and img_align_celeba.zip, unpacked, of "
        "mmlab.ie.cuhk.edu.hk/projects/CelebA.html into celeba (to download, torchvision needs "
        "the package gdown)",
    ),
}


def download(name: str) -> None:
    """Download a data set into `$ENVAE_DATA`, else into the cache folder.

    Raises
    ------
    ValueError
        If the set cannot be downloaded.
    FileNotFoundError
        If there is no folder to download into.
    ConnectionError
        If the host refuses, is silent for a minute or its answer is not what was published; says
        what to do by hand.
    """
    if name not in DOWNLOADS:
        raise ValueError(unknown("data set to download", name, DOWNLOADS))
    import torchvision.datasets  # takes seconds

    cls, by_hand = DOWNLOADS[name]
    if not files.places():
        raise FileNotFoundError("no home folder to download into: set $ENVAE_DATA to a folder")
    folder = files.places()[0]
    try:
        with _given_up():
            getattr(torchvision.datasets, cls)(folder, download=True)
    except (OSError, RuntimeError, ImportError) as error:
        raise ConnectionError(
            f"could not download {name} ({error}); by hand, in {folder}: {by_hand}"
        ) from error


@contextlib.contextmanager
def _given_up() -> Iterator[None]:
    """Hosts that are silent are given up: neither torchvision nor gdown has a time-out."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE)
    try:
        import requests  # which gdown calls, and which sets aside the default above
    except ImportError:
        session: Any = None
    else:
        session, send = requests.Session, requests.Session.send

        def send_and_give_up(*request: Any, **options: Any) -> Any:
            return send(*request, **{**options, "timeout": _SILENCE})

        session.send = send_and_give_up
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
        if session:
            session.send = send
