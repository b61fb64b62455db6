"""Effects as inline SVG: a heatmap of places against plies, and means with their intervals side by side.

Colours are those of the boards: blue above zero, orange below, the opacity |value| / scale. Every drawn cell has a
title with its number; cells below half a hundredth of the scale are left out, which keeps a page small.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from reports.charts import LEFT, RIGHT, svg, ticks
from reports.text import number

FAINT = 0.005


def heatmap(
    name: str,
    places: Sequence[str],
    columns: Sequence[str],
    cells: Mapping[tuple[int, int], tuple[float, str]],
    scale: float,
    x_label: str,
    words: str,
) -> Markup:
    """Places from the bottom up, columns from left to right.

    Args:
        cells: (place, column) -> (value, title).
        scale: the absolute value drawn in full colour.
        columns: their names; about six are written.
        words: what is heard.
    """
    height = 17 if len(places) <= 16 else 13
    left = LEFT + 14 * (max(map(len, places), default=0) > 5)
    top, width = 4, (RIGHT - left) / max(1, len(columns))
    floor = top + height * len(places)
    body = [f'<rect class="ground" x="{left}" y="{top}" width="{RIGHT - left}" height="{floor - top}"/>']
    for (i, j), (value, title) in sorted(cells.items()):
        strength = min(1.0, abs(value) / scale) if scale else 0.0
        if strength < FAINT:
            continue
        body.append(
            f'<rect class="{"n" if value < 0 else "p"}" x="{left + j * width:.1f}" y="{floor - height * (i + 1)}" '
            f'width="{width:.2f}" height="{height}" fill-opacity="{strength:.2g}"><title>{escape(title)}</title></rect>'
        )
    lines = "".join(f"M{left} {top + height * i}H{RIGHT}" for i in range(len(places) + 1))
    body.append(f'<path class="lines" d="{lines}"/>')
    for i, place in enumerate(places):
        y = floor - height * i - (height - 9) / 2
        body.append(f'<text class="tick" x="{left - 5}" y="{y:.1f}" text-anchor="end">{escape(place)}</text>')
    step = max(1, -(-len(columns) // 7))
    for j in range(len(columns) - 1, -1, -step):
        x = left + (j + 0.5) * width
        body.append(f'<text class="tick" x="{x:.1f}" y="{floor + 14}" text-anchor="middle">{escape(columns[j])}</text>')
    body.append(f'<text class="name" x="{RIGHT}" y="{floor + 30}" text-anchor="end">{escape(x_label)}</text>')
    return svg(floor + 35, words, body, name)


@dataclass(frozen=True)
class Dot:
    """A mean with its interval; ``hollow`` for the second of two series."""

    value: float
    low: float | None
    high: float | None
    hollow: bool
    title: str


def dots(
    name: str,
    rows: Sequence[tuple[str, Sequence[Dot]]],
    x_label: str,
    words: str,
    per_cent: bool,
    clouds: Mapping[int, Sequence[float]] | None = None,
    beside: float | None = None,
) -> Markup:
    """A row for each name, its means as dots on their intervals, over a common axis that holds zero.

    Args:
        clouds: many values of a row by its index, each a thin stroke.
        beside: a value marked by a dashed line through all rows.
    """
    # Room for the longest name, in the larger letters of narrow screens.
    left = max(138, min(200, 10 + round(7.6 * max((len(label) for label, _ in rows), default=0))))
    right, top, height = RIGHT - 4, 4, 25
    floor = top + height * len(rows)
    clouds = clouds or {}
    values = [v for _, ds in rows for d in ds for v in (d.value, d.low, d.high) if v is not None]
    values += [v for many in clouds.values() for v in many] + ([] if beside is None else [beside])
    low, high = min((0.0, *values)), max((0.0, *values))
    low, high = low - 0.03 * (high - low or 1), high + 0.03 * (high - low or 1)

    def x(v: float) -> float:
        return left + (right - left) * (v - low) / (high - low)

    body = []
    for v in ticks(low, high):
        text = f"{number(100 * v)} %" if per_cent else number(v)
        body.append(f'<path class="rule" d="M{x(v):.1f} {top}V{floor}"/>')
        body.append(f'<text class="tick" x="{x(v):.1f}" y="{floor + 14}" text-anchor="middle">{text}</text>')
    body.append(f'<path class="axis" d="M{x(0.0):.1f} {top}V{floor}"/>')
    if beside is not None:
        body.append(f'<path class="base" d="M{x(beside):.1f} {top}V{floor}"/>')
    for i, (label, ds) in enumerate(rows):
        middle = top + height * i + height / 2
        body.append(f'<text class="tick" x="{left - 8}" y="{middle + 4}" text-anchor="end">{escape(label)}</text>')
        if many := clouds.get(i):
            strokes = "".join(f"M{v:.1f} {middle - 6}v12" for v in sorted({round(x(v), 1) for v in many}))
            body.append(f'<path class="cloud" d="{strokes}"/>')
        for k, d in enumerate(ds):
            y = middle + (k - (len(ds) - 1) / 2) * 9
            parts = []
            if d.low is not None and d.high is not None:
                parts.append(f'<path class="range" d="M{x(d.low):.1f} {y}H{x(d.high):.1f}"/>')
            parts.append(f'<circle class="dot{" hollow" * d.hollow}" cx="{x(d.value):.1f}" cy="{y}" r="3.6"/>')
            body.append(f"<g>{''.join(parts)}<title>{escape(d.title)}</title></g>")
    body.append(f'<text class="name" x="{right}" y="{floor + 30}" text-anchor="end">{escape(x_label)}</text>')
    return svg(floor + 35, words, body, name)
