"""Clean and corrupt runs of pairs, computed only where they can differ: the ground of all work on edges.

The stream is numbered by places (`circuits.causes.places`): 2l enters the attention of layer l, 2l + 1 its MLP.

A pair's transcripts agree before its first difference, so each row has a *window* of plies that ends at the ply asked
about; keys and values of the plies before come from the base run, which alone is computed in full. Rows are taken in
chunks of at most `ROWS` pairs and `POSITIONS` positions in windows, pairs of like windows together, so that memory
does not grow with the number of pairs: about 1 MB a row of keys and values in the bundled model, and 50 kB a position.

LayerNorm is *recomputed* on every input that is read, or *frozen*: each one keeps the scale that it has in the base
run, at every place and ply (the mean is still subtracted), so that everything but attention patterns and activation
functions is linear in what is written.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Integer
from torch import Tensor

from circuits.attribution import LOGITS
from circuits.causes.metrics import Metric
from circuits.causes.nodes import Node
from circuits.causes.pairs import Pairs
from circuits.errors import InputError
from circuits.gpt import activation
from circuits.plain import PlainModel

LAYER_NORMS = ("recomputed", "frozen")
DIRECTIONS = ("clean → corrupt", "corrupt → clean")
#: the most pairs, and positions in their windows, that are computed at once
ROWS, POSITIONS = 128, 1024

Stream = Float[Tensor, "row ply d_model"]


@dataclass(frozen=True, eq=False)
class Window:
    """The plies computed of some pairs: ``width`` of them from ``start`` on, of which ``end`` is asked about.

    Attributes:
        pair: [row], rows of the set of pairs.
        start: [row], the first ply in the window; before it both transcripts agree.
        end: [row], where in the window the pair's ply lies.
    """

    pair: Int[Tensor, "row"]
    start: Int[Tensor, "row"]
    end: Int[Tensor, "row"]
    width: int

    @property
    def plies(self) -> Int[Tensor, "row width"]:
        return self.start[:, None] + torch.arange(self.width)

    def of(self, x: Tensor) -> Tensor:
        """The window of something over all plies [row, ply, ...]."""
        return x[torch.arange(len(self.pair))[:, None], self.plies]

    def last(self, x: Tensor) -> Tensor:
        """The ply asked about, of something in the window [row, width, ...]."""
        return x[torch.arange(len(self.pair)), self.end]


def windows(pairs: Pairs, whole: bool = False) -> Iterator[Window]:
    """Chunks of the pairs with like windows; every ply from the first on where ``whole``."""
    ply = pairs.ply.cpu()
    length = (ply if whole else ply - pairs.first.cpu()) + 1
    order = (length * 64 + ply).argsort(stable=True)
    at = 0
    while at < len(order):
        rows = [int(order[at])]
        for row in order[at + 1 : at + ROWS].tolist():
            if (len(rows) + 1) * int(length[row]) > POSITIONS:
                break
            rows.append(row)
        at += len(rows)
        chosen = torch.tensor(rows)
        width = int(length[chosen].max())
        start = (ply[chosen] - width + 1).clamp_min(0)
        yield Window(chosen, start, ply[chosen] - start, width)


@dataclass(frozen=True, eq=False)
class Run:
    """What one run computed in its window; lists are by layer, but ``stream``, which is by place."""

    embed: Stream
    stream: list[Stream]
    q: list[Float[Tensor, "row ply head d_head"]]
    k: list[Float[Tensor, "row ply head d_head"]]
    v: list[Float[Tensor, "row ply head d_head"]]
    z: list[Float[Tensor, "row ply head d_head"]]
    post: list[Float[Tensor, "row ply neuron"]]

    def written(self, model: PlainModel, node: Node) -> Stream:
        """What a node writes to the stream, biases left out."""
        layer = node.layer
        if node.kind == "embed":
            return self.embed
        if node.kind == "head":
            return self.z[layer][:, :, node.index] @ model.W_O(layer)[node.index]
        if node.kind == "attn":
            return self.z[layer].flatten(2) @ model.W_O(layer).flatten(0, 1)
        if node.kind == "neuron":
            return self.post[layer][:, :, node.index, None] * model.W_out(layer)[node.index]
        return self.post[layer] @ model.W_out(layer)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some pairs, their base run, and the means to compute others that differ from it in the window only.

    Attributes:
        past: by layer, the base run's keys and values at all plies, [row, head, ply, d_head] each; empty where the
            windows start at ply 0.
        scales: by place, LayerNorm's scales in the base run where they are frozen.
    """

    model: PlainModel
    window: Window
    base: Run
    past: list[tuple[Tensor, Tensor]]
    scales: list[Tensor] | None

    @property
    def recomputed(self) -> "Chunk":
        """The same with no LayerNorm frozen."""
        return replace(self, scales=None)

    def normalised(self, place: int, x: Float[Tensor, "*batch ply d_model"]) -> Float[Tensor, "*batch ply d_model"]:
        """The stream through the LayerNorm that reads it at a place."""
        if self.scales is None:
            return F.layer_norm(x, x.shape[-1:], eps=self.model.shape.eps)
        return (x - x.mean(-1, keepdim=True)) / self.scales[place]

    def projected(self, layer: int, n: Stream) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of every head."""
        W, b = self.model._qkv[layer]
        return F.linear(n, W.T, b).unflatten(-1, (3, self.model.shape.n_heads, self.model.shape.d_head)).unbind(2)

    def attended(self, layer: int, q: Tensor, k: Tensor, v: Tensor, heads: list[int] | None = None) -> Tensor:
        """z [row, ply, head, d_head] of heads (all, or those that q, k and v are of)."""
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        q = q * self.model.shape.d_head**-0.5
        width = q.shape[2]
        ahead = torch.full((width, width), float("-inf"), device=q.device).triu(1)
        scores = q @ k.mT + ahead
        if not self.past:
            return (scores.softmax(-1) @ v).transpose(1, 2)
        before_k, before_v = self.past[layer] if heads is None else (x[:, heads] for x in self.past[layer])
        before = q @ before_k.mT
        later = torch.arange(before.shape[-1]) >= self.window.start[:, None]
        before = before.masked_fill(later[:, None, None].to(before.device), float("-inf"))
        pattern = torch.cat([before, scores], -1).softmax(-1)
        T = before.shape[-1]
        return (pattern[..., :T] @ before_v + pattern[..., T:] @ v).transpose(1, 2)

    def step(self, place: int, x: Stream, keep: Run | None = None) -> Stream:
        """The stream at the next place; ``keep`` takes what was computed."""
        layer, mlp = divmod(place, 2)
        n = self.normalised(place, x)
        if mlp:
            pre = F.linear(n, self.model.W_in(layer).T, self.model.b_in(layer))
            post = activation(self.model.shape.act)(pre)
            if keep is not None:
                keep.post.append(post)
            return x + F.linear(post, self.model.W_out(layer).T, self.model.b_out(layer))
        q, k, v = self.projected(layer, n)
        z = self.attended(layer, q, k, v)
        if keep is not None:
            for kept, now in zip((keep.q, keep.k, keep.v, keep.z), (q, k, v, z), strict=True):
                kept.append(now)
        return x + F.linear(z.flatten(2), self.model.W_O(layer).flatten(0, 1).T, self.model.b_O(layer))

    def carried(self, x: Stream, place: int, to: int) -> Stream:
        """The stream at a later place, everything in between computed freely."""
        for at in range(place, to):
            x = self.step(at, x)
        return x

    def run(self, tokens: Integer[Tensor, "row ply"], to: int) -> Run:
        """Another run of the chunk up to a place: of tokens [row, all plies]."""
        embed = self.model.W_E[self.window.of(tokens).long()]
        run = Run(embed, [], [], [], [], [], [])
        x = embed + self.model.W_pos[self.window.plies]
        for place in range(to):
            run.stream.append(x)
            x = self.step(place, x, run)
        run.stream.append(x)
        return run

    def value(self, x: Stream, metric: Metric) -> Float[Tensor, "row"]:
        """The metric from the stream at its place."""
        return self.value_at_end(self.window.last(x), metric)

    def value_at_end(self, x: Float[Tensor, "row d_model"], metric: Metric) -> Float[Tensor, "row"]:
        """The metric from the stream at its place, at the ply asked about."""
        if metric.point != LOGITS:
            return metric(x, self.window.pair)
        n = F.layer_norm(x, x.shape[-1:], eps=self.model.shape.eps)
        if self.scales is not None:
            n = (x - x.mean(-1, keepdim=True)) / self.window.last(self.scales[-1])
        return metric(n @ self.model.W_U + self.model.b_U, self.window.pair)


def chunks(
    model: PlainModel,
    pairs: Pairs,
    to: int,
    *,
    base: Literal["clean", "corrupt"],
    layer_norm: str = "recomputed",
    whole: bool = False,
) -> Iterator[Chunk]:
    """Chunks of pairs with their base run up to a place; compute without gradients unless they are wanted."""
    for window in windows(pairs, whole):
        yield chunk(model, getattr(pairs, base), window, to, layer_norm)


def chunk(model: PlainModel, tokens: Integer[Tensor, "pair ply"], window: Window, to: int, layer_norm: str) -> Chunk:
    """A window's base run, of the tokens [pair, ply] given."""
    plies = int((window.start + window.end).max()) + 1
    rows = window.pair
    everything = Window(rows, torch.zeros_like(rows), window.start + window.end, max(plies, window.width))
    full = Chunk(model, everything, _nothing(), [], None)
    tokens = tokens[rows].to(model.device)
    narrow = bool((window.start > 0).any())
    embed = model.W_E[everything.of(tokens).long()]
    x = embed + model.W_pos[everything.plies]
    base = Run(window.of(embed), [window.of(x)], [], [], [], [], [])
    past = []
    for place in range(to):
        kept = _nothing()
        x = full.step(place, x, kept)
        base.stream.append(window.of(x))
        for name in ("q", "k", "v", "z", "post"):
            getattr(base, name).extend(window.of(value) for value in getattr(kept, name))
        if kept.k and narrow:
            past.append((kept.k[0].transpose(1, 2).contiguous(), kept.v[0].transpose(1, 2).contiguous()))
    scales = [scale(x, model.shape.eps) for x in base.stream] if layer_norm == "frozen" else None
    return Chunk(model, window, base, past, scales)


def _nothing() -> Run:
    return Run(torch.empty(0, 0, 0), [], [], [], [], [], [])


def scale(x: Float[Tensor, "*batch d_model"], eps: float) -> Float[Tensor, "*batch 1"]:
    """What LayerNorm divides by."""
    return (x.var(-1, keepdim=True, unbiased=False) + eps).sqrt()


def on_rows(metric: Metric, rows: Int[Tensor, "row"]) -> Metric:
    """A metric of a set of pairs, for the part of it ``pairs[rows]``."""
    own = None if metric.pairs is None else len(rows)
    return replace(metric, of=lambda output, pair: metric.of(output, rows[pair.cpu()]), pairs=own)


def check_choice(value: str, choices: tuple[str, ...], what: str) -> None:
    """Raise InputError where an option is none of its choices."""
    if value not in choices:
        raise InputError(f"{what} {value!r}: it is one of {', '.join(choices)}")
