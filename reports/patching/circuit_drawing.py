"""A circuit drawn as a graph, inline SVG: the embedding at the bottom, the target at the top, layers between.

An edge's width grows with |effect|, what the metric loses when the edge alone is taken out of the circuit; its colour
says which way it pushes. Rows that are too long are broken; within a row, nodes stand near the mean place of their
neighbours, which keeps edges short (the barycentre heuristic, Sugiyama et al. 1981).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from circuits.causes.circuit import Circuit, CircuitEdge
from circuits.causes.edges import TARGET
from circuits.causes.nodes import parse_node
from reports.text import fixed, number

#: so many edges, the strongest, are drawn: more are a thicket
MOST_EDGES = 120
BOX, GAP, MARGIN = 24, 44, 18
SWEEPS = 6


@dataclass(frozen=True)
class Layout:
    """How wide a drawing is, in units of its text's pixels, and how many nodes stand in a row at most."""

    width: int
    columns: int
    box: int
    name: str


WIDE = Layout(1080, 13, 70, "wide")
NARROW = Layout(440, 5, 74, "narrow")


def pushes(edge: CircuitEdge) -> float:
    """What the edge adds to the metric: the opposite of what removing it does."""
    return -edge.effect


def sure(edge: CircuitEdge) -> bool:
    """Whether the edge's effect stands out among all edges of the circuit (family p at most 0.05)."""
    return edge.p_family <= 0.05


def strongest(circuit: Circuit, most: int = MOST_EDGES) -> list[CircuitEdge]:
    """The edges that are drawn, in the circuit's own order."""
    kept = sorted(circuit.edges, key=lambda e: -abs(e.effect))[:most]
    return [edge for edge in circuit.edges if edge in kept]


def edge_words(edge: CircuitEdge) -> str:
    """An edge for those who point at it."""
    gap = f" {added_interval(edge)}" if edge.low == edge.low else ""
    return (
        f"{edge.sender} → {edge.receiver}: adds {number(pushes(edge), 3, sign=True)}{gap} to the metric, "
        f"p {fixed(edge.p_family, 3)} over all edges"
    )


def added_interval(edge: CircuitEdge) -> str:
    """The interval of what an edge adds; what is rounding is written as 0."""
    low, high = (0.0 if abs(v) < 1e-5 else -v for v in (edge.high, edge.low))
    return f"[{number(low)}, {number(high)}]"


def level(name: str) -> tuple[int, int]:
    """The row of a node, from the bottom: (layer, 0 for heads, 1 for neurons and MLPs)."""
    if name == TARGET:
        return 1 << 20, 0
    node = parse_node(name)
    if node.kind == "embed":
        return -1, 0
    return node.layer, int(node.kind in ("mlp", "neuron"))


