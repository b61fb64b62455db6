"""How well a neuron agrees with single facts: counts, scores from counts, and the positions they are over."""

from dataclasses import dataclass
from typing import Literal

from circuits.serial import Record


@dataclass(frozen=True)
class Sample(Record):
    """The positions that a figure was computed over."""

    split: Literal["all", "train", "held-out"]
    games: int
    positions: int
    note: str = ""  # e.g. "a fixed-seed subsample"


@dataclass(frozen=True)
class Counts(Record):
    """How often a fact holds and how often the neuron is on (activation above a threshold)."""

    both: int
    fact_only: int
    on_only: int
    neither: int

    @property
    def total(self) -> int:
        return self.both + self.fact_only + self.on_only + self.neither

    @property
    def facts(self) -> int:
        return self.both + self.fact_only

    @property
    def on(self) -> int:
        return self.both + self.on_only

    @property
    def precision(self) -> float:
        """Share of the on positions where the fact holds; 0 where the neuron is never on."""
        return self.both / self.on if self.on else 0.0

    @property
    def recall(self) -> float:
        """Share of the fact's positions where the neuron is on; 0 where the fact never holds."""
        return self.both / self.facts if self.facts else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.both / (self.facts + self.on) if self.facts + self.on else 0.0

    @property
    def chance_f1(self) -> float:
        """F1 of a neuron that is always on, 2p / (1 + p): the best that a constant can do."""
        return 2 * self.facts / (self.facts + self.total) if self.total else 0.0

    @property
    def skill(self) -> float:
        """How far F1 gets from that of a neuron that is always on (0) to 1; 0 for a fact that always holds."""
        return (self.f1 - self.chance_f1) / (1 - self.chance_f1) if self.chance_f1 < 1 else 0.0


@dataclass(frozen=True)
class Fit(Record):
    """How well "activation above a threshold" agrees with one pattern (or literal).

    The threshold is chosen on the training games; every other score is of the held-out games.
    """

    name: str  # "legal C0 via SE x1", or "C0 mine"
    square: str
    direction: str | None  # patterns: "SE"
    squares: tuple[str, ...]  # patterns: the flanked squares, then the end; literals: the square
    literal: str | None  # literals: "mine"
    threshold: float
    train: Counts
    held_out: Counts
    f1_low: float  # 95 % bootstrap interval over held-out games
    f1_high: float
    shuffled_f1: float  # the same choice of pattern and threshold, on shuffled activations
    auc: float
    variance_explained: float  # R² of the activation given the pattern, means fitted on training games

    @property
    def flanked(self) -> tuple[str, ...]:
        """The squares that the pattern flips."""
        return self.squares[:-1] if self.direction else ()


@dataclass(frozen=True)
class Patterns(Record):
    """The best single facts, best on the training games first."""

    fits: tuple[Fit, ...]
    n_candidates: int
    criterion: str  # "F1 on the training games"
    shuffle: str  # how the shuffled control was made
    ply_variance_explained: float  # R² of the activation given the ply alone, held out
    bootstrap_rounds: int
    train: Sample
    held_out: Sample

    @property
    def best(self) -> Fit | None:
        return self.fits[0] if self.fits else None
