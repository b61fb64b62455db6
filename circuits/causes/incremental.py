"""Resuming a forward pass from a changed stream: only the layers and plies that a change can reach are computed.

A model of causal attention at ply t reads plies 0..t alone. If the stream entering block l changes at plies >= s, then

    blocks before l                     stay as they were: not run
    plies before s, in every block      stay as they were: their keys and values are read from a `Recording`
    the last block before the metric    is needed at the one ply where the metric is read

so the work of one patch falls from (layers x plies) to about (layers - l) x (plies - s). `resume` runs several
*variants* (different patches of the same transcripts) at once; they share the recorded keys and values.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int, Integer
from torch import Tensor

from circuits.attribution import LOGITS
from circuits.causes.nodes import HOOK
from circuits.errors import InputError
from circuits.gpt import activation
from circuits.othello_model import OthelloModel
from circuits.plain import PlainModel

Rows = slice | Int[Tensor, "row"]
#: positions whose MLP is computed at once
SLICE = 256


@dataclass(frozen=True, eq=False)
class Recording:
    """What one forward pass left behind, by layer; all of it [row, ply, ...] on the model's device.

    ``pre[l]`` is the stream entering block l, ``pre[n_layers]`` the one that leaves the last; ``z`` and ``post`` are
    empty where they were not asked for. Bytes: 4 x rows x plies x layers x (6 d_model, and d_mlp with ``post``).
    """

    tokens: Int[Tensor, "row ply"]
    pre: list[Float[Tensor, "row ply d_model"]]
    mid: list[Float[Tensor, "row ply d_model"]]
    q: list[Float[Tensor, "row ply head d_head"]]
    k: list[Float[Tensor, "row ply head d_head"]]
    v: list[Float[Tensor, "row ply head d_head"]]
    z: list[Float[Tensor, "row ply head d_head"]]
    post: list[Float[Tensor, "row ply neuron"]]


def record(
    model: PlainModel, tokens: Integer[Tensor, "row ply"], heads: bool = True, neurons: bool = False
) -> Recording:
    """Run transcripts once and keep what resuming and patching need."""
    n = model.shape.n_layers
    kinds = ("pre", "mid", "q", "k", "v", *(("head",) if heads else ()), *(("neuron",) if neurons else ()))
    field = {"head": "z", "neuron": "post"}
    names = {field.get(kind, kind): [f"blocks.{layer}.{HOOK[kind]}" for layer in range(n)] for kind in kinds}
    last = f"blocks.{n - 1}.hook_resid_post"
    _, acts = model.run(tokens, save=[last, *(name for group in names.values() for name in group)])
    kept = {kind: [acts[name] for name in group] for kind, group in names.items()}
    kept["pre"] = [*kept["pre"], acts[last]]
    return Recording(tokens.to(model.device), **{"z": [], "post": []} | kept)


def read_point(model: OthelloModel, point: str) -> tuple[int, bool]:
    """(block, middle) of a point: the stream entering that block, or the one in its middle; logits are past the last.

    Raises:
        InputError: no point of the residual stream.
    """
    n = model.shape.n_layers
    if point == LOGITS:
        return n, False
    for layer in range(n):
        places = {"pre": (layer, False), "mid": (layer, True), "post": (layer + 1, False)}
        for where, place in places.items():
            if point == f"blocks.{layer}.hook_resid_{where}":
                return place
    raise InputError(f"{point!r} is no point of the stream: 'blocks.L.hook_resid_pre', '_mid', '_post', or 'logits'")


def output(model: PlainModel, stream: Float[Tensor, "row d_model"], point: str) -> Float[Tensor, "row _"]:
    """What a metric at ``point`` reads: the stream itself, or its logits."""
    return normalised(stream, model.shape.eps) @ model.W_U + model.b_U if point == LOGITS else stream


def normalised(x: Float[Tensor, "*batch d_model"], eps: float) -> Float[Tensor, "*batch d_model"]:
    return F.layer_norm(x, x.shape[-1:], eps=eps)


def mlp(model: PlainModel, layer: int, mid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """The stream after a layer's MLP, from the one before it."""
    act = _gelu_new_in_place if model.shape.act == "gelu_new" else activation(model.shape.act)
    W_in, W_out = model.W_in(layer).T, model.W_out(layer).T
    flat = mid.reshape(-1, mid.shape[-1])
    after = torch.empty_like(flat)
    # In slices whose hidden layer stays in a core's cache.
    for x, out in zip(flat.split(SLICE), after.split(SLICE), strict=True):
        hidden = act(F.linear(normalised(x, model.shape.eps), W_in, model.b_in(layer)))
        torch.add(x, F.linear(hidden, W_out, model.b_out(layer)), out=out)
    return after.view(mid.shape)


