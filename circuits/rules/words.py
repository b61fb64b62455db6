"""Rules in plain English.

    C0 empty & D1 theirs & E2 mine      C0 is empty, D1 is theirs and E2 is mine
    A4 played & B4 occupied @-1         A4 was just played and B4 was occupied one ply ago
    flips >= 3 & !black to move         at least 3 discs were flipped and white is to move

Squares of which the same is said share a clause. This is for reading; `circuits.rules.text` reads none of it back.
"""

from circuits import notation
from circuits.notation import LABELS
from circuits.rules.atoms import COUNTS, MOST, Count, Line, Literal, Passed, ToMove
from circuits.rules.formulas import And, Atom, Constant, Not, Or, Rule, conjunction
from circuits.rules.position import CORNERS
from circuits.rules.simplifying import NATURAL, outward


def in_words(rule: Rule) -> str:
    """The rule as a clause, without a capital at its beginning or a full stop."""
    return _clause(outward(rule), 0)


def listed(words: list[str], last: str = " and ") -> str:
    """``a, b and c``."""
    return f"{', '.join(words[:-1])}{last}{words[-1]}" if len(words) > 1 else "".join(words)


def _clause(rule: Rule, depth: int) -> str:
    if isinstance(rule, Constant):
        return "always" if rule.value else "never"
    if not isinstance(rule, And | Or):
        return _facts([rule])[0]
    join = "and" if isinstance(rule, And) else "or"
    clauses = _facts([part for part in rule.rules if not isinstance(part, And | Or)], join)
    clauses += [_clause(part, depth + 1) for part in rule.rules if isinstance(part, And | Or)]
    if len(clauses) == 1:
        return clauses[0]
    if depth > 1:
        return f"({listed(clauses, f' {join} ')})"
    if isinstance(rule, Or):
        nested = any(isinstance(part, And) for part in rule.rules)
        return ("either " if depth else "") + listed(clauses, ", or " if nested else " or ")
    return listed(clauses)


def _facts(literals: list[Rule], join: str = "and") -> list[str]:
    """Each as a clause, squares of which the same is said in one."""
    groups: dict[tuple, list[Rule]] = {}
    for rule in literals:
        atom = rule.rule if isinstance(rule, Not) else rule
        same = (atom.name, atom.back, isinstance(rule, Not)) if isinstance(atom, Literal) else (rule,)
        groups.setdefault(same, []).append(rule)
    return [_fact(rules, join) for rules in groups.values()]


def _fact(rules: list[Rule], join: str) -> str:
    negated = isinstance(rules[0], Not)
    atoms: list[Atom] = [rule.rule if negated else rule for rule in rules]
    atom = atoms[0]
    when = {0: "", 1: " one ply ago"}.get(atom.back, f" {atom.back} plies ago")
    no = " not" if negated else ""
    if isinstance(atom, Literal):
        squares = [LABELS[one.square] for one in atoms]
        many = len(squares) > 1 and join == "and"
        was = ("were" if many else "was") if atom.back else ("are" if many else "is")
        if atom.name in ("played", "flipped"):
            had = "had" if atom.back else "were" if many else "was"
            said = f"{had}{no} just{' been' if atom.back else ''} {atom.name}"
        elif atom.name == "legal":
            said = f"{was}{no} {'legal moves' if many else 'a legal move'}"
        else:
            said = f"{was}{no} {atom.name}"
        return f"{listed(squares, f' {join} ')} {said}{when}"
    if isinstance(atom, Line):
        *flanked, end = (LABELS[square] for square in atom.pattern.squares())
        verb = ("did not flank" if negated else "flanked") if atom.back else "does not flank" if negated else "flanks"
        return f"a move at {LABELS[atom.pattern.square]} {verb} {listed(flanked)} up to {end}{when}"
    if isinstance(atom, ToMove):
        return f"{'black' if atom.black != negated else 'white'} {'was' if atom.back else 'is'} to move{when}"
    if isinstance(atom, Passed):
        return f"{'nobody' if negated else 'a side'} {'had' if atom.back else 'has'} just passed{when}"
    return _counted(atom, negated) + when


def _counted(atom: Count, negated: bool) -> str:
    low, high = atom.low, atom.high
    if negated and high == MOST and low:
        low, high, negated = 0, low - 1, False
    elif negated and low == 0 and high < MOST:
        low, high, negated = high + 1, MOST, False
    if low == high:
        amount = f"{low}" if atom.what == "ply" else f"exactly {low}"
    elif high == MOST:
        amount = f"at least {low}"
    elif low == 0:
        amount = f"at most {high}"
    else:
        amount = f"between {low} and {high}"
    was, one = "was" if atom.back else "is", low == high == 1 or (high, low) == (1, 0) or (low, high) == (1, MOST)
    if atom.what == "ply":
        return f"the ply {was} {'not ' if negated else ''}{amount}"
    amount = f"{'not ' if negated else ''}{amount}"
    are = {("was", True): "was", ("was", False): "were", ("is", True): "is", ("is", False): "are"}[was, one]
    discs = "disc" if one else "discs"
    if atom.what == "flips":
        return f"{amount} {discs} {'was' if one else 'were'} flipped"
    if atom.what == "moves":
        return f"there {are} {amount} legal {'move' if one else 'moves'}"
    if atom.what == "occupied":
        return f"{amount} {'square' if one else 'squares'} {are} occupied"
    return f"{amount} {discs} {are} {atom.what}"


def never_because(parts: list[Rule]) -> str:
    """Why some formulas, of which none can be spared, never hold together."""
    if len(parts) > 1:
        return f"{conjunction(parts)} can never {'both' if len(parts) == 2 else 'all'} hold"
    (rule,) = parts
    law = _law(rule.rule if isinstance(rule, Not) else rule)
    return f"{rule} never holds{law and f': {law}'}"


def always_because(rule: Rule) -> str:
    """Why a formula of one atom always holds."""
    law = _law(rule.rule if isinstance(rule, Not) else rule)
    return f"{rule} always holds{law and f': {law}'}"


def _law(atom: Rule) -> str:
    """What the game says of an atom that is settled by itself; nothing where no sentence is at hand."""
    if isinstance(atom, Literal) and atom.square in notation.CENTRE:
        name = LABELS[atom.square]
        if atom.name in ("played", "legal"):
            return f"{name} is a centre square, where nobody ever plays"
        if atom.name in ("empty", "occupied"):
            return f"{name} is a centre square, which is never empty"
    if isinstance(atom, Literal) and atom.name == "flipped" and CORNERS >> atom.square & 1:
        return f"{LABELS[atom.square]} is a corner, and discs in corners are never flipped"
    if isinstance(atom, Count):
        low, high = NATURAL[atom.what]
        number = "the ply is" if atom.what == "ply" else f"{COUNTS[atom.what]} number"
        return f"{number} {low} to {high} while there is a move to make"
    return ""
