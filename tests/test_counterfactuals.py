"""Counterfactual games: every pair by the slow engine, and none left out."""

import oracles
import pytest
import torch
from oracles_counterfactuals import (
    LAST,
    SWAPPED,
    TRANSPOSED,
    all_changes,
    checked,
    differing,
    holds,
    replayed,
    squares,
)

from circuits.causes import counterfactual_search, game_streams
from circuits.causes.counterfactuals import (
    counterfactuals,
    for_position,
    last_move_changed,
    one_move_swapped,
    transpositions,
)
from circuits.causes.facts import parse_fact
from circuits.causes.near_misses import near_misses
from circuits.causes.pairs import KINDS, Pairs
from circuits.errors import InputError
from circuits.features import LITERALS, PATTERNS, Features
from circuits.games import Games, generate
from circuits.notation import LABELS
from circuits.training.lessons import HELD_OUT_SEED


@pytest.fixture(scope="module")
def pool() -> Games:
    return generate(300, seed=21)


@pytest.fixture(scope="module")
def passing() -> tuple[tuple[int, ...], int]:
    """A game cut some plies behind a pass in its middle."""
    games = generate(4000, seed=22)
    boards = games.boards()
    passed = boards.passed & boards.valid
    row, ply = passed[:, :36].nonzero()[0].tolist()
    return squares(games.tokens[row]), ply + 3


@pytest.mark.parametrize("ply", [0, 1, 2, 7, 16, 25])
def test_all_changes_of_a_position_are_found(pool, ply):
    moves = squares(pool.tokens[4])[: ply + 1]
    expected = all_changes(moves)
    pairs = for_position(pool[4], ply)
    checked(pairs, None)
    assert {squares(t): KINDS[k] for t, k in zip(pairs.corrupt, pairs.kind, strict=True)} == expected
    assert len(pairs) == len(expected) and (pairs.game == 4).all()
    assert all(squares(t) == moves for t in pairs.clean)


def test_all_changes_are_found_where_somebody_passes(passing):
    moves, ply = passing
    tokens = [oracles.SQUARE_OF_TOKEN.index(s) for s in moves[: ply + 1]]
    expected = all_changes(moves[: ply + 1], same_last_move=False)
    pairs = for_position(tokens, ply, same_last_move=False)
    assert {squares(t): KINDS[k] for t, k in zip(pairs.corrupt, pairs.kind, strict=True)} == expected


def test_the_changes_of_a_position_are_sorted_and_those_that_toggle_a_fact_are_picked(pool):
    ply, moves = 20, squares(pool.tokens[9])[:21]
    clean, every = replayed(moves), for_position(pool[9], 20)
    cost = []
    for row, kind in zip(every.corrupt, every.kind, strict=True):
        state = replayed(squares(row))
        turned = len(set(state["flipped"]) ^ set(clean["flipped"]))
        cost.append((differing(clean, state), 1 + (KINDS[kind] == TRANSPOSED), turned))
    assert cost == sorted(cost) and len(set(cost)) > 5
    changes = all_changes(moves)
    toggled = 0
    for fact in [*sorted(clean["facts"])[::9], "A0 mine", "B1 theirs", "legal A0 via SE x1"]:
        here = holds(clean, fact)
        expected = {m: k for m, k in changes.items() if holds(replayed(m), fact) != here}
        if not expected:
            with pytest.raises(InputError, match="no counterfactual"):
                for_position(pool[9], ply, fact)
            continue
        toggled += 1
        pairs = for_position(pool[9], ply, fact)
        checked(pairs, fact if here else f"!{fact}")
        assert {squares(t): KINDS[k] for t, k in zip(pairs.corrupt, pairs.kind, strict=True)} == expected
    assert toggled > 5


@pytest.mark.parametrize("fact", ["C0 mine", "B4 flipped", "C0 empty", "legal C0 via SE x1", "!F7 legal", "E2 black"])
@pytest.mark.parametrize("make", [last_move_changed, one_move_swapped, counterfactuals])
def test_every_pair_differs_in_the_fact(pool, make, fact):
    pairs = make(pool, fact, 12, seed=1)
    checked(pairs, fact)
    assert len(pairs) == 12 and len(pairs.game.unique()) == 12
    assert (pairs.ply >= 5).all() and (pairs.ply <= 53).all()
    rows = [squares(pool.tokens[g])[: p + 1] for g, p in zip(pairs.game.tolist(), pairs.ply.tolist(), strict=True)]
    assert [squares(t) for t in pairs.clean] == rows
    kinds = {last_move_changed: {LAST}, one_move_swapped: {SWAPPED}}.get(make, {LAST, SWAPPED})
    assert set(pairs.kinds()) <= kinds
    assert pairs.question == f"{fact} or not" and "plies 5..53, from the first" in pairs.source


