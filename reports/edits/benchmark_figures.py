"""Figures of the edit benchmark as inline SVG: errors, by layer, by scale and by moves changed; roll-outs."""

from collections.abc import Sequence

from markupsafe import Markup, escape

from circuits.editing.results import NO_EDIT, PERFECT
from reports.charts import LEFT, RIGHT, svg, ticks
from reports.curves import Curve, curves
from reports.edits.benchmark_records import BenchmarkRecord, Mean
from reports.patching.heatmaps import Dot, dots
from reports.text import fixed, number

#: of the small charts, one a method
SMALL, SMALL_HEIGHT = 216, 128
#: class in the stylesheet of the lines of a chart, in order
KINDS = ("", "run1", "run2", "run3")


def interval(m: Mean, places: int = 2) -> str:
    """``0.33 [0.21, 0.45]``."""
    if m.low is None or m.high is None:
        return f"{fixed(m.mean, places)} [one case]"
    return f"{fixed(m.mean, places)} [{fixed(m.low, places)}, {fixed(m.high, places)}]"


def names_of(b: BenchmarkRecord, cases: str) -> list[str]:
    """The methods measured on a set, in order of their error, best first."""
    rows = [r for r in b.rows if r.cases == cases and not r.control and r.name not in (NO_EDIT, PERFECT)]
    return [r.name for r in sorted(rows, key=lambda r: r.scores["error"].mean)]


def error_dots(b: BenchmarkRecord, cases: str) -> Markup:
    """Figure 1: the mean error of every method, its random control hollow."""
    rows = [(NO_EDIT, [_dot(b.row(cases, NO_EDIT).scores["error"], False, NO_EDIT)])]
    for name in names_of(b, cases):
        pair = [(b.row(cases, name, control).scores["error"], control) for control in (False, True)]
        words = (name, f"{name}, random directions")
        rows.append((_short(name), [_dot(m, hollow, words[hollow]) for m, hollow in pair]))
    own = b.row(cases, NO_EDIT).scores["error original"]
    rows.append(("own board", [_dot(own, False, "the model on these boards, unedited")]))
    heard = "; ".join(f"{label} {interval(b.row(cases, label).scores['error'])}" for label in names_of(b, cases)[:4])
    return dots(f"errors {escape(cases)}", rows, "mean error, moves", f"Mean error, {cases}: {heard}.", False)


def _dot(m: Mean, hollow: bool, title: str) -> Dot:
    return Dot(m.mean, m.low, m.high, hollow, f"{title}: {interval(m)}")


def _short(name: str) -> str:
    """A method, or of a variant what is different about it."""
    return f"… {name.rpartition(', ')[2]}" if ", " in name else name


