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

``@-k`` (``sq.B4.occupied @ -1`` in Python) asks for an atom k plies earlier. *Mine* and *theirs* always are the discs of
the side that moves next **now**, whichever ply is looked at; ``legal`` and patterns are of the side that moved then. An
atom at a ply before the first move does not hold. Rules are canonical as they are made: nested "and"s and "or"s are
flattened, sorted and without repeats, so that equal ones compare and print equal. `circuits.rule_logic` simplifies.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from circuits import notation
from circuits.bitboards import popcount
from circuits.errors import InputError
from circuits.features import LITERALS, PATTERN_INDEX, Pattern, literal_bits, patterns_matrix
from circuits.notation import LABELS, N_CTX
from circuits.othello import Boards

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


class Rule:
    """A formula; combine with ``&``, ``|``, ``~``; ``rule >> effects`` adds what the unit is said to write."""

    key: tuple  # by which parts are sorted

    def __and__(self, other: "Rule") -> "Rule":
        return conjunction((self, other)) if isinstance(other, Rule) else NotImplemented

    def __or__(self, other: "Rule") -> "Rule":
        return disjunction((self, other)) if isinstance(other, Rule) else NotImplemented

    def __invert__(self) -> "Rule":
        return Not(self)

    def __rshift__(self, effects: "Effect | Rule | str | Iterable") -> "Claim":
        return Claim(self, _effects(effects))

    def __bool__(self) -> bool:
        raise TypeError("a rule is neither true nor false by itself: write & | ~ between rules, not 'and', 'or', 'not'")

    @cached_property
    def atoms(self) -> "tuple[Atom, ...]":
        """The different atoms, in canonical order."""
        raise NotImplementedError

    def replace(self, f: "Callable[[Atom], Rule]") -> "Rule":
        """The same formula with ``f(atom)`` in each atom's place."""
        raise NotImplementedError

    def holds(self, boards: Boards) -> Bool[Tensor, "game ply"]:
        """Where it holds, of boards that begin at ply 0; False on padding and where nobody can move.

        The plain way; `circuits.rule_bits` is the fast one.
        """
        return self._holds(boards) & boards.valid

    def _holds(self, boards: Boards) -> Bool[Tensor, "game ply"]:
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Rule):
    """Always or never."""

    value: bool

    def __str__(self) -> str:
        return "true" if self.value else "false"

    def __invert__(self) -> Rule:
        return Constant(not self.value)

    @property
    def key(self) -> tuple:
        return (7, (self.value,), "")

    atoms = ()

    def replace(self, f: Callable) -> Rule:
        return self

    def _holds(self, boards: Boards) -> Tensor:
        return torch.full_like(boards.valid, self.value)


TRUE, FALSE = Constant(True), Constant(False)


@dataclass(frozen=True)
class Atom(Rule):
    """One fact; ``back`` plies ago."""

    def __matmul__(self, back: int) -> "Atom":
        """``atom @ -1``: one ply earlier."""
        if not isinstance(back, int) or not -N_CTX < back <= 0:
            raise InputError(f"{self} @ {back}: give how many plies earlier, from @-1 to @-{N_CTX - 1}")
        return replace(self, back=self.back - back)

    @cached_property
    def atoms(self) -> tuple["Atom", ...]:
        return (self,)

    def replace(self, f: Callable) -> Rule:
        return f(self)

    def _holds(self, boards: Boards) -> Tensor:
        now = torch.zeros_like(boards.valid)
        plies = boards.valid.shape[-1] - self.back
        if plies > 0:
            now[..., self.back :] = self.at(boards[..., :plies], boards.black_to_move[..., self.back :])
        return now

    def at(self, then: Boards, black_now: Bool[Tensor, "*batch"]) -> Bool[Tensor, "*batch"]:
        """Whether it holds in the positions ``then``, where ``back`` plies later black moves or not."""
        raise NotImplementedError

    def _when(self) -> str:
        return f" @-{self.back}" if self.back else ""


@dataclass(frozen=True)
class Literal(Atom):
    """One of `features.LITERALS` on a square (an index)."""

    square: int
    name: str
    back: int = 0

    def __post_init__(self) -> None:
        if self.name not in LITERALS:
            raise InputError(f"unknown literal {self.name!r}: it is one of {', '.join(LITERALS)}")
        notation.label(self.square)

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
        if self.pattern not in PATTERN_INDEX:
            raise InputError(f"{self.pattern} is none of the 960 patterns: nobody plays there, or it leaves the board")

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
        if self.what not in COUNTS:
            raise InputError(f"nothing counts {self.what!r}: it is one of {', '.join(COUNTS)}")
        if not (0 <= self.low <= MOST and 0 <= self.high <= MOST):
            raise InputError(f"{self.what} {self.low}..{self.high}: give bounds within 0..{MOST}")

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


@dataclass(frozen=True)
class Not(Rule):
    """The opposite; ``Not(Not(r))`` and ``~~r`` are r."""

    rule: Rule

    def __new__(cls, rule: Rule):
        if isinstance(rule, Not):
            return rule.rule
        return ~rule if isinstance(rule, Constant) else super().__new__(cls)

    def __str__(self) -> str:
        return f"!{_inside(self.rule)}"

    def __invert__(self) -> Rule:
        return self.rule

    @property
    def key(self) -> tuple:
        rank, numbers, text = self.rule.key
        return (rank, numbers, f"{text}!")

    @cached_property
    def atoms(self) -> tuple[Atom, ...]:
        return self.rule.atoms

    def replace(self, f: Callable) -> Rule:
        return Not(self.rule.replace(f))

    def _holds(self, boards: Boards) -> Tensor:
        return ~self.rule._holds(boards)


