"""Pages of a site read back from disk and compared with the tables, asked anew by `circuits.atlas.questions`.

Of sampled units: every cell of the table of numbers, every board's colours and written numbers, the edges.
"""

import random
import re
from html.parser import HTMLParser
from pathlib import Path

from circuits.atlas import questions
from circuits.atlas.opened import Atlas
from circuits.atlas.unit_sheet import UnitSheet
from circuits.notation import LABELS
from reports.atlas_site.maps import STEPS, level
from reports.atlas_site.unit_words import small
from reports.boards import CELL, LEFT, TOP, scale_of
from reports.checks import PageError
from reports.text import fixed

#: boards that are drawn on one scale
_TOGETHER = (
    ("state_r2",), ("rise_mine", "rise_empty"), ("reads_mine", "reads_empty"),
    ("writes_mine", "writes_empty"), ("logit",), ("separation_mine", "separation_empty"),
    ("logit_legal", "logit_illegal"),
)  # fmt: skip


def check_site(atlas: Atlas, folder: Path, sample: int, seed: int = 0) -> int:
    """Compare some units' pages with the tables.

    Returns:
        how many cells were compared.

    Raises:
        PageError: with the page, the cell, what it shows and what the tables say.
    """
    names = atlas.table("units")["unit"].to_pylist()
    heads = [name for name in names if "H" in name]
    drawn = random.Random(seed)
    chosen = drawn.sample(names, min(sample, len(names))) + drawn.sample(heads, min(2, len(heads)))
    return sum(check_unit(atlas, name, folder / "units" / f"{name}.html") for name in chosen)


def check_unit(atlas: Atlas, name: str, path: Path) -> int:
    """Compare one page with the tables; how many cells were looked at.

    Raises:
        PageError: they differ, or something is missing.
    """
    sheet, page = questions.unit(atlas, name), _Page()
    page.feed(path.read_text(encoding="utf-8"))
    where, cells = path.name, 0
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
                rise and None not in (value, _read(text)) and abs(_read(text) - value) < 0.01
            )
            if not same:
                raise PageError(f"{where}: {key} at {label} shows {text!r}, the tables have {value}")
            cells += 1
    for together in _TOGETHER:
        scale = scale_of([values[key] for key in together if key in values])
        for key in (key for key in together if key in values):
            cells += _board(where, key, page.boards.get(key), values[key], scale)
    for edge in sheet.before:
        if (text := page.links.get(edge.unit)) is not None and text != fixed(edge.effect, 2, True):
            raise PageError(f"{where}: the edge from {edge.unit} shows {text!r}, the tables have {edge.effect}")
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


def _read(text: str) -> float | None:
    return None if text == "–" else float(text.replace("−", "-").replace(",", ""))


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


class _Page(HTMLParser):
    """What a page shows: its heading, its columns of numbers, its boards by strength, the effects of edges."""

    def __init__(self):
        super().__init__()
        self.heading, self.columns, self.boards, self.links = "", {}, {}, {}
        self._in_heading = self._in_squares = self._in_neighbours = False
        self._board = self._cell = self._edge = None
        self._keys, self._at = [], -1

    def handle_starttag(self, tag, attrs):
        own = dict(attrs)
        if tag == "h1":
            self._in_heading = True
        elif tag == "section":
            self._in_neighbours = own.get("id") == "neighbours"
        elif tag == "table":
            self._in_squares = own.get("id") == "squares"
        elif tag == "svg" and "data-column" in own:
            self._board = self.boards.setdefault(own["data-column"], {})
        elif tag == "path" and self._board is not None and own.get("class") in ("p", "n"):
            strength = round(STEPS * float(own["fill-opacity"])) * (-1 if own["class"] == "n" else 1)
            for x, y in re.findall(r"M(\d+) (\d+)", own["d"]):
                self._board[8 * ((int(y) - TOP) // CELL) + (int(x) - LEFT) // CELL] = strength
        elif self._in_squares and tag == "th" and "data-column" in own:
            self._keys.append(own["data-column"])
            self.columns[own["data-column"]] = []
        elif self._in_squares and tag == "tr":
            self._at = -1
        elif self._in_squares and tag == "td":
            self._at += 1
            self.columns[self._keys[self._at]].append("")
            self._cell = self._keys[self._at]
        elif self._in_squares and tag == "th":
            self._cell = None
        elif self._in_neighbours and tag == "a" and re.fullmatch(r"\.\./units/(L\d+N\d+)\.html", own.get("href", "")):
            self._edge = own["href"][9:-5]
        elif self._in_neighbours and tag == "td" and self._edge:
            self.links.setdefault(self._edge, "")

    def handle_endtag(self, tag):
        if tag == "h1":
            self._in_heading = False
        elif tag == "svg":
            self._board = None
        elif tag == "table":
            self._in_squares, self._cell = False, None
        elif tag == "td" and self._edge and self.links.get(self._edge):
            self._edge = None

    def handle_data(self, data):
        if self._in_heading:
            self.heading += data
        elif self._in_squares and self._cell and data.strip():
            self.columns[self._cell][-1] += data.strip()
        elif self._in_neighbours and self._edge in self.links and not self.links[self._edge]:
            self.links[self._edge] = data.strip()
