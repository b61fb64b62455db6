"""What every unit adds to each move's logit: sums over ablated positions, where the move is legal and where it is not.

At a position, with the logits relative to their mean over the 60 moves, a unit *adds* to a move what the logit is with
the unit as it is less what it is with the unit at its ply's mean, everything after it recomputed: a total effect.
Positions count for a move where it is legal, and apart from these, to compare with, where its square is empty and it is
illegal. (Direct logits cannot say who makes a move legal: what a unit writes may be undone by later layers.)

As a control, in every position as many empty squares as there are legal moves are drawn at random and stand for them:
what passes for a difference between those and the other empty squares is chance.
"""

from collections.abc import Mapping, Sequence
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
#: chance that any of the units, or moves, looked at passes where none differs
ALPHA = 0.05
#: steps of sums and of sums of squares; an effect below 4e-6 logits squares to 0
STEPS = 2.0**32, 2.0**36
#: logits; a larger effect is refused, so that a position's square has room 128 times over
LARGEST = 2.0**10


@dataclass
class MoveEffects:
    """Everything summed so far; the first axis of the sums is the effects and their squares, the second `WHERE`.

    Attributes:
        positions: that counted for a move.
    """

    positions: Int[Tensor, "where=3 move=60"]
    neurons: Int[Tensor, "power=2 where=3 layer neuron move=60"]
    heads: Int[Tensor, "power=2 where=3 layer head move=60"]

    @staticmethod
    def empty(shape: Shape) -> "MoveEffects":
        """Sums of nothing."""

        def zeros(units: int) -> Tensor:
            return torch.zeros(2, len(WHERE), shape.n_layers, units, N_MOVES, dtype=torch.int64)

        return MoveEffects(
            torch.zeros(len(WHERE), N_MOVES, dtype=torch.int64), zeros(shape.d_mlp), zeros(shape.n_heads)
        )

    def add(
        self,
        neurons: Float[Tensor, "layer neuron move=60"],
        heads: Float[Tensor, "layer head move=60"],
        legal: Bool[Tensor, "move=60"],
        illegal: Bool[Tensor, "move=60"],
        drawn: Bool[Tensor, "move=60"],
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
            self.positions[at, moves] += 1
            for sums, values in ((self.neurons, neurons), (self.heads, heads)):
                here = values[..., moves]
                for power, steps in enumerate(STEPS):
                    sums[power, at].index_add_(-1, moves, (here ** (power + 1) * steps).round().long())

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
        sound = len(own) == len(names) and all(x.dtype == torch.int64 for x in own)
        sound = sound and tuple(own[0].shape) == (len(WHERE), N_MOVES)
        if not sound or not all(
            x.ndim == 5 and tuple(x.shape[:2]) == (2, len(WHERE)) and x.shape[-1] == N_MOVES for x in own[1:]
        ):
            raise InputError(f"these are no sums of what units add to moves: they are int64 {', '.join(names)}")
        return MoveEffects(*(x.clone() for x in own))

    def mean(
        self, where: str, kind: str = "neuron", layers: slice = slice(None)
    ) -> Float[Tensor, "layer unit move=60"]:
        """Mean effect in logits of the units of all layers or some, float64; NaN for a move without such a position.

        Raises:
            InputError: no such place or kind.
        """
        return self._moments(where, kind, layers)[0]

    def se(self, where: str, kind: str = "neuron", layers: slice = slice(None)) -> Float[Tensor, "layer unit move=60"]:
        """The standard error of `mean`, positions being of different games; NaN for fewer than two.

        Raises:
            InputError: as `mean`.
        """
        mean, square = self._moments(where, kind, layers)
        n = self._of(where, self.positions)
        spread = (square - mean**2).clamp_min(0) / (n - 1).clamp_min(1)
        return torch.where(n > 1, spread, torch.nan).sqrt()

    def compare(self, kind: str = "neuron", layers: slice = slice(None), pair: tuple[str, str] = REAL) -> "Compared":
        """What units add in the one case beyond what they add in the other.

        Raises:
            InputError: as `mean`.
        """
        means, errors = ([of(where, kind, layers).numpy() for where in pair] for of in (self.mean, self.se))
        gap = means[0] - means[1]
        positions = [self._of(where, self.positions).numpy() for where in pair]
        return Compared(gap, np.hypot(*errors), chance(gap, errors, positions))

    def _moments(self, where: str, kind: str, layers: slice) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        if where not in (*WHERE, *CONTROL) or kind not in ("neuron", "head"):
            raise InputError(f"{where!r} of a {kind!r}: ask legal, illegal, drawn or left of a neuron or head")
        units = self.neurons if kind == "neuron" else self.heads
        n = self._of(where, self.positions)
        mean, square = (
            self._of(where, own[:, layers]).double() / step / n for own, step in zip(units, STEPS, strict=True)
        )
        return mean, square

    @staticmethod
    def _of(where: str, sums: Int[Tensor, "where=3 *rest"]) -> Int[Tensor, "*rest"]:
        return sums[0] + sums[1] - sums[2] if where == "left" else sums[WHERE.index(where)]


@dataclass(frozen=True, eq=False)
class Compared:
    """By unit and move: the difference of two means in logits, its standard error, and `chance` of it."""

    gap: Float[np.ndarray, "layer unit move=60"]
    se: Float[np.ndarray, "layer unit move=60"]
    p: Float[np.ndarray, "layer unit move=60"]


def chance(
    gap: Float[np.ndarray, "*unit"], errors: Sequence[np.ndarray], positions: Sequence[np.ndarray | int]
) -> Float[np.ndarray, "*unit"]:
    """How often a gap as large comes of chance where there is none: Welch's t-test, two-sided.

    Args:
        gap: of two means.
        errors, positions: standard errors, of the one and the other mean, and of how many positions these are.

    Returns:
        p; NaN where a mean is of fewer than two positions, 1 where neither varies.
    """
    own, n = ([np.asarray(x, dtype=float) for x in pair] for pair in (errors, positions))
    square = [e**2 for e in own]
    both = square[0] + square[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        df = both**2 / (square[0] ** 2 / (n[0] - 1) + square[1] ** 2 / (n[1] - 1))
        p = 2 * student.sf(abs(gap) / np.sqrt(both), df)
    return np.where(both == 0, 1.0, p)