def rows(edges: Sequence[CircuitEdge], columns: int) -> list[list[str]]:
    """Nodes by row from the bottom up, those of a row ordered to keep edges short."""
    names = {e.sender for e in edges} | {whole(e.receiver) for e in edges} | {TARGET}
    levels: dict[tuple[int, int], list[str]] = {}
    for name in sorted(names, key=lambda n: (level(n), n)):
        levels.setdefault(level(name), []).append(name)
    near: dict[str, list[str]] = {name: [] for name in names}
    for e in edges:
        near[e.sender].append(whole(e.receiver))
        near[whole(e.receiver)].append(e.sender)
    ordered = [levels[key] for key in sorted(levels)]
    place = {name: _spot(i, len(row)) for row in ordered for i, name in enumerate(row)}
    for _ in range(SWEEPS):
        for row in ordered:
            mean = {n: sum(place[m] for m in near[n]) / len(near[n]) if near[n] else place[n] for n in row}
            row.sort(key=lambda n, mean=mean: (mean[n], n))
            place |= {name: _spot(i, len(row)) for i, name in enumerate(row)}
    broken = []
    for row in ordered:
        lines = -(-len(row) // columns)
        # Neighbours in the order go to different lines, so that each line keeps the whole width.
        broken += [row[i::lines] for i in range(lines)]
    return broken


def _spot(i: int, count: int) -> float:
    return (i + 0.5) / count


def whole(receiver: str) -> str:
    """The node that a receiver is part of: ``"L2H5.q"`` -> ``"L2H5"``."""
    return receiver.partition(".")[0]


def drawing(circuit: Circuit, layout: Layout = WIDE, links: Mapping[str, str] | None = None) -> Markup:
    """The graph as SVG.

    Args:
        links: pages of units, by name.
    """
    links = links or {}
    edges = strongest(circuit)
    lines = rows(edges, layout.columns)
    height = 2 * MARGIN + len(lines) * BOX + (len(lines) - 1) * GAP
    at: dict[str, tuple[float, float]] = {}
    for k, line in enumerate(lines):
        y = float(height - MARGIN - BOX - k * (BOX + GAP))
        step = min((layout.width - 8) / len(line), 2.2 * layout.box)
        for i, name in enumerate(line):
            at[name] = layout.width / 2 + (i - (len(line) - 1) / 2) * step, y
    most = max((abs(e.effect) for e in edges), default=0.0) or 1.0
    body = [_edge(e, at, layout, most) for e in sorted(edges, key=lambda e: abs(e.effect))]
    body += [_node(name, *place, layout, links) for name, place in at.items()]
    body += _ports(edges, at, layout)
    words = (
        f"The circuit: {len(circuit.nodes)} nodes, {len(circuit.edges)} edges, from the embedding at the bottom to "
        f"{circuit.metric} at the top. Strongest: "
        + "; ".join(edge_words(e) for e in sorted(edges, key=lambda e: -abs(e.effect))[:5])
    )
    return Markup(
        f'<svg class="graph {layout.name}" viewBox="0 0 {layout.width} {height}" role="img" '
        f'aria-label="{escape(words)}" data-edges="{len(edges)}">{"".join(body)}</svg>'
    )


def _port(receiver: str, x: float, layout: Layout) -> float:
    """Where on its box an edge arrives: q left, k in the middle, v right."""
    part = receiver.partition(".")[2]
    return x + {"q": -layout.box / 3, "v": layout.box / 3}.get(part, 0.0)


def _edge(edge: CircuitEdge, at: Mapping[str, tuple[float, float]], layout: Layout, most: float) -> str:
    (x, y), (x2, y2) = at[edge.sender], at[whole(edge.receiver)]
    x2, y2 = _port(edge.receiver, x2, layout), y2 + BOX
    bend = max(GAP / 2, 0.45 * (y - y2))
    # An edge past other rows makes a bow, since it would run behind the nodes that stand between.
    between = round((y - y2 - GAP) / (BOX + GAP))
    bow = 0.0
    if between and abs(x - x2) < layout.box:
        bow = (1 if x > layout.width / 2 or (x == layout.width / 2 and between % 2) else -1) * (
            0.9 * layout.box + 6 * between
        )
    kind = "raises" if pushes(edge) >= 0 else "lowers"
    first, second = (min(max(v + bow, 2.0), layout.width - 2.0) for v in (x, x2))
    width = 0.9 + 6 * abs(edge.effect) / most
    return (
        f'<path class="edge {kind}{"" if sure(edge) else " unsure"}" stroke-width="{width:.1f}" '
        f'd="M{x:.1f} {y:.1f}C{first:.1f} {y - bend:.1f} {second:.1f} {y2 + bend:.1f} {x2:.1f} {y2:.1f}" '
        f'data-edge="{escape(edge.sender)} {escape(edge.receiver)}"><title>{escape(edge_words(edge))}</title></path>'
    )


def _node(name: str, x: float, y: float, layout: Layout, links: Mapping[str, str]) -> str:
    kind = "end" if name in (TARGET, "embed") else "head" if "H" in name else "mlp" if name.endswith("MLP") else "unit"
    half = layout.box / 2
    shown = (
        f'<g class="node {kind}"><rect x="{x - half:.1f}" y="{y:.1f}" width="{layout.box}" height="{BOX}" '
        f'rx="{11 if kind == "head" else 3}"/><text x="{x:.1f}" y="{y + 16:.1f}">{escape(name)}</text></g>'
    )
    return f'<a href="{escape(links[name])}">{shown}</a>' if name in links else shown


def _ports(edges: Sequence[CircuitEdge], at: Mapping[str, tuple[float, float]], layout: Layout) -> list[str]:
    """The letters q, k, v under the heads that are reached there."""
    found = []
    for receiver in dict.fromkeys(e.receiver for e in edges if "." in e.receiver):
        x, y = at[whole(receiver)]
        letter = receiver.partition(".")[2]
        found.append(f'<text class="port" x="{_port(receiver, x, layout):.1f}" y="{y + BOX + 9}">{letter}</text>')
    return found
