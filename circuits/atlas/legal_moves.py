"""Which units make a move legal in the model's eyes: those that separate legal from illegal, and those that tell it.

These are two questions. The first is of causes: which units lift the move's logit where it is legal, or lower it where
the square is empty and the move illegal, so that the model tells the two apart (`circuits.atlas.move_effects`). The
second is of what neurons are on for. A neuron may tell exactly where a move is legal and yet speak against it.
"""

import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from circuits import notation
from circuits.atlas.answer_text import NONE, columns, number, paragraph, signed, with_error
from circuits.atlas.answers import of_layer
from circuits.atlas.move_effects import ALPHA, FLOOR, LEAST, passes, side
from circuits.atlas.opened import Atlas
from circuits.atlas.reading import by_square, edges_at, known, neurons
from circuits.notation import LABELS
from circuits.serial import Record


@dataclass(frozen=True)
class Cause(Record):
    """A unit that separates legal from illegal positions of a move, or blurs them; logits, standard errors over games.

    Attributes:
        side: "legal" or "illegal", where more of the gap comes from.
        legal, illegal: what it adds where the move is legal; where its square is empty and it is illegal.
        gap: the one less the other at the same ply (`circuits.atlas.move_effects`), so not quite their difference.
        direct: of a neuron, its direct logit for one sd of activation; of a head, where legal less where illegal.
        follows: of a neuron, its rule where one explains it at least partly, or else the fact that describes it best.
    """

    unit: str
    side: str
    gap: float
    gap_se: float
    legal: float
    legal_se: float
    illegal: float
    illegal_se: float
    direct: float | None
    follows: str | None


@dataclass(frozen=True)
class Causes(Record):
    """The units whose gap passes: at least `FLOOR` logits, and beyond chance over all units of the model.

    Attributes:
        tested: units of the model; looked_at: of these, those in the atlas and the layer asked for.
        legal, illegal: positions, one a game; where either are fewer than `LEAST`, nothing passes.
        control: units of the model that pass when as many empty squares drawn at random stand for the legal ones.
        separating, blurring: how many passed with a gap above and below 0; of these the largest are given.
    """

    measured: str
    tested: int
    looked_at: int
    legal: int
    illegal: int
    control: int
    separating: int
    blurring: int
    separate: tuple[Cause, ...]
    blur: tuple[Cause, ...]


@dataclass(frozen=True)
class Inhibitor(Record):
    """An earlier neuron that lowers another: pre-activation for one sd of its own; z: over the typical effect."""

    unit: str
    effect: float
    z: float


@dataclass(frozen=True)
class Legal(Record):
    """A neuron that is on where a move is legal in one way (or, ``<square> legal``, in any).

    ``logit``: of the move, direct, for one sd; ``gap``: as `Cause`, whether or not it is beyond chance.
    """

    unit: str
    fact: str
    rank: int
    f1: float
    f1_low: float
    f1_high: float
    precision: float | None
    recall: float | None
    base_rate: float
    skill: float
    shuffled_skill: float
    logit: float | None
    gap: float | None
    gap_se: float | None
    inhibitors: tuple[Inhibitor, ...]


