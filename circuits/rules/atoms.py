"""The facts that a rule may be about, each True or False at a position.

Every atom may look ``back`` some plies; before the first move none holds. *Mine* and *theirs* stay those of the side
that moves now, while ``legal`` and patterns are of the side that moved then.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from circuits import notation
from circuits.bitboards import popcount
from circuits.errors import InputError
from circuits.features import LITERALS, PATTERN_INDEX, Pattern, literal_bits, patterns_matrix
from circuits.notation import LABELS
from circuits.othello import Boards
from circuits.rules.formulas import Atom
from circuits.rules.misuse import shorten, whole

#: what can be counted at a position, and in words
COUNTS = {
    "ply": "the ply, from 0",
    "flips": "discs turned by the last move",
    "moves": "legal moves",
    "mine": "discs of the side to move",
    "theirs": "discs of the other side",
    "occupied": "discs",
}
#: no count reaches this
MOST = 64
#: literals on the colour of a disc: relative to the side to move, and absolute
RELATIVE, ABSOLUTE = ("mine", "theirs"), ("black", "white")


@dataclass(frozen=True)
class Literal(Atom):
    """One of `features.LITERALS` on a square (an index)."""

    square: int
    name: str
    back: int = 0

    def __post_init__(self) -> None:
        if self.name not in LITERALS:
            raise InputError(f"unknown literal {self.name!r}: it is one of {', '.join(LITERALS)}")
        notation.label(whole(self.square, f"{self.name} on square"))
        super().__post_init__()

    def __str__(self) -> str:
        return f"{LABELS[self.square]} {self.name}{self._when()}"

    @property
    def key(self) -> tuple:
        return (0, (self.square, LITERALS.index(self.name), self.back), "")

    def at(self, then: Boards, black_now: Tensor) -> Tensor:
        bits = literal_bits(then, self.name)
        if self.name in RELATIVE:
            other = literal_bits(then, RELATIVE[1 - RELATIVE.index(self.name)])
            bits = torch.where(then.black_to_move == black_now, bits, other)
        return (bits >> self.square & 1).bool()


@dataclass(frozen=True)
class Line(Atom):
    """One of the 960 patterns: a move legal via a direction."""

    pattern: Pattern
    back: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, Pattern):
            raise InputError(f"{shorten(repr(self.pattern))} is no pattern: write sq.C0.via('SE', 1)")
        whole(self.pattern.square, "the pattern's square")
        whole(self.pattern.flanked, "discs flanked:")
        if self.pattern not in PATTERN_INDEX:
            raise InputError(f"{self.pattern} is none of the 960 patterns: nobody plays there, or it leaves the board")
        super().__post_init__()

    def __str__(self) -> str:
        return f"{self.pattern}{self._when()}"

    @property
    def key(self) -> tuple:
        return (1, (PATTERN_INDEX[self.pattern], self.back), "")

    def at(self, then: Boards, black_now: Tensor) -> Tensor:
        return patterns_matrix(then, [PATTERN_INDEX[self.pattern]])[:, 0].reshape(then.mine.shape)


@dataclass(frozen=True)
class ToMove(Atom):
    """Black (or white) moves next."""

    black: bool
    back: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.black, bool):
            raise InputError(f"ToMove({shorten(repr(self.black))}): give True for black to move, False for white")
        super().__post_init__()

    def __str__(self) -> str:
        return f"{'black' if self.black else 'white'} to move{self._when()}"

    @property
    def key(self) -> tuple:
        return (2, (not self.black, self.back), "")

    def at(self, then: Boards, black_now: Tensor) -> Tensor:
        return then.black_to_move == self.black


@dataclass(frozen=True)
class Passed(Atom):
    """A forced pass came just before."""

    back: int = 0

    def __str__(self) -> str:
        return f"passed{self._when()}"

    @property
    def key(self) -> tuple:
        return (3, (self.back,), "")

    def at(self, then: Boards, black_now: Tensor) -> Tensor:
        return then.passed


@dataclass(frozen=True)
class Count(Atom):
    """One of `COUNTS` from ``low`` to ``high``, both included; 0 and `MOST` stand for no bound."""

    what: str
    low: int = 0
    high: int = MOST
    back: int = 0

    def __post_init__(self) -> None:
        if self.what not in tuple(COUNTS):
            raise InputError(f"nothing counts {self.what!r}: it is one of {', '.join(COUNTS)}")
        whole(self.low, self.what)
        whole(self.high, self.what)
        if not (0 <= self.low <= MOST and 0 <= self.high <= MOST):
            raise InputError(f"{self.what} {self.low}..{self.high}: give bounds within 0..{MOST}")
        if self.low > self.high:
            raise InputError(f"{self.what} {self.low}..{self.high}: the bounds are the wrong way round, lowest first")
        super().__post_init__()

    def __bool__(self) -> bool:
        raise TypeError(
            f"{self} alone is neither true nor false: 10 <= {self.what} <= 20 is written {self.what}.between(10, 20),"
            " and between rules & | ~ instead of 'and', 'or', 'not'"
        )

    def __str__(self) -> str:
        if self.low == self.high:
            said = f"{self.what} = {self.low}"
        elif self.high == MOST and self.low <= MOST:
            said = f"{self.what} >= {self.low}"
        elif self.low == 0:
            said = f"{self.what} <= {self.high}"
        else:
            said = f"{self.what} {self.low}..{self.high}"
        return f"{said}{self._when()}"

    @property
    def key(self) -> tuple:
        return (4, (tuple(COUNTS).index(self.what), self.low, self.high, self.back), "")

    def at(self, then: Boards, black_now: Tensor) -> Tensor:
        n = counted(then, self.what, black_now)
        return (n >= self.low) & (n <= self.high)


def counted(boards: Boards, what: str, black_now: Bool[Tensor, "*batch"] | None = None) -> Int[Tensor, "*batch"]:
    """One of `COUNTS` at positions; plies are places on the last axis."""
    if what == "ply":
        return torch.arange(boards.mine.shape[-1], device=boards.mine.device).expand(boards.mine.shape)
    name = {"flips": "flipped", "moves": "legal"}.get(what, what)
    n = popcount(literal_bits(boards, name))
    if what in RELATIVE and black_now is not None:
        other = popcount(literal_bits(boards, RELATIVE[1 - RELATIVE.index(what)]))
        n = torch.where(boards.black_to_move == black_now, n, other)
    return n
