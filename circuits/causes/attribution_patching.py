"""Attribution patching: the effect of patching every node at once, estimated from gradients, and checked.

With a the activation of a layer's whole site (all neurons, all heads, the stream ...) in the run patched into, a' in
the run patched from, and m the metric:

    first order            score = (a' - a) . dm/da                       one pass backwards for all nodes of all layers
    integrated gradients   score = (a' - a) . mean over steps of dm/da at a + alpha (a' - a),  alpha = (i + 1/2) / steps

summed over plies and over what belongs to one node. The first order is right where the metric is linear between the two
runs. Integrated gradients (Sundararajan et al. 2017) move the whole site of one layer, so that its nodes' scores sum to
the exact effect of patching all of it as ``steps`` grows; a single node's score is still no exact effect.
(Nanda 2023; Syed et al. 2023, arXiv 2310.10348; Kramár et al. 2024, arXiv 2403.00745; Hanna et al. 2024, arXiv
2403.17806.)

Every result carries its agreement with exact patching (`circuits.causes.patching`), kind by kind, on a sample drawn for
it: half at random, which says how good the sweep is as a whole (most of it near zero), half the largest, which says
whether what it points at is there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from circuits.causes.agreement import Agreement, agreement
from circuits.causes.changes import lands
from circuits.causes.effects import Summary, summarise
from circuits.causes.incremental import read_point
from circuits.causes.metrics import Metric
from circuits.causes.node_gradients import Comparison, Site
from circuits.causes.nodes import HOOK, Node, check_node
from circuits.causes.pairs import Pairs
from circuits.causes.patch_results import DIRECTIONS
from circuits.causes.patching import sweep
from circuits.errors import InputError
from circuits.othello_model import OthelloModel
from circuits.plain import PlainModel, of

#: pairs whose gradients are held at once: about 300 MB for all neurons of the bundled model
CHUNK = 16
#: by ply, exact effects of a node are computed at every ply, so this many times fewer nodes are drawn
NODES_BY_PLY = 16


#: fewer nodes than this have no correlation
FEWEST = 3


@dataclass(frozen=True, eq=False)
class Half:
    """One half of a sample: attributed against exact effects.

    Attributes:
        nodes: the sample.
        mean: agreement of mean effects over pairs, of every node (by ply: of every node and ply).
        by_pair: agreement of every pair's effect. Plies that a pair's patch cannot reach are left out of both.
    """

    nodes: tuple[Node, ...]
    mean: Agreement
    by_pair: Agreement


@dataclass(frozen=True, eq=False)
class Checked:
    """Agreement with exact patching of nodes drawn at random, and of those with the largest mean scores."""

    random: Half
    largest: Half

    def __str__(self) -> str:
        return f"{self.random.mean}; {self.largest.mean}"


@dataclass(frozen=True, eq=False)
class NodeAttribution:
    """Estimated effects of patching nodes one at a time.

    Attributes:
        nodes: those that can reach the metric, kind by kind and layer by layer.
        scores: [node, pair], or [node, ply, pair] where asked for by ply.
        effect: metric(run patched from) - metric(run patched into), by pair: what patching everything does.
        agreement: with exact patching, by kind of node.
        steps: of integrated gradients; 0 is the first order.
    """

    nodes: tuple[Node, ...]
    scores: Float[Tensor, "node *ply pair"]
    effect: Float[Tensor, "pair"]
    agreement: dict[str, Checked]
    direction: str
    steps: int
    metric: str
    point: str
    pairs: Pairs

    @cached_property
    def summary(self) -> Summary:
        """Means over pairs, with intervals and p-values over games."""
        return summarise(self.scores, self.pairs.game)

    def top(self, k: int = 10) -> list[tuple[Node, float]]:
        """The k nodes of largest mean score, summed over plies."""
        mean = self.scores.mean(-1)
        mean = mean.sum(1) if mean.ndim == 2 else mean
        rows = mean.abs().topk(min(k, len(mean))).indices.tolist()
        return [(self.nodes[i], float(mean[i])) for i in rows]

    def __str__(self) -> str:
        how = f"integrated gradients, {self.steps} steps" if self.steps else "first order"
        lines = [f"{self.metric}, {self.direction}, {how}, {len(self.nodes)} nodes, {len(self.pairs)} pairs"]
        return "\n".join(lines + [f"{kind}: {checked}" for kind, checked in self.agreement.items()])


def attribute_nodes(
    model: OthelloModel,
    pairs: Pairs,
    metric: Metric,
    sites: Sequence[str] = ("neuron", "head"),
    *,
    layers: Sequence[int] | None = None,
    direction: str = "clean → corrupt",
    steps: int = 0,
    by_ply: bool = False,
    sample: int = 64,
    seed: int = 0,
    progress: str | None = None,
) -> NodeAttribution:
    """Attribute a metric's change to every node of some kinds.

    Args:
        sites: kinds of nodes, see `circuits.causes.nodes`: ``"neuron"``, ``"head"``, ``"attn"``, ``"mlp"``, ``"pre"``,
        … layers: by default every layer from which the kind can reach the metric's point.
        steps: 0 for the first order, or the steps of integrated gradients.
        by_ply: keep plies apart: plies times the memory, 1.9 MB a pair for all neurons of the bundled model.
        sample: nodes of each kind that are patched exactly too.

    Raises:
        InputError: a metric without a gradient; no such kind, layer or direction; a metric read before a kind's reach;
            no sample.
    """
    plain = of(model)
    if not metric.differentiable:
        raise InputError(
            f"{metric.name} has no useful gradient: patch exactly (circuits.causes.patching), or choose a logit"
        )
    if direction not in DIRECTIONS:
        raise InputError(f"direction {direction!r}: it is {' or '.join(map(repr, DIRECTIONS))}")
    if steps < 0 or sample < 2 * FEWEST:
        least = f"a sample {2 * FEWEST} nodes or more, half of them at random"
        raise InputError(f"{steps} steps, a sample of {sample}: steps are 0 (first order) or more, {least}")
    chosen = sites_of(plain, [sites] if isinstance(sites, str) else sites, layers, metric.point)
    parts = [site.nodes(plain) for site in chosen]
    nodes = tuple(node for part in parts for node in part)
    plies = int(pairs.ply.max()) + 1
    scores = torch.zeros(len(nodes), plies if by_ply else 1, len(pairs))
    # Pairs of like lengths together, so that little is computed past a pair's end.
    with tqdm(total=len(pairs), desc=progress, unit=" pairs", disable=None if progress else True, leave=False) as bar:
        for rows in pairs.ply.argsort().split(CHUNK):
            runs = _compared(plain, pairs[rows], rows, metric, direction)
            found = runs.integrated(chosen, steps) if steps else runs.first_order(chosen)
            for into, part in zip(scores.split([len(part) for part in parts]), found, strict=True):
                if by_ply:
                    into[:, : part.shape[1], rows] = part.cpu()
                else:
                    into[:, 0, rows] = part.sum(1).cpu()
            bar.update(len(rows))
    checks, effect = {}, None
    for kind in dict.fromkeys(site.kind for site in chosen):
        rows = torch.tensor([i for i, node in enumerate(nodes) if node.kind == kind])
        own = tuple(nodes[i] for i in rows.tolist())
        checks[kind], effect = _checked(plain, pairs, metric, own, scores[rows], direction, sample, seed)
    if not by_ply:
        scores = scores[:, 0]
    return NodeAttribution(nodes, scores, effect, checks, direction, steps, metric.name, metric.point, pairs)


def sites_of(model: PlainModel, kinds: Sequence[str], layers: Sequence[int] | None, point: str) -> list[Site]:
    """Sites of some kinds in some layers, by default in every layer from which the kind reaches the point.

    Raises:
        InputError: no such kind or layer; a site that comes after the point.
    """
    target, found = read_point(model, point), []
    for kind in kinds:
        if kind not in HOOK:
            raise InputError(f"{kind!r} is no kind of node: {', '.join(HOOK)}")
        there = range(model.shape.n_layers) if layers is None else layers
        sites = [Site(kind, layer) for layer in ([0] if kind == "embed" else there)]
        for site in sites:
            check_node(site.nodes(model)[0], model.shape)
        reaching = [site for site in sites if lands(site.nodes(model)[0], model) <= target]
        if not reaching or (layers is not None and len(reaching) < len(sites)):
            late = next(site for site in sites if site not in reaching).nodes(model)[0]
            raise InputError(
                f"{late} cannot reach a metric read at {point}: it is written later; read at a later point"
            )
        found += reaching
    if not found:
        raise InputError("nothing to attribute to: give at least one kind of node, such as 'neuron'")
    return found


def _compared(model: PlainModel, pairs: Pairs, rows: Tensor, metric: Metric, direction: str) -> Comparison:
    end = int(pairs.ply.max()) + 1
    clean, corrupt = pairs.clean[:, :end].long(), pairs.corrupt[:, :end].long()
    into, out_of = (corrupt, clean) if direction == DIRECTIONS[0] else (clean, corrupt)
    return Comparison(model, into, out_of, pairs.ply, rows, metric)


def _checked(
    model: PlainModel,
    pairs: Pairs,
    metric: Metric,
    nodes: tuple[Node, ...],
    scores: Float[Tensor, "node ply pair"],
    direction: str,
    sample: int,
    seed: int,
) -> tuple[Checked, Float[Tensor, "pair"]]:
    """The agreement of one kind's scores with exact effects, and the effect of patching everything."""
    by_ply = scores.shape[1] > 1
    half = min(len(nodes), max(FEWEST, sample // 2 // NODES_BY_PLY) if by_ply else sample // 2)
    random = torch.randperm(len(nodes), generator=torch.Generator().manual_seed(seed))[:half].sort().values
    largest = scores.mean(-1).abs().amax(1).topk(half).indices
    drawn = torch.cat([random, largest]).unique()
    patched = sweep(model, pairs, metric, [nodes[i] for i in drawn.tolist()], by_ply=by_ply, direction=direction)
    at = torch.arange(scores.shape[1])[:, None]
    reached = (pairs.first <= at) & (at <= pairs.ply) if by_ply else torch.ones(1, len(pairs), dtype=torch.bool)
    halves = []
    for how, rows in (("at random", random), ("of the largest", largest)):
        attributed, exact = scores[rows], patched.effects[0, torch.searchsorted(drawn, rows)]
        there = reached.expand(half, -1, -1)
        some = there.any(-1)
        mean = _agreement(attributed.mean(-1)[some], exact.mean(-1)[some], f"mean effects, nodes {how}")
        by_pair = _agreement(attributed[there], exact[there], f"effects of single pairs, nodes {how}")
        halves.append(Half(tuple(nodes[i] for i in rows.tolist()), mean, by_pair))
    effect = patched.clean - patched.corrupt
    return Checked(*halves), effect if direction == DIRECTIONS[0] else -effect


def _agreement(attributed: Float[Tensor, "effect"], exact: Float[Tensor, "effect"], how: str) -> Agreement:
    if len(exact) < FEWEST:
        return Agreement(*[float("nan")] * 3, attributed, exact, how)
    return agreement(attributed, exact, how)
