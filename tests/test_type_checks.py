"""What the tests' own checks of shapes and types refuse, and what they let pass."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from jaxtyping import Float
from torch import Tensor
from type_checks import checked

from circuits import weights
from circuits.notation import parse_unit


@checked
def product(a: Float[Tensor, "row k"], b: Float[Tensor, "k column"], flip: bool = False) -> Float[Tensor, "row column"]:
    """Wrong in its result where ``flip`` says so."""
    return (a @ b).T if flip else a @ b


@checked
@dataclass(frozen=True)
class Pair:
    first: Float[Tensor, "n"]
    second: Float[Tensor, "n"] | None = None

    @classmethod
    @checked
    def of(cls, n: int) -> "Pair":
        return cls(torch.zeros(n))

    @property
    @checked
    def size(self) -> str:
        return len(self.first)


@checked
def rows(x: Float[Tensor, "n k"]) -> Iterator[Float[Tensor, "k"]]:
    yield from x


def test_what_fits_passes():
    assert product(torch.ones(2, 3), torch.ones(3, 4)).shape == (2, 4)
    assert product(torch.ones(5, 1), b=torch.ones(1, 1)).shape == (5, 1)  # axes are of one call
    assert Pair(torch.ones(2), torch.ones(2)).second.sum() == 2 and Pair.of(3).second is None
    assert [float(row.sum()) for row in rows(torch.ones(2, 3))] == [3, 3]


@pytest.mark.parametrize(
    "call",
    [
        lambda: product(torch.ones(2, 3), torch.ones(4, 2)),  # one axis of two lengths
        lambda: product(torch.ones(2), torch.ones(2, 2)),
        lambda: product(torch.ones(2, 3).int(), torch.ones(3, 2)),
        lambda: product(torch.ones(2, 3), torch.ones(3, 4), flip=True),  # the result, against the arguments
        lambda: product(torch.ones(2, 3), torch.ones(3, 2), flip="no"),
        lambda: Pair(torch.ones(2), torch.ones(3)),
        lambda: Pair.of("3"),
        lambda: Pair(torch.ones(2)).size,
        lambda: rows(torch.ones(2)),
        lambda: weights.neuron_input(object(), parse_unit("L0N0")),  # the project's own, through the import hook
    ],
)
def test_what_does_not_fit_is_refused(call):
    with pytest.raises(TypeError):
        call()
