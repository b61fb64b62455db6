"""Some games run once, then again with neurons set to other values: what `circuits.census.replaced` is measured on."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuits.behaviour import legal_tokens, score_positions
from circuits.games import Games
from circuits.plain import PlainModel
from circuits.verdicts.records import Estimate
from circuits.verdicts.scores import estimate


@dataclass(frozen=True, eq=False)
class Batch:
    """Some games run once, and their positions in the band: where they lie, and which of all they are."""

    model: PlainModel
    entering: list[Float[Tensor, "game ply d_model"]]
    where: Bool[Tensor, "game ply"]
    scored: Bool[Tensor, "position"]
    position: Tensor
    ply: Tensor
    group: Tensor
    first_ply: int
    legal: Bool[Tensor, "position token"]
    logits: Float[Tensor, "position token"]

    @staticmethod
    def of(model: PlainModel, games: Games, numbers: Tensor, group: Tensor, first_ply: int) -> "Batch":
        where = numbers >= 0
        hooks = [f"blocks.{layer}.hook_resid_pre" for layer in range(model.shape.n_layers)]
        logits, acts = model.run(games.inputs[:, : where.shape[1]], save=hooks)
        row, ply = where.nonzero(as_tuple=True)
        legal = legal_tokens(games.boards().legal[:, : where.shape[1]][where])
        # The last position of a game has labels of the board and no next move.
        scored = legal.any(-1)
        return Batch(
            model, [acts[hook] for hook in hooks], where, scored, numbers[where], ply, group[row][scored],
            first_ply, legal[scored].to(model.device), logits[where.to(logits.device)][scored],
        )  # fmt: skip

    def edit(self, layer: int, new: Float[Tensor, "neuron position"], which: Bool[Tensor, "neuron"]) -> tuple:
        """An edit that writes ``new`` into some of a layer's neurons at the batch's positions."""
        values = torch.zeros(*self.where.shape, len(which), device=self.model.device)
        values[self.where] = new.T.to(self.model.device)
        place = (self.where[..., None] & which).to(self.model.device)
        return layer, lambda acts, _point: torch.where(place, values, acts)

    def run(self, edits: list[tuple]) -> Float[Tensor, "position token"]:
        """The logits of a changed run; blocks before the first change are not run again."""
        first = min(layer for layer, _ in edits)
        named = [(f"blocks.{layer}.mlp.hook_post", change) for layer, change in edits]
        logits, _ = self.model.run(self.entering[first], edit=named, start_at=first)
        return logits[self.where.to(logits.device)][self.scored]

    def top_n(self, logits: Float[Tensor, "position token"]) -> Float[Tensor, "position"]:
        """Share of the N likeliest moves that are legal: half the top-N error is what is not."""
        error = score_positions(logits, self.legal)["top_n_error"]
        return (1 - error / (2 * self.legal.sum(-1))).cpu()


class Tally:
    """Sums by game: positions, KL, top-N."""

    def __init__(self, sizes: tuple[int, int] = (0, 0)):
        self.sizes = sizes
        self.parts: list[tuple[Tensor, Tensor]] = []

    def add(self, batch: Batch, top_n: Float[Tensor, "position"], kl: Float[Tensor, "position"]) -> None:
        columns = torch.stack([torch.ones_like(kl), kl, top_n]).double()
        self.parts.append((batch.group, columns))

    def n(self) -> int:
        return sum(len(group) for group, _ in self.parts)

    def estimate(self, column: int, games: int, draws: Float[Tensor, "draw game"]) -> Estimate:
        """A mean over positions, with its interval over games."""
        sums = torch.zeros(2, games, dtype=torch.float64)
        for group, columns in self.parts:
            sums.index_add_(1, group, columns[[0, column]])
        n, total = sums @ draws.T
        return estimate(float(sums[1].sum() / sums[0].sum()), total / n.clamp_min(1), games)
