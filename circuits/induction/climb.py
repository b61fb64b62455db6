"""From the beam to a rule: how many literals, further terms joined by "or", and single changes while they pay.

A rule is worth  log(variance explained) - `PRICE` x (different literals),  so that a literal must raise what is
explained by `PRICE`: a relative bar, by which rules that hold at few positions, or of noisy neurons, keep their third
literal as well. What d literals add must be beyond chance besides, which is that of the best of many choices (Foster
and George 1994, the risk inflation criterion): they take from the summed squared error, in units of the mean squared
error that is left,

    2 log(ways to choose d of the literals) + `SURE` squared     at least.

Where brevity costs truth: if the changes beyond chance soon come to an end, the rule is *complete*, as it is for
a neuron that does one thing with noise. Then they are all made whatever they add, for a literal that matters at one
position in a hundred is part of it. Neurons of which ever more can be said get the rule at the stated price.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from circuits.induction.beam import MOST_LITERALS, Search
from circuits.induction.single_changes import Around, Change, Terms, around, canonical, size

#: of the log of the variance explained, what a literal must add
PRICE = 0.05
#: how far beyond the chance of the best of all choices what is added must be, in standard errors
SURE = 3.0
MOST_TERMS = 3
#: different literals of a rule, and literals of one term
MOST_IN_ALL, MOST_IN_TERM = 12, 8
#: changes made to one rule; and those that may complete it
ROUNDS, TO_COMPLETE = 8, 3
#: of the log of the variance explained: less is rounding
_ENOUGH = 1e-4


@dataclass(frozen=True, eq=False)
class Grown:
    """What is found for the neurons of a search; by neuron.

    Attributes:
        rules: with what is around them; neurons without one are left out.
        complete: whose rules leave nothing to say.
        spare: the rule with a further term that is beyond chance but not worth its price, where there is one.
    """

    rules: dict[int, Around]
    complete: frozenset[int]
    spare: dict[int, Terms]


def grow(search: Search) -> Grown:
    """The rule found for each neuron of a search."""
    found: dict[int, Around] = {}
    spare: dict[int, Terms] = {}
    growing = dict.fromkeys(range(search.neurons), ())
    for _ in range(MOST_TERMS):
        longer, left = _with_term(search, growing, dict.fromkeys(growing, 0.0) | _explained(found), PRICE)
        climbed = climb(search, longer)
        growing = {
            n: climbed[n].terms
            for n in longer
            if n not in found
            or (_worth(climbed[n]) > _worth(found[n]) + _ENOUGH and climbed[n].terms != found[n].terms)
        }
        found |= {n: climbed[n] for n in growing}
        spare = {n: terms for n, terms in (spare | left).items() if n not in growing}
        if not growing:
            break
    complete = _completed(search, found)
    spare = {n: terms for n, terms in spare.items() if n in found and n not in complete}
    return Grown(found | complete, frozenset(complete), spare)


def climb(search: Search, rules: dict[int, Terms]) -> dict[int, Around]:
    """Single changes, the best first, while they make a rule worth more."""
    done: dict[int, Around] = {}
    for left in range(ROUNDS, -1, -1):
        here = around(search, rules)
        rules = {}
        for n, at in here.items():
            change = max(_fair(search, at), key=lambda c: _worth(c), default=None)
            if left and change and _worth(change) > _worth(at) + _ENOUGH:
                rules[n] = change.terms
            else:
                done[n] = at
    return done


def _with_term(
    search: Search, rules: dict[int, Terms], explained: dict[int, float], price: float
) -> tuple[dict[int, Terms], dict[int, Terms]]:
    """The rules that another term makes worth more, with that term (of rules without one, their first); and of the
    others those that are beyond chance with another term, with that."""
    if not rules:
        return {}, {}
    neurons = list(rules)
    first = not any(rules.values())
    base = None if first else torch.stack([search.where(rules[n]) for n in neurons])
    beam = search.of(neurons).beam(MOST_LITERALS, base)
    longer, spare = {}, {}
    for i, n in enumerate(neurons):
        for into, cost in ((longer, price), (spare, 0.0)):
            best, known = rules[n], explained[n]
            for values, codes in zip(beam.explained, beam.codes, strict=True):
                value, terms = float(values[i, 0]), canonical((*rules[n], tuple(codes[i, 0].tolist())))
                more = size(terms) - size(best)
                if _log(value) - _log(known) > cost * more + _ENOUGH and _sure(search, known, value, more):
                    best, known = terms, value
            if best != rules[n]:
                into[n] = best
                break
    return longer, spare


def _completed(search: Search, found: dict[int, Around]) -> dict[int, Around]:
    """Those of the rules that a few more changes complete, with these."""
    complete: dict[int, Around] = {}
    open_ = dict(found)
    for left in range(TO_COMPLETE, -1, -1):
        more: dict[int, Terms] = {}
        closed: dict[int, Around] = {}
        for n, at in open_.items():
            beyond = [c for c in at.changes if _sure(search, at.explained, c.explained, _longer(at, c))]
            if beyond:
                more[n] = max(beyond, key=lambda c: c.explained).terms
            else:
                closed[n] = at
        longer, _ = _with_term(search, {n: at.terms for n, at in closed.items()}, _explained(closed), 0.0)
        complete |= {n: at for n, at in closed.items() if n not in longer}
        more = {n: terms for n, terms in (more | longer).items() if within(terms) and len(terms) <= MOST_TERMS}
        if not left or not more:
            break
        open_ = around(search, more)
    return complete


def _fair(search: Search, at: Around) -> Iterable[Change]:
    """The changes of a rule within bounds; those that make it longer only where that is beyond chance."""
    for change in at.changes:
        longer = _longer(at, change)
        if longer <= 0 or (within(change.terms) and _sure(search, at.explained, change.explained, longer)):
            yield change


def within(terms: Terms) -> bool:
    """Whether a rule is short enough to be changed."""
    return size(terms) <= MOST_IN_ALL and max(map(len, terms)) <= MOST_IN_TERM


def _longer(at: Around, change: Change) -> int:
    return size(change.terms) - size(at.terms)


def _sure(search: Search, before: float, after: float, literals: int) -> bool:
    """Whether what some literals explain more is beyond chance."""
    choices = sum(math.log(2 * len(search.facts) / i) for i in range(1, max(literals, 1) + 1))
    return (after - before) * search.n >= (SURE**2 + 2 * choices) * max(1 - after, 0.0) and after > before


def _explained(found: dict[int, Around]) -> dict[int, float]:
    return {n: at.explained for n, at in found.items()}


def _worth(at: Around | Change) -> float:
    return _log(at.explained) - PRICE * size(at.terms)


def _log(explained: float) -> float:
    return math.log(max(explained, 1e-12))
