"""Is the rule found the rule planted? By logic first; by how often they agree only to say how far off it is.

A *near miss* agrees with the planted rule at F1 `NEAR` or more on held-out positions, or one of its terms lacks one of
the planted conjunction's literals, has one too many, or one exchanged, and shares another with it.

On a host, a neuron with a rule of its own, the truth is more than the planted rule: a rule found that is the planted
one "or" other terms, which explain the host by themselves, is right; and one that describes the host as its own does
says that the host moves the neuron more.
"""

from dataclasses import dataclass, replace
from itertools import combinations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuits.induction.records import NeuronRule
from circuits.induction.sample import Sample
from circuits.rules import And, Atom, Line, Or, Rule, conjunction, disjunction
from circuits.rules.logic import equivalent, implies
from circuits.rules.text import parse_rule
from circuits.trial import records as t
from circuits.verdicts.neighbours import literals, spelled_out

NEAR = 0.8
#: of the host's held-out variance, what terms beside the planted rule must explain to be the host's
OF_HOST = 0.002
#: of what the host's own rule explains of it, what a rule must explain to describe the host
LIKE_HOST = 0.5
#: terms beyond which a rule is not multiplied out
MOST_TERMS = 64
#: terms beyond which not every choice of them is tried
AT_ONCE = 8


@dataclass(frozen=True, eq=False)
class Host:
    """A real neuron that a rule was planted on, and the rule that is found of it by itself."""

    train: Float[Tensor, "n_train"]
    held_out: Float[Tensor, "n_held_out"]
    rule: Rule | None

    def explained(self, rule: Rule, sample: Sample) -> float:
        """Its held-out variance that a rule explains with the levels of the training games."""
        learnt, holds = (side.packed.holds(rule) for side in (sample.train, sample.held_out))
        if not learnt.any() or learnt.all():
            return 0.0
        levels = torch.where(holds, self.train[learnt].double().mean(), self.train[~learnt].double().mean())
        y = self.held_out.double()
        return 1 - float((y - levels).pow(2).sum() / (y - y.mean()).pow(2).sum().clamp_min(1e-300))


def outcome(planted: Rule, row: NeuronRule, sample: Sample, host: Host | None = None) -> tuple[str, float]:
    """One of `trial_records.OUTCOMES`, and F1 between the rules' held-out positions.

    On a host F1, and by how much a near miss is off, are of the terms that come nearest to the planted rule.
    """
    if row.rule is None:
        return t.NOTHING, 0.0
    found = parse_rule(row.rule.rule)
    if equivalent(found, planted):
        return t.RECOVERED, 1.0
    if host is not None and _with_host(planted, found, sample, host):
        return t.WITH_HOST, 1.0
    part = found if host is None else _nearest(planted, found, sample)
    agreement = f1(*(sample.held_out.packed.holds(rule) for rule in (part, planted)))
    for others, what in ((row.alternatives, t.LISTED), (row.refined, t.REFINED)):
        if any(_says(planted, parse_rule(other), sample, host) for other in others):
            return what, agreement
    if agreement >= NEAR or any(one_literal_off(planted, term) for term in terms(found)):
        return _told(planted, part, row, sample, agreement), agreement
    if host is not None and _like_host(found, sample, host):
        return t.HOST, agreement
    return t.OTHER, agreement


def terms(rule: Rule) -> tuple[Rule, ...]:
    """A rule as an "or" of conjunctions; as it stands where these would be more than `MOST_TERMS`."""
    if isinstance(rule, Or):
        found = tuple(dict.fromkeys(term for part in rule.rules for term in terms(part)))
        return found if len(found) <= MOST_TERMS else (rule,)
    if not isinstance(rule, And):
        return (rule,)
    found = ((),)
    for part in rule.rules:
        found = tuple((*one, term) for one in found for term in terms(part))
        if len(found) > MOST_TERMS:
            return (rule,)
    return tuple(dict.fromkeys(conjunction(one) for one in found))


def one_literal_off(a: Rule, b: Rule) -> bool:
    """Whether two conjunctions share a literal and differ in one each at most; patterns are spelled out."""
    a, b = (rule.replace(_plain) for rule in (a, b))
    if isinstance(a, Or) or isinstance(b, Or):
        return False
    a, b = set(literals(a)), set(literals(b))
    return bool(a & b) and len(a - b) <= 1 and len(b - a) <= 1


def f1(a: Bool[Tensor, "n"], b: Bool[Tensor, "n"]) -> float:
    return 2 * int((a & b).sum()) / max(int(a.sum()) + int(b.sum()), 1)


def _told(planted: Rule, part: Rule, row: NeuronRule, sample: Sample, agreement: float) -> str:
    """What is said beside a near miss: a rule as near or nearer, or at how many positions one more literal may matter.

    Alternatives that are all further from the planted rule say nothing of it; nor does the number of positions where
    the planted rule is not the one found with more literals.
    """
    held_out = sample.held_out.packed
    holds = held_out.holds(planted)
    if any(f1(held_out.holds(parse_rule(other)), holds) >= agreement for other in row.alternatives):
        return t.TOLD
    if row.unseen is None or not implies(planted, part):
        return t.SILENT
    sides = (sample.train.packed, sample.tune.packed)
    differ = sum(int((side.holds(part) != side.holds(planted)).sum()) for side in sides)
    return t.BOUNDED if differ <= row.unseen else t.SILENT


def _nearest(planted: Rule, found: Rule, sample: Sample) -> Rule:
    """The terms of a rule that together agree best with the planted one."""
    parts, packed = terms(found), sample.train.packed
    if len(parts) > AT_ONCE:
        return found
    some = [disjunction(c) for k in range(1, len(parts) + 1) for c in combinations(parts, k)]
    holds = packed.holds(planted)
    return max(some, key=lambda rule: f1(packed.holds(rule), holds))


def _says(planted: Rule, other: Rule, sample: Sample, host: Host | None) -> bool:
    return equivalent(other, planted) or (host is not None and _with_host(planted, other, sample, host))


def _with_host(planted: Rule, found: Rule, sample: Sample, host: Host) -> bool:
    own = [term for term in terms(found) if implies(term, planted)]
    rest = [term for term in terms(found) if term not in own]
    if not own or not rest or not equivalent(disjunction(own), planted):
        return False
    return host.explained(disjunction(rest), sample) >= OF_HOST


def _like_host(found: Rule, sample: Sample, host: Host) -> bool:
    best = host.explained(host.rule, sample) if host.rule is not None else 0.0
    return best > 0 and host.explained(found, sample) >= LIKE_HOST * best


def _plain(atom: Atom) -> Rule:
    """Patterns as literals, "occupied" as "not empty", so that the same thing is said in the same way."""
    if isinstance(atom, Line) and not atom.back:
        return conjunction(spelled_out(atom.pattern))
    return ~replace(atom, name="empty") if getattr(atom, "name", "") == "occupied" else atom
