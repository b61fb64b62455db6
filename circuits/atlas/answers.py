"""Answers to questions about an atlas: records that go to JSON, and lines of text that fit a terminal.

What is not known is None in a record and "–" in a text.
"""

from dataclasses import dataclass

from circuits.atlas.answer_text import NONE, columns, number, paragraph, signed, with_error
from circuits.serial import Record


@dataclass(frozen=True)
class Reader(Record):
    """A neuron and what a square's state says of it.

    Attributes:
        r2: share of the activation's variance between the means of the square's states (or, where one was asked about,
            between it and what it is told from); typical: the median of the same over all 64 squares.
        rise: how much higher the mean is in the state asked about than in that other, in sd.
        reads_mine, reads_empty: cosines of its input weight with the probe's directions.
        ply_r2: share of the variance between the means of the plies.
    """

    unit: str
    r2: float
    typical: float
    rise: float | None
    mean_empty: float | None
    mean_theirs: float | None
    mean_mine: float | None
    reads_mine: float | None
    reads_empty: float | None
    ply_r2: float | None
    best_fact: str | None


@dataclass(frozen=True)
class Reads(Record):
    """Which neurons answer to a square's state."""

    square: str
    state: str | None
    layer: int | None
    positions: dict[str, int]  # by state
    measured: str
    chance_cosine: float
    neurons: int  # looked at
    found: tuple[Reader, ...]

    def text(self) -> str:
        rather = {"mine": " rather than theirs", "theirs": " rather than mine"}.get(self.state or "", "")
        asked = f"whether {self.square} is {self.state}{rather}" if self.state else f"what {self.square} holds"
        lines = [
            f"Neurons that depend on {asked}, of {self.neurons:,}{of_layer(self.layer)}, most first",
            f"measured on {self.measured}; " + ", ".join(f"{n:,} {state}" for state, n in self.positions.items()),
            "",
        ]
        rise = ["rise"] if self.state else []
        head = ["unit", "R2", "median", *rise, "empty", "theirs", "mine", "reads m", "reads e", "ply R2", "best fact"]
        rows = [
            [r.unit, number(r.r2, 3), number(r.typical, 3), *([signed(r.rise)] if rise else []),
             *map(number, (r.mean_empty, r.mean_theirs, r.mean_mine)), signed(r.reads_mine), signed(r.reads_empty),
             number(r.ply_r2), r.best_fact or NONE]
            for r in self.found
        ]  # fmt: skip
        lines += [*columns(head, rows), ""]
        rest = {"mine": "theirs", "theirs": "mine"}.get(self.state or "", "occupied")
        said = f"the means of {self.state} and {rest}" if self.state else "the means of its three states"
        return "\n".join(
            lines
            + paragraph(
                f"R2: share of the activation's variance between {said}, over the whole pass, not held out; median: "
                "the same at the middling square; ply R2: what the ply alone says of it."
                + (" rise: the mean of the one less that of the other, in sd." if self.state else "")
                + " empty, theirs, mine: mean activations. reads m, e: cosine of the input weight with mine - theirs, "
                f"empty - occupied; a random vector has ±{self.chance_cosine:.2f}."
            )
        )


@dataclass(frozen=True)
class Writer(Record):
    """A neuron and what it writes about a square: cosines, and the direct logit of the move per sd of activation."""

    unit: str
    writes_mine: float | None
    writes_empty: float | None
    logit: float | None
    kl: float | None
    kl_se: float | None
    best_fact: str | None


@dataclass(frozen=True)
class HeadWriter(Record):
    """A head and what it tells of a square: see the table ``squares``."""

    unit: str
    separation_mine: float | None
    separation_empty: float | None
    logit_legal: float | None
    logit_illegal: float | None


