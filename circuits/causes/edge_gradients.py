"""Gradients of a metric at every receiver of the clean run, or on the way from it to the corrupt one.

Each receiver reads the stream through a LayerNorm, n = (x − mean x) / s, so the gradient at *its own* input is

    (g − mean g − n mean(g n)) / s,   g the gradient at n that comes back from this receiver alone

while autograd alone would give the sum over all receivers. LayerNorm is recomputed everywhere. On the way: inputs
between the two runs' embeddings, clean + a (corrupt − clean); of a circuit that starts in the stream, between the
streams there (`circuits.causes.starts`). What lies before the start is left empty.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from circuits.causes.changes import Subspace
from circuits.causes.edges import Graph
from circuits.causes.metrics import Metric
from circuits.causes.pair_runs import Chunk, Run, Stream, chunks, scale
from circuits.causes.pairs import Pairs
from circuits.causes.places import place_of_point
from circuits.causes.starts import from_start, start_change, start_place
from circuits.errors import InputError
from circuits.gpt import activation
from circuits.plain import PlainModel


@dataclass(frozen=True, eq=False)
class Gradients:
    """Of the metric, summed over rows (so of each row's own); lists by layer, but ``stream`` and ``n`` by place.

    Attributes:
        q, k, v, pre, post: gradients at heads' and MLPs' parts [row, ply, ...]; target: at the stream that the metric
            reads.
        stream, n: the stream and what its LayerNorm made of it.
    """

    q: list[Tensor]
    k: list[Tensor]
    v: list[Tensor]
    pre: list[Tensor]
    post: list[Tensor]
    target: Stream
    stream: list[Tensor]
    n: list[Tensor]


def gradients(chunk: Chunk, stream: Stream, first: int, place: int, metric: Metric) -> Gradients:
    """A run from the stream at one place to the metric's, and its gradients."""
    model = chunk.model
    kept: dict[str, list[Tensor]] = {name: [] for name in ("q", "k", "v", "pre", "post", "stream", "n")}
    with torch.enable_grad():
        x = stream.requires_grad_()
        for at in range(first, place):
            layer, mlp = divmod(at, 2)
            n = chunk.normalised(at, x)
            kept["stream"].append(x.detach())
            kept["n"].append(n.detach())
            if mlp:
                pre = n @ model.W_in(layer) + model.b_in(layer)
                post = activation(model.shape.act)(pre)
                kept["pre"].append(pre)
                kept["post"].append(post)
                x = x + post @ model.W_out(layer) + model.b_out(layer)
                continue
            parts = chunk.projected(layer, n)
            for name, part in zip("qkv", parts, strict=True):
                kept[name].append(part)
            z = chunk.attended(layer, *parts)
            x = x + z.flatten(2) @ model.W_O(layer).flatten(0, 1) + model.b_O(layer)
        value = chunk.value(x, metric).sum()
        wanted = [*kept["q"], *kept["k"], *kept["v"], *kept["pre"], *kept["post"], x]
        found = list(torch.autograd.grad(value, wanted, allow_unused=True))
    # What the metric does not depend on (a window's later plies aside): no gradient.
    found = [torch.zeros_like(w) if g is None else g for g, w in zip(found, wanted, strict=True)]
    attn, mlps = len(kept["q"]), len(kept["pre"])
    q, k, v, pre, post, (target,) = _split(found, [attn, attn, attn, mlps, mlps, 1])
    no_attn, no_mlp = ([stream.new_empty(0)] * count for count in ((first + 1) // 2, first // 2))
    q, k, v, pre, post = (none + x for none, x in zip([no_attn] * 3 + [no_mlp] * 2, (q, k, v, pre, post), strict=True))
    before = [stream.new_empty(0)] * first
    return Gradients(q, k, v, pre, post, target, before + kept["stream"], before + kept["n"])


def at_inputs(chunk: Chunk, found: Gradients, graph: Graph) -> Iterator[tuple[list[int], Float[Tensor, "r row ply d"]]]:
    """Gradients at receivers' own inputs, place by place: (rows of a mask, gradients)."""
    model = chunk.model
    for place in range(graph.first, graph.place):
        layer, mlp = divmod(place, 2)
        if mlp:
            opened = [node.index for node in graph.opened if node.layer == layer]
            W, pre = model.W_in(layer), found.pre[layer]
            single = einsum(pre[:, :, opened], W[:, opened], "row ply neuron, d_model neuron -> neuron row ply d_model")
            rest = pre.clone()
            rest[:, :, opened] = 0
            back = torch.cat([single, (rest @ W.T)[None]])
            rows = [graph.rows[f"L{layer}N{i}"] for i in opened] + [graph.rows[f"L{layer} MLP"]]
        else:
            parts = ((found.q, model.W_Q(layer)), (found.k, model.W_K(layer)), (found.v, model.W_V(layer)))
            pattern = "row ply head d_head, head d_model d_head -> head row ply d_model"
            back = torch.cat([einsum(g[layer], W, pattern) for g, W in parts])
            rows = [graph.rows[f"L{layer}H{i}.{kind}"] for kind in "qkv" for i in range(model.shape.n_heads)]
        yield rows, through_norm(chunk, back, place, found)
    yield [len(graph.receivers) - 1], found.target[None]


def through_norm(chunk: Chunk, back: Tensor, place: int, found: Gradients) -> Tensor:
    """Gradients at what a LayerNorm gives, carried back to what it reads."""
    back = back - back.mean(-1, keepdim=True)
    n = found.n[place]
    return (back - n * (back * n).mean(-1, keepdim=True)) / scale(found.stream[place], chunk.model.shape.eps)


def changes(chunk: Chunk, run: Run, graph: Graph) -> Float[Tensor, "sender row ply d_model"]:
    """What every sender writes in another run less what it writes in the base run."""
    model, base = chunk.model, chunk.base
    rows = [run.stream[graph.first] - base.stream[graph.first]]
    for sender in graph.senders[1:]:
        change = run.written(model, sender) - base.written(model, sender)
        if sender.kind == "mlp":
            opened = [node.index for node in graph.opened if node.layer == sender.layer]
            post = (run.post[sender.layer] - base.post[sender.layer])[:, :, opened]
            change = change - post @ model.W_out(sender.layer)[opened]
        rows.append(change)
    return torch.stack(rows)


@torch.no_grad()
def on_the_way(
    model: PlainModel, pairs: Pairs, metric: Metric, steps: int, start: Subspace | None = None
) -> Iterator[tuple[Chunk, Run, Iterator[Gradients]]]:
    """Chunks based on the clean run, their corrupt runs, and the gradients at each step between the two.

    With a start, the base is the corrupt run whose coordinates on it are the clean run's.

    Raises:
        InputError: a metric without a useful gradient, no steps.
    """
    if not metric.differentiable:
        raise InputError(f"{metric.name} has no useful gradient: choose another metric, or patch exactly")
    if steps < 1:
        raise InputError(f"{steps} steps: at least 1 (the clean run's gradient) is needed")
    place = place_of_point(metric.point, model.shape)
    for chunk in chunks(model, pairs, place, base="clean" if start is None else "corrupt"):
        first = start_place(start, chunk)
        if start is None:
            run = chunk.run(pairs.corrupt[chunk.window.pair], place)
        else:
            run = chunk.base
            chunk = from_start(chunk, start_change(chunk, pairs.clean[chunk.window.pair], start), first)
        between = [0.0] if steps == 1 else [(step + 0.5) / steps for step in range(steps)]
        inputs = (torch.lerp(chunk.base.stream[first], run.stream[first], a) for a in between)
        yield chunk, run, (gradients(chunk, x, first, place, metric) for x in inputs)


def _split(items: list, sizes: list[int]) -> list[list]:
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [items[end - size : end] for size, end in zip(sizes, ends, strict=True)]
