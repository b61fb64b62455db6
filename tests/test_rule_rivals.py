"""Rivals: planted rules win and their literals earn their places, decoys and noise do not; p-values against oracles."""

from types import SimpleNamespace

import oracles_rules
import planted_rules
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circuits.rules import TRUE, Line, Not, black_to_move, conjunction, flips, passed, ply, sq
from circuits.verdicts.neighbours import exchange, literals, moved, neighbours, spelled_out, sub_rules, without
from circuits.verdicts.random_rules import FACTOR, random_rules
from circuits.verdicts.records import Rivals
from circuits.verdicts.rivals import rivals
from circuits.verdicts.scores import holm, learn, score, scored, sign_flips

A, B, C, D = sq.C2.empty, sq.D2.theirs, sq.E2.mine, sq.B5.occupied
SUBJECT = SimpleNamespace(name="planted")


# ---- which rules are rivals --------------------------------------------------------------------------------


def test_without_a_literal_it_no_longer_matters():
    assert without(A, A) == TRUE
    assert without(A & B & C, B) == A & C
    assert without(A & (B | C), B) == A & C
    assert without(A | B, B) == A
    assert without(A & ~(B & C), C) == A & ~B
    assert without(A & ~B, ~B) == A
    assert without((A & B) | (A & C), A) == B | C  # everywhere at once
    assert without(~(A | B), A) == ~B
    assert literals(A & ~(B | C) & ~D) == tuple(literals(A & ~(B | C) & ~D)) and set(literals(~A & (B | C))) == {
        ~A,
        B,
        C,
    }
    assert exchange(A & (B | C), B, ~D) == A & (~D | C)


def test_the_neighbours_of_a_literal():
    found = {str(v.rule): v for v in neighbours(A & B)}
    assert "C2 empty & D2 mine" in found and found["C2 empty & D2 mine"].literal == "D2 theirs"
    assert found["C2 empty & D2 mine"].what == "D2 mine for D2 theirs"
    for square in ("C1", "C2", "C3", "D1", "E1", "E2", "E3"):
        assert str(A & getattr(sq, square).theirs) in found
    assert str(A & ~B) in found and str(~A & B) in found and str(A & (B @ -1)) in found
    assert str(A & B) not in found and all(v.literal in ("C2 empty", "D2 theirs") for v in found.values())
    # D3 is a centre square: its disc may be theirs, but it is never empty
    assert "D2 theirs & D3 empty" not in found and "C2 empty & D3 theirs" in found
    assert {str(v.rule) for v in neighbours(~A)} >= {"C2 empty", "!C2 mine", "!C3 empty"}


def test_the_neighbours_of_counts_and_patterns():
    assert {str(v.rule) for v in neighbours(ply.between(10, 20))} >= {
        "ply 9..20", "ply 11..20", "ply 10..19", "ply 10..21", "!ply 10..20"
    }  # fmt: skip
    assert {str(v.rule) for v in neighbours(flips >= 3)} >= {"flips >= 2", "flips >= 4"}
    assert [str(v.rule) for v in neighbours(black_to_move)] == ["!black to move"]
    line = sq.C0.via("SE", 1)
    assert conjunction(spelled_out(line.pattern)) == sq.C0.empty & sq.D1.theirs & sq.E2.mine
    found = {str(v.rule) for v in neighbours(line)}
    assert found >= {
        "C0 legal",
        "legal C0 via SE x2",
        "legal C1 via SE x1",
        "C0 empty & D1 theirs",
        "D1 theirs & E2 mine",
    }
    assert not any("x0" in rule for rule in found)


def test_a_pattern_spelled_out_holds_where_the_pattern_does():
    _, at = planted_rules.halves()[0]
    for line in (sq.C0.via("SE", 1), sq.A3.via("S", 3), sq.H7.via("W", 2)):
        assert torch.equal(at.holds(line), at.holds(conjunction(spelled_out(line.pattern))))


