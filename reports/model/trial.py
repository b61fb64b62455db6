"""The trial's section on a model's page: curves over noise and dose, tables, sentences."""

from typing import Any

from circuits.trial import records as t
from circuits.trial.records import SMALL, Rate
from circuits.verdicts import grades as g
from reports.curves import Curve, curves
from reports.edits.figures import key_mark
from reports.model.trial_summary import TrialSummary
from reports.text import count, fixed, number, percent
from reports.verdicts.tables import NOTHING, Cells, Table

CELLS = Cells("trial.")
#: share of planted rules that should be recovered at noise up to `SMALL`
ASKED = 0.95
#: outcomes that have a column of their own
REST = tuple(name for name in t.OUTCOMES if name not in (*t.FOUND, t.SILENT))
#: class in the stylesheet of the lines of a chart, in order
KINDS = ("", "run1", "run2", "run3", "train")


def context(s: TrialSummary) -> dict[str, Any]:
    """What the template shows."""
    noise, dose = over_noise(s), over_dose(s)
    return {
        "lead": lead(s),
        "noise": _drawn("recovered by noise", noise, "noise, in effects"),
        "dose": _drawn("recovered by dose", dose, "dose, in sds of the host") if dose else None,
        "asked": asked(s),
        "cells": cells(s),
        "families": families(s),
        "blanks": blanks(s),
        "graded": graded(s),
        "caption": caption(s),
    }


def _drawn(name: str, lines: list[Curve], x_label: str) -> dict[str, Any]:
    svg = curves(
        name, lines, x_label, "found, per cent", levels=[(100 * ASKED, f"{percent(ASKED, 0)}")],
        write_x=number, x_marks=lines[0].x,
    )  # fmt: skip
    return {"svg": svg, "key": [(key_mark(line.kind), line.name) for line in lines]}


def over_noise(s: TrialSummary) -> list[Curve]:
    """A line for each dose, without a host first, with its intervals."""
    doses = sorted({c.dose for c in s.cells}, key=lambda d: (d is not None, -(d or 0)))
    lines = []
    for dose, kind in zip(doses, KINDS, strict=False):
        points = sorted((c.noise, c.recovered) for c in s.cells if c.dose == dose)
        lines.append(_line("no host" if dose is None else f"dose {dose:g}", kind, points, band=not kind))
    return lines


def over_dose(s: TrialSummary) -> list[Curve]:
    """A line for each noise that has several doses, the smallest first."""
    noises = [
        n for n in sorted({c.noise for c in s.cells}) if sum(c.noise == n and c.dose is not None for c in s.cells) > 1
    ]
    lines = []
    for noise, kind in zip(noises, KINDS, strict=False):
        points = sorted((c.dose, c.recovered) for c in s.cells if c.noise == noise and c.dose is not None)
        lines.append(_line(f"noise {noise:g}", kind, points, band=not kind))
    return lines


def _line(name: str, kind: str, points: list[tuple[float, Rate]], band: bool) -> Curve:
    low, high = ([100 * getattr(rate, end) for _, rate in points] for end in ("low", "high"))
    y = [100 * rate.value for _, rate in points]
    return Curve(name, kind, [x for x, _ in points], y, (low, high) if band else None, dots=True)


def with_interval(rate: Rate, places: int | None = None) -> str:
    """ "96 % [93, 98] of 240"."""
    low, high = (percent(v, places).removesuffix(" %") for v in (rate.low, rate.high))
    return f"{percent(rate.value, places)} [{low}, {high}] of {count(rate.n)}"


def lead(s: TrialSummary) -> str:
    """What came of it, in a few sentences."""
    a = s.alone
    tried = [x for x in s.asked if x.met is not None]
    missed = [x.what for x in tried if not x.met]
    said = (
        f"{count(s.planted)} rules were planted in activations and looked for like any neuron’s. At noise up to "
        f"{SMALL:g} times the rule’s effect and without a host, {with_interval(a.recovered)} are found up to logical "
        f"equivalence, {with_interval(a.seen)} with those listed beside the rule found; "
        f"{with_interval(a.silent)} are near misses of which nothing is said. "
        f"Of {len(tried)} shares that were asked for beforehand, {len(tried) - len(missed)} are met"
    )
    return said + (f"; not met: {'; '.join(missed)}." if missed else ".")


