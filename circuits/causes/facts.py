"""Facts: one feature of `circuits.features.Features`, by name, or its negation with a leading ``!``.

A fact holds at a position or does not: ``"C0 empty"``, ``"B4 flipped"``, ``"legal C0 via SE x1"``, ``"!F7 legal"``.
Read once, then asked of boards of any shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from circuits import notation
from circuits.errors import InputError
from circuits.features import LITERALS, PATTERN_INDEX, PATTERNS, literal_bits, parse_pattern, patterns_matrix
from circuits.othello import Boards


@dataclass(frozen=True)
class Fact:
    """One fact: ``name`` is a literal's or a pattern's index in `features.PATTERNS`; ``positive`` False negates it."""

    square: int
    name: str | int
    positive: bool = True

    def __str__(self) -> str:
        pattern = isinstance(self.name, int)
        text = str(PATTERNS[self.name]) if pattern else f"{notation.label(self.square)} {self.name}"
        return text if self.positive else f"!{text}"

    def __invert__(self) -> "Fact":
        """The opposite fact."""
        return Fact(self.square, self.name, not self.positive)

    def holds(self, boards: Boards) -> Bool[Tensor, "*batch"]:
        """Where it holds; meaningless on padding."""
        if isinstance(self.name, int):
            found = patterns_matrix(boards, [self.name])[:, 0].reshape(boards.mine.shape)
        else:
            found = (literal_bits(boards, self.name) >> self.square & 1).bool()
        return found if self.positive else ~found


def parse_fact(text: str) -> Fact:
    """The inverse of ``str(fact)``.

    Raises:
        InputError: no such square, literal or pattern.
    """
    name = text.strip()
    positive = not name.startswith("!")
    name = name.removeprefix("!").strip()
    if name.lower().startswith("legal "):
        pattern = parse_pattern(name)
        return Fact(pattern.square, PATTERN_INDEX[pattern], positive)
    place, _, literal = name.partition(" ")
    literal = literal.strip().lower()
    if literal not in LITERALS:
        raise InputError(
            f"{text!r} is no fact: a square and one of {', '.join(LITERALS)}, as in 'C0 empty', or a pattern, as in "
            "'legal C0 via SE x1'; a leading ! negates it"
        )
    return Fact(notation.square(place), literal, positive)


def parse_facts(text: str | None) -> tuple[Fact, ...]:
    """Facts joined by ``&``, such as ``"legal C0 via SE x1 & C0 legal"``; none from None.

    Raises:
        InputError: as `parse_fact`; one given twice.
    """
    if text is None:
        return ()
    facts = tuple(parse_fact(part) for part in text.split("&"))
    if len(set(facts)) < len(facts):
        raise InputError(f"{text!r} names a fact twice")
    return facts


def all_hold(facts: Sequence[Fact], boards: Boards) -> Bool[Tensor, "*batch"]:
    """The positions at which somebody can move and every one of the facts holds."""
    where = boards.valid.clone()
    for fact in facts:
        where &= fact.holds(boards)
    return where


def one_fails(facts: Sequence[Fact], boards: Boards) -> Bool[Tensor, "fact *batch"]:
    """The positions at which somebody can move and this fact fails while all of the others hold."""
    fails = torch.stack([~fact.holds(boards) for fact in facts])
    return fails & (fails.sum(0) == 1) & boards.valid
