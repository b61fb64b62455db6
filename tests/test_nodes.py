"""Names of nodes, their hooks and their order."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circuits.causes.nodes import HOOK, Node, check_node, check_nodes, parse_node
from circuits.errors import InputError

INDEXED = ("head", "q", "k", "v", "pattern", "neuron")
nodes = st.one_of(
    st.just(Node("embed")),
    st.builds(Node, st.sampled_from(["pre", "mid", "post", "attn", "mlp"]), st.integers(0, 99)),
    st.builds(Node, st.sampled_from(INDEXED), st.integers(0, 99), st.integers(0, 9999)),
)


@given(nodes)
def test_names_can_be_read_back(node):
    assert parse_node(str(node)) == node
    assert parse_node(f"  {str(node).lower()} ") == node
    assert str(node.unit or "") in str(node)


def test_hooks_exist_and_slices_are_the_units_own(tiny):
    tokens = torch.tensor([[20, 21, 22]])
    every = [Node(kind, 1 if kind != "embed" else 0, 2 if kind in INDEXED else None) for kind in HOOK]
    _, acts = tiny.run(tokens, save=[node.hook for node in every])
    for node in every:
        activation = acts[node.hook]
        if node.kind == "pattern":
            assert torch.equal(node.slice(activation), activation[:, 2])
        elif node.index is not None:
            assert torch.equal(node.slice(activation), activation[:, :, 2])
        else:
            assert node.slice(activation) is activation


def test_order_is_the_models(tiny):
    reached = []
    order = sorted((Node(kind, 0, 0 if kind in INDEXED else None) for kind in HOOK), key=lambda node: node.order)
    edits = [(node.hook, lambda a, hook, node=node: reached.append(node)) for node in order]
    tiny.run(torch.tensor([[20, 21]]), edit=edits)
    assert [node.order for node in reached] == sorted(node.order for node in reached)


@pytest.mark.parametrize(
    "name, message",
    [
        ("L5", "names no node"), ("L2H1.x", "names no node"), ("L2N1.q", "names no node"), ("", "names no node"),
        ("L3 MLP", "layers 0..2"), ("L0H4", "heads 0..3"), ("L0N128", "neurons 0..127"),
    ],
)  # fmt: skip
def test_refusals(tiny, name, message):
    with pytest.raises(InputError, match=message):
        check_node(name, tiny.shape)


def test_sets(tiny):
    assert check_nodes(["L0H1", Node("mlp", 2)], tiny.shape) == (Node("head", 0, 1), Node("mlp", 2))
    assert check_nodes([tiny.unit("L1N3")], tiny.shape) == (Node("neuron", 1, 3),)
    with pytest.raises(InputError, match="L0H1 was given twice"):
        check_nodes(["L0H1", "l0h1"], tiny.shape)
    with pytest.raises(InputError, match="at least one"):
        check_nodes([], tiny.shape)
    with pytest.raises(InputError, match="takes an index"):
        Node("head", 0)
    with pytest.raises(InputError, match="takes no index"):
        Node("mlp", 0, 1)
