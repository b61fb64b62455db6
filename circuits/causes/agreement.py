"""How well a cheap prediction of effects agrees with exact ones, on a sample drawn for it.

    Pearson, Spearman   correlations over the sample
    slope               sum(predicted exact) / sum(predicted²): the exact effect for each unit predicted

Half of a sample are the largest predictions, half is drawn at random from the rest: the large ones are what is used,
and the others show what was missed.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits.errors import InputError


@dataclass(frozen=True, eq=False)
class Agreement:
    """Of predicted with exact effects; correlations are NaN where either does not vary.

    Attributes:
        predicted, exact: [item], the sample itself.
        how: what the sample is, in words.
    """

    pearson: float
    spearman: float
    slope: float
    predicted: Float[Tensor, "item"]
    exact: Float[Tensor, "item"]
    how: str

    def __str__(self) -> str:
        return (
            f"Pearson {self.pearson:.2f}, Spearman {self.spearman:.2f}, slope {self.slope:.2f} on "
            f"{len(self.exact)} {self.how}"
        )


def agreement(predicted: Float[Tensor, "item"], exact: Float[Tensor, "item"], how: str = "effects") -> Agreement:
    """Compare predictions with exact effects.

    Raises:
        InputError: fewer than three of them.
    """
    if len(predicted) < 3:
        raise InputError(f"{len(predicted)} effects to compare: at least 3 are needed for a correlation")
    p, e = predicted.double(), exact.double()
    slope = float((p * e).sum() / p.pow(2).sum()) if p.any() else float("nan")
    return Agreement(_correlation(p, e), _correlation(_ranks(p), _ranks(e)), slope, predicted, exact, how)


def drawn(scores: Float[Tensor, "item"], count: int, seed: int = 0) -> Int[Tensor, "drawn"]:
    """Which items to compute exactly: half the largest by size, half at random from the rest; all if there are few."""
    order = scores.abs().argsort(descending=True, stable=True)
    top = min(count - count // 2, len(order))
    rest = order[top:]
    picked = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))[: count // 2]
    return torch.cat([order[:top], rest[picked.to(rest.device)]])


def _correlation(a: Float[Tensor, "item"], b: Float[Tensor, "item"]) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = a.norm() * b.norm()
    return float((a * b).sum() / size) if size > 0 else float("nan")


def _ranks(values: Float[Tensor, "item"]) -> Float[Tensor, "item"]:
    """Ranks, the mean of theirs for ties."""
    _, which, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[which]
