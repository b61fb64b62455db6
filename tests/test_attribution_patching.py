"""Attributed effects are the slow way's slopes, are exact where the model is linear, and add up where they must."""

from dataclasses import replace

import oracles_ablation
import oracles_node_attribution as oracle
import pytest
import torch

from circuits import plain
from circuits.causes import metrics
from circuits.causes.agreement import agreement
from circuits.causes.attribution_patching import CHUNK, attribute_nodes
from circuits.causes.node_gradients import Site
from circuits.causes.nodes import Node, parse_node
from circuits.causes.patching import patch, sweep
from circuits.directions import Directions
from circuits.errors import InputError

KINDS = ("embed", "pre", "q", "k", "v", "pattern", "head", "attn", "mid", "neuron", "mlp", "post")
BOTH = ("clean → corrupt", "corrupt → clean")


@pytest.fixture(scope="module")
def model(tiny):
    return plain.of(tiny)


@pytest.fixture(scope="module")
def pairs():
    return oracle.some_pairs(6)


def reading(point: str) -> metrics.Metric:
    vector = torch.randn(64, generator=torch.Generator().manual_seed(1))
    directions = Directions((vector / vector.norm())[None], ("u",), point, "random")
    return metrics.coordinate(directions, "u")


def refused(*arguments, **options) -> str:
    with pytest.raises(InputError) as info:
        attribute_nodes(*arguments, **options)
    assert "\n" not in str(info.value)
    return str(info.value)


@pytest.mark.parametrize("direction", BOTH)
@pytest.mark.parametrize("kind", KINDS)
def test_first_order_is_the_slope_along_one_node(model, pairs, kind, direction):
    metric = metrics.log_probability("C3")
    found = attribute_nodes(model, pairs, metric, [kind], direction=direction, sample=6)
    places = torch.linspace(0, len(found.nodes) - 1, 3).long().unique().tolist()
    for row in places:
        for i in (0, 4):
            slow = oracle.slope(model, pairs, i, metric, found.nodes[row], direction)
            torch.testing.assert_close(found.scores[row, i], slow, atol=2e-5, rtol=2e-3)
    assert found.scores.abs().max() > 1e-4 and found.direction == direction and found.steps == 0


@pytest.mark.parametrize("kind", ["attn", "mlp", "pre", "mid", "post", "embed"])
def test_integrated_gradients_are_the_mean_slope(model, pairs, kind):
    """Where a site is one node, the slope along it at each step, averaged."""
    metric, steps = metrics.log_probability("C3"), 4
    found = attribute_nodes(model, pairs, metric, [kind], steps=steps, sample=6)
    for row, node in list(enumerate(found.nodes))[:2]:
        at = [oracle.slope(model, pairs, 3, metric, node, BOTH[0], (s + 0.5) / steps) for s in range(steps)]
        torch.testing.assert_close(found.scores[row, 3], sum(at) / steps, atol=2e-5, rtol=2e-3)


@pytest.mark.parametrize("direction", BOTH)
def test_integrated_gradients_add_up_to_patching_the_site(model, pairs, direction):
    """Completeness: the nodes' scores of one layer sum to the effect of patching all of it, ever closer."""
    metric = metrics.log_probability("C3")
    gaps = []
    for steps in (1, 4, 16):
        found = attribute_nodes(
            model, pairs, metric, ("neuron", "head", "pre"), direction=direction, steps=steps, sample=6
        )
        worst = 0.0
        for kind, whole in (("neuron", "mlp"), ("head", "attn"), ("pre", "pre")):
            for layer in range(3):
                rows = [i for i, node in enumerate(found.nodes) if (node.kind, node.layer) == (kind, layer)]
                exact = sweep(model, pairs, metric, [Node(whole, layer)], by_ply=False, direction=direction)
                gap = (found.scores[rows].sum(0) - exact.effects[0, 0, 0]).abs().max()
                worst = max(worst, float(gap / exact.effects.abs().max()))
        gaps.append(worst)
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] and gaps[2] < 0.02


def test_first_order_is_exact_where_the_model_is_linear(pairs):
    """The planted model is linear but for a LayerNorm whose scale hardly moves."""
    model = oracles_ablation.planted(0.6, move=20)
    metric = metrics.logit("C3")  # token 20
    found = attribute_nodes(model, pairs, metric, ("head", "neuron", "attn", "mlp", "pre"), sample=20)
    exact = sweep(model, pairs, metric, found.nodes, by_ply=False, direction=BOTH[0]).effects[0, :, 0]
    torch.testing.assert_close(found.scores, exact, atol=2e-4, rtol=5e-3)
    at = {str(node): i for i, node in enumerate(found.nodes)}
    assert found.scores[at["L0H0"]].abs().max() > 1e-2
    # L1N0 takes back 0.6 of what L0H0 writes, and what is patched at L1 pre has both effects.
    torch.testing.assert_close(found.scores[at["L0H0"]], found.scores[at["L1 pre"]], atol=1e-3, rtol=1e-2)
    torch.testing.assert_close(found.scores[at["L1N0"]], -1.5 * found.scores[at["L0H0"]], atol=1e-3, rtol=1e-2)
    for checked in found.agreement.values():
        for half in (checked.random, checked.largest):
            assert half.by_pair.slope == pytest.approx(1, abs=0.01) and half.by_pair.pearson > 0.9999
            assert len(half.nodes) < 3 or half.mean.slope == pytest.approx(1, abs=0.01)
    assert found.top(3)[0][0] in (parse_node("L1N0"), parse_node("L1 MLP"))


