"""Many rules at once against one activation: what each explains of its variance, how well a threshold agrees with it.

A rule says "one level where I hold, another where I fail". Both levels are means over training positions, so its summed
squared error in a held-out game g needs no more than two sums over the positions where it holds:

    error_g = sum_g (y - off)^2 + sum_{g, holds} [(y - on)^2 - (y - off)^2]

    variance explained = 1 - sum_g error_g / sum (y - mean)^2

Held out, that can be below 0: a rule whose levels do not carry over does worse than the mean. The threshold of F1 is
the one that maximises it on the training positions. *Skill* is how far F1 gets from that of a unit that is always on
to 1.

Rules are kept as the list of (rule, position) where they hold, which is short where rules are rare. Resampling draws
whole games (copies of one transcript together), and differences between rules are taken within each draw.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits.causes.effects import BOOTSTRAP, bootstrap_draws, tails
from circuits.rules import Rule
from circuits.verdicts.records import Estimate

#: sign flips behind a p-value: their number bounds it from below, and Holm multiplies it by the number of rivals
FLIPS = 9999
#: booleans held at once
_BLOCK = 1 << 24


@dataclass(frozen=True, eq=False)
class Scored:
    """An activation at positions; made by `scored`.

    Attributes:
        packed: the positions' facts, a `circuits.rules.bits.Packed`.
        acts: the activation.
        game: which game each is of, 0…games - 1; copies of one transcript are one game.
    """

    packed: Any
    acts: Float[Tensor, "n"]
    game: Int[Tensor, "n"]
    games: int

    def __len__(self) -> int:
        return len(self.acts)

    @cached_property
    def descending(self) -> tuple[Float[Tensor, "n"], Int[Tensor, "n"]]:
        """The activations from the highest down, and for each position how many are as high as its own or higher."""
        values = self.acts.sort(descending=True).values
        return values, torch.searchsorted(-values, -self.acts, right=True)

    @cached_property
    def sums(self) -> Float[Tensor, "3 game"]:
        """By game: positions, sum of the activation, of its square."""
        y = self.acts.double()
        columns = torch.stack([torch.ones_like(y), y, y * y])
        return torch.zeros(3, self.games, dtype=torch.float64).index_add_(1, self.game, columns)

    def draws(self, n: int = BOOTSTRAP, seed: int = 0) -> Float[Tensor, "draw game"]:
        """How often each game is in each bootstrap sample."""
        return bootstrap_draws(self.games, n, torch.Generator().manual_seed(seed))

    def total(self, draws: Float[Tensor, "draw game"] | None = None) -> Float[Tensor, "*draw"]:
        """Summed squared deviation from the mean, of each bootstrap sample or of the games as they are."""
        n, first, second = self.sums.sum(1) if draws is None else self.sums @ draws.T
        return (second - first**2 / n.clamp_min(1)).clamp_min(0)

    def where(self, rules: Sequence[Rule]) -> Iterator[tuple[Int[Tensor, "m"], Int[Tensor, "m"]]]:
        """Where rules hold, as lists of (index of the rule, position), some rules at a time."""
        self.packed.prepare(dict.fromkeys(atom for rule in rules for atom in rule.atoms))
        step = max(1, _BLOCK // max(len(self), 1))
        for first in range(0, len(rules), step):
            rule, position = (
                torch.stack([self.packed.holds(r) for r in rules[first : first + step]]).nonzero().unbind(1)
            )
            yield rule + first, position


def scored(readings: Any, subject: Any) -> Scored:
    """The subject's scalar at the positions of some readings."""
    groups, game = readings.group.unique(return_inverse=True)
    return Scored(readings.packed, readings.scalar(subject).float(), game, len(groups))


@dataclass(frozen=True, eq=False)
class Levels:
    """What rules learn on training positions: means where they hold and fail, the threshold of most F1."""

    on: Float[Tensor, "rule"]
    off: Float[Tensor, "rule"]
    threshold: Float[Tensor, "rule"]
    positives: Int[Tensor, "rule"]

    def like_first(self, mean: float) -> "Levels":
        """The same, but rules whose levels are the other way round than the first one's say nothing: both the mean."""
        other = (self.on - self.off) * (self.on[0] - self.off[0]) < 0
        on, off = (level.masked_fill(other, mean) for level in (self.on, self.off))
        return Levels(on, off, self.threshold, self.positives)


def learn(train: Scored, rules: Sequence[Rule]) -> Levels:
    """The levels and the threshold of each rule; of one that never holds (or fails), the mean of all for that level."""
    y, (values, at_least) = train.acts.double(), train.descending
    n = torch.zeros(len(rules), dtype=torch.int64)
    on, best = torch.zeros(len(rules), dtype=torch.float64), torch.full((len(rules),), -1.0, dtype=torch.float64)
    place = torch.full((len(rules),), 1)
    for rule, position in train.where(rules):
        here = torch.bincount(rule, minlength=len(rules))
        n += here
        on.index_add_(0, rule, y[position])
        # The threshold of most F1 lies below an activation at which the rule holds: by rule, from the highest down.
        key = (rule * (len(train) + 1) + at_least[position]).sort().values
        rank, rule = key % (len(train) + 1), key // (len(train) + 1)
        both = torch.arange(1, len(key) + 1) - (here.cumsum(0) - here)[rule]
        f1 = 2 * both.double() / (rank + here[rule])
        best.scatter_reduce_(0, rule, f1, "amax")
        first = f1 == best[rule]
        place.scatter_reduce_(0, rule[first], rank[first], "amin", include_self=False)
    total = y.sum()
    means = y.mean().expand(len(rules))
    fails = len(train) - n
    return Levels(
        torch.where(n > 0, on / n.clamp_min(1), means),
        torch.where(fails > 0, (total - on) / fails.clamp_min(1), means),
        _below(values, place), n,
    )  # fmt: skip


