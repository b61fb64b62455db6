"""The games that rules are found on, split by transcript in three, and every layer's activations at their positions.

    train      60 %   trees are grown and conjunctions searched
    tune       15 %   rules are pruned and chosen
    held out   25 %   what is reported is measured; by hash of the transcript, the same as ``games.split(0.25, seed)``

Positions are the valid ones of the band, game by game. `layers` is one forward pass in all: the stream of all games,
4 x games x plies x d_model bytes, is kept from layer to layer, and the activations of one layer at a time,
4 x neurons x positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from circuits.causes.incremental import SLICE, mlp, normalised
from circuits.errors import InputError
from circuits.games import MIDDLE_BAND, Games
from circuits.gpt import activation
from circuits.lean_pass import middle
from circuits.othello_model import OthelloModel
from circuits.plain import PlainModel, of
from circuits.rules.bits import Packed
from circuits.verdicts.readings import check_band

#: shares of the games
TUNE, HELD_OUT = 0.15, 0.25
#: different games that each side needs, and games that give every side so many but once in a thousand times
LEAST, ENOUGH = 20, 240
#: games run at a time
BATCH = 32


@dataclass(frozen=True, eq=False)
class Side:
    """One of the three sets of games, and its positions.

    Attributes:
        games: the games; packed: their positions, where rules are evaluated.
        group: the game of each position, from 0 in order of appearance; copies of one transcript are one game.
    """

    games: Games
    packed: Packed
    group: Int[Tensor, "n"]

    @property
    def n(self) -> int:
        """Positions."""
        return self.packed.n

    @property
    def ply(self) -> Int[Tensor, "n"]:
        return self.packed.ply

    @cached_property
    def n_games(self) -> int:
        """Different games with a position."""
        return int(self.group.max()) + 1


@dataclass(frozen=True, eq=False)
class Sample:
    """A model, the three sides, and how they were made."""

    model: PlainModel
    train: Side
    tune: Side
    held_out: Side
    band: slice
    seed: int

    @property
    def sides(self) -> tuple[Side, Side, Side]:
        return self.train, self.tune, self.held_out


@dataclass(frozen=True, eq=False)
class Triple:
    """Any activations at the positions of each side."""

    train: Float[Tensor, "neuron n_train"]
    tune: Float[Tensor, "neuron n_tune"]
    held_out: Float[Tensor, "neuron n_held_out"]


@dataclass(frozen=True, eq=False)
class LayerActs:
    """A `Triple` of the activations (after the non-linearity) of every neuron of a layer."""

    layer: int
    train: Float[Tensor, "neuron n_train"]
    tune: Float[Tensor, "neuron n_tune"]
    held_out: Float[Tensor, "neuron n_held_out"]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"L{self.layer}N{neuron}" for neuron in range(len(self.train)))


def sample(model: OthelloModel, games: Games, band: slice = MIDDLE_BAND, seed: int = 0) -> Sample:
    """Split games in three by transcript.

    Raises:
        InputError: too few games to hold some out; a band without plies, or one that the games do not reach.
    """
    band = check_band(band)
    different = len(games.tokens.unique(dim=0))
    parts = ()
    try:
        train, rest = games.split(TUNE + HELD_OUT, seed)
        parts = (train, *rest.split(HELD_OUT, seed))
    except InputError:  # a side without a game: said below
        pass
    sides = [_side(part, band) for part in parts]
    fewest = min((side.n_games if side else 0 for side in sides), default=0)
    if fewest < LEAST:
        first, last = band.start, band.stop - 1
        raise InputError(
            f"too few games to hold out: of {len(games)} given, {different} different ones, training, tuning or "
            f"held-out games are only {fewest} with a position at plies {first}..{last}, and {LEAST} of each are "
            f"needed: give {ENOUGH} different games or more"
        )
    return Sample(of(model), *sides, band, seed)


def _side(games: Games, band: slice) -> Side | None:
    boards = games.boards()
    where = torch.zeros_like(boards.valid)
    where[:, band] = boards.valid[:, band]
    if not where.any():
        return None
    packed = Packed(boards, where)
    copies = games.tokens.unique(dim=0, return_inverse=True)[1][packed.row]
    # Numbered as they appear, so that the numbers do not depend on how transcripts sort.
    number = {copy: i for i, copy in enumerate(dict.fromkeys(copies.tolist()))}
    return Side(games, packed, torch.tensor([number[copy] for copy in copies.tolist()]))


@torch.no_grad()
def layers(sample: Sample, layers: Sequence[int] | None = None, progress: str | None = None) -> Iterator[LayerActs]:
    """Every wanted layer's activations, in order of the layers, on the model's device; one forward pass in all.

    Args:
        layers: those wanted; all if not given.
        progress: label of a progress bar over layers.

    Raises:
        InputError: no such layer.
    """
    model = sample.model
    n = model.shape.n_layers
    wanted = range(n) if layers is None else sorted(set(layers))
    if bad := [layer for layer in wanted if not 0 <= layer < n]:
        raise InputError(f"layer {bad[0]}: model {model.name} has layers 0..{n - 1}")
    tokens = [side.games.inputs[:, : sample.band.stop].to(model.device) for side in sample.sides]
    where = [side.packed.where[:, : sample.band.stop].to(model.device) for side in sample.sides]
    streams = [[model.run(rows, stop_at=0)[0] for rows in side.split(BATCH)] for side in tokens]
    for layer in tqdm(range(max(wanted, default=-1) + 1), desc=progress, unit=" layers", disable=progress is None):
        if layer not in wanted:
            streams = [[mlp(model, layer, middle(model, layer, x)) for x in side] for side in streams]
            continue
        acts = [
            torch.empty(model.shape.d_mlp, side.n, device=model.device, dtype=torch.float32) for side in sample.sides
        ]
        for stream, marked, out in zip(streams, where, acts, strict=True):
            first = 0
            for i, rows in enumerate(marked.split(BATCH)):
                last = first + int(rows.sum())
                stream[i] = _through(model, layer, middle(model, layer, stream[i]), rows, out[:, first:last])
                first = last
        yield LayerActs(layer, *acts)


def _through(
    model: PlainModel, layer: int, mid: Float[Tensor, "game ply d_model"], rows: Tensor, out: Tensor
) -> Float[Tensor, "game ply d_model"]:
    """The stream after a layer's MLP; what its neurons are at the marked positions goes to ``out`` [neuron, marked]."""
    act = activation(model.shape.act)
    flat, marked = mid.flatten(0, 1), rows.flatten()
    after, first = [], 0
    for x, here in zip(flat.split(SLICE), marked.split(SLICE), strict=True):
        hidden = act(F.linear(normalised(x, model.shape.eps), model.W_in(layer).T, model.b_in(layer)))
        last = first + int(here.sum())
        out[:, first:last] = hidden[here].T
        first = last
        after.append(x + F.linear(hidden, model.W_out(layer).T, model.b_out(layer)))
    return torch.cat(after).view_as(mid)
