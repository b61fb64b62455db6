"""How well one activation tells one fact: threshold, counts, F1, skill, AUC and variance explained, F1's interval.

Counts are (both, fact only, on only, neither); a neuron that is always on has F1 c = 2 p / (1 + p) at base rate p, and
*skill* is how far F1 gets from that to 1: (F1 - c) / (1 - c).
"""

import torch
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor

BOOTSTRAP = 1000


def skill_of(f1: float, base_rate: float) -> float:
    """How far F1 gets from that of a neuron that is always on to 1."""
    always_on = 2 * base_rate / (1 + base_rate)
    return (f1 - always_on) / (1 - always_on) if always_on < 1 else 0.0


def skill_of_counts(counts: tuple[int, int, int, int]) -> float:
    both, fact_only, _, _ = counts
    return skill_of(f1_of(counts), (both + fact_only) / max(sum(counts), 1))


def best_threshold(acts: Float[Tensor, "position"], fact: Bool[Tensor, "position"]) -> float:
    """The threshold that maximises F1 of ``acts > threshold`` against ``fact``; midway between two activations.

    Of equal F1 the highest threshold is taken (fewest positions on).
    """
    values, order = acts.sort(descending=True)
    return threshold_and_f1(values, fact[order])[0]


def threshold_and_f1(values: Float[Tensor, "position"], fact: Bool[Tensor, "position"]) -> tuple[float, float]:
    """`best_threshold` of activations in descending order, and its F1."""
    both = fact.cumsum(0)
    on = torch.arange(1, len(values) + 1)
    f1 = 2 * both.double() / (on + both[-1])
    ends_a_tie = torch.cat([values[1:] < values[:-1], torch.ones(1, dtype=torch.bool)])
    last = int(torch.where(ends_a_tie, f1, -1.0).argmax())
    above = float(values[last])
    below = float(values[last + 1]) if last + 1 < len(values) else above - 1 - abs(above)
    middle = torch.tensor((above + below) / 2, dtype=values.dtype)
    # Between neighbouring floats there is no middle: it rounds to either, and must not be the upper one.
    return (float(middle) if middle < values[last] else below), float(f1[last])


def auc(acts: Float[Tensor, "position"], fact: Bool[Tensor, "position"]) -> float:
    """Probability that a position with the fact has the higher activation; ties count half (Mann-Whitney)."""
    n = int(fact.sum())
    m = len(fact) - n
    if not n or not m:
        return 0.5
    _, group, counts = acts.unique(return_inverse=True, return_counts=True)
    rank = (counts.cumsum(0).double() - (counts - 1) / 2)[group]  # mean rank within ties, from 1
    return float((rank[fact].sum() - n * (n + 1) / 2) / (n * m))


def counts_of(on: Bool[Tensor, "n"], fact: Bool[Tensor, "n"]) -> tuple[int, int, int, int]:
    both, n_on, n_fact = int((on & fact).sum()), int(on.sum()), int(fact.sum())
    return both, n_fact - both, n_on - both, len(on) - n_on - n_fact + both


def f1_of(counts: tuple[int, int, int, int]) -> float:
    both, fact_only, on_only, _ = counts
    return 2 * both / max(2 * both + fact_only + on_only, 1)


def f1_interval(per_game: Float[Tensor, "game 3"], rounds: int = BOOTSTRAP, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of F1 over games drawn with replacement."""
    generator = torch.Generator().manual_seed(seed)
    n = len(per_game)
    drawn = torch.randint(n, (rounds, n), generator=generator)
    times = torch.zeros(rounds, n, dtype=torch.float64)
    times.scatter_add_(1, drawn, torch.ones((), dtype=torch.float64).expand(rounds, n))
    both, on, fact = einsum(times, per_game, "round game, game count -> count round")
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = (2 * both / (on + fact).clamp_min(1)).quantile(ends).tolist()
    return low, high


def r_squared(truth: Float[Tensor, "n"], predicted: Float[Tensor, "n"]) -> float:
    """1 - squared error over squared deviation from the mean; 0 for a constant truth.

    In float64, where the mean of equal fp16 numbers is exact: a constant neuron must not divide rounding by rounding.
    """
    truth, predicted = truth.double(), predicted.double()
    total = (truth - truth.mean()).pow(2).sum()
    return float(1 - (truth - predicted).pow(2).sum() / total) if truth.numel() and truth.max() > truth.min() else 0.0
