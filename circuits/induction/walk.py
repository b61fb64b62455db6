"""Positions walking down trees, as packed subsets: a node's positions are those of its parent & its literal's column.

A *place* is one of the 2^depth at the lowest level. Below a leaf the walk goes on as if every literal failed, so each
position ends in the first place below its leaf. Its number's bits, highest first, are where it went at each level::

    place = sum over levels of 2^(depth - 1 - level) [its node's literal holds]
"""

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from circuits.induction.bytes import everywhere, unpack


def level(i: int) -> slice:
    """The nodes of a level; the root's is 0."""
    return slice((1 << i) - 1, (2 << i) - 1)


def walk(literals: UInt8[Tensor, "literal byte"], n: int, tree: Int[Tensor, "neuron node"]) -> Int[Tensor, "neuron n"]:
    """The place of each position in each tree."""
    neurons, nodes = tree.shape
    depth = (nodes + 1).bit_length() - 2
    path = literals.new_zeros(depth, neurons, literals.shape[1])
    neuron = torch.arange(neurons, device=tree.device)
    node = torch.zeros_like(neuron)
    subset = everywhere(n, literals.device).expand(neurons, -1)
    for i in range(depth):
        asks = (tree[neuron, node] >= 0).nonzero()[:, 0]
        neuron, node, subset = (x.index_select(0, asks) for x in (neuron, node, subset))
        holds = subset & literals.index_select(0, tree[neuron, node].long())
        mark(path[i], neuron, holds)
        neuron, node = torch.cat([neuron, neuron]), torch.cat([2 * node + 1, 2 * node + 2])
        subset = torch.cat([subset ^ holds, holds])
    return places(path, n)


def mark(path: UInt8[Tensor, "neuron byte"], neuron: Int[Tensor, "row"], holds: UInt8[Tensor, "row byte"]) -> None:
    """Note where literals hold, each at positions of its own: a neuron's nodes on one level share none, so that
    nothing is carried, and eight bytes may be added as one number."""
    path.view(torch.int64).index_add_(0, neuron, holds.view(torch.int64))


def places(path: UInt8[Tensor, "level neuron byte"], n: int) -> Int[Tensor, "neuron n"]:
    depth = len(path)
    out = torch.zeros(path.shape[1], n, dtype=torch.int16, device=path.device)
    for i in range(depth):
        out -= unpack(path[i])[:, :n].short() << (depth - 1 - i)
    return out.long()
