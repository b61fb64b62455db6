"""From a regression tree to a rule: the paths to its high leaves, as the shortest "or" of "and"s that does as well.

1. The leaves' values are cut in two by Otsu's threshold (1979), each leaf weighing its positions n: between the two
   classes' means, n_on n_off (mean_on - mean_off)^2 is largest. Paths to the leaves above it are the terms of an "or";
   two leaves of one node are that node.
2. F1 on the tuning games is of the terms against "activation > t", t that of most F1 on the training games for the
   whole tree's terms. Of the tree cut to 1, 2, ... levels the shallowest is taken that is not `TOLERANCE` below the
   best.
3. Term by term, the one first that raises F1 most: literals go from it while F1 does not fall, so that it takes in
   others. `MOST_TERMS` at most.
4. While F1 stays above what that gives (or the tree, if lower) less `TOLERANCE`, the literal goes without which F1 is
   highest, and then whole terms.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64

from circuits.induction.single_changes import Terms, canonical

#: of F1
TOLERANCE = 0.005
MOST_TERMS = 8


@dataclass(frozen=True, eq=False)
class Tree:
    """One neuron's tree; node i has the children 2 i + 1, where its literal fails, and 2 i + 2, where it holds.

    Attributes:
        literal: -1 at leaves and where there is no node; n: training positions; value: their mean activation.
    """

    literal: Int[np.ndarray, "node"]
    n: Int[np.ndarray, "node"]
    value: Float[np.ndarray, "node"]

    @property
    def depth(self) -> int:
        return (len(self.literal) + 1).bit_length() - 2

    def leaves(self, depth: int) -> Int[np.ndarray, "leaf"]:
        """The leaves of the tree cut to a depth."""
        nodes = (2 << depth) - 1
        ends = self.literal[:nodes] < 0
        ends[(1 << depth) - 1 :] = True
        return np.flatnonzero(ends & (self.n[:nodes] > 0))

    def path(self, node: int, facts: int) -> tuple[int, ...]:
        """The literals on the way to a node; negations are ``facts`` further on."""
        codes = []
        while node:
            above = (node - 1) // 2
            codes.append(int(self.literal[above]) + (0 if node == 2 * above + 2 else facts))
            node = above
        return tuple(sorted(codes))


def otsu(values: Float[np.ndarray, "leaf"], n: Int[np.ndarray, "leaf"]) -> Bool[np.ndarray, "leaf"]:
    """The values in the upper class; none where all are equal."""
    order = np.argsort(values, kind="stable")
    v, w = values[order].astype(float), n[order].astype(float)
    v = v - np.average(v, weights=w)
    below, sums = w.cumsum()[:-1], (w * v).cumsum()[:-1]
    total = w.sum()
    # The sum of all is 0, so that of the upper class is -sums.
    between = np.where(v[1:] > v[:-1], sums**2 * total / np.maximum(below * (total - below), 1e-300), -1.0)
    if not len(between) or between.max() <= 0:
        return np.zeros(len(values), bool)
    on = np.zeros(len(values), bool)
    on[order[between.argmax() + 1 :]] = True
    return on


def rule_of(
    tree: Tree,
    ends: Int[np.ndarray, "n"],
    active: Bool[np.ndarray, "n"],
    columns: UInt64[np.ndarray, "fact word"],
    facts: int,
    tolerance: float = TOLERANCE,
) -> Terms:
    """The shortest rule of a tree's paths; no terms where its leaves are all of one value.

    Args:
        ends: the leaf that each tuning position falls into; active: whether the neuron is on there.
        columns: the tuning positions where each literal holds, packed; facts: see `Tree.path`.
    """
    nodes = len(tree.literal)
    count, hits = (_upwards(np.bincount(ends[at], minlength=nodes)) for at in (slice(None), active))
    on = int(active.sum())
    by_depth = []
    for depth in range(1, tree.depth + 1):
        leaves = tree.leaves(depth)
        high = leaves[otsu(tree.value[leaves], tree.n[leaves])]
        by_depth.append((2 * hits[high].sum() / max(count[high].sum() + on, 1), high))
    target = max(f1 for f1, _ in by_depth) - tolerance
    high = next(high for f1, high in by_depth if f1 >= target)
    if not len(high) or not on or target <= 0:
        return ()
    terms = _Terms(active, columns, facts)
    terms.build([tree.path(node, facts) for node in _joined(high.tolist())])
    # `target` has its tolerance already; what the terms reach, if they fall short of it, has not.
    reached = float(terms.f1(terms.all))
    terms.shorten(target if reached >= target else reached - tolerance)
    return canonical(tuple(tuple(sorted(set(term))) for term in terms.codes))


class _Terms:
    """Terms of a rule, and where they hold among the tuning positions."""

    def __init__(self, active: Bool[np.ndarray, "n"], columns: UInt64[np.ndarray, "fact word"], facts: int):
        self._columns, self._facts = columns, facts
        self._valid, self._on = _packed(np.ones_like(active)), _packed(active)
        self._n_on = int(active.sum())
        self.codes: list[list[int]] = []
        self.held: list[np.ndarray] = []

    @property
    def all(self) -> np.ndarray:
        return _any(self.held, self._valid)

    def f1(self, held: np.ndarray) -> np.ndarray:
        """Of packed positions, [..., word]."""
        return np.asarray(2 * _bits(held & self._on) / np.maximum(_bits(held) + self._n_on, 1))

    def _own(self, term: Iterable[int]) -> list[np.ndarray]:
        facts = self._facts
        return [self._columns[code] if code < facts else ~self._columns[code - facts] for code in term]

    def _all(self, columns: list[np.ndarray]) -> np.ndarray:
        return np.bitwise_and.reduce([self._valid, *columns])

    def build(self, terms: list[tuple[int, ...]]) -> None:
        """Step 3."""
        left = np.stack([self._all(self._own(term)) for term in terms])
        f1 = 0.0
        while len(self.codes) < MOST_TERMS:
            together = self.all
            scores = self.f1(left | together)
            best = int(scores.argmax())
            if scores[best] <= f1 + 1e-12:
                break
            term, held = self._wider(list(terms[best]), together, float(scores[best]), False)
            self.codes.append(term)
            self.held.append(held)
            f1 = float(self.f1(held | together))

    def shorten(self, target: float) -> None:
        """Step 4."""
        for j, term in enumerate(self.codes):
            others = _any(self.held[:j] + self.held[j + 1 :], self._valid)
            self.codes[j], self.held[j] = self._wider(term, others, target, True)
        while len(self.codes) > 1:
            without = np.stack([_any(self.held[:j] + self.held[j + 1 :], self._valid) for j in range(len(self.held))])
            scores = self.f1(without)
            best = int(scores.argmax())
            if scores[best] < target - 1e-12:
                break
            del self.codes[best], self.held[best]

    def _wider(self, term: list[int], others: np.ndarray, f1: float, fixed: bool) -> tuple[list[int], np.ndarray]:
        """A term without literals that F1 does not need: it stays at ``f1`` (``fixed``), or rises from there."""
        term, own = list(term), self._own(term)
        held = self._all(own)
        while len(term) > 1:
            without = np.stack([self._all(own[:i] + own[i + 1 :]) for i in range(len(own))])
            scores = self.f1(without | others)
            best = int(scores.argmax())
            if scores[best] < f1 - 1e-12:
                break
            f1 = f1 if fixed else float(scores[best])
            held = without[best]
            del term[best], own[best]
        return term, held


def _upwards(counts: Int[np.ndarray, "node"]) -> Int[np.ndarray, "node"]:
    """Of each node, what lies in it and below."""
    total = counts.copy()
    for node in range(len(total) - 1, 0, -1):
        total[(node - 1) // 2] += total[node]
    return total


def _joined(nodes: list[int]) -> list[int]:
    """Both children of a node as the node; in the order given, a new one where its first child was."""
    kept = dict.fromkeys(nodes)
    again = True
    while again:
        again = False
        for node in list(kept):
            sibling = node + 1 if node % 2 else node - 1
            if node and node in kept and sibling in kept:
                above = (node - 1) // 2
                kept = dict.fromkeys(above if k == node else k for k in kept if k != sibling)
                again = True
    return list(kept)


def _packed(holds: Bool[np.ndarray, "n"]) -> UInt64[np.ndarray, "word"]:
    """As `circuits.rules.bits.Packed.pack`."""
    octets = np.zeros(-(-len(holds) // 64) * 8, np.uint8)
    octets[: -(-len(holds) // 8)] = np.packbits(holds, bitorder="little")
    return octets.view(np.uint64)


def _any(held: list[np.ndarray], like: np.ndarray) -> np.ndarray:
    return np.bitwise_or.reduce([np.zeros_like(like), *held])


def _bits(held: UInt64[np.ndarray, "*rule word"]) -> Int[np.ndarray, "*rule"]:
    return np.asarray(np.bitwise_count(held).sum(-1, dtype=np.int64))
