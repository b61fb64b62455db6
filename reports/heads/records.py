"""What a head's page shows, as plain numbers and words: the seam between the study of heads and the page.

A `HeadRecord` carries everything on a head's page and nothing that needs a model. Boards are 64 numbers in square
order, maps by displacement 225 (15 x 15: rows down + 7, columns right + 7 from the square of the last move), ``None``
where there is no such thing. *Excess* attention is attention over that of uniform attention, less 1: 0 as uniform, 1
twice as much, -1 none. Attention, accuracies and shares are fractions. Intervals are 95 %, bootstrap over games.
*mine* is the side that moves next, *theirs* the other.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from circuits.errors import InputError
from circuits.notation import LABELS, parse_unit
from circuits.serial import Record
from circuits.verdicts.records import Verdict
from reports.causes.records import Effect
from reports.fit_records import Sample
from reports.records import Board, CheckedCell, Neighbour, Provenance, StateBoard

Map = Annotated[tuple[float | None, ...], 225]
#: empty, theirs, mine: the probe's class order
ByClass = Annotated[tuple[float, ...], 3]


@dataclass(frozen=True)
class Kind(Record):
    """What kind of head it is by its attention, and how sure that is."""

    name: Literal["last", "first", "mine", "theirs", "mixed"]
    share: Effect  # the share that decides
    threshold: float  # what it has to reach
    agreement: float  # share of held-out games whose own attention gives the same kind


@dataclass(frozen=True)
class Group(Record):
    """Attention to one group of sources, and what uniform attention would give it."""

    name: str  # "mine"
    words: str  # "moves of the side to move"
    attention: Effect
    uniform: float


@dataclass(frozen=True)
class Attention(Record):
    """What a head attends to, over held-out positions."""

    kind: Kind
    groups: tuple[Group, ...]
    offsets: tuple[int, ...]  # so many moves back
    by_offset: tuple[float, ...]
    offset_uniform: tuple[float, ...]
    displacement: Map  # excess, by where the source lies from the last move
    source: Board  # excess, by the source's square
    first_ply: int
    by_ply: tuple[tuple[float, ...], ...]  # mean pattern at each ply from first_ply on: t + 1 numbers at ply t
    distance: Effect  # total variation between the pattern and the mean pattern of its ply
    from_uniform: float  # total variation between the pattern and uniform
    unexplained: float  # share of the pattern's variance that the ply leaves
    entropy: float  # nats
    entropy_uniform: float
    sample: Sample

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.offsets) == len(self.by_offset) == len(self.offset_uniform) > 0:
            raise InputError("Attention: offsets, attention and uniform attention differ in length")
        for i, row in enumerate(self.by_ply):
            if len(row) != self.first_ply + i + 1:
                raise InputError(f"Attention: {len(row)} sources at ply {self.first_ply + i}")

    @property
    def best_offset(self) -> int:
        """The index of the distance attended to most, among those that at least half of the plies have.

        Farther back only late plies have a move, and it is one of the first: a head that looks at the first move
        would seem to look just so far back.
        """
        plies = sorted(len(row) - 1 for row in self.by_ply)
        known = [i for i, k in enumerate(self.offsets) if k <= plies[len(plies) // 2]] or [0]
        return max(known, key=lambda i: self.by_offset[i])


@dataclass(frozen=True)
class Attended(Record):
    """One position with the head's pattern."""

    address: str
    ply: int
    distance: float  # total variation between this pattern and the mean pattern of its ply
    transcript: str
    board: StateBoard
    mover: Literal["black", "white"]
    last: str
    flipped: tuple[str, ...]
    legal: tuple[str, ...]
    pattern: tuple[float, ...]  # attention to each move so far
    itself: float  # attention to the move just played,
    mine: float  # to moves of the side to move,
    theirs: float  # and to the other's

    def __post_init__(self) -> None:
        super().__post_init__()
        moves = self.transcript.split()
        if not len(moves) == self.ply + 1 == len(self.pattern):
            raise InputError(f"Attended: {self.address} has {len(moves)} moves, {len(self.pattern)} attended to")

    @property
    def attention(self) -> tuple[float, ...]:
        """The pattern laid out over the board: 0 on squares where nobody moved."""
        place = dict(zip(self.transcript.split(), self.pattern, strict=True))
        return tuple(place.get(label, 0.0) for label in LABELS)


@dataclass(frozen=True)
class AttendedList(Record):
    """Positions drawn in one stated way."""

    kind: Literal["farthest", "random"]
    note: str
    sample: Sample
    positions: tuple[Attended, ...]


@dataclass(frozen=True)
class Moved(Record):
    """What attending fully to the move on a square writes on one fact's directions (coordinates)."""

    fact: str
    own: Board  # at that square itself
    mean: float  # of them
    elsewhere: float  # root mean square at all other squares: the baseline
    around: Map  # mean over source squares, by where the target lies from the source


