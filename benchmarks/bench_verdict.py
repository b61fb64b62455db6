"""How long a verdict takes: given a finished mining pass, and from nothing, in processes of their own.

    python benchmarks/bench_verdict.py [--repeats 3]

*Given a pass*: the model is open and its cache is there; the time of `test` alone, the median over units of different
layers. *From nothing*: `othello-circuits test` with an empty cache, start-up, probes and the editor's means included.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

GIVEN, FROM_NOTHING = 10, 90  # seconds
TRIED = (
    ("L0N412", "B4 empty"),
    ("L1N627", "A4 played & B4 occupied & C4 occupied => B4, C4, D4 theirs"),
    ("L4N765", "A0 mine & B0 theirs & C0 empty => +C0"),
    ("L6N1008", "C0 empty & !C0 legal & D1 theirs"),
    ("L7N31", "D2 empty & !D2 legal => -D2"),
)


def from_nothing(unit: str, rule: str) -> float:
    with tempfile.TemporaryDirectory() as cache:
        command = [str(Path(sys.executable).parent / "othello-circuits"), "test", unit, rule, "--cache", cache]
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    started = [from_nothing(*TRIED[2]) for _ in range(repeats)]
    print(f"from nothing: median {statistics.median(started):.1f} s of {repeats} (target: at most {FROM_NOTHING})")

    from reports import open_model

    bench = open_model()
    _ = bench.mining, bench.ground
    slowest = 0.0
    for unit, rule in TRIED:
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            verdict = bench.test(unit, rule).verdict
            times.append(time.perf_counter() - began)
        middle = statistics.median(times)
        slowest = max(slowest, middle)
        steps = ", ".join(f"{name} {seconds:.1f}" for name, seconds in verdict.seconds.items())
        print(f"  {middle:5.1f} s  {unit:8s} {verdict.claim} [{verdict.grade}]; last run: {steps}")
    print(f"given a pass: {slowest:.1f} s at most (target: at most {GIVEN})")


if __name__ == "__main__":
    main()
