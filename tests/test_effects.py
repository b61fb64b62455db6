"""Intervals cover, p-values are uniform where nothing is there, and pairs of one game count as one draw."""

import oracles_effects as oracle
import pytest
import torch

from circuits.causes import effects
from circuits.causes.effects import ratio_of_sums, summarise, summarise_sums, tails
from circuits.errors import InputError


def simulated(sets: int, games: int, pairs: int, *, mean=0.0, between=1.0, within=1.0, seed=0):
    """Effects [set, pair] of games that each have an effect of their own, and the game of each pair."""
    g = torch.Generator().manual_seed(seed)
    own = torch.randn(sets, games, generator=g) * between
    noise = torch.randn(sets, games, pairs, generator=g) * within
    return (mean + own[:, :, None] + noise).flatten(1), torch.arange(games).repeat_interleave(pairs)


def test_the_interval_covers_the_mean():
    """Of 400 simulated studies of 40 games about 95 % hold the true mean in their intervals."""
    x, game = simulated(400, 40, 4, mean=0.7)
    found = summarise(x, game)
    covered = ((found.low <= 0.7) & (found.high >= 0.7)).float().mean()
    assert 0.91 < covered < 0.975
    assert (found.low < found.mean).all() and (found.mean < found.high).all()
    # Were the pairs taken for independent draws, it would cover far less often than it says.
    naive = summarise(x)
    assert ((naive.low <= 0.7) & (naive.high >= 0.7)).float().mean() < 0.85


@pytest.mark.parametrize("games", [5, 10])
def test_few_games_are_not_overconfident(games):
    """Percentile intervals of 5 games would cover 83 %, of 10 games 90 %."""
    x, game = simulated(400, games, 2, mean=0.7, seed=3)
    found = summarise(x, game)
    assert ((found.low <= 0.7) & (found.high >= 0.7)).float().mean() > 0.9


def test_p_is_uniform_where_nothing_is_there():
    x, game = simulated(1000, 30, 3)
    p = summarise(x, game).p
    for level in (0.05, 0.2, 0.5, 0.8):
        assert abs(float((p <= level).float().mean()) - level) < 0.045
    naive = summarise(x).p
    assert (naive <= 0.05).float().mean() > 0.15


def test_the_family_p_is_of_the_whole_table():
    """Of 150 tables of 40 effects of nothing, about one in twenty has a family p of at most 0.05 anywhere."""
    x, game = simulated(150 * 40, 20, 2, seed=1)
    alarms = [summarise(table, game, flips=199, bootstrap=2, seed=i) for i, table in enumerate(x.split(40))]
    assert 0.01 <= sum(bool((a.p_family <= 0.05).any()) for a in alarms) / len(alarms) <= 0.1
    assert sum(bool((a.p <= 0.05).any()) for a in alarms) / len(alarms) > 0.7
    for a in alarms:
        assert (a.p_family >= a.p).all()


def test_an_effect_is_found_among_many():
    x, game = simulated(50, 40, 2)
    x[7] += 1.5
    found = summarise(x, game)
    assert found.p[7] == 0.001 and found.p_family[7] < 0.01 and found.low[7] > 0
    assert int((found.p_family < 0.05).sum()) == 1


def test_pairs_of_one_game_widen_the_interval():
    x, game = simulated(20, 15, 8, within=0.3)
    by_game, by_pair = summarise(x, game), summarise(x)
    width = [(s.high - s.low).mean() for s in (by_game, by_pair)]
    assert width[0] > 2 * width[1]
    torch.testing.assert_close(by_game.mean, by_pair.mean)
    assert (by_game.pairs, by_game.games, by_pair.games) == (120, 15, 120)


@pytest.mark.parametrize("seed", range(4))
def test_equals_all_flips_and_resamples_of_few_games(seed):
    generator = torch.Generator().manual_seed(seed)
    game = torch.tensor([0, 0, 1, 2, 2, 2, 3, 4])
    x = torch.randn(5, 8, generator=generator) + 0.8
    found = summarise(x, game, flips=20_000, bootstrap=20_000, seed=seed)
    p, family = oracle.exact_p(x, game)
    assert found.p.tolist() == pytest.approx(p, abs=0.012)
    assert found.p_family.tolist() == pytest.approx(family, abs=0.012)
    for row in range(2):
        low, high = oracle.exact_interval(x[row], game, float(tails(5)[0]))
        width = high - low
        assert float(found.low[row]) == pytest.approx(low, abs=0.03 * width)
        assert float(found.high[row]) == pytest.approx(high, abs=0.03 * width)


