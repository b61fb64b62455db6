"""Rules as text: every way to say a thing, printing and reading back, and errors that name the column."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rule_strategies import claims, effects, rules

from circuits.errors import InputError
from circuits.rules import (
    FALSE,
    TRUE,
    Claim,
    Effect,
    black_to_move,
    flips,
    mine,
    occupied,
    passed,
    ply,
    sq,
    white_to_move,
)
from circuits.rules.text import LONGEST, RuleSyntaxError, parse_claim, parse_effects, parse_rule

# beartype picks the item of a tuple that it checks at random
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")

SAID = {
    "C0 empty & D1 theirs & (E2 mine | F3 mine) & !A0 occupied & ply >= 20": sq.C0.empty
    & sq.D1.theirs
    & (sq.E2.mine | sq.F3.mine)
    & ~sq.A0.occupied
    & (ply >= 20),
    "played A4": sq.A4.played,
    "A4 played": sq.A4.played,
    "A4 was just played": sq.A4.played,
    "just flipped b3": sq.B3.flipped,
    "C0 is empty": sq.C0.empty,
    "legal C0": sq.C0.legal,
    "c0 LEGAL": sq.C0.legal,
    "mine C0": sq.C0.mine,
    "B4 occupied @-1": sq.B4.occupied @ -1,
    "B4 occupied @ - 12": sq.B4.occupied @ -12,
    "B4 black": sq.B4.black,
    "black to move": black_to_move,
    "White  to\n move @-2": white_to_move @ -2,
    "legal C0 via SE x1": sq.C0.via("SE", 1),
    "Legal c0 VIA se X1 @-3": sq.C0.via("SE", 1) @ -3,
    "flips >= 3": flips >= 3,
    "flips = 3": flips == 3,
    "flips == 3": flips == 3,
    "flips > 2": flips >= 3,
    "flips != 3": ~(flips == 3),
    "flips ≥ 3": flips >= 3,
    "mine < 5": mine <= 4,
    "ply in 10..20": ply.between(10, 20),
    "ply 10..20": ply.between(10, 20),
    "10 <= ply <= 20": ply.between(10, 20),
    "20 > ply >= 10 @-1": ply.between(10, 19) @ -1,
    "3 <= flips": flips >= 3,
    "occupied 9..20": occupied.between(9, 20),
    "passed": passed,
    "true": TRUE,
    "not true": FALSE,
    "not C0 empty and D1 mine or passed": (~sq.C0.empty & sq.D1.mine) | passed,
    "¬C0 empty ∧ ~D1 mine ∨ passed": (~sq.C0.empty & ~sq.D1.mine) | passed,
    "!!C0 empty && (D1 mine || passed)": sq.C0.empty & (sq.D1.mine | passed),
    "!(C0 empty & D1 mine)": ~(sq.C0.empty & sq.D1.mine),
    "(((C0 empty)))": sq.C0.empty,
    "C0 empty @0": sq.C0.empty,
    "(" * 100 + "C0 empty" + ")" * 100: sq.C0.empty,
}


@pytest.mark.parametrize("text", SAID)
def test_ways_to_say_a_rule(text):
    assert parse_rule(text) == SAID[text]
    assert parse_claim(text) == Claim(SAID[text])


@pytest.mark.parametrize("arrow", ["⇒", "=>", "->", "→"])
def test_what_is_written_after_an_arrow(arrow):
    said = f"A4 played & B4 occupied {arrow} B4, C4, D4 become theirs, +C0, -L1N421"
    three = [sq.B4.theirs, sq.C4.theirs, sq.D4.theirs]
    assert parse_claim(said) == (sq.A4.played & sq.B4.occupied) >> [*three, +sq.C0, "-L1N421"]


def test_ways_to_say_effects():
    b4 = Effect("reading", 1, 12, "theirs")
    assert parse_effects("B4 theirs") == parse_effects("+b4 is theirs") == parse_effects("B4 becomes theirs") == (b4,)
    assert parse_effects("-B4 theirs") == (Effect("reading", -1, 12, "theirs"),)
    assert parse_effects("+C0 & -C1 and +l2h5") == (+sq.C0, -sq.C1, Effect("unit", 1, name="L2H5"))
    assert parse_effects("-B4 mine, C0, C1 empty, B4 theirs, B4 theirs") == (
        Effect("reading", -1, 12, "mine"),
        Effect("reading", 1, 16, "empty"),
        Effect("reading", 1, 17, "empty"),
        b4,
    )


@settings(max_examples=200)
@given(rule=rules(anywhere=True, leaves=20))
def test_what_is_printed_reads_back(rule):
    assert parse_rule(str(rule)) == rule
    assert parse_rule(str(rule).upper()) == rule and parse_rule(f"  ( {str(rule).lower()} )\n") == rule


@given(claim=claims())
def test_claims_read_back(claim):
    assert parse_claim(str(claim)) == claim


@given(several=st.lists(effects(), min_size=1, unique=True))
def test_effects_read_back(several):
    assert parse_effects(", ".join(map(str, several))) == tuple(several)


# ---- errors ------------------------------------------------------------------------------------------------

WRONG = [
    ("flips > 3.", 9, "'3.' is no whole number"),
    ("C0 empty & D1 thiers", 15, "'thiers' is no fact on a square: empty, mine, theirs", "did you mean 'theirs'?"),
    ("C0 empty & D1", 14, "what of the square?"),
    ("", 1, "the text is empty", "C0 empty"),
    (" \n ", 1, "the text is empty"),
    ("C0 empty &", 11, "expected a fact", "found the end"),
    ("C0 empty & & D1 mine", 12, "expected a fact", "found '&'"),
    ("C0 empty D1 mine", 10, "expected '&', '|' or the end", "found 'D1'"),
    ("C0 empty xor D1 mine", 10, "'xor'", "did you mean 'or'?"),
    ("C0 empty, D1 mine", 9, "found ','"),
    ("(C0 empty", 10, "expected ')' for the bracket opened at column 1"),
    ("((C0 empty) & (D1 mine)", 24, "opened at column 1"),
    ("C0 empty)", 9, "no '(' before it"),
    ("A8 empty", 1, "standard notation", "H0"),
    ("C0 empty & B8 mine", 12, "standard notation"),
    ("I3 empty", 1, "no square of an 8x8 board"),
    ("C12 empty", 1, "no square"),
    ("C0 empty => B4 theirs", 10, "'=>' begins what the unit writes"),
    ("legal C0 via", 13, "expected a direction"),
    ("legal C0 via SX x1", 14, "expected a direction: N, NE"),
    ("legal C0 via SE 3", 17, "x1 to x6"),
    ("legal C0 via NW x1", 1, "none of the 960 patterns"),
    ("C1 mine & legal D4 via N x1", 11, "none of the 960 patterns"),
    ("ply", 4, "a comparison such as '>= 3'"),
    ("ply >=", 7, "expected a number"),
    ("ply >= 99", 8, "99 is more than anything counted"),
    ("ply >= " + "9" * 5000, 8, "more than anything counted"),
    ("flips < 0", 9, "nothing counted is < 0"),
    ("flips > 64", 9, "nothing counted is > 64"),
    ("10 <= ply >= 3", 11, "10 <= ply <= 20"),
    ("ply 10", 7, "'..' and a number"),
    ("10", 3, "a comparison"),
    ("10 <= C0", 7, "something counted: ply, flips"),
    ("B4 occupied @1", 14, "one ply ago is @-1"),
    ("B4 occupied @", 14, "how many plies earlier, as in @-1"),
    ("B4 occupied @-99", 14, "at most @-58"),
    ("true @-1", 7, "the same at every ply"),
    ("blck to move", 1, "did you mean 'black'?"),
    ("black to", 7, "'to move'"),
    ("plyed A4", 1, "did you mean 'played'?"),
    ("C0 just empty", 9, "'played' or 'flipped'"),
    ("mine", 5, "a comparison such as '>= 3', or a square"),
    ("legal", 6, "a square such as C0"),
    ("L1N421", 1, "expected a fact"),
    ("C0 empty & paſſed", 12, "'paſſed'"),
    ("C0\nempty & \x00", 12, "'\\x00'"),
    ("C0 empty & \ud800", 12, "'\\ud800'"),
    # bounds
    ("ply 20..10", 5, "the wrong way round: write ply 10..20"),
    ("C0 empty & flips in 9..3 @-1", 21, "the wrong way round: write flips 3..9"),
    ("20 <= ply <= 10", 1, "nothing counted is >= 20 and <= 10", "10 <= ply <= 20"),
    ("10 < ply < 11", 1, "nothing counted is > 10 and < 11"),
    ("10 >= ply >= 20", 1, "nothing counted is <= 10 and >= 20"),
    ("ply >= 2.5", 8, "'2.5' is no whole number"),
    # Python
    ("sq.C0.empty", 1, "'sq.C0.empty' is Python; in text: C0 empty"),
    ("D1 mine & (sq.c0.EMPTY | passed)", 12, "in text: C0 empty"),
    ("C0.legal & D1 mine", 1, "'C0.legal' is Python; in text: C0 legal"),
    ("sq.C0", 1, "'sq.C0' is Python"),
    ("sq.A8.empty", 1, "'sq' is Python; in text: C0 empty"),
    ('D1 mine & sq.C0.via("SE", 1)', 11, "in text: legal C0 via SE x1"),
    ("D1 mine & ply.between(10, 20)", 11, "in text: ply 10..20"),
    ("black_to_move", 1, "in text: black to move"),
    ("C0 empty >> B4 theirs", 10, "in text: =>"),
    # English
    ("C0 is not empty", 7, "'!' goes before the square: !C0 empty"),
    ("D1 mine & c0 NOT Theirs", 14, "!C0 theirs"),
    ("A4 was not just played", 8, "!A4 played"),
    ("C0 isn't legal", 4, "!C0 legal"),
    ("C0 not", 4, "!C0 empty"),
    ("just A4 played", 6, "'just' goes behind the square: A4 just played"),
    ("C0 empty & just a4", 17, "A4 just played"),
    ("(A0 mine & B0 mine) @-1", 21, "'@' goes behind each fact", "@-1 & D1 mine @-1"),
    ("!(A0 mine) @-1 & passed", 12, "'@' goes behind each fact"),
    # the whole text
    ("(" * 5000, 101, "more than 100 brackets"),
    ("C0 empty | " * 10_000, LONGEST + 1, "at most 20,000 characters"),
]


@pytest.mark.parametrize(("text", "column", "said"), [(text, column, said) for text, column, *said in WRONG])
def test_errors_name_the_column_and_what_was_expected(text, column, said):
    with pytest.raises(RuleSyntaxError) as error:
        parse_rule(text)
    message = str(error.value)
    assert error.value.column == column and message.startswith(f"column {column}: ")
    assert all(words in message for words in said) and len(message) < 250 and message.isprintable()


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("C0 empty =>", 12, "something that a unit writes"),
        ("C0 empty => B4", 15, "empty, mine or theirs"),
        ("C0 empty => B4, C4", 19, "empty, mine or theirs"),
        ("C0 empty => B4 occupied", 16, "empty, mine or theirs"),
        ("C0 empty => B4 thiers", 16, "did you mean 'theirs'?"),
        ("C0 empty => L1N421", 13, "needs a sign: +L1N421 or -L1N421"),
        ("C0 empty => +E3", 14, "centre square"),
        ("C0 empty => D1 mine, E3 empty", 22, "never empty"),
        ("C0 empty => B8 mine", 13, "standard notation"),
        ("C0 empty => +", 14, "a square or a unit"),
        ("C0 empty => !B4 theirs", 13, "something that a unit writes"),
        ("C0 empty => +C0 => +C1", 17, "found '=>'"),
        ("C0 empty >> B4 theirs", 10, "in text: =>"),
        ("C0 empty => sq.B4.theirs", 13, "in text: B4 theirs"),
        ("C0 empty => B4 not theirs", 16, "-B4 theirs"),
        ("C0 => +C0", 4, "'=>' is no fact on a square"),
        ("=> +C0", 1, "expected a fact"),
    ],
)
def test_errors_in_claims(text, column, said):
    with pytest.raises(RuleSyntaxError) as error:
        parse_claim(text)
    assert error.value.column == column and said in str(error.value)


def only_its_own_error(text):
    for parse in (parse_rule, parse_claim, parse_effects):
        try:
            parse(text)
        except RuleSyntaxError as error:
            assert isinstance(error, InputError) and "\n" not in str(error) and len(str(error)) < 300
            assert 1 <= error.column <= len(text) + 1 and str(error.column) in str(error)


@settings(max_examples=200)
@given(text=st.text())
@example("İ empty")
@example("C０ empty")  # a full-width digit
@example("K4 empty ſ")
def test_any_text_raises_only_the_languages_own_error(text):
    only_its_own_error(text)


_PIECES = st.sampled_from(
    [*"()&|!@,+-=<>^.#\t", "C0", "A8", "empty", "mine", "played", "legal", "via", "SE", "x1", "ply", ">=", "20", "..",
     "=>", "⇒", "and", "not", "black", "to move", "L1N421", "become", "just", "passed", "true", "@-1", "é", "\x00",
     "sq.C0.empty", "sq.", ".between(1, 2)", ">>", "is not", "isn't"]
)  # fmt: skip


@settings(max_examples=300)
@given(pieces=st.lists(_PIECES, max_size=14), gap=st.sampled_from(["", " "]))
def test_words_of_the_language_in_any_order_raise_only_its_own_error(pieces, gap):
    only_its_own_error(gap.join(pieces))


@settings(max_examples=200)
@given(claim=claims(), data=st.data())
def test_damaged_claims_raise_only_the_languages_own_error(claim, data):
    text = str(claim)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 3))
        text = text[:at] + data.draw(st.one_of(st.just(""), st.text(max_size=2), _PIECES)) + text[at + cut :]
    only_its_own_error(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000,
        "(" * 5000 + "C0 empty" + ")" * 5000,
        "!" * 100_000,
        "!" * 19_000 + "C0 empty",
        "!(C0 empty & " * 1500,
        "C0 empty & " * 1800 + "D1 mine",
        "x" * 100_000,
        "🂡" * 100_000,
        "((((" + "C0 empty | D1 mine & " * 900,
    ],
)
def test_long_texts_are_answered_at_once(text):
    start = time.perf_counter()
    only_its_own_error(text)
    assert time.perf_counter() - start < 5


def test_many_negations_cancel():
    assert parse_rule("!" * 10_001 + "C0 empty") == ~sq.C0.empty
