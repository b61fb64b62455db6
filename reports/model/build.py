"""From a table of rules, and what else was counted, to the record of a model's page."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from circuits.census.counts import ModelCounts
from circuits.census.replaced import Replaced
from circuits.induction.records import PARTLY, TREE_EXPLAINED, NeuronRule
from circuits.induction.table import RuleTable
from circuits.othello_model import OthelloModel
from circuits.trial.records import Trial
from reports.model.records import EDGES, LISTED, LayerTally, ModelRecord
from reports.model.trial_summary import summary
from reports.patching.records import origin

LAYER_NORM = "folded weights; recomputed wherever neurons are replaced"


def model_record(
    model: OthelloModel,
    table: RuleTable,
    replaced: Replaced | None = None,
    counts: ModelCounts | None = None,
    trial: Trial | None = None,
    *,
    command: str = "",
    python: str = "",
) -> ModelRecord:
    """The record of a model's page."""
    layers = [table.layer(layer) for layer in table.layers]
    return ModelRecord(
        ModelRecord.VERSION,
        origin(model, table.provenance.seed, command, python, LAYER_NORM),
        table.provenance,
        tuple(tally(number, rows) for number, rows in zip(table.layers, layers, strict=True)),
        tuple(row for rows in layers for row in best(rows)),
        replaced,
        counts,
        summary(trial) if trial is not None else None,
    )


def best(rows: Sequence[NeuronRule], most: int = LISTED) -> list[NeuronRule]:
    """The explained rows of highest variance explained; fewer where fewer are."""
    return sorted((row for row in rows if row.explained), key=lambda row: -row.rule.variance_explained.value)[:most]


def tally(layer: int, rows: Sequence[NeuronRule]) -> LayerTally:
    """A layer's rows counted."""
    status = Counter(row.status for row in rows)
    explained = [row for row in rows if row.explained]
    published = [row.tree_published for row in rows if row.tree_published is not None]
    binned = Counter(bisect_right(EDGES, _worth(row)) for row in rows)
    # Dealing keeps the ply: what the ply alone explains is not the rule's.
    dealt = [row.shuffled - max(0.0, row.ply) for row in rows if row.shuffled is not None]

    def mean(values: Sequence[float | None]) -> float | None:
        known = [v for v in values if v is not None]
        return fmean(known) if known else None

    return LayerTally(
        layer=layer,
        neurons=len(rows),
        **{name: status[name] for name in ("explained", "partly", "clock", "unexplained", "dead")},
        tree=sum(row.tree > TREE_EXPLAINED for row in rows),
        tree_4=sum(row.tree_4 > TREE_EXPLAINED for row in rows),
        tree_published=sum(v > TREE_EXPLAINED for v in published) if published else None,
        tree_only=sum(row.tree > TREE_EXPLAINED and not row.explained for row in rows),
        nothing=sum(row.status != "dead" and max(row.tree, row.ply, _worth(row)) < PARTLY for row in rows),
        from_trees=sum(row.source == "tree" for row in explained),
        several_terms=sum(row.rule.terms > 1 for row in explained),
        not_told_apart=sum(not row.told_apart for row in explained),
        variance_explained=mean([row.rule.variance_explained.value for row in explained]),
        literals=mean([float(row.rule.literals) for row in explained]),
        agreement=mean([row.agreement for row in explained]),
        same=mean([row.same for row in explained]),
        shuffled=sum(v >= PARTLY for v in dealt),
        shuffled_of=len(dealt),
        histogram=tuple(binned[i] for i in range(len(EDGES) + 1)),
    )


def _worth(row: NeuronRule) -> float:
    """Variance explained by its rule; below every bin for a neuron without one."""
    return row.rule.variance_explained.value if row.rule else -1.0
