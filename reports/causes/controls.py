"""Neurons to compare one with: random ones of its layer, at its own places, and each at places of its own.

At the neuron's own positions and square almost any other neuron does less, as they were chosen for the neuron. So
others are also looked at where they themselves are most active, on the move to whose logit they write most strongly;
what is found there is the same for all neurons of a layer and kept on the workbench.
"""

from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from circuits.causes.ablation import logits, move_reader, relative
from circuits.causes.incremental import normalised
from circuits.causes.recorded_games import Positions, rerun
from circuits.gpt import activation
from circuits.notation import LABELS, TOKEN_SQUARE, Unit
from reports.causes import records as c
from reports.causes.places import MIN_POSITIONS, MostActive, draw
from reports.workbench import Workbench

NEURONS = 20
#: positions of each neuron at its own places
EACH = 20


@dataclass(frozen=True, eq=False)
class _AtOwnPlaces:
    """A neuron where it is most active: where that is, and what happens without it."""

    index: int
    at: Positions
    mean: float  # what it is set to
    move: int


def random_order(bench: Workbench, layer: int) -> list[int]:
    """A layer's neurons in the order in which they are drawn."""
    generator = torch.Generator().manual_seed(bench.seed << 8 | layer)
    return torch.randperm(bench.model.shape.d_mlp, generator=generator).tolist()


def random_neurons(bench: Workbench, unit: Unit) -> list[int]:
    return [i for i in random_order(bench, unit.layer) if i != unit.index][:NEURONS]


def at_own_places(bench: Workbench, unit: Unit, value: float) -> c.OwnPlaces:
    """Other neurons of the layer, each where it is most active and on the move that it writes to most strongly.

    Args:
        value: the neuron's own effect, set to its mean as they are.
    """
    kept = bench._own_places
    if unit.layer not in kept:
        kept[unit.layer] = _measured(bench, unit.layer)
    others = [x for x in kept[unit.layer] if x.unit != str(unit)][:NEURONS]
    return c.OwnPlaces(value, tuple(others))


def _measured(bench: Workbench, layer: int) -> list[c.Other]:
    """One neuron more than is shown, so that any of them can be the page's own."""
    model, recorded = bench.held_out.model, bench.held_out
    chosen = _chosen(bench, layer)
    if not chosen:
        return []
    at = Positions(*(torch.cat([getattr(x.at, name) for x in chosen]) for name in ("row", "ply")))
    sizes = torch.tensor([len(x.at) for x in chosen])
    index, move, mean = (
        torch.tensor([getattr(x, name) for x in chosen]).repeat_interleave(sizes) for name in ("index", "move", "mean")
    )
    mid = normalised(recorded.stream("mid", layer, at), model.shape.eps)
    pre = einsum(mid, model.W_in(layer)[:, index], "position d_model, d_model position -> position")
    own = activation(model.shape.act)(pre + model.b_in(layer)[index])
    lost = (mean.to(own) - own)[:, None] * model.W_out(layer)[index]
    after, _ = rerun(recorded, at, layer + 1, (recorded.stream("pre", layer + 1, at) + lost)[None])
    was, now = (relative(logits(model, x)) for x in (recorded.stream("pre", model.shape.n_layers, at), after[0]))
    effects = (now - was)[torch.arange(len(at)), move.to(was.device)].cpu().split(sizes.tolist())
    return [
        c.Other(str(Unit(layer, "neuron", x.index)), LABELS[int(TOKEN_SQUARE[x.move + 1])], len(x.at), float(e.mean()))
        for x, e in zip(chosen, effects, strict=True)
    ]


def _chosen(bench: Workbench, layer: int) -> list[_AtOwnPlaces]:
    """Random neurons that are active often enough."""
    gallery, moves = bench.gallery, _moves(bench, layer)
    found = []
    for i in random_order(bench, layer):
        acts = gallery.activations(Unit(layer, "neuron", i))
        high = MostActive.of(acts, gallery.train).high & ~gallery.train
        if int(high.sum()) >= MIN_POSITIONS:
            at = draw(bench, high, bench.seed + i, EACH)
            found.append(_AtOwnPlaces(i, at, float(acts[gallery.train].mean()), int(moves[i].abs().argmax())))
        if len(found) > NEURONS:
            break
    return found


def _moves(bench: Workbench, layer: int) -> Float[Tensor, "neuron move"]:
    """What each neuron writes for each move."""
    model = bench.held_out.model
    return move_reader(model)(model.W_out(layer))
