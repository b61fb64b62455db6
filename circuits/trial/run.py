"""The trial of discovery and verdicts on planted truth, one seed at a time.

    planted    rules of every family at every noise and dose, on one batch of activations a cell       `planting`
    blanks     noise and clock neurons; real neurons as they are and dealt to other games               `planting`
    weights    neurons planted in a copy of the model, found on its own activations                     `planted_model`
    graded     verdicts on what was planted, and on decoys                                              `decoys`

Rules are drawn anew for every cell, so that its cases are independent; the games are the seed's.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import torch

from circuits.games import Games
from circuits.induction.discover import discover
from circuits.induction.facts import Facts, facts
from circuits.induction.records import NeuronRule
from circuits.induction.sample import Triple, layers, sample
from circuits.rules import Claim, Rule
from circuits.rules.text import parse_rule
from circuits.trial import outcomes, planting
from circuits.trial.decoys import decoys
from circuits.trial.hosts import PlantedModel, positions
from circuits.trial.outcomes import Host
from circuits.trial.planting import ALONE, FAMILIES
from circuits.trial.records import BETTER, BY, CALLED, SEEN, SILENT, Blank, Graded, Planted, ThroughWeights
from circuits.verdicts.readings import Ground
from circuits.verdicts.records import Verdict
from circuits.verdicts.verdict import test

#: of the variance: what a rule must explain beyond the ply to say more than it
BY_PLY = 0.02
#: told of each step done
Told = Callable[[str], None]


def found_of(own: Facts, acts: Triple) -> list[NeuronRule]:
    """The rows of invented neurons, all of them, in order."""
    return discover(own, acts, [f"L0N{i}" for i in range(len(acts.train))])


def plant_all(
    own: Facts,
    hosts: Triple,
    host_rules: Sequence[Rule | None],
    each: int,
    seed: int,
    noises: Iterable[float] = planting.NOISES,
    doses: Iterable[float] = planting.DOSES,
    told: Told = lambda _: None,
) -> list[Planted]:
    """``each`` rules of every family at every noise and dose, and what is found.

    Args:
        hosts: standardised, drawn from anew in every cell; host_rules: what discovery finds of each by itself.
    """
    cells = [(noise, dose) for dose in doses for noise in noises]
    rows = []
    for number, (noise, dose) in enumerate(cells):
        at = 1000 * seed + number
        rules = [(r, f) for f in FAMILIES for r in planting.draw_rules(f, own.sample.train.packed, each, at)]
        generator = torch.Generator().manual_seed(at)
        which = torch.randint(len(hosts.train), (len(rules),), generator=generator)
        acts = planting.planted(own.sample, [r for r, _ in rules], noise, at, planting.some_of(hosts, which), dose)
        found = zip(rules, found_of(own, acts), which.tolist(), acts.held_out, strict=True)
        for (rule, family), row, host, y in found:
            alone = dose == ALONE
            under = Host(hosts.train[host], hosts.held_out[host], host_rules[host])
            what, agreement = outcomes.outcome(rule, row, own.sample, None if alone else under)
            if what == SILENT and not alone and _is_better(row, rule, y, own):
                what = BETTER
            rows.append(_planted(own, family, noise, None if alone else dose, seed, rule, row, what, agreement))
        told(f"noise {noise:g}, dose {dose:g}")
    return rows


def _planted(
    own: Facts, family: str, noise: float, dose: float | None, seed: int, rule: Rule, row: NeuronRule, what: str,
    agreement: float,
) -> Planted:  # fmt: skip
    train = own.sample.train.packed
    return Planted(
        family=family,
        noise=noise,
        dose=dose,
        seed=seed,
        rule=str(rule),
        base_rate=train.count(rule) / train.n,
        margin=planting.margin(rule, train),
        status=row.status,
        source=row.source,
        found=row.rule.rule if row.rule else None,
        other=row.other.rule if row.other else None,
        alternatives=row.alternatives,
        outcome=what,
        agreement=agreement,
        variance_explained=row.rule.variance_explained.value if row.rule else 0.0,
        refined=row.refined,
        unseen=row.unseen,
    )


def blank(kind: str, rows: Sequence[NeuronRule]) -> Blank:
    """Rows of one kind, counted."""
    called = [row for row in rows if row.status in CALLED]
    best = max((row.rule for row in rows if row.rule), key=lambda s: s.variance_explained.value, default=None)
    return Blank(
        kind,
        len(rows),
        dict(Counter(row.status for row in rows)),
        sum(row.rule.variance_explained.value <= row.ply + BY_PLY for row in called),
        best.variance_explained.value if best else 0.0,
        best.rule if best else None,
    )


def noise_blanks(own: Facts, each: int, seed: int) -> list[Blank]:
    """Neurons of every kind of noise."""
    kinds = planting.NOISE_KINDS
    return [blank(kind, found_of(own, planting.noise(own.sample, kind, each, seed))) for kind in kinds]


def clock_blanks(own: Facts, each: int, seed: int, noises: Sequence[float] = (0.0, 0.25, 0.5)) -> list[Blank]:
    """Neurons of every kind of clock, at several noises in turn (their variance explained by the ply: 1, .94, .8)."""
    found = []
    for kind in planting.CLOCK_KINDS:
        rows = []
        for i, noise in enumerate(noises):
            n = len(range(i, each, len(noises)))
            rows += found_of(own, planting.clocks(own.sample, kind, n, noise, 100 * seed + i)) if n else []
        found.append(blank(kind, rows))
    return found


def merged(blanks: Iterable[Blank]) -> list[Blank]:
    """Those of one kind, of several seeds, as one."""
    by_kind: dict[str, list[Blank]] = {}
    for one in blanks:
        by_kind.setdefault(one.kind, []).append(one)
    found = []
    for kind, several in by_kind.items():
        worst = max(several, key=lambda one: one.worst)
        statuses = sum((Counter(one.statuses) for one in several), Counter())
        found.append(
            Blank(
                kind,
                sum(one.n for one in several),
                dict(statuses),
                sum(one.by_ply for one in several),
                worst.worst,
                worst.worst_rule,
            )
        )
    return found


def through_weights(planted: PlantedModel, games: Games, seed: int) -> list[ThroughWeights]:
    """What discovery finds of neurons planted through weights, on the planted model's own activations."""
    s = sample(planted.model, games, seed=seed)
    (acts,) = layers(s, [planted.layer])
    own, k = facts(s), len(planted.claims)
    of = planting.some_of(acts, torch.arange(len(acts.train) - k, len(acts.train)))
    rows = discover(own, of, planted.units)
    found = []
    for claim, row, y, fit in zip(planted.claims, rows, of.held_out, planted.f1, strict=True):
        what, _ = outcomes.outcome(claim.rule, row, s)
        fits = _explained(y, s.held_out.packed.holds(claim.rule))
        if what not in SEEN and _is_better(row, claim.rule, y, own):
            what = BETTER
        found.append(
            ThroughWeights(
                unit=row.unit,
                seed=seed,
                claim=str(claim),
                planting=fit,
                fits=fits,
                status=row.status,
                found=row.rule.rule if row.rule else None,
                alternatives=row.alternatives,
                outcome=what,
                explained=row.rule.variance_explained.value if row.rule else 0.0,
            )
        )
    return found


