"""What heads move and write, read in the checkpoint's directions and in the logits, over held-out positions.

A head writes z W_O at a position. Its mean at each ply of the training games is taken out first, so that nothing here
can come from the ply alone: z' = z - mean z(ply). With u the unit direction of a fact at a square, at the resid_mid
that the head writes to, a head's contribution to the square's coordinate is c = z' W_O u (no LayerNorm in between), and

    separation   mean of c over the positions where the fact holds, less that where it fails: what the head does to tell
                 the two apart. Of the whole stream, x' = x - mean x(ply), it is the sum over everything written before,
                 so a head's *share* of it is exact: the shares of all components add up to 1
    logits       z' W_O (W_U[move] - mean over the 60 moves) / s, s the final LayerNorm's scale *frozen* at the
                 position; gap: where the move is legal, less where its square is empty and it is illegal

What a head moves from a source to wherever it attends from is its OV circuit, read in two ways:

    ov           (mean value of the sources where square a was just played, less that of their plies) W_O u: coordinates
                 written per unit of attention; the data's values, so it is the same thing at every layer
    ov_weights   cosine of (direction at resid_pre) W_V W_O with a direction at resid_mid: the weights alone
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.directions import Directions
from circuits.game_intervals import gap_interval, gap_share_interval
from circuits.head_means import HeadMeans
from circuits.head_sources import FACTS
from circuits.notation import LABELS, N_SQUARES, PLAYABLE
from circuits.othello import Boards, bits_to_bool
from circuits.othello_model import OthelloModel


@dataclass(frozen=True, eq=False)
class HeadWriting:
    """What every head writes; the last axis of intervals is (value, low, high), over games.

    A fact without directions at a layer, and a square without one, is NaN. Facts are those of `FACTS`.

    Attributes:
        separation, separation_total: by square, of the head and of the whole stream at its resid_mid.
        separation_all, separation_share: pooled over squares, and as a share of the stream's.
        logits: direct contribution to each move's logit where it is legal, illegal on an empty square, occupied.
        logit_gap, logit_gap_total: legal less illegal on an empty square, pooled; the same of the final stream.
        state_means, state_count: mean z' where each square is empty, theirs, mine, and in how many positions.
        moments: mean of z' z'^T over positions: the variance of what the head does along any direction.
        norm, stream_norm: root mean square norm of z' W_O, and of the stream at resid_mid less its mean by ply.
        ov, ov_weights: see the file's head; ov [.. source square, target square], ov_weights at one and the same
            square [.. source fact, target fact, square], ov_weights_off: root mean square between different squares.
    """

    separation: Float[Tensor, "layer head fact 64"]
    separation_total: Float[Tensor, "layer fact 64"]
    separation_all: Float[Tensor, "layer head fact 3"]
    separation_share: Float[Tensor, "layer head fact 3"]
    logits: Float[Tensor, "layer head 3 64"]
    logit_gap: Float[Tensor, "layer head 3"]
    logit_gap_total: Float[Tensor, "3"]
    state_means: Float[Tensor, "layer head 3 64 d_head"]
    state_count: Int[Tensor, "3 64"]
    moments: Float[Tensor, "layer head d_head d_head"]
    norm: Float[Tensor, "layer head"]
    stream_norm: Float[Tensor, "layer"]
    ov: Float[Tensor, "layer head fact 64 64"]
    ov_weights: Float[Tensor, "layer head fact fact 64"]
    ov_weights_off: Float[Tensor, "layer head fact fact"]

    def ov_own(self) -> tuple[Float[Tensor, "layer head fact"], Float[Tensor, "layer head fact"]]:
        """`ov` at the source's own square, its mean, and the root mean square at all others: the baseline."""
        own = self.ov.diagonal(0, -2, -1).nanmean(-1)
        others = self.ov.masked_fill(torch.eye(N_SQUARES, dtype=torch.bool), torch.nan)
        return own, others.square().nanmean((-2, -1)).sqrt()


def vectors(directions: Mapping[str, Directions], hook: str, d_model: int) -> Float[Tensor, "fact 64 d_model"]:
    """A point's directions by fact and square; zeros where there are none."""
    table = torch.zeros(len(FACTS), N_SQUARES, d_model)
    if hook in directions:
        place = {f"{label} {fact}": (f, s) for f, fact in enumerate(FACTS) for s, label in enumerate(LABELS)}
        for name, vector in zip(directions[hook].names, directions[hook].vectors, strict=True):
            if name in place:
                table[place[name]] = vector.float().cpu()
    return table


