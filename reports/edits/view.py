"""The page of one edit as its template wants it: figures, tables and captions drawn from the record alone."""

from typing import Any

from circuits.editing.board_edits import STATES
from reports.boards import places, scale_of
from reports.charts import point_name
from reports.edits import words as w
from reports.edits.figures import (
    STYLE,
    board,
    key_mark,
    probability_board,
    readings_chart,
    saliency_board,
    side_effects_chart,
)
from reports.edits.records import EditRecord
from reports.text import exact, fixed, number, percent


def context(r: EditRecord) -> dict[str, Any]:
    """What the template shows."""
    gained, lost = w.gained(r)
    scale = scale_of([r.probabilities_before, r.probabilities_after])
    salient = scale_of([s.effect for s in r.saliency])
    return {
        "r": r,
        "o": r.origin,
        "style": STYLE,
        "title": w.done(r),
        "headline": w.headline(r),
        "verdict": w.verdict(r),
        "thresholds": w.THRESHOLDS,
        "lead": lead(r),
        "tiles": tiles(r),
        "boards": [
            {
                "title": "Before",
                "note": f"{len(r.before.legal)} legal moves, {len(lost)} on this board only",
                "svg": board(r, r.before, r.after, "Before"),
            },
            {
                "title": "After the edit",
                "note": f"{len(r.after.legal)} legal moves, {len(gained)} on this board only",
                "svg": board(r, r.after, r.before, "After the edit"),
            },
        ],
        "probabilities": [
            {
                "title": f"Model plays, {name}",
                "note": f"{short(probability_of(r, gained, name), '%')} on moves newly legal, "
                f"{short(probability_of(r, lost, name), '%')} on newly illegal",
                "svg": probability_board(
                    getattr(r, f"probabilities_{name}"),
                    scale,
                    f"Probabilities {name}",
                    f"probabilities_{name}",
                    gained,
                    lost,
                ),
            }
            for name in ("before", "after")
        ],
        "scale": w.chance(scale),
        "gained": gained,
        "lost": lost,
        "moves": moves_table(r),
        "figures": figures_table(r),
        "readings": [
            {
                "square": e.square,
                "state": e.after,
                "svg": readings_chart(e.square, e.after, r.readings[e.square]),
                "table": readings_table(r, e.square),
            }
            for e in r.edits
            if r.readings[e.square]
        ],
        "stubborn": w.stubborn(r),
        "key": [(key_mark("train"), "without the edit"), (key_mark(""), "with it")],
        "side": {
            "words": w.elsewhere(r),
            "svg": side_effects_chart(r) if r.side_effects else None,
            "table": side_table(r),
            "key": [(key_mark("train"), f"random directions, mean of {r.seeds}"), (key_mark(""), "the edit")],
        },
        "saliency": [
            {
                "title": f"{s.move}, on the original board",
                "words": w.saliency_words(s),
                "svg": saliency_board(s, salient, i),
                "asked": s.asked,
                "lines": " ".join(s.lines),
            }
            for i, s in enumerate(r.saliency)
        ],
        "salient": number(salient, 2) if salient < 1 else fixed(salient, places(salient) - 1),
        "written": written_table(r),
        "method": method_words(r),
    }


def probability_of(r: EditRecord, moves: list[str], when: str) -> float:
    """The probability of some moves, "before" or "after"."""
    return float(sum(getattr(m, when) for m in r.moves if m.move in moves))


def lead(r: EditRecord) -> str:
    """What was edited and how, under the headline."""
    return (
        f"Ply {r.ply}, {r.mover} to move. {method_words(r)} Random directions: {r.seeds} changes of the same size "
        "at the same places."
    )


def method_words(r: EditRecord) -> str:
    """The method in a sentence."""
    plies = "at every ply where there is something to edit" if r.plies == "all" else "at the last ply"
    default = " (the default method)" if r.is_default else ""
    solve = {"joint": "", "in turn": ", square by square", "hold others": ", all other squares held"}[r.solve]
    return f"Written by {r.method}{default} {plies}{solve}."


