"""What every head of a model attends to, moves and writes, in two passes over games, and a kind for each.

The first pass learns means from training games (`circuits.head_means`), the second measures on held-out games
(`circuits.head_attention`, `circuits.head_writing`).

A head's *kind* is the first of these that holds of its mean attention to sources (see `circuits.head_sources`):

    last      at least `MOST` goes to the move just played
    first     at least `MOST` goes to the game's first move
    mine      of what goes to all other moves at least `SIDE` goes to those of the side to move
    theirs    ... of the other side
    mixed     none of these
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.activations import stream
from circuits.directions import Directions
from circuits.errors import InputError
from circuits.games import MIDDLE_BAND, Games, transcript_hash
from circuits.head_attention import AttentionTally, HeadAttention
from circuits.head_means import HeadMeans, head_means, hooks
from circuits.head_sources import CATEGORIES
from circuits.head_writing import HeadWriting, WritingTally
from circuits.othello_model import OthelloModel
from circuits.plain import of

MOST, SIDE = 0.5, 0.75
Kind = Literal["last", "first", "mine", "theirs", "mixed"]


@dataclass(frozen=True, eq=False)
class HeadProfiles:
    """The means learnt on training games, and where heads attend and what they write on held-out games."""

    means: HeadMeans
    attention: HeadAttention
    writing: HeadWriting


@torch.no_grad()
def profile_heads(
    model: OthelloModel,
    train: Games,
    held_out: Games,
    directions: Mapping[str, Directions],
    *,
    band: slice = MIDDLE_BAND,
    progress: str | None = None,
) -> HeadProfiles:
    """Profiles of all heads, at the valid positions of a band of plies.

    Args:
        train: games that means are learnt on; held_out: other games, on which everything is measured.
        directions: the checkpoint's directions by point (hook); those of each resid_mid, and of the points heads read
            (resid_pre: the resid_post before it). What is missing is NaN in the result.

    Raises:
        InputError: a game on both sides; no position in the band on either.
    """
    shared = int(torch.isin(transcript_hash(held_out.tokens), transcript_hash(train.tokens)).sum())
    if shared:
        raise InputError(f"{shared} of the {len(held_out)} held-out games are among the training games: split by game")
    model = of(model)
    means = head_means(model, train, band=band, progress=progress)
    layers = range(model.shape.n_layers)
    attention = AttentionTally(means, len(held_out))
    writing = WritingTally(model, means, directions, len(held_out))
    kinds = ("attn.hook_pattern", "attn.hook_z", "hook_resid_mid")
    last = hooks(model)[-1]
    first = 0
    for batch in stream(model, held_out, hooks(model, *kinds), progress=progress):
        rows = slice(first, first + len(batch.games))
        first = rows.stop
        boards = batch.games.boards()
        where = torch.zeros_like(boards.valid)
        where[:, band] = boards.valid[:, band]
        patterns, z, mid = ([batch.acts[f"blocks.{i}.{kind}"].cpu() for i in layers] for kind in kinds)
        attention.add(rows, batch.games, boards, where, patterns)
        writing.add(rows, boards, where, z, mid, batch.acts[last].cpu(), batch.acts["ln_final.hook_scale"].cpu())
    if not attention.count.sum() or not means.count[band].sum():
        raise InputError("these games have no position with a legal move in the band: give longer games")
    return HeadProfiles(means, attention.result(), writing.result())


@dataclass(frozen=True)
class HeadKind:
    """What kind of head it is, and how sure that is.

    Attributes:
        share, low, high: the deciding share with its interval over games: of all attention for ``last`` and ``first``;
            else of the attention to moves other than the last, that to the side attended to more.
        threshold: what the share had to reach.
        agreement: the share of the held-out games whose own attention gives the same kind.
    """

    name: Kind
    share: float
    low: float
    high: float
    threshold: float
    agreement: float

    @property
    def sure(self) -> bool:
        """Whether the whole interval lies on the threshold's one side."""
        return not self.low < self.threshold <= self.high


def kind_of(attention: HeadAttention, layer: int, head: int) -> HeadKind:
    """The kind of one head, from its attention; the rule is at the file's head."""
    to, side = attention.to[layer, head].double(), attention.side[layer, head].double()
    name = _names(to[:, :1])[0]
    games = attention.by_game[layer, head].double()
    games = games[:, ~games.isnan().any(0)]
    agreement = sum(other == name for other in _names(games)) / games.shape[1]
    if name in ("last", "first"):
        share = to[CATEGORIES.index("itself" if name == "last" else name)]
        return HeadKind(name, *share.tolist(), MOST, agreement)
    if side[0] < 0.5:
        side = 1 - side[[0, 2, 1]]
    return HeadKind(name, *side.tolist(), SIDE, agreement)


def _names(to: Float[Tensor, "category n"]) -> list[Kind]:
    """The kind for each column of attention to `CATEGORIES`."""
    itself, mine, theirs, first = to[:4]
    found = [itself >= MOST, first >= MOST, mine >= SIDE * (mine + theirs), theirs >= SIDE * (mine + theirs)]
    names = ("last", "first", "mine", "theirs")
    return [
        next((name for name, holds in zip(names, row, strict=True) if holds), "mixed") for row in torch.stack(found).T
    ]
