"""Independent pieces of work side by side, a thread each, instead of every operation on all threads.

As fast where the machine has nothing else to do, and far faster where it has: threads that share each operation wait
for the slowest of them thousands of times a second, and on a busy machine one of them is always kept waiting.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item, Result = TypeVar("Item"), TypeVar("Result")


@contextmanager
def one_thread(device: torch.device) -> Iterator[int]:
    """Meanwhile every operation is on one thread; gives how many may work side by side. With a GPU nothing changes,
    and it is one."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield 1
        return
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item], threads: int) -> list[Result]:
    """``work`` of each item, in order; within `one_thread`, so that threads made here have one as well."""
    if threads == 1 or len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))
