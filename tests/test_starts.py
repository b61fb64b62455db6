"""Circuits that begin in a subspace of the stream: the same identities, from there on."""

import pytest
import torch

from circuits import plain
from circuits.causes import metrics
from circuits.causes.changes import Subspace
from circuits.causes.circuit_search import find_circuit
from circuits.causes.counterfactuals import counterfactuals
from circuits.causes.edge_attribution import edge_attribution, neuron_scores
from circuits.causes.edges import graph
from circuits.causes.masked_runs import MaskedRuns, means
from circuits.causes.nodes import Node
from circuits.causes.patching import patch
from circuits.directions import Directions, unit
from circuits.errors import InputError
from circuits.games import generate


@pytest.fixture(scope="module")
def model(tiny):
    return plain.of(tiny)


@pytest.fixture(scope="module")
def pairs():
    found = counterfactuals(generate(600, seed=3), "C2 empty", 40, plies=slice(9, 40))
    return found[found.legal_differs][:24]


def subspace(point: str, count: int = 12) -> Subspace:
    vectors = unit(torch.randn(count, 64, generator=torch.Generator().manual_seed(4)))
    return Subspace.of(Directions(vectors, tuple(map(str, range(count))), point, "test"), name="some")


@pytest.mark.parametrize("where", ["0.hook_resid_post", "1.hook_resid_mid"])
@pytest.mark.parametrize("ablation", ["resample", "mean"])
def test_all_edges_are_the_patched_run(model, pairs, where, ablation):
    start, metric = subspace(f"blocks.{where}"), metrics.newly_legal(pairs)
    g = graph(model.shape, "logits", ["L1N3", "L2N5"], start.node)
    assert str(g.senders[0]) == str(start.node) and "L0H0.q" not in g.rows
    plies = int(pairs.ply.max()) + 1
    reference = means(model, generate(100, seed=9).tokens[:, :plies], g.place) if ablation == "mean" else None
    runs = MaskedRuns(model, pairs, metric, g, ablation=ablation, reference=reference, start=start)
    whole = patch(model, pairs, metric, [start], direction="clean → corrupt")
    patched = whole.corrupt + whole.effects[0, 0, 0]
    torch.testing.assert_close(runs.top, patched, atol=1e-3, rtol=1e-4)
    assert (patched - whole.corrupt).abs().max() > 0.1
    if ablation == "resample":
        torch.testing.assert_close(runs.floor, whole.corrupt, atol=1e-4, rtol=1e-4)
    # Removing edges one at a time from the latest receiver down is the same as running each mask afresh.
    edges = [tuple(edge) for edge in g.allowed.nonzero()[::37].tolist()]
    removed = runs.removals(g.allowed, edges)
    for i, edge in enumerate(edges):
        mask = g.allowed.clone()
        mask[edge] = False
        torch.testing.assert_close(removed[i], runs(mask) - runs.top, atol=1e-3, rtol=1e-3)


def test_attribution_from_a_start_predicts_removals(model, pairs):
    start = subspace("blocks.0.hook_resid_post", 20)
    metric = metrics.newly_legal(pairs)
    scored = edge_attribution(model, pairs, metric, start=start, steps=5, sample=40)
    assert scored.agreement.pearson > 0.8, scored.agreement
    neurons = neuron_scores(model, pairs, metric, start=start)
    assert not neurons[0].any() and neurons[1].any()


def test_a_search_from_the_checkpoint(model, pairs):
    start = subspace("blocks.0.hook_resid_post", 20)
    found = find_circuit(model, pairs, metrics.newly_legal(pairs), start=start, open_neurons=6, keep=0.7)
    assert found.nodes[0] == "L0 post" and found.start == str(start)
    assert not any(edge.sender == "embed" or edge.receiver.startswith("L0") for edge in found.edges)
    own = next(point for point in found.curve if (point.chosen, point.ablation) == ("circuit", "resample"))
    assert own.kept > 0.4 > own.random
    mask = found.mask(model)
    assert int(mask.sum()) == len(found.edges)


def test_refusals(model, pairs):
    start = subspace("blocks.1.hook_resid_post")
    with pytest.raises(InputError, match="L0N3 cannot be opened: it reads before L1 post"):
        graph(model.shape, "logits", ["L0N3"], start.node)
    with pytest.raises(InputError, match="starts at L1 post, after"):
        graph(model.shape, "blocks.0.hook_resid_post", (), start.node)
    with pytest.raises(InputError, match="starts at embed"):
        MaskedRuns(model, pairs, metrics.newly_legal(pairs), graph(model.shape, "logits"), start=start)
    late = metrics.coordinate(Directions(unit(torch.randn(1, 64)), ("x",), "blocks.0.hook_resid_post", "t"), "x")
    with pytest.raises(InputError, match="starts at L1 post, after"):
        find_circuit(model, pairs, late, start=start)
    here = metrics.coordinate(Directions(unit(torch.randn(1, 64)), ("x",), "blocks.1.hook_resid_post", "t"), "x")
    with pytest.raises(InputError, match="nothing to search"):
        find_circuit(model, pairs, here, start=start)
    with pytest.raises(InputError, match="is no stream"):
        graph(model.shape, "logits", (), Node("mlp", 1))