@dataclass(frozen=True)
class Link(Record):
    """From one fact's direction through the head's OV weights to another's, at the same square (cosine)."""

    source: str
    target: str
    mean: float
    elsewhere: float  # root mean square between different squares


@dataclass(frozen=True)
class Moves(Record):
    """The OV circuit: what is written for each source."""

    read_hook: str
    write_hook: str
    facts: tuple[Moved, ...]
    links: tuple[Link, ...]  # none where the probes have no directions at the point read
    link_board: Board | None  # cosine at each square of the first link
    sample: Sample  # training games that mean values are over


@dataclass(frozen=True)
class Separation(Record):
    """How far a head's output tells a fact from its opposite, on the square's own direction."""

    fact: str
    board: Board  # mean where it holds less mean where it fails, ply means removed
    whole: Board  # the same of the whole stream
    pooled: Effect
    share: Effect | None  # of the stream's; None where that could be zero


@dataclass(frozen=True)
class HeadWrites(Record):
    """Direct attribution of the head's output, to the checkpoint and to the logits."""

    hook: str
    facts: tuple[Separation, ...]
    legal: Board  # mean contribution to a move's logit where it is legal,
    illegal: Board  # where its square is empty and it is illegal,
    occupied: Board  # and where its square is occupied
    gap: Effect  # legal less illegal, pooled
    gap_whole: float  # the same of the final stream
    norm: float  # root mean square norm of what it writes
    stream_norm: float
    sample: Sample


@dataclass(frozen=True)
class Read(Record):
    """How well the board is read at one place, beside others."""

    name: str
    words: str
    accuracy: float
    low: float | None
    high: float | None
    recall: ByClass | None


@dataclass(frozen=True)
class Reading(Record):
    """The board read from the head's output alone."""

    method: str
    accuracy: Effect
    recall: ByClass
    by_square: Board
    baselines: tuple[Read, ...]
    sample: Sample

    def baseline(self, name: str) -> float | None:
        return next((b.accuracy for b in self.baselines if b.name == name), None)


@dataclass(frozen=True)
class PointChange(Record):
    """Change of the share of squares read right at one point of the stream, by true state."""

    point: str  # a hook
    empty: Effect
    theirs: Effect
    mine: Effect
    all: Effect


@dataclass(frozen=True)
class PointBase(Record):
    """The same share with the head in place."""

    point: str
    empty: float
    theirs: float
    mine: float
    all: float


@dataclass(frozen=True)
class Without(Record):
    """What breaks where the head's output is replaced at every ply in one way."""

    method: str  # "mean"
    words: str
    board: tuple[PointChange, ...]  # from the point that the head writes to, on
    play: tuple[Effect, ...]  # change of each of `HeadCauses.play`
    kl: Effect  # KL(original || ablated), nats
    games: int
    positions: int


@dataclass(frozen=True)
class AblatedPosition(Record):
    """One position: what the self-check runs again."""

    address: str
    method: str
    kl: float  # KL(original || ablated) there, nats


@dataclass(frozen=True)
class HeadCauses(Record):
    """The causal tests of a head."""

    methods: tuple[Without, ...]
    base: tuple[PointBase, ...]
    play: tuple[str, ...]
    play_base: tuple[float, ...]
    example: AblatedPosition | None

    def method(self, name: str) -> Without | None:
        return next((m for m in self.methods if m.method == name), None)


@dataclass(frozen=True)
class Connected(Record):
    """The strongest connections of one sort, strongest first."""

    name: str  # "earlier heads"
    via: str  # "V", "Q", "K", "input weight"
    measure: str
    units: tuple[Neighbour, ...]
    n: int  # out of so many
    null: float | None  # the largest of as many random ones


@dataclass(frozen=True)
class HeadRecord(Record):
    """Everything on one head's page."""

    VERSION: ClassVar[int] = 2

    unit: str
    layer: int
    index: int
    chosen: str
    provenance: Provenance
    attention: Attention
    examples: tuple[AttendedList, ...]
    moves: Moves
    writes: HeadWrites
    reading: Reading
    causes: HeadCauses | None  # None: not measured
    neighbours: tuple[Connected, ...]
    verdict: Verdict | None = None  # on a rule that was tested on it
    checks: tuple[CheckedCell, ...] = ()
    version: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        unit = parse_unit(self.unit)
        if (unit.layer, unit.kind, unit.index) != (self.layer, "head", self.index):
            raise InputError(f"HeadRecord: {self.unit} is not head {self.index} of layer {self.layer}")
        for examples in self.examples:
            for e in examples.positions:
                if wrong := [s for s in (*e.transcript.split(), e.last, *e.flipped, *e.legal) if s not in LABELS]:
                    raise InputError(f"HeadRecord: {wrong[0]!r} in {e.address} is no square (A0 … H7)")