def test_moved_rules_are_named():
    found = {v.what: v for v in moved(sq.C0.empty & sq.D1.theirs)}
    assert found["shifted by 1 row down"].rule == sq.D0.empty & sq.E1.theirs
    assert found["shifted by 2 rows up and 1 column right"].rule == sq.A1.empty & sq.B2.theirs
    assert found["half-turn"].rule == sq.F7.empty & sq.E6.theirs and found["half-turn"].kind == "symmetric"
    assert found["mine and theirs swapped"].rule == sq.C0.empty & sq.D1.mine
    assert sum(v.kind == "geometric" for v in found.values()) == 4
    assert not any(v.rule == sq.C0.empty & sq.D1.theirs for v in found.values())
    assert not any(v.kind == "swapped" for v in moved(sq.C0.empty))


# ---- how they are compared ---------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm(p):
    assert holm(torch.tensor(p, dtype=torch.float64)).tolist() == pytest.approx(oracles_rules.holm(p))


def test_holm_by_hand():
    assert holm(torch.tensor([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_sign_flips_come_close_to_all_of_them():
    sums = torch.randn(5, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sums = torch.cat([sums + 0.5, torch.tensor([[1.0] * 10, [0.0] * 10, [1.0, -1.0] * 5])])
    exact = [oracles_rules.all_sign_flips(row) for row in sums.tolist()]
    assert sign_flips(sums).tolist() == pytest.approx(exact, abs=0.015)
    assert sign_flips(sums)[6] == 1  # zero in every game
    assert sign_flips(sums[:, :1]).tolist() == [1.0] * 8  # one game says nothing


def test_sign_flips_are_uniform_where_nothing_is_there():
    p = sign_flips(torch.randn(2000, 40, generator=torch.Generator().manual_seed(2)), flips=999)
    ordered = p.sort().values
    assert float((ordered - torch.linspace(0, 1, 2000)).abs().max()) < 0.04  # Kolmogorov-Smirnov at 0.3 %


@pytest.fixture(scope="module")
def planted():
    train, out = planted_rules.planted(A & B, noise=0.5)
    return train, out, rivals(SUBJECT, A & B & D, train, out, automatic=A & B)


def test_each_rival_is_what_it_is_alone(planted):
    train, out, found = planted
    assert Rivals.from_json(found.to_json()) == found
    own = score(scored(out, SUBJECT), [A & B & D], learn(scored(train, SUBJECT), [A & B & D]))
    rules = {str(v.rule): v.rule for v in (*sub_rules(A & B & D), *neighbours(A & B & D), *moved(A & B & D))}
    for r in found.rivals:
        rule = rules[r.rule]
        learnt, holds = train.packed.holds(rule), out.packed.holds(rule)
        assert r.positives == int(holds.sum()) and r.base_rate == pytest.approx(float(holds.double().mean()))
        y, acts = train.acts.double().numpy(), out.acts.double().numpy()
        if y[learnt].mean() > y[~learnt].mean():
            explained = oracles_rules.two_levels(y, learnt.numpy(), acts, holds.numpy())
            assert r.variance_explained == pytest.approx(explained)
        else:
            assert -0.001 < r.variance_explained <= 0  # the other way round: it counts as saying nothing
        assert r.better.value == pytest.approx(float(own.variance_explained[0]) - r.variance_explained, abs=1e-9)
        assert r.better.low <= r.better.value <= r.better.high
        assert r.p_family >= r.p


def test_a_decoy_does_not_earn_its_place(planted):
    _, _, found = planted
    worth = {w.literal: w for w in found.literals}
    assert worth["C2 empty"].earns and worth["D2 theirs"].earns and not worth["B5 occupied"].earns
    assert worth["B5 occupied"].loss.high < 0 and worth["B5 occupied"].p_family < 0.05
    assert worth["C2 empty"].loss.low > 0
    assert found.automatic.rule == "C2 empty & D2 theirs" and found.automatic.better.high < 0
    assert found.automatic in found.rivals and found.automatic.note == ""


def test_an_automatic_rule_that_says_the_same_is_said_to():
    train, out = planted_rules.planted(A & B)
    for rule, note in ((A & B, "the rule tested"), (A & B & sq.D2.occupied, "holds at the same held-out positions")):
        found = rivals(SUBJECT, A & B, train, out, automatic=rule, n_random=5)
        assert found.automatic.note == note and found.automatic.better.value == 0 and found.automatic.p_family == 1


def test_of_the_planted_rule_every_literal_earns_its_place_and_nothing_beats_it():
    train, out = planted_rules.planted(A & B & C, noise=0.5)
    found = rivals(SUBJECT, A & B & C, train, out)
    assert all(w.earns for w in found.literals) and len(found.literals) == 3
    assert not [r for r in found.rivals if r.better.value < 0 and r.p_family < 0.05]
    assert found.random.n == 200 and found.random.p == pytest.approx(1 / 201)
    assert max(found.random.variance_explained) < 0.2


def test_one_literal_alone_is_compared_with_no_rule():
    found = rivals(SUBJECT, A, *planted_rules.planted(A), n_random=20)
    (worth,) = found.literals
    without_it = next(r for r in found.rivals if r.kind == "without a literal")
    assert without_it.rule == "true" and without_it.variance_explained == pytest.approx(0, abs=0.01)
    assert worth.earns and worth.loss.value == pytest.approx(without_it.better.value)
    opposite = next(r for r in found.rivals if r.rule == "!C2 empty")
    assert opposite.variance_explained == pytest.approx(0, abs=0.01)


def test_a_rule_for_low_activations_is_compared_in_its_own_sense():
    found = rivals(SUBJECT, A & B, *planted_rules.planted(A & B, on=-1.0), n_random=120)
    assert all(w.earns for w in found.literals) and found.random.p < 0.01


def test_of_noise_nothing_earns_its_place_and_p_is_spread_evenly():
    rule, p, earned, beaten = A & B & C, [], 0, 0
    for seed in range(12):
        train, out = planted_rules.planted(rule, on=0.0, noise=1.0, seed=seed, n=60)
        found = rivals(SUBJECT, rule, train, out, n_random=20, seed=seed)
        earned += sum(w.earns for w in found.literals)
        beaten += any(r.p_family < 0.05 for r in found.rivals)
        p.append(found.random.p)
    assert earned <= 1 and beaten <= 3
    assert 0.25 < sum(p) / len(p) < 0.75 and min(p) < 0.4 < 0.6 < max(p)


def test_a_constant_activation_explains_nothing_and_crashes_nothing():
    found = rivals(SUBJECT, A & B, *planted_rules.planted(A, on=0.0, noise=0.0))
    assert all(r.variance_explained == 0 and r.p == 1 for r in found.rivals)
    assert not any(w.earns for w in found.literals) and found.random.p == 1


# ---- random rules ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [A & B & C, A & ~(sq.E5.flipped | D), sq.A4.played & (ply >= 10), sq.C0.via("SE", 1)])
def test_random_rules_have_the_form_and_the_base_rate(rule):
    _, at = planted_rules.halves()[0]
    drawn, words = random_rules(rule, at, 40)
    assert len(set(drawn)) == len(drawn) == 40 and rule not in drawn
    factor = FACTOR if "1.5" in words else 2
    for other in drawn:
        assert 1 / factor <= at.count(other) / at.count(rule) <= factor
        assert sorted(isinstance(part, Not) for part in literals(other)) == sorted(
            isinstance(part, Not) for part in literals(rule)
        )
        assert sum(isinstance(atom, Line) for atom in other.atoms) == sum(isinstance(a, Line) for a in rule.atoms)
        assert ((ply >= 10) in other.atoms) == ((ply >= 10) in rule.atoms)
        assert {a.name for a in other.atoms if getattr(a, "name", "") in ("played", "flipped")} == {
            a.name for a in rule.atoms if getattr(a, "name", "") in ("played", "flipped")
        }
    assert random_rules(rule, at, 40)[0] == drawn


def test_rules_on_no_square_have_no_random_ones():
    _, at = planted_rules.halves()[0]
    drawn, words = random_rules((ply >= 20) & ~passed, at)
    assert drawn == [] and "on a square" in words
