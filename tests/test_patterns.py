"""Pattern scores: planted truth is found, noise is not, and every score is the textbook's."""

import math

import numpy as np
import oracles
import oracles_mining as slow
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score, r2_score, recall_score, roc_auc_score

from circuits import fact_scores
from circuits.errors import InputError
from circuits.fact_scores import auc, best_threshold
from circuits.features import PATTERNS
from circuits.games import Games, generate
from circuits.mining import Mining, mine
from circuits.notation import Unit
from circuits.patterns import Gallery

LOW, HIGH = -0.1, 1.5
PLANTED, NOISE, DEAD, CONSTANT, PLY, NEGATIVE = (Unit(1, "neuron", i) for i in range(6))


@pytest.fixture(scope="module")
def mined(tiny) -> tuple[Mining, Games]:
    games = generate(120, seed=4)
    return mine(tiny, games, k=2, sample_games=100), games


@pytest.fixture(scope="module")
def planted(mined) -> tuple[Gallery, int]:
    """A gallery in which some neurons' activations were overwritten with known ones, and the planted pattern."""
    mining, games = mined
    gallery = Gallery(mining, games)
    seen = gallery.facts[:, : len(PATTERNS)].sum(0)
    truth = int(seen.masked_fill(~gallery.usable[: len(PATTERNS)], 0).topk(20).indices[7])
    generator = torch.Generator().manual_seed(0)

    def write(unit: Unit, values: torch.Tensor) -> None:
        mining.sample[unit.layer, unit.index][gallery.where] = values.half()

    n, fact = len(gallery), gallery.facts[:, truth].float()
    noise = torch.randn(n, generator=generator)
    write(PLANTED, LOW + (HIGH - LOW) * fact + 0.1 * noise)
    write(NOISE, torch.randn(n, generator=generator))
    write(DEAD, torch.zeros(n))
    write(CONSTANT, torch.full((n,), 0.1))
    write(PLY, 0.1 * gallery.ply.float())
    write(NEGATIVE, -fact + 0.1 * noise)
    return gallery, truth


def test_a_planted_pattern_is_found(planted):
    gallery, truth = planted
    found = gallery.score(PLANTED)
    best = found.scores[0]
    assert best.fact == truth and len(found.scores) == 5 and found.candidates == int(gallery.usable.sum())
    both, fact_only, on_only, _ = best.held_out
    assert 2 * both / (2 * both + fact_only + on_only) > 0.99 and best.auc > 0.999
    assert LOW + 0.3 < best.threshold < HIGH - 0.3
    assert best.variance_explained > 0.5 and found.shuffled_skill < 0.3
    assert all(fact_scores.f1_of(s.train) < fact_scores.f1_of(best.train) for s in found.scores[1:])


def test_scores_are_the_textbooks_on_held_out_games(planted):
    gallery, _ = planted
    acts, out = gallery.activations(PLANTED), ~gallery.train
    for s in gallery.score(PLANTED).scores:
        fact = gallery.facts[:, s.fact]
        on, both = acts > s.threshold, s.held_out[0]
        truth, said = fact[out].numpy(), on[out].numpy()
        assert both / (both + s.held_out[1]) == pytest.approx(recall_score(truth, said))
        assert both / (both + s.held_out[2]) == pytest.approx(precision_score(truth, said))
        assert fact_scores.f1_of(s.held_out) == pytest.approx(f1_score(truth, said))
        assert sum(s.held_out) == int(out.sum()) and sum(s.train) == int(gallery.train.sum())
        assert s.auc == pytest.approx(roc_auc_score(truth, acts[out].numpy()))
        level = [float(acts[gallery.train & (fact == v)].double().mean()) for v in (False, True)]
        predicted = [level[int(f)] for f in truth]
        assert s.variance_explained == pytest.approx(slow.r_squared(acts[out].tolist(), predicted), abs=1e-6)
        assert s.variance_explained == pytest.approx(r2_score(acts[out].double().numpy(), predicted), abs=1e-6)
        assert s.f1_interval[0] <= fact_scores.f1_of(s.held_out) <= s.f1_interval[1]
    ply = gallery.ply.tolist()
    means = {p: float(acts[gallery.train & (gallery.ply == p)].double().mean()) for p in set(ply)}
    predicted = [means[p] for p, o in zip(ply, out.tolist(), strict=True) if o]
    expected = slow.r_squared(acts[out].tolist(), predicted)
    assert gallery.score(PLANTED).ply_variance_explained == pytest.approx(expected, abs=1e-6)


