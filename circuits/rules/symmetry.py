"""The same rule elsewhere, turned, mirrored, or with the colours the other way.

    translate(rule, down, right)    every square moved so far, None where one leaves the board
    symmetric(rule)                 the four maps of the board that keep the coloured start position: they take legal
                                    games to legal games, and a rule holds in a game where its image does in the game's
    geometric(rule)                 the other four, which exchange the colours of the start: shapes, no equivalents
    swap(rule)                      mine for theirs and theirs for mine
    absolute(rule, black)           mine and theirs said of black and white, as black (or white) sees them
    relative(rule, black)           the way back

Claims move as rules do, with their effects; effects on units stay. Patterns move whole, and where their colours change
they become the facts on their squares; so does ``legal``, as one of the patterns at its square. Both are of the side
that moved *then*: a ply or more back they have no colour to change and stay as they are.
"""

from collections.abc import Callable
from dataclasses import replace

from circuits.errors import InputError
from circuits.features import PATTERN_INDEX, PATTERNS, Pattern
from circuits.rules.atoms import ABSOLUTE, RELATIVE, Count, Line, Literal, ToMove
from circuits.rules.claims import Claim, Effect
from circuits.rules.formulas import Atom, Rule, conjunction, disjunction

Place = tuple[int, int]
#: the maps of (row, column) that keep the coloured start position
SYMMETRIC: dict[str, Callable[[int, int], Place]] = {
    "identity": lambda row, column: (row, column),
    "half-turn": lambda row, column: (7 - row, 7 - column),
    "main diagonal": lambda row, column: (column, row),
    "anti-diagonal": lambda row, column: (7 - column, 7 - row),
}
#: those that exchange its colours
GEOMETRIC: dict[str, Callable[[int, int], Place]] = {
    "quarter-turn clockwise": lambda row, column: (column, 7 - row),
    "quarter-turn anticlockwise": lambda row, column: (7 - column, row),
    "mirror left-right": lambda row, column: (row, 7 - column),
    "mirror up-down": lambda row, column: (7 - row, column),
}
_ROW_STEPS = {"N": -1, "S": 1}
_COLUMN_STEPS = {"W": -1, "E": 1}


class _OffBoard(Exception):
    """A square leaves the board, or becomes one where nobody plays."""


def translate(rule: Rule | Claim, down: int, right: int) -> Rule | Claim | None:
    """Every square ``down`` rows down and ``right`` columns to the right (negative: up, left).

    None where a square leaves the board, or where a pattern or a move's logit comes to a centre square.
    """
    try:
        return _moved(rule, lambda row, column: (row + down, column + right))
    except _OffBoard:
        return None


def translations(rule: Rule | Claim) -> dict[Place, Rule | Claim]:
    """All other places where the rule fits, by (rows down, columns to the right); none for a rule without squares."""
    found = {(down, right): translate(rule, down, right) for down in range(-7, 8) for right in range(-7, 8)}
    return {by: moved for by, moved in found.items() if moved is not None and moved != rule}


def symmetric(rule: Rule | Claim) -> dict[str, Rule | Claim]:
    """The four equivalents by name, the rule itself as "identity" among them."""
    return {name: _moved(rule, place) for name, place in SYMMETRIC.items()}


def geometric(rule: Rule | Claim) -> dict[str, Rule | Claim]:
    """The four other turns and mirrors by name: no equivalents, since they exchange the colours of the start."""
    return {name: _moved(rule, place) for name, place in GEOMETRIC.items()}


def map_square(square: int, place: Callable[[int, int], Place]) -> int:
    """The square that a map of (row, column) takes a square to."""
    row, column = place(*divmod(square, 8))
    if not (0 <= row < 8 and 0 <= column < 8):
        raise _OffBoard
    return 8 * row + column


def _moved(rule: Rule | Claim, place: Callable[[int, int], Place]) -> Rule | Claim:
    if isinstance(rule, Claim):
        return Claim(_moved(rule.rule, place), tuple(_moved_effect(effect, place) for effect in rule.effects))
    return rule.replace(lambda atom: _moved_atom(atom, place))


