"""A neuron's neighbours: the strongest direct connections through the stream, each with what describes it best."""

import torch
from scipy.stats import beta
from torch import Tensor

from circuits import weights
from circuits.errors import InputError
from circuits.notation import Unit
from reports import records as r
from reports.workbench import Workbench

NEIGHBOURS = 8


def neighbours(bench: Workbench, unit: Unit) -> r.Neighbours:
    """Up- and downstream neurons of the largest virtual weights, beside as many random vectors."""
    up = weights.neurons_to_neuron(bench.model, unit)
    down = weights.neuron_to_neurons(bench.model, unit)
    d_model = bench.model.shape.d_model

    def strongest(layers: list[Tensor], first: int) -> tuple[r.Neighbour, ...]:
        if not layers:
            return ()
        values = torch.cat(layers)
        width = len(layers[0])
        order = values.abs().topk(min(NEIGHBOURS, len(values))).indices.tolist()
        units = [Unit(first + i // width, "neuron", i % width) for i in order]
        facts = [_best_fact(bench, unit) for unit in units]
        return tuple(
            r.Neighbour(str(u), float(values[i]), *fact) for u, i, fact in zip(units, order, facts, strict=True)
        )

    n_up, n_down = sum(map(len, up)), sum(map(len, down))
    return r.Neighbours(
        upstream=strongest(up, 0),
        downstream=strongest(down, unit.layer + 1),
        measure="cosine of the writer’s output weight with the reader’s input weight",
        n_upstream=n_up,
        n_downstream=n_down,
        null_upstream=_largest_cosine(n_up, d_model - 1) if n_up else None,
        null_downstream=_largest_cosine(n_down, d_model - 1) if n_down else None,
    )


def _best_fact(bench: Workbench, unit: Unit) -> tuple[str, float] | tuple[None, None]:
    """A neuron's best single fact by name and its held-out F1; nothing where too few games are there for any."""
    try:
        return bench.gallery.best(unit)
    except InputError:
        return None, None


def _largest_cosine(n: int, dimensions: int) -> float:
    """The median largest |cosine| of n random vectors with a fixed one: cos^2 is Beta(1/2, (d - 1) / 2)."""
    return float(beta.ppf(0.5 ** (1 / n), 0.5, (dimensions - 1) / 2) ** 0.5)
