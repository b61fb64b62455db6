"""Rules: what is said to make a unit active, as a formula over facts on the board.

    from circuits.rules import sq, ply, flips
    rule = sq.C0.empty & sq.D1.theirs & sq.E2.mine
    claim = sq.A4.played & sq.B4.occupied & (ply >= 10) >> sq.B4.theirs

The same as text, through `circuits.rule_text`: ``C0 empty & D1 theirs & E2 mine``, ``A4 played & ... => B4 theirs``.

Atoms, each True or False at a position (game, ply):

    C0 empty               any of `features.LITERALS` on a square
    legal C0 via SE x1     one of the 960 patterns
    flips >= 3, ply 10..20 a count within bounds: `COUNTS`
    black to move          the side that moves next; ``passed``: a forced pass came just before

``@-k`` (``sq.B4.occupied @ -1`` in Python) asks for an atom k plies earlier. *Mine* and *theirs* always are the discs
of the side that moves next **now**, whichever ply is looked at; ``legal`` and patterns are of the side that moved then.
An atom at a ply before the first move does not hold. Rules are canonical as they are made: nested "and"s and "or"s are
flattened, sorted and without repeats, so that equal ones compare and print equal. `circuits.rule_logic` simplifies.

Formulas are in `circuits.rule_formulas`, atoms in `circuits.rule_atoms`, claims in `circuits.rule_claims`; this file
has their spelling in Python.
"""

from circuits.features import LITERALS, Pattern
from circuits.notation import LABELS
from circuits.rule_atoms import (
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
from circuits.rule_claims import Claim, Effect
from circuits.rule_formulas import FALSE, TRUE, And, Atom, Constant, Not, Or, Rule, conjunction, disjunction

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


class _Square:
    """``sq.C0``: its literals as attributes (``.empty``, ``.mine``…); ``+sq.C0`` and ``-sq.C0`` are its logit."""

    def __init__(self, square: int):
        self._square = square

    def __getattr__(self, name: str) -> Literal:
        if name not in LITERALS:
            raise AttributeError(f"{LABELS[self._square]} has no {name!r}: it is one of {', '.join(LITERALS)}")
        return Literal(self._square, name)

    def via(self, direction: str, flanked: int = 1) -> Line:
        """The pattern by which a move here is legal: ``sq.C0.via("SE", 1)``."""
        return Line(Pattern(self._square, direction.upper(), flanked))

    def __pos__(self) -> Effect:
        return Effect("logit", 1, self._square)

    def __neg__(self) -> Effect:
        return Effect("logit", -1, self._square)

    def __dir__(self) -> list[str]:
        return [*LITERALS, "via"]


class _Squares:
    """``sq``: squares as attributes, ``sq.C0``."""

    def __getattr__(self, name: str) -> _Square:
        if name.upper() not in LABELS:
            raise AttributeError(f"{name!r} is no square: a letter A-H and a digit 0-7, as in sq.C0")
        return _Square(LABELS.index(name.upper()))

    def __dir__(self) -> list[str]:
        return list(LABELS)


class _Counted:
    """A count, compared with numbers: ``ply >= 20``, ``flips == 3``, ``ply.between(10, 20)``."""

    __hash__ = None

    def __init__(self, what: str):
        self.what = what

    def between(self, low: int, high: int) -> Count:
        return Count(self.what, low, high)

    def __ge__(self, n: int) -> Count:
        return Count(self.what, low=n)

    def __gt__(self, n: int) -> Count:
        return Count(self.what, low=n + 1)

    def __le__(self, n: int) -> Count:
        return Count(self.what, high=n)

    def __lt__(self, n: int) -> Count:
        return Count(self.what, high=n - 1)

    def __eq__(self, n: int) -> Count:
        return Count(self.what, n, n)

    def __ne__(self, n: int) -> Rule:
        return ~Count(self.what, n, n)


sq = _Squares()
ply, flips, moves = _Counted("ply"), _Counted("flips"), _Counted("moves")
mine, theirs, occupied = _Counted("mine"), _Counted("theirs"), _Counted("occupied")
black_to_move, white_to_move, passed = ToMove(True), ToMove(False), Passed()
