"""What follows from a rule by logic and by what the game forces, without looking at a game.

    satisfiable(rule)       can it hold at all?          no:  it holds in no game (`why_never` says why)
    implies(a, b)           not satisfiable(a & !b)
    equivalent(a, b)        either implies the other

A formula is searched for one consistent way to hold: what it asserts outright is told to a `Knowledge`, which draws the
game's conclusions; atoms that it then knows become True or False; of an "or" one part after another is tried. The
search gives up after `STEPS` rounds and says "satisfiable", and so it does for what no law here excludes: an answer
"never" is certain, an answer "satisfiable" is not. (For `implies` and `equivalent` it is "yes" that is certain.)
"""

from circuits.rules.formulas import FALSE, TRUE, And, Atom, Constant, Not, Or, Rule, conjunction
from circuits.rules.knowledge import PLIES, Knowledge
from circuits.rules.position import Contradiction, between
from circuits.rules.simplifying import outward, simplify_by
from circuits.rules.words import always_because, in_words, never_because

__all__ = ["equivalent", "implies", "in_words", "satisfiable", "simplify", "why_always", "why_never"]

#: rounds of a search; the obvious takes a few
STEPS = 300


def satisfiable(rule: Rule) -> bool:
    """False where the rule holds in no game; True where it may."""
    rule = outward(rule)
    backs = sorted({0, *(atom.back for atom in rule.atoms)})
    steps = [STEPS]
    # Atoms before the first move do not hold: the plies fall into stretches at which the same ones exist.
    for i, back in enumerate(backs):
        until = backs[i + 1] - 1 if i + 1 < len(backs) else PLIES.bit_length() - 1
        there = rule.replace(lambda atom, back=back: FALSE if atom.back > back else atom)
        if _search(there, Knowledge(tuple(backs[: i + 1]), between(back, until)), steps):
            return True
    return False


def implies(a: Rule, b: Rule) -> bool:
    """True where ``b`` holds whenever ``a`` does; False where that cannot be shown."""
    return not satisfiable(a & ~b)


def equivalent(a: Rule, b: Rule) -> bool:
    """True where the rules hold at the same positions of every game; False where that cannot be shown."""
    return implies(a, b) and implies(b, a)


def simplify(rule: Rule) -> Rule:
    """An equivalent rule, shorter where one is found: what is implied is left out, what cannot be is dropped.

    "mine or theirs" becomes "occupied", "not (ply >= 20)" becomes "ply <= 19". Simplifying twice is simplifying once.
    """
    return simplify_by(rule, satisfiable)


def why_never(rule: Rule) -> str | None:
    """One line on why a rule holds in no game; None where it may hold."""
    if satisfiable(rule):
        return None
    rule = outward(rule)
    if isinstance(rule, Or):
        reasons = [str(why_never(part)) for part in rule.rules[:3]]
        return f"none of its {len(rule.rules)} alternatives can hold: {'; '.join(reasons)}"
    return never_because(_core(rule))


def why_always(rule: Rule) -> str | None:
    """One line on why a rule holds at every position of every game; None where it may fail."""
    if satisfiable(~rule):
        return None
    if rule == TRUE:
        return "'true' always holds"
    core = _core(outward(~rule))
    if len(core) == 1:
        return always_because(outward(~core[0]))
    return f"one of {', '.join(str(outward(~part)) for part in core)} always holds"


def _core(rule: Rule) -> list[Rule]:
    """Parts of a conjunction that already exclude each other, none to spare."""
    parts = list(rule.rules) if isinstance(rule, And) else [rule]
    for part in list(parts):
        rest = [other for other in parts if other is not part]
        if rest and not satisfiable(conjunction(rest)):
            parts = rest
    return parts


def _search(rule: Rule, known: Knowledge, steps: list[int]) -> bool:
    """Whether a formula (negations at its atoms alone) may hold given what is known, which is used up."""
    while True:
        steps[0] -= 1
        if steps[0] < 0:
            return True
        try:
            known.settle()
            rule = rule.replace(lambda atom: _known(known, atom))
            if isinstance(rule, Constant):
                return rule.value and _decide(known, steps)
            parts = rule.rules if isinstance(rule, And) else (rule,)
            literals = [part for part in parts if not isinstance(part, And | Or)]
            for part in literals:
                known.tell(part.rule if isinstance(part, Not) else part, not isinstance(part, Not))
        except Contradiction:
            return False
        if not literals:
            break
    # Only "or"s are left: try each way in which the shortest can hold.
    shortest = min((part for part in parts if isinstance(part, Or)), key=lambda part: len(part.rules))
    rest = [part for part in parts if part is not shortest]
    return any(_search(conjunction([way, *rest]), known.copy(), steps) for way in shortest.rules)


def _known(known: Knowledge, atom: Atom) -> Rule:
    value = known.value(atom)
    return atom if value is None else Constant(value)


def _decide(known: Knowledge, steps: list[int]) -> bool:
    """Whether it may be so, tried for both answers of each open question of who moved."""
    open_question = known.undecided()
    if open_question is None:
        return True
    back, flag = open_question
    for answer in (True, False):
        way = known.copy()
        try:
            way.then[back].set_flag(flag, answer)
        except Contradiction:
            continue
        if _search(TRUE, way, steps):
            return True
    return False
