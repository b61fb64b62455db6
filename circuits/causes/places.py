"""Where nodes read the stream and write to it: places, numbered in the order of computation.

Place 2l enters the attention of layer l, place 2l + 1 its MLP, and the last place, 2 n_layers, the final LayerNorm.
Between two places one layer part reads the stream and writes to it.
"""

from circuits.attribution import LOGITS
from circuits.causes.nodes import Node
from circuits.checkpoints import Shape
from circuits.errors import InputError

#: the receiver that is the metric itself
TARGET = "target"


def place_of_point(point: str, shape: Shape) -> int:
    """The place of a metric's point.

    Raises:
        InputError: no residual point of this model.
    """
    if point == LOGITS:
        return 2 * shape.n_layers
    for layer in range(shape.n_layers):
        for where, place in (("pre", 2 * layer), ("mid", 2 * layer + 1), ("post", 2 * layer + 2)):
            if point == f"blocks.{layer}.hook_resid_{where}":
                return place
    raise InputError(
        f"{point!r} is no point of the residual stream: 'blocks.L.hook_resid_pre', '_mid', '_post', or 'logits'"
    )


def written_at(node: Node) -> int:
    """The first place at which the stream holds what a node writes.

    Raises:
        InputError: the node writes nothing of its own to the stream.
    """
    if node.kind == "embed":
        return 0
    if node.kind in ("head", "attn"):
        return 2 * node.layer + 1
    if node.kind in ("neuron", "mlp"):
        return 2 * node.layer + 2
    raise InputError(f"{node} is no sender: embed, a head, a neuron, a layer's attn or its MLP writes to the stream")


def read_at(node: Node) -> int:
    """The place at which a node reads the stream.

    Raises:
        InputError: the node reads nothing.
    """
    if node.kind in ("q", "k", "v", "head", "attn"):
        return 2 * node.layer
    if node.kind in ("neuron", "mlp"):
        return 2 * node.layer + 1
    raise InputError(
        f"{node} is no receiver: a head or its .q, .k or .v, a neuron, a layer's attn or its MLP reads the stream"
    )


def whole(node: Node) -> Node:
    """The node that writes: the head of a q, k or v."""
    return Node("head", node.layer, node.index) if node.kind in ("q", "k", "v") else node
