"""A rule's fit against sklearn, its intervals against resampled positions, and what cannot be fitted."""

from types import SimpleNamespace

import numpy as np
import oracles_rules
import planted_rules
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from circuits.fact_scores import best_threshold
from circuits.rules import TRUE, ply, sq
from circuits.verdicts.colours import colours
from circuits.verdicts.fit import EXAMPLES, auc_over_games, fit, unfit
from circuits.verdicts.readings import read
from circuits.verdicts.records import Fit
from circuits.verdicts.rivals import rivals
from circuits.verdicts.scores import learn, score, scored
from circuits.verdicts.search import best_rule
from circuits.verdicts.subjects import subject

RULE = sq.C2.empty & sq.D2.theirs
SUBJECT = SimpleNamespace(name="planted")


@pytest.fixture(scope="module")
def sides():
    return planted_rules.planted(RULE, noise=0.4)


@pytest.fixture(scope="module")
def fitted(sides):
    found, reason = fit(SUBJECT, RULE, *sides)
    assert reason == ""
    return found


def arrays(sides, rule=RULE):
    train, out = sides
    return train.acts.numpy(), train.packed.holds(rule).numpy(), out.acts.numpy(), out.packed.holds(rule).numpy()


def test_figures_are_those_of_sklearn(sides, fitted):
    train_acts, train_holds, acts, holds = arrays(sides)
    threshold, _ = oracles_rules.best_threshold_f1(train_acts, train_holds)
    assert fitted.threshold == pytest.approx(threshold, rel=1e-5)
    on = acts > fitted.threshold
    assert fitted.precision.value == pytest.approx(precision_score(holds, on))
    assert fitted.recall.value == pytest.approx(recall_score(holds, on))
    p, r = fitted.precision.value, fitted.recall.value
    assert fitted.f1.value == pytest.approx(2 * p * r / (p + r))
    assert fitted.auc.value == pytest.approx(roc_auc_score(holds, acts))
    assert fitted.variance_explained.value == pytest.approx(
        oracles_rules.two_levels(train_acts.astype(float), train_holds, acts.astype(float), holds)
    )
    top = np.argsort(-acts)[: round(0.01 * len(acts))]
    assert fitted.top_coverage.value == pytest.approx(holds[top].mean())
    assert fitted.when_holds == pytest.approx(tuple(np.quantile(acts[holds].astype(float), fitted.quantiles)))
    assert fitted.when_fails == pytest.approx(tuple(np.quantile(acts[~holds].astype(float), fitted.quantiles)))
    assert (fitted.mean_on, fitted.mean_off) == pytest.approx(
        (train_acts[train_holds].mean(), train_acts[~train_holds].mean()), rel=1e-5
    )
    assert fitted.sd == pytest.approx(acts.std(ddof=1), rel=1e-5)
    assert (fitted.positives, fitted.negatives) == (holds.sum(), (~holds).sum())
    assert fitted.chance_top == fitted.base_rate == pytest.approx(holds.mean())
    assert sum(fitted.counts) == len(acts) and sum(fitted.holds) == holds.sum()
    assert Fit.from_json(fitted.to_json()) == fitted


def test_the_histogram_counts_each_activation_in_its_bin(sides, fitted):
    _, _, acts, holds = arrays(sides)
    counts, _ = np.histogram(acts.astype(float), np.array(fitted.edges))
    assert fitted.counts == tuple(counts)
    inside, _ = np.histogram(acts[holds].astype(float), np.array(fitted.edges))
    assert fitted.holds == tuple(inside)


def test_baselines(sides, fitted):
    train, out = sides
    by_ply = {p: train.acts[train.packed.ply == p].double().mean() for p in range(5, 54)}
    predicted = torch.stack([by_ply[int(p)] for p in out.packed.ply])
    y = out.acts.double()
    assert fitted.ply_variance_explained == pytest.approx(
        float(1 - (y - predicted).pow(2).sum() / (y - y.mean()).pow(2).sum())
    )
    # Dealt to other games of the ply, the rule is left with what the ply alone says of both.
    assert abs(fitted.shuffled_variance_explained) < 0.02 < fitted.variance_explained.value
    always = 2 * fitted.base_rate / (1 + fitted.base_rate)
    assert fitted.chance_f1 == pytest.approx(always)
    assert fitted.skill == pytest.approx((fitted.f1.value - always) / (1 - always))


