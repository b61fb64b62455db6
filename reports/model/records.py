"""Everything that the page of a model shows: what rules were found for its neurons, and what they are worth."""

from dataclasses import dataclass
from typing import ClassVar

from circuits.census.counts import ModelCounts
from circuits.census.replaced import Replaced
from circuits.induction.records import NeuronRule, Provenance
from circuits.serial import Record
from reports.model.trial_summary import TrialSummary
from reports.patching.records import Origin

#: bins of variance explained; below the first are neurons without a rule and rules that explain nothing
EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
#: neurons of each layer that the page lists at most
LISTED = 50


@dataclass(frozen=True)
class LayerTally(Record):
    """A layer's rows counted.

    Attributes:
        tree, tree_4, tree_published: neurons whose tree explains more than `TREE_EXPLAINED` held out.
        tree_only: of these (full depth), the ones that no rule explains.
        nothing: neurons that vary and of which neither a rule nor a tree explains `PARTLY`, nor the ply.
        from_trees, several_terms, not_told_apart: explained neurons whose rule is a tree's, is an OR, has alternatives.
        variance_explained, literals, agreement, same: means over explained neurons; None where there are none.
        shuffled: rules that explain `PARTLY` more of activations dealt to other games at the same ply than the ply
            does, of ``shuffled_of`` tried.
        histogram: neurons by the variance that their rule explains, in bins between `EDGES`.
    """

    layer: int
    neurons: int
    explained: int
    partly: int
    clock: int
    unexplained: int
    dead: int
    tree: int
    tree_4: int
    tree_published: int | None
    tree_only: int
    nothing: int
    from_trees: int  # explained neurons whose rule is a tree's
    several_terms: int  # explained neurons whose rule is an OR
    not_told_apart: int  # explained neurons with alternatives
    variance_explained: float | None  # mean over explained neurons
    literals: float | None
    agreement: float | None
    same: float | None
    shuffled: int
    shuffled_of: int
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class ModelRecord(Record):
    """The seam between the analyses and the page.

    Attributes:
        table: what the rows were made of.
        layers: the rows counted; best: the explained ones of each layer, by held-out variance.
        replaced: the model with rules in the place of neurons, where that was run.
        counts: the census counted, where it was.
        trial: what came of the trial on planted truth, where its results are at hand.
    """

    VERSION: ClassVar[int] = 1

    version: int
    origin: Origin
    table: Provenance
    layers: tuple[LayerTally, ...]
    best: tuple[NeuronRule, ...]
    replaced: Replaced | None = None
    counts: ModelCounts | None = None
    trial: TrialSummary | None = None
