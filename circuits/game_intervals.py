"""Means over positions, differences and ratios of such means, with 95 % intervals by bootstrap over games.

Everything is given as sums by game, all that resampling needs; the last axis of every result is (value, low, high). The
same draws serve numerators and denominators. The interval is that of `circuits.causes.effects`: percentiles, expanded
for few games; of a single game it is NaN.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.causes.effects import BOOTSTRAP, bootstrap_draws, tails

#: floats held at once while resampling
_BLOCK = 1 << 23


def ratio_interval(
    sums: Float[Tensor, "*what game"], counts: Float[Tensor, "*count game"], seed: int = 0
) -> Float[Tensor, "*what 3"]:
    """Sums by game over the number of positions (or anything else counted, or summed) by game; they broadcast."""
    return _intervals(lambda s, n: s / n, sums, counts, seed=seed)


def gap_interval(
    yes: Float[Tensor, "*_ game"],
    yes_count: Float[Tensor, "*_ game"],
    no: Float[Tensor, "*_ game"],
    no_count: Float[Tensor, "*_ game"],
    seed: int = 0,
) -> Float[Tensor, "*_ 3"]:
    """The mean where something holds less the mean where it fails; all four broadcast."""
    return _intervals(lambda a, m, b, n: a / m - b / n, yes, yes_count, no, no_count, seed=seed)


def gap_share_interval(
    part: tuple[Tensor, Tensor],
    whole: tuple[Tensor, Tensor],
    counts: tuple[Tensor, Tensor],
    seed: int = 0,
) -> Float[Tensor, "*what 3"]:
    """A gap of ``part`` (yes, no) [..., game] as a share of the gap of ``whole``, over the same positions.

    NaN where the whole's own interval holds zero, so that nothing is a share of next to nothing.
    """
    (yes, no), (whole_yes, whole_no), (m, n) = part, whole, counts

    def share(a, b, c, d, m, n):
        return (a / m - b / n) / (c / m - d / n)

    found = _intervals(share, yes, no, whole_yes, whole_no, m, n, seed=seed)
    of = gap_interval(whole_yes, m, whole_no, n, seed=seed)
    unsure = (of[..., 1] <= 0) & (of[..., 2] >= 0)
    return found.masked_fill(unsure[..., None], torch.nan)


def _intervals(of, *sums: Tensor, seed: int) -> Float[Tensor, "*what 3"]:
    """``of`` the totals of each quantity, and of their totals in every bootstrap sample of the games."""
    games = sums[0].shape[-1]
    sums = [s.double().cpu() for s in torch.broadcast_tensors(*sums)]
    shape = sums[0].shape[:-1]
    draws = bootstrap_draws(games, BOOTSTRAP, torch.Generator().manual_seed(seed)).T.contiguous()
    flat = [s.reshape(-1, games) for s in sums]
    out = torch.empty(len(flat[0]), 3, dtype=torch.float64)
    step = max(1, _BLOCK // BOOTSTRAP)
    for rows in (slice(i, i + step) for i in range(0, len(out), step)):
        out[rows, 0] = of(*(s[rows].sum(-1) for s in flat))
        drawn = of(*(s[rows] @ draws for s in flat))
        # What is defined in no sample (a fact that never held) stays NaN.
        out[rows, 1:] = torch.quantile(drawn, tails(games), dim=-1).T
    if games == 1:
        out[:, 1:] = torch.nan
    return out.reshape(*shape, 3).float()
