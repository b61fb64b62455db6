"""What the scripts search, sort and compare: columns of all units, answers by square, boards in chunks.

Files of JavaScript, not JSON: a page opened from disk may load a script beside it and nothing else. All text goes
through `json.dumps`, and reaches a page through ``textContent`` alone.
"""

import json
from collections.abc import Sequence
from typing import Any

from circuits.atlas.unit_sheet import UnitSheet
from reports.atlas_site.panels import Column
from reports.atlas_site.sheets import Sheets
from reports.atlas_site.unit_words import ZERO

#: units a file of boards
CHUNK = 64
#: (key, column of the table ``units``, significant digits; None for text)
LISTED = (
    ("status", "rule_status", None), ("rule", "rule", None), ("r2", "rule_r2", 6), ("fact", "best_fact", None),
    ("f1", "best_f1", 6), ("skill", "best_skill", 6), ("kl", "kl", 6), ("raises", "raises", None),
    ("logit", "raises_logit", 6), ("lowers", "lowers", None), ("separates", "separates", None),
    ("gap", "separates_gap", 6), ("blurs", "blurs", None), ("square", "state_square", None),
    ("state", "state_r2", 6), ("ply", "ply_r2", 6), ("head", "head_kind", None),
    ("share", "separation_mine_share", 6),
)  # fmt: skip


def units_script(sheets: Sheets) -> str:
    """``ATLAS``: the names of all units, a list a column, the size of a chunk of boards."""
    columns: dict[str, list] = {}
    for key, name, digits in LISTED:
        own = sheets.units[name]
        columns[key] = own if digits is None else [shortened(v, digits) for v in own]
    columns["roles"] = roles(sheets)
    layers = sheets.units["layer"]
    data = {
        "units": sheets.names, "layer": layers, "chunk": CHUNK, "columns": columns,
        "measured": sheets.atlas.measured,
    }  # fmt: skip
    return f"const ATLAS={_packed(data)};\n"


def roles(sheets: Sheets) -> list[str | None]:
    """Of each neuron its role on the map and those that the rules' counts gave it, comma between."""
    both = zip(sheets.roles, sheets.units["roles"], strict=True)
    return [
        ", ".join(dict.fromkeys([own, *(NAMES.get(r, r) for r in (listed or "").split(", ") if r)])) if own else None
        for own, listed in both
    ]


#: the counts' names for roles of the map
NAMES = {"played": "just played", "flipped": "just flipped"}


def squares_script(brief: dict[str, dict[str, list]]) -> str:
    """``SQUARES``: for each square its first readers and writers, who makes it legal, and who is on where it is."""
    return f"const SQUARES={_packed(brief)};\n"


def boards_script(number: int, units: Sequence[tuple[UnitSheet, Sequence[Column], str]]) -> str:
    """One chunk: calls ``boards`` with the boards of its units, three digits, and a few figures of each."""
    found: dict[str, Any] = {}
    for sheet, columns, headline in units:
        found[sheet.unit] = {
            "kind": sheet.kind, "headline": headline,
            "rule": sheet.words.get("rule"), "status": sheet.words.get("rule_status") or sheet.words.get("head_kind"),
            "figures": {k: shortened(v, 3) for k, v in sheet.figures.items() if k in FIGURES},
            "fact": sheet.words.get("best_fact"),
            "boards": {
                c.key: [c.head, [shortened(v, 3) for v in c.values]] for c in columns
                if not c.key.startswith(("mean_", "gap"))
            },
        }  # fmt: skip
    return f"ATLAS_CHUNK({number},{_packed(found)});\n"


#: the figures of two units set side by side, with what they are called
FIGURES = {
    "mean": "mean activation", "sd": "sd of the activation", "share_positive": "share of positions above 0",
    "ply_r2": "variance between the means of the plies", "state_r2": "variance between the states of one square",
    "rule_r2": "variance its rule explains, held out", "tree_r2": "variance a tree explains, held out",
    "best_f1": "F1 of its best fact, held out", "best_skill": "skill of its best fact",
    "shuffled_skill": "the same search, shuffled activations", "raises_logit": "most raised move, logit per sd",
    "lowers_logit": "most lowered move, logit per sd", "kl": "KL without it, nats", "kl_se": "its standard error",
    "kl_direct": "KL by the direct path", "separates_gap": "largest gap between a move’s legal and illegal positions",
    "blurs_gap": "lowest gap", "legal_change": "change of probability on legal moves",
    "tv": "pattern from its ply’s mean", "tv_uniform": "pattern from equal attention",
    "separation_mine": "writes mine less theirs", "separation_mine_share": "its share of the stream’s",
    "separation_empty": "writes empty less occupied", "logit_gap": "logit of legal less illegal moves",
}  # fmt: skip


def shortened(value: float | None, digits: int) -> float | None:
    """A figure with so many significant digits; what is 0 but for rounding is 0."""
    return None if value is None else 0.0 if abs(value) < ZERO else float(f"{value:.{digits}g}")


def _packed(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"), allow_nan=False)
