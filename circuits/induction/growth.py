"""How trees grow: all neurons of a batch level by level, and of each pair of children only the smaller one summed.

At each level a batch has rows, one for every node that may be split: its neuron, its positions packed, and for every
literal how many of them hold it and their activations' sum there, exact (`circuits.induction.bytes`). The literal of
most gain splits the row; of its two children the one of fewer positions is summed by products, and the other is what
that leaves of the parent::

    n_large = n_parent - n_small,     s_large = s_parent - s_small          in integers, so exactly

Children that cannot be split are not kept. At the end every position knows its place at the lowest level
(`circuits.induction.walk`), and values and errors are summed there in double precision, then upwards.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from circuits.errors import InputError
from circuits.induction import memory
from circuits.induction.bytes import CHUNK, Products, chunks, digits, everywhere, pack
from circuits.induction.threads import side_by_side
from circuits.induction.walk import level, mark, places

#: bytes for the neurons grown at a time
BUDGET = 1 << 30
#: neurons grown at a time, at most: enough rows for products at the root
_MOST_NEURONS = 64
#: neurons whose activations are in double precision at a time: what stays in a CPU's cache
AT_ONCE = 4
#: rows whose gains are computed at a time
_ROWS = 256
#: variance of a node that is not split, as in scikit-learn; and so of the root's variance, below which it is rounding
_NOTHING = torch.finfo(torch.float64).eps


def needed(n: int, literals: int, depth: int) -> int:
    """Bytes that one neuron takes while its tree grows: at most 2^(depth - 1) rows and their halves."""
    rows = 1 << (depth - 1)
    packed = chunks(n) * CHUNK // 8
    return 40 * n + (3 * rows + depth) * packed + 40 * rows * literals


def at_once(n: int, literals: int, depth: int, device: torch.device, threads: int = 1) -> int:
    """How many neurons each of some threads grows at a time.

    Raises:
        InputError: there is no room for one.
    """
    own = needed(n, literals, depth)
    free = memory.free(device)
    if free is not None and own > free:
        raise InputError(
            f"one tree of depth {depth} on {literals} literals at {n:,} positions takes {own / 1e9:.1f} GB to grow and"
            f" {free / 1e9:.1f} GB are free on {device}: give fewer games or a smaller depth"
        )
    budget = BUDGET if free is None else min(BUDGET, free // 2)
    return max(1, min(_MOST_NEURONS, budget // (own * threads)))


def grow(
    literals: Bool[Tensor, "n literal"],
    acts: Float[Tensor, "neuron n"],
    depth: int,
    leaf: int,
    split: int,
    weight: Int[Tensor, "n"] | None,
    threads: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Literal, value, n and error of each neuron's nodes; see `circuits.induction.trees.grow`."""
    n, count = literals.shape
    memory.check_fits(n, count, literals.device, share=1 / 8)
    # No more than a thread's share, so that none is without work.
    batch = min(at_once(n, count, depth, literals.device, threads), max(1, -(-len(acts) // threads)))
    weight = None if weight is None else weight.to(literals.device, torch.int8)
    ground = _Ground(Products(literals), pack(literals), n, depth, leaf, split, weight)
    parts = side_by_side(lambda some: _grow(ground, some.to(literals.device)), acts.split(batch), threads)
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


@dataclass(frozen=True, eq=False)
class _Ground:
    """What all neurons share."""

    products: Products
    packed: Tensor  # [literal, byte]
    n: int
    depth: int
    leaf: int
    split: int
    weight: Tensor | None

    def centred(
        self, acts: Float[Tensor, "neuron n"]
    ) -> tuple[Float64[Tensor, "neuron n"], Float64[Tensor, "neuron 1"]]:
        """Activations without their mean, and the mean."""
        y = acts.double()
        mean = y.mean(1) if self.weight is None else y @ self.weight.double() / self.weight.sum()
        return y - mean[:, None], mean[:, None]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Nodes of one level that may be split."""

    neuron: Int[Tensor, "row"]
    node: Int[Tensor, "row"]
    subset: Tensor  # [row, byte], packed
    n: Int[Tensor, "row"]
    s: Int[Tensor, "row"]  # in steps
    n_held: Int[Tensor, "row literal"]
    s_held: Int[Tensor, "row literal"]

    def some(self, which: Bool[Tensor, "row"]) -> "_Rows":
        return self if which.all() else _Rows(*_some(which, *(getattr(self, f) for f in self.__dataclass_fields__)))


def _some(which: Bool[Tensor, "row"], *columns: Tensor) -> list[Tensor]:
    """Some rows of each; ``index_select`` copies whole rows, ten times as fast as indexing by booleans."""
    kept = which.nonzero()[:, 0]
    return [column.index_select(0, kept) for column in columns]


def _grow(ground: _Ground, acts: Float[Tensor, "neuron n"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    neurons, nodes = len(acts), (2 << ground.depth) - 1
    literal = torch.full((neurons, nodes), -1, dtype=torch.int16, device=acts.device)
    n = torch.zeros(neurons, nodes, dtype=torch.int64, device=acts.device)
    n[:, 0] = ground.n if ground.weight is None else ground.weight.sum()
    path = _levels(ground, acts, literal, n)
    value, error = torch.zeros(2, neurons, nodes, dtype=torch.float64, device=acts.device)
    for first in range(0, neurons, AT_ONCE):
        at = slice(first, first + AT_ONCE)
        value[at], error[at] = _means(ground, path[:, at], acts[at], n[at], literal[at])
    return literal, value, n, error


def _levels(ground: _Ground, acts: Tensor, literal: Tensor, n: Tensor) -> Tensor:
    """Split level by level; fills in ``literal`` and ``n``, and returns [level, neuron, byte] where literals hold."""
    parts = [digits(ground.centred(some)[0], ground.weight) for some in acts.split(AT_ONCE)]
    values, total = torch.cat([part[0] for part in parts], 1), torch.cat([part[1] for part in parts])
    varies = acts.amax(1) > acts.amin(1)
    path = ground.packed.new_zeros(ground.depth, len(acts), ground.packed.shape[1])
    rows = _root(ground, values, total, n).some((n[:, 0] >= ground.split) & varies)
    for depth in range(ground.depth):
        best, found = _best(rows, ground.leaf)
        rows, best = rows.some(found), best[found]
        if not len(best):
            break
        literal[rows.neuron, rows.node] = best.short()
        holds = rows.subset & ground.packed.index_select(0, best)
        mark(path[depth], rows.neuron, holds)
        n_on = rows.n_held.gather(1, best[:, None])[:, 0].long()
        s_on = rows.s_held.gather(1, best[:, None])[:, 0]
        n[rows.neuron, 2 * rows.node + 2] = n_on
        n[rows.neuron, 2 * rows.node + 1] = rows.n - n_on
        if depth + 1 < ground.depth:
            rows = _children(ground, values, rows, holds, n_on, s_on)
    return path


def _root(ground: _Ground, values: Tensor, total: Tensor, n: Tensor) -> _Rows:
    neuron = torch.arange(len(n), device=n.device)
    subset = everywhere(ground.n, n.device).expand(len(n), -1)
    n_held, s_held = ground.products.sums(subset, neuron, values)
    return _Rows(neuron, torch.zeros_like(neuron), subset, n[:, 0], total, n_held, s_held)


def _best(rows: _Rows, leaf: int) -> tuple[Int[Tensor, "row"], Bool[Tensor, "row"]]:
    """The literal of most gain of each row, and whether there is one with enough positions on both sides."""
    best = torch.empty_like(rows.node)
    found = torch.empty_like(best, dtype=torch.bool)
    for first in range(0, len(best), _ROWS):
        at = slice(first, first + _ROWS)
        n, s = rows.n[at, None], rows.s[at, None]
        n1, s1 = rows.n_held[at], rows.s_held[at]
        n0, s0 = n - n1, s - s1
        kept = s1.double().pow(2) / n1 + s0.double().pow(2) / n0
        kept = kept.masked_fill_((n1 < leaf) | (n0 < leaf), -1.0)
        value, best[at] = kept.max(1)
        found[at] = value >= 0
    return best, found


def _children(ground: _Ground, values: Tensor, rows: _Rows, holds: Tensor, n_on: Tensor, s_on: Tensor) -> _Rows:
    """The children that may be split."""
    enough = max(ground.split, 2 * ground.leaf)
    wanted = torch.maximum(n_on, rows.n - n_on) >= enough
    rows, (holds, n_on, s_on) = rows.some(wanted), _some(wanted, holds, n_on, s_on)
    n_off, s_off = rows.n - n_on, rows.s - s_on
    fewer_on = n_on <= n_off
    small = torch.where(fewer_on[:, None], holds, rows.subset ^ holds)
    n_held, s_held = ground.products.sums(small, rows.neuron, values)
    first = _Rows(
        rows.neuron,
        2 * rows.node + 1 + fewer_on.long(),
        small,
        torch.where(fewer_on, n_on, n_off),
        torch.where(fewer_on, s_on, s_off),
        n_held,
        s_held,
    )
    second = _Rows(
        rows.neuron,
        2 * rows.node + 2 - fewer_on.long(),
        rows.subset ^ small,
        torch.where(fewer_on, n_off, n_on),
        torch.where(fewer_on, s_off, s_on),
        rows.n_held - n_held,
        rows.s_held - s_held,
    )
    halves = [half.some(half.n >= enough) for half in (first, second)]
    return _Rows(*(torch.cat([getattr(half, name) for half in halves]) for name in _Rows.__dataclass_fields__))


def _means(
    ground: _Ground, path: Tensor, acts: Tensor, n: Tensor, literal: Tensor
) -> tuple[Float64[Tensor, "neuron node"], Float64[Tensor, "neuron node"]]:
    """Value and error of each node; takes back, in ``n`` and ``literal``, splits of nodes that do not vary.

    Deviations are taken from the mean of the place, and two halves joined by theirs (Chan, Golub & LeVeque 1983)::

        error = error_0 + error_1 + (mean_1 - mean_0)^2 n_0 n_1 / n

    so that nothing is lost where a node hardly varies far from the mean of all.
    """
    y, mean = ground.centred(acts)
    place = places(path, ground.n)
    counts = _counts(n, ground.depth).double()
    here = _sum(y, place, ground) / counts.clamp_min(1)
    error = _sum((y - here.gather(1, place)).square_(), place, ground)
    means, errors = [here], [error]
    for _ in range(ground.depth):
        (n0, n1), (mean0, mean1), (error0, error1) = (
            x.unflatten(1, (-1, 2)).unbind(2) for x in (counts, means[-1], errors[-1])
        )
        counts = n0 + n1
        share = n1 / counts.clamp_min(1)
        means.append(mean0 + (mean1 - mean0) * share)
        errors.append(error0 + error1 + (mean1 - mean0).square() * n0 * share)
    here, error = torch.cat(means[::-1], 1), torch.cat(errors[::-1], 1)
    variance = error / n.clamp_min(1)
    literal[variance <= _NOTHING * variance[:, :1].clamp_min(1)] = -1
    for above in range(ground.depth):
        gone = (literal[:, level(above)] < 0).repeat_interleave(2, 1)
        n[:, level(above + 1)].masked_fill_(gone, 0)
        literal[:, level(above + 1)].masked_fill_(gone, -1)
    there = n > 0
    return torch.where(there, here + mean, 0.0), torch.where(there, error, 0.0)


def _counts(n: Int[Tensor, "neuron node"], depth: int) -> Int[Tensor, "neuron place"]:
    """The positions of each place: those of its node, or of the leaf whose first place it is."""
    counts = n[:, :1]
    for i in range(1, depth + 1):
        own = n[:, level(i)].unflatten(1, (-1, 2))
        stay = torch.stack([counts, torch.zeros_like(counts)], 2)
        counts = torch.where(own.sum(2, keepdim=True) > 0, own, stay).flatten(1)
    return counts


def _sum(
    x: Float64[Tensor, "neuron n"], place: Int[Tensor, "neuron n"], ground: _Ground
) -> Float64[Tensor, "neuron _"]:
    """The sum over each place's positions."""
    x = x if ground.weight is None else x * ground.weight
    return x.new_zeros(len(x), 1 << ground.depth).scatter_add_(1, place, x)
