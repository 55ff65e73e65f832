"""Files that are written whole or not at all."""

import errno
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_BEGINS = 100  # bytes of a file's name, which may have 255, in that of the one that is written


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file that appears at its path when the block ends, and not if it fails.

    The folder is made if it is not there. Processes and threads that write the same file do not
    meet: the last one's is kept. What a link points to is written, not the link.

    Raises
    ------
    OSError
        If there is something else than a file, such as a device, which would be replaced; or as
        the system raises it.
    """
    path = Path(os.path.realpath(path))
    if path.is_symlink():  # followed as far as it goes
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    check_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = f"{os.getpid()}-{threading.get_ident()}"
    begins = path.name.encode()[:_BEGINS].decode(errors="ignore")
    partial = path.with_name(f".{begins}.{writer}.partial")
    try:
        yield partial
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):  # or it would stand in the place of the error
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (partial, str(partial)):
            error.filename = str(path)  # the name that somebody gave
        raise


def check_file(path: Path) -> None:
    """Raise a FileExistsError if there is something else than a file, such as a device."""
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "it is no file", str(path))


def check_room(folder: Path, size: int = 2**16) -> None:
    """Find out now, not after hours, whether a file of so many bytes can be written to a folder.

    The folder is made if it is not there; nothing is left in it.

    Raises
    ------
    OSError
        If it cannot; names the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(size))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error
