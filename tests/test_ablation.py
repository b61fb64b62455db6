"""Ablation: equal to one run a position, known where a model is made by hand, and its parts add up."""

import oracles_ablation as oracle
import pytest
import torch

from circuits import plain
from circuits.behaviour import legal_tokens, score_positions
from circuits.causes.ablated_runs import ablated
from circuits.causes.ablation import EVERYWHERE, ablate, logits, relative
from circuits.causes.baseline import Baseline
from circuits.causes.components import groups_of
from circuits.causes.nodes import parse_node
from circuits.causes.random_sets import Standing, compare_with_random, random_sets
from circuits.causes.replacements import replacement
from circuits.checkpoints import Shape, weight_shapes
from circuits.errors import InputError
from circuits.games import Games, generate

EVERYTHING = [f"L{layer} {part}" for layer in range(3) for part in ("attn", "MLP")]
SETS = (
    ["L0N5"],
    ["L2N7", "L2N9"],
    ["L0H1"],
    ["L1 attn"],
    ["L1 MLP"],
    ["L0H0", "L0H3", "L0N2", "L1H2", "L1N4", "L2 attn", "L2N100"],
    ["L1 MLP", "L2 attn"],
)


@pytest.fixture(scope="module")
def base(tiny):
    """Four games, of which the last ends at ply 13, plies 7 to 18; 30 games of reference."""
    tokens = generate(4, seed=21).tokens.clone()
    tokens[3, 14:] = 0
    return Baseline(tiny, Games.of(tokens), generate(30, seed=22), band=slice(7, 19))


def logits_of(base, nodes, mode="own", method="mean", given="ply", seed=0):
    """(ablated logits, original logits) [game, ply, token] at the plies of the band."""
    _, groups = groups_of(nodes, base.model)
    values = replacement(base, groups, method, given, before_band=mode == "all", seed=seed)
    found = list(ablated(base, groups, values, mode))
    return tuple(torch.cat([logits(base.model, getattr(c, x)) for c in found]) for x in ("after", "before"))


def refused(function, *arguments, **options) -> str:
    with pytest.raises(InputError) as info:
        function(*arguments, **options)
    assert "\n" not in str(info.value)
    return str(info.value)


# one run a position


@pytest.mark.parametrize("mode", ["own", "all"])
@pytest.mark.parametrize("nodes", SETS, ids=" ".join)
def test_equals_a_run_for_every_position(base, nodes, mode):
    values = oracle.means(base, nodes)
    after, before = logits_of(base, nodes, mode)
    for game in range(2):
        tokens = base.games.inputs[game]
        torch.testing.assert_close(before[game], base.model(tokens[None])[0, base.plies], atol=2e-4, rtol=1e-4)
        for ply in range(7, 19, 3):
            slow = oracle.ablated_logits(base.model, tokens, ply, values, mode)
            torch.testing.assert_close(after[game, ply - 7], slow, atol=2e-4, rtol=1e-4)
    # The two modes differ wherever a later attention can see the set's other plies.
    first = min(parse_node(name).layer for name in nodes)
    if any(f"L{layer} attn" not in nodes for layer in range(first + 1, 3)):
        assert (after - logits_of(base, nodes, "all" if mode == "own" else "own")[0]).abs().max() > 1e-3


def test_equals_a_run_for_every_position_with_the_bridge(base, tiny):
    """The same through the bridge: nothing of it rests on the plain model."""
    values = oracle.means(base, SETS[5])
    after, _ = logits_of(base, SETS[5])
    slow = oracle.ablated_logits(tiny, base.games.inputs[1], 15, values, "own")
    torch.testing.assert_close(after[1, 8], slow, atol=5e-4, rtol=1e-4)


@pytest.mark.parametrize("act", ["solu", "gelu"])
def test_any_activation_function(act):
    """A SoLU's neuron depends on its whole layer."""
    shape = Shape(2, 16, 2, 8, 12, act=act)
    generator = torch.Generator().manual_seed(0)
    weights = {k: torch.randn(size, generator=generator) * 0.4 for k, size in weight_shapes(shape).items()}
    model = plain.build(shape, weights, {}, act)
    base = Baseline(model, generate(2, seed=21), generate(5, seed=22), band=slice(7, 12))
    nodes = ["L0N3", "L1N4", "L1H0"]
    after, _ = logits_of(base, nodes)
    slow = oracle.ablated_logits(model, base.games.inputs[1], 10, oracle.means(base, nodes), "own")
    torch.testing.assert_close(after[1, 3], slow, atol=1e-4, rtol=1e-4)


