"""Partners: neurons that do for one side of the board what another does for its image.

Three maps of the board besides the identity keep the coloured start (`circuits.rules.symmetry.SYMMETRIC`): they take
legal games to legal games. Run the model on a game and on its image; neuron m is the *partner* of n under the map if m
does on the game what n does on its image:

    r(n, m) = correlation over positions of (n on the images, m on the games), both less their means at each ply

The means are taken off because everything that follows the clock resembles everything else that does. A layer's whole
table of r is one product of (neurons x positions) and (positions x neurons). The partner is the one of highest r in one
half of the held-out games; its r, and that of the second best, are of the other half. Beside them: the 99.9 % of r over
all pairs that are no partners, and whether the choice is *mutual* (a map undoes itself: n should be the partner of m).
Under the identity the best *other* neuron is its *twin*.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from circuits.induction.sample import Sample, Side
from circuits.notation import N_CTX, PLAYABLE, token
from circuits.rules.bits import Packed
from circuits.rules.symmetry import SYMMETRIC, map_square

#: the maps other than the identity
MAPS = tuple(name for name in SYMMETRIC if name != "identity")
#: r on the other half from which a neuron counts as having a partner, if the choice is mutual
PARTNER = 0.8
#: held-out games whose images are run
GAMES = 200
#: of the r of all pairs but partners, what is said beside a partner's
QUANTILE = 0.999


@dataclass(frozen=True, eq=False)
class Matches:
    """The best match of every neuron under one map.

    Attributes:
        partner: its number; r: on positions that it was not chosen on; second: of the second best.
        mutual: whether it is its partner's partner; its own partner is mutual too.
        chance: `QUANTILE` of r over pairs that are no partners.
    """

    partner: Int[Tensor, "neuron"]
    r: Float[Tensor, "neuron"]
    second: Float[Tensor, "neuron"]
    mutual: Bool[Tensor, "neuron"]
    chance: float

    @property
    def found(self) -> Bool[Tensor, "neuron"]:
        """Which neurons have a partner: mutual, r of `PARTNER` or more, and beyond ``chance``."""
        return self.mutual & (self.r >= max(PARTNER, self.chance))


def map_tokens(tokens: Integer[Tensor, "game ply"], name: str) -> Integer[Tensor, "game ply"]:
    """The games' images under one of `SYMMETRIC`; padding stays."""
    table = torch.tensor([0, *(token(map_square(square, SYMMETRIC[name])) for square in PLAYABLE)])
    return table.to(tokens.dtype)[tokens.long()]


def images(sample: Sample, games: int = GAMES) -> Sample:
    """The first held-out games as the maps show them: a sample whose three sides are the images under `MAPS`.

    `circuits.induction.sample.layers` gives the activations there. Positions are those of the games themselves.
    """
    chosen = sample.held_out.games[:games]
    where = sample.held_out.packed.where[:games]
    group = sample.held_out.group[sample.held_out.packed.row < games]
    sides = []
    for name in MAPS:
        image = replace(chosen, tokens=map_tokens(chosen.tokens, name))
        sides.append(Side(image, Packed(image.boards(), where), group))
    return Sample(sample.model, *sides, sample.band, sample.seed)


@dataclass(frozen=True, eq=False)
class Halves:
    """A layer's activations less their means at each ply, rows of norm 1, on two sets of positions."""

    choose: Float[Tensor, "neuron n"]
    measure: Float[Tensor, "neuron m"]

    @staticmethod
    def of(acts: Float[Tensor, "neuron k"], ply: Int[Tensor, "k"], choose: Bool[Tensor, "k"]) -> "Halves":
        """``choose`` marks the positions on which partners are chosen; the others measure."""
        return Halves(*(_rows(acts[:, half], ply[half]) for half in (choose, ~choose)))


def matches(images: Halves, own: Halves, twins: bool = False) -> Matches:
    """The best match of every neuron on images among those on the games themselves; ``twins``: but itself."""
    table = images.choose @ own.choose.T
    if twins:
        table.fill_diagonal_(-1.0)
    best = table.topk(min(2, len(table)), dim=1).indices
    partner, second = best[:, 0], best[:, -1]
    r, next_r = ((images.measure * own.measure[which]).sum(1) for which in (partner, second))
    numbers = torch.arange(len(table), device=table.device)
    table[numbers, partner] = -1.0
    others = len(table) * (len(table) - (2 if twins else 1))
    k = max(1, round((1 - QUANTILE) * others))
    return Matches(partner, r, next_r, partner[partner] == numbers, float(table.flatten().topk(k).values[-1]))


def _rows(acts: Float[Tensor, "neuron n"], ply: Int[Tensor, "n"]) -> Float[Tensor, "neuron n"]:
    """Rows less their mean at each ply, of norm 1; 0 for one that the ply says all of."""
    one_hot = torch.zeros(len(ply), N_CTX).scatter_(1, ply[:, None], 1.0)
    found = acts - acts.mean(1, keepdim=True)
    size = found.norm(dim=1, keepdim=True)
    found -= (found @ one_hot / one_hot.sum(0).clamp_min(1)) @ one_hot.T
    norm = found.norm(dim=1, keepdim=True)
    return found.mul_(torch.where(norm > 1e-5 * size, norm.clamp_min(1e-30).reciprocal(), 0.0))