@dataclass(frozen=True)
class _Several(Rule):
    rules: tuple[Rule, ...]

    @cached_property
    def key(self) -> tuple:
        return (8, (len(self.rules),), str(self))

    @cached_property
    def atoms(self) -> tuple[Atom, ...]:
        return tuple(sorted({atom for rule in self.rules for atom in rule.atoms}, key=lambda atom: atom.key))

    def __str__(self) -> str:
        return f" {self.sign} ".join(map(_inside, self.rules))


@dataclass(frozen=True)
class And(_Several):
    """All hold; made by ``&`` or `conjunction`."""

    sign = "&"

    def replace(self, f: Callable) -> Rule:
        return conjunction(rule.replace(f) for rule in self.rules)

    def _holds(self, boards: Boards) -> Tensor:
        return torch.stack([rule._holds(boards) for rule in self.rules]).all(0)


@dataclass(frozen=True)
class Or(_Several):
    """One holds at least; made by ``|`` or `disjunction`."""

    sign = "|"

    def replace(self, f: Callable) -> Rule:
        return disjunction(rule.replace(f) for rule in self.rules)

    def _holds(self, boards: Boards) -> Tensor:
        return torch.stack([rule._holds(boards) for rule in self.rules]).any(0)


def _inside(rule: Rule) -> str:
    return f"({rule})" if isinstance(rule, _Several) else str(rule)


def conjunction(rules: Iterable[Rule]) -> Rule:
    """All of them; of none, `TRUE`."""
    return _several(And, rules, TRUE)


def disjunction(rules: Iterable[Rule]) -> Rule:
    """One of them at least; of none, `FALSE`."""
    return _several(Or, rules, FALSE)


def _several(kind: type[_Several], rules: Iterable[Rule], neutral: Constant) -> Rule:
    parts: set[Rule] = set()
    for rule in rules:
        parts |= set(rule.rules) if isinstance(rule, kind) else {rule}
    if ~neutral in parts:
        return ~neutral
    parts.discard(neutral)
    ordered = tuple(sorted(parts, key=lambda rule: rule.key))
    return kind(ordered) if len(ordered) > 1 else ordered[0] if ordered else neutral


# ---- what a unit is said to write --------------------------------------------------------------------------


@dataclass(frozen=True)
class Effect:
    """One thing that a unit writes: a reading of the checkpoint, a move's logit, or another unit; ``sign`` 1 or -1.

    Attributes:
        kind: ``"reading"`` (of ``name``: empty, mine or theirs on ``square``), ``"logit"`` (of ``square``) or
            ``"unit"`` (``name``, such as ``"L1N421"``).
    """

    kind: str
    sign: int
    square: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.kind == "reading" and self.name not in ("empty", *RELATIVE):
            raise InputError(f"{self.name!r} is nothing that a unit writes to a square: empty, mine or theirs")
        if self.kind == "logit" and self.square in notation.CENTRE:
            raise InputError(f"{LABELS[self.square]} is a centre square: no move is ever played there, so has no logit")
        if self.kind == "reading" and self.square in notation.CENTRE and self.name == "empty":
            raise InputError(f"{LABELS[self.square]} is a centre square, which is never empty: say mine or theirs")

    def __str__(self) -> str:
        sign = "+" if self.sign > 0 else "-"
        if self.kind == "unit":
            return f"{sign}{self.name}"
        if self.kind == "logit":
            return f"{sign}{LABELS[self.square]}"
        return f"{'' if self.sign > 0 else '-'}{LABELS[self.square]} {self.name}"


@dataclass(frozen=True)
class Claim:
    """A rule and what the unit writes where it holds, maybe nothing said."""

    rule: Rule
    effects: tuple[Effect, ...] = ()

    def __str__(self) -> str:
        return f"{self.rule} ⇒ {', '.join(map(str, self.effects))}" if self.effects else str(self.rule)

    # ">>" binds tighter than "&" and "|" in Python: ``a & b >> c`` is meant as ``(a & b) >> c``.
    def __rand__(self, rule: Rule) -> "Claim":
        return Claim(rule & self.rule, self.effects) if isinstance(rule, Rule) else NotImplemented

    def __ror__(self, rule: Rule) -> "Claim":
        return Claim(rule | self.rule, self.effects) if isinstance(rule, Rule) else NotImplemented


def _effects(given: "Effect | Rule | str | Iterable") -> tuple[Effect, ...]:
    if isinstance(given, str):
        from circuits.rule_text import parse_effects

        return parse_effects(given)
    if isinstance(given, Effect):
        return (given,)
    if isinstance(given, And):
        return tuple(effect for rule in given.rules for effect in _effects(rule))
    if isinstance(given, Not) and isinstance(given.rule, Literal):
        return tuple(replace(effect, sign=-effect.sign) for effect in _effects(given.rule))
    if isinstance(given, Literal) and not given.back:
        return (Effect("reading", 1, given.square, given.name),)
    if isinstance(given, Rule) or not isinstance(given, Iterable):
        raise InputError(
            f"{given} is nothing that a unit writes: a square's state, +C0 or -C0, or a unit, as in -L1N421"
        )
    return tuple(dict.fromkeys(effect for one in given for effect in _effects(one)))


# ---- Python spelling ---------------------------------------------------------------------------------------


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


sq = _Squares()
ply, flips, moves = _Counted("ply"), _Counted("flips"), _Counted("moves")
mine, theirs, occupied = _Counted("mine"), _Counted("theirs"), _Counted("occupied")
black_to_move, white_to_move, passed = ToMove(True), ToMove(False), Passed()
