"""Discovery as a whole: the sample it stands on, planted rules, noise, clocks, deals, bad input."""

from dataclasses import replace

import pytest
import torch

from circuits import plain
from circuits.errors import InputError
from circuits.games import generate
from circuits.induction.discover import discover, status
from circuits.induction.facts import facts
from circuits.induction.literals import STANDARD
from circuits.induction.measure import Measure
from circuits.induction.records import STATUSES, NeuronRule
from circuits.induction.sample import Triple, layers, sample
from circuits.induction.trees import grow
from circuits.notation import PLAYABLE
from circuits.rules import Count, Literal, sq
from circuits.rules.logic import equivalent
from circuits.rules.text import parse_rule

RULES = [
    sq.C2.empty & sq.D2.theirs & sq.E2.mine,
    sq.E5.played & sq.D5.occupied,
    (sq.C2.empty & sq.D2.theirs) | (sq.F4.mine & sq.F5.theirs),
]


@pytest.fixture(scope="module")
def few(tiny):
    return sample(tiny, generate(320, seed=3))


@pytest.fixture(scope="module")
def own(few):
    """Facts of half the squares, which is faster."""
    return facts(few, [a for a in STANDARD if not isinstance(a, Literal) or a.square >= 16])


def normal(few, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Triple(*(torch.randn(n, side.n, generator=generator) for side in few.sides))


def planted(few, rules, noise, seed=0):
    e = normal(few, len(rules), seed)
    made = (
        torch.stack([side.packed.holds(rule) for rule in rules]).float() + noise * part
        for side, part in zip(few.sides, (e.train, e.tune, e.held_out), strict=True)
    )
    return Triple(*made)


def joined(*parts):
    return Triple(*(torch.cat([getattr(p, side) for p in parts]) for side in ("train", "tune", "held_out")))


def names(n):
    return [f"L0N{i}" for i in range(n)]


# ---- the sample ----------------------------------------------------------------------------------------------------


def test_games_are_split_in_three_by_transcript(tiny):
    games = generate(300, seed=5)
    twice = games[torch.cat([torch.arange(300), torch.arange(0, 300, 3)])]
    got = sample(tiny, twice)
    transcripts = [{tuple(row) for row in side.games.tokens.tolist()} for side in got.sides]
    assert sum(map(len, transcripts)) == 300 == len(set.union(*transcripts))
    held_out = {tuple(row) for row in games.split(0.25, 0)[1].tokens.tolist()}
    assert transcripts[2] == held_out
    for side, own in zip(got.sides, transcripts, strict=True):
        # Copies are one game, numbered as games appear.
        assert side.n_games == len(own) and side.group[0] == 0
        assert list(dict.fromkeys(side.group.tolist())) == list(range(side.n_games))
        rows = side.games.tokens[side.packed.row]
        assert len({(g, tuple(r)) for g, r in zip(side.group.tolist(), rows.tolist(), strict=True)}) == side.n_games
    assert len(transcripts[0]) > len(transcripts[2]) > len(transcripts[1]) > 20


def test_too_few_games_are_refused_with_what_would_do(tiny):
    with pytest.raises(InputError, match=r"too few games to hold out: of 60 given, 60 different ones.*give 240"):
        sample(tiny, generate(60, seed=1))
    with pytest.raises(InputError, match="of 1 given"):
        sample(tiny, generate(1, seed=1))
    copies = generate(1, seed=1)[torch.zeros(400, dtype=torch.long)]
    with pytest.raises(InputError, match="of 400 given, 1 different"):
        sample(tiny, copies)


def test_layers_are_what_the_model_computes(few):
    model = plain.of(few.model)
    got = {acts.layer: acts for acts in layers(few, [2, 0])}
    assert sorted(got) == [0, 2] and got[2].names[5] == "L2N5"
    for side, name in zip(few.sides, ("train", "tune", "held_out"), strict=True):
        hooks = [f"blocks.{layer}.mlp.hook_post" for layer in got]
        _, saved = model.run(side.games.inputs, save=hooks)
        for layer, hook in zip(got, hooks, strict=True):
            expected = saved[hook][side.packed.where].T
            torch.testing.assert_close(getattr(got[layer], name), expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(InputError, match=r"layer 3: model .* has layers 0\.\.2"):
        next(layers(few, [3]))


# ---- facts ---------------------------------------------------------------------------------------------------------


def test_facts_are_those_that_vary_and_codes_name_them(few):
    always = Count("ply", low=1)
    got = facts(few, [always, sq.C2.empty, sq.D2.theirs], patterns=False)
    assert got.atoms == (sq.C2.empty, sq.D2.theirs) and got.tried == 3
    for code in range(4):
        for side in few.sides:
            holds = side.packed.holds(got.literal(code))
            assert torch.equal(torch.from_numpy(got.where([(code,)], side)), holds.nonzero()[:, 0])
    assert str(got.rule([(0, 3), (2,)])) == "C2 occupied | (C2 empty & !D2 theirs)"
    with pytest.raises(InputError, match="none of 1 literals both holds and fails"):
        facts(few, [always], patterns=False)


@pytest.mark.parametrize(
    "atom", [sq.C2.empty, sq.C2.empty @ -1, Count("ply", low=20), Count("flips", low=3), sq.A0.legal]
)
def test_the_code_of_a_negation_says_the_opposite(few, atom):
    got = facts(few, [atom], patterns=False, least=1)
    packed = few.train.packed
    assert torch.equal(packed.holds(got.literal(1)), ~packed.holds(atom))


# ---- discovery -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows(few, own):
    """Planted rules, noise, a clock, a dead neuron."""
    clock = Triple(*((side.ply[None].float() - 30).relu() for side in few.sides))
    noise = normal(few, 4, seed=9)
    wild = Triple(*(x.pow(3) for x in (noise.train, noise.tune, noise.held_out)))
    dead = Triple(*(torch.full((1, side.n), 0.3) for side in few.sides))
    acts = joined(planted(few, RULES, 0.4), noise, wild, clock, dead)
    return discover(own, acts, names(len(acts.train)))


def test_planted_rules_are_found_and_what_is_as_good_is_nearly_the_same(few, rows):
    for row, rule in zip(rows, RULES, strict=False):
        assert equivalent(parse_rule(row.rule.rule), rule)
        # What is listed beside it is as short, another rule, and nearly the same positions.
        for other in map(parse_rule, row.alternatives):
            assert not equivalent(other, rule)
            differ = few.held_out.packed.holds(other) != few.held_out.packed.holds(rule)
            assert float(differ.float().mean()) < 0.05
        assert row.complete
        assert row.source == "conjunction" and row.rule.literals <= len(rule.atoms)  # a pattern is one fact
        assert abs(row.shuffled) < 0.05 and 0.9 < row.rule.mean_on < 1.1 and row.ply < 0.2


def test_of_noise_nothing_is_explained(rows):
    for row in rows[3:11]:
        assert row.rule is None and row.source is None and row.status == "unexplained" and row.tree < 0.05


def test_clocks_and_dead_neurons_are_called_so(rows):
    assert rows[11].status == "clock" and rows[11].ply > 0.99
    assert rows[12].status == "dead" and rows[12].rule is None and rows[12].tree == 0


def test_rows_are_records_with_known_status(rows):
    for row in rows:
        assert row.status in STATUSES
        assert NeuronRule.from_json(row.to_json()) == row


def test_dealt_to_other_games_nothing_is_explained(few, own):
    acts = next(layers(few, [1]))
    dealt = []
    for side, part in zip(few.sides, (acts.train, acts.tune, acts.held_out), strict=True):
        order = (side.ply + torch.rand(side.n, generator=torch.Generator().manual_seed(1))).argsort()
        new = torch.empty_like(part[:10])
        new[:, side.ply.argsort(stable=True)] = part[:10, order]
        dealt.append(new)
    got = discover(own, Triple(*dealt), names(10))
    assert all(row.status in ("unexplained", "partly", "clock") for row in got)
    assert all(row.rule is None or row.rule.variance_explained.value < row.ply + 0.05 for row in got)


def test_figures_of_trees_are_those_of_the_trees_and_batches_change_nothing(few, own, monkeypatch):
    monkeypatch.setattr("circuits.induction.discover.BATCH", 4)
    acts = next(layers(few, [0]))
    n = 7
    part = Triple(acts.train[:n], acts.tune[:n], acts.held_out[:n])
    trees = grow(own.matrix(few.train), part.train, 5)
    got = discover(own, part, names(n), trees=trees)
    r2 = trees.r2_by_depth(own.matrix(few.held_out), part.held_out)
    torch.testing.assert_close(torch.tensor([row.tree for row in got]).double(), r2[5], atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.tensor([row.tree_4 for row in got]).double(), r2[4], atol=1e-6, rtol=0)
    last = Triple(acts.train[n - 3 : n], acts.tune[n - 3 : n], acts.held_out[n - 3 : n])
    assert discover(own, last, names(n)[-3:], trees=trees[slice(n - 3, n)]) == got[-3:]
    assert any(row.rule for row in got)


def test_what_a_row_says_of_its_rule_is_measured_on_the_held_out_games(few, own, rows):
    acts = planted(few, RULES, 0.4)
    measure = Measure(few)
    for n, row in enumerate(rows[:3]):
        assert measure.score(parse_rule(row.rule.rule), acts.train[n], acts.held_out[n]) == row.rule


def test_rules_found_again_on_halves_of_the_games(few, own):
    acts = joined(planted(few, RULES[:1], 0.3), normal(few, 1))
    strong, noise = discover(own, acts, names(2), resamples=2)
    assert strong.agreement == 1 and strong.same == 1
    assert noise.agreement is None and noise.same is None
    once = discover(own, acts, names(2))
    assert replace(strong, agreement=None, same=None) == once[0]


@pytest.mark.parametrize(
    ("live", "explained", "low", "ply", "said"),
    [
        (True, 0.6, 0.55, 0.1, "explained"),
        (True, 0.6, 0.45, 0.1, "partly"),
        (True, 0.6, 0.55, 0.7, "clock"),
        (True, 0.8, 0.75, 0.6, "explained"),
        (True, 0.2, 0.05, 0.6, "clock"),
        (True, 0.12, 0.05, 0.3, "unexplained"),
        (True, None, None, 0.0, "unexplained"),
        (True, None, None, 0.9, "clock"),
        (False, None, None, 0.0, "dead"),
    ],
)
def test_status_by_its_thresholds(rows, live, explained, low, ply, said):
    score = rows[0].rule
    estimate = replace(score.variance_explained, value=explained or 0.0, low=low)
    assert status(live, None if explained is None else replace(score, variance_explained=estimate), ply) == said


def test_bad_activations_are_refused(few, own):
    acts = normal(few, 2)
    acts.tune[1, 7] = float("nan")
    acts.tune[1, 9] = float("inf")
    with pytest.raises(InputError, match=r"L0N1 has 2 tuning activations of .* that are NaN or infinite"):
        discover(own, acts, names(2))
    with pytest.raises(InputError, match=r"training activations have the shape \[2, \d+\], and 3 neurons"):
        discover(own, normal(few, 2), names(3))


def test_facts_of_a_pattern_are_said_as_one_fact(few):
    own = facts(few, [Literal(s, "empty") for s in PLAYABLE])
    acts = planted(few, [sq.C2.via("E", 1)], 0.3)
    (row,) = discover(own, acts, names(1))
    assert row.rule.rule == "legal C2 via E x1" and row.rule.literals == 1
