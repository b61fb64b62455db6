"""The page of a move explained as its template wants it: figures, tables and captions drawn from the record alone."""

from typing import Any

from markupsafe import Markup

from circuits.explanation.records import Explanation, Test
from reports.charts import point_name
from reports.edits.figures import STYLE as EDIT_STYLE
from reports.edits.figures import key_mark
from reports.edits.words import chance
from reports.explanation import figures as f
from reports.explanation import words as w
from reports.explanation.records import ExplanationRecord
from reports.text import exact, fixed, percent

STYLE = EDIT_STYLE + Markup(" .wrong { fill: none; stroke: var(--neg); stroke-width: 1.6; }")


def context(r: ExplanationRecord) -> dict[str, Any]:
    """What the template shows."""
    e = r.explanation
    most = max(p for p in e.probabilities if p is not None)
    checkpoint = next(x for x in e.readings if x.point == e.checkpoint)
    return {
        "r": r,
        "e": e,
        "o": r.origin,
        "style": STYLE,
        "title": f"Why {e.move}" if e.rank == 1 else f"{e.move}, asked for",
        "headline": w.headline(e),
        "verdict": w.verdict(e),
        "thresholds": w.THRESHOLDS,
        "lead": lead(e),
        "tiles": tiles(e),
        "boards": [
            {"title": "The position", "note": f"{len(e.position.legal)} legal moves", "svg": f.position_board(e)},
            {
                "title": f"Read {w.where(checkpoint.point)}",
                "note": f"{checkpoint.right} of 64 right",
                "svg": f.reading_board(e, checkpoint),
            },
            {
                "title": "The model plays",
                "note": f"full colour {chance(most)}",
                "svg": f.probability_board(e, most),
            },
        ],
        "moves": moves_table(e),
        "moves_words": w.moves_words(e),
        "alone_words": w.alone_words(e),
        "board_words": w.board_words(e),
        "strip": [
            {"title": name, "note": f"{x.right} right, mean {fixed(x.mean, 1)}", "svg": f.reading_board(e, x)}
            for x in e.readings
            if "mid" not in (name := point_name(x.point))
        ],
        "right_chart": f.right_chart(e),
        "lens_chart": f.lens_chart(e),
        "lens_words": w.lens_words(e),
        "lens": lens_table(e),
        "rests": rests_table(e),
        "key": [(key_mark("train"), "reference games, mean"), (key_mark(""), "here")],
        "parts_chart": f.parts_chart(e.parts),
        "parts": parts_table(e),
        "supports": units_table(e.supports),
        "opposes": units_table(e.opposes),
        "writers": units_table(e.writers, board=True),
        "writers_words": w.writers_words(e),
        "tests": tests_table(e),
        "rest_words": w.rest_words(e),
        "checkpoint": point_name(e.checkpoint),
        "sum": (w.logit(e.logit), w.logit(e.at_means), w.logit(e.logit - e.at_means)),
    }


def lead(e: Explanation) -> str:
    """What is compared with what, under the headline."""
    return (
        f"Ply {e.position.ply}, {e.position.mover} to move. Logits are relative to the mean over the 60 moves. A "
        f"unit’s mean is that at this ply over {e.reference.positions} reference games; set to it at this position, "
        "everything behind it is recomputed."
    )


def tiles(e: Explanation) -> list[dict[str, Any]]:
    """Four figures of the top, each beside its baselines."""
    t = e.supports.logit
    n = len(e.position.legal)
    covered = e.cover.shown / e.cover.positive if e.cover.positive else 0.0
    checkpoint = next(x for x in e.readings if x.point == e.checkpoint)
    return [
        _tile(
            f"Probability of {e.move}", "probability", e.probability, chance(e.probability),
            [f"mean at this ply {chance(e.mean_probability)}", f"even among {n} legal moves {chance(1 / n)}"],
        ),
        _tile(
            f"Logit without the {w.many(len(e.supports.units))} listed for it", "without", e.logit + t.total,
            w.logit(e.logit + t.total),
            [
                f"with them {w.logit(e.logit)}",
                f"without others as loud {w.logit(e.logit + t.alike.mean)}",
                f"without random ones {w.logit(e.logit + t.random.mean)}",
            ],
        ),
        _tile(
            "Their share of what all units write for it", "covered", covered, percent(covered, 0),
            [f"half takes {e.cover.half} of {e.cover.all:,} units"],
        ),
        _tile(
            f"Squares read right {w.where(e.checkpoint)}", "right", float(checkpoint.right), f"{checkpoint.right}",
            [f"reference games {fixed(checkpoint.mean, 1)}", "of 64"],
        ),
    ]  # fmt: skip


