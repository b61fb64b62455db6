"""What a head does on average at each ply, learnt on training games: the ground from which its behaviour is measured.

    pattern    mean attention by query ply and key ply
    z          mean output by ply
    mid        mean stream at resid_mid by ply;   final: mean of the last stream over its LayerNorm's scale, by ply
    value      mean value vector of the sources where a square was just played, less the mean value of their plies:
               what attending to such a source moves, beyond what attending to any source of that ply would

Positions are the valid ones before the band's end, so that sources of plies before the band are there too.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from circuits.activations import stream
from circuits.games import MIDDLE_BAND, Games
from circuits.head_sources import source_squares
from circuits.notation import N_CTX, N_SQUARES
from circuits.othello_model import OthelloModel
from circuits.plain import PlainModel, of


@dataclass(frozen=True, eq=False)
class HeadMeans:
    """Means over training games; a ply where none has a position has zeros.

    Attributes:
        count: positions by ply; plays: how often each square was played at those plies.
        final_scaled: mean of the final stream divided by the final LayerNorm's scale.
    """

    count: Int[Tensor, "ply=59"]
    plays: Int[Tensor, "square=64"]
    pattern: Float[Tensor, "layer head query=59 key=59"]
    z: Float[Tensor, "layer ply=59 head d_head"]
    mid: Float[Tensor, "layer ply=59 d_model"]
    final_scaled: Float[Tensor, "ply=59 d_model"]
    value: Float[Tensor, "layer square=64 head d_head"]
    games: int


def hooks(model: OthelloModel, *kinds: str) -> tuple[str, ...]:
    """Some of every block's hooks, such as ``"attn.hook_z"``, and the final LayerNorm's scale and the last stream."""
    last = f"blocks.{model.shape.n_layers - 1}.hook_resid_post"
    return (*(f"blocks.{i}.{kind}" for kind in kinds for i in range(model.shape.n_layers)), "ln_final.hook_scale", last)


@torch.no_grad()
def head_means(
    model: OthelloModel, games: Games, *, band: slice = MIDDLE_BAND, progress: str | None = None
) -> HeadMeans:
    """Means over the valid positions before the end of a band of plies, in one pass."""
    model: PlainModel = of(model)
    s, stop = model.shape, N_CTX if band.stop is None else min(band.stop, N_CTX)
    layers, last = range(s.n_layers), f"blocks.{s.n_layers - 1}.hook_resid_post"
    kinds = ("attn.hook_pattern", "attn.hook_z", "attn.hook_v", "hook_resid_mid")
    count, plays = torch.zeros(N_CTX, dtype=torch.int64), torch.zeros(N_SQUARES, N_CTX, dtype=torch.float64)
    sums = {
        "pattern": torch.zeros(s.n_layers, s.n_heads, N_CTX, N_CTX),
        "z": torch.zeros(s.n_layers, N_CTX, s.n_heads, s.d_head),
        "v": torch.zeros(s.n_layers, N_CTX, s.n_heads, s.d_head),
        "mid": torch.zeros(s.n_layers, N_CTX, s.d_model),
        "final": torch.zeros(N_CTX, s.d_model),
        "value": torch.zeros(s.n_layers, N_SQUARES, s.n_heads * s.d_head),
    }
    sums = {name: total.to(model.device, torch.float64) for name, total in sums.items()}
    for batch in stream(model, games, hooks(model, *kinds), progress=progress):
        where = batch.games.boards().valid & (torch.arange(N_CTX) < stop)
        count += where.sum(0)
        keep = where.to(model.device).float()[..., None]
        # Which square each source is on, as a product's left side: [square, position].
        on = one_hot(source_squares(batch.games), N_SQUARES).float().to(model.device) * keep
        plays += on.sum(0).T.double().cpu()
        sums["final"] += (batch.acts[last] / batch.acts["ln_final.hook_scale"] * keep).sum(0)
        for layer in layers:
            pattern, z, v, mid = (batch.acts[f"blocks.{layer}.{kind}"] for kind in kinds)
            sums["pattern"][layer] += (pattern * keep[:, None]).sum(0)
            sums["mid"][layer] += (mid * keep).sum(0)
            for name, x in (("z", z), ("v", v)):
                sums[name][layer] += (x * keep[..., None]).sum(0)
            sums["value"][layer] += on.flatten(0, 1).T @ v.flatten(2).flatten(0, 1)
    n = count.clamp_min(1).to(model.device)
    mean = {
        "pattern": sums["pattern"] / n[:, None],
        **{name: sums[name] / n[:, None, None] for name in ("z", "v")},
        **{name: sums[name] / n[:, None] for name in ("mid", "final")},
    }
    # What sources of the same plies hold on average is no property of the square.
    plays = plays.to(model.device)
    expected = torch.einsum("sp,lphd->lshd", plays, mean["v"])
    value = (sums["value"].unflatten(-1, (s.n_heads, s.d_head)) - expected) / plays.sum(1).clamp_min(1)[:, None, None]
    ready = {name: tensor.float().cpu() for name, tensor in (mean | {"value": value}).items()}
    return HeadMeans(
        count, plays.sum(1).long().cpu(), ready["pattern"], ready["z"], ready["mid"], ready["final"], ready["value"],
        len(games),
    )  # fmt: skip