def _gelu_new_in_place(x: Float[Tensor, "position neuron"]) -> Float[Tensor, "position neuron"]:
    """Tanh-GELU as x sigmoid(2u), in a few passes over what lies in the cache: torch's own takes twice as long."""
    twice = 2 * math.sqrt(2 / math.pi)
    gate = torch.mul(x, x).mul_(0.044715 * twice).add_(twice).mul_(x).sigmoid_()
    return x.mul_(gate)


def resume(
    model: PlainModel,
    entering: dict[int, Float[Tensor, "_ row ply d_model"]],
    start: int,
    base: Recording,
    rows: Rows,
    read: Int[Tensor, "row"],
    point: str,
) -> Float[Tensor, "variant row d_model"]:
    """The stream at ``point`` and ply ``read`` of each row, for streams that are changed from ply ``start`` on.

    Args:
        entering: by block, the changed streams that enter it, [variant, row, ply from ``start``, d_model]. Those of
            lower blocks are joined by those of higher ones on the way, so that one product serves them all.
        base: the pass that is resumed; its plies before ``start`` hold for every variant.
        rows: the rows of ``base`` that the streams' rows are; a slice is not copied.

    Returns:
        the variants in ascending order of their blocks.
    """
    stop, middle = read_point(model, point)
    at = (read - start).to(model.device)
    x, out = None, []
    for layer in range(min(entering), stop + 1):
        if layer in entering:
            x = entering[layer] if x is None else torch.cat([x, entering[layer]])
        if layer == stop and not middle:
            # Those that ran the last block are at the ply read already; the rest only enter here.
            break
        last = layer == stop if middle else layer == stop - 1
        past = (base.k[layer][rows, :start], base.v[layer][rows, :start]) if start else None
        x = attend(model, layer, x, past, at if last else None)
        if not (last and middle):
            x = mlp(model, layer, x)
        if last:
            out.append(x[:, :, 0])
            x = None
            if middle:
                break
    if x is not None:
        out.append(_pick(x, at))
    return torch.cat(out)


def _pick(x: Float[Tensor, "variant row ply _"], at: Int[Tensor, "row"]) -> Float[Tensor, "variant row _"]:
    return x[:, torch.arange(x.shape[1], device=x.device), at]


def attend(
    model: PlainModel,
    layer: int,
    x: Float[Tensor, "variant row ply d_model"],
    past: tuple[Tensor, Tensor] | None,
    at: Int[Tensor, "row"] | None,
) -> Float[Tensor, "variant row query d_model"]:
    """The stream in the middle of a block; queries at every ply of x, or (``at``, counted from x's first) one a row.

    ``past``: keys and values [row, ply, head, d_head] of the plies before x's.
    """
    s, variants, plies = model.shape, x.shape[0], x.shape[2]
    W, b = model._qkv[layer]
    n = normalised(x, s.eps)
    size = s.n_heads * s.d_head
    if at is None:
        q, k, v = F.linear(n, W.T, b).split(size, -1)
    else:  # one query a row: keys and values of all plies, a query where it is read
        k, v = F.linear(n, W[:, size:].T, b[size:]).split(size, -1)
        x, n = _pick(x, at)[:, :, None], _pick(n, at)[:, :, None]
        q = F.linear(n, W[:, :size].T, b[:size])
    q, k, v = (rearrange(t, "variant row ply (head d) -> variant row head ply d", head=s.n_heads) for t in (q, k, v))
    q = q * s.d_head**-0.5
    own = q @ k.mT
    if at is None:
        own = own + model._ahead[:plies, :plies]
    else:
        hidden = torch.arange(plies, device=x.device) > at[:, None]
        own = own.masked_fill(hidden[None, :, None, None], float("-inf"))
    if past is None:
        z = own.softmax(-1) @ v
    else:
        # Variants share the past: beside the queries' plies, so that nothing recorded is copied for each of them.
        old_k, old_v = (rearrange(t, "row ply head d -> row head ply d") for t in past)
        side_by_side = rearrange(q, "variant row head ply d -> row head (variant ply) d")
        old = rearrange(
            side_by_side @ old_k.mT, "row head (variant ply) past -> variant row head ply past", variant=variants
        )
        pattern = torch.cat([old, own], -1).softmax(-1)
        old, own = pattern.split([old.shape[-1], plies], -1)
        from_past = rearrange(old, "variant row head ply past -> row head (variant ply) past") @ old_v
        z = own @ v + rearrange(from_past, "row head (variant ply) d -> variant row head ply d", variant=variants)
    z = rearrange(z, "variant row head ply d -> variant row ply (head d)")
    return x + F.linear(z, model.W_O(layer).flatten(0, 1).T, model.b_O(layer))
