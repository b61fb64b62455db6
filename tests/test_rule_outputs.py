"""A subject's ablation equals hooks on whole transcripts; a planted effect is found; the rule in its place."""

from dataclasses import replace

import oracles_outputs as slow
import pytest
import torch

from circuits import plain
from circuits.behaviour import legal_tokens, score_positions
from circuits.board_readers import BoardReader
from circuits.causes.nodes import parse_node
from circuits.errors import InputError
from circuits.games import generate
from circuits.gpt import activation
from circuits.rules import FALSE, TRUE, Claim, Effect, sq
from circuits.verdicts.controls import controls, displaced, side_by_side
from circuits.verdicts.outputs import outputs
from circuits.verdicts.places import draw
from circuits.verdicts.readings import Ground, read
from circuits.verdicts.records import Outputs
from circuits.verdicts.replacement import KINDS, Levels, replaced_runs
from circuits.verdicts.subjects import subject

RULE = sq.C2.empty & sq.C3.theirs
C2, MOVE = 18, 18  # the square; its number among the 60 moves
NAMES = ("L1N5", "L2N9", "L1H2", "L0N3, L1N7, L0N1", "L0 post C2 mine")


@pytest.fixture(scope="module")
def model(tiny):
    return plain.of(tiny)


@pytest.fixture(scope="module")
def readers(model):
    g = torch.Generator().manual_seed(3)
    made = {}
    for hook in [f"blocks.{i}.hook_resid_{x}" for i in range(3) for x in ("mid", "post")]:
        weight = torch.randn(64, 64, 3, generator=g) / 10
        made[hook] = BoardReader(hook, weight - weight.mean(0), torch.randn(64, 3, generator=g))
    return made


@pytest.fixture(scope="module")
def games():
    made = generate(140, seed=12)
    return made[:60], made[60:]


class Trial:
    """Everything before `outputs`."""

    def __init__(self, model, games, readers, name, rule=RULE, n=30):
        self.ground = Ground(model, *games, readers=readers)
        found = subject(self.ground.model, name, readers)
        self.train = read(model, found, games[0])
        self.holds = self.train.packed.holds(rule)
        self.subject = found.fitted(self.train.values, self.holds)
        self.places = draw(self.ground, found, rule, read(model, found, games[1]), n, n)
        self.rule, self.levels = rule, Levels.learn(self.train, self.holds)

    def outputs(self, *effects) -> Outputs:
        return outputs(self.ground, self.subject, Claim(self.rule, effects), self.places, self.train)

    def where(self, holds):
        return (self.places.holds == holds).nonzero()[:, 0]


def near(estimate, values):
    assert estimate.value == pytest.approx(float(values.double().mean()), abs=2e-4, rel=2e-3)
    assert estimate.low <= estimate.value <= estimate.high


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_those_of_hooks_on_whole_transcripts(model, games, readers, name):
    trial = Trial(model, games, readers, name, n=8)
    theirs, hook = Effect("reading", 1, C2, "theirs"), "blocks.1.hook_resid_post"
    found = trial.outputs(Effect("logit", -1, C2), theirs, Effect("unit", 1, None, "L2N4"))
    off, there, elsewhere = trial.levels.off, trial.where(True), trial.where(False)
    near(found.kl, slow.kl(trial.places, there, trial.subject, off))
    near(found.kl_fails, slow.kl(trial.places, elsewhere, trial.subject, off))
    minus, reading = found.writes[0], found.writes[1]
    near(minus.total, -slow.losses(trial.places, there, trial.subject, off, slow.logit(MOVE)))
    near(minus.total_fails, -slow.losses(trial.places, elsewhere, trial.subject, off, slow.logit(MOVE)))
    if trial.subject.layer < 2:  # of a later subject the total is read where it writes
        assert reading.point == hook
    hook = reading.point
    read_it = slow.log_odds(readers[hook], C2, 1, hook)
    near(reading.total, slow.losses(trial.places, there, trial.subject, off, read_it, [hook]))
    assert list(reading.by_point) == [reading.point] if trial.subject.layer == 2 else hook in reading.by_point
    for point, value in reading.by_point.items():
        read_there = slow.log_odds(readers[point], C2, 1, point)
        lost = slow.losses(trial.places, there, trial.subject, off, read_there, [point])
        assert value == pytest.approx(float(lost.mean()), abs=2e-4, rel=2e-3)
    if trial.subject.layer < 2:
        post = "blocks.2.mlp.hook_post"
        lost = slow.losses(trial.places, there, trial.subject, off, lambda _, acts: acts[post][4], [post])
        near(found.writes[2].total, lost)
    else:
        assert found.writes[2].total is None and "does not come after" in found.writes[2].reason
    assert found.positions == 16 and found.games == trial.places.n_games


