"""How long making 10,000 counterfactual pairs takes, by question and kind; the checks of `Pairs.of` included.

    python benchmarks/bench_counterfactuals.py [--pairs 10000]

The target is a minute for each on two cores.
"""

import argparse
import time

from circuits.causes.counterfactuals import counterfactuals, transpositions
from circuits.causes.near_misses import near_misses
from circuits.causes.variations import MADE

QUESTIONS = ("C0 mine", "C0 empty", "B4 flipped", "legal C0 via SE x1")
TARGET = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=10_000)
    n = parser.parse_args().pairs
    rows = [(fact, kind, lambda f=fact, k=kind: counterfactuals(300_000, f, n, kinds=(k,)))
            for fact in QUESTIONS for kind in MADE[:2]]  # fmt: skip
    rows.append(("any board", MADE[2], lambda: transpositions(300_000, n)))
    rule = ["C0 empty", "D1 theirs", "E2 mine"]
    rows.append((" & ".join(rule), "near miss", lambda: near_misses(rule, n).pairs))
    print(f"{'question':<34}{'kind':<20}{'pairs':>7}{'seconds':>9}   target {TARGET:.0f}")
    for question, kind, make in rows:
        start = time.perf_counter()
        pairs = make()
        print(f"{question:<34}{kind:<20}{len(pairs):>7}{time.perf_counter() - start:>9.1f}")


if __name__ == "__main__":
    main()
