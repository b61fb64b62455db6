"""A rule on a board: each of its facts drawn on its square, what is not on a square in words beside it.

Mine and theirs are the disc and the ring of every board. What else a rule can ask of a square has a mark of its own,
named in a key below: empty, occupied, just played, flipped, legal, black and white. A fact that must *not* hold is
struck through, one of several alternatives stands in a dashed frame, one asked of an earlier ply carries how many plies
back. Patterns are drawn as their line, as on all pages.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from markupsafe import Markup, escape

from circuits.rules import And, Atom, Effect, Line, Literal, Not, Or, Rule, ToMove
from reports.boards import BOX, LEFT, TOP, corner, discs
from reports.edits.figures import cross, outline, strike

#: what the stylesheet needs for these boards
STYLE = Markup(
    ".vacant { fill: none; stroke: var(--ink); stroke-width: .8; stroke-dasharray: 1.3 1; }"
    " .either { stroke: var(--bar); stroke-width: 7.2; } .either-dot { stroke: var(--paper); stroke-width: 2.2; }"
    " .just { fill: none; stroke: var(--ink); stroke-width: 1.1; }"
    " .player { stroke: var(--ink); stroke-width: .7; } .player.black { fill: #15181c; } .player.white { fill: #fff; }"
    " .barred { fill: none; stroke: var(--ink); stroke-width: 1.3; stroke-linecap: round; }"
    " .or { fill: none; stroke: var(--muted); stroke-width: .7; stroke-dasharray: 1 1; }"
    " .bar-halo { fill: none; stroke: var(--paper); stroke-width: 3; stroke-linecap: round; }"
    " text.back { font-size: 3.3px; fill: var(--ink); text-anchor: end; font-weight: 600; }"
    " .sign { fill: none; stroke: var(--ink); stroke-width: 1.5; stroke-linecap: round; }"
)

#: marks and what they say, in the order of the key
MARKS = {
    "mine": "mine (side to move)",
    "theirs": "theirs",
    "empty": "empty",
    "occupied": "occupied by either",
    "played": "just played",
    "flipped": "just flipped",
    "legal": "legal move",
    "black": "black’s disc",
    "white": "white’s disc",
    "not": "must not hold",
    "or": "one of several alternatives",
    "back": "so many plies earlier",
    "+": "logit raised",
    "-": "logit lowered",
}


@dataclass(frozen=True)
class Drawn:
    """A board, the marks that occur on it, and what is said beside it."""

    svg: Markup
    key: tuple[tuple[Markup, str], ...]
    beside: tuple[str, ...]


@dataclass(frozen=True)
class Fact:
    """An atom in its place in a formula: must it hold or fail, and is it one of several alternatives?"""

    atom: Atom
    holds: bool
    alternative: bool

    def __str__(self) -> str:
        if isinstance(self.atom, ToMove) and not self.holds:
            return str(replace(self.atom, black=not self.atom.black))
        return f"{'' if self.holds else 'not '}{self.atom}"


@dataclass
class _Pen:
    """What is drawn so far, in layers from the ground up."""

    lines: list[str] = field(default_factory=list)
    discs: dict[str, list[int]] = field(default_factory=dict)
    over: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def disc(self, name: str, square: int) -> None:
        self.discs.setdefault(name, []).append(square)

    def body(self) -> str:
        shown = discs(self.discs.get("mine", ()), self.discs.get("theirs", ()))
        return "".join((*self.lines, shown, *self.over))

    def key(self) -> tuple[tuple[Markup, str], ...]:
        return tuple((symbol(name), words) for name, words in MARKS.items() if name in self.used)


def facts(rule: Rule, holds: bool = True, alternative: bool = False) -> Iterator[Fact]:
    """The atoms of a formula from left to right, with what is asked of each; "not" is carried inwards."""
    if isinstance(rule, Not):
        yield from facts(rule.rule, not holds, alternative)
    elif isinstance(rule, And | Or):
        several = isinstance(rule, Or) == holds
        for part in rule.rules:
            yield from facts(part, holds, alternative or several)
    elif isinstance(rule, Atom):
        yield Fact(rule, holds, alternative)


def rule_board(rule: Rule, title: str = "") -> Drawn:
    """A rule's facts on an otherwise unspecified board."""
    pen, beside = _Pen(), []
    asked = list(dict.fromkeys(facts(rule)))
    for fact in asked:
        if isinstance(fact.atom, Literal):
            _literal(pen, fact)
        elif isinstance(fact.atom, Line):
            _pattern(pen, fact)
        else:
            beside.append(("or " if fact.alternative else "") + str(fact))
    words = f"{title or 'The rule'}: {rule}"
    return Drawn(_board(pen.body(), words), pen.key(), tuple(beside))


