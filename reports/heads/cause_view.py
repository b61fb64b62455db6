"""What breaks without a head, and its neighbours, as the template wants them."""

from collections.abc import Mapping
from typing import Any

from circuits.notation import parse_unit
from reports.heads import charts as head_charts
from reports.heads.cells import cell, ends, kl_cell
from reports.heads.records import HeadRecord
from reports.text import count, exact, fixed, number, percent

PLAY = {
    "illegal_top1": ("illegal top-1", True),
    "illegal_mass": ("illegal probability", True),
    "kl_to_uniform_legal": ("KL to uniform-legal", False),
    "top_n_error": ("top-N error", False),
}


METHODS = {
    "mean": "its mean", "zero": "zero", "resample": "another game’s", "frozen pattern": "its mean pattern",
    "random direction": "turned at random",
}  # fmt: skip


def causes(r: HeadRecord) -> dict[str, Any]:
    c = r.causes
    states = ("mine", "theirs", "empty", "all")
    board, play, table = [], [], []
    for i, m in enumerate(c.methods):
        path, control = f"causes.methods.{i}", m.method == "random direction"
        cells = [cell(getattr(m.board[0], s), f"{path}.board.0.{s}.mean", 100.0) for s in states]
        cells.append(cell(m.board[-1].all, f"{path}.board.{len(m.board) - 1}.all.mean", 100.0))
        board.append({"name": m.words, "control": control, "cells": cells})
        cells = [kl_cell(m.kl, f"{path}.kl.mean")]
        for k, name in enumerate(c.play):
            scale, places = (100.0, 2) if PLAY[name][1] else (1.0, 4)
            cells.append(cell(m.play[k], f"{path}.play.{k}.mean", scale, places=places))
        play.append({"name": m.words, "control": control, "cells": cells})
        table += [(m.method, p.point, s, *ends(getattr(p, s))) for p in m.board for s in states]
        table += [(m.method, "prediction", name, *ends(e)) for name, e in zip(c.play, m.play, strict=True)]
        table.append((m.method, "prediction", "KL", *ends(m.kl)))
    base = [(b.point, *(percent(getattr(b, s), 2) for s in states)) for b in c.base]
    with_it = [percent(getattr(c.base[0], s), 1) for s in states] + [percent(c.base[-1].all, 1)]
    played = [percent(v, 2) if PLAY[n][1] else number(v, 3) for n, v in zip(c.play, c.play_base, strict=True)]
    return {
        "depth": head_charts.by_depth(c, "mean"),
        "depth_head": ("point", "mine", "theirs", "empty", "all squares"),
        "depth_rows": base,
        "methods": head_charts.by_method(c, METHODS),
        "tables": (
            {"title": "squares read right, in points", "with_it": with_it, "rows": board,
             "head": ("mine", "theirs", "empty", "all squares", "all, after the last layer")},
            {"title": "the prediction", "with_it": ["0", *played], "rows": play,
             "head": ("KL, nats", *(PLAY[n][0] + (", points" if PLAY[n][1] else "") for n in c.play))},
        ),
        "csv": "method,where,what,change,from,to\n" + "\n".join(",".join(map(str, row)) for row in table),
    }  # fmt: skip


def connections(r: HeadRecord, links: Mapping[str, str]) -> list[dict[str, Any]]:
    found = []
    for i, c in enumerate(r.neighbours):
        if not c.units:
            continue
        rows = [
            {
                "unit": n.unit,
                "kind": parse_unit(n.unit).kind,
                "link": links.get(n.unit),
                "path": f"neighbours.{i}.units.{k}.value",
                "exact": exact(n.value),
                "value": fixed(n.value, 3),
            }
            for k, n in enumerate(c.units)
        ]
        via = f", via {c.via}" if "heads" in c.name else ""
        note = f"of {count(c.n)}" + (f"; random: {fixed(c.null, 3)}" if c.null is not None else "")
        found.append({"title": f"{c.name[:1].upper()}{c.name[1:]}{via}", "note": f"{c.measure}; {note}", "rows": rows})
    return found