def test_intervals_are_those_of_resampled_games(sides, fitted):
    """By drawing whole games, position by position, with the draws that the fit made."""
    _, _, acts, holds = arrays(sides)
    at = scored(sides[1], SUBJECT)
    draws, game, rows = at.draws(), at.game.numpy(), 300
    on, found = acts > fitted.threshold, {"f1": [], "variance": [], "auc": []}
    for times in draws[:rows].long().numpy():
        i = oracles_rules.resampled(game, times)
        found["f1"].append(2 * (on & holds)[i].sum() / (on[i].sum() + holds[i].sum()))
        y = acts[i].astype(float)
        error = (y - np.where(holds[i], fitted.mean_on, fitted.mean_off)) ** 2
        found["variance"].append(1 - error.sum() / ((y - y.mean()) ** 2).sum())
        found["auc"].append(roc_auc_score(holds[i], acts[i]))
    exact = {name: np.quantile(values, [0.025, 0.975]) for name, values in found.items()}
    # 300 of the 1000 draws, and tails that are a little wider: near, not equal.
    for name, of in (("f1", fitted.f1), ("variance", fitted.variance_explained), ("auc", fitted.auc)):
        wide = exact[name][1] - exact[name][0]
        assert of.low == pytest.approx(exact[name][0], abs=0.25 * wide)
        assert of.high == pytest.approx(exact[name][1], abs=0.25 * wide)
        assert of.low <= of.value <= of.high


def test_the_interval_of_the_auc_is_exact_up_to_its_classes(sides):
    _, _, acts, holds = arrays(sides)
    at = scored(sides[1], SUBJECT)
    one = at.draws(1, seed=5)
    i = oracles_rules.resampled(at.game.numpy(), one[0].long().numpy())
    of = auc_over_games(at, torch.tensor(holds), one)
    assert of.low == of.high == pytest.approx(roc_auc_score(holds[i], acts[i]), abs=2 / 512)


def test_examples_are_the_extremes_and_of_different_games(sides, fitted):
    _, out = sides
    _, _, acts, holds = arrays(sides)
    boards = out.games.boards()
    missed, false_alarms, typical = fitted.missed, fitted.false_alarms, fitted.typical
    assert missed[0].activation == pytest.approx(acts[holds].min()) and missed[0].holds
    assert false_alarms[0].activation == pytest.approx(acts[~holds].max()) and not false_alarms[0].holds
    for kind in (missed, false_alarms, typical):
        assert len(kind) == len({e.address.split(":p")[0] for e in kind}) == EXAMPLES
        for e in kind:
            row, ply_ = out.games.locate(e.address)
            assert ply_ == e.ply == len(e.transcript) - 1
            assert e.holds == bool(RULE.holds(boards)[row, ply_])
            assert e.literals == {str(atom): bool(atom.holds(boards)[row, ply_]) for atom in RULE.atoms}
    assert [e.activation for e in missed] == sorted(e.activation for e in missed)


def test_a_rule_that_is_the_activation_explains_it_all():
    sides = planted_rules.planted(RULE, noise=0.0, on=3.0, off=-1.0)
    found, _ = fit(SUBJECT, RULE, *sides)
    assert found.f1.value == found.precision.value == found.recall.value == found.auc.value == 1
    assert found.variance_explained.value == pytest.approx(1)
    assert found.skill == 1


def test_levels_that_do_not_carry_over_explain_less_than_nothing():
    train, out = planted_rules.planted(RULE, noise=0.1)
    out.acts = -out.acts
    found, _ = fit(SUBJECT, RULE, train, out)
    assert found.variance_explained.value < 0 and found.variance_explained.high < 0


def test_what_never_holds_or_never_fails_is_said_with_its_base_rate(sides):
    out = sides[1]
    for rule, words in ((sq.C2.empty & sq.C2.mine, "never holds"), (TRUE, "never fails")):
        found, reason = fit(SUBJECT, rule, *sides)
        assert found is None and words in reason and f"of {out.packed.n:,} held-out positions" in reason
    assert unfit(RULE, *sides) is None


