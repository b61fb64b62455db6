"""The boards and tables of a unit's page, from its sheet: groups of boards that share a scale, and rows of cells."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from circuits.atlas.squares_table import STATES
from circuits.atlas.unit_sheet import UnitSheet
from circuits.head_sources import CATEGORIES
from circuits.notation import LABELS
from reports.atlas_site import maps
from reports.atlas_site.sheets import RISES
from reports.atlas_site.unit_words import slug, small
from reports.boards import places, scale_of
from reports.text import MINUS, fixed, percent


class Group(NamedTuple):
    """Boards of one scale."""

    title: str
    boards: tuple[tuple[str, Markup, Markup], ...]  # name, drawing, strongest cells
    scale: str
    up: bool  # no value is below zero
    caption: str
    python: str


class Column(NamedTuple):
    """A column of the table of numbers: its key, its head, the values of the 64 squares."""

    key: str
    head: str
    values: tuple[float | None, ...]


#: (key, head) of what is not the same for all units
_RISES = ("mine less theirs", "empty less occupied")
READS = (("reads_mine", "reads mine − theirs"), ("reads_empty", "reads empty − occupied"))
WRITES = (("writes_mine", "writes mine − theirs"), ("writes_empty", "writes empty − occupied"))
MEANS = tuple((f"mean_{s}", f"mean, {s}") for s in STATES)
HEADS = (("separation_mine", "writes mine less theirs"), ("separation_empty", "writes empty less occupied"),
         ("logit_legal", "logit where legal"), ("logit_illegal", "logit where illegal"))  # fmt: skip
ADDS = (("adds_legal", "adds where legal"), ("adds_illegal", "adds where illegal"))
GAP = (("gap", "gap"), ("gap_se", "± gap"))


def columns(sheet: UnitSheet, rise) -> list[Column]:
    """What is known of the unit at each square. ``rise`` [of `RISES`, square] in sd."""
    if sheet.kind == "head":
        names = HEADS
        rises: Sequence[Column] = ()
    else:
        names = (("state_r2", "R²"), *MEANS, *READS, *WRITES, ("logit", "logit"))
        rises = [
            Column(f"rise_{s}", head, tuple(None if v != v else v for v in rise[i].tolist()))
            for i, (s, head) in enumerate(zip(RISES, _RISES, strict=True))
        ]
    names = (*names, *ADDS, *GAP)
    own = [Column(key, head, tuple(getattr(square, key) for square in sheet.squares)) for key, head in names]
    own[1:1] = rises
    return [column for column in own if maps.known(column.values)]


def table(columns: Sequence[Column]) -> Markup:
    """The rows of the table of numbers, a square each."""
    cells = zip(*(map(_cell, column.values) for column in columns), strict=True)
    rows = (
        f'<tr><th><a href="../squares/{label}.html">{label}</a>{"".join(own)}'
        for label, own in zip(LABELS, cells, strict=True)
    )
    return Markup("\n".join(rows))


def _cell(value: float | None) -> str:
    """`small`, without its detours: a page has eight hundred of them."""
    if value:
        text = f"{value:.3g}"
        if "e" not in text:
            return f"<td>{MINUS}{text[1:]}" if value < 0 else f"<td>{text}"
    return f"<td>{small(value)}"


def groups(sheet: UnitSheet, columns: Sequence[Column]) -> dict[str, list[Group]]:
    """Boards by section: reads, writes."""
    own = {column.key: column for column in columns}
    measured = sheet.measured["pass"]
    chance = f"a random vector has ±{fixed(sheet.chance_cosine)}"
    if sheet.kind == "head":
        heads = sheet.measured.get("heads", "")
        found = (
            ("writes", "What it tells of each square", HEADS[:2],
             f"What it writes along the probe’s direction where the square is mine less where it is theirs; where it "
             f"is empty less where it is occupied; in the stream’s units, means of the ply taken out. {heads}."),
            ("writes", "What it does to each move’s logit", HEADS[2:],
             f"Direct contribution to the move’s logit where it is legal, and, to compare it with, where the square "
             f"is empty and the move illegal; less its mean at the ply, relative to the mean of all 60. {heads}."),
        )  # fmt: skip
    else:
        found = (
            ("reads", "On which squares it depends", (("state_r2", "variance explained"),),
             "Share of the activation’s variance between its means where the square is empty, theirs and mine; not "
             f"held out; a neuron of the ply alone has some of it at every square. {measured}."),
            ("reads", "In which direction", tuple((f"rise_{s}", head) for s, head in zip(RISES, _RISES, strict=True)),
             f"Mean activation where the square is mine less where it is theirs, and empty less "
             f"occupied, in sd. {measured}."),
            ("reads", "What its input weight reads", READS,
             f"Cosine of the input weight with the probe’s direction at the point it reads; {chance}. Weights alone: "
             "no positions enter."),
            ("writes", "What its output weight writes on the board", WRITES,
             f"Cosine of the output weight with the probe’s direction at the point it writes to; {chance}. Weights "
             "alone: no positions enter."),
            ("writes", "What it does to each move’s logit", (("logit", "60 moves, logit per sd"),),
             "Direct effect of one sd of activation on the move’s logit, over the final LayerNorm’s mean scale, "
             f"relative to the mean over the 60 moves. {measured}."),
        )  # fmt: skip
    found += (
        ("writes", "What it adds to each move’s logit, in all", ADDS,
         "What it adds to the move’s logit as it is rather than at its ply’s mean, everything after it recomputed: "
         "where the move is legal, and, to compare it with, where the square is empty and the move illegal; relative "
         f"to the mean of the 60 moves. {sheet.measured.get('ablations', '')}. The table has the gap between the two "
         "at the same ply, with its standard error."),
    )  # fmt: skip
    made: dict[str, list[Group]] = {"reads": [], "writes": []}
    for section, title, keys, caption in found:
        here = [(own[key], name) for key, name in keys if key in own]
        if not here:
            continue
        scale = scale_of([column.values for column, _ in here])
        drawn = tuple((name, maps.board(c.values, scale, name, c.key), maps.strongest(c.values)) for c, name in here)
        blank = maps.blank_as(here[-1][0].values)
        note = f" A dash: {blank}." if blank else ""
        up = all(v is None or v >= 0 for column, _ in here for v in column.values)
        python = _python(sheet.unit, [column.key for column, _ in here])
        made[section].append(Group(title, drawn, fixed(scale, places(scale)), up, caption + note, python))
    return made


def _python(unit: str, keys: Sequence[str]) -> str:
    if keys[0].startswith("rise_"):
        square = "C0"
        return (
            f'[r.rise for r in questions.reads(atlas, "{square}", state="mine", top=10**6).found if r.unit == "{unit}"]'
        )
    fields = ", ".join(f"s.{key}" for key in ("square", *keys))
    return f'[({fields}) for s in questions.unit(atlas, "{unit}").squares]'


def needed(sheet: UnitSheet) -> list[tuple[str, str, str]]:
    """What the model loses without the unit: (what, figure, standard error)."""
    f, w = sheet.figures, sheet.words
    if "kl" not in f:
        return []
    rows = (
        ("KL to the whole model, nats; everything after it recomputed", "kl", small),
        ("the same by the direct path to the logits alone", "kl_direct", small),
        ("positions where the likeliest move changes", "top_changed", percent),
        ("change of the probability on legal moves", "legal_change", lambda v: small(v, True)),
    )
    found = [
        (what, write(f[name]), f"± {write(f[name + '_se']).lstrip('+')}" if f"{name}_se" in f else "")
        for what, name, write in rows
        if name in f
    ]
    for name, which in (("separates", "largest above 0"), ("blurs", "lowest below 0")):
        if name in w:
            what = f"logit of {w[name]}, legal less empty and illegal at the same ply: of such gaps the {which}"
            found.append((what, small(f[f"{name}_gap"], True), f"± {small(f[f'{name}_se'])}"))
    return found


def facts(sheet: UnitSheet) -> list[list[str]]:
    """Rows of the facts that describe a neuron best."""
    return [
        [f.fact, f"{fixed(f.f1)} [{fixed(f.f1_low)}, {fixed(f.f1_high)}]", *(small(v) for v in (f.precision, f.recall)),
         percent(f.base_rate), small(f.skill)]
        for f in sheet.facts
    ]  # fmt: skip


def attention(sheet: UnitSheet) -> list[dict[str, Any]]:
    """A head's mean attention by kind of source, beside that of equal attention."""
    f = sheet.figures
    return [
        {"name": name, "own": f[f"attention_{slug(name)}"], "even": f[f"uniform_{slug(name)}"]}
        for name in CATEGORIES
        if f"attention_{slug(name)}" in f
    ]
