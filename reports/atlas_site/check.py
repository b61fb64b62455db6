"""Pages of a site read back from disk and compared with the tables, asked anew by `circuits.atlas.questions`.

Of sampled units: the headline and the tiles, every cell of the table of numbers, every board's colours, the edges, the
positions. Of the first page: the units that stand out with their figures, and the counts of every layer.
"""

import random
from collections import Counter
from pathlib import Path

from circuits.atlas import questions
from circuits.atlas.opened import Atlas
from circuits.atlas.unit_sheet import UnitSheet
from circuits.induction.records import STATUSES
from circuits.notation import LABELS
from reports.atlas_site.finds import finds
from reports.atlas_site.maps import level
from reports.atlas_site.page_read import number_of, read_page
from reports.atlas_site.roles import ROLES
from reports.atlas_site.sheets import Sheets
from reports.atlas_site.unit_words import Typical, headline, small, tiles
from reports.boards import scale_of
from reports.checks import PageError
from reports.text import fixed

#: boards that are drawn on one scale
_TOGETHER = (
    ("state_r2",), ("rise_mine", "rise_empty"), ("reads_mine", "reads_empty"),
    ("writes_mine", "writes_empty"), ("logit",), ("separation_mine", "separation_empty"),
    ("logit_legal", "logit_illegal"), ("adds_legal", "adds_illegal"),
)  # fmt: skip


def sampled(atlas: Atlas, sample: int, seed: int = 0) -> list[str]:
    """The units whose pages are read back: some of all, and two heads beside."""
    names = atlas.table("units")["unit"].to_pylist()
    heads = [name for name in names if "H" in name]
    drawn = random.Random(seed)
    return list(dict.fromkeys(drawn.sample(names, min(sample, len(names))) + drawn.sample(heads, min(2, len(heads)))))


def check_site(sheets: Sheets, folder: Path, names: list[str]) -> int:
    """Compare some units' pages, and the first page, with the tables.

    Returns:
        how many cells were compared.

    Raises:
        PageError: with the page, the cell, what it shows and what the tables say.
    """
    typical = Typical(sheets)
    return check_home(sheets, folder / "index.html") + sum(
        check_unit(sheets, name, folder / "units" / f"{name}.html", typical) for name in names
    )


def check_home(sheets: Sheets, path: Path) -> int:
    """Compare the first page's finds and counts with the tables; how many cells were looked at.

    Raises:
        PageError: they differ, or something is missing.
    """
    page, cells = read_page(path), 0
    tables = [[cell.strip() for cell in row] for row in page.rows]
    listed = [(row[0], _plain(row[1])) for row in tables if len(row) == 2]
    for find in finds(sheets):
        for unit, figure, _ in find.rows:
            if (unit, _plain(figure)) not in listed:
                raise PageError(f"{path.name}: {find.title}: {unit} should stand there with {figure}")
            cells += 1
    u = sheets.units
    for names, given in ((ROLES, sheets.roles), (STATUSES, u["rule_status"])):
        names = [name for name in names if name in given]
        for layer in sheets.atlas.layers if names else ():
            own = [i for i, there in enumerate(u["layer"]) if there == layer]
            counts = Counter(given[i] for i in own if sheets.is_neuron[i])
            right = [*(f"{counts[name]:,}" for name in names), str(sum(not sheets.is_neuron[i] for i in own))]
            if [f"L{layer}", *right] not in tables:
                raise PageError(f"{path.name}: no table counts L{layer} as {', '.join(right)}, as the tables do")
            cells += len(right)
    return cells