def test_the_closest_change_is_taken_and_no_position_missed(pool):
    """Of every position the pair with fewest differing squares; games without a pair have no counterfactual."""
    few, fact, plies = pool[:10], "D2 mine", slice(12, 14)
    pairs = counterfactuals(few, fact, 100, plies=plies, per_game=9, kinds=(LAST, SWAPPED))
    expected = {}
    for game in range(10):
        for ply in (12, 13):
            moves = squares(few.tokens[game])[: ply + 1]
            if not holds(replayed(moves), fact):
                continue
            ends = [replayed(m) for m, kind in all_changes(moves).items() if kind != TRANSPOSED]
            costs = [differing(replayed(moves), end) for end in ends if not holds(end, fact)]
            if costs:
                expected[game, ply] = min(costs)
    found = {
        (g, p): differing(replayed(squares(a)), replayed(squares(b)))
        for g, p, a, b in zip(pairs.game.tolist(), pairs.ply.tolist(), pairs.clean, pairs.corrupt, strict=True)
    }
    assert found == expected and len(expected) > 2
    assert f"{len(expected)} pairs of the 100 asked for" in pairs.source


def test_what_is_kept_holds_on_both_sides(pool):
    keep = ("D1 theirs", "!E2 empty")
    pairs = counterfactuals(pool, "C0 legal", 10, keep=keep)
    checked(pairs, "C0 legal", keep)
    assert pairs.question == "C0 legal or not, where D1 theirs & !E2 empty"


def test_the_changed_ply_can_be_chosen(pool):
    for ply in (6, 15):
        pairs = one_move_swapped(pool, None, 5, plies=slice(20, 21), changed=slice(ply, ply + 1))
        checked(pairs, None)
        assert (pairs.first == ply).all() and (pairs.ply == 20).all()


def test_games_that_the_change_would_end_are_left_out(pool):
    checked(counterfactuals(pool, None, 1000, plies=slice(54, 59), per_game=5)[::20], None)


def test_transpositions_reach_the_same_board(pool):
    pairs = transpositions(pool, 25)
    checked(pairs, None)
    assert pairs.kinds() == {TRANSPOSED: 25} and not pairs.differing("played").any()
    for end in ("mine", "theirs", "legal", "black_to_move"):
        assert torch.equal(getattr(pairs.clean_end, end), getattr(pairs.corrupt_end, end))
    last = transpositions(pool, 90, plies=slice(5, 12), same_last_move=False)
    checked(last, None)
    assert last.differing("played").any()
    flipped = counterfactuals(pool, "D3 flipped", 3, kinds=(TRANSPOSED,))
    checked(flipped, "D3 flipped")


def test_batches_change_nothing_and_fewer_are_a_prefix(monkeypatch):
    def made(n: int, seed: int = 0) -> list[Pairs]:
        return [
            counterfactuals(700, "B4 flipped", n, seed=seed, per_game=2),
            transpositions(700, n, seed=seed),
            near_misses(["C0 empty", "D1 theirs"], n, pool=9_000, seed=seed).pairs,
        ]

    first, fewer, other = made(60), made(20), made(60, seed=1)
    monkeypatch.setattr(game_streams, "BATCH", 90)
    monkeypatch.setattr(game_streams, "_FIRST", 33)
    monkeypatch.setattr(counterfactual_search, "POSITIONS", 7)
    for a, b, c, d in zip(first, made(60), fewer, other, strict=True):
        for name in ("clean", "corrupt", "ply", "kind", "game"):
            assert torch.equal(getattr(a, name), getattr(b, name))
        if len(a) == 60:
            assert torch.equal(a.corrupt[:20], c.corrupt)
        assert not torch.equal(a.clean, d.clean)
    # Random games are those of a held-out seed, by number.
    rows = generate(700, HELD_OUT_SEED).tokens[first[0].game]
    past = torch.arange(60) > first[0].ply[:, None]
    assert torch.equal(first[0].clean, rows.masked_fill(past, 0))