def test_a_dead_subject_has_a_fit_that_says_nothing():
    found, _ = fit(SUBJECT, RULE, *planted_rules.planted(RULE, noise=0.0, on=0.0))
    assert found.auc.value == 0.5 and found.variance_explained.value == 0 and found.sd == 0
    assert found.auc.low == found.auc.high == 0.5
    assert Fit.from_json(found.to_json()) == found


def test_one_game_has_no_interval(sides):
    train, out = sides
    alone = out.games[[0]]
    at = planted_rules.packed(alone)
    found, reason = fit(SUBJECT, ply >= 30, train, planted_rules.readings(alone, at, torch.randn(at.n)))
    assert reason == "" and found.games == 1
    assert found.f1.low is None and found.auc.high is None and found.variance_explained.low is None


def test_copies_of_a_game_are_one_game(sides):
    train, out = sides
    games = out.games[torch.arange(len(out.games)).repeat(2)]
    at = planted_rules.packed(games)
    twice, _ = fit(SUBJECT, RULE, train, planted_rules.readings(games, at, out.acts.repeat(2)))
    once, _ = fit(SUBJECT, RULE, train, out)
    assert twice.games == once.games == len(out.games) and twice.positives == 2 * once.positives
    # The same draws of the same games: copies add no certainty.
    assert twice.f1.low == pytest.approx(once.f1.low) and twice.f1.high == pytest.approx(once.f1.high)


@given(st.integers(0, 10_000), st.integers(1, 40))
def test_many_rules_at_once_are_each_rule_alone(seed, levels):
    """Ties in plenty; means, thresholds, F1 and variance explained of several rules against one by one."""
    generator = torch.Generator().manual_seed(seed)
    sides = []
    for games, at in planted_rules.halves(24, seed=5):
        acts = torch.randint(levels, (at.n,), generator=generator) / 4
        sides.append(planted_rules.readings(games, at, acts))
    rules = [RULE, sq.C2.empty, sq.E5.played | sq.D2.mine, ply >= 30, sq.C2.empty & sq.C2.mine, TRUE, ~sq.B2.legal]
    train, out = (scored(side, SUBJECT) for side in sides)
    learnt = learn(train, rules)
    scores = score(out, rules, learnt)
    for i, rule in enumerate(rules):
        train_acts, train_holds, acts, holds = (x.astype(float) if x.dtype != bool else x for x in arrays(sides, rule))
        assert int(learnt.positives[i]) == train_holds.sum() and int(scores.positives[i]) == holds.sum()
        if not train_holds.any():
            assert float(learnt.on[i]) == pytest.approx(train_acts.mean())
            continue
        assert float(learnt.threshold[i]) == best_threshold(train.acts, torch.tensor(train_holds))
        on = acts > float(learnt.threshold[i])
        assert float(scores.f1[i]) == pytest.approx(2 * (on & holds).sum() / max(on.sum() + holds.sum(), 1))
        if acts.max() > acts.min() and not train_holds.all():
            assert float(scores.variance_explained[i]) == pytest.approx(
                oracles_rules.two_levels(train_acts, train_holds, acts, holds), abs=1e-9
            )


def test_all_of_it_on_what_a_model_does(tiny):
    """A neuron and a head of a real model: what is found on training games holds on the others."""
    (learnt, _), (tested, _) = planted_rules.halves(60, seed=4)
    for name in ("L2N7", "L1H2"):
        unit = subject(tiny, name)
        train, out = read(tiny, unit, learnt), read(tiny, unit, tested)
        unit = unit.fitted(train.values, train.packed.holds(RULE))
        found, reason = fit(unit, RULE, train, out)
        assert reason == "" and found.games == len(tested)
        assert found.auc.value == pytest.approx(
            roc_auc_score(out.packed.holds(RULE).numpy(), unit.scalar(out.values).numpy())
        )
        automatic = best_rule(unit, train)
        beside = rivals(unit, RULE, train, out, automatic, n_random=20)
        better, p = beside.automatic.better, beside.automatic.p
        assert beside.automatic.rule == str(automatic) and (better.value < 0 or p > 0.05)
        ours, of = colours(unit, RULE, train, out).forms[0].variance_explained, found.variance_explained
        assert (ours.value, ours.low, ours.high) == pytest.approx((of.value, of.low, of.high))
