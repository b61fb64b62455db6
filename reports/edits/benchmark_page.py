"""The page of the edit benchmark: which way of writing to the board makes the model play by it, and what fails.

Drawn from the record alone, as one offline file without scripts; `BenchmarkReport.write` puts the JSON beside it.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from circuits.editing.results import NO_EDIT, PERFECT
from circuits.editing.scores import NAMES
from reports.edits import benchmark_figures as f
from reports.edits import benchmark_words as w
from reports.edits.benchmark_records import BenchmarkRecord
from reports.edits.figures import key_mark
from reports.neuron import environment
from reports.patching.page import write_pages
from reports.shown import Shown
from reports.text import count, exact, fixed, percent

#: methods drawn in the figure by moves changed, the best first
DRAWN = 3


@dataclass(frozen=True)
class BenchmarkReport(Shown):
    """A record of the benchmark with its page: shows itself in Jupyter, writes itself into a folder."""

    record: BenchmarkRecord

    @cached_property
    def html(self) -> str:
        return environment().get_template("edit_benchmark.html").render(**context(self.record))

    def write(self, folder: str | Path) -> Path:
        """Write benchmark.html and benchmark.json, each whole or not at all; the path of the page.

        Raises:
            InputError: the folder cannot be written.
        """
        return write_pages(folder, {"benchmark.json": self.record.to_json(indent=1), "benchmark.html": self.html})

    @property
    def title(self) -> str:
        return w.headline(self.record)

    def __repr__(self) -> str:
        return w.headline(self.record)


def context(b: BenchmarkRecord) -> dict[str, Any]:
    """What the template shows."""
    none = w.overall(b, NO_EDIT)
    most = 1.05 * max(none, *(v for row in b.layers.values() for v in row))
    order = sorted(b.layers, key=lambda name: min(b.layers[name]))
    return {
        "b": b,
        "o": b.origin,
        "headline": w.headline(b),
        "tiles": tiles(b),
        "total": count(sum(s.cases for s in b.sets)),
        "tables": [table(b, s.name) for s in b.sets],
        "errors": [{"title": title(s.name), "cases": s.cases, "svg": f.error_dots(b, s.name)} for s in b.sets],
        "layers": [{"name": name, "svg": f.layer_chart(b, name, most, none)} for name in order],
        "layers_table": layers_table(b, order),
        "scales": f.scale_map(b, none),
        "scales_table": scales_table(b),
        "unedited": fixed(none),
        "changed": [changed(b, s.name) for s in b.sets],
        "rollouts": [rollout(b, s.name) for s in b.sets if any(r.cases == s.name for r in b.rollouts)],
        "findings": w.findings(b),
        "saliency": w.saliency_words(b),
        "saliency_table": saliency_table(b),
        "sets": sets_table(b),
        "tuned": tuned_table(b),
        "published": published_table(b),
    }


def title(cases: str) -> str:
    """The name of a set as a heading; a file's stays as it is."""
    return cases.capitalize() if cases in w.OWN else cases


def tiles(b: BenchmarkRecord) -> list[dict[str, Any]]:
    """The method of the lowest error on each set, and its roll-outs."""
    found = []
    for s in b.sets[:3]:
        error = b.row(s.name, b.winner_name).scores["error"]
        none, random = b.row(s.name, NO_EDIT), b.row(s.name, b.winner_name, True)
        found.append(
            {
                "label": f"Mean error of {b.winner_name} {w.on(s.name)}",
                "name": f"error {s.name}",
                "exact": exact(error.mean),
                "value": f"{fixed(none.scores['error'].mean)} → {fixed(error.mean)}",
                "bar": "",
                "lines": [
                    f"95 % {f.interval(error).partition(' ')[2]}, {count(s.cases)} cases",
                    f"random directions {fixed(random.scores['error'].mean)}, perfect 0",
                ],
            }
        )
    rolled = [r for r in b.rollouts if r.cases == b.sets[0].name]
    if rolled:
        edited, none, original = rolled[:3]
        found.append(
            {
                "label": f"Roll-outs of {len(edited.survived)} moves legal to the end, {w.on(b.sets[0].name)}",
                "name": "roll-outs",
                "exact": exact(edited.survived[-1]),
                "value": percent(edited.survived[-1]).replace(" ", "\u00a0"),
                "bar": "",
                "lines": [
                    f"95 % [{w.share_words(edited.last).partition(' [')[2]}, "
                    f"{count(edited.n)} roll-outs",
                    f"no edit {percent(none.survived[-1])}, on original boards {percent(original.survived[-1])}",
                ],
            }
        )  # fmt: skip
    return found


def table(b: BenchmarkRecord, cases: str) -> dict[str, Any]:
    """Every method on one set."""
    head = ("method", "error [95 %]", "random", "vs original", "F1", "KL", "newly legal", "newly illegal",
            "size")  # fmt: skip
    rows = []
    for name in (NO_EDIT, *f.names_of(b, cases), PERFECT):
        r = b.row(cases, name)
        own = name not in (NO_EDIT, PERFECT)
        random = fixed(b.row(cases, name, True).scores["error"].mean) if own else ""
        e = r.scores["error"]
        assert NAMES[0] == "error"
        rows.append(
            (name, f.interval(e), random, fixed(r.scores["error original"].mean), fixed(r.scores["F1"].mean, 3),
             fixed(r.scores["KL"].mean, 3), percent(r.scores["newly legal"].mean),
             percent(r.scores["newly illegal"].mean), percent(r.share) if own else "", r.setting)
        )  # fmt: skip
    s = next(s for s in b.sets if s.name == cases)
    return {"title": title(cases), "name": cases, "cases": count(s.cases), "head": head, "rows": rows}


