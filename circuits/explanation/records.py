"""Why a model plays a move in one position, as a record: the page, the text and the JSON are made of it alone.

Logits are relative to the mean over the 60 moves. A *contribution* is what a component writes to the move's logit, the
final LayerNorm's scale frozen; *beyond* is what of it its mean activation over other games at the same ply would not
have written. Contributions sum to the logit, and what is beyond to how far it lies from the sum of the means'.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from circuits.serial import Record

#: which logits are meant, and how LayerNorms are treated
LAYER_NORM = (
    "folded weights; contributions with the final LayerNorm frozen at this position's scale; everything recomputed "
    "where units are set to their means"
)


@dataclass(frozen=True)
class Line(Record):
    """Discs of theirs in a row beside the move's square, and what lies behind them."""

    direction: str  # from the move's square: "SE"
    flanked: tuple[str, ...]
    end: str | None  # None: the edge of the board
    holds: bool  # the end is mine, so the move turns what is flanked


@dataclass(frozen=True)
class Position(Record):
    """The board in front of the move; legal moves are the rules'."""

    transcript: str
    ply: int
    mover: str
    last: str
    flipped: tuple[str, ...]
    board: Annotated[tuple[int, ...], 64]  # 0 empty, 1 theirs, 2 mine
    legal: tuple[str, ...]


@dataclass(frozen=True)
class MoveRow(Record):
    """A legal move, or one that the model gives more than `describe.SHOWN`."""

    move: str
    legal: bool
    probability: float
    mean: float  # of the reference games at this ply
    logit: float
    lines: tuple[Line, ...]  # those that hold


@dataclass(frozen=True)
class BoardReading(Record):
    """What the probe of one point reads: the most probable class of every square."""

    point: str
    board: Annotated[tuple[int, ...], 64]
    right: int  # of 64
    mean: float  # squares right of reference positions at this ply


@dataclass(frozen=True)
class Rest(Record):
    """A square that the move rests on: its true state, and the probability that each point's probe gives it."""

    square: str
    state: str
    role: str  # "move", "flanked", "end"
    probabilities: tuple[float, ...]  # in the order of `Explanation.readings`


@dataclass(frozen=True)
class LensRow(Record):
    """The stream after a layer through the final LayerNorm and the unembedding."""

    layer: int
    probability: float
    logit: float
    rank: int  # among the 60 moves, 1 the likeliest
    legal_first: int  # legal moves among the N likeliest, N legal ones


@dataclass(frozen=True)
class Part(Record):
    """What a part of the model adds to the logit."""

    name: str  # "embedding", "position", "L3 attention", "L3 MLP", "biases"
    contribution: float
    beyond: float


@dataclass(frozen=True)
class Known(Record):
    """A neuron's row in the table of rules, and what its rule says here.

    ``agrees``: the activation is nearer to the rule's level for what holds here than to its other level.
    """

    rule: str
    status: str
    variance_explained: float
    low: float | None
    high: float | None
    mean_on: float
    mean_off: float
    holds: bool
    agrees: bool


@dataclass(frozen=True)
class Attends(Record):
    """A ply that a head reads at this position."""

    ply: int
    move: str
    weight: float


@dataclass(frozen=True)
class Writes(Record):
    """What a unit writes, beyond its mean, towards a square's true state: a coordinate at the point it writes to."""

    square: str
    state: str
    by: float


@dataclass(frozen=True)
class UnitRow(Record):
    """A neuron or head at this position.

    Attributes:
        activation, mean: of a neuron here, and over the reference games at this ply; None for a head.
        contribution, beyond: to the logit.
        board: beyond its mean, to the squares' coordinates at the checkpoint, summed; None for what comes after.
        alone: change of the logit when it alone is set to its mean, everything recomputed.
        known: a neuron's rule; attends: a head's.
    """

    unit: str
    activation: float | None
    mean: float | None
    contribution: float
    beyond: float
    board: float | None
    alone: float
    writes: tuple[Writes, ...]
    known: Known | None
    attends: tuple[Attends, ...]


@dataclass(frozen=True)
class Spread(Record):
    """A change under several drawn sets."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Change(Record):
    """How a number changes when units are set to their means.

    Attributes:
        direct: less what they write beyond their means, everything else as it was.
        total: everything behind them recomputed, at this ply.
        random: total of as many random units of the same layers; alike: of units that write as much here.
    """

    direct: float
    total: float
    random: Spread
    alike: Spread


@dataclass(frozen=True)
class Test(Record):
    """Some units together set to their means by ply, at this position.

    Attributes:
        board: the sum of the squares' coordinates at the checkpoint; None where units write behind it.
        probability: of the move then; rank: among the 60 moves.
        falls: the move's rank among the 60 by how far each one's logit falls (1: it falls most).
        misread: squares that the move rests on and the checkpoint then reads as something else.
    """

    units: tuple[UnitRow, ...]
    logit: Change
    board: Change | None
    probability: float
    rank: int
    falls: int
    misread: tuple[str, ...]


@dataclass(frozen=True)
class Cover(Record):
    """How much of the contributions beyond the means the units shown account for.

    Attributes:
        positive, negative: sums of what all units write beyond their means, for the move and against it.
        shown, shown_against: of that by the units listed.
        half, most: how many units carry half, and `cover.MOST`, of the positive sum; all: of how many.
        explained, partly: the shares of the positive sum written by neurons whose rule explains them (or in part) and
            that do here what it says, among those that carry `cover.MOST` of it; None without a table of rules.
        outside: the rest of what is beyond the means: the embedding of the last move.
    """

    positive: float
    negative: float
    shown: float
    shown_against: float
    half: int
    most: int
    all: int
    explained: float | None
    partly: float | None
    outside: float


@dataclass(frozen=True)
class Reference(Record):
    """The games that means are of."""

    source: str
    games: int
    positions: int  # those that reach this ply


@dataclass(frozen=True)
class Explanation(Record):
    """Everything about one move; see the module's docstring.

    Attributes:
        reason: why the move is illegal, "" where it is legal.
        mean_logit, mean_probability: of the move over the reference games at this ply.
        probabilities: the model's, by square; None at the centre.
        at_means: the sum of contributions with every unit at its mean.
        error: the gap between the sum of all contributions and the model's logit, relative to its largest.
        checkpoint: the point whose probe reads the reference games best at this ply, of equals the middle one.
        board, board_at_means: the squares' coordinates there along their true states, summed, and with every unit
            before it at its mean.
        supports, opposes: the units that contribute most beyond their means, and least; writers: those before the
            checkpoint that write most of the squares' states.
        draws: sets drawn for each control.
    """

    VERSION: ClassVar[int] = 1

    version: int
    position: Position
    move: str
    chosen: str  # "the model's likeliest" or "asked for"
    legal: bool
    reason: str
    probability: float
    mean_probability: float
    logit: float
    mean_logit: float
    rank: int
    probabilities: Annotated[tuple[float | None, ...], 64]
    moves: tuple[MoveRow, ...]
    lines: tuple[Line, ...]
    rests: tuple[Rest, ...]
    readings: tuple[BoardReading, ...]
    checkpoint: str
    lens: tuple[LensRow, ...]
    parts: tuple[Part, ...]
    at_means: float
    error: float
    board: float
    board_at_means: float
    supports: Test
    opposes: Test
    writers: Test
    cover: Cover
    draws: int
    seed: int
    reference: Reference
