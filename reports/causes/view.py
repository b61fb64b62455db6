"""The causal section as its template wants it: boards drawn, numbers written out, tables as rows."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from circuits.notation import parse_unit
from reports import boards, tables
from reports.causes import charts as cause_charts
from reports.causes import words as cause_words
from reports.causes.records import Causes, Control, Downstream, Effect, Sender, Upstream, Without
from reports.text import exact, fixed, number

NOTHING = "–"


def causes(c: Causes, links: Mapping[str, str]) -> dict[str, Any]:
    """The context of the section."""
    if c.without is None:
        return {"idle": c.idle}
    view = {
        "idle": None,
        "captions": cause_words.captions(c),
        "lead": cause_words.without(c.without),
        "undone": cause_words.undone(c.without),
        "boards": _change_boards(c.without),
        "methods": _methods(c.without),
        "own_places": _own_places(c.without),
        "answers": _answers(c.without),
        "none": cause_words.none_found(c) if c.no_pairs else "",
        "pairs": cause_words.pairs(c.pairs) if c.pairs else "",
        "upstream": None,
        "downstream": None,
    }
    if c.upstream:
        view["upstream"] = _upstream(c.upstream, links)
    if c.downstream:
        view["downstream"] = _downstream(c.downstream, links)
    return view


def _group(items: Sequence[tuple], head, rows, kind: str = "") -> dict[str, Any]:
    """Boards on one colour scale: (title, note, board, path)."""
    scale = boards.scale_of([board for _, _, board, _ in items])
    drawn = [
        {
            "title": title,
            "note": note,
            "svg": boards.value_board(
                board, scale, f"{title}, {note}", path, mark=3 * (boards.scale_of([board]) > scale / 20)
            ),
            "words": boards.extremes_markup(board),
        }
        for title, note, board, path in items
    ]
    return {"boards": drawn, "scale": scale, "kind": kind, "head": head, "rows": rows}


def _change_boards(w: Without) -> dict[str, Any]:
    items = [
        (
            p.name,
            f"n = {p.positions}, mean activation {number(p.activation, 2)}",
            p.change,
            f"causes.without.places.{i}.change",
        )
        for i, p in enumerate(w.places)
    ]
    columns = [
        (f"{p.name}{suffix}", board)
        for p in w.places
        for suffix, board in ((", change", p.change), (", from", p.low), (", to", p.high), (", p", p.p))
    ]
    return _group(items, *tables.board(columns), "beside")


def _methods(w: Without) -> list[dict[str, Any]]:
    """The rows of each place: its methods, then the random neurons."""
    found = []
    for i, place in enumerate(w.places):
        rows = []
        for k, m in enumerate(w.methods):
            if m.place == i:
                name = m.method + (f" ({number(m.value, 2)})" if m.value else "")
                path = f"causes.without.methods.{k}"
                cells = [cell(m.direct, f"{path}.direct"), cell(m.total, f"{path}.total")]
                cells.append({"value": cause_words.share(m.undone) if m.undone else NOTHING})
                cells += [cell(m.kl, f"{path}.kl", sign=False), cell(m.illegal, f"{path}.illegal")]
                rows.append({"name": name, "cells": cells})
        random = {x.figure: _spread(x) for x in w.controls if x.place == i}
        found.append({"title": place.words, "rows": rows, "random": random})
    return found


def _spread(x: Control) -> dict[str, str]:
    """The random neurons' figures from lowest to highest, and where the neuron stands."""
    if not x.others:
        return {"value": NOTHING, "note": ""}
    low, high = min(x.others), max(x.others)
    decimals = cause_words.places(Effect(low, low, high))
    return {
        "value": f"{fixed(low, decimals)} … {fixed(high, decimals)}",
        "note": f"it exceeds {x.nearer} of {len(x.others)}",
    }


def _own_places(w: Without) -> dict[str, Any]:
    """The others' effects at their own places: sizes, and one by one."""
    own = w.own_places
    rows = [(o.unit, o.square, o.positions, number(o.effect, 3)) for o in own.others]
    head = ("neuron", "move", "positions", "change of its logit")
    if not own.others:
        return {"value": NOTHING, "note": "", "head": head, "rows": rows}
    sizes = sorted(abs(o.effect) for o in own.others)
    return {
        "value": f"{number(sizes[0], 2)} … {number(sizes[-1], 2)}, either sign",
        "note": f"median {number(median(sizes), 2)}; it exceeds {own.exceeded} of {len(own.others)}",
        "head": head,
        "rows": rows,
    }


