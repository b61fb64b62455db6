"""A unit's page as it lies on disk, read back: what `reports.atlas_site.check` and `recompute` compare."""

import re
from html.parser import HTMLParser
from pathlib import Path

from reports.atlas_site.maps import STEPS
from reports.boards import CELL, LEFT, TOP


def read_page(path: Path) -> "PageRead":
    """A page from its file."""
    page = PageRead()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def number_of(text: str) -> float | None:
    """A number as pages write it; None for a dash."""
    return None if text == "–" else float(text.replace("−", "-").replace(",", ""))


class PageRead(HTMLParser):
    """What a page shows.

    Attributes:
        heading, headline: its name, and the sentence under it.
        values: the figures of its tiles.
        columns: of the table of all squares, by key: texts.
        boards: strengths of colour by square, by the column that they draw.
        links: effects of edges by unit.
        rows: of all other tables, as texts.
    """

    def __init__(self):
        super().__init__()
        self.heading = self.headline = ""
        self.columns: dict[str, list[str]] = {}
        self.boards: dict[str, dict[int, int]] = {}
        self.links: dict[str, str] = {}
        self.values: list[str] = []
        self.rows: list[list[str]] = []
        self._text = ""  # what the text that follows belongs to
        self._in_heading = self._in_squares = self._in_neighbours = False
        self._board = self._cell = self._edge = None
        self._keys, self._at = [], -1

    def handle_starttag(self, tag, attrs):
        own = dict(attrs)
        classes = (own.get("class") or "").split()
        if tag == "p":
            self._text = "headline" if "headline" in classes else ""
        elif tag == "div" and "value" in classes:
            self._text = "value"
            self.values.append("")
        elif tag in ("tr", "td", "th") and not self._in_squares:
            if tag == "tr":
                self.rows.append([])
            elif self.rows:
                self.rows[-1].append("")
                self._text = "cell"
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
        elif (
            self._in_neighbours and tag == "a" and re.fullmatch(r"\.\./units/(L\d+[NH]\d+)\.html", own.get("href", ""))
        ):
            self._edge = own["href"][9:-5]
        elif self._in_neighbours and tag == "td" and self._edge:
            self.links.setdefault(self._edge, "")

    def handle_endtag(self, tag):
        if tag in ("p", "div", "td", "th", "table"):
            self._text = ""
        if tag == "h1":
            self._in_heading = False
        elif tag == "svg":
            self._board = None
        elif tag == "figure":
            self._in_neighbours = False  # behind the edges come look-alikes
        elif tag == "table":
            self._in_squares, self._cell = False, None
        elif tag == "td" and self._edge and self.links.get(self._edge):
            self._edge = None

    def handle_data(self, data):
        if self._text == "headline":
            self.headline += data
        elif self._text == "value":
            self.values[-1] += data
        elif self._text == "cell":
            self.rows[-1][-1] += data
        if self._in_heading:
            self.heading += data
        elif self._in_squares and self._cell and data.strip():
            self.columns[self._cell][-1] += data.strip()
        elif self._in_neighbours and self._edge in self.links and not self.links[self._edge]:
            self.links[self._edge] = data.strip()
