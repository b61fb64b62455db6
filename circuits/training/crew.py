"""The processes that train together, and how they are asked to stop."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from circuits.devices import check_device


class Crew:
    """The processes that train together: one, or those that ``torchrun`` started."""

    def __init__(self, rank: int, size: int, device: torch.device):
        self.rank, self.size, self.device = rank, size, device

    @staticmethod
    def join(device: str) -> "Crew":
        """This process's place, by the environment that ``torchrun`` sets.

        Raises:
            InputError: a device that is not there.
        """
        size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        if size > 1 and device == "cuda":
            device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        found = check_device(device)
        if size > 1:
            dist.init_process_group("nccl" if found.type == "cuda" else "gloo")
        return Crew(rank, size, found)

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_) -> None:
        if self.size > 1:
            dist.destroy_process_group()

    def share(self, first: int, n: int) -> tuple[int, int]:
        """Which of the games ``first`` … ``first + n - 1`` are this process's: (first, number)."""
        low, high = n * self.rank // self.size, n * (self.rank + 1) // self.size
        return first + low, high - low

    def total(self, value: Tensor) -> Tensor:
        """A tensor summed over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def agree(self, *wishes: bool) -> tuple[bool, ...]:
        """What any process wishes, all do: they must leave the loop at the same step."""
        if self.size == 1:
            return wishes
        flags = self.total(torch.tensor([float(w) for w in wishes], device=self.device))
        return tuple(bool(f) for f in flags.tolist())

    def wait(self) -> None:
        if self.size > 1:
            dist.barrier()


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that is no longer empty once the process was asked to stop (Ctrl-C, SIGTERM): stop after this step."""
    asked: list[int] = []
    before = {}

    def note(number: int, _frame) -> None:
        if asked and number == signal.SIGINT:  # a second Ctrl-C does not wait
            raise KeyboardInterrupt
        asked.append(number)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
    except ValueError:  # signals reach the main thread only
        pass
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
