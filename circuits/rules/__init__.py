"""Rules: what is said to make a unit active, as a formula over facts on the board.

    from circuits.rules import sq, ply, flips
    rule = sq.C0.empty & sq.D1.theirs & sq.E2.mine
    claim = (sq.A4.played & sq.B4.occupied & (ply >= 10)) >> sq.B4.theirs

In Python ``>>`` binds before ``&`` and ``|``, and these before ``>=``: brackets go round the rule before ``>>``, and
round every comparison. Several effects are a list: ``(a & b) >> [sq.B4.theirs, +sq.C0, "-L1N421"]``.

The same as text, through `circuits.rules.text`: ``C0 empty & D1 theirs & E2 mine``, ``A4 played & ... => B4 theirs``.

Atoms, each True or False at a position (game, ply):

    C0 empty               any of `features.LITERALS` on a square
    legal C0 via SE x1     one of the 960 patterns
    flips >= 3, ply 10..20 a count within bounds: `COUNTS`
    black to move          the side that moves next; ``passed``: a forced pass came just before

``@-k`` (``sq.B4.occupied @ -1`` in Python) asks for an atom k plies earlier. *Mine* and *theirs* always are the discs
of the side that moves next **now**, whichever ply is looked at; ``legal`` and patterns are of the side that moved then.
An atom at a ply before the first move does not hold. Rules are canonical as they are made: nested "and"s and "or"s are
flattened, sorted and without repeats, so that equal ones compare and print equal. `circuits.rules.logic` simplifies.

Formulas are in `circuits.rules.formulas`, atoms in `circuits.rules.atoms`, claims in `circuits.rules.claims`; this file
has their spelling in Python.
"""

from dataclasses import dataclass

from circuits.errors import InputError
from circuits.features import LITERALS, Pattern
from circuits.notation import LABELS
from circuits.rules.atoms import (
    ABSOLUTE,
    COUNTS,
    MOST,
    RELATIVE,
    Count,
    Line,
    Literal,
    Passed,
    ToMove,
    counted,
)
from circuits.rules.claims import Claim, Effect, as_claim
from circuits.rules.formulas import FALSE, TRUE, And, Atom, Constant, Not, Or, Rule, conjunction, disjunction
from circuits.rules.misuse import NoRule, whole

__all__ = [
    "ABSOLUTE",
    "COUNTS",
    "FALSE",
    "MOST",
    "RELATIVE",
    "TRUE",
    "And",
    "Atom",
    "Claim",
    "Constant",
    "Count",
    "Effect",
    "Line",
    "Literal",
    "Not",
    "Or",
    "Passed",
    "Rule",
    "ToMove",
    "as_claim",
    "black_to_move",
    "conjunction",
    "counted",
    "disjunction",
    "flips",
    "mine",
    "moves",
    "occupied",
    "passed",
    "ply",
    "sq",
    "theirs",
    "white_to_move",
]


@dataclass(frozen=True, repr=False)
class _Square(NoRule):
    """``sq.C0``: its literals as attributes (``.empty``, ``.mine``…); ``+sq.C0`` and ``-sq.C0`` are its logit."""

    _square: int

    def __repr__(self) -> str:
        return f"sq.{LABELS[self._square]}"

    @property
    def instead(self) -> str:
        return f"{self} is a square and no fact: name a fact: {self}.empty, {self}.mine, ..."

    def __getattr__(self, name: str) -> Literal:
        if name.startswith("_"):  # `copy` and `pickle` ask before there is a square
            raise AttributeError(name)
        if name not in LITERALS:
            raise AttributeError(f"{LABELS[self._square]} has no {name!r}: it is one of {', '.join(LITERALS)}")
        return Literal(self._square, name)

    def via(self, direction, flanked=1) -> Line:
        """The pattern by which a move here is legal: ``sq.C0.via("SE", 1)``."""
        if not isinstance(direction, str):
            raise InputError(f"{self}.via({direction!r}): give a direction and how many discs, via('SE', 1)")
        return Line(Pattern(self._square, direction.upper(), flanked))

    def __pos__(self) -> Effect:
        return Effect("logit", 1, self._square)

    def __neg__(self) -> Effect:
        return Effect("logit", -1, self._square)

    def __dir__(self) -> list[str]:
        return [*LITERALS, "via"]


class _Squares(NoRule):
    """``sq``: squares as attributes, ``sq.C0``."""

    instead = "sq is all squares and no fact: name a square and a fact: sq.C0.empty"

    def __repr__(self) -> str:
        return "sq"

    def __getattr__(self, name: str) -> _Square:
        if name.upper() not in LABELS:
            raise AttributeError(f"{name!r} is no square: a letter A-H and a digit 0-7, as in sq.C0")
        return _Square(LABELS.index(name.upper()))

    def __dir__(self) -> list[str]:
        return list(LABELS)


class _Counted(NoRule):
    """A count, compared with numbers: ``ply >= 20``, ``flips == 3``, ``ply.between(10, 20)``."""

    __hash__ = None

    def __init__(self, what: str):
        self.what = what

    def __repr__(self) -> str:
        return self.what

    @property
    def instead(self) -> str:
        return f"{self} is a count and no fact: compare it: {self} >= 3, in brackets where it stands beside & and |"

    def between(self, low, high) -> Count:
        return Count(self.what, low, high)

    def __ge__(self, n) -> Count:
        return Count(self.what, low=n)

    def __gt__(self, n) -> Count:
        return Count(self.what, low=whole(n, f"{self} >") + 1)

    def __le__(self, n) -> Count:
        return Count(self.what, high=n)

    def __lt__(self, n) -> Count:
        return Count(self.what, high=whole(n, f"{self} <") - 1)

    def __eq__(self, n) -> Count:
        return Count(self.what, n, n)

    def __ne__(self, n) -> Rule:
        return ~Count(self.what, n, n)


sq = _Squares()
ply, flips, moves = _Counted("ply"), _Counted("flips"), _Counted("moves")
mine, theirs, occupied = _Counted("mine"), _Counted("theirs"), _Counted("occupied")
black_to_move, white_to_move, passed = ToMove(True), ToMove(False), Passed()
