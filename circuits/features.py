"""Named facts about positions: literals on squares, and the 960 patterns that make moves legal.

A *literal* is one fact on one square at one ply (``C0 empty``). A *pattern* is one way in which a move can
be legal: the move's square, a direction, and how many discs are flanked that way before one of the mover's
own (``legal C0 via SE x1``: C0 empty, D1 theirs, E2 mine). With ``inner`` the opposing discs that can be
flanked along the line, as in `circuits.othello`, and ``step`` the way from the mover's disc to the move::

    run_1 = inner & (mine << step);  run_k = inner & (run_{k-1} << step);  legal_k = empty & (run_k << step)

There are 960 patterns on the 60 squares where a move is ever made (1036 with the centre squares).

Everything stays in bitboards, eight bytes a literal and position; booleans are made for the columns asked.
"""

import re
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from circuits import notation
from circuits.bitboards import INNER, STEPS, bits_to_bool
from circuits.errors import InputError
from circuits.othello import Boards

DIRECTIONS = tuple(STEPS)
MAX_FLANKED = 6
LITERALS = ("empty", "mine", "theirs", "occupied", "played", "flipped", "legal", "black", "white")


@dataclass(frozen=True, order=True)
class Pattern:
    """A move's square, the direction in which discs are flanked, and how many."""

    square: int
    direction: str
    flanked: int

    def __str__(self) -> str:
        return f"legal {notation.label(self.square)} via {self.direction} x{self.flanked}"

    def squares(self) -> tuple[int, ...]:
        """The flanked squares, nearest first, then the end square that must be the mover's."""
        step = STEPS[self.direction]
        return tuple(self.square + step * i for i in range(1, self.flanked + 2))


