"""Pairs that toggle one fact of a rule: every one by the slow engine, and none left out."""

import oracles
import pytest
import torch
from oracles_counterfactuals import LAST, all_changes, differing, replayed, squares

from circuits.causes.pairs import KINDS, Pairs
from circuits.errors import InputError
from circuits.games import Games, generate
from circuits.othello import replay
from circuits.rules import FALSE, TRUE, Line, black_to_move, conjunction, flips, ply, sq
from circuits.verdicts.pair_search import value
from circuits.verdicts.pairs import toggles

CORNER = sq.C0.empty & sq.D1.theirs & sq.E2.mine
RULES = {
    "literals": CORNER,
    "played": sq.C2.played & sq.C3.occupied,
    "either": (sq.E2.mine | sq.F3.mine) & ~sq.B2.occupied & (ply >= 8),
    "pattern": sq.C0.via("SE", 1) & ~sq.H7.black,
    "count": (flips >= 2) & sq.D2.occupied,
    "earlier": (sq.C2.theirs @ -2) & sq.F4.occupied & (sq.D2.legal @ -1),
}


@pytest.fixture(scope="module")
def pool() -> Games:
    return generate(500, seed=31)


def truths(rule, tokens: torch.Tensor, at: torch.Tensor) -> dict:
    """Every atom, and the rule, at the last ply of some transcripts: the plain way, on whole games."""
    boards, row = replay(tokens[:, :59]), torch.arange(len(tokens))
    return {one: one.holds(boards)[row, at] for one in (*rule.atoms, rule)}


