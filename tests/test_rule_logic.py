"""What follows by logic and the game's laws: never wrong about a real game, and right about what is obvious."""

import random
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_strategies import SQUARES, atoms, rules

from circuits.notation import LABELS
from circuits.othello import random_games, replay
from circuits.rules import FALSE, TRUE, Rule, conjunction, passed
from circuits.rules.bits import Packed
from circuits.rules.logic import equivalent, implies, in_words, satisfiable, simplify, why_always, why_never
from circuits.rules.text import parse_rule

# beartype picks the item of a tuple that it checks at random
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")


@pytest.fixture(scope="module")
def packed():
    """The valid positions of 100 games without a forced pass and 100 with one."""
    tokens = random_games(1500, seed=9)
    with_pass = replay(tokens).passed.any(1)
    return Packed(replay(torch.cat([tokens[with_pass][:100], tokens[~with_pass][:100]])))


# ---- sound -------------------------------------------------------------------------------------------------


@settings(max_examples=120)
@given(parts=st.lists(atoms(), min_size=1, max_size=12), seed=st.integers(0, 10**6))
def test_what_is_so_somewhere_is_satisfiable(packed, parts, seed):
    """A position is drawn (often one after a pass), and of each atom what is true there is said."""
    rng = random.Random(seed)
    after_pass = packed.holds(passed).nonzero().flatten().tolist()
    position = rng.choice(after_pass) if rng.random() < 0.4 else rng.randrange(packed.n)
    said = conjunction(part if packed.holds(part)[position] else ~part for part in parts)
    assert packed.holds(said)[position]
    assert satisfiable(said)
    assert why_never(said) is None


@settings(max_examples=60)
@given(rule=rules(leaves=6))
def test_a_rule_called_impossible_never_holds_and_one_called_certain_never_fails(packed, rule):
    if not satisfiable(rule):
        assert packed.count(rule) == 0
    assert (why_never(rule) is None) == satisfiable(rule)
    if why_always(rule) is not None:
        assert packed.count(rule) == packed.n
    for said in (why_never(rule), why_always(rule)):
        assert said is None or ("\n" not in said and len(said) > 10)


@settings(max_examples=50)
@given(a=rules(leaves=4), b=rules(leaves=4))
def test_implications_hold_in_games(packed, a, b):
    if implies(a, b):
        assert packed.count(a & ~b) == 0
    assert implies(a & b, a) and implies(a, a | b)
    if equivalent(a, b):
        assert torch.equal(packed.evaluate(a), packed.evaluate(b))


@settings(max_examples=60)
@given(rule=rules(leaves=6))
def test_simplifying_changes_nothing_and_is_done_once(packed, rule):
    simple = simplify(rule)
    assert torch.equal(packed.evaluate(simple), packed.evaluate(rule))
    assert simplify(simple) == simple
    assert parse_rule(str(simple)) == simple


def test_gives_up_in_time():
    """Colouring-like formulas over many squares: an answer within a second, and never a wrong "never"."""
    rng = random.Random(0)
    parts = []
    for _ in range(60):
        one, other = rng.sample(LABELS, 2)
        states = [rng.choice(["empty", "mine", "theirs", "black", "played @-1"]) for _ in "ab"]
        parts.append(parse_rule(f"{one} {states[0]} | {other} {states[1]}"))
    rule = conjunction(parts)
    start = time.perf_counter()
    satisfiable(rule)
    assert time.perf_counter() - start < 3


# ---- the obvious -------------------------------------------------------------------------------------------

