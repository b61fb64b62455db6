"""The graph of edges, and passes under a mask: the two ends exactly, and in between edge by edge."""

import pytest
import torch
from oracles_edges import masked, random_pairs, references

from circuits import plain
from circuits.causes import metrics, pair_runs
from circuits.causes.edges import graph
from circuits.causes.masked_runs import MaskedRuns, means
from circuits.causes.nodes import parse_node
from circuits.causes.pairs import join
from circuits.causes.path_patching import path_patch
from circuits.checkpoints import Shape
from circuits.directions import Directions
from circuits.errors import InputError
from circuits.games import generate

OPENED = ("L0N3", "L2N100", "L0N1", "L1N7")


@pytest.fixture(scope="module")
def model(tiny):
    return plain.of(tiny)


@pytest.fixture(scope="module")
def pairs():
    return join([random_pairs(3, seed=4), random_pairs(3, seed=5, depth=9)])


@pytest.fixture(scope="module")
def pool():
    return generate(12, seed=9).tokens[:, :58]


@pytest.fixture(scope="module")
def metric():
    return metrics.logit_difference("C2", "F5")


def refused(function, *arguments, **options) -> str:
    with pytest.raises(InputError) as info:
        function(*arguments, **options)
    assert "\n" not in str(info.value)
    return str(info.value)


def close(ours, theirs, tolerance=1e-4):
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= tolerance * max(1.0, float(theirs.abs().max()))


def test_the_graph_has_every_edge(model):
    g = graph(model.shape, "logits")
    # layer by layer: q, k and v of 4 heads read embed and 5 nodes a layer before; an MLP also its layer's heads
    assert int(g.allowed.sum()) == sum(12 * (1 + 5 * i) + (5 + 5 * i) for i in range(3)) + 16
    assert [str(n) for n in g.senders[:7]] == ["embed", "L0H0", "L0H1", "L0H2", "L0H3", "L0 MLP", "L1H0"]
    assert str(g.receivers[0]) == "L0H0.q" and g.receivers[-1] == "target"
    assert ("L0H0", "L0 MLP") in g.edges(g.allowed) and ("L0H0", "L0H1.q") not in g.edges(g.allowed)
    opened = graph(model.shape, "logits", OPENED)
    assert [str(n) for n in opened.opened] == ["L0N1", "L0N3", "L1N7", "L2N100"]
    assert ("L0N3", "L1N7") in opened.edges(opened.allowed) and ("L0N3", "L0N1") not in opened.edges(opened.allowed)
    early = graph(model.shape, "blocks.1.hook_resid_mid")
    assert str(early.senders[-1]) == "L1H3" and early.place == 3
    assert torch.equal(early.mask(early.edges(early.allowed)), early.allowed)


def test_dead_ends_are_pruned(model):
    g = graph(model.shape, "logits")
    path = [("embed", "L0H1.k"), ("L0H1", "L1H2.v"), ("L1H2", "target")]
    dead = [("embed", "L1H0.q"), ("L0H2", "target"), ("L0H2", "L1H2.q"), ("L1 MLP", "L2 MLP"), ("L0H1", "L0 MLP")]
    mask = g.mask(path + dead)
    assert set(g.edges(g.connected(mask))) == set(path)
    assert not g.connected(g.mask(path[:2] + dead)).any()
    assert torch.equal(g.connected(g.allowed), g.allowed)


def test_all_edges_are_the_clean_run_and_none_the_reference(model, pairs, pool, metric):
    row = torch.arange(len(pairs))
    clean, corrupt = (metric(model(t[:, :59])[row, pairs.ply], row) for t in (pairs.clean, pairs.corrupt))
    for opened in ((), OPENED):
        g = graph(model.shape, "logits", opened)
        runs = MaskedRuns(model, pairs, metric, g)
        close(runs.top, clean)
        close(runs.floor, corrupt)
        reference = means(model, pool, g.place)
        averaged = MaskedRuns(model, pairs, metric, g, ablation="mean", reference=reference)
        close(averaged.top, clean)
        _, acts = model.run(pool, save=["blocks.2.hook_resid_post"])
        stream = acts["blocks.2.hook_resid_post"].mean(0)[pairs.ply]
        n = torch.nn.functional.layer_norm(stream, (64,), eps=model.shape.eps)
        close(averaged.floor, metric(n @ model.W_U + model.b_U, row))


@torch.no_grad()
@pytest.mark.parametrize("point", ["logits", "blocks.1.hook_resid_mid"])
@pytest.mark.parametrize("layer_norm", ["recomputed", "frozen"])
@pytest.mark.parametrize("ablation", ["resample", "mean"])
@pytest.mark.parametrize("density", [0.4, 0.8])
def test_masks_are_those_of_the_slow_pass(
    model, pairs, pool, metric, ablation, layer_norm, density, point, monkeypatch
):
    monkeypatch.setattr(pair_runs, "POSITIONS", 40)
    if point != "logits":
        vector = torch.randn(64, generator=torch.Generator().manual_seed(1))
        vector = (vector - vector.mean()) / (vector - vector.mean()).norm()
        metric = metrics.coordinate(Directions(vector[None], ("X",), point, "test"), "X")
    g = graph(model.shape, point, OPENED if point == "logits" else OPENED[:1])
    generator = torch.Generator().manual_seed(int(100 * density))
    mask = g.allowed & (torch.rand(g.allowed.shape, generator=generator) < density)
    reference = means(model, pool, g.place) if ablation == "mean" else None
    runs = MaskedRuns(model, pairs, metric, g, ablation=ablation, reference=reference, layer_norm=layer_norm)
    found, kept = runs(mask), set(g.edges(mask))
    for i in range(len(pairs)):
        tokens = pool if ablation == "mean" else pairs.corrupt[i : i + 1, : int(pairs.ply[i]) + 1]
        slow = masked(
            model, g, kept, pairs.clean[i], references(model, g, tokens), metric, int(pairs.ply[i]), i, layer_norm
        )
        # A frozen scale of another run blows streams up: some processors round such a sum at 2e-4 of it.
        assert abs(float(found[i] - slow)) < 5e-4 * max(1, abs(float(slow)))
    assert (found - runs.top).abs().max() > 1e-3 and (found - runs.floor).abs().max() > 1e-3


