"""Where heads attend, over the held-out positions of a band: by source, beside attention shared equally.

A head's attention to a category of sources (`circuits.head_sources`) is the mean over positions of the sum of its
pattern over them; *uniform* is the same of 1 / (t + 1). How far the pattern depends on the game, and not on the ply
alone, is told by its distance from the mean pattern P(q) of its ply on training games:

    tv            mean over positions of 1/2 sum over sources |p - P(q)|: 0 where the ply says all, 1 nothing in common
    unexplained   sum |p - P(q)|^2 / sum |p - P|^2, P the mean over all plies: the variance that the mean by ply leaves
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits.game_intervals import ratio_interval
from circuits.games import Games
from circuits.head_means import HeadMeans
from circuits.head_sources import CATEGORIES, source_masks, source_squares, uniform_attention
from circuits.notation import N_CTX, N_SQUARES
from circuits.othello import Boards


@dataclass(frozen=True, eq=False)
class HeadAttention:
    """Attention of every head; the last axis of intervals is (mean, low, high), over games.

    Attributes:
        count: positions by query ply; games: how many.
        pattern: mean attention by query ply and key ply; zeros in rows without a position.
        to, uniform: attention to each of `CATEGORIES`, and what uniform attention gives.
        side: share of ``mine`` in what goes to moves other than the last; half of it is no preference.
        by_game: the same attention by game, the mean over its positions; NaN for a game without one.
        by_square, by_square_uniform: mean attention to the source on a square, by the square of the last move, when
            both were played; NaN where they never were; by_square_count: how often.
        tv, tv_uniform: total variation between the pattern and the mean pattern of its ply; between it and uniform.
        unexplained: share of the pattern's variance that the mean by ply leaves.
        entropy, entropy_uniform: mean entropy in nats.
    """

    count: Int[Tensor, "ply=59"]
    games: int
    pattern: Float[Tensor, "layer head query=59 key=59"]
    to: Float[Tensor, "layer head category 3"]
    uniform: Float[Tensor, "category"]
    side: Float[Tensor, "layer head 3"]
    by_game: Float[Tensor, "layer head category game"]
    by_square: Float[Tensor, "layer head 64 64"]
    by_square_uniform: Float[Tensor, "64 64"]
    by_square_count: Int[Tensor, "64 64"]
    tv: Float[Tensor, "layer head 3"]
    tv_uniform: Float[Tensor, "layer head"]
    unexplained: Float[Tensor, "layer head"]
    entropy: Float[Tensor, "layer head"]
    entropy_uniform: float

    @property
    def positions(self) -> int:
        return int(self.count.sum())

    def by_offset(self) -> tuple[Float[Tensor, "layer head offset=59"], Float[Tensor, "offset=59"]]:
        """Mean attention so many moves back, over the positions that have such a source, and its uniform; NaN: none."""
        weights, uniform = self.count.double(), uniform_attention().double()
        values = torch.full((*self.pattern.shape[:2], N_CTX), torch.nan)
        base = torch.full((N_CTX,), torch.nan)
        for offset in range(N_CTX):
            n = weights[offset:]
            if n.sum():
                values[..., offset] = ((self.pattern.double().diagonal(-offset, -2, -1) * n).sum(-1) / n.sum()).float()
                base[offset] = float((uniform.diagonal(-offset) * n).sum() / n.sum())
        return values, base

    def displacement(self) -> Float[Tensor, "layer head 15 15"]:
        """Attention over uniform attention, by where the source lies from the last move: [rows down + 7, right + 7]."""
        square = torch.arange(N_SQUARES)
        down, right = square // 8, square % 8
        place = (down[None] - down[:, None] + 7) * 15 + right[None] - right[:, None] + 7
        return self._ratio(place.flatten(), 225).unflatten(-1, (15, 15))

    def source_square(self) -> Float[Tensor, "layer head 64"]:
        """Attention over uniform attention, by the source's square; NaN for the centre."""
        return self._ratio(torch.arange(N_SQUARES).repeat(N_SQUARES), N_SQUARES)

    def _ratio(self, place: Int[Tensor, "pair"], places: int) -> Float[Tensor, "layer head place"]:
        n = self.by_square_count.double()
        paid, even = (torch.nan_to_num(x.double()) * n for x in (self.by_square, self.by_square_uniform))
        total = paid.new_zeros(*paid.shape[:2], places).index_add_(2, place, paid.flatten(2))
        base = paid.new_zeros(places).index_add_(0, place, even.flatten())
        return (total / base).float()