NEVER = [
    "C0 empty & C0 mine",
    "C0 mine & C0 theirs",
    "C0 occupied & C0 empty",
    "!C0 empty & !C0 mine & !C0 theirs",
    "E3 empty",
    "D4 played",
    "D3 legal",
    "A0 flipped",
    "C0 played & C0 empty",
    "C0 played & C0 flipped",
    "C0 played & C1 played",
    "C0 played & C0 mine & !passed",
    "C0 played & C0 theirs & passed",
    "C2 flipped & C2 mine & !passed",
    "C0 legal & C0 theirs",
    "legal C0 via SE x1 & D1 mine",
    "legal C0 via SE x1 & !C0 legal",
    "legal C0 via SE x1 & legal C0 via SE x2",
    "C0 empty & D1 theirs & E2 mine & !legal C0 via SE x1",
    "C0 empty & D1 theirs & E2 mine & !C0 legal",
    "A0 legal & A1 empty & B0 empty & B1 empty",
    "C0 black & C0 white",
    "C0 black & C0 empty",
    "C0 mine & C0 white & black to move",
    "C0 mine & C0 black & C1 theirs & C1 black",
    "black to move & white to move",
    "black to move & black to move @-1 & !passed",
    "black to move & white to move @-1 & passed",
    "C0 occupied @-3 & C0 empty",
    "C0 empty @-1 & C0 occupied & !C0 played",
    "C0 empty @-2 & C0 occupied & C1 empty @-2 & C1 occupied & C2 empty @-2 & C2 occupied",
    "C2 mine @-1 & C2 theirs & !C2 flipped",
    "C2 mine @-1 & C2 mine & C2 flipped",
    "C0 played & !C0 legal @-1 & ply >= 1",
    "C0 played & C0 played @-4",
    "C0 empty @-5 & ply <= 4",
    "ply >= 59",
    "ply <= 5 & ply >= 7",
    "ply = 6 & occupied = 10",
    "ply <= 20 & mine >= 30",
    "mine = 5 & theirs = 5 & ply >= 10",
    "flips = 0",
    "flips = 1 & C2 flipped & C3 flipped",
    "moves = 0",
    "moves = 1 & C0 legal & C1 legal",
    "(C0 mine | C0 theirs) & (C0 empty | E3 empty)",
]
MAY = [
    "C0 empty & D1 theirs & E2 mine",
    "C0 played & C0 mine",
    "black to move & black to move @-1",
    "!C0 empty @-1 & !C0 occupied @-1",  # at ply 0 there is no ply before
    "C0 played & !C0 legal @-1",
    "C2 mine @-1 & C2 theirs",
    "ply = 6 & occupied = 11",
    "ply = 58 & moves = 1",
    "C0 mine & C0 black & C1 mine & C1 black",
    "legal C0 via SE x1 & legal C0 via E x2",
]


@pytest.mark.parametrize("text", NEVER)
def test_what_can_never_be(packed, text):
    rule = parse_rule(text)
    assert not satisfiable(rule) and packed.count(rule) == 0
    assert simplify(rule) == FALSE and simplify(~rule) == TRUE
    assert why_never(rule) and why_always(~rule) and why_always(rule) is None


@pytest.mark.parametrize("text", MAY)
def test_what_may_be(text):
    rule = parse_rule(text)
    assert satisfiable(rule) and why_never(rule) is None and why_always(rule) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("D1 mine & C0 empty & C0 mine", "C0 empty & C0 mine can never both hold"),
        ("C0 empty & D1 theirs & E2 mine & !C0 legal & A0 mine", "C0 empty & !C0 legal & D1 theirs & E2 mine can"),
        ("C0 mine & E3 empty", "E3 empty never holds: E3 is a centre square, which is never empty"),
        ("E3 played", "a centre square, where nobody ever plays"),
        ("H7 flipped", "H7 is a corner"),
        ("ply >= 59", "the ply is 0 to 58"),
        ("flips = 0", "discs turned by the last move number 1 to"),
        ("E3 empty | A0 flipped", "none of its 2 alternatives"),
        ("false", "never holds"),
    ],
)  # fmt: skip
def test_why_never(text, said):
    assert said in why_never(parse_rule(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("E3 occupied", "E3 occupied always holds: E3 is a centre square"),
        ("C0 empty | C0 occupied | D1 mine", "one of C0 empty, C0 occupied always holds"),
        ("flips >= 1", "always holds"),
        ("true", "always holds"),
    ],
)
def test_why_always(text, said):
    assert said in why_always(parse_rule(text))


