"""Seconds from a finished study of heads to a head's page: the record, its self-check, and the HTML.

    python benchmarks/bench_head_page.py [--games 1000] [--pages 8]

The median over heads of all layers. The first page, which also runs the example games that all pages share, is stated
apart, and so is the study itself.
"""

import argparse
import statistics
import time

import torch

from reports import open_model

TARGET = 1.0


def main(n: int, pages: int) -> None:
    bench = open_model(games=n, cache=False)
    shape = bench.model.shape
    began = time.perf_counter()
    _ = bench.heads
    studied = time.perf_counter() - began
    times, sizes = [], []
    for i in range(pages + 1):
        began = time.perf_counter()
        html = bench.head(f"L{i % shape.n_layers}H{i * 3 % shape.n_heads}").html
        times.append(time.perf_counter() - began)
        sizes.append(len(html.encode()) / 1024)
    first, *rest = times
    print(f"{bench.model.name}, {n} games, {torch.get_num_threads()} threads; the study of all heads {studied:.0f} s")
    print(f"  first page {first:.2f} s; then {min(rest):.2f} to {max(rest):.2f} s, {max(sizes):.0f} KiB at most")
    print(f"  median {statistics.median(rest):.2f} s a page (target: at most {TARGET:g})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, default=1000)
    parser.add_argument("--pages", type=int, default=8)
    given = parser.parse_args()
    main(given.games, given.pages)
