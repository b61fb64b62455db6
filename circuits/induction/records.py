"""What is found about every neuron: the rows of the table of rules.

Three sets of games, split by transcript, have three uses: *train*, on which trees are grown and conjunctions searched;
*tune*, on which rules are pruned and chosen; *held out*, on which everything in a row is measured, and nothing else.
Activations are after the non-linearity. A rule says one level where it holds and another where it fails; both are
means over training positions, and ``variance_explained`` is what they explain of the held-out activations.
"""

from dataclasses import dataclass, field

from circuits.serial import Record
from circuits.verdicts.records import Estimate

#: held-out variance that a rule's two means explain, lower end of the interval over games
EXPLAINED = 0.5
#: and of a rule that says something
PARTLY = 0.1
#: held-out variance that the means of the plies explain
CLOCK = 0.5
#: held-out R^2 of a tree, as published (arXiv 2511.00059)
TREE_EXPLAINED = 0.7

#: kinds of status, best first
STATUSES = ("explained", "partly", "clock", "unexplained", "dead")


@dataclass(frozen=True)
class Score(Record):
    """How a rule describes an activation; held-out games, but for the levels, the threshold and the training counts."""

    rule: str
    literals: int
    terms: int  # ANDs that the rule is an OR of; 1 for a conjunction
    mean_on: float
    mean_off: float
    threshold: float  # of most F1 on the training games
    base_rate: float  # share of held-out positions at which the rule holds
    positives: int
    variance_explained: Estimate
    precision: float
    recall: float
    f1: float
    skill: float  # how far F1 gets from that of a neuron that is always on to 1


@dataclass(frozen=True)
class NeuronRule(Record):
    """One neuron's best rule and what it is worth.

    Attributes:
        unit: ``L5N1393``.
        status: one of `STATUSES`, by the thresholds above: *explained* (by its rule; a tree is counted apart),
            *partly* (the rule explains `PARTLY`), *clock* (the ply alone explains `CLOCK`, and no less than the lower
            end of what the rule explains), *unexplained*; *dead* for an activation that never varies.
        source: where the rule comes from, "tree" or "conjunction" (searched: one, or an "or" of several); None without
            a rule.
        rule: its scores; other: those of the best rule of the other source, if there is one.
        alternatives: other rules as short, none equivalent to it, that training and tuning games do not tell from it.
        told_apart: False where there are such alternatives.
        tree, tree_4: held-out R^2 of the neuron's tree of full depth and of depth 4; ply: of the means of the plies.
        tree_published: of a tree grown as published (320 literals, depth 8, plies 5-30, 600 games).
        shuffled: of the rule on activations dealt to other games at the same ply.
        agreement, same: over re-discoveries on random halves of the training games, the mean F1 between the held-out
            positions of the two rules, and the share of equivalent rules; None where not asked for.
        refined: longer rules that seem better on these games, by 3 standard errors or more; left out because each
            literal adds less than its price, or for the many that were tried.
        unseen: at how many training and tuning positions one more literal could matter and would not have shown.
        complete: whether nothing that could be added to the rule is beyond chance on the training games.
    """

    unit: str
    status: str
    source: str | None
    rule: Score | None
    other: Score | None
    alternatives: tuple[str, ...]
    tree: float
    tree_4: float
    ply: float
    tree_published: float | None = None
    shuffled: float | None = None
    agreement: float | None = None
    same: float | None = None
    mean: float = 0.0
    sd: float = 0.0
    refined: tuple[str, ...] = ()
    unseen: int | None = None
    complete: bool = False

    @property
    def told_apart(self) -> bool:
        return not self.alternatives

    @property
    def explained(self) -> bool:
        return self.status == "explained"


@dataclass(frozen=True)
class Provenance(Record):
    """What the table was made of; everything it depends on."""

    model: str  # hash
    model_name: str
    games: int
    games_source: str
    fingerprint: str
    seed: int
    first_ply: int
    last_ply: int
    train_games: int
    tune_games: int
    held_out_games: int
    train_positions: int
    tune_positions: int
    held_out_positions: int
    literals: int  # those that vary enough
    literals_tried: int
    depth: int
    leaf: int
    split: int
    resamples: int
    version: int = 1
    seconds: float | None = None
    notes: tuple[str, ...] = field(default=())
