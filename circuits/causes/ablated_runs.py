"""Running a model with a set of components replaced, resumed from its unablated run.

Nothing before the first component of the set is run. In mode ``"own"`` the set is replaced at the one position that is
read, and was itself at every ply before: all plies of a game in one pass (see `components.head_outputs`). In mode
``"all"`` it is replaced at every ply up to there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from circuits.causes.baseline import Baseline
from circuits.causes.components import Group, head_outputs, unablated_heads, written
from circuits.causes.incremental import Recording, normalised
from circuits.causes.nodes import Node
from circuits.causes.replacements import Replacement
from circuits.gpt import activation
from circuits.plain import PlainModel

Mode = Literal["own", "all"]
Detail = Literal["part", "head"]


@dataclass(frozen=True, eq=False)
class Change:
    """What an ablation does to the final stream of some games, at the plies of the band.

    Attributes:
        rows: of the set of games.
        before, after: the final stream.
        direct: the change of what the set itself writes.
        later: name -> the change of what each later part (or head) writes, in the order in which they run, where that
            was asked for. ``after = before + direct + the sum of later``.
    """

    rows: slice
    before: Float[Tensor, "game ply d_model"]
    after: Float[Tensor, "game ply d_model"]
    direct: Float[Tensor, "game ply d_model"]
    later: dict[str, Tensor]


def ablated(
    base: Baseline, groups: Sequence[Group], values: Replacement, mode: Mode, later: Detail | None = None
) -> Iterator[Change]:
    """Run all games of ``base`` with the groups' activations replaced, some games at a time."""
    # In mode "all" the plies before the band are ablated too.
    plies = base.plies if mode == "own" else slice(0, base.plies.stop)
    band = slice(base.plies.start - plies.start, None)
    for run in base.runs():
        with torch.no_grad():
            new = [values(i, run.rows, plies) for i in range(len(groups))]
            after, direct, parts = _ablated(base.model, run.kept, groups, new, plies, mode, later)
            final = run.kept.pre[-1][:, plies]
            parts = {name: change[:, band] for name, change in parts.items()}
        yield Change(run.rows, final[:, band], after[:, band], direct[:, band], parts)


def _ablated(
    model: PlainModel, run: Recording, groups, new: list[Tensor], plies: slice, mode: Mode, later: Detail | None
):
    """The ablated final stream, the set's own change, and the later parts' changes."""
    by_part = {group.part: (group, values) for group, values in zip(groups, new, strict=True)}
    x, changes = None, {}  # x is None as long as the stream is the unablated one
    direct = torch.zeros_like(run.pre[0][:, plies])
    for layer in range(groups[0].layer, model.shape.n_layers):
        for part in ("attn", "mlp"):
            group, values = by_part.get((layer, part), (None, None))
            lost = 0.0
            if group:
                lost = group.write(model, values - group.read(model, run, plies))
                direct += lost
            if x is None:
                if group:  # nothing else in this part has changed
                    x = (run.mid if part == "attn" else run.pre[1:])[layer][:, plies] + lost
                continue
            if group and group.index is None:
                x = x + values[:, :, 0]
                continue
            units = _units(model, layer, part, x, run, plies, mode)
            if group:
                units[:, :, group.index] = values if part == "attn" else values[..., 0]
            if part == "attn":
                out = F.linear(units.flatten(-2), model.W_O(layer).flatten(0, 1).T, model.b_O(layer))
            else:
                out = F.linear(units, model.W_out(layer).T, model.b_out(layer))
            x = x + out
            if later == "head" and part == "attn":
                changed = units - unablated_heads(model, layer, run, plies)
                if group:
                    changed[:, :, group.index] = 0
                writings = einsum(changed, model.W_O(layer), "game ply head d, head d d_model -> head game ply d_model")
                changes |= {str(Node("head", layer, i)): writing for i, writing in enumerate(writings)}
            elif later:
                changes[str(Node(part, layer))] = out - written(run, layer, part, plies) - lost
    return x, direct, changes


def _units(model: PlainModel, layer: int, part: str, x: Tensor, run: Recording, plies: slice, mode: Mode) -> Tensor:
    """A part's heads [game, ply, head, d_head] or neurons [game, ply, neuron] from the ablated stream entering it."""
    if part == "attn":
        past = (run.k[layer], run.v[layer]) if mode == "own" else None
        return head_outputs(model, layer, x, plies.start, past)
    pre = F.linear(normalised(x, model.shape.eps), model.W_in(layer).T, model.b_in(layer))
    return activation(model.shape.act)(pre)