def _answers(w: Without) -> dict[str, Any]:
    rows = [(a.part, *_written(a.effect)) for a in w.answers]
    return {"head": ("later part", "change of what it adds", "from", "to", "p, corrected"), "rows": rows}


def cell(e: Effect, path: str, sign: bool = True) -> dict[str, str]:
    """A mean that the page's check compares with the record, and its interval."""
    small = cause_words.largest(e) < cause_words.ZERO
    return {
        "path": f"{path}.mean",
        "exact": exact(e.mean),
        "value": "≈ 0" if small else cause_words.mean(e, sign),
        "interval": "" if small else cause_words.interval(e),
    }


def _written(e: Effect) -> tuple[str, ...]:
    return tuple(NOTHING if v is None else number(v, 3) for v in (e.mean, e.low, e.high, e.p))


def _unit(name: str, links: Mapping[str, str]) -> dict[str, Any]:
    kind = "embedding" if name == "embed" else parse_unit(name).kind
    return {"unit": name, "kind": kind, "link": links.get(name)}


def _upstream(u: Upstream, links: Mapping[str, str]) -> dict[str, Any]:
    def rows(side: str, senders: Sequence[Sender]) -> list[dict[str, Any]]:
        return [
            _unit(s.unit, links)
            | {
                "direct": cell(s.direct, f"causes.upstream.{side}.{i}.direct"),
                "total": cell(s.total, f"causes.upstream.{side}.{i}.total") if s.total else None,
            }
            for i, s in enumerate(senders)
        ]

    sides = [
        {"title": "Switch it on", "n": u.n_on, "rows": rows("on", u.on)},
        {"title": "Switch it off", "n": u.n_off, "rows": rows("off", u.off)},
    ]
    head = ("sender", "direct effect", "from", "to", "p, corrected", "by all paths", "from", "to")
    table = [
        (s.unit, *_written(s.direct), *(_written(s.total)[:3] if s.total else (NOTHING,) * 3)) for s in (*u.on, *u.off)
    ]
    layers = [(part.part, part.units, *_written(part.effect)[:3]) for part in u.layers]
    return {
        "words": cause_words.upstream(u),
        "sides": sides,
        "head": head,
        "rows": table,
        "chart": cause_charts.layer_sums(u.layers),
        "layer_head": ("part", "units", "direct effects", "from", "to"),
        "layer_rows": layers,
    }


def _downstream(d: Downstream, links: Mapping[str, str]) -> dict[str, Any]:
    alone = [
        {
            "figure": a.figure,
            "direction": a.direction,
            "pairs": a.pairs,
            "effect": cell(a.effect, f"causes.downstream.alone.{i}.effect"),
            "whole": cell(a.whole, f"causes.downstream.alone.{i}.whole"),
            "share": cause_words.share(a.share) if a.share else NOTHING,
            "layer": cause_words.share(a.layer) if a.layer else NOTHING,
        }
        for i, a in enumerate(d.alone)
    ]
    readers = [
        _unit(r.unit, links)
        | {
            "effect": cell(r.effect, f"causes.downstream.readers.{i}.effect"),
            "activation": cell(r.activation, f"causes.downstream.readers.{i}.activation") if r.activation else None,
            "whole": NOTHING if r.whole is None else number(r.whole, 2, sign=True),
        }
        for i, r in enumerate(d.readers)
    ]
    columns = [
        ("mine", d.mine),
        ("mine, whole pair", d.whole_mine),
        ("empty", d.empty),
        ("empty, whole pair", d.whole_empty),
    ]
    items = [
        ("mine", "log-odds over theirs", d.mine, "causes.downstream.mine"),
        ("empty", "log-odds over occupied", d.empty, "causes.downstream.empty"),
    ]
    return {
        "words": cause_words.downstream(d),
        "alone": alone,
        "readers": readers,
        "n_later": d.n_later,
        "boards": _group(items, *tables.board(columns)),
    }
