"""How much of an effect a graph of edges keeps, beside random graphs.

    kept = (mean metric under the mask − floor) / (top − floor)

a ratio of means over pairs, with the top all edges kept (the clean run) and the floor none (the corrupt run; under mean
ablation the mean streams), so that none keeps 0 and all keep 1 under either ablation. Its interval: bootstrap over
games, as in `circuits.causes.effects`; NaN for a single game. (Wang et al. 2023; Hanna et al. 2024.)

Two controls. *Random* graphs have as many edges, each on some path from the first sender to the target. *Exchanged*
ones are the graph itself with its nodes exchanged at random within their layer and kind (heads for heads, opened
neurons for opened neurons): the same shape, layers and degrees, so what is lost is due to which units they are.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from circuits.causes.circuit import CurvePoint
from circuits.causes.edges import Graph, Mask
from circuits.causes.effects import BOOTSTRAP, tails
from circuits.causes.masked_runs import MaskedRuns
from circuits.errors import InputError


@dataclass(frozen=True)
class Kept:
    """A share of an effect, and the ends of its 95 % interval."""

    share: float
    low: float
    high: float


def kept(runs: MaskedRuns, mask: Mask, game: Int[Tensor, "pair"], seed: int = 0) -> Kept:
    """The share of the effect that a mask keeps.

    Raises:
        InputError: the runs do not differ, so there is no effect to keep.
    """
    total = runs.top - runs.floor
    check_total(runs)
    gain = runs(mask) - runs.floor
    _, group = game.cpu().unique(return_inverse=True)
    games = int(group.max()) + 1
    sums = torch.zeros(2, games, dtype=torch.float64).index_add_(1, group, torch.stack([gain, total]).double())
    generator = torch.Generator().manual_seed(seed)
    picked = torch.randint(games, (BOOTSTRAP, games), generator=generator)
    part, whole = sums[:, picked].sum(-1)
    low, high = torch.quantile(part / whole, tails(games)).tolist() if games > 1 else (float("nan"),) * 2
    return Kept(float(sums[0].sum() / sums[1].sum()), low, high)


def check_total(runs: MaskedRuns) -> None:
    """Raise InputError where all edges and none give the same mean metric."""
    total, size = float((runs.top - runs.floor).mean()), float(runs.top.abs().mean() + runs.floor.abs().mean())
    if abs(total) <= 1e-4 * size:
        raise InputError(
            f"{runs.metric.name} has the same mean in the clean runs and in the reference ({total:.1e} apart): there "
            "is no effect whose circuit could be looked for; choose another metric, or pairs that all go one way"
        )


def curve_point(
    runs: MaskedRuns, mask: Mask, game: Int[Tensor, "pair"], chosen: str, draws: int, seed: int = 0
) -> CurvePoint:
    """A graph on the curve, beside ``draws`` random graphs of as many edges and as many exchanged ones."""
    own, count = kept(runs, mask, game), int(mask.sum())
    total = (runs.top - runs.floor).mean()

    def spread(graphs: Iterable[Mask]) -> tuple[float, float, float]:
        shares = [float((runs(one) - runs.floor).mean() / total) for one in graphs]
        return (sum(shares) / draws, min(shares), max(shares)) if draws else (float("nan"),) * 3

    seeds = [1000 * seed + 10 * count + i for i in range(draws)]
    random = spread(random_graph(runs.graph, count, s) for s in seeds)
    swapped = spread(exchanged(runs.graph, mask, s) for s in seeds)
    return CurvePoint(count, chosen, runs.ablation, own.share, own.low, own.high, *random, *swapped)


def exchanged(graph: Graph, mask: Mask, seed: int = 0) -> Mask:
    """A mask with the graph's nodes exchanged at random within their layer and kind; whole MLPs stay."""
    generator = torch.Generator().manual_seed(seed)
    groups: dict[tuple[str, int], list[int]] = {}
    for i, node in enumerate(graph.senders):
        groups.setdefault((node.kind, node.layer), []).append(i)
    to = list(range(len(graph.senders)))
    for members in groups.values():
        for i, j in zip(members, torch.randperm(len(members), generator=generator).tolist(), strict=True):
            to[i] = members[j]
    names = {str(node): str(graph.senders[to[i]]) for i, node in enumerate(graph.senders)}
    columns = torch.tensor(to)
    rows = []
    for node in graph.receivers:
        owner, dot, part = str(node).partition(".")
        rows.append(graph.rows[names.get(owner, owner) + dot + part])
    found = torch.zeros_like(mask)
    r, s = mask.nonzero(as_tuple=True)
    found[torch.tensor(rows)[r], columns[s]] = True
    return found


def random_graph(graph: Graph, count: int, seed: int = 0) -> Mask:
    """A random mask of exactly ``count`` edges, each on some path from the embedding to the target.

    It grows by edges drawn at random; where an end of one is not in the graph yet, a random way from the embedding or
    to the target comes with it, if there is still room.

    Raises:
        InputError: more edges than there are, or none.
    """
    if not 1 <= count <= int(graph.allowed.sum()):
        raise InputError(
            f"a random graph of {count} edges: there are {int(graph.allowed.sum())}, and at least 1 is needed"
        )
    generator = torch.Generator().manual_seed(seed)

    def one_of(items: list[int]) -> int:
        return items[int(torch.randint(len(items), (1,), generator=generator))]

    receivers_of: dict[int, list[int]] = {}
    for row, writer in enumerate(graph.writer):
        receivers_of.setdefault(writer, []).append(row)
    senders_to = [row.nonzero().flatten().tolist() for row in graph.allowed]
    readers_of = [column.nonzero().flatten().tolist() for column in graph.allowed.T]
    mask = torch.zeros_like(graph.allowed)
    inside = {0, -1}  # nodes, by sender; the target is -1

    def way_in(node: int) -> list[tuple[int, int]]:
        way = []
        while node not in inside:
            row = one_of(receivers_of[node])
            node = one_of(senders_to[row])
            way.append((row, node))
        return way

    def way_out(node: int) -> list[tuple[int, int]]:
        way = []
        while node not in inside:
            row = one_of(readers_of[node])
            way.append((row, node))
            node = graph.writer[row]
        return way

    edges = graph.allowed.nonzero().tolist()
    found = 0
    while found < count:
        before = found
        for i in torch.randperm(len(edges), generator=generator).tolist():
            row, column = edges[i]
            if mask[row, column]:
                continue
            ends = [*way_in(column), *way_out(graph.writer[row])]
            new = {(row, column), *ends}
            if found + len(new) > count:
                continue
            for r, c in new:
                mask[r, c] = True
                inside |= {c, graph.writer[r]}
            found += len(new)
            if found == count:
                break
        if found == before:  # no room for any way that is left: begin again
            mask, inside, found = torch.zeros_like(mask), {0, -1}, 0
    return mask
