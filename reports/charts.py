"""Charts as inline SVG drawn from a record: spectrum, activation by ply, and a share beside its baselines."""

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from reports.index_records import ProbeRow
from reports.records import ByPly, Spectrum
from reports.text import count, fixed, number, percent

WIDTH = 440
LEFT, RIGHT = 44, 432


def ticks(low: float, high: float, n: int = 5) -> list[float]:
    """Round numbers inside [low, high], about ``n`` of them."""
    span = high - low
    if span <= 0:
        return [low]
    raw = span / n
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, math.floor(high / step + 1e-9) + 1)]


def svg(height: int, words: str, body: Sequence[str], name: str) -> Markup:
    """A drawing that is heard as ``words``."""
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(words)}"'
        f' data-chart="{escape(name)}">{"".join(body)}</svg>'
    )


def _x_axis(marks: Sequence[float], x, y: int, label: str) -> list[str]:
    body = [f'<path class="axis" d="M{LEFT} {y}H{RIGHT}"/>']
    for value in marks:
        body.append(f'<text class="tick" x="{x(value):.1f}" y="{y + 14}" text-anchor="middle">{number(value)}</text>')
    body.append(f'<text class="name" x="{RIGHT}" y="{y + 29}" text-anchor="end">{escape(label)}</text>')
    return body


def y_axis(marks: Sequence[tuple[float, str]], y) -> list[str]:
    """A rule and a name at each mark; ``y`` takes a value to its height."""
    body = []
    for value, text in marks:
        body.append(f'<path class="rule" d="M{LEFT} {y(value):.1f}H{RIGHT}"/>')
        body.append(f'<text class="tick" x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{text}</text>')
    return body


def spectrum(data: Spectrum) -> Markup:
    """Histogram of activations (logarithmic counts), the fact's positions in front, their share below.

    Both sets of bars start at the axis: on a logarithmic scale stacked bars would mislead.
    """
    low, high = data.edges[0], data.edges[-1]
    top, floor, share_top, bottom = 22, 168, 196, 246
    most = max(*data.counts, 10)
    decades = math.log10(most / 0.7)

    def x(v: float) -> float:
        return LEFT + (RIGHT - LEFT) * (v - low) / (high - low)

    def y(n: int | float) -> float:
        return floor - (floor - top) * max(0.0, math.log10(max(n, 0.7) / 0.7)) / decades

    def y_share(v: float) -> float:
        return bottom - (bottom - share_top) * v

    total, held = sum(data.counts), sum(data.holds)
    base = held / total if total else 0
    powers = [10**k for k in range(math.floor(math.log10(most)) + 1)]
    body = y_axis([(float(p), power(p)) for p in powers], y)
    body.append('<text class="name" x="0" y="12">positions (log scale)</text>')
    for kind, counts in (("all", data.counts), ("holds", data.holds)):
        path = "".join(
            f"M{x(a):.1f} {floor}V{y(n):.1f}H{max(x(b) - 0.6, x(a) + 0.4):.1f}V{floor}"
            for a, b, n in zip(data.edges, data.edges[1:], counts, strict=False)
            if n
        )
        body.append(f'<path class="bars {kind}" d="{path}"/>')
    body += y_axis([(0.0, "0"), (1.0, "100 %")], y_share)
    body.append(f'<text class="name" x="0" y="{share_top - 9}">share of the bin where it holds</text>')
    steps = "".join(
        f"M{x(a):.1f} {bottom}V{y_share(h / n):.1f}H{max(x(b) - 0.6, x(a) + 0.4):.1f}V{bottom}"
        for a, b, n, h in zip(data.edges, data.edges[1:], data.counts, data.holds, strict=False)
        if n
    )
    body.append(f'<path class="bars holds" d="{steps}"/>')
    body.append(f'<path class="base" d="M{LEFT} {y_share(base):.1f}H{RIGHT}"/>')
    if data.threshold is not None and low <= data.threshold <= high:
        at = x(data.threshold)
        anchor, dx = ("end", -4) if at > 0.6 * WIDTH else ("start", 4)
        body.append(f'<path class="threshold" d="M{at:.1f} {top - 6}V{bottom}"/>')
        body.append(f'<text class="name strong" x="{at + dx:.1f}" y="{top + 2}" text-anchor="{anchor}">'
                    f"threshold {number(data.threshold, 2)}</text>")  # fmt: skip
    body += _x_axis(ticks(low, high, 6), x, bottom, "activation")
    words = (
        f"Histogram of {count(total)} activations from {number(low, 2)} to {number(high, 2)}. "
        f"“{data.fact}” holds in {percent(base)} of all positions"
    )
    if data.threshold is not None:
        above = [(n, h) for a, n, h in zip(data.edges, data.counts, data.holds, strict=False) if a >= data.threshold]
        n, h = sum(p[0] for p in above), sum(p[1] for p in above)
        words += f", and in {percent(h / n)} of the bins above the threshold" if n else ""
    return svg(280, words + ".", body, "spectrum")