#: the facts whose places are counted one by one, and of which of `FACTS` the direction is read there
ROWS = ("empty", "theirs", "mine", "played", "flipped", "legal")
ROW_FACTS = (1, 0, 0, 2, 3, 4)


def fact_rows(boards: Boards) -> Bool[Tensor, "game ply row 64"]:
    """Where each of `ROWS` holds at every position."""
    return torch.stack([bits_to_bool(getattr(boards, name)) for name in ROWS], 2)


def _sides(
    rows: Float[Tensor, "row *rest"], whole: Float[Tensor, "row *rest"]
) -> tuple[Float[Tensor, "fact *rest"], Float[Tensor, "fact *rest"]]:
    """Sums where each of `FACTS` holds and where it fails, from those of `ROWS` and of all positions."""
    empty, theirs, mine, *others = rows
    fails = [theirs, *(whole[row] - rows[row] for row in (0, 3, 4, 5))]
    return torch.stack([mine, empty, *others]), torch.stack(fails)


class WritingTally:
    """Sums over batches of games, from which `HeadWriting` is made. All of it is on the CPU."""

    def __init__(self, model: OthelloModel, means: HeadMeans, directions: Mapping[str, Directions], games: int):
        self.model, self.means = model, means
        s = model.shape
        layers, heads = s.n_layers, s.n_heads
        self.W_O = [model.W_O(layer).float().cpu() for layer in range(layers)]
        point = "blocks.{}.hook_resid_{}".format
        self.pre, self.mid = (
            [vectors(directions, point(layer, x), s.d_model) for layer in range(layers)] for x in ("pre", "mid")
        )
        for layer in range(1, layers):  # the same point under another name
            if f"blocks.{layer}.hook_resid_pre" not in directions:
                self.pre[layer] = vectors(directions, point(layer - 1, "post"), s.d_model)
        # What one unit of z' adds to each coordinate: rows of masks (see `fact_rows`), then moves.
        self.rows = [u[list(ROW_FACTS)].flatten(0, 1) for u in self.mid]
        self.reach = [torch.einsum("hkd,rd->rhk", W, u) for W, u in zip(self.W_O, self.rows, strict=True)]
        W_U = model.W_U[:, 1:].float().cpu()
        self.moves = (W_U - W_U.mean(-1, keepdim=True)).T
        self.reach_moves = [torch.einsum("hkd,sd->shk", W, self.moves) for W in self.W_O]
        rows, moves = len(ROW_FACTS), len(PLAYABLE)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64)

        # Sums by square over games, and by game over squares, of each row of masks; then of all positions.
        self.square, self.game = zeros(rows, N_SQUARES, layers, heads), zeros(rows, layers, heads, games)
        self.whole, self.whole_game = zeros(layers, heads * s.d_head), zeros(rows, layers, heads, games)
        self.stream_square, self.stream_game = zeros(layers, rows, N_SQUARES), zeros(layers, rows, games)
        self.stream_whole, self.stream_whole_game = zeros(layers, s.d_model), zeros(layers, rows, games)
        self.count_square, self.count_game = zeros(rows, N_SQUARES), zeros(layers, rows, games)
        self.positions = zeros(games)
        self.move, self.move_game = zeros(layers, 2, moves, heads), zeros(layers, 2, heads, games)
        self.move_whole = zeros(layers, heads * s.d_head)
        self.final_game, self.move_count, self.move_count_game = zeros(2, games), zeros(2, moves), zeros(2, games)
        self.state, self.moments = zeros(layers, 3, N_SQUARES, heads * s.d_head), zeros(layers, heads, *(s.d_head,) * 2)
        self.stream_norm = zeros(layers)

    def add(
        self,
        rows: slice,
        boards: Boards,
        where: Bool[Tensor, "game ply"],
        z: list[Float[Tensor, "game ply head d_head"]],
        mid: list[Float[Tensor, "game ply d_model"]],
        final: Float[Tensor, "game ply d_model"],
        scale: Float[Tensor, "game ply 1"],
    ) -> None:
        """Take in the games ``rows`` at the positions ``where``; ``z`` and ``mid`` by layer."""
        keep = where.float()[..., None]
        masks = fact_rows(boards).flatten(2).float() * keep  # game, ply, row and square
        by_mask, kinds = masks.mT.contiguous(), len(ROW_FACTS)
        moves = torch.cat([bits_to_bool(bits)[..., list(PLAYABLE)] for bits in (boards.legal, boards.empty)], -1)
        moves = moves.float() * keep
        by_move = moves.mT.contiguous()
        counts = masks.sum(1).unflatten(-1, (kinds, N_SQUARES))
        self.count_square += counts.sum(0)
        self.positions[rows] = where.sum(1).double()
        self.move_count += moves.sum((0, 1)).view(2, -1)
        self.move_count_game[:, rows] = moves.sum(1).unflatten(-1, (2, -1)).sum(-1).T.double()
        inverse = keep / scale
        for layer, (outputs, stream) in enumerate(zip(z, mid, strict=True)):
            heads = outputs.shape[2:]
            known = self.rows[layer].any(-1).view(kinds, N_SQUARES)
            self.count_game[layer, :, rows] = (counts * known).sum(-1).T.double()

            off = (outputs - self.means.z[layer]) * keep[..., None]
            flat = off.flatten(0, 1).transpose(0, 1)
            self.moments[layer] += flat.mT @ flat
            whole = off.sum(1)
            self.whole[layer] += whole.sum(0).flatten()
            summed = self.reach[layer].unflatten(0, (kinds, -1)).sum(1)
            self.whole_game[:, layer, :, rows] = torch.einsum("ghk,rhk->rhg", whole, summed).double()
            given = by_mask @ off.flatten(2)
            self.state[layer] += given[:, : 3 * N_SQUARES].sum(0).view(3, N_SQUARES, -1)
            found = (given * self.reach[layer].flatten(1)).unflatten(-1, heads).sum(-1).unflatten(1, (kinds, -1))
            self.square[:, :, layer] += found.sum(0)
            self.game[:, layer, :, rows] = found.sum(2).permute(1, 2, 0).double()

            x = (stream - self.means.mid[layer]) * keep
            self.stream_norm[layer] += x.square().sum()
            whole = x.sum(1)
            self.stream_whole[layer] += whole.sum(0)
            summed = self.rows[layer].unflatten(0, (kinds, -1)).sum(1)
            self.stream_whole_game[layer, :, rows] = (whole @ summed.T).T.double()
            found = ((x @ self.rows[layer].T).mul_(masks)).sum(1).unflatten(-1, (kinds, -1))
            self.stream_square[layer] += found.sum(0)
            self.stream_game[layer, :, rows] = found.sum(-1).T.double()

            off = off.mul_(inverse[..., None]).flatten(2)
            self.move_whole[layer] += off.sum((0, 1))
            given = (by_move @ off).unflatten(1, (2, -1)).mul_(self.reach_moves[layer].flatten(1))
            found = given.unflatten(-1, heads).sum(-1)
            self.move[layer] += found.sum(0)
            self.move_game[layer, :, :, rows] = found.sum(2).permute(1, 2, 0).double()
        last = (final / scale - self.means.final_scaled) * keep
        found = ((last @ self.moves.T).repeat(1, 1, 2).mul_(moves)).sum(1)
        self.final_game[:, rows] = found.unflatten(-1, (2, -1)).sum(-1).T.double()

    def result(self) -> HeadWriting:
        s, n = self.model.shape, self.positions.sum()
        heads = (s.n_heads, s.d_head)
        reach, directions = torch.stack(self.reach).double(), torch.stack(self.rows).double()
        # By square, axes (row, square, layer, head): sums over all positions, from which those where a fact fails come.
        whole = torch.einsum("lhk,lrhk->rlh", self.whole.unflatten(-1, heads), reach).unflatten(0, (-1, N_SQUARES))
        count = _sides(self.count_square, n.expand_as(self.count_square))
        yes, no = _sides(self.square, whole)
        separation = (yes / count[0][..., None, None] - no / count[1][..., None, None]).permute(2, 3, 0, 1)
        whole = torch.einsum("ld,lrd->rl", self.stream_whole, directions).unflatten(0, (-1, N_SQUARES))
        yes, no = _sides(self.stream_square.permute(1, 2, 0), whole)
        total = (yes / count[0][..., None] - no / count[1][..., None]).permute(2, 0, 1)
        missing = ~torch.stack([u.any(-1) for u in self.mid])

        # By game, axes (row, layer, head, game).
        known = torch.stack([u.any(-1).view(-1, N_SQUARES).sum(-1) for u in self.rows])
        held = self.count_game.transpose(0, 1)
        m, f = _sides(held, known.T[..., None] * self.positions)
        part = _sides(self.game, self.whole_game)
        stream = _sides(self.stream_game.transpose(0, 1), self.stream_whole_game.transpose(0, 1))
        counts = m[:, :, None], f[:, :, None]
        share = gap_share_interval(part, tuple(x[:, :, None] for x in stream), counts)
        pooled = gap_interval(part[0], counts[0].expand_as(part[0]), part[1], counts[1].expand_as(part[1]))
        weights = [self._ov_weights(layer) for layer in range(s.n_layers)]
        gram = torch.stack([torch.einsum("hkd,hjd->hkj", W, W) for W in self.W_O]).double()
        states = self.count_square[:3].long()
        means = (self.state / states.double()[..., None]).unflatten(-1, heads).permute(0, 3, 1, 2, 4)
        return HeadWriting(
            separation=separation.float().masked_fill(missing[:, None], torch.nan),
            separation_total=total.float().masked_fill(missing, torch.nan),
            separation_all=pooled.permute(1, 2, 0, 3).contiguous(),
            separation_share=share.permute(1, 2, 0, 3).contiguous(),
            logits=self._logits(n),
            logit_gap=self._logit_gap(self.move_game.permute(1, 0, 2, 3)),
            logit_gap_total=self._logit_gap(self.final_game),
            state_means=means.float().contiguous(),
            state_count=states,
            moments=(self.moments / n).float(),
            norm=((self.moments * gram).sum((-2, -1)) / n).clamp_min(0).sqrt().float(),
            stream_norm=(self.stream_norm / n).sqrt().float(),
            ov=torch.stack([self._ov(layer) for layer in range(s.n_layers)]),
            ov_weights=torch.stack([own for own, _ in weights]),
            ov_weights_off=torch.stack([off for _, off in weights]),
        )

    def _logits(self, positions: Tensor) -> Float[Tensor, "layer head 3 64"]:
        heads = self.move_whole.shape[0], -1, self.move.shape[-1]
        whole = torch.stack(
            [
                torch.einsum("hk,shk->sh", total.view(reach.shape[1:]).float(), reach)
                for total, reach in zip(self.move_whole, self.reach_moves, strict=True)
            ]
        )
        legal, empty = self.move.unbind(1)
        n_legal, n_empty = (n[:, None] for n in self.move_count)
        found = (legal / n_legal, (empty - legal) / (n_empty - n_legal), (whole - empty) / (positions - n_empty))
        places = torch.full((heads[0], heads[2], 3, N_SQUARES), torch.nan)
        places[..., list(PLAYABLE)] = torch.stack(found).permute(1, 3, 0, 2).float()
        return places

    def _logit_gap(self, sums: Float[Tensor, "2 *what game"]) -> Float[Tensor, "*what 3"]:
        (legal, empty), (n_legal, n_empty) = sums, (n.expand_as(sums[0]) for n in self.move_count_game)
        return gap_interval(legal, n_legal, empty - legal, n_empty - n_legal)

    def _ov(self, layer: int) -> Float[Tensor, "head fact 64 64"]:
        reach = self.reach[layer].unflatten(0, (-1, N_SQUARES))[[2, 0, 3, 4, 5]]  # the rows of mine, empty, and so on
        found = torch.einsum("ahk,fshk->hfas", self.means.value[layer], reach)
        found = found.masked_fill(~self.mid[layer].any(-1)[:, None], torch.nan)
        return found.masked_fill((self.means.plays == 0)[:, None], torch.nan)

    def _ov_weights(self, layer: int) -> tuple[Float[Tensor, "head fact fact 64"], Float[Tensor, "head fact fact"]]:
        """Cosines at the same square, and their root mean square between different squares."""
        written = torch.einsum("fad,hdk->hfak", self.pre[layer], self.model.W_V(layer).float().cpu())
        written = torch.einsum("hfak,hkd->hfad", written, self.W_O[layer])
        written = written / written.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        cosine = torch.einsum("hfad,esd->hfeas", written, self.mid[layer])
        cosine = cosine.masked_fill(~self.pre[layer].any(-1)[:, None, :, None], torch.nan)
        cosine = cosine.masked_fill(~self.mid[layer].any(-1)[:, None], torch.nan)
        own = cosine.diagonal(0, -2, -1)
        off = cosine.masked_fill(torch.eye(N_SQUARES, dtype=torch.bool), torch.nan).square().nanmean((-2, -1)).sqrt()
        return own.contiguous(), off
