"""The best conjunction found automatically: what the data themselves would say a unit follows.

On training positions, of rules whose literals are any of the facts below or their negations, beam search for the one
that maximises

    variance explained by its two means  -  `GAIN` for each literal

so that a further literal has to add one percent of the variance. With the activation's mean taken off, n positions of
which k hold with sum s, the two means explain s^2 n / (k (n - k)) of the squared deviation; sums for a rule and every
further literal at once are one product of (rules x positions) and (positions x literals). Only rules that hold where
the activation is high are looked for. Facts: seven literals on each square, the 960 patterns, who moves, passes, bounds
on the ply and on the discs turned, and one ply earlier what was played and whose the discs were.

Its figures on held-out games are `circuits.verdicts.rivals`' to give: those of the training games are of a choice among
thousands.
"""

from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.features import PATTERNS
from circuits.notation import CENTRE, N_SQUARES
from circuits.rules import Atom, Constant, Count, Line, Literal, Not, Passed, Rule, ToMove, conjunction
from circuits.rules.logic import simplify
from circuits.verdicts.neighbours import literals, neighbours, sub_rules
from circuits.verdicts.scores import Scored, scored, varies

#: variance that each literal must add
GAIN = 0.01
MOST_LITERALS = 4
#: rules carried from one number of literals to the next
BEAM = 16
#: training positions where a rule must hold, and where it must fail
LEAST = 20
#: training positions looked at: whole games, the first of them
MOST_POSITIONS = 40_000
STATES = ("legal", "empty", "occupied", "mine", "theirs", "played", "flipped")
EARLIER = ("played", "mine", "theirs")
#: positions multiplied at a time
_AT_ONCE = 4096


def candidates() -> tuple[Atom, ...]:
    """The facts tried, those preferred among equals first."""
    return (
        *(Literal(square, name) for name in STATES for square in range(N_SQUARES) if _can_vary(square, name)),
        *map(Line, PATTERNS),
        ToMove(True),
        *(Literal(square, name, 1) for name in EARLIER for square in range(N_SQUARES) if _can_vary(square, name)),
        *(Count("ply", low=low) for low in range(10, 55, 5)),
        *(Count("flips", low=low) for low in (2, 3, 4, 6)),
        Passed(),
    )


def _can_vary(square: int, name: str) -> bool:
    return square not in CENTRE or name in ("mine", "theirs", "flipped")


def best_rule(subject: Any, train: Any, most: int = MOST_LITERALS) -> Rule | None:
    """The best conjunction of up to ``most`` literals on the training positions, simplified.

    None where there is nothing to find: an activation that never varies, or no fact that holds and fails often enough.
    """
    return search(scored(train, subject), most)


def search(at: Scored, most: int = MOST_LITERALS) -> Rule | None:
    """`best_rule` of an activation at positions."""
    if not varies(at.acts):
        return None
    return Search(at).best(most)


def refine(subject: Any, rule: Rule, train: Any, most: int = MOST_LITERALS + 2) -> Rule:
    """The best rule reached from a given one by adding, dropping or changing a literal at a time, simplified."""
    at = scored(train, subject)
    return Search(at).climb(rule, most) if varies(at.acts) else rule


@dataclass(frozen=True, eq=False)
class _Found:
    """A rule on the way, where it holds, and what it is worth: variance explained less `GAIN` a literal."""

    rules: frozenset[Rule]
    holds: Bool[Tensor, "n"]
    worth: float


