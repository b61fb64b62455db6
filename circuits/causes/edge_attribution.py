"""Edge attribution patching: what removing each edge would do, predicted from gradients.

    score(s → r) = (write_corrupt(s) − write_clean(s)) . gradient at r's own input,    summed over plies

predicts the metric with this edge alone carrying the corrupt run less the clean metric: path patching
``"corrupt → clean"``, or `MaskedRuns.removals` of one edge. With one step the gradient is the clean run's (Syed, Rager,
Conmy 2023, arXiv 2310.10348); with more it is the mean over inputs on the way to the corrupt embedding, at
a = (step − 1/2) / steps (EAP-IG: Hanna, Pezzelle, Belinkov 2024, arXiv 2403.17806). For insertion into the corrupt run
give ``pairs.swapped()``.

Every result carries its agreement with exact removals on a sample drawn for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits import plain
from circuits.causes.agreement import Agreement, agreement, drawn
from circuits.causes.changes import Subspace
from circuits.causes.edge_gradients import at_inputs, changes, on_the_way
from circuits.causes.edges import Graph, graph
from circuits.causes.masked_runs import MaskedRuns
from circuits.causes.metrics import Metric
from circuits.causes.nodes import Node, neuron
from circuits.causes.pair_runs import on_rows, scale
from circuits.causes.pairs import Pairs
from circuits.causes.path_patching import path_effects
from circuits.causes.places import place_of_point
from circuits.causes.starts import start_place
from circuits.errors import InputError
from circuits.othello_model import OthelloModel

#: points on the way at which gradients are taken
STEPS = 5
HOW = "edges (half the largest scores, half at random), means over {} pairs"


@dataclass(frozen=True, eq=False)
class EdgeScores:
    """Predicted effects of removing every edge of a graph.

    Attributes:
        graph: the edges.
        by_pair: [receiver, sender, pair]; 0 where there is no edge.
        agreement: with exact removals.
        steps, metric: as asked for.
    """

    graph: Graph
    by_pair: Float[Tensor, "receiver sender pair"]
    agreement: Agreement
    steps: int
    metric: str

    @property
    def scores(self) -> Float[Tensor, "receiver sender"]:
        """Means over pairs."""
        return self.by_pair.mean(-1)

    def top(self, count: int = 20) -> list[tuple[str, str, float]]:
        """(sender, receiver, score) of the largest scores either way."""
        scores, g = self.scores, self.graph
        order = scores.abs().flatten().argsort(descending=True)[: min(count, int(g.allowed.sum()))]
        places = [divmod(i, len(g.senders)) for i in order.tolist()]
        return [(str(g.senders[s]), str(g.receivers[r]), float(scores[r, s])) for r, s in places]

    def __repr__(self) -> str:
        listed = ", ".join(f"{s} → {r} {score:+.3f}" for s, r, score in self.top(5))
        return f"EdgeScores({int(self.graph.allowed.sum())} edges: {listed}, …; {self.agreement})"


def edge_attribution(
    model: OthelloModel,
    pairs: Pairs,
    metric: Metric,
    *,
    opened: Sequence[Node | str] = (),
    steps: int = STEPS,
    sample: int = 40,
    sample_pairs: int = 32,
    start: Subspace | None = None,
    seed: int = 0,
) -> EdgeScores:
    """Scores of all edges of the graph of heads, MLPs and opened neurons.

    Args:
        steps: 1 for the clean run's gradient, more for the mean on the way to the corrupt run.
        sample, sample_pairs: how many edges are removed exactly, on how many of the pairs.
        start: begin there and not with the embedding (`circuits.causes.starts`).

    Raises:
        InputError: a metric without a gradient; a sample too small to correlate; as `circuits.causes.edges.graph`.
    """
    model = plain.of(model)
    g = graph(model.shape, metric.point, opened, start and start.node)
    scores = torch.zeros(len(g.receivers), len(g.senders), len(pairs))
    for chunk, run, points in on_the_way(model, pairs, metric, steps, start):
        change = changes(chunk, run, g).transpose(0, 1).flatten(2)
        for found in points:
            for rows, gradient in at_inputs(chunk, found, g):
                product = gradient.transpose(0, 1).flatten(2) @ change.mT / steps
                scores[torch.tensor(rows)[:, None], :, chunk.window.pair] += product.transpose(0, 1).cpu()
    scores *= g.allowed[:, :, None]
    edges, few = g.allowed.nonzero(), spread(len(pairs), sample_pairs)
    chosen = edges[drawn(scores.mean(-1)[g.allowed], sample, seed)]
    runs = MaskedRuns(model, pairs[few], on_rows(metric, few), g, start=start)
    exact = runs.removals(g.allowed, [tuple(edge) for edge in chosen.tolist()]).mean(-1)
    predicted = scores[chosen[:, 0], chosen[:, 1]][:, few].mean(-1)
    return EdgeScores(g, scores, agreement(predicted, exact, HOW.format(len(few))), steps, metric.name)


def neuron_scores(
    model: OthelloModel, pairs: Pairs, metric: Metric, *, steps: int = STEPS, start: Subspace | None = None
) -> Float[Tensor, "layer neuron"]:
    """Predicted effect, over pairs, of every neuron carrying the corrupt run: (post_corrupt − post_clean) gradient.

    Only layers that write before the metric's point; those before a start have 0.
    """
    model = plain.of(model)
    layers = place_of_point(metric.point, model.shape) // 2
    scores = torch.zeros(layers, model.shape.d_mlp)
    for chunk, run, points in on_the_way(model, pairs, metric, steps, start):
        for found in points:
            for layer in range(start_place(start, chunk) // 2, layers):
                change = run.post[layer] - chunk.base.post[layer]
                scores[layer] += (change * found.post[layer]).sum((0, 1)).cpu() / steps
    return scores / len(pairs)


@dataclass(frozen=True, eq=False)
class NeuronEdges:
    """The neuron → neuron edges of the largest predicted effect of removing them, largest first.

    Attributes:
        edges: (sender, receiver).
        scores: [edge], means over pairs.
        searched: how many edges there were.
        agreement: with exact path patching.
    """

    edges: tuple[tuple[Node, Node], ...]
    scores: Float[Tensor, "edge"]
    searched: int
    agreement: Agreement

    def __repr__(self) -> str:
        pairs = zip(self.edges[:5], self.scores.tolist(), strict=False)
        listed = ", ".join(f"{a} → {b} {score:+.4f}" for (a, b), score in pairs)
        return f"NeuronEdges({len(self.edges)} of {self.searched:,}: {listed}, …; {self.agreement})"


def neuron_edges(
    model: OthelloModel,
    pairs: Pairs,
    metric: Metric,
    *,
    keep: int = 1000,
    steps: int = 1,
    sample: int = 40,
    seed: int = 0,
) -> NeuronEdges:
    """Scores of all edges between single neurons of different layers; those of the largest size.

    With n and s of the receiver's LayerNorm at each position, d_i what sender i's activation changes by and g_j the
    gradient at receiver j's pre-activation,

        score_ij = sum over positions of d_i g_j / s (w_i . r_j − (w_i . n)(r_j . n) / d_model)

    which is two matrix products for each two layers; memory is one float an edge (117 MB for the bundled model).

    Raises:
        InputError: as `edge_attribution`; fewer than two layers before the metric's point.
    """
    model = plain.of(model)
    layers, d, size = place_of_point(metric.point, model.shape) // 2, model.shape.d_model, model.shape.d_mlp
    if layers < 2:
        raise InputError(f"{metric.name} is measured at {metric.point}: no two layers of neurons lie before it")
    couples = [(i, j) for j in range(layers) for i in range(j)]
    totals = {couple: torch.zeros(size, size, device=model.device) for couple in couples}
    with torch.no_grad():
        for chunk, run, points in on_the_way(model, pairs, metric, steps):
            change = [(run.post[i] - chunk.base.post[i]).flatten(0, 1) for i in range(layers)]
            for found in points:
                for j in range(1, layers):
                    n, x = (v[2 * j + 1].flatten(0, 1) for v in (found.n, found.stream))
                    slope = found.pre[j].flatten(0, 1) / scale(x, model.shape.eps)
                    bent = slope * (n @ model.W_in(j)) / d
                    for i in range(j):
                        W = model.W_out(i)
                        product = (W @ (model.W_in(j) - model.W_in(j).mean(0))) * (change[i].T @ slope)
                        totals[i, j] += product - (change[i] * (n @ W.T)).T @ bent
    flat = torch.stack([totals[couple].flatten() for couple in couples]).flatten().cpu() / (steps * len(pairs))

    def named(place: int) -> tuple[Node, Node]:
        couple, inside = divmod(place, size * size)
        (i, j), (a, b) = couples[couple], divmod(inside, size)
        return neuron(i, a), neuron(j, b)

    best = flat.abs().topk(min(keep, len(flat))).indices
    # Half of the sample from the largest scores, half from all edges.
    generator = torch.Generator().manual_seed(seed)
    anywhere = torch.randint(len(flat), (sample // 2,), generator=generator)
    chosen = torch.cat([best[: sample - sample // 2], anywhere])
    exact = path_effects(model, pairs, [named(p) for p in chosen.tolist()], metric, direction="corrupt → clean")
    how = HOW.format(len(pairs))
    edges = tuple(named(place) for place in best.tolist())
    return NeuronEdges(edges, flat[best], len(flat), agreement(flat[chosen], exact.mean(-1), how))


def spread(count: int, most: int) -> Int[Tensor, "row"]:
    """At most ``most`` rows of ``count``, evenly spread."""
    return torch.linspace(0, count - 1, min(count, most)).round().long()
