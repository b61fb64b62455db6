"""What every unit adds to each move's logit: sums over ablated positions, where the move is legal and where it is not.

At a position, with the logits relative to their mean over the 60 moves, a unit *adds* to a move what the logit is with
the unit as it is less what it is with the unit at its ply's mean, everything after it recomputed: a total effect.
Positions count for a move where it is legal, and apart from these, to compare with, where its square is empty and it is
illegal. (Direct logits cannot say who makes a move legal: what a unit writes may be undone by later layers.)

The *gap* is what it adds in the one case less in the other, at the same ply: a move is legal at other plies than it is
not, and what a unit adds may change along the game (one that is on where the square is occupied has a mean that grows).
With one slope b on the ply t for both cases,

    gap = y1 - y0 - b (t1 - t0),    se^2 = s1^2 / n1 + s0^2 / n0 + (t1 - t0)^2 var b

y, t means, s^2 the variances about the line, var b = sum of s^2 S_tt / (S_tt)^2; p by Student's t with Welch's and
Satterthwaite's degrees of freedom. Without the line this is Welch's test.

A gap passes if it is at least `FLOOR` logits and beyond chance over all units looked at (Bonferroni): with enough
positions anything that goes with the board near a square passes the second alone. As a control, in every position as
many empty squares as there are legal moves are drawn at random and stand for them.

What a gap cannot tell: whether the unit itself differs between the cases, or later layers answer differently to the
same change; and the error of the mean that the unit is set to is not in the standard errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import t as student
from torch import Tensor

from circuits.checkpoints import Shape
from circuits.errors import InputError
from circuits.notation import N_MOVES

#: what is kept; of these the first two make up all empty squares
WHERE = ("legal", "illegal", "drawn")
#: pairs that are compared: the real one, and the control ("left": empty and not drawn)
REAL, CONTROL = ("legal", "illegal"), ("drawn", "left")
#: chance that any of the units looked at passes at a square where none differs
ALPHA = 0.05
#: logits: a tenth on the odds of a move
FLOOR = 0.1
#: positions of each case, of which there must be so many before anything is called beyond chance
LEAST = 20
#: the ply that plies are counted from
MIDDLE = 29
#: steps of the sums of effects, of their squares (one below 4e-6 logits squares to 0), and of effect times ply
STEPS = 2.0**32, 2.0**36, 2.0**30
#: logits; a larger effect is refused, so that a position's square has room 128 times over
LARGEST = 2.0**10


@dataclass
class MoveEffects:
    """Everything summed so far; the second axis of the sums is `WHERE`.

    Attributes:
        plies: of positions that counted for a move: how many, the sum of their plies from `MIDDLE`, of the squares.
        neurons, heads: sums of the effects, of their squares, of effects times plies.
    """

    plies: Int[Tensor, "sum=3 where=3 move=60"]
    neurons: Int[Tensor, "sum=3 where=3 layer neuron move=60"]
    heads: Int[Tensor, "sum=3 where=3 layer head move=60"]

    @staticmethod
    def empty(shape: Shape) -> "MoveEffects":
        """Sums of nothing."""

        def zeros(units: int) -> Tensor:
            return torch.zeros(3, len(WHERE), shape.n_layers, units, N_MOVES, dtype=torch.int64)

        plies = torch.zeros(3, len(WHERE), N_MOVES, dtype=torch.int64)
        return MoveEffects(plies, zeros(shape.d_mlp), zeros(shape.n_heads))

    @property
    def positions(self) -> Int[Tensor, "where=3 move=60"]:
        """How many counted for a move."""
        return self.plies[0]

    def add(
        self,
        neurons: Float[Tensor, "layer neuron move=60"],
        heads: Float[Tensor, "layer head move=60"],
        legal: Bool[Tensor, "move=60"],
        illegal: Bool[Tensor, "move=60"],
        drawn: Bool[Tensor, "move=60"],
        ply: int,
    ) -> None:
        """Count one position in place. Nothing changes where it is refused.

        Args:
            drawn: of the legal and illegal ones, those that stand for the legal ones in the control.

        Raises:
            InputError: an effect of `LARGEST` logits or more, or not finite.
        """
        if not all((x.abs() < LARGEST).all() for x in (neurons, heads)):
            raise InputError(f"an ablation moves a logit by {LARGEST:.0f} or more: the weights are too large")
        for at, moves in enumerate(mask.nonzero()[:, 0] for mask in (legal, illegal, drawn)):
            t = ply - MIDDLE
            self.plies[:, at, moves] += torch.tensor([1, t, t * t])[:, None]
            for sums, values in ((self.neurons, neurons), (self.heads, heads)):
                here = values[..., moves]
                for sum_, terms, steps in zip(sums[:, at], (here, here**2, here * t), STEPS, strict=True):
                    sum_.index_add_(-1, moves, (terms * steps).round().long())

    def merge(self, other: "MoveEffects") -> "MoveEffects":
        """Add what was found at other positions; self, changed in place. Nothing changes where it is refused.

        Raises:
            InputError: units of another number; sums beyond what they have room for.
        """
        ours, theirs = self.tensors(), other.tensors()
        if any(ours[name].shape != theirs[name].shape for name in ours):
            raise InputError("cannot merge: what units add to moves is of other numbers of units")
        total = {name: ours[name] + theirs[name] for name in ours}
        if any(((ours[n] ^ total[n]) & (theirs[n] ^ total[n])).lt(0).any() for n in ours):
            raise InputError("cannot merge: what units add to moves is too large for this many positions")
        for name, tensor in total.items():
            setattr(self, name, tensor)
        return self

    def tensors(self) -> dict[str, Tensor]:
        """What a file keeps."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @staticmethod
    def of_tensors(tensors: Mapping[str, Tensor]) -> "MoveEffects":
        """The inverse of `tensors`.

        Raises:
            InputError: not the tensors of what units add to moves.
        """
        names = [field.name for field in fields(MoveEffects)]
        own = [tensors[name] for name in names if name in tensors]
        sound = len(own) == len(names) and all(
            x.dtype == torch.int64 and x.ndim == n and (*x.shape[:2], x.shape[-1]) == (3, len(WHERE), N_MOVES)
            for x, n in zip(own, (3, 5, 5), strict=True)
        )
        if not sound:
            raise InputError(f"these are no sums of what units add to moves: they are int64 {', '.join(names)}")
        return MoveEffects(*(x.clone() for x in own))

    def mean(
        self, where: str, kind: str = "neuron", layers: slice = slice(None)
    ) -> Float[Tensor, "layer unit move=60"]:
        """Mean effect in logits of the units of all layers or some, float64; NaN for a move without such a position.

        Raises:
            InputError: no such place or kind.
        """
        return torch.from_numpy(self._case(where, kind, layers).y)

    def se(self, where: str, kind: str = "neuron", layers: slice = slice(None)) -> Float[Tensor, "layer unit move=60"]:
        """The standard error of `mean`, positions being of different games; NaN for fewer than two.

        Raises:
            InputError: as `mean`.
        """
        case = self._case(where, kind, layers)
        spread = case.yy / np.maximum(case.n - 1, 1) / case.n
        return torch.from_numpy(np.where(case.n > 1, np.sqrt(spread), np.nan))

    def compare(self, kind: str = "neuron", layers: slice = slice(None), pair: tuple[str, str] = REAL) -> "Compared":
        """What units add in the one case beyond what they add in the other, at the same ply: see the file's head.

        Raises:
            InputError: as `mean`.
        """
        one, other = cases = [self._case(where, kind, layers) for where in pair]
        tt = one.tt + other.tt
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(tt > 0, (one.yt + other.yt) / tt, 0.0)
            # About the line; a case of fewer than two positions has no variance.
            about = [np.maximum(c.yy - 2 * slope * c.yt + slope**2 * c.tt, 0) / (c.n - 1) for c in cases]
            apart = one.t - other.t
            line = np.where(tt > 0, apart**2 * sum(s * c.tt for s, c in zip(about, cases, strict=True)) / tt**2, 0.0)
            parts = [(s / c.n, c.n - 1) for s, c in zip(about, cases, strict=True)] + [(line, one.n + other.n - 3)]
            square = sum(part for part, _ in parts)
            df = square**2 / sum(part**2 / np.maximum(n, 1) for part, n in parts)
            gap, se = one.y - other.y - slope * apart, np.sqrt(square)
            p = np.where(square == 0, 1.0, 2 * student.sf(abs(gap) / se, df))
        fewest = np.minimum(one.n, other.n)
        gap, se = (np.where(fewest > 1, values, np.nan) for values in (gap, se))
        return Compared(gap, se, np.where(fewest >= LEAST, p, np.nan))

    def _case(self, where: str, kind: str, layers: slice) -> "_Case":
        if where not in (*WHERE, *CONTROL) or kind not in ("neuron", "head"):
            raise InputError(f"{where!r} of a {kind!r}: ask legal, illegal, drawn or left of a neuron or head")
        units = self.neurons if kind == "neuron" else self.heads
        n, t, tt = (self._of(where, own).double().numpy() for own in self.plies)
        y, yy, yt = (
            self._of(where, own[:, layers]).double().numpy() / step for own, step in zip(units, STEPS, strict=True)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            return _Case(n, t / n, tt - t**2 / n, y / n, np.maximum(yy - y**2 / n, 0), yt - y * t / n)

    @staticmethod
    def _of(where: str, sums: Int[Tensor, "where=3 *rest"]) -> Int[Tensor, "*rest"]:
        return sums[0] + sums[1] - sums[2] if where == "left" else sums[WHERE.index(where)]


@dataclass(frozen=True, eq=False)
class _Case:
    """By move: positions, mean ply, sum of squares of plies about it; by unit too: mean effect, sum of squares and of
    products with the ply about the means."""

    n: Float[np.ndarray, "move=60"]
    t: Float[np.ndarray, "move=60"]
    tt: Float[np.ndarray, "move=60"]
    y: Float[np.ndarray, "layer unit move=60"]
    yy: Float[np.ndarray, "layer unit move=60"]
    yt: Float[np.ndarray, "layer unit move=60"]


@dataclass(frozen=True, eq=False)
class Compared:
    """By unit and move: the gap in logits, its standard error, and how often one as large comes of chance (two-sided).

    NaN where a case has fewer than two positions, the last where it has fewer than `LEAST`.
    """

    gap: Float[np.ndarray, "layer unit move=60"]
    se: Float[np.ndarray, "layer unit move=60"]
    p: Float[np.ndarray, "layer unit move=60"]

    def passes(self, units: int) -> Bool[np.ndarray, "layer unit move=60"]:
        """Gaps of at least `FLOOR` logits that are beyond chance, so many units having been looked at."""
        return passes(self.gap, self.p, units)


def passes(gap: Float[np.ndarray, "*shape"], p: Float[np.ndarray, "*shape"], units: int) -> Bool[np.ndarray, "*shape"]:
    """As `Compared.passes`; what is not known does not pass."""
    return (abs(gap) >= FLOOR) & (p * units < ALPHA)


def side(gap: float, legal: float) -> str:
    """Where more of a gap comes from: "legal", where the move is, or "illegal"; ``legal``: what is added there."""
    return "legal" if legal * gap > 0 and abs(legal) >= abs(gap) / 2 else "illegal"
