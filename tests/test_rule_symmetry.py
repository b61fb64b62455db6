"""Rules moved, turned and recoloured: group laws, and what holds on mapped games."""

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_strategies import claims, rules

from circuits.errors import InputError
from circuits.othello import random_games, replay
from circuits.rules import Count, Line, Rule, ToMove, black_to_move, sq, white_to_move
from circuits.rules.bits import Packed
from circuits.rules.logic import equivalent
from circuits.rules.symmetry import (
    GEOMETRIC,
    SYMMETRIC,
    absolute,
    geometric,
    has_colours,
    map_square,
    relative,
    swap,
    symmetric,
    translate,
    translations,
)
from circuits.rules.text import parse_claim, parse_rule

# beartype picks the item of a tuple that it checks at random
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")
ALL_MAPS = {**SYMMETRIC, **GEOMETRIC}
RULE = parse_rule("C0 empty & D1 theirs & E2 mine")


def forms(rule: Rule) -> dict[str, Rule]:
    return {**symmetric(rule), **geometric(rule)}


def mapped_tokens(tokens, place):
    square_of = oracles.SQUARE_OF_TOKEN
    token_of = {square: token for token, square in enumerate(square_of) if token}
    table = torch.tensor([0] + [token_of[map_square(square, place)] for square in square_of[1:]])
    return table[tokens.long()]


@pytest.fixture(scope="module")
def tokens():
    """30 games with a forced pass and 10 without."""
    tokens = random_games(600, seed=2)
    with_pass = replay(tokens).passed.any(1)
    return torch.cat([tokens[with_pass][:30], tokens[~with_pass][:10]])


@pytest.fixture(scope="module")
def packed(tokens):
    return Packed(replay(tokens))


# ---- the eight maps ----------------------------------------------------------------------------------------


@settings(max_examples=80)
@given(rule=rules(), name=st.sampled_from([*SYMMETRIC]))
def test_a_symmetric_rule_holds_on_the_mapped_game_where_the_rule_holds_on_the_game(tokens, packed, rule, name):
    mapped = Packed(replay(mapped_tokens(tokens, SYMMETRIC[name])))
    assert torch.equal(mapped.evaluate(symmetric(rule)[name]), packed.evaluate(rule))


@pytest.mark.parametrize("name", GEOMETRIC)
def test_the_other_four_do_not_make_legal_games(tokens, name):
    with pytest.raises(InputError, match=r"ply 0: .* is not legal"):
        replay(mapped_tokens(tokens, GEOMETRIC[name]))


def test_which_maps_keep_the_coloured_start():
    black, white = {28, 35}, {27, 36}
    for name, place in ALL_MAPS.items():
        keeps = {map_square(s, place) for s in black} == black
        assert keeps == (name in SYMMETRIC)
        assert {map_square(s, place) for s in black | white} == black | white


@given(rule=rules(anywhere=True), first=st.sampled_from([*ALL_MAPS]), second=st.sampled_from([*ALL_MAPS]))
def test_the_maps_form_a_group(rule, first, second):
    def after(row, column):
        return ALL_MAPS[second](*ALL_MAPS[first](row, column))

    (both,) = (n for n, place in ALL_MAPS.items() if all(place(r, c) == after(r, c) for r in (0, 1) for c in (0, 3)))
    assert forms(forms(rule)[first])[second] == forms(rule)[both]
    # The four symmetric ones are a subgroup, each its own inverse.
    assert (both in SYMMETRIC) == ((first in SYMMETRIC) == (second in SYMMETRIC))
    if first in SYMMETRIC:
        assert symmetric(symmetric(rule)[first])[first] == rule


def test_the_forms_of_a_rule_by_name():
    assert {name: str(rule) for name, rule in forms(RULE).items()} == {
        "identity": "C0 empty & D1 theirs & E2 mine",
        "half-turn": "D5 mine & E6 theirs & F7 empty",
        "main diagonal": "A2 empty & B3 theirs & C4 mine",
        "anti-diagonal": "F3 mine & G4 theirs & H5 empty",
        "quarter-turn clockwise": "A5 empty & B4 theirs & C3 mine",
        "quarter-turn anticlockwise": "F4 mine & G3 theirs & H2 empty",
        "mirror left-right": "C7 empty & D6 theirs & E5 mine",
        "mirror up-down": "D2 mine & E1 theirs & F0 empty",
    }
    assert str(symmetric(sq.C0.via("SE", 1))["half-turn"]) == "legal F7 via NW x1"


