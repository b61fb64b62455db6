"""Which heads and neurons move a receiver: the direct path of every sender before it, all at once.

A receiver reads the stream through a LayerNorm and a vector r: a neuron's input weights, a logit's column of the
unembedding, a direction of the checkpoint (without LayerNorm). At the pair's ply

    frozen      effect of s = d_s . r / scale_base,    d_s = write_other(s) − write_base(s)
    recomputed  effect of s = r . LN(x_base + d_s) − r . LN(x_base)

Frozen effects of all senders add up to the receiver's own change with its LayerNorm frozen (`Senders.sum`).
Recomputed ones are exact path patching of each sender alone, in closed form: LN(x + a w) needs x . w, |w|² and r . w
only, so that all neurons take two matrix products a layer. Where r comes from

    neuron      its input weights: effects on its pre-activation
    q, k, v     W u with u the unit vector, pair by pair, along which the head's q (k, v) in fact changes at that ply:
                effects are the part of that change
    a metric    its gradient at the base run's output: exact for logits, logit differences and coordinates, first
                order for probabilities and readings

What is not counted: paths through other nodes; senders at earlier plies, which only attention can bring.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from circuits import plain
from circuits.attribution import LOGITS
from circuits.causes.effects import Summary, summarise
from circuits.causes.metrics import Metric
from circuits.causes.nodes import Node, check_node, head, neuron
from circuits.causes.pair_runs import DIRECTIONS, Chunk, Run, check_choice, chunks
from circuits.causes.pairs import Pairs
from circuits.causes.path_patching import check_mixing
from circuits.causes.places import place_of_point, read_at
from circuits.errors import InputError
from circuits.othello_model import OthelloModel
from circuits.plain import PlainModel


@dataclass(frozen=True, eq=False)
class Senders:
    """Direct effects of every sender on one receiver, at each pair's ply.

    Attributes:
        receiver: its name and what is measured.
        nodes: embed, then layer by layer its heads and neurons, as far as they write before the receiver reads.
        frozen, recomputed: [sender, pair], effects with the receiver's LayerNorm frozen at the base run's scale, and
            recomputed for each sender alone.
        baseline, total: [pair], the receiver in the base run, and its change between the runs (as the model computes
            it: with LayerNorm recomputed).
        sum: [pair], its change with its LayerNorm frozen, computed without the senders: what ``frozen`` adds up to.
        direction: which run is the base.
        game: [pair].
    """

    receiver: str
    nodes: tuple[Node, ...]
    frozen: Float[Tensor, "sender pair"]
    recomputed: Float[Tensor, "sender pair"]
    baseline: Float[Tensor, "pair"]
    total: Float[Tensor, "pair"]
    sum: Float[Tensor, "pair"]
    direction: str
    game: Int[Tensor, "pair"]

    @cached_property
    def summary(self) -> Summary:
        """Of the recomputed effects of all senders; about a second for 8,000 of them."""
        return summarise(self.recomputed, self.game)

    def top(self, count: int = 10, kind: str | None = None) -> list[int]:
        """The senders of the largest mean effect either way (recomputed), by row; of one kind, where given."""
        size = self.recomputed.mean(1).abs()
        if kind is not None:
            size[torch.tensor([node.kind != kind for node in self.nodes])] = -1
        return [row for row in size.argsort(descending=True)[:count].tolist() if size[row] >= 0]

    def __getitem__(self, node: Node | str) -> Float[Tensor, "pair"]:
        """The recomputed effects of one sender.

        Raises:
            InputError: it is none of them.
        """
        names = {str(n): row for row, n in enumerate(self.nodes)}
        if str(node) not in names:
            raise InputError(f"{node} is no sender into {self.receiver}: those are embed, and heads and neurons before")
        return self.recomputed[names[str(node)]]

    def __repr__(self) -> str:
        means = self.recomputed.mean(1)
        listed = ", ".join(f"{self.nodes[row]} {float(means[row]):+.3f}" for row in self.top(5))
        return f"Senders({self.receiver}, {len(self.game)} pairs, {self.direction}: {listed}, …)"


def senders_into(
    model: OthelloModel,
    pairs: Pairs,
    receiver: Node | str | Metric,
    *,
    direction: str = "clean → corrupt",
) -> Senders:
    """Direct effects on a neuron's pre-activation, a head's q, k or v, or a metric.

    Memory: senders × pairs floats, twice (13 MB for 200 pairs into the last layer of the bundled model).

    Raises:
        InputError: no such receiver in this model; a metric without a gradient.
    """
    check_choice(direction, DIRECTIONS, "direction")
    model = plain.of(model)
    target = receiver if isinstance(receiver, Metric) else check_node(receiver, model.shape)
    if isinstance(target, Metric):
        if not target.differentiable:
            raise InputError(f"{target.name} has no useful gradient, so nothing can be read into it: choose another")
        place, name, through_norm = place_of_point(target.point, model.shape), target.name, target.point == LOGITS
    else:
        if target.kind not in ("neuron", "q", "k", "v"):
            raise InputError(f"{target} reads many things at once: name a neuron, or a head's .q, .k or .v")
        check_mixing(model, target)
        what = "pre-activation" if target.kind == "neuron" else f"change in its {target.kind}"
        place, name, through_norm = read_at(target), f"{target} {what}", True
    nodes = senders_before(model, place)
    base, other = ("corrupt", "clean") if direction == DIRECTIONS[0] else ("clean", "corrupt")
    frozen, recomputed = (torch.empty(len(nodes), len(pairs)) for _ in range(2))
    baseline, total, whole = (torch.empty(len(pairs)) for _ in range(3))
    for chunk in _chunks(model, pairs, place, base):
        rows = chunk.window.pair
        with torch.no_grad():
            run = chunk.run(getattr(pairs, other)[rows], place)
            x, y = (chunk.window.last(r.stream[place]) for r in (chunk.base, run))
        read, constant = _read(chunk, target, x, y)
        with torch.no_grad():
            reading = Reading(x, read, model.shape.eps if through_norm else None)
            baseline[rows] = (reading.now + constant).cpu()
            total[rows] = (Reading(y, read, reading.eps).now - reading.now).cpu()
            whole[rows] = reading.frozen(einsum(y - x, reading.read, "row d_model, row d_model -> row")).cpu()
            at = 0
            for linear, exact in sender_effects(chunk, run, reading, place):
                frozen[at : at + len(linear), rows] = linear.cpu()
                recomputed[at : at + len(linear), rows] = exact.cpu()
                at += len(linear)
    return Senders(name, nodes, frozen, recomputed, baseline, total, whole, direction, pairs.game)


def senders_before(model: OthelloModel, place: int) -> tuple[Node, ...]:
    """embed, heads and neurons that write before a place, in the order of `Senders.nodes`."""
    nodes = [Node("embed")]
    for at in range(place):
        layer, mlp = divmod(at, 2)
        count = model.shape.d_mlp if mlp else model.shape.n_heads
        nodes += [(neuron if mlp else head)(layer, i) for i in range(count)]
    return tuple(nodes)


class Reading:
    """A linear reading of the stream [row, d_model], through a LayerNorm unless ``eps`` is None."""

    def __init__(self, x: Tensor, read: Float[Tensor, "row d_model"], eps: float | None):
        self.eps = eps
        self.read = read if eps is None else read - read.mean(-1, keepdim=True)
        self.x = x if eps is None else x - x.mean(-1, keepdim=True)
        self.raw = (self.x * self.read).sum(-1)
        self.square = self.x.pow(2).mean(-1)

    @property
    def now(self) -> Float[Tensor, "row"]:
        return self.raw if self.eps is None else self.raw / (self.square + self.eps).sqrt()

    def frozen(self, change: Float[Tensor, "*sender row"]) -> Float[Tensor, "*sender row"]:
        """The effect of changes given as their product with what is read."""
        return change if self.eps is None else change / (self.square + self.eps).sqrt()

    def exact(self, change: Tensor, overlap: Tensor, norm: Tensor) -> Float[Tensor, "sender row"]:
        """The same with the LayerNorm recomputed: also from d . x and |d|², d centred, both by d_model."""
        if self.eps is None:
            return change
        scale = (self.square + 2 * overlap + norm + self.eps).sqrt()
        return (self.raw + change) / scale - self.now


def sender_effects(chunk: Chunk, run: Run, reading: Reading, place: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(frozen, recomputed) effects [sender, row] of embed, then of each layer part's heads or neurons."""
    model, last, d = chunk.model, chunk.window.last, chunk.model.shape.d_model

    def of(written: Float[Tensor, "sender row d_model"]) -> tuple[Tensor, Tensor]:
        written = written if reading.eps is None else written - written.mean(-1, keepdim=True)
        change = einsum(written, reading.read, "sender row d_model, row d_model -> sender row")
        overlap = einsum(written, reading.x, "sender row d_model, row d_model -> sender row") / d
        return reading.frozen(change), reading.exact(change, overlap, written.pow(2).mean(-1))

    yield of(last(run.embed - chunk.base.embed)[None])
    for at in range(place):
        layer, mlp = divmod(at, 2)
        if not mlp:
            z = last(run.z[layer] - chunk.base.z[layer])
            yield of(einsum(z, model.W_O(layer), "row head d_head, head d_head d_model -> head row d_model"))
            continue
        W = model.W_out(layer)
        W = W if reading.eps is None else W - W.mean(-1, keepdim=True)
        post = last(run.post[layer] - chunk.base.post[layer]).T
        change, overlap = post * (W @ reading.read.T), post * (W @ reading.x.T) / d
        yield reading.frozen(change), reading.exact(change, overlap, post.pow(2) * W.pow(2).mean(-1)[:, None])


