"""For every neuron the earlier neurons that raise and that lower it most, through the residual stream.

    effect = sd(sender) (W_out[sender] . W_in[receiver]) / mean scale of the receiver's ln2

the change of the receiver's pre-activation for one standard deviation of the sender's activation, everything between
them held and the LayerNorm's scale at its mean. ``z`` is the effect over the root mean square of the effects of all
earlier neurons on this receiver: what an arbitrary one has.
"""

import numpy as np
import pyarrow as pa
import torch

from circuits.atlas.results import Results
from circuits.atlas.squares_table import deviation
from circuits.atlas.table_columns import Column, Words, empty, table
from circuits.notation import Unit

#: senders listed for each receiver and sign
MOST = 8

COLUMNS = (
    Column("sender", "text", "a neuron of an earlier layer"),
    Column("receiver", "text", "the neuron that it raises or lowers"),
    Column("effect", "number", "change of the receiver's pre-activation for one sd of the sender's activation, direct, "
                               "the LayerNorm's scale held at its mean"),
    Column("cosine", "number", "of the sender's output weight and the receiver's input weight"),
    Column("rank", "whole", f"among the senders of this sign, 1 is the strongest, at most {MOST}"),
    Column("sign", "whole", "1 where the sender raises the receiver, -1 where it lowers it"),
    Column("z", "number", "effect over the root mean square effect of all neurons of earlier layers on this receiver"),
)  # fmt: skip


def edges_table(results: Results, about: dict) -> pa.Table:
    """Rows by receiver, raising before lowering, strongest first; none for the first layer, and none of no effect."""
    model, mining = results.model, results.streamed.mining
    scales = results.streamed.ln2_scale().double()
    written = [_columns(model.W_out(layer).T) for layer in range(model.shape.n_layers)]
    sd = [torch.from_numpy(deviation(mining, layer)) for layer in range(model.shape.n_layers)]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("sender", "receiver", "effect", "cosine", "rank", "z")}
    receivers: list[str] = []
    for layer in results.layers:
        chosen = results.neurons(layer)
        if not layer or not chosen:
            continue
        first = len(receivers)
        receivers += [str(Unit(layer, "neuron", index)) for index in chosen]
        read, read_norm = _columns(model.W_in(layer))
        # Of the whole layer, whichever are wanted: another shape of product would round otherwise.
        product = (read.T @ torch.cat([w for w, _ in written[:layer]], 1))[chosen]  # receiver, sender
        effect = product * torch.cat(sd[:layer]) / scales[layer]
        norms = read_norm[chosen, None] * torch.cat([n for _, n in written[:layer]])
        typical = effect.square().mean(1).sqrt()
        k = min(MOST, effect.shape[1])
        order = torch.cat([effect.topk(k, 1, largest=largest).indices for largest in (True, False)], 1)
        strongest = effect.gather(1, order)
        keep = strongest * torch.tensor([1.0, -1.0]).repeat_interleave(k) > 0
        rows = torch.arange(len(chosen))[:, None].expand_as(order)
        found = {
            "sender": order, "receiver": rows + first, "effect": strongest,
            "cosine": product.gather(1, order) / norms.gather(1, order).clamp_min(1e-24),
            "rank": torch.arange(1, k + 1).repeat(2).expand_as(order),
            "z": strongest / typical[:, None],
        }  # fmt: skip
        for name, values in found.items():
            parts[name].append(values[keep].numpy())
    if not receivers:
        return empty(COLUMNS, about)
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    every = [str(Unit(i, "neuron", n)) for i in range(model.shape.n_layers) for n in range(model.shape.d_mlp)]
    return table(
        COLUMNS,
        {
            "sender": Words(every, joined["sender"]), "receiver": Words(receivers, joined["receiver"]),
            "effect": joined["effect"], "cosine": joined["cosine"], "rank": joined["rank"].astype(np.int32),
            "sign": np.sign(joined["effect"]).astype(np.int32), "z": joined["z"],
        },
        about,
    )  # fmt: skip


def _columns(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight's columns in float64 and their norms."""
    weight = weight.double().cpu()
    return weight, weight.norm(dim=0)
