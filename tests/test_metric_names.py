"""Metrics, points, subspaces and places by name are those of the library."""

import pytest
import torch

import probes as probe_files
from circuits import plain
from circuits.causes.metrics import logit, newly_legal
from circuits.errors import InputError
from reports.patching import pair_sources
from reports.patching.metric_names import parse_metric, parse_point, parse_subspace, places_that_reach


@pytest.fixture(scope="module")
def small(tiny):
    return plain.of(tiny)


@pytest.fixture(scope="module")
def probes(tiny, tiny_files):
    return probe_files.load(tiny, tiny_files["probe"])


@pytest.fixture(scope="module")
def pairs():
    return pair_sources.pairs_for("C4 flipped", 6, games=400)


def test_metrics_by_name_are_those_of_the_library(small, probes, pairs):
    x = torch.randn(len(pairs), small.shape.d_vocab)
    rows = torch.arange(len(pairs))
    assert torch.equal(parse_metric("logit:c4", pairs, small)(x, rows), logit("C4")(x, rows))
    kept = pairs[pairs.legal_differs]
    assert torch.equal(
        parse_metric("newly-legal", kept, small)(x[: len(kept)], rows[: len(kept)]),
        newly_legal(kept)(x[: len(kept)], rows[: len(kept)]),
    )
    stream = torch.randn(len(pairs), small.shape.d_model)
    for fact, task, which in (
        ("C4 mine", "board", "mine"),
        ("C4 empty", "board", "empty"),
        ("C4 flipped", "flipped", "yes"),
    ):
        metric = parse_metric(f"reading:{fact}@L1 mid", pairs, small, probes)
        assert metric.point == "blocks.1.hook_resid_mid" and fact in metric.name
        assert torch.allclose(metric(stream, rows), probes[task, metric.point].log_odds(stream, 20, which), atol=1e-4)
    coordinate = parse_metric("coordinate:C4 mine@L1", pairs, small, probes)
    direction = probes.directions("blocks.1.hook_resid_post")["C4 mine"]
    assert torch.allclose(coordinate(stream, rows), stream @ direction, atol=1e-5)
    assert parse_metric("illegal-mass:corrupt", pairs, small).name.endswith("corrupt position")
    assert parse_point("L2 pre", small, "") == "blocks.1.hook_resid_post"
    assert parse_point("L0 pre", small, "") == "blocks.0.hook_resid_pre"


def test_subspaces_by_name(small, probes):
    space = parse_subspace("C4 mine, D1 empty, C4 flipped @ L1 mid", small, probes)
    assert space.point == "blocks.1.hook_resid_mid" and space.basis.shape == (3, small.shape.d_model)
    with pytest.raises(InputError, match="names a direction twice"):
        parse_subspace("C0 mine, c0 mine@L1", small, probes)


def test_a_kind_stands_for_its_places_that_reach_the_metric(small, probes, pairs):
    metric = parse_metric("reading:C4 mine@L1 mid", pairs, small, probes)
    found = [str(p) for p in places_that_reach(small, ("pre", "mid", "attn", "mlp"), metric)]
    assert found == ["L0 pre", "L1 pre", "L0 mid", "L1 mid", "L0 attn", "L1 attn", "L0 MLP"]
    for wrong in (("L1 MLP",), ("embed", "L2 pre")):
        with pytest.raises(InputError, match="cannot reach"):
            places_that_reach(small, wrong, metric)
    first = parse_metric("reading:C4 mine@L0 pre", pairs, small, probes)
    with pytest.raises(InputError, match="cannot reach"):
        places_that_reach(small, ("mlp",), first)
