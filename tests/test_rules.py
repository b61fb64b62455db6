"""Rules as formulas: canonical form, what they mean (against the slow engine), Python spelling, claims."""

import copy
import pickle

import oracles
import oracles_rule_atoms
import pytest
import torch
from hypothesis import given, settings
from rule_strategies import claims, rules

from circuits.errors import InputError
from circuits.features import LITERALS, Pattern
from circuits.othello import random_games, replay
from circuits.rules import (
    COUNTS,
    FALSE,
    TRUE,
    And,
    Claim,
    Count,
    Effect,
    Line,
    Literal,
    Not,
    Or,
    Passed,
    as_claim,
    black_to_move,
    conjunction,
    counted,
    disjunction,
    flips,
    mine,
    moves,
    passed,
    ply,
    sq,
    theirs,
    white_to_move,
)

# beartype picks the item of a tuple that it checks at random
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")


@pytest.fixture(scope="module")
def played():
    """Three games with a forced pass and three without: boards, and the slow engine's states."""
    tokens = random_games(200, seed=3)
    with_pass = replay(tokens).passed.any(1)
    tokens = torch.cat([tokens[with_pass][:3], tokens[~with_pass][:3]])
    squares = [[oracles.SQUARE_OF_TOKEN[t] for t in row if t] for row in tokens.tolist()]
    return replay(tokens), [oracles_rule_atoms.states_of(game) for game in squares]


def slow(rule, states, plies):
    held = oracles_rule_atoms.holds(rule, states)
    return held + [False] * (plies - len(held))


@settings(max_examples=60)
@given(rule=rules())
def test_a_rule_holds_where_the_slow_engine_says_so(played, rule):
    boards, games = played
    held = rule.holds(boards)
    for game in (0, 1, 4):
        assert held[game].tolist() == slow(rule, games[game], held.shape[1])


@pytest.mark.parametrize("back", [0, 1, 2, 7])
def test_every_kind_of_atom_against_the_slow_engine(played, back):
    boards, games = played
    pattern = Pattern(19, "S", 1)  # C3 over D3 to E3
    each = [Literal(square, name) for name in LITERALS for square in (19, 20, 27)]
    each += [Line(pattern), black_to_move, white_to_move, passed]
    each += [Count(what, low, high) for what in COUNTS for low, high in ((0, 9), (3, 3), (12, 40))]
    holding = 0
    for atom in each:
        held = (atom @ -back).holds(boards)
        holding += int(held.any())
        for game, states in enumerate(games):
            assert held[game].tolist() == slow(atom @ -back, states, held.shape[1]), atom
    assert holding > len(each) * 0.8  # most of them are seen to hold somewhere


def test_mine_is_the_side_that_moves_now_whichever_ply_is_looked_at(played):
    boards, _ = played
    # A disc just placed is the waiting side's, or after a pass the mover's; a ply ago it was placed by the other.
    just, before = (
        sq.C3.played & sq.C3.theirs,
        (sq.C3.played @ -1) & (sq.C3.mine @ -1) & ~passed & ~(passed @ -1),
    )
    usual = sq.C3.played & ~passed
    assert just.holds(boards).any() and torch.equal(just.holds(boards), usual.holds(boards))
    earlier = (sq.C3.played @ -1) & ~passed & ~(passed @ -1)
    assert before.holds(boards).any() and torch.equal(before.holds(boards), earlier.holds(boards))


# ---- canonical form ----------------------------------------------------------------------------------------


def test_formulas_that_differ_in_order_brackets_or_repeats_are_equal():
    a, b, c = sq.C0.empty, sq.D1.theirs, sq.E2.mine
    assert (a & b) & c == a & (c & b) == conjunction([c, b, a, a]) and hash((a & b) & c) == hash(c & (a & b))
    assert a | b | c == disjunction([c, a, b, c]) != a & b & c
    assert str(c & b & a) == "C0 empty & D1 theirs & E2 mine"
    assert str((c | b) & ~a) == "!C0 empty & (D1 theirs | E2 mine)"
    assert str(~(a & b)) == "!(C0 empty & D1 theirs)"
    assert (a & b).atoms == (b & a | ~a).atoms == (a, b)


