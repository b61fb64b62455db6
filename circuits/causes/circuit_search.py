"""Circuit search: from a metric back through the edges that matter, to a small graph that keeps most of the effect.

    1  pairs are split by game into those searched on and those held out
    2  the neurons of the largest predicted effect are opened: nodes of their own (`neuron_scores`)
    3  every edge is scored by attribution (EAP-IG, `edge_attribution`)
    4  the n largest scores, dead ends pruned, are taken, n about the least that keeps the share asked for
    5  exact pruning: every edge of it is removed alone; those whose removal changes the effect least are taken out
       together, as many as leave the share within the band [keep, 2 − keep]; again, until no single edge can go (or
       `REMOVALS` have been tried)
    6  on the held-out pairs: what each edge that is left does alone, and the curve of effect kept against edges kept,
       under resample and mean ablation, beside random graphs

Pruning towards a share and not to the highest metric: an edge that works against the effect is no free gain, since a
circuit that keeps 130 % is as far from the model as one that keeps 70 %. (Conmy et al. 2023, arXiv 2304.14997, ACDC;
Syed et al. 2023, arXiv 2310.10348; Hanna et al. 2024, arXiv 2403.17806, for faithfulness.)
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from circuits import plain
from circuits.causes.changes import Subspace
from circuits.causes.circuit import Circuit, CircuitEdge
from circuits.causes.edge_attribution import STEPS, edge_attribution, neuron_scores, spread
from circuits.causes.edges import Graph, Mask, graph
from circuits.causes.effects import summarise
from circuits.causes.faithfulness import check_total, curve_point
from circuits.causes.masked_runs import MaskedRuns, means
from circuits.causes.metrics import Metric, check_pairs
from circuits.causes.nodes import neuron
from circuits.causes.pair_runs import on_rows
from circuits.causes.pairs import Pairs
from circuits.errors import InputError
from circuits.games import generate
from circuits.othello_model import OthelloModel
from circuits.training.lessons import HELD_OUT_SEED

#: numbers of scored edges (before dead ends are pruned) at which the curve is drawn
SIZES = (5, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000)
#: positions in the windows of the pairs that exact pruning runs on, and the fewest pairs
PRUNED_ON, FEWEST = 200, 12
#: the most single removals that exact pruning tries, and how many failures end a round that removed something
REMOVALS, PATIENCE = 600, 5
SLACK = 0.95
#: the most neurons that are opened, and the fewest edges that are worth a search
MOST_OPENED, FEWEST_EDGES = 400, 10
#: games of nobody else's: not those that are mined, searched for pairs or trained on
REFERENCE_GAMES, REFERENCE_SEED = 200, HELD_OUT_SEED + 500_000_000
#: the most pairs on which attribution is compared with exact removals, and that are run under mean ablation
SAMPLED_ON, AVERAGED = 16, 24


def find_circuit(
    model: OthelloModel,
    pairs: Pairs,
    metric: Metric,
    *,
    keep: float = 0.8,
    open_neurons: int = 40,
    max_edges: int = 500,
    steps: int = STEPS,
    held_out: float = 0.5,
    random_graphs: int = 3,
    reference: Integer[Tensor, "game ply"] | None = None,
    start: Subspace | None = None,
    seed: int = 0,
) -> Circuit:
    """The circuit behind a metric's difference between clean and corrupt runs.

    Args:
        keep: the share of the effect that the circuit must keep on the pairs searched.
        open_neurons: how many neurons become nodes of their own.
        max_edges: how many of the largest scores exact pruning starts from at most; where those do not keep the share,
            what they keep is kept, nearly.
        steps: of attribution.
        held_out: share of the games that are held out.
        random_graphs: of each kind, drawn for each point of the curve.
        reference: games whose means stand in under mean ablation; random ones by default.
        start: a subspace of the stream to begin with (a late circuit, from the checkpoint on): the circuit is then of
            what the clean run's coordinates there do in the corrupt run.

    Raises:
        InputError: pairs of one game only; a metric without a gradient, or the same in both runs.
    """
    if not 0 < keep <= 1:
        raise InputError(f"keep {keep}: a share above 0 and at most 1")
    if not 0 <= open_neurons <= MOST_OPENED:
        raise InputError(f"{open_neurons} neurons opened: give 0 to {MOST_OPENED}, each is a node of its own")
    check_pairs(metric, pairs)
    model = plain.of(model)
    if int(graph(model.shape, metric.point, (), start and start.node).allowed.sum()) < FEWEST_EDGES:
        raise InputError(
            f"between {start or 'the embedding'} and {metric.name}, read at {metric.point}, there is nothing to "
            "search: start earlier, or read later"
        )
    rows, held_rows = split(pairs.game, held_out, seed)
    searched, tested = pairs[rows], pairs[held_rows]
    own, held_metric = on_rows(metric, rows), on_rows(metric, held_rows)
    opened = top_neurons(model, searched, own, open_neurons, steps, start)
    scored = edge_attribution(
        model, searched, own, opened=opened, steps=steps, sample_pairs=SAMPLED_ON, start=start, seed=seed
    )
    scores, g = scored.scores, scored.graph

    few = within(searched, PRUNED_ON)
    runs = MaskedRuns(model, searched[few], on_rows(own, few), g, start=start)
    check_total(runs)
    widest = first_that_keeps(runs, scores, keep, max_edges)
    path = list(prune(runs, widest, keep))
    mask = path[-1] if path else widest

    held = MaskedRuns(model, tested, held_metric, g, start=start)
    tokens = generate(REFERENCE_GAMES, seed=REFERENCE_SEED + seed).tokens if reference is None else reference
    # Under mean ablation every ply of a pair differs from the reference: fewer of them are run.
    some = spread(len(tested), AVERAGED)
    averaged = MaskedRuns(
        model,
        tested[some],
        on_rows(held_metric, some),
        g,
        ablation="mean",
        reference=means(model, tokens[:, : int(pairs.ply.max()) + 1], g.place),
        start=start,
    )
    graphs = [("attribution", largest(g, scores, n)) for n in SIZES if n < int(g.allowed.sum())]
    graphs += [("pruning", one) for one in path[:-1] if int(one.sum()) < int(widest.sum())]
    graphs = [*thinned(graphs), ("circuit", mask)]
    curve = [
        curve_point(one, m, game, chosen, random_graphs, seed)
        for one, game in ((held, tested.game), (averaged, tested.game[some]))
        for chosen, m in graphs
    ]
    edge_rows = within(tested, 2 * PRUNED_ON)
    each = MaskedRuns(model, tested[edge_rows], on_rows(held_metric, edge_rows), g, start=start)
    return Circuit(
        edges=described(each, mask, scores, tested.game[edge_rows]),
        curve=tuple(sorted(curve, key=lambda point: (point.ablation != "resample", point.edges))),
        opened=tuple(str(node) for node in opened),
        start=str(start or ""),
        start_node=str(start.node) if start else "",
        metric=metric.name,
        point=metric.point,
        clean=float(held.top.mean()),
        corrupt=float(held.floor.mean()),
        kept=next(p.kept for p in curve if p.chosen == "circuit" and p.ablation == "resample"),
        question=pairs.question,
        source=pairs.source,
        kept_searched=share(runs, mask),
        searched=len(searched),
        held_out=len(tested),
        attribution=str(scored.agreement),
        settings={
            "keep": keep,
            "open_neurons": open_neurons,
            "max_edges": max_edges,
            "steps": steps,
            "held_out": held_out,
            "random_graphs": random_graphs,
            "pruned_on_pairs": len(few),
            "mean_ablation_on_pairs": len(some),
            "edge_effects_on_pairs": len(edge_rows),
            "seed": seed,
        },
        layer_norm="recomputed",
        model=model.name,
        model_hash=model.hash,
    )


def split(
    game: Int[Tensor, "pair"], held_out: float, seed: int
) -> tuple[Int[Tensor, "searched"], Int[Tensor, "tested"]]:
    """Rows of pairs to search on and of those held out, by game.

    Raises:
        InputError: no game is left on one of the sides.
    """
    games = game.cpu().unique()
    order = games[torch.randperm(len(games), generator=torch.Generator().manual_seed(seed))]
    count = round(held_out * len(games))
    if not 0 < count < len(games):
        raise InputError(
            f"{len(games)} games with {held_out:.0%} held out leave none to "
            f"{'search on' if count else 'test on'}: give pairs of more games, or another share"
        )
    out = torch.isin(game.cpu(), order[:count])
    return (~out).nonzero().flatten(), out.nonzero().flatten()


def top_neurons(
    model: plain.PlainModel, pairs: Pairs, metric: Metric, count: int, steps: int, start: Subspace | None = None
) -> list:
    """The neurons of the largest predicted effect."""
    if count == 0:
        return []
    scores = neuron_scores(model, pairs, metric, steps=steps, start=start)
    best = scores.abs().flatten().topk(min(count, int(scores.count_nonzero()))).indices.tolist()
    return [neuron(*divmod(i, scores.shape[1])) for i in best]


def within(pairs: Pairs, positions: int) -> Int[Tensor, "row"]:
    """Pairs, evenly spread, whose windows together have about so many positions."""
    mean = float((pairs.ply - pairs.first + 1).float().mean())
    return spread(len(pairs), max(FEWEST, int(positions / mean)))


def largest(graph: Graph, scores: Float[Tensor, "receiver sender"], count: int) -> Mask:
    """The edges of the ``count`` largest scores, dead ends pruned."""
    sizes = scores.abs().masked_fill(~graph.allowed, -1)
    mask = torch.zeros_like(graph.allowed)
    mask.view(-1)[sizes.flatten().topk(min(count, int(graph.allowed.sum()))).indices] = True
    return graph.connected(mask & graph.allowed)


def share(runs: MaskedRuns, mask: Mask) -> float:
    return float((runs(mask) - runs.floor).mean() / (runs.top - runs.floor).mean())


def first_that_keeps(runs: MaskedRuns, scores: Float[Tensor, "receiver sender"], keep: float, max_edges: int) -> Mask:
    """About the smallest graph of largest scores that keeps a share of the effect, or that of ``max_edges`` scores."""
    low, high = 0, min(max_edges, int(runs.graph.allowed.sum()))
    best = largest(runs.graph, scores, high)
    # Bisection: what is kept grows with the number of edges, nearly always.
    while high - low > max(1, high // 20):
        middle = (low + high) // 2
        mask = largest(runs.graph, scores, middle)
        if mask.any() and keep <= share(runs, mask) <= 2 - keep:
            best, high = mask, middle
        else:
            low = middle
    return best


def prune(runs: MaskedRuns, mask: Mask, keep: float) -> Iterator[Mask]:
    """Smaller and smaller graphs, each within the band around 1 that ``keep`` gives.

    Where the first keeps less, the band reaches down to `SLACK` of what it keeps (or up to as much).
    """
    now = share(runs, mask)
    low, high = keep if now >= keep else SLACK * now, max(2 - keep, now)
    total = (runs.top - runs.floor).mean()
    removals = 0
    while removals < REMOVALS and int(mask.sum()) > 1:
        edges = [tuple(edge) for edge in mask.nonzero().tolist()]
        change = runs.removals(mask, edges).mean(1) / total
        order = [edges[i] for i in change.abs().argsort(stable=True).tolist()]
        removals += len(edges)
        at, size, misses, before = 0, len(order) // 2, 0, mask
        # From the least consequence up, in lots that are halved where one breaks the band.
        while at < len(order) and (misses < PATIENCE or mask is before):
            smaller = without(runs.graph, mask, order[at : at + size])
            if smaller.any() and low <= share(runs, smaller) <= high:
                mask, at = smaller, at + size
            elif size > 1:
                size //= 2
            else:
                at, misses = at + 1, misses + 1
        if mask is before:
            return
        yield mask


def without(graph: Graph, mask: Mask, edges: list[tuple[int, ...]]) -> Mask:
    """A mask less some edges and whatever then leads nowhere."""
    smaller = mask.clone()
    rows, columns = torch.tensor(edges).T
    smaller[rows, columns] = False
    return graph.connected(smaller)


def thinned(graphs: list[tuple[str, Mask]]) -> list[tuple[str, Mask]]:
    """Graphs of different sizes, no two within a quarter of each other where both are on the way to the circuit."""
    kept: list[tuple[str, Mask]] = []
    for chosen, mask in graphs:
        size = int(mask.sum())
        near = [int(m.sum()) for name, m in kept if name == chosen]
        if size and not any(size * 0.8 < other < size * 1.25 for other in near):
            kept.append((chosen, mask))
    return kept


def described(
    runs: MaskedRuns, mask: Mask, scores: Float[Tensor, "receiver sender"], game: Int[Tensor, "pair"]
) -> tuple[CircuitEdge, ...]:
    """Every edge of a circuit with its score and what it does alone."""
    places = [tuple(edge) for edge in mask.nonzero().tolist()]
    effects = summarise(runs.removals(mask, places), game)
    names = runs.graph.edges(mask)
    figures = zip(effects.mean, effects.low, effects.high, effects.p_family, strict=True)
    return tuple(
        CircuitEdge(*name, float(scores[place]), *(float(x) for x in figure))
        for name, place, figure in zip(names, places, figures, strict=True)
    )
