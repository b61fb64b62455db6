"""Speed of rules over many positions: packed words beside booleans and beside replaying the rule on the boards.

    python benchmarks/bench_rules.py [--games 40000] [--repeats 7]

One run on one thread. A rule of k literals over n positions is k · n literal-positions. The packed columns and the
boolean columns are made before ("literals already packed"); how long that takes is given apart. All ways take turns,
so that a busy moment of the machine falls on each, and the median is given; ratios are of medians.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from circuits.features import LITERALS, PATTERNS
from circuits.othello import random_games, replay
from circuits.rules import And, Line, Literal, Not, Rule
from circuits.rules.bits import Packed
from circuits.rules.logic import simplify
from circuits.rules.text import parse_rule

TARGET = 2e9  # literal-positions a second
RULES = (
    "C0 empty & D1 theirs & E2 mine",
    "C0 empty & D1 theirs & E2 mine & !A0 occupied",
    "C0 empty & (D1 theirs | D0 theirs) & (E2 mine | E0 mine) & !A0 occupied",
    " & ".join(f"!{square} mine" for square in ("A0", "A1", "A2", "A3", "A4", "A5", "A6", "A7")),
)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def with_booleans(rule: Rule, columns: dict[Rule, np.ndarray]) -> np.ndarray:
    """The rule by numpy on one byte a position."""
    if isinstance(rule, Not):
        return ~with_booleans(rule.rule, columns)
    if rule in columns:
        return columns[rule]
    join = np.logical_and if isinstance(rule, And) else np.logical_or
    return join.reduce([with_booleans(part, columns) for part in rule.rules])


def literals(rule: Rule) -> int:
    """How many literals are written in the rule."""
    return 1 if isinstance(rule, Not) or not hasattr(rule, "rules") else sum(map(literals, rule.rules))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, default=40_000)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    boards = replay(random_games(given.games, seed=0))
    packed = Packed(boards)
    print(f"{packed.n:,} positions of {given.games:,} games; load {os.getloadavg()[0]:.1f}")
    for name, atoms in (
        (f"{64 * len(LITERALS)} literals", [Literal(s, name) for s in range(64) for name in LITERALS]),
        ("960 patterns", [Line(pattern) for pattern in PATTERNS]),
    ):
        some = Packed(boards, boards.valid & (torch.arange(len(boards.valid)) < 2000)[:, None])
        seconds = timed(lambda atoms=atoms, some=some: some.prepare(atoms))
        print(f"packing {name} of {some.n:,} positions: {seconds * 1e3:.0f} ms")
    slowest = float("inf")
    for text in RULES:
        rule = parse_rule(text)
        columns = {atom: packed.holds(atom).numpy() for atom in rule.atoms}
        assert np.array_equal(with_booleans(rule, columns), packed.holds(rule).numpy())
        assert torch.equal(rule.holds(boards)[packed.where], packed.holds(rule))
        ways: dict[str, tuple[Callable[[], object], int]] = {
            "packed": (lambda rule=rule: packed.evaluate(rule), 20),
            "numpy booleans": (lambda rule=rule, columns=columns: with_booleans(rule, columns), 3),
            "Rule.holds on the boards": (lambda rule=rule: rule.holds(boards), 1),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(given.repeats):
            for way, (work, repeats) in ways.items():
                times[way].append(timed(lambda work=work, repeats=repeats: [work() for _ in range(repeats)]) / repeats)
        count, base = literals(rule) * packed.n, statistics.median(times["packed"])
        print(f"\n{rule}  ({literals(rule)} literals, holds at {packed.count(rule) / packed.n:.2%})")
        for way, seconds in times.items():
            middle = statistics.median(seconds)
            print(f"  {way:26}{count / middle / 1e9:9.2f} G literal-positions/s{middle / base:9.0f} x the time")
        slowest = min(slowest, count / base)
    said = "met" if slowest >= TARGET else "MISSED"
    print(f"\ntarget of {TARGET / 1e9:.0f} G literal-positions/s: {said}, {slowest / TARGET:.0f} times over")
    text = "C0 empty & D1 theirs & (E2 mine | F3 mine) & !A0 occupied & ply >= 20"
    for what, work in (("reading", lambda: parse_rule(text)), ("simplifying", lambda: simplify(parse_rule(text)))):
        seconds = statistics.median(timed(work) for _ in range(20))
        print(f"{what} {text!r}: {seconds * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
