"""Sets of components (heads, neurons, whole layers' parts): what they read, and what they write to the stream.

Here are also heads' outputs from the stream, in an ordinary run, and where every query is of *a run of its own*: its
stream is x'_t at the query's ply and the recorded one before. Then

    scores[t, s] = q'_t . k_s for s < t,   q'_t . k'_t for s = t
    z_t = sum over s of a_ts v_s + a_tt (v'_t - v_t)

and one pass over a game computes what would take one a ply.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

from circuits.causes.incremental import Recording, normalised
from circuits.causes.nodes import Node, check_nodes
from circuits.errors import InputError
from circuits.gpt import activation
from circuits.notation import Unit
from circuits.othello_model import OthelloModel
from circuits.plain import PlainModel

Nodes = str | Node | Unit | Sequence[str | Node | Unit]


@dataclass(frozen=True, eq=False)
class Group:
    """The nodes of a set that lie in one part of one layer, computed together.

    Whatever the kind, their activations are [game, ply, unit, width]: a neuron is 1 wide, a head d_head, the whole
    output of an attention or MLP layer (``index`` None) d_model.
    """

    layer: int
    kind: Literal["head", "attn", "neuron", "mlp"]
    index: Int[Tensor, "unit"] | None

    @property
    def part(self) -> tuple[int, str]:
        return self.layer, {"head": "attn", "neuron": "mlp"}.get(self.kind, self.kind)

    def width(self, model: OthelloModel) -> tuple[int, int]:
        """(units, width)."""
        if self.index is None:
            return 1, model.shape.d_model
        return len(self.index), 1 if self.kind == "neuron" else model.shape.d_head

    def read(self, model: PlainModel, run: Recording, plies: slice) -> Float[Tensor, "game ply unit width"]:
        """The group's activations in an unablated run."""
        if self.index is None:
            return written(run, *self.part, plies)[:, :, None]
        if self.kind == "head":
            return unablated_heads(model, self.layer, run, plies)[:, :, self.index]
        n = normalised(run.mid[self.layer][:, plies], model.shape.eps)
        act, W, b = activation(model.shape.act), model.W_in(self.layer), model.b_in(self.layer)
        if model.shape.act == "solu":  # a softmax over the layer: one neuron needs them all
            return act(n @ W + b)[..., self.index, None]
        return act(n @ W[:, self.index] + b[self.index])[..., None]

    def write(
        self, model: PlainModel, values: Float[Tensor, "game ply unit width"]
    ) -> Float[Tensor, "game ply d_model"]:
        """What such activations add to the stream; a layer's bias is part of a whole layer's output only."""
        if self.index is None:
            return values[:, :, 0]
        if self.kind == "neuron":
            return values[..., 0] @ model.W_out(self.layer)[self.index]
        return einsum(values, model.W_O(self.layer)[self.index], "game ply head d, head d d_model -> game ply d_model")


def groups_of(nodes: Nodes, model: OthelloModel) -> tuple[tuple[Node, ...], tuple[Group, ...]]:
    """The checked nodes of a set, and the same grouped in the order in which the model computes them.

    Raises:
        InputError: no nodes; a node that is no component; a layer's part beside its own heads or neurons.
    """
    checked = check_nodes([nodes] if isinstance(nodes, str | Node | Unit) else nodes, model.shape)
    members: dict[tuple[int, str], list[Node]] = {}
    for node in checked:
        if node.kind not in ("head", "attn", "neuron", "mlp"):
            raise InputError(f"{node} cannot be ablated: name heads, neurons, or whole layers as 'L3 attn' or 'L3 MLP'")
        members.setdefault(Group(node.layer, node.kind, None).part, []).append(node)
    groups = []
    for nodes in (members[part] for part in sorted(members)):
        whole = next((node for node in nodes if node.index is None), None)
        if whole and len(nodes) > 1:
            inside = next(node for node in nodes if node.index is not None)
            raise InputError(f"{whole} already holds {inside}: name one of them")
        index = None if whole else torch.tensor([node.index for node in nodes], device=model.device)
        groups.append(Group(nodes[0].layer, nodes[0].kind, index))
    return checked, tuple(groups)


def head_outputs(
    model: PlainModel,
    layer: int,
    x: Float[Tensor, "game ply d_model"],
    start: int = 0,
    past: tuple[Float[Tensor, "game past head d_head"], Float[Tensor, "game past head d_head"]] | None = None,
) -> Float[Tensor, "game ply head d_head"]:
    """Heads' outputs z from the stream x entering a block at plies ``start`` on.

    With ``past``, the unablated keys and values from ply 0 on, each query is of a run of its own (see the file's head).
    """
    s = model.shape
    W, b = model._qkv[layer]
    q, k, v = F.linear(normalised(x, s.eps), W.T, b).split(s.n_heads * s.d_head, -1)
    q, k, v = (rearrange(t, "game ply (head d) -> game head ply d", head=s.n_heads) for t in (q, k, v))
    q = q * s.d_head**-0.5
    plies = slice(start, start + x.shape[1])
    if past is None:
        z = (q @ k.mT + model._ahead[plies, plies]).softmax(-1) @ v
    else:
        old_k, old_v = (rearrange(t[:, : plies.stop], "game past head d -> game head past d") for t in past)
        scores = q @ old_k.mT + model._ahead[plies, : plies.stop]
        scores.diagonal(start, -2, -1).copy_((q * k).sum(-1))
        pattern = scores.softmax(-1)
        own = pattern.diagonal(start, -2, -1)[..., None]
        z = pattern @ old_v + own * (v - old_v[:, :, plies])
    return rearrange(z, "game head ply d -> game ply head d")


def unablated_heads(
    model: PlainModel, layer: int, run: Recording, plies: slice
) -> Float[Tensor, "game ply head d_head"]:
    """Heads' outputs in the unablated run: recomputed, as they are seldom needed."""
    return head_outputs(model, layer, run.pre[layer][:, : plies.stop])[:, plies]


def written(run: Recording, layer: int, part: str, plies: slice) -> Float[Tensor, "game ply d_model"]:
    """What a layer's attention or MLP wrote in the unablated run."""
    before, after = (run.pre, run.mid) if part == "attn" else (run.mid, run.pre[1:])
    return after[layer][:, plies] - before[layer][:, plies]
