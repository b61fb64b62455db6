"""A forward pass from which nothing is saved: the stream entering a block, and neurons without the rest of their layer.

As `plain.PlainModel` computes it, to rounding, but faster: MLPs in slices that stay in a core's cache
(`incremental.mlp`), and of the last layer only what is asked for.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from circuits.causes.incremental import mlp, normalised
from circuits.gpt import activation
from circuits.plain import PlainModel, _Tap


@torch.no_grad()
def entering(model: PlainModel, tokens: Int[Tensor, "game ply"], layer: int) -> Float[Tensor, "game ply d_model"]:
    """The stream that enters block ``layer`` (the number of layers: the one that leaves the last)."""
    x, _ = model.run(tokens, stop_at=0)
    for block in range(layer):
        x = mlp(model, block, middle(model, block, x))
    return x


@torch.no_grad()
def middle(model: PlainModel, layer: int, x: Float[Tensor, "game ply d_model"]) -> Float[Tensor, "game ply d_model"]:
    """The stream in the middle of a block, from the one that enters it."""
    z = model._attention(layer, normalised(x, model.shape.eps), _Tap(set(), ()), None)
    return x + F.linear(z.flatten(-2), model.W_O(layer).flatten(0, 1).T, model.b_O(layer))


@torch.no_grad()
def neurons(
    model: PlainModel, layer: int, mid: Float[Tensor, "*batch d_model"], which: list[int]
) -> Float[Tensor, "*batch neuron"]:
    """Some neurons' activations; not for SoLU, where each depends on all of its layer."""
    n = normalised(mid, model.shape.eps)
    return activation(model.shape.act)(n @ model.W_in(layer)[:, which] + model.b_in(layer)[which])
