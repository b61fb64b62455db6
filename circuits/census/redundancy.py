"""How many neurons carry one rule: rules that are logically the same, and those that are once the board is turned.

Rules that differ at any position of any game are not equivalent. So rules are first told apart by where they hold at a
sample's positions (packed bits, a few hundred words), and only those that hold at the same ones are asked about by
logic (`circuits.rules.logic.equivalent`). Up to the four maps of the board that keep the coloured start, a rule is told
apart by the least of the four columns of its images.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from circuits.rules import Rule
from circuits.rules.bits import Packed
from circuits.rules.logic import equivalent
from circuits.rules.symmetry import symmetric


@dataclass(frozen=True, eq=False)
class Carriers:
    """One rule and the neurons that carry it, or (up to symmetry) one of its images."""

    rule: Rule
    units: tuple[str, ...]


def carriers(rules: Mapping[str, Rule], packed: Packed, maps: bool = False) -> list[Carriers]:
    """The rules of some neurons in groups of equivalent ones, the largest groups first.

    Args:
        rules: by neuron.
        packed: positions at which rules are told apart; the more, the less logic is asked.
        maps: whether a rule and its images count as one.
    """
    units = defaultdict(list)
    for unit, rule in rules.items():
        units[rule].append(unit)
    alike: dict[bytes, list[tuple[Rule, list[str]]]] = defaultdict(list)
    for rule, own in units.items():
        images = list(symmetric(rule).values()) if maps else [rule]
        packed.prepare(atom for image in images for atom in image.atoms)
        known = alike[min(column(image, packed) for image in images)]
        for other, members in known:
            if any(same(image, other, packed) for image in images):
                members += own
                break
        else:
            known.append((rule, list(own)))
    groups = [Carriers(rule, tuple(own)) for those in alike.values() for rule, own in those]
    return sorted(groups, key=lambda group: -len(group.units))


def column(rule: Rule, packed: Packed) -> bytes:
    """Where a rule holds, as bytes."""
    return packed.evaluate(rule).numpy().tobytes()


def same(a: Rule, b: Rule, packed: Packed) -> bool:
    """Whether two rules are equivalent; logic is asked only about those that hold at the same positions."""
    return a == b or (column(a, packed) == column(b, packed) and equivalent(a, b))


def shared(groups: Sequence[Carriers]) -> int:
    """How many neurons carry a rule that another one carries too."""
    return sum(len(group.units) for group in groups if len(group.units) > 1)
