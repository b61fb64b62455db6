"""Random rules of a rule's shape and base rate: what any rule of that shape explains.

The formula stays as it is, its literals are drawn anew: literals on a disc's state on any square and of any state
(``empty``, ``mine``, ``theirs``, ``occupied``; of a rule on absolute colours ``black``, ``white``), ``played``,
``flipped`` and ``legal`` on any square, patterns any of the 960; negations and plies looked back stay, as do counts,
the side to move and passes, which are on no square. A drawn rule is kept if it holds about as often as the rule itself.
"""

import random
from collections.abc import Callable
from typing import Any

from circuits.features import PATTERNS
from circuits.notation import CENTRE, N_SQUARES
from circuits.rules import Constant, Line, Literal, Rule

WANT = 200
#: base rates are within this factor of the rule's, within the second where the first finds too few
FACTOR, WIDER = 1.5, 2.0
#: rules tried with each factor
TRIES = 4000
#: so many known ones in a row: there are no others
EXHAUSTED = 300
#: with fewer than this many no p-value could be small, and literals of any kind are drawn
FEW = 60

_RELATIVE = ("empty", "mine", "theirs", "occupied")
_ABSOLUTE = ("empty", "black", "white", "occupied")
_EVENTS = ("played", "flipped", "legal")


def random_rules(rule: Rule, packed: Any, want: int = WANT, seed: int = 0) -> tuple[list[Rule], str]:
    """Different rules that are not the rule itself, and how they were drawn, in words.

    Args:
        packed: positions on which base rates are compared (training ones), a `circuits.rules.bits.Packed`.
    """
    n = packed.count(rule)
    generator = random.Random(seed)
    if not any(isinstance(atom, Literal | Line) for atom in rule.atoms):
        return [], "no random rules: nothing in this rule is on a square"
    rates: dict[Rule, float] = {rule: 0.0}
    kept: list[Rule] = []
    kinds, factor = "the same kinds", FACTOR
    for any_kind, wide in ((False, FACTOR), (False, WIDER), (True, WIDER)):
        if len(kept) >= (FEW if any_kind else want):
            break
        kinds, factor = "any kind" if any_kind else kinds, wide
        kept = [other for other, rate in rates.items() if 1 / factor <= rate <= factor]
        known = 0  # draws in a row that were drawn before
        for _ in range(TRIES):
            if len(kept) >= want or known == EXHAUSTED:
                break
            drawn = rule.replace(_drawer(rule, generator, any_kind))
            known = known + 1 if drawn in rates else 0
            if known or isinstance(drawn, Constant):
                continue
            rates[drawn] = packed.count(drawn) / max(n, 1)
            if 1 / factor <= rates[drawn] <= factor:
                kept.append(drawn)
    return kept[:want], (
        f"of the same form, with literals of {kinds} on random squares; they hold at between 1/{factor:g} and "
        f"{factor:g} times as many training positions"
    )


def _drawer(rule: Rule, generator: random.Random, any_kind: bool) -> Callable[[Rule], Rule]:
    """What draws one atom anew; no two of a rule on one square."""
    states = _ABSOLUTE if any(getattr(atom, "name", "") in ("black", "white") for atom in rule.atoms) else _RELATIVE
    used: set[int] = set()
    drawn: dict[Rule, Rule] = {}

    def draw(atom: Rule) -> Rule:
        # An atom that stands in the formula twice stays one atom.
        if atom not in drawn:
            drawn[atom] = _draw(atom, generator, any_kind, states, used)
        return drawn[atom]

    return draw


def _draw(atom: Rule, generator: random.Random, any_kind: bool, states: tuple[str, ...], used: set[int]) -> Rule:
    if isinstance(atom, Line) and not any_kind:
        return Line(generator.choice(PATTERNS), atom.back)
    if not isinstance(atom, Literal | Line):
        return atom
    if any_kind:
        name = generator.choice((*states, *_EVENTS))
    else:
        name = generator.choice(states) if atom.name in states else atom.name
    while True:
        square = generator.randrange(N_SQUARES)
        if square not in used and not (square in CENTRE and name in ("empty", "occupied", "played", "legal")):
            break
    if len(used) < N_SQUARES // 2:
        used.add(square)
    return Literal(square, name, atom.back)
