"""Variations of games: one move replaced or two exchanged, every later move kept, all of it legal.

For positions (game, ply t) of replayed games, all of these are made and played at once:

    last move changed   move t replaced by another legal one
    one move swapped    a move i < t replaced by one that was legal there and is not played later
    transposition       moves i < j of one side exchanged, and at t the same discs of the same colours

Only variations at whose end the same side moves as in the game, and can move, are given. They are played from the
changed move on, all variations side by side, one move of each at a time (`_play`): a step fills the runs of
`circuits.bitboards` once, and whoever's move turns out illegal leaves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from circuits.bitboards import Runs, bits_to_bool, legal_moves, popcount
from circuits.causes.game_streams import Batch
from circuits.causes.pairs import KINDS
from circuits.notation import N_MOVES, SQUARE_TOKEN, TOKEN_SQUARE
from circuits.othello import Boards

LAST, SWAPPED, TRANSPOSITION = (KINDS.index(k) for k in ("last move changed", "one move swapped", "transposition"))
#: the kinds made here
MADE = tuple(KINDS[code] for code in (LAST, SWAPPED, TRANSPOSITION))
#: variations played side by side: as many as keep the eight runs in a core's second-level cache
_CHUNK = 32767 // 8


@dataclass(frozen=True, eq=False)
class Variations:
    """Legal variations of positions.

    Attributes:
        position: whose variation, by index in the positions given.
        kind: code in `pairs.KINDS`.
        first: the ply of the changed move, and ``square`` what is played there instead.
        second: the ply with which it is exchanged, -1 where a move is replaced.
        end: the states reached.
        squares: on how many squares the two positions differ.
        turned: on how many squares ``flipped`` differs, which is what two orders of the same moves differ in.
    """

    position: Int[Tensor, "variation"]
    kind: UInt8[Tensor, "variation"]
    first: Int[Tensor, "variation"]
    square: Int[Tensor, "variation"]
    second: Int[Tensor, "variation"]
    end: Boards
    squares: Int[Tensor, "variation"]
    turned: Int[Tensor, "variation"]

    def __len__(self) -> int:
        return len(self.position)

    def __getitem__(self, index: Tensor) -> "Variations":
        return Variations(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    @cached_property
    def moves(self) -> Int[Tensor, "variation"]:
        """How many moves differ."""
        return 1 + (self.second >= 0)


@dataclass(frozen=True, eq=False)
class Positions:
    """Positions of one batch of games; ``row`` is the game's in the batch."""

    batch: Batch
    row: Int[Tensor, "position"]
    ply: Int[Tensor, "position"]

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, index: slice | Tensor) -> "Positions":
        return Positions(self.batch, self.row[index], self.ply[index])

    @cached_property
    def ends(self) -> Boards:
        return self.batch.boards[self.row, self.ply]

    @cached_property
    def transcripts(self) -> UInt8[Tensor, "position 60"]:
        """The games' tokens up to each position, 0 behind it."""
        tokens = self.batch.tokens[self.row]
        return tokens.masked_fill(torch.arange(tokens.shape[1]) > self.ply[:, None], 0)

    def varied(self, variations: Variations) -> UInt8[Tensor, "variation 60"]:
        """The transcripts of variations of these positions."""
        tokens = self.transcripts[variations.position]
        row = torch.arange(len(tokens))
        original = tokens[row, variations.first]
        tokens[row, variations.first] = SQUARE_TOKEN[variations.square].to(torch.uint8)
        exchanged = variations.second >= 0
        tokens[row[exchanged], variations.second[exchanged]] = original[exchanged]
        return tokens


