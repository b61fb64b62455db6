"""What a head is connected to through the residual stream, from the weights alone, beside random weights.

    heads      |A B| / (|A| |B|), Frobenius norms, A the earlier head's OV circuit and B the later one's OV (via V) or
               QK read from the side of the query (via Q) or the key (via K) (Elhage et al. 2021)
    neurons    |w OV| / (|w| |OV|), w an earlier neuron's output weight; |OV w| / (|OV| |w|), w a later one's input

All of it is computed through the heads' d_head dimensions. *Null*: the largest of as many random connections, weights
drawn from a normal distribution with the seed, of the same ranks.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.notation import Unit
from circuits.othello_model import OthelloModel
from reports.heads import records as hr
from reports.records import Neighbour

SHOWN = 6


def neighbours(model: OthelloModel, unit: Unit, seed: int) -> tuple[hr.Connected, ...]:
    """Earlier and later heads via V, Q and K; earlier and later neurons."""
    s, layer, head = model.shape, unit.layer, unit.index
    generator = torch.Generator().manual_seed(seed)
    V, O = model.W_V(layer)[head].cpu(), model.W_O(layer)[head].cpu()  # noqa: E741
    found = []

    def heads(name: str, layers: range, value, null) -> None:
        for via in ("V", "Q", "K"):
            values = [value(via, i) for i in layers]
            units = [Unit(i, "head", h) for i in layers for h in range(s.n_heads)]
            floor = float(null(via, len(units)).max()) if units else None
            measure = f"composition through its {'values' if via == 'V' else 'queries' if via == 'Q' else 'keys'}"
            found.append(_connected(name, via, measure, units, values, floor))

    def ends(via: str, i: int, h: int | slice = slice(None)) -> tuple[Tensor, Tensor]:
        """The matrix of heads that read the stream, as (reading, rest)."""
        if via == "V":
            return model.W_V(i)[h].cpu(), model.W_O(i)[h].cpu()
        q, k = model.W_Q(i)[h].cpu(), model.W_K(i)[h].cpu()
        return (q, k.mT) if via == "Q" else (k, q.mT)

    def drawn(n: int) -> tuple[Tensor, Tensor]:
        shape = (n, s.d_model, s.d_head)
        return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator).mT

    heads(
        "earlier heads", range(layer),
        lambda via, i: composition(model.W_V(i).cpu(), model.W_O(i).cpu(), *ends(via, layer, head)),
        lambda via, n: composition(*drawn(n), *ends(via, layer, head)),
    )  # fmt: skip
    heads(
        "later heads", range(layer + 1, s.n_layers),
        lambda via, i: composition(V, O, *ends(via, i)),
        lambda via, n: composition(V, O, *drawn(n)),
    )  # fmt: skip

    size = _norm(V, O)
    written, read = O @ O.T, V.T @ V  # of d_head: |V x| by way of them

    def into(w: Float[Tensor, "n d_model"]) -> Float[Tensor, "n"]:
        x = w @ V
        return torch.einsum("nk,kj,nj->n", x, written, x).clamp_min(0).sqrt() / (w.norm(dim=-1) * size).clamp_min(1e-12)

    def out_of(w: Float[Tensor, "n d_model"]) -> Float[Tensor, "n"]:
        x = w @ O.T
        return torch.einsum("nk,kj,nj->n", x, read, x).clamp_min(0).sqrt() / (w.norm(dim=-1) * size).clamp_min(1e-12)

    for name, via, layers, weights, value in (
        ("earlier neurons", "output weight", range(layer), lambda i: model.W_out(i), into),
        ("later neurons", "input weight", range(layer, s.n_layers), lambda i: model.W_in(i).T, out_of),
    ):
        units = [Unit(i, "neuron", n) for i in layers for n in range(s.d_mlp)]
        values = [value(weights(i).cpu()) for i in layers]
        floor = float(value(torch.randn(len(units), s.d_model, generator=generator)).max()) if units else None
        measure = (
            "how much of the neuron’s writing it moves on"
            if via == "output weight"
            else "how much of its writing the neuron reads"
        )
        found.append(_connected(name, via, measure, units, values, floor))
    return tuple(found)


def composition(
    V1: Float[Tensor, "*a d_model k"], O1: Float[Tensor, "*a k d_model"],
    read: Float[Tensor, "*b d_model k"], rest: Float[Tensor, "*b k d_model"],
) -> Float[Tensor, "n"]:  # fmt: skip
    """|A B| / (|A| |B|), A = V1 O1 of the earlier head and B = read rest of the later; either may be many."""
    middle = O1 @ read
    both = ((V1.mT @ V1) @ middle * (middle @ (rest @ rest.mT))).sum((-2, -1)).clamp_min(0).sqrt()
    return (both / (_norm(V1, O1) * _norm(read, rest)).clamp_min(1e-12)).flatten()


def _norm(a: Tensor, b: Tensor) -> Tensor:
    """The Frobenius norm of a b."""
    return ((a.mT @ a) * (b @ b.mT)).sum((-2, -1)).clamp_min(0).sqrt()


def _connected(
    name: str, via: str, measure: str, units: list[Unit], values: list[Tensor], null: float | None
) -> hr.Connected:
    if not units:
        return hr.Connected(name, via, measure, (), 0, None)
    flat = torch.cat(values)
    top = flat.topk(min(SHOWN, len(flat)))
    rows = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return hr.Connected(name, via, measure, tuple(Neighbour(str(units[i]), v) for i, v in rows), len(units), null)
