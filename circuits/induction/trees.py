"""Regression trees for many neurons at once: CART on literals, split for split what scikit-learn grows.

A node with n positions, of sum s, is split by the literal that takes most from the squared error: of n1 positions with
sum s1 where it holds and n0, s0 where it fails, the largest

    gain = s1^2 / n1 + s0^2 / n0 - s^2 / n,     n1 >= leaf, n0 >= leaf

down to ``depth``, where n >= ``split`` and the node's variance is not 0; of equal gains the literal listed first.
(Breiman, Friedman, Olshen & Stone 1984; scikit-learn's DecisionTreeRegressor with criterion squared_error.) How the
sums are made is in `circuits.induction.growth`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from circuits.errors import InputError
from circuits.induction import growth
from circuits.induction.bytes import CHUNK, pack, product
from circuits.induction.literals import MOST_LITERALS
from circuits.induction.threads import one_thread, side_by_side
from circuits.induction.walk import level, walk

MOST_DEPTH = 12
#: mean squared deviation, as a share of the squared mean, that rounding alone leaves of a constant
_ROUNDING = 1e-26


@dataclass(frozen=True, eq=False)
class Trees:
    """One tree a neuron. Node i has the children 2i + 1, where its literal fails, and 2i + 2, where it holds.

    Attributes:
        literal: [neuron, node] the literal's column; -1 at leaves and where there is no node.
        value: mean activation of the node's positions.
        n: how many positions (weights counted); 0 where there is no node.
        error: their squared deviations from ``value``, summed.
    """

    literal: Int[Tensor, "neuron node"]
    value: Float[Tensor, "neuron node"]
    n: Int[Tensor, "neuron node"]
    error: Float[Tensor, "neuron node"]

    def __len__(self) -> int:
        return len(self.literal)

    def __getitem__(self, neurons: int | slice | Tensor | list[int]) -> "Trees":
        """Some of the trees; of one number, a single tree, still with its neuron axis."""
        if isinstance(neurons, int):
            neurons = [neurons]
        return Trees(self.literal[neurons], self.value[neurons], self.n[neurons], self.error[neurons])

    @property
    def depth(self) -> int:
        """How deep trees may go; a tree of its own may stop earlier."""
        return (self.literal.shape[1] + 1).bit_length() - 2

    @property
    def is_leaf(self) -> Bool[Tensor, "neuron node"]:
        return (self.n > 0) & (self.literal < 0)

    def cut(self, depth: int) -> "Trees":
        """The trees as if grown to a smaller depth.

        Raises:
            InputError: a depth below 0, or above that of the trees.
        """
        if not 0 <= depth <= self.depth:
            raise InputError(f"trees of depth {self.depth} cannot be cut to {depth}: give 0 to {self.depth}")
        nodes = level(depth).stop
        literal = self.literal[:, :nodes].clone()
        literal[:, level(depth)] = -1
        return Trees(literal, self.value[:, :nodes], self.n[:, :nodes], self.error[:, :nodes])

    def leaves(self, literals: Bool[Tensor, "n literal"]) -> Int[Tensor, "neuron n"]:
        """The leaf (a node) that each position falls into.

        Raises:
            InputError: fewer literals than the trees ask about.
        """
        return torch.cat(self._each(self._end, literals))

    def predict(self, literals: Bool[Tensor, "n literal"]) -> Float[Tensor, "neuron n"]:
        """The value of the leaf that each position falls into; raises as `leaves`."""
        return torch.cat(self._each(lambda places, at: self.value[at].gather(1, self._end(places, at)), literals))

    def r2(self, literals: Bool[Tensor, "n literal"], acts: Float[Tensor, "_neuron _n"]) -> Float64[Tensor, "neuron"]:
        """R^2 of `predict`; 0 for an activation that does not vary there; raises as `r2_by_depth`."""
        return self.r2_by_depth(literals, acts)[-1]

    def r2_by_depth(
        self, literals: Bool[Tensor, "n literal"], acts: Float[Tensor, "_neuron _n"]
    ) -> Float64[Tensor, "depth neuron"]:
        """R^2 of the trees cut to 0, 1, ... levels; 0 for an activation that does not vary there.

        Raises:
            InputError: fewer literals than the trees ask about; not one activation a tree and position.
        """
        if acts.shape != (len(self), len(literals)):
            raise InputError(
                f"activations have the shape {list(acts.shape)}, and {len(self)} trees on {len(literals):,} positions"
                f" need {[len(self), len(literals)]} (neuron, position)"
            )
        return torch.cat(self._each(lambda places, at: self._r2s(places, acts[at], at), literals), 1)

    def _r2s(self, places: Tensor, acts: Tensor, at: slice) -> Float64[Tensor, "depth neuron"]:
        y = acts.to(places.device).double()
        mean = y.mean(1, keepdim=True)
        y = y - mean
        of, nothing = y.square().sum(1), _ROUNDING * y.shape[1] * mean[:, 0].square()
        sums = y.new_zeros(len(y), 1 << self.depth).scatter_add_(1, places, y)
        counts = torch.zeros_like(sums).scatter_add_(1, places, torch.ones_like(y))
        out = []
        for values in self._values(at):
            width = values.shape[1]
            n, s = (x.unflatten(1, (width, -1)).sum(2) for x in (counts, sums))
            v = values - mean
            left = of - (2 * v * s - v.pow(2) * n).sum(1)
            out.append(torch.where(of > nothing, 1 - left / of.clamp_min(1e-300), 0.0))
        return torch.stack(out)

    def _values(self, at: slice) -> Iterator[Float64[Tensor, "some place"]]:
        """Level by level, the value of each place there: of its node, or of the leaf above it."""
        value, n = self.value[at].double(), self.n[at]
        above = value[:, :1]
        yield above
        for i in range(1, self.depth + 1):
            above = torch.where(n[:, level(i)] > 0, value[:, level(i)], above.repeat_interleave(2, 1))
            yield above

    def _each(self, work: Callable[[Tensor, slice], Tensor], literals: Tensor) -> list[Tensor]:
        """``work`` of some neurons at a time: the place at the lowest level that each position falls into, and which
        neurons they are."""
        most = int(self.literal.max()) if self.literal.numel() else -1
        if most >= literals.shape[1]:
            raise InputError(f"the trees ask about literal {most}, and only {literals.shape[1]} are given")
        some = [slice(first, first + growth.AT_ONCE) for first in range(0, max(len(self), 1), growth.AT_ONCE)]
        with one_thread(self.literal.device) as threads:
            octets = pack(literals.to(self.literal.device))
            return side_by_side(lambda at: work(walk(octets, len(literals), self.literal[at]), at), some, threads)

    def _end(self, places: Int[Tensor, "some n"], at: slice) -> Int[Tensor, "some n"]:
        """The node above each place at the lowest level at which the tree really ends."""
        n = self.n[at]
        node = torch.arange(n.shape[1], device=n.device)[level(self.depth)].expand(len(n), -1)
        for _ in range(self.depth):
            node = torch.where(n.gather(1, node) > 0, node, (node - 1).clamp_min(0) // 2)
        return node.gather(1, places)


def grow(
    literals: Bool[Tensor, "n literal"],
    acts: Float[Tensor, "neuron _n"],
    depth: int = 8,
    leaf: int = 50,
    split: int = 100,
    weight: Int[Tensor, "_n"] | None = None,
) -> Trees:
    """A tree for every neuron, on the literals' device.

    Memory, beyond what is given: an eighth of the literals, and `growth.needed` bytes a neuron, of which as many are
    grown at a time as fit into `growth.BUDGET` or half of what is free.

    Args:
        depth: splits above a leaf, at most.
        leaf: positions in a leaf, at least.
        split: positions in a node that is split, at least.
        weight: how often each position counts, as in games drawn with replacement; 0 to 127. ``leaf`` and ``split``
            count so too.

    Raises:
        InputError: more than `MOST_LITERALS` literals, one that never varies, activations that are NaN or infinite,
            a depth outside 1 to `MOST_DEPTH`, shapes that do not agree, or too little memory.
    """
    with one_thread(literals.device) as threads:
        _check(literals, acts, depth, leaf, split, weight)
        return Trees(*growth.grow(literals.contiguous(), acts, depth, leaf, split, weight, threads))


def _check(literals: Tensor, acts: Tensor, depth: int, leaf: int, split: int, weight: Tensor | None) -> None:
    n, count = literals.shape
    if not 1 <= count <= MOST_LITERALS:
        raise InputError(f"{count} literals: trees are grown on 1 to {MOST_LITERALS}; leave some out")
    if not 1 <= depth <= MOST_DEPTH:
        raise InputError(f"depth {depth}: give 1 to {MOST_DEPTH}")
    if leaf < 1 or split < 2:
        raise InputError(f"leaf {leaf}, split {split}: a leaf has 1 position or more, and a node that is split 2")
    if acts.shape[1] != n:
        raise InputError(f"activations at {acts.shape[1]:,} positions, and literals at {n:,}: they must be the same")
    if not n:
        raise InputError("no positions are given: a tree needs some")
    # As products: thirty times as fast as a sum along the columns.
    holds = sum(product(rows.new_ones(1, len(rows)), rows)[0] for rows in literals.view(torch.int8).split(CHUNK))
    for column in ((holds == 0) | (holds == n)).nonzero().flatten().tolist()[:1]:
        raise InputError(
            f"literal {column} holds at {int(holds[column]):,} of {n:,} positions and never varies: leave it out"
            " (induction.literals.varying says which vary)"
        )
    for neuron, row in enumerate(acts):
        if not row.isfinite().all():
            bad = int((~row.isfinite()).sum())
            raise InputError(f"neuron {neuron} has {bad:,} activations of {n:,} that are NaN or infinite: none may be")
    if weight is None:
        return
    if weight.shape != (n,):
        raise InputError(f"weights have the shape {list(weight.shape)}: give one a position, {n:,}")
    if weight.min() < 0 or weight.max() > 127 or not weight.any():
        raise InputError(
            f"weights are {int(weight.min())} to {int(weight.max())}: give how often each position counts, 0 to 127,"
            " and not 0 everywhere"
        )