def test_constants_and_double_negation():
    a = sq.C0.empty
    assert a & TRUE == a == a | FALSE == ~~a == Not(Not(a)) and a & FALSE == FALSE and a | TRUE == TRUE
    assert ~TRUE == FALSE and Not(TRUE) == FALSE and conjunction([]) == TRUE and disjunction([]) == FALSE
    assert TRUE.atoms == () and not FALSE.atoms


@given(rule=rules())
def test_a_rule_is_what_its_parts_make_again(rule):
    assert rule.replace(lambda atom: atom) == rule
    assert ~~rule == rule and str(~~rule) == str(rule)
    assert set(rule.atoms) == set((~rule).atoms) and list(rule.atoms) == sorted(rule.atoms, key=lambda atom: atom.key)
    if isinstance(rule, And | Or):
        assert type(rule)(rule.rules) == (conjunction if isinstance(rule, And) else disjunction)(rule.rules[::-1])
        assert not any(isinstance(part, type(rule)) for part in rule.rules) and len(set(rule.rules)) == len(rule.rules)


@given(rule=rules())
def test_rules_copy_and_pickle(rule):
    assert copy.deepcopy(rule) == rule == pickle.loads(pickle.dumps(rule))


def test_replacing_an_atom_makes_a_new_canonical_formula():
    rule = sq.C0.empty & (sq.D1.theirs | sq.E2.mine)
    assert rule.replace(lambda atom: TRUE if atom == sq.D1.theirs else atom) == sq.C0.empty
    assert rule.replace(lambda atom: FALSE if atom == sq.D1.theirs else atom) == sq.C0.empty & sq.E2.mine


# ---- Python spelling ---------------------------------------------------------------------------------------


def test_counts_compare_with_numbers():
    assert [str(c) for c in (ply >= 20, flips == 3, moves < 2, mine > 4, theirs <= 9, ply.between(10, 20))] == [
        "ply >= 20", "flips = 3", "moves <= 1", "mine >= 5", "theirs <= 9", "ply 10..20",
    ]  # fmt: skip
    assert (flips != 3) == ~(flips == 3)


def test_counted_is_the_count_behind_the_bounds(played):
    boards, _ = played
    assert torch.equal((flips >= 3).holds(boards), (counted(boards, "flips") >= 3) & boards.valid)