def test_effects_are_means_over_the_positions_of_a_mask(base):
    """Every figure of every mask, from single positions."""
    nodes = ["L1 MLP", "L2N5"]
    mask = torch.zeros_like(base.where)
    mask[0, ::2] = mask[2, 3:12] = mask[3] = True
    result = ablate(base, nodes, where={"some": mask}, layer_norm="recomputed")
    after, before = logits_of(base, nodes)
    legal = legal_tokens(base.boards.legal[:, base.plies])
    for name, where in ((EVERYWHERE, base.where), ("some", mask & base.where)):
        here, effects = where[:, base.plies], result.at[name]
        a, b = after[here], before[here]
        assert effects.positions == len(a) and effects.total.games == int(where.any(1).sum())
        torch.testing.assert_close(effects.total.mean, (relative(a) - relative(b)).mean(0), atol=1e-5, rtol=1e-4)
        slow = sum(oracle.kl(x, y) for x, y in zip(b, a, strict=True)) / len(a)
        assert float(effects.kl.mean) == pytest.approx(slow, abs=1e-5)
        scores = [score_positions(x, legal[here]) for x in (a, b)]
        for figure in ("illegal_mass", "illegal_top1"):
            change = (scores[0][figure] - scores[1][figure]).mean()
            torch.testing.assert_close(getattr(effects, figure).mean, change, atol=1e-5, rtol=1e-3)
        assert (effects.total.low <= effects.total.mean).all() and (effects.total.mean <= effects.total.high).all()
    assert float(result.at["some"].kl.mean) > 0.01
    assert "L1 MLP, L2N5 replaced by the mean" in result.words and "4 games" in result.words


# identities


def test_zero_ablation_is_the_model_without_the_neurons_output(tiny, base):
    original = plain.of(tiny)
    row = original.weights["blocks.1.mlp.W_out"].clone()
    row[9] = 0
    without = plain.PlainModel(tiny.shape, {}, "without", "without", original.weights | {"blocks.1.mlp.W_out": row})
    effects = ablate(base, "L1N9", method="zero", plies="all").at[EVERYWHERE]
    change = relative(without(base.games.inputs)) - relative(original(base.games.inputs))
    torch.testing.assert_close(effects.total.mean, change[base.where].mean(0), atol=1e-4, rtol=1e-3)
    assert effects.total.mean.abs().max() > 1e-3