@dataclass(frozen=True)
class MakesLegal(Record):
    """Which units separate legal from illegal positions of a move, and which neurons are on where it is legal.

    ``causes``: None where no unit was ablated with the move legal at two positions and illegal at two.
    """

    square: str
    layer: int | None
    causes: Causes | None
    measured: str
    neurons: int  # for which the square is among the facts kept
    found: tuple[Legal, ...]

    def text(self) -> str:
        lines = [*self._causes(), ""]
        lines += [
            f"Neurons on where {self.square} is a legal move, of {self.neurons:,} with such a fact among their best"
            f"{of_layer(self.layer)}",
            f"held out: {self.measured}",
            "",
        ]
        gaps = self.causes is not None
        head = [
            "unit",
            "fact",
            "F1",
            "95 %",
            "prec.",
            "recall",
            "skill",
            "chance",
            "logit",
            *["gap"] * gaps,
            "lowered by",
        ]
        rows = [
            [r.unit, r.fact, number(r.f1), f"[{r.f1_low:.2f}, {r.f1_high:.2f}]", number(r.precision), number(r.recall),
             number(r.skill), number(r.shuffled_skill), signed(r.logit),
             *[f"{signed(r.gap)}±{number(r.gap_se)}"] * gaps,
             ", ".join(f"{i.unit} {i.effect:+.2f}" for i in r.inhibitors[:1]) or NONE]
            for r in self.found
        ]  # fmt: skip
        lines += columns(head, rows, text=(0, 1, len(head) - 1))
        lines += ["", *paragraph(
            "F1 of 'activation > threshold' against the fact, 95 % interval over games; skill: how far F1 "
            "gets from an always-on neuron's to 1; chance: skill of the same search on "
            f"shuffled activations. logit: direct, of {self.square}, for one sd of activation; below 0: on where the "
            f"move is legal, and against it.{' gap: as above, whether or not it passes.' * gaps} lowered by: the "
            "earlier neuron that lowers it most, its pre-activation for one sd of the other's activation."
        )]  # fmt: skip
        return "\n".join(lines)

    def _causes(self) -> list[str]:
        c = self.causes
        if c is None:
            return [
                f"Who separates legal from illegal {self.square} is not known: too few positions were ablated, or none"
            ]
        lines = [
            f"Units that separate legal from illegal {self.square}: {c.separating:,} of {c.looked_at:,}"
            f"{of_layer(self.layer)}",
            f"measured on {c.measured}: {c.legal:,} with {self.square} legal, {c.illegal:,} with it empty and illegal"
            + (f"; fewer than {LEAST}, so nothing is said" if min(c.legal, c.illegal) < LEAST else ""),
        ]
        blur = f"Units that blur legal and illegal {self.square}: {c.blurring:,}"
        shown = (
            (c.separate, None, "legal", "lift it where it is legal"),
            (c.separate, None, "illegal", "lower it where it is not"),
            (c.blur, blur, "legal", "lower it where it is legal"),
            (c.blur, None, "illegal", "lift it where it is not"),
        )
        for own, heading, where, title in shown:
            rows = [
                [x.unit, with_error(x.gap, x.gap_se), with_error(x.legal, x.legal_se),
                 with_error(x.illegal, x.illegal_se), signed(x.direct),
                 textwrap.shorten(x.follows or NONE, 34, placeholder=" …")]
                for x in own if x.side == where
            ]  # fmt: skip
            if heading:
                lines += ["", heading]
            if rows:
                lines += ["", title, *columns(["unit", "gap", "legal", "illegal", "direct", "follows"], rows)]
        return [*lines, "", *paragraph(
            "legal, illegal: what the unit adds to the move's logit (relative to the mean of the 60 moves) where it is "
            "legal, and where the square is empty and it is not: as it is less at its ply's mean, everything after it "
            "recomputed, ± standard error. gap: the one less the other at the same ply (one slope on the ply for "
            f"both); given are those of {FLOOR} logits or more, p < {ALPHA} over the model's {c.tested:,} units "
            "(Student's t, Bonferroni). Control, as many empty squares drawn at random for the legal ones: "
            f"{c.control:,} pass. A gap may also come of later layers that answer differently to the same change. "
            "direct: of a neuron, logit for one sd of activation; of a head, where legal less where illegal: the path "
            "to the logits alone."
        )]  # fmt: skip


