"""Shorter rules that say the same.

1. Negations go inward to the atoms ("not (a and b)" is "not a or not b"), and into them where another atom says the
   opposite: "not empty" is "occupied", "not ply >= 20" is "ply <= 19".
2. Side by side, facts on one square become one fact ("mine or theirs" is "occupied"), bounds of one count one range,
   and what all parts share is said once.
3. Each atom is tried as "always" and as "never" where it stands: it is dropped if the rule stays equivalent by logic
   (`circuits.rules.logic`), and these three steps begin again.
"""

from collections.abc import Callable, Iterator

from circuits.notation import N_CTX
from circuits.rules.atoms import MOST, Count, Literal, ToMove
from circuits.rules.formulas import FALSE, TRUE, And, Constant, Not, Or, Rule, conjunction, disjunction
from circuits.rules.position import MOST_FLIPS

#: formulas with more atoms than this only go through the first two steps
_MOST_TRIED = 40
#: the states of a square, and the literals that stand for more or fewer of them
_STATES = frozenset({"empty", "mine", "theirs"})
_MEANING = {**{name: frozenset({name}) for name in _STATES}, "occupied": frozenset({"mine", "theirs"})}
_NAMED = {meaning: name for name, meaning in _MEANING.items()}
#: bounds that every position keeps
NATURAL = {
    "ply": (0, N_CTX - 1),
    "occupied": (5, N_CTX + 4),
    "flips": (1, MOST_FLIPS),
    "moves": (1, 60),
    "mine": (1, 62),
    "theirs": (1, 62),
}


def outward(rule: Rule) -> Rule:
    """The same rule with negations at its atoms alone."""
    return _nnf(rule, True)


def _nnf(rule: Rule, holds: bool) -> Rule:
    if isinstance(rule, Not):
        return _nnf(rule.rule, not holds)
    if isinstance(rule, And | Or):
        join = conjunction if isinstance(rule, And) == holds else disjunction
        return join(_nnf(part, holds) for part in rule.rules)
    return rule if holds else ~rule


def simplify_by(rule: Rule, satisfiable: Callable[[Rule], bool]) -> Rule:
    """The steps above, with "is it satisfiable?" to judge by."""
    rule = _merged(outward(rule))
    while True:
        shorter = _shorter(rule, satisfiable)
        if shorter is None:
            return rule
        rule = _merged(shorter)


def _shorter(rule: Rule, satisfiable: Callable[[Rule], bool]) -> Rule | None:
    """The rule with one literal dropped, or None where each is needed."""
    if isinstance(rule, Constant):
        return None
    if not satisfiable(rule):
        return FALSE
    if not satisfiable(outward(~rule)):
        return TRUE
    places = sorted(_literals(rule), key=lambda place: _worth(place[0]))
    if len(places) > _MOST_TRIED:
        return None
    for _, path in places:
        # With negations at the atoms a formula can only grow when one of its literals becomes "always".
        wider = _put(rule, path, TRUE)
        if wider != TRUE and not satisfiable(wider & outward(~rule)):
            return wider
        narrower = _put(rule, path, FALSE)
        if narrower != FALSE and not satisfiable(rule & outward(~narrower)):
            return narrower
    return None


def _worth(literal: Rule) -> tuple:
    """What is dropped first where either of two would do."""
    atom = literal.rule if isinstance(literal, Not) else literal
    return (not (isinstance(atom, Count) and atom.what == "occupied"), atom.key)


def _literals(rule: Rule, path: tuple[int, ...] = ()) -> Iterator[tuple[Rule, tuple[int, ...]]]:
    if isinstance(rule, And | Or):
        for i, part in enumerate(rule.rules):
            yield from _literals(part, (*path, i))
    else:
        yield rule, path


def _put(rule: Rule, path: tuple[int, ...], new: Rule) -> Rule:
    if not path:
        return new
    parts = list(rule.rules)
    parts[path[0]] = _put(parts[path[0]], path[1:], new)
    return conjunction(parts) if isinstance(rule, And) else disjunction(parts)


# ---- side by side ------------------------------------------------------------------------------------------


