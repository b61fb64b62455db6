"""What an index page shows: the model as a whole, its probes, and one line for each unit of a set."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from circuits.serial import Record
from reports.fit_records import Sample
from reports.records import Board, Provenance


@dataclass(frozen=True)
class Quality(Record):
    """One figure on the model as a whole, beside its baseline."""

    name: str  # "illegal top-1 rate"
    value: float
    baseline: float | None
    baseline_name: str  # "uniform over the 60 moves"
    percent: bool  # shown as a percentage
    better: Literal["lower", "higher"]
    explanation: str


@dataclass(frozen=True)
class ProbeRow(Record):
    """How well a linear probe reads the board at one point of the stream, held out."""

    hook: str
    accuracy: float  # empty / theirs / mine
    constant: float | None  # the most frequent class at each square (and ply)
    random_model: float | None  # the same probe on a random-weights model
    black_white: float | None  # the same in absolute colours


@dataclass(frozen=True)
class IndexEntry(Record):
    """One neuron's line in the index."""

    unit: str
    layer: int
    chosen: str
    headline: str
    grade: str
    f1: float | None
    chance_f1: float | None
    variance_explained: float | None
    share_positive: float
    logits: Board  # for the small board
    link: str


@dataclass(frozen=True)
class HeadEntry(Record):
    """One head's line in the index."""

    unit: str
    layer: int
    chosen: str
    headline: str
    grade: str
    group: str  # the moves that its kind is about
    attention: float  # to them
    uniform: float  # what uniform attention would give them
    kl: float | None  # how far the prediction moves without it, nats; None: not measured
    control: float | None  # the same change turned at random
    fact: str  # what its output tells apart best: "mine − theirs"
    board: Board  # where, for the small board
    faint: str  # why that is drawn faint: "next to nothing"; empty where it is not
    link: str


@dataclass(frozen=True)
class IndexRecord(Record):
    """Everything on the index page of a set of neurons and heads."""

    VERSION: ClassVar[int] = 2

    title: str
    provenance: Provenance
    model_note: str  # a sentence on what the model is and how it was made
    quality: tuple[Quality, ...]
    quality_sample: Sample
    probe: tuple[ProbeRow, ...]
    probe_sample: Sample
    entries: tuple[IndexEntry, ...]
    heads: tuple[HeadEntry, ...] = ()
    version: int = 2

    @property
    def units(self) -> tuple[IndexEntry | HeadEntry, ...]:
        """All lines, neurons first."""
        return (*self.entries, *self.heads)
