"""The whole model counted: one line a layer, and the rules that several neurons carry.

Every count is of neurons, and a neuron's rule is counted where it says something (`SAYS`: status explained or partly).
`circuits.census.count_table` sets ours beside what was published of another, larger model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from circuits.census.families import terms
from circuits.census.layer import read
from circuits.census.partners import MAPS
from circuits.census.patterns_covered import (
    PatternCensus,
    PatternColumns,
    covers,
)
from circuits.census.records import LayerCensus
from circuits.census.redundancy import Carriers, carriers, shared
from circuits.census.roles import ROLE
from circuits.errors import InputError
from circuits.induction.records import STATUSES, TREE_EXPLAINED, NeuronRule
from circuits.induction.sample import Sample
from circuits.rules import Rule
from circuits.serial import Record

#: status of neurons whose rule is counted
SAYS = ("explained", "partly")
#: variance that the means by square just played explain, of a neuron that follows the last move
FOLLOWS_MOVE = 0.5
#: shared rules listed, and carriers named of each
LISTED, NAMED = 20, 12


@dataclass(frozen=True)
class LayerCounts(Record):
    """A layer's neurons; rules of `SAYS` alone.

    Attributes:
        tree, tree_published: held-out R^2 of the tree (grown as published) above .7; None where none was grown.
        patterns_covered, patterns_implied, patterns_exactly: of the 960, those that an explained rule covers, that a
            term of one implies, that one is (`circuits.census.patterns_covered`).
        played, flipped: the best literal of that kind explains `roles.ROLE`; played_in_rule, flipped_in_rule: the rule
            names one; follows_move: means by square just played explain `FOLLOWS_MOVE`.
        board_writers, move_writers: write the state of a square, a move's logit, beyond chance.
        partners: with one under each map; any_partner, all_partners: under one, under all three; own_image: that are
            their own partner under one.
        same_rule: pairs (neuron, map) with a partner whose rules are images of each other, of same_rule_of.
        shared, shared_turned: carry a rule that another one of the layer carries, or its image.
        several_groups: rules whose unrelated terms each carry; further: with a further unrelated rule.
        literals, terms: means over these rules; None without any.
    """

    layer: int
    neurons: int
    explained: int
    partly: int
    clock: int
    unexplained: int
    dead: int
    tree: int
    tree_published: int | None
    patterns_covered: int
    patterns_implied: int
    patterns_exactly: int
    played: int
    played_in_rule: int
    follows_move: int
    flipped: int
    flipped_in_rule: int
    board_writers: int
    move_writers: int
    partners: dict[str, int]
    any_partner: int
    all_partners: int
    own_image: int
    same_rule: int
    same_rule_of: int
    twins: int
    shared: int
    shared_turned: int
    several_groups: int
    further: int
    literals: float | None
    terms: float | None


@dataclass(frozen=True)
class SharedRule(Record):
    """A rule that several neurons of the model carry; up to `NAMED` of them by name."""

    rule: str
    carriers: int
    units: tuple[str, ...]


@dataclass(frozen=True)
class ModelCounts(Record):
    """All layers, and the rules of all layers together.

    Attributes:
        rules: neurons with a rule that says something; distinct: rules among these, logically; distinct_turned: up to
            the maps of the board that keep its start.
        shared, shared_turned: neurons whose rule another neuron of any layer carries, or its image.
        largest, largest_turned: the rules of most carriers.
        patterns_covered, patterns_implied, patterns_exactly: by explained rules of any layer.
        patterns: pattern neurons at each threshold; empty where they were not counted.
    """

    layers: tuple[LayerCounts, ...]
    rules: int
    distinct: int
    distinct_turned: int
    shared: int
    shared_turned: int
    largest: tuple[SharedRule, ...]
    largest_turned: tuple[SharedRule, ...]
    patterns_covered: int
    patterns_implied: int
    patterns_exactly: int
    patterns: tuple[PatternCensus, ...]


def counts(
    sample: Sample,
    censuses: Sequence[LayerCensus],
    rules: Sequence[Sequence[NeuronRule]],
    patterns: Sequence[PatternCensus] = (),
) -> ModelCounts:
    """The counts of the layers given.

    Args:
        rules: one for every neuron of each census, in its order.
        patterns: `patterns_covered.pattern_census` of the model.

    Raises:
        InputError: rules of other neurons than the censuses'.
    """
    if [[n.unit for n in c.neurons] for c in censuses] != [[row.unit for row in rows] for rows in rules]:
        raise InputError("the censuses and the rules to be counted must be of the same neurons, in one order")
    said = [{row.unit: read(row.rule.rule) for row in rows if row.rule and row.status in SAYS} for rows in rules]
    packed = sample.held_out.packed
    by_layer = [[carriers(own, packed, maps) for maps in (False, True)] for own in said]
    whole = [
        carriers({unit: rule for own in said for unit, rule in own.items()}, packed, maps) for maps in (False, True)
    ]
    columns = PatternColumns.of(packed)
    covered = cache(lambda rule: frozenset(covers(rule, columns)))
    lines = [_patterns(census, rows, covered) for census, rows in zip(censuses, rules, strict=True)]
    return ModelCounts(
        tuple(map(_layer, censuses, rules, by_layer, lines)),
        sum(map(len, said)), *map(len, whole), *map(shared, whole), *map(_largest, whole),
        *(len(set().union(*(own[i] for own in lines))) for i in range(3)),
        tuple(patterns),
    )  # fmt: skip


def _layer(
    census: LayerCensus,
    rows: Sequence[NeuronRule],
    groups: Sequence[Sequence[Carriers]],
    lines: tuple[set[str], set[str], set[str]],
) -> LayerCounts:
    neurons = census.neurons
    says = [(n, row) for n, row in zip(neurons, rows, strict=True) if row.rule and row.status in SAYS]
    found = [partner for n in neurons for partner in n.partners if partner.found]
    told = [partner for partner in found if partner.same_rule is not None]
    published_trees = [row.tree_published for row in rows if row.tree_published is not None]
    lengths = [(row.rule.literals, len(terms(read(row.rule.rule)))) for _, row in says]
    return LayerCounts(
        layer=census.layer,
        neurons=len(rows),
        **{status: sum(row.status == status for row in rows) for status in STATUSES},
        tree=sum(row.tree > TREE_EXPLAINED for row in rows),
        tree_published=sum(r2 > TREE_EXPLAINED for r2 in published_trees) if published_trees else None,
        patterns_covered=len(lines[0]),
        patterns_implied=len(lines[1]),
        patterns_exactly=len(lines[2]),
        played=sum(n.played_r2 >= ROLE for n in neurons),
        played_in_rule=sum(n.names_played for n, _ in says),
        follows_move=sum(n.by_move >= FOLLOWS_MOVE for n in neurons),
        flipped=sum(n.flipped_r2 >= ROLE for n in neurons),
        flipped_in_rule=sum(n.names_flipped for n, _ in says),
        board_writers=sum(n.board_writes > 0 for n in neurons),
        move_writers=sum(n.move_writes > 0 for n in neurons),
        partners={name: sum(partner.map == name for partner in found) for name in MAPS},
        any_partner=sum(n.has_partner for n in neurons),
        all_partners=sum(all(partner.found for partner in n.partners) for n in neurons),
        own_image=sum(any(p.found and p.unit == n.unit for p in n.partners) for n in neurons),
        same_rule=sum(bool(partner.same_rule) for partner in told),
        same_rule_of=len(told),
        twins=sum(n.has_twin for n in neurons),
        shared=shared(groups[0]),
        shared_turned=shared(groups[1]),
        several_groups=sum(n.groups > 1 for n, _ in says),
        further=sum(n.unrelated for n, _ in says),
        literals=sum(n for n, _ in lengths) / len(lengths) if lengths else None,
        terms=sum(n for _, n in lengths) / len(lengths) if lengths else None,
    )


def _patterns(
    census: LayerCensus, rows: Sequence[NeuronRule], covered: Callable[[Rule], frozenset[str]]
) -> tuple[set[str], set[str], set[str]]:
    """The patterns that explained rules of a layer cover, those that their terms imply, and those that these are."""
    explained = [(n, read(row.rule.rule)) for n, row in zip(census.neurons, rows, strict=True) if row.explained]
    return (
        {p for _, rule in explained for p in covered(rule)},
        {p for n, _ in explained for p in n.patterns},
        {p for n, _ in explained for p in n.exactly},
    )


def _largest(groups: Sequence[Carriers]) -> tuple[SharedRule, ...]:
    several = [group for group in groups[:LISTED] if len(group.units) > 1]
    return tuple(SharedRule(str(group.rule), len(group.units), group.units[:NAMED]) for group in several)
