"""Circuits that start in the checkpoint: what a subspace of the stream, patched at a point, sets going.

The run that such a circuit explains is the corrupt one whose coordinates on the subspace are the clean run's, at every
ply. Everything before the point stays corrupt; the subspace takes the embedding's place as the first sender, and writes

    P (x_clean - x_corrupt)      P the projection onto the subspace
"""

from dataclasses import replace

from jaxtyping import Integer
from torch import Tensor

from circuits.causes.changes import Subspace
from circuits.causes.pair_runs import Chunk, Run, Stream, scale
from circuits.causes.places import place_of_point


def start_place(start: Subspace | None, chunk: Chunk) -> int:
    return 0 if start is None else place_of_point(start.point, chunk.model.shape)


def start_change(chunk: Chunk, clean: Integer[Tensor, "row _"], start: Subspace | None) -> Stream:
    """What the first sender writes in a chunk based on the corrupt run: the embeddings' difference, or the subspace's.

    Args:
        clean: the clean transcripts of the chunk's pairs, all plies.
    """
    if start is None:
        return chunk.model.W_E[chunk.window.of(clean).long()] - chunk.base.embed
    place = start_place(start, chunk)
    basis = start.basis.to(chunk.base.stream[place])
    difference = chunk.recomputed.run(clean, place).stream[place] - chunk.base.stream[place]
    return difference @ basis.T @ basis


def from_start(chunk: Chunk, change: Stream, place: int) -> Chunk:
    """The same chunk, based on the run in which the stream at a place is changed; what lies before stays."""
    base, to = chunk.base, len(chunk.base.stream) - 1
    attn, mlps = (place + 1) // 2, place // 2
    kept = {name: getattr(base, name)[: mlps if name == "post" else attn] for name in ("q", "k", "v", "z", "post")}
    run = Run(base.embed, base.stream[:place], *(list(kept[name]) for name in ("q", "k", "v", "z", "post")))
    x = base.stream[place] + change
    for at in range(place, to):
        run.stream.append(x)
        x = chunk.step(at, x, run)
    run.stream.append(x)
    scales = None if chunk.scales is None else [scale(x, chunk.model.shape.eps) for x in run.stream]
    return replace(chunk, base=run, scales=scales)


def on_means(chunk: Chunk, means: Run, start: Subspace) -> Chunk:
    """A chunk based on the corrupt run up to the start, and on means by ply of everything written after it.

    Args:
        means: as `masked_runs.means`, as many plies as the chunk's windows or more.
    """
    place, window, model = start_place(start, chunk), chunk.window, chunk.model

    def cut(x: Tensor) -> Tensor:
        return x[:, : window.width].expand(len(window.pair), *(-1 for _ in x.shape[1:]))

    corrupt, layers = chunk.base.stream[place], len(means.z)
    # Before the start nothing is read.
    shift = [corrupt - cut(means.stream[place]) if i >= place else 0 for i in range(len(means.stream))]
    stream = [cut(x) + more for x, more in zip(means.stream, shift, strict=True)]
    q, k, v = [], [], []
    for layer in range(layers):
        if 2 * layer < place:  # nothing of these layers is read
            parts = tuple(cut(x[layer]) for x in (means.q, means.k, means.v))
        else:
            parts = chunk.projected(layer, chunk.recomputed.normalised(2 * layer, stream[2 * layer]))
        for kept, part in zip((q, k, v), parts, strict=True):
            kept.append(part)
    run = Run(chunk.base.embed, stream, q, k, v, [cut(x) for x in means.z], [cut(x) for x in means.post])
    scales = None if chunk.scales is None else [scale(x, model.shape.eps) for x in stream]
    return replace(chunk, base=run, past=[], scales=scales)
