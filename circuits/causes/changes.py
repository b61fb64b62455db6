"""What putting another run's activation at a node changes: the residual stream, from some ply on.

Every patch ends in one of two places, and from there `circuits.causes.incremental` resumes:

    pre l, mlp l-1, neuron l-1, post l-1, embed      the stream entering block l
    mid l, attn l, head l, and its q, k, v, pattern  the stream in the middle of block l

A head's output adds (z' - z) W_O; queries and patterns change z at their own ply, keys and values at every later one
too. A `Subspace` of the stream changes it by the difference's projection onto it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from circuits.causes.incremental import Recording, Rows, read_point
from circuits.causes.nodes import HOOK, STREAM, Node, check_node
from circuits.directions import Directions
from circuits.errors import InputError
from circuits.othello_model import OthelloModel
from circuits.plain import PlainModel


@dataclass(frozen=True, eq=False)
class Subspace:
    """A subspace of the residual stream at a point: the span of some directions, patched as one place.

    Attributes:
        name: for tables, e.g. ``"C4 mine at L4 post"``.
        point: a residual hook.
        basis: [dimension, d_model], orthonormal rows.
    """

    name: str
    point: str
    basis: Float[Tensor, "dimension d_model"]

    @staticmethod
    def of(directions: Directions, names: Sequence[str] | None = None, name: str | None = None) -> "Subspace":
        """The span of some directions of a set (all by default), at the set's own point.

        Raises:
            InputError: no such direction.
        """
        chosen = directions.names if names is None else tuple(names)
        vectors = torch.stack([directions[n] for n in chosen])
        _, layer, hook = directions.hook.split(".")
        label = name or (", ".join(chosen) if len(chosen) <= 6 else f"{len(chosen)} directions")
        return Subspace(f"{label} at L{layer} {hook.rpartition('_')[2]}", directions.hook, orthonormal(vectors))

    def __str__(self) -> str:
        return self.name

    @property
    def node(self) -> Node:
        """The whole stream at the same point."""
        _, layer, hook = self.point.split(".")
        return Node(hook.rpartition("_")[2], int(layer))

    @property
    def complement(self) -> "Subspace":
        """Everything at that point but this subspace (the mean over d_model, which is always 0, left out)."""
        d = self.basis.shape[1]
        ones = torch.ones(1, d, dtype=torch.float64, device=self.basis.device) / d**0.5
        kept = torch.cat([ones, self.basis.double()])
        _, values, vectors = torch.linalg.svd(torch.eye(d, dtype=torch.float64, device=kept.device) - kept.T @ kept)
        return Subspace(f"all but {self.name}", self.point, vectors[values > 0.5].float())


def orthonormal(vectors: Float[Tensor, "vector d_model"]) -> Float[Tensor, "dimension d_model"]:
    """An orthonormal basis of the span of some vectors, as rows."""
    _, values, rows = torch.linalg.svd(vectors.double(), full_matrices=False)
    return rows[values > 1e-5 * values[0]].float()


Place = Node | Subspace


def places(model: OthelloModel, what: Sequence[str | Place], layers: Sequence[int] | None = None) -> tuple[Place, ...]:
    """Places from kinds (``"attn"``: every layer's; ``"head"``: every head), names (``"L3 MLP"``) or objects.

    Raises:
        InputError: no such kind, name, layer or unit; none at all; a place given twice.
    """
    shape, found = model.shape, []
    layers = range(shape.n_layers) if layers is None else layers
    for item in [what] if isinstance(what, str | Node | Subspace) else what:
        if isinstance(item, Subspace):
            read_point(model, item.point)
            found.append(item)
        elif item == "embed" or item not in HOOK:
            found.append(check_node(item, shape))
        elif item in ("pre", "mid", "post", "attn", "mlp"):
            found += [check_node(Node(item, layer), shape) for layer in layers]
        else:
            count = shape.d_mlp if item == "neuron" else shape.n_heads
            found += [check_node(Node(item, layer, i), shape) for layer in layers for i in range(count)]
    if not found:
        raise InputError("nothing to patch: give at least one place, such as 'attn' or 'L2H5'")
    twice = [name for name, n in Counter(map(str, found)).items() if n > 1]
    if twice:
        raise InputError(f"{twice[0]} was given twice")
    return tuple(found)


def lands(place: Place, model: PlainModel) -> tuple[int, bool]:
    """Where a place's change enters the stream: (block, middle), as `incremental.read_point` counts."""
    node = place.node if isinstance(place, Subspace) else place
    if node.kind == "embed":
        return 0, False
    if node.kind in ("mid", "attn", "head", "q", "k", "v", "pattern"):
        return node.layer, True
    return (node.layer if node.kind == "pre" else node.layer + 1), False


def check_reach(place: Place, point: str, model: PlainModel) -> None:
    """Refuse a place from which nothing reaches the point.

    Raises:
        InputError: it comes after the point where the metric is read.
    """
    if lands(place, model) > read_point(model, point):
        raise InputError(f"{place} cannot reach a metric read at {point}: it is written later; read at a later point")


def change(
    model: PlainModel,
    places: Sequence[Place],
    base: Recording,
    source: Recording,
    rows: Rows,
    plies: slice,
) -> Float[Tensor, "place row ply d_model"]:
    """How the stream changes where the places land, if at ``plies`` they get the source's activation.

    All places must be of one layer and kind (all `Subspace` s of one point). The change is at ``plies``; for keys and
    values, at every ply from ``plies.start`` on.
    """
    first = places[0]
    if isinstance(first, Subspace):
        node = first.node
        difference = _stream(source, node)[rows, plies] - _stream(base, node)[rows, plies]
        return torch.stack(
            [
                einsum(difference, p.basis.to(difference), p.basis.to(difference), "row ply d, k d, k e -> row ply e")
                for p in places
            ]
        )
    layer, kind = first.layer, first.kind
    if kind in (*STREAM, "embed"):
        return (_stream(source, first)[rows, plies] - _stream(base, first)[rows, plies])[None]
    if kind in ("attn", "mlp"):
        parts = [_written(run, kind, layer)[rows, plies] for run in (source, base)]
        return (parts[0] - parts[1])[None]
    index = torch.tensor([place.index for place in places], device=base.pre[0].device)
    if kind == "neuron":
        difference = source.post[layer][rows, plies][..., index] - base.post[layer][rows, plies][..., index]
        return einsum(difference, model.W_out(layer)[index], "row ply neuron, neuron d -> neuron row ply d")
    if kind == "head":
        difference = (source.z[layer][rows, plies] - base.z[layer][rows, plies])[:, :, index]
    else:
        difference = _head_change(model, kind, layer, index, base, source, rows, plies)
    return einsum(difference, model.W_O(layer)[index], "row ply head d_head, head d_head d -> head row ply d")


def _stream(run: Recording, node: Node) -> Float[Tensor, "row ply d_model"]:
    if node.kind == "mid":
        return run.mid[node.layer]
    return run.pre[node.layer + (node.kind == "post")]


def _written(run: Recording, kind: str, layer: int) -> Float[Tensor, "row ply d_model"]:
    before, after = (run.pre[layer], run.mid[layer]) if kind == "attn" else (run.mid[layer], run.pre[layer + 1])
    return after - before


def _head_change(model, kind, layer, index, base, source, rows, plies) -> Float[Tensor, "row ply head d_head"]:
    """The change of z of some heads when their q, k, v or pattern at ``plies`` is the source's."""
    start, end = plies.start, base.pre[0].shape[1] if kind in ("k", "v") else plies.stop

    def attention(q, k):
        scores = einsum(q, k, "row query head d, row key head d -> row head query key") * model.shape.d_head**-0.5
        return (scores + model._ahead[start:end, : k.shape[1]]).softmax(-1)

    def heads(run, name, until):
        return getattr(run, name)[layer][rows, :until][:, :, index]

    mine = {name: heads(base, name, end) for name in "qkv"}
    theirs = {name: heads(source, name, end) for name in "qkv"}
    pattern = attention(mine["q"][:, start:], mine["k"])
    value = mine["v"]
    if kind == "pattern":
        new, new_value = attention(theirs["q"][:, start:], theirs["k"]), value
    else:
        mixed = dict(mine)
        mixed[kind] = mine[kind].clone()
        mixed[kind][:, plies] = theirs[kind][:, plies]
        new = pattern if kind == "v" else attention(mixed["q"][:, start:], mixed["k"])
        new_value = mixed["v"]

    def gathered(weights: Tensor, v: Tensor) -> Tensor:
        return einsum(weights, v, "row head query key, row key head d -> row query head d")

    return gathered(new, new_value) - gathered(pattern, value)