@pytest.mark.parametrize("mode", ["own", "all"])
def test_without_every_component_only_the_embedding_is_left(base, mode):
    after, _ = logits_of(base, EVERYTHING, mode, "zero")
    m = base.model
    x = m.W_E[base.games.inputs] + m.W_pos
    expected = torch.nn.functional.layer_norm(x, x.shape[-1:], eps=m.shape.eps) @ m.W_U + m.b_U
    torch.testing.assert_close(after, expected[:, base.plies], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("nodes", [EVERYTHING, ["L2N3", "L2N8"], ["L2 MLP"]], ids=len)
def test_with_nothing_behind_the_set_the_direct_effect_is_all(base, nodes):
    effects = ablate(base, nodes, layer_norm="recomputed").at[EVERYWHERE]
    torch.testing.assert_close(effects.direct.mean, effects.total.mean, atol=1e-4, rtol=1e-4)


def test_the_frozen_direct_effect_is_the_lost_contribution(base):
    """Zero ablation loses exactly what direct attribution gives the neuron."""
    from circuits.attribution import attribute, logit_targets

    found = attribute(base.model, base.games.inputs, logit_targets(base.model))
    effects = ablate(base, ["L1N9", "L0H2"], method="zero").at[EVERYWHERE]
    lost = (found.neurons[1, 9] + found.heads[0, 2])[base.where].mean(0)
    torch.testing.assert_close(effects.direct.mean, -lost, atol=1e-5, rtol=1e-3)


def test_the_mean_of_a_constant_neuron_changes_nothing(tiny):
    original = plain.of(tiny)
    W = original.weights["blocks.0.mlp.W_in"].clone()
    W[:, 4] = 0
    model = plain.PlainModel(tiny.shape, {}, "constant", "constant", original.weights | {"blocks.0.mlp.W_in": W})
    base = Baseline(model, generate(3, seed=21), generate(5, seed=22))
    for plies in ("own", "all"):
        effects = ablate(base, "L0N4", plies=plies).at[EVERYWHERE]
        assert effects.total.mean.abs().max() < 1e-4 and abs(float(effects.kl.mean)) < 1e-6
    assert ablate(base, "L0N5").at[EVERYWHERE].total.mean.abs().max() > 1e-4


def test_nothing_need_be_kept(base):
    """A baseline too large to keep runs its games again and says the same."""
    again = Baseline(base.model, base.games, base.reference, band=slice(7, 19), keep=0)
    kept, fresh = (ablate(b, ["L1N9", "L0H2"], method="resample").at[EVERYWHERE] for b in (base, again))
    assert torch.equal(kept.total.mean, fresh.total.mean) and torch.equal(kept.total.low, fresh.total.low)
    assert again._kept is None and base._kept


# controls


def test_random_sets_are_alike(tiny):
    nodes = ["L0N1", "L0N2", "L1H0", "L2 MLP"]
    sets = random_sets(tiny, nodes, 20, seed=3)
    assert len(set(sets)) == 20 and sets == random_sets(tiny, nodes, 20, seed=3) != random_sets(tiny, nodes, 20, seed=4)
    for drawn in sets:
        kinds = sorted((n.kind, n.layer) for n in drawn)
        # A whole MLP is another layer's, and not one whose neurons are in the set.
        assert kinds == [("head", 1), ("mlp", 1), ("neuron", 0), ("neuron", 0)] and len(set(drawn)) == 4
        assert not {str(n) for n in drawn} & set(nodes)
    assert sorted(str(s[0]) for s in random_sets(tiny, "L1H2", 20)) == ["L1H0", "L1H1", "L1H3"]
    message = refused(random_sets, tiny, [f"L1H{i}" for i in range(3)])
    assert "3 heads of L1 are in the set, and only 1 others exist" in message


def test_a_component_that_matters_stands_out():
    """In the planted model one neuron of four does anything, and one head of two."""
    base = Baseline(oracle.planted(0.6), generate(6, seed=21), generate(10, seed=22))
    compared = compare_with_random(base, "L1N0", 3)
    standing = compared.standing(lambda e: e.total.mean.abs().max(), EVERYWHERE)
    assert standing.value > 1e-3 and max(standing.others) < 1e-5 and len(standing.others) == 3
    assert standing.p == 0.25 and standing.percentile == 1.0
    inert = compare_with_random(base, "L1N2", 3).standing(lambda e: e.kl.mean)
    assert inert.p > 0.25
    assert Standing(-2.0, (1.0, 2.0, -3.0, 0.5)).p == 3 / 5 and Standing(-2.0, (1.0, 2.0, -3.0, 0.5)).percentile == 0.5


# bad input


def test_what_cannot_be_ablated(base):
    for name in ("embed", "L1 pre", "L1 mid", "L2 post", "L1H0.q", "L1H0.pattern"):
        assert "cannot be ablated" in refused(ablate, base, name)
    assert "L1 MLP already holds L1N3" in refused(ablate, base, ["L1N3", "L1 MLP"])
    assert "L0 attn already holds L0H1" in refused(ablate, base, ["L0H1", "L0 attn"])
    assert "there is no such unit" in refused(ablate, base, "L1N999")
    assert "given twice" in refused(ablate, base, ["L1N3", "L1N3"])
    assert "at least one" in refused(ablate, base, [])


def test_options_that_do_not_exist(base):
    assert "zero, mean, conditional mean, resample" in refused(ablate, base, "L1N3", method="median")
    assert "'own'" in refused(ablate, base, "L1N3", plies="last")
    assert "'frozen' or 'recomputed'" in refused(ablate, base, "L1N3", layer_norm="none")
    assert "goes with a conditional mean" in refused(ablate, base, "L1N3", given="C0 empty")
    assert "unknown literal" in refused(ablate, base, "L1N3", method="conditional mean", given="whether C0 blue")


def test_masks_and_classes_must_fit(base):
    assert "must cover every game and ply, [4, 59]" in refused(ablate, base, "L1N3", where={"m": base.where[:2]})
    assert "'m' holds at no position" in refused(ablate, base, "L1N3", where={"m": ~base.where})
    own, other = torch.zeros(4, 59, dtype=torch.int64), torch.zeros(30, 59, dtype=torch.int64)
    options = {"method": "conditional mean"}
    assert "numbers from 0" in refused(ablate, base, "L1N3", given=(own - 1, other), **options)
    own[2, 11] = 1
    message = refused(ablate, base, "L1N3", given=(own, other), **options)
    assert "no reference position of the class that game 2, ply 11 has" in message


def test_bands(tiny):
    games, others = generate(3, seed=21), generate(3, seed=22)
    assert "give plies among 0..58" in refused(Baseline, tiny, games, others, band=slice(9, 9))
    short = Games.of(games.tokens[:, :6])
    assert "the measured games have no position" in refused(Baseline, tiny, short, others, band=slice(10, 20))
    whole = ablate(Baseline(tiny, games, others, band=slice(None)), "L1N3")
    assert whole.at[EVERYWHERE].positions == int(games.boards().valid.sum())