@dataclass(frozen=True)
class Writes(Record):
    """Which units write about a square. ``by``: what they are ordered by."""

    square: str
    by: str
    layer: int | None
    chance_cosine: float
    measured: str
    measured_heads: str | None
    neurons: int
    found: tuple[Writer, ...]
    heads: tuple[HeadWriter, ...]

    def text(self) -> str:
        how = {
            "board": "mine or theirs, empty or occupied", "mine": f"{self.square} mine", "theirs":
            f"{self.square} theirs", "empty": f"{self.square} empty", "logit": f"the move {self.square}",
        }[self.by]  # fmt: skip
        lines = [f"Neurons that write to {self.square}, by what they write of {how}, of {self.neurons:,}"
                 f"{of_layer(self.layer)}", ""]  # fmt: skip
        head = ["unit", "mine", "empty", "logit", "KL without", "best fact"]
        lines += columns(
            head,
            [[w.unit, signed(w.writes_mine), signed(w.writes_empty), signed(w.logit),
              with_error(w.kl, w.kl_se), w.best_fact or NONE] for w in self.found],
        )  # fmt: skip
        lines += ["", *paragraph(
            "mine, empty: cosine of the output weight with the probe's mine - theirs, empty - occupied; a random "
            f"vector has ±{self.chance_cosine:.2f}. logit: direct, for one sd of activation, relative to the mean of "
            "the 60 moves. KL without: nats, ± standard error, the neuron at its ply's mean. Activations: "
            f"{self.measured}."
        )]  # fmt: skip
        if self.heads:
            lines += ["", f"Heads; held out: {self.measured_heads}", ""]
            rows = [
                [h.unit, signed(h.separation_mine), signed(h.separation_empty), signed(h.logit_legal, 3),
                 signed(h.logit_illegal, 3)] for h in self.heads
            ]  # fmt: skip
            lines += [*columns(["unit", "mine", "empty", "legal", "illegal"], rows, (0,)), "", *paragraph(
                "mine, empty: what the head writes along the direction where it holds less where it does not, in the "
                f"stream's units; legal, illegal: its direct logit of {self.square} where that is legal, and where it "
                "is empty and illegal, less the ply's mean and relative to the mean of the 60 moves."
            )]  # fmt: skip
        return "\n".join(lines)


@dataclass(frozen=True)
class Alike(Record):
    """A neuron that is like another, or like its image under a map of the board."""

    map: str
    unit: str
    cosine: float
    best_fact: str | None


@dataclass(frozen=True)
class Like(Record):
    """Neurons like one, by map. ``chance``: by map, the cosine that one in a hundred neurons reaches."""

    unit: str
    best_fact: str | None
    measured: str
    neurons: int
    chance: dict[str, float]
    found: tuple[Alike, ...]

    def text(self) -> str:
        said = f" ({self.best_fact})" if self.best_fact else ""
        lines = [
            f"Neurons like {self.unit}{said}, of {self.neurons:,} others",
            f"measured on {self.measured}",
        ]
        for name in self.chance:
            own = [a for a in self.found if a.map == name]
            what = "as it is" if name == "identity" else f"its image under the {name}"
            lines += ["", f"{what}; one neuron in a hundred reaches {self.chance[name]:.2f}", ""]
            lines += columns(
                ["unit", "cosine", "best fact"], [[a.unit, number(a.cosine), a.best_fact or NONE] for a in own]
            )
        lines += ["", *paragraph(
            "cosine between 188 conditional means: where each square is empty (but the centre), theirs, mine, less the "
            "mean, over the sd, less the mean over squares of the same state (the clock's part). Alike by the board's "
            "states; neither weights nor rules enter. The maps keep the start position."
        )]  # fmt: skip
        return "\n".join(lines)


def of_layer(layer: int | None) -> str:
    return "" if layer is None else f" of L{layer}"


@dataclass(frozen=True)
class BoardPoint(Record):
    """One point of the stream: shares of squares read right, over all squares, and of those in each state."""

    point: str
    accuracy: float
    recall_empty: float
    recall_theirs: float
    recall_mine: float
    worst_square: str
    worst: float


@dataclass(frozen=True)
class Board(Record):
    """What the probes read of the board, point by point."""

    measured: str
    probes: str
    majority: float  # the share that each square's commonest state gives
    points: tuple[BoardPoint, ...]

    def text(self) -> str:
        rows = [
            [p.point, number(p.accuracy, 4), *(number(x, 3) for x in (p.recall_empty, p.recall_theirs, p.recall_mine)),
             f"{p.worst_square} {number(p.worst, 3)}"] for p in self.points
        ]  # fmt: skip
        lines = [f"What the probes read of the board; each square's commonest state: {self.majority:.4f}",
                 f"measured on {self.measured}", ""]  # fmt: skip
        lines += columns(["point", "right", "empty", "theirs", "mine", "worst square"], rows)
        return "\n".join([*lines, "", *paragraph(
            f"right: share of squares read right; empty, theirs, mine: of those in that state. Probes: {self.probes}"
        )])  # fmt: skip
