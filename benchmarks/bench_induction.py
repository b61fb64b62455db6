"""Speed of growing trees for all neurons at once, beside scikit-learn growing them one by one on as many cores.

    python benchmarks/bench_induction.py [--positions 100000] [--neurons 64] [--depth 4 8] [--repeats 3]

Activations are those of neurons of all layers of the bundled model, drawn at random, at positions of random games; the
literals are the published ones that vary there. Same work: leaves of 50 positions, 100 to split, and it is checked that
the trees are the same (of a split decided otherwise, that both gain as much). scikit-learn grows one tree a thread (it
lets go of Python's lock), and is timed twice: with literals row by row, as a table comes and published trees were
grown, and column by column, which it reads much faster. All take turns, so that a busy moment of the machine falls on
each; times are medians, per neuron, by the clock and of the processor (which others' work changes little).
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from joblib import Parallel, delayed
from sklearn.tree import DecisionTreeRegressor
from torch import Tensor

from circuits import plain
from circuits.games import generate
from circuits.induction.literals import PUBLISHED, columns, varying
from circuits.induction.sample import HELD_OUT, TUNE, layers, sample
from circuits.induction.threads import one_thread
from circuits.induction.trees import Trees, grow

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import oracles_trees

LEAF, SPLIT = 50, 100
#: how many times faster than scikit-learn on all cores, by depth
TARGETS = {4: 50, 8: 20}
ALL = 8192
#: positions of a game in the band, about
_A_GAME = 48.5


def timed(work: Callable[[], object]) -> tuple[tuple[float, float], object]:
    """Seconds by the clock, and of the processor, all threads together."""
    start = time.perf_counter(), time.process_time()
    result = work()
    return (time.perf_counter() - start[0], time.process_time() - start[1]), result


def problem(positions: int, neurons: int, seed: int) -> tuple[Bool[Tensor, "n literal"], Float[Tensor, "neuron n"]]:
    """Literals and activations at the positions of training games."""
    model = plain.load()
    games = generate(int(positions / (1 - TUNE - HELD_OUT) / _A_GAME) + 1, seed)
    parts = sample(model, games)
    holds = columns(parts.train.packed, PUBLISHED)
    g = torch.Generator().manual_seed(seed)
    each = -(-neurons // model.shape.n_layers)
    acts = [layer.train[torch.randperm(len(layer.train), generator=g)[:each]] for layer in layers(parts)]
    acts = torch.stack(acts, 1).flatten(0, 1)[:neurons]
    holds, acts = holds[:positions], acts[:, :positions].contiguous()
    return holds[:, varying(holds, LEAF)].contiguous(), acts


def one_by_one(holds: np.ndarray, acts: np.ndarray, depth: int, jobs: int) -> list[DecisionTreeRegressor]:
    def fit(y: np.ndarray) -> DecisionTreeRegressor:
        tree = DecisionTreeRegressor(max_depth=depth, min_samples_leaf=LEAF, min_samples_split=SPLIT, random_state=0)
        return tree.fit(holds, y, check_input=False)

    return Parallel(n_jobs=jobs, prefer="threads")(delayed(fit)(y) for y in acts)


def check(trees: Trees, others: list[DecisionTreeRegressor], holds: np.ndarray, acts: np.ndarray) -> tuple[int, int]:
    """Nodes compared and ties; an AssertionError where trees differ by more."""
    compared = ties = 0
    for neuron, other in enumerate(others):
        expected = oracles_trees.as_nodes(other.tree_)
        found = oracles_trees.differences(oracles_trees.nodes(trees, neuron), expected, holds, acts[neuron])
        compared, ties = compared + found[0], ties + found[1]
    return compared, ties


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--positions", type=int, default=100_000)
    parser.add_argument("--neurons", type=int, default=64, help="neurons whose trees are grown at once")
    parser.add_argument("--one-by-one", type=int, default=8, help="of these, neurons that scikit-learn grows")
    parser.add_argument("--depth", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    cores = torch.get_num_threads()
    with one_thread(torch.device("cpu")):
        holds, acts = problem(given.positions, given.neurons, given.seed)
    few = acts[: given.one_by_one].double().numpy()
    # The type that scikit-learn converts all others to.
    by_row = holds.numpy().astype(np.float32)
    by_column = np.asfortranarray(by_row)
    print(
        f"{holds.shape[0]:,} positions x {holds.shape[1]} literals, {len(acts)} neurons at once and {len(few)} one by"
        f" one, {cores} threads, {torch.backends.cpu.get_cpu_capability()}; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    for depth in given.depth:
        ways = {
            "at once": lambda depth=depth: grow(holds, acts, depth, LEAF, SPLIT),
            "scikit-learn": lambda depth=depth: one_by_one(by_row, few, depth, cores),
            "scikit-learn, by column": lambda depth=depth: one_by_one(by_column, few, depth, cores),
        }
        grow(holds, acts[:1], depth, LEAF, SPLIT)  # the first call sets things up
        times = {way: [] for way in ways}
        results = {}
        for _ in range(given.repeats):
            for way, work in ways.items():
                both, results[way] = timed(work)
                times[way].append([seconds / (len(acts) if way == "at once" else len(few)) for seconds in both])
        compared, ties = check(results["at once"], results["scikit-learn"], holds.numpy(), few)
        middle = {way: [statistics.median(x) for x in zip(*both, strict=True)] for way, both in times.items()}
        own, own_cpu = middle["at once"]
        print(f"\ndepth {depth}: {compared} nodes the same, but for {ties} ties")
        for way, (wall, cpu) in middle.items():
            print(
                f"  {way:24}{wall * 1e3:9.1f} ms a neuron{wall / own:6.0f} x the time;"
                f" {cpu * 1e3:7.1f} ms of processor{cpu / own_cpu:6.0f} x"
            )
        print(f"  all {ALL} neurons at once: {own * ALL / 60:.1f} min")
        if depth in TARGETS:
            ratio = middle["scikit-learn"][0] / own
            print(f"  target of {TARGETS[depth]} x: {'met' if ratio >= TARGETS[depth] else 'MISSED'}")


if __name__ == "__main__":
    main()
