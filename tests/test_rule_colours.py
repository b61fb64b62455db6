"""Relative or absolute colours, told apart by planted activations."""

from types import SimpleNamespace

import oracles_rules
import planted_rules
import pytest

from circuits.rules import black_to_move, sq
from circuits.verdicts.colours import FORMS, colours
from circuits.verdicts.records import Colours

SUBJECT = SimpleNamespace(name="planted")


@pytest.mark.parametrize(
    "truth, verdict, best",
    [
        (sq.C2.empty & sq.D2.theirs, "relative", 0),
        (sq.C2.empty & sq.D2.white, "absolute", 1),  # as black sees theirs
        (sq.C2.empty & sq.D2.black, "absolute", 2),
    ],
)
def test_a_planted_form_is_found_from_any_of_them(truth, verdict, best):
    sides = planted_rules.planted(truth)
    for asked in (sq.C2.empty & sq.D2.theirs, sq.C2.empty & sq.D2.white):
        found = colours(SUBJECT, asked, *sides)
        assert found.verdict == verdict and [form.form for form in found.forms] == list(FORMS)
        explained = [form.variance_explained.value for form in found.forms]
        assert explained[best] == max(explained) > 0.3
        assert Colours.from_json(found.to_json()) == found


def test_figures_of_a_form_and_its_contrasts():
    rule = sq.C2.empty & sq.D2.theirs
    train, out = sides = planted_rules.planted(rule, on=2.0, noise=0.5)
    found = colours(SUBJECT, rule, *sides)
    acts, black = out.acts.double(), out.packed.holds(black_to_move)
    for form, other in zip(found.forms, (rule, sq.C2.empty & sq.D2.white, sq.C2.empty & sq.D2.black), strict=True):
        assert form.rule == str(other)
        holds, learnt = out.packed.holds(other), train.packed.holds(other)
        expected = oracles_rules.two_levels(train.acts.double().numpy(), learnt.numpy(), acts.numpy(), holds.numpy())
        assert form.variance_explained.value == pytest.approx(expected)
        assert form.black_to_move == pytest.approx(float(acts[black & holds].mean() - acts[black & ~holds].mean()))
        assert form.white_to_move == pytest.approx(float(acts[~black & holds].mean() - acts[~black & ~holds].mean()))
    relative, as_black, as_white = found.forms
    # With black to move theirs is white, so two forms are one there.
    assert relative.black_to_move == as_black.black_to_move and relative.white_to_move == as_white.white_to_move
    assert relative.black_to_move == pytest.approx(2, abs=0.2) and relative.white_to_move == pytest.approx(2, abs=0.2)


def test_what_follows_the_colours_for_one_player_only_is_undecided():
    rule = sq.C2.empty & sq.D2.theirs
    found = colours(SUBJECT, rule, *planted_rules.planted(rule & black_to_move, noise=0.5))
    assert found.verdict == "undecided"
    assert found.forms[0].black_to_move > 0.8 and abs(found.forms[0].white_to_move) < 0.2


def test_noise_is_undecided_and_a_constant_too():
    rule = sq.C2.empty & sq.D2.theirs
    assert colours(SUBJECT, rule, *planted_rules.planted(rule, on=0.0, noise=1.0)).verdict == "undecided"
    assert colours(SUBJECT, rule, *planted_rules.planted(rule, on=0.0, noise=0.0)).verdict == "undecided"


def test_a_rule_without_colours():
    found = colours(SUBJECT, sq.C2.empty, *planted_rules.planted(sq.C2.empty))
    assert found.verdict == "no colours" and found.forms == ()


def test_without_a_position_with_the_other_side_to_move_there_is_no_contrast():
    rule = sq.D2.theirs & black_to_move
    train, out = planted_rules.planted(rule)
    found = colours(SUBJECT, rule, train, out)
    assert all(form.white_to_move is None for form in found.forms)
    relative, as_black, as_white = found.forms
    assert relative.positives == as_black.positives == int(out.packed.holds(sq.D2.white & black_to_move).sum())
    assert as_white.positives == int(out.packed.holds(sq.D2.black & black_to_move).sum())
    assert found.verdict == "undecided"  # two of its forms are one


def test_long_formulas_are_said_by_the_relative_one():
    found = colours(SUBJECT, sq.C5.legal, *planted_rules.planted(sq.C5.legal))
    assert [form.rule for form in found.forms] == [
        "C5 legal", "C5 legal (mine being black)", "C5 legal (mine being white)"
    ]  # fmt: skip
    assert found.verdict == "relative"
