"""Positions at which a rule was tried, as boards replayed from their transcripts, its own squares marked."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from markupsafe import Markup, escape

from circuits.bitboards import bits_to_bool
from circuits.features import Pattern
from circuits.notation import LABELS, square, token
from circuits.othello import replay
from circuits.verdicts.records import Example
from reports.boards import BOX, LEFT, TOP, corner, discs
from reports.edits.figures import outline

#: what the stylesheet needs for these boards
STYLE = Markup(
    " .fulfilled { fill: var(--pos); fill-opacity: .24; }"
    " .unmet { fill: none; stroke: var(--neg); stroke-width: 1.2; stroke-dasharray: 1.6 1.2; }"
)
#: marks and what they say
MARKS = {"fulfilled": "square of the rule, its fact holds", "unmet": "its fact fails", "just": "last move"}


def example_board(example: Example, position: "Position", path: str) -> Markup:
    """A position: discs, last move, flips; squares that the rule names tinted where their fact holds, else framed."""
    named = {name: [s for atom, held in example.literals.items() if held == value for s in squares_named(atom)]
             for name, value in (("fulfilled", True), ("unmet", False))}  # fmt: skip
    under, over = (_frames(dict.fromkeys(squares), name) for name, squares in named.items())
    body = under + discs(position.mine, position.theirs, position.flipped) + over + outline([position.last], "just")
    words = (
        f"{position.mover.capitalize()} to move. Mine: {_named(position.mine)}. Theirs: {_named(position.theirs)}. "
        f"Last move {LABELS[position.last]}."
    )
    return Markup(
        f'<svg class="board" viewBox="{BOX}" role="img" aria-label="{escape(words)}" data-example="{escape(path)}">'
        f'<use href="#grid"/>{body}<use href="#cells"/></svg>'
    )


def as_in_rule(example: Example, named: Mapping[str, str]) -> Example:
    """The example with its facts as the rule's literals, by their names: "!D2 legal" holds where D2 is not legal."""
    literals = {
        named.get(atom, atom): held == (named.get(atom, atom) == atom) for atom, held in example.literals.items()
    }
    return replace(example, literals=literals)


@dataclass(frozen=True)
class Position:
    """A board as it is drawn."""

    mine: tuple[int, ...]
    theirs: tuple[int, ...]
    flipped: tuple[int, ...]
    last: int
    mover: str


def positions(examples: Sequence[Example]) -> list[Position]:
    """The boards at the ends of some transcripts, by the engine.

    Raises:
        InputError: a label that is none, an illegal move.
    """
    if not examples:
        return []
    plies = max(len(e.transcript) for e in examples)
    tokens = torch.zeros(len(examples), plies, dtype=torch.uint8)
    for row, e in enumerate(examples):
        played = [token(square(name)) for name in e.transcript]
        tokens[row, : len(played)] = torch.tensor(played, dtype=torch.uint8)
    boards = replay(tokens)
    found = []
    for row, e in enumerate(examples):
        at = len(e.transcript) - 1
        squares = {
            name: tuple(bits_to_bool(getattr(boards, name)[row, at]).nonzero().squeeze(1).tolist())
            for name in ("mine", "theirs", "flipped")
        }
        mover = "black" if boards.black_to_move[row, at] else "white"
        found.append(Position(**squares, last=square(e.transcript[-1]), mover=mover))
    return found


def squares_named(atom: str) -> list[int]:
    """The squares of which an atom's name speaks at this ply: a pattern's whole line; none where it looks back."""
    atom = atom.removeprefix("!")
    if line := re.fullmatch(r"legal ([A-H][0-7]) via (N|S|E|W|NE|NW|SE|SW) x(\d)", atom):
        pattern = Pattern(LABELS.index(line[1]), line[2], int(line[3]))
        return [pattern.square, *pattern.squares()]
    found = re.fullmatch(r"([A-H][0-7]) \w+", atom)
    return [LABELS.index(found[1])] if found else []


def mark(name: str) -> Markup:
    """One of `MARKS` by itself, for a key."""
    body = outline([0], "just") if name == "just" else _frames([0], name)
    return Markup(f'<svg class="symbol" viewBox="{LEFT} {TOP} 10 10" aria-hidden="true">{body}</svg>')


def _frames(squares: Iterable[int], name: str) -> str:
    drawn = "".join(f"M{x + 0.3} {y + 0.3}h9.4v9.4h-9.4z" for x, y in map(corner, squares))
    return f'<path class="{name}" d="{drawn}"/>' if drawn else ""


def _named(squares: Iterable[int]) -> str:
    return " ".join(LABELS[s] for s in squares) or "none"
