"""Planted truth: what is planted is what was said, and outcomes, rates and decoys are what they are called."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

import probes
from circuits import checkpoints
from circuits.board_readers import BoardReader
from circuits.errors import InputError
from circuits.games import generate
from circuits.induction.facts import facts
from circuits.induction.records import NeuronRule, Score
from circuits.induction.sample import Triple, layers, sample
from circuits.notation import CENTRE
from circuits.rules import Literal, Or, disjunction
from circuits.rules.logic import equivalent
from circuits.rules.text import parse_claim, parse_rule
from circuits.trial import planting
from circuits.trial import records as t
from circuits.trial import run as trial
from circuits.trial.decoys import decoys, draw_claims, phi
from circuits.trial.hosts import Bed
from circuits.trial.outcomes import Host, one_literal_off, outcome, terms
from circuits.trial.planting import ALONE, FAMILIES, draw_rules, margin
from circuits.trial.pure_reading import PureReading
from circuits.verdicts.neighbours import literals
from circuits.verdicts.records import Estimate

TINY = Path(__file__).parent / "assets" / "tiny.safetensors"


@pytest.fixture(scope="module")
def own(tiny):
    return sample(tiny, generate(260, seed=41))


@pytest.fixture(scope="module")
def bed(tiny):
    hook, games = "blocks.1.hook_resid_mid", generate(60, seed=11)
    probe = probes.train(tiny, games, hooks=[hook], tasks_=["board"], held_out=0)
    return Bed(checkpoints.read(TINY), probe.board_readers()[hook], games, 1)


# ---- rules and activations -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_drawn_rules_differ_hold_as_often_as_said_and_follow_the_seed(own, family):
    packed, (low, high) = own.train.packed, FAMILIES[family][1]
    rules = draw_rules(family, packed, 5, seed=3)
    assert len(set(rules)) == 5 and rules == draw_rules(family, packed, 5, seed=3)
    assert rules[:2] == draw_rules(family, packed, 2, seed=3) and rules != draw_rules(family, packed, 5, seed=4)
    for rule in rules:
        assert low <= float(packed.holds(rule).float().mean()) <= high
        assert isinstance(rule, Or) == (family == "either of two")
        assert {"one literal": 1, "two literals": 2, "either of two": 4}.get(family, 3) <= len(literals(rule))


def test_margin_counts_what_leaving_a_literal_out_changes(own):
    packed = own.train.packed
    a, b = parse_rule("C0 empty"), parse_rule("D1 theirs")
    holds, rest = packed.count(a & b), min(packed.count(a & ~b), packed.count(b & ~a))
    assert margin(a & b, packed) == pytest.approx(rest / holds)
    # "occupied" says nothing beside "mine".
    assert margin(parse_rule("D1 mine & D1 occupied"), packed) == 0
    # Of "A | A & B" the second part can go; of "A | B", A's own positions.
    assert margin(a | b, packed) == pytest.approx(rest / packed.count(a | b))


def test_a_planted_neuron_is_its_rule_the_noise_and_its_host(own):
    rules = draw_rules("two literals", own.train.packed, 3, seed=1)
    clean = planting.planted(own, rules, 0.0, seed=5)
    for side, y in zip(own.sides, (clean.train, clean.tune, clean.held_out), strict=True):
        assert torch.equal(y, torch.stack([side.packed.holds(rule) for rule in rules]).float())
    noisy = planting.planted(own, rules, 0.5, seed=5)
    assert float((noisy.train - clean.train).std()) == pytest.approx(0.5, rel=0.02)
    assert not torch.equal(noisy.train, planting.planted(own, rules, 0.5, seed=6).train)
    real, names = planting.real_neurons(own, 1, seed=0)
    hosts = planting.hosts_of(real)
    assert len(names) == 3 == len(hosts.train)
    assert torch.allclose(hosts.train.mean(1), torch.zeros(3), atol=1e-4)
    assert torch.allclose(hosts.train.std(1, correction=0), torch.ones(3), atol=1e-4)
    on = planting.planted(own, rules, 0.5, seed=5, hosts=hosts, dose=2.0)
    assert torch.allclose(on.held_out - noisy.held_out, hosts.held_out / 2, atol=1e-5)
    (last,) = (acts for acts in layers(own, [2]))
    assert torch.allclose(real.tune[2], last.tune[int(names[2].split("N")[1])], atol=1e-5)
    for wrong in ({"dose": 2.0}, {"dose": 2.0, "hosts": planting.some_of(hosts, torch.tensor([0]))}, {"dose": 0.0}):
        with pytest.raises(InputError, match="dose"):
            planting.planted(own, rules, 0.5, 5, **wrong)


def test_dealing_keeps_every_ply_and_loses_the_games(own):
    y = Triple(*(side.ply + torch.linspace(0, 0.5, side.n)[None] for side in own.sides))
    dealt = planting.dealt(own, y, seed=2)
    for side, before, after in zip(own.sides, (y.train, y.tune), (dealt.train, dealt.tune), strict=False):
        assert torch.equal(after[0].long(), side.ply) and not torch.equal(before, after)
        assert torch.equal(before[0].sort().values, after[0].sort().values)


@pytest.mark.parametrize("kind", planting.CLOCK_KINDS)
def test_clocks_are_functions_of_the_ply(own, kind):
    clean = planting.clocks(own, kind, 4, 0.0, seed=7)
    level = torch.zeros(4, 59).index_copy_(1, own.train.ply, clean.train)
    assert torch.equal(level[:, own.train.ply], clean.train)
    assert torch.allclose(level[:, own.held_out.ply], clean.held_out)
    assert torch.allclose(clean.train.std(1), torch.ones(4), atol=1e-3)
    assert float((planting.clocks(own, kind, 4, 0.5, seed=7).train - clean.train).std()) == pytest.approx(0.5, rel=0.03)


def test_noise_is_what_it_is_called(own):
    made = {kind: planting.noise(own, kind, 6, seed=9).train for kind in planting.NOISE_KINDS}
    assert {y.shape for y in made.values()} == {(6, own.train.n)} and all(y.isfinite().all() for y in made.values())
    assert float(made["normal"].std()) == pytest.approx(1, abs=0.03)
    heavy = made["heavy-tailed"]
    assert 0.45 < float((heavy == 0).float().mean()) < 0.55 and float(heavy.max()) > 8 * float(heavy.std())
    # One level a game: of its variance nearly all lies between games. A walk: neighbouring plies are alike.
    game = own.train.packed.row
    means = torch.zeros(6, int(game.max()) + 1).index_add_(1, game, made["by game"]) / torch.bincount(game)
    assert float((made["by game"] - means[:, game]).var()) < 0.1 * float(made["by game"].var())
    steps = made["drifting"][:, 1:] - made["drifting"][:, :-1]
    assert float(steps[:, game[1:] == game[:-1]].std()) == pytest.approx(1, abs=0.03)
    for wrong in (planting.noise, lambda *a: planting.clocks(*a[:3], 0.0, a[3])):
        with pytest.raises(InputError, match="'pink' is no kind"):
            wrong(own, "pink", 1, 0)


# ---- outcomes and rates --------------------------------------------------------------------------------------------


def row(rule: str | None, *alternatives: str, **more) -> NeuronRule:
    e = Estimate(0.5)
    score = rule and Score(rule, 1, 1, 1.0, 0.0, 0.5, 0.1, 10, e, 0.5, 0.5, 0.5, 0.5)
    return NeuronRule("L0N0", "explained", None, score, None, alternatives, 0.0, 0.0, 0.0, **more)


@pytest.mark.parametrize(
    ("planted", "found", "alternatives", "expected"),
    [
        ("C0 empty & D1 theirs & E2 mine", "legal C0 via SE x1", (), t.RECOVERED),
        ("C0 occupied & D1 theirs", "D1 theirs & !C0 empty", (), t.RECOVERED),
        ("C0 empty & D1 theirs", "C0 empty & D1 occupied", ("E2 mine", "D1 theirs & !C0 occupied"), t.LISTED),
        ("C0 empty & D1 theirs & E2 mine", "C0 empty & D1 theirs", (), t.SILENT),
        ("C0 empty & D1 theirs & E2 mine", "C0 empty & D1 theirs", ("A0 mine",), t.SILENT),  # further off
        ("C0 empty & D1 theirs & E2 mine", "C0 empty & D1 theirs", ("C0 empty & D1 theirs & E2 occupied",), t.TOLD),
        ("C0 empty & D1 theirs & E2 mine", "C0 empty & D1 theirs & A7 mine", (), t.SILENT),
        ("C0 empty & D1 theirs", "C0 empty & D1 theirs & A7 mine", (), t.SILENT),
        ("(C0 empty & D1 theirs) | (A0 mine & H7 mine)", "C0 empty & D1 theirs", (), t.SILENT),  # F1 of 0.8 and more
        ("C0 empty & D1 theirs", "A0 mine", (), t.OTHER),
        ("C0 empty & D1 theirs", "F5 played", (), t.HOST),
        ("C0 empty & D1 theirs", "F5 played | F4 played", (), t.HOST),
        ("C0 empty & D1 theirs", "F5 played | (C0 empty & D1 theirs)", (), t.WITH_HOST),
        ("C0 empty & D1 theirs", "A7 played | (C0 empty & D1 theirs)", (), t.SILENT),  # nothing of the host's
        (
            "(C0 empty & D1 theirs) | (C0 empty & A0 mine)",
            "F5 played | (C0 empty & (A0 mine | D1 theirs))",
            (),
            t.WITH_HOST,
        ),
        ("C0 empty & D1 theirs", None, (), t.NOTHING),
    ],
)
def test_outcomes(own, planted, found, alternatives, expected):
    rule = parse_rule("F5 played")
    host = Host(own.train.packed.holds(rule).float(), own.held_out.packed.holds(rule).float(), rule)
    what, agreement = outcome(parse_rule(planted), row(found, *alternatives), own, host)
    assert what == expected and 0 <= agreement <= 1
    assert agreement == 1 or expected not in t.FOUND


def test_a_near_miss_may_be_said_to_be_one(own):
    planted, short = parse_rule("C0 empty & D1 theirs & E2 mine"), "C0 empty & D1 theirs"
    sides = (own.train.packed, own.tune.packed)
    differ = sum(side.count(parse_rule(short)) - side.count(planted) for side in sides)
    assert outcome(planted, row(short, unseen=differ - 1), own)[0] == t.SILENT
    assert outcome(planted, row(short, unseen=differ), own)[0] == t.BOUNDED
    assert outcome(planted, row(short, refined=(str(planted),)), own)[0] == t.REFINED
    assert outcome(planted, row(short, str(planted), refined=("A0 mine",), unseen=0), own)[0] == t.LISTED
    # On a host, what the host does beside it does not count as a difference, nor as another rule.
    played = parse_rule("F5 played")
    host = Host(own.train.packed.holds(played).float(), own.held_out.packed.holds(played).float(), played)
    assert outcome(planted, row(f"F5 played | ({short})", unseen=differ), own, host)[0] == t.BOUNDED
    assert outcome(planted, row(f"F5 played | ({short})", unseen=differ - 1), own, host)[0] == t.SILENT
    assert outcome(planted, row(f"F5 played | ({short})", f"F5 played | ({planted})"), own, host)[0] == t.LISTED


def test_multiplying_out_says_the_same(own):
    for text in (
        "A0 mine",
        "C0 empty & (A0 mine | (D1 theirs & !E2 mine))",
        "(A0 mine | B0 mine) & (C0 mine | D0 mine)",
    ):
        rule = parse_rule(text)
        parts = terms(rule)
        assert not any(isinstance(part, Or) for part in parts) and equivalent(disjunction(parts), rule)


def test_one_literal_off_is_symmetric_and_spells_patterns_out():
    line = parse_rule("legal C0 via SE x1")
    assert one_literal_off(line, parse_rule("C0 empty & D1 theirs"))
    assert one_literal_off(parse_rule("C0 empty & D1 theirs"), line)
    assert not one_literal_off(line, parse_rule("C0 empty")) and not one_literal_off(line, parse_rule("A0 mine"))
    assert not one_literal_off(parse_rule("C0 empty"), parse_rule("D1 theirs"))  # nothing in common
    assert not one_literal_off(line, line | parse_rule("A0 mine"))


@given(st.integers(0, 300), st.integers(0, 300))
def test_wilsons_interval(k, n):
    found = t.rate(min(k, n), n)
    if n:
        expected = binomtest(min(k, n), n).proportion_ci(method="wilson")
        assert found.low == pytest.approx(expected.low, abs=1e-9)
        assert found.high == pytest.approx(expected.high, abs=1e-9)
    assert found.low <= found.value <= found.high


# ---- through weights -----------------------------------------------------------------------------------------------

CLAIMS = ("C2 empty & D1 theirs => +F6", "D5 mine => B4 theirs", "A4 occupied & !C3 mine => -L2N7")


@pytest.fixture(scope="module")
def planted(bed):
    return bed.plant([parse_claim(claim) for claim in CLAIMS])


def test_planted_neurons_compute_what_was_said(planted, bed):
    model, first = planted.model, bed.model.shape.d_mlp
    assert planted.units == ("L1N128", "L1N129", "L1N130") and model.hash != bed.model.hash
    read = bed.n @ model.W_in(1)[:, first:] + model.b_in(1)[first:]
    for pre, claim in zip(read.T, planted.claims, strict=True):
        r = torch.zeros(len(bed.n))
        for literal in literals(claim.rule):
            x, here = bed.n @ bed.reading.direction(literal), bed.packed.holds(literal)
            r += (x - x[~here].mean()) / (x[here].mean() - x[~here].mean())
        theta = (r - pre / 4).mean()
        assert torch.allclose(pre, 4 * (r - theta), atol=2e-3)
        assert len(literals(claim.rule)) - 1 <= float(theta) + 1e-4 <= len(literals(claim.rule)) + 2e-4
        # On where it holds more than where it fails, and as well as the threshold said.
        on, holds = pre > 0, bed.packed.holds(claim.rule)
        f1 = 2 * float((on & holds).sum()) / float(on.sum() + holds.sum())
        assert f1 == pytest.approx(bed.fits(claim.rule), abs=0.01)
        assert on[holds].float().mean() > on.float().mean()


def test_a_reading_responds_to_its_own_square_alone(own):
    """A stream made of the board's facts, along directions that are not the probe's but lie near them."""
    generator, packed = torch.Generator().manual_seed(0), own.train.packed
    probe = BoardReader("blocks.1.hook_resid_mid", torch.randn(160, 64, 3, generator=generator), torch.zeros(64, 3))
    squares = [[packed.holds(Literal(s, name)).float() for name in ("empty", "theirs", "mine")] for s in range(64)]
    written = probe.weight + 0.5 * torch.randn(160, 64, 3, generator=generator)
    n = torch.einsum("scn,dsc->nd", torch.stack([torch.stack(square) for square in squares]), written)
    n += 0.1 * torch.randn(n.shape, generator=generator)
    reading = PureReading(probe, n, packed)
    for text in ("C2 empty", "D5 mine", "!E3 theirs", "A0 occupied", "D3 mine"):
        literal = parse_rule(text)
        read = torch.einsum("d,dsc->sc", reading.direction(literal), written)
        other = [s for s in range(64) if s != literal.atoms[0].square]
        # What changes between two states of another square; what the literal's own truth changes.
        assert float((read[other, 1:] - read[other, 1:].mean(1, keepdim=True)).abs().max()) < 0.02
        assert (
            float((read[other] - read[other].mean(1, keepdim=True))[[s not in CENTRE for s in other]].abs().max())
            < 0.02
        )
        empty, theirs, mine = read[literal.atoms[0].square].tolist()
        on, off = {"C2 empty": (empty, mine), "D5 mine": (mine, theirs), "!E3 theirs": (mine, theirs),
                   "A0 occupied": (theirs, empty), "D3 mine": (mine, theirs)}[text]  # fmt: skip
        assert on - off == pytest.approx(1, abs=0.02)
    for text, said in (("C2 legal", "C2 legal cannot be planted"), ("E3 occupied", "a centre square is never empty")):
        with pytest.raises(InputError, match=said):
            reading.direction(parse_rule(text))


def test_nothing_else_changes(planted, bed):
    tokens = generate(4, seed=1).inputs
    silent = bed.plant(list(planted.claims), strength=0.0).model
    assert torch.allclose(silent(tokens), bed.model(tokens), atol=1e-4)
    before, after = (m.run(tokens, save=["blocks.1.mlp.hook_post"])[1] for m in (bed.model, planted.model))
    acts = after["blocks.1.mlp.hook_post"]
    assert torch.allclose(acts[..., :128], before["blocks.1.mlp.hook_post"], atol=1e-4)
    assert not planted.model.run(tokens, save=["blocks.2.mlp.hook_post"])[1]["blocks.2.mlp.hook_post"][..., 128:].any()
    # Each writes along what it is said to write along.
    w = planted.model.W_out(1)[128:]
    reads = (bed.model.W_U[:, 43], bed.reader.classes[12, 1], -bed.model.W_in(2)[:, 7])
    assert torch.allclose(w.norm(dim=1), torch.full((3,), 6.0), atol=1e-3)
    assert int((bed.model.W_U.T @ w[0]).argmax()) == 43
    for own, other in zip(w, reads, strict=True):
        assert float(torch.cosine_similarity(own, other, dim=0)) > 0.99


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ("C2 empty | D1 theirs", "give a conjunction"),
        ("C2 legal", "C2 legal cannot be planted"),
        ("C2 empty & A0 mine & A7 mine & H0 mine & H7 mine", "holds at 0 of"),
        ("C2 empty => -L1N3", "does not come after layer 1"),
    ],
)
def test_what_cannot_be_planted_is_refused(bed, claim, said):
    with pytest.raises(InputError, match=said):
        bed.plant([parse_claim(claim)])


def test_a_bed_needs_a_probe_of_its_own_point(bed):
    with pytest.raises(InputError, match="neurons of layer 2 read"):
        Bed(bed.checkpoint, bed.reader, generate(20, seed=1), 2)


def test_decoys_are_about_other_squares_and_correlate_as_said(own):
    packed, rule = own.train.packed, parse_rule("C0 empty & D1 theirs")
    found = {kind: (claim, correlation) for kind, claim, correlation in decoys(rule, packed)}
    assert list(found) == ["legal", "elsewhere", "two", "far"] and str(found["legal"][0]) == "C0 legal"
    for kind, (claim, correlation) in found.items():
        both = torch.stack([packed.holds(claim), packed.holds(rule)]).double()
        assert correlation == pytest.approx(float(torch.corrcoef(both)[0, 1]), abs=1e-9)
        assert kind == "legal" or not {16, 25} & {atom.square for atom in claim.atoms}
        if kind == "far":
            assert all(abs(a.square % 8 - 0) > 2 or abs(a.square // 8 - 2) > 2 for a in claim.atoms)
    assert found["two"][1] >= found["elsewhere"][1] >= found["far"][1] > 0
    assert float(phi(packed.holds(rule)[None], packed.holds(rule))[0]) == pytest.approx(1)


def test_claims_to_plant_are_of_kinds_in_turn_and_follow_the_seed(own):
    packed = own.train.packed
    claims = draw_claims(packed, 6, 1, ["L2N0", "L2N5"], lambda rule: 1.0)
    assert claims == draw_claims(packed, 6, 1, ["L2N0", "L2N5"], lambda rule: 1.0)
    assert [len(literals(claim.rule)) for claim in claims] == [2, 2, 2, 1, 3, 2]
    assert [claim.effects[0].kind for claim in claims] == ["logit", "reading", "unit"] * 2
    assert len({claim.rule for claim in claims}) == 6
    with pytest.raises(InputError, match="none is left that a neuron follows"):
        draw_claims(packed, 1, 1, ["L2N0"], lambda rule: 0.0)


# ---- the trial -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found(own):
    return facts(own)


def test_rules_are_recovered_from_planted_activations_and_not_from_dealt_ones(found):
    rules = [r for f in ("line", "one literal", "two literals") for r in draw_rules(f, found.sample.train.packed, 2, 8)]
    acts = planting.planted(found.sample, rules, 0.25, seed=8)
    rows = trial.found_of(found, acts)
    assert all(equivalent(parse_rule(r.rule.rule), rule) for r, rule in zip(rows, rules, strict=True))
    blank = trial.blank("dealt", trial.found_of(found, planting.dealt(found.sample, acts, seed=1)))
    assert blank.n == 6 and blank.share("explained").k == 0 and blank.share(*t.CALLED).k == blank.by_ply
    twice = trial.merged([blank, blank])[0]
    assert twice.n == 12 and twice.statuses == {k: 2 * n for k, n in blank.statuses.items()}


def test_a_trial_goes_to_json_and_back_and_counts_what_it_says(found, monkeypatch):
    few = ("two literals", "just played")
    monkeypatch.setattr(trial, "FAMILIES", {name: FAMILIES[name] for name in few})
    hosts = planting.hosts_of(planting.real_neurons(found.sample, 1, seed=0)[0])
    rows = trial.plant_all(found, hosts, [None] * 3, 1, 0, noises=(0.25,), doses=(2.0, ALONE))
    blank = trial.blank("real", [])
    whole = t.Trial("m", "h", 260, 1, 1, (5, 53), (0,), tuple(rows), (), (), blank, blank)
    assert t.Trial.from_json(whole.to_json()) == whole
    assert whole.families == few and whole.noises == (0.25,) and whole.doses == (2.0, None)
    assert whole.of(*t.OUTCOMES).n == 4 == whole.of(*t.OUTCOMES).k
    alone = whole.of(t.RECOVERED, doses=(None,))
    assert alone.n == 2 and alone.k == sum(p.outcome == t.RECOVERED for p in rows if p.dose is None)
    changed = replace(whole, planted=tuple(replace(p, status="unexplained") for p in rows))
    assert changed.of(*t.OUTCOMES, called=True).k == 0
