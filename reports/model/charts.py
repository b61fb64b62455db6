"""Charts of a model's page as inline SVG: neurons by status in each layer, shares by layer beside published ones."""

from collections.abc import Callable, Sequence

from markupsafe import Markup

from circuits.census import published
from circuits.census.replaced import KINDS, WHOLE, Replaced
from circuits.induction.records import STATUSES
from reports.charts import LEFT, RIGHT, svg
from reports.curves import Curve, curves
from reports.model.records import EDGES, ModelRecord
from reports.patching.heatmaps import heatmap
from reports.text import count, number, percent

#: what the stylesheet needs for the bars, with the colour of each status
STYLE = Markup(
    ".chart .s-explained { fill: var(--pos); } .chart .s-partly { fill: var(--pos); fill-opacity: .42; }"
    " .chart .s-clock { fill: var(--third); } .chart .s-unexplained { fill: var(--bar); fill-opacity: .55; }"
    " .chart .s-dead { fill: var(--ink); } .swatches .s-partly { opacity: .42; } .swatches .s-unexplained"
    " { opacity: .55; } .chart .inside { fill: var(--on); font-weight: 600; }"
    " .chart [class^=s-] { -webkit-print-color-adjust: exact; print-color-adjust: exact; }"
)
#: status -> (colour in the key, words)
KEY = {
    "explained": ("var(--pos)", "explained by a rule"),
    "partly": ("var(--pos)", "in part"),
    "clock": ("var(--third)", "by the ply alone"),
    "unexplained": ("var(--bar)", "no rule above 10 % for sure"),
    "dead": ("var(--ink)", "never varies"),
}


def statuses(r: ModelRecord) -> Markup:
    """A bar for each layer, from below, its neurons by status."""
    height, top = 25, 6
    floor = top + height * len(r.layers)
    body = []
    for i, layer in enumerate(r.layers):
        y, x = floor - height * (i + 1), float(LEFT)
        body.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 16}" text-anchor="end">L{layer.layer}</text>')
        for status in STATUSES:
            n = getattr(layer, status)
            width = (RIGHT - LEFT) * n / layer.neurons
            if not n:
                continue
            words = (
                f"L{layer.layer}: {count(n)} of {count(layer.neurons)} {KEY[status][1]} ({percent(n / layer.neurons)})"
            )
            body.append(
                f'<rect class="s-{status}" x="{x:.1f}" y="{y + 2}" width="{width:.1f}" height="{height - 5}">'
                f"<title>{words}</title></rect>"
            )
            text = percent(n / layer.neurons, 0)
            if status == "explained" and width > 9 * len(text):
                body.append(f'<text class="inside" x="{x + 6:.1f}" y="{y + 16}">{text}</text>')
            x += width
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = LEFT + (RIGHT - LEFT) * share
        anchor = "end" if share == 1 else "middle"
        body.append(
            f'<text class="tick" x="{at:.1f}" y="{floor + 14}" text-anchor="{anchor}">{100 * share:.0f} %</text>'
        )
    body.append(f'<text class="name" x="{RIGHT}" y="{floor + 30}" text-anchor="end">neurons of the layer</text>')
    heard = "; ".join(f"L{x.layer} {percent(x.explained / x.neurons)}" for x in r.layers)
    return svg(floor + 35, f"Neurons explained by a rule, by layer: {heard}.", body, "statuses")


def by_layer(
    name: str, lines: Sequence[Curve], label: str, write: Callable[[float], str] = number, log_y: bool = False
) -> Markup:
    """Lines over the layers."""
    most = int(max(v for c in lines for v in c.x)) + 1
    marks = [float(i) for i in range(0, most, -(-most // 12))]
    return curves(name, lines, "layer", label, log_y=log_y, x_marks=marks, write=write, write_x=lambda v: f"L{v:.0f}",
                  levels=() if log_y else [(0.0, "")])  # fmt: skip


def trees(r: ModelRecord) -> list[Curve]:
    """Per cent of neurons that a tree describes, at full depth and at depth 4, and of those that a rule explains."""
    lines = [
        _curve(r, f"tree of depth {r.table.depth}", "", lambda x: 100 * x.tree / x.neurons),
        _curve(r, "tree of depth 4", "run2", lambda x: 100 * x.tree_4 / x.neurons),
    ]
    if all(x.tree_published is not None for x in r.layers):
        lines.append(_curve(r, "tree grown as published", "run3", lambda x: 100 * x.tree_published / x.neurons))
    lines.append(_curve(r, "rule", "run1", lambda x: 100 * x.explained / x.neurons))
    if comparable(r):
        shares = [100 * n / published.NEURONS for n in published.TREE_EXPLAINED]
        lines.append(_published(r, "published tree (larger model)", shares))
    return lines


def comparable(r: ModelRecord) -> bool:
    """Whether the layers can stand beside the published model's."""
    return r.origin.n_layers == len(published.TREE_EXPLAINED)


def histogram(r: ModelRecord) -> Markup:
    """Neurons by layer and by the variance that their rule explains."""
    most = max(n / x.neurons for x in r.layers for n in x.histogram)
    columns = bins()
    cells = {
        (i, j): (n / x.neurons, f"L{x.layer}, {columns[j]}: {count(n)} neurons ({percent(n / x.neurons)})")
        for i, x in enumerate(r.layers)
        for j, n in enumerate(x.histogram)
    }
    words = (
        f"Neurons by layer and by the variance that their rule explains; at most {percent(most)} of a layer in a cell."
    )
    return heatmap("histogram", [f"L{x.layer}" for x in r.layers], columns, cells, most,
                   "variance explained by its rule", words)  # fmt: skip


def bins() -> list[str]:
    """Names of the bins of variance explained."""
    return ["< 0"] + [f"{a:.1f}–{b:.1f}" for a, b in zip(EDGES, (*EDGES[1:], 1.0), strict=True)]


def replaced(r: ModelRecord, found: Replaced) -> list[Curve]:
    """KL by layer with predictions in the place of explained neurons, the rest at their means, beside controls."""
    lines = []
    for by, kind, name, style in (
        ("rules", KINDS[1], "rules, the rest at means", ""),
        ("trees", KINDS[1], "trees, the rest at means", "run2"),
        ("rules", KINDS[4], "as many random neurons, the rest at means", "train"),
        ("means", WHOLE[0], "whole layer at means", "run1"),
    ):
        runs = [(float(x.layer), found.of(x.layer, by, kind)) for x in r.layers]
        points = [(layer, run.kl.value) for layer, run in runs if run is not None]
        if points:
            lines.append(Curve(name, style, *map(list, zip(*points, strict=True)), dots=True))
    if lines and comparable(r):
        name = "published trees (larger model), the rest at means"
        lines.append(_published(r, name, published.REPLACED_KL))
    return lines


def _curve(r: ModelRecord, name: str, kind: str, value: Callable) -> Curve:
    return Curve(name, kind, [float(x.layer) for x in r.layers], [float(value(x)) for x in r.layers], dots=True)


def _published(r: ModelRecord, name: str, values: Sequence[float]) -> Curve:
    """The published values of the layers that the page has."""
    numbers = [x.layer for x in r.layers]
    return Curve(name, "pub", [float(i) for i in numbers], [values[i] for i in numbers], dots=len(numbers) == 1)


def swatches() -> list[tuple[str, str, str]]:
    """(class, colour, words) of the key to the bars."""
    return [(f"s-{status}", colour, words) for status, (colour, words) in KEY.items()]
