"""Trees grown the slow obvious way, one node and one literal after another; and scikit-learn's, in our numbering."""

from types import SimpleNamespace

import numpy as np
from sklearn.tree import DecisionTreeRegressor


def squared_error(y):
    return float(((y - y.mean()) ** 2).sum()) if len(y) else 0.0


def gain(literal, y):
    return squared_error(y) - squared_error(y[literal]) - squared_error(y[~literal])


def grown(literals, y, depth, leaf, split, weight=None):
    """{node: (literal or -1, value, n, error)} by the definition; of literals of equal gain the first."""
    if weight is not None:
        literals, y = np.repeat(literals, weight, axis=0), np.repeat(y, weight)
    out, root = {}, squared_error(y)

    def node(number, at, level):
        own = y[at]
        out[number] = (-1, own.mean(), len(own), squared_error(own))
        if level == depth or len(own) < split or own.var() <= 1e-14 * root / len(y):
            return
        best, most = -1, -1.0
        for column in range(literals.shape[1]):
            holds = literals[at, column]
            if min(holds.sum(), (~holds).sum()) < leaf:
                continue
            value = max(gain(holds, own), 0.0)
            if value > most + 1e-10 * root:
                best, most = column, value
        if best < 0:
            return
        out[number] = (best, *out[number][1:])
        holds = literals[at, best]
        node(2 * number + 1, at[~holds], level + 1)
        node(2 * number + 2, at[holds], level + 1)

    node(0, np.arange(len(y)), 0)
    return out


def of_sklearn(literals, y, depth, leaf, split, weight=None):
    """What scikit-learn grows, as `grown` says it; and its estimator."""
    if weight is not None:
        literals, y = np.repeat(literals, weight, axis=0), np.repeat(y, weight)
    estimator = DecisionTreeRegressor(max_depth=depth, min_samples_leaf=leaf, min_samples_split=split, random_state=0)
    estimator.fit(literals.astype(np.float32), y)
    return SimpleNamespace(nodes=as_nodes(estimator.tree_), estimator=estimator)


def as_nodes(tree):
    """A tree of scikit-learn's as `grown` says it."""
    out = {}

    def node(number, own):
        inner = tree.children_left[own] >= 0
        n = int(tree.n_node_samples[own])
        literal = int(tree.feature[own]) if inner else -1
        out[number] = (literal, float(tree.value[own, 0, 0]), n, float(tree.impurity[own]) * n)
        if inner:
            node(2 * number + 1, tree.children_left[own])
            node(2 * number + 2, tree.children_right[own])

    node(0, 0)
    return out


def nodes(trees, neuron):
    """A tree of ours as `grown` says it."""
    columns = (x[neuron].tolist() for x in (trees.literal, trees.value, trees.n, trees.error))
    return {i: row for i, row in enumerate(zip(*columns, strict=True)) if row[2] > 0}


def differences(ours, other, literals, y, weight=None, tolerance=1e-6):
    """(nodes compared, splits in which two trees differ by a tie).

    Literals that split a node in the same two parts are the same, whichever part holds. Below a split that differs
    otherwise nothing is compared; one whose gain differs by more than ``tolerance`` of the root's error, or a node that
    differs in anything else, is an AssertionError.
    """
    if weight is not None:
        literals, y = np.repeat(literals, weight, axis=0), np.repeat(y, weight)
    root, compared, ties = squared_error(y), 0, 0
    stack = [(0, 0, np.arange(len(y)))]
    while stack:
        number, its, at = stack.pop()
        (own, value, n, error), (theirs, *rest) = ours[number], other[its]
        compared += 1
        assert n == rest[1] == len(at), number
        assert abs(value - rest[0]) <= 1e-9 * max(1.0, abs(value)), number
        assert abs(error - rest[2]) <= 1e-8 * root + 1e-12, number
        assert (own < 0) == (theirs < 0), (number, own, theirs)
        if own < 0:
            continue
        holds, its_holds = literals[at, own], literals[at, theirs]
        on, off = (2 * its + 2, 2 * its + 1) if holds[0] == its_holds[0] else (2 * its + 1, 2 * its + 2)
        if (holds ^ its_holds).all() or not (holds ^ its_holds).any():
            stack += [(2 * number + 1, off, at[~holds]), (2 * number + 2, on, at[holds])]
            continue
        ties += 1
        gap = gain(holds, y[at]) - gain(its_holds, y[at])
        assert abs(gap) <= tolerance * root, (number, own, theirs, gap / root)
    return compared, ties
