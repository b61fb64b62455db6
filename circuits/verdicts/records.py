"""A verdict on a rule as plain numbers and words: one object, one JSON, the seam to pages and notebooks.

Scores are of held-out games unless they say otherwise; an `Estimate` has the 95 % bootstrap interval over games.
Activations are the subject's scalar (`circuits.verdicts.subjects`): a neuron's own, after the non-linearity. Changes of
activation are also given as a *share* of the distance between its mean where the rule holds and where it fails on the
training games (1: as much as the rule is worth). ``None``: could not be measured, with a reason beside it.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from circuits.serial import Record


@dataclass(frozen=True)
class Estimate(Record):
    """A figure with the ends of its interval; they are None where one game cannot say."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Example(Record):
    """One position. ``transcript`` are the squares played up to it, by label."""

    address: str
    transcript: tuple[str, ...]
    ply: int
    activation: float
    holds: bool
    literals: dict[str, bool]  # every atom of the rule, by name


@dataclass(frozen=True)
class Fit(Record):
    """How well "activation > threshold" and the rule agree. The threshold and the two means are of training games."""

    threshold: float
    mean_on: float  # on training games, where the rule holds
    mean_off: float
    sd: float  # held out
    positives: int  # held out: positions where the rule holds
    negatives: int
    games: int
    train_positives: int
    train_games: int
    precision: Estimate
    recall: Estimate
    f1: Estimate
    auc: Estimate
    variance_explained: Estimate  # by the two means
    top_coverage: Estimate  # share of the 1 % highest activations at which the rule holds
    chance_f1: float  # of a unit that is always on
    chance_top: float  # the base rate
    ply_variance_explained: float  # by the ply alone (means of training games)
    shuffled_variance_explained: float  # of the same rule on activations dealt to other games at the same ply
    when_holds: tuple[float, ...]  # quantiles of the activation, at `quantiles`
    when_fails: tuple[float, ...]
    quantiles: tuple[float, ...]
    edges: tuple[float, ...]  # histogram of held-out activations
    counts: tuple[int, ...]
    holds: tuple[int, ...]
    missed: tuple[Example, ...]  # lowest activations where the rule holds
    false_alarms: tuple[Example, ...]  # highest where it fails
    typical: tuple[Example, ...]  # drawn at random where it holds

    @property
    def base_rate(self) -> float:
        return self.positives / (self.positives + self.negatives)

    @property
    def skill(self) -> float:
        """How far F1 gets from that of a unit that is always on to 1."""
        return (self.f1.value - self.chance_f1) / (1 - self.chance_f1) if self.chance_f1 < 1 else 0.0


@dataclass(frozen=True)
class Rival(Record):
    """Another rule tried on the same positions, its means and threshold of the training games too."""

    kind: str  # "without a literal", "neighbour", "translation", "symmetric", "geometric", "swapped", "automatic"
    rule: str
    what: str  # in words: "without D1 theirs", "E2 empty for E2 mine", "shifted by 1 row", "half-turn"
    base_rate: float
    positives: int
    variance_explained: float
    f1: float
    skill: float
    better: Estimate | None  # variance explained by the rule tested less by this one, over the same games
    p: float | None  # two-sided
    p_family: float | None  # Holm over all rivals of the verdict
    literal: str | None = None  # of the kinds "without a literal" and "neighbour": which literal was dropped or changed
    note: str = ""


@dataclass(frozen=True)
class RandomRules(Record):
    """Random rules of like size and base rate: what any rule of this shape explains."""

    n: int
    size: int
    variance_explained: tuple[float, ...]  # of each
    p: float  # (1 + those that explain as much) / (1 + n)
    words: str  # how they were drawn
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Worth(Record):
    """Whether a literal earns its place: what is lost without it, and by its best replacement."""

    literal: str
    loss: Estimate | None  # variance explained by the rule less by the rule without it
    p_family: float | None
    best_neighbour: str | None
    neighbour_gain: float | None  # variance explained by the best one-literal neighbour less by the rule
    earns: bool


@dataclass(frozen=True)
class Rivals(Record):
    rivals: tuple[Rival, ...]
    random: RandomRules | None
    literals: tuple[Worth, ...]
    automatic: Rival | None  # the best rule found on the training games
    words: str  # measure, correction, how many


@dataclass(frozen=True)
class ColourForm(Record):
    """One form of a rule on colours: relative to the side to move, or absolute; with black, or white, to move."""

    form: str  # "mine/theirs", "as black sees it", "as white sees it"
    rule: str
    positives: int
    variance_explained: Estimate | None
    f1: float | None
    auc: float | None
    black_to_move: (
        float | None
    )  # mean activation where this form holds and black moves, less where it fails and black moves
    white_to_move: float | None


@dataclass(frozen=True)
class Colours(Record):
    forms: tuple[ColourForm, ...]
    verdict: str  # "relative", "absolute", "undecided", "no colours"
    words: str


@dataclass(frozen=True)
class Toggle(Record):
    """Counterfactual games in which one literal changes and no other: clean ones where the rule holds."""

    literal: str
    becomes: str  # "!D1 theirs"
    pairs: int
    games: int
    change: Estimate | None  # of the activation, toggled less clean
    share: (
        Estimate | None
    )  # -change / (mean_on - mean_off): 1 where the literal's loss takes the activation all the way
    p: float | None
    p_family: float | None
    squares: float | None  # squares on which the two boards differ, on average
    reason: str = ""  # why there are none
    possible: bool = True  # whether some game could change it alone
    screened: Estimate | None = None  # the share, of pairs that keep the better rule's other facts
    screened_pairs: int = 0