def test_noise_scores_no_better_than_its_shuffles(planted):
    gallery, _ = planted
    found = gallery.score(NOISE)
    best = found.scores[0]
    base = float(gallery.fact(best.fact)[~gallery.train].float().mean())
    chance = 2 * base / (base + 1)  # always on
    assert fact_scores.f1_of(best.held_out) < chance + 0.05
    assert fact_scores.skill_of_counts(best.held_out) < found.shuffled_skill + 0.05
    assert abs(best.auc - 0.5) < 0.06 and best.variance_explained < 0.01
    assert -0.1 < found.ply_variance_explained < 0.01  # 49 means fitted to noise cost a little


def test_dead_and_constant_neurons(planted):
    gallery, _ = planted
    r, _ = gallery.screen(1)
    assert (r[[DEAD.index, CONSTANT.index]] == 0).all()
    for unit in (DEAD, CONSTANT):
        found = gallery.score(unit)
        assert all(s.auc == 0.5 and s.variance_explained == 0 and s.held_out[3] == 0 for s in found.scores)
        assert found.ply_variance_explained == 0
        assert found.shuffled_skill == pytest.approx(fact_scores.skill_of_counts(found.scores[0].held_out), abs=1e-9)


def test_a_neuron_of_the_ply_alone_gains_nothing_over_its_shuffles(planted):
    """Its activations are dealt within a ply, so the control keeps all that it does."""
    gallery, _ = planted
    found = gallery.score(PLY)
    assert found.ply_variance_explained == pytest.approx(1.0, abs=1e-9)
    assert found.shuffled_skill == pytest.approx(fact_scores.skill_of_counts(found.scores[0].held_out), abs=1e-9)


def test_a_pattern_that_keeps_a_neuron_low_is_not_its_best(planted):
    gallery, truth = planted
    r, which = gallery.screen(1)
    column = which.tolist().index(truth)
    assert float(r[NEGATIVE.index, column]) < -0.8 and float(r[PLANTED.index, column]) > 0.8
    assert truth not in [s.fact for s in gallery.score(NEGATIVE).scores]