def reach(square: int, direction: str) -> int:
    """The number of squares from ``square`` (left out) to the edge."""
    step = STEPS[direction]
    down = (step + 9) // 8 - 1  # -1, 0, 1
    right = step - 8 * down
    rows = {-1: square // 8, 0: 7, 1: 7 - square // 8}[down]
    columns = {-1: square % 8, 0: 7, 1: 7 - square % 8}[right]
    return min(rows, columns)


#: All patterns by square, direction (in the order of `DIRECTIONS`) and number flanked.
PATTERNS = tuple(
    Pattern(square, direction, flanked)
    for square in notation.PLAYABLE
    for direction in DIRECTIONS
    for flanked in range(1, reach(square, direction))
)
PATTERN_INDEX = {pattern: i for i, pattern in enumerate(PATTERNS)}
assert len(PATTERNS) == 960


def parse_pattern(text: str) -> Pattern:
    """The inverse of ``str(pattern)``.

    Raises:
        InputError: not of the form ``legal C0 via SE x1``, or a line that leaves the board.
    """
    match = re.fullmatch(r"legal\s+(\S+)\s+via\s+([NESW]{1,2})\s+x(\d)", text.strip(), re.IGNORECASE)
    if not match or match[2].upper() not in DIRECTIONS:
        raise InputError(f"{text!r} is no pattern: they are written as in 'legal C0 via SE x1'")
    pattern = Pattern(notation.square(match[1]), match[2].upper(), int(match[3]))
    if pattern not in PATTERN_INDEX:
        raise InputError(f"{text!r} is none of the 960 patterns: nobody plays there, or it leaves the board")
    return pattern


def literal_bits(boards: Boards, name: str) -> Int[Tensor, "*batch"]:
    """The squares where a literal holds, as bitboards; 0 on padding."""
    if name in ("black", "white"):
        mover, waiting = ("mine", "theirs") if name == "black" else ("theirs", "mine")
        return torch.where(boards.black_to_move, getattr(boards, mover), getattr(boards, waiting))
    if name not in LITERALS:
        raise InputError(f"unknown literal {name!r}: it is one of {', '.join(LITERALS)}")
    return getattr(boards, name)


def board_state(boards: Boards) -> UInt8[Tensor, "*batch square=64"]:
    """0 empty, 1 theirs, 2 mine: the class order of the probes."""
    mine, theirs = (bits_to_bool(b).view(torch.uint8) for b in (boards.mine, boards.theirs))
    return 2 * mine + theirs


def _pattern_bitboards(mine: Tensor, theirs: Tensor, direction: str, most: int = MAX_FLANKED) -> list[Tensor]:
    """[1..most discs flanked]: the squares legal via ``direction``."""
    step = STEPS[direction]
    size = abs(step)
    # A direction leads from the move to the flanked discs, so the runs grow the other way.
    shift = torch.bitwise_right_shift if step > 0 else torch.bitwise_left_shift
    empty, inner = ~(mine | theirs), theirs & INNER[size]
    found, run = [], mine
    for _ in range(most):
        run = shift(run, size) & inner
        found.append(shift(run, size) & empty)
    return found


def pattern_bits(boards: Boards) -> Int[Tensor, "direction=8 flanked=6 *batch"]:
    """Bit ``s``: square ``s`` is legal via that direction, flanking that many (index 0 is one disc)."""
    found = [torch.stack(_pattern_bitboards(boards.mine, boards.theirs, d)) for d in DIRECTIONS]
    return torch.stack(found)


def patterns_matrix(
    boards: Boards | tuple[Int[Tensor, "*batch"], Int[Tensor, "*batch"]], which: list[int] | None = None
) -> Bool[Tensor, "position pattern"]:
    """Whether each pattern (by index in `PATTERNS`; all by default) holds at each position, rows flattened.

    ``boards`` may be the pair (mine, theirs) of bitboards of any shape.
    """
    mine, theirs = (boards.mine, boards.theirs) if isinstance(boards, Boards) else boards
    mine, theirs = mine.flatten(), theirs.flatten()
    which = list(range(len(PATTERNS))) if which is None else list(which)
    matrix = torch.zeros(len(mine), len(which), dtype=torch.bool, device=mine.device)
    for direction in DIRECTIONS:
        columns = [i for i, k in enumerate(which) if PATTERNS[k].direction == direction]
        if not columns:
            continue
        most = max(PATTERNS[which[i]].flanked for i in columns)
        found = _pattern_bitboards(mine, theirs, direction, most)
        for i in columns:
            pattern = PATTERNS[which[i]]
            matrix[:, i] = (found[pattern.flanked - 1] >> pattern.square & 1).bool()
    return matrix


class Features:
    """Named boolean columns over the positions of some boards, kept as bitboards (about 41 bytes each).

    Names are ``"C0 empty"`` (any square, any of `LITERALS`) and ``"legal C0 via SE x1"`` (any of
    `PATTERNS`). Positions are those where ``where`` [game, ply] is True (by default the valid ones), game by
    game: the rows of ``activations[features.where]``.
    """

    def __init__(self, boards: Boards, where: Bool[Tensor, "game ply"] | None = None):
        self.where = boards.valid if where is None else where
        self._boards = boards[self.where]

    def __len__(self) -> int:
        return len(self._boards.mine)

    @cached_property
    def names(self) -> tuple[str, ...]:
        literals = [f"{square} {name}" for square in notation.LABELS for name in LITERALS]
        return (*literals, *map(str, PATTERNS))

    def column(self, name: str) -> Bool[Tensor, "position"]:
        """One feature by name.

        Raises:
            InputError: no such feature.
        """
        if name.lower().startswith("legal "):
            return patterns_matrix(self._boards, [PATTERN_INDEX[parse_pattern(name)]])[:, 0]
        place, _, literal = name.partition(" ")
        square = notation.square(place)
        return (literal_bits(self._boards, literal) >> square & 1).bool()

    def matrix(
        self, names: tuple[str, ...] | list[str], dtype: torch.dtype = torch.bool
    ) -> Bool[Tensor, "position feature"] | Float[Tensor, "position feature"]:
        """Several features side by side."""
        matrix = torch.empty(len(self), len(names), dtype=dtype, device=self._boards.mine.device)
        for i, name in enumerate(names):
            matrix[:, i] = self.column(name)
        return matrix
