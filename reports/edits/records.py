"""What one edit of the board inside a model did, as a record: the page and the JSON are made of it alone.

A figure stands three or four times: before the edit, after it, after changes of equal norm in random directions (the
mean over some seeds), and for a player that knows the edited board and plays uniformly over its legal moves.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from circuits.serial import Record
from reports.patching.records import Origin

#: where the readings and all later layers are computed
LAYER_NORM = "folded weights; recomputed at every LayerNorm after the change, the final one included"


@dataclass(frozen=True)
class SquareEdit(Record):
    """One square: its states are "empty", "theirs" and "mine"; action: "flip", "erase", "place" or "nothing"."""

    square: str
    action: str
    before: str
    after: str


@dataclass(frozen=True)
class EditPosition(Record):
    """A board; the legal moves are the rules'."""

    board: Annotated[tuple[int, ...], 64]  # 0 empty, 1 theirs, 2 mine
    legal: tuple[str, ...]


@dataclass(frozen=True)
class MoveRow(Record):
    """A move that is legal on either board, or that the model gives more than `edit_build.SHOWN`, before or after."""

    move: str
    legal_before: bool
    legal_after: bool
    before: float  # the model's probability
    after: float
    random: float  # the mean over the random directions
    perfect: float  # uniform over the edited board's legal moves


@dataclass(frozen=True)
class Figure(Record):
    """One score of `circuits.editing.scores`, or the probability of all moves illegal on the edited board."""

    before: float
    after: float
    random: float
    random_low: float  # the least and the most of the seeds
    random_high: float
    perfect: float | None


@dataclass(frozen=True)
class SquareReading(Record):
    """One edited square at one point: the probe's probabilities (empty, theirs, mine), log-odds of the wanted state."""

    point: str
    before: Annotated[tuple[float, ...], 3]
    after: Annotated[tuple[float, ...], 3]
    log_odds_before: float
    log_odds_after: float


@dataclass(frozen=True)
class SideEffects(Record):
    """What the probe reads elsewhere at one point, most probable class by square."""

    point: str
    changed: int  # other squares that read differently after the edit
    random: float  # the same, mean over the random directions
    wrong_before: int  # other squares read wrongly, before and after
    wrong_after: int


@dataclass(frozen=True)
class Written(Record):
    """How large the change was at one point, at the last ply."""

    point: str
    norm: float
    share: float  # of the norm of what was there before the edits


@dataclass(frozen=True)
class SaliencyRecord(Record):
    """One map: how a move's logit changes when the disc on a square is flipped in the stream.

    ``decisive`` and ``lines`` are the squares of `circuits.editing.saliency`; the means are over discs.
    """

    move: str
    legal: bool
    asked: bool
    effect: Annotated[tuple[float | None, ...], 64]
    decisive: tuple[str, ...]
    lines: tuple[str, ...]
    mean_decisive: float | None
    mean_other: float | None
    random_decisive: float | None  # the same by changes of equal norm in random directions
    random_other: float | None


@dataclass(frozen=True)
class EditRecord(Record):
    """Everything that the page of one edit shows; see the module's docstring."""

    VERSION: ClassVar[int] = 1

    version: int
    transcript: str
    ply: int
    mover: str
    last: str
    flipped: tuple[str, ...]
    edits: tuple[SquareEdit, ...]
    method: str
    is_default: bool
    plies: str  # "last" or "all"
    solve: str
    before: EditPosition
    after: EditPosition
    probabilities_before: Annotated[tuple[float | None, ...], 64]
    probabilities_after: Annotated[tuple[float | None, ...], 64]
    moves: tuple[MoveRow, ...]
    figures: dict[str, Figure]
    seeds: int  # random directions
    readings: dict[str, tuple[SquareReading, ...]]  # by square
    side_effects: tuple[SideEffects, ...]
    written: tuple[Written, ...]
    saliency_method: str
    saliency: tuple[SaliencyRecord, ...]
    probe_source: str
    origin: Origin