def test_effects_move_along():
    claim = parse_claim("A4 played => B4, C4 theirs, +A0, -L1N421")
    assert str(symmetric(claim)["half-turn"]) == "H3 played ⇒ G3 theirs, F3 theirs, +H7, -L1N421"
    assert translate(claim, 1, -2) is None  # A0 has nowhere to go
    assert str(translate(claim, 1, 2)) == "B6 played ⇒ C6 theirs, D6 theirs, +B2, -L1N421"


# ---- translations ------------------------------------------------------------------------------------------


@given(rule=rules(anywhere=True, leaves=3), down=st.integers(-7, 7), right=st.integers(-7, 7))
def test_translating_back_and_in_two_steps(rule, down, right):
    moved = translate(rule, down, right)
    assert translate(rule, 0, 0) == rule
    if moved is None:
        return
    assert translate(moved, -down, -right) == rule
    # A pattern may come to a centre square on the way, where nobody plays.
    half = translate(rule, down, 0)
    assert half is None or translate(half, 0, right) == moved


def test_translations_are_all_places_that_fit():
    found = translations(RULE)
    assert len(found) == 6 * 6 - 1  # a 3 by 3 shape has 36 places
    assert str(found[3, 1]) == "F1 empty & G2 theirs & H3 mine" and (0, 0) not in found and (-3, 0) not in found
    assert translate(RULE, -3, 0) is None and translate(RULE, 0, -1) is None
    assert translations(black_to_move) == {}
    # Nobody plays on the four centre squares.
    assert len(translations(sq.C0.via("SE", 1))) == 36 - 1 - 4


@given(claim=claims(), down=st.integers(-3, 3), right=st.integers(-3, 3))
def test_claims_translate_as_their_rules_do(claim, down, right):
    moved = translate(claim, down, right)
    if moved is not None:
        assert moved.rule == translate(claim.rule, down, right) and translate(moved, -down, -right) == claim
        assert [effect.kind for effect in moved.effects] == [effect.kind for effect in claim.effects]


# ---- colours -----------------------------------------------------------------------------------------------


def test_a_swap():
    assert str(swap(RULE)) == "C0 empty & D1 mine & E2 theirs"
    assert str(swap(sq.C0.via("SE", 2))) == "C0 empty & D1 mine & E2 mine & F3 theirs"
    assert str(swap(parse_rule("mine >= 3 & C0 black & black to move"))) == "C0 black & black to move & theirs >= 3"
    assert str(swap(parse_claim("C0 empty => C0 mine, -D1 theirs, +E0"))) == "C0 empty ⇒ C0 theirs, -D1 mine, +E0"


@settings(max_examples=60)
@given(rule=rules(leaves=4))
def test_swapping_twice_says_the_same(packed, rule):
    assert torch.equal(packed.evaluate(swap(swap(rule))), packed.evaluate(rule))


@settings(max_examples=60)
@given(rule=rules(leaves=4))
def test_a_swapped_rule_is_the_rule_as_the_other_side_sees_it(packed, rule):
    """Black and white forms of a rule: as its mover, or as the other side, sees it."""
    if any(atom.back and (isinstance(atom, Line) or getattr(atom, "name", "") == "legal") for atom in rule.atoms):
        return  # "legal" earlier is of the side that moved then
    for black in (True, False):
        moves = packed.holds(ToMove(black))
        assert torch.equal(packed.holds(absolute(rule, black))[moves], packed.holds(rule)[moves])
        assert torch.equal(packed.holds(absolute(rule, not black))[moves], packed.holds(swap(rule))[moves])


def test_what_black_and_white_see():
    assert str(absolute(RULE)) == "C0 empty & D1 white & E2 black"
    assert str(absolute(RULE, black=False)) == "C0 empty & D1 black & E2 white"
    for black in (True, False):
        assert relative(absolute(RULE, black), black) == RULE
        assert relative(absolute(RULE, black), not black) == swap(RULE)
    assert equivalent(absolute(sq.C0.mine) & black_to_move, sq.C0.mine & black_to_move)
    assert equivalent(absolute(sq.C0.mine) & white_to_move, sq.C0.theirs & white_to_move)
    assert absolute(Count("mine", 3)) == (black_to_move & Count("mine", 3)) | (white_to_move & Count("theirs", 3))
    assert absolute(sq.C0.empty & sq.A4.played) == sq.C0.empty & sq.A4.played


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("C0 empty & D1 theirs", True),
        ("C0 black", True),
        ("legal C0 via SE x1", True),
        ("C0 legal", True),
        ("mine >= 20", True),
        ("C0 empty & A4 played & ply >= 3 & black to move", False),
        ("true", False),
    ],
)
def test_which_rules_have_colours(text, has):
    assert has_colours(parse_rule(text)) == has
