"""What patching found: effects by place, ply and pair, with their summary over pairs."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits.effects import Summary, summarise
from circuits.errors import InputError
from circuits.pairs import Pairs

#: into which run a patch is made, and from which: denoising, noising
DIRECTIONS = ("clean → corrupt", "corrupt → clean")
Align = Literal["ply", "end", "first difference"]


@dataclass(frozen=True)
class Row:
    """One effect with its uncertainty; ``ply`` as aligned (None: every ply together)."""

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
        effects = self.of(direction)
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
        """Mean effects as shares of the mean difference between the two runs; NaN where that is 0."""
        direction = direction or self.directions[0]
        total = (self.clean - self.corrupt).mean() * (1 if direction == DIRECTIONS[0] else -1)
        return self.aligned(direction, align).mean(-1) / (total if total else torch.nan)

    def rows(self, align: Align = "ply") -> Iterator[Row]:
        """Every effect that any pair has, with its uncertainty; JSON-ready through ``dataclasses.asdict``."""
        for direction in self.directions:
            summary, share = self.summary(direction, align), self.share(direction, align)
            there = (self.aligned(direction, align) != 0).any(-1)
            for i, name in enumerate(self.names):
                for j in range(there.shape[1]):
                    if self.by_ply and not there[i, j]:
                        continue
                    numbers = (float(t[i, j]) for t in (summary.mean, summary.low, summary.high, share))
                    p = (float(summary.p[i, j]), float(summary.p_family[i, j]))
                    yield Row(name, j if self.by_ply else None, direction, *numbers, *p, len(self.pairs))

    def top(self, k: int = 10, direction: str | None = None) -> list[Row]:
        """The k places of largest mean effect (over plies: their largest cell)."""
        direction = direction or self.directions[0]
        rows = [row for row in self.rows() if row.direction == direction]
        return sorted(rows, key=lambda row: -abs(row.mean))[:k]
