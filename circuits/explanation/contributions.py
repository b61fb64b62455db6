"""What every component writes along one vector of the stream at one position: a sum that is exact.

    x . u = embed . u + position . u + sum over heads (z_h W_O,h) . u + neurons (post_n W_out,n) . u + biases . u

as in `circuits.attribution`, for one position and one target, so that the same can be asked of mean activations. A
move's logit is the target (W_U[:, move] - mean over the 60 moves) / s with the final LayerNorm's scale s frozen at this
position's, and the same of b_U for a constant.
"""

from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from circuits.explanation.means import Acts
from circuits.notation import Unit
from circuits.othello_model import OthelloModel


@dataclass(frozen=True, eq=False)
class Contributions:
    """What each component writes along a vector; heads and neurons only of the layers before the target's point."""

    embed: float
    place: float
    heads: Float[Tensor, "attention_layer head"]
    neurons: Float[Tensor, "mlp_layer neuron"]
    biases: float  # of all layers' attention and MLP, and the target's constant

    def sum(self) -> float:
        return self.embed + self.place + self.biases + float(self.heads.sum() + self.neurons.sum())

    def less(self, other: "Contributions") -> "Contributions":
        """The differences, component by component."""
        return Contributions(*(getattr(self, name) - getattr(other, name) for name in vars(self)))

    def of(self, unit: Unit) -> float | None:
        """One unit's; None for one behind the target's point."""
        table = self.neurons if unit.kind == "neuron" else self.heads
        return float(table[unit.layer, unit.index]) if unit.layer < len(table) else None

    def ranked(self) -> list[tuple[Unit, float]]:
        """Every unit with its contribution, the highest first."""
        found = []
        for kind, table in (("head", self.heads), ("neuron", self.neurons)):
            for layer, row in enumerate(table.tolist()):
                found += [(Unit(layer, kind, i), value) for i, value in enumerate(row)]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def contributions(
    model: OthelloModel,
    acts: Acts,
    vector: Float[Tensor, "d_model"],
    constant: float = 0.0,
    attention_layers: int | None = None,
    mlp_layers: int | None = None,
) -> Contributions:
    """Every component's share of ``x . vector + constant``.

    Args:
        acts: of a position, or means.
        attention_layers, mlp_layers: how many of each write before the target's point; all by default.
    """
    n = model.shape.n_layers
    attn, mlp = (n if given is None else given for given in (attention_layers, mlp_layers))
    u = vector.double()
    heads, neurons, biases = [], [], constant
    for layer in range(attn):
        reach = einsum(model.W_O(layer).double(), u, "head d_head d_model, d_model -> head d_head")
        heads.append((acts.z[layer].double() * reach).sum(-1))
        biases += float(model.b_O(layer).double() @ u)
    for layer in range(mlp):
        neurons.append(acts.neurons[layer].double() * (model.W_out(layer).double() @ u))
        biases += float(model.b_out(layer).double() @ u)
    shape = model.shape

    def stack(parts: list[Tensor], width: int) -> Tensor:
        return torch.stack(parts).cpu() if parts else torch.zeros(0, width, dtype=torch.float64)

    return Contributions(
        float(acts.embed.double() @ u), float(acts.place.double() @ u), stack(heads, shape.n_heads),
        stack(neurons, shape.d_mlp), biases,
    )  # fmt: skip


def layers_before(point: str) -> tuple[int, int]:
    """How many attention and MLP layers write before a point of the stream."""
    layer, where = int(point.split(".")[1]), point.rpartition("_")[2]
    return {"pre": (layer, layer), "mid": (layer + 1, layer), "post": (layer + 1, layer + 1)}[where]
