"""What a verdict stands on: training and held-out games, and a subject's values at all of their positions.

Positions are the valid ones of the band, game by game. Only what the subject needs of the model is run; neurons of
games that a mining pass sampled are taken from there, in fp16, and nothing is run for them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from circuits.activations import BATCH
from circuits.board_readers import BoardReader
from circuits.causes.incremental import mlp
from circuits.editing.interventions import Editor
from circuits.errors import InputError
from circuits.games import MIDDLE_BAND, Games
from circuits.lean_pass import entering, middle, neurons
from circuits.mining import Mining
from circuits.notation import N_CTX
from circuits.othello import Boards
from circuits.othello_model import OthelloModel
from circuits.plain import PlainModel, of
from circuits.rules import Rule
from circuits.rules.bits import Packed
from circuits.verdicts.subjects import Subject

#: positions where the rule holds that are asked for, and games at the least
WANT, LEAST = 600, 300


@dataclass(eq=False)
class Ground:
    """What a verdict is made on.

    Attributes:
        model: any; kept in plain torch.
        train, held_out: games without a transcript in common.
        band: plies that positions are taken from; seed: of everything drawn.
        readers: board probes by point, may be empty; editor: for edits of the checkpoint.
        sample: a finished mining pass over the set that the games are part of: neurons read there cost nothing.
        fresh: random games beside the held-out ones that may be searched for counterfactual pairs.

    Raises:
        InputError: a band outside the model's plies; a transcript on both sides.
    """

    model: OthelloModel
    train: Games
    held_out: Games
    band: slice = field(default_factory=lambda: MIDDLE_BAND)
    seed: int = 0
    readers: Mapping[str, BoardReader] = field(default_factory=dict)
    editor: Editor | None = None
    sample: Mining | None = None
    fresh: int = 0

    def __post_init__(self) -> None:
        self.model = of(self.model)
        self.band = check_band(self.band)
        both = torch.cat([self.train.tokens.unique(dim=0), self.held_out.tokens.unique(dim=0)])
        if len(both.unique(dim=0)) < len(both):
            raise InputError("a game is both a training and a held-out one: split them with Games.split")


@dataclass(eq=False)
class Readings:
    """A subject's values at the positions of some games.

    Attributes:
        games: whose; packed: their positions, where rules are evaluated.
        values: [position, k].
        group: [position], equal for copies of one transcript, from 0: what bootstraps draw.
    """

    games: Games
    packed: Packed
    values: Float[Tensor, "position k"]
    group: Int[Tensor, "position"]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def n_games(self) -> int:
        """Different transcripts with a position."""
        return int(self.group.max()) + 1 if len(self.group) else 0

    def scalar(self, subject: Subject) -> Float[Tensor, "position"]:
        return subject.scalar(self.values)

    def constant(self, subject: Subject) -> str | None:
        """Why there is nothing to explain, in words: a subject that never changes. None for any other."""
        if not len(self.values):
            return "no position of the band: give more games, or longer ones"
        spread = self.values.amax(0) - self.values.amin(0)
        still = spread <= 1e-6 * self.values.abs().amax(0).clamp_min(1e-12)
        if still.all():
            what = "dead" if not self.values.any() else "constant"
            value = f"{float(self.values.mean()):.3g}"
            return f"{subject.name} is {what}: it is {value} at all {len(self):,} positions of {len(self.games)} games"
        return None


def read(
    model: OthelloModel,
    subject: Subject,
    games: Games,
    band: slice = MIDDLE_BAND,
    *,
    batch: int = BATCH,
    sample: Mining | None = None,
    boards: Boards | None = None,
    progress: str | None = None,
) -> Readings:
    """A subject's values at all positions of some games.

    Args:
        band: of plies; sample: a mining pass whose sampled games need not be run, if the subject is of neurons.
        boards: the games' own, if they are known.

    Raises:
        InputError: a band without plies.
    """
    model, band = of(model), check_band(band)
    boards = games.boards() if boards is None else boards
    where = torch.zeros_like(boards.valid)
    where[:, band] = boards.valid[:, band]
    values = torch.zeros(len(games), N_CTX, subject.width)
    run = torch.ones(len(games), dtype=torch.bool)
    if sample is not None and subject.units and subject.kind != "head":
        run = ~_from_sample(model, subject, games, band, sample, values)
    left = run.nonzero()[:, 0]
    with tqdm(total=len(left), desc=progress, unit=" games", disable=None if progress else True, leave=False) as bar:
        for rows in left.split(batch):
            values[rows, : band.stop] = subject_values(model, subject, games.inputs[rows, : band.stop]).cpu()
            bar.update(len(rows))
    return Readings(games, Packed(boards, where), values[where], groups(games)[where.nonzero()[:, 0]])


@torch.no_grad()
def subject_values(model: PlainModel, subject: Subject, tokens: Int[Tensor, "game ply"]) -> Float[Tensor, "game ply k"]:
    """A subject's values, with as little else computed as it takes: of the last layer's MLP only its own neurons."""
    x = entering(model, tokens, subject.first_layer)
    if subject.kind in ("head", "direction") or model.shape.act == "solu":
        _, acts = model.run(x, save=subject.hooks, start_at=subject.first_layer, stop_at=subject.stop_at)
        return subject.values(acts)
    values = torch.empty(*tokens.shape, subject.width, device=model.device)
    for layer in range(subject.first_layer, subject.stop_at):
        mid = middle(model, layer, x)
        own = [i for i, node in enumerate(subject.nodes) if node.layer == layer]
        if own:
            values[..., own] = neurons(model, layer, mid, [subject.nodes[i].index for i in own])
        if layer < subject.layer:
            x = mlp(model, layer, mid)
    return values


def _from_sample(
    model: PlainModel, subject: Subject, games: Games, band: slice, sample: Mining, values: Tensor
) -> Bool[Tensor, "game"]:
    """Fill in the values of games that were sampled; which games those are."""
    plies = range(sample.first_ply, sample.last_ply + 1)
    fits = sample.model_hash == model.hash and sample.fingerprint == games.fingerprint
    if not fits or band.start not in plies or band.stop - 1 not in plies:
        return torch.zeros(len(games), dtype=torch.bool)
    row_of = {number: row for row, number in enumerate(sample.sample_ids.tolist()) if sample.seen[row]}
    found = torch.tensor([row_of.get(number, -1) for number in games.ids.tolist()])
    known = found >= 0
    part = slice(band.start - sample.first_ply, band.stop - sample.first_ply)
    for i, node in enumerate(subject.nodes):
        values[known, band, i] = sample.sample[node.layer, node.index, found[known], part].float()
    return known


def groups(games: Games) -> Int[Tensor, "game"]:
    """Equal numbers, from 0, for copies of one transcript."""
    return games.tokens.unique(dim=0, return_inverse=True)[1]


def check_band(band: slice) -> slice:
    """A band with both its ends.

    Raises:
        InputError: one without plies, or with a step.
    """
    first, end = band.start or 0, N_CTX if band.stop is None else min(band.stop, N_CTX)
    if not 0 <= first < end or band.step not in (None, 1):
        raise InputError(f"{band} is no band of plies: give a first and an end within 0..{N_CTX}, step 1")
    return slice(first, end)


def enough_games(rule: Rule, games: Games, band: slice = MIDDLE_BAND, want: int = WANT, least: int = LEAST) -> Games:
    """The first games in which a rule holds at ``want`` positions of the band, at least ``least`` of them; all of them
    where there are not so many. The engine alone decides: no model is run."""
    band = check_band(band)
    found, taken = 0, 0
    # In growing pieces: a rare rule looks at many games, a common one at few.
    size = least
    while taken < len(games):
        part = games[taken : taken + size]
        boards = part.boards()
        where = torch.zeros_like(boards.valid)
        where[:, band] = boards.valid[:, band]
        by_game = torch.zeros(len(part), dtype=torch.int64)
        if where.any():
            packed = Packed(boards, where)
            by_game.index_add_(0, packed.row, packed.holds(rule).long())
        by_game = by_game.cumsum(0) + found
        if int(by_game[-1]) >= want:
            taken += int((by_game >= want).nonzero()[0]) + 1
            return games[: max(taken, min(least, len(games)))]
        found, taken, size = int(by_game[-1]), taken + len(part), 2 * size
    return games
