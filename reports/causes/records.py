"""What causal tests of a neuron found: the numbers of a page's section "Causes".

Every effect is a mean over positions (or pairs) with a 95 % bootstrap interval over games, from games on which neither
the neuron's fact nor what it is replaced by was chosen.
"""

from dataclasses import dataclass
from typing import Annotated

from circuits.errors import InputError
from circuits.serial import Record

Board = Annotated[tuple[float | None, ...], 64]


@dataclass(frozen=True)
class Effect(Record):
    """A mean with the ends of its interval (None: one game says nothing of others)."""

    mean: float
    low: float | None
    high: float | None
    p: float | None = None  # sign-flip test over games, corrected for all effects it was picked from, where it was

    @property
    def sure(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Place(Record):
    """A set of positions, and what ablating the neuron changes there, in the first of the methods."""

    name: str  # "where the fact holds"
    words: str  # in a sentence: "where F7 can be taken by flipping …"
    positions: int
    games: int
    activation: float  # the neuron's mean there
    change: Board  # mean change of each move's logit; None at the centre
    low: Board  # its interval, cell by cell
    high: Board
    p: Board  # sign-flip test over games, corrected for the 60 moves


@dataclass(frozen=True)
class Method(Record):
    """One way of taking the neuron out, measured at one place."""

    method: str  # "mean"
    value: float | None  # what it was set to; None: another value at each position
    place: int  # of `Without.places`
    direct: Effect  # on the square's logit, final LayerNorm frozen
    total: Effect
    undone: Effect | None  # (direct - total) / direct; None where the direct effect could be zero
    kl: Effect
    illegal: Effect  # change of the probability of illegal moves


@dataclass(frozen=True)
class Control(Record):
    """The same figure for the neuron and for random neurons of its layer, at the neuron's own positions and square."""

    figure: str
    place: int
    value: float
    others: tuple[float, ...]

    @property
    def nearer(self) -> int:
        """How many random neurons' figures are nearer to zero."""
        return sum(abs(other) < abs(self.value) for other in self.others)


@dataclass(frozen=True)
class Other(Record):
    """Another neuron of the layer, set to its mean where it is most active."""

    unit: str
    square: str  # the move to whose logit it writes most strongly
    positions: int
    effect: float  # mean change of that logit


@dataclass(frozen=True)
class OwnPlaces(Record):
    """The neuron, set to its mean at the first place, beside others at places and on moves of their own."""

    value: float
    others: tuple[Other, ...]

    @property
    def exceeded(self) -> int:
        """How many others have a smaller effect."""
        return sum(abs(other.effect) < abs(self.value) for other in self.others)


@dataclass(frozen=True)
class Answer(Record):
    """What a later part of the model adds to the square's logit where the neuron is ablated, by the first method."""

    part: str  # "L6 MLP", "final LayerNorm"
    effect: Effect


@dataclass(frozen=True)
class Ablated(Record):
    """One position, with the square's logit and its change: what the self-check runs again."""

    address: str
    place: int
    logit: float  # with the neuron
    change: float


@dataclass(frozen=True)
class Without(Record):
    """What happens where the neuron is taken out."""

    square: str  # the move that the figures below are about
    why: str  # and why that one
    fact: str | None
    places: tuple[Place, ...]
    methods: tuple[Method, ...]  # that of boards, controls and answers first
    controls: tuple[Control, ...]
    own_places: OwnPlaces
    answers: tuple[Answer, ...]  # at the first place, in the order in which the parts run
    undone_by_layers: Effect | None  # the first method's `undone` there, of later layers alone
    undone_by_norm: Effect | None  # and of the final LayerNorm; the two add up to it. None: no later layer
    random_units: tuple[str, ...]
    words: str  # what was done, in full
    examples: tuple[Ablated, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        for row in (*self.methods, *self.controls, *self.examples):
            if not 0 <= row.place < len(self.places):
                raise InputError(f"Without: a {type(row).__name__} at place {row.place} of {len(self.places)}")


@dataclass(frozen=True)
class Sender(Record):
    """A unit upstream, and what putting its clean output into the corrupt run does to the neuron."""

    unit: str
    direct: Effect  # by the direct path alone, on the pre-activation, LayerNorm recomputed
    total: Effect | None  # by every path: the same patch, everything between recomputed; None: not run


@dataclass(frozen=True)
class LayerSum(Record):
    """The direct effects of a layer's heads or neurons together, the neuron's LayerNorm frozen."""

    part: str  # "embedding", "L0 heads", "L0 neurons"
    effect: Effect
    units: int


@dataclass(frozen=True)
class PairSet(Record):
    """The counterfactual pairs that the neuron was asked with."""

    fact: str
    pairs: int
    games: int
    kinds: dict[str, int]
    squares: int  # on which the two boards differ, median
    legal: int  # moves legal in one of the two only, median
    plies: float  # from the first move that differs to the position asked about, median
    source: str


@dataclass(frozen=True)
class SentPair(Record):
    """One pair and the top sender's direct effect there, LayerNorm frozen: what the self-check computes by hand."""

    clean: str  # the transcripts
    corrupt: str
    unit: str
    frozen: float


@dataclass(frozen=True)
class Upstream(Record):
    """What switches the neuron on and off between clean and corrupt transcripts."""

    clean: float  # mean pre-activation
    corrupt: float
    clean_activation: float
    corrupt_activation: float
    total: Effect  # change of the pre-activation, as the model computes it
    frozen: Effect  # the same with the neuron's LayerNorm frozen: what the layers below add up to
    on: tuple[Sender, ...]  # p_family at most `alpha`, strongest first
    off: tuple[Sender, ...]
    alpha: float
    n_on: int  # so many senders are below alpha on either side
    n_off: int
    n_senders: int
    layers: tuple[LayerSum, ...]
    example: SentPair | None


@dataclass(frozen=True)
class Alone(Record):
    """Patching the neuron alone, beside the pair's whole difference and the whole layer's."""

    figure: str  # "F7’s logit"
    direction: str
    pairs: int
    effect: Effect
    whole: Effect  # the pair's own difference, in that direction
    share: Effect | None  # effect / whole, a ratio of means; None where the whole could be zero
    layer: Effect | None  # the share of the neuron's whole MLP layer, patched in the same way


@dataclass(frozen=True)
class Reader(Record):
    """A later head or neuron through which the neuron reaches the square's logit."""

    unit: str
    effect: Effect  # change of what it adds to the square's logit, final LayerNorm frozen
    activation: Effect | None  # neurons: change of the activation
    whole: float | None  # neurons: the activation's difference between the two runs


@dataclass(frozen=True)
class Downstream(Record):
    """What the neuron alone does to the rest, put from the clean run into the corrupt one."""

    square: str
    alone: tuple[Alone, ...]
    readers: tuple[Reader, ...]
    n_readers: int  # so many later units are below alpha
    n_later: int  # of so many
    alpha: float
    direct: Effect  # on the square's logit, by the direct path, final LayerNorm frozen
    hook: str  # where the board is read
    mine: Board  # change of the log-odds of mine over theirs
    empty: Board  # and of empty over the mean of both; None at the centre
    whole_mine: Board  # the same, of the pairs' whole difference
    whole_empty: Board


@dataclass(frozen=True)
class Causes(Record):
    """The causal section of a neuron's page."""

    without: Without | None
    pairs: PairSet | None
    upstream: Upstream | None
    downstream: Downstream | None
    no_pairs: str | None  # why there are none
    idle: str | None = None  # why nothing was asked of it at all, in a sentence

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.without is None) != (self.idle is not None):
            raise InputError("Causes: either what happens without the neuron, or why that was not asked")