def tiles(r: EditRecord) -> list[dict[str, Any]]:
    """Four figures of the top, each beside its baselines."""
    labels = {
        "error": "Error against the edited board’s legal moves",
        "KL": "KL from uniform over the edited board’s legal moves, nats",
        "newly legal": "Probability of moves newly legal",
        "newly illegal": "Probability of moves newly illegal",
    }
    units = {key: unit for key, _, unit in w.FIGURES}
    found = []
    for key, label in labels.items():
        f = r.figures[key]
        _, _, random, perfect = w.figure_cells(f, units[key])
        before, after = (short(v, units[key]) for v in (f.before, f.after))
        found.append(
            {
                "label": label,
                "name": key,
                "exact": exact(f.after),
                "value": f"{before} → {after}",
                "bar": "",
                "lines": [
                    f"{name} {value.replace(' ', chr(0xA0))}"
                    for name, value in (("random directions", random.partition(" [")[0]), ("perfect player", perfect))
                ],
            }
        )
    return found


def short(value: float, unit: str) -> str:
    """A score for a tile, never broken before its unit."""
    return w.shown(value, unit).replace(" ", "\u00a0")


def moves_table(r: EditRecord) -> dict[str, Any]:
    """Every move that matters: gained, lost, kept, and illegal ones that the model plays."""
    names = {
        (False, True): "newly legal", (True, False): "newly illegal", (True, True): "legal on both",
        (False, False): "never legal",
    }  # fmt: skip
    head = ("move", "by the rules", "before", "after", "random directions", "perfect player")
    rows = [
        (m.move, names[m.legal_before, m.legal_after], *map(w.chance, (m.before, m.after, m.random, m.perfect)))
        for m in r.moves
    ]
    return {"head": head, "rows": rows}


def figures_table(r: EditRecord) -> dict[str, Any]:
    """Every score."""
    head = ("score", "before", "after", "random directions", "perfect player", f"random, least to most of {r.seeds}")
    rows = []
    for key, name, unit in w.FIGURES:
        before, after, random, perfect = w.figure_cells(r.figures[key], unit)
        mean, _, spread = random.partition(" [")
        rows.append((name, before, after, mean, perfect, spread.rstrip("]").replace(", ", " to ")))
    return {"head": head, "rows": rows}


def readings_table(r: EditRecord, square: str) -> dict[str, Any]:
    """The probe's probabilities of each state, before and after."""
    head = ("after layer", *(f"{state}, before" for state in STATES), *(f"{state}, after" for state in STATES),
            "log-odds before", "log-odds after")  # fmt: skip
    rows = [
        (point_name(x.point), *(w.chance(p) for p in (*x.before, *x.after)), fixed(x.log_odds_before, 2, sign=True),
         fixed(x.log_odds_after, 2, sign=True))
        for x in r.readings[square]
    ]  # fmt: skip
    return {"head": head, "rows": rows}


def side_table(r: EditRecord) -> dict[str, Any]:
    head = ("after layer", "read differently", "random directions", "read wrongly before", "read wrongly after")
    rows = [(point_name(s.point), s.changed, fixed(s.random, 1), s.wrong_before, s.wrong_after) for s in r.side_effects]
    return {"head": head, "rows": rows}


def written_table(r: EditRecord) -> dict[str, Any]:
    heads = r.written[0].point.endswith("hook_z")
    rows = [
        (
            f"heads of L{w_.point.split('.')[1]}" if heads else point_name(w_.point),
            number(w_.norm, 3),
            percent(w_.share),
        )
        for w_ in r.written
    ]
    what = "head outputs" if heads else "stream"
    return {"head": ("written at", "norm of the change", f"share of the {what}’s norm"), "rows": rows}
