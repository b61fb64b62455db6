"""Rules against each other, exactly and by game: which is kept, and which the games cannot tell from it.

Levels are learnt on the training games. Two rules differ in what they say of some positions; with d_g what the first
one's summed squared error is higher in game g by, m_g how many of these positions are of it, over training and tuning
games,

    t = sum d / sqrt( G / (G - 1) sum_g (d_g - m_g sum d / sum m)^2 ),     G games with such positions

as for a ratio of sums over clusters (Cochran 1977), brought from Student's scale to the normal one (Wallace 1959): that
few games are concerned makes a difference uncertain, not small.

    kept          every literal and term whose loss costs at least t = `KEEP`: chance within games (positions of one
                  game say much the same) is not what a search over positions sees
    chosen        of a tree's rule and a searched one, that of most  log(variance explained) - `climb.PRICE` x
                  (literals), with the training games' levels; on training and tuning games together, for the latter
                  alone say too little of rules that hold at few positions. A complete rule (`climb`) gives way only
                  to one that is better by t = `KEEP` as well
    alternatives  rules near it, and the one not chosen, of as many literals or fewer, that the games do not tell from
                  it: not worse by t = `APART`; they may hold at the very same positions
    refined       longer ones that seem better, by t = `BETTER` or more: left out because each literal adds too little
                  for its price, or because that is the chance of the best of thousands
    unseen        positions at which one more literal may matter and not show: where it takes the rule away from m
                  positions at which the activation is low, t is about  sqrt(m) (on - off) / (2 sd),  with sd that of
                  the activation where the rule holds; the m of t = `SURELY`

None of them is equivalent to the rule by logic.
"""

import math
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from circuits.induction.climb import PRICE
from circuits.induction.facts import Facts
from circuits.induction.measure import ByGame
from circuits.induction.single_changes import Around, Terms, size
from circuits.rules.logic import equivalent

KEEP, APART, BETTER, SURELY = 3.0, 2.0, 3.0, 5.0
#: alternatives, and candidates that are looked at, as short ones and longer ones each
MOST, LOOKED_AT = 5, 24


@dataclass(frozen=True, eq=False)
class Judged:
    """A rule among the positions of the training games and then of the tuning games.

    Attributes:
        where: positions where it holds; errors: summed squared error of each game.
        unseen: positions that a literal needs to show.
    """

    terms: Terms
    where: Int[np.ndarray, "m"]
    errors: Float[np.ndarray, "game"]
    unseen: int


