"""From activations to rules: trees' paths, the beam, single changes, the choice; each against the slow way."""

import math

import numpy as np
import oracles_induction as slow
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from planted_rules import Readings
from scipy.stats import norm
from scipy.stats import t as student

from circuits.fact_scores import best_threshold
from circuits.games import generate
from circuits.induction import beam, climb, paths
from circuits.induction.beam import Search
from circuits.induction.choose import Judge
from circuits.induction.facts import facts
from circuits.induction.measure import Measure, most_f1
from circuits.induction.sample import sample
from circuits.induction.single_changes import around, canonical, size
from circuits.induction.trees import grow
from circuits.rules import ply, sq
from circuits.rules.logic import equivalent
from circuits.verdicts import fit as rule_fit


@pytest.fixture(scope="module")
def found(tiny):
    """The facts of 320 games."""
    return facts(sample(tiny, generate(320, seed=3)))


def planted(found, rules, noise, seed=0):
    """Activations of two levels a unit apart, on the training and tuning games, and what is held out."""
    generator = torch.Generator().manual_seed(seed)
    out = []
    for side in found.sample.sides:
        y = torch.stack([side.packed.holds(rule) for rule in rules]).float()
        out.append(y + noise * torch.randn(y.shape, generator=generator))
    return out


def code(found, text):
    return [str(found.literal(c)) for c in range(2 * len(found))].index(text)


# ---- trees' paths --------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(-20, 20), st.integers(1, 50)), min_size=1, max_size=12))
def test_otsu_is_the_best_of_all_cuts(leaves):
    values, n = (np.array(column) for column in zip(*leaves, strict=True))
    on, expected = paths.otsu(values / 4, n), slow.otsu(values / 4, n)
    # Two cuts may be equally good.
    if (on != expected).any():
        scores = [
            n[o].sum()
            * n[~o].sum()
            * (np.average(values[o], weights=n[o]) - np.average(values[~o], weights=n[~o])) ** 2
            for o in (on, expected)
        ]
        assert scores[0] == pytest.approx(scores[1])
    assert not on.any() or values[on].min() > values[~on].max()


