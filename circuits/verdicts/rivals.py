"""Whether a rule beats chance and its rivals, and whether each of its literals earns its place.

Rivals (`circuits.verdicts.neighbours`): the rule without each literal, with one literal changed, moved over the board,
turned and reflected, with colours swapped, and the best rule found automatically (`circuits.verdicts.search`). Beside
them random rules of the same form and base rate (`circuits.verdicts.random_rules`).

All are compared by the held-out variance that their two means, of the training games, explain, which compares rules of
unlike base rates; F1 and its skill stand beside. A rival whose levels are the other way round than the rule's (lower
where it holds, say: ``!C0 empty`` for ``C0 empty``) counts as saying nothing. For the difference to the rule tested:

    better    variance explained by the rule less by the rival; bootstrap over games, both on the games drawn
    p         sign-flip test over games on the difference of their squared errors, two-sided
    p_family  Holm over all rivals: none is called better or worse by chance in 95 % of verdicts

A literal *earns its place* if the rule without it explains less (p_family < 0.05) and none of its neighbours explains
more (p_family < 0.05). The scalar of a head or of a set is fitted to the rule tested, which rivals must live with.
"""

from collections.abc import Sequence
from typing import Any

import torch

from circuits.rules import Rule
from circuits.verdicts.neighbours import Variant, literals, moved, neighbours, sub_rules
from circuits.verdicts.random_rules import WANT, random_rules
from circuits.verdicts.records import RandomRules, Rival, Rivals, Worth
from circuits.verdicts.scores import FLIPS, Scored, estimate, holm, learn, score, scored, sign_flips, varies

ALPHA = 0.05
DROPPED, NEIGHBOUR, AUTOMATIC = "without a literal", "neighbour", "automatic"


def rivals(
    subject: Any, rule: Rule, train: Any, held_out: Any, automatic: Rule | None = None, n_random: int = WANT,
    seed: int = 0,
) -> Rivals:  # fmt: skip
    """All rivals of a rule that holds and fails on the training positions.

    Args:
        subject: a `circuits.verdicts.subjects.Subject`; train, held_out: its `Readings` on games of their own.
        automatic: the best rule found on the training games.
    """
    tried, words = _variants(rule, train, held_out)
    if automatic is not None:
        tried.append(Variant(AUTOMATIC, automatic, "the best rule found on the training games"))
    learnt, out = scored(train, subject), scored(held_out, subject)
    explained, found = compare(rule, tried, learnt, out, seed)
    return Rivals(
        rivals=tuple(found),
        random=_random(rule, learnt, out, n_random, seed),
        literals=tuple(_worth(str(literal), found, explained) for literal in literals(rule)),
        automatic=next((r for r in found if r.kind == AUTOMATIC), None),
        words=(
            "compared by the held-out variance that two means of the training games explain; p by "
            f"{_flips(len(tried)):,} sign flips over {out.games} games, corrected for {len(tried)} rivals (Holm); "
            + words
        ),
    )


def _variants(rule: Rule, train: Any, held_out: Any) -> tuple[list[Variant], str]:
    """The rivals worth trying, each once, and how many are not: a literal taken out is always tried."""
    different: dict[Rule, Variant] = {}
    for variant in (*sub_rules(rule), *neighbours(rule), *moved(rule)):
        different.setdefault(variant.rule, variant)
    train.packed.prepare(dict.fromkeys(atom for other in different for atom in other.atoms))
    held_out.packed.prepare(dict.fromkeys(atom for other in different for atom in other.atoms))
    own = [readings.packed.evaluate(rule) for readings in (train, held_out)]
    tried, never, same = [], 0, 0
    for other, variant in different.items():
        bits = [readings.packed.evaluate(other) for readings in (train, held_out)]
        if variant.kind == DROPPED:
            tried.append(variant)
        elif not bits[0].any() or train.packed.count(other) == train.packed.n:
            never += 1
        elif all(map(torch.equal, bits, own)):
            same += 1
        else:
            tried.append(variant)
    return tried, (
        f"left out: {never} that never hold, or never fail, in the training games, and {same} that hold at the very "
        "positions where the rule does"
    )


