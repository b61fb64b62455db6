"""The only map between squares, tokens and text, and the only parser and printer of unit names.

A square's label is its row letter ``A``-``H`` (top to bottom) and column digit ``0``-``7``; its index is
``8 * row + column``. Token 0 is padding; tokens 1..60 are the playable squares in index order, the four
centre squares skipped. *Standard* notation, as tournaments and PGN files use it, is column letter then
row ``1``-``8``: standard ``F5`` is our ``E5``. Both notations of a game are legal games, because the start
position is symmetric, so nothing but the digit 0 or 8 can betray a mix-up.
"""

import re
from dataclasses import dataclass
from typing import Literal

import torch

from circuits.errors import InputError

ROWS = "ABCDEFGH"
N_SQUARES = 64
CENTRE = (27, 28, 35, 36)
PLAYABLE = tuple(s for s in range(N_SQUARES) if s not in CENTRE)
N_MOVES = len(PLAYABLE)  # 60
D_VOCAB = N_MOVES + 1  # 61: the moves and token 0, padding
N_CTX = N_MOVES - 1  # 59: the last move is predicted, never read

#: token -> square index; -1 for token 0.  [token 61]
TOKEN_SQUARE = torch.tensor((-1, *PLAYABLE))
#: square index -> token; 0 for the four centre squares.  [square 64]
SQUARE_TOKEN = torch.tensor([PLAYABLE.index(s) + 1 if s in PLAYABLE else 0 for s in range(N_SQUARES)])

Notation = Literal["ours", "standard"]


class OtherNotation(InputError):
    """A label that only the other notation has: the whole text is likely to be in it."""


def label(square: int) -> str:
    """The label of a square index: ``label(16) == "C0"``."""
    if not 0 <= square < N_SQUARES:
        raise InputError(f"square index {square} is outside 0..63")
    return f"{ROWS[square // 8]}{square % 8}"


LABELS = tuple(label(s) for s in range(N_SQUARES))


def square(text: str, notation: Notation = "ours") -> int:
    """The index of a square's label: ``square("C0") == 16``, ``square("F5", "standard") == 37``.

    Raises:
        InputError: not a label of this notation; a digit that only the other notation has names the flag.
    """
    try:
        return _SQUARES[notation][text.strip().upper()]
    except KeyError:
        pass
    if notation not in _SQUARES:
        raise InputError(f"unknown notation {notation!r}: it is 'ours' or 'standard'")
    given = repr(text if len(text) <= 20 else text[:20] + "…")
    match = re.fullmatch(r"([A-Z])([0-9]{1,2})", text.strip(), re.IGNORECASE | re.ASCII)
    if match and match[1].upper() in ROWS and match[2] == {"ours": "8", "standard": "0"}[notation]:
        if notation == "standard":
            raise OtherNotation(f"{given} has the digit 0, which only our notation has: leave out --notation standard")
        raise OtherNotation(f"{given} has the digit 8, which only standard notation has: give --notation standard")
    board = " of an 8x8 board" if match else ""
    raise InputError(f"{given} is no square{board}: a letter A-H and a digit {_DIGITS[notation]}")


_DIGITS = {"ours": "0-7", "standard": "1-8"}
_SQUARES = {
    "ours": {text: s for s, text in enumerate(LABELS)},
    "standard": {f"{ROWS[s % 8]}{s // 8 + 1}": s for s in range(N_SQUARES)},
}


def token(square_index: int) -> int:
    """The token that plays a square: ``token(37) == 34``.

    Raises:
        InputError: one of the four centre squares, where nobody ever plays.
    """
    if square_index in CENTRE:
        raise InputError(f"{label(square_index)} is a centre square: it is never played and has no token")
    label(square_index)  # range check
    return int(SQUARE_TOKEN[square_index])


def token_square(token_index: int) -> int:
    """The square that a token plays: ``token_square(34) == 37``.

    Raises:
        InputError: token 0 (padding), or outside 1..60.
    """
    if not 1 <= token_index <= N_MOVES:
        raise InputError(f"token {token_index} plays no square: moves are tokens 1..60 (0 is padding)")
    return PLAYABLE[token_index - 1]


def parse_transcript(text: str, notation: Notation = "ours") -> list[int]:
    """Square indices of a transcript such as ``"D2 C2 E5"`` or ``"D2C2E5"``; no legality check.

    Raises:
        InputError: a piece that is no square, with its ply (from 0).
    """
    squares = []
    for ply, piece in enumerate(re.findall(r"[A-Za-z]\s*[0-9]+|[^\s,;]+", text)):
        try:
            squares.append(square("".join(piece.split()), notation))
        except InputError as error:
            raise type(error)(f"ply {ply}: {error}") from None
    return squares


def print_transcript(squares: list[int], notation: Notation = "ours") -> str:
    """The inverse of `parse_transcript`."""
    if notation == "standard":
        return " ".join(f"{ROWS[s % 8]}{s // 8 + 1}" for s in squares)
    return " ".join(label(s) for s in squares)


@dataclass(frozen=True, order=True)
class Unit:
    """A neuron (``L5N1393``) or a head (``L2H5``), by layer and index within the layer."""

    layer: int
    kind: Literal["neuron", "head"]
    index: int

    def __str__(self) -> str:
        return f"L{self.layer}{'N' if self.kind == 'neuron' else 'H'}{self.index}"


def parse_unit(text: str) -> Unit:
    """The inverse of ``str(unit)``; whether the model has such a unit is the model's to say.

    Raises:
        InputError: not of the form ``L5N1393`` or ``L2H5``.
    """
    match = re.fullmatch(r"L([0-9]{1,4})([NH])([0-9]{1,6})", text.strip(), re.IGNORECASE | re.ASCII)
    if not match:
        raise InputError(f"{text[:40]!r} names no unit: a neuron is written L5N1393, a head L2H5")
    kind = "neuron" if match[2].upper() == "N" else "head"
    return Unit(int(match[1]), kind, int(match[3]))
