"""A move explained for a terminal, at most 100 columns wide."""

import textwrap

from circuits.explanation.records import Explanation, Test
from circuits.notation import ROWS
from reports.charts import point_name
from reports.edits.text import aligned, side_by_side
from reports.edits.words import chance
from reports.explanation import words as w
from reports.explanation.records import ExplanationRecord
from reports.text import fixed

WIDTH = 100


def text(r: ExplanationRecord) -> str:
    """Everything for a terminal."""
    e = r.explanation
    p = e.position
    other = "white" if p.mover == "black" else "black"
    checkpoint = next(x for x in e.readings if x.point == e.checkpoint)
    lines = [
        *_wrapped(w.headline(e), ""),
        *_wrapped(
            f"{r.origin.model_name}, ply {p.ply}, {p.mover} to move; means over {e.reference.positions} games "
            f"({e.reference.source}) at this ply; logits less the mean of 60 moves"
        ),
        "",
        *side_by_side(
            _board(e, p.board, "the board"),
            _board(e, checkpoint.board, f"read {w.where(e.checkpoint)}: {checkpoint.right} of 64 right"),
        ),
        f"  ● mine ({p.mover}, who moves next)   ○ theirs ({other})   × legal   [ ] {e.move} and what it rests on",
        "",
        "moves",
    ]
    rows = [(m.move, chance(m.probability), chance(m.mean), w.logit(m.logit), w.legality(m.lines)) for m in e.moves]
    lines += _cut(aligned(("", "probability", "mean", "logit", "legal by"), rows))
    lines += _wrapped(w.moves_words(e))
    lines += ["", *_wrapped(w.board_words(e), "")]
    points = [(i, point_name(x.point)) for i, x in enumerate(e.readings)]
    points = [(i, name) for i, name in points if "mid" not in name or i == len(points) - 1]
    table = [("squares right", *(str(e.readings[i].right) for i, _ in points))]
    table.append(("  reference games, mean", *(fixed(e.readings[i].mean, 1) for i, _ in points)))
    table += [(f"{x.square} {x.state}", *(fixed(x.probabilities[i], 2) for i, _ in points)) for x in e.rests]
    lines += _cut(aligned(("probe", *(name for _, name in points)), table))
    lines += ["", *_wrapped(w.lens_words(e), "")]
    lens = [
        (f"logit of {e.move}", *(w.logit(x.logit) for x in e.lens)),
        ("rank of 60", *(str(x.rank) for x in e.lens)),
        (f"legal among {len(e.position.legal)} likeliest", *(str(x.legal_first) for x in e.lens)),
    ]
    lines += _cut(aligned(("lens", *(f"L{x.layer}" for x in e.lens)), lens))
    lines += [
        "",
        *_wrapped(
            f"the logit {w.logit(e.logit)} = {w.logit(e.at_means)} with every unit at its mean, "
            f"{w.logit(e.logit - e.at_means)} beyond it:",
            "",
        ),
    ]
    large = [x for x in e.parts if abs(x.beyond) >= 0.005]
    lines += _wrapped(", ".join(f"{x.name} {w.logit(x.beyond)}" for x in large))
    for name, test in (
        ("for it", e.supports),
        ("against it", e.opposes),
        (f"writing its squares before {point_name(e.checkpoint)}", e.writers),
    ):
        lines += ["", f"units {name}", *_units(test)]
    said = f"set to their means together, all behind recomputed; of {e.draws} drawn sets the mean [least, most]"
    lines += ["", said]
    rows = []
    for name, test in (("for it", e.supports), ("against it", e.opposes), ("writers", e.writers)):
        for what, c, places in (("logit", test.logit, 2), ("squares", test.board, 1)):
            if c is not None:
                rows.append((f"{name}, {what}", *_change(c, places)))
    lines += _cut(aligned(("", "direct", "total", "units that write as much", "random units"), rows))
    lines += _wrapped(
        f"without those for it {e.move} has {chance(e.supports.probability)} ({w.ordinal(e.supports.rank)} of 60); its "
        f"logit falls {'most' if e.supports.falls == 1 else w.ordinal(e.supports.falls) + ' most'} of the 60"
    )
    for said in (w.alone_words(e), w.writers_words(e), w.rest_words(e), w.THRESHOLDS):
        lines += ["", *_wrapped(said, "")] if said else []
    return "\n".join(lines)


def _units(test: Test) -> list[str]:
    head = ("", "here", "mean", "to the logit", "beyond", "alone", "known for")
    rows = []
    for u in test.units:
        here, mean = ("–", "–") if u.activation is None else (fixed(u.activation), fixed(u.mean or 0.0))
        rows.append((u.unit, here, mean, w.logit(u.contribution), w.logit(u.beyond), w.logit(u.alone), ""))
    lines = [line.removesuffix("known for").rstrip() for line in aligned(head, rows)]
    if not rows:
        return ["  none"]
    start = max(map(len, lines)) + 2
    found = [lines[0].ljust(start) + "known for"]
    for line, u in zip(lines[1:], test.units, strict=True):
        first, *more = textwrap.wrap(w.known_words(u), WIDTH - start - 2) or [""]
        found += [line.ljust(start) + first, *(" " * (start + 2) + rest for rest in more)]
    return [line.rstrip() for line in found]


def _change(c, places: int) -> tuple[str, ...]:
    def one(value: float) -> str:
        return fixed(value, places, sign=True)

    return (
        one(c.direct), one(c.total),
        *(f"{one(s.mean)} [{one(s.low)}, {one(s.high)}]" for s in (c.alike, c.random)),
    )  # fmt: skip


def _board(e: Explanation, board: tuple[int, ...], title: str) -> list[str]:
    squares = {x.square for x in e.rests}
    lines = [title, "   " + "  ".join("01234567") + " "]
    for i, row in enumerate(ROWS):
        cells = ""
        for j in range(8):
            state, name = board[8 * i + j], f"{row}{j}"
            mark = "·○●"[state] if state or name not in e.position.legal else "×"
            cells += f"[{mark}]" if name in squares else f" {mark} "
        lines.append(f"{row} {cells}")
    return lines


def _wrapped(said: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(said, WIDTH, initial_indent=indent, subsequent_indent=indent)


def _cut(lines: list[str]) -> list[str]:
    """No line beyond the width: a long one ends in an ellipsis."""
    return [line if len(line) <= WIDTH else line[: WIDTH - 1] + "…" for line in map(str.rstrip, lines)]
