"""What a head moves and writes, and what can be read from it, as the template wants it."""

from typing import Any

from reports import boards, tables
from reports.causes.records import Effect
from reports.heads import charts as head_charts
from reports.heads.captions import fact_note
from reports.heads.cells import NOTHING, cell, group, map_csv, map_words, value_map
from reports.heads.records import HeadRecord
from reports.text import exact, fixed, number, percent


def own(r: HeadRecord) -> dict[str, Any] | None:
    facts = [(i, m) for i, m in enumerate(r.moves.facts) if m.fact != "legal"]
    if not facts:
        return None
    items = []
    for i, m in facts:
        sizes = f"mean {number(m.mean, 2, sign=True)}, elsewhere ±{number(m.elsewhere, 2)}"
        items.append((m.fact, f"{fact_note(m.fact)}; {sizes}", m.own, f"moves.facts.{i}.own"))
    return group(items, "", *tables.board([(m.fact, m.own) for m in r.moves.facts]))


def around_map(r: HeadRecord, i: int, scale: float) -> Any:
    m = r.moves.facts[i]
    words = f"{fact_note(m.fact)}, written round the source: {map_words(m.around)}"
    return head_charts.displacement(m.around, scale, "the source’s square", words, f"moves.facts.{i}.around")


def around(r: HeadRecord) -> dict[str, Any] | None:
    facts = [(i, m) for i, m in enumerate(r.moves.facts) if m.fact in ("mine", "empty")]
    if not facts:
        return None
    scale = boards.scale_of([m.around for _, m in facts])
    maps = [
        {"title": m.fact, "note": fact_note(m.fact), "svg": around_map(r, i, scale), "words": map_words(m.around)}
        for i, m in facts
    ]
    return {"maps": maps, "scale": scale, "csv": "\n\n".join(f"{m.fact}\n{map_csv(m.around)}" for _, m in facts)}


def link_table(r: HeadRecord) -> dict[str, Any]:
    rows = [
        {
            "name": f"{k.source} → {k.target}",
            "path": f"moves.links.{i}.mean",
            "exact": exact(k.mean),
            "value": fixed(k.mean, 2, sign=True),
            "elsewhere": f"±{fixed(k.elsewhere)}",
        }
        for i, k in enumerate(r.moves.links)
    ]
    return {"rows": rows[:8], "head": ("from → to", "same square", "other squares"),
            "all": [(row["name"], row["value"], row["elsewhere"]) for row in rows]}  # fmt: skip


def separation(r: HeadRecord) -> dict[str, Any]:
    facts = r.writes.facts
    items = [
        (f.fact, fact_note(f.fact), f.board, f"writes.facts.{i}.board")
        for i, f in enumerate(facts)
        if f.fact in ("mine", "empty")
    ]
    columns = [c for f in facts for c in ((f.fact, f.board), (f"{f.fact}, stream", f.whole))]
    return group(items, "", *tables.board(columns))


def separations(r: HeadRecord) -> list[dict[str, Any]]:
    return [
        {
            "name": fact_note(f.fact),
            "cells": [cell(f.pooled, f"writes.facts.{i}.pooled.mean", 1.0),
                      cell(f.share, f"writes.facts.{i}.share.mean", 100.0, " %") if f.share is not None else None],
        }
        for i, f in enumerate(r.writes.facts)
    ]  # fmt: skip


def logits(r: HeadRecord) -> dict[str, Any]:
    w = r.writes
    items = [
        ("legal", "the move is legal", w.legal, "writes.legal"),
        ("illegal", "its square is empty, the move illegal", w.illegal, "writes.illegal"),
        ("occupied", "its square is occupied", w.occupied, "writes.occupied"),
    ]
    return group(items, "three", *tables.board([(name, values) for name, _, values, _ in items]))


def alone(r: HeadRecord) -> dict[str, Any]:
    x = r.reading
    read = [("this head’s output alone", "reading.accuracy.mean", x.accuracy, x.recall)]
    for i, b in enumerate(x.baselines):
        read.append((b.words, f"reading.baselines.{i}.accuracy", Effect(b.accuracy, b.low, b.high), b.recall))
    rows = [
        {
            "name": words,
            "cell": cell(e, path, 100.0, " %", False),
            "recall": [percent(v, 1) for v in recall] if recall else [NOTHING] * 3,
        }
        for words, path, e, recall in read
    ]
    return {
        "board": value_map("reading.by_square", x.by_square, "accuracy", 1.0),
        "rows": rows,
    }