def test_facts_are_the_features(pool):
    boards = pool[:20].boards()
    features = Features(boards)
    names = [f"{LABELS[s]} {name}" for s in (0, 16, 27, 45) for name in LITERALS] + [str(p) for p in PATTERNS[::97]]
    for name in names:
        fact = parse_fact(name)
        assert str(fact) == name and parse_fact(f"! {name}") == ~fact and str(~fact) == f"!{name}"
        assert torch.equal(fact.holds(boards)[features.where], features.column(name))
        assert torch.equal((~fact).holds(boards)[features.where], ~features.column(name))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: counterfactuals(g, "C0 blue", 5), "'C0 blue' is no fact: a square and one of empty, mine"),
        (lambda g: counterfactuals(g, "K9 empty", 5), "'K9' is no square"),
        (lambda g: counterfactuals(g, "legal C0 via SE x9", 5), "is none of the 960 patterns"),
        (lambda g: counterfactuals(g, "C0 mine", 0), "0 pairs, 1 of a game: at least one is needed"),
        (lambda g: counterfactuals(0, "C0 mine", 5), "0 games to search: at least one is needed"),
        (lambda g: counterfactuals(5, "C0 mine", 5, seed=1 << 40), "away from those that training uses"),
        (lambda g: counterfactuals(g, "C0 mine", 5, plies=slice(9, 9)), "is no band of plies"),
        (lambda g: counterfactuals(g, "C0 mine", 5, kinds=()), "no kind of change: give some of last move changed"),
        (lambda g: counterfactuals(g, "C0 mine", 5, kinds=("near miss",)), "circuits.causes.near_misses finds those"),
        (lambda g: one_move_swapped(g, "C3 played", 5), "C3 played cannot differ where the last move is the same"),
        (
            lambda g: counterfactuals(g[:5], "D3 empty", 5),
            "no counterfactual for 'D3 empty or not': D3 empty holds at none of the 245 positions of 5 games",
        ),
        (
            lambda g: last_move_changed(g[:5], "D3 occupied", 5),
            r"of \d+ legal games with 'last move changed' none leads to !D3 occupied \(\d+ positions of 5 games",
        ),
        (
            lambda g: transpositions(g[:5], 5, plies=slice(0, 3)),
            "no 'transposition' leaves the game legal with the same side to move",
        ),
        (
            lambda g: one_move_swapped(g[:5], None, 5, plies=slice(4, 6), changed=slice(7, 9)),
            "no 'one move swapped', at plies 7..8, leaves the game legal",
        ),
        (
            lambda g: last_move_changed(Games.of(g.tokens[:3, :4]), None, 5),
            "the 3 games searched have no position there",
        ),
        (lambda g: for_position(g, 5), "300 games: the counterfactuals of a position are those of one"),
        (lambda g: for_position(g[3], 59), "ply 59: the positions of game 3 of random, seed 21"),
        (lambda g: for_position([20, 1], 1), "game 0, ply 1: A0 is not legal; legal there: C2 C4 E2"),
        (lambda g: for_position(g[3], 9, keep=["D3 empty"]), "ply 9: D3 empty does not hold there"),
    ],
)
def test_bad_input_is_told_in_one_line(pool, call, message):
    with pytest.raises(InputError, match=message) as error:
        call(pool)
    assert "\n" not in str(error.value)


def test_a_hopeless_search_is_given_up(monkeypatch):
    monkeypatch.setattr(counterfactual_search, "GIVE_UP", 100)
    with pytest.raises(InputError, match="256 games"):
        last_move_changed(10_000_000, "D3 occupied", 5)


def test_several_facts_toggle_together():
    games, text = generate(3000, seed=21), "legal C0 via SE x1 & C0 legal"
    pairs = counterfactuals(games, text, 40, keep=["C0 empty"])
    assert pairs.question.startswith("legal C0 via SE x1 & C0 legal or none of them")
    for fact in text.split(" & "):
        assert parse_fact(fact).holds(pairs.clean_end).all()
        assert not parse_fact(fact).holds(pairs.corrupt_end).any()
    alone = counterfactuals(games, "legal C0 via SE x1", 40, keep=["C0 empty"])
    assert parse_fact("C0 legal").holds(alone.corrupt_end).any()
    one = for_position(pairs.clean[0], int(pairs.ply[0]), text, keep=["C0 empty"])
    assert not parse_fact("C0 legal").holds(one.corrupt_end).any()
    with pytest.raises(InputError, match="names a fact twice"):
        counterfactuals(games, "C0 legal & c0  legal", 4)


def test_a_fact_cannot_be_kept_and_toggled():
    for keep in ("C0 empty", ["!C0 empty"]):
        with pytest.raises(InputError, match="cannot do both"):
            counterfactuals(generate(50, seed=2), "C0 empty", 4, keep=keep)
