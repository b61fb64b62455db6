"""A page checks itself: what it shows equals its record, and the record equals what is computed again.

Two steps, so that neither a drawing mistake nor a wrong record gets through:

* `check_page` reads the built page back. Every cell of every value map must carry the record's number, under
  the right label, in the right place (row letter from the top, column digit from the left); every disc must
  stand where the record has it; figures written out and the headline must be the record's.
* `check_record` recomputes sampled numbers from the stored artefacts through a function that the build gives.

Both raise `PageError` with the page, the cell, what is shown and what it should be.
"""

import random
import re
from collections.abc import Callable, Sequence
from html.parser import HTMLParser

from circuits.notation import LABELS
from circuits.serial import Record, at
from reports.boards import corner
from reports.headline import headline
from reports.records import CheckedCell, NeuronRecord

DIGITS = 4  # significant digits in which pages carry numbers


class PageError(Exception):
    """A page shows something that its record or its artefacts do not have; the build must fail."""


def sampled_paths(record: NeuronRecord, n: int = 24, seed: int = 0) -> tuple[str, ...]:
    """Numbers worth recomputing: n sampled cells of the weight boards, the best example of each list, the
    counts behind the best fit's scores, and of the causal section an ablated position of each kind and a sender.

    The cells with the largest values of the logit board and of the two board maps that the neuron reads are
    always among them, as mistakes there would matter most.
    """
    names = [f"reads.{n}" for n in ("mine", "empty", "flipped", "played") if at(record, f"reads.{n}") is not None]
    names += ["writes.mine", "writes.empty", "writes.logits"]
    cells = [f"{name}.{s}" for name in names for s, v in enumerate(at(record, name)) if v is not None]
    always = [max((c for c in cells if c.startswith(name)), key=lambda c: abs(at(record, c))) for name in names]
    drawn = random.Random(f"{seed} {record.unit}").sample(cells, min(n, len(cells)))
    examples = [f"examples.{i}.positions.0.activation" for i, e in enumerate(record.examples) if e.positions]
    fit = [f"patterns.fits.0.{half}.{n}" for half in ("train", "held_out") for n in ("both", "fact_only", "on_only")]
    causal = []
    if record.causes is not None and record.causes.without is not None:
        causal = ["causes.without.methods.0.value"]
        for i, _ in enumerate(record.causes.without.examples):
            causal += [f"causes.without.examples.{i}.{name}" for name in ("logit", "change")]
        if record.causes.upstream is not None and record.causes.upstream.example is not None:
            causal.append("causes.upstream.example.frozen")
    return tuple(dict.fromkeys((*always, *drawn, *examples, *(fit if record.patterns.fits else ()), *causal)))


def check_record(
    record: Record,
    recompute: Callable[[str], float],
    paths: Sequence[str] | None = None,
    rtol: float = 1e-3,
    atol: float = 1e-4,
) -> tuple[CheckedCell, ...]:
    """Recompute numbers of the record; the cells that a page lists as checked.

    Args:
        recompute: gives the number at a path of the record, from the model, the probe and the games.
        paths: which; `sampled_paths` by default.
        rtol, atol: a cell passes within ``atol + rtol * |recomputed|``.

    Raises:
        PageError: a number differs by more.
        InputError: the record has no such path.
    """
    cells = []
    for path in sampled_paths(record) if paths is None else paths:
        value, again = float(at(record, path)), float(recompute(path))
        tolerance = atol + rtol * abs(again)
        if not abs(value - again) <= tolerance:
            raise PageError(f"{record.unit}: {path} is {value:.6g}, recomputed {again:.6g} (tolerance {tolerance:.2g})")
        cells.append(CheckedCell(path, value, again, tolerance))
    return tuple(cells)


def check_page(html: str, record: NeuronRecord) -> int:
    """Read a built page back and compare it with its record; how many shown things were compared.

    Raises:
        PageError: a cell, disc, figure or sentence differs from the record, or one is missing.
    """
    page = Page()
    page.feed(html)
    compared = 0
    shown = {board["path"] for board in page.boards}
    wanted = {"reads.mine", "reads.empty", "writes.mine", "writes.empty", "writes.logits"}
    if record.causes is not None and record.causes.without is not None:
        wanted |= {f"causes.without.places.{i}.change" for i, _ in enumerate(record.causes.without.places)}
    if missing := sorted(wanted - shown):
        raise PageError(f"{record.unit}: the page has no board of {missing[0]}")
    for board in page.boards:
        compared += compare_board(board, record)
    for position in page.positions:
        compared += compare_position(position, record)
    listed = sum(len(e.positions) for e in record.examples)
    if len(page.positions) != listed:
        raise PageError(f"{record.unit}: the page has {len(page.positions)} positions, its record {listed}")
    for path, text in page.values:
        compare(record, path, path, number_in(text), float(at(record, path)))
        compared += 1
    head = headline(record)
    for name, text, expected in (("headline", page.headline, head.sentence), ("grade", page.grade, head.grade)):
        if text.strip().lower() != expected.lower():
            raise PageError(f"{record.unit}: the {name} reads {text.strip()!r}, its numbers say {expected!r}")
    return compared + 2


