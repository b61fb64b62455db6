"""The model as a graph of edges: who writes to the stream, who reads it, and which of them a mask keeps.

Senders: the embedding, every head, every layer's MLP. Receivers: every head's q, k and v apart, every MLP, and the
target (a metric). A layer's MLP may be *opened*: some of its neurons are then nodes of their own, and ``L3 MLP`` is
the rest of it. An edge leads from every sender to every receiver that reads the stream after it was written. Positions
(W_pos) and biases are the same in every run and are no senders.

A mask is bool [receiver, sender]. (Conmy et al. 2023, arXiv 2304.14997, for the graph with q, k and v apart.)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool
from torch import Tensor

from circuits.causes.nodes import STREAM, Node, check_nodes, head
from circuits.causes.places import TARGET, place_of_point, read_at, whole, written_at
from circuits.checkpoints import Shape
from circuits.errors import InputError

Mask = Bool[Tensor, "receiver sender"]


@dataclass(frozen=True)
class Graph:
    """Every edge of a model up to a point.

    Attributes:
        shape: the model's sizes.
        point: where the target is read (a residual hook, or ``"logits"``).
        opened: the neurons that are nodes of their own.
        start: the stream in which it begins, where that is not the embedding: its first sender.
        senders, receivers: in the order in which the model computes them; the last receiver is ``"target"``.
    """

    shape: Shape
    point: str
    opened: tuple[Node, ...]
    start: Node | None
    senders: tuple[Node, ...]
    receivers: tuple[Node | str, ...]

    @property
    def place(self) -> int:
        """The place of the target."""
        return place_of_point(self.point, self.shape)

    @property
    def first(self) -> int:
        """The place at which it begins."""
        return 0 if self.start is None else place_of_point(self.start.hook, self.shape)

    @cached_property
    def written(self) -> tuple[int, ...]:
        """By sender: the first place at which the stream holds what it writes."""
        return (self.first, *(written_at(node) for node in self.senders[1:]))

    @cached_property
    def allowed(self) -> Mask:
        """All edges that there are."""
        written = torch.tensor(self.written)
        read = torch.tensor([self.place if isinstance(node, str) else read_at(node) for node in self.receivers])
        return written <= read[:, None]

    @cached_property
    def writer(self) -> tuple[int, ...]:
        """By receiver: the sender that it is a part of; -1 for the target."""
        row = {node: i for i, node in enumerate(self.senders)}
        return tuple(-1 if isinstance(node, str) else row[whole(node)] for node in self.receivers)

    @cached_property
    def rows(self) -> dict[str, int]:
        """A receiver's name -> its row in a mask."""
        return {str(node): i for i, node in enumerate(self.receivers)}

    @cached_property
    def columns(self) -> dict[str, int]:
        """A sender's name -> its column in a mask."""
        return {str(node): i for i, node in enumerate(self.senders)}

    def mask(self, edges: Iterable[tuple[str, str]]) -> Mask:
        """A mask that keeps some edges, each given as the names of its sender and its receiver.

        Raises:
            InputError: no such edge.
        """
        mask = torch.zeros_like(self.allowed)
        for sender, receiver in edges:
            row, column = self.rows.get(receiver), self.columns.get(sender)
            if row is None or column is None or not self.allowed[row, column]:
                raise InputError(
                    f"{sender} → {receiver} is no edge of this graph (target at {self.point}, "
                    f"{len(self.opened)} neurons opened); an example is 'embed' → 'target'"
                )
            mask[row, column] = True
        return mask

    def edges(self, mask: Mask) -> list[tuple[str, str]]:
        """The names of the edges that a mask keeps, by receiver."""
        return [(str(self.senders[s]), str(self.receivers[r])) for r, s in mask.nonzero().tolist()]

    def connected(self, mask: Mask) -> Mask:
        """The kept edges that lie on some path of kept edges from the first sender to the target."""
        fed = torch.zeros(len(self.senders), dtype=torch.bool)
        fed[0] = True
        for row, writer in enumerate(self.writer):  # in the order of computation
            if writer >= 0 and (mask[row] & fed).any():
                fed[writer] = True
        reaches = torch.zeros(len(self.senders), dtype=torch.bool)
        useful = torch.zeros(len(self.receivers), dtype=torch.bool)
        for row in reversed(range(len(self.receivers))):
            writer = self.writer[row]
            useful[row] = writer < 0 or bool(reaches[writer])
            if useful[row]:
                reaches |= mask[row]
        return mask & fed & useful[:, None]


def graph(shape: Shape, point: str, opened: Sequence[Node | str] = (), start: Node | None = None) -> Graph:
    """The graph of a model of some shape, up to a point; from the embedding, or from the stream at ``start`` on.

    Raises:
        InputError: no such point; an opened node that is no neuron before it (and after the start), or given twice; a
            SoLU model's neurons, which depend on each other; a start that is no stream before the point.
    """
    opened = check_nodes(opened, shape) if opened else ()
    place, first = place_of_point(point, shape), 0
    if start is not None:
        if start.kind not in STREAM:
            raise InputError(f"{start} is no stream to start in: that is a layer's pre, mid or post, as in 'L4 post'")
        first = place_of_point(start.hook, shape)
        if first > place:
            raise InputError(f"the circuit starts at {start}, after {point}, where its target is read")
    for node in opened:
        if node.kind == "neuron" and read_at(node) < first:
            raise InputError(f"{node} cannot be opened: it reads before {start}, where the circuit starts")
        if node.kind != "neuron" or written_at(node) > place:
            raise InputError(f"{node} cannot be opened: only neurons that write before {point} can")
        if shape.act == "solu":
            raise InputError(f"{node} cannot be opened: SoLU mixes a layer's neurons")
    senders: list[Node] = [start or Node("embed")]
    receivers: list[Node | str] = []
    for at in range(first, place):
        layer, mlp = divmod(at, 2)
        if mlp:
            parts = [*sorted((n for n in opened if n.layer == layer), key=lambda n: n.index), Node("mlp", layer)]
            senders += parts
            receivers += parts
        else:
            senders += [head(layer, i) for i in range(shape.n_heads)]
            receivers += [Node(kind, layer, i) for kind in "qkv" for i in range(shape.n_heads)]
    opened = tuple(sorted(opened, key=lambda n: (n.layer, n.index)))
    return Graph(shape, point, opened, start, tuple(senders), (*receivers, TARGET))
