"""Units set to their means at one position, everything behind them recomputed, beside drawn sets of as many units.

Two controls, both of the same layers and kinds, none of them in the set (fewer where a layer has no more):

    random   any units. Most do nothing here, so to beat them is easy
    alike    for each unit one of the `NEAR` whose change, (activation - mean) W_out, is nearest in size: as much is
             taken out of the stream
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.explanation.means import Acts
from circuits.last_ply import LastPly
from circuits.notation import Unit
from circuits.othello_model import OthelloModel

#: units of most similar size, among which one is drawn
NEAR = 10


def set_to_means(
    last: LastPly, sets: Sequence[Sequence[Unit]], means: Acts, save: Sequence[str] = ()
) -> tuple[Float[Tensor, "set token"], dict[str, Tensor]]:
    """Logits, and what was saved [set, ...], at the last ply with each set of units at its means.

    Args:
        last: one transcript.
    """
    shape, n = last.model.shape, len(sets)
    masks = {
        "neuron": torch.zeros(shape.n_layers, n, shape.d_mlp, dtype=torch.bool),
        "head": torch.zeros(shape.n_layers, n, shape.n_heads, dtype=torch.bool),
    }
    for i, units in enumerate(sets):
        for unit in units:
            masks[unit.kind][unit.layer, i, unit.index] = True
    edits = []
    for layer in range(shape.n_layers):
        for kind, hook, mean in (("head", "attn.hook_z", means.z), ("neuron", "mlp.hook_post", means.neurons)):
            mask = masks[kind][layer].to(last.model.device)
            if mask.any():
                edits.append((f"blocks.{layer}.{hook}", _put(mask, mean[layer].float())))
    logits, saved = last.run(edits, save, variants=max(1, n))
    return logits[0], {name: x[0] for name, x in saved.items()}


def _put(mask: Tensor, mean: Tensor):
    def put(x: Tensor, _) -> Tensor:
        where = mask if x.dim() == 3 else mask[..., None]
        return torch.where(where, mean.to(x), x)

    return put


def sizes(model: OthelloModel, acts: Acts, means: Acts) -> dict[str, Float[Tensor, "layer unit"]]:
    """The norm of what each unit writes beyond its mean, by kind."""
    heads, neurons = [], []
    for layer in range(model.shape.n_layers):
        change = torch.einsum("hd,hdm->hm", (acts.z[layer] - means.z[layer]).float(), model.W_O(layer))
        heads.append(change.norm(dim=-1))
        neurons.append((acts.neurons[layer] - means.neurons[layer]).float().abs() * model.W_out(layer).norm(dim=-1))
    return {"head": torch.stack(heads).cpu(), "neuron": torch.stack(neurons).cpu()}


def random_units(model: OthelloModel, units: Sequence[Unit], draws: int, seed: int = 0) -> list[tuple[Unit, ...]]:
    """As many units of each layer and kind, none of them in the set."""
    return _drawn(model, units, draws, seed, None)


def units_alike(
    model: OthelloModel, units: Sequence[Unit], size: dict[str, Tensor], draws: int, seed: int = 0
) -> list[tuple[Unit, ...]]:
    """For each unit one of its layer and kind whose change is about as large, none of them in the set."""
    return _drawn(model, units, draws, seed, size)


def _drawn(model, units, draws, seed, size) -> list[tuple[Unit, ...]]:
    generator = torch.Generator().manual_seed(seed)
    s, found = model.shape, []
    untouched = {
        "neuron": torch.ones(s.n_layers, s.d_mlp, dtype=torch.bool),
        "head": torch.ones(s.n_layers, s.n_heads, dtype=torch.bool),
    }
    for unit in units:
        untouched[unit.kind][unit.layer, unit.index] = False
    for _ in range(draws):
        free, chosen = {kind: mask.clone() for kind, mask in untouched.items()}, []
        for unit in units:
            others = free[unit.kind][unit.layer].nonzero()[:, 0]
            if not len(others):
                continue
            if size is not None:
                own = size[unit.kind][unit.layer]
                gap = (own[others] - own[unit.index]).abs()
                others = others[gap.argsort(stable=True)[:NEAR]]
            pick = int(others[int(torch.randint(len(others), (), generator=generator))])
            chosen.append(Unit(unit.layer, unit.kind, pick))
            free[unit.kind][unit.layer, pick] = False
        found.append(tuple(chosen))
    return found