def power(value: int | float) -> str:
    """A count on an axis: "5,000", "20k", "2.5M"."""
    for unit, name in ((10**9, "G"), (10**6, "M"), (1000, "k")):
        if value >= unit and value >= 10_000:
            return f"{value / unit:g}{name}"
    return f"{value:,.0f}"


def by_ply(data: ByPly) -> Markup:
    """Mean activation by ply with its band."""
    top, floor = 22, 246
    lows = [*(data.low or ()), *data.mean, 0.0]
    highs = [*(data.high or ()), *data.mean, 0.0]
    low, high = min(lows), max(highs)
    pad = 0.04 * (high - low) or 0.1
    low, high = low - pad, high + pad
    first, last = data.plies[0], data.plies[-1]

    def x(t: int | float) -> float:
        return LEFT + (RIGHT - LEFT) * (t - first) / max(1, last - first)

    def y(v: float) -> float:
        return floor - (floor - top) * (v - low) / (high - low)

    def path(values: Sequence[float], plies: Sequence[int]) -> str:
        return "L".join(f"{x(t):.1f} {y(v):.1f}" for t, v in zip(plies, values, strict=True))

    body = y_axis([(v, number(v)) for v in ticks(low, high)], y)
    body.append('<text class="name" x="0" y="12">activation</text>')
    if data.low is not None and data.high is not None:
        back = path(data.low[::-1], data.plies[::-1])
        body.append(f'<path class="band" d="M{path(data.high, data.plies)}L{back}Z"/>')
    body.append(f'<path class="mean" d="M{path(data.mean, data.plies)}"/>')
    body += _x_axis(ticks(float(first), float(last), 6), x, floor, "ply")
    peak = max(range(len(data.plies)), key=lambda i: data.mean[i])
    dip = min(range(len(data.plies)), key=lambda i: data.mean[i])
    words = (
        f"Mean activation by ply, highest {fixed(data.mean[peak])} at ply {data.plies[peak]}, "
        f"lowest {fixed(data.mean[dip])} at ply {data.plies[dip]}."
    )
    return svg(280, words, body, "by_ply")


def probe(rows: Sequence[ProbeRow]) -> Markup:
    """Probe accuracy along the stream, over its baselines; lines are named at their right end."""
    top, floor, right = 14, 196, 318
    series = [("the probe", "mean", [row.accuracy for row in rows])]
    for name, field in (
        ("in black/white", "black_white"),
        ("random weights", "random_model"),
        ("constant guess", "constant"),
    ):
        values = [getattr(row, field) for row in rows]
        if all(v is not None for v in values):
            series.append((name, "baseline", values))
    lowest = min(v for _, _, values in series for v in values)
    low = math.floor(10 * lowest - 1e-9) / 10

    def x(i: int) -> float:
        return LEFT + (right - LEFT) * i / max(1, len(rows) - 1)

    def y(v: float) -> float:
        return floor - (floor - top) * (v - low) / (1 - low)

    body = []
    for v in ticks(low, 1.0):
        body.append(f'<path class="rule" d="M{LEFT} {y(v):.1f}H{right}"/>')
        body.append(f'<text class="tick" x="{LEFT - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{100 * v:.0f} %</text>')
    ends: list[float] = []
    for name, kind, values in series:
        line = "L".join(f"{x(i):.1f} {y(v):.1f}" for i, v in enumerate(values))
        body.append(f'<path class="{kind}" d="M{line}"/>')
        end = y(values[-1])
        while any(abs(end - other) < 13 for other in ends):
            end += 1
        ends.append(end)
        tone = " strong" if kind == "mean" else ""
        body.append(f'<text class="tick{tone}" x="{right + 6}" y="{end + 4:.1f}">{name}</text>')
    body.append(f'<path class="axis" d="M{LEFT} {floor}H{right}"/>')
    step = math.ceil(len(rows) / 9)
    for i, row in enumerate(rows):
        if i % step == 0 or i == len(rows) - 1:
            body.append(
                f'<text class="tick" x="{x(i):.1f}" y="{floor + 14}" text-anchor="middle">{point_name(row.hook)}</text>'
            )
    best = max(rows, key=lambda row: row.accuracy)
    words = f"Probe accuracy along the stream, highest {percent(best.accuracy, 1)} at {best.hook}."
    return svg(222, words, body, "probe")


def point_name(hook: str) -> str:
    """A short name of a point in the stream: "blocks.3.hook_resid_post" is "L3", resid_mid "L3 mid"."""
    parts = hook.split(".")
    if len(parts) < 3 or hook.endswith("resid_pre"):
        return "in"
    return f"L{parts[1]}" + ("" if hook.endswith("resid_post") else " mid")


def bullet(value: float, baselines: Sequence[float]) -> Markup:
    """A share from 0 to 1 as a bar, its baselines as ticks."""

    def x(v: float) -> float:
        return 200 * min(1.0, max(0.0, v))

    marks = "".join(f"M{x(v):.1f} 0v15" for v in baselines)
    return Markup(
        '<svg class="bullet" viewBox="0 0 200 15" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" width="200" height="9" y="3"/>'
        f'<rect class="bar" width="{x(value):.1f}" height="9" y="3"/>'
        f'<path class="mark" d="{marks}"/></svg>'
    )