def compare(
    rule: Rule, variants: Sequence[Variant], train: Scored, held_out: Scored, seed: int = 0
) -> tuple[float, list[Rival]]:
    """The held-out variance that a rule explains, and each of its rivals beside it."""
    rules = [rule, *(variant.rule for variant in variants)]
    scores = score(held_out, rules, learn(train, rules).like_first(_mean(train)))
    more = scores.errors[1:] - scores.errors[0]
    # What is only rounding must not have a sign.
    more = torch.where(more.abs() > 1e-9 * scores.errors[0], more, 0.0)
    p = sign_flips(more, _flips(len(more)), seed=seed)
    p_family = holm(p)
    total, draws = held_out.total(), held_out.draws(seed=seed)
    if varies(held_out.acts):
        better, drawn = more.sum(1) / total, more @ draws.T / held_out.total(draws).clamp_min(1e-300)
    else:
        better, drawn = torch.zeros(len(more)), torch.zeros(len(more), len(draws))
    one_game = held_out.games < 2
    return float(scores.variance_explained[0]), [
        Rival(
            kind=variant.kind,
            rule=str(variant.rule),
            what=variant.what,
            base_rate=float(scores.base_rate[i + 1]),
            positives=int(scores.positives[i + 1]),
            variance_explained=float(scores.variance_explained[i + 1]),
            f1=float(scores.f1[i + 1]),
            skill=float(scores.skill[i + 1]),
            better=estimate(float(better[i]), drawn[i], held_out.games),
            p=None if one_game else float(p[i]),
            p_family=None if one_game else float(p_family[i]),
            literal=variant.literal,
            note=_note(variant.rule, rule, held_out),
        )
        for i, variant in enumerate(variants)
    ]


def _note(other: Rule, rule: Rule, held_out: Scored) -> str:
    if other == rule:
        return "the rule tested"
    same = torch.equal(held_out.packed.evaluate(other), held_out.packed.evaluate(rule))
    return "holds at the same held-out positions" if same else ""


def _flips(rivals: int) -> int:
    """Enough sign flips that the smallest p, corrected for so many rivals, is half of `ALPHA` at most."""
    return max(FLIPS, round(2 * rivals / ALPHA))


def _random(rule: Rule, train: Scored, held_out: Scored, n: int, seed: int) -> RandomRules | None:
    drawn, words = random_rules(rule, train.packed, n, seed)
    if not drawn:
        return None
    rules = [rule, *drawn]
    explain = score(held_out, rules, learn(train, rules).like_first(_mean(train))).variance_explained
    explained, others = float(explain[0]), explain[1:]
    return RandomRules(
        n=len(drawn),
        size=len(literals(rule)),
        variance_explained=tuple(others.tolist()),
        p=(1 + int((others >= explained).sum())) / (1 + len(drawn)),
        words=words,
        examples=tuple(str(drawn[i]) for i in others.argsort(descending=True)[:3].tolist()),
    )


def _mean(at: Scored) -> float:
    return float(at.acts.double().mean())


def _worth(literal: str, found: Sequence[Rival], explained: float) -> Worth:
    without = next(r for r in found if r.kind == DROPPED and r.literal == literal)
    beside = [r for r in found if r.kind == NEIGHBOUR and r.literal == literal]
    best = max(beside, key=lambda r: r.variance_explained, default=None)
    return Worth(
        literal=literal,
        loss=without.better,
        p_family=without.p_family,
        best_neighbour=best and best.rule,
        neighbour_gain=best and best.variance_explained - explained,
        earns=_significant(without) and without.better.value > 0
        and not any(_significant(r) and r.better.value < 0 for r in beside),
    )  # fmt: skip


def _significant(rival: Rival) -> bool:
    return rival.p_family is not None and rival.p_family < ALPHA
