"""The positions that examples name, replayed from their moves, ready to be drawn."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from circuits.atlas.unit_sheet import Example
from circuits.notation import LABELS, SQUARE_TOKEN
from circuits.othello import bits_to_bool, replay
from reports import records as r

TOP, BOTTOM = 6, 3


class Position(NamedTuple):
    """An example with its position, as `reports.boards.position_board` draws it; ``end``: top or bottom."""

    end: str
    example: r.Example


def shown(examples: Sequence[Example]) -> list[Example]:
    """Those of a unit that are drawn: the most extreme at either end, one a game."""
    found = []
    for end, most in (("top", TOP), ("bottom", BOTTOM)):
        games: dict[str, Example] = {}
        for example in (e for e in examples if e.end == end):
            games.setdefault(example.address.rsplit(":", 1)[0], example)
        found += list(games.values())[:most]
    return found


def positions(examples: Sequence[Example]) -> list[Position]:
    """Each example's position, all replayed together.

    Raises:
        InputError: moves that are no squares, or that the rules do not allow.
    """
    if not examples:
        return []
    place = {label: i for i, label in enumerate(LABELS)}
    moves = [[place.get(move, -1) for move in e.moves.split()] for e in examples]
    token = SQUARE_TOKEN.tolist()
    tokens = torch.zeros(len(moves), max(map(len, moves)), dtype=torch.int64)
    for row, own in zip(tokens, moves, strict=True):
        row[: len(own)] = torch.tensor([token[m] if m >= 0 else 0 for m in own])
    last = torch.tensor([len(own) - 1 for own in moves])
    boards = replay(tokens)[torch.arange(len(moves)), last]
    mine, theirs, flipped, legal = (
        bits_to_bool(bits).tolist() for bits in (boards.mine, boards.theirs, boards.flipped, boards.legal)
    )
    black = boards.black_to_move.tolist()
    return [
        Position(
            e.end,
            r.Example(
                address=e.address, ply=len(moves[i]) - 1, activation=e.activation, transcript=e.moves,
                board=tuple(2 * m + t for m, t in zip(mine[i], theirs[i], strict=True)),
                mover="black" if black[i] else "white", last=LABELS[moves[i][-1]],
                flipped=tuple(LABELS[s] for s in range(64) if flipped[i][s]),
                legal=tuple(LABELS[s] for s in range(64) if legal[i][s]),
                top_moves=(), holds=None, quantile=None,
            ),
        )
        for i, e in enumerate(examples)
    ]  # fmt: skip