RULES = [
    sq.C2.empty & sq.D2.theirs,
    sq.C2.empty & (sq.D2.theirs | sq.C3.theirs),
    (sq.D5.played & sq.C5.mine) | (sq.A0.empty & sq.B1.theirs),
    ply <= 16,
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_paths_of_a_tree_without_noise_are_the_rule(found, rule):
    train, tune, held_out = planted(found, [rule], 0.0)
    got = of_tree(found, train, tune)
    side = found.sample.held_out
    assert slow.f1(side.packed.holds(found.rule(got)).numpy(), held_out[0].numpy() > 0.5) > 0.98
    assert size(got) <= len(rule.atoms) + 1  # a game of knowledge may take a fact's place


def of_tree(found, train, tune, tolerance=paths.TOLERANCE, depth=6):
    """`paths.rule_of` the tree of one activation."""
    own, there = (found.matrix(side) for side in found.sample.sides[:2])
    trees = grow(own, train, depth, leaf=20, split=40)
    tree = paths.Tree(trees.literal[0].numpy(), trees.n[0].numpy(), trees.value[0].double().numpy())
    leaves = tree.leaves(depth)
    on = leaves[paths.otsu(tree.value[leaves], tree.n[leaves])]
    active = tune[0].numpy() > most_f1(train[0].numpy(), np.isin(trees.leaves(own)[0].numpy(), on))
    words = found.words(found.sample.tune)
    return paths.rule_of(tree, trees.leaves(there)[0].numpy(), active, words, len(found), tolerance)


def test_a_rule_of_paths_keeps_f1_and_more_tolerance_makes_it_shorter(found):
    rule = (sq.C2.empty & sq.D2.theirs) | (sq.F4.mine & sq.F5.theirs)
    train, tune, _ = planted(found, [rule], 0.6)
    active = tune[0].numpy() > most_f1(train[0].numpy(), found.sample.train.packed.holds(rule).numpy())
    rules = [of_tree(found, train, tune, tolerance) for tolerance in (0.005, 0.2)]
    scores = [slow.f1(found.sample.tune.packed.holds(found.rule(r)).numpy(), active) for r in rules]
    assert scores[0] > scores[1] - 1e-9 and size(rules[1]) < size(rules[0])
    full = slow.f1(found.sample.tune.packed.holds(rule).numpy(), active)
    assert scores[0] > full - 0.03


def test_a_tree_of_one_leaf_says_nothing(found):
    tree = paths.Tree(np.array([-1, -1, -1]), np.array([90, 0, 0]), np.array([1.0, 0, 0]))
    active = np.ones(found.sample.tune.n, bool)
    words = found.words(found.sample.tune)
    assert paths.rule_of(tree, np.zeros(found.sample.tune.n, int), active, words, len(found)) == ()


# ---- the beam ------------------------------------------------------------------------------------------------------


def test_the_beam_on_few_facts_is_an_exhaustive_search(tiny):
    few = facts(sample(tiny, generate(320, seed=3)), [sq.C2.empty, sq.D2.theirs, sq.E2.mine, ply >= 20], patterns=False)
    train, _, _ = planted(few, [sq.C2.empty & sq.D2.theirs, ~sq.C2.empty | (ply >= 20)], 1.0)
    found = Search(few, train).beam(most=3)
    for n, y in enumerate(train.numpy()):
        for s in (1, 2, 3):
            every = slow.best_conjunctions(few.train.T.numpy(), y, s, beam.LEAST)
            if s > 1:  # those that hold where a shorter one does are not looked at again
                shorter = slow.best_conjunctions(few.train.T.numpy(), y, s - 1, beam.LEAST)
                every = {where: value for where, value in every.items() if where not in shorter}
            expected = sorted(every.values(), reverse=True)[: beam.BEAM]
            got = [v for v in found.explained[s - 1][n].tolist() if v > 0]
            # Beyond pairs a beam may lose some, but not the best.
            np.testing.assert_allclose(
                got[: len(expected) if s < 3 else 1], expected if s < 3 else expected[:1], atol=1e-5
            )


def test_what_the_beam_says_is_what_two_means_explain(found):
    train, _, _ = planted(found, [sq.C2.empty & sq.D2.theirs & sq.E2.mine, sq.D5.played], 0.7)
    search = Search(found, train)
    base = torch.stack([search.where([(code(found, "B3 mine"),)]), search.where([])])
    for got, before in ((search.beam(3), None), (search.beam(3, base), ["B3 mine", None])):
        for n, y in enumerate(train.numpy()):
            for codes, values in zip(got.codes, got.explained, strict=True):
                assert (values[n].diff() <= 0).all()
                for term, value in zip(codes[n].tolist(), values[n].tolist(), strict=True):
                    terms = [tuple(term)]
                    if before is not None and before[n]:
                        terms.append((code(found, before[n]),))
                    holds = found.sample.train.packed.holds(found.rule(terms)).numpy()
                    if value >= 0:
                        assert value == pytest.approx(slow.two_means(y, holds), abs=1e-5)


def test_rules_where_the_activation_is_low_are_said_by_where_it_is_high(found):
    train, _, _ = planted(found, [~sq.D2.theirs], 0.3)
    grown = climb.grow(Search(found, train)).rules
    assert equivalent(found.rule(grown[0].terms), ~sq.D2.theirs)


# ---- single changes ------------------------------------------------------------------------------------------------


def test_single_changes_are_worth_what_two_means_explain(found):
    rule = (sq.C2.empty & sq.D2.theirs) | (sq.F4.mine & sq.F5.theirs)
    train, _, _ = planted(found, [rule, sq.D5.played], 0.7)
    codes = [code(found, s) for s in ("C2 empty", "D2 theirs", "F4 mine", "F5 theirs", "D5 played")]
    rules = {0: canonical(((codes[0], codes[1]), (codes[2], codes[3]))), 1: ((codes[4],),)}
    kinds = set()
    for n, at in around(Search(found, train), rules).items():
        for change in (at, *at.changes):
            holds = found.sample.train.packed.holds(found.rule(change.terms)).numpy()
            assert change.k == holds.sum()
            if change.explained >= 0:
                assert change.explained == pytest.approx(slow.two_means(train[n].numpy(), holds), abs=1e-5)
        assert rules[n] not in {change.terms for change in at.changes}
        kinds |= {change.kind for change in at.changes}
        best = max(c.explained for c in at.changes if c.kind == "exchange")
        # Against every exchange of the first literal, one at a time.
        first, *rest = rules[n][0]
        for c in range(0, 2 * len(found), 37):
            other = found.rule([(c, *rest), *rules[n][1:]])
            holds = found.sample.train.packed.holds(other).numpy()
            high = train[n].numpy()[holds].mean() > train[n].numpy().mean() if holds.any() else False
            if c != first and high and beam.LEAST <= holds.sum() <= len(holds) - beam.LEAST:
                assert slow.two_means(train[n].numpy(), holds) <= best + 1e-5
    assert kinds == {"drop", "drop term", "exchange", "add", "add to all"}


def test_a_rule_changed_step_by_step_comes_to_the_planted_one(found):
    rule = sq.C2.empty & sq.D2.theirs & sq.E2.mine
    train, _, _ = planted(found, [rule], 0.4)
    start = (tuple(sorted(code(found, s) for s in ("C2 empty", "D3 theirs"))),)
    got = climb.climb(Search(found, train), {0: start})[0]
    assert equivalent(found.rule(got.terms), rule)


# ---- growing -------------------------------------------------------------------------------------------------------

GROWN = [
    sq.C2.empty & sq.D2.theirs & sq.E2.mine,
    sq.B3.via("S", 2),
    sq.E5.played & sq.D5.occupied,
    (sq.C2.empty & sq.D2.theirs) | (sq.F4.mine & sq.F5.theirs),
    ~sq.B5.empty & sq.C6.theirs,
]


def test_planted_rules_come_back_and_are_complete(found):
    train, _, _ = planted(found, GROWN, 0.4)
    grown = climb.grow(Search(found, train))
    assert [str(r) for n, r in enumerate(GROWN) if not equivalent(found.rule(grown.rules[n].terms), r)] == []
    assert grown.complete == set(range(len(GROWN))) and not grown.spare


def test_of_noise_nothing_is_said(found):
    generator = torch.Generator().manual_seed(1)
    side = found.sample.train
    noise = torch.randn(12, side.n, generator=generator)
    grown = climb.grow(Search(found, noise))
    assert grown.rules == {} and not grown.complete


def test_a_fact_that_only_goes_along_is_not_taken(found):
    """C0 legal holds wherever the planted rule does, and often where it does not."""
    train, _, _ = planted(found, [sq.C0.empty & sq.D1.theirs & sq.E2.mine], 0.3)
    grown = climb.grow(Search(found, train)).rules
    assert equivalent(found.rule(grown[0].terms), sq.C0.empty & sq.D1.theirs & sq.E2.mine)


# ---- the choice ----------------------------------------------------------------------------------------------------


def test_rules_are_compared_by_games(found):
    train, tune, _ = planted(found, [sq.C2.empty & sq.D2.theirs], 0.8)
    judge = Judge(found).of(train[0].numpy(), tune[0].numpy())
    terms = [
        (tuple(sorted(code(found, s) for s in texts)),)
        for texts in (["C2 empty", "D2 theirs"], ["C2 empty"], ["C2 empty", "D2 theirs", "E2 mine"])
    ]
    one, other, third = map(judge, terms)
    games = judge._games.game
    y = np.concatenate([train[0].numpy(), tune[0].numpy()]).astype(float)
    for rule in (one, other, third):
        holds = np.isin(np.arange(len(y)), rule.where)
        on, off = (
            y[: found.sample.train.n][h].mean() for h in (holds[: found.sample.train.n], ~holds[: found.sample.train.n])
        )
        expected = np.bincount(games, (y - np.where(holds, on, off)) ** 2)
        np.testing.assert_allclose(rule.errors, expected, atol=1e-6)
    for a, b in ((other, one), (third, one), (other, third)):
        m = np.bincount(games[np.setxor1d(a.where, b.where)], minlength=len(a.errors))
        t, dof = slow.cluster_t(a.errors - b.errors, m), (m > 0).sum() - 1
        # Wallace's approximation: to a few hundredths of the exact quantile.
        exact = norm.isf(student.sf(abs(t), dof)) * np.sign(t)
        if abs(exact) < 7:
            assert judge.worse(a, b) == pytest.approx(exact, rel=0.05, abs=0.05)
        assert judge.worse(a, b) == pytest.approx(-judge.worse(b, a))
    assert judge.worse(one, one) == 0
    assert judge.worse(other, one) > 5 and judge.worse(third, one) > 5


def test_a_superfluous_literal_is_dropped_and_a_needed_one_kept(found):
    train, tune, _ = planted(found, [sq.C2.empty & sq.D2.theirs], 0.5)
    judge, search = Judge(found).of(train[0].numpy(), tune[0].numpy()), Search(found, train)
    good = tuple(sorted(code(found, s) for s in ("C2 empty", "D2 theirs")))
    rare = next(c for c in range(len(found)) if 0 < len(set(_where(found, (good,))) & set(_where(found, ((c,),)))) < 6)
    long = tuple(sorted((*good, rare + len(found))))
    assert judge.to_drop(around(search, {0: (long,)})[0]) == (good,)
    assert judge.to_drop(around(search, {0: (good,)})[0]) is None


def _where(found, terms):
    return found.where(terms, found.sample.train).tolist()


def test_what_the_games_cannot_tell_apart_is_listed_and_what_they_can_is_not(found):
    rule = sq.C2.empty & sq.D2.theirs & sq.E2.mine
    term = (tuple(sorted(code(found, s) for s in ("C2 empty", "D2 theirs", "E2 mine"))),)
    listed = []
    for noise in (0.1, 12.0):
        train, tune, _ = planted(found, [rule], noise, seed=4)
        judge = Judge(found).of(train[0].numpy(), tune[0].numpy())
        alternatives, _ = judge.alternatives(around(Search(found, train), {0: term})[0])
        assert all(not equivalent(found.rule(other), rule) for other in alternatives)
        listed.append(len(alternatives))
    assert listed[0] == 0 and listed[1] > 0


def test_unseen_is_what_five_standard_errors_need(found):
    train, tune, _ = planted(found, [sq.C2.empty & sq.D2.theirs], 0.5)
    judge = Judge(found).of(train[0].numpy(), tune[0].numpy())
    got = judge((tuple(sorted(code(found, s) for s in ("C2 empty", "D2 theirs"))),)).unseen
    assert got == pytest.approx((2 * 5 * 0.5) ** 2, rel=0.15)


# ---- figures -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.integers(1, 40), st.booleans())
def test_the_threshold_of_most_f1_is_the_one_known(seed, n, ties):
    generator = torch.Generator().manual_seed(seed)
    y = torch.randn(n, generator=generator)
    y = y.mul(2).round() if ties else y
    holds = torch.rand(n, generator=generator) < 0.4
    holds[int(torch.randint(n, (1,), generator=generator))] = True
    assert most_f1(y.numpy(), holds.numpy()) == best_threshold(y, holds)


def test_held_out_figures_are_those_of_a_fit(found):
    rule = sq.C2.empty & sq.D2.theirs
    train, _, held_out = planted(found, [rule], 0.5)
    sides = (found.sample.train, found.sample.held_out)
    own, out = (Readings(s.games, s.packed, y[0], s.group) for s, y in zip(sides, (train, held_out), strict=True))
    fit, _ = rule_fit.fit(None, rule, own, out)
    measure = Measure(found.sample)
    got = measure.score(rule, train[0], held_out[0])
    for name in ("threshold", "mean_on", "mean_off", "positives"):
        assert getattr(got, name) == pytest.approx(getattr(fit, name), rel=1e-6), name
    for name in ("precision", "recall", "f1"):
        assert getattr(got, name) == pytest.approx(getattr(fit, name).value, rel=1e-9), name
    value, known = got.variance_explained, fit.variance_explained
    assert value.value == pytest.approx(known.value, rel=1e-6)
    # Fewer bootstrap samples: the ends to a tenth of the interval or so.
    assert value.low == pytest.approx(known.low, abs=0.25 * (known.high - known.low))
    assert value.high == pytest.approx(known.high, abs=0.25 * (known.high - known.low))
    assert measure.by_ply(train, held_out)[0].item() == pytest.approx(fit.ply_variance_explained, abs=1e-6)
    assert abs(measure.shuffled(rule, train[0], held_out[0])) < 0.05
    assert got.base_rate == pytest.approx(fit.positives / (fit.positives + fit.negatives))


def test_the_bar_for_chance_grows_with_what_could_be_chosen(found):
    search = Search(found, planted(found, [sq.D5.played], 1.0)[0])
    need = [
        next(gain for gain in np.arange(0, 1, 1e-5).tolist() if climb._sure(search, 0.1, 0.1 + gain, literals))
        for literals in (1, 2, 3)
    ]
    for literals, gain in enumerate(need, 1):
        choices = math.lgamma(literals + 1)
        expected = 9 + 2 * (literals * math.log(2 * len(found)) - choices)
        assert gain * search.n / (0.9 - gain) == pytest.approx(expected, rel=0.02)