def legal_pair(clean: torch.Tensor, corrupt: torch.Tensor, kind: int) -> int:
    """That both are legal, as long, with the same side to move, and differ in one move; on how many squares."""
    a, b = squares(clean), squares(corrupt)
    one, other = replayed(a), replayed(b)
    assert one and other and len(a) == len(b) and one["side"] == other["side"] and one["legal"] and other["legal"]
    where = [t for t, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
    assert len(where) == 1 and (where[0] == len(a) - 1) == (KINDS[kind] == LAST)
    return differing(one, other)


@pytest.mark.parametrize("name", RULES)
def test_every_pair_toggles_its_atom_and_no_other(pool, name):
    rule = RULES[name]
    found = toggles(rule, pool, 12, plies=slice(5, 40), per_game=2, seed=3)
    assert len(found.pairs) >= 2
    for atom, pairs in found.pairs.items():
        clean, corrupt = truths(rule, pairs.clean, pairs.ply), truths(rule, pairs.corrupt, pairs.ply)
        assert clean[rule].all()
        if atom is None:
            assert corrupt[rule].all()
        else:
            assert not corrupt[rule].any() and (clean[atom] != corrupt[atom]).all()
            assert torch.equal(found.held[atom], clean[atom])
        for other in set(rule.atoms) - {atom}:
            assert torch.equal(clean[other], corrupt[other])
        assert len(pairs) <= 12 and int(torch.bincount(pairs.game).max()) <= 2
        assert bool(((pairs.ply >= 5) & (pairs.ply < 40)).all())
        Pairs.of(pairs.clean, pairs.corrupt)  # which refuses what is no pair
        for i in range(0, len(pairs), 3):
            differ = legal_pair(pairs.clean[i], pairs.corrupt[i], int(pairs.kind[i]))
            assert differ == found.squares[atom][i]
            end = int(pairs.ply[i]) + 1
            assert (
                torch.equal(pairs.clean[i, :end], pool.tokens[pairs.game[i], :end]) and not pairs.clean[i, end:].any()
            )


def test_the_closest_are_found_wherever_there_are_any():
    games, rule = generate(10, seed=33), sq.C2.empty & sq.C3.mine
    found = toggles(rule, games, 10_000, plies=slice(6, 15), per_game=60)
    boards = games.boards()
    holds = rule.holds(boards)
    expected: dict = {atom: {} for atom in rule.atoms}
    for game, t in holds.nonzero().tolist():
        if not 6 <= t < 15:
            continue
        moves = squares(games.tokens[game])[: t + 1]
        here = replayed(moves)
        for changed, kind in all_changes(moves).items():
            if KINDS.index(kind) > 2:
                continue
            there = replayed(changed)
            differs = [atom for atom in rule.atoms if (str(atom) in here["facts"]) != (str(atom) in there["facts"])]
            if len(differs) == 1:
                best = expected[differs[0]].get((game, t), 64)
                expected[differs[0]][game, t] = min(best, differing(here, there))
    assert min(len(one) for one in expected.values()) > 2
    for atom, pairs in found.pairs.items():
        if atom is not None:
            at = zip(pairs.game.tolist(), pairs.ply.tolist(), strict=True)
            assert dict(zip(at, found.squares[atom].tolist(), strict=True)) == expected[atom]


def test_the_control_is_as_unlike_as_the_toggles_are_from_the_same_positions(pool):
    found = toggles(CORNER, pool, 40, seed=1)
    cleans = {tuple(t) for atom in CORNER.atoms for t in found.pairs[atom].clean.tolist()}
    control = found.pairs[None]
    assert len(control) == 40 and {tuple(t) for t in control.clean.tolist()} <= cleans
    asked = torch.cat([found.squares[atom] for atom in CORNER.atoms])
    assert abs(float(found.squares[None].mean() - asked.mean())) < 0.8
    assert len({tuple(t) for t in control.corrupt.tolist()}) == 40


def test_the_same_seed_gives_the_same_pairs_and_another_gives_others(pool):
    torch.manual_seed(0)
    a = toggles(CORNER, pool, 20, seed=4)
    torch.manual_seed(1)
    b, c = toggles(CORNER, pool, 20, seed=4), toggles(CORNER, pool, 20, seed=5)
    for atom in (*CORNER.atoms, None):
        assert torch.equal(a.pairs[atom].corrupt, b.pairs[atom].corrupt)
        assert not torch.equal(a.pairs[atom].corrupt, c.pairs[atom].corrupt)


def test_copies_of_a_game_count_once(pool):
    doubled = Games.of(pool.tokens[:60].repeat_interleave(2, 0))
    once, twice = (toggles(CORNER, games, 500, per_game=60) for games in (pool[:60], doubled))
    cleans = [sorted(found.pairs[sq.C0.empty].clean.tolist()) for found in (once, twice)]
    assert cleans[0] == cleans[1]
    assert len(twice.pairs[sq.C0.empty].clean.unique(dim=0)) == len(twice.pairs[sq.C0.empty]) > 20


def test_the_rule_turns_on_the_fact_that_is_toggled(pool):
    rule = sq.C2.occupied | sq.F5.occupied
    found = toggles(rule, pool, 30, plies=slice(2, 20))
    assert len(found.pairs) == 3
    for atom, other in ((sq.C2.occupied, sq.F5.occupied), (sq.F5.occupied, sq.C2.occupied)):
        assert not truths(rule, found.pairs[atom].clean, found.pairs[atom].ply)[other].any()
    # In ``A != B`` each may be the one that is so.
    unequal = (sq.C2.occupied & ~sq.F5.occupied) | (~sq.C2.occupied & sq.F5.occupied)
    found = toggles(unequal, pool, 60, plies=slice(2, 30))
    assert set(found.held[sq.C2.occupied].tolist()) == {True, False}
    assert found.becomes(sq.C2.occupied) == "!C2 occupied or C2 occupied"


def test_what_a_fact_becomes(pool):
    rule = RULES["either"]
    found = toggles(rule, pool, 5)
    assert found.becomes(sq.B2.occupied) == "B2 occupied" and found.becomes(sq.E2.mine) == "!E2 mine"
    assert found.becomes(rule.atoms[-1]) == "!ply >= 8"


def test_reasons(pool):
    def why(rule, atom, **options) -> str:
        found = toggles(rule, pool[:150], 30, **options)
        assert atom not in found.pairs or len(found.pairs[atom]) < 30
        return found.reasons[atom]

    assert "as many moves" in why(CORNER & (ply >= 20), (ply >= 20))
    assert "same side moves" in why(CORNER & black_to_move, black_to_move)
    assert "forces C0 empty" in why(sq.C0.legal & sq.C0.empty, sq.C0.empty)
    either = (sq.C0.legal | sq.C0.played) & (sq.C0.empty | sq.C0.played)
    assert "never changed alone" in why(either, sq.C0.empty) and "legal changed with it" in why(either, sq.C0.empty)
    assert "never turns on" in why(sq.C0.theirs | sq.C0.occupied, sq.C0.theirs)
    assert "holds at none" in why(sq.D3.empty & sq.C2.mine, sq.C2.mine)
    assert "forces D3 occupied" in why(sq.D3.occupied & sq.C2.mine, sq.D3.occupied)
    assert "holds at none" in why(sq.A0.empty & sq.A0.mine, sq.A0.mine)
    few = why(CORNER, sq.C0.empty, plies=slice(5, 9))
    assert "of the 30 asked for" in few or "never" in few or "none" in few
    assert toggles(CORNER, pool, 5).reasons == {}
    assert toggles(TRUE, pool).pairs == toggles(FALSE, pool).pairs == {}


def test_bad_input(pool):
    for options, said in (
        ({"n": 0}, "at least one"),
        ({"per_game": 0}, "at least one"),
        ({"plies": slice(9, 3)}, "band"),
    ):
        with pytest.raises(InputError, match=said):
            toggles(CORNER, pool, **options)


def test_value_is_the_formula_on_the_truth_of_its_atoms(pool):
    boards = pool[:50].boards()
    for rule in (*RULES.values(), TRUE, FALSE | CORNER, ~conjunction([CORNER, ~RULES["count"]])):
        truth = {atom: atom._holds(boards) for atom in rule.atoms} or {black_to_move: boards.black_to_move}
        assert torch.equal(value(rule, truth) & boards.valid, rule.holds(boards))


def test_patterns_by_the_slow_engine(pool):
    """One atom that is read off bitboards in another way than literals are."""
    rule = sq.C0.via("SE", 1)
    assert isinstance(rule, Line)
    pairs = toggles(rule, pool, 6).pairs[rule]
    for i in range(len(pairs)):
        ends = [oracles.replay(list(squares(tokens[i])))[-1] for tokens in (pairs.clean, pairs.corrupt)]
        assert [(16, "SE", 1) in set(map(tuple, oracles.patterns(end))) for end in ends] == [True, False]