class AttentionTally:
    """Sums over batches of games, from which `HeadAttention` is made."""

    def __init__(self, means: HeadMeans, games: int):
        self.means, self.games = means, games
        layers, heads = means.pattern.shape[:2]

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(layers, heads, *shape, dtype=torch.float64)

        self.pattern, self.to = zeros(N_CTX, N_CTX), zeros(len(CATEGORIES), games)
        self.tv, self.tv_uniform, self.entropy = zeros(games), zeros(), zeros()
        self.left, self.total = zeros(), zeros()
        self.square = zeros(N_SQUARES**2)
        self.square_uniform, self.square_count = torch.zeros(2, N_SQUARES**2, dtype=torch.float64)
        self.uniform = torch.zeros(len(CATEGORIES), dtype=torch.float64)
        self.count = torch.zeros(N_CTX, dtype=torch.int64)
        self.by_game = torch.zeros(games, dtype=torch.int64)
        n = means.count.double()
        self.grand = (means.pattern.double() * n[:, None]).sum(2) / n.sum()

    def add(self, rows: slice, games: Games, boards: Boards, where: Tensor, patterns: list[Tensor]) -> None:
        """Take in the games ``rows``: patterns [game, head, query, key] by layer, at the positions ``where``."""
        keep = where.float()
        masks = source_masks(games, boards).float() * keep[:, :, None, None]
        even = uniform_attention()
        self.uniform += torch.einsum("gqkm,qk->m", masks, even).double()
        self.count += where.sum(0)
        self.by_game[rows] = where.sum(1)
        square = source_squares(games)
        place = square[:, :, None] * N_SQUARES + square[:, None, :]
        seen = where[:, :, None] & (even > 0)
        places = place[seen]
        self.square_count.index_add_(0, places, torch.ones(len(places), dtype=torch.float64))
        self.square_uniform.index_add_(0, places, even.expand_as(place)[seen].double())
        seen = seen.flatten().nonzero().squeeze(1)
        flat = masks.flatten(1, 2)
        for layer, whole in enumerate(patterns):
            p = whole.cpu().float() * keep[:, None, :, None]
            heads = p.shape[1]
            self.pattern[layer] += p.sum(0)
            self.to[layer][..., rows] += (p.flatten(2) @ flat).permute(1, 2, 0)
            paid = torch.zeros(N_SQUARES**2, heads)
            paid.index_add_(0, places, p.permute(0, 2, 3, 1).reshape(-1, heads)[seen])
            self.square[layer] += paid.T
            off = (p - self.means.pattern[layer]) * keep[:, None, :, None]
            self.left[layer] += off.square().sum((0, 2, 3))
            self.tv[layer][..., rows] += off.abs_().sum((2, 3)).T / 2
            self.entropy[layer] -= torch.xlogy(p, p).sum((0, 2, 3))
            # |p - mean|^2 = |p|^2 - 2 p . mean + |mean|^2, without another pass over the differences
            grand, n = self.grand[layer], int(where.sum())
            crossed = (p.sum((0, 2)).double() * grand).sum(-1)
            self.total[layer] += p.square().sum((0, 2, 3)) - 2 * crossed + n * grand.square().sum(-1)
            self.tv_uniform[layer] += p.sub_(even * keep[:, None, :, None]).abs_().sum((0, 2, 3)) / 2

    def result(self) -> HeadAttention:
        positions = int(self.count.sum())
        n = self.by_game.double()
        entropy = torch.arange(1, N_CTX + 1).double().log()
        shape = (N_SQUARES, N_SQUARES)
        mine, theirs = (self.to[:, :, CATEGORIES.index(name)] for name in ("mine", "theirs"))
        return HeadAttention(
            count=self.count,
            games=self.games,
            pattern=(self.pattern / self.count.clamp_min(1)[:, None]).float(),
            to=ratio_interval(self.to, n),
            uniform=(self.uniform / positions).float(),
            side=ratio_interval(mine, mine + theirs),
            by_game=(self.to / n).float(),
            by_square=(self.square / self.square_count).float().unflatten(-1, shape),
            by_square_uniform=(self.square_uniform / self.square_count).float().view(shape),
            by_square_count=self.square_count.long().view(shape),
            tv=ratio_interval(self.tv, n),
            tv_uniform=(self.tv_uniform / positions).float(),
            unexplained=(self.left / self.total).float(),
            entropy=(self.entropy / positions).float(),
            entropy_uniform=float((entropy * self.count).sum() / positions),
        )
