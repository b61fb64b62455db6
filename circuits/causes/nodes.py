"""Nodes: the places in the model that causal analyses name, patch, ablate and draw.

    embed                     the token embedding              hook_embed
    L3 pre, L3 mid, L3 post   the residual stream              hook_resid_pre, _mid, _post
    L3 attn, L3 MLP           what a whole layer part writes   hook_attn_out, hook_mlp_out
    L2H5                      a head's output                  attn.hook_z, before W_O
    L2H5.q .k .v .pattern     a head's query, key, value, attention pattern
    L5N1393                   a neuron                         mlp.hook_post

Each is one slice of one hook, so that what a pass saved or is made to compute is named in one way everywhere.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from circuits.checkpoints import Shape
from circuits.errors import InputError
from circuits.notation import Unit, parse_unit

Kind = Literal["embed", "pre", "mid", "post", "attn", "mlp", "head", "q", "k", "v", "pattern", "neuron"]

#: the hook of each kind, behind ``blocks.L.`` (but for the embedding)
HOOK = {
    "embed": "hook_embed",
    "pre": "hook_resid_pre",
    "q": "attn.hook_q",
    "k": "attn.hook_k",
    "v": "attn.hook_v",
    "pattern": "attn.hook_pattern",
    "head": "attn.hook_z",
    "attn": "hook_attn_out",
    "mid": "hook_resid_mid",
    "neuron": "mlp.hook_post",
    "mlp": "hook_mlp_out",
    "post": "hook_resid_post",
}
#: kinds of the residual stream itself: what everything before them has written
STREAM = ("pre", "mid", "post")
#: the axis of a hook's activation on which heads or neurons lie: [game, ply, head, d_head], patterns [game, head, ...]
_AXIS = {"head": 2, "q": 2, "k": 2, "v": 2, "pattern": 1, "neuron": 2}
_WORDS = {"pre": "pre", "mid": "mid", "post": "post", "attn": "attn", "mlp": "MLP"}


@dataclass(frozen=True)
class Node:
    """One place; ``index`` is the head's or neuron's number, None where there is none. ``str`` gives its name."""

    kind: Kind
    layer: int = 0
    index: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in HOOK:
            raise InputError(f"{self.kind!r} is no kind of node: {', '.join(HOOK)}")
        if (self.index is not None) != (self.kind in _AXIS):
            raise InputError(f"a node of kind {self.kind!r} takes {'an' if self.kind in _AXIS else 'no'} index")

    def __str__(self) -> str:
        if self.kind == "embed":
            return "embed"
        if self.kind in _WORDS:
            return f"L{self.layer} {_WORDS[self.kind]}"
        letter = "N" if self.kind == "neuron" else "H"
        part = "" if self.kind in ("head", "neuron") else f".{self.kind}"
        return f"L{self.layer}{letter}{self.index}{part}"

    @property
    def hook(self) -> str:
        """The hook whose activation this is a slice of."""
        return HOOK[self.kind] if self.kind == "embed" else f"blocks.{self.layer}.{HOOK[self.kind]}"

    @property
    def order(self) -> tuple[int, int]:
        """Sorts nodes as the model computes them; nodes of one order cannot influence each other."""
        if self.kind == "embed":
            return -1, 0
        rank = {"pre": 0, "q": 1, "k": 1, "v": 2, "pattern": 2, "head": 3, "attn": 4, "mid": 5, "neuron": 6}
        return self.layer, rank.get(self.kind, 7 if self.kind == "mlp" else 8)

    @property
    def unit(self) -> Unit | None:
        """The head or neuron that this node is (a part of), if it is of one."""
        if self.index is None:
            return None
        return Unit(self.layer, "neuron" if self.kind == "neuron" else "head", self.index)

    def slice(self, activation: Tensor) -> Tensor:
        """This node's part of its hook's activation, a view."""
        return activation if self.index is None else activation.select(_AXIS[self.kind], self.index)


def head(layer: int, index: int) -> Node:
    return Node("head", layer, index)


def neuron(layer: int, index: int) -> Node:
    return Node("neuron", layer, index)


def parse_node(text: str) -> Node:
    """The inverse of ``str(node)``; case and spaces do not matter.

    Raises:
        InputError: not of those forms.
    """
    squeezed = "".join(text.split()).lower()
    if squeezed == "embed":
        return Node("embed")
    if match := re.fullmatch(r"l([0-9]{1,4})(pre|mid|post|attn|mlp)", squeezed):
        return Node(match[2], int(match[1]))
    if match := re.fullmatch(r"(l[0-9]{1,4}[hn][0-9]{1,6})(?:\.(q|k|v|pattern))?", squeezed):
        unit = parse_unit(match[1])
        if match[2] is None or unit.kind == "head":
            return Node(match[2] or unit.kind, unit.layer, unit.index)
    raise InputError(
        f"{text!r} names no node: write 'embed', 'L3 pre', 'L3 mid', 'L3 post', 'L3 attn', 'L3 MLP', 'L2H5', "
        "'L2H5.q' (or .k, .v, .pattern) or 'L5N1393'"
    )


def check_node(node: Node | str | Unit, shape: Shape) -> Node:
    """A node from its name, checked against a model's sizes.

    Raises:
        InputError: not a node's name; a layer, head or neuron that this model does not have.
    """
    if isinstance(node, Unit):
        node = Node(node.kind, node.layer, node.index)
    if isinstance(node, str):
        node = parse_node(node)
    if not 0 <= node.layer < shape.n_layers:
        raise InputError(f"{node}: there is no layer {node.layer}; this model has layers 0..{shape.n_layers - 1}")
    if node.index is not None:
        count, word = (shape.d_mlp, "neurons") if node.kind == "neuron" else (shape.n_heads, "heads")
        if not 0 <= node.index < count:
            raise InputError(f"{node}: there is no such unit; layer {node.layer} has {word} 0..{count - 1}")
    return node


def check_nodes(nodes: Iterable[Node | str | Unit], shape: Shape) -> tuple[Node, ...]:
    """Several nodes, none of them twice.

    Raises:
        InputError: as `check_node`; none given; one given twice.
    """
    checked = tuple(check_node(node, shape) for node in nodes)
    if not checked:
        raise InputError("no nodes were given: at least one is needed")
    if len(set(checked)) != len(checked):
        twice = next(node for node in checked if checked.count(node) > 1)
        raise InputError(f"{twice} was given twice")
    return checked
