"""Files written whole or not at all, and where finished work is kept."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from circuits.errors import InputError

#: how a refusal ends
ANOTHER = "give another --out"


@contextmanager
def write_whole(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside ``path``; moved onto it on success, removed on any failure.

    The parent folder is made where it is missing. A symbolic link stays one: its target is written.

    Raises:
        InputError: the place cannot be written (no permission, disk full, a folder, a pipe or a device).
    """
    path = Path(path)
    temporary = None
    try:
        if path.is_dir():
            raise InputError(f"cannot write {path}: a folder has that name; give a file name")
        # Moving a file onto a device or a pipe would put the file in its place.
        if path.exists() and not path.is_file():
            raise InputError(f"cannot write {path}: it is no ordinary file; give a file name")
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # A temporary file is private, and some writers make a new private one in its place.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        hint = f"free some space, or {ANOTHER}" if error.errno == errno.ENOSPC else ANOTHER
        # What stands where a folder is needed "exists", the system says, which is no help.
        taken = isinstance(error, FileExistsError | NotADirectoryError)
        reason = "a file is in the place of its folder" if taken else error.strerror or error
        raise InputError(f"cannot write {path}: {reason}; {hint}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def cache_folder() -> Path:
    """``$OTHELLO_CIRCUITS_CACHE``, or ``othello-circuits`` in the user's cache folder."""
    chosen = os.environ.get("OTHELLO_CIRCUITS_CACHE")
    if chosen:
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "othello-circuits"
    except RuntimeError:  # a user without a home, as in some containers
        return Path(tempfile.gettempdir()) / "othello-circuits"


def _umask() -> int:
    # The mask can only be read by setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
