"""Headline finds of a first page: the extremes of some columns, each with how many it was chosen from."""

from typing import NamedTuple

import numpy as np

from reports.atlas_site.sheets import Sheets
from reports.atlas_site.unit_words import interval, small, with_error
from reports.text import fixed, percent

MOST = 6


class Find(NamedTuple):
    """Some units that stand out: (unit, figure, what of it)."""

    title: str
    note: str
    rows: tuple[tuple[str, str, str], ...]
    python: str


def finds(sheets: Sheets) -> list[Find]:
    """What there is to be said of this atlas; nothing without its figures."""
    neuron, head = sheets.is_neuron, ~sheets.is_neuron
    measured = sheets.atlas.measured
    made = (
        _find(sheets, "Best told by a rule", neuron, "rule_r2",
              "held-out variance explained by the rule, 95 % over games; " + measured.get("rules", ""),
              lambda u: percent(u["rule_r2"]) + " " + interval(u, "rule_r2", lambda v: percent(max(0.0, v))),
              lambda u: u["rule"]),
        _find(sheets, "Best told by one fact", neuron, "best_skill",
              "skill; in brackets, what the same search reaches on shuffled activations; "
              + measured.get("patterns", ""),
              lambda u: f"{fixed(u['best_skill'])} ({small(u['shuffled_skill'])})", lambda u: u["best_fact"]),
        _find(sheets, "Neurons the model misses most", neuron, "kl",
              "KL in nats without it ± standard error; " + measured.get("ablations", ""),
              lambda u: f"{small(u['kl'])} ± {small(u['kl_se'])}", lambda u: u["rule"] or u["best_fact"] or ""),
        _find(sheets, "Heads the model misses most", head, "kl",
              "KL in nats without it ± standard error; " + measured.get("ablations", ""),
              lambda u: f"{small(u['kl'])} ± {small(u['kl_se'])}", lambda u: u["head_kind"] or ""),
        _find(sheets, "Heads that tell mine from theirs", head, "separation_mine_share",
              "share of what the whole stream there tells, 95 % over games; " + measured.get("heads", ""),
              lambda u: percent(u["separation_mine_share"]) + " " + interval(u, "separation_mine_share", percent),
              lambda u: u["head_kind"] or ""),
        _find(sheets, "Separate a move’s legal positions from illegal ones", np.ones(len(sheets), dtype=bool),
              "separates_gap",
              "what the unit adds to the move’s logit where it is legal less where the square is empty and it is "
              "illegal, at the same ply, ± standard error; " + measured.get("ablations", ""),
              lambda u: with_error(u["separates_gap"], u["separates_se"]),
              lambda u: f"{'lifts' if u['separates_side'] == 'legal' else 'lowers'} {u['separates']} where it is "
                        f"{u['separates_side']}"),
        _find(sheets, "Strongest on one move", neuron, "raises_logit",
              "direct logit for one sd of activation; " + measured["pass"],
              lambda u: small(u["raises_logit"], True), lambda u: f"raises {u['raises']}"),
    )  # fmt: skip
    return [find for find in made if find is not None]


def _find(sheets, title, here, column, note, figure, said) -> Find | None:
    values = np.where(here, sheets.column(column), np.nan)
    n = int((~np.isnan(values)).sum())
    if not n:
        return None
    best = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")[: min(MOST, n)]
    rows = []
    for i in best:
        unit = {name: own[i] for name, own in sheets.units.items()}
        rows.append((unit["unit"], figure(unit).strip(), said(unit)))
    python = f'atlas.pandas("units").nlargest({len(rows)}, "{column}")'
    return Find(title, f"The highest of {n:,}, chosen for it. {note[:1].upper()}{note[1:]}.", tuple(rows), python)


class PointRow(NamedTuple):
    """How well the board probe reads at a point, mean over squares, beside naming each square's commonest state."""

    point: str
    accuracy: float
    majority: float


def probe_rows(sheets: Sheets) -> list[PointRow]:
    """By point of the stream, in the table's order."""
    table = sheets.atlas.table("probes")
    found: dict[str, list[tuple[float, float]]] = {}
    columns = (table[name].to_pylist() for name in ("point", "accuracy", "majority"))
    for point, accuracy, majority in zip(*columns, strict=True):
        if accuracy is not None and majority is not None:
            found.setdefault(point, []).append((accuracy, majority))
    return [PointRow(point, *(float(v) for v in np.mean(own, 0))) for point, own in found.items()]
