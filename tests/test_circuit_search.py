"""A circuit that is known must be found exactly; its curve, its file, and what is refused."""

import json
import math
from dataclasses import replace

import pytest
import torch
from oracles_edges import WIRED, random_pairs, wired_model, wired_pairs

from circuits import plain
from circuits.causes import circuit_files, metrics
from circuits.causes.circuit_search import find_circuit, largest, prune, share, split
from circuits.causes.edges import graph
from circuits.causes.faithfulness import exchanged, kept, random_graph
from circuits.causes.masked_runs import MaskedRuns
from circuits.causes.path_patching import path_patch
from circuits.errors import InputError


@pytest.fixture(scope="module")
def wired():
    return wired_model()


@pytest.fixture(scope="module")
def pairs():
    return wired_pairs(16)


@pytest.fixture(scope="module")
def metric():
    return metrics.logit_difference("C2", "F5")


@pytest.fixture(scope="module")
def found(wired, pairs, metric):
    return find_circuit(wired, pairs, metric, keep=0.9, open_neurons=3, random_graphs=4)


def refused(function, *arguments, **options) -> str:
    with pytest.raises(InputError) as info:
        function(*arguments, **options)
    assert "\n" not in str(info.value)
    return str(info.value)


def test_the_known_circuit_is_found_exactly(found):
    assert {(edge.sender, edge.receiver) for edge in found.edges} == WIRED
    assert found.nodes == ("embed", "L0H1", "L1N3", "L1N5", "target")
    assert {"L1N3", "L1N5"} < set(found.opened)
    assert found.kept == pytest.approx(1, abs=0.1)
    for edge in found.edges:
        assert edge.low <= edge.effect <= edge.high
        assert edge.effect * (found.clean - found.corrupt) < 0
        assert edge.score == pytest.approx(edge.effect, rel=0.5)
    # Each way carries what it is wired to carry, and a way is broken wherever it is cut.
    by_edge = {(edge.sender, edge.receiver): edge.effect for edge in found.edges}
    assert by_edge["embed", "L1N5"] == pytest.approx(by_edge["L1N5", "target"], rel=1e-3)
    assert by_edge["embed", "L0H1.v"] == pytest.approx(by_edge["L0H1", "L1N3"], rel=1e-3)
    assert by_edge["embed", "L1N5"] + by_edge["embed", "L0H1.v"] == pytest.approx(found.corrupt - found.clean, rel=0.1)


def test_without_opened_neurons_its_layers_are_named(wired, pairs, metric):
    found = find_circuit(wired, pairs, metric, keep=0.9, open_neurons=0, random_graphs=0)
    assert {(edge.sender, edge.receiver) for edge in found.edges} == {
        ("embed", "L0H1.v"),
        ("embed", "L1 MLP"),
        ("L0H1", "L1 MLP"),
        ("L1 MLP", "target"),
    }
    assert math.isnan(found.curve[0].random)


def test_the_effects_by_hand(wired, pairs, metric):
    """The feature changes by 2, is read once, written a fifth as large, and the logit reads four times that; LayerNorms
    divide by what they measured in the corrupt run."""
    hooks = ["blocks.1.ln2.hook_scale", "ln_final.hook_scale"]
    _, acts = wired.run(pairs.corrupt[:, :59], save=hooks)
    scales = [acts[hook][torch.arange(len(pairs)), pairs.ply, 0] for hook in hooks]
    effect = path_patch(wired, pairs, "embed", "target", metric, through=("L1N5",), layer_norm="frozen")
    assert torch.allclose(effect.effects, 2 / scales[0] * 0.2 * 4 / scales[1], rtol=1e-4)
    # The other way: the head's value is the feature by its own LayerNorm, shared over all plies before, four times.
    _, acts = wired.run(pairs.corrupt[:, :59], save=["blocks.0.ln1.hook_scale"])
    first = acts["blocks.0.ln1.hook_scale"][torch.arange(len(pairs)), pairs.ply, 0]
    effect = path_patch(wired, pairs, "embed", "target", metric, through=("L0H1.v", "L1N3"), layer_norm="frozen")
    by_hand = 2 / first / (pairs.ply + 1) * 4 / scales[0] * 0.2 * 4 / scales[1]
    assert torch.allclose(effect.effects, by_hand, rtol=1e-4)