def _merged(rule: Rule) -> Rule:
    """Facts on one square, and bounds of one count, as one; "not" into atoms; until nothing changes."""
    while (merged := _merge(rule)) != rule:
        rule = merged
    return rule


def _merge(rule: Rule) -> Rule:
    if isinstance(rule, Or):
        return _merge_or(disjunction(map(_merge, rule.rules)))
    if not isinstance(rule, And):
        return _merge_or(rule)
    # "a and b" is "not (not a or not b)"
    rule = _nnf(_merge_or(_nnf(conjunction(map(_merge, rule.rules)), False)), False)
    parts = rule.rules if isinstance(rule, And) else (rule,)
    return conjunction(part if isinstance(part, Or) else _merge_or(part) for part in parts)


def _merge_or(rule: Rule) -> Rule:
    if isinstance(rule, Or):
        parts = [set(part.rules) if isinstance(part, And) else {part} for part in rule.rules]
        if shared := set.intersection(*parts):
            return conjunction([*shared, disjunction(conjunction(part - shared) for part in parts)])
    kept: list[Rule] = []
    squares: dict[tuple[int, int], list[Rule]] = {}
    counts: dict[tuple[str, int], list[Rule]] = {}
    for part in rule.rules if isinstance(rule, Or) else (rule,):
        atom = part.rule if isinstance(part, Not) else part
        if isinstance(atom, Literal) and atom.name in _MEANING:
            squares.setdefault((atom.square, atom.back), []).append(part)
        elif isinstance(atom, Count):
            counts.setdefault((atom.what, atom.back), []).append(part)
        elif isinstance(part, Not) and isinstance(atom, ToMove) and not atom.back:
            kept.append(ToMove(not atom.black))
        else:
            kept.append(part)
    kept += [_states(*place, own) for place, own in squares.items()]
    return disjunction([*kept, *(_ranges(*which, own) for which, own in counts.items())])


def _states(square: int, back: int, parts: list[Rule]) -> Rule:
    """One of several states of a square."""
    can = frozenset().union(*(_MEANING[part.name] for part in parts if not isinstance(part, Not)))
    cannot = [_MEANING[part.rule.name] for part in parts if isinstance(part, Not)]
    if cannot:
        left = frozenset.intersection(*cannot) - can
    elif not back:
        left = _STATES - can
    else:  # a state that it had once says that the game had begun, which no "not" says
        if can in _NAMED:
            return Literal(square, _NAMED[can], back)
        return Count("ply", low=back) if can == _STATES else disjunction(parts)
    if not left:
        return TRUE
    if not back and _STATES - left in _NAMED:
        return Literal(square, _NAMED[_STATES - left])
    return ~Literal(square, _NAMED[left], back)


def _ranges(what: str, back: int, parts: list[Rule]) -> Rule:
    """One of several ranges of a count."""
    ranges: list[tuple[int, int]] = []
    rest: list[Rule] = []
    lowest, highest = NATURAL[what]
    for part in parts:
        atom = part.rule if isinstance(part, Not) else part
        if not isinstance(part, Not):
            ranges.append((atom.low, atom.high))
        elif back:
            rest.append(part)
        else:
            ranges += [(lowest, atom.low - 1), (atom.high + 1, highest)]
    joined: list[list[int]] = []
    for low, high in sorted((max(low, lowest), min(high, highest)) for low, high in ranges):
        if low > high:
            continue
        if joined and low <= joined[-1][1] + 1:
            joined[-1][1] = max(high, joined[-1][1])
        else:
            joined.append([low, high])
    if not back and len(joined) == 2 and joined[0][0] == lowest and joined[1][1] == highest:
        return ~_range(what, 0, joined[0][1] + 1, joined[1][0] - 1)  # all but a few
    return disjunction([*rest, *(_range(what, back, low, high) for low, high in joined)])


def _range(what: str, back: int, low: int, high: int) -> Rule:
    lowest, highest = NATURAL[what]
    if low == high:
        return Count(what, low, high, back)
    if (low, high) == (lowest, highest):
        return Count("ply", low=back) if back else TRUE
    return Count(what, 0 if low == lowest else low, MOST if high == highest else high, back)
