"""The unablated run of a set of games, made once and shared by every ablation measured on them.

Beside it the run of *reference* games, none of which is among those measured: means and donors come from there. What is
kept is the stream in front of and in the middle of every block, with the keys and values of the measured games:

    bytes = 4 x plies x layers x d_model x (4 x games + 2 x reference games)

1.8 MB a game and 0.9 MB a reference game for the bundled model in the middle band. Where that would pass `KEEP`,
nothing is kept and every ablation runs the games again, `CHUNK` at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from circuits.causes.incremental import Recording, record
from circuits.errors import InputError
from circuits.features import Features
from circuits.games import MIDDLE_BAND, Games, generate, transcript_hash
from circuits.notation import N_CTX
from circuits.othello_model import OthelloModel
from circuits.plain import of
from circuits.training.lessons import HELD_OUT_SEED, is_uniform

#: bytes of recordings kept at most: about 550 games of the bundled model with 100 of reference
KEEP = 1 << 30
#: games run at once
CHUNK = 25
#: games that a default reference has, of the first seed from here on with which none is among those measured
REFERENCE_GAMES, REFERENCE_SEED = 100, HELD_OUT_SEED + 1


class Baseline:
    """A model's unablated run of some games.

    Attributes:
        model: in plain torch.
        games, reference: those measured, and those that means and donors come from.
        plies: the band of plies that is measured.
        boards, where: states [game, 59]; the positions measured [game, 59]: valid ones of the band.
        reference_boards, reference_where: the same of the reference games.
    """

    def __init__(
        self,
        model: OthelloModel,
        games: Games,
        reference: Games | None = None,
        *,
        band: slice = MIDDLE_BAND,
        keep: int = KEEP,
    ):
        """Run nothing yet: the recordings are made when they are first needed.

        Args:
            reference: by default `REFERENCE_GAMES` random games, if the games measured are random ones.
            keep: bytes of recordings kept at most.

        Raises:
            InputError: a band without plies; no reference for games that are not random; a reference game that is
                also measured; no valid position in the band.
        """
        start, stop, step = band.indices(N_CTX)
        if start >= stop or step != 1:
            raise InputError(f"band {band.start}..{band.stop}: give plies among 0..{N_CTX - 1}, as in slice(5, 54)")
        self.model, self.games, self.plies = of(model), games, slice(start, stop)
        self.reference = _default_reference(games) if reference is None else reference
        shared = int(torch.isin(transcript_hash(self.reference.tokens), transcript_hash(games.tokens)).sum())
        if shared:
            raise InputError(
                f"{shared} of the {len(self.reference)} reference games are among those measured: a reference must be "
                "other games, such as the other side of games.split()"
            )
        self.boards, self.reference_boards = games.boards(), self.reference.boards()
        in_band = torch.zeros(N_CTX, dtype=torch.bool)
        in_band[self.plies] = True
        self.where, self.reference_where = self.boards.valid & in_band, self.reference_boards.valid & in_band
        for name, where in (("measured", self.where), ("reference", self.reference_where)):
            if not where.any():
                raise InputError(f"the {name} games have no position with a legal move at plies {start}..{stop - 1}")
        shape = self.model.shape
        size = 4 * stop * shape.n_layers * shape.d_model * (4 * len(games) + 2 * len(self.reference))
        self._kept: dict[bool, list[Run]] | None = {} if size <= keep else None

    def __repr__(self) -> str:
        return f"Baseline({self.model.name}, {self.games}, reference {self.reference})"

    def holds(self, fact: str, reference: bool = False) -> Bool[Tensor, "game ply=59"]:
        """Where a fact holds (``"C0 empty"``, ``"legal C0 via SE x1"``) among the valid positions.

        Raises:
            InputError: no such fact.
        """
        boards = self.reference_boards if reference else self.boards
        found = torch.zeros_like(boards.valid)
        found[boards.valid] = Features(boards).column(fact)
        return found

    def runs(self, reference: bool = False) -> Iterator["Run"]:
        """The recordings in order, `CHUNK` games at a time."""
        if self._kept is None:
            return self._record(reference)
        if reference not in self._kept:
            self._kept[reference] = list(self._record(reference))
        return iter(self._kept[reference])

    def _record(self, reference: bool) -> Iterator["Run"]:
        games = self.reference if reference else self.games
        for first in range(0, len(games), CHUNK):
            rows = slice(first, min(first + CHUNK, len(games)))
            made = record(self.model, games.inputs[rows, : self.plies.stop], heads=False)
            empty = {"q": []} | ({"k": [], "v": []} if reference else {})
            yield Run(rows, replace(made, **empty))


@dataclass(frozen=True, eq=False)
class Run:
    """The recording of some rows of a set of games, plies 0 to the band's end."""

    rows: slice
    kept: Recording


def _default_reference(games: Games) -> Games:
    if not is_uniform(games):
        raise InputError(
            f"no reference games: those measured ({games.source}) are not random games made here, so give other games "
            "of their kind, such as the other side of games.split()"
        )
    hashes, seed = transcript_hash(games.tokens), REFERENCE_SEED
    while torch.isin(transcript_hash((found := generate(REFERENCE_GAMES, seed)).tokens), hashes).any():
        seed += 1
    return found
