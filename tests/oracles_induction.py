"""The slow way of what rules are found by: every threshold, every conjunction, one position at a time."""

from itertools import combinations

import numpy as np


def two_means(y, holds):
    """Variance explained by one mean where it holds and another where it fails."""
    y = np.asarray(y, float)
    if holds.all() or not holds.any():
        return 0.0
    left = sum(((part - part.mean()) ** 2).sum() for part in (y[holds], y[~holds]))
    return 1 - left / ((y - y.mean()) ** 2).sum()


def otsu(values, n):
    """The upper class of weighted values: every cut tried, its distance between classes written out."""
    cuts = sorted(set(values))[1:]
    best, found = 0.0, np.zeros(len(values), bool)
    for cut in cuts:
        on = values >= cut
        if between(values, n, on) > best * (1 + 1e-12):
            best, found = between(values, n, on), on
    return found


def between(values, n, on):
    """How far two classes of weighted values are apart, as Otsu has it."""
    distance = np.average(values[on], weights=n[on]) - np.average(values[~on], weights=n[~on])
    return n[on].sum() * n[~on].sum() * distance**2


def best_conjunctions(columns, y, size, least):
    """{positions as bytes: variance explained} of all conjunctions of so many facts or negations that hold where the
    activation is high, often enough."""
    columns = np.concatenate([columns, ~columns])
    found = {}
    for which in combinations(range(len(columns)), size):
        holds = columns[list(which)].all(0)
        if least <= holds.sum() <= len(y) - least and y[holds].mean() > y[~holds].mean():
            found[holds.tobytes()] = two_means(y, holds)
    return found


def f1(a, b):
    return 2 * (a & b).sum() / max(a.sum() + b.sum(), 1)


def cluster_t(d, m):
    """Sum of ``d`` over its standard error, as a ratio of sums over clusters with ``m`` units each."""
    there = m > 0
    games = there.sum()
    mean = d.sum() / m.sum()
    error = np.sqrt(games / (games - 1) * sum((d_g - m_g * mean) ** 2 for d_g, m_g in zip(d, m, strict=True)))
    return d.sum() / error