def _is_better(row: NeuronRule, planted: Rule, y: torch.Tensor, own: Facts) -> bool:
    """Whether the rule found says more of the neuron, held out, than the planted one at the levels that fit best."""
    fits = _explained(y, own.sample.held_out.packed.holds(planted))
    return row.rule is not None and row.rule.variance_explained.value > fits + BY


def _explained(y: torch.Tensor, holds: torch.Tensor) -> float:
    """The variance that a rule's two means explain, of the positions they are taken on."""
    levels = torch.where(holds, y[holds].mean(), y[~holds].mean())
    return 1 - float((y - levels).double().var()) / float(y.double().var())


def grade_all(planted: PlantedModel, ground: Ground, told: Told = lambda _: None) -> list[Graded]:
    """Verdicts on every planted claim and on its decoys.

    Args:
        ground: of the planted model; its board readers are for effects on squares' states.
    """
    packed = positions(ground.train, ground.band)
    found = []
    for unit, claim in zip(planted.units, planted.claims, strict=True):
        tried: list[tuple[str, Rule | Claim, float]] = [("true", claim, 1.0), *decoys(claim.rule, packed)]
        for kind, other, correlation in tried:
            verdict = test(ground, unit, other)
            found.append(_graded(verdict, kind, correlation))
            told(f"{unit} {kind}: {verdict.grade}")
    return found


def _graded(verdict: Verdict, kind: str, correlation: float) -> Graded:
    causes = [f"{check.name}: {check.figure}" for check in verdict.checks if check.group == "causes"]
    explained = verdict.fit.variance_explained.value if verdict.fit else None
    return Graded(verdict.unit, verdict.claim, kind, correlation, verdict.grade, explained, tuple(causes))


def rules_of(rows: Sequence[NeuronRule]) -> list[Rule | None]:
    return [parse_rule(row.rule.rule) if row.rule else None for row in rows]
