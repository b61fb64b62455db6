"""Held-out positions at which a subject is changed: where a rule holds and, at the same plies, where it fails.

Positions where the rule holds are drawn first, one a game before any game gives a second, from `GAMES` games or as many
as are needed. Those where it fails come from the same games, ply for ply as many as there are positions where it holds,
so that neither the ply nor the choice of games tells the two apart. Where there are too few at a ply, the nearest plies
stand in (`Places.matched` counts those that match).

Each game is run once, up to its last position drawn; changes are then made at single positions with every earlier ply
as it was (`circuits.last_ply`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.causes.incremental import normalised
from circuits.games import Games
from circuits.last_ply import Edit, LastPly
from circuits.lean_pass import entering
from circuits.notation import N_CTX
from circuits.othello import Boards
from circuits.plain import Past, PlainModel
from circuits.rules import Rule
from circuits.verdicts.readings import Ground, Readings
from circuits.verdicts.subjects import Subject

#: positions of each kind
PLACES = 300
#: games that they are drawn from, if these have enough
GAMES = 200
#: positions run side by side
ROWS = 100


@dataclass(frozen=True, eq=False)
class Run:
    """Some places, by number, and the recorded pass behind them; run it from block `Places.start` on."""

    rows: Int[Tensor, "row"]
    last: LastPly


@dataclass(eq=False)
class Places:
    """Positions drawn; first those where the rule holds, by `draw`.

    Attributes:
        model, games: the held-out games; row: each place's game among them; ply.
        holds: whether the rule holds; group: of its transcript, as in `Readings.group`.
        position: the place's row in the readings; values: [place, k] the subject's own.
        boards: [place].
        start: the first block that changes are made in: runs begin there.
        matched: how many of the places where it fails lie at the ply of one where it holds.
    """

    model: PlainModel
    games: Games
    row: Int[Tensor, "place"]
    ply: Int[Tensor, "place"]
    holds: Bool[Tensor, "place"]
    group: Int[Tensor, "place"]
    position: Int[Tensor, "place"]
    values: Float[Tensor, "place k"]
    boards: Boards
    start: int
    matched: int
    _runs: dict[bool, list[Run]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.row)

    @property
    def n_games(self) -> int:
        return len(self.group.unique())

    @property
    def tokens(self) -> Int[Tensor, "place 59"]:
        """The transcripts up to each place, 0 behind it."""
        return self.games.inputs[self.row] * (torch.arange(N_CTX) <= self.ply[:, None])

    def address(self, place: int) -> str:
        return str(self.games.address(int(self.row[place]), int(self.ply[place])))

    def runs(self, holds: bool) -> list[Run]:
        """The recorded passes of the places where the rule holds, or fails; made once."""
        if not self._runs:
            self._runs = {True: [], False: []}
            with torch.no_grad():
                for rows in self._batches():
                    self._record(rows)
        return self._runs[holds]

    def run(
        self,
        holds: bool,
        edits: Callable[[Int[Tensor, "row"]], Sequence[Edit]],
        save: Sequence[str] = (),
        variants: int = 1,
        start_at: int | None = None,
    ) -> Iterator[tuple[Int[Tensor, "row"], Float[Tensor, "row variant token"], dict[str, Tensor]]]:
        """Changed runs of the places of one kind, batch by batch.

        Args:
            edits: of some places, by number: hooks for `LastPly.run`, with ``variants`` streams a place.
            start_at: a later block to begin with than `start`.

        Yields:
            numbers of places; logits; saved activations [row, variant, ...].
        """
        for run in self.runs(holds):
            start = self.start if start_at is None else start_at
            logits, saved = run.last.run(list(edits(run.rows)), save, variants=variants, start_at=start)
            yield run.rows, logits, saved

    def _batches(self) -> Iterator[Int[Tensor, "row"]]:
        """Places by whole games, those of like length together."""
        longest = torch.zeros(len(self.games), dtype=torch.int64).scatter_reduce_(0, self.row, self.ply, "amax")
        order = torch.argsort(longest[self.row] * len(self.games) + self.row, stable=True)
        games = self.row[order]
        first = torch.cat([torch.ones(1, dtype=torch.bool), games[1:] != games[:-1]]).nonzero()[:, 0].tolist()
        begin = 0
        for end in [*first[1:], len(order)]:
            if end - begin >= ROWS or end == len(order):
                yield order[begin:end]
                begin = end

    def _record(self, rows: Int[Tensor, "row"]) -> None:
        model, n = self.model, self.model.shape.n_layers
        games, inside = self.row[rows].unique(return_inverse=True)
        plies = int(self.ply[rows].max()) + 1
        kinds = ("hook_resid_pre", "attn.hook_k", "attn.hook_v")
        names = [f"blocks.{layer}.{kind}" for layer in range(self.start, n - 1) for kind in kinds]
        # Of the last block only keys and values are needed, and they need none of its own work.
        x = entering(model, self.games.inputs[games, :plies], self.start)
        final, acts = model.run(x, save=names, start_at=self.start, stop_at=n - 1)
        W, b = model._qkv[n - 1]
        qkv = torch.nn.functional.linear(normalised(final, model.shape.eps), W.T, b)
        _, k, v = qkv.unflatten(-1, (3, model.shape.n_heads, model.shape.d_head)).unbind(2)
        acts |= {f"blocks.{n - 1}.{kind}": x for kind, x in zip(kinds, (final, k, v), strict=True)}
        for holds in (True, False):
            own = self.holds[rows] == holds
            if own.any():
                self._runs[holds].append(Run(rows[own], self._last(acts, inside[own], self.ply[rows[own]])))

    def _last(self, acts: dict[str, Tensor], game: Int[Tensor, "row"], ply: Int[Tensor, "row"]) -> LastPly:
        model, earlier = self.model, int(ply.max())
        game, ply = game.to(model.device), ply.to(model.device)
        hidden = torch.zeros(len(game), 1, 1, earlier, device=model.device)
        hidden.masked_fill_(torch.arange(earlier, device=model.device) >= ply[:, None, None, None], float("-inf"))
        # Blocks that no run enters: tensors that fit nothing, so that entering them cannot go unnoticed.
        nothing = torch.zeros(len(game), 0, 0, 0, device=model.device)
        pre, past = [], []
        for layer in range(model.shape.n_layers):
            kept = max(layer, self.start)
            pre.append(acts[f"blocks.{kept}.hook_resid_pre"][game, ply])
            if layer < self.start:
                past.append(Past(nothing, nothing, hidden[..., :0]))
                continue
            k, v = (
                rearrange(acts[f"blocks.{layer}.attn.hook_{x}"][game, :earlier], "row ply head d -> row head ply d")
                for x in "kv"
            )
            past.append(Past(k, v, hidden))
        return LastPly(model, ply, pre, past)


def draw(
    ground: Ground, subject: Subject, rule: Rule, held_out: Readings, n_holds: int = PLACES, n_fails: int = PLACES
) -> Places:
    """Places of a rule, at positions of the held-out readings; fewer where there are fewer, with `Ground.seed`."""
    generator = torch.Generator().manual_seed(ground.seed)
    packed, truth = held_out.packed, held_out.packed.holds(rule)
    key = torch.rand(len(held_out), generator=generator)
    holding = truth.nonzero()[:, 0]
    holding = _one_a_game(holding, packed.row[holding], key[holding], n_holds)
    failing, matched = _at_plies(holding, packed.row, packed.ply, ~truth, key, n_fails)
    position = torch.cat([holding, failing])
    row, ply = packed.row[position], packed.ply[position]
    first = int(subject.reads.split(".")[1])
    return Places(
        ground.model, held_out.games, row, ply, truth[position], held_out.group[position], position,
        held_out.values[position], held_out.games.boards()[row, ply], min(first, subject.first_layer), matched,
    )  # fmt: skip


def _one_a_game(
    holding: Int[Tensor, "n"], row: Int[Tensor, "n"], key: Float[Tensor, "n"], most: int
) -> Int[Tensor, "chosen"]:
    """At random, first one a game, then a second, of `GAMES` games or more if these have not enough."""
    if not len(holding):
        return holding
    order = key.argsort()
    order = order[row[order].argsort(stable=True)]  # by game, at random within it
    own = row[order]
    start = torch.cat([torch.ones(1, dtype=torch.bool), own[1:] != own[:-1]])
    index = torch.arange(len(own))
    rank = index - torch.where(start, index, 0).cummax(0).values
    # Games in the random order of their first position's key.
    place = start.cumsum(0) - 1
    turn = key[order][start].argsort().argsort()[place]
    upto = torch.bincount(turn).cumsum(0)
    enough = int((upto < most).sum()) + 1
    allowed = turn < max(GAMES, enough)
    chosen = (rank[allowed] * len(own) + turn[allowed]).argsort()[:most]
    return holding[order[allowed][chosen]]


def _at_plies(
    holding: Int[Tensor, "chosen"],
    row: Int[Tensor, "n"],
    ply: Int[Tensor, "n"],
    fails: Bool[Tensor, "n"],
    key: Float[Tensor, "n"],
    n: int,
) -> tuple[Int[Tensor, "chosen2"], int]:
    """Failing positions of the same games at the same plies, of the games least used; how many plies match."""
    if not len(holding):
        return holding, 0
    used_games = torch.zeros(int(row.max()) + 1, dtype=torch.bool)
    used_games[row[holding]] = True
    pool = (fails & used_games[row]).nonzero()[:, 0]
    if not len(pool):
        return pool, 0
    at, game, free = ply[pool], row[pool], torch.ones(len(pool), dtype=torch.bool)
    uses = torch.zeros(len(used_games))
    wanted = ply[holding][torch.arange(n) % len(holding)][: len(pool)]
    chosen, matched = [], 0
    for target in wanted.tolist():
        # Nearest ply first, then the game least used, then chance.
        cost = (at - target).abs() * 1e4 + uses[game] * 10 + key[pool]
        best = int(torch.where(free, cost, torch.inf).argmin())
        free[best] = False
        uses[game[best]] += 1
        matched += int(at[best] == target)
        chosen.append(best)
    return pool[chosen], matched
