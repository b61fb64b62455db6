"""The best rule found automatically: planted ones come back, noise and constants give nothing."""

from types import SimpleNamespace

import oracles_rules
import planted_rules
import pytest
import torch

from circuits.rules import black_to_move, ply, sq
from circuits.verdicts.scores import scored
from circuits.verdicts.search import GAIN, LEAST, Search, best_rule, candidates, refine, search

SUBJECT = SimpleNamespace(name="planted")


@pytest.mark.parametrize(
    "rule",
    [
        sq.D5.legal,
        sq.C2.empty & sq.D2.theirs,
        sq.C2.empty & sq.D2.theirs & (ply >= 20),
        sq.C5.mine & ~sq.B5.legal & black_to_move,
        sq.B3.via("S", 2),
        sq.E5.played & (sq.D5.mine @ -1),
    ],
)
def test_a_planted_rule_comes_back(rule):
    train, out = planted_rules.planted(rule, noise=0.1)
    found = best_rule(SUBJECT, train)
    # Maybe in other words, but of the same positions.
    assert torch.equal(out.packed.holds(found), out.packed.holds(rule)), str(found)


def test_the_variance_explained_is_that_of_two_means():
    train, _ = planted_rules.planted(sq.C2.empty & sq.D2.theirs, noise=0.5)
    at = scored(train, SUBJECT)
    looking = Search(at)
    rules = [sq.C2.empty, sq.D2.theirs, sq.C2.empty & sq.D2.theirs, sq.C2.empty & sq.D2.theirs & sq.E2.mine]
    for rule, worth in zip(rules, looking.worth(rules).tolist(), strict=True):
        holds = train.packed.holds(rule).numpy()
        expected = oracles_rules.variance_explained(train.acts.double().numpy(), holds)
        assert worth == pytest.approx(expected - GAIN * len(rule.atoms), abs=1e-5)


def test_every_further_literal_at_once_is_each_one_alone():
    train, _ = planted_rules.planted(sq.C2.empty & sq.D2.theirs, noise=0.5)
    looking = Search(scored(train, SUBJECT))
    atoms, _ = looking.facts
    start = sq.C2.empty
    explained, n, _ = looking._with_each(train.packed.holds(start)[None])
    for i in range(0, 2 * len(atoms), 97):
        rule = start & (~atoms[i - len(atoms)] if i >= len(atoms) else atoms[i])
        holds = train.packed.holds(rule)
        assert int(n[0, i]) == int(holds.sum())
        acts = train.acts.double()
        if LEAST <= int(holds.sum()) <= len(holds) - LEAST and acts[holds].mean() > acts[~holds].mean():
            expected = oracles_rules.variance_explained(acts.numpy(), holds.numpy())
            assert float(explained[0, i]) == pytest.approx(expected, abs=1e-5)
        else:
            assert float(explained[0, i]) == -1


def test_a_literal_that_adds_less_than_a_percent_is_left_out():
    rule = sq.C2.empty & sq.D2.theirs
    train, _ = planted_rules.planted(rule, noise=0.3)
    generator = torch.Generator().manual_seed(0)
    weak = train.packed.holds(rule & sq.E2.mine)
    train.acts = train.acts + 0.05 * weak + 0.01 * torch.randn(len(train.acts), generator=generator)
    assert torch.equal(train.packed.holds(best_rule(SUBJECT, train)), train.packed.holds(rule))


def test_only_rules_for_high_activations_are_looked_for():
    rule = sq.D5.legal
    train, _ = planted_rules.planted(rule, on=-1.0)
    found = best_rule(SUBJECT, train)
    assert torch.equal(train.packed.holds(found), ~train.packed.holds(rule))


def test_noise_gives_a_rule_that_explains_next_to_nothing():
    train, _ = planted_rules.planted(sq.C2.empty, on=0.0, noise=1.0)
    found = best_rule(SUBJECT, train)
    assert len(found.atoms) == 1  # a second literal never pays
    assert oracles_rules.variance_explained(train.acts.double().numpy(), train.packed.holds(found).numpy()) < GAIN


def test_a_constant_has_no_rule():
    train, _ = planted_rules.planted(sq.C2.empty, on=0.0, noise=0.0)
    assert best_rule(SUBJECT, train) is None
    assert refine(SUBJECT, sq.C2.empty, train) == sq.C2.empty


def test_refining_reaches_the_planted_rule():
    rule = sq.C2.empty & sq.D2.theirs & sq.E2.mine
    train, _ = planted_rules.planted(rule, noise=0.2)
    for start in (sq.C2.empty & sq.D2.theirs, rule & sq.B5.occupied, sq.C2.empty & sq.D2.theirs & sq.E2.occupied):
        found = refine(SUBJECT, start, train)
        assert torch.equal(train.packed.holds(found), train.packed.holds(rule)), str(found)


def test_refining_keeps_a_disjunction():
    rule = sq.C2.empty & (sq.D2.theirs | sq.C3.theirs)
    train, _ = planted_rules.planted(rule, noise=0.2)
    found = refine(SUBJECT, rule & sq.H7.empty, train)
    assert torch.equal(train.packed.holds(found), train.packed.holds(rule)), str(found)


def test_many_positions_are_looked_at_by_whole_games(monkeypatch):
    monkeypatch.setattr("circuits.verdicts.search.MOST_POSITIONS", 2000)
    train, _ = planted_rules.planted(sq.D5.legal)
    looking = Search(scored(train, SUBJECT))
    kept = train.group[looking.kept]
    assert 1900 < len(looking.kept) <= 2000
    assert len(looking.kept) == int(torch.isin(train.group, kept.unique()).sum())  # no game in part
    assert search(scored(train, SUBJECT)) == sq.D5.legal


def test_one_look_at_the_facts_serves_other_activations():
    train, _ = planted_rules.planted(sq.D5.legal)
    other, _ = planted_rules.planted(sq.C2.empty & sq.D2.theirs)
    looking = Search(scored(train, SUBJECT))
    assert looking.best(4) == sq.D5.legal
    assert looking.on(other.acts).best(4) == best_rule(SUBJECT, other)
    assert looking.best(4) == sq.D5.legal


def test_the_facts_are_different():
    assert len(set(candidates())) == len(candidates())