def test_others_and_ranks(model, games, readers):
    trial = Trial(model, games, readers, "L1N5", n=8)
    effects = (Effect("logit", 1, C2), Effect("logit", 1, 37))
    found = trial.outputs(*effects)
    every = slow.logit(slice(None))
    lost = slow.losses(trial.places, trial.where(True), trial.subject, trial.levels.off, every).T
    free = torch.ones(60, dtype=torch.bool)
    free[[18, 33]] = False  # both squares claimed: neither is one of the others
    mean = lost.mean(1)
    for write, own in zip(found.writes, (18, 33), strict=True):
        near(write.others, lost[free].abs().mean(0))
        assert write.rank == 1 + int((mean[free].abs() > mean[own].abs()).sum()) and write.of == 59
    assert bool((mean[free] < -mean[[18, 33]].abs().max()).any())  # some rise by more: they count
    assert (
        found.largest.startswith(("A", "B", "C", "D", "E", "F", "G", "H"))
        and f"{-mean[mean.abs().argmax()]:+.2f}" in found.largest
    )


def test_direct_effects_have_layernorm_frozen(model, games, readers):
    trial = Trial(model, games, readers, "L1N5", n=8)
    logit_effect, unit_effect = Effect("logit", 1, C2), Effect("unit", -1, None, "L2N4")
    found = trial.outputs(logit_effect, unit_effect)
    lost = []
    pushed = []
    for place in trial.where(True).tolist():
        hooks = [
            "blocks.2.hook_resid_post",
            "blocks.2.hook_resid_mid",
            "blocks.2.mlp.hook_pre",
            "blocks.1.mlp.hook_post",
        ]
        _, acts = slow.run_one(trial.places, place, None, None, hooks)
        written = (acts[hooks[3]][5] - trial.levels.off) * model.W_out(1)[5]
        x = acts[hooks[0]]
        s = (x.var(correction=0) + model.shape.eps).sqrt()
        vector = model.W_U[:, 19] - model.W_U[:, 1:].mean(1)
        lost.append((written - written.mean()) @ vector / s)
        x = acts[hooks[1]]
        pre = acts[hooks[2]][4]
        s = (x.var(correction=0) + model.shape.eps).sqrt()
        gelu = activation(model.shape.act)
        pushed.append(gelu(pre - written @ model.W_in(2)[:, 4] / s) - gelu(pre))
    near(found.writes[0].direct, torch.stack(lost))
    near(found.writes[1].direct, torch.stack(pushed))


def planted(model, games, readers, layer=1, neuron=5, strength=3.0):
    """A neuron that is on where C2 is empty, as well as a linear reading can say, and writes F5 theirs."""
    hook = f"blocks.{layer}.ln2.hook_normalized"
    boards = games.boards()
    n = model.run(games.inputs, save=[hook])[1][hook][boards.valid]
    is_empty = sq.C2.empty.holds(boards)[boards.valid]
    n = torch.cat([n, torch.ones(len(n), 1)], 1)
    read = torch.linalg.lstsq(n, 8.0 * is_empty[:, None] - 4.0).solution[:, 0]
    near = readers[f"blocks.{layer}.hook_resid_post"]
    vector = near.weight[:, 45, 1] - near.weight[:, 45, 2]
    weights = {name: weight.clone() for name, weight in model.weights.items()}
    mlp = f"blocks.{layer}.mlp"
    weights[f"{mlp}.W_in"][:, neuron], weights[f"{mlp}.b_in"][neuron] = read[:-1], read[-1]
    weights[f"{mlp}.W_out"][neuron] = strength * vector / vector.norm()
    return replace(model, weights=weights)


