"""One chunk of pairs under a mask of edges (the formula: `circuits.causes.masked_runs`).

Only what some kept edge takes up is computed. Receivers with the same incoming edges read the same stream, so each
different one is mixed, normalised and projected once. Changes that a sender writes are kept, so that a mask which
differs from the one before only at some receiver is computed from that receiver's place on.
"""

import torch
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor

from circuits.causes.edges import Graph, Mask
from circuits.causes.metrics import Metric
from circuits.causes.pair_runs import Chunk, Stream
from circuits.gpt import activation


class MaskedPass:
    """Runs of one chunk; ``change`` is what the first sender writes less its reference.

    ``unfed_moves``: under mean ablation a node that is fed nothing still writes other than its mean.
    """

    def __init__(self, graph: Graph, metric: Metric, chunk: Chunk, change: Stream, unfed_moves: bool):
        self.graph, self.metric, self.chunk, self.unfed_moves = graph, metric, chunk, unfed_moves
        self.change = change
        self.changes = torch.zeros(len(graph.senders), *change.shape, device=change.device)
        self.live: list[int] = []
        self.written = graph.written

    def run(self, mask: Mask, at: int = 0) -> Float[Tensor, "row"]:
        """The metric under a mask that differs from the one before only in what is read from a place on."""
        graph, chunk = self.graph, self.chunk
        self.live = [s for s in self.live if s and self.written[s] <= at]
        wanted = mask.any(0)
        if wanted[0]:
            self.changes[0] = self.change
            self.live.insert(0, 0)
        for place in range(max(at, graph.first), graph.place):
            (self._mlp if place % 2 else self._attention)(place, mask, wanted)
        fed, _, x = self._mixes(graph.place, [len(graph.receivers) - 1], mask)
        return chunk.value(x[0] if fed else chunk.base.stream[graph.place], self.metric)

    def _mixes(
        self, place: int, rows: list[int], mask: Mask
    ) -> tuple[list[int], list[int], Float[Tensor, "mix row ply d_model"]]:
        """What some receivers at one place read: which of ``rows`` are fed, which stream each reads, the streams."""
        base = self.chunk.base.stream[place]
        live = torch.zeros(len(self.written), dtype=torch.bool)
        live[self.live] = True
        kept = mask[rows] & live
        columns = kept.any(0).nonzero().flatten()
        if 2 * len(columns) > len(self.live):  # no copy of what most of them wrote
            columns = slice(0, self.live[-1] + 1)
        kept = kept[:, columns]
        numbers: dict[bytes, int] = {}
        fed, which, firsts = [], [], []
        for i, row in enumerate(kept.numpy()):
            if not (self.unfed_moves or row.any()):
                continue
            number = numbers.setdefault(row.tobytes(), len(numbers))
            if number == len(firsts):
                firsts.append(i)
            fed.append(i)
            which.append(number)
        weights = kept[firsts].to(base)
        return fed, which, base + (weights @ self.changes[columns].flatten(1)).unflatten(1, base.shape)

    def _attention(self, place: int, mask: Mask, wanted: Bool[Tensor, "sender"]) -> None:
        model, base, layer, graph = self.chunk.model, self.chunk.base, place // 2, self.graph
        heads = [i for i in range(model.shape.n_heads) if wanted[graph.columns[f"L{layer}H{i}"]]]
        parts = [("qkv".index(x), i) for x in "qkv" for i in range(len(heads))]
        rows = [graph.rows[f"L{layer}H{heads[i]}.{'qkv'[x]}"] for x, i in parts]
        fed, which, x = self._mixes(place, rows, mask)
        if not fed:
            return
        kinds, places = ([parts[i][axis] for i in fed] for axis in (0, 1))
        of = [heads[i] for i in places]
        W, b = (w.unflatten(-1, (3, model.shape.n_heads, -1)) for w in model._qkv[layer])
        n = self.chunk.normalised(place, x)
        if len(n) == 1:
            projected = (n[0] @ W[:, kinds, of].flatten(1)).unflatten(-1, (len(of), -1)).movedim(2, 0)
        else:
            projected = n[which].flatten(1, 2) @ W[:, kinds, of].movedim(0, 1)
            projected = projected.unflatten(1, x.shape[1:3])
        now = torch.stack([x[layer][:, :, heads] for x in (base.q, base.k, base.v)])
        now[kinds, :, :, places] = projected + b[kinds, of][:, None, None]
        moved = sorted(set(places))
        of = [heads[i] for i in moved]
        z = self.chunk.attended(layer, *now[:, :, :, moved], of) - base.z[layer][:, :, of]
        written = einsum(z, model.W_O(layer)[of], "row ply head d_head, head d_head d_model -> head row ply d_model")
        self._put([graph.columns[f"L{layer}H{i}"] for i in of], written)

    def _mlp(self, place: int, mask: Mask, wanted: Bool[Tensor, "sender"]) -> None:
        model, base, layer, graph = self.chunk.model, self.chunk.base, place // 2, self.graph
        opened = [node.index for node in graph.opened if node.layer == layer]
        names = [name for name in (*(f"L{layer}N{i}" for i in opened), f"L{layer} MLP") if wanted[graph.columns[name]]]
        fed, which, x = self._mixes(place, [graph.rows[name] for name in names], mask)
        if not fed:
            return
        n = self.chunk.normalised(place, x)
        act, W_in, b_in, W_out = activation(model.shape.act), model.W_in(layer), model.b_in(layer), model.W_out(layer)
        rest = names[fed[-1]] == f"L{layer} MLP"
        single = [int(names[i].partition("N")[2]) for i in fed[: len(fed) - rest]]
        if single:
            pattern = "neuron row ply d_model, d_model neuron -> row ply neuron"
            pre = einsum(n[which[: len(single)]], W_in[:, single], pattern) + b_in[single]
            post = act(pre) - base.post[layer][:, :, single]
            written = einsum(post, W_out[single], "row ply neuron, neuron d_model -> neuron row ply d_model")
            self._put([graph.columns[f"L{layer}N{i}"] for i in single], written)
        if rest:
            post = act(n[which[-1]] @ W_in + b_in) - base.post[layer]
            post[:, :, opened] = 0
            self._put([graph.columns[f"L{layer} MLP"]], (post @ W_out)[None])

    def _put(self, senders: list[int], changes: Float[Tensor, "sender row ply d_model"]) -> None:
        self.changes[senders] = changes
        self.live += senders