def test_the_mean_is_over_pairs():
    """Games count by their pairs; the order of the pairs and the games' numbers do not matter."""
    x, game = torch.tensor([[1.0, 1.0, 1.0, 5.0]]), torch.tensor([8, 8, 8, -2])
    assert float(summarise(x, game).mean) == 2.0
    order = torch.tensor([2, 3, 0, 1])
    again = summarise(x[:, order], game[order])
    assert float(again.low) == float(summarise(x, game).low)


def test_sums_by_game_are_enough():
    x, game = simulated(6, 9, 3)
    x[:, :3], counts = 0.0, torch.full((9,), 3)
    sums = x.reshape(2, 3, 9, 3).sum(-1)
    found, again = summarise(x.reshape(2, 3, 27), game), summarise_sums(sums, counts)
    for name in ("mean", "low", "high", "p", "p_family"):
        torch.testing.assert_close(getattr(found, name), getattr(again, name))
        assert getattr(again, name).shape == (2, 3)
    # A game without pairs is no game.
    counts[4], sums[..., 4] = 0, 0.0
    fewer = summarise_sums(sums, counts)
    assert (fewer.games, fewer.pairs) == (8, 24) and torch.isfinite(fewer.low).all()


def test_many_effects_are_cut_into_blocks(monkeypatch):
    x, game = simulated(30, 8, 2)
    whole = summarise(x, game)
    monkeypatch.setattr(effects, "_BLOCK", 7000)
    cut = summarise(x, game)
    for name in ("mean", "low", "high", "p", "p_family"):
        assert torch.equal(getattr(whole, name), getattr(cut, name))


def test_no_effect_is_no_finding():
    found = summarise(torch.zeros(3, 10))
    assert (found.p == 1).all() and (found.p_family == 1).all() and (found.low == 0).all() and (found.high == 0).all()
    some = torch.zeros(2, 10)
    some[1] = 1.0
    mixed = summarise(some)
    assert mixed.p.tolist() == [1.0, pytest.approx(2 / 1024, abs=0.006)] and mixed.p_family[0] == 1


def test_a_single_game_says_nothing_of_others():
    found = summarise(torch.tensor([1.0, 2.0]), torch.tensor([4, 4]))
    assert float(found.mean) == 1.5 and found.low.isnan() and found.high.isnan() and float(found.p) == 1.0


def test_large_effects_that_cancel():
    """Every flip is at least as far from zero as the observed mean, whatever the rounding of the sum."""
    x = torch.tensor([3e7, -3e7, 3e7, -3e7, 1e7, -1e7])
    assert float(summarise(x).p) == 1.0
    tenths = torch.tensor([0.1, 0.2, -0.3], dtype=torch.float64)
    assert float(tenths.sum()) != 0 and float(summarise(tenths).p) == 1.0
    # The observed signs themselves always count: of 4 games 2 of 16 flips, whatever the order of adding.
    many = torch.rand(400, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    assert float(summarise(many).p.min()) > 0.09


def test_ratios_of_means():
    """Numerator and denominator are drawn together, so an exact share has no width."""
    x, _ = simulated(3, 25, 1, mean=2.0)
    shares = torch.tensor([0.5, -1.0, 2.0])
    found = ratio_of_sums(shares[:, None, None] * x, x)
    for values in (found.value, found.low, found.high):
        torch.testing.assert_close(values, shares[:, None].expand(3, 3))
    noise, _ = simulated(300, 40, 1, mean=0.6, seed=5)
    of = 2.0 + simulated(1, 40, 1, between=0.3, seed=6)[0]
    found = ratio_of_sums(noise, of)
    truth = 0.6 / float(of.mean())
    assert 0.9 < ((found.low <= truth) & (truth <= found.high)).float().mean() < 0.98


def test_no_share_of_next_to_nothing():
    x, _ = simulated(2, 25, 1, mean=1.0)
    x[1] -= x[1].mean()
    found = ratio_of_sums(torch.ones(2, 25), x)
    assert found.value[0] > 0 and found.value[1].isnan() and found.low[1].isnan() and found.high[1].isnan()
    assert ratio_of_sums(torch.ones(1, 1), torch.ones(1, 1)).low.isnan().all()


def test_bad_effects():
    for bad, why in ((torch.tensor([1.0, float("nan")]), "not a finite number"), (torch.zeros(3, 0), "at least one")):
        with pytest.raises(InputError, match=why):
            summarise(bad)
    with pytest.raises(InputError, match="at least one"):
        summarise_sums(torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64))