@dataclass(frozen=True)
class BoardEdit(Record):
    """The checkpoint edited so that one literal fails, before the subject reads it."""

    literal: str
    edit: str  # "D1 theirs -> mine"
    positions: int
    games: int
    change: Estimate | None
    share: Estimate | None
    random: Estimate | None  # share, of changes of equal norm in random directions
    p: float | None  # of change against the random one's, paired
    p_family: float | None
    reason: str = ""
    elsewhere: Estimate | None = None  # share, of the same edit on a random square of which the rule says nothing
    where: str = ""  # at which layers: just before the subject ("L7 mid"), or early ("L3-L6")


@dataclass(frozen=True)
class Sender(Record):
    """An upstream neuron or head that carries a literal to the subject."""

    unit: str
    literal: str
    found: (
        Estimate  # share of the toggle's change of what the subject reads that this sender alone carries, on some pairs
    )
    verified: Estimate | None  # the change of the activation by path patching, as a share, on other pairs
    p_family: float | None
    direction: str  # of neurons "excites" or "inhibits", by what more of it does; of others "carries" or "opposes"
    fact: str  # its own best fact, "" where none was asked for
    fact_f1: float | None


@dataclass(frozen=True)
class Inputs(Record):
    """Shares are of the way between the tested rule's two means, or a better rule's where these lie farther apart."""

    toggles: tuple[Toggle, ...]
    control: Toggle | None  # counterfactual games in which no literal changes
    edits: tuple[BoardEdit, ...]
    senders: tuple[Sender, ...]
    words: tuple[str, ...]  # how each was done: kinds of pairs, method of editing and where, LayerNorm
    better: str = ""  # the best significantly better rule known, beside which toggles are screened; "" where none is


@dataclass(frozen=True)
class Write(Record):
    """One effect that the claim names, measured in three ways."""

    effect: str  # "B4 theirs", "+C0", "-L1N421"
    point: str  # where: "blocks.1.hook_resid_post", "logits", "L1N421"
    unit_of: str  # "log-odds", "logit", "activation"
    weight: float | None  # what one unit of activation writes, in the effect's sense (positive: as claimed)
    weight_rank: int | None  # 1: no other square's is larger in this sense
    weight_of: int | None  # of so many
    direct: Estimate | None  # direct attribution where the rule holds, relative to the mean where it fails
    direct_fails: Estimate | None
    total: (
        Estimate | None
    )  # what the effect loses when the unit is ablated, where the rule holds, in the effect's sense
    total_fails: Estimate | None
    others: Estimate | None  # mean |loss| on all other squares, where the rule holds
    rank: int | None  # of the size of the mean loss among all squares: others that rise count too
    of: int | None
    random: tuple[float, ...]  # the same, of pushes of equal size along other units’ writing or in random directions
    p: float | None  # (1 + random ones as large) / (1 + n)
    reason: str = ""
    by_point: dict[str, float] = field(default_factory=dict)  # of a reading: the loss at each later point, on average
    difference: Estimate | None = None  # loss where it holds less loss where it fails, over games


@dataclass(frozen=True)
class Replacement(Record):
    """The unit replaced in whole runs of the model, by position: what it costs."""

    by: str  # "the rule's two levels", "its mean", "two levels dealt at random"
    where: str  # "where the rule holds", "all positions"
    kl: Estimate
    error: Estimate  # change of the top-N error against the legal moves, moves


@dataclass(frozen=True)
class Outputs(Record):
    writes: tuple[Write, ...]
    positions: int  # ablated
    games: int
    kl: Estimate | None  # of the ablation where the rule holds, nats
    kl_fails: Estimate | None
    random_kl: tuple[float, ...]
    p_kl: float | None
    replacements: tuple[Replacement, ...]
    largest: str  # which move's logit changes most, in words
    words: tuple[str, ...]


@dataclass(frozen=True)
class Check(Record):
    """One stated threshold on one stated number."""

    group: str  # "evidence", "fits", "rivals", "input", "output"
    name: str
    passed: bool | None  # None: could not be asked
    figure: str  # "F1 0.93 [0.91, 0.94]"
    threshold: str  # "at least 0.8"


@dataclass(frozen=True)
class Verdict(Record):
    """What `circuits.verdicts.verdict.test` found."""

    VERSION: ClassVar[int] = 1

    unit: str
    kind: str  # neuron, head, direction, set
    scalar: str  # what the activation is, in words
    rule: str
    claim: str  # the rule with what it writes
    simplified: str
    in_words: str
    grade: str
    summary: str
    missing: tuple[str, ...]
    checks: tuple[Check, ...]
    notes: tuple[str, ...]  # "can never be true: ...", "E3 is a centre square, which is never empty"
    fit: Fit | None
    rivals: Rivals | None
    colours: Colours | None
    inputs: Inputs | None
    outputs: Outputs | None
    model: str
    model_hash: str
    games: str
    band: tuple[int, int]
    seed: int
    seconds: dict[str, float] = field(default_factory=dict)
    command: str = ""  # the shell command that makes this verdict, "" where none was given
    python: str = ""  # and the Python line
    version: int = 1
    source: str = "given"  # or "found on the training games"
