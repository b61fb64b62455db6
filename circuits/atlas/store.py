"""Where an atlas is kept: a folder, or any place that `fsspec` opens (``s3://…``, ``gs://…``, ``memory://…``).

Work in progress is kept as *sealed* objects: a first line with the SHA-256 of what follows. They are written whole
(a local file is moved into its place, an object store puts whole objects), and a seal that does not fit tells what was
damaged since. So what can be read back is what was computed, and the rest is computed again.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import fsspec

from circuits.errors import InputError
from circuits.files import write_whole

SEAL = b"othello-circuits sealed 1 "
LOCK = "lock"
#: seconds after which a run that gave no sign of life, in a place without file locks, counts as gone
GONE = 900.0


class DamagedError(InputError):
    """An object whose seal does not fit its contents."""


@dataclass(frozen=True)
class Store:
    """Named objects in one place; ``url`` a folder's path, or what fsspec takes."""

    url: str

    @cached_property
    def _place(self) -> tuple[Any, str]:
        try:
            return fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{self.url}: no place that can be opened ({reason}); give a folder") from None

    @cached_property
    def folder(self) -> Path | None:
        """The place as a local folder, if it is one."""
        fs, path = self._place
        return Path(path) if "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)) else None

    def write(self, name: str, data: bytes) -> None:
        """An object as it is, whole or not at all.

        Raises:
            InputError: it cannot be written.
        """
        if self.folder is not None:
            with write_whole(self.folder / name) as temporary:
                temporary.write_bytes(data)
            return
        fs, path = self._place
        try:
            fs.makedirs(f"{path}/{name}".rpartition("/")[0], exist_ok=True)
            fs.pipe_file(f"{path}/{name}", data)
        except OSError as error:
            raise InputError(f"cannot write {self.where(name)}: {error}") from None

    def read(self, name: str) -> bytes | None:
        """An object as it is; None where there is none.

        Raises:
            InputError: it is there and cannot be read.
        """
        fs, path = self._place
        try:
            return fs.cat_file(f"{path}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InputError(f"cannot read {self.where(name)}: {error}") from None

    def seal(self, name: str, data: bytes) -> None:
        """`write` with a seal."""
        self.write(name, SEAL + sha256(data).hexdigest().encode() + b"\n" + data)

    def unseal(self, name: str) -> bytes | None:
        """What was sealed; None where there is none.

        Raises:
            DamagedError: the seal does not fit.
        """
        whole = self.read(name)
        if whole is None:
            return None
        head, _, data = whole.partition(b"\n")
        if head != SEAL + sha256(data).hexdigest().encode():
            raise DamagedError(f"{self.where(name)} is damaged: its checksum does not fit; run the same command again")
        return data

    def has(self, name: str) -> bool:
        fs, path = self._place
        return bool(fs.exists(f"{path}/{name}"))

    def names(self, folder: str) -> list[str]:
        """The objects right in a folder of the place, sorted."""
        fs, path = self._place
        try:
            found = fs.ls(f"{path}/{folder}", detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        own = [one["name"].rstrip("/").rpartition("/")[2] for one in found if one["type"] == "file"]
        return sorted(f"{folder}/{name}" for name in own if not name.startswith("."))

    def remove(self, name: str) -> None:
        fs, path = self._place
        if fs.exists(f"{path}/{name}"):
            fs.rm_file(f"{path}/{name}")

    def where(self, name: str) -> str:
        return f"{self.url.rstrip('/')}/{name}"

    @contextmanager
    def lock(self) -> Iterator["Lock"]:
        """Keep other runs out for as long as this one lives; a killed run's lock is none.

        Raises:
            InputError: another run is at work here.
        """
        if self.folder is None:
            with self._lock_by_time() as lock:
                yield lock
            return
        path = self.folder / LOCK
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "a+")  # noqa: SIM115 - the lock is the open file
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror or error}; give another --out") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets go of it however the process ends
            except OSError:
                file.seek(0)
                raise InputError(self._taken(file.read())) from None
            file.truncate(0)
            file.write(_me())
            file.flush()
            yield Lock(self, None)

    @contextmanager
    def _lock_by_time(self) -> Iterator["Lock"]:
        before = self.read(LOCK)
        if before:
            try:
                seen = float(json.loads(before)["time"])
            except (ValueError, KeyError, TypeError):
                seen = 0.0
            if time.time() - seen < GONE:
                raise InputError(self._taken(before.decode("utf-8", "replace")))
        lock = Lock(self, time.time())
        self.write(LOCK, _me().encode())
        try:
            yield lock
        finally:
            self.remove(LOCK)

    def _taken(self, who: str) -> str:
        try:
            about = json.loads(who)
            said = f"process {int(about['pid'])} on {about['host']}"
        except (ValueError, KeyError, TypeError):
            said = "another run"
        return f"{said} is making the atlas in {self.url}: let it finish, or give another --out"


@dataclass
class Lock:
    """Of a place without file locks: a sign of life from time to time."""

    store: Store
    last: float | None

    def beat(self) -> None:
        if self.last is not None and time.time() - self.last > GONE / 10:
            self.store.write(LOCK, _me().encode())
            self.last = time.time()


def _me() -> str:
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "time": time.time()})
