"""Cases for testing edits: boards that a game reaches, and boards that none can; from random games, by a seed.

Natural: discs are flipped so that another legal transcript of the same length, with the same side to move, ends at
exactly the edited board. It is found by exchanging two moves of one side (`circuits.causes.variations`) and kept as the
case's proof. Of the boards that a position's exchanges lead to one is drawn, each with the same chance.

Unnatural: the edited board is provably none that a transcript of this length leads to::

    flip          no disc on it can have been the last move (`circuits.editing.retrograde`)
    erase, place  a transcript of t + 1 moves leaves t + 5 discs, and the board has fewer or more

with the squares drawn among all that qualify (several squares: among 64 draws of them).

The plies of each kind of edit are spread evenly over the band: every ply is to have the same number of cases. Games
are dealt out, one position each, to the plies that still want some, in rounds, so a seed and a number of cases give
the same ones everywhere, and no game gives two. A ply where `MOST_TRIED` positions did not do leaves its share to the
others.
Every set draws games of its own, so sets of different kinds or seeds share none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from circuits.bitboards import SELECT_IN_BYTE, bits_to_bool, bool_to_bits, choose, legal_moves, popcount
from circuits.causes.game_streams import Batch, check_band
from circuits.causes.variations import MADE, Positions, variations
from circuits.editing.board_edits import EMPTY, MINE, THEIRS, EditCases, edited_boards, join, states
from circuits.editing.files import load, proven, published, save
from circuits.editing.retrograde import unreachable
from circuits.errors import InputError
from circuits.games import MIDDLE_BAND
from circuits.hashing import GOLDEN, mix64, signed64
from circuits.notation import CENTRE, N_CTX, TOKEN_SQUARE, print_transcript
from circuits.othello import random_games, replay
from circuits.training.lessons import HELD_OUT_SEED

__all__ = ["MOST_TRIED", "UNNATURAL", "load", "natural", "proven", "published", "save", "unnatural"]

#: what unnatural cases do, each as often
UNNATURAL = ("flip", "erase", "place")
#: positions tried at a ply before it is given up
MOST_TRIED = 20_000
#: of `least_changed`
MOST_CHANGED = 20
#: games dealt out at once: sixteen for every case that is wanted, within these
_FEWEST, _ROUND = 512, 2048
#: the first of the seeds of games, behind `HELD_OUT_SEED`: far from those that pairs and pages use
_FIRST_SEED, _MOST_SEEDS = 1 << 24, 1 << 28
_STREAMS = ("natural", *UNNATURAL)
_CENTRE = sum(1 << s for s in CENTRE)
_DRAWS = 64

NO_MOVE = "the side to move has no move on the edited board"
NEITHER = "neither side can move on the edited board"


def natural(
    n: int = 1000, seed: int = 0, squares: int = 1, plies: slice = MIDDLE_BAND, *, least_changed: int = 0
) -> EditCases:
    """Flips of so many squares, each with the transcript that reaches the edited board as its proof.

    ``least_changed``: how many moves at least are to be legal before or after the edit only. (Late in a game an
    exchange mostly turns a disc on which no move depends.)

    Raises:
        InputError: no cases or no squares asked for, a seed or band out of range, or too few such boards found.
    """
    _check(n, seed, squares, least_changed)

    def ask(positions: Positions, key: Tensor) -> _Found:
        return _natural(positions, key, squares, least_changed)

    return _shuffled(_collect(n, seed, "natural", squares, plies, ask), seed)


def unnatural(
    n: int = 1000, seed: int = 0, squares: int = 1, plies: slice = MIDDLE_BAND, *, least_changed: int = 0,
    whats: Sequence[str] = UNNATURAL,
) -> EditCases:  # fmt: skip
    """Flips, erasures and placed discs (as many of each), of so many squares, each with the reason as its proof.

    ``least_changed`` as for `natural`; ``whats``: which of `UNNATURAL`.

    Raises:
        InputError: as `natural`; or another edit than these three.
    """
    _check(n, seed, squares, least_changed)
    if not whats or not set(whats) <= set(UNNATURAL) or len(set(whats)) < len(whats):
        raise InputError(f"{list(whats)} are no unnatural edits: some of {', '.join(UNNATURAL)}, each once")

    def ask(what: str) -> Callable:
        return lambda p, key: _unnatural(p, key, squares, least_changed, what)

    counts = _shares(n, len(whats)).tolist()
    asked = zip(whats, counts, strict=True)
    parts = [_collect(count, seed, what, squares, plies, ask(what)) for what, count in asked if count]
    return _shuffled(join(parts), seed)


@dataclass(frozen=True, eq=False)
class _Found:
    """Edits of some positions, at most one each."""

    position: Int[Tensor, "found"]
    square: Int[Tensor, "found k"]
    after: Int[Tensor, "found k"]
    proof: Callable[[int], str]


def _natural(positions: Positions, key: Int[Tensor, "position"], k: int, least: int) -> _Found:
    made = variations(positions, MADE[2:], same_last_move=False, differ=k, any_mover=True)
    own, end = positions.ends[made.position], made.end
    # The mover's discs there, seen by this position's mover; the squares occupied are the same.
    same = own.black_to_move == end.black_to_move
    mine = torch.where(same, end.mine, end.theirs)
    legal = legal_moves(mine, own.occupied ^ mine)
    # Where other passes let the other side move in spite of a move here, the board is not this one with this mover;
    # where there is no move here, it is dropped and counted.
    kept = (same | (legal == 0)) & (popcount(own.legal ^ legal) >= least)
    made, mine, own = made[kept], mine[kept], own[kept]
    # One board of each position: the key is the board's alone, so exchanges that lead to the same one count once.
    order = mix64(key[made.position] ^ mine).argsort(stable=True)
    order = order[made.position[order].argsort(stable=True)]
    position = made.position[order]
    first = torch.ones_like(position, dtype=torch.bool)
    first[1:] = position[1:] != position[:-1]
    order = order[first]
    square = bits_to_bool((own.mine ^ mine)[order]).nonzero()[:, 1].reshape(-1, k)
    witness = positions.varied(made[order])
    return _Found(
        made.position[order],
        square,
        3 - states(own[order], square),
        lambda i: print_transcript(TOKEN_SQUARE[witness[i][witness[i] != 0].long()].tolist()),
    )


def _unnatural(positions: Positions, key: Int[Tensor, "position"], k: int, least: int, what: str) -> _Found:
    ends = positions.ends
    eligible = {"flip": ends.occupied, "erase": ends.occupied & ~_CENTRE, "place": ends.empty}[what]
    square, drawn = _draws(eligible, key, k)
    if what == "flip":
        after = 3 - states(ends, square.flatten(1)).reshape(square.shape)
    elif what == "erase":
        after = torch.full_like(square, EMPTY)
    else:
        after = torch.where(mix64(key[:, None, None] ^ square) & 1 == 1, MINE, THEIRS)
    if what == "flip" or least:
        rows = torch.arange(len(positions))[:, None].expand(-1, _DRAWS)
        edited = edited_boards(ends[rows], square, after)
        drawn &= popcount(edited.legal ^ ends.legal[:, None]) >= least
        if what == "flip":
            drawn &= unreachable(edited.mine, edited.theirs)
    chosen = choose(bool_to_bits(drawn), mix64(key), SELECT_IN_BYTE)
    position = drawn.any(1).nonzero()[:, 0]
    chosen, moves = chosen[position], positions.ply[position] + 1
    sign = -1 if what == "erase" else 1

    def proof(i: int) -> str:
        if what == "flip":
            return "no disc on the edited board can have been the last move"
        m = int(moves[i])
        return f"{m + 4 + sign * k} discs: every transcript of {m} moves leaves {m + 4}"

    return _Found(position, square[position, chosen], after[position, chosen], proof)


def _draws(
    eligible: Int[Tensor, "position"], key: Int[Tensor, "position"], k: int
) -> tuple[Int[Tensor, "position draw k"], Bool[Tensor, "position draw"]]:
    """All eligible squares, or for several at once 64 draws of them; and which are draws at all."""
    draw = torch.arange(_DRAWS)
    if k == 1:
        return draw[None, :, None].expand(len(key), -1, -1), bits_to_bool(eligible)
    rest = eligible.repeat_interleave(_DRAWS)
    squares, drawn = [], torch.ones_like(rest, dtype=torch.bool)
    for j in range(k):
        random = mix64(key[:, None] + (draw * k + j + 1) * signed64(GOLDEN)).flatten()
        chosen = choose(rest, random, SELECT_IN_BYTE)
        drawn &= rest != 0
        rest = rest & ~(torch.ones_like(rest) << chosen)
        squares.append(chosen)
    return torch.stack(squares, -1).reshape(-1, _DRAWS, k), drawn.reshape(-1, _DRAWS)


def _collect(
    n: int, seed: int, stream: str, k: int, plies: slice,
    ask: Callable[[Positions, Int[Tensor, "position"]], _Found],
) -> EditCases:  # fmt: skip
    """Ask positions, one of each game, until every ply of the band has its share of cases."""
    first, last = check_band(plies)
    wanted = _shares(n, last - first + 1)
    tried = torch.zeros_like(wanted)
    own_seed = _FIRST_SEED + seed * len(_STREAMS) + _STREAMS.index(stream)
    tokens, ply, square, after = [], [], [], []
    proof: list[str] = []
    dropped: dict[str, int] = {}
    game = 0
    while wanted.any():
        asked = ((wanted > 0) & (tried < MOST_TRIED)).nonzero()[:, 0]
        if not len(asked):
            open_ = (tried < MOST_TRIED).nonzero()[:, 0]
            if not len(open_):
                raise InputError(
                    f"{len(proof)} of {n} cases ({stream}, {k} squares, plies {first}..{last}) were found at "
                    f"{int(tried.sum())} positions: ask for fewer, or for another band"
                )
            rest = int(wanted.sum())
            wanted.zero_()
            wanted[open_] = _shares(rest, len(open_))
            continue
        size = min(max(16 * int(wanted.sum()), _FEWEST), _ROUND)
        whole = random_games(size, HELD_OUT_SEED + own_seed, game)
        batch = Batch(whole, torch.arange(game, game + size), replay(whole[:, :N_CTX]))
        game += size
        row = torch.arange(size)
        at = asked[row % len(asked)]
        tried += torch.bincount(at, minlength=len(tried))
        row = row[batch.boards.valid[row, at + first]]
        positions = Positions(batch, row, at[row] + first)
        found = ask(positions, batch.keys(own_seed)[row, positions.ply])
        ends = positions.ends[found.position]
        edited = edited_boards(ends, found.square, found.after)
        over = ~edited.valid & (legal_moves(edited.theirs, edited.mine) == 0)
        for reason, count in ((NEITHER, over.sum()), (NO_MOVE, (~edited.valid & ~over).sum())):
            if count:
                dropped[reason] = dropped.get(reason, 0) + int(count)
        index = edited.valid.nonzero()[:, 0]
        index = index[_first_of_each(at[row][found.position[index]], wanted)]
        position = found.position[index]
        wanted -= torch.bincount(at[row][position], minlength=len(wanted))
        tokens.append(positions[position].transcripts)
        ply.append(positions.ply[position])
        square.append(found.square[index])
        after.append(found.after[index])
        proof += [found.proof(i) for i in index.tolist()]
    kind = "natural" if stream == "natural" else "unnatural"
    name = "flips that another game reaches" if kind == "natural" else f"{stream} unreachable"
    source = (
        f"{n} {name} of {int(tried.sum())} positions tried, one a game, plies {first}..{last}; random games, "
        f"seed {HELD_OUT_SEED + own_seed}"
    )
    columns = (torch.cat(column) for column in (tokens, ply, square, after))
    return EditCases(*columns, (kind,) * n, tuple(proof), source, dropped)


def _first_of_each(group: Int[Tensor, "item"], wanted: Int[Tensor, "group"]) -> Bool[Tensor, "item"]:
    """The first so many items of each group."""
    one = torch.nn.functional.one_hot(group, len(wanted))
    return one.cumsum(0).gather(1, group[:, None])[:, 0] <= wanted[group]


def _shares(n: int, parts: int) -> Int[Tensor, "part"]:
    """``n`` in so many parts as equal as can be, the larger ones spread evenly."""
    ends = torch.arange(parts + 1) * n // parts
    return ends[1:] - ends[:-1]


def _shuffled(cases: EditCases, seed: int) -> EditCases:
    """The cases in an order of the seed's: any first so many are a fair sample of kinds and plies."""
    return cases[mix64(torch.arange(1, len(cases) + 1) * signed64(GOLDEN) + seed).argsort()]


def _check(n: int, seed: int, squares: int, least_changed: int) -> None:
    if not 0 <= least_changed <= MOST_CHANGED:
        raise InputError(f"at least {least_changed} moves changed: give 0..{MOST_CHANGED}, positions have few more")
    if n < 1:
        raise InputError(f"{n} cases were asked for: at least one is needed")
    if not 0 <= seed < _MOST_SEEDS:
        raise InputError(f"seed {seed}: give one within 0..{_MOST_SEEDS - 1}")
    if not 1 <= squares <= 8:
        raise InputError(f"edits of {squares} squares: 1..8 at once")
