"""Which of the 960 patterns are looked after: by pattern neurons, as published, and by the rules found.

    released, strict   `circuits.pattern_neurons`, on games of their own: a third gives the maxima, the rest is counted
    by rules           a term (an AND) of a neuron's rule that *implies* a pattern: wherever it holds, so does the
                       pattern; *is* one, if it is equivalent to it. A whole rule *covers* a pattern of a move if it
                       holds wherever the pattern does, and nowhere but where that move is legal: what recall and
                       precision ask for, said of the rule ("C0 legal" covers all of C0's)

Published code counts 1036 patterns, 76 of them on the centre squares, where nobody plays and which never hold; 960 is
the other denominator. A term can only imply a pattern that holds wherever it does at a sample's positions, so logic
(`circuits.rules.logic`) is asked about the few that pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from circuits.census.families import terms
from circuits.features import PATTERNS
from circuits.notation import PLAYABLE
from circuits.pattern_neurons import PatternNeurons
from circuits.rules import Line, Literal, Rule
from circuits.rules.bits import Packed
from circuits.rules.logic import implies
from circuits.serial import Record

#: patterns on squares where moves are made, and those that published code counts
PLAYABLE_PATTERNS, PUBLISHED_PATTERNS = len(PATTERNS), 1036


@dataclass(frozen=True)
class PatternLayer(Record):
    """A layer's pattern neurons by either rule, and how many patterns they cover."""

    layer: int
    released: tuple[str, ...]
    strict: tuple[str, ...]
    covered: int
    strict_covered: int


@dataclass(frozen=True)
class PatternCensus(Record):
    """Pattern neurons at one threshold; ``covered`` and ``strict_covered`` by any layer, of `PLAYABLE_PATTERNS`."""

    threshold: float
    games: int
    maxima_games: int
    layers: tuple[PatternLayer, ...]
    covered: int
    strict_covered: int
    covered_late: int  # by L4-L6, or the same part of another depth


def pattern_census(found: Sequence[PatternNeurons]) -> tuple[PatternCensus, ...]:
    """What `circuits.pattern_neurons.pattern_neurons` found, counted by layer."""
    censuses = []
    for at in found:
        n_layers = len(at.released)
        layers = []
        for layer in range(n_layers):
            own = slice(layer, layer + 1)
            names = (
                [f"L{layer}N{i}" for i in which[layer].nonzero()[:, 0].tolist()] for which in (at.released, at.strict)
            )
            layers.append(
                PatternLayer(
                    layer, *map(tuple, names), int(at.covered(own).sum()), int(at.covered(own, strict=True).sum())
                )
            )
        late = slice(n_layers // 2, n_layers - 1)
        censuses.append(
            PatternCensus(
                at.threshold, at.games, at.maxima_games, tuple(layers),
                int(at.covered().sum()), int(at.covered(strict=True).sum()), int(at.covered(late).sum()),
            )
        )  # fmt: skip
    return tuple(censuses)


@dataclass(frozen=True, eq=False)
class PatternColumns:
    """Where the patterns hold at a sample's positions, packed. Made once."""

    packed: Packed
    words: Int[Tensor, "pattern word"]
    legal: Int[Tensor, "move word"]

    @staticmethod
    def of(packed: Packed) -> "PatternColumns":
        atoms = list(map(Line, PATTERNS)), [Literal(square, "legal") for square in PLAYABLE]
        packed.prepare([atom for some in atoms for atom in some])
        return PatternColumns(packed, *(torch.stack([packed.column(atom) for atom in some]) for some in atoms))

    def around(self, words: Int[Tensor, "word"]) -> Int[Tensor, "n"]:
        """The patterns that hold wherever these bits are set."""
        # One word leaves a dozen of them, all words seldom more than what is implied.
        first = int((words != 0).nonzero()[0, 0])
        some = ((words[first] & ~self.words[:, first]) == 0).nonzero()[:, 0]
        return some[~(words & ~self.words[some]).any(1)]


def implied(rule: Rule | None, columns: PatternColumns) -> list[tuple[str, bool]]:
    """The patterns that terms of a rule imply, and whether the term says no more than that; shortest line first.

    A term that holds nowhere in the sample implies nothing that could be shown.
    """
    found: dict[int, bool] = {}
    for term in () if rule is None else terms(rule):
        words = columns.packed.evaluate(term)
        for i in columns.around(words).tolist() if words.any() else ():
            line = Line(PATTERNS[i])
            if implies(term, line):
                alike = torch.equal(words, columns.words[i]) and implies(line, term)
                found[i] = found.get(i, False) or alike
    order = sorted(found, key=lambda i: (PATTERNS[i].flanked, i))
    return [(str(PATTERNS[i]), found[i]) for i in order]


def covers(rule: Rule | None, columns: PatternColumns) -> list[str]:
    """The patterns that a rule covers, all of one move; none where it may hold while the move is not legal."""
    words = None if rule is None else columns.packed.evaluate(rule)
    if words is None or not words.any():
        return []
    found = []
    for move in (~(words & ~columns.legal).any(1)).nonzero()[:, 0].tolist():
        square = PLAYABLE[move]
        own = [i for i, pattern in enumerate(PATTERNS) if pattern.square == square]
        lines = columns.words[own]
        some = lines.any(1) & ~(lines & ~words).any(1)
        inside = [PATTERNS[i] for i, held in zip(own, some.tolist(), strict=True) if held]
        if inside and implies(rule, Literal(square, "legal")):
            found += [str(pattern) for pattern in inside if implies(Line(pattern), rule)]
    return found
