"""For every neuron the earlier neurons that raise and that lower it most, and the heads that move it most.

    effect = sd(sender) (W_out[sender] . W_in[receiver]) / mean scale of the receiver's ln2

the change of the receiver's pre-activation for one standard deviation of the sender's activation, everything between
them held and the LayerNorm's scale at its mean. ``z`` is the effect over the root mean square of the effects of all
earlier neurons on this receiver: what an arbitrary one has.

A head writes in many directions, so what it does to a neuron has a size and no sign: with z' the head's output less its
ply's mean, on held-out games,

    effect = root mean square of z' W_O . W_in[receiver] / mean scale of the receiver's ln2

at the position it writes to; ``z`` over the root mean square of all heads'. Those of the receiver's own layer are among
them, for the MLP reads what they wrote.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from circuits.atlas.results import Results
from circuits.atlas.squares_table import deviation
from circuits.atlas.table_columns import Column, Words, empty, table
from circuits.notation import Unit
from circuits.plain import PlainModel

#: senders listed for each receiver: neurons of each sign, and heads
MOST, MOST_HEADS = 8, 4

COLUMNS = (
    Column("sender", "text", "a neuron of an earlier layer, or a head of an earlier layer or the same"),
    Column("receiver", "text", "the neuron that it raises or lowers"),
    Column("effect", "number", "change of the receiver's pre-activation for one sd of the sender's activation, direct, "
                               "the LayerNorm's scale held at its mean; of a head, the root mean square of "
                               "what it adds to the pre-activation, means of the ply taken out, held-out games"),
    Column("cosine", "number", "of the sender's output weight and the receiver's input weight; null for heads"),
    Column("rank", "whole", f"among the senders of this sign, 1 is the strongest, at most {MOST}; {MOST_HEADS} heads"),
    Column("sign", "whole", "1 where the sender raises the receiver, -1 where it lowers it, 0: a head, either way"),
    Column("z", "number", "effect over the root mean square effect of all neurons of earlier layers on this receiver; "
                          "of a head, of all heads before it"),
)  # fmt: skip


def edges_table(results: Results, about: dict) -> pa.Table:
    """Rows by receiver: neurons that raise it, that lower it, then heads, strongest first; none of no effect."""
    model, mining = results.model, results.streamed.mining
    layers, per_layer = model.shape.n_layers, model.shape.d_mlp
    scales = results.streamed.ln2_scale().double()
    written = [_columns(model.W_out(layer).T) for layer in range(layers)]
    sd = [torch.from_numpy(deviation(mining, layer)) for layer in range(layers)]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("sender", "receiver", "effect", "cosine", "rank", "z")}
    receivers: list[str] = []
    signs: list[np.ndarray] = []
    for layer in results.layers:
        chosen = results.neurons(layer)
        if not chosen:
            continue
        found = []
        if layer:
            found.append(_neurons(model, layer, chosen, written, sd, float(scales[layer])))
        if results.profiles is not None:
            found.append(_heads(model, layer, chosen, results.profiles.writing.moments, float(scales[layer])))
        joined = {name: torch.cat([own[name] for own in found], 1) for name in found[0]} if found else {}
        first = len(receivers)
        receivers += [str(Unit(layer, "neuron", index)) for index in chosen]
        if not found:
            continue
        keep = joined["effect"] != 0
        joined["receiver"] = torch.arange(first, len(receivers))[:, None].expand_as(keep)
        for name in parts:
            parts[name].append(joined[name][keep].numpy())
        heads = joined["sender"] >= layers * per_layer
        signs.append(torch.where(heads, 0, joined["effect"].sign())[keep].numpy())
    if not parts["sender"]:
        return empty(COLUMNS, about)
    whole = {name: np.concatenate(values) for name, values in parts.items()}
    every = [str(Unit(i, "neuron", n)) for i in range(layers) for n in range(per_layer)]
    every += [str(Unit(i, "head", n)) for i in range(layers) for n in range(model.shape.n_heads)]
    return table(
        COLUMNS,
        {
            "sender": Words(every, whole["sender"]), "receiver": Words(receivers, whole["receiver"]),
            "effect": whole["effect"], "cosine": whole["cosine"], "rank": whole["rank"].astype(np.int32),
            "sign": np.concatenate(signs).astype(np.int32), "z": whole["z"],
        },
        about,
    )  # fmt: skip


def _neurons(
    model: PlainModel, layer: int, chosen: Sequence[int], written: Sequence[tuple[Tensor, Tensor]],
    sd: Sequence[Tensor], scale: float,
) -> dict[str, Tensor]:  # fmt: skip
    """The strongest neurons before some of a layer, by column [receiver, place]: raising, then lowering."""
    read, read_norm = _columns(model.W_in(layer))
    # Of the whole layer, whichever are wanted: another shape of product would round otherwise.
    product = (read.T @ torch.cat([w for w, _ in written[:layer]], 1))[chosen]  # receiver, sender
    effect = product * torch.cat(list(sd[:layer])) / scale
    norms = read_norm[chosen, None] * torch.cat([n for _, n in written[:layer]])
    typical = effect.square().mean(1).sqrt()
    k = min(MOST, effect.shape[1])
    order = torch.cat([effect.topk(k, 1, largest=largest).indices for largest in (True, False)], 1)
    strongest = effect.gather(1, order)
    # Where fewer raise it than are listed, the next ones lower it, and have their place among those.
    strongest = strongest * (strongest * torch.tensor([1.0, -1.0]).repeat_interleave(k) > 0)
    return {
        "sender": order, "effect": strongest,
        "cosine": product.gather(1, order) / norms.gather(1, order).clamp_min(1e-24),
        "rank": torch.arange(1, k + 1).repeat(2).expand_as(order), "z": strongest / typical[:, None],
    }  # fmt: skip


def _heads(
    model: PlainModel, layer: int, chosen: Sequence[int], moments: Float[Tensor, "layer head d_head d_head"],
    scale: float,
) -> dict[str, Tensor]:  # fmt: skip
    """The heads that move some neurons of a layer most, likewise."""
    read, shape = model.W_in(layer).double().cpu(), model.shape
    along = [model.W_O(i).double().cpu() @ read for i in range(layer + 1)]  # each head, d_head, receiver
    variance = torch.cat([
        torch.einsum("hkn,hkj,hjn->nh", own, moments[i].double(), own) for i, own in enumerate(along)
    ], 1)[chosen]  # fmt: skip
    effect = variance.clamp_min(0).sqrt() / scale
    k = min(MOST_HEADS, effect.shape[1])
    strongest, order = effect.topk(k, 1)
    return {
        "sender": order + shape.n_layers * shape.d_mlp, "effect": strongest,
        "cosine": torch.full_like(strongest, torch.nan), "rank": torch.arange(1, k + 1).expand_as(order),
        "z": strongest / effect.square().mean(1, keepdim=True).sqrt(),
    }  # fmt: skip


def _columns(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight's columns in float64 and their norms."""
    weight = weight.double().cpu()
    return weight, weight.norm(dim=0)
