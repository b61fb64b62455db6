"""Scores of edges against derivatives taken edge by edge, exact where the model is linear, and their agreement."""

import pytest
import torch
from oracles_edges import edge_slopes, random_pairs, wired_model, wired_pairs
from test_path_patching import linear_model

from circuits import plain
from circuits.causes import metrics
from circuits.causes.agreement import agreement, drawn
from circuits.causes.edge_attribution import edge_attribution, neuron_edges, neuron_scores, spread
from circuits.causes.pairs import join
from circuits.causes.path_patching import path_effects, path_patch
from circuits.directions import Directions
from circuits.errors import InputError

OPENED = ("L0N3", "L1N100", "L0N1")


@pytest.fixture(scope="module")
def model(tiny):
    return plain.of(tiny)


@pytest.fixture(scope="module")
def pairs():
    return join([random_pairs(3, seed=4), random_pairs(2, seed=5, depth=6)])


@pytest.fixture(scope="module")
def metric():
    return metrics.logit_difference("C2", "F5")


def refused(function, *arguments, **options) -> str:
    with pytest.raises(InputError) as info:
        function(*arguments, **options)
    assert "\n" not in str(info.value)
    return str(info.value)


@pytest.mark.parametrize("point", ["logits", "blocks.1.hook_resid_post"])
@pytest.mark.parametrize("steps", [1, 3])
def test_scores_are_derivatives_along_each_edge(model, pairs, metric, steps, point):
    opened = OPENED
    if point != "logits":
        vector = torch.randn(64, generator=torch.Generator().manual_seed(1))
        vector = (vector - vector.mean()) / (vector - vector.mean()).norm()
        metric = metrics.coordinate(Directions(vector[None], ("X",), point, "test"), "X")
    found = edge_attribution(model, pairs, metric, opened=opened, steps=steps, sample=6, sample_pairs=2)
    g = found.graph
    assert not found.by_pair[~g.allowed].any()
    between = [0.0] if steps == 1 else [(i + 0.5) / steps for i in range(steps)]
    for i in range(len(pairs)):
        slow = torch.zeros_like(found.scores)
        for a in between:
            slopes = edge_slopes(model, g, pairs.clean[i], pairs.corrupt[i], metric, int(pairs.ply[i]), i, a)
            for (sender, receiver), slope in slopes.items():
                slow[g.rows[receiver], g.columns[sender]] += slope / steps
        gap = (found.by_pair[:, :, i] - slow).abs().max()
        assert gap < 1e-4 * slow.abs().max()


def test_in_a_linear_model_scores_are_exact(pairs, metric):
    """But for LayerNorm: there a small change is a linear one."""
    model = linear_model()
    from dataclasses import replace

    # A hundredth of the embedding's differences: LayerNorm hardly bends over so little.
    weights = dict(model.weights)
    W = weights["embed.W_E"]
    weights["embed.W_E"] = W.mean(0) + 0.01 * (W - W.mean(0))
    small = replace(model, weights=weights)
    found = edge_attribution(small, pairs, metric, steps=1, sample=60)
    assert found.agreement.pearson > 0.999
    assert found.agreement.spearman > 0.98
    assert found.agreement.slope == pytest.approx(1, abs=0.02)
    assert "40 edges" not in repr(found) and "60 edges" in repr(found)


def test_agreement_is_with_exact_removals(model, pairs, metric):
    found = edge_attribution(model, pairs, metric, sample=10)
    assert len(found.agreement.exact) == 10
    sender, receiver, score = found.top(1)[0]
    exact = path_patch(model, pairs, sender, receiver, metric, direction="corrupt → clean").effects.mean()
    assert float(found.agreement.exact[0]) == pytest.approx(float(exact), rel=1e-3)
    assert float(found.agreement.predicted[0]) == pytest.approx(score, rel=1e-4)
    assert [abs(x[2]) for x in found.top(9)] == sorted((abs(x[2]) for x in found.top(9)), reverse=True)


