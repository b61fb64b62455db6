"""Who computes the parts: this process, several on this machine, those that torchrun started, or a Ray cluster.

All do the same: take parts by name, compute each with a `Worker` of their own, and leave it in the store under its key.
Nothing else passes between them, so a part that two have computed is there once, and one whose worker died is missing
and is computed by whoever comes next. A driver yields the parts as they are done.
"""

import ctypes
import logging
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch

from circuits.atlas.store import Store
from circuits.atlas.work import Worker
from circuits.errors import InputError
from circuits.told import say

#: times that parts are given to new workers after some died
TRIES = 3


class Driver(ABC):
    """What computes parts.

    Attributes:
        leads: whether this process is the one that merges and writes.
        shares: whether there are others that take parts by their places in the same list.
    """

    leads: bool = True
    shares: bool = False
    device: str = "cpu"

    @abstractmethod
    def each(self, store: Store, parts: Sequence[str]) -> Iterator[str]:
        """Compute the parts that are not there yet; their names as they are done."""

    def wait(self) -> None:  # noqa: B027 - most have no others to wait for
        """Until all processes have come here."""


@dataclass
class Local(Driver):
    """This process (``workers`` 1) or several on this machine, a thread each."""

    workers: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError(f"{self.workers} workers: give 1 or more")
        if self.workers > 1 and self.device != "cpu":
            raise InputError(f"{self.workers} workers on {self.device}: several GPUs are used through torchrun")
        self._own: Worker | None = None

    def each(self, store: Store, parts: Sequence[str]) -> Iterator[str]:
        if self.workers == 1:
            if self._own is None or self._own.store != store:
                self._own = Worker(store, self.device)
            for part in parts:
                self._own.do(part)
                yield part
            return
        if store.url.startswith("memory:"):
            raise InputError(f"{store.url} is seen by one process alone: give --workers 1, or a folder")
        left = list(parts)
        for tries_left in reversed(range(TRIES)):
            yield from self._round(store, left)
            if not left:
                return
            if tries_left:
                say(f"a worker died; {len(left)} parts go to new ones")
        raise InputError(
            f"workers died {TRIES} times, the last at one of {', '.join(left[: self.workers])} (out of memory?): "
            "give fewer --workers; what is done is kept"
        )

    def _round(self, store: Store, left: list[str]) -> Iterator[str]:
        """One set of workers, to the end or until one dies; what is done is taken out of ``left``."""
        from joblib import Parallel, delayed, parallel_config
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        plan = Worker(store).plan
        with parallel_config(backend="loky", n_jobs=self.workers, inner_max_num_threads=1):
            run = Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch=self.workers + 1)
            try:
                for part in run(delayed(_do)(store.url, self.device, plan.key, part) for part in tuple(left)):
                    left.remove(part)
                    yield part
            except TerminatedWorkerError:
                left[:] = [part for part in left if not store.has(plan.object(part))]


@dataclass
class Torchrun(Driver):
    """The processes that ``torchrun`` started, on one machine or several that see the same store.

    Args:
        device: "cpu", or "cuda" for each process its own GPU.
    """

    device: str = "cpu"
    shares = True

    def __post_init__(self) -> None:
        import torch.distributed as dist

        self.rank, self.size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        if self.device == "cuda":
            self.device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        if not dist.is_initialized():
            # The slowest part may take hours, and the others wait for it.
            dist.init_process_group("gloo", timeout=timedelta(days=7))
        self._own: Worker | None = None

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def each(self, store: Store, parts: Sequence[str]) -> Iterator[str]:
        if self._own is None:
            self._own = Worker(store, self.device)
        for part in parts[self.rank :: self.size]:
            self._own.do(part)
            yield part

    def wait(self) -> None:
        import torch.distributed as dist

        dist.barrier()


@dataclass
class OnRay(Driver):
    """A Ray cluster: actors that open the atlas's own copy of the model, wherever they run.

    Args:
        workers: how many at once. gpus: of each; a share of one will do.
        address: of a running cluster; None: the one this process is connected to, or one on this machine.

    Raises:
        InputError: Ray is not installed.
    """

    workers: int = 2
    gpus: float = 0.0
    address: str | None = None

    def __post_init__(self) -> None:
        try:
            import ray
        except ImportError:
            raise InputError('Ray is not installed: pip install "othello-circuits[cluster]"') from None
        if not ray.is_initialized():
            ray.init(address=self.address, log_to_driver=False, include_dashboard=False, logging_level="ERROR")

    def each(self, store: Store, parts: Sequence[str]) -> Iterator[str]:
        import ray

        if not parts:
            return
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars, context.print_on_execution_start = False, False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        rows = ray.data.from_items([{"part": part} for part in parts], override_num_blocks=max(1, len(parts)))
        done = rows.map_batches(
            _Actor, fn_constructor_args=(store.url, "cuda" if self.gpus else "cpu"), batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(self.workers, len(parts))), num_gpus=self.gpus or None,
        )  # fmt: skip
        for row in done.iter_rows():
            if row["error"]:
                raise InputError(row["error"])
            yield str(row["part"])


class _Actor:
    """One of Ray's; bad input comes back as words, since Ray wraps exceptions in pages of its own."""

    def __init__(self, url: str, device: str):
        torch.set_num_threads(1)
        self.worker = Worker(Store(url), device)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        parts, errors = [str(part) for part in batch["part"]], []
        for part in parts:
            try:
                self.worker.do(part)
                errors.append("")
            except InputError as error:
                errors.append(str(error))
        return {"part": parts, "error": errors}


_OPEN: dict[tuple[str, str, str], Worker] = {}


def _do(url: str, device: str, key: str, part: str) -> str:
    """In a process of its own, which keeps what it has opened of the atlas with this key."""
    if (url, device, key) not in _OPEN:
        _die_with_parent()
        torch.set_num_threads(1)
        _OPEN.clear()
        _OPEN[url, device, key] = Worker(Store(url), device)
    _OPEN[url, device, key].do(part)
    return part


def _die_with_parent() -> None:
    """On Linux: a killed run leaves no workers behind."""
    with suppress(OSError):
        ctypes.CDLL("libc.so.6").prctl(1, signal.SIGKILL)