def _read(chunk: Chunk, target: Node | Metric, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The vector r [row, d_model] of each row, and what the receiver is beside r . LN(x)."""
    model = chunk.model
    if isinstance(target, Metric):
        rows = chunk.window.pair
        with torch.enable_grad():
            output = x.detach()
            if target.point == LOGITS:
                n = F.layer_norm(output, output.shape[-1:], eps=model.shape.eps)
                output = n @ model.W_U + model.b_U
            output = output.detach().requires_grad_()
            value = target(output, rows)
            (slope,) = torch.autograd.grad(value.sum(), output)
        rest = value.detach() - (slope * output.detach()).sum(-1)
        if target.point != LOGITS:
            return slope, rest
        return slope @ model.W_U.T, rest + slope @ model.b_U
    if target.kind == "neuron":
        r = model.W_in(target.layer)[:, target.index].expand(len(x), -1)
        return r, model.b_in(target.layer)[target.index].expand(len(x))
    W, b = (model.weight(f"blocks.{target.layer}.attn.{x}_{target.kind.upper()}")[target.index] for x in "Wb")
    with torch.no_grad():
        before, after = (chunk.normalised(read_at(target), s) @ W for s in (x, y))
        u = F.normalize(after - before, dim=-1)
    return u @ W.T, u @ b


@torch.no_grad()
def _chunks(model: PlainModel, pairs: Pairs, place: int, base: Literal["clean", "corrupt"]) -> Iterator[Chunk]:
    yield from chunks(model, pairs, place, base=base)