def test_the_screen_is_numpys_correlation(planted):
    gallery, _ = planted
    r, which = gallery.screen(2)
    acts = gallery.mining.sample[2][:, gallery.where][:, gallery.train].double().numpy()
    for neuron in (3, 60, 127):
        for column in range(0, len(which), max(1, len(which) // 12)):
            fact = gallery.facts[gallery.train][:, int(which[column])].double().numpy()
            assert float(r[neuron, column]) == pytest.approx(np.corrcoef(acts[neuron], fact)[0, 1], abs=2e-5)


def test_positions_facts_and_activations_belong_together(tiny, mined):
    """Row by row against the oracle's engine and a fresh pass over each game."""
    mining, games = mined
    gallery = Gallery(mining, games)
    unit = Unit(2, "neuron", 9)
    acts = gallery.activations(unit)
    for row in (0, 57, 99):
        mine_ = gallery.row == row
        game = games[int(mining.sample_ids[row])]
        positions = slow.run(tiny, game, 5, 53).positions
        assert gallery.ply[mine_].tolist() == [p.ply for p in positions]
        assert acts[mine_].tolist() == pytest.approx([p.acts[2][9] for p in positions], abs=1e-3, rel=2e-3)
        assert gallery.state[mine_].tolist() == [p.states for p in positions]
        named = [(p.square, p.direction, p.flanked) for p in PATTERNS]
        held = [{named[i] for i in row.nonzero().flatten().tolist()} for row in gallery.facts[mine_, : len(PATTERNS)]]
        assert held == [{p for p in position.patterns if p[0] not in oracles.CENTRE} for position in positions]


def test_usable_patterns_hold_and_fail_often_enough_on_both_sides(planted):
    gallery, _ = planted
    for i in range(0, 960, 37):
        enough = all(
            min(int(gallery.facts[half, i].sum()), int((~gallery.facts[half, i]).sum())) >= 20
            for half in (gallery.train, ~gallery.train)
        )
        assert bool(gallery.usable[i]) == enough
    assert 50 < int(gallery.usable[: len(PATTERNS)].sum()) < 960 and gallery.usable[len(PATTERNS) :].any()


def test_a_pattern_that_always_holds_is_left_out(tiny):
    """All games of one opening, at one ply: some patterns hold at every position."""
    whole = generate(900, seed=6)
    games = Games.of(whole.tokens[whole.tokens[:, 0] == whole.tokens[0, 0]])
    gallery = Gallery(mine(tiny, games, k=2, plies=slice(0, 1)), games)
    always = gallery.facts.all(0)
    assert always.any() and not (always & gallery.usable).any()
    with pytest.raises(InputError, match="no fact holds and fails to 20 times"):
        gallery.score(Unit(0, "neuron", 0))


def test_no_game_and_no_transcript_is_on_both_sides(tiny):
    whole = generate(60, seed=9)
    copies = Games.of(torch.cat([whole.tokens, whole.tokens[:30]]))
    gallery = Gallery(mine(tiny, copies, k=2, plies=slice(20, 24)), copies)
    halves = [{tuple(gallery.games.tokens[r].tolist()) for r in gallery.row[half].tolist()}
              for half in (gallery.train, ~gallery.train)]  # fmt: skip
    assert not halves[0] & halves[1] and min(map(len, halves)) > 15
    rows = [set(gallery.row[half].tolist()) for half in (gallery.train, ~gallery.train)]
    assert not rows[0] & rows[1]
    assert len(gallery.transcript.unique()) == 60 and gallery.n_train + gallery.n_held_out == 90


def test_copies_of_games_do_not_narrow_the_interval(tiny):
    """Each game three times over is no more evidence than once."""
    whole = generate(60, seed=9)
    thrice = Games.of(whole.tokens.repeat(3, 1))
    intervals = []
    for games in (whole, thrice):
        gallery = Gallery(mine(tiny, games, k=2), games)
        acts = gallery.facts[:, 0].float() + torch.linspace(0, 1, 60)[gallery.transcript]
        pattern = int(gallery.usable.nonzero()[0])
        intervals.append(gallery._score(acts, pattern, 0.5).f1_interval)
    assert intervals[0] == pytest.approx(intervals[1])


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_games_are_refused_in_one_line_or_scored(tiny, n):
    games = generate(n, seed=8)
    mining = mine(tiny, games, k=2)
    try:
        gallery = Gallery(mining, games)
        found = gallery.score(Unit(0, "neuron", 0))
        # Literals such as "D2 occupied" come and go often enough in a handful of games, patterns do not.
        assert 0 < found.candidates == int(gallery.usable.sum()) < 448 and n == 5
        assert gallery.screen(0)[0].shape == (128, found.candidates)
    except InputError as error:
        assert n < 5 and "give more games" in str(error)


def test_a_gallery_wants_the_games_that_were_mined(mined, tiny):
    mining, games = mined
    with pytest.raises(InputError, match="not those mined"):
        Gallery(mining, generate(120, seed=5))
    with pytest.raises(InputError, match="sampled games are here"):
        Gallery(mining, games[:50])
    with pytest.raises(InputError, match="0 of the 100 sampled games were mined"):
        Gallery(Mining.empty(tiny, games, sample_games=100), games)
    with pytest.raises(InputError, match="kept no sample"):
        Gallery(mine(tiny, games[:2], sample_games=0), games)
    some = games[torch.randperm(len(games), generator=torch.Generator().manual_seed(0))]  # any order of rows will do
    assert torch.equal(Gallery(mining, some).activations(NOISE), Gallery(mining, games).activations(NOISE))


def test_the_shuffle_keeps_each_plys_activations_and_the_halves(planted):
    gallery, _ = planted
    acts = gallery.activations(Unit(2, "neuron", 9))
    dealt = gallery._deal(Unit(2, "neuron", 9), torch.Generator().manual_seed(0))
    for half in (gallery.train, ~gallery.train):
        for ply in (5, 30, 53):
            here = half & (gallery.ply == ply)
            assert sorted(dealt[here].tolist()) == sorted(acts[here].tolist())
    assert (dealt != acts).float().mean() > 0.9


# ---- thresholds, AUC, R^2, bootstrap

LEVELS = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 65504.0]) | st.floats(-10, 10, width=32)


