"""The charts of a verdict as inline SVG: activations, rivals, shares of the way, writes."""

from collections.abc import Sequence

from markupsafe import Markup, escape

from circuits.verdicts.records import Estimate, Fit, Inputs, Rivals, Write
from reports.charts import LEFT, RIGHT, svg, ticks
from reports.patching.heatmaps import Dot, dots
from reports.text import number
from reports.verdicts import words as w
from reports.verdicts.inputs import names

#: what the stylesheet needs for these charts
STYLE = Markup(
    "[data-chart^=verdict] .range { stroke: var(--pos); stroke-width: 2; }"
    " [data-chart^=verdict] .dot { fill: var(--pos); stroke: var(--pos); stroke-width: 1.8; }"
    " [data-chart^=verdict] .dot.hollow { fill: var(--paper); }"
    " .cloud { stroke: var(--muted); stroke-opacity: .55; stroke-width: 1.2; }"
    " .cloud-key { display: inline-block; width: 20px; height: 12px; margin-right: 6px; vertical-align: -1px; }"
    " .thin { stroke: var(--bar); stroke-width: 1.5; } .thick { stroke: var(--bar); stroke-width: 5; }"
    " .chart .half { fill: var(--bar); } .thin.holds, .thick.holds { stroke: var(--pos); stroke-opacity: .75; }"
    " .chart .half.holds { fill: var(--pos); } .median { stroke: var(--ink); stroke-width: 1.8; }"
)
#: letters of a row's name
LONGEST = 24


def ranges(f: Fit) -> Markup:
    """Where the activation lies while the rule holds and while it fails, with the threshold."""
    rows = [("it holds", "holds", f.when_holds), ("it fails", "", f.when_fails)]
    rows = [(name, kind, values) for name, kind, values in rows if values]
    values = [v for *_, many in rows for v in many] + [f.threshold]
    low, high = min(values), max(values)
    pad = 0.03 * (high - low) or 0.5
    low, high, left, top, height = low - pad, high + pad, LEFT + 24, 16, 34
    floor = top + height * len(rows)

    def x(v: float) -> float:
        return left + (RIGHT - left) * (v - low) / (high - low)

    body = []
    for v in ticks(low, high, 6):
        body.append(f'<path class="rule" d="M{x(v):.1f} {top}V{floor}"/>')
        body.append(f'<text class="tick" x="{x(v):.1f}" y="{floor + 14}" text-anchor="middle">{number(v)}</text>')
    for i, (name, kind, many) in enumerate(rows):
        y, at = top + height * i + height / 2, dict(zip(f.quantiles, many, strict=True))
        body.append(f'<text class="tick strong" x="{left - 8}" y="{y + 4}" text-anchor="end">{name}</text>')
        title = ", ".join(f"{number(100 * q)} %: {number(v)}" for q, v in at.items())
        parts = [f'<path class="thin {kind}" d="M{x(many[0]):.1f} {y}H{x(many[-1]):.1f}"/>']
        if 0.05 in at and 0.95 in at:
            parts.append(f'<path class="thick {kind}" d="M{x(at[0.05]):.1f} {y}H{x(at[0.95]):.1f}"/>')
        if 0.25 in at and 0.75 in at:
            a, b = x(at[0.25]), x(at[0.75])
            parts.append(f'<path class="half {kind}" d="M{a:.1f} {y - 8}H{max(b, a + 1):.1f}v16H{a:.1f}z"/>')
        if 0.5 in at:
            parts.append(f'<path class="median" d="M{x(at[0.5]):.1f} {y - 8}v16"/>')
        body.append(f"<g>{''.join(parts)}<title>{title}</title></g>")
    anchor, dx = ("end", -5) if x(f.threshold) > 0.7 * RIGHT else ("start", 5)
    body.append(f'<path class="base" d="M{x(f.threshold):.1f} {top - 10}V{floor}"/>')
    body.append(
        f'<text class="name strong" x="{x(f.threshold) + dx:.1f}" y="{top - 3}" text-anchor="{anchor}">'
        f"threshold {number(f.threshold, 2)}</text>"
    )
    body.append(f'<text class="name" x="{RIGHT}" y="{floor + 29}" text-anchor="end">activation</text>')
    words = "; ".join(f"while {name}: {number(many[0])} to {number(many[-1])}" for name, _, many in rows)
    return svg(floor + 34, f"Activation {words}; threshold {number(f.threshold)}.", body, "verdict ranges")


