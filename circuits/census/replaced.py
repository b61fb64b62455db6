"""How much of the model its rules explain: neurons replaced by what their rules say, from the board alone.

In whole held-out games, at every ply of the band, the neurons of a set E in one layer (or in all) become what is
predicted of them:

    rules   the two levels of each neuron's rule, its training means where the rule holds and where it fails
    trees   the training mean of the leaf that the position falls into

and the layer's other neurons are *kept* as they are (recomputed where an earlier layer was changed) or become their
training *means*. Nothing but the board enters a prediction, so all layers can be replaced at once.

    KL      mean over positions of KL(p of the model || p of the changed model), nats
    top-N   mean share of the N likeliest moves that are legal, N the number of legal moves

What to hold them against: the whole layer at its means, and at the means of each ply; the same neurons at their means,
the rest kept (what there was to explain); and as many neurons drawn at random, whatever their rules are worth, in the
place of E, with the rest kept and with the rest at their means.

Positions are those of the band that have a next move; intervals are bootstraps over games; every LayerNorm is
recomputed in the changed run. Published figures: `circuits.census.published`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm.auto import tqdm

from circuits.activations import BATCH
from circuits.causes.effects import BOOTSTRAP, bootstrap_draws
from circuits.census.replaced_runs import Batch, Tally
from circuits.errors import InputError
from circuits.games import Games
from circuits.plain import PlainModel
from circuits.serial import Record
from circuits.verdicts.readings import check_band, groups
from circuits.verdicts.records import Estimate
from circuits.verdicts.replacement import divergence

#: random sets of neurons, of whose runs the mean is taken
RANDOM_SETS = 3
#: kinds of runs, in the order of the table
KINDS = (
    "replaced, rest kept",
    "replaced, rest mean",
    "same neurons at their means",
    "random, rest kept",
    "random, rest mean",
)
WHOLE = ("whole layer at its means", "whole layer at its means by ply")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What is predicted of a layer's neurons at positions.

    Attributes:
        layer: which.
        values: by "rules" or "trees", the predicted activations at the band's positions, row-major (game, then ply).
        explained: by the same name, the neurons that count as explained by it.
        mean: training means; by_ply: training means at each ply of the band.
    """

    layer: int
    values: dict[str, Float[Tensor, "neuron position"]]
    explained: dict[str, Bool[Tensor, "neuron"]]
    mean: Float[Tensor, "neuron"]
    by_ply: Float[Tensor, "neuron ply"]


@dataclass(frozen=True)
class Run(Record):
    """One line of the table: which neurons became what, and what it cost."""

    layer: int | None  # None: all layers at once
    by: str  # "rules", "trees", or "means"
    kind: str  # of `KINDS` or `WHOLE`
    neurons: int  # set to predictions (or, for means, to means)
    of: int
    kl: Estimate
    top_n: Estimate


@dataclass(frozen=True)
class Replaced(Record):
    """The table, and what it is of."""

    runs: tuple[Run, ...]
    clean_top_n: Estimate
    games: int
    positions: int
    first_ply: int
    last_ply: int
    random_sets: int

    def of(self, layer: int | None, by: str, kind: str) -> Run | None:
        """One run, if it was made."""
        return next((run for run in self.runs if (run.layer, run.by, run.kind) == (layer, by, kind)), None)


@torch.no_grad()
def replaced(
    model: PlainModel,
    games: Games,
    predictions: Sequence[Predictions],
    band: slice,
    *,
    seed: int = 0,
    progress: str | None = None,
) -> Replaced:
    """The table, layer by layer and of all layers together.

    Args:
        games: held out; predictions: of their positions in the band, of every layer that is to be replaced.

    Raises:
        InputError: predictions of other positions than those of the games' band; a layer twice.
    """
    band = check_band(band)
    where = torch.zeros(len(games), band.stop, dtype=torch.bool)
    where[:, band] = games.boards().valid[:, band]
    _check(model, predictions, int(where.sum()))
    group = groups(games)
    tallies: dict[tuple[int | None, str, str], Tally] = {}
    clean = Tally()
    numbers = torch.full(where.shape, -1)
    numbers[where] = torch.arange(int(where.sum()))
    plans = list(_plans(predictions, torch.Generator().manual_seed(seed)))
    with tqdm(total=len(games), desc=progress, unit=" games", disable=None if progress else True, leave=False) as bar:
        for rows in torch.arange(len(games)).split(BATCH):
            batch = Batch.of(model, games[rows], numbers[rows], group[rows], band.start)
            clean.add(batch, batch.top_n(batch.logits), torch.zeros(len(batch.ply)))
            for plan in plans:
                logits = batch.run(plan.edits(batch))
                tallies.setdefault(plan.key, Tally(plan.sizes)).add(
                    batch, batch.top_n(logits), divergence(batch.logits, logits).cpu()
                )
            bar.update(len(rows))
    n = int(group.max()) + 1
    draws = bootstrap_draws(n, BOOTSTRAP, torch.Generator().manual_seed(seed))
    runs = tuple(
        Run(*key, *tally.sizes, tally.estimate(1, n, draws), tally.estimate(2, n, draws))
        for key, tally in sorted(tallies.items(), key=_order)
    )
    return Replaced(
        runs, clean.estimate(2, n, draws), len(games), int(clean.n()), band.start, band.stop - 1, RANDOM_SETS
    )


