"""The pages beside those of units: home, the list, layers, squares, and where two units are set side by side."""

import json
from collections.abc import Iterator

from markupsafe import Markup

from circuits.notation import LABELS, ROWS
from reports.atlas_site import finds, lists
from reports.atlas_site.overview import colourings, states
from reports.atlas_site.plays import Plays
from reports.atlas_site.roles import LEAST, ROLES, css_class
from reports.atlas_site.sheets import Sheets
from reports.atlas_site.squares import Square
from reports.atlas_site.unit_page import about, environment
from reports.charts import point_name


def picker(root: str, current: str = "") -> Markup:
    """A board of links, one a square; scripts may answer in place."""
    head = "".join(f'<th scope="col">{digit}' for digit in range(8))
    rows = ""
    for r, letter in enumerate(ROWS):
        cells = ""
        for name in LABELS[8 * r : 8 * r + 8]:
            here = ' aria-current="page"' if name == current else ""
            cells += f'<td><a href="{root}squares/{name}.html" data-square="{name}"{here}>{name}</a>'
        rows += f'<tr><th scope="row">{letter}{cells}'
    return Markup(f'<table class="picker"><caption class="hidden">The 64 squares</caption><tr><td>{head}{rows}</table>')


def home(sheets: Sheets, atlas_name: str, plays: Plays | None = None) -> str:
    """The first page; ``plays``: how well the model does."""
    maps, neurons = colourings(sheets), int(sheets.is_neuron.sum())
    explained = sum(s == "explained" for s in sheets.units["rule_status"]) if states(sheets) else None
    p = sheets.atlas.provenance
    made = [(name.replace("_", " "), p[name]) for name in _MADE if p.get(name) not in (None, "")]
    made += [(f"measured: {stage}", words) for stage, words in sheets.atlas.measured.items()]
    return _render(
        "index.html", sheets, atlas_name, "", "Home", maps=maps, css_class=css_class, plays=plays, neurons=neurons,
        heads=len(sheets) - neurons, explained=explained, finds=finds.finds(sheets), probe=finds.probe_rows(sheets),
        made=made, picker=picker(""), least=LEAST, point_name=point_name,
    )  # fmt: skip


_MADE = ("model", "games_source", "fingerprint", "probes", "seed", "code", "torch", "device", "key")


def units(sheets: Sheets, atlas_name: str) -> str:
    """The list, which scripts fill."""
    own = {r for listed in lists.roles(sheets) if listed for r in listed.split(", ")}
    roles = [r for r in ROLES if r in own]
    roles += [f"head: {k}" for k in sorted({k for k in sheets.units["head_kind"] if k})]
    return _render("units.html", sheets, atlas_name, "", "Units", states=states(sheets), roles=roles, picker=picker(""))


def compare(sheets: Sheets, atlas_name: str) -> str:
    """Two units, which scripts fill."""
    return _render("compare.html", sheets, atlas_name, "", "Two units", figures=json.dumps(lists.FIGURES))


def layers(sheets: Sheets, atlas_name: str) -> Iterator[tuple[int, str]]:
    """Each layer's list, for reading without scripts."""
    u = sheets.units
    for layer in sheets.atlas.layers:
        rows = [
            (u["unit"][i], u["rule_status"][i] or u["head_kind"][i] or u["kind"][i], u["rule"][i] or u["best_fact"][i]
             or "", u["rule_r2"][i], u["best_skill"][i], u["kl"][i])
            for i, own in enumerate(u["layer"]) if own == layer
        ]  # fmt: skip
        yield layer, _render("layer.html", sheets, atlas_name, "../", f"Layer {layer}", own=layer, rows=rows)


def square(sheets: Sheets, atlas_name: str, own: Square) -> str:
    """A square's page."""
    return _render(
        "square.html", sheets, atlas_name, "../", own.name, square=own, tables=own.tables(), links=sheets.row,
        picker=picker("../", own.name),
    )  # fmt: skip


def squares(sheets: Sheets, atlas_name: str) -> str:
    """The board to choose a square from."""
    return _render("squares.html", sheets, atlas_name, "../", "Squares", picker=picker("../"))


def _render(template: str, sheets: Sheets, atlas_name: str, root: str, title: str, **more) -> str:
    made = environment().get_template(template)
    return made.render(root=root, title=title, atlas=about(sheets, atlas_name), **more)
