"""The page of a circuit: the graph, how much of the effect it keeps beside random graphs, its edges, the pairs.

Drawn from the circuit and two records, as one offline file without scripts; `CircuitReport.write` puts the circuit's
JSON beside it, as `circuits.causes.circuit_files.read` reads it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from circuits.causes import circuit_files
from circuits.causes.circuit import Circuit, CurvePoint
from circuits.causes.edges import TARGET
from circuits.causes.metrics import Metric
from circuits.causes.pairs import Pairs
from circuits.othello_model import OthelloModel
from reports.charts import bullet
from reports.curves import Curve, curves
from reports.neuron import environment
from reports.patching import circuit_words as w
from reports.patching.circuit_drawing import MOST_EDGES, NARROW, WIDE, added_interval, drawing, pushes, sure
from reports.patching.page import write_pages
from reports.patching.pair_records import PairsRecord, pairs_record
from reports.patching.pair_view import pairs_view
from reports.patching.records import Origin, origin, unpatched
from reports.patching.words import share_text
from reports.shown import Shown
from reports.text import count, exact, fixed, number

ABLATIONS = {
    "resample": "Resample: other edges carry the pair’s corrupt run",
    "mean": "Mean: other edges carry the mean over random games",
}


@dataclass(frozen=True)
class CircuitReport(Shown):
    """A circuit with its pairs and its page: shows itself in Jupyter, writes itself into a folder."""

    circuit: Circuit
    pairs: PairsRecord
    origin: Origin

    @cached_property
    def html(self) -> str:
        return circuit_page(self)

    def to_dict(self) -> dict[str, Any]:
        """``circuit`` as in its file, ``pairs`` and ``origin``; numbers that are not there are None."""
        return {
            "circuit": json.loads(circuit_files.to_json(self.circuit)),
            "pairs": self.pairs.to_dict(),
            "origin": self.origin.to_dict(),
        }

    def write(self, folder: str | Path) -> Path:
        """Write circuit.html and circuit.json, each whole or not at all; nodes link to pages of units found there.

        Raises:
            InputError: the folder cannot be written.
        """
        folder = Path(folder)
        links = {name: f"{name}.html" for name in self.circuit.nodes if (folder / f"{name}.html").is_file()}
        files = {"circuit.json": circuit_files.to_json(self.circuit), "circuit.html": circuit_page(self, links)}
        return write_pages(folder, files)

    @property
    def title(self) -> str:
        return w.headline(self.circuit)

    def __repr__(self) -> str:
        return w.headline(self.circuit)


def circuit_report(
    model: OthelloModel, pairs: Pairs, metric: Metric, circuit: Circuit, *, command: str = "", python: str = ""
) -> CircuitReport:
    """A circuit that `find_circuit` found, with a description of all of its pairs."""
    runs = unpatched(model, pairs, metric)
    seed = int(circuit.settings.get("seed", 0))
    made = origin(model, seed, command, python, f"folded weights; {circuit.layer_norm} in every masked run")
    return CircuitReport(circuit, pairs_record(pairs, runs.clean, runs.corrupt), made)


def circuit_page(report: CircuitReport, links: Mapping[str, str] | None = None) -> str:
    """The page as HTML; ``links`` are pages of units, by name."""
    return environment().get_template("circuit.html").render(**context(report, links or {}))


def context(report: CircuitReport, links: Mapping[str, str]) -> dict[str, Any]:
    """What the template shows."""
    c = report.circuit
    return {
        "c": c,
        "o": report.origin,
        "title": c.question or c.metric,
        "headline": w.headline(c),
        "effect": w.effect_words(c),
        "tiles": tiles(c),
        "wide": drawing(c, WIDE, links),
        "narrow": drawing(c, NARROW, links),
        "drawn": min(MOST_EDGES, len(c.edges)),
        "opened": [name for name in c.nodes if name in c.opened],
        "curves": [curve(c, ablation) for ablation in ABLATIONS],
        "curve_table": curve_table(c),
        "edges": edge_table(c),
        "pairs": pairs_view(report.pairs, c.metric),
        "target": TARGET,
    }


def tiles(c: Circuit) -> list[dict[str, Any]]:
    """The figures of the top."""
    found = []
    for ablation, label in (("resample", "resampled: others from the corrupt run"), ("mean", "others at their mean")):
        p = w.itself(c, ablation)
        beside = [] if p.random != p.random else [p.random]
        lines = [f"95 % interval {share_text(p.low)} to {share_text(p.high)}"] if p.low == p.low else []
        found.append(
            {
                "label": f"Effect kept, {label}",
                "name": f"kept {ablation}",
                "exact": exact(p.kept),
                "value": share_text(p.kept),
                "bar": bullet(p.kept, beside),
                "lines": [*lines, w.random_words(p)],
            }
        )
    heads = [n for n in c.nodes if "H" in n]
    neurons = [n for n in c.nodes if n in c.opened]
    found.append(
        {
            "label": "Edges of the circuit",
            "name": "edges",
            "exact": str(len(c.edges)),
            "value": count(len(c.edges)),
            "bar": "",
            "lines": [
                f"{count(len(c.nodes))} nodes: {len(heads)} heads, {len(neurons)} neurons",
                f"{sum(map(sure, c.edges))} with p ≤ 0.05 over all of them together",
                f"on the pairs it was pruned on it keeps {share_text(c.kept_searched)}",
            ],
        }
    )
    total, first = c.clean - c.corrupt, "patched" if c.start else "clean"
    found.append(
        {
            "label": f"The effect: {c.metric}, {'the start patched' if c.start else 'clean'} less corrupt",
            "name": "effect",
            "exact": exact(total),
            "value": number(total, 3, sign=True),
            "bar": "",
            "lines": [f"{first} {fixed(c.clean, 2, sign=True)}, corrupt {fixed(c.corrupt, 2, sign=True)}",
                      f"{count(c.held_out)} held-out pairs; {count(c.searched)} searched"],
        }
    )  # fmt: skip
    return found


def curve(c: Circuit, ablation: str) -> dict[str, Any]:
    """Effect kept against edges kept, beside random graphs."""
    points = [p for p in c.curve if p.ablation == ablation]
    by_size = sorted({p.edges: p for p in points if p.random == p.random}.values(), key=lambda p: p.edges)
    lines = []
    if by_size:
        lines.append(
            Curve("random graphs", "train", *_xy(by_size, "random"),
                  ([p.random_low for p in by_size], [p.random_high for p in by_size]), True)
        )  # fmt: skip
    for name, kind, chosen in (
        ("largest scores", "held", ("attribution",)),
        ("pruned", "run2", ("pruning", "circuit")),
        ("the circuit", "run1", ("circuit",)),
    ):
        some = sorted((p for p in points if p.chosen in chosen), key=lambda p: p.edges)
        if some:
            band = ([p.low for p in some], [p.high for p in some]) if some[0].low == some[0].low else None
            lines.append(Curve(name, kind, *_xy(some, "kept"), band if kind == "held" else None, True))
    levels = [(1.0, "the whole model")]
    asked = c.settings.get("keep")
    if asked is not None and asked < 0.97:
        levels.append((float(asked), f"{share_text(asked)} asked for"))
    picture = curves(
        f"kept-{ablation}", lines, "edges kept (log scale)", "effect kept", log_x=True, levels=levels,
        write=lambda v: share_text(v), write_x=lambda v: count(round(v)),
    )  # fmt: skip
    return {"title": ABLATIONS[ablation], "svg": picture}


def _xy(points: list[CurvePoint], field: str) -> tuple[list[float], list[float]]:
    return [float(p.edges) for p in points], [getattr(p, field) for p in points]


def curve_table(c: Circuit) -> dict[str, Any]:
    head = ("edges", "chosen by", "other edges", "kept", "95 % interval", "random", "range", "exchanged", "range")
    rows = []
    for p in c.curve:
        drawn = p.random == p.random
        rows.append(
            (count(p.edges), p.chosen, p.ablation, share_text(p.kept),
             f"{share_text(p.low)} to {share_text(p.high)}" if p.low == p.low else "one game",
             share_text(p.random) if drawn else "–",
             f"{share_text(p.random_low)} to {share_text(p.random_high)}" if drawn else "–",
             share_text(p.exchanged) if drawn else "–",
             f"{share_text(p.exchanged_low)} to {share_text(p.exchanged_high)}" if drawn else "–")
        )  # fmt: skip
    return {"head": head, "rows": rows}


def edge_table(c: Circuit) -> dict[str, Any]:
    """Every edge, the strongest first."""
    head = ("edge", "adds to the metric", "95 % interval", "p, all edges", "predicted")
    rows = [
        (f"{e.sender} → {e.receiver}", number(pushes(e), 3, sign=True),
         added_interval(e) if e.low == e.low else "one game", fixed(e.p_family, 3),
         number(-e.score, 3, sign=True))
        for e in sorted(c.edges, key=lambda e: -abs(e.effect))
    ]  # fmt: skip
    return {"head": head, "rows": rows}
