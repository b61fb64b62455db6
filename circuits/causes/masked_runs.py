"""The forward pass of a graph of which a mask keeps some edges.

    x_r = reference_r + sum over kept edges s → r of (now_s − reference_s)

is what receiver r reads; now_s is what sender s writes in this very pass, and the tokens are the clean ones. The
reference, which every edge that is not kept carries instead, is

    resample   the pair's own corrupt run
    mean       the mean over reference games of everything written, by ply

so that all edges kept give the clean run, and none kept the corrupt run, or the metric of the mean streams. LayerNorm
is recomputed on each receiver's own input, or frozen at the scale of the reference's stream at its place; frozen, all
edges kept no longer give the clean run, and `MaskedRuns.top` says what they give.

Memory: the reference of every pair is kept (about 5 MB a pair of 59 differing plies in the bundled model, 1 MB of one)
and what the senders write in one chunk of pairs.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from circuits.causes.changes import Subspace
from circuits.causes.edges import Graph, Mask
from circuits.causes.masked_pass import MaskedPass
from circuits.causes.metrics import Metric
from circuits.causes.pair_runs import LAYER_NORMS, Chunk, Run, Window, check_choice, chunk, chunks, scale, windows
from circuits.causes.pairs import Pairs
from circuits.causes.places import read_at
from circuits.causes.starts import on_means, start_change
from circuits.errors import InputError
from circuits.plain import PlainModel

ABLATIONS = ("resample", "mean")
#: games run at once for their means
_GAMES = 32


@torch.no_grad()
def means(model: PlainModel, tokens: Integer[Tensor, "game ply"], place: int) -> Run:
    """The mean over games of all that is written up to a place, by ply, as one row; plies after a game's end are out.

    q, k and v are those of the mean stream, since that is what an unfed receiver reads.

    Raises:
        InputError: at some ply no game is left.
    """
    tokens = tokens[:, : model.shape.n_ctx].to(model.device)
    count = (tokens != 0).sum(0).double()
    if not (count > 0).all():
        raise InputError(f"no reference game reaches ply {int((count == 0).nonzero()[0])}: give longer ones, or more")
    sums: list[Tensor] = []
    for part in tokens.split(_GAMES):
        rows = torch.arange(len(part))
        everything = Window(rows, torch.zeros_like(rows), torch.full_like(rows, part.shape[1] - 1), part.shape[1])
        run = chunk(model, part, everything, place, "recomputed").base
        weight = (part != 0)[:, :, None].double()
        now = [run.embed, *run.stream, *(z.flatten(2) for z in run.z), *run.post]
        total = [(x * weight).sum(0, keepdim=True) / count[:, None] for x in now]
        sums = [a + b for a, b in zip(sums, total, strict=True)] if sums else total
    ready = [x.float() for x in sums]
    embed, stream, rest = ready[0], ready[1 : place + 2], ready[place + 2 :]
    layers = (place + 1) // 2
    z = [x.unflatten(-1, (model.shape.n_heads, model.shape.d_head)) for x in rest[:layers]]
    q, k, v = [], [], []
    for layer in range(layers):
        x = stream[2 * layer]
        W, b = model._qkv[layer]
        parts = F.linear(F.layer_norm(x, x.shape[-1:], eps=model.shape.eps), W.T, b)
        for kept, now in zip((q, k, v), parts.unflatten(-1, (3, *z[0].shape[2:])).unbind(2), strict=True):
            kept.append(now)
    return Run(embed, stream, q, k, v, z, rest[layers:])


class MaskedRuns:
    """Pairs made ready to be run under one mask after another; call it with a mask for the metric [pair].

    Attributes:
        graph, metric, ablation, layer_norm: as given.
        top, floor: [pair], the metric with every edge kept, and with none.
    """

    def __init__(
        self,
        model: PlainModel,
        pairs: Pairs,
        metric: Metric,
        graph: Graph,
        *,
        ablation: str = "resample",
        reference: Run | None = None,
        layer_norm: str = "recomputed",
        start: Subspace | None = None,
    ):
        """Args:
            start: of a graph that begins in the stream (`circuits.causes.starts`).
            reference: for mean ablation, what `means` gives up to the graph's place.

        Raises:
            InputError: no such ablation or LayerNorm treatment; mean ablation without its means; a mean of fewer
                plies than the pairs have.
        """
        check_choice(ablation, ABLATIONS, "ablation")
        check_choice(layer_norm, LAYER_NORMS, "layer_norm")
        self.model, self.metric, self.graph = model, metric, graph
        self.ablation, self.layer_norm, self.pairs = ablation, layer_norm, len(pairs)
        if (start and start.node) != graph.start:
            raise InputError(f"the graph starts at {graph.start or 'embed'}, the runs at {start or 'embed'}")
        if ablation == "resample":
            with torch.no_grad():
                self.parts = list(chunks(model, pairs, graph.place, base="corrupt", layer_norm=layer_norm))
        else:
            if reference is None:
                raise InputError("mean ablation needs the means of reference games: give `reference`")
            if int(pairs.ply.max()) >= reference.embed.shape[1]:
                raise InputError(
                    f"the reference games have {reference.embed.shape[1]} plies; a pair asks about ply "
                    f"{int(pairs.ply.max())}: give longer games"
                )
            if start is None:
                self.parts = [self._mean_part(window, reference) for window in windows(pairs, whole=True)]
            else:
                with torch.no_grad():
                    corrupt = chunks(model, pairs, graph.first, base="corrupt", layer_norm=layer_norm, whole=True)
                    both = [(part, on_means(part, reference, start)) for part in corrupt]
                self.parts = [part for _, part in both]
        with torch.no_grad():
            # The change is of the corrupt run, whatever stands in for what is not kept.
            based = self.parts if start is None or ablation == "resample" else [part for part, _ in both]
            self.changes = [start_change(part, pairs.clean[part.window.pair], start) for part in based]

    def _mean_part(self, window: Window, reference: Run) -> Chunk:
        def cut(x: Tensor) -> Tensor:
            return x[:, : window.width].expand(len(window.pair), *(-1 for _ in x.shape[1:]))

        names = ("stream", "q", "k", "v", "z", "post")
        run = Run(cut(reference.embed), *([cut(x) for x in getattr(reference, name)] for name in names))
        frozen = self.layer_norm == "frozen"
        scales = [scale(x, self.model.shape.eps) for x in run.stream] if frozen else None
        return Chunk(self.model, window, run, [], scales)

    @cached_property
    def top(self) -> Float[Tensor, "pair"]:
        return self(self.graph.allowed)

    @cached_property
    def floor(self) -> Float[Tensor, "pair"]:
        return self(torch.zeros_like(self.graph.allowed))

    @torch.no_grad()
    def __call__(self, mask: Mask) -> Float[Tensor, "pair"]:
        """The metric [pair] where only the edges of a mask are kept."""
        out = torch.zeros(self.pairs)
        for one in self.passes():
            out[one.chunk.window.pair] = one.run(mask).cpu()
        return out

    def passes(self) -> Iterator[MaskedPass]:
        """Each chunk of pairs, ready to be run."""
        for part, change in zip(self.parts, self.changes, strict=True):
            yield MaskedPass(self.graph, self.metric, part, change, self.ablation == "mean")

    @torch.no_grad()
    def removals(self, mask: Mask, edges: Sequence[tuple[int, int]]) -> Float[Tensor, "edge pair"]:
        """The metric less that under the mask, when each of some edges (row, column of the mask) alone is removed.

        Where everything is kept this is path patching of one edge, ``"corrupt → clean"``.
        """
        out = torch.zeros(len(edges), self.pairs)
        # Latest receivers first, so that what was computed before a place is still that of the whole mask.
        order = sorted(range(len(edges)), key=lambda i: -edges[i][0])
        for one in self.passes():
            rows = one.chunk.window.pair
            whole = one.run(mask)
            for i in order:
                without = mask.clone()
                without[edges[i]] = False
                out[i, rows] = (one.run(without, self.place_of(edges[i][0])) - whole).cpu()
        return out

    def place_of(self, row: int) -> int:
        """The place at which a receiver reads."""
        node = self.graph.receivers[row]
        return self.graph.place if isinstance(node, str) else read_at(node)
