"""All sign flips and all resamples, by enumeration, where there are few games."""

from itertools import product

import torch


def exact_p(effects: torch.Tensor, game: torch.Tensor) -> tuple[list[float], list[float]]:
    """(p, family p) of effects [effect, pair] over all 2^games sign flips, the identity among them."""
    games = sorted(set(game.tolist()))
    sums = torch.stack([effects[:, game == g].double().sum(1) for g in games], 1)
    spread = sums.square().sum(1).sqrt()
    observed = sums.sum(1).abs()
    flips = [abs((sums * torch.tensor(signs).double()).sum(1)) for signs in product((1, -1), repeat=len(games))]
    slack = 1e-9 * spread
    p = [sum(bool(f[i] >= observed[i] - slack[i]) for f in flips) / len(flips) for i in range(len(sums))]
    largest = [float((f / spread).max()) for f in flips]
    family = [sum(x >= float(o) - 1e-9 for x in largest) / len(flips) for o in observed / spread]
    return p, family


def exact_interval(effects: torch.Tensor, game: torch.Tensor, tail: float) -> tuple[float, float]:
    """The ends between which all but a tail on either side lie, of the mean over pairs of one effect [pair].

    Over all games^games resamples of whole games.
    """
    games = sorted(set(game.tolist()))
    groups = [effects[game == g].double() for g in games]
    means = [
        float(torch.cat([groups[i] for i in draw]).mean()) for draw in product(range(len(games)), repeat=len(games))
    ]
    return tuple(torch.quantile(torch.tensor(means), torch.tensor([tail, 1 - tail])).tolist())