def test_the_other_direction_is_the_swapped_pairs(model, pairs):
    metric = metrics.logit_difference("C3", "F4")
    one = attribute_nodes(model, pairs, metric, direction=BOTH[0], sample=6)
    two = attribute_nodes(model, pairs.swapped(), metric, direction=BOTH[1], sample=6)
    torch.testing.assert_close(one.scores, two.scores)
    torch.testing.assert_close(one.effect, two.effect)
    clean, corrupt = (
        torch.stack(
            [metric(model(side[i : i + 1].long()[:, :59])[:, pairs.ply[i]], torch.tensor([i]))[0] for i in range(6)]
        )
        for side in (pairs.clean, pairs.corrupt)
    )
    torch.testing.assert_close(one.effect, clean - corrupt, atol=1e-4, rtol=1e-4)


def test_one_pair_at_a_time_is_the_same(model, tiny):
    """More pairs than are computed at once, of unlike lengths; the bridge is taken too."""
    many = oracle.some_pairs(CHUNK + 3)
    metric = metrics.log_probability("C3")
    found = attribute_nodes(tiny, many, metric, ("neuron", "head"), sample=6)
    for i in (0, 5, CHUNK + 2):
        alone = attribute_nodes(model, many[i], metric, ("neuron", "head"), sample=6)
        torch.testing.assert_close(found.scores[:, i], alone.scores[:, 0], atol=1e-4, rtol=1e-3)
    assert found.nodes[0] == Node("neuron", 0, 0) and len(found.nodes) == 3 * (128 + 4)
    assert found.summary.mean.shape == (396,) and found.summary.games == CHUNK + 3
    top = found.top(5)
    assert abs(top[0][1]) == float(found.scores.mean(1).abs().max()) and len(top) == 5
    values = [abs(value) for _, value in top]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("kind", ["neuron", "attn", "pattern", "post"])
def test_by_ply(model, pairs, kind):
    metric = metrics.log_probability("C3")
    whole = attribute_nodes(model, pairs, metric, [kind], sample=6)
    apart = attribute_nodes(model, pairs, metric, [kind], by_ply=True, sample=6)
    plies = int(pairs.ply.max()) + 1
    assert apart.scores.shape == (len(whole.nodes), plies, len(pairs))
    torch.testing.assert_close(apart.scores.sum(1), whole.scores, atol=1e-4, rtol=1e-3)
    for i in range(len(pairs)):
        assert apart.scores[:, : pairs.first[i], i].abs().max() < 1e-5
        assert not apart.scores[:, pairs.ply[i] + 1 :, i].any()
    i, ply = 3, int(pairs.first[3])
    slow = oracle.slope(model, pairs, i, metric, apart.nodes[1], BOTH[0], plies=slice(ply, ply + 1))
    torch.testing.assert_close(apart.scores[1, ply, i], slow, atol=2e-5, rtol=2e-3)
    half = apart.agreement[kind].largest
    reached = sum(int(pairs.ply[i] - pairs.first[i]) + 1 for i in range(len(pairs)))
    assert len(half.by_pair.exact) == len(half.nodes) * reached
    assert [str(n) for n, _ in apart.top(3)] == [str(n) for n, _ in whole.top(3)]


# the sample


def test_the_sample_is_patched_exactly(model, pairs):
    metric = metrics.log_probability("C3")
    found = attribute_nodes(model, pairs, metric, ("neuron", "head"), sample=10, seed=4)
    at = {node: row for row, node in enumerate(found.nodes)}
    for kind, checked in found.agreement.items():
        of_kind = [row for row, node in enumerate(found.nodes) if node.kind == kind]
        ranked = sorted(of_kind, key=lambda row: -abs(float(found.scores[row].mean())))
        count = min(5, len(of_kind))
        assert [at[n] for n in checked.largest.nodes] == ranked[:count]
        assert len(set(checked.random.nodes)) == count and {n.kind for n in checked.random.nodes} == {kind}
        for half in (checked.random, checked.largest):
            attributed = found.scores[[at[n] for n in half.nodes]]
            torch.testing.assert_close(half.mean.predicted, attributed.mean(1))
            for entry, node in list(enumerate(half.nodes))[:2]:
                into = [metric_of(model, pairs, i, metric) for i in range(len(pairs))]
                slow = [
                    oracle.patched(model, pairs, i, metric, node, BOTH[0], lambda a, b: b) for i in range(len(pairs))
                ]
                effects = torch.stack(slow) - torch.stack(into)
                torch.testing.assert_close(half.mean.exact[entry], effects.mean(), atol=1e-4, rtol=1e-3)
                by_pair = half.by_pair.exact.reshape(count, -1)[entry]
                torch.testing.assert_close(by_pair, effects, atol=1e-4, rtol=1e-3)
            expected = agreement(half.mean.predicted, half.mean.exact)
            assert (half.mean.pearson, half.mean.slope) == (expected.pearson, expected.slope)
    again = attribute_nodes(model, pairs, metric, ("neuron",), sample=10, seed=5)
    assert again.agreement["neuron"].random.nodes != found.agreement["neuron"].random.nodes
    assert "first order" in str(found) and "neuron: Pearson" in str(found) and "head: Pearson" in str(found)


