"""What a subject's ablation is compared with: random others of its kind, ablated in the same way at the same places.

    neuron      random neurons of its layer, each set to its mean where the rule fails
    set         random sets with as many neurons of each layer
    head        the other heads of its layer, likewise
    direction   random directions: the stream is moved along them by as much as along the subject's own

Units that never change are left out: to set them to their mean would be no control at all.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.directions import unit as unit_vectors
from circuits.games import Games
from circuits.last_ply import Edit
from circuits.nodes import Node
from circuits.rule_bits import Packed
from circuits.rule_readings import Ground, Readings, read
from circuits.rule_subjects import Subject
from circuits.rules import Rule

#: random units, sets or directions
CONTROLS = 20
#: training games that their means are taken from
GAMES = 40
#: a unit that varies by no more than this is the same everywhere
STILL = 1e-6


@dataclass(frozen=True)
class Control:
    """One of them; ``edits`` of a batch of places, given how far each moves the subject: [row, 1, k]."""

    name: str
    edits: Callable[[Float[Tensor, "row 1 k"]], list[Edit]]


def controls(ground: Ground, subject: Subject, rule: Rule, train: Readings, n: int = CONTROLS) -> tuple[Control, ...]:
    """Random others; fewer, or none, where the layer has no more."""
    generator = torch.Generator().manual_seed(ground.seed + 1)
    if subject.kind == "direction":
        width = ground.model.shape.d_model
        vectors = unit_vectors(torch.randn(n, width, generator=generator))
        return tuple(_along(subject.hooks[0], i, vector) for i, vector in enumerate(vectors))
    off = _means_where_fails(ground, _candidates(subject, generator), rule, train.games[:GAMES])
    if subject.kind == "head":
        return tuple(_set_to(subject, (node,), value) for node, value in list(off.items())[:n])
    found: dict[tuple[Node, ...], None] = {}
    by_layer: dict[int, int] = {}
    for node in subject.nodes:
        by_layer[node.layer] = by_layer.get(node.layer, 0) + 1
    for _ in range(4 * n):
        drawn: list[Node] = []
        for layer, count in by_layer.items():
            pool = [node for node in off if node.layer == layer]
            if len(pool) < count:
                return ()
            drawn += [pool[i] for i in torch.randperm(len(pool), generator=generator)[:count].sort().values.tolist()]
        found[tuple(drawn)] = None
        if len(found) == n:
            break
    return tuple(_set_to(subject, nodes, torch.cat([off[node] for node in nodes])) for nodes in found)


def _candidates(subject: Subject, generator: torch.Generator) -> tuple[Node, ...]:
    """Other units of its layers, in random order."""
    shape, found = subject.model.shape, []
    for layer in sorted({node.layer for node in subject.nodes}):
        own = {node.index for node in subject.nodes if node.layer == layer}
        count = shape.n_heads if subject.kind == "head" else shape.d_mlp
        others = [i for i in torch.randperm(count, generator=generator).tolist() if i not in own]
        kind = "head" if subject.kind == "head" else "neuron"
        found += [Node(kind, layer, i) for i in others]
    return tuple(found)


def _means_where_fails(
    ground: Ground, nodes: tuple[Node, ...], rule: Rule, games: Games
) -> dict[Node, Float[Tensor, "k"]]:
    """Each unit's mean where the rule fails, of those that are not the same everywhere."""
    if nodes[0].kind == "neuron":
        several = Subject("controls", "set", nodes, ground.model)
        readings = read(ground.model, several, games, ground.band, sample=ground.sample)
        values, packed = readings.values[:, :, None], readings.packed
    else:
        boards = games.boards()
        where = torch.zeros_like(boards.valid)
        where[:, ground.band] = boards.valid[:, ground.band]
        hook, stop = nodes[0].hook, nodes[0].layer + 1
        _, acts = ground.model.run(games.inputs, save=[hook], stop_at=stop)
        values, packed = acts[hook].cpu()[where][:, [node.index for node in nodes]], Packed(boards, where)
    fails = ~packed.holds(rule)
    fails = fails if fails.any() else torch.ones_like(fails)
    alive = ((values.amax(0) - values.amin(0)) > STILL).any(-1)
    return {node: values[fails, i].mean(0) for i, node in enumerate(nodes) if alive[i]}


def _set_to(subject: Subject, nodes: tuple[Node, ...], value: Float[Tensor, "k"]) -> Control:
    other = replace(subject, name=", ".join(map(str, nodes)), nodes=nodes)
    return Control(other.name, lambda moved: other.edits(value.expand(len(moved), 1, -1)))


def _along(hook: str, i: int, vector: Float[Tensor, "d_model"]) -> Control:
    return Control(f"random direction {i}", lambda moved: [(hook, lambda x, _: x + moved.abs().to(x) * vector.to(x))])