def _moved_atom(atom: Atom, place: Callable[[int, int], Place]) -> Rule:
    if isinstance(atom, Literal):
        return replace(atom, square=map_square(atom.square, place))
    if not isinstance(atom, Line):
        return atom
    square, direction = atom.pattern.square, atom.pattern.direction
    # A map takes a direction where it takes the way from one square to the next.
    down = next((step for name, step in _ROW_STEPS.items() if name in direction), 0)
    right = next((step for name, step in _COLUMN_STEPS.items() if name in direction), 0)
    (row, column), (next_row, next_column) = (place(square // 8 + down * n, square % 8 + right * n) for n in (0, 1))
    name = {-1: "N", 0: "", 1: "S"}[next_row - row] + {-1: "W", 0: "", 1: "E"}[next_column - column]
    pattern = Pattern(map_square(square, place), name, atom.pattern.flanked)
    if pattern not in PATTERN_INDEX:
        raise _OffBoard
    return Line(pattern, atom.back)


def _moved_effect(effect: Effect, place: Callable[[int, int], Place]) -> Effect:
    if effect.square is None:
        return effect
    try:
        return replace(effect, square=map_square(effect.square, place))
    except InputError:  # a centre square has no logit and is never empty
        raise _OffBoard from None


# ---- colours -----------------------------------------------------------------------------------------------


def has_colours(rule: Rule) -> bool:
    """Whether a rule says whose discs are where; "black to move" alone does not."""
    return any(
        (isinstance(atom, Literal) and atom.name in (*RELATIVE, *ABSOLUTE))
        or (isinstance(atom, Count) and atom.what in RELATIVE)
        or (not atom.back and (isinstance(atom, Line) or (isinstance(atom, Literal) and atom.name == "legal")))
        for atom in rule.atoms
    )


def swap(rule: Rule | Claim) -> Rule | Claim:
    """Mine for theirs and theirs for mine; black and white, and who moves, stay. What is written is swapped too."""
    other = dict(zip(RELATIVE, RELATIVE[::-1], strict=True))
    if isinstance(rule, Claim):
        effects = (replace(effect, name=other.get(effect.name, effect.name)) for effect in rule.effects)
        return Claim(swap(rule.rule), tuple(effects))

    def swapped(atom: Atom) -> Rule:
        if isinstance(atom, Count) and atom.what in other:
            return replace(atom, what=other[atom.what])
        return _recoloured(atom, other)

    return rule.replace(swapped)


def absolute(rule: Rule, black: bool = True) -> Rule:
    """Mine as black and theirs as white (``black`` False: as white sees it, the other way), whoever moves.

    "C0 legal" becomes "black could play C0", and "mine >= 20" becomes "black has 20 discs at least".
    """
    names = dict(zip(RELATIVE, ABSOLUTE if black else ABSOLUTE[::-1], strict=True))

    def coloured(atom: Atom) -> Rule:
        if isinstance(atom, Count) and atom.what in RELATIVE:
            other = replace(atom, what=RELATIVE[1 - RELATIVE.index(atom.what)])
            return (ToMove(black) & atom) | (ToMove(not black) & other)
        return _recoloured(atom, names)

    return rule.replace(coloured)


def relative(rule: Rule, black: bool = True) -> Rule:
    """Black as mine and white as theirs (``black`` False: the other way); what is relative already stays."""
    names = dict(zip(ABSOLUTE if black else ABSOLUTE[::-1], RELATIVE, strict=True))
    return rule.replace(
        lambda atom: replace(atom, name=names.get(atom.name, atom.name)) if isinstance(atom, Literal) else atom
    )


def _recoloured(atom: Atom, names: dict[str, str]) -> Rule:
    """An atom with other names for mine and theirs."""
    if isinstance(atom, Line) and not atom.back:
        return _facts(atom.pattern, names)
    if isinstance(atom, Literal) and atom.name == "legal" and not atom.back:
        return disjunction(_facts(pattern, names) for pattern in PATTERNS if pattern.square == atom.square)
    if isinstance(atom, Literal):
        return replace(atom, name=names.get(atom.name, atom.name))
    return atom


def _facts(pattern: Pattern, names: dict[str, str]) -> Rule:
    """What a pattern says of its squares."""
    *flanked, end = pattern.squares()
    return conjunction(
        [
            Literal(pattern.square, "empty"),
            *(Literal(square, names["theirs"]) for square in flanked),
            Literal(end, names["mine"]),
        ]
    )