def metric_of(model, pairs, i, metric):
    base, _, ply = oracle.runs(pairs, i, BOTH[0])
    return metric(model(base)[:, ply], torch.tensor([i]))[0]


def test_no_result_without_its_agreement(model, pairs):
    found = attribute_nodes(model, pairs, metrics.logit("C3"), ("attn",), sample=6)
    with pytest.raises(TypeError):
        type(found)(found.nodes, found.scores)
    assert set(replace(found, steps=1).agreement) == {"attn"}


def test_a_site_of_fewer_nodes_than_the_sample(model, pairs):
    """Both halves are then all of them; below three there is no correlation."""
    found = attribute_nodes(model, pairs, metrics.logit("C3"), ("attn",))
    checked = found.agreement["attn"]
    assert set(checked.random.nodes) == set(checked.largest.nodes) == set(found.nodes)
    assert checked.random.mean.pearson == pytest.approx(checked.largest.mean.pearson)
    two = attribute_nodes(model, pairs, metrics.logit("C3"), ("mlp",), layers=[0, 1]).agreement["mlp"].random
    assert two.mean.pearson != two.mean.pearson and len(two.mean.exact) == 2 and abs(two.by_pair.pearson) <= 1


# where a metric is read


@pytest.mark.parametrize("point", ["blocks.1.hook_resid_mid", "blocks.1.hook_resid_post", "blocks.2.hook_resid_pre"])
@pytest.mark.parametrize("steps", [0, 2])
def test_metrics_inside_the_model(model, pairs, point, steps):
    """Only nodes before the point are swept; the point itself may be patched, and is linear there."""
    metric = reading(point)
    found = attribute_nodes(
        model, pairs, metric, ("pre", "mid", "post", "attn", "mlp", "neuron"), steps=steps, sample=6
    )
    names = {str(node) for node in found.nodes}
    middle = point.endswith("mid")
    assert {"L1 attn", "L1 mid", "L0N5", "L0 post"} < names and "L2 mid" not in names
    assert ("L1 MLP" in names, "L2 pre" in names, "L1 post" in names, "L1N5" in names) == (not middle,) * 4
    at = {str(node): row for row, node in enumerate(found.nodes)}
    for name in ("L1 mid",) if middle else ("L1 post", "L2 pre"):
        torch.testing.assert_close(found.scores[at[name]], found.effect, atol=1e-4, rtol=1e-3)
    exact = patch(model, pairs, metric, ["L1 attn"], direction=BOTH[0]).effects.flatten()
    if middle:  # added to the stream, and read there
        torch.testing.assert_close(found.scores[at["L1 attn"]], exact, atol=1e-4, rtol=1e-3)


def test_a_metric_before_a_nodes_reach(model, pairs):
    message = refused(model, pairs, reading("blocks.0.hook_resid_mid"), ("neuron",))
    assert "L0N0 cannot reach a metric read at blocks.0.hook_resid_mid" in message
    message = refused(model, pairs, reading("blocks.1.hook_resid_post"), ("attn",), layers=[0, 2])
    assert "L2 attn cannot reach a metric read at blocks.1.hook_resid_post" in message


def test_bad_requests(model, pairs):
    assert "has no useful gradient" in refused(model, pairs, metrics.top_n_error(pairs))
    metric = metrics.logit("C3")
    assert "no kind of node" in refused(model, pairs, metric, ("neurons",))
    assert "there is no layer 3" in refused(model, pairs, metric, ("mlp",), layers=[3])
    assert "'clean → corrupt' or 'corrupt → clean'" in refused(model, pairs, metric, direction="both")
    assert "a sample 6 nodes or more" in refused(model, pairs, metric, sample=2)
    assert "0 (first order) or more" in refused(model, pairs, metric, steps=-1)
    assert "at least one kind" in refused(model, pairs, metric, ())


def test_sites_have_the_nodes_of_their_layer(model):
    for kind in KINDS:
        site = Site(kind, 0)
        for node in site.nodes(model):
            assert node.hook == site.hook and (node.kind, node.layer) == (kind, 0)
    assert len(Site("neuron", 1).nodes(model)) == 128 and len(Site("pattern", 2).nodes(model)) == 4
