"""What a neuron answers to that is no rule of squares: the clock, who moves, the move just made, the discs turned.

Means over training positions of one group, as predictions of held-out activations:

    by ply       the mean at each ply                         *clock* neurons
    by mover     with black to move, and with white
    by move      the mean for each square just played         *just-played* neurons
    by literal   two means, of the one literal of a kind ("A4 played", "C3 flipped") of highest correlation in training

    R^2 = 1 - sum (y - prediction)^2 / sum (y - held-out mean)^2

for all neurons of a layer at once: with the 0/1 matrix c of (position x column), a column for each group and literal,
all that is asked for is in the sums y c of training and of held-out positions:

    sum (y - prediction)^2 = sum y^2 - 2 sum_g level_g (y c)_g + sum_g n_g level_g^2

*Skill* of a literal is how far F1 gets from that of a neuron that is always on to 1; its threshold is of most F1 on the
tuning games. Only literals that hold where the activation is high are looked for.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.fact_scores import best_threshold
from circuits.induction.sample import LayerActs, Sample, Side
from circuits.notation import LABELS, N_CTX, N_MOVES, N_SQUARES, PLAYABLE
from circuits.rules import Literal, ToMove
from circuits.verdicts.scores import skill

#: held-out variance that the best literal of a kind explains, of a just-played or a flip neuron
ROLE = 0.1
#: positions where a literal must hold, and must fail, in training
LEAST = 50
#: neurons whose centred activations are held at once
_BLOCK = 128
#: columns: plies, black and white to move, squares just played, squares flipped
_PLIES = slice(0, N_CTX)
_MOVERS = slice(N_CTX, N_CTX + 2)
_MOVES = slice(_MOVERS.stop, _MOVERS.stop + N_MOVES)
_FLIPS = slice(_MOVES.stop, _MOVES.stop + N_SQUARES)


@dataclass(frozen=True, eq=False)
class Columns:
    """Where groups and literals hold at training, tuning and held-out positions. Made once for a sample."""

    train: Float[Tensor, "n column"]
    tune: Float[Tensor, "k column"]
    held_out: Float[Tensor, "m column"]

    @staticmethod
    def of(sample: Sample) -> "Columns":
        return Columns(*map(_columns, sample.sides))


@dataclass(frozen=True, eq=False)
class Literals:
    """The best literal of one kind for each neuron; ``skill`` is NaN where it explains less than `ROLE`."""

    square: Int[Tensor, "neuron"]
    r2: Float[Tensor, "neuron"]
    skill: Float[Tensor, "neuron"]


@dataclass(frozen=True, eq=False)
class Roles:
    """Held-out R^2 of group means by neuron, and the best literals of two kinds.

    ``peak`` is the ply of the highest training mean.
    """

    by_ply: Float[Tensor, "neuron"]
    by_mover: Float[Tensor, "neuron"]
    by_move: Float[Tensor, "neuron"]
    peak: Int[Tensor, "neuron"]
    played: Literals
    flipped: Literals


def roles(columns: Columns, acts: LayerActs) -> Roles:
    """The roles of a layer's neurons."""
    parts = [
        _of_some(columns, *some)
        for some in zip(*(side.split(_BLOCK) for side in (acts.train, acts.tune, acts.held_out)), strict=True)
    ]
    groups = (torch.cat([getattr(part, name) for part in parts]) for name in ("by_ply", "by_mover", "by_move", "peak"))
    literals = []
    for kind in ("played", "flipped"):
        best = [getattr(part, kind) for part in parts]
        literals.append(
            Literals(*(torch.cat([getattr(some, name) for some in best]) for name in Literals.__annotations__))
        )
    return Roles(*groups, *literals)


def name(kind: str, square: int) -> str:
    """``"A4 played"``."""
    return f"{LABELS[square]} {kind}"


@dataclass(frozen=True, eq=False)
class _Sums:
    """Of some neurons at some positions, activations less a constant: by column and in all.

    ``n`` [column], ``s`` [neuron, column]; ``of`` positions, ``total`` and ``squares`` [neuron, 1].
    """

    n: Float[Tensor, "column"]
    s: Float[Tensor, "neuron column"]
    of: int
    total: Float[Tensor, "neuron 1"]
    squares: Float[Tensor, "neuron 1"]

    @staticmethod
    def at(y: Float[Tensor, "neuron n"], columns: Float[Tensor, "n column"]) -> "_Sums":
        return _Sums(
            columns.sum(0).double(), (y @ columns).double(), len(columns),
            y.sum(1, keepdim=True).double(), y.pow(2).sum(1, keepdim=True).double(),
        )  # fmt: skip

    @property
    def variance(self) -> Float[Tensor, "neuron 1"]:
        """Summed squared deviation from the mean; 0 of what is constant but for rounding."""
        found = self.squares - self.total**2 / self.of
        return torch.where(found > 1e-9 * self.squares, found, 0.0)


