"""Near misses against brute force over a small pool; what is refused."""

import pytest
import torch
from oracles_counterfactuals import differing, holds, replayed, squares

from circuits.bitboards import popcount
from circuits.causes.near_misses import near_misses
from circuits.errors import InputError
from circuits.games import Games, generate


@pytest.fixture(scope="module")
def pool() -> Games:
    return generate(300, seed=21)


RULE = ["C3 empty", "!D1 mine", "legal C3 via S x1"]


def test_near_misses_are_the_closest_by_brute_force(pool):
    some, plies = pool[:150], slice(10, 13)
    found = near_misses(RULE, 1000, pool=some, plies=plies, per_game=9)
    ends = {(g, p): replayed(squares(some.tokens[g])[: p + 1]) for g in range(150) for p in (10, 11, 12)}
    failing = {at: [name for name in RULE if not holds(end, name)] for at, end in ends.items()}
    clean = [at for at, names in failing.items() if not names]
    # A pattern needs its square empty: no near miss in which that fails alone.
    assert set(found.by_literal) == set(RULE[1:]) and "C3 empty" in found.none["C3 empty"]
    for name, pairs in found.by_literal.items():
        expected = {}
        for g, p in clean:
            near = [
                differing(ends[g, p], end)
                for (_, ply), end in ends.items()
                if ply == p and end["side"] == ends[g, p]["side"] and failing[_, ply] == [name]
            ]
            if near:
                expected[g, p] = min(near)
        boards = zip(pairs.game.tolist(), pairs.ply.tolist(), pairs.clean, pairs.corrupt, strict=True)
        got = {(g, p): differing(replayed(squares(a)), replayed(squares(b))) for g, p, a, b in boards}
        assert got == expected and len(expected) > 5
        for a, b in zip(pairs.clean, pairs.corrupt, strict=True):
            assert [x for x in RULE if not holds(replayed(squares(b)), x)] == [name]
            assert all(holds(replayed(squares(a)), x) for x in RULE)
    assert found.pairs.kinds() == {"near miss": len(found.literal)}
    assert found.literal == [name for name, pairs in found.by_literal.items() for _ in range(len(pairs))]
    alone = near_misses(RULE, 1000, pool=some, plies=plies, per_game=9, but="!D1 mine")
    assert list(alone.by_literal) == ["!D1 mine"]
    assert torch.equal(alone.pairs.corrupt, found.by_literal["!D1 mine"].corrupt)


def test_a_larger_pool_is_closer():
    def median(pool: int) -> float:
        ends = near_misses(["C0 empty", "D1 theirs"], 100, pool=pool, but="D1 theirs").pairs
        a, b = ends.clean_end, ends.corrupt_end
        return float(popcount((a.mine ^ b.mine) | (a.theirs ^ b.theirs)).double().mean())

    assert median(200_000) < median(15_000)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: near_misses([], 5), "give at least one literal, each of them once"),
        (lambda g: near_misses(["C0 empty", " C0 EMPTY"], 5), "give at least one literal, each of them once"),
        (lambda g: near_misses(["C0 empty"], 5, but="C1 empty"), "'C1 empty' is no literal of the rule C0 empty"),
        (lambda g: near_misses(["C0 empty"], 5, pool=0), "0 games to search"),
        (
            lambda g: near_misses(["C0 mine", "C0 theirs"], 5, pool=g[:9]),
            r"no near misses: C0 mine & C0 theirs holds at none of \d+ positions of random, seed 21",
        ),
        (
            lambda g: near_misses(["C0 empty", "C0 legal"], 5, pool=g, but="C0 empty"),
            r"no near miss of C0 empty & C0 legal in which C0 empty fails: C0 legal without C0 empty is at none of",
        ),
    ],
)
def test_bad_input_is_told_in_one_line(pool, call, message):
    with pytest.raises(InputError, match=message) as error:
        call(pool)
    assert "\n" not in str(error.value)
