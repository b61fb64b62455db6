"""Slow obvious versions of what scores of rules are, position by position and game by game."""

import itertools

import numpy as np
from sklearn.metrics import r2_score


def two_levels(train_acts, train_holds, acts, holds):
    """Held-out R^2 of the two training means."""
    on, off = train_acts[train_holds].mean(), train_acts[~train_holds].mean()
    return r2_score(acts, np.where(holds, on, off))


def best_threshold_f1(acts, holds):
    """(threshold, F1): every midpoint tried; of equal F1 the highest."""
    values = np.unique(acts)[::-1]
    tried = [(a + b) / 2 for a, b in itertools.pairwise(values)] + [values[-1] - 1]
    scores = [2 * (holds & (acts > t)).sum() / (holds.sum() + (acts > t).sum()) for t in tried]
    best = int(np.argmax(scores))
    return tried[best], scores[best]


def resampled(game, times):
    """Positions of a bootstrap sample: those of a game as often as it was drawn."""
    return np.repeat(np.arange(len(game)), times[game])


def holm(p):
    """Holm's adjusted p-values by their definition: the largest, over smaller ones, of (how many are left) x p."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted = [0.0] * len(p)
    for rank, i in enumerate(order):
        adjusted[i] = min(1.0, max((len(p) - earlier) * p[order[earlier]] for earlier in range(rank + 1)))
    return adjusted


def all_sign_flips(sums):
    """The exact two-sided p over all 2^games sign flips, the observed one among them."""
    observed = abs(sum(sums))
    flipped = [abs(sum(s * x for s, x in zip(signs, sums, strict=True)))
               for signs in itertools.product((1, -1), repeat=len(sums))]  # fmt: skip
    return sum(x >= observed - 1e-12 for x in flipped) / len(flipped)


def variance_explained(acts, holds):
    """By two means, on the positions that they are means of."""
    return r2_score(acts, np.where(holds, acts[holds].mean(), acts[~holds].mean()))