def asked(s: TrialSummary) -> Table:
    """Every share that was asked for."""
    rows = []
    for i, x in enumerate(s.asked):
        bound = f"{'at least' if x.at_least else 'at most'} {percent(x.asked, 0)}"
        met = {True: "yes", False: "no", None: "not tried"}[x.met]
        rows.append((x.what, _rate(x.rate, f"asked.{i}.rate"), bound, met))
    return Table(("share", "found", "asked for", "met"), rows)


def cells(s: TrialSummary) -> Table:
    """Every noise and dose, by outcome."""
    head = ("dose", "noise", "recovered", "or listed", "silent near miss", *REST)
    rows = []
    for i, c in enumerate(s.cells):
        rates = [_rate(getattr(c, name), f"cells.{i}.{name}") for name in ("recovered", "seen", "silent")]
        rest = [count(c.outcomes.get(name, 0)) for name in REST]
        rows.append(("no host" if c.dose is None else f"{c.dose:g}", f"{c.noise:g}", *rates, *rest))
    return Table(head, rows)


def families(s: TrialSummary) -> Table:
    rows = [
        (f.name, *(_rate(getattr(f, name), f"families.{i}.{name}") for name in ("recovered", "seen", "silent")))
        for i, f in enumerate(s.families)
    ]
    return Table(("family", "recovered", "or listed", "silent near miss"), rows)


def blanks(s: TrialSummary) -> Table:
    """Neurons without a rule, and real ones beside them."""
    head = ("neurons", "explained", "explained or in part", "of these by the ply", "clock", "most explained by a rule")
    rows = []
    parts = [(f"noise.{i}", f"noise, {b.kind}", b) for i, b in enumerate(s.noise)]
    parts += [(f"clocks.{i}", f"clock, {b.kind}", b) for i, b in enumerate(s.clocks)]
    parts += [("dealt", "real, dealt to other games", s.dealt), ("real", "real, as they are", s.real)]
    for path, name, b in parts:
        shares = {x: _rate(getattr(b, x), f"{path}.{x}") for x in ("explained", "called", "clock")}
        worst = CELLS.one(b.worst, f"{path}.worst", fixed)
        rows.append((name, shares["explained"], shares["called"], count(b.by_ply), shares["clock"], worst))
    return Table(head, rows)


def _rate(rate: Rate, path: str) -> dict[str, str] | str:
    if not rate.n:
        return NOTHING
    low, high = (percent(v).removesuffix(" %") for v in (rate.low, rate.high))
    return CELLS.one(rate.value, f"{path}.value", percent) | {"interval": f"[{low}, {high}] of {count(rate.n)}"}


def graded(s: TrialSummary) -> Table | None:
    """Claims by kind and grade; None where none was tested."""
    used = [grade for grade in g.GRADES if any(x.grades.get(grade) for x in s.graded)]
    rows = [(x.kind, count(x.n), *(count(x.grades.get(grade, 0)) for grade in used)) for x in s.graded]
    return Table(("claim", "tested", *used), rows) if rows else None


def caption(s: TrialSummary) -> str:
    same = f"{s.model} ({s.model_hash})"
    return (
        "Share of planted rules that are found (logically equivalent, or with what the host does by itself), Wilson’s "
        "95 % intervals; noise is Gaussian, its sd in effects of the rule; dose is the rule’s effect in sds of a real "
        "neuron that it is planted on. Curves: the band is the first line’s interval. Seeds "
        f"{', '.join(map(str, s.seeds))}; {count(s.games)} games a seed, measured on {count(s.held_out_positions)} "
        f"held-out positions; {same}."
    )
