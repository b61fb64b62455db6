"""A linear probe of the board as plain tensors: what edits read a square with, and the directions they write along.

At a square, class weights w give two unit directions, as in `circuits.directions`, and three class vectors:

    colour   w_mine - w_theirs                     0 empty   w_empty
    empty    w_empty - (w_mine + w_theirs) / 2     1 theirs, 2 mine likewise

A *coordinate* is the stream's product with a unit direction. Along colour it should be positive for mine, negative for
theirs and near 0 for an empty square; along empty positive for empty and negative for occupied. Centre squares are
never empty and have no empty direction.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.directions import unit
from circuits.errors import InputError
from circuits.notation import CENTRE, N_SQUARES

COLOUR, EMPTINESS = 0, 1
#: the sign that a class gives each of the two coordinates: empty, theirs, mine
SIGNS = torch.tensor([[0.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])


@dataclass(frozen=True, eq=False)
class BoardReader:
    """A probe's class weights at one point.

    Attributes:
        hook: the point of the stream, e.g. ``"blocks.4.hook_resid_post"``.
        weight: [d_model, square, class], classes empty, theirs, mine.
        bias: [square, class].
    """

    hook: str
    weight: Float[Tensor, "d_model 64 3"]
    bias: Float[Tensor, "64 3"]

    def __post_init__(self) -> None:
        if self.weight.dim() != 3 or self.weight.shape[1:] != (N_SQUARES, 3) or self.bias.shape != (N_SQUARES, 3):
            raise InputError(
                f"a board reader has weights [d_model, 64, 3] and biases [64, 3]; these are {list(self.weight.shape)} "
                f"and {list(self.bias.shape)}"
            )

    def __call__(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch 64 3"]:
        """Class logits; differentiable in x."""
        return (x @ self.weight.flatten(1).to(x)).unflatten(-1, (N_SQUARES, 3)) + self.bias.to(x)

    def read(self, x: Float[Tensor, "*batch d_model"]) -> Int[Tensor, "*batch 64"]:
        """The most probable class of every square."""
        return self(x).argmax(-1)

    @cached_property
    def directions(self) -> Float[Tensor, "64 2 d_model"]:
        """Unit directions of colour and emptiness; 0 for the emptiness of centre squares."""
        empty, theirs, mine = self.weight.float().unbind(-1)
        found = torch.stack([mine - theirs, empty - (mine + theirs) / 2], -1).permute(1, 2, 0)
        found = found.flatten(0, 1)
        used = self.defined.flatten().to(found.device)
        directions = torch.zeros_like(found)
        directions[used] = unit(found[used])
        return directions.unflatten(0, (N_SQUARES, 2))

    @cached_property
    def defined(self) -> Bool[Tensor, "64 2"]:
        """Which of the directions mean something."""
        defined = torch.ones(N_SQUARES, 2, dtype=torch.bool)
        defined[list(CENTRE), EMPTINESS] = False
        return defined

    @cached_property
    def classes(self) -> Float[Tensor, "64 3 d_model"]:
        """Unit class vectors; 0 for a centre square's empty class."""
        vectors = self.weight.float().permute(1, 2, 0).flatten(0, 1)
        used = torch.ones(N_SQUARES, 3, dtype=torch.bool)
        used[list(CENTRE), 0] = False
        used = used.flatten().to(vectors.device)
        found = torch.zeros_like(vectors)
        found[used] = unit(vectors[used])
        return found.unflatten(0, (N_SQUARES, 3))

    @cached_property
    def dual(self) -> Float[Tensor, "64 2 d_model"]:
        """For each direction the shortest vector that moves its coordinate by 1 and, if it can, no other one."""
        flat = self.directions.flatten(0, 1)
        used = self.defined.flatten().to(flat.device)
        dual = torch.zeros_like(flat)
        dual[used] = torch.linalg.pinv(flat[used].double(), rtol=1e-5).T.float()
        return dual.unflatten(0, (N_SQUARES, 2))
