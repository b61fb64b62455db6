"""Effects over pairs of games: their mean, how sure it is, and whether chance alone would give it.

    mean       over pairs
    interval   bootstrap over games (pairs of one game are drawn together), the percentile interval expanded for few of
               them: its tails are Phi(-sqrt(G / (G - 1)) t), t of Student with G - 1 degrees (Hesterberg 2015)
    p          sign-flip test: were the effects symmetric about zero, each game's sign could be flipped. Two-sided,
               (1 + flips with |mean| >= the one observed) / (1 + flips)
    p_family   the same against the largest |t| of all effects tested together in each flip (max-statistic; Nichols
               and Holmes 2002): how often symmetry would give one such effect anywhere in the table

The null of both is symmetry about zero, which is more than a mean of zero: very skewed effects of few games are called
too often. Effects that are zero for every pair have p = 1. A single game says nothing of others: its interval is NaN
and its p is 1. With G games p cannot fall below about 2 / 2^G.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.stats import norm
from scipy.stats import t as student
from torch import Tensor

from circuits.errors import InputError

BOOTSTRAP = 1000
FLIPS = 999
LEVEL = 0.95
#: floats held at once while resampling
_BLOCK = 1 << 24


@dataclass(frozen=True, eq=False)
class Summary:
    """Effects summarised over pairs; every tensor has the shape of the effects without their last axis, pair.

    Attributes:
        mean, low, high: mean and ends of its 95 % bootstrap interval over games.
        p, p_family: sign-flip p-values, alone and over all effects of the table.
        pairs, games: how many.
    """

    mean: Float[Tensor, "*effect"]
    low: Float[Tensor, "*effect"]
    high: Float[Tensor, "*effect"]
    p: Float[Tensor, "*effect"]
    p_family: Float[Tensor, "*effect"]
    pairs: int
    games: int


def tails(games: int) -> Float[Tensor, "2"]:
    """The quantiles of bootstrap means between which the interval lies: percentiles, expanded for few games."""
    if games < 2:
        return torch.tensor([0.0, 1.0], dtype=torch.float64)
    low = float(norm.cdf(-((games / (games - 1)) ** 0.5) * student.ppf((1 + LEVEL) / 2, games - 1)))
    return torch.tensor([low, 1 - low], dtype=torch.float64)


def summarise(
    effects: Float[Tensor, "*effect pair"],
    game: Int[Tensor, "pair"] | None = None,
    *,
    bootstrap: int = BOOTSTRAP,
    flips: int = FLIPS,
    seed: int = 0,
) -> Summary:
    """Mean, interval and p-values of effects over pairs.

    Args:
        effects: NaN nowhere.
        game: the game of each pair; all different where not given.

    Raises:
        InputError: no pairs, or an effect that is not a number.
    """
    n = effects.shape[-1]
    if not n:
        raise InputError("no pairs to summarise: at least one is needed")
    if not torch.isfinite(effects).all():
        raise InputError("an effect is not a finite number: look at the metric")
    _, group = torch.unique(torch.arange(n) if game is None else game.cpu(), return_inverse=True)
    games = int(group.max()) + 1
    flat = effects.reshape(-1, n).double().cpu()
    sums = flat.new_zeros(len(flat), games).index_add_(1, group, flat)
    counts = torch.bincount(group, minlength=games)
    by_game = sums.reshape(*effects.shape[:-1], games)
    return summarise_sums(by_game, counts, bootstrap=bootstrap, flips=flips, seed=seed)


def summarise_sums(
    sums: Float[Tensor, "*effect game"],
    counts: Int[Tensor, "game"],
    *,
    bootstrap: int = BOOTSTRAP,
    flips: int = FLIPS,
    seed: int = 0,
) -> Summary:
    """The same from each game's sum over its pairs (or positions) and their number, all that resampling needs.

    Raises:
        InputError: no game has a pair.
    """
    used = counts.cpu() > 0
    shape, games = sums.shape[:-1], int(used.sum())
    if not games:
        raise InputError("no pairs to summarise: at least one is needed")
    sums = sums.reshape(-1, sums.shape[-1]).double().cpu()[:, used]
    counts = counts.cpu()[used].double()
    n = int(counts.sum())
    mean = sums.sum(1) / n
    generator = torch.Generator().manual_seed(seed)
    draws = bootstrap_draws(games, bootstrap, generator)
    signs = torch.randint(2, (flips, games), generator=generator).double() * 2 - 1
    # The scale of each mean under flipped signs, by which unlike effects are compared.
    spread = sums.pow(2).sum(1).sqrt().clamp_min(1e-300)
    # A hair of slack, so that a flip that only restores the observed signs counts whatever the rounding: large effects
    # that cancel leave a mean that is rounded by more than its own last digit.
    slack = 1e-12 * spread
    low, high, exceed = torch.empty_like(mean), torch.empty_like(mean), torch.empty_like(mean)
    largest = torch.zeros(flips, dtype=torch.float64)
    step = max(1, _BLOCK // max(bootstrap, flips))
    for rows in (slice(i, i + step) for i in range(0, len(mean), step)):
        means = (sums[rows] @ draws.T) / (draws @ counts)
        low[rows], high[rows] = torch.quantile(means, tails(games), dim=1)
        flipped = (sums[rows] @ signs.T).abs()
        exceed[rows] = (flipped >= (sums[rows].sum(1).abs() - slack[rows])[:, None]).double().sum(1)
        largest = torch.maximum(largest, (flipped / spread[rows, None]).amax(0))
    if games == 1:
        low.fill_(torch.nan)
        high.fill_(torch.nan)
    observed = sums.sum(1).abs() / spread
    p = (1 + exceed) / (1 + flips)
    order = largest.sort().values
    at_least = flips - torch.searchsorted(order, observed - 1e-12, right=False)
    p_family = (1 + at_least.double()) / (1 + flips)
    shaped = (t.reshape(shape).float() for t in (mean, low, high, p, p_family))
    return Summary(*shaped, pairs=n, games=games)


@dataclass(frozen=True, eq=False)
class Ratio:
    """Ratios of means, with the ends of their 95 % bootstrap intervals over games."""

    value: Float[Tensor, "*effect"]
    low: Float[Tensor, "*effect"]
    high: Float[Tensor, "*effect"]


def ratio_of_sums(
    sums: Float[Tensor, "*effect game"],
    of: Float[Tensor, "*effect2 game"],
    *,
    bootstrap: int = BOOTSTRAP,
    seed: int = 0,
) -> Ratio:
    """Sums by game over other sums by game, numerator and denominator drawn together.

    All three are NaN where the denominator's own interval holds zero, so that nothing is a share of next to nothing;
    the interval is NaN for a single game. ``of`` may lack leading axes.
    """
    games = sums.shape[-1]
    draws = bootstrap_draws(games, bootstrap, torch.Generator().manual_seed(seed))
    top, bottom = ((x.double().cpu() @ draws.T) for x in (sums, of))
    ends = tails(games)
    value = sums.double().cpu().sum(-1) / of.double().cpu().sum(-1)
    low_of, high_of = torch.quantile(bottom, ends, dim=-1)
    unsure = ((low_of <= 0) & (high_of >= 0)).expand(value.shape)
    low, high = torch.quantile((top / bottom).nan_to_num(0.0), ends, dim=-1)
    if games == 1:
        low.fill_(torch.nan)
        high.fill_(torch.nan)
    return Ratio(*(x.masked_fill(unsure, torch.nan).float() for x in (value, low, high)))


def bootstrap_draws(games: int, draws: int, generator: torch.Generator) -> Float[Tensor, "draw game"]:
    """How often each game is in each bootstrap sample of the games."""
    counts = torch.zeros(draws, games, dtype=torch.float64)
    picked = torch.randint(games, (draws, games), generator=generator)
    return counts.scatter_add_(1, picked, torch.ones_like(counts))