def test_patterns_and_looking_back():
    assert str(sq.c0.via("se", 1) @ -2) == "legal C0 via SE x1 @-2"
    assert (sq.C0.empty @ -1) @ -2 == sq.C0.empty @ -3 and sq.C0.empty @ 0 == sq.C0.empty


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: sq.C0.empty @ 1, "@-1"),
        (lambda: sq.C0.empty @ -59, "@-58"),
        (lambda: sq.C0.empty @ -30 @ -30, "@-58"),
        (lambda: Literal(16, "red"), "'red'"),
        (lambda: Literal(64, "mine"), "64"),
        (lambda: sq.D3.via("SE", 1), "960"),
        (lambda: ply >= 65, "0..64"),
        (lambda: ply < 0, "0..64"),
        (lambda: ply.between(20, 10), "the wrong way round"),
        (lambda: Passed(59), "0 to 58"),
        (lambda: Literal(16, "mine", -1), "0 to 58"),
        (lambda: sq.C0.via(3), "via('SE', 1)"),
        (lambda: sq.C0.via("XX", 1), "960"),
        (lambda: Effect("colour", 1, 16), "'colour'"),
        (lambda: Effect("logit", 2, 16), "1 or -1"),
        (lambda: Effect("logit", 1), "whole number"),
        (lambda: Effect("reading", 1, 64, "mine"), "64"),
        (lambda: Effect("unit", 1), "L5N1393"),
        (lambda: Effect("unit", 1, name="N3"), "L5N1393"),
        (lambda: sq.C0.empty >> sq.C0, "sq.C0 is nothing that a unit writes"),
        (lambda: sq.C0.empty >> [+sq.C0, ply], "+sq.C0, -sq.C0"),
        (lambda: sq.C0.empty >> None, "None is nothing that a unit writes"),
        (lambda: sq.C0.empty >> True, "True is nothing that a unit writes"),
        (lambda: Count("queens"), "'queens'"),
        (lambda: sq.C0.empty >> sq.E3.empty, "never empty"),
        (lambda: sq.C0.empty >> +sq.E3, "no logit"),
        (lambda: sq.C0.empty >> sq.B4.occupied, "'occupied'"),
        (lambda: sq.C0.empty >> (ply >= 3), "ply >= 3"),
        (lambda: sq.C0.empty >> (sq.B4.mine | sq.B5.mine), "nothing that a unit writes"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(make, said):
    with pytest.raises(InputError) as error:
        make()
    assert said in str(error.value) and "\n" not in str(error.value)


def test_facts_compare_as_values():
    assert (sq.C0.empty == sq.D1.mine) is False and (sq.C0.empty == sq.C0.empty) is True
    assert sq.C0 == sq.c0 != sq.C1 and repr(sq.C0) == "sq.C0" and repr(ply) == "ply"


@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy, lambda given: pickle.loads(pickle.dumps(given))])
def test_the_spelling_copies_and_pickles(through):
    assert through(sq.A0) == sq.A0 and through(sq.A0).mine == sq.A0.mine
    assert through(sq).C0.empty == sq.C0.empty
    assert (through(ply) >= 3) == (ply >= 3)
    claim = sq.C0.empty >> sq.B4.theirs
    assert through(claim) == claim and through(+sq.C0) == +sq.C0


def test_misspelt_squares_and_states():
    with pytest.raises(AttributeError, match="A-H"):
        _ = sq.C8
    with pytest.raises(AttributeError, match="empty"):
        _ = sq.C0.emtpy
    assert "C0" in dir(sq) and "via" in dir(sq.C0)


def test_a_rule_has_no_truth_of_its_own():
    with pytest.raises(TypeError, match="'and', 'or', 'not'"):
        _ = sq.C0.empty and sq.D1.theirs


# ---- claims ------------------------------------------------------------------------------------------------


def test_what_a_unit_writes():
    claim = (sq.A4.played & sq.B4.occupied & (ply >= 10)) >> sq.B4.theirs
    assert claim == sq.A4.played & sq.B4.occupied & (ply >= 10) >> sq.B4.theirs  # and so without brackets
    assert claim.rule == sq.A4.played & sq.B4.occupied & (ply >= 10)
    assert str(claim) == "A4 played & B4 occupied & ply >= 10 ⇒ B4 theirs"
    assert (sq.A4.played | sq.B4.occupied >> sq.B4.theirs).rule == sq.A4.played | sq.B4.occupied
    several = sq.C0.empty >> [+sq.C0, -sq.C1, sq.B4.theirs & ~sq.C4.mine, "-L1N421", sq.B4.theirs]
    assert str(several) == "C0 empty ⇒ +C0, -C1, B4 theirs, -C4 mine, -L1N421"
    assert several.effects[-1] == Effect("unit", -1, name="L1N421")
    assert str(Claim(sq.C0.empty)) == "C0 empty"


def test_a_claim_is_given_as_text_as_a_rule_or_as_it_is():
    claim = sq.C0.empty >> sq.B4.theirs
    assert as_claim("C0 empty => B4 theirs") == claim == as_claim(claim)
    assert as_claim("C0 empty") == as_claim(claim.rule) == Claim(claim.rule) and as_claim(TRUE).rule == TRUE


@given(claim=claims())
def test_claims_are_values(claim):
    assert claim == Claim(claim.rule, claim.effects) and hash(claim) == hash(copy.copy(claim))
