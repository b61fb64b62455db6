"""Rules the slow and obvious way: one position of one game at a time, on the slow engine's boards."""

import oracles

from circuits.rules import And, Atom, Constant, Count, Line, Literal, Not, Passed, Rule, ToMove


def states_of(squares: list[int]) -> list[dict]:
    """The slow engine's state after each move of a game, with its patterns."""
    return [state | {"patterns": oracles.patterns(state)} for state in oracles.replay(squares)]


def holds(rule: Rule, states: list[dict]) -> list[bool]:
    """Whether a rule holds after each move of a game; never where nobody can move."""
    return [bool(state["legal"]) and _holds(rule, states, ply) for ply, state in enumerate(states)]


def _holds(rule: Rule, states: list[dict], ply: int) -> bool:
    if isinstance(rule, Constant):
        return rule.value
    if isinstance(rule, Not):
        return not _holds(rule.rule, states, ply)
    if isinstance(rule, Atom):
        return ply >= rule.back and _atom(rule, states[ply - rule.back], states[ply], ply - rule.back)
    parts = [_holds(part, states, ply) for part in rule.rules]
    return all(parts) if isinstance(rule, And) else any(parts)


def _atom(atom: Atom, then: dict, now: dict, ply: int) -> bool:
    mine, theirs = now["side"], oracles.other(now["side"])
    if isinstance(atom, Literal):
        if atom.name in ("mine", "theirs"):  # of the side that moves now
            return then["board"][atom.square] == {"mine": mine, "theirs": theirs}[atom.name]
        return atom.square in oracles.literal(then, atom.name)
    if isinstance(atom, Line):
        return (atom.pattern.square, atom.pattern.direction, atom.pattern.flanked) in then["patterns"]
    if isinstance(atom, ToMove):
        return (then["side"] == oracles.BLACK) == atom.black
    if isinstance(atom, Passed):
        return then["passed"]
    assert isinstance(atom, Count)
    n = {
        "ply": ply,
        "flips": len(then["flipped"]),
        "moves": len(then["legal"]),
        "mine": then["board"].count(mine),
        "theirs": then["board"].count(theirs),
        "occupied": 64 - then["board"].count(oracles.EMPTY),
    }[atom.what]
    return atom.low <= n <= atom.high
