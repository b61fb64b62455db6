"""What ablated components get, and from which games: equal to means and donors picked by hand."""

import oracles_ablation as oracle
import pytest
import torch

from circuits.causes.baseline import REFERENCE_GAMES, Baseline
from circuits.causes.components import groups_of
from circuits.causes.replacements import replacement
from circuits.errors import InputError
from circuits.features import Features
from circuits.games import Games, generate


@pytest.fixture(scope="module")
def base(tiny):
    """Four games, plies 7 to 18; 30 games of reference."""
    return Baseline(tiny, generate(4, seed=21), generate(30, seed=22), band=slice(7, 19))


def refused(function, *arguments, **options) -> str:
    with pytest.raises(InputError) as info:
        function(*arguments, **options)
    assert "\n" not in str(info.value)
    return str(info.value)


def table(base, name, method, given="ply", **options):
    """What one node gets, [game, ply, ...] up to the band's end."""
    _, groups = groups_of([name], base.model)
    values = replacement(base, groups, method, given, **options)
    return values(0, slice(None), slice(0, base.plies.stop))[:, :, 0].squeeze(-1), values


@pytest.mark.parametrize("name", ["L1N9", "L2H1", "L0 attn", "L1 MLP"])
def test_conditional_means(base, name):
    a = oracle.activations(base.model, base.reference.inputs, name)
    where, boards = base.reference_where, base.reference_boards

    def mean(mask):
        return torch.stack([a[g, t] for g, t in mask.nonzero().tolist()]).mean(0)

    by_ply, values = table(base, name, "conditional mean", before_band=True)
    for ply in (0, 3, 7, 18):  # before the band too: each ply is a class of its own
        one = torch.zeros_like(where)
        one[:, ply] = boards.valid[:, ply]
        torch.testing.assert_close(by_ply[2, ply], mean(one), atol=1e-5, rtol=1e-4)
    assert "of the same ply" in values.words and "30 reference games" in values.words

    fact = "C3 mine"
    holds = torch.zeros_like(where)
    holds[boards.valid] = Features(boards).column(fact)
    assert 10 < int((holds & where).sum()) < int(where.sum()) - 10
    with_fact, without = mean(holds & where), mean(~holds & where)
    assert (with_fact - without).abs().max() > 1e-3
    here = base.holds(fact)
    whether, _ = table(base, name, "conditional mean", f"whether {fact}")
    never, values = table(base, name, "conditional mean", f"not {fact}")
    always, _ = table(base, name, "conditional mean", fact)
    seen = set()
    for game, ply in base.where.nonzero().tolist():
        expected = with_fact if here[game, ply] else without
        seen.add(bool(here[game, ply]))
        torch.testing.assert_close(whether[game, ply], expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(never[game, ply], without, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(always[game, ply], with_fact, atol=1e-5, rtol=1e-4)
    assert seen == {True, False} and f"with not {fact} ({int((~holds & where).sum())} positions" in values.words

    classes = torch.arange(59) % 3
    given = (classes.expand(len(base.games), -1), classes.expand(len(base.reference), -1))
    by_class, _ = table(base, name, "conditional mean", given)
    torch.testing.assert_close(by_class[0, 8], mean(where & (classes == 2)), atol=1e-5, rtol=1e-4)


def test_resampled_activations_are_another_games_at_the_same_ply(base):
    """One reference game for each game and ply, the same for all of a set; another seed, other games."""
    names = ["L1N9", "L2H1"]
    _, groups = groups_of(names, base.model)
    every = slice(0, base.plies.stop)
    draws = {}
    for seed in (0, 1):
        values = replacement(base, groups, "resample", before_band=True, seed=seed)
        for i, name in enumerate(names):
            a = oracle.activations(base.model, base.reference.inputs, name)[:, every]
            got = values(i, slice(None), every)[:, :, 0].squeeze(-1)
            gap = (got[:, None] - a[None]).abs().flatten(3).amax(-1) if a.ndim > 2 else (got[:, None] - a[None]).abs()
            # [game, reference, ply]: exactly one donor is the one, the same at every ply of these long games
            donor = (gap.amax(2) < 1e-5).int()
            assert (donor.sum(1) == 1).all()
            assert draws.setdefault(seed, donor.argmax(1).tolist()) == donor.argmax(1).tolist()
    assert draws[0] != draws[1]


def test_a_donor_that_is_over_hands_on_to_the_next(tiny):
    """Of two reference games one ends at ply 9: past it, only the other is left."""
    tokens = generate(2, seed=22).tokens.clone()
    tokens[0, 10:] = 0
    base = Baseline(tiny, generate(6, seed=21), Games.of(tokens), band=slice(5, 15))
    row = replacement(base, groups_of("L1N9", base.model)[1], "resample").row
    games = row // 15
    assert set(games[:, 9].tolist()) == {0, 1} and (games[:, 10:15] == 1).all()


def test_zero_is_zero(base):
    values, _ = table(base, "L2H1", "zero")
    assert values.shape == (4, 19, 16) and not values.any()


# reference games


def test_reference_games_are_others(tiny):
    base = Baseline(tiny, generate(3, seed=1_000_003))
    assert len(base.reference) == REFERENCE_GAMES and base.reference.fingerprint != base.games.fingerprint
    # Those of its own seed would be taken, so it goes on to the next.
    taken = generate(3, seed=1_000_004)
    assert Baseline(tiny, taken).reference.source.startswith("random, seed 1000005")
    games = generate(20, seed=5)
    assert "3 of the 5 reference games are among those measured" in refused(Baseline, tiny, games[:12], games[9:14])
    assert "games.split()" in refused(Baseline, tiny, Games.of(games.tokens, "championship"))
