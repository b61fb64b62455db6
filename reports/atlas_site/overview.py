"""The map of a model: a cell a neuron, a row of blocks a layer, coloured by what is known of it; one SVG, no script.

Each status is one path of strokes a cell long, so that 16,384 neurons take some eighty kilobytes.
"""

from collections import Counter
from typing import NamedTuple

from markupsafe import Markup, escape

from circuits.induction.records import STATUSES
from reports.atlas_site.sheets import Sheets

#: rows of cells in a layer's block
DEPTH = 16
#: an atlas without rules
NO_RULES = "no rules here"


class LayerRow(NamedTuple):
    """A layer of the map: its drawing and its counts by status."""

    layer: int
    drawing: Markup
    counts: dict[str, int]
    neurons: int
    heads: int


def statuses(sheets: Sheets) -> tuple[str, ...]:
    """Those that the map has, best first."""
    own = {s or NO_RULES for s, neuron in zip(sheets.units["rule_status"], sheets.is_neuron, strict=True) if neuron}
    return tuple(s for s in (*STATUSES, NO_RULES) if s in own)


def overview(sheets: Sheets) -> list[LayerRow]:
    """The layers of the map."""
    found = []
    every = statuses(sheets)
    for layer in sheets.atlas.layers:
        rows = [i for i, own in enumerate(sheets.units["layer"]) if own == layer]
        neurons = [i for i in rows if sheets.is_neuron[i]]
        state = [sheets.units["rule_status"][i] or NO_RULES for i in neurons]
        depth = min(DEPTH, max(1, len(neurons)))
        width = -(-len(neurons) // depth) or 1
        counts = Counter(state)
        words = ", ".join(f"{counts[s]} {s}" for s in every if counts[s])
        paths = "".join(
            f'<path class="{s.split()[0]}" d="{_cells([n for n, own in enumerate(state) if own == s], depth)}"/>'
            for s in every
        )
        drawing = Markup(
            f'<svg class="layer" viewBox="0 0 {width} {depth}" preserveAspectRatio="none" role="img" '
            f'data-layer="{layer}" data-depth="{depth}" data-neurons="{len(neurons)}" '
            f'data-units="{_some(sheets, neurons)}" '
            f'aria-label="{escape(f"Layer {layer}: {words}")}">{paths}</svg>'
        )
        found.append(LayerRow(layer, drawing, dict(counts), len(neurons), len(rows) - len(neurons)))
    return found


def _some(sheets: Sheets, neurons: list[int]) -> str:
    """The numbers of a layer's neurons; nothing where they are simply 0, 1, 2, …"""
    own = [sheets.units["index"][i] for i in neurons]
    return "" if own == list(range(len(own))) else " ".join(map(str, own))


def _cells(places: list[int], depth: int) -> str:
    """Strokes one cell long: the n-th neuron stands in column n // depth, row n % depth."""
    found, x, y = [], 0, 0.0
    for row in range(depth):
        for column in (n // depth for n in places if n % depth == row):
            found.append(f"m{column - x:g} {row + 0.5 - y:g}h1")
            x, y = column + 1, row + 0.5
    return "M0 0" + "".join(found) if found else ""
