"""Sums over positions of what changes when each unit is ablated: see `circuits.atlas.ablations`.

They are integers in fixed-point steps: sums over any chunks of games in any order are the same bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load, save
from torch import Tensor

from circuits.atlas.move_effects import MoveEffects
from circuits.checkpoints import Shape
from circuits.errors import InputError

FIGURES = ("kl", "kl_direct", "top", "legal")
#: Finer than in mining, for most units do next to nothing: a standard error below 2e-7 nats may read 0. There is room
#: for sums of 2^31, and of squares 2^19, which 20,000 games reach where every one of them loses 5 nats.
FIXED_POINT, FIXED_POINT_SQUARES = 2.0**32, 2.0**44


@dataclass
class Ablations:
    """Everything summed so far: fixed-point sums over positions of `FIGURES`, and of their squares (finer).

    Attributes:
        positions: how many, one a game.
        moves: what every unit adds to each move's logit.
    """

    positions: int
    neurons: Int[Tensor, "figure=4 layer neuron"]
    neuron_squares: Int[Tensor, "figure=4 layer neuron"]
    heads: Int[Tensor, "figure=4 layer head"]
    head_squares: Int[Tensor, "figure=4 layer head"]
    moves: MoveEffects

    @staticmethod
    def empty(shape: Shape) -> "Ablations":
        """Sums of nothing."""

        def zeros(units: int) -> Tensor:
            return torch.zeros(len(FIGURES), shape.n_layers, units, dtype=torch.int64)

        units = shape.d_mlp, shape.d_mlp, shape.n_heads, shape.n_heads
        return Ablations(0, *map(zeros, units), MoveEffects.empty(shape))

    def merge(self, other: "Ablations") -> "Ablations":
        """Add what was found on other games; self, changed in place. Nothing changes where it is refused.

        Raises:
            InputError: units of another number; sums beyond what they have room for.
        """
        ours, theirs = self._sums(), other._sums()
        if any(ours[name].shape != theirs[name].shape for name in ours):
            here, there = ([tuple(x.shape[1:]) for x in (a.neurons, a.heads)] for a in (self, other))
            raise InputError(f"cannot merge: layers, and neurons and heads in each, are {here} here and {there} there")
        total = self._with(theirs)
        self.moves.merge(other.moves)
        return self._set(total, other.positions)

    def count(
        self,
        figures: tuple[Float[Tensor, "figure=4 layer neuron"], Float[Tensor, "figure=4 layer head"]],
        moves: tuple[Float[Tensor, "layer neuron move=60"], Float[Tensor, "layer head move=60"]],
        legal: Bool[Tensor, "move=60"],
        illegal: Bool[Tensor, "move=60"],
        drawn: Bool[Tensor, "move=60"],
        ply: int,
    ) -> None:
        """Count one position in place: `FIGURES`, and what is added to each move. Nothing changes where it is refused.

        Raises:
            InputError: effects that sums have no room for.
        """
        neurons, heads = figures
        total = self._with({
            "neurons": _fixed(neurons, FIXED_POINT), "neuron_squares": _fixed(neurons**2, FIXED_POINT_SQUARES),
            "heads": _fixed(heads, FIXED_POINT), "head_squares": _fixed(heads**2, FIXED_POINT_SQUARES),
        })  # fmt: skip
        self.moves.add(*moves, legal, illegal, drawn, ply)
        self._set(total, 1)

    def _with(self, more: Mapping[str, Tensor]) -> dict[str, Tensor]:
        ours = self._sums()
        total = {name: ours[name] + more[name] for name in ours}
        if any(((ours[n] ^ total[n]) & (more[n] ^ total[n])).lt(0).any() for n in ours):
            raise InputError("cannot merge: effects are too large for this many games: their squares pass 2^19")
        return total

    def _set(self, total: Mapping[str, Tensor], positions: int) -> "Ablations":
        for name, tensor in total.items():
            setattr(self, name, tensor)
        self.positions += positions
        return self

    def tensors(self) -> dict[str, Tensor]:
        """What a file keeps."""
        moves = {f"moves_{name}": tensor for name, tensor in self.moves.tensors().items()}
        return {"positions": torch.tensor(self.positions), **self._sums(), **moves}

    @staticmethod
    def of_tensors(tensors: Mapping[str, Tensor]) -> "Ablations":
        """The inverse of `tensors`.

        Raises:
            InputError: not the tensors of ablations.
        """
        names = [field.name for field in fields(Ablations)][1:-1]
        sound = {"positions", *names} <= set(tensors) and all(
            tensors[name].dtype == torch.int64 and tensors[name].ndim == 3 and len(tensors[name]) == len(FIGURES)
            for name in names
        )
        shapes = [tuple(tensors[name].shape) for name in names] if sound else []
        if not sound or shapes[0] != shapes[1] or shapes[2] != shapes[3] or shapes[0][1] != shapes[2][1]:
            raise InputError(f"these are no sums of ablations: they are positions and int64 {', '.join(names)}")
        moves = MoveEffects.of_tensors(
            {name.removeprefix("moves_"): x for name, x in tensors.items() if name.startswith("moves_")}
        )
        if [tuple(x.shape[2:4]) for x in (moves.neurons, moves.heads)] != [shapes[0][1:], shapes[2][1:]]:
            raise InputError("these are no sums of ablations: what units add to moves is of other units")
        return Ablations(int(tensors["positions"]), *(tensors[name].clone() for name in names), moves)

    def to_bytes(self) -> bytes:
        """As one safetensors file."""
        return save(self.tensors())

    @staticmethod
    def of_bytes(data: bytes) -> "Ablations":
        """The inverse of `to_bytes`.

        Raises:
            InputError: as `of_tensors`.
        """
        return Ablations.of_tensors(load(data))

    def mean(self, name: str, kind: str = "neuron") -> Float[Tensor, "layer unit"]:
        """The mean of one of `FIGURES` over positions (of ``top``: the share) for every neuron, or head.

        Raises:
            InputError: no such figure or kind; nothing was measured.
        """
        return self._moments(name, kind)[0].float()

    def se(self, name: str, kind: str = "neuron") -> Float[Tensor, "layer unit"]:
        """The standard error of `mean` over games; NaN for fewer than two.

        Raises:
            InputError: as `mean`.
        """
        mean, square = self._moments(name, kind)
        if self.positions < 2:
            return torch.full_like(mean, torch.nan).float()
        return ((square - mean**2).clamp_min(0) / (self.positions - 1)).sqrt().float()

    def _moments(self, name: str, kind: str) -> tuple[Float[Tensor, "layer unit"], Float[Tensor, "layer unit"]]:
        if name not in FIGURES or kind not in ("neuron", "head"):
            raise InputError(f"{name!r} of a {kind!r}: figures are {', '.join(FIGURES)}, of a neuron or a head")
        if not self.positions:
            raise InputError("nothing was ablated: these games have no position with a legal move in the band")
        sums = (self.neurons, self.neuron_squares) if kind == "neuron" else (self.heads, self.head_squares)
        steps = FIXED_POINT, FIXED_POINT_SQUARES
        mean, square = (x[FIGURES.index(name)].double() / s / self.positions for x, s in zip(sums, steps, strict=True))
        return mean, square

    def _sums(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in fields(self)[1:-1]}


def _fixed(values: Tensor, steps: float) -> Int[Tensor, "..."]:
    return (values * steps).round().long()