def test_the_curve(found):
    for ablation in ("resample", "mean"):
        points = [p for p in found.curve if p.ablation == ablation]
        assert [p.edges for p in points] == sorted(p.edges for p in points)
        (own,) = [p for p in points if p.chosen == "circuit"]
        assert own.edges == 5 and own.kept > 0.9 > own.random_high >= own.random >= own.random_low
        assert own.low <= own.kept <= own.high
        assert points[-1].kept == pytest.approx(1, abs=0.02)


def test_everything_kept_is_one_and_nothing_zero(wired, pairs, metric):
    g = graph(wired.shape, "logits")
    runs = MaskedRuns(wired, pairs, metric, g)
    whole, none = kept(runs, g.allowed, pairs.game), kept(runs, g.allowed & False, pairs.game)
    assert (whole.share, whole.low, whole.high) == pytest.approx((1, 1, 1))
    assert (none.share, none.low, none.high) == pytest.approx((0, 0, 0))
    # One game: nothing is known of others.
    one = kept(runs, g.mask([("embed", "L1 MLP"), ("L1 MLP", "target")]), torch.zeros(len(pairs), dtype=torch.int64))
    assert math.isnan(one.low) and math.isnan(one.high) and 0.1 < one.share < 0.9


def test_exchanged_graphs_have_the_same_shape(tiny):
    g = graph(tiny.shape, "logits", ["L0N1", "L0N7", "L1N2", "L1N3"])
    edges = [("embed", "L0H1.v"), ("L0H1", "L0N7"), ("L0N7", "L1H2.q"), ("L1H2", "L1 MLP"), ("L1 MLP", "target")]
    mask = g.mask([*edges, ("embed", "L1H0.k"), ("L0 MLP", "L1H0.k")])
    seen = set()
    for seed in range(30):
        other = exchanged(g, mask, seed)
        assert int(other.sum()) == int(mask.sum()) and not (other & ~g.allowed).any()
        named = g.edges(other)
        seen.add(tuple(named))
        # Layers and kinds stay, and so does what of a head is reached; whole MLPs stay what they are.
        shape = sorted((s[:3], r[:3], r.partition(".")[2]) for s, r in named)
        assert shape == sorted((s[:3], r[:3], r.partition(".")[2]) for s, r in g.edges(mask))
        assert ("L1 MLP", "target") in named
        # One node's edges move together.
        (head,) = {s for s, r in named if r.startswith("L0N")}
        assert ("embed", f"{head}.v") in named
    assert len(seen) > 10


def test_random_graphs_have_their_size_and_lead_somewhere(tiny):
    for opened in ((), ("L0N1", "L1N2")):
        g = graph(tiny.shape, "logits", opened)
        for count in (1, 2, 3, 5, 17, 60, int(g.allowed.sum()) - 1, int(g.allowed.sum())):
            masks = [random_graph(g, count, seed) for seed in range(3)]
            for mask in masks:
                assert int(mask.sum()) == count and not (mask & ~g.allowed).any()
                assert torch.equal(g.connected(mask), mask)
            assert torch.equal(masks[0], random_graph(g, count, 0))
            assert count in (1, int(g.allowed.sum())) or not torch.equal(masks[0], masks[1])
    assert "at least 1" in refused(random_graph, g, 0)
    assert "there are" in refused(random_graph, g, 10_000)


def test_pruning_ends_where_no_edge_can_go(wired, pairs, metric):
    g = graph(wired.shape, "logits")
    runs = MaskedRuns(wired, pairs, metric, g)
    path = list(prune(runs, g.allowed, 0.9))
    sizes = [int(mask.sum()) for mask in path]
    assert sizes == sorted(set(sizes), reverse=True)
    for mask in path:
        assert 0.9 <= share(runs, mask) <= 1.1 and torch.equal(g.connected(mask), mask)
    for edge in path[-1].nonzero().tolist():
        smaller = path[-1].clone()
        smaller[tuple(edge)] = False
        assert not 0.9 <= share(runs, smaller) <= 1.1


def test_the_largest_scores_without_dead_ends(wired):
    g = graph(wired.shape, "logits")
    scores = torch.zeros(g.allowed.shape)
    for i, (sender, receiver) in enumerate([("embed", "L0H1.v"), ("L0H1", "target"), ("L0H0", "target")]):
        scores[g.rows[receiver], g.columns[sender]] = (-1) ** i * (10 - i)
    assert set(g.edges(largest(g, scores, 3))) == {("embed", "L0H1.v"), ("L0H1", "target")}
    assert not largest(g, scores, 1).any()


