"""The map of a model: a cell a neuron, a row of blocks a layer, coloured by role or by what is known; SVG, no script.

Each name is one path of strokes a cell long, so that 16,384 neurons take some eighty kilobytes.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from circuits.induction.records import STATUSES
from reports.atlas_site.roles import ROLES, css_class
from reports.atlas_site.sheets import Sheets

#: rows of cells in a layer's block
DEPTH = 16
#: an atlas without rules
NO_RULES = "no rules here"


class LayerRow(NamedTuple):
    """A layer of the map: its drawing and its counts by name."""

    layer: int
    drawing: Markup
    counts: dict[str, int]
    neurons: int
    heads: int


class Colouring(NamedTuple):
    """One way of colouring the map: its key for style sheets and the list, the names in order, the layers."""

    key: str
    names: tuple[str, ...]
    layers: tuple[LayerRow, ...]


def colourings(sheets: Sheets) -> tuple[Colouring, ...]:
    """By role, and where there are rules by status."""
    found = [_colouring(sheets, "role", sheets.roles, ROLES)]
    if states(sheets):
        status = [s or NO_RULES for s in sheets.units["rule_status"]]
        found.append(_colouring(sheets, "status", status, (*STATUSES, NO_RULES)))
    return tuple(found)


def states(sheets: Sheets) -> tuple[str, ...]:
    """The statuses that there are, best first; none in an atlas without rules."""
    own = set(sheets.units["rule_status"])
    return tuple(s for s in STATUSES if s in own)


def _colouring(sheets: Sheets, key: str, given: Sequence[str | None], order: Sequence[str]) -> Colouring:
    own = {name for name, neuron in zip(given, sheets.is_neuron, strict=True) if neuron}
    names = tuple(name for name in order if name in own)
    return Colouring(key, names, tuple(_layer(sheets, layer, key, given, names) for layer in sheets.atlas.layers))


def _layer(sheets: Sheets, layer: int, key: str, given: Sequence[str | None], names: Sequence[str]) -> LayerRow:
    rows = [i for i, own in enumerate(sheets.units["layer"]) if own == layer]
    neurons = [i for i in rows if sheets.is_neuron[i]]
    state = [given[i] for i in neurons]
    depth = min(DEPTH, max(1, len(neurons)))
    width = -(-len(neurons) // depth) or 1
    counts = Counter(state)
    words = ", ".join(f"{counts[s]} {s}" for s in names if counts[s])
    paths = "".join(
        f'<path class="{css_class(s)}" d="{_cells([n for n, own in enumerate(state) if own == s], depth)}"/>'
        for s in names
    )
    drawing = Markup(
        f'<svg class="layer" viewBox="0 0 {width} {depth}" preserveAspectRatio="none" role="img" '
        f'data-layer="{layer}" data-depth="{depth}" data-neurons="{len(neurons)}" '
        f'data-units="{_some(sheets, neurons)}" '
        f'aria-label="{escape(f"Layer {layer} by {key}: {words}")}">{paths}</svg>'
    )
    return LayerRow(layer, drawing, dict(counts), len(neurons), len(rows) - len(neurons))


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
