"""Counting the squares that a board probe reads right, fast: three comparisons a square in place of a softmax.

Of the class logits only differences matter, so two planes are computed, theirs and mine against empty:

    empty   where neither is above 0        theirs   where it is above 0 and not below mine        mine   otherwise
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from probes.sets import ProbeSet


@dataclass(frozen=True, eq=False)
class BoardCounter:
    """A board probe's theirs and mine against empty, plane by plane; without a probe everything it counts is NaN."""

    weight: Float[Tensor, "d_model planes=128"] | None
    bias: Float[Tensor, "planes=128"] | None

    @staticmethod
    def of(probes: ProbeSet, hook: str, device: torch.device | str = "cpu") -> "BoardCounter":
        """The counter of the probe at a point, if the set has one there."""
        if ("board", hook) not in probes:
            return BoardCounter(None, None)
        probe = probes.board(hook)
        weight, bias = (t[..., 1:] - t[..., :1] for t in (probe.weight, probe.bias))
        return BoardCounter(weight.movedim(-1, 1).flatten(1).to(device), bias.T.flatten().to(device))

    def right(
        self,
        x: Float[Tensor, "game ply d_model"],
        state: UInt8[Tensor, "game ply 64"],
        where: Bool[Tensor, "game ply"],
    ) -> Float[Tensor, "class=3 game"]:
        """How many squares of each true class are read right at some positions, by game."""
        if self.weight is None:
            return torch.full((3, len(x)), torch.nan, dtype=torch.float64)
        theirs, mine = (x @ self.weight + self.bias).cpu().unflatten(-1, (2, 64)).unbind(-2)
        said = (theirs <= 0) & (mine <= 0), (theirs > 0) & (theirs >= mine), (mine > 0) & (mine > theirs)
        counts = [(s & (state == c) & where[..., None]).sum((1, 2)) for c, s in enumerate(said)]
        return torch.stack(counts).double()


def squares(state: UInt8[Tensor, "game ply 64"], where: Bool[Tensor, "game ply"]) -> Float[Tensor, "class=3 game"]:
    """How many squares of each class there are at some positions, by game."""
    return torch.stack([((state == c) & where[..., None]).sum((1, 2)) for c in range(3)]).double()
