"""What a page shows, as plain numbers and words: the seam between the analyses and the pages.

A `NeuronRecord` carries everything on a neuron's page and nothing that needs a model, so a page can be drawn,
moved, compared and checked from its JSON alone. Boards are 64 numbers in square order (``C0`` = 16), ``None``
where a value would be meaningless (the empty direction of a centre square). Squares are written as labels,
activations are values after the MLP's non-linearity, shares and accuracies are fractions. Scores are computed
from their counts, never stored beside them. *mine* is the side that moves next, *theirs* the other.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from circuits.errors import InputError
from circuits.notation import LABELS, parse_unit
from circuits.serial import Record
from circuits.verdicts.records import Verdict
from reports.causes.records import Causes
from reports.fit_records import Patterns, Sample
from reports.found_records import FoundRule

Board = Annotated[tuple[float | None, ...], 64]
CountBoard = Annotated[tuple[int, ...], 64]
StateBoard = Annotated[tuple[int, ...], 64]  # 0 empty, 1 theirs, 2 mine: the probe's class order


@dataclass(frozen=True)
class Provenance(Record):
    """Where the numbers come from, enough to make them again."""

    model_name: str
    model_hash: str
    n_layers: int
    d_model: int
    n_heads: int
    d_mlp: int
    activation: str  # "tanh-GELU"
    probe_source: str  # who trained it on what, in a few words
    read_hook: str  # where the probe reads the input weight: "blocks.5.hook_resid_mid"
    write_hook: str  # … and the output weight: "blocks.5.hook_resid_post"
    games_source: str
    games_fingerprint: str
    all: Sample
    train: Sample
    held_out: Sample
    first_ply: int  # both ends included: 5 and 53
    last_ply: int
    seed: int
    layer_norm: str  # how LayerNorm was treated, in a sentence
    versions: dict[str, str]
    command: str  # the shell command that makes this page
    python: str  # and the Python line, ending in the neuron: "… open_model().neuron(\"L5N12\")"


@dataclass(frozen=True)
class Share(Record):
    """Share of a weight's squared norm inside a subspace, beside the rank / d_model of a random vector."""

    value: float
    space: str  # "the board probe's 124 directions"
    rank: int
    d_model: int

    @property
    def baseline(self) -> float:
        return self.rank / self.d_model


@dataclass(frozen=True)
class Reads(Record):
    """Cosines of the input weight with the probe's directions at the point that the neuron reads."""

    hook: str
    norm: float  # of the folded input weight
    bias: float
    mine: Board  # mine − theirs
    empty: Board  # empty − ½(mine + theirs); None at the centre
    flipped: Board | None  # None as a whole: no such probe
    played: Board | None  # None at the centre
    share: Share


@dataclass(frozen=True)
class Writes(Record):
    """Cosines of the output weight with the probe's directions, and its direct write to the move logits."""

    hook: str
    norm: float
    mine: Board
    empty: Board
    logits: Board  # per unit of activation, relative to the mean over the 60 moves; None at the centre
    logit_scale: float  # the final LayerNorm's scale that the logits were divided by
    logit_scale_note: str  # "mean over the held-out positions"
    share_probe: Share
    share_unembed: Share


@dataclass(frozen=True)
class Activity(Record):
    """The neuron's activations at large."""

    hook: str  # "blocks.5.mlp.hook_post"
    mean: float
    sd: float
    minimum: float
    maximum: float
    share_positive: float  # share of positions with an activation above 0
    sample: Sample


