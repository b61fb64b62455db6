"""Where an atlas is kept: a folder, or any place that `fsspec` opens (``s3://…``, ``gs://…``, ``memory://…``).

Work in progress is kept as *sealed* objects: a first line with the SHA-256 of what follows. They are written whole
(a local file is moved into its place, an object store puts whole objects), and a seal that does not fit tells what was
damaged since. So what can be read back is what was computed, and the rest is computed again.
"""

import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
    """Named objects in one place; ``url`` a folder's path, or what fsspec takes.

    Attributes:
        settle: seconds after which a lock that was just written is looked at again, where there are no file locks.
    """

    url: str
    settle: float = field(default=2.0, compare=False)

    @cached_property
    def _place(self) -> tuple[Any, str]:
        if not self.url:
            raise InputError("the atlas's place is empty: give a folder")
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

    def remove(self, name: str) -> None:
        fs, path = self._place
        if fs.exists(f"{path}/{name}"):
            fs.rm_file(f"{path}/{name}")

    def where(self, name: str) -> str:
        return f"{self.url.rstrip('/')}/{name}"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other runs out for as long as this one lives; a killed run's lock is none.

        Raises:
            InputError: another run is at work here.
        """
        if self.folder is None:
            with self._lock_by_time():
                yield
            return
        path = self.folder / LOCK
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "ab+")  # noqa: SIM115 - the lock is the open file
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror or error}; give another --out") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets go of it however the process ends
            except OSError:
                raise InputError(self._taken(self._holder() or {})) from None
            file.truncate(0)
            file.write(_me())
            file.flush()
            yield

    @contextmanager
    def _lock_by_time(self) -> Iterator[None]:
        """An object that says who is at work, written again and again: without file locks there is nothing better.

        Of two that begin in the same moment, the one whose name is in the object goes on.
        """
        before = self._holder()
        if before and time.time() - before["time"] < GONE:
            raise InputError(self._taken(before))
        me, over = secrets.token_hex(8), threading.Event()
        self.write(LOCK, _me(me))
        time.sleep(self.settle)
        now = self._holder()
        if not now or now.get("token") != me:
            raise InputError(self._taken(now or {}))

        def beat() -> None:
            while not over.wait(GONE / 10):
                self.write(LOCK, _me(me))

        alive = threading.Thread(target=beat, daemon=True)
        alive.start()
        try:
            yield
        finally:
            over.set()
            alive.join()
            now = self._holder()
            if now and now.get("token") == me:
                self.remove(LOCK)

    def _holder(self) -> dict[str, Any] | None:
        """Whom the lock names."""
        try:
            found = json.loads(self.read(LOCK) or b"null")
            return found | {"time": float(found["time"])} if found else None
        except (ValueError, KeyError, TypeError):
            return None

    def _taken(self, about: dict[str, Any]) -> str:
        said = f"process {about['pid']} on {about['host']}" if {"pid", "host"} <= set(about) else "another run"
        return f"{said} is making the atlas in {self.url}: let it finish, or give another --out"


def about_of(data: bytes) -> Any:
    """What a safetensors file, sound and given as bytes, has under ``about`` in its metadata, as JSON."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["about"])


def _me(token: str = "") -> bytes:
    about = {"pid": os.getpid(), "host": socket.gethostname(), "time": time.time(), "token": token}
    return json.dumps(about).encode()
