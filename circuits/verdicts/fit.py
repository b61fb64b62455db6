"""How well a rule describes an activation, on held-out games.

    threshold     midway between two activations, where F1 of "activation > threshold" against the rule is highest on
                  the training games; precision, recall and F1 with it on the held-out games
    AUC           probability that a position where the rule holds has the higher activation (ties count half)
    variance      1 - squared error of "one mean where it holds, another where it fails", means of the training games,
                  over the squared deviation from the held-out mean: below 0 where that is worse than saying nothing
    coverage      of the held-out positions with the 1 % highest activations, the share at which the rule holds

Baselines: F1 of a unit that is always on, the base rate (for coverage), the variance explained by the mean of each ply,
and the variance that the rule explains of activations dealt to other games at the same ply. Intervals are bootstraps
over games (copies of one transcript are one game), the threshold and the means as they are. The interval of the AUC is
from activations put into `BINS` classes (ties within one), moved by what that costs the AUC itself, less than 1 / BINS.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.fact_scores import auc, best_threshold
from circuits.notation import LABELS, PLAYABLE
from circuits.rules import Rule
from circuits.verdicts.records import Estimate, Example, Fit
from circuits.verdicts.scores import Scored, estimate, learn, score, scored, varies

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
#: the share of positions that count as the highest activations
TOP = 0.01
BINS = 512
HISTOGRAM = 60
SHUFFLES = 5
EXAMPLES = 6


def unfit(rule: Rule, train: Any, held_out: Any) -> str | None:
    """Why a rule cannot be fitted to these positions, with its base rates: it never holds, or never fails."""
    counts = [(readings.packed.count(rule), readings.packed.n) for readings in (train, held_out)]
    for (n, of), where in zip(counts, ("training", "held-out"), strict=True):
        if n in (0, of):
            said = " and ".join(
                f"{n:,} of {of:,} {side} positions"
                for (n, of), side in zip(counts, ("training", "held-out"), strict=True)
            )
            verb = "never holds" if n == 0 else "never fails"
            return f"{rule} {verb} in the {where} games: it holds at {said}"
    return None


def fit(
    subject: Any, rule: Rule, train: Any, held_out: Any, examples: int = EXAMPLES, seed: int = 0
) -> tuple[Fit | None, str]:
    """The rule against the subject's scalar.

    Args:
        subject: a `circuits.verdicts.subjects.Subject`; train, held_out: its `Readings` on games of their own.
        examples: positions shown of each kind, each of another game.

    Returns:
        The fit, or None and why there is none (`unfit`). An activation that never varies has AUC 0.5 and explains 0.
    """
    if reason := unfit(rule, train, held_out):
        return None, reason
    learnt, out = scored(train, subject), scored(held_out, subject)
    learnt_holds, holds = train.packed.holds(rule), held_out.packed.holds(rule)
    levels = learn(learnt, [rule])
    threshold = best_threshold(learnt.acts, learnt_holds)
    scores = score(out, [rule], levels)
    on, n = out.acts > threshold, int(holds.sum())
    draws = out.draws(seed=seed)
    when = torch.tensor(QUANTILES, dtype=torch.float64)
    base_rate = n / len(holds)
    cut = _top(out.acts)
    explained = float(scores.variance_explained[0])
    drawn_error, drawn_total = draws @ scores.errors[0], out.total(draws)
    return Fit(
        threshold=threshold,
        mean_on=float(levels.on[0]),
        mean_off=float(levels.off[0]),
        sd=float(out.acts.double().std()),
        positives=n,
        negatives=len(holds) - n,
        games=out.games,
        train_positives=int(levels.positives[0]),
        train_games=learnt.games,
        precision=_ratio(out, draws, on & holds, on),
        recall=_ratio(out, draws, on & holds, holds),
        f1=_ratio(out, draws, 2 * (on & holds).double(), on.double() + holds.double()),
        auc=auc_over_games(out, holds, draws),
        variance_explained=estimate(
            explained,
            1 - drawn_error / drawn_total.clamp_min(1e-300) if varies(out.acts) else torch.zeros(len(draws)),
            out.games,
        ),
        top_coverage=_ratio(out, draws, (out.acts >= cut) & holds, out.acts >= cut),
        chance_f1=2 * base_rate / (1 + base_rate),
        chance_top=base_rate,
        ply_variance_explained=_by_ply(learnt, out, train.packed.ply, held_out.packed.ply),
        shuffled_variance_explained=_shuffled(rule, learnt, out, seed),
        when_holds=tuple(out.acts[holds].double().quantile(when).tolist()),
        when_fails=tuple(out.acts[~holds].double().quantile(when).tolist()),
        quantiles=QUANTILES,
        **_histogram(out.acts, holds),
        **_examples(rule, out, held_out, holds, examples, seed),
    ), ""  # fmt: skip


def _ratio(at: Scored, draws: Float[Tensor, "draw game"], part: Tensor, whole: Tensor) -> Estimate:
    """Sum of ``part`` over sum of ``whole``; 0 of nothing."""
    columns = torch.stack([part.double(), whole.double()])
    sums = torch.zeros(2, at.games, dtype=torch.float64).index_add_(1, at.game, columns)
    top, bottom = sums @ draws.T
    n, of = sums.sum(1).tolist()
    return estimate(n / of if of else 0.0, top / bottom.clamp_min(1e-9), at.games)


def auc_over_games(at: Scored, holds: Bool[Tensor, "n"], draws: Float[Tensor, "draw game"]) -> Estimate:
    """AUC with its interval over games; see the module for what is rounded in the interval.

    Classes have ends at quantiles of the activations where the rule holds and of all, so that they are fine where
    either lie. A bootstrap sample's AUC then is a sum over classes of (holding here) x (failing below).
    """
    exact = auc(at.acts, holds)
    if at.games < 2:
        return Estimate(exact)
    ends = torch.cat([_quantile_ends(at.acts[holds], BINS // 2), _quantile_ends(at.acts, BINS // 2)]).unique()
    place = torch.bucketize(at.acts, ends)
    table = torch.zeros(2, at.games * (len(ends) + 1), dtype=torch.float64)
    columns = torch.stack([holds, ~holds]).double()
    table.index_add_(1, at.game * (len(ends) + 1) + place, columns)
    table = table.view(2, at.games, -1)

    def of(times: Float[Tensor, "draw game"]) -> Float[Tensor, "draw"]:
        held, failed = times @ table[0], times @ table[1]
        below = failed.cumsum(1) - failed / 2
        pairs = held.sum(1) * failed.sum(1)
        return torch.where(pairs > 0, (held * below).sum(1) / pairs.clamp_min(1), 0.5)

    rounded = of(torch.ones(1, at.games, dtype=torch.float64))
    return estimate(exact, (of(draws) + exact - rounded).clamp(0, 1), at.games)


def _quantile_ends(acts: Float[Tensor, "n"], n: int) -> Float[Tensor, "m"]:
    values = acts.sort().values
    return values[torch.linspace(0, len(values) - 1, n).long()].unique()


def _top(acts: Float[Tensor, "n"]) -> float:
    """The lowest of the `TOP` highest activations, one at least; ties at it count too."""
    return float(acts.topk(max(1, round(TOP * len(acts)))).values[-1])


def _by_ply(
    train: Scored, held_out: Scored, train_ply: Int[Tensor, "n"], held_out_ply: Int[Tensor, "m"]
) -> float:  # fmt: skip
    """Held-out variance explained by the mean activation of each ply on the training games."""
    if not varies(held_out.acts):
        return 0.0
    y = train.acts.double()
    count = torch.bincount(train_ply, minlength=64)
    sums = torch.zeros(64, dtype=torch.float64).index_add_(0, train_ply, y)
    level = torch.where(count > 0, sums / count.clamp_min(1), y.mean())
    error = (held_out.acts.double() - level[held_out_ply]).pow(2).sum()
    return float(1 - error / held_out.total())


def _shuffled(rule: Rule, train: Scored, held_out: Scored, seed: int) -> float:
    """The variance that the rule explains of activations dealt among the positions of a ply, mean of some deals."""
    generator = torch.Generator().manual_seed(seed)
    explained = []
    for _ in range(SHUFFLES):
        dealt = [
            Scored(at.packed, _deal(at.acts, at.packed.ply, generator), at.game, at.games) for at in (train, held_out)
        ]
        explained.append(float(score(dealt[1], [rule], learn(dealt[0], [rule])).variance_explained[0]))
    return sum(explained) / len(explained)


def _deal(acts: Float[Tensor, "n"], ply: Int[Tensor, "n"], generator: torch.Generator) -> Float[Tensor, "n"]:
    """The same activations in a random order within each ply."""
    here = ply.argsort(stable=True)
    there = (ply + torch.rand(len(ply), generator=generator, dtype=torch.float64)).argsort()
    dealt = torch.empty_like(acts)
    dealt[here] = acts[there]
    return dealt


def _histogram(acts: Float[Tensor, "n"], holds: Bool[Tensor, "n"]) -> dict[str, tuple]:
    low, high = float(acts.min()), float(acts.max())
    if high <= low:  # a constant activation still has a histogram
        low, high = low - 0.5, high + 0.5
    edges = torch.linspace(low, high, HISTOGRAM + 1, dtype=torch.float64)
    edges[0], edges[-1] = low, high
    bins = torch.bucketize(acts.double(), edges[1:-1], right=True)
    return {
        "edges": tuple(edges.tolist()),
        "counts": tuple(torch.bincount(bins, minlength=HISTOGRAM).tolist()),
        "holds": tuple(torch.bincount(bins[holds], minlength=HISTOGRAM).tolist()),
    }


def _examples(
    rule: Rule, at: Scored, readings: Any, holds: Bool[Tensor, "n"], n: int, seed: int
) -> dict[str, tuple[Example, ...]]:
    """Positions of different games: the lowest where it holds, the highest where it fails, some at random."""
    inside, outside = holds.nonzero().squeeze(1), (~holds).nonzero().squeeze(1)
    mixed = inside[torch.randperm(len(inside), generator=torch.Generator().manual_seed(seed))]
    chosen = {
        "missed": inside[at.acts[inside].argsort(stable=True)],
        "false_alarms": outside[at.acts[outside].argsort(descending=True, stable=True)],
        "typical": mixed,
    }
    facts = {str(atom): readings.packed.holds(atom) for atom in rule.atoms}
    return {
        name: tuple(example(i, at, readings, holds, facts) for i in _distinct(order, at.game, n))
        for name, order in chosen.items()
    }


def _distinct(order: Int[Tensor, "m"], game: Int[Tensor, "n"], n: int) -> list[int]:
    """The first ``n`` positions of an order that are of different games."""
    seen: dict[int, int] = {}
    for i in order.tolist():
        seen.setdefault(int(game[i]), i)
        if len(seen) == n:
            break
    return list(seen.values())


def example(i: int, at: Scored, readings: Any, holds: Bool[Tensor, "n"], facts: dict[str, Tensor]) -> Example:
    """One position as a record."""
    row, ply = int(readings.packed.row[i]), int(readings.packed.ply[i])
    return Example(
        address=str(readings.games.address(row, ply)),
        transcript=tuple(LABELS[PLAYABLE[token - 1]] for token in readings.games.tokens[row, : ply + 1].tolist()),
        ply=ply,
        activation=float(at.acts[i]),
        holds=bool(holds[i]),
        literals={name: bool(fact[i]) for name, fact in facts.items()},
    )
