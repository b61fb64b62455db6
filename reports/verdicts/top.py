"""The top of a verdict: the rule on a board, and four figures, each beside its baselines."""

from typing import Any

from markupsafe import Markup

from circuits.errors import InputError
from circuits.rules import Claim
from circuits.rules.text import parse_claim
from circuits.verdicts.records import Verdict, Write
from reports import charts
from reports.tiles import tile
from reports.verdicts import boards as rule_boards
from reports.verdicts import charts as verdict_charts
from reports.verdicts import positions as rule_positions
from reports.verdicts import tables as verdict_tables
from reports.verdicts import words as w
from reports.verdicts.inputs import names

STYLE = (
    rule_boards.STYLE
    + rule_positions.STYLE
    + verdict_charts.STYLE
    + Markup(
        ".rule-line code { font-size: 1.12rem; font-weight: 600; } .rule-line { margin: 10px 0 4px; }"
        " .rule-words { color: var(--muted); margin-bottom: 14px; }"
        " .rule-grade { margin: 0 0 2px; }"
        " .rule-grade b { font-size: 1.15rem; }"
        " .rule-boards { display: grid; gap: 16px 22px; grid-template-columns: repeat(2, minmax(0, 250px)); }"
        " .rule-boards b { display: block; font-size: .95rem; margin-bottom: 4px; }"
        " .rule-boards .key { gap: 2px 14px; margin: 6px 0 0; }"
        " .rule-boards .note { font-size: .86rem; margin: 4px 0 0; }"
        " .missing { border-left: 3px solid var(--neg); padding-left: 14px; margin-top: 26px; font-size: .93rem; }"
        " .missing p { margin: 0 0 2px; } .missing ul { margin: 0 0 8px; padding-left: 1.2em; max-width: 84ch; }"
        " .rule-part > h3 { font-size: 1.15rem; }"
        " .rule-part { margin-top: 44px; scroll-margin-top: 12px; } .dots { max-width: 560px; }"
        " .effects .rule-text { white-space: normal; min-width: 7.5em; overflow-wrap: normal; }"
        " .effects tbody th.rule-text { min-width: 9em; }"
        " .checks { list-style: none; margin: 0 0 18px; padding: 0; font-size: .9rem; max-width: 90ch; }"
        " .checks li { display: grid; grid-template-columns: 6em minmax(0, 1fr); gap: 10px; padding: 3px 0;"
        " border-top: 1px solid var(--line); }"
        " .checks .yes b { color: var(--pos); } .checks .no b { color: var(--neg); }"
        " .checks .none b { color: var(--muted); }"
        " .check-group { margin-top: 16px; } .check-group small { font-weight: 400; }"
        " @media (max-width: 560px) { .checks li { grid-template-columns: 5em minmax(0, 1fr); }"
        " .effects td.rule-text { min-width: 13em; } }"
        " .effects abbr { text-decoration: none; }"
        " .scalar { font-size: .86rem; color: var(--muted); margin: 22px 0 0; } .scalar + .tiles { margin-top: 10px; }"
    )
)


def boards(v: Verdict) -> list[dict[str, Any]]:
    """The rule on a board, and what it claims is written; nothing where the rule cannot be read."""
    claim = parsed(v)
    if claim is None:
        return []
    drawn = rule_boards.rule_board(claim.rule)
    found = [{"title": "it holds when", "drawn": drawn}]
    if claim.effects and (written := rule_boards.effects_board(claim.effects)) is not None:
        found.append({"title": "said to write", "drawn": written})
    return found