def test_a_planted_write_is_found(model, games, readers):
    made = planted(model, games[0], readers)
    trial = Trial(made, games, readers, "L1N5", sq.C2.empty)
    assert float(trial.levels.on - trial.levels.off) > 2
    true, false = trial.outputs(Effect("reading", 1, 45, "theirs"), Effect("reading", -1, 45, "theirs")).writes
    # No later layer but the last: what it writes is all there is to lose.
    assert true.point == "blocks.1.hook_resid_post"
    assert true.total.value == pytest.approx(true.direct.value, abs=1e-4)
    assert true.total.low > 0 and true.total.value > 5 * true.total_fails.value
    assert true.total.value > 5 * true.others.value
    # Nothing else of its norm writes as much of this.
    assert true.total.value > max(true.random) and len(true.random) == 20
    assert (true.weight_rank, true.rank, true.of, true.p) == (1, 1, 64, 1 / 21)
    assert true.difference.value == pytest.approx(true.total.value - true.total_fails.value, abs=1e-5)
    assert 0 < true.difference.low < true.difference.value < true.difference.high
    # Claimed the other way round it is as large, and nothing that is claimed is lost.
    assert (false.weight_rank, false.rank, false.p) == (64, 1, 1)
    assert false.difference.value == pytest.approx(-true.difference.value, abs=1e-6)
    assert false.total.value == pytest.approx(-true.total.value, abs=1e-6)
    assert false.weight == pytest.approx(-true.weight)


def test_a_unit_that_writes_nothing_loses_nothing(model, games, readers):
    weights = dict(model.weights)
    weights["blocks.1.mlp.W_out"] = weights["blocks.1.mlp.W_out"].clone()
    weights["blocks.1.mlp.W_out"][5] = 0
    found = Trial(replace(model, weights=weights), games, readers, "L1N5").outputs(Effect("logit", 1, C2))
    (write,) = found.writes
    assert write.weight == 0 and abs(write.total.value) < 1e-5 and abs(write.direct.value) < 1e-6
    assert abs(found.kl.value) < 1e-6 and found.p_kl == 1
    assert all(abs(r.kl.value) < 1e-6 and r.error.value == 0 for r in found.replacements)


def test_what_cannot_be_measured_is_said(model, games, readers):
    effects = (Effect("reading", 1, C2, "mine"), Effect("unit", 1, None, "L2H1"), Effect("unit", 1, None, "L1N9"))
    found = Trial(model, games, {}, "L1N5", n=4).outputs(*effects, Effect("logit", 1, C2))
    said = [write.reason for write in found.writes]
    assert "no board probe" in said[0] and "is a head" in said[1] and "L1N9 does not come after L1N5" in said[2]
    assert [write.total is None for write in found.writes] == [True, True, True, False]
    assert Outputs.from_json(found.to_json()) == found
    with pytest.raises(InputError, match="out of range"):
        model.unit("L9N1")
    trial = Trial(model, games, {}, "L1N5", n=4)
    for rule in (TRUE, FALSE):
        trial.rule = rule
        with pytest.raises(InputError, match="nothing to ablate"):
            trial.outputs()


def test_the_mean_of_writes_grows_with_the_unit(model, games, readers):
    """A weight is what one more unit of activation adds directly."""
    trial = Trial(model, games, readers, "L1N5", n=8)
    (write,) = trial.outputs(Effect("logit", 1, C2)).writes
    excess = (trial.places.values[trial.places.holds] - trial.levels.off).mean()
    assert write.direct.value / float(excess) == pytest.approx(write.weight, rel=0.2)


# ---- controls -----------------------------------------------------------------------------------------------------


def test_controls_are_others_of_the_kind_and_alive(model, games, readers):
    weights = dict(model.weights)
    for name in ("W_in", "b_in"):
        weights[f"blocks.1.mlp.{name}"] = weights[f"blocks.1.mlp.{name}"].clone()
    weights["blocks.1.mlp.W_in"][:, 20:] = 0  # dead but for 20
    dull = replace(model, weights=weights)
    for name, expected in (("L1N5", 19), ("L1H2", 20), ("L0N3, L0N1, L2N7", 20), ("L1 post C2 mine", 20)):
        trial = Trial(dull, games, readers, name, n=4)
        found = controls(trial.ground, trial.subject, RULE, trial.train)
        names = [control.name for control in found]
        assert len(names) == expected == len(set(names))
        if trial.subject.kind == "neuron":
            assert set(names) == {f"L1N{i}" for i in range(20) if i != 5}
        if trial.subject.kind == "set":
            for own in names:
                units = own.split(", ")
                assert [u[:2] for u in units] == ["L0", "L0", "L2"] and not {"L0N3", "L0N1", "L2N7"} & set(units)