def compare_board(board: dict, record: Record) -> int:
    """Compare a value map that was read back with the record; how many cells."""
    values = at(record, board["path"])
    less = at(record, board["minus"]) if board["minus"] else 0.0
    seen = {}
    for x, y, title in board["cells"]:
        name, _, text = title.partition(" ")
        where = f"{board['path']}:{name}"
        if name not in LABELS or name in seen:
            raise PageError(f"{record.unit}: a cell of {board['path']} is labelled {name!r}")
        square = LABELS.index(name)
        if (x, y) != corner(square):
            raise PageError(f"{record.unit}: {where} is drawn at {x},{y}, its place is {corner(square)}")
        value, base = values[square], less[square] if isinstance(less, tuple) else less
        if (value is None or base is None) != text.startswith("no value"):
            raise PageError(f"{record.unit}: {where} shows {text!r}, the record has {value}")
        if value is not None and base is not None:
            compare(record, board["path"], where, number_in(text), value - base)
        seen[name] = True
    if len(seen) != 64:
        raise PageError(f"{record.unit}: the board of {board['path']} has {len(seen)} cells, not 64")
    return 64


def compare_position(position: dict, record: Record, legal: bool = True) -> int:
    """Compare a position that was read back with the record's; ``legal``: whether legal moves are drawn."""
    example = at(record, position["path"])
    marks = position["marks"]
    expected = {
        "mine": {s for s in range(64) if example.board[s] == 2},
        "theirs": {s for s in range(64) if example.board[s] == 1},
        "legal": {LABELS.index(s) for s in example.legal if legal},
        "last": {LABELS.index(example.last)} if example.last is not None else set(),
        "dots": {LABELS.index(s) for s in example.flipped},
    }
    for name, squares in expected.items():
        if marks[name] != squares:
            wrong = LABELS[min(marks[name] ^ squares)]
            shown = "shown" if LABELS.index(wrong) in marks[name] else "not shown"
            raise PageError(f"{record.unit}: {position['path']}: {name} at {wrong} is {shown}, against the record")
    return 64


def compare(record: Record, name: str, where: str, shown: float, value: float) -> None:
    """Raise PageError where a number is not the record's to the digits that pages carry."""
    if not abs(shown - value) <= 0.51 * 10 ** (1 - DIGITS) * abs(value) + 1e-12:
        raise PageError(f"{record.unit}: {where} shows {shown:.6g}, the record has {value:.6g}")


def number_in(text: str) -> float:
    """The number that a page writes."""
    try:
        return float(text.replace("−", "-").replace("+", "").replace(",", ""))
    except ValueError:
        raise PageError(f"{text!r} stands where a number should") from None


class Page(HTMLParser):
    """Collects what a page shows: boards, positions, figures, headline and grade."""

    def __init__(self) -> None:
        super().__init__()
        self.boards: list[dict] = []
        self.positions: list[dict] = []
        self.values: list[tuple[str, str]] = []
        self.headline = self.grade = ""
        self._board: dict | None = None
        self._position: dict | None = None
        self._cell: tuple[int, int] | None = None
        self._title = False
        self._text: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        a = {name: value or "" for name, value in attrs}
        if tag == "svg":
            self._board = self._position = None
            if "data-board" in a:
                self._board = {"path": a["data-board"], "minus": a.get("data-minus", ""), "cells": []}
                self.boards.append(self._board)
            if "data-position" in a:
                marks = {name: set() for name in ("mine", "theirs", "legal", "last", "dots")}
                self._position = {"path": a["data-position"], "marks": marks}
                self.positions.append(self._position)
        elif self._board is not None and tag == "path" and "disc" not in a.get("class", "").split():
            corner_of = re.match(r"M(\d+) (\d+)h10v10", a.get("d", ""))
            self._cell = (int(corner_of[1]), int(corner_of[2])) if corner_of else None
        elif self._board is not None and tag == "title" and self._cell is not None:
            self._board["cells"].append((*self._cell, ""))
            self._title = True
        elif self._position is not None and tag == "path" and "disc" in a.get("class", "").split():
            kind = a["class"].split()[1]
            name = "dots" if kind.startswith("dot") else kind
            if name in self._position["marks"]:
                for x, y in re.findall(r"M(\d+) (\d+)h0", a["d"]):
                    self._position["marks"][name].add(_square(int(x) - 5, int(y) - 5))
        elif self._position is not None and tag == "use" and "x" in a:
            self._position["marks"][a["href"][1:]].add(_square(int(a["x"]), int(a["y"])))
        if "data-path" in a:
            self.values.append((a["data-path"], a["data-v"]))
        if "data-headline" in a:
            self._text = "headline"
        elif "data-grade" in a:
            self._text = "grade"

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._title = False
        elif tag == "p":
            self._text = None
        elif tag == "svg":
            self._board = self._position = None

    def handle_data(self, data: str) -> None:
        if self._title and self._board is not None:
            x, y, text = self._board["cells"][-1]
            self._board["cells"][-1] = (x, y, text + data)
        elif self._text is not None:
            setattr(self, self._text, getattr(self, self._text) + data)


def _square(x: int, y: int) -> int:
    """The square whose corner is at (x, y); -1 for a place that is no square's."""
    return next((s for s in range(64) if corner(s) == (x, y)), -1)
