"""The sentence at the top of a unit's page and its four figures, each beside its baselines."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from circuits.atlas import answer_text
from circuits.atlas.unit_sheet import UnitSheet
from circuits.head_sources import CATEGORIES
from circuits.rules.text import parse_rule
from circuits.rules.words import in_words
from reports.atlas_site.sheets import Sheets
from reports.text import MINUS, fixed, number, percent

#: of a figure that is not in this atlas
UNKNOWN = "–"
#: what sums of fractions leave of 0
ZERO = 1e-12
#: rules longer than this are not read out in the headline
LONG = 150


class Typical:
    """The middling unit of each kind and layer, which a unit's figures stand beside."""

    def __init__(self, sheets: Sheets):
        layers = np.array(sheets.units["layer"])
        self._medians: dict[tuple[str, int, str], float | None] = {}
        for kind in ("neuron", "head"):
            for layer in set(sheets.units["layer"]):
                here = (sheets.is_neuron == (kind == "neuron")) & (layers == layer)
                for name in ("kl", "raises_logit", "rule_r2", "best_skill", "logit_gap", "separation_mine"):
                    own = sheets.column(name)[here]
                    own = abs(own[~np.isnan(own)])
                    self._medians[kind, layer, name] = float(np.median(own)) if len(own) else None

    def __call__(self, sheet: UnitSheet, name: str) -> float | None:
        return self._medians[sheet.kind, int(sheet.figures["layer"]), name]


def small(value: float | None, sign: bool = False) -> str:
    """Three significant digits, or a dash; what is 0 but for rounding is 0."""
    return UNKNOWN if value is None else number(0.0 if abs(value) < ZERO else value, 3, sign)


def with_error(value: float | None, error: float | None) -> str:
    """A figure ± its standard error, to two digits of the latter; or a dash."""
    return answer_text.with_error(value, error).replace("-", MINUS).replace(" ± ", "\u00a0±\u00a0")


def interval(figures: Mapping[str, Any], name: str, write=lambda v: fixed(v, 2)) -> str:
    """``[low, high]`` of a figure, where they are known."""
    low, high = figures.get(f"{name}_low"), figures.get(f"{name}_high")
    return "" if low is None or high is None else f"[{write(low)}, {write(high)}]"


def headline(sheet: UnitSheet, rule: dict[str, Any] | None) -> str:
    """One sentence that the figures support."""
    return _head(sheet) if sheet.kind == "head" else _neuron(sheet, rule)


def spoken(rule: str) -> str | None:
    """A rule in words; nothing for one that would fill the page, or that this version does not read."""
    try:
        words = in_words(parse_rule(rule))
    except ValueError:
        return None
    return words if len(words) <= LONG else None


def _neuron(sheet: UnitSheet, rule: dict[str, Any] | None) -> str:
    f, w = sheet.figures, sheet.words
    if not f["sd"]:
        return "Never varies: its activation is the same at every position of the pass."
    status = w.get("rule_status")
    most = max(("raises", "lowers"), key=lambda own: abs(f[f"{own}_logit"]))
    written = (
        f"per sd of activation it {most} {w[most]}’s logit by {small(abs(f[f'{most}_logit']))} directly{_legal(sheet)}"
    )
    if status in ("explained", "partly") and "rule_r2" in f:
        said = spoken(w["rule"])
        how = "low" if rule is not None and rule["mean_on"] < rule["mean_off"] else "high"
        how = how.capitalize() if status == "explained" else f"Rather {how}"
        begin = f"{how} where {said}" if said else "Follows a longer rule, below"
        return f"{begin}: that explains {percent(f['rule_r2'])} of its variance on held-out games; {written}."
    if status == "clock":
        return f"Follows the clock: the ply alone accounts for {percent(f['ply_r2'])} of its variance; {written}."
    fact = f"the fact that describes it best is {w['best_fact']} (F1 {fixed(f['best_f1'])})" if "best_fact" in w else ""
    if status == "unexplained":
        best = f": its own explains {percent(max(0.0, f['rule_r2']))}" if "rule_r2" in f else ""
        return f"No rule found explains a tenth of its variance on held-out games{best}; {fact or written}."
    return f"{fact[:1].upper()}{fact[1:]}; {written}." if fact else f"{written[:1].upper()}{written[1:]}."