def changed(b: BenchmarkRecord, cases: str) -> dict[str, Any]:
    """Figure 4 of one set, with its key and numbers."""
    chosen = sorted(f.names_of(b, cases), key=lambda name: w.overall(b, name))[:DRAWN]  # alike for every set
    head = ("moves changed", "cases", NO_EDIT, *f.names_of(b, cases))
    s = next(s for s in b.sets if s.name == cases)
    rows = []
    for k, (i, n) in enumerate(zip(b.bins, s.changed, strict=True)):
        values = [b.row(cases, name).by_changed[k] for name in head[2:]]
        name = f"{i} or more" if i == b.bins[-1] else str(i)
        rows.append((name, count(n), *("–" if v is None else fixed(v) for v in values)))
    key = [(key_mark("train"), NO_EDIT)]
    key += [(key_mark(kind), name) for name, kind in zip(chosen, f.KINDS, strict=False)]
    return {
        "title": title(cases), "name": cases, "svg": f.changed_lines(b, cases, chosen), "key": key, "head": head,
        "rows": rows,
    }  # fmt: skip


def rollout(b: BenchmarkRecord, cases: str) -> dict[str, Any]:
    """Figure 5 of one set."""
    own = [r for r in b.rollouts if r.cases == cases]
    kinds = ("", "train", "run2")
    moves = len(own[0].survived)
    return {
        "title": title(cases),
        "name": cases,
        "svg": f.survival(b, cases),
        "key": [(key_mark(kind), r.name) for r, kind in zip(own, kinds, strict=False)],
        "head": ("played", *(str(i + 1) for i in range(moves)), "to the end [95 %]", "legal moves made [95 %]"),
        "rows": [(r.name, *(percent(v) for v in r.survived), w.share_words(r.last), f.interval(r.made)) for r in own],
        "n": count(own[0].n),
    }


def layers_table(b: BenchmarkRecord, order: list[str]) -> dict[str, Any]:
    head = ("method", *(f"L{i}" for i in range(len(b.scales))))
    return {"head": head, "rows": [(name, *(fixed(v) for v in b.layers[name])) for name in order]}


def scales_table(b: BenchmarkRecord) -> dict[str, Any]:
    head = ("layer", *(f"scale {s:g}" for s in b.scale_values))
    return {"head": head, "rows": [(f"L{i}", *(fixed(v) for v in row)) for i, row in enumerate(b.scales)]}


def saliency_table(b: BenchmarkRecord) -> dict[str, Any]:
    s = b.saliency
    if s is None:
        return {"head": (), "rows": []}
    control = (s.control_precision, s.control_recall, s.control_f1, s.control_average_precision)
    own = (f.interval(s.precision), f.interval(s.recall), fixed(s.f1), fixed(s.average_precision))
    rows = [
        ("flips in the checkpoint", *own),
        ("random directions", *(fixed(v) for v in control)),
        ("a map that ignores the board", fixed(s.base_rate), "–", "–", fixed(s.base_rate)),
    ]  # fmt: skip
    return {"head": ("map", "precision [95 %]", "recall [95 %]", "F1", "average precision"), "rows": rows}


def sets_table(b: BenchmarkRecord) -> dict[str, Any]:
    """What the cases are."""
    head = ("cases", "how many", "plies", "edits", "dropped", "from")
    rows = []
    for s in b.sets:
        actions = ", ".join(f"{count(n)} {name}" for name, n in s.actions.items())
        dropped = "; ".join(f"{count(n)}: {why}" for why, n in s.dropped.items()) or "none"
        rows.append((s.name, count(s.cases), f"{s.first_ply}–{s.last_ply}", actions, dropped, s.source))
    return {"head": head, "rows": rows}


def tuned_table(b: BenchmarkRecord) -> dict[str, Any]:
    head = ("method", "chosen", "settings tried", "error", "KL")
    rows = [(t.name, t.setting, count(t.tried), fixed(t.error), fixed(t.kl, 3)) for t in b.tuned]
    return {"head": head, "rows": rows}


def published_table(b: BenchmarkRecord) -> dict[str, Any]:
    """What others measured, under our own."""
    head = ("study", "cases", "no edit", "edited", "how")
    rows = [
        (f"here, {b.origin.model_name}", s.name, fixed(b.row(s.name, NO_EDIT).scores["error"].mean),
         fixed(b.row(s.name, b.winner_name).scores["error"].mean), b.winner)
        for s in b.sets
    ]  # fmt: skip
    rows += [(study, cases, fixed(none), fixed(left), how) for study, cases, none, left, how in w.PUBLISHED]
    return {"head": head, "rows": rows}
