"""The page of patching: what was patched into what, how far the runs differ, where that sits, and how sure it is.

Drawn from the record alone, as one offline file without scripts; `PatchReport.write` puts the JSON beside it.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from markupsafe import Markup

from circuits.errors import InputError
from circuits.files import write_whole
from reports.charts import bullet
from reports.neuron import environment
from reports.patching import words as w
from reports.patching.heatmaps import Dot, dots, heatmap
from reports.patching.pair_view import pairs_view
from reports.patching.records import EffectRow, Estimate, PatchRecord, differs, is_stream
from reports.shown import Shown
from reports.text import count, exact, fixed, number, percent

#: rows of a heatmap, of a chart of intervals, of a table
MOST_ROWS, MOST_DOTS, MOST_TABLE = 24, 6, 60
KINDS = {
    "pre": "the residual stream entering each layer",
    "mid": "the residual stream between attention and MLP",
    "post": "the residual stream after each layer",
    "q": "queries of heads",
    "k": "keys of heads",
    "v": "values of heads",
    "pattern": "attention patterns of heads",
}
X_LABELS = {"ply": "ply", "end": "plies before the last", "first difference": "plies after the first difference"}


@dataclass(frozen=True)
class PatchReport(Shown):
    """A record of patching with its page: shows itself in Jupyter, writes itself into a folder."""

    record: PatchRecord

    @cached_property
    def html(self) -> str:
        return environment().get_template("patch.html").render(**context(self.record))

    def write(self, folder: str | Path) -> Path:
        """Write patch.html and patch.json, each whole or not at all; the path of the page.

        Raises:
            InputError: the folder cannot be written.
        """
        return write_pages(folder, {"patch.json": self.record.to_json(indent=1), "patch.html": self.html})

    @property
    def title(self) -> str:
        return w.headline(self.record)

    def __repr__(self) -> str:
        return w.headline(self.record)


def check_folder(folder: str | Path) -> None:
    """Refuse a place that is no folder before minutes of work.

    Raises:
        InputError: a file has that name, or nothing can be written there.
    """
    if not str(folder).strip() or str(folder) == ".":
        raise InputError("--out names no folder of its own: give one for the page and its JSON")
    folder = Path(folder)
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise InputError(f"--out {folder}: {place} is a file; a folder is written here, give another --out")
    present = next((place for place in (folder, *folder.parents) if place.is_dir()), Path("."))
    if not os.access(present, os.W_OK | os.X_OK):
        raise InputError(f"--out {folder}: {present} cannot be written to; give another --out")


def write_pages(folder: str | Path, files: dict[str, str]) -> Path:
    """Write some texts into a folder; the path of the last."""
    check_folder(folder)
    path = Path(folder)
    for name, text in files.items():
        path = Path(folder) / name
        with write_whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return path


def context(r: PatchRecord) -> dict[str, Any]:
    """What the template shows."""
    return {
        "r": r,
        "o": r.origin,
        "title": r.pairs.question,
        "headline": w.headline(r),
        "tiles": tiles(r),
        "maps": [one for key in w.GROUPS for one in maps(r, key)] if len({x.ply for x in r.rows}) > 1 else [],
        "dots": intervals(r),
        "effects": effects_table(r),
        "subspaces": [subspace(s, r) for s in r.subspaces],
        "pairs": pairs_view(r.pairs, r.metric),
        "directions": [(d, w.NAMES[d], w.ASKS[d]) for d in r.directions],
    }


def tiles(r: PatchRecord) -> list[dict[str, Any]]:
    """The figures of the top."""
    t = r.total
    found = [
        {
            "label": f"{r.metric}, clean less corrupt",
            "name": "total",
            "exact": exact(t.mean),
            "value": number(t.mean, 3, sign=True),
            "bar": "",
            "lines": [f"{w.interval(t)}, {w.p_words(t.p)}"]
            + ([f"clean {fixed(r.clean, 2, sign=True)}, corrupt {fixed(r.corrupt, 2, sign=True)}"] if r.rows else []),
        }
    ]
    for s in r.subspaces[:2]:
        e = {name: by[r.directions[0]] for name, by in s.estimates.items()}
        found.append(
            {
                "label": s.name,
                "name": "subspace",
                "exact": exact(e["subspace"].mean),
                "value": w.share_words(e["subspace"]),
                "bar": bullet(e["subspace"].share or 0.0, [e["whole"].share or 0.0, e["random"].share or 0.0]),
                "lines": [f"whole stream {w.share_words(e['whole'])}, random {w.share_words(e['random'])}"],
            }
        )
    for key, label in (("attn", "attention layer"), ("mlp", "MLP"), ("head", "head"), ("neuron", "neuron")):
        best = next(iter(w.top(r, 1, w.GROUPS[key][1])), None)
        if best is not None and len(found) < 4:
            found.append(_tile(r, best, f"Strongest {label}: {best.place}, {w.long_ply(best.ply, r.align)}"))
    arrived = w.arrival(r)
    if arrived is not None and len(found) < 4:
        found.append(_tile(r, arrived, f"Half of it is in the stream of the last ply by {arrived.place}"))
    return found


def _tile(r: PatchRecord, row: EffectRow, label: str) -> dict[str, Any]:
    other = w.back(r, row)
    lines = [f"{number(row.mean, 3, sign=True)} {w.interval(row)}, {w.p_words(row.p_family)}"]
    if other is not None:
        lines.append(f"the other way {w.share_words(other)}")
    return {
        "label": label,
        "name": f"top {row.kind}",
        "exact": exact(row.mean),
        "value": w.share_words(row),
        "bar": bullet(row.share or 0.0, []) if differs(r.total) else "",
        "lines": lines,
    }


def maps(r: PatchRecord, key: str) -> list[dict[str, Any]]:
    """The heatmaps of one kind of places, a direction each."""
    name, kinds = w.GROUPS[key]
    found = []
    for kind in kinds:
        rows = [x for x in r.rows if x.kind == kind]
        if not rows:
            continue
        shared = differs(r.total)
        chosen = {x.place for d in r.directions for x in w.top(r, MOST_ROWS, (kind,), d)}
        order = list(dict.fromkeys(p for p in r.what if p in chosen))
        last = max(x.ply or 0 for x in rows)
        first = 0 if r.align != "ply" else min(x.ply or 0 for x in rows)
        plies = list(range(first, last + 1))[:: -1 if r.align == "end" else 1]
        scale = max((abs(value(x, shared)) for x in rows), default=0.0) or 1.0
        drawn = []
        for d in r.directions:
            cells = {
                (order.index(x.place), plies.index(x.ply)): (value(x, shared), cell_words(x, r))
                for x in rows
                if x.direction == d and x.place in order
            }
            words = f"{kind}, {d}: largest " + ", ".join(cell_words(x, r) for x in w.top(r, 3, (kind,), d))
            short = [p.partition(" ")[0] for p in order]
            picture = heatmap(f"{kind}", short, [str(j) for j in plies], cells, scale, X_LABELS[r.align], words)
            drawn.append({"direction": d, "asks": w.ASKS[d], "svg": picture})
        every = len({x.place for x in rows})
        found.append(
            {
                "title": KINDS.get(kind, name),
                "maps": drawn,
                "left_out": f" The {len(order)} of {every} with the largest effects." if every > len(order) else "",
                "low": w.share_text(-scale) if shared else number(-scale),
                "high": percent(scale) if shared else number(scale, sign=True),
                "unit": "share of the difference between the runs" if shared else r.metric,
            }
        )
    return found


def value(row: EffectRow | Estimate, shared: bool) -> float:
    """What is drawn: the share, or the effect itself where the runs do not differ for sure."""
    return (row.share or 0.0) if shared else row.mean


def cell_words(x: EffectRow, r: PatchRecord) -> str:
    share = f", {w.share_text(x.share)}" if x.share is not None else ""
    return (
        f"{x.place} {w.ply_words(x.ply, r.align)}: {number(x.mean, 3, sign=True)} {w.interval(x)}{share}, "
        f"{w.p_words(x.p_family)}"
    )


def intervals(r: PatchRecord) -> Markup | None:
    """The largest effects of each kind with their intervals, both directions."""
    shared = differs(r.total)
    rows = []
    for _, kinds in w.GROUPS.values():
        for best in sorted(w.top(r, MOST_DOTS, kinds), key=lambda x: r.what.index(x.place)):
            pair = [x for x in (best, w.back(r, best)) if x is not None]
            rows.append((f"{best.place}, {w.ply_words(best.ply, r.align)}", [_dot(x, r, shared) for x in pair]))
    if not rows:
        return None
    label = "share of the difference" if shared else r.metric
    words = f"Largest effects with their intervals: {'; '.join(ds[0].title for _, ds in rows[:6])}."
    return dots("intervals", rows, label, words, shared)


def _dot(x: EffectRow, r: PatchRecord, shared: bool) -> Dot:
    hollow = x.direction != r.directions[0]
    low, high = x.low, x.high
    if shared and low is not None and high is not None:
        per = (x.share or 0.0) / x.mean if x.mean else 0.0
        low, high = sorted((low * per, high * per))
    return Dot(value(x, shared), low, high, hollow, f"{x.direction}, {cell_words(x, r)}")


def effects_table(r: PatchRecord) -> dict[str, Any]:
    """The largest effects as a table; all of them are in the JSON."""
    head = ("place", "ply", "direction", "mean", "95 % interval", "share", "p", "p, whole table")
    ranked = sorted(r.rows, key=lambda x: (is_stream(x), -abs(x.mean)))
    rows = [
        (x.place, w.ply_words(x.ply, r.align), x.direction, number(x.mean, 4, sign=True), w.interval(x),
         "–" if x.share is None else w.share_text(x.share), fixed(x.p, 3), fixed(x.p_family, 3))
        for x in ranked[:MOST_TABLE]
    ]  # fmt: skip
    return {"head": head, "rows": rows, "all": count(len(r.rows)), "shown": len(rows)}


def subspace(s: Any, r: PatchRecord) -> dict[str, Any]:
    """A subspace beside its controls."""
    names = {"subspace": "the subspace", "whole": "the whole stream there", "rest": "all but the subspace",
             "random": f"random subspaces ({s.draws})", "beyond random": "subspace less random"}  # fmt: skip
    rows = []
    for name, by_direction in s.estimates.items():
        cells = []
        for d in r.directions:
            e = by_direction[d]
            share = "–" if e.share is None else w.share_text(e.share)
            cells += [f"{number(e.mean, 3, sign=True)} {w.interval(e)}", share, fixed(e.p, 3)]
        rows.append((names[name], *cells))
    head = ["patched at every ply", *(h for d in r.directions for h in (d, "share", "p"))]
    readers = [
        (x.name, count(x.rank), percent(x.null_share), percent(x.null_share_random), number(x.gain)) for x in s.readers
    ]
    return {
        "name": s.name,
        "words": w.subspace_words(s, r),
        "dimension": s.dimension,
        "head": head,
        "rows": rows,
        "readers_head": ("reader", "rank", "in its null space", "a random direction", "gain over random"),
        "readers": readers,
    }
