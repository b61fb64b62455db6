"""What a neuron follows, in a word or two: from its status and the one fact on the board that describes it best.

In this order, the first that applies:

    dead           it never varies
    clock          the ply alone explains it (`circuits.induction.records`), or its role says so
    legal move     its best fact is a way in which a move is legal, or that it is; just played, just flipped, colour
                   (mine or theirs) and empty or not likewise. The fact's skill must be at least `LEAST`, and as far
                   beyond what the same search reaches on shuffled activations
    several facts  no one fact, but a rule that explains half of its held-out variance
    no one fact    otherwise; a rule may explain some of it
"""

from collections.abc import Mapping
from typing import Any

#: skill from which on a fact gives a neuron its role
LEAST = 0.25
ROLES = ("legal move", "colour", "empty or not", "just played", "just flipped", "clock", "several facts", "no one fact",
         "dead")  # fmt: skip
#: the last word of a literal
_LITERALS = {"legal": "legal move", "mine": "colour", "theirs": "colour", "empty": "empty or not",
             "occupied": "empty or not", "played": "just played", "flipped": "just flipped"}  # fmt: skip


def role(unit: Mapping[str, Any]) -> str:
    """A neuron's role, from its row of the table ``units``."""
    status, listed = unit["rule_status"], (unit["roles"] or "").split(", ")
    if status == "dead" or not unit["sd"]:
        return "dead"
    if status == "clock" or "clock" in listed:
        return "clock"
    fact, skill = unit["best_fact"], unit["best_skill"]
    if fact and skill is not None and skill - max(0.0, unit["shuffled_skill"] or 0.0) >= LEAST:
        return _LITERALS.get(fact.split()[-1], "legal move")
    return "several facts" if status == "explained" else "no one fact"


def css_class(name: str) -> str:
    """What a role or a status is called in a style sheet."""
    return name.replace(" ", "-")