def _below(values: Float[Tensor, "n"], place: Int[Tensor, "rule"]) -> Float[Tensor, "rule"]:
    """Thresholds midway between the ``place``-th highest activation (from 1) and the next, as `best_threshold`'s."""
    above = values[place - 1]
    last = place == len(values)
    below = torch.where(last, above - 1 - above.abs(), values[place - last.long()])
    middle = ((above.double() + below.double()) / 2).to(values.dtype)
    return torch.where(middle < above, middle, below)


@dataclass(frozen=True, eq=False)
class Scores:
    """How rules do on held-out positions; ``errors``: summed squared error by game."""

    positives: Int[Tensor, "rule"]
    base_rate: Float[Tensor, "rule"]
    precision: Float[Tensor, "rule"]
    recall: Float[Tensor, "rule"]
    f1: Float[Tensor, "rule"]
    skill: Float[Tensor, "rule"]
    variance_explained: Float[Tensor, "rule"]
    errors: Float[Tensor, "rule game"]


def score(held_out: Scored, rules: Sequence[Rule], levels: Levels) -> Scores:
    """Each rule with its levels and threshold. A constant activation has no variance to explain: 0."""
    y = held_out.acts.double()
    values, _ = held_out.descending
    n = torch.zeros(len(rules), dtype=torch.int64)
    both = torch.zeros(len(rules), dtype=torch.int64)
    gain = torch.zeros(len(rules) * held_out.games, dtype=torch.float64)
    on, off = levels.on, levels.off
    for rule, position in held_out.where(rules):
        n += torch.bincount(rule, minlength=len(rules))
        active = held_out.acts[position] > levels.threshold[rule]
        both += torch.bincount(rule[active], minlength=len(rules))
        # (y - on)^2 - (y - off)^2, as a product so that two levels far from 0 lose no digits
        better = (off - on)[rule] * (2 * y[position] - (on + off)[rule])
        gain.index_add_(0, rule * held_out.games + held_out.game[position], better)
    count, first, second = held_out.sums
    errors = second - 2 * off[:, None] * first + (off**2)[:, None] * count + gain.view(len(rules), -1)
    active = len(y) - torch.searchsorted(values.flip(0), levels.threshold, right=True)
    total = held_out.total()
    explained = 1 - errors.sum(1) / total if varies(held_out.acts) else torch.zeros(len(rules), dtype=torch.float64)
    f1 = 2 * both.double() / (n + active).clamp_min(1)
    rate = n.double() / max(len(y), 1)
    return Scores(
        n, rate, both / active.clamp_min(1), both / n.clamp_min(1), f1, skill(f1, rate), explained, errors.clamp_min(0)
    )  # fmt: skip


def varies(acts: Float[Tensor, "n"]) -> bool:
    """Whether an activation is not the same everywhere."""
    return bool(len(acts)) and bool(acts.max() > acts.min())


def skill(f1: Float[Tensor, "*rule"], rate: Float[Tensor, "*rule"]) -> Float[Tensor, "*rule"]:
    """How far F1 gets from that of a unit that is always on to 1; 0 of a rule that always holds."""
    chance = 2 * rate / (1 + rate)
    return torch.where(chance < 1, (f1 - chance) / (1 - chance), 0.0)


def estimate(value: float, drawn: Float[Tensor, "draw"], games: int) -> Estimate:
    """A figure with the interval of its bootstrap draws; without one where a single game cannot say."""
    if games < 2:
        return Estimate(float(value))
    low, high = torch.quantile(drawn.double(), tails(games)).tolist()
    return Estimate(float(value), low, high)


def sign_flips(
    sums: Float[Tensor, "*effect game"], flips: int = FLIPS, seed: int = 0, block: int = 1000
) -> Float[Tensor, "*effect"]:
    """Two-sided p of sums over games: were they symmetric about zero, each game's sign could be flipped.

    1 for effects that are zero in every game, and for a single game. As `effects.summarise_sums`, for many more flips.
    """
    flat = sums.reshape(-1, sums.shape[-1]).double()
    flat = flat[:, (flat != 0).any(0)]  # games that tell nothing apart
    if flat.shape[1] < 2 or sums.shape[-1] < 2:
        return torch.ones(sums.shape[:-1], dtype=torch.float64)
    # A hair of slack, so that a flip that restores the observed signs counts whatever the rounding.
    observed = flat.sum(1).abs() - 1e-12 * flat.pow(2).sum(1).sqrt()
    generator = torch.Generator().manual_seed(seed)
    exceed = torch.zeros(len(flat), dtype=torch.int64)
    for first in range(0, flips, block):
        signs = torch.randint(2, (min(block, flips - first), flat.shape[1]), generator=generator).double() * 2 - 1
        exceed += ((signs @ flat.T).abs() >= observed).sum(0)
    return ((1 + exceed).double() / (1 + flips)).reshape(sums.shape[:-1])


def holm(p: Float[Tensor, "test"]) -> Float[Tensor, "test"]:
    """p-values adjusted for their number by Holm's step-down: the i-th smallest times those not smaller than it.

    Holm 1979: whatever the tests' dependence, one false finding at most in 1 / p of such families.
    """
    n = len(p)
    ordered, order = p.double().sort()
    adjusted = (ordered * torch.arange(n, 0, -1)).cummax(0).values.clamp_max(1) if n else ordered
    return torch.empty_like(adjusted).scatter_(0, order, adjusted)
