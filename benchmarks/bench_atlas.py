"""The atlas's pass against the bare forward pass and against loops; its cost by games, its memory, its other parts.

python benchmarks/bench_atlas.py [--games 20000] [--loop-games 32] [--repeats 3] [--rates | --parts]

pass       all accumulators on, shard by shard as the atlas does, against the forward pass over the same games
           (in plain torch, and as TransformerLens computes it), in pieces that take turns so that a machine which
           slows down slows all
loops      `run_with_cache` and a loop over neurons, keeping what the pass keeps of each, on a few games, by games/s
linear     seconds of the pass at 1, 4 and 16 times as many games
memory     peak of a process of its own at 1 and at 16 times, above what it had before the pass
parts      (--parts) one part of each other kind, timed apart
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from bench_mining import forward as forward_lens
from bench_mining import loop, peak_megabytes

import probes
from circuits import models, plain
from circuits.activations import BATCH, points, stream
from circuits.atlas.plan import SHARD_GAMES
from circuits.atlas.streamed import Streamed, streamed
from circuits.board_readers import BoardReader
from circuits.checkpoints import weight_shapes
from circuits.games import MIDDLE_BAND, Games, generate

FORWARD_TARGET, LOOP_TARGET = 2.0, 10.0
SMALL = 64


def forward(model: plain.PlainModel, games: Games) -> None:
    for _ in stream(model, games):
        pass


def timed(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def shards(model: plain.PlainModel, readers: dict, games: Games) -> Streamed:
    """The pass as the atlas makes it: by shards, merged."""
    total: Streamed | None = None
    for part in games.batches(SHARD_GAMES):
        own = streamed(model, part, readers, MIDDLE_BAND)
        total = own if total is None else total.merge(own)
    assert total is not None
    return total


def memory(n: int) -> None:
    model = plain.load()
    readers, games = probes.load(model).board_readers(), generate(n)
    forward(model, games[:BATCH])
    before = peak_megabytes()
    shards(model, readers, games)
    print(peak_megabytes() - before)


def main(n: int, loop_games: int, repeats: int) -> None:
    model, lens = plain.load(), models.load()
    readers, games = probes.load(model).board_readers(), generate(n)
    forward(model, games[:BATCH])
    forward_lens(lens, games[:BATCH])
    totals = {"bare forward pass": 0.0, "bare forward pass, TransformerLens": 0.0, "the atlas's pass": 0.0}
    ratios: list[tuple[float, float]] = []
    for part in games.batches(SHARD_GAMES):
        bare = timed(lambda part=part: forward(model, part))
        lensed = timed(lambda part=part: forward_lens(lens, part))
        whole = timed(lambda part=part: streamed(model, part, readers, MIDDLE_BAND))
        for name, seconds in zip(totals, (bare, lensed, whole), strict=True):
            totals[name] += seconds
        ratios.append((whole / bare, whole / lensed))
    threads = torch.get_num_threads()
    print(f"{model.name}, {n} games in shards of {SHARD_GAMES}, {threads} threads, {len(readers)} points probed")
    for name, seconds in totals.items():
        print(f"  {name:38} {n / seconds:7.1f} games/s")
    for i, said in enumerate(("the forward pass", "the forward pass by TransformerLens")):
        middle = statistics.median(ratio[i] for ratio in ratios)
        spread = f"{min(r[i] for r in ratios):.2f} to {max(r[i] for r in ratios):.2f}"
        print(f"  the pass takes {middle:.2f} x {said} (median of {len(ratios)} shards, {spread}; "
              f"target: at most {FORWARD_TARGET:g})")  # fmt: skip
    for said, few, size in (
        ("game by game", games[: max(loop_games // 8, 1)], 1), ("in batches", games[:loop_games], BATCH),
    ):  # fmt: skip
        found = []
        for _ in range(repeats):
            looped = timed(lambda few=few, size=size: loop(lens, few, size, True)) / len(few)
            found.append(looped / (totals["the atlas's pass"] / n))
        print(f"  {statistics.median(found):.0f} x as fast as run_with_cache and a loop over neurons {said}, same "
              f"statistics of neurons ({len(few)} games; target: at least {LOOP_TARGET:g})")  # fmt: skip
    base = min(SMALL, n // 16 or 1)
    seconds = {k: timed(lambda k=k: shards(model, readers, games[: k * base])) for k in (1, 4, 16)}
    said = ", ".join(f"{k * base} games {s:.1f} s ({1000 * s / (k * base):.1f} ms a game)" for k, s in seconds.items())
    print(f"  linear: {said}")
    own = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    peaks = [
        float(subprocess.check_output([sys.executable, __file__, "--memory", str(k * base)], env=own)) for k in (1, 16)
    ]
    print(f"  peak memory of the pass: {peaks[0]:.0f} MB for {base} games, {peaks[1]:.0f} MB for {16 * base}")


def rates(n: int, repeats: int) -> None:
    """Games a second of processor time, on one thread."""
    torch.set_num_threads(1)
    bundled = plain.load()
    paper = replace(bundled.shape, d_model=512, d_head=64, d_mlp=2048)
    weights = {name: 0.02 * torch.randn(size) for name, size in weight_shapes(paper).items()}
    large = plain.build(paper, weights, {}, "paper-size, random weights", check=False)
    readers = {hook: BoardReader(hook, torch.randn(512, 64, 3), torch.zeros(64, 3)) for hook in points(paper)}
    for model, own, games in (
        (bundled, probes.load(bundled).board_readers(), generate(n)), (large, readers, generate(n // 4)),
    ):  # fmt: skip
        bare = statistics.median(processor(lambda m=model, g=games: forward(m, g)) for _ in range(repeats))
        whole = statistics.median(
            processor(lambda m=model, r=own, g=games: streamed(m, g, r, MIDDLE_BAND)) for _ in range(repeats)
        )
        count, size = len(games), len(streamed(model, games[:BATCH], own, MIDDLE_BAND).to_bytes()) / 1e6
        print(f"{model.name}: forward {count / bare:.1f} games/s, pass {count / whole:.1f} games/s")
        print(
            f"  {whole / bare:.2f} x; accumulators {1000 * (whole - bare) / count:.0f} ms a game; a shard {size:.0f} MB"
        )
        core = 20e6 / (count / whole)
        print(f"  20 million games: {core / 86400:.1f} days of a core, {core / 64 / 3600:.1f} h on 64; beside GPUs "
              f"{20e6 * (whole - bare) / count / 3600:.0f} core-hours")  # fmt: skip


def processor(run: Callable[[], object]) -> float:
    begun = time.process_time()
    run()
    return time.process_time() - begun


def parts() -> None:
    """One part of each other kind, as a worker computes it, on one thread."""
    import tempfile

    from circuits.atlas.drivers import Local
    from circuits.atlas.plan import Plan, Settings, code, torch_version
    from circuits.atlas.run import Inputs, _Run
    from circuits.atlas.sources import Source
    from circuits.atlas.store import Store
    from circuits.atlas.work import Worker

    checkpoint, model = models.read_checkpoint(), plain.load()
    own = probes.load(model)
    readers, directions = own.board_readers(), {hook: own.directions(hook) for hook in own.hooks()}
    settings = Settings(ablated=128)
    plan = Plan(
        model.hash, model.name, Source.random(2000, 1), settings, model.shape.n_layers, "", "0" * 16, None, "cpu",
        code(), torch_version(),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        run = _Run(plan, Inputs(checkpoint, readers, directions), store, Local(), (0, 1), None, False)
        run.begin()
        worker = Worker(store)
        said = f"{settings.sample_games} games sampled, {settings.rule_games} for rules"
        print(f"parts in processor time on one thread, {said}:")
        for part in ("stream-00000", "stream-00001", "heads", "patterns-L0", "patterns-L1", "rules-L0", "rules-L1"):
            print(f"  {part:16} {processor(lambda part=part: worker.do(part)):7.1f} s", flush=True)
        run._merge("stream", plan.parts("stream", ()), Streamed.of_bytes)
        for part in ("ablations-0000", "ablations-0001"):
            print(f"  {part:16} {processor(lambda part=part: worker.do(part)):7.1f} s", flush=True)
        print("  the first of a kind opens what the others share")
        print(f"  peak memory of this process, which did them all: {peak_megabytes():.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, default=20_000)
    parser.add_argument("--loop-games", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rates", action="store_true")
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory:
        memory(given.memory)
    elif given.rates:
        rates(min(given.games, 512), given.repeats)
    elif given.parts:
        parts()
    else:
        main(given.games, given.loop_games, given.repeats)
