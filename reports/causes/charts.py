"""Means with intervals as bars from zero, drawn as inline SVG."""

from collections.abc import Sequence

from markupsafe import Markup, escape

from reports.causes.records import LayerSum
from reports.charts import svg, ticks
from reports.text import fixed, number

LEFT, RIGHT = 92, 372


def layer_sums(layers: Sequence[LayerSum]) -> Markup:
    """A bar with its interval for each layer part, in the order in which they run."""
    ends = [v for part in layers for v in (part.effect.low, part.effect.mean, part.effect.high) if v is not None]
    low, high = min(0.0, *ends), max(0.0, *ends)
    high = high if high > low else low + 1.0
    row, top = 17, 4

    def x(v: float) -> float:
        return LEFT + (RIGHT - LEFT) * (v - low) / (high - low)

    decimals = 2 if max(high, -low) < 30 else 1
    bottom = top + row * len(layers)
    body = []
    for mark in ticks(low, high, 4):
        body.append(f'<path class="rule" d="M{x(mark):.1f} {top}V{bottom}"/>')
        body.append(
            f'<text class="tick" x="{x(mark):.1f}" y="{bottom + 14}" text-anchor="middle">{number(mark)}</text>'
        )
    for i, part in enumerate(layers):
        y, e = top + row * i, part.effect
        a, b = sorted((x(0.0), x(e.mean)))
        body.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 13}" text-anchor="end">{escape(part.part)}</text>')
        body.append(f'<path class="part {"less" if e.mean < 0 else "more"}" d="M{a:.1f} {y + 4}H{b:.1f}v10H{a:.1f}z"/>')
        if e.low is not None and e.high is not None:
            body.append(f'<path class="whisker" d="M{x(e.low):.1f} {y + 9}H{x(e.high):.1f}"/>')
        body.append(
            f'<text class="tick strong" x="{RIGHT + 8}" y="{y + 13}">{fixed(e.mean, decimals, sign=True)}</text>'
        )
    body.append(f'<path class="axis" d="M{x(0.0):.1f} {top}V{bottom}"/>')
    most = max(layers, key=lambda part: abs(part.effect.mean))
    words = (
        f"Direct effects by layer; the largest is that of the {most.part}, {number(most.effect.mean, 2, sign=True)}."
    )
    return svg(bottom + 20, words, body, "layers")