class Search:
    """The facts at the positions of an activation, for one search or several."""

    def __init__(self, at: Scored):
        # Whole games, so that what is looked at does not end within one; in order, so that they are the same ones.
        self.kept = torch.arange(len(at)) if len(at) <= MOST_POSITIONS else _first_games(at.game, MOST_POSITIONS)
        self.packed = at.packed
        self._look_at(at.acts)

    def on(self, acts: Float[Tensor, "n"]) -> "Search":
        """The same facts for another activation at the same positions."""
        other = copy(self)
        other._look_at(acts)
        return other

    def _look_at(self, acts: Float[Tensor, "n"]) -> None:
        y = acts[self.kept].double()
        y = y - y.mean()
        # Of variance 1: sums in single precision then lose nothing that counts.
        self.y = (y / y.pow(2).mean().sqrt().clamp_min(1e-300)).float()

    @cached_property
    def facts(self) -> tuple[list[Atom], Bool[Tensor, "fact n"]]:
        """The facts that hold and fail often enough, and where they hold."""
        atoms = list(candidates())
        self.packed.prepare(atoms)
        columns = torch.stack([self.holds(atom) for atom in atoms])
        n = columns.sum(1)
        enough = (n >= LEAST) & (n <= len(self.y) - LEAST)
        return [atom for atom, keep in zip(atoms, enough.tolist(), strict=True) if keep], columns[enough]

    def holds(self, rule: Rule) -> Bool[Tensor, "n"]:
        holds = self.packed.holds(rule)
        return holds if len(self.kept) == len(holds) else holds[self.kept]

    def explained(self, n: Float[Tensor, "*rule"], s: Float[Tensor, "*rule"]) -> Float[Tensor, "*rule"]:
        """Share of the variance, from how many positions hold and the sum there; below 0 for what is not asked for:
        rules that hold where the activation is low, or hold or fail too seldom."""
        of = len(self.y)
        fair = (n >= LEAST) & (n <= of - LEAST) & (s > 0)
        return torch.where(fair, s.double() ** 2 / (n * (of - n)).clamp_min(1).double(), -1.0)

    def best(self, most: int) -> Rule | None:
        """Beam search from the empty rule."""
        beam = [_Found(frozenset(), torch.ones(len(self.y), dtype=torch.bool), 0.0)]
        best = None
        for size in range(1, most + 1):
            beam = list(self._longer(beam, size))
            if not beam:
                break
            if best is None or beam[0].worth > best.worth:
                best = beam[0]
        return None if best is None else self.climb(conjunction(best.rules), most)

    def _longer(self, beam: list[_Found], size: int) -> Iterator[_Found]:
        """The best rules with one literal more, the best first, none that holds at the same positions as another."""
        atoms, columns = self.facts
        explained, n, s = self._with_each(torch.stack([found.holds for found in beam]))
        # Rounded, so that of facts that say the same the one preferred comes first.
        order = explained.flatten().mul(1e6).round().argsort(descending=True, stable=True)[: 40 * BEAM]
        seen: set[tuple[int, float]] = set()
        for i in order.tolist():
            rule, rest = divmod(i, 2 * len(atoms))
            fact, negated = rest % len(atoms), rest >= len(atoms)
            value = float(explained.view(-1)[i])
            key = int(n.view(-1)[i]), round(float(s.view(-1)[i]), 1)
            if value < 0 or len(seen) == BEAM:
                return
            if key in seen:
                continue
            seen.add(key)
            column = ~columns[fact] if negated else columns[fact]
            literal = Not(atoms[fact]) if negated else atoms[fact]
            yield _Found(beam[rule].rules | {literal}, beam[rule].holds & column, value - GAIN * size)

    def _with_each(
        self, holds: Bool[Tensor, "rule n"]
    ) -> tuple[Float[Tensor, "rule literal"], Float[Tensor, "rule literal"], Float[Tensor, "rule literal"]]:
        """Of each rule with each fact and then with each fact's negation: variance explained, positions, sum there."""
        _, columns = self.facts
        rows = holds.float()
        rows = torch.cat([rows, rows * self.y])
        sums = torch.zeros(len(rows), len(columns))
        for first in range(0, len(self.y), _AT_ONCE):
            piece = slice(first, first + _AT_ONCE)
            sums.addmm_(rows[:, piece], columns[:, piece].float().T)
        n, s = torch.cat([sums, rows.sum(1, keepdim=True) - sums], 1).chunk(2)
        return self.explained(n, s), n, s

    def climb(self, rule: Rule, most: int) -> Rule:
        """Single changes of a literal, dropped, added or exchanged, while they make the rule worth more."""
        worth = self.worth([rule])[0]
        while True:
            steps = [v.rule for v in (*sub_rules(rule), *neighbours(rule)) if _back(v.rule) <= max(_back(rule), 1)]
            if len(literals(rule)) < most:
                steps += self._additions(rule)
            longest = max(most, len(literals(rule)))
            steps = [s for s in steps if not isinstance(s, Constant) and len(literals(s)) <= longest]
            if not steps:
                return simplify(rule)
            worths = self.worth(steps)
            best = int(worths.argmax())
            if float(worths[best]) <= worth + 1e-4:
                return simplify(rule)
            rule, worth = steps[best], float(worths[best])

    def worth(self, rules: Iterable[Rule]) -> Float[Tensor, "rule"]:
        rules = list(rules)
        holds = torch.stack([self.holds(rule) for rule in rules]).float()
        size = torch.tensor([len(literals(rule)) for rule in rules])
        return self.explained(holds.sum(1), holds @ self.y) - GAIN * size

    def _additions(self, rule: Rule) -> list[Rule]:
        atoms, _ = self.facts
        explained, _, _ = self._with_each(self.holds(rule)[None])
        best = explained[0].topk(min(BEAM, explained.shape[1])).indices.tolist()
        return [rule & (Not(atoms[i - len(atoms)]) if i >= len(atoms) else atoms[i]) for i in best]


def _back(rule: Rule) -> int:
    return max((atom.back for atom in rule.atoms), default=0)


def _first_games(game: Int[Tensor, "n"], most: int) -> Int[Tensor, "m"]:
    """The positions of the first games, as they stand, that have no more than so many in all; of one at least."""
    order = dict.fromkeys(game.tolist())
    counts = torch.bincount(game)[torch.tensor(list(order))].cumsum(0)
    taken = max(1, int((counts <= most).sum()))
    return torch.isin(game, torch.tensor(list(order)[:taken])).nonzero().squeeze(1)
