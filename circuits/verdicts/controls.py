"""What a subject's ablation is compared with: random writing of equal norm, at the same places.

At places chosen for a subject its own ablation moves the stream far and that of another unit hardly at all, so that to
do more than others set to their means says little. Every control therefore moves the stream, at each place, by as much
as the ablation does there: by |d|, d = (mean where the rule fails - value) W_out.

    neuron            random neurons of its layer; each is changed by +-|d| / |W_out|, towards its own mean where the
                      rule fails
    set               random sets with as many neurons of each layer; their changes c towards these means are scaled
                      together, by |d| / |c W_out| in each layer, d being what the subject's neurons of that layer write
    head, direction   random directions u (normal, centred): |d| u is added to the stream where the subject writes

Neurons that never change, or write nothing, are left out: they have no writing to scale.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.causes.nodes import Node
from circuits.directions import unit as unit_vectors
from circuits.games import Games
from circuits.last_ply import Edit
from circuits.rules import Rule
from circuits.verdicts.readings import Ground, Readings, read
from circuits.verdicts.subjects import Subject

#: random units, sets or directions
CONTROLS = 20
#: training games that their means are taken from
GAMES = 40
#: a unit that varies by no more than this is the same everywhere; one whose weights are no longer writes nothing
STILL = 1e-6

#: how far the stream is moved, by the point that first holds it
Norms = Mapping[str, Float[Tensor, "row 1"]]


@dataclass(frozen=True)
class Control:
    """One of them; ``edits`` of a batch of places, given how far the subject's ablation moves the stream at each."""

    name: str
    edits: Callable[[Norms], list[Edit]]


def displaced(subject: Subject, moved: Float[Tensor, "row 1 k"]) -> Norms:
    """How far the stream is moved by a change of the subject's values."""
    return {point: written.norm(dim=-1) for point, written in subject.written(moved).items()}


def controls(ground: Ground, subject: Subject, rule: Rule, train: Readings, n: int = CONTROLS) -> tuple[Control, ...]:
    """Random others; of neurons fewer, or none, where the layer has no more."""
    generator = torch.Generator().manual_seed(ground.seed + 1)
    if subject.kind in ("head", "direction"):
        width = ground.model.shape.d_model
        vectors = unit_vectors(torch.randn(n, width, generator=generator))
        return tuple(_along(subject.writes, i, vector) for i, vector in enumerate(vectors))
    off = _means_where_fails(ground, _candidates(subject, generator), rule, train.games[:GAMES])
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
    return tuple(_writing(subject, nodes, torch.stack([off[node] for node in nodes])) for nodes in found)


def side_by_side(parts: list[list[Edit]]) -> list[Edit]:
    """Edits of one stream each as edits of one stream that make it several, side by side.

    Run with one variant: what comes before the first edit is then computed once for all of them.
    """
    hooks = dict.fromkeys(hook for part in parts for hook, _ in part)

    def edit(hook: str):
        def f(x: Tensor, point) -> Tensor:
            x = x.repeat(1, len(parts), *[1] * (x.ndim - 2)) if x.shape[1] == 1 else x
            for i, part in enumerate(parts):
                for name, change in part:
                    if name == hook:
                        one = x[:, i : i + 1].clone()
                        after = change(one, point)
                        x[:, i : i + 1] = one if after is None else after
            return x

        return f

    return [(hook, edit(hook)) for hook in hooks]


def _candidates(subject: Subject, generator: torch.Generator) -> tuple[Node, ...]:
    """Other neurons of its layers that write something, in random order."""
    model, found = subject.model, []
    for layer in sorted({node.layer for node in subject.nodes}):
        own = {node.index for node in subject.nodes if node.layer == layer}
        writes = (model.W_out(layer).norm(dim=-1) > STILL).tolist()
        order = torch.randperm(model.shape.d_mlp, generator=generator).tolist()
        found += [Node("neuron", layer, i) for i in order if i not in own and writes[i]]
    return tuple(found)


def _means_where_fails(
    ground: Ground, nodes: tuple[Node, ...], rule: Rule, games: Games
) -> dict[Node, Float[Tensor, ""]]:
    """Each neuron's mean where the rule fails, of those that are not the same everywhere."""
    if not nodes:
        return {}
    several = Subject("controls", "set", nodes, ground.model)
    readings = read(ground.model, several, games, ground.band, sample=ground.sample)
    values, fails = readings.values, ~readings.packed.holds(rule)
    fails = fails if fails.any() else torch.ones_like(fails)
    alive = (values.amax(0) - values.amin(0)) > STILL
    means = values[fails].mean(0)
    return {node: means[i] for i, node in enumerate(nodes) if alive[i]}


def _writing(subject: Subject, nodes: tuple[Node, ...], off: Float[Tensor, "k"]) -> Control:
    def edits(norms: Norms) -> list[Edit]:
        return [_towards(subject, layer, nodes, off, norms) for layer in dict.fromkeys(node.layer for node in nodes)]

    return Control(", ".join(map(str, nodes)), edits)


def _towards(subject: Subject, layer: int, nodes: tuple[Node, ...], off: Float[Tensor, "k"], norms: Norms) -> Edit:
    """Some neurons of a layer changed towards their means so that together they write as far as the subject's."""
    own = [i for i, node in enumerate(nodes) if node.layer == layer]
    index, rows = [nodes[i].index for i in own], subject.model.W_out(layer)
    norm = norms[f"blocks.{layer}.hook_resid_post"]

    def f(x: Tensor, _) -> Tensor:
        change = off[own].to(x) - x[..., index]
        # Only its direction counts; at the very mean, where it has none, up.
        change = (change / change.abs().amax(-1, keepdim=True)).nan_to_num(1.0)
        written = (change @ rows[index].to(x)).norm(dim=-1)
        x[..., index] += change * (norm.to(x) / written.clamp_min(1e-12))[..., None]
        return x

    return f"blocks.{layer}.mlp.hook_post", f


def _along(hook: str, i: int, vector: Float[Tensor, "d_model"]) -> Control:
    def edits(norms: Norms) -> list[Edit]:
        return [(hook, lambda x, _: x + norms[hook].to(x)[..., None] * vector.to(x))]

    return Control(f"random direction {i}", edits)
