"""The games of an atlas, any part of them on demand: random ones are made again wherever they are needed, those of a
file are copied into the atlas when it begins, so that a file that changes meanwhile changes nothing unseen.
"""

import hashlib
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int, UInt8
from safetensors.torch import load, save
from torch import Tensor

from circuits.atlas.store import Store
from circuits.errors import InputError
from circuits.games import Games
from circuits.hashing import mix64, signed64
from circuits.othello import random_games
from circuits.serial import Record

GAMES = "inputs/games"
_BLOCK = 1 << 16
#: seeds of random games begin here: training, pages and rules have others
ATLAS_SEEDS = 1 << 42


@dataclass(frozen=True)
class Source(Record):
    """Which games: ``seed`` of random ones, None where the atlas holds a file's.

    Attributes:
        games: how many; fingerprint, source: as of `Games`.
    """

    games: int
    fingerprint: str
    source: str
    seed: int | None

    @staticmethod
    def kept(n: int, seed: int) -> "Source":
        """Random games from seeds of their own, which no model and no probe of this project was trained on.

        Raises:
            InputError: as `random`.
        """
        found = Source.random(n, ATLAS_SEEDS + seed)
        return replace(found, source=f"random, kept for atlases, seed {seed}, {n} games")

    @staticmethod
    def random(n: int, seed: int) -> "Source":
        """As `circuits.games.generate`, without ever holding all of them.

        Raises:
            InputError: no games.
        """
        if n < 1:
            raise InputError(f"{n} games were asked for: at least one is needed")
        digest = hashlib.sha256()
        for first in range(0, n, _BLOCK):
            digest.update(random_games(min(_BLOCK, n - first), seed, first).numpy())
        return Source(n, digest.hexdigest()[:16], f"random, seed {seed}, {n} games", seed)

    @staticmethod
    def of(games: Games) -> "Source":
        return Source(len(games), games.fingerprint, games.source, None)

    def opened(self, store: Store) -> "Opened":
        """Ready to give parts.

        Raises:
            InputError: the copy of a file's games is missing or damaged.
        """
        if self.seed is not None:
            return Opened(self, torch.arange(self.games), None)
        data = store.unseal(GAMES)
        if data is None:
            raise InputError(f"{store.where(GAMES)} is missing: run the same command again")
        kept = load(data)
        return Opened(self, kept["ids"].clone(), kept["tokens"].clone())


def to_bytes(games: Games) -> bytes:
    """A file's games, to be copied into the atlas."""
    return save({"tokens": games.tokens.contiguous(), "ids": games.ids.contiguous()})


@dataclass(frozen=True, eq=False)
class Opened:
    """Games by row: ``ids`` their numbers in the whole set; tokens None where they are made."""

    source: Source
    ids: Int[Tensor, "game"]
    tokens: UInt8[Tensor, "game 60"] | None

    def part(self, first: int, last: int) -> Games:
        """Rows ``first`` to ``last - 1``."""
        return self.rows(torch.arange(first, min(last, len(self.ids))))

    def rows(self, rows: Int[Tensor, "n"]) -> Games:
        ids, s = self.ids[rows], self.source
        tokens = random_games(len(ids), s.seed, ids) if self.tokens is None else self.tokens[rows]
        return Games(tokens, ids, s.fingerprint, s.source)

    def of_ids(self, ids: Int[Tensor, "n"]) -> Games:
        """Games by their numbers in the whole set."""
        order = self.ids.argsort()
        return self.rows(order[torch.searchsorted(self.ids[order], ids)])

    def sample(self, n: int, seed: int, what: str = "") -> Games:
        """``n`` games (or all, if fewer) by hash of their number, the seed and what they are for, in order."""
        salt = signed64(int.from_bytes(hashlib.sha256(f"{what} {seed}".encode()).digest()[:8], "little"))
        order = mix64(mix64(self.ids + 1) ^ salt).argsort(stable=True)
        return self.rows(order[:n].sort().values)