def variations(
    positions: Positions, kinds: Sequence[str], *, same_last_move: bool = True, changed: slice = slice(None),
    differ: int = 0, any_mover: bool = False,
) -> Variations:  # fmt: skip
    """All variations of the given kinds of some positions, in order of position, kind, first and second change.

    ``same_last_move`` leaves out transpositions that exchange the last move; ``changed`` those variations whose
    first change lies outside that band of plies. With ``differ``, exchanges are kept whose ends differ in exactly so
    many discs, instead of transpositions; with ``any_mover``, changes too at whose end the other side moves, or
    nobody. Takes about 5 kB a position beside what is returned.
    """
    parts = []
    if MADE[0] in kinds or MADE[1] in kinds:
        parts.append(_replacements(positions, MADE[0] in kinds, MADE[1] in kinds))
    if MADE[2] in kinds:
        parts.append(_exchanges(positions, same_last_move))
    position, first, square, second = (torch.cat(column) for column in zip(*parts, strict=True))
    allowed = torch.zeros(N_MOVES, dtype=torch.bool)
    allowed[changed] = True
    inside = allowed[first].nonzero()[:, 0]
    position, first, square, second = (t[inside] for t in (position, first, square, second))
    index, end = _play(positions, position, first, square, second)
    position, first, square, second = (t[index] for t in (position, first, square, second))
    kind = torch.where(second >= 0, TRANSPOSITION, torch.where(first == positions.ply[position], LAST, SWAPPED))
    own = positions.ends[position]
    # by colour: where the other side moves, mine and theirs have changed places
    squares = popcount((_black(own) ^ _black(end)) | (own.occupied ^ end.occupied))
    found = Variations(
        position, kind.to(torch.uint8), first, square, second, end, squares, popcount(own.flipped ^ end.flipped)
    )
    same_mover = end.valid & (end.black_to_move == own.black_to_move)
    kept = (same_mover | any_mover) & ((second < 0) | (squares == differ))
    found = found[kept.nonzero()[:, 0]]
    order = found.position
    for column, size in ((found.kind, len(KINDS)), (found.first, 64), (found.second + 1, 64), (found.square, 64)):
        order = order * size + column.long()
    return found[order.argsort()]


def _black(boards: Boards) -> Int[Tensor, "*batch"]:
    return torch.where(boards.black_to_move, boards.mine, boards.theirs)


