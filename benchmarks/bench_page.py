"""Seconds from a finished mining pass to a neuron's page: the record, its self-check, and the HTML.

    python benchmarks/bench_page.py [--games 1000] [--pages 10]

The median over neurons spread over all layers. The first page, which also makes what all pages share (the
facts of the sampled positions), is stated apart.
"""

import argparse
import statistics
import time

import torch

from reports import open_model

TARGET = 0.5


def main(n: int, pages: int) -> None:
    bench = open_model(games=n, cache=False)
    shape = bench.model.shape
    _ = bench.mining
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(shape.d_mlp, (pages + 1,), generator=generator).tolist()
    times, sizes = [], []
    for i, neuron in enumerate(drawn):
        began = time.perf_counter()
        html = bench.neuron(f"L{i % shape.n_layers}N{neuron}", rule=False).html  # `bench_verdict.py` times the verdict
        times.append(time.perf_counter() - began)
        sizes.append(len(html.encode()) / 1024)
    first, *rest = times
    print(f"{bench.model.name}, {n} games, {torch.get_num_threads()} threads, {pages} pages after the first")
    print(f"  first page {first:.2f} s; then {min(rest):.2f} to {max(rest):.2f} s, {max(sizes):.0f} KiB at most")
    print(f"  median {statistics.median(rest):.2f} s a page (target: at most {TARGET})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, default=1000)
    parser.add_argument("--pages", type=int, default=10)
    given = parser.parse_args()
    main(given.games, given.pages)
