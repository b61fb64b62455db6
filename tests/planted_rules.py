"""Real positions with an activation that is invented, so that the rule behind it is known."""

from dataclasses import dataclass
from functools import cache

import torch

from circuits.games import Games, generate
from circuits.rules.bits import Packed

BAND = slice(5, 54)


@dataclass(eq=False)
class Readings:
    """What fits and rivals ask of `circuits.verdicts.readings.Readings`."""

    games: Games
    packed: Packed
    acts: torch.Tensor
    group: torch.Tensor

    def scalar(self, subject):
        return self.acts


@cache
def halves(n=240, seed=3):
    """Training and held-out games with their packed positions."""
    return tuple((games, packed(games)) for games in generate(n, seed=seed).split(0.5, 0))


def packed(games):
    boards = games.boards()
    where = torch.zeros_like(boards.valid)
    where[:, BAND] = boards.valid[:, BAND]
    return Packed(boards, where)


def readings(games, at, acts):
    return Readings(games, at, acts, games.tokens.unique(dim=0, return_inverse=True)[1][at.row])


def planted(rule, noise=0.3, on=1.0, off=0.0, seed=0, n=240):
    """(training, held-out) readings of an activation with two levels by a rule and normal noise."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for games, at in halves(n):
        acts = off + (on - off) * at.holds(rule).float() + noise * torch.randn(at.n, generator=generator)
        found.append(readings(games, at, acts))
    return tuple(found)