def _replacements(positions: Positions, last: bool, swapped: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Moves replaced by others that are legal there and free at the end: position, ply, square, no second."""
    plies = torch.arange(int(positions.ply.max()) + 1)
    legal = _legal_before(positions, plies)
    # What is occupied at the end was played by then, and what is played later cannot be played now.
    other = legal & ~positions.ends.occupied[:, None]
    is_last = plies == positions.ply[:, None]
    wanted = (is_last & last) | ((plies < positions.ply[:, None]) & swapped)
    position, ply, square = bits_to_bool(other.masked_fill(~wanted, 0)).nonzero().unbind(1)
    return position, ply, square, torch.full_like(ply, -1)


def _exchanges(positions: Positions, same_last_move: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two moves of one side, the later one legal at the earlier's ply: position, ply, square, later ply."""
    batch, count = positions.batch, int(positions.ply.max()) + 1
    plies = torch.arange(count)
    played = batch.boards.played[positions.row, :count]
    black = _black_before(batch)[positions.row, :count]
    legal = _legal_before(positions, plies)
    pairs = (legal[:, :, None] & played[:, None, :]) != 0
    pairs &= (black[:, :, None] == black[:, None, :]) & (plies[:, None] < plies)
    reach = positions.ply - 1 if same_last_move else positions.ply
    pairs &= (plies <= reach[:, None])[:, None, :]
    position, first, second = pairs.nonzero().unbind(1)
    square = TOKEN_SQUARE[batch.tokens[positions.row[position], second].long()]
    return position, first, square, second


_BLACK, _WHITE = torch.tensor(1 << 28 | 1 << 35), torch.tensor(1 << 27 | 1 << 36)
#: what `_before` reads where no move has been made
_START = {"mine": _BLACK, "theirs": _WHITE, "legal": legal_moves(_BLACK[None], _WHITE[None])[0]}
_START["black_to_move"] = torch.tensor(True)


def _before(positions: Positions, name: str, index: Tensor, ply: Tensor) -> Tensor:
    """A field of the boards before the move at ``ply``, for positions by index."""
    field = getattr(positions.batch.boards, name)[positions.row[index], (ply - 1).clamp(min=0)]
    return torch.where(ply == 0, _START[name], field)


def _legal_before(positions: Positions, plies: Int[Tensor, "ply"]) -> Int[Tensor, "position ply"]:
    index = torch.arange(len(positions))[:, None]
    return _before(positions, "legal", index, plies)


def _black_before(batch: Batch) -> Bool[Tensor, "game ply"]:
    black = batch.boards.black_to_move
    return torch.cat([torch.ones_like(black[:, :1]), black[:, :-1]], 1)


def _play(
    positions: Positions, position: Tensor, first: Tensor, square: Tensor, second: Tensor
) -> tuple[Int[Tensor, "legal"], Boards]:
    """Play changed games from the changed move to the position's ply; which stay legal, and where they end."""
    boards = positions.batch.boards
    index, at = torch.arange(len(position)), first
    row, target = positions.row[position], positions.ply[position]
    mine, theirs, black = (_before(positions, name, position, first) for name in ("mine", "theirs", "black_to_move"))
    replaced = torch.ones_like(square) << square
    original = boards.played[row, first]
    done = []
    while len(index):
        move = torch.where(at == first, replaced, boards.played[row, at])
        move = torch.where(at == second, original, move)
        legal, flipped = _advance(mine, theirs, black, move)
        over = (legal & (at == target)).nonzero()[:, 0]
        done.append([t[over] for t in (index, mine, theirs, flipped, move, black)])
        on = (legal & (at < target)).nonzero()[:, 0]
        columns = (index, at, row, target, first, second, replaced, original, mine, theirs, black)
        index, at, row, target, first, second, replaced, original, mine, theirs, black = (t[on] for t in columns)
        at = at + 1
    if not done:
        done = [[t[:0] for t in (index, mine, theirs, mine, replaced, black)]]
    index, mine, theirs, flipped, move, black = (torch.cat(column) for column in zip(*done, strict=True))
    legal, passed = _settle(mine, theirs, black)
    return index, Boards(mine, theirs, legal, flipped, move, black, passed, legal != 0)


def _advance(mine: Tensor, theirs: Tensor, black: Tensor, move: Tensor) -> tuple[Tensor, Tensor]:
    """One move each, in place, after a forced pass where there is one: whether it was legal, what it flipped.

    Afterwards the other side's discs are ``mine``, whether or not it can move.
    """
    ok, flipped = torch.empty_like(black), torch.empty_like(mine)
    for rows in _chunks(len(mine)):
        own, other, now = mine[rows], theirs[rows], black[rows]
        runs = Runs(own.shape, own.device)
        legal = runs.grow(own, other, torch.empty_like(own))
        _pass(runs, own, other, legal, now)
        played = move[rows] & legal
        torch.ne(played, 0, out=ok[rows])
        turned = runs.flips(played, flipped[rows])
        own |= turned | played
        other ^= turned
        swapped = other.clone()
        other.copy_(own)
        own.copy_(swapped)
        now.logical_not_()
    return ok, flipped


def _settle(mine: Tensor, theirs: Tensor, black: Tensor) -> tuple[Tensor, Bool[Tensor, "variation"]]:
    """Legal moves of whoever moves next, in place after a forced pass, and whether there was one."""
    legal, passed = torch.empty_like(mine), torch.zeros_like(black)
    for rows in _chunks(len(mine)):
        runs = Runs(mine[rows].shape, mine.device)
        runs.grow(mine[rows], theirs[rows], legal[rows])
        passed[rows][_pass(runs, mine[rows], theirs[rows], legal[rows], black[rows])] = True
    return legal, passed


def _pass(runs: Runs, mine: Tensor, theirs: Tensor, legal: Tensor, black: Tensor) -> Int[Tensor, "passing"]:
    """Let sides without a move pass where the other can move, in place; the rows where that happened."""
    stuck = (legal == 0).nonzero()[:, 0]
    if not len(stuck):
        return stuck
    passing = runs.regrow(stuck, mine, theirs, legal)
    black[passing] = ~black[passing]
    return passing


def _chunks(count: int) -> list[slice]:
    return [slice(i, min(i + _CHUNK, count)) for i in range(0, count, _CHUNK)]
