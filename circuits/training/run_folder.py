"""The folder of a training run: who writes to it, its log, its checkpoints, and the state to go on from.

    run.json            configuration, versions, machine
    log.jsonl           one JSON object a line; ``kind`` is "train", "eval" or "event"
    state.safetensors   weights, optimisers and counters at some step; replaced whole
    checkpoints/        models after 1000, 2000, 4000, … games
    model.safetensors   the model at the end

Every file but the log is written whole or not at all, and the log a line at a time; a line cut off by a kill
and lines past the state that a run goes on from are dropped.
"""

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from circuits.errors import InputError
from circuits.files import write_whole

FORMAT = "othello-circuits training state 1"


class RunFolder:
    """A run's folder, held by one process at a time from `open` to `close`."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.log_path, self.state_path = self.path / "log.jsonl", self.path / "state.safetensors"
        self.model_path, self.config_path = self.path / "model.safetensors", self.path / "run.json"
        self._lock, self._made = None, False

    def open(self) -> "RunFolder":
        """Take the folder, making it where it is missing.

        Raises:
            InputError: it cannot be made or written, or another run holds it.
        """
        place = self.path / "lock"
        self._made = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(place, "a+")  # noqa: SIM115
        except OSError as error:
            raise InputError(f"cannot write to {self.path}: {error.strerror or error}; give another --out") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released by the system when the process ends
            if not (place.exists() and os.path.samestat(os.fstat(self._lock.fileno()), place.stat())):
                raise BlockingIOError  # another process has just removed it
        except OSError:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            self._lock.close()
            self._lock = None
            raise InputError(f"{self.path} is in use by another run (process {holder}): give another --out") from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        return self

    def close(self) -> None:
        """Give the folder back; one in which no run was begun is left as it was found."""
        if self._lock is None:
            return
        if not self.has_run:
            (self.path / "lock").unlink(missing_ok=True)
            if self._made:
                with suppress(OSError):  # it holds something else
                    self.path.rmdir()
        self._lock.close()
        self._lock = None

    def __enter__(self) -> "RunFolder":
        return self.open()

    def __exit__(self, *_) -> None:
        self.close()

    @property
    def has_run(self) -> bool:
        return self.config_path.exists() or self.state_path.exists() or self.model_path.exists()

    def write_config(self, content: dict) -> None:
        with write_whole(self.config_path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def read_config(self) -> dict:
        """
        Raises:
            InputError: no run in this folder, or a damaged ``run.json``.
        """
        try:
            content = json.loads(self.config_path.read_text(encoding="utf-8"))
            if not isinstance(content["config"], dict):
                raise TypeError
        except FileNotFoundError:
            raise InputError(f"{self.path} holds no training run: there is no run.json in it") from None
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{self.config_path} is damaged: it is no description of a training run") from None
        return content

    def log(self, row: dict) -> None:
        """Append a line.

        Raises:
            InputError: the disk is full, or the folder cannot be written.
        """
        try:
            with open(self.log_path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
        except OSError as error:
            raise InputError(
                f"cannot write {self.log_path}: {error.strerror or error}; then --resume goes on"
            ) from None

    def read_log(self) -> list[dict]:
        """Every whole line of the log, in order; none where there is no log yet."""
        return read_log(self.log_path) if self.log_path.exists() else []

    def cut_log(self, step: int) -> None:
        """Drop what was logged after a step, and a line that was cut off."""
        kept = [row for row in self.read_log() if row["step"] <= step]
        with write_whole(self.log_path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")

    def checkpoint_path(self, games: int) -> Path:
        return self.path / "checkpoints" / f"games-{games:010d}.safetensors"

    def save_state(self, tensors: dict[str, Tensor], counters: dict) -> None:
        """Replace the state; the one before stays until the new one is whole."""
        metadata = {"format": FORMAT, "counters": json.dumps(counters)}
        flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        with write_whole(self.state_path) as temporary:
            temporary.write_bytes(save(flat, metadata))

    def load_state(self) -> tuple[dict[str, Tensor], dict]:
        """
        Raises:
            InputError: no state here, or a damaged one.
        """
        if not self.state_path.exists():
            raise InputError(f"{self.path} holds no state to go on from (state.safetensors): start without --resume")
        try:
            with safe_open(self.state_path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if metadata["format"] != FORMAT:
                raise ValueError
            return tensors, json.loads(metadata["counters"])
        except (SafetensorError, OSError, ValueError, KeyError):
            raise InputError(f"{self.state_path} is damaged or of another version: it can't be gone on from") from None


def read_log(path: str | os.PathLike) -> list[dict]:
    """The whole lines of a ``log.jsonl``; a last line that was cut off is left out.

    Raises:
        InputError: no such file, or a line that is no log line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path} is no readable log of a training run") from None
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if not all(isinstance(row[name], int | float) for name in ("step", "games")) or "kind" not in row:
                raise ValueError
        except (ValueError, TypeError, KeyError):
            if number == len(lines) and not line.endswith("\n"):
                break
            raise InputError(f"{path}, line {number}: no line of a training log") from None
        rows.append(row)
    return rows
