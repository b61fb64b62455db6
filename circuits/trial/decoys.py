"""Claims to plant in a model, and decoys: claims about a planted neuron that are true often enough and name no cause.

    legal        the move is legal that the planted rule wants to be empty: often so where the rule holds
    elsewhere    of all states of all squares that the rule is not about, the one that correlates best with it
    two          and of these the best conjunction of two
    far          the best of those on squares at least `FAR` away from every square of the rule

Correlation is phi between where the claim and the rule hold. Nothing of the model is looked at.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuits.errors import InputError
from circuits.notation import CENTRE, N_SQUARES, PLAYABLE
from circuits.rules import Claim, Effect, Literal, Rule, conjunction
from circuits.trial.planting import RATES, draw_rules
from circuits.verdicts.neighbours import around

FAR = 3
#: rules whose neuron would not follow them so well (F1 of the pre-activation) are not planted
FITS = 0.9
#: rules of a kind tried before giving up
TRIES = 1000
#: kinds of planted rules, in turn
KINDS = ("empty beside theirs", "two literals", "empty beside theirs", "one literal", "three literals")
#: correlation of "legal" with "empty beside theirs", so that the decoy is one
TEMPTING = 0.3
_STATES = ("empty", "mine", "theirs", "occupied")


def draw_claims(packed: Any, n: int, seed: int, units: Iterable[str], fits: Callable[[Rule], float]) -> list[Claim]:
    """``n`` claims whose rules a neuron can follow.

    Args:
        packed: positions that base rates are of; units: later neurons, one of which every third claim writes to.
        fits: F1 of a neuron that is planted with a rule.

    Returns:
        Claims on kinds of rules in turn, writing a move's logit, a square's state, and another neuron, in turn.
    """
    r, units = random.Random(f"claims {seed}"), list(units)
    pools = {kind: _rules(kind, packed, seed, fits) for kind in set(KINDS)}
    found = []
    for i in range(n):
        rule = next(pools[KINDS[i % len(KINDS)]])
        free = [s for s in PLAYABLE if s not in _squares(rule)]
        sign = r.choice((1, -1))
        effect = (
            Effect("logit", sign, r.choice(free)),
            Effect("reading", 1, r.choice(free), r.choice(("mine", "theirs"))),
            Effect("unit", sign, name=r.choice(units)),
        )[i % 3]
        found.append(Claim(rule, (effect,)))
    return found


def _rules(kind: str, packed: Any, seed: int, fits: Callable[[Rule], float]) -> Iterator[Rule]:
    """Different rules of a kind, at random, that hold at 2 to 50 % of positions and fit."""
    rules = _beside(packed, random.Random(f"beside {seed}")) if kind == KINDS[0] else _drawn(kind, packed, seed)
    seen: set[Rule] = set()
    for rule in islice(rules, TRIES):
        if rule not in seen and RATES[0] <= packed.count(rule) / packed.n <= RATES[1] and fits(rule) >= FITS:
            yield rule
        seen.add(rule)
    raise InputError(f"of {TRIES} rules of the kind {kind!r} none is left that a neuron follows well enough")


def _drawn(kind: str, packed: Any, seed: int) -> Iterator[Rule]:
    for more in count():
        yield from draw_rules(kind, packed, 10, 1000 * seed + more)


def _beside(packed: Any, r: random.Random) -> Iterator[Rule]:
    """An empty square, and a disc of theirs next to it that a move there could flank: one where it often does."""
    while True:
        square = r.choice(PLAYABLE)
        inner = [s for s in around(square) if all(0 < x < 7 for x in divmod(s, 8))]
        rule = Literal(square, "empty") & Literal(r.choice(inner), "theirs") if inner else None
        if (
            rule is not None
            and float(phi(packed.holds(Literal(square, "legal"))[None], packed.holds(rule))[0]) >= TEMPTING
        ):
            yield rule


def decoys(rule: Rule, packed: Any) -> list[tuple[str, Rule, float]]:
    """Kind, claim and correlation with the rule."""
    holds = packed.holds(rule)
    found = [("legal", Literal(a.square, "legal")) for a in rule.atoms if getattr(a, "name", "") == "empty"][:1]
    own = _squares(rule)
    away = [s for s in range(N_SQUARES) if s not in own]
    far = [s for s in away if all(_distance(s, other) >= FAR for other in own)]
    for name, squares in (("elsewhere", away), ("far", far)):
        first = _best(holds, packed, squares, None)
        if first is not None:
            found.append((name, first))
        if first is not None and name == "elsewhere":
            both = _best(holds, packed, [s for s in squares if s not in _squares(first)], first)
            found += [("two", both)] if both is not None else []
    return [(kind, claim, float(phi(packed.holds(claim)[None], holds)[0])) for kind, claim in found]


def _best(holds: Bool[Tensor, "n"], packed: Any, squares: list[int], beside: Rule | None) -> Rule | None:
    """The literal (with another beside it, if given) that correlates best with where a rule holds."""
    tried: list[Rule] = [
        literal
        for square in squares
        for name in (_STATES[1:3] if square in CENTRE else _STATES)
        for literal in (Literal(square, name), ~Literal(square, name))
    ]
    if beside is not None:
        tried = [conjunction((beside, literal)) for literal in tried]
    if not tried:
        return None
    packed.prepare(dict.fromkeys(atom for one in tried for atom in one.atoms))
    return tried[int(phi(torch.stack([packed.holds(one) for one in tried]), holds).argmax())]


def phi(a: Bool[Tensor, "rule n"], b: Bool[Tensor, "n"]) -> Float[Tensor, "rule"]:
    """Correlation of booleans; 0 where one never varies."""
    p, q, both = a.double().mean(1), b.double().mean(), (a & b).double().mean(1)
    return torch.nan_to_num((both - p * q) / (p * (1 - p) * q * (1 - q)).sqrt(), 0.0, 0.0, 0.0)


def _squares(rule: Rule) -> set[int]:
    return {atom.square for atom in rule.atoms}


def _distance(a: int, b: int) -> int:
    """King's moves."""
    return max(abs(a // 8 - b // 8), abs(a % 8 - b % 8))