def _tile(label: str, name: str, value: float, shown: str, lines: list[str]) -> dict[str, Any]:
    lines = ["\u00a0".join(line.rsplit(" ", 2 if line.endswith("%") else 1)) for line in lines]
    return {"label": label, "name": name, "exact": exact(value), "value": shown.replace(" ", "\u00a0"), "bar": "",
            "lines": lines}  # fmt: skip


def moves_table(e: Explanation) -> dict[str, Any]:
    head = ("move", "probability", "mean at this ply", "logit", "legal by")
    rows = [(m.move, chance(m.probability), chance(m.mean), w.logit(m.logit), w.legality(m.lines)) for m in e.moves]
    return {"head": head, "rows": rows}


def rests_table(e: Explanation) -> dict[str, Any]:
    points = [(i, point_name(x.point)) for i, x in enumerate(e.readings)]
    points = [(i, name) for i, name in points if "mid" not in name or e.readings[i].point == e.checkpoint]
    rows = [
        (f"{x.square} {x.state}", x.role, *(fixed(x.probabilities[i], 2) for i, _ in points)) for x in e.rests
    ]  # fmt: skip
    return {"head": ("square", "as", *(name for _, name in points)), "rows": rows}


def lens_table(e: Explanation) -> dict[str, Any]:
    n = len(e.position.legal)
    head = ("after", "logit", "probability", "rank of 60", f"legal among the {n} likeliest")
    rows = [(f"L{x.layer}", w.logit(x.logit), chance(x.probability), x.rank, x.legal_first) for x in e.lens]
    return {"head": head, "rows": rows}


def parts_table(e: Explanation) -> dict[str, Any]:
    rows = [(p.name, w.logit(p.contribution), w.logit(p.beyond)) for p in e.parts]
    total = ("sum", w.logit(sum(p.contribution for p in e.parts)), w.logit(sum(p.beyond for p in e.parts)))
    return {"head": ("part", "contribution", "beyond its mean"), "rows": [*rows, total]}


def units_table(test: Test, board: bool = False) -> dict[str, Any]:
    """The units of a test: what they do here, what they write, what is lost without each, what they are known for."""
    head = ("unit", "activation (mean)", *(("to the squares",) if board else ()), "to the logit", "beyond its mean",
            "alone set to it", "writes to squares", "known for")  # fmt: skip
    rows = []
    for u in test.units:
        active = "–" if u.activation is None else f"{fixed(u.activation)} ({fixed(u.mean or 0.0)})"
        own = () if not board else (fixed(u.board or 0.0, 1, sign=True),)
        writes = ", ".join(f"{x.square} {x.state} {fixed(x.by, 1, sign=True)}" for x in u.writes) or "–"
        numbers = (w.logit(u.contribution), w.logit(u.beyond), w.logit(u.alone))
        rows.append((u.unit, active, *own, *numbers, writes, w.known_words(u)))
    return {"head": head, "rows": rows}


def tests_table(e: Explanation) -> dict[str, Any]:
    """Every set together: direct, total, and both controls."""
    head = ("set to their means", "of", "direct", "total", "units that write as much", "random units",
            "probability then", "rank then", "falls, of 60")  # fmt: skip
    rows = []
    for name, test in (("for the move", e.supports), ("against it", e.opposes), ("writers of the squares", e.writers)):
        c = test.logit
        rows.append(
            (name, "logit", w.logit(c.direct), w.logit(c.total), *(_spread(x, 2) for x in (c.alike, c.random)),
             chance(test.probability), test.rank, w.ordinal(test.falls))
        )  # fmt: skip
        if test.board is not None:
            b = test.board
            rows.append(
                (name, "squares", *(fixed(v, 1, sign=True) for v in (b.direct, b.total)),
                 *(_spread(x, 1) for x in (b.alike, b.random)), "", "", "")
            )  # fmt: skip
    return {"head": head, "rows": rows}


def _spread(s, places: int) -> str:
    low, mean, high = (fixed(v, places, sign=True) for v in (s.low, s.mean, s.high))
    return f"{mean} [{low}, {high}]"