def rivals(r: Rivals, f: Fit | None) -> Markup | None:
    """Variance explained: this rule, and every other as a stroke in the row of its kind."""
    rows: list[tuple[str, Sequence[Dot]]] = []
    clouds: dict[int, list[float]] = {}
    if f is not None:
        e = f.variance_explained
        rows.append(("this rule", [dot(e, "this rule", w.signed_percent)]))
    kinds = dict.fromkeys((*w.KINDS, *(x.kind for x in r.rivals)))
    for kind in kinds:
        if many := [x.variance_explained for x in r.rivals if x.kind == kind]:
            clouds[len(rows)] = many
            rows.append((clipped(w.KINDS.get(kind, kind)), ()))
    if r.random is not None and r.random.variance_explained:
        clouds[len(rows)] = list(r.random.variance_explained)
        rows.append((f"{r.random.n} random rules", ()))
    if not clouds:
        return None
    best = ", ".join(f"{rows[i][0]} {w.signed_percent(max(many))}" for i, many in clouds.items())
    own = f"This rule {w.signed_percent(f.variance_explained.value)}. " if f else ""
    words = f"Variance explained. {own}The best of each kind: {best}."
    return dots("verdict rivals", rows, "activation variance explained", words, True, clouds,
                f.variance_explained.value if f else None)  # fmt: skip


def shares(i: Inputs) -> Markup | None:
    """Of each literal, how far its toggle in games and its edit in the checkpoint take the activation, by controls."""
    rows: list[tuple[str, Sequence[Dot]]] = []
    named = names(i)
    for t in i.toggles:
        if t.share is not None:
            name = named[t.literal]
            rows.append((clipped(name), [dot(t.share, f"{name}, games", w.whole_percent)]))
    if i.control is not None and i.control.share is not None:
        rows.append(("no literal changed", [dot(i.control.share, "no literal changed, games", w.whole_percent, True)]))
    for e in i.edits:
        if e.share is not None:
            at = f", {e.where}" if e.where else ""
            found = [dot(e.share, f"{e.edit}{at}, edited", w.whole_percent)]
            if e.random is not None:
                found.append(dot(e.random, f"{e.edit}{at}, random directions", w.whole_percent, True))
            rows.append((clipped(f"{named.get(e.literal, e.literal)}{at or ', edited'}"), found))
    if not rows:
        return None
    words = "Share of the way from holds to fails: " + "; ".join(d.title for _, ds in rows for d in ds) + "."
    return dots("verdict shares", rows, "of the way from “holds” to “fails”", words, True, None, 1.0)


def writes(found: Sequence[Write]) -> list[Markup]:
    """What each claimed effect loses without the unit, one chart for each unit of measure."""
    drawn = []
    for unit in dict.fromkeys(x.unit_of for x in found if x.total is not None):
        rows, clouds = [], {}
        for x in found:
            if x.unit_of != unit or x.total is None:
                continue
            ds = [dot(x.total, f"{x.effect}, where it holds", w.digits(x.total))]
            if x.total_fails is not None:
                ds.append(dot(x.total_fails, f"{x.effect}, where it fails", w.digits(x.total_fails), True))
            clouds[len(rows)] = list(x.random)
            rows.append((clipped(x.effect), ds))
        words = f"Lost without it, {unit}: " + "; ".join(d.title for _, ds in rows for d in ds) + "."
        drawn.append(dots(f"verdict writes {escape(unit)}", rows, f"lost without it, {unit}", words, False, clouds))
    return drawn


def dot(e: Estimate, what: str, write, hollow: bool = False) -> Dot:
    return Dot(e.value, e.low, e.high, hollow, f"{what}: {w.with_interval(e, write)}")


def clipped(text: str) -> str:
    """A row's name, as long as there is room for."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def key_mark(kind: str) -> Markup:
    """A piece of a chart for its key: "dot", "hollow" or "cloud"."""
    body = {
        "dot": '<path class="range" d="M1 6H19"/><circle class="dot" cx="10" cy="6" r="3.6"/>',
        "hollow": '<path class="range" d="M1 6H19"/><circle class="dot hollow" cx="10" cy="6" r="3.6"/>',
        "cloud": '<path class="cloud" d="M4 1v10M8 1v10M10 1v10M15 1v10"/>',
    }[kind]
    return Markup(
        f'<svg class="chart cloud-key" viewBox="0 0 20 12" aria-hidden="true" data-chart="verdict key">{body}</svg>'
    )
