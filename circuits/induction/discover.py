"""The best rule of every neuron, and its figures.

    found = facts(sample(model, games))
    for acts in layers(found.sample):
        rows = discover(found, acts, acts.names)

How rules are found is `find`'s, and what is measured of them `measure`'s. With ``resamples`` they are found again on
random halves of the training games, and compared where they hold among the held-out positions, and by logic.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor
from tqdm.auto import tqdm

from circuits.errors import InputError
from circuits.induction.facts import Facts
from circuits.induction.find import Finder, Found
from circuits.induction.measure import Measure
from circuits.induction.records import CLOCK, EXPLAINED, PARTLY, NeuronRule, Score
from circuits.induction.sample import LayerActs, Side, Triple
from circuits.induction.single_changes import Terms
from circuits.induction.threads import one_thread, side_by_side
from circuits.induction.trees import Trees, grow
from circuits.rules.logic import equivalent, simplify

#: neurons searched at a time
BATCH = 64
DEPTH, SHALLOW = 8, 4


def discover(
    facts: Facts,
    acts: Triple | LayerActs,
    names: Sequence[str],
    *,
    depth: int = DEPTH,
    trees: Trees | None = None,
    resamples: int = 0,
    progress: str | None = None,
) -> list[NeuronRule]:
    """A row for each neuron.

    Args:
        acts: activations at the positions of the facts' sample, of neurons or of anything else.
        names: of each.
        depth: of the trees.
        trees: those of the training activations on the facts' literals, if they are grown already.
        resamples: halves of the training games on which rules are found again; each takes about half as long.
        progress: label of a progress bar over neurons.

    Raises:
        InputError: an activation that is not finite; not as many as names, or not at these positions.
    """
    _check(facts, acts, names)
    acts = Triple(acts.train.cpu(), acts.tune.cpu(), acts.held_out.cpu())
    sample = facts.sample
    measure, whole = Measure(sample), Finder(facts)
    facts.matrix(sample.held_out)
    parts = [slice(first, first + BATCH) for first in range(0, len(names), BATCH)]

    def trees_of(finder: Finder, at: slice) -> Trees:
        train = acts.train[at] if finder.among is None else acts.train[at][:, finder.among]
        return grow(finder.literals, train, depth)

    def rows(at: slice) -> list[tuple[NeuronRule, Terms]]:
        part = Triple(acts.train[at], acts.tune[at], acts.held_out[at])
        made = _rows(facts, measure, whole, part, names[at], trees_of(whole, at) if trees is None else trees[at])
        bar.update(len(made))
        return made

    def again(finder: Finder, at: slice) -> list[Terms]:
        found = finder(acts.train[at], acts.tune[at], trees_of(finder, at))
        bar.update(len(found))
        return [() if f is None else f.terms for f in found]

    total = (1 + resamples) * len(names)
    with (
        tqdm(total=total, desc=progress, unit=" neurons", disable=progress is None) as bar,
        one_thread(torch.device("cpu")) as threads,
    ):
        made = [row for part in side_by_side(rows, parts, threads) for row in part]
        others = []
        for r in range(resamples):
            finder = Finder(facts, _half(sample.train, sample.seed + r))
            found = side_by_side(partial(again, finder), parts, threads)
            others.append([terms for part in found for terms in part])
    if not resamples:
        return [row for row, _ in made]
    compared = [_stability(facts, terms, [other[n] for other in others]) for n, (_, terms) in enumerate(made)]
    return [replace(row, agreement=f1, same=same) for (row, _), (f1, same) in zip(made, compared, strict=True)]


def _rows(
    facts: Facts, measure: Measure, finder: Finder, acts: Triple, names: Sequence[str], trees: Trees
) -> list[tuple[NeuronRule, Terms]]:
    live = (acts.train.amax(1) > acts.train.amin(1)) & (acts.held_out.amax(1) > acts.held_out.amin(1))
    r2 = trees.r2_by_depth(facts.matrix(facts.sample.held_out), acts.held_out)
    ply = measure.by_ply(acts.train, acts.held_out)
    rows = []
    for n, found in enumerate(finder(acts.train, acts.tune, trees)):
        found = found if live[n] else None
        own = _found(facts, measure, found, acts.train[n], acts.held_out[n]) if found else {}
        row = NeuronRule(
            **{"source": None, "rule": None, "other": None, "alternatives": ()} | own,
            unit=names[n],
            status=status(bool(live[n]), own.get("rule"), float(ply[n])),
            tree=float(r2[-1, n]),
            tree_4=float(r2[min(SHALLOW, trees.depth), n]),
            ply=float(ply[n]),
            mean=float(acts.held_out[n].double().mean()),
            sd=float(acts.held_out[n].double().std()),
        )
        rows.append((row, found.terms if found else ()))
    return rows


def _found(facts: Facts, measure: Measure, found: Found, train: Tensor, held_out: Tensor) -> dict:
    """The fields of a row that a rule has."""
    rule = simplify(facts.rule(found.terms))
    alternatives, refined = found.judge.alternatives(found.near, filter(None, (found.other, found.spare)))
    return {
        "source": found.source,
        "rule": measure.score(rule, train, held_out),
        # As it was found: to simplify a long one by logic takes long.
        "other": measure.score(facts.rule(found.other), train, held_out) if found.other else None,
        "alternatives": tuple(str(facts.rule(terms)) for terms in alternatives),
        "refined": tuple(str(facts.rule(terms)) for terms in refined),
        "unseen": found.judge(found.terms).unseen,
        "complete": found.complete,
        "shuffled": measure.shuffled(rule, train, held_out),
    }


def status(live: bool, score: Score | None, ply: float) -> str:
    """One of `records.STATUSES`."""
    if not live:
        return "dead"
    explained = score.variance_explained if score else None
    low = 0.0 if explained is None else explained.value if explained.low is None else explained.low
    # A rule of nothing but the ply explains as much as the plies' means, or hardly less.
    if ply >= CLOCK and ply >= low:
        return "clock"
    return "explained" if low >= EXPLAINED else "partly" if low >= PARTLY else "unexplained"


def _half(side: Side, seed: int) -> Bool[Tensor, "n"]:
    """The positions of a random half of the games."""
    order = torch.randperm(side.n_games, generator=torch.Generator().manual_seed(seed))
    return torch.isin(side.group, order[: side.n_games // 2])


def _stability(facts: Facts, terms: Terms, others: Sequence[Terms]) -> tuple[float | None, float | None]:
    """Mean F1 with other rules on the held-out positions, and the share that are equivalent; None without a rule."""
    if not terms:
        return None, None
    rule, own = facts.rule(terms), facts.where(terms, facts.sample.held_out)
    f1, same = [], []
    for other in others:
        where = facts.where(other, facts.sample.held_out)
        f1.append(2 * len(np.intersect1d(own, where, assume_unique=True)) / max(len(own) + len(where), 1))
        same.append(other == terms or equivalent(facts.rule(other), rule))
    return float(np.mean(f1)), float(np.mean(same))


def _check(facts: Facts, acts: Triple | LayerActs, names: Sequence[str]) -> None:
    given = (acts.train, acts.tune, acts.held_out)
    for said, side, part in zip(("training", "tuning", "held-out"), facts.sample.sides, given, strict=True):
        if part.shape != (len(names), side.n):
            raise InputError(
                f"{said} activations have the shape {list(part.shape)}, and {len(names)} neurons at {side.n:,}"
                f" positions need {[len(names), side.n]}"
            )
        bad = (~part.isfinite()).sum(1)
        if bad.any():
            i = int(bad.nonzero()[0])
            raise InputError(
                f"{names[i]} has {int(bad[i]):,} {said} activations of {side.n:,} that are NaN or infinite: none may be"
            )