@pytest.mark.parametrize(
    ("text", "simple"),
    [
        ("C0 mine | C0 theirs", "C0 occupied"),
        ("!(ply >= 20)", "ply <= 19"),
        ("!C0 empty", "C0 occupied"),
        ("!C0 mine & !C0 empty", "C0 theirs"),
        ("!C0 mine & !C0 theirs", "C0 empty"),
        ("!black to move", "white to move"),
        ("C0 empty & C0 legal", "C0 legal"),
        ("C0 empty & D1 theirs & E2 mine & legal C0 via SE x1", "legal C0 via SE x1"),
        ("C0 empty & (C0 mine | D1 theirs)", "C0 empty & D1 theirs"),
        ("C0 empty | (C0 occupied & D1 mine)", "C0 empty | D1 mine"),
        ("(C0 mine & D0 mine) | (C0 mine & D0 theirs)", "C0 mine & D0 occupied"),
        ("C0 mine | (C0 mine & D0 theirs)", "C0 mine"),
        ("C0 mine & (C0 mine | D0 theirs)", "C0 mine"),
        ("ply >= 10 & ply <= 20", "ply 10..20"),
        ("ply <= 10 | ply 11..20", "ply <= 20"),
        ("ply >= 5 & ply >= 8", "ply >= 8"),
        ("ply >= 7 & occupied >= 12", "ply >= 7"),
        ("ply <= 3 | ply >= 5", "!ply = 4"),
        ("flips >= 1 & C0 mine", "C0 mine"),
        ("E3 occupied & C0 mine", "C0 mine"),
        ("C0 played & C0 occupied & C0 theirs & !passed", "C0 played & !passed"),
        ("C0 mine & C0 black & black to move", "C0 black & black to move"),
        ("C0 mine @-1 | C0 theirs @-1", "C0 occupied @-1"),
        ("!C0 empty @-1", "!C0 empty @-1"),  # not "occupied": at ply 0 neither holds
        ("C0 empty @-1 | C0 occupied @-1", "ply >= 1"),
        ("!(C0 mine & !D1 mine)", "!C0 mine | D1 mine"),
        ("legal C0 via SE x1 | C0 legal", "C0 legal"),
    ],
)
def test_simpler_forms(text, simple):
    assert str(simplify(parse_rule(text))) == simple


def test_rules_of_the_seed_studies_are_as_simple_as_they_can_be():
    for text in ("C0 empty & D1 theirs & E2 mine", "A4 played & B4 occupied & C4 occupied"):
        rule = parse_rule(text)
        assert simplify(rule) == rule
        for part in rule.rules:
            assert not implies(conjunction(other for other in rule.rules if other != part), part)


def test_logic_is_fast_on_ordinary_rules():
    rule = parse_rule("C0 empty & D1 theirs & (E2 mine | F3 mine) & !A0 occupied & ply >= 20")
    times = []
    for _ in range(5):
        start = time.perf_counter()
        simplify(rule)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5  # a few milliseconds, and many times that with every call checked


# ---- words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("C0 empty & D1 theirs & E2 mine", "C0 is empty, D1 is theirs and E2 is mine"),
        ("A4 played", "A4 was just played"),
        ("B4 occupied @-1", "B4 was occupied one ply ago"),
        ("A4 played & B4 occupied & C4 occupied", "A4 was just played and B4 and C4 are occupied"),
        ("C3 played @-2", "C3 had just been played 2 plies ago"),
        ("flips >= 3", "at least 3 discs were flipped"),
        ("flips = 1", "exactly 1 disc was flipped"),
        ("!flips >= 3", "at most 2 discs were flipped"),
        ("moves <= 4", "there are at most 4 legal moves"),
        ("theirs 3..10", "between 3 and 10 discs are theirs"),
        ("ply = 20", "the ply is 20"),
        ("legal C0 via SE x2", "a move at C0 flanks D1 and E2 up to F3"),
        ("!legal C0 via SE x1", "a move at C0 does not flank D1 up to E2"),
        ("!black to move", "white is to move"),
        ("!passed", "nobody has just passed"),
        ("C0 empty & (E2 mine | F3 theirs)", "C0 is empty and either E2 is mine or F3 is theirs"),
        ("(C0 empty & D1 mine) | E2 theirs", "E2 is theirs, or C0 is empty and D1 is mine"),
        ("!(C0 empty & D1 mine)", "C0 is not empty or D1 is not mine"),
        ("C0 legal & D0 legal", "C0 and D0 are legal moves"),
        ("false", "never"),
    ],
)
def test_rules_in_words(text, words):
    assert in_words(parse_rule(text)) == words


@given(rule=rules())
def test_every_rule_has_words_and_they_name_its_squares(rule: Rule):
    words = in_words(rule)
    assert words and words.isprintable()
    named = {LABELS[s] for s in SQUARES if any(getattr(atom, "square", None) == s for atom in rule.atoms)}
    assert all(name in words for name in named)