@dataclass(frozen=True)
class Spectrum(Record):
    """Histogram of activations, split by whether a named fact holds."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    holds: tuple[int, ...]  # of those, positions where the fact holds
    fact: str  # the best pattern's name, or a literal such as "C0 empty"
    threshold: float | None  # of the best pattern; None: none was chosen
    sample: Sample

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.edges) - 1 == len(self.counts) == len(self.holds) > 0:
            raise InputError(
                f"Spectrum: {len(self.edges)} edges, {len(self.counts)} counts and {len(self.holds)} holds; "
                "n bins have n + 1 edges, n counts and n holds"
            )
        if any(h > c for h, c in zip(self.holds, self.counts, strict=True)):
            raise InputError("Spectrum: a bin holds the fact more often than it has positions")


@dataclass(frozen=True)
class ByPly(Record):
    """Mean activation at each ply, with a band."""

    plies: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...] | None
    high: tuple[float, ...] | None
    count: tuple[int, ...]
    band: str  # what low and high are: "10 % and 90 % quantiles", "mean ± 2 standard errors"
    sample: Sample

    def __post_init__(self) -> None:
        super().__post_init__()
        columns = [c for c in (self.mean, self.low, self.high, self.count) if c is not None]
        if not self.plies or any(len(c) != len(self.plies) for c in columns):
            raise InputError(f"ByPly: {len(self.plies)} plies, but columns of {[len(c) for c in columns]}")


@dataclass(frozen=True)
class Move(Record):
    """A move and the probability that the model gives it."""

    square: str
    probability: float


@dataclass(frozen=True)
class Example(Record):
    """One position, as the model saw it."""

    address: str
    ply: int
    activation: float
    transcript: str  # the moves so far, our labels
    board: StateBoard
    mover: Literal["black", "white"]  # the colour of *mine*
    last: str | None
    flipped: tuple[str, ...]
    legal: tuple[str, ...]
    top_moves: tuple[Move, ...]  # the model's, most probable first
    holds: bool | None  # whether the best pattern holds; None: there is none
    quantile: float | None = None  # of the activation, in quantile lists


@dataclass(frozen=True)
class Examples(Record):
    """Positions drawn in one stated way."""

    kind: Literal["top", "bottom", "quantile", "random"]
    note: str  # how they were drawn
    sample: Sample
    positions: tuple[Example, ...]


@dataclass(frozen=True)
class SquareStates(Record):
    """How often each square is in each state among the highest activations, and at large."""

    quantile: float  # 0.99: the top 1 %
    threshold: float  # the activation that the top positions reach
    n_top: int
    top_empty: Board
    top_theirs: Board
    top_mine: Board
    base_empty: Board
    base_theirs: Board
    base_mine: Board
    sample: Sample


@dataclass(frozen=True)
class ConditionalMeans(Record):
    """Mean activation over the positions where a square is in a state; None where it never is."""

    mean: float
    sd: float
    empty: Board
    theirs: Board
    mine: Board
    count_empty: CountBoard
    count_theirs: CountBoard
    count_mine: CountBoard
    sample: Sample


@dataclass(frozen=True)
class Neighbour(Record):
    """A unit upstream or downstream, and the size and sign of the direct connection."""

    unit: str
    value: float
    fact: str | None = None  # the single fact that describes it best; None: none was looked for, as of heads
    fact_f1: float | None = None  # its F1 on held-out games


@dataclass(frozen=True)
class Neighbours(Record):
    """The strongest direct connections through the residual stream."""

    upstream: tuple[Neighbour, ...]
    downstream: tuple[Neighbour, ...]
    measure: str  # "cosine of its output weight with this neuron's input weight"
    n_upstream: int  # out of so many units
    n_downstream: int
    null_upstream: float | None  # the largest |value| expected of as many random vectors
    null_downstream: float | None


@dataclass(frozen=True)
class CheckedCell(Record):
    """One number of the record, and what recomputing it from the stored artefacts gave."""

    path: str  # in the record: "writes.logits.16"
    value: float
    recomputed: float
    tolerance: float


@dataclass(frozen=True)
class NeuronRecord(Record):
    """Everything on one neuron's page."""

    VERSION: ClassVar[int] = 4

    unit: str
    layer: int
    index: int
    chosen: str  # why there is a page on it: "drawn at random, seed 0"
    provenance: Provenance
    activity: Activity
    patterns: Patterns
    reads: Reads
    spectrum: Spectrum
    by_ply: ByPly
    examples: tuple[Examples, ...]
    square_states: SquareStates
    conditional_means: ConditionalMeans
    writes: Writes
    neighbours: Neighbours
    causes: Causes | None = None  # None: not measured
    verdict: Verdict | None = None  # on a rule that was tested on it
    found: FoundRule | None = None  # its row in the model's table of rules
    checks: tuple[CheckedCell, ...] = ()
    version: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        unit = parse_unit(self.unit)
        if (unit.layer, unit.kind, unit.index) != (self.layer, "neuron", self.index):
            raise InputError(f"NeuronRecord: {self.unit} is not neuron {self.index} of layer {self.layer}")
        for examples in self.examples:
            for example in examples.positions:
                names = (
                    *example.flipped,
                    *example.legal,
                    *(m.square for m in example.top_moves),
                    example.last,
                )
                if wrong := [s for s in names if s is not None and s not in LABELS]:
                    raise InputError(f"NeuronRecord: {wrong[0]!r} in {example.address} is no square (A0 … H7)")
