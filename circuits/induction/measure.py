"""What a rule is worth for a neuron: `records.Score`, and the baselines beside it. Many neurons, one rule each.

As `circuits.verdicts.fit.fit` has it: levels and the threshold of most F1 from training games, everything else on
held-out games; the interval is a bootstrap over games, `DRAWS` samples. Baselines: the variance that the means of the
plies explain, and what a rule explains of activations dealt to other games at the same ply.
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.causes.effects import bootstrap_draws, tails
from circuits.induction.records import Score
from circuits.induction.sample import Sample, Side
from circuits.notation import N_CTX
from circuits.rules import Or, Rule
from circuits.verdicts.neighbours import literals
from circuits.verdicts.records import Estimate

#: bootstrap samples behind an interval
DRAWS = 200
#: deals behind `records.NeuronRule.shuffled`
SHUFFLES = 3


class Measure:
    """The positions of a sample, for the measuring of rules on them."""

    def __init__(self, sample: Sample):
        self.sample = sample
        self.held_out = ByGame(sample.held_out)
        generator = torch.Generator().manual_seed(sample.seed)
        self.draws = bootstrap_draws(sample.held_out.n_games, DRAWS, generator).numpy()
        self._deals = [
            [_deal(side.ply, generator) for side in (sample.train, sample.held_out)] for _ in range(SHUFFLES)
        ]

    def score(self, rule: Rule, train: Float[Tensor, "n_train"], held_out: Float[Tensor, "n_held_out"]) -> Score:
        """One rule against one activation."""
        y, out = train.numpy(), held_out.numpy()
        learnt, holds = (side.packed.holds(rule).numpy() for side in (self.sample.train, self.sample.held_out))
        on, off = levels(y, learnt)
        threshold = most_f1(y, learnt)
        active = out > threshold
        n, both = int(holds.sum()), int((active & holds).sum())
        rate = n / len(holds)
        f1 = 2 * both / max(n + int(active.sum()), 1)
        chance = 2 * rate / (1 + rate)
        return Score(
            rule=str(rule),
            literals=len(literals(rule)),
            terms=len(rule.rules) if isinstance(rule, Or) else 1,
            mean_on=on,
            mean_off=off,
            threshold=threshold,
            base_rate=rate,
            positives=n,
            variance_explained=self.explained(out, holds, on, off),
            precision=both / max(int(active.sum()), 1),
            recall=both / max(n, 1),
            f1=f1,
            skill=(f1 - chance) / (1 - chance) if chance < 1 else 0.0,
        )

    def explained(self, y: np.ndarray, holds: np.ndarray, on: float, off: float) -> Estimate:
        """Held-out variance that two levels explain, with its interval over games."""
        errors, sums = self.held_out.errors(y, holds, on, off), self.held_out.of(y)
        total = _deviation(*sums.sum(1))
        if not y.max() > y.min():
            return Estimate(0.0)
        drawn = 1 - self.draws @ errors / np.maximum(_deviation(*(self.draws @ sums.T).T), 1e-300)
        low, high = np.quantile(drawn, _tails(self.held_out.games))
        return Estimate(1 - errors.sum() / total, low, high)

    def shuffled(self, rule: Rule, train: Float[Tensor, "n_train"], held_out: Float[Tensor, "n_held_out"]) -> float:
        """What the rule explains of activations dealt to other games at the same ply; mean of some deals."""
        learnt, holds = (side.packed.holds(rule).numpy() for side in (self.sample.train, self.sample.held_out))
        y, out = train.numpy(), held_out.numpy()
        total = _deviation(*self.held_out.of(out).sum(1))
        explained = []
        for here, there in self._deals:
            on, off = levels(y, learnt[here])
            dealt = holds[there]
            gain = (on - off) * (2 * out[dealt].sum(dtype=float) - (on + off) * dealt.sum())
            error = np.square(out - off, dtype=float).sum() - gain
            explained.append(1 - error / total)
        return float(np.mean(explained))

    def by_ply(
        self, train: Float[Tensor, "neuron n_train"], held_out: Float[Tensor, "neuron n_held_out"]
    ) -> Float[Tensor, "neuron"]:
        """Held-out variance explained by the training mean of each ply; 0 of an activation that never varies."""
        level = _means_by_ply(train, self.sample.train.ply)
        y = held_out.double()
        error = (y - level[:, self.sample.held_out.ply]).pow(2).sum(1)
        total = (y - y.mean(1, keepdim=True)).pow(2).sum(1)
        return torch.where(total > 0, 1 - error / total.clamp_min(1e-300), 0.0)


class ByGame:
    """Sums over the positions of each game, of the games of several sides one after the other."""

    def __init__(self, *sides: Side):
        game, games = [], 0
        for side in sides:  # no transcript is on two of them
            game.append(side.group + games)
            games += side.n_games
        self.game, self.games = torch.cat(game).numpy(), games
        self._n = np.bincount(self.game, minlength=games).astype(float)

    def of(self, y: Float[np.ndarray, "n"]) -> Float[np.ndarray, "3 game"]:
        """Positions, the sum of the activation, and of its square."""
        y = y.astype(np.float64)
        return np.stack([self._n, *(np.bincount(self.game, x, minlength=self.games) for x in (y, y * y))])

    def errors(
        self, y: Float[np.ndarray, "n"], holds: Bool[np.ndarray, "n"], on: float, off: float
    ) -> Float[np.ndarray, "game"]:
        """Summed squared error of each game."""
        return np.bincount(self.game, np.square(y - np.where(holds, on, off)), minlength=self.games)


def levels(y: np.ndarray, holds: np.ndarray) -> tuple[float, float]:
    """Means where a rule holds and where it fails; that of all for one that never does."""
    n, s, total = int(holds.sum()), float(y[holds].sum(dtype=np.float64)), float(y.sum(dtype=np.float64))
    mean = total / len(y)
    return s / n if n else mean, (total - s) / (len(y) - n) if n < len(y) else mean


def most_f1(y: np.ndarray, holds: np.ndarray) -> float:
    """`patterns.best_threshold`: where F1 of "activation > threshold" against the rule is highest, midway.

    F1 at the i-th highest activation at which the rule holds is 2 i / (positions as high + positions where it holds);
    highest just below one of these.
    """
    values, inside = np.sort(y)[::-1], np.sort(y[holds])[::-1]
    if not len(inside):
        return float(values[0])
    # How many positions are as high as each of those, or higher.
    rank = len(y) - np.searchsorted(values[::-1], inside, side="left")
    f1 = np.arange(1, len(inside) + 1) / (rank + len(inside))
    last = int(rank[f1.argmax()])
    above = float(values[last - 1])
    below = float(values[last]) if last < len(values) else above - 1 - abs(above)
    middle = values.dtype.type((above + below) / 2)
    return float(middle) if middle < values[last - 1] else below


def _deviation(n, first, second):
    """Summed squared deviation from the mean."""
    return np.maximum(second - first**2 / np.maximum(n, 1), 0)


@lru_cache
def _tails(games: int) -> list[float]:
    return tails(games).tolist()


def _deal(ply: Int[Tensor, "n"], generator: torch.Generator) -> Int[np.ndarray, "n"]:
    """For each position one of the same ply, at random, each once."""
    here = ply.argsort(stable=True)
    there = (ply + torch.rand(len(ply), generator=generator, dtype=torch.float64)).argsort()
    dealt = torch.empty_like(here)
    dealt[here] = there
    return dealt.numpy()


def _means_by_ply(acts: Float[Tensor, "neuron n"], ply: Int[Tensor, "n"]) -> Float[Tensor, "neuron ply"]:
    """The mean at each ply; that of all where there is no position."""
    here = torch.nn.functional.one_hot(ply, N_CTX).double()
    count = here.sum(0)
    mean = acts.double().mean(1, keepdim=True)
    return torch.where(count > 0, ((acts - mean.float()).double() @ here) / count.clamp_min(1) + mean, mean)