def test_controls_that_write_nothing_are_left_out(model, games, readers):
    weights = dict(model.weights)
    weights["blocks.1.mlp.W_out"] = weights["blocks.1.mlp.W_out"].clone()
    weights["blocks.1.mlp.W_out"][24:] = 0
    trial = Trial(replace(model, weights=weights), games, readers, "L1N5", n=4)
    found = controls(trial.ground, trial.subject, RULE, trial.train)
    assert len(found) == 20 and all(parse_node(c.name).index < 24 for c in found)


def others_of(trial):
    """Each control as the oracle takes it: a direction, or neurons and their means."""
    for control in controls(trial.ground, trial.subject, RULE, trial.train):
        if trial.subject.kind in ("head", "direction"):
            ((hook, edit),) = control.edits({trial.subject.writes: torch.ones(1, 1)})
            vector = edit(torch.zeros(1, 1, 64), None)[0, 0]
            assert float(vector.norm()) == pytest.approx(1) and abs(float(vector.mean())) < 1e-6
            yield hook, vector, None
        else:
            values = read(trial.ground.model, subject(trial.ground.model, control.name), trial.train.games[:40])
            means = values.values[~values.packed.holds(RULE)].mean(0)
            nodes = [parse_node(name) for name in control.name.split(", ")]
            yield None, nodes, dict(zip(nodes, means, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_controls_are_writing_of_equal_norm(model, games, readers, name):
    trial = Trial(model, games, readers, name, n=6)
    (write,) = trial.outputs(Effect("logit", 1, C2)).writes
    assert len(write.random) == 20
    there, off = trial.where(True), trial.levels.off
    for got, (hook, other, means) in zip(write.random[:4], others_of(trial), strict=False):
        assert hook in (None, trial.subject.writes)
        lost = slow.beside(trial.places, there, trial.subject, off, other, means, slow.logit(MOVE))
        assert got == pytest.approx(float(lost.mean()), abs=2e-4, rel=5e-3)
    assert write.p == pytest.approx((1 + sum(x >= write.total.value for x in write.random)) / 21)


@pytest.mark.parametrize("name", ("L1N5", "L1H2", "L1N3, L1N7, L1N1", "L1 post C2 mine"))
def test_controls_move_the_stream_as_far_as_the_ablation(model, games, readers, name):
    """Measured where the subject writes, in the model's own runs."""
    trial = Trial(model, games, readers, name, n=6)
    others = controls(trial.ground, trial.subject, RULE, trial.train)
    hook, off = trial.subject.writes, trial.levels.off

    def edits(rows):
        norms = displaced(trial.subject, (off - trial.places.values[rows])[:, None])
        own = trial.subject.edits(off.expand(len(rows), 1, -1))
        return side_by_side([[], own, *(control.edits(norms) for control in others)])

    for _, _, acts in trial.places.run(True, edits, [hook]):
        moved = acts[hook][:, 1:] - acts[hook][:, :1]
        far = moved.norm(dim=-1)
        assert float(far[:, 0].min()) > 1e-3
        torch.testing.assert_close(far[:, 1:], far[:, :1].expand(-1, 20), atol=1e-4, rtol=1e-3)
        assert len(torch.unique(moved[0, 1:].sign(), dim=0)) == 20  # and each another way


def test_the_difference_is_over_games(model, games, readers):
    trial = Trial(model, games, readers, "L1N5", n=20)
    (write,) = trial.outputs(Effect("logit", 1, C2)).writes
    there, elsewhere = trial.where(True), trial.where(False)
    lost, fails = (
        slow.losses(trial.places, w, trial.subject, trial.levels.off, slow.logit(MOVE)) for w in (there, elsewhere)
    )
    group = trial.places.group
    assert write.difference.value == pytest.approx(float(lost.mean() - fails.mean()), abs=2e-4)
    draws = slow.difference(lost, group[there], fails, group[elsewhere], 1000, 7)
    low, high = torch.quantile(draws, torch.tensor([0.025, 0.975])).tolist()
    width = high - low
    assert abs(write.difference.low - low) < 0.2 * width and abs(write.difference.high - high) < 0.2 * width
    trial.places = draw(trial.ground, trial.subject, RULE, read(model, trial.subject, games[1]), 20, 0)
    (write,) = trial.outputs(Effect("logit", 1, C2)).writes
    assert write.difference is None and write.total_fails is None


def test_side_by_side_is_one_after_another(model, games, readers):
    trial = Trial(model, games, readers, "L0N3, L1N7, L0N1", n=6)
    new = torch.randn(3, 6, 1, 3, generator=torch.Generator().manual_seed(0))
    for run in trial.places.runs(True):
        parts = [trial.subject.edits(new[i, : len(run.rows)]) for i in range(3)]
        together, acts = run.last.run(side_by_side([[], *parts]), ["blocks.1.hook_resid_post"])
        assert together.shape[1] == 4 and acts["blocks.1.hook_resid_post"].shape[1] == 4
        for i, part in enumerate([[], *parts]):
            torch.testing.assert_close(together[:, i], run.last.run(part)[0][:, 0], atol=1e-4, rtol=1e-4)


# ---- replacement ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ("L1N5", "L1H2", "L0N3, L1N7"))
def test_replaced_runs_are_hooks_on_every_ply(model, games, readers, name):
    trial = Trial(model, games, readers, name, n=4)
    got, group = replaced_runs(trial.ground, trial.subject, RULE, trial.levels, n=3)
    held_out = games[1][:3]
    boards, tokens = held_out.boards(), held_out.inputs
    holds, where = RULE.holds(boards), boards.valid.clone()
    where[:, :5] = where[:, 54:] = False
    legal = legal_tokens(boards.legal[where])
    before = model(tokens)[where]
    own = {KINDS[0]: torch.where(holds[..., None], trial.levels.on, trial.levels.off)}
    own[KINDS[1]] = trial.levels.mean.expand(3, 59, -1)
    for kind, new in own.items():
        after = model.run(tokens, edit=trial.subject.edits(new))[0][where]
        p, q = before.log_softmax(-1), after.log_softmax(-1)
        costs = got[KINDS.index(kind)]
        torch.testing.assert_close(costs[0], (p.exp() * (p - q)).sum(-1), atol=1e-4, rtol=1e-3)
        change = score_positions(after, legal)["top_n_error"] - score_positions(before, legal)["top_n_error"]
        assert (costs[1] - change).abs().mean() < 0.02  # a tie may fall either way
    assert len(group.unique()) == 3 and len(group) == int(where.sum())


def test_levels_dealt_at_random_are_dealt_as_often(model, games, readers):
    trial = Trial(model, games, readers, "L1N5", n=4)
    levels = trial.levels
    two, mean, dealt = levels.of(torch.zeros(20000, dtype=torch.bool), torch.Generator().manual_seed(0))
    assert bool((two == levels.off).all()) and bool((mean == levels.mean).all())
    share = float((dealt == levels.on).float().mean())
    assert abs(share - levels.rate) < 0.02 and levels.rate == pytest.approx(float(trial.holds.float().mean()))
    between = levels.rate * levels.on + (1 - levels.rate) * levels.off
    torch.testing.assert_close(between, levels.mean, atol=1e-5, rtol=1e-4)


def test_replacements_say_where(model, games, readers):
    trial = Trial(model, games, readers, "L1N5", n=10)
    found = trial.outputs()
    assert [(r.by, r.where) for r in found.replacements] == [
        (kind, where) for where in ("where the rule holds", "all positions") for kind in KINDS
    ]
    near(found.replacements[0].kl, slow.kl(trial.places, trial.where(True), trial.subject, trial.levels.on))
    assert found.writes == () and len(found.random_kl) == 20
    assert any("whole held-out games" in line for line in found.words)
    compared = "20 random units’ writing, scaled at each position to the norm that ablating L1N5 displaces"
    assert any(compared in line for line in found.words)
