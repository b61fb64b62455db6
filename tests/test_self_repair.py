"""Self-repair: what later components do adds up, is what a run for every position shows, and is found where planted."""

import oracles_ablation as oracle
import pytest
import torch

from circuits.causes.ablated_runs import ablated
from circuits.causes.ablation import EVERYWHERE, ablate
from circuits.causes.baseline import Baseline
from circuits.causes.components import groups_of
from circuits.causes.nodes import Node, parse_node
from circuits.causes.replacements import replacement
from circuits.causes.self_repair import LAYER_NORM, TOGETHER, self_repair
from circuits.errors import InputError
from circuits.games import generate

ACROSS = ["L0H0", "L0H3", "L0N2", "L1H2", "L1N4", "L2 attn", "L2N100"]


@pytest.fixture(scope="module")
def base(tiny):
    """Four games, plies 7 to 18; 30 games of reference."""
    return Baseline(tiny, generate(4, seed=21), generate(30, seed=22), band=slice(7, 19))


@pytest.mark.parametrize("mode", ["own", "all"])
@pytest.mark.parametrize("by", ["part", "head"])
@pytest.mark.parametrize("nodes", [["L0N5"], ["L0H1"], ACROSS, ["L1 MLP", "L2 attn"]], ids=" ".join)
def test_direct_and_later_contributions_add_up_to_the_total(base, nodes, mode, by):
    found = self_repair(base, nodes, by=by, plies=mode)
    repair, effects = found.at[EVERYWHERE], ablate(base, nodes, plies=mode).at[EVERYWHERE]
    torch.testing.assert_close(repair.total.mean, effects.total.mean, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(repair.direct.mean, effects.direct.mean, atol=1e-5, rtol=1e-3)
    parts = repair.later.mean[:-1]
    assert found.names[-2:] == (LAYER_NORM, TOGETHER)
    torch.testing.assert_close(repair.direct.mean + parts.sum(0), repair.total.mean, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(repair.overall.value[:-1].sum(), repair.overall.value[-1], atol=1e-3, rtol=1e-3)
    assert parts[:-1].abs().max() > 1e-3
    assert ("L1H3" in found.names) == (by == "head" and parse_node(nodes[0]).layer == 0)
    assert "L2 attn" not in nodes or not {"L2 attn", "L2H0"} & set(found.names)


def test_later_changes_are_those_of_a_run_for_every_position(base):
    """What each later part writes, from runs with the set's value put in; the set's own parts left out."""
    nodes, values = ["L0N5", "L1N3"], oracle.means(base, ["L0N5", "L1N3"])
    _, groups = groups_of(nodes, base.model)
    change = next(iter(ablated(base, groups, replacement(base, groups, "mean"), "own", "part")))
    assert list(change.later) == ["L1 attn", "L1 MLP", "L2 attn", "L2 MLP"]
    torch.testing.assert_close(change.before + change.direct + sum(change.later.values()), change.after)
    for game, ply in ((0, 9), (3, 17)):
        tokens = base.games.inputs[game : game + 1, : ply + 1]
        hooks = [Node(*p).hook for p in (("attn", 1), ("mlp", 1), ("attn", 2), ("mlp", 2))]
        edits = [oracle.put(parse_node(name), value, [ply]) for name, value in values.items()]
        _, after = base.model.run(tokens, save=hooks, edit=edits)
        _, before = base.model.run(tokens, save=hooks)
        own = values["L1N3"] - oracle.activations(base.model, tokens, "L1N3")[0, ply]
        for name, hook in zip(change.later, hooks, strict=True):
            expected = after[hook][0, ply] - before[hook][0, ply]
            if name == "L1 MLP":
                expected = expected - own * base.model.W_out(1)[3]
            torch.testing.assert_close(change.later[name][game, ply - 7], expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("share", [0.6, -0.5, 0.0])
def test_a_planted_repair_is_measured(share):
    """L1N0 takes back a known share of what L0H0 writes to one move's logit."""
    base = Baseline(oracle.planted(share, move=20), generate(12, seed=21), generate(12, seed=22))
    found = self_repair(base, "L0H0", method="zero")
    repair = found.at[EVERYWHERE]
    assert found.names == ("L0 MLP", "L1 attn", "L1 MLP", LAYER_NORM, TOGETHER)
    mlp, move = found.names.index("L1 MLP"), 20 - 1
    assert abs(float(repair.direct.mean[move])) > 0.01
    for ratio in (repair.overall.value, repair.compensation.value[:, move]):
        assert float(ratio[mlp]) == pytest.approx(share, abs=0.01)
        assert float(ratio[-1]) == pytest.approx(share, abs=0.01)
        others = [i for i in range(4) if i != mlp]
        assert ratio[others].abs().max() < 0.01
    assert repair.overall.low[mlp] - 1e-3 <= share <= repair.overall.high[mlp] + 1e-3
    total = float(repair.total.mean[move] / repair.direct.mean[move])
    assert total == pytest.approx(1 - share, abs=0.01)
    # The mean of the mean-ablated set's direct effect is about zero: no share of it is given.
    unsure = self_repair(base, "L0H0").at[EVERYWHERE]
    assert unsure.compensation.value[:, move].isnan().all() or unsure.direct.p[move] < 0.1
    assert float(unsure.overall.value[mlp]) == pytest.approx(share, abs=0.01)


def test_only_parts_and_heads(base):
    with pytest.raises(InputError, match="'part'"):
        self_repair(base, "L1N3", by="neuron")
