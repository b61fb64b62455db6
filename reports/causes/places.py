"""Where a neuron is taken out: positions at which its fact holds, or at which it is most active, and those elsewhere.

Which positions these are is decided on the gallery's training games; they are drawn from its held-out ones.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuits.causes.recorded_games import Positions
from reports.causes.subject import Subject
from reports.headline import what
from reports.text import count, number, percent
from reports.workbench import Workbench

#: positions drawn of either kind, one a game as far as there are games
POSITIONS = 80
#: a neuron without a fact is looked at where it is most active: at this share of training positions at most
ACTIVE = 0.05
#: and with fewer such held-out positions nothing is said of it
MIN_POSITIONS = 20


@dataclass(frozen=True, eq=False)
class MostActive:
    """A neuron's highest activations: those strictly above the least limit that few enough exceed.

    Strictly, as many may be equal: a GELU's tail is zero in the fp16 sample, at half of all positions of some neurons.
    """

    limit: float
    share: float  # of training positions that really are above it
    high: Bool[Tensor, "position"]

    @staticmethod
    def of(acts: Float[Tensor, "position"], train: Bool[Tensor, "position"]) -> "MostActive":
        seen = acts[train]
        limit = seen.sort(descending=True).values[int(ACTIVE * len(seen))]
        return MostActive(float(limit), float((seen > limit).double().mean()), acts > limit)


def idle(subject: Subject) -> str | None:
    """A sentence on a neuron that does too little for anything to be asked of it; None where it can be asked."""
    if subject.fit is not None:
        return None
    acts, train = subject.activations, subject.bench.gallery.train
    if acts.min() == acts.max():
        value = number(float(acts[0]), 2)
        return (
            f"Its activation is {value} at all {count(len(acts))} sampled positions, as far as the sample’s precision "
            "goes: there is nothing to take out."
        )
    active = MostActive.of(acts, train)
    out = ~train
    if (n := int((active.high & out).sum())) < MIN_POSITIONS:
        return (
            f"Hardly ever active: its activation is above {number(active.limit, 2)} at {percent(active.share)} of "
            f"{count(int(train.sum()))} training positions and at {n} of {count(int(out.sum()))} held-out ones. "
            f"At least {MIN_POSITIONS} of these are asked for, so it is not said what happens without it."
        )
    return None


def places(subject: Subject) -> tuple[list[tuple[str, str]], list[Bool[Tensor, "position"]]]:
    """Names and sentences of the places, and where they are among the gallery's positions."""
    out = ~subject.bench.gallery.train
    if subject.fit is not None:
        holds = subject.holds()
        fact = what(subject.fit)
        return [("the fact holds", f"where {fact}"), ("the fact fails", "elsewhere")], [out & holds, out & ~holds]
    active = MostActive.of(subject.activations, ~out)
    words = (
        f"where its activation is above {number(active.limit, 2)}, as at {percent(active.share)} of training positions"
    )
    found = [(("most active", words), out & active.high), (("elsewhere", "elsewhere"), out & ~active.high)]
    found = [(name, mask) for name, mask in found if mask.any()]
    return [name for name, _ in found], [mask for _, mask in found]


def draw(bench: Workbench, where: Bool[Tensor, "position"], seed: int, most: int = POSITIONS) -> Positions:
    """Some of some held-out positions, a second one of a game only when every game has given one."""
    gallery = bench.gallery
    index = where.nonzero()[:, 0]
    index = index[torch.randperm(len(index), generator=torch.Generator().manual_seed(seed))]
    rows = torch.tensor(bench.held_out.rows(gallery.games.ids[gallery.row[index]]))
    order = rows.argsort(stable=True)
    counts = torch.bincount(rows[order])
    first = (counts.cumsum(0) - counts)[rows[order]]
    turn = torch.empty_like(rows)
    turn[order] = torch.arange(len(rows)) - first
    chosen = (turn * (1 << 20) + rows).argsort()[:most]
    return Positions(rows[chosen], gallery.ply[index[chosen]])