def test_neuron_edges_are_those_of_opened_neurons(model, pairs, metric):
    """All of them by matrix products, against the graph in which some neurons are nodes."""
    found = neuron_edges(model, pairs, metric, keep=500, steps=2, sample=4)
    assert found.searched == 3 * 128 * 128 and len(found.edges) == 500
    sizes = found.scores.abs()
    assert (sizes[:-1] >= sizes[1:]).all()
    score = {(str(a), str(b)): float(x) for (a, b), x in zip(found.edges, found.scores, strict=True)}
    opened = sorted({name for edge in list(score)[:6] for name in edge})
    slow = edge_attribution(model, pairs, metric, opened=opened, steps=2, sample=4)
    g = slow.graph
    for sender in opened:
        for receiver in opened:
            if sender[1] < receiver[1]:
                expected = float(slow.scores[g.rows[receiver], g.columns[sender]])
                found_it = score.get((sender, receiver))
                if found_it is None:
                    assert abs(expected) <= float(sizes[-1]) * 1.001
                else:
                    assert found_it == pytest.approx(expected, abs=1e-5 * float(sizes[0]))
    short = neuron_edges(model, pairs, metric, keep=7, sample=6)
    assert len(short.edges) == 7 and len(short.agreement.exact) == 6
    exact = path_effects(model, pairs, [short.edges[0]], metric, direction="corrupt → clean")
    assert float(exact.mean()) == pytest.approx(float(short.agreement.exact[0]), rel=1e-4)
    assert str(short.edges[0][0]) in repr(short)


def test_neuron_scores_find_the_wired_ones():
    model, pairs = wired_model(), wired_pairs(8)
    scores = neuron_scores(model, pairs, metrics.logit_difference("C2", "F5"))
    assert sorted(scores.abs().flatten().topk(2).indices.tolist()) == [8 + 3, 8 + 5]
    edges = neuron_edges(model, pairs, metrics.logit_difference("C2", "F5"), keep=5)
    assert len(edges.edges) == 5


def test_several_paths_are_each_its_own(model, pairs, metric):
    paths = [("embed", "L1H2.q"), ("L0H1", "L1N3", "target"), ("L0N3", "L2N4")]
    found = path_effects(model, pairs, paths, metric)
    for path, effect in zip(paths, found, strict=True):
        alone = path_patch(model, pairs, path[0], path[-1], metric, through=path[1:-1])
        assert torch.equal(alone.effects, effect)


def test_agreement_of_known_numbers():
    p = torch.tensor([1.0, 2, 3, 4])
    found = agreement(p, 2 * p, "things")
    assert (found.pearson, found.spearman, found.slope) == pytest.approx((1, 1, 2))
    assert str(found) == "Pearson 1.00, Spearman 1.00, slope 2.00 on 4 things"
    found = agreement(p, p.flip(0))
    assert (found.pearson, found.spearman) == pytest.approx((-1, -1))
    from scipy.stats import pearsonr, spearmanr

    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 30, generator=generator)
    a[3:9], b[5:20] = 0.5, -1  # ties
    found = agreement(a, b)
    assert found.pearson == pytest.approx(pearsonr(a, b)[0], abs=1e-6)
    assert found.spearman == pytest.approx(spearmanr(a, b)[0], abs=1e-6)
    assert torch.tensor(agreement(p, torch.zeros(4)).pearson).isnan()
    assert "at least 3" in refused(agreement, p[:2], p[:2])


def test_samples_are_half_the_largest_and_half_others():
    scores = torch.randn(200, generator=torch.Generator().manual_seed(0))
    picked = drawn(scores, 21, seed=3)
    assert len(set(picked.tolist())) == 21
    assert set(picked[:11].tolist()) == set(scores.abs().topk(11).indices.tolist())
    assert torch.equal(picked, drawn(scores, 21, seed=3)) and not torch.equal(picked, drawn(scores, 21, seed=4))
    assert sorted(drawn(scores[:5], 50).tolist()) == list(range(5))
    assert spread(10, 3).tolist() == [0, 4, 9] and spread(2, 5).tolist() == [0, 1]


def test_refusals(model, pairs, metric):
    assert "gradient" in refused(edge_attribution, model, pairs, metrics.top_n_error(pairs))
    assert "0 steps" in refused(neuron_scores, model, pairs, metric, steps=0)
    early = metrics.Metric("early", "blocks.0.hook_resid_post", lambda x, pair: x[:, 0])
    assert "two layers" in refused(neuron_edges, model, pairs, early)
    assert "at least 3" in refused(edge_attribution, model, pairs, metric, sample=2)