class Tiles:
    """The four figures; one that is missing says why. ``prefix``: the verdict's place in the page's record."""

    def __init__(self, v: Verdict, prefix: str):
        self.v, self.prefix = v, prefix

    def all(self) -> list[dict[str, Any]]:
        return [self._f1(), self._variance(), self._weakest(), self._write()]

    def _missing(self, label: str, why: str) -> dict[str, Any]:
        return {"label": label, "path": None, "value": "–", "beside": "", "bar": "", "baselines": why}

    def _tile(self, label: str, path: str, value: float, *rest) -> dict[str, Any]:
        return tile(label, self.prefix + path, value, *rest)

    def _f1(self) -> dict[str, Any]:
        label, f = "F1 on held-out games", self.v.fit
        if f is None:
            return self._missing(label, "not measured")
        beside = (("always on", f.chance_f1),)
        return self._tile(label, "fit.f1.value", f.f1.value, beside, w.interval(f.f1), lambda x: f"{x:.2f}")

    def _variance(self) -> dict[str, Any]:
        label, f = "Activation variance explained", self.v.fit
        if f is None:
            return self._missing(label, "not measured")
        beside = [("ply alone", f.ply_variance_explained)]
        random = self.v.rivals.random if self.v.rivals else None
        if random is not None and random.variance_explained:
            beside.append((f"best of {random.n} random rules", max(random.variance_explained)))
        e = f.variance_explained
        return self._tile(label, "fit.variance_explained.value", e.value, beside, w.interval(e, w.signed_percent),
                          w.signed_percent)  # fmt: skip

    def _weakest(self) -> dict[str, Any]:
        label, i = "Share of the way down when a literal is lost", self.v.inputs
        if i is None:
            return self._missing(label, "not tested")
        asked = [(k, t) for k, t in enumerate(i.toggles) if t.share is not None]
        if not asked:
            return self._missing(label, "no literal could be changed alone")
        k, t = min(asked, key=lambda item: item[1].share.value)
        name, n = names(i)[t.literal], len(asked)
        label = f"Share of the way down when {w.short(name)} is lost" + (f" (smallest of {n})" if n > 1 else "")
        beside = []
        if i.control is not None and i.control.share is not None:
            beside.append(("no literal changed", i.control.share.value))
        path, interval = f"inputs.toggles.{k}.share.value", w.interval(t.share, w.whole_percent)
        made = self._tile(label, path, t.share.value, beside, interval, w.whole_percent)
        words = [made["baselines"]] if made["baselines"] else []
        if left := len(i.toggles) - len(asked):
            words.append(f"{left} literal{'s' * (left > 1)} not tested")
        return made | {"baselines": " · ".join(words)}

    def _write(self) -> dict[str, Any]:
        o = self.v.outputs
        if o is None:
            return self._missing("What is lost without it", "not tested")
        asked = [(k, x) for k, x in enumerate(o.writes) if x.total is not None]
        if asked:
            k, x = max(asked, key=lambda item: _beside_random(item[1]))
            label = f"Lost without it where the rule holds: {x.effect}, {x.unit_of}"
            path, e, random, write = f"outputs.writes.{k}.total.value", x.total, x.random, w.digits(x.total)
        elif o.kl is not None:
            label, path, e, random, write = (
                "How far the prediction moves without it (KL, nats); no write is claimed" if not o.writes
                else "How far the prediction moves without it (KL, nats); no claimed write was tested",
                "outputs.kl.value", o.kl, o.random_kl, w.digits(o.kl),
            )  # fmt: skip
        else:
            return self._missing("What is lost without it", "not tested")
        largest = max((abs(e.value), *map(abs, random))) or 1.0
        made = self._tile(label, path, e.value, (), w.interval(e, write), write)
        baselines = f"{len(random)} controls {verdict_tables.span(random)}" if random else "no controls"
        return made | {
            "bar": charts.bullet(max(0.0, e.value) / largest, [max(0.0, max(random)) / largest] if random else []),
            "baselines": baselines,
        }


def parsed(v: Verdict) -> Claim | None:
    """The rule with what it writes, or None where its text cannot be read."""
    try:
        return parse_claim(v.claim or v.rule)
    except InputError:
        return None


def _beside_random(x: Write) -> float:
    """A loss on the scale of the controls' losses, so that effects in different units can be compared."""
    scale = max(map(abs, x.random), default=0.0)
    return x.total.value / scale if scale else x.total.value