def _head(sheet: UnitSheet) -> str:
    f, w = sheet.figures, sheet.words
    if "head_kind" not in w:
        best = max(CATEGORIES, key=lambda c: f[f"attention_{slug(c)}"] - f[f"uniform_{slug(c)}"])
        own, even = f[f"attention_{slug(best)}"], f[f"uniform_{slug(best)}"]
        return (
            f"Gives {percent(own)} of its attention to sources of the kind “{best}”; equal attention {percent(even)}."
        )
    kinds = {
        "last": "Attends mostly to the move just played", "first": "Attends mostly to the game’s first move",
        "mine": "Attends mostly to moves of the side that moves next",
        "theirs": "Attends mostly to the other side’s moves",
        "mixed": "Attends to no one kind of move mostly",
    }  # fmt: skip
    share = f.get("separation_mine_share")
    writes = "" if share is None else f"; writes {percent(share)} of what the stream there tells of mine and theirs"
    return f"{kinds[w['head_kind']]} (deciding share {percent(f['head_share'])}){writes}{_legal(sheet)}."


def _legal(sheet: UnitSheet) -> str:
    """What it does, in all, to the move whose legal and illegal positions it separates, or blurs, most."""
    f, w = sheet.figures, sheet.words
    found = [name for name in ("separates", "blurs") if name in w]
    if not found:
        return ""
    name = max(found, key=lambda own: abs(f[f"{own}_gap"]))
    square = next(s for s in sheet.squares if s.square == w[name])
    legal, illegal = (small(value, True) for value in (square.adds_legal, square.adds_illegal))
    where = f"by {legal} where that is legal, by {illegal} where it is empty and illegal"
    return f"; in all, it moves {w[name]}’s logit {where}"


def slug(name: str) -> str:
    """A category as the tables spell it."""
    return name.replace(" ", "_").replace("-", "_")


def tiles(sheet: UnitSheet, rule: dict[str, Any] | None, typical: Typical) -> list[dict[str, str]]:
    """Up to four figures: label, value, beside it, baselines."""
    f, w = sheet.figures, sheet.words
    found = _neuron_tiles(sheet, rule, typical) if sheet.kind == "neuron" else _head_tiles(sheet, typical)
    if "kl" in f:
        error = f" ± {small(f['kl_se'])}" if "kl_se" in f else ""
        found.append(
            _tile(
                "without it: KL in nats over the 60 moves", small(f["kl"]), error,
                f"middling {sheet.kind} of the layer {small(typical(sheet, 'kl'))}",
            )
        )  # fmt: skip
    if sheet.kind == "neuron" and "raises" in w:
        found.append(
            _tile(
                "most raised move, logit per sd", f"{w['raises']} {small(f['raises_logit'], True)}",
                f" most lowered {w['lowers']} {small(f['lowers_logit'], True)}",
                f"middling neuron of the layer raises one by {small(typical(sheet, 'raises_logit'))}",
            )
        )  # fmt: skip
    return found


def _tile(label: str, value: str, beside: str, baselines: str) -> dict[str, str]:
    return {"label": label, "value": value, "beside": beside, "baselines": baselines}


def _neuron_tiles(sheet: UnitSheet, rule: dict[str, Any] | None, typical: Typical) -> list[dict[str, str]]:
    f, found = sheet.figures, []
    if rule is not None and "rule_r2" in f:
        baselines = [
            f"{name} {percent(max(0.0, rule[column]))}"
            for name, column in (("the ply alone", "ply"), ("dealt to other games", "shuffled"), ("full tree", "tree"))
            if rule[column] is not None
        ]
        found.append(
            _tile(
                "variance its rule explains", percent(max(0.0, f["rule_r2"])),
                f" {interval(f, 'rule_r2', lambda v: percent(max(0.0, v)))}", " · ".join(baselines),
            )
        )  # fmt: skip
    if "best_f1" in f:
        found.append(
            _tile(
                f"F1 of its best fact, {sheet.words['best_fact']}", fixed(f["best_f1"]), f" {interval(f, 'best_f1')}",
                f"skill {small(f['best_skill'])} · the same search on shuffled activations "
                f"{small(f.get('shuffled_skill'))}",
            )
        )  # fmt: skip
    return found


def _head_tiles(sheet: UnitSheet, typical: Typical) -> list[dict[str, str]]:
    f, found = sheet.figures, []
    if "tv" in f:
        found.append(
            _tile("how far its pattern leaves its ply’s mean", fixed(f["tv"]), f" {interval(f, 'tv')}",
                  "total variation; 0: the ply says all"
                  + (f" · from equal attention {fixed(f['tv_uniform'])}" if "tv_uniform" in f else ""))
        )  # fmt: skip
    if "separation_mine" in f:
        found.append(
            _tile("writes mine less theirs, stream units", small(f["separation_mine"], True),
                  f" {interval(f, 'separation_mine')}",
                  f"middling head of the layer ±{small(typical(sheet, 'separation_mine'))}")
        )  # fmt: skip
    if "logit_gap" in f:
        found.append(
            _tile("direct logit of legal less illegal moves", small(f["logit_gap"], True),
                  f" {interval(f, 'logit_gap', lambda v: number(v, 2))}",
                  f"middling head of the layer ±{small(typical(sheet, 'logit_gap'))}")
        )  # fmt: skip
    return found