def effects_board(effects: Sequence[Effect]) -> Drawn | None:
    """What a unit is said to write, on a board; None where nothing of it is on a square."""
    pen, beside = _Pen(), []
    for effect in effects:
        if effect.kind == "reading":
            _literal(pen, Fact(Literal(effect.square, effect.name), effect.sign > 0, False))
        elif effect.kind == "logit":
            sign = "+" if effect.sign > 0 else "-"
            pen.used.add(sign)
            pen.over.append(_sign(sign, effect.square))
        else:
            beside.append(f"{effect.name} {'excited' if effect.sign > 0 else 'inhibited'}")
    if not pen.used:
        return None
    words = "What it is said to write: " + ", ".join(map(str, effects))
    return Drawn(_board(pen.body(), words), pen.key(), tuple(beside))


def symbol(name: str) -> Markup:
    """One mark by itself, for a key."""
    pen, inside = _Pen(), f'class="symbol" viewBox="{LEFT} {TOP} 10 10" aria-hidden="true"'
    if name in ("+", "-"):
        body = _sign(name, 0)
    elif name == "not":
        body = _barred(0)
    elif name == "or":
        body = outline([0], "or")
    elif name == "back":
        body = _back(0, 1)
    else:
        _literal(pen, Fact(Literal(0, name), True, False))
        body = pen.body()
    return Markup(f"<svg {inside}>{body}</svg>")


def _literal(pen: _Pen, fact: Fact) -> None:
    square, name, holds = fact.atom.square, fact.atom.name, fact.holds
    if not holds and name in ("empty", "occupied"):
        name, holds = ("occupied" if name == "empty" else "empty"), True
    pen.used.add(name)
    if name in ("mine", "theirs"):
        pen.disc(name, square)
    elif name == "empty":
        x, y = corner(square)
        pen.over.append(f'<circle class="vacant" cx="{x + 5}" cy="{y + 5}" r="3"/>')
    elif name == "occupied":
        pen.over.append(_either(square, False))
    elif name == "flipped":
        pen.over.append(_either(square, True))
    elif name == "played":
        pen.over.append(_either(square, False) + outline([square], "just"))
    elif name == "legal":
        pen.over.append(cross([square], "legal"))
    else:
        x, y = corner(square)
        pen.over.append(f'<circle class="player {name}" cx="{x + 5}" cy="{y + 5}" r="3.4"/>')
    _qualify(pen, fact, holds, square)


def _pattern(pen: _Pen, fact: Fact) -> None:
    first, (*flanked, last) = fact.atom.pattern.square, fact.atom.pattern.squares()
    (x, y), (x2, y2) = corner(first), corner(last)
    pen.lines.append(f'<path class="line" d="M{x + 5} {y + 5}L{x2 + 5} {y2 + 5}"/>')
    pen.over.append(cross([first], "legal"))
    for square in flanked:
        pen.disc("theirs", square)
    pen.disc("mine", last)
    pen.used |= {"legal", "mine", "theirs"}
    _qualify(pen, fact, fact.holds, first)


def _qualify(pen: _Pen, fact: Fact, holds: bool, square: int) -> None:
    """The strike, the frame and the plies back of one fact."""
    if not holds:
        pen.used.add("not")
        pen.over.append(_barred(square))
    if fact.alternative:
        pen.used.add("or")
        pen.over.append(outline([square], "or"))
    if fact.atom.back:
        pen.used.add("back")
        pen.over.append(_back(square, fact.atom.back))


def _either(square: int, flipped: bool) -> str:
    """A disc of whichever side, dotted where it was just turned."""
    x, y = corner(square)
    dot = f'<path class="disc either-dot" d="M{x + 5} {y + 5}h0"/>' if flipped else ""
    return f'<path class="disc either" d="M{x + 5} {y + 5}h0"/>{dot}'


def _barred(square: int) -> str:
    """A stroke that is seen on any disc."""
    return strike([square], "bar-halo") + strike([square], "barred")


def _back(square: int, plies: int) -> str:
    x, y = corner(square)
    return f'<text class="back" x="{x + 9.6}" y="{y + 3.4}">−{plies}</text>'


def _sign(sign: str, square: int) -> str:
    x, y = corner(square)
    arms = f"M{x + 2.2} {y + 5}h5.6" + (f"M{x + 5} {y + 2.2}v5.6" if sign == "+" else "")
    return f'<path class="sign" d="{arms}"/>'


def _board(body: str, words: str) -> Markup:
    return Markup(
        f'<svg class="board" viewBox="{BOX}" role="img" aria-label="{escape(words)}"><use href="#grid"/>{body}'
        '<use href="#cells"/></svg>'
    )