def test_pairs_are_split_by_game():
    game = torch.tensor([5, 5, 7, 8, 8, 8, 9, 2])
    rows, held = split(game, 0.4, 0)
    assert sorted([*rows.tolist(), *held.tolist()]) == list(range(8))
    assert len(set(game[held].tolist())) == 2 and not set(game[rows].tolist()) & set(game[held].tolist())
    assert "search on" not in refused(split, game, 0.0, 0)
    assert "1 games" in refused(split, torch.tensor([3, 3]), 0.5, 0)


def test_a_file_is_read_back_as_it_was(found, wired, tmp_path):
    circuit_files.write(found, tmp_path / "circuit.json")
    assert circuit_files.read(tmp_path / "circuit.json", wired) == found
    assert json.loads((tmp_path / "circuit.json").read_text())["format"] == "othello-circuits circuit"
    runs = MaskedRuns(wired, wired_pairs(5, seed=40), metrics.logit_difference("C2", "F5"), found.graph(wired))
    assert share(runs, found.mask(wired)) == pytest.approx(1, abs=0.1)
    bare = replace(found, curve=(replace(found.curve[0], random=math.nan),))
    assert math.isnan(circuit_files.from_json(circuit_files.to_json(bare)).curve[0].random)


def test_damaged_and_foreign_files_are_refused(found, wired, tiny, tmp_path):
    good = json.loads(circuit_files.to_json(found))

    def message(**changes):
        content = {key: value for key, value in (good | changes).items() if value is not ...}
        return refused(circuit_files.from_json, json.dumps(content), wired, "x.json")

    assert "no JSON" in refused(circuit_files.from_json, "{")
    assert "no circuit" in refused(circuit_files.from_json, "[]")
    assert "no circuit" in message(format="other")
    assert "version 2" in message(version=2)
    assert "'edges' of a Circuit is missing" in message(edges=...)
    assert "has no 'extra'" in message(extra=1)
    assert "must be a list" in message(edges={})
    assert "must be of type int" in message(searched="many")
    assert "must be of type int" in message(searched=True)
    assert "must be an object" in message(settings=[])
    assert "stands where a CircuitEdge belongs" in message(edges=[3])
    assert "holds no circuit" in message(edges=[])
    assert "holds no circuit" in message(kept=None)
    assert "an edge twice" in message(edges=[good["edges"][0]] * 2)
    assert "no edge" in message(edges=[good["edges"][0] | {"sender": "L1H9"}])
    assert "no point" in message(point="nowhere")
    assert "found in model wired" in refused(circuit_files.from_json, json.dumps(good), plain.of(tiny))
    assert "cannot read" in refused(circuit_files.read, tmp_path / "missing.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    assert "no JSON" in refused(circuit_files.read, tmp_path / "binary.json")


def test_refusals(wired, pairs, metric, tiny):
    assert "keep 1.5" in refused(find_circuit, wired, pairs, metric, keep=1.5)
    assert "gradient" in refused(find_circuit, wired, pairs, metrics.top_n_error(pairs))
    assert "1 games" in refused(find_circuit, wired, pairs[:1], metric)
    assert "0 to 400" in refused(find_circuit, wired, pairs, metric, open_neurons=-1)
    others = metrics.newly_legal(pairs[pairs.legal_differs][:2])
    assert "was made for 2 pairs" in refused(find_circuit, wired, pairs, others)
    flat = metrics.Metric("nothing", "logits", lambda x, pair: 0 * x[:, 0])
    assert "no effect" in refused(find_circuit, wired, pairs, flat)


def test_on_a_trained_model_the_search_beats_chance(tiny):
    pairs = random_pairs(24, seed=31)
    pairs = pairs[(pairs.clean_end.legal != pairs.corrupt_end.legal).nonzero().flatten()]
    found = find_circuit(tiny, pairs, metrics.newly_legal(pairs), open_neurons=5, random_graphs=2, max_edges=100)
    own = {p.ablation: p for p in found.curve if p.chosen == "circuit"}
    assert own["resample"].kept > 0.4 and own["resample"].kept > own["resample"].random_high + 0.2
    assert found.layer_norm == "recomputed" and found.searched + found.held_out == len(pairs) > 15