def test_what_lies_on_no_path_does_nothing_under_resampling(model, pairs, metric):
    g = graph(model.shape, "logits", OPENED)
    runs = MaskedRuns(model, pairs, metric, g)
    for seed in range(3):
        mask = g.allowed & (torch.rand(g.allowed.shape, generator=torch.Generator().manual_seed(seed)) < 0.1)
        assert int(g.connected(mask).sum()) < int(mask.sum())
        close(runs(g.connected(mask)), runs(mask), 1e-5)


@pytest.mark.parametrize("layer_norm", ["recomputed"])
def test_removing_one_edge_of_all_is_path_patching(model, pairs, metric, layer_norm):
    g = graph(model.shape, "logits")
    edges = [("embed", "L0H3.v"), ("L0H1", "L2H2.k"), ("L0 MLP", "L1 MLP"), ("L2H1", "target"), ("L1H1", "L2H0.q")]
    runs = MaskedRuns(model, pairs, metric, g, layer_norm=layer_norm)
    found = runs.removals(g.allowed, [(g.rows[receiver], g.columns[sender]) for sender, receiver in edges])
    for (sender, receiver), effect in zip(edges, found, strict=True):
        path = path_patch(model, pairs, sender, receiver, metric, direction="corrupt → clean")
        close(effect, path.effects)
    opened = graph(model.shape, "logits", OPENED)
    edge = ("L0N3", "L1N7")
    found = MaskedRuns(model, pairs, metric, opened).removals(
        opened.allowed, [(opened.rows[edge[1]], opened.columns[edge[0]])]
    )
    close(found[0], path_patch(model, pairs, *edge, metric, direction="corrupt → clean").effects)


def test_removals_are_masks_run_one_by_one(model, pairs, pool, metric):
    g = graph(model.shape, "logits", OPENED)
    mask = g.connected(g.allowed & (torch.rand(g.allowed.shape, generator=torch.Generator().manual_seed(3)) < 0.3))
    edges = mask.nonzero()[torch.randperm(int(mask.sum()), generator=torch.Generator().manual_seed(4))[:25]].tolist()
    for ablation in ("resample", "mean"):
        reference = means(model, pool, g.place) if ablation == "mean" else None
        runs = MaskedRuns(model, pairs, metric, g, ablation=ablation, reference=reference)
        whole = runs(mask)
        found = runs.removals(mask, [tuple(edge) for edge in edges])
        for edge, effect in zip(edges, found, strict=True):
            without = mask.clone()
            without[tuple(edge)] = False
            close(effect, runs(without) - whole, 1e-5)


def test_means_leave_out_what_follows_a_games_end(model):
    tokens = generate(3, seed=2).tokens[:, :20].clone()
    tokens[0, 12:] = 0
    found = means(model, tokens, 2)
    _, acts = model.run(tokens, save=["hook_embed", "blocks.0.mlp.hook_post"])
    post, embed = acts["blocks.0.mlp.hook_post"], acts["hook_embed"]
    close(found.post[0][0, :12], post.mean(0)[:12])
    close(found.post[0][0, 12:], post[1:].mean(0)[12:])
    close(found.embed[0, 12:], embed[1:].mean(0)[12:])


def test_refusals(model, pairs, pool, metric):
    g = graph(model.shape, "logits")
    assert "no edge" in refused(g.mask, [("L1H0", "L0H0.q")])
    assert "no edge" in refused(g.mask, [("L9H0", "target")])
    assert "cannot be opened" in refused(graph, model.shape, "logits", ["L0H1"])
    assert "cannot be opened" in refused(graph, model.shape, "blocks.1.hook_resid_mid", ["L1N1"])
    assert "twice" in refused(graph, model.shape, "logits", ["L0N1", "L0N1"])
    assert "no point" in refused(graph, model.shape, "hook_embed")
    assert "SoLU" in refused(graph, Shape(1, 16, 1, 4, 6, act="solu"), "logits", ["L0N1"])
    assert "resample, mean" in refused(MaskedRuns, model, pairs, metric, g, ablation="zero")
    assert "recomputed, frozen" in refused(MaskedRuns, model, pairs, metric, g, layer_norm="no")
    assert "needs the means" in refused(MaskedRuns, model, pairs, metric, g, ablation="mean")
    short = means(model, pool[:, :9], g.place)
    assert "give longer games" in refused(MaskedRuns, model, pairs, metric, g, ablation="mean", reference=short)
    assert "reaches ply 5" in refused(means, model, torch.nn.functional.pad(pool[:, :5], (0, 1)), 1)
    assert parse_node("L0N3") in graph(model.shape, "logits", OPENED).opened
