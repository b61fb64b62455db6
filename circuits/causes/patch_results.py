"""What patching found: effects by place, ply and pair, with their summary over pairs."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits.causes.effects import Summary, summarise
from circuits.causes.pairs import Pairs
from circuits.errors import InputError

#: into which run a patch is made, and from which: denoising, noising
DIRECTIONS = ("clean → corrupt", "corrupt → clean")
Align = Literal["ply", "end", "first difference"]


@dataclass(frozen=True)
class Row:
    """One effect with its uncertainty; ``ply`` as aligned (None: every ply together).

    ``moved`` is how many of the pairs have any effect there: an interval of few of them says little.
    """

    place: str
    ply: int | None
    direction: str
    mean: float
    low: float
    high: float
    share: float
    p: float
    p_family: float
    pairs: int
    moved: int


def share_of(total: Summary, direction: str) -> float:
    """What effects in a direction are shares of: the mean difference; NaN where its interval holds 0 (or is none)."""
    if not (total.low > 0 or total.high < 0):
        return float("nan")
    return float(total.mean) * (1 if direction == DIRECTIONS[0] else -1)


@dataclass(frozen=True, eq=False)
class Patched:
    """Effects of patching places one at a time (`sweep`) or a set together (`patch`).

    Attributes:
        places: `Node` s, `Subspace` s or names.
        directions: of the first axis.
        effects: metric(patched) - metric(run patched into); [direction, place, ply, pair], one ply where not by ply.
        clean, corrupt: the metric in the two unpatched runs.
        read: the ply where the metric was read, by pair.
    """

    places: tuple
    directions: tuple[str, ...]
    effects: Float[Tensor, "direction place ply pair"]
    clean: Float[Tensor, "pair"]
    corrupt: Float[Tensor, "pair"]
    by_ply: bool
    read: Int[Tensor, "pair"]
    metric: str
    point: str
    pairs: Pairs

    def __repr__(self) -> str:
        t = self.total
        return (
            f"Patched({len(self.places)} places{' by ply' if self.by_ply else ''}, {', '.join(self.directions)}; "
            f"{self.metric}: clean - corrupt {float(t.mean):+.3f} [{float(t.low):+.3f}, {float(t.high):+.3f}] over "
            f"{len(self.pairs)} pairs)"
        )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(map(str, self.places))

    @cached_property
    def total(self) -> Summary:
        """clean - corrupt of the metric, over pairs."""
        return summarise(self.clean - self.corrupt, self.pairs.game)

    def of(self, direction: str | None = None) -> Float[Tensor, "place ply pair"]:
        """The effects in one direction (the first by default).

        Raises:
            InputError: that direction was not computed.
        """
        direction = direction or self.directions[0]
        if direction not in self.directions:
            raise InputError(f"direction {direction!r} was not computed: {', '.join(self.directions)} was")
        return self.effects[self.directions.index(direction)]

    def aligned(self, direction: str | None = None, align: Align = "ply") -> Float[Tensor, "place ply pair"]:
        """The effects with the plies counted otherwise.

        ``"end"``: index j is j plies before the one read; ``"first difference"``: j plies after the first move that
        differs. Plies that a pair does not have are 0.
        """
        return self._aligned(self.of(direction), align)

    def reached(self, align: Align = "ply") -> Int[Tensor, "ply"]:
        """How many pairs could have an effect at each ply: from their first difference to the ply read."""
        ply = torch.arange(self.effects.shape[2])[:, None]
        inside = (self.pairs.first <= ply) & (ply <= self.read)
        return self._aligned(inside[None].float(), align)[0].sum(-1).long()

    def _aligned(self, effects: Float[Tensor, "place ply pair"], align: Align) -> Float[Tensor, "place ply pair"]:
        if align == "ply" or not self.by_ply:
            return effects
        j = torch.arange(effects.shape[1])[:, None]
        ply = self.read - j if align == "end" else self.pairs.first + j
        inside = (ply >= 0) & (ply < effects.shape[1])
        index = ply.clamp(0, effects.shape[1] - 1).expand(len(effects), -1, -1)
        return effects.gather(1, index) * inside

    def summary(self, direction: str | None = None, align: Align = "ply", seed: int = 0) -> Summary:
        """Mean, bootstrap interval and sign-flip p-values over pairs, [place, ply]."""
        return summarise(self.aligned(direction, align), self.pairs.game, seed=seed)

    def share(self, direction: str | None = None, align: Align = "ply") -> Float[Tensor, "place ply"]:
        """Mean effects as shares of the mean difference between the two runs.

        NaN where the interval of that difference holds 0: nothing is a share of what may be nothing.
        """
        direction = direction or self.directions[0]
        return self.aligned(direction, align).mean(-1) / share_of(self.total, direction)

    def rows(self, align: Align = "ply") -> Iterator[Row]:
        """Every effect that some pair could have, with its uncertainty; JSON-ready through ``dataclasses.asdict``."""
        reached = self.reached(align)
        for direction in self.directions:
            summary, share = self.summary(direction, align), self.share(direction, align)
            changed = (self.aligned(direction, align) != 0).sum(-1)
            for i, name in enumerate(self.names):
                for j in range(changed.shape[1]):
                    if self.by_ply and not reached[j]:
                        continue
                    numbers = (float(t[i, j]) for t in (summary.mean, summary.low, summary.high, share))
                    p = (float(summary.p[i, j]), float(summary.p_family[i, j]))
                    moved = int(changed[i, j])
                    yield Row(name, j if self.by_ply else None, direction, *numbers, *p, len(self.pairs), moved)

    def top(self, k: int = 10, direction: str | None = None, align: Align = "end") -> list[Row]:
        """The k rows of largest mean effect; plies counted back from the one read, where all pairs have them."""
        direction = direction or self.directions[0]
        rows = [row for row in self.rows(align) if row.direction == direction]
        return sorted(rows, key=lambda row: -abs(row.mean))[:k]