def _of_some(
    columns: Columns, train: Float[Tensor, "neuron n"], tune: Float[Tensor, "neuron k"], out: Float[Tensor, "neuron m"]
) -> Roles:
    # Less their mean, so that sums in single precision lose nothing that counts.
    centre = train.mean(1, keepdim=True)
    learnt, tested = _Sums.at(train - centre, columns.train), _Sums.at(out - centre, columns.held_out)
    groups = [_by_group(learnt, tested, which) for which in (_PLIES, _MOVERS, _MOVES)]
    means = torch.where(learnt.n > 0, learnt.s / learnt.n.clamp_min(1), float("-inf"))
    literals = []
    for which in (_MOVES, _FLIPS):
        best, r2 = _by_literal(learnt, tested, which)
        scores = torch.full((len(best),), float("nan"))
        for i in (r2 >= ROLE).nonzero()[:, 0].tolist():
            held = [side[:, which][:, best[i]] > 0 for side in (columns.tune, columns.held_out)]
            scores[i] = _skill(tune[i], held[0], out[i], held[1])
        squares = torch.tensor(PLAYABLE)[best] if which is _MOVES else best
        literals.append(Literals(squares, r2, scores))
    return Roles(*groups, means[:, _PLIES].argmax(1), *literals)


def _by_group(learnt: _Sums, tested: _Sums, which: slice) -> Float[Tensor, "neuron"]:
    """Held-out R^2 of the training means of groups; one that training never saw gets the overall mean."""
    n = learnt.n[which]
    level = torch.where(n > 0, learnt.s[:, which] / n.clamp_min(1), learnt.total / learnt.of)
    error = tested.squares[:, 0] - 2 * (level * tested.s[:, which]).sum(1) + (tested.n[which] * level**2).sum(1)
    return _r2(error[:, None], tested)[:, 0]


def _by_literal(learnt: _Sums, tested: _Sums, which: slice) -> tuple[Int[Tensor, "neuron"], Float[Tensor, "neuron"]]:
    """The column of highest correlation in training, and the held-out R^2 of its two training means."""
    n, s = learnt.n[which], learnt.s[:, which]
    usable = (n >= LEAST) & (n <= learnt.of - LEAST)
    fails = (learnt.of - n).clamp_min(1)
    # Its correlation is proportional to (n times) the gap of the sum from what the mean would give, over sqrt(n fails).
    r = (s - learnt.total * n / learnt.of) / (n * fails).clamp_min(1).sqrt()
    best = r.masked_fill(~usable, float("-inf")).argmax(1)
    high, low = s / n.clamp_min(1), (learnt.total - s) / fails
    held, there = tested.n[which], tested.s[:, which]
    error = tested.squares - 2 * (high * there + low * (tested.total - there))
    error += held * high**2 + (tested.of - held) * low**2
    r2 = _r2(error, tested).masked_fill(~usable, 0.0)
    return best, r2.gather(1, best[:, None])[:, 0]


def _r2(error: Float[Tensor, "neuron k"], tested: _Sums) -> Float[Tensor, "neuron k"]:
    total = tested.variance
    return torch.where(total > 0, 1 - error / total.clamp_min(1e-300), 0.0).float()


def _skill(
    tune: Float[Tensor, "n"], learnt: Bool[Tensor, "n"], out: Float[Tensor, "m"], tested: Bool[Tensor, "m"]
) -> float:
    if not learnt.any():
        return 0.0
    on = out > best_threshold(tune, learnt)
    f1 = 2 * (on & tested).sum().double() / (on.sum() + tested.sum()).clamp_min(1)
    return float(skill(f1, tested.double().mean()))


def _columns(side: Side) -> Float[Tensor, "n column"]:
    black = side.packed.holds(ToMove(True))
    literals = [Literal(square, "flipped") for square in range(N_SQUARES)]
    side.packed.prepare(literals)
    flips = torch.stack([side.packed.holds(literal) for literal in literals], 1)
    moves = side.games.tokens[side.packed.row, side.packed.ply].long() - 1
    groups = [torch.nn.functional.one_hot(group, n) for group, n in ((side.ply, N_CTX), (moves, N_MOVES))]
    return torch.cat([groups[0], black[:, None], ~black[:, None], groups[1], flips], 1).float()