def makes_legal(atlas: Atlas, square: str, layer: int | None = None, top: int = 20) -> MakesLegal:
    """The units that separate legal from illegal positions of a move, and the neurons that are on where it is legal.

    Those by the size of their gap, these by F1.

    Each neuron with the first of its facts that is of this move, in the order of the training games.

    Raises:
        InputError: no such square or layer; a centre square, which is never played.
    """
    place = notation.square(square)
    notation.token(place)  # refuses a centre square
    neurons(atlas, layer, top)
    table, name = atlas.table("patterns"), LABELS[place]
    # A fact that is not known (null) is not the one asked for.
    anyway = pc.and_(pc.equal(table["square"], name), pc.equal(table["literal"], "legal"))
    here = pc.or_(pc.equal(table["move"], name).fill_null(False), anyway.fill_null(False))
    if layer is not None:
        here = pc.and_(here, pc.equal(table["layer"], layer))
    own: dict[str, dict[str, Any]] = {}
    for row in table.filter(here).to_pylist():
        own.setdefault(row["unit"], row)  # rows go by rank, which is of training games: no choice by held-out scores
    best = sorted(own.values(), key=lambda row: -row["f1"])[:top]
    effects = _Effects(atlas, place)
    lowered = edges_at(atlas, "receiver", [row["unit"] for row in best], sign=-1)
    copied = ("unit", "fact", "rank", "f1", "f1_low", "f1_high", "precision", "recall", "base_rate", "skill",
              "shuffled_skill")  # fmt: skip
    found = tuple(
        Legal(
            **{field: row[field] for field in copied}, **effects.of(row["unit"]),
            inhibitors=tuple(Inhibitor(e["sender"], e["effect"], e["z"]) for e in lowered[row["unit"]][:3]),
        )
        for row in best
    )  # fmt: skip
    measured = atlas.measured.get("patterns", "not scored")
    return MakesLegal(name, layer, effects.causes(layer, top), measured, len(own), found)


class _Effects:
    """What all units add to one move."""

    def __init__(self, atlas: Atlas, place: int):
        self.atlas = atlas
        self.units = atlas.table("units")
        self.row = {unit: i for i, unit in enumerate(self.units["unit"].to_pylist())}

        def column(name: str) -> np.ndarray:
            return by_square(atlas, name)[:, place]

        self.legal, self.legal_se, self.illegal, self.illegal_se = (
            column(f"adds_{where}{se}") for where in ("legal", "illegal") for se in ("", "_se")
        )
        self.gap, self.gap_se, self.p = (column(name) for name in ("gap", "gap_se", "gap_p"))
        self.logit = column("logit")
        self.direct = np.where(np.isnan(self.logit), column("logit_legal") - column("logit_illegal"), self.logit)
        first = (column(name)[:1] for name in ("tested_units", "ablated_legal", "ablated_illegal", "control_units"))
        self.counts = [int(values[0]) if len(values) and not np.isnan(values[0]) else 0 for values in first]

    def of(self, unit: str) -> dict[str, float | None]:
        i = self.row[unit]
        return {name: known(getattr(self, name)[i]) for name in ("logit", "gap", "gap_se")}

    def causes(self, layer: int | None, top: int) -> Causes | None:
        """Of the units of a layer, or of all, those whose gap is beyond chance."""
        here = ~np.isnan(self.gap)
        if layer is not None:
            here &= self.units["layer"].to_numpy() == layer
        if not here.any():
            return None
        tested, legal, illegal, control = self.counts
        passed = here & passes(self.gap, self.p, tested)
        names = list(self.row)
        statuses, rules, facts = (self.units[name].to_pylist() for name in ("rule_status", "rule", "best_fact"))
        follows = [
            rule if s in ("explained", "partly") else fact for s, rule, fact in zip(statuses, rules, facts, strict=True)
        ]
        fields = ("gap", "gap_se", "legal", "legal_se", "illegal", "illegal_se")

        def strongest(sign: int) -> tuple[int, tuple[Cause, ...]]:
            own = (passed & (sign * self.gap > 0)).nonzero()[0]
            chosen = own[np.argsort(-abs(self.gap[own]), kind="stable")][:top]
            return len(own), tuple(
                Cause(
                    names[i], side(self.gap[i], self.legal[i]), *(float(getattr(self, f)[i]) for f in fields),
                    known(self.direct[i]), follows[i],
                )
                for i in chosen
            )  # fmt: skip

        (separating, separate), (blurring, blur) = strongest(1), strongest(-1)
        measured = self.atlas.measured.get("ablations", NONE)
        return Causes(measured, tested, int(here.sum()), legal, illegal, control, separating, blurring, separate, blur)