def _check(model: PlainModel, predictions: Sequence[Predictions], positions: int) -> None:
    layers = [p.layer for p in predictions]
    if not layers or len(set(layers)) < len(layers) or not set(layers) <= set(range(model.shape.n_layers)):
        raise InputError(f"predictions of the layers {layers}: one of each layer, of 0..{model.shape.n_layers - 1}")
    for p in predictions:
        for name, values in p.values.items():
            if values.shape != (model.shape.d_mlp, positions):
                raise InputError(
                    f"predictions of L{p.layer} by {name} are {list(values.shape)}: for these games' band they are "
                    f"[{model.shape.d_mlp}, {positions}] (neuron, position)"
                )


def _order(item: tuple[tuple[int | None, str, str], object]) -> tuple:
    layer, by, kind = item[0]
    kinds = (*KINDS, *WHOLE)
    return layer is None, layer or 0, by != "means", by, kinds.index(kind)


Change = Callable[["Batch"], list[tuple[str, Callable[[Tensor, object], Tensor]]]]


@dataclass(frozen=True, eq=False)
class _Plan:
    """One changed run: which line of the table it is part of, how many neurons of how many, and the change itself."""

    key: tuple[int | None, str, str]
    sizes: tuple[int, int]
    edits: Change


def _plans(predictions: Sequence[Predictions], generator: torch.Generator) -> Iterator[_Plan]:
    """All runs; random sets are drawn once, for every batch the same."""
    parts = [((p.layer, [p])) for p in predictions] + ([(None, list(predictions))] if len(predictions) > 1 else [])
    drawn = {
        (p.layer, by): [torch.randperm(len(p.mean), generator=generator) for _ in range(RANDOM_SETS)]
        for p in predictions
        for by in p.values
    }
    for layer, some in parts:
        of = sum(len(p.mean) for p in some)
        for kind, by_ply in zip(WHOLE, (False, True), strict=True):
            yield _Plan((layer, "means", kind), (of, of), _all_at_means(some, by_ply))
        for by in some[0].values:
            own = {p.layer: p.explained[by] for p in some}
            size = int(sum(chosen.sum() for chosen in own.values())), of
            for kind, rest, predicted in zip(KINDS[:3], (False, True, False), (True, True, False), strict=True):
                yield _Plan((layer, by, kind), size, _change(some, by, own, rest, predicted))
            for i in range(RANDOM_SETS):
                chosen = {p.layer: drawn[p.layer, by][i] < int(own[p.layer].sum()) for p in some}
                for kind, rest in zip(KINDS[3:], (False, True), strict=True):
                    yield _Plan((layer, by, kind), size, _change(some, by, chosen, rest, True))


def _change(
    some: Sequence[Predictions], by: str, chosen: dict[int, Bool[Tensor, "neuron"]], rest_mean: bool, predicted: bool
) -> Change:
    """Chosen neurons become predictions (or means), the others stay or become means."""

    def edits(batch: "Batch") -> list:
        found = []
        for p in some:
            mean = p.mean[:, None].expand(-1, len(batch.position))
            new = torch.where(chosen[p.layer][:, None], p.values[by][:, batch.position] if predicted else mean, mean)
            which = torch.ones_like(chosen[p.layer]) if rest_mean else chosen[p.layer]
            found.append(batch.edit(p.layer, new, which))
        return found

    return edits


def _all_at_means(some: Sequence[Predictions], by_ply: bool) -> Change:
    def edits(batch: "Batch") -> list:
        return [
            batch.edit(
                p.layer,
                p.by_ply[:, batch.ply - batch.first_ply] if by_ply else p.mean[:, None].expand(-1, len(batch.ply)),
                torch.ones(len(p.mean), dtype=torch.bool),
            )
            for p in some
        ]

    return edits