def layer_chart(b: BenchmarkRecord, name: str, most: float, none: float) -> Markup:
    """Figure 2, one of the small charts: error of a method at each single layer; dashed, without an edit."""
    values = b.layers[name]
    left, right, top, floor = 30, SMALL - 8, 12, SMALL_HEIGHT - 24

    def x(i: int) -> float:
        return left + (right - left) * i / max(1, len(values) - 1)

    def y(v: float) -> float:
        return floor - (floor - top) * v / most

    body = []
    for v in ticks(0.0, most, 3):
        body.append(f'<path class="rule" d="M{left} {y(v):.1f}H{right}"/>')
        body.append(f'<text class="tick" x="{left - 5}" y="{y(v) + 4:.1f}" text-anchor="end">{number(v)}</text>')
    body.append(f'<path class="base" d="M{left} {y(none):.1f}H{right}"/>')
    line = "L".join(f"{x(i):.1f} {y(v):.1f}" for i, v in enumerate(values))
    body.append(f'<path class="curve" d="M{line}"/>')
    spots = "".join(f"M{x(i):.1f} {y(v):.1f}h0" for i, v in enumerate(values))
    body.append(f'<path class="spots" d="{spots}"/>')
    best = min(range(len(values)), key=lambda i: values[i])
    anchor = "start" if best < len(values) / 3 else "end" if best > 2 * len(values) / 3 else "middle"
    low = y(values[best])
    at = low + 16 if floor - low > 18 else max(10.0, low - 7)
    body.append(
        f'<text class="name strong" x="{x(best):.1f}" y="{at:.1f}" text-anchor="{anchor}">'
        f"L{best} {fixed(values[best])}</text>"
    )
    for i in range(0, len(values), -(-len(values) // 8)):
        body.append(f'<text class="tick" x="{x(i):.1f}" y="{floor + 15}" text-anchor="middle">L{i}</text>')
    words = f"{name}: error by layer " + ", ".join(f"L{i} {fixed(v)}" for i, v in enumerate(values))
    return Markup(
        f'<svg class="chart" viewBox="0 0 {SMALL} {SMALL_HEIGHT}" role="img" aria-label="{escape(words)}" '
        f'data-chart="layers {escape(name)}">{"".join(body)}</svg>'
    )


def scale_map(b: BenchmarkRecord, none: float) -> Markup:
    """Figure 3: mean error of negation by layer (upwards) and scale; blue below no edit, orange above it."""
    columns, rows = len(b.scale_values), len(b.scales)
    height, top = 20, 4
    width = (RIGHT - LEFT) / columns
    floor = top + height * rows
    reach = max((abs(none - v) for row in b.scales for v in row), default=0.0) or 1.0
    body = [f'<rect class="ground" x="{LEFT}" y="{top}" width="{RIGHT - LEFT}" height="{floor - top}"/>']
    for i, row in enumerate(b.scales):
        y = floor - height * (i + 1)
        for j, v in enumerate(row):
            strength = min(1.0, abs(none - v) / reach)
            x = LEFT + j * width
            title = f"L{i}, scale {b.scale_values[j]:g}: error {fixed(v)}"
            body.append(
                f'<rect class="{"p" if v <= none else "n"}" x="{x:.1f}" y="{y}" width="{width:.2f}" height="{height}" '
                f'fill-opacity="{strength:.2g}"><title>{title}</title></rect>'
            )
            tone = "on" if strength > 0.55 else "off"
            body.append(
                f'<text class="{tone}" x="{x + width / 2:.1f}" y="{y + 14}" text-anchor="middle">{fixed(v)}</text>'
            )
        body.append(f'<text class="tick" x="{LEFT - 5}" y="{y + 14}" text-anchor="end">L{i}</text>')
    body.append(f'<path class="lines" d="{"".join(f"M{LEFT} {top + height * i}H{RIGHT}" for i in range(rows + 1))}"/>')
    for j, scale in enumerate(b.scale_values):
        at = LEFT + (j + 0.5) * width
        body.append(f'<text class="tick" x="{at:.1f}" y="{floor + 14}" text-anchor="middle">{scale:g}</text>')
    body.append(f'<text class="name" x="{RIGHT}" y="{floor + 30}" text-anchor="end">scale</text>')
    best = min((v, i, j) for i, row in enumerate(b.scales) for j, v in enumerate(row))
    words = (
        f"Negation by layer and scale: lowest error {fixed(best[0])} at L{best[1]}, scale {b.scale_values[best[2]]:g}"
    )
    return svg(floor + 35, words, body, "scales")


def changed_lines(b: BenchmarkRecord, cases: str, chosen: Sequence[str]) -> Markup:
    """Figure 4: mean error by how many moves an edit makes legal or illegal."""
    lines = []
    kinds = dict(zip(chosen, KINDS, strict=False))
    for name in (NO_EDIT, *chosen):
        points = [(float(i), v) for i, v in zip(b.bins, b.row(cases, name).by_changed, strict=True) if v is not None]
        kind = "train" if name == NO_EDIT else kinds[name]
        lines.append(Curve(name, kind, [p[0] for p in points], [p[1] for p in points], dots=True))
    held = [i for i, n in zip(b.bins, next(s for s in b.sets if s.name == cases).changed, strict=True) if n]
    last = b.bins[-1]
    return curves(
        f"changed {escape(cases)}", lines, "moves that the edit makes legal or illegal", "mean error",
        levels=[(0.0, "")], write=number, x_marks=[float(i) for i in held],
        write_x=lambda v: f"{v:.0f}+" if v == last else f"{v:.0f}",
    )  # fmt: skip


def survival(b: BenchmarkRecord, cases: str) -> Markup:
    """Figure 5: share of roll-outs that are still legal after each move."""
    lines = []
    for r, kind in zip([r for r in b.rollouts if r.cases == cases], ("", "train", "run2"), strict=False):
        moves = [float(i + 1) for i in range(len(r.survived))]
        lines.append(Curve(r.name, kind, moves, list(r.survived), dots=True))
    return curves(
        f"survival {escape(cases)}", lines, "moves made", "roll-outs still legal, %", levels=[(0.0, "")],
        write=lambda v: f"{100 * v:.0f}", write_x=lambda v: f"{v:.0f}", x_marks=lines[0].x[::3],
    )  # fmt: skip
