"""How many unrelated rules one neuron carries.

    terms     the rule's ANDs, those that share a square taken together. Such a group *carries* if, at held-out
              positions where no other group holds, it lifts the activation by half of what the rule is worth
              (mean there less mean_off, over mean_on - mean_off, training levels) or more
    further   at positions where the rule fails: the fact (a literal on a square, or one of the 960 patterns) that
              shares no square with the rule and whose two means explain most of what varies there. It is chosen and
              its two levels are learnt on the tuning games; held out are what it explains there, and its *rise*:
              by how much of mean_on - mean_off the activation is higher where it holds

For all neurons at once: with m the 0/1 mask of where each rule fails and z the masked activations of mean 0 and
variance 1 over the M positions left, a fact that holds at N of them with sum S explains S^2 / (N (M - N)); all N and S
are the products m F and z F. `further` takes any facts, so that a search for conjunctions can be put in its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.features import PATTERNS
from circuits.induction.records import NeuronRule
from circuits.induction.sample import Side
from circuits.notation import N_SQUARES
from circuits.rules import Atom, Line, Literal, Or, Rule
from circuits.rules.bits import Packed

#: share of mean_on - mean_off by which a group of terms must lift the activation by itself
CARRIES = 0.5
#: what a further fact must explain where the rule fails, held out, and its rise as a share of mean_on - mean_off
FURTHER, RISE = 0.1, 0.25
#: positions where a group must hold alone; where a fact must hold and fail where the rule fails
ALONE, LEAST = 20, 50
KINDS = ("empty", "mine", "theirs", "played", "flipped")
_BLOCK = 128


@dataclass(frozen=True, eq=False)
class FurtherFacts:
    """Facts at the tuning and the held-out positions, for `further`. Made once for a sample."""

    atoms: tuple[Atom, ...]
    tune: Float[Tensor, "fact n"]
    held_out: Bool[Tensor, "fact m"]

    @cached_property
    def squares(self) -> Float[Tensor, "fact 64"]:
        """1 for each square that a fact names."""
        return torch.stack([_board(atom) for atom in self.atoms])


def further_facts(tune: Side, held_out: Side) -> FurtherFacts:
    """The 320 literals and the 960 patterns, those that hold and fail often enough on the tuning games."""
    atoms = [*(Literal(square, kind) for kind in KINDS for square in range(N_SQUARES)), *map(Line, PATTERNS)]
    for side in (tune, held_out):
        side.packed.prepare(atoms)
    n = torch.tensor([tune.packed.count(atom) for atom in atoms])
    keep = ((n >= LEAST) & (n <= tune.n - LEAST)).tolist()
    atoms = [atom for atom, kept in zip(atoms, keep, strict=True) if kept]
    columns = [torch.zeros(len(atoms), side.n, dtype=torch.bool) for side in (tune, held_out)]
    for side, rows in zip((tune, held_out), columns, strict=True):
        for row, atom in zip(rows, atoms, strict=True):
            row.copy_(side.packed.holds(atom))
    return FurtherFacts(tuple(atoms), columns[0].float(), columns[1])


@dataclass(frozen=True, eq=False)
class Further:
    """The best further fact of each neuron: its number (-1: none), held-out R^2 where the rule fails, rise."""

    fact: Int[Tensor, "neuron"]
    r2: Float[Tensor, "neuron"]
    rise: Float[Tensor, "neuron"]

    @property
    def found(self) -> Bool[Tensor, "neuron"]:
        """Which neurons carry a further rule by the bars stated."""
        return (self.fact >= 0) & (self.r2 >= FURTHER) & (self.rise >= RISE)


def squares(rule: Rule) -> int:
    """The squares that a rule names, as bits; a pattern names all of its line."""
    found = 0
    for atom in rule.atoms:
        if isinstance(atom, Literal):
            found |= 1 << atom.square
        elif isinstance(atom, Line):
            found |= sum(1 << square for square in (atom.pattern.square, *atom.pattern.squares()))
    return found


def _board(rule: Rule) -> Float[Tensor, "64"]:
    mask = squares(rule)
    return torch.tensor([float(mask >> square & 1) for square in range(N_SQUARES)])


def term_groups(rule: Rule) -> list[list[Rule]]:
    """The terms of an OR in groups that share no square; a conjunction is one group of one."""
    groups: list[tuple[int, list[Rule]]] = []
    for term in terms(rule):
        mask, members = squares(term), [term]
        apart = []
        for other, those in groups:
            if other & mask:
                mask, members = mask | other, those + members
            else:
                apart.append((other, those))
        groups = [*apart, (mask, members)]
    return [members for _, members in groups]


def terms(rule: Rule) -> tuple[Rule, ...]:
    """The parts of an OR; any other rule is its own only part."""
    return rule.rules if isinstance(rule, Or) else (rule,)


def carried(
    rules: Sequence[Rule | None],
    rows: Sequence[NeuronRule],
    packed: Packed,
    acts: Float[Tensor, "neuron n"],
) -> list[int]:
    """How many groups of terms each neuron carries: 0 without a rule, 1 for a rule of one group.

    Args:
        packed, acts: the held-out positions and the layer's activations there.
    """
    found = []
    for rule, row, y in zip(rules, rows, acts, strict=True):
        groups = [] if rule is None else term_groups(rule)
        if len(groups) < 2:
            found.append(len(groups))
            continue
        holds = torch.stack([torch.stack([packed.holds(term) for term in group]).any(0) for group in groups])
        alone = holds & (holds.sum(0) == 1)
        n = alone.sum(1)
        lift = ((alone * y).sum(1) / n.clamp_min(1) - row.rule.mean_off) / (row.rule.mean_on - row.rule.mean_off)
        found.append(max(1, int(((n >= ALONE) & (lift >= CARRIES)).sum())))
    return found


def further(
    facts: FurtherFacts,
    rules: Sequence[Rule | None],
    gap: Float[Tensor, "neuron"],
    holds: tuple[Bool[Tensor, "neuron n"], Bool[Tensor, "neuron m"]],
    acts: tuple[Float[Tensor, "neuron n"], Float[Tensor, "neuron m"]],
) -> Further:
    """The best further fact where each neuron's rule fails.

    Args:
        gap: mean_on - mean_off; holds: where the rules hold on tuning and held-out positions; acts: activations there.
    """
    with_rule = torch.tensor([i for i, rule in enumerate(rules) if rule is not None], dtype=torch.int64)
    fact = torch.full((len(rules),), -1)
    r2, rise = torch.zeros(2, len(rules))
    for some in with_rule.split(_BLOCK) if len(with_rule) and facts.atoms else ():
        masks = [~side[some] for side in holds]
        touching = torch.stack([_board(rules[i]) for i in some.tolist()]) @ facts.squares.T > 0
        which, worth, learnt = _chosen(facts.tune, masks[0], acts[0][some], touching)
        y = acts[1][some]
        on, off = masks[1] & facts.held_out[which], masks[1] & ~facts.held_out[which]
        n, m = on.sum(1), off.sum(1)
        high, low = ((y * part).sum(1) / k.clamp_min(1) for part, k in ((on, n), (off, m)))
        mean = (n * high + m * low) / (n + m).clamp_min(1)
        error = ((y - learnt[0][:, None]).pow(2) * on + (y - learnt[1][:, None]).pow(2) * off).sum(1)
        total = ((y - mean[:, None]).pow(2) * masks[1]).sum(1)
        good = (worth > 0) & (n > 0) & (m > 0) & (total > 0)
        fact[some[good]] = which[good]
        r2[some[good]] = (1 - error / total)[good]
        rise[some[good]] = ((high - low) / gap[some])[good]
    return Further(fact, r2, rise)


def _chosen(
    facts: Float[Tensor, "fact n"],
    mask: Bool[Tensor, "neuron n"],
    acts: Float[Tensor, "neuron n"],
    excluded: Bool[Tensor, "neuron fact"],
) -> tuple[Int[Tensor, "neuron"], Float[Tensor, "neuron"], tuple[Float[Tensor, "neuron"], Float[Tensor, "neuron"]]]:
    """The best fact where the mask is, what it explains there, and the means where it holds and fails."""
    weight = mask.float()
    of = weight.sum(1, keepdim=True)
    mean = (acts * weight).sum(1, keepdim=True) / of.clamp_min(1)
    z = (acts - mean) * weight
    sd = (z.pow(2).sum(1, keepdim=True) / of.clamp_min(1)).sqrt().clamp_min(1e-12)
    n, s = weight @ facts.T, (z / sd) @ facts.T
    fair = (n >= LEAST) & (of - n >= LEAST) & (s > 0) & ~excluded
    worth = torch.where(fair, s**2 / (n * (of - n)).clamp_min(1), 0.0)
    best, which = worth.max(1)
    n, s = (x.gather(1, which[:, None]) for x in (n, s))
    high, low = mean + sd * s / n.clamp_min(1), mean - sd * s / (of - n).clamp_min(1)
    return which, best, (high[:, 0], low[:, 0])
