"""Random rules and claims for property tests; few squares and plies, so that their atoms meet."""

from hypothesis import strategies as st

from circuits.features import LITERALS, PATTERNS
from circuits.notation import CENTRE
from circuits.rules import (
    COUNTS,
    FALSE,
    TRUE,
    Claim,
    Count,
    Effect,
    Line,
    Literal,
    Passed,
    Rule,
    ToMove,
    conjunction,
    disjunction,
)

#: around a corner and the centre: C0 to C3, D1 to D3, E2, E3, A0
SQUARES = (0, 16, 17, 18, 19, 25, 26, 27, 34, 35)
_AROUND = {*SQUARES, 36, 45}
_HERE = tuple(pattern for pattern in PATTERNS if pattern.square in SQUARES and _AROUND.issuperset(pattern.squares()))


def backs(most: int = 3) -> st.SearchStrategy[int]:
    return st.one_of(st.just(0), st.integers(0, most))


def literals(squares: tuple[int, ...] = SQUARES, most: int = 3) -> st.SearchStrategy[Literal]:
    return st.builds(Literal, st.sampled_from(squares), st.sampled_from(LITERALS), backs(most))


def counts(most: int = 3) -> st.SearchStrategy[Count]:
    bounds = st.tuples(st.integers(0, 64), st.integers(0, 64)).map(sorted)
    return st.builds(
        lambda what, ends, back: Count(what, *ends, back), st.sampled_from(tuple(COUNTS)), bounds, backs(most)
    )


def atoms(anywhere: bool = False) -> st.SearchStrategy[Rule]:
    squares, most = (tuple(range(64)), 58) if anywhere else (SQUARES, 3)
    return st.one_of(
        literals(squares, most),
        literals(squares, most),  # twice: most atoms are on squares
        st.builds(Line, st.sampled_from(PATTERNS if anywhere else _HERE), backs(most)),
        counts(most),
        st.builds(ToMove, st.booleans(), backs(most)),
        st.builds(Passed, backs(most)),
    )


def rules(anywhere: bool = False, leaves: int = 8) -> st.SearchStrategy[Rule]:
    def join(inner: st.SearchStrategy[Rule]) -> st.SearchStrategy[Rule]:
        several = st.lists(inner, min_size=2, max_size=4)
        return st.one_of(inner.map(lambda rule: ~rule), several.map(conjunction), several.map(disjunction))

    return st.one_of(st.sampled_from([TRUE, FALSE]), st.recursive(atoms(anywhere), join, max_leaves=leaves))


_PLAYABLE = st.integers(0, 63).filter(lambda square: square not in CENTRE)
_SIGNS = st.sampled_from([1, -1])


def effects() -> st.SearchStrategy[Effect]:
    units = st.builds("L{}{}{}".format, st.integers(0, 40), st.sampled_from("NH"), st.integers(0, 5000))
    return st.one_of(
        st.builds(Effect, st.just("logit"), _SIGNS, _PLAYABLE),
        st.builds(Effect, st.just("reading"), _SIGNS, _PLAYABLE, st.sampled_from(["empty", "mine", "theirs"])),
        st.builds(Effect, st.just("unit"), _SIGNS, st.none(), units),
    )


def claims() -> st.SearchStrategy[Claim]:
    return st.builds(Claim, rules(anywhere=True), st.lists(effects(), max_size=5, unique=True).map(tuple))