def check_unit(sheets: Sheets, name: str, path: Path, typical: Typical) -> int:
    """Compare one page with the tables; how many cells were looked at.

    Raises:
        PageError: they differ, or something is missing.
    """
    atlas, page = sheets.atlas, read_page(path)
    sheet, where, cells = questions.unit(atlas, name), path.name, 0
    if page.heading.strip() != sheet.unit:
        raise PageError(f"{where}: its heading is {page.heading.strip()!r}, it should be {sheet.unit!r}")
    expected = {k for k in sheet.squares[0].__dataclass_fields__ if k != "square" and _some(sheet, k)}
    if expected != {k for k in page.columns if not k.startswith("rise_")}:
        raise PageError(f"{where}: its columns are {sorted(page.columns)}, the tables know {sorted(expected)}")
    values: dict[str, tuple[float | None, ...]] = {}
    for key, shown in page.columns.items():
        rise = key.startswith("rise_")
        own = _rise(atlas, sheet, key[5:]) if rise else tuple(getattr(square, key) for square in sheet.squares)
        values[key] = own
        if len(shown) != len(own):
            raise PageError(f"{where}: {key} has {len(shown)} cells, not {len(own)}")
        for label, text, value in zip(LABELS, shown, own, strict=True):
            # A rise is computed here by another route, which may differ in the last digit.
            same = text == small(value) or (
                rise and None not in (value, number_of(text)) and abs(number_of(text) - value) < 0.01
            )
            if not same:
                raise PageError(f"{where}: {key} at {label} shows {text!r}, the tables have {value}")
            cells += 1
    for together in _TOGETHER:
        scale = scale_of([values[key] for key in together if key in values])
        for key in (key for key in together if key in values):
            cells += _board(where, key, page.boards.get(key), values[key], scale)
    rule = sheets.rule(sheets.row[name])
    said = [(page.headline, headline(sheet, rule))]
    said += zip(page.values, (f"{t['value']} {t['beside']}" for t in tiles(sheet, rule, typical)), strict=True)
    said += zip(
        ("|".join(row) for row in page.rows if len(row) == 4 and row[1] in ("top", "bottom")),
        (f"{e.address}|{e.end}|{small(e.activation)}|{e.moves}" for e in sheet.examples), strict=True,
    )  # fmt: skip
    for shown, right in said:
        if _plain(shown) != _plain(right):
            raise PageError(f"{where}: it says {_plain(shown)!r}, the tables {_plain(right)!r}")
        cells += 1
    for edge in (*sheet.before, *sheet.after):
        if (text := page.links.get(edge.unit)) is not None and text != fixed(edge.effect, 2, edge.sign != 0):
            raise PageError(f"{where}: the edge of {edge.unit} shows {text!r}, the tables have {edge.effect}")
        cells += text is not None
    return cells


def _some(sheet: UnitSheet, key: str) -> bool:
    return any(getattr(square, key) is not None for square in sheet.squares)


def _rise(atlas: Atlas, sheet: UnitSheet, state: str) -> tuple[float | None, ...]:
    """Mean where mine less where theirs, or where empty less where occupied, in sd; square by square."""
    table, sd, found = atlas.table("squares"), sheet.figures.get("sd"), []
    for i, square in enumerate(sheet.squares):
        own = getattr(square, f"mean_{state}")
        pairs = [
            (table[f"positions_{s}"][i].as_py(), getattr(square, f"mean_{s}"))
            for s in (("theirs",) if state == "mine" else ("theirs", "mine"))
        ]
        pairs = [(n, mean) for n, mean in pairs if n and mean is not None]
        n = sum(n for n, _ in pairs)
        found.append((own - sum(k * mean for k, mean in pairs) / n) / sd if own is not None and n and sd else None)
    return tuple(found)


def _board(where: str, key: str, drawn: dict[int, int] | None, values: tuple[float | None, ...], scale: float) -> int:
    if drawn is None:
        raise PageError(f"{where}: the page has no board of {key}")
    for s, value in enumerate(values):
        if value is None:
            continue
        own, right = drawn.get(s, 0), level(value, scale)
        # A rise by another route may fall on the other side of a step.
        if abs(own - right) > key.startswith("rise_"):
            raise PageError(f"{where}: the board of {key} has strength {own} at {LABELS[s]}, {value} would be {right}")
    return len(values)


def _plain(text: str) -> str:
    """Text without the marks that keep words on one line."""
    return " ".join(text.replace("\u00a0", " ").replace("\u2060", "").split())
