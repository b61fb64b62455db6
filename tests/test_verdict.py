"""A rule and a unit put to the test, whole: what cannot be tested, what is refused, the grades, the record."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circuits.errors import InputError
from circuits.games import generate
from circuits.notation import LABELS, SQUARE_TOKEN
from circuits.othello import replay
from circuits.plain import of
from circuits.rules import sq
from circuits.verdicts import checks as verdict_checks
from circuits.verdicts import grades as g
from circuits.verdicts import inputs as verdict_inputs
from circuits.verdicts.pairs import toggles
from circuits.verdicts.readings import Ground
from circuits.verdicts.records import Check, Estimate, Inputs, Toggle, Verdict
from circuits.verdicts.subjects import direction
from circuits.verdicts.verdict import test as try_rule
from circuits.verdicts.words import summary


@pytest.fixture(scope="module")
def ground(tiny):
    train, out = generate(160, seed=31).split(0.5, seed=0)
    return Ground(tiny, train, out)


@pytest.fixture(scope="module")
def refuted(ground):
    return try_rule(ground, "L1N3", "C4 legal & !D5 theirs => +C2")


def passed(group: str, ok: bool | None = True, name: str = "x") -> Check:
    return Check(group, name, ok, "figure", "asked")


ALL = (
    passed("evidence"), passed("chance"), passed("causes"), passed("some description"), passed("good description"),
    passed("writes"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("failing", "expected"),
    [
        (None, g.WRITES),
        (passed("writes", False), g.FITS),
        (passed("good description", False), g.INCOMPLETE),
        (passed("some description", False), g.ONE_CAUSE),
        (passed("causes", False, "another"), g.PARTLY),
        (passed("evidence", False), g.UNDERPOWERED),
        (passed("chance", False), g.REFUTED),
    ],
)
def test_the_first_threshold_missed_decides_the_grade_and_is_named(failing, expected):
    checks = ALL if failing is None else (*ALL, failing)
    grade, missing = g.grade(checks)
    assert grade == expected
    assert missing == (() if failing is None else (f"{failing.name}: figure (asked is asked for)",))


def test_what_cannot_be_asked_is_no_cause():
    without = [check for check in ALL if check.group != "causes"]
    assert g.grade(without)[0] == g.CORRELATES
    assert g.grade([*without, passed("causes", None)])[0] == g.CORRELATES
    assert g.grade([*without, passed("causes", False), passed("causes", False)])[0] == g.CORRELATES
    grade, missing = g.grade([*ALL, passed("causes", None, "ply >= 20 moves it")])
    assert grade == g.INCOMPLETE and "ply >= 20" in missing[0]
    # Games in which nothing of the rule changes must not move the unit; that alone is no cause either.
    assert g.grade([*without, passed("causes", True, verdict_checks.CONTROL)])[0] == g.CORRELATES


def test_without_a_claim_nothing_is_said_of_what_is_written():
    grade, missing = g.grade([check for check in ALL if check.group != "writes"])
    assert grade == g.FITS and "claim" in missing[0]


@given(st.lists(st.sampled_from([False, None]), min_size=6, max_size=6), st.integers(0, 63))
def test_failing_one_more_threshold_never_raises_a_grade(how, which):
    def rank(checks) -> int:
        return g.GRADES.index(g.grade(checks)[0])

    checks = [replace(c, passed=how[i]) if which >> i & 1 and c.passed else c for i, c in enumerate(ALL)]
    for i in range(len(checks)):
        if checks[i].passed and checks[i].group != "evidence":
            worse = [replace(c, passed=False) if i == k else c for k, c in enumerate(checks)]
            few = rank(checks) == g.GRADES.index(g.UNDERPOWERED)  # too little evidence says neither yes nor no
            assert rank(worse) <= rank(checks) or few


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("C0 empty & C0 mine", "C0"),
        ("E3 empty", "E3 is a centre square"),
        ("C0 empty | C0 occupied", "always holds"),
        ("ply >= 20 & ply <= 10", "ply"),
        ("A0 mine & A7 mine & H0 mine & H7 mine & ply <= 12", "never holds in the training games"),
    ],
)
def test_what_cannot_be_tested_is_said_with_its_base_rate(ground, rule, said):
    found = try_rule(ground, "L1N3", rule)
    assert found.grade == g.UNTESTABLE and found.fit is None and not found.checks
    assert said in found.notes[0] and " of " in found.notes[0] and "positions" in found.notes[0]
    assert found.notes[0] in found.summary


def test_a_dead_unit_is_said_to_be_dead(tiny):
    weights = dict(of(tiny).weights)
    for name in ("W_in", "b_in"):
        weights[f"blocks.1.mlp.{name}"] = weights[f"blocks.1.mlp.{name}"].clone()
        weights[f"blocks.1.mlp.{name}"][..., 3] = 0
    train, out = generate(40, seed=3).split(0.5, seed=0)
    found = try_rule(Ground(replace(of(tiny), weights=weights), train, out), "L1N3", "C4 legal")
    assert found.grade == g.UNTESTABLE and found.fit is None
    assert found.notes[0].startswith("L1N3 is dead: it is 0 at all ")


def test_a_rule_of_nothing_in_particular_is_refuted(refuted):
    assert refuted.grade in (g.REFUTED, g.UNDERPOWERED)
    assert refuted.fit.games and refuted.rivals.random.n >= 100
    assert any(check.group == "chance" for check in refuted.checks)


def test_a_verdict_goes_to_json_and_back_and_is_made_again_alike(ground, refuted):
    assert Verdict.from_json(refuted.to_json()) == refuted
    assert "NaN" not in refuted.to_json() and json.loads(refuted.to_json())["grade"] == refuted.grade
    again = try_rule(ground, "L1N3", "!D5 theirs & C4 legal => +C2")
    assert replace(again, seconds=refuted.seconds) == refuted


def test_a_planted_direction_is_told_from_what_goes_along_with_it(tiny):
    """A direction that only the embedding of one move has: that it was just played fits; that it was ever, does not."""
    model, square = of(tiny), 18
    v = torch.randn(model.shape.d_model, generator=torch.Generator().manual_seed(0))
    v = (v - v.mean()) / (v - v.mean()).norm()
    weights = dict(model.weights)
    for name in ("embed.W_E", "pos_embed.W_pos"):
        weights[name] = weights[name] - (weights[name] @ v)[:, None] * v
    weights["embed.W_E"][int(SQUARE_TOKEN[square])] += 3 * v
    model = replace(model, weights=weights)
    ground = Ground(model, *generate(700, seed=32).split(0.7, seed=0))
    planted = direction(model, "L0 pre", v, "planted")
    true = try_rule(ground, planted, f"{LABELS[square]} played")
    assert true.fit.f1.value == 1 and true.fit.mean_on == pytest.approx(3, abs=1e-4)
    assert true.fit.mean_off == pytest.approx(0, abs=1e-4)
    assert true.inputs.toggles[0].share.value == pytest.approx(1, abs=1e-4)
    assert all(c.passed for c in true.checks if c.group in ("chance", "causes", "some description", "good description"))
    decoy = try_rule(ground, planted, f"{LABELS[square]} occupied & {LABELS[square]} theirs")
    assert g.GRADES.index(decoy.grade) < g.GRADES.index(g.INCOMPLETE)
    assert any(
        r.rule == f"{LABELS[square]} played" and r.better.value < 0 and r.p_family < 0.05 for r in decoy.rivals.rivals
    )


def test_bad_names_are_refused_before_anything_runs(ground):
    for unit, rule, said in (
        ("L9N3", "C0 empty", "L9N3 is out of range"), ("L1N3", "C0 emty", "column 4"), ("L1N3", "C9 empty", "C9"),
        ("L1N3, L1N3", "C0 empty", "twice"), ("L0 post C0 mine", "C0 mine", "probe"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            try_rule(ground, unit, rule)


def test_python_and_text_say_the_same(ground, refuted):
    found = try_rule(ground, "L1N3", (sq.C4.legal & ~sq.D5.theirs) >> +sq.C2)
    assert found.claim == refuted.claim and found.fit == refuted.fit


def test_the_command_prints_the_verdict_or_json_alone(run, tiny_files, tmp_path):
    options = (
        "--model", str(tiny_files["model"]), "--probe", str(tiny_files["probe"]), "--games", "60", "--cache",
        str(tmp_path / "cache"),
    )  # fmt: skip
    page = tmp_path / "verdict.html"
    result = run("test", "L1N3", "C4 legal", *options, "--json", "--out", str(page))
    assert result.returncode == 0, result.stderr
    found = Verdict.from_dict(json.loads(result.stdout)["verdict"])
    assert found.unit == "L1N3" and found.rule == "C4 legal" and "C4 legal" in page.read_text()
    assert found.command.startswith("othello-circuits test L1N3 'C4 legal' --model")
    for arguments, said in (
        (("L1N3", "C4 legl"), "column 4"), (("L1N3000", "C4 legal"), "L1N3000"), (("nothing", "C4 legal"), "nothing"),
    ):  # fmt: skip
        result = run("test", *arguments, *options)
        assert result.returncode == 2 and said in result.stderr and len(result.stderr.strip().splitlines()) == 1


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, low, high)


def toggle(share, **more) -> Toggle:
    return Toggle("C0 empty", "!C0 empty", 120, 60, estimate(-1, -2, -0.5), share, 0.0001, 0.0001, 4.0, **more)


@pytest.mark.parametrize(
    ("share", "control", "more", "better", "expected"),
    [
        ((0.9, 0.8, 1.0), (0.0, -0.1, 0.1), {}, "", True),
        ((0.1, 0.05, 0.15), (0.0, -0.1, 0.01), {}, "", False),  # too little
        ((0.21, 0.01, 0.41), (0.19, 0.15, 0.2), {}, "", False),  # no more than where nothing changes
        (
            (0.9, 0.8, 1.0),
            (0.0, -0.1, 0.1),
            {"screened": Estimate(0.04, 0.0, 0.1), "screened_pairs": 90},
            "D1 mine",
            False,
        ),
        (
            (0.9, 0.8, 1.0),
            (0.0, -0.1, 0.1),
            {"screened": Estimate(0.9, 0.8, 1.0), "screened_pairs": 90},
            "D1 mine",
            True,
        ),
        ((0.9, 0.8, 1.0), (0.0, -0.1, 0.1), {"screened_pairs": 3}, "D1 mine", None),  # the two cannot be told apart
    ],
)
def test_a_fact_moves_the_unit_beyond_the_control_and_beside_a_better_rule(share, control, more, better, expected):
    found = Inputs((toggle(estimate(*share), **more),), toggle(estimate(*control)), (), (), (), better)
    first, second = verdict_checks._causes(found)
    assert first.passed is expected and first.name == "C0 empty moves it"
    assert second.passed is (abs(control[1]) <= 0.2 and control[2] <= 0.2)


def test_a_control_that_says_nothing_is_no_control():
    wide = Inputs((toggle(estimate(0.9, 0.8, 1.0)),), toggle(estimate(0.9, -0.01, 1.81)), (), (), ())
    assert verdict_checks._causes(wide)[1].passed is False
    none = Inputs((toggle(estimate(0.9, 0.8, 1.0)),), None, (), (), ())
    assert verdict_checks._causes(none)[1].passed is None
    grade, missing = g.grade([*ALL, *verdict_checks._causes(none)])
    assert grade == g.INCOMPLETE and verdict_checks.CONTROL in missing[0]


def test_a_negated_fact_keeps_its_sign():
    own = Toggle("D2 legal", "D2 legal", 120, 60, None, None, None, None, None)
    assert verdict_checks.written(own) == "!D2 legal" and verdict_checks.written(toggle(None)) == "C0 empty"


def test_what_is_lower_where_the_rule_holds_is_told_to_be_the_opposite(ground):
    found = try_rule(ground, "L1N3", "C4 legal & !D5 theirs")
    turned = replace(found.fit, auc=Estimate(0.1, 0.05, 0.15))
    checks = verdict_checks.checks(turned, found.rivals)
    assert g.grade(checks)[0] in (g.REFUTED, g.UNDERPOWERED)
    assert "lower where the rule holds" in summary(g.REFUTED, (), (), checks, turned, found.rivals)
    assert "opposite" in verdict_checks.remarks(turned, None)[0]


@pytest.mark.parametrize("effect", ["-L9N4", "+L0N4", "-L1N3", "+L2H1"])
def test_an_effect_on_what_cannot_be_written_is_refused(ground, effect):
    with pytest.raises(InputError):
        try_rule(ground, "L1N3", f"C4 legal => {effect}")


def test_a_fact_that_only_goes_with_a_better_rule_is_screened_off_on_its_own_square_too():
    """A unit that is "C0 empty & D1 theirs" and nothing else: "C0 legal" moves it only by what it shares with it."""
    better, claim = sq.C0.empty & sq.D1.theirs, sq.C0.legal | sq.H7.mine
    atom = sq.C0.legal
    (pairs,) = (found for made, found in toggles(claim, generate(1500, seed=5), 300).pairs.items() if made == atom)
    clean, corrupt = (replay(tokens) for tokens in (pairs.clean, pairs.corrupt))
    end = (torch.arange(len(pairs)), pairs.ply)
    change = better._holds(corrupt)[end].float() - better._holds(clean)[end].float()
    assert float(change.mean()) < -0.1  # it looks like a cause
    share, n = verdict_inputs._screened(atom, pairs, change, better, 1.0)
    assert n >= 20 and share.value == 0.0
    share, n = verdict_inputs._screened(sq.D1.theirs, pairs, change, sq.D1.occupied & sq.C0.empty, 1.0)
    same = sq.C0.empty._holds(clean)[end] == sq.C0.empty._holds(corrupt)[end]
    assert n == int(same.sum())  # two states of one square are left to the description
