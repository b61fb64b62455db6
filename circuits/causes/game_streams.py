"""Games in batches with their boards: those of a set, or random ones made as they are asked for.

Random games come from the seeds that held-out games come from, `lessons.HELD_OUT_SEED` and up, never from those
that models are trained on. Game ``i`` of the stream is game ``i`` of ``games.generate(n, HELD_OUT_SEED + seed)``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from circuits.errors import InputError
from circuits.games import Games
from circuits.hashing import GOLDEN, mix64, signed64
from circuits.notation import N_CTX
from circuits.othello import Boards, random_games, replay
from circuits.training.lessons import HELD_OUT_SEED

#: games replayed at once; the first batches are smaller, for questions that are soon answered
BATCH = 2048
_FIRST = 256
#: seeds of streams: far from those of training (`lessons.TRAINING_SEEDS`)
_MOST_SEEDS = 1 << 32


@dataclass(frozen=True, eq=False)
class Batch:
    """Some games of a stream, replayed.

    Attributes:
        tokens: whole games.
        ids: their numbers in the stream or set.
        boards: the states [game, 59] at the plies that a model reads.
    """

    tokens: UInt8[Tensor, "game 60"]
    ids: Int[Tensor, "game"]
    boards: Boards

    def keys(self, seed: int) -> Int[Tensor, "game 59"]:
        """A random number for each position that depends on the seed, the game's number and the ply alone."""
        golden = signed64(GOLDEN)
        start = mix64(torch.tensor(signed64(seed)) + golden)
        plies = torch.arange(1, N_CTX + 1) * golden
        return mix64(mix64(start + self.ids * golden)[:, None] + plies)

    def positions(self, plies: slice) -> Bool[Tensor, "game 59"]:
        """The positions within a band of plies at which somebody can move."""
        inside = torch.zeros(N_CTX, dtype=torch.bool)
        inside[plies] = True
        return self.boards.valid & inside


def stream(games: Games | int, seed: int, batch: int = 0) -> Iterator[Batch]:
    """A set in order, or the first so many random games of a seed, in batches (of `BATCH` games by default).

    Raises:
        InputError: fewer than one game, or a seed out of range.
    """
    total = check_games(games, seed)
    first, size = 0, batch or _FIRST
    while first < total:
        rows = slice(first, min(first + size, total))
        if isinstance(games, Games):
            tokens, ids = games.tokens[rows], games.ids[rows]
        else:
            tokens = random_games(rows.stop - first, HELD_OUT_SEED + seed, first)
            ids = torch.arange(first, rows.stop)
        yield Batch(tokens, ids, replay(tokens[:, :N_CTX]))
        first, size = rows.stop, batch or min(2 * size, BATCH)


def check_games(games: Games | int, seed: int) -> int:
    """How many games a stream has."""
    if not 0 <= seed < _MOST_SEEDS:
        raise InputError(f"seed {seed}: give one within 0..{_MOST_SEEDS - 1}, away from those that training uses")
    if isinstance(games, Games):
        return len(games)
    if games < 1:
        raise InputError(f"{games} games to search: at least one is needed")
    return games


def source(games: Games | int, seed: int) -> str:
    """Where the games of a stream come from, in words."""
    if isinstance(games, Games):
        return f"{games.source} ({games.fingerprint})"
    return f"random, seed {HELD_OUT_SEED + seed}"


def check_band(plies: slice) -> tuple[int, int]:
    """The first and last ply of a band.

    Raises:
        InputError: a band without plies or with a step.
    """
    first, last = plies.start or 0, (N_CTX if plies.stop is None else min(plies.stop, N_CTX)) - 1
    if not 0 <= first <= last or plies.step not in (None, 1):
        raise InputError(f"{plies} is no band of plies: give a first and a last within 0..{N_CTX - 1}, step 1")
    return first, last