@given(st.lists(st.tuples(LEVELS, st.booleans()), min_size=1, max_size=40))
def test_best_threshold_is_brute_force(rows):
    acts, fact = [a for a, _ in rows], [f for _, f in rows]
    threshold = best_threshold(torch.tensor(acts), torch.tensor(fact))
    on = torch.tensor(acts) > threshold
    best = slow.best_f1(acts, fact)
    assert slow.f1(on.tolist(), fact) == pytest.approx(best)
    fewer = [cut for cut in set(acts) if slow.f1([a >= cut for a in acts], fact) == pytest.approx(best)]
    assert int(on.sum()) == sum(a >= max(fewer) for a in acts)


def test_a_threshold_between_neighbouring_floats_still_parts_them():
    for upper in (1.0, 1.0 + 2**-23, -1.0, 2.0**-149):
        high = torch.tensor(upper)
        acts = torch.stack([high, torch.nextafter(high, torch.tensor(-math.inf))])
        threshold = best_threshold(acts, torch.tensor([True, False]))
        assert (acts > threshold).tolist() == [True, False]


@given(
    st.lists(st.tuples(LEVELS, st.booleans()), min_size=2, max_size=50).filter(lambda r: len({f for _, f in r}) == 2)
)
def test_auc_is_sklearns(rows):
    acts, fact = zip(*rows, strict=True)
    expected = roc_auc_score(fact, np.array(acts, dtype=np.float32))
    assert auc(torch.tensor(acts), torch.tensor(fact)) == pytest.approx(expected)


def test_auc_of_one_class_is_a_half():
    assert auc(torch.tensor([1.0, 2.0]), torch.tensor([True, True])) == 0.5


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=2, max_size=20))
def test_r_squared_is_the_formula(rows):
    truth, predicted = (torch.tensor(x, dtype=torch.float64) for x in zip(*rows, strict=True))
    if truth.max() - truth.min() < 1e-6:
        return
    expected = slow.r_squared(truth.tolist(), predicted.tolist())
    assert fact_scores.r_squared(truth, predicted) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_bootstrap_interval_covers_the_true_f1():
    """120 experiments with games of different rates: 95 % of the intervals should hold the true F1."""
    generator = torch.Generator().manual_seed(0)
    trials, held = 120, 0
    probabilities = torch.tensor([0.06, 0.03, 0.03, 0.88])  # both, on only, fact only, neither: F1 = 2/3
    for trial in range(trials):
        drawn = torch.multinomial(probabilities.expand(80, 4), 49, replacement=True, generator=generator)
        kinds = torch.nn.functional.one_hot(drawn, 4).sum(1).double()
        per_game = torch.stack([kinds[:, 0], kinds[:, 0] + kinds[:, 1], kinds[:, 0] + kinds[:, 2]], dim=1)
        low, high = fact_scores.f1_interval(per_game, rounds=300, seed=trial)
        held += low <= 2 / 3 <= high
    assert 0.87 <= held / trials <= 1.0 and high - low < 0.15
