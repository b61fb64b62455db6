"""A circuit: a small graph of edges, what each does, and how much of an effect they keep. Plain, frozen records."""

from dataclasses import dataclass

from circuits.causes.edges import TARGET, Graph, Mask, graph
from circuits.causes.nodes import parse_node
from circuits.errors import InputError
from circuits.othello_model import OthelloModel


@dataclass(frozen=True)
class CircuitEdge:
    """One edge, on held-out pairs (all, or as many as the settings say).

    Attributes:
        sender, receiver: names of nodes; the receiver may be a head's q, k or v, or ``"target"``.
        score: attribution's prediction of removing it from the whole model, mean over the pairs searched.
        effect, low, high: the metric when it alone is removed from the circuit, less the circuit's: mean and 95 %
            interval over games.
        p_family: sign-flip p-value over all edges of the circuit together.
    """

    sender: str
    receiver: str
    score: float
    effect: float
    low: float
    high: float
    p_family: float


@dataclass(frozen=True)
class CurvePoint:
    """How much of the effect one graph keeps on the held-out pairs.

    Attributes:
        edges: how many it has.
        chosen: ``"attribution"`` (largest scores), ``"pruning"`` (on the way to the circuit) or ``"circuit"``.
        ablation: what the other edges carry, ``"resample"`` (the pair's corrupt run) or ``"mean"``.
        kept, low, high: share of the effect, and its 95 % interval over games.
        random, random_low, random_high: mean and range over random graphs of as many edges that lead from the
            first sender to the target.
        exchanged, exchanged_low, exchanged_high: the same of this very graph with its nodes exchanged at random within
            their layer and kind.
    """

    edges: int
    chosen: str
    ablation: str
    kept: float
    low: float
    high: float
    random: float
    random_low: float
    random_high: float
    exchanged: float
    exchanged_low: float
    exchanged_high: float


@dataclass(frozen=True)
class Circuit:
    """What `circuits.causes.circuit_search.find_circuit` found.

    Attributes:
        edges: by receiver, in the order in which the model computes them.
        curve: effect kept against number of edges.
        opened: neurons that were nodes of their own; what is called ``L3 MLP`` is the rest of its layer.
        start: the subspace of the stream that it begins with, by name; "" where that is the embedding.
        start_node: the stream there (``"L4 post"``), its first sender; "" likewise.
        metric, point: its name, and where it is read.
        clean, corrupt: mean metric of the held-out pairs' runs.
        kept: share of their difference that the circuit keeps under resampling (in the curve: with interval).
        kept_searched: the same on the pairs that it was pruned on, which it may be fitted to.
        question, source: of the pairs.
        searched, held_out: how many pairs were searched on, and how many everything above is measured on (other games).
        attribution: how the scores agree with exact removals, in words.
        settings: of the search.
        layer_norm: how LayerNorm was treated.
        model, model_hash: name, and hash of the weights.
    """

    edges: tuple[CircuitEdge, ...]
    curve: tuple[CurvePoint, ...]
    opened: tuple[str, ...]
    start: str
    start_node: str
    metric: str
    point: str
    clean: float
    corrupt: float
    kept: float
    kept_searched: float
    question: str
    source: str
    searched: int
    held_out: int
    attribution: str
    settings: dict[str, float | int]
    layer_norm: str
    model: str
    model_hash: str

    @property
    def mean(self) -> float:
        """The share that it keeps where all else is at its mean, on held-out pairs."""
        return next(p.kept for p in self.curve if (p.chosen, p.ablation) == ("circuit", "mean"))

    @property
    def nodes(self) -> tuple[str, ...]:
        """From the embedding to the target, in order; a head is one node, whatever of it is reached."""
        ends = {edge.sender for edge in self.edges} | {edge.receiver.partition(".")[0] for edge in self.edges}
        return tuple(sorted(ends, key=_order))

    def graph(self, model: OthelloModel) -> Graph:
        """The graph of the model that it is a part of.

        Raises:
            InputError: it was found in another model.
        """
        if model.hash != self.model_hash:
            raise InputError(
                f"this circuit was found in model {self.model} ({self.model_hash}); {model.name} is another "
                f"({model.hash})"
            )
        return graph(model.shape, self.point, self.opened, parse_node(self.start_node) if self.start_node else None)

    def mask(self, model: OthelloModel) -> Mask:
        """Its edges, as a mask for `circuits.causes.masked_runs`."""
        return self.graph(model).mask((edge.sender, edge.receiver) for edge in self.edges)

    def __repr__(self) -> str:
        return (
            f"Circuit({len(self.nodes)} nodes, {len(self.edges)} edges: {self.kept:.0%} of the effect on "
            f"{self.metric} on {self.held_out} held-out pairs, {self.kept_searched:.0%} on those pruned on; "
            f"{self.mean:.0%} under mean ablation)"
        )


def _order(name: str) -> tuple[int, int, int]:
    if name == TARGET:
        return 1 << 30, 0, 0
    node = parse_node(name)
    return *node.order, node.index or 0