class Judge:
    """The training and tuning positions of a sample, and an activation there."""

    def __init__(self, facts: Facts, among: Bool[np.ndarray, "n_train"] | None = None):
        """``among``: training positions that count, whole games; all if not given."""
        self.facts = facts
        sample = facts.sample
        self._sides = (sample.train, sample.tune)
        self._games = ByGame(*self._sides)
        self._n_train = sample.train.n
        among = np.ones(sample.train.n, bool) if among is None else among
        self._counts = np.concatenate([among, np.ones(sample.tune.n, bool)])
        self._n_counted = int(among.sum())

    def of(self, train: Float[np.ndarray, "n_train"], tune: Float[np.ndarray, "n_tune"]) -> "Judge":
        """The same positions with an activation."""
        one = copy(self)
        y = np.concatenate([train, tune]).astype(np.float64)
        y -= y[: self._n_train].mean(where=self._counts[: self._n_train])
        one.y = np.where(self._counts, y, 0.0)
        one._sums = self._games.of(one.y)
        one._sums[0] = np.bincount(self._games.game, self._counts, minlength=self._games.games)
        return one

    def __call__(self, terms: Terms) -> Judged:
        """Of no terms: the mean of all."""
        where = [self.facts.where(terms, side) for side in self._sides]
        where[0] = where[0][self._counts[where[0]]]
        k, s, n = len(where[0]), self.y[where[0]].sum(), self._n_counted
        on, off = (s / k if k else 0.0), (-s / (n - k) if k < n else 0.0)
        where = np.concatenate([where[0], where[1] + self._n_train])
        game, y = self._games.game[where], self.y[where]
        held = np.bincount(game, minlength=self._games.games)
        sums = np.bincount(game, y, minlength=self._games.games)
        n, first, second = self._sums
        errors = second - 2 * off * first + off**2 * n - (on - off) * (2 * sums - (on + off) * held)
        # Of a rule with one level, such as one that always holds, no literal would show.
        gap, sd = abs(on - off), float(y.std()) if len(y) else 0.0
        enough = 2 * SURELY * sd / gap if gap > 2 * SURELY * sd / math.sqrt(len(self.y)) else math.sqrt(len(self.y))
        return Judged(terms, where, np.maximum(errors, 0.0), math.ceil(min(enough**2, len(self.y))))

    def worth(self, terms: Terms) -> float:
        """The logarithm of the variance that a rule explains, less the price of its literals."""
        n, first, second = self._sums.sum(1)
        explained = 1 - self(terms).errors.sum() / max(second - first**2 / n, 1e-300)
        return math.log(max(explained, 1e-12)) - PRICE * size(terms)

    def to_drop(self, at: Around) -> Terms | None:
        """The rule without the literal or the term that costs least, if that is not beyond chance; else None."""
        own = self(at.terms)
        shorter = [c.terms for c in at.changes if c.kind in ("drop", "drop term")]
        if size(at.terms) == 1:
            shorter = [()]
        t, terms = min(((self.worse(self(terms), own), terms) for terms in shorter), default=(math.inf, None))
        return terms if t < KEEP else None

    def clearly_better(self, terms: Terms, than: Terms) -> bool:
        """Whether a rule explains more than another one, beyond chance."""
        return self.worse(self(than), self(terms)) >= KEEP

    def credible(self, terms: Terms) -> bool:
        """Whether a rule says more than the mean does, by the tuning games alone: for one that was not searched for
        beyond chance."""
        return self.worse(self(()), self(terms), self._n_train) >= KEEP

    def alternatives(self, at: Around, others: Iterable[Terms] = ()) -> tuple[tuple[Terms, ...], tuple[Terms, ...]]:
        """Rules that the games do not tell from one, and refined ones; see the module. Best first."""
        own, rule = self(at.terms), self.facts.rule(at.terms)
        # Additions almost always explain more: exchanges and drops have places of their own, or none would be seen.
        near = [[], []]
        for change in at.changes:
            longer = size(change.terms) > size(at.terms)
            if len(near[longer]) < LOOKED_AT:
                near[longer].append(change.terms)
        judged = map(self, dict.fromkeys([*near[False], *near[True], *others]))
        found: tuple[list[Terms], list[Terms]] = ([], [])
        for other in sorted(judged, key=lambda j: j.errors.sum()):
            longer, t = size(other.terms) > size(at.terms), self.worse(other, own)
            into = found[longer]
            if t > (-BETTER if longer else APART):
                continue
            if len(into) < MOST and not equivalent(self.facts.rule(other.terms), rule):
                into.append(other.terms)
        return tuple(map(tuple, found))

    def worse(self, one: Judged, other: Judged, first: int = 0) -> float:
        """By how many standard errors the first rule's error is the larger one; from a position on."""
        where = np.setxor1d(one.where, other.where, assume_unique=True)
        m = np.bincount(self._games.game[where[where >= first]], minlength=self._games.games)
        d = (one.errors - other.errors)[self._games.game[first] :]
        total, games = float(d.sum()), int((m > 0).sum())
        if games < 2:
            return 0.0
        m = m[self._games.game[first] :]
        spread = math.sqrt(games / (games - 1) * float(np.square(d - m * (total / m.sum())).sum()))
        t = abs(total) / max(spread, 1e-9 * float(one.errors.sum()), 1e-300)
        dof = games - 1
        return math.copysign((8 * dof + 1) / (8 * dof + 3) * math.sqrt(dof * math.log1p(t * t / dof)), total)
