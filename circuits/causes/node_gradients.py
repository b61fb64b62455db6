"""Gradients of a metric at every node of a site, times the difference between two runs, for some pairs at once.

A *site* is a kind of node in one layer: all its neurons, all its heads, the stream. Scores are (a' - a) . dm/da summed
over what belongs to one node, [node, ply, pair]; a from the run patched into, a' from the run patched from.
"""

from dataclasses import dataclass

import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor

from circuits.attribution import LOGITS
from circuits.causes.incremental import read_point
from circuits.causes.metrics import Metric
from circuits.causes.nodes import Node
from circuits.plain import PlainModel


@dataclass(frozen=True)
class Site:
    """A kind of node in one layer."""

    kind: str
    layer: int

    @property
    def hook(self) -> str:
        return Node(self.kind, self.layer, 0 if self.has_units else None).hook

    @property
    def has_units(self) -> bool:
        return self.kind in ("neuron", "head", "q", "k", "v", "pattern")

    def nodes(self, model: PlainModel) -> tuple[Node, ...]:
        if not self.has_units:
            return (Node(self.kind, self.layer),)
        count = model.shape.d_mlp if self.kind == "neuron" else model.shape.n_heads
        return tuple(Node(self.kind, self.layer, i) for i in range(count))

    def by_node(self, products: Tensor) -> Float[Tensor, "node ply pair"]:
        """Products of the shape of the site's hook, summed over what belongs to one node and ply."""
        if self.kind == "neuron":
            return rearrange(products, "pair ply node -> node ply pair")
        if self.kind == "pattern":
            return reduce(products, "pair node ply key -> node ply pair", "sum")
        if self.has_units:
            return reduce(products, "pair ply node d_head -> node ply pair", "sum")
        return reduce(products, "pair ply d_model -> 1 ply pair", "sum")


@dataclass(frozen=True, eq=False)
class Comparison:
    """Some pairs in one direction: the tokens of the run patched into and of the run patched from, up to the last ply
    that is read; ``read`` and ``pair`` say where, and which row of the set of pairs each is."""

    model: PlainModel
    base: Int[Tensor, "row ply"]
    source: Int[Tensor, "row ply"]
    read: Int[Tensor, "row"]
    pair: Int[Tensor, "row"]
    metric: Metric

    def first_order(self, sites: list[Site]) -> list[Float[Tensor, "node ply row"]]:
        """Scores of every site from one pass forwards and backwards of the base run."""
        hooks = [site.hook for site in sites]
        begin = ("hook_embed", lambda x, hook: x.requires_grad_())
        value, acts = self._run(self.base, hooks, [begin], gradients=True)
        gradients = torch.autograd.grad(value.sum(), [acts[hook] for hook in hooks])
        _, other = self._run(self.source, hooks)
        with torch.no_grad():
            scores = []
            for site, gradient in zip(sites, gradients, strict=True):
                scores.append(site.by_node((other[site.hook] - acts[site.hook]) * gradient))
        return scores

    def integrated(self, sites: list[Site], steps: int) -> list[Float[Tensor, "node ply row"]]:
        """Scores of every site from gradients along the line between the two runs, that site moved by itself."""
        hooks = [site.hook for site in sites]
        streams = [f"blocks.{layer}.hook_resid_pre" for layer in range(max(site.layer for site in sites) + 1)]
        _, acts = self._run(self.base, hooks + streams)
        _, other = self._run(self.source, hooks)
        scores = []
        for site in sites:
            difference = other[site.hook] - acts[site.hook]
            total = torch.zeros_like(difference)
            inside = site.kind != "embed"
            entering = acts[streams[site.layer]] if inside else self.base
            for step in range(steps):
                point = (acts[site.hook] + (step + 0.5) / steps * difference).requires_grad_()
                put = (site.hook, lambda x, hook, point=point: point)
                value, _ = self._run(entering, [], [put], gradients=True, start_at=site.layer if inside else None)
                total += torch.autograd.grad(value.sum(), point)[0]
            scores.append(site.by_node(difference * total / steps))
        return scores

    def _run(self, inputs, save, edit=(), gradients=False, start_at=None) -> tuple[Tensor, dict[str, Tensor]]:
        """The metric [row] and what was saved, running no block that neither needs."""
        block, middle = read_point(self.model, self.metric.point)
        rows = torch.arange(len(self.read))
        if self.metric.point == LOGITS:
            out, acts = self.model.run(inputs, save, edit, start_at, None, gradients)
            return self.metric(out[rows, self.read.to(out.device)], self.pair), acts
        layers = [int(name.split(".")[1]) + 1 for name in (*save, *(name for name, _ in edit)) if "." in name]
        stop_at = max([block + middle, *layers])
        # The stream after a block is the one that enters the next: read it behind every edit.
        point = f"blocks.{block}.hook_resid_{'mid' if middle else 'pre'}"
        inside = block < stop_at
        out, acts = self.model.run(inputs, [*save, point] if inside else save, edit, start_at, stop_at, gradients)
        stream = acts[point] if inside else out
        return self.metric(stream[rows, self.read.to(out.device)], self.pair), acts
