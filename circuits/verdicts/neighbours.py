"""The rules next to a rule: without a literal, with one literal changed, and the whole rule elsewhere on the board.

    without a literal   taken out of the formula so that it no longer matters; of one literal, ``true`` is left
    neighbour           one literal changed: another state of its square, the same on one of the 8 squares around it,
                        its negation, one ply earlier or later; a pattern that flanks one disc more or less, the
                        bare "legal", or all but one of the pattern's squares; a bound one higher or lower
    translation         the whole rule moved by rows and columns, wherever it fits
    symmetric           turned or reflected as legal games can be; *geometric*: as the board can, but no legal game
    swapped             mine and theirs exchanged

A literal is an atom or its negation as it stands in the rule; one that stands there several times is taken out, or
changed, everywhere at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from circuits.features import PATTERN_INDEX, Pattern
from circuits.notation import CENTRE, N_CTX
from circuits.rules import (
    MOST,
    TRUE,
    And,
    Atom,
    Constant,
    Count,
    Line,
    Literal,
    Not,
    Or,
    Rule,
    ToMove,
    conjunction,
    disjunction,
    symmetry,
)

#: what may stand in a literal's place on its square
STATES = {
    "empty": ("mine", "theirs", "occupied"),
    "mine": ("empty", "theirs", "occupied"),
    "theirs": ("empty", "mine", "occupied"),
    "occupied": ("mine", "theirs"),
    "black": ("empty", "white", "occupied"),
    "white": ("empty", "black", "occupied"),
    "played": ("flipped", "occupied", "mine", "theirs"),
    "flipped": ("played", "occupied", "mine", "theirs"),
    "legal": ("empty",),
}


@dataclass(frozen=True)
class Variant:
    """Another rule, how it came about, and (where one was changed) the literal of the rule as it is."""

    kind: str
    rule: Rule
    what: str
    literal: str | None = None


def literals(rule: Rule) -> tuple[Rule, ...]:
    """The atoms and negated atoms that a rule is built of, each once, in order."""
    if isinstance(rule, Atom) or (isinstance(rule, Not) and isinstance(rule.rule, Atom)):
        return (rule,)
    parts = (rule.rule,) if isinstance(rule, Not) else getattr(rule, "rules", ())
    return tuple(dict.fromkeys(literal for part in parts for literal in literals(part)))


def without(rule: Rule, literal: Rule) -> Rule:
    """The formula with a literal taken out: true among things that must all hold, false among alternatives."""
    left = _without(rule, literal)
    return TRUE if left is None else left


def _without(rule: Rule, literal: Rule) -> Rule | None:
    """None where nothing is left."""
    if rule == literal:
        return None
    if isinstance(rule, Not):
        inside = _without(rule.rule, literal)
        return None if inside is None else Not(inside)
    if isinstance(rule, And | Or):
        left = [part for part in (_without(part, literal) for part in rule.rules) if part is not None]
        return (conjunction if isinstance(rule, And) else disjunction)(left) if left else None
    return rule


def exchange(rule: Rule, literal: Rule, other: Rule) -> Rule:
    """The formula with another rule in a literal's place."""
    if rule == literal:
        return other
    if isinstance(rule, Not):
        return Not(exchange(rule.rule, literal, other))
    if isinstance(rule, And | Or):
        join = conjunction if isinstance(rule, And) else disjunction
        return join(exchange(part, literal, other) for part in rule.rules)
    return rule


def sub_rules(rule: Rule) -> list[Variant]:
    """The rule without each of its literals."""
    return [
        Variant("without a literal", without(rule, literal), f"without {literal}", str(literal))
        for literal in literals(rule)
    ]


def neighbours(rule: Rule) -> list[Variant]:
    """One literal changed; see the module. Each once, and not the rule itself."""
    found: dict[Rule, Variant] = {}
    for literal in literals(rule):
        for other in _changed(literal):
            variant = exchange(rule, literal, other)
            if variant != rule and not isinstance(variant, Constant):
                found.setdefault(variant, Variant("neighbour", variant, f"{other} for {literal}", str(literal)))
    return list(found.values())


def _changed(literal: Rule) -> Iterator[Rule]:
    """What may stand in a literal's place: of a negated one, the negations of what may stand for its atom."""
    yield Not(literal)
    negated = isinstance(literal, Not)
    for atom in _changed_atom(literal.rule if negated else literal):
        yield Not(atom) if negated else atom


def _changed_atom(atom: Atom) -> Iterator[Rule]:
    if isinstance(atom, Literal):
        for name in STATES[atom.name]:
            if not (name == "empty" and atom.square in CENTRE):
                yield replace(atom, name=name)
        for square in around(atom.square):
            if not (atom.name in ("empty", "played", "legal", "occupied") and square in CENTRE):
                yield replace(atom, square=square)
    elif isinstance(atom, Line):
        pattern = atom.pattern
        yield Literal(pattern.square, "legal", atom.back)
        other = [replace(pattern, flanked=pattern.flanked + by) for by in (-1, 1)]
        other += [replace(pattern, square=square) for square in around(pattern.square)]
        yield from (Line(p, atom.back) for p in other if p in PATTERN_INDEX)
        if not atom.back:  # mine and theirs are of the side that moves now, a pattern of the one that moved then
            squares = spelled_out(pattern)
            yield from (conjunction(squares[:i] + squares[i + 1 :]) for i in range(len(squares)))
    elif isinstance(atom, Count):
        if atom.low > 0:
            yield from (replace(atom, low=low) for low in (atom.low - 1, atom.low + 1) if low <= atom.high)
        if atom.high < MOST:
            yield from (replace(atom, high=high) for high in (atom.high - 1, atom.high + 1) if high >= atom.low)
    # The ply a ply earlier is another bound, and who moved then nearly always the other side.
    if not isinstance(atom, ToMove) and getattr(atom, "what", "") != "ply":
        yield from (replace(atom, back=back) for back in (atom.back - 1, atom.back + 1) if 0 <= back < N_CTX)


def spelled_out(pattern: Pattern) -> tuple[Literal, ...]:
    """The literals of a pattern: an empty square, discs to flank, one of the mover's own."""
    *flanked, end = pattern.squares()
    theirs = (Literal(square, "theirs") for square in flanked)
    return (Literal(pattern.square, "empty"), *theirs, Literal(end, "mine"))


def around(square: int) -> list[int]:
    """The up to 8 squares around one."""
    row, column = divmod(square, 8)
    return [
        8 * r + c
        for r in range(max(row - 1, 0), min(row + 2, 8))
        for c in range(max(column - 1, 0), min(column + 2, 8))
        if 8 * r + c != square
    ]


def moved(rule: Rule) -> list[Variant]:
    """The whole rule elsewhere: translations, symmetric and geometric forms, mine and theirs swapped."""
    found = [Variant("translation", other, _shift(*by)) for by, other in symmetry.translations(rule).items()]
    found += [Variant("symmetric", other, name) for name, other in symmetry.symmetric(rule).items()]
    found += [Variant("geometric", other, name) for name, other in symmetry.geometric(rule).items()]
    if symmetry.has_colours(rule):
        found.append(Variant("swapped", symmetry.swap(rule), "mine and theirs swapped"))
    return [variant for variant in found if variant.rule != rule]


def _shift(down: int, right: int) -> str:
    """ "shifted by 1 row down and 2 columns left"."""
    parts = [
        f"{abs(n)} {word}{'s' * (abs(n) > 1)} {ways[n > 0]}"
        for n, word, ways in ((down, "row", ("up", "down")), (right, "column", ("left", "right")))
        if n
    ]
    return f"shifted by {' and '.join(parts)}"
