"""Othello boards as inline SVG: value maps, positions and patterns, all on one grid.

A cell is 10 units; row letters stand left and column digits on top. What every board shares (grid, labels,
discs) is drawn once per page, in `DEFINITIONS`, and used by reference, so that a position costs about a
kilobyte. Value maps lay one of two colours over the cell, its opacity |value| / scale: blue above zero,
orange below, told apart by the colour-blind and symmetric about zero in light and dark. A cell's title is its
label and value, and a board's ``data-board`` the path in the record, by which `reports.checks` compares them.
"""

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from circuits.notation import CENTRE, LABELS, ROWS
from circuits.serial import Record
from reports.fit_records import Fit
from reports.headline import what
from reports.records import Board, Example
from reports.text import fixed, number

CELL, LEFT, TOP = 10, 9, 8
BOX = f"0 0 {LEFT + 8 * CELL + 1} {TOP + 8 * CELL + 1}"


def corner(square: int) -> tuple[int, int]:
    """The upper left corner of a square, in the drawing's units."""
    row, column = divmod(square, 8)
    return LEFT + CELL * column, TOP + CELL * row


def _definitions() -> str:
    lines = "".join(f"M{LEFT + CELL * i} {TOP}v80" for i in range(9))
    lines += "".join(f"M{LEFT} {TOP + CELL * i}h80" for i in range(9))
    letters = "".join(f'<text x="{LEFT - 4.5}" y="{TOP + 10 * i + 7}">{r}</text>' for i, r in enumerate(ROWS))
    digits = "".join(f'<text x="{LEFT + 10 * i + 5}" y="{TOP - 2}">{i}</text>' for i in range(8))
    cells = ""
    for s in range(64):
        x, y = corner(s)
        cells += f'<rect x="{x}" y="{y}" width="10" height="10"><title>{LABELS[s]}</title></rect>'
    return (
        '<svg class="defs" width="0" height="0" aria-hidden="true" focusable="false"><defs>'
        f'<g id="grid"><rect class="ground" x="{LEFT}" y="{TOP}" width="80" height="80"/>'
        f'<path class="lines" d="{lines}"/><g class="labels">{letters}{digits}</g></g>'
        f'<g id="cells" class="cells">{cells}</g>'
        '<g id="last"><rect class="last" x=".7" y=".7" width="8.6" height="8.6" rx="1.2"/></g>'
        '<g id="legal"><path class="legal" d="M3.6 3.6l2.8 2.8m0-2.8l-2.8 2.8"/></g>'
        "</defs></svg>"
    )


DEFINITIONS = Markup(_definitions())


def scale_of(boards: Sequence[Board | None]) -> float:
    """The largest absolute value over boards that share a colour scale; 1 where all are zero."""
    return max((abs(v) for b in boards if b is not None for v in b if v is not None), default=0) or 1.0


def places(scale: float) -> int:
    """Decimals that tell the cells of a board apart: two, or more where all are small."""
    return max(2, 1 - math.floor(math.log10(scale)))


def extremes(board: Board, n: int = 3) -> tuple[list[str], list[str]]:
    """The ``n`` highest and lowest cells that lie above and below zero, written out: "C0 +0.38".

    Cells that are zero at the digits shown are left out: they are on neither side.
    """
    digits = places(scale_of([board]))
    known = sorted(
        ((v, -s) for s, v in enumerate(board) if v is not None and float(f"{v:.{digits}f}") != 0), reverse=True
    )
    high = [f"{LABELS[-s]} {fixed(v, digits, sign=True)}" for v, s in known[:n] if v > 0]
    low = [f"{LABELS[-s]} {fixed(v, digits, sign=True)}" for v, s in known[::-1][:n] if v < 0]
    return high, low


def extremes_markup(board: Board) -> Markup:
    """The strongest cells of a board, its highest and lowest three, never broken between label and value."""
    lines = [
        Markup("<b>{}</b> {}").format(name, ", ".join(cell.replace(" ", "\u00a0") for cell in cells))
        for name, cells in zip(("highest", "lowest"), extremes(board), strict=True)
        if cells
    ]
    return Markup("<br>").join(lines) or Markup("every value is zero")


def in_words(board: Board, n: int = 3) -> str:
    """The extreme cells in one line: "highest C0 +0.38, E2 +0.34; lowest D1 −0.41"."""
    high, low = extremes(board, n)
    parts = [f"{name} {', '.join(cells)}" for name, cells in (("highest", high), ("lowest", low)) if cells]
    return "; ".join(parts) or "every value is zero"


def value_board(board: Board, scale: float, title: str, path: str, minus: str = "", mark: int = 3) -> Markup:
    """A value map; every cell's title is its label and value, four digits.

    Args:
        board: what is shown, 64 values; None is left blank.
        scale: the absolute value drawn in full colour; boards that are compared share it.
        title: its name, for those who cannot see it.
        path: where in the record the values stand; with ``minus``, the path of what was subtracted.
        mark: so many of the strongest cells carry their number.
    """
    strongest = sorted((s for s in range(64) if board[s]), key=lambda s: -abs(board[s]))[:mark]
    digits = places(scale)
    cells, numbers = [], []
    for s, value in enumerate(board):
        x, y = corner(s)
        area = f"M{x} {y}h10v10H{x}z"
        if value is None:
            blank = "no value at a centre square" if s in CENTRE else "no value"
            cells.append(f'<path class="na" d="{area}"><title>{LABELS[s]} {blank}</title></path>')
            cells.append(f'<path class="dash" d="M{x + 4} {y + 5}h2"/>')
            continue
        strength = min(1.0, abs(value) / scale)
        cells.append(
            f'<path class="{"n" if value < 0 else "p"}" d="{area}" fill-opacity="{strength:.2g}">'
            f"<title>{LABELS[s]} {number(value, 4, sign=True)}</title></path>"
        )
        if s in strongest:
            # With its sign: colour alone must not carry it.
            short = "−" * (value < 0) + fixed(abs(value), digits if abs(value) < 9.95 else 0).removeprefix("0")
            tone = ("on" if strength > 0.55 else "off") + (" long" if len(short) > 3 else "")
            # Set to the cell's width in a wide bold font: five characters would be clipped at the size of four.
            smaller = f' style="font-size:{14 / len(short):.2g}px"' if len(short) > 4 else ""
            numbers.append(f'<text class="{tone}"{smaller} x="{x + 5}" y="{y + 6.4}">{short}</text>')
    subtracted = f' data-minus="{escape(minus)}"' if minus else ""
    words = escape(f"{title}: {in_words(board)}")
    return Markup(
        f'<svg class="board" viewBox="{BOX}" role="img" aria-label="{words}"'
        f' data-board="{escape(path)}"{subtracted}><use href="#grid"/>{"".join(cells)}'
        f'<g class="numbers">{"".join(numbers)}</g></svg>'
    )


def _line(fit: Fit) -> str:
    """A pattern's line from its square to its end, under the discs."""
    (x, y), (x2, y2) = corner(LABELS.index(fit.square)), corner(LABELS.index(fit.squares[-1]))
    return f'<path class="line" d="M{x + 5} {y + 5}L{x2 + 5} {y2 + 5}"/>'


def _place(symbol: str, square: int) -> str:
    x, y = corner(square)
    return f'<use href="#{symbol}" x="{x}" y="{y}"/>'


def discs(mine: Iterable[int], theirs: Iterable[int], flipped: Iterable[int] = ()) -> str:
    """Filled discs for mine, rings for theirs, a dot in those just flipped.

    A disc is a stroke of no length with round ends, a ring two of them: many discs make one short path.
    """
    mine, theirs, flipped = list(mine), list(theirs), list(flipped)
    layers = (
        ("mine", mine),
        ("theirs", theirs),
        ("hole", theirs),
        ("dot-mine", [s for s in flipped if s in mine]),
        ("dot-theirs", [s for s in flipped if s in theirs]),
    )
    return "".join(
        f'<path class="disc {name}" d="{"".join(f"M{x + 5} {y + 5}h0" for x, y in map(corner, squares))}"/>'
        for name, squares in layers
        if squares
    )


def position_board(example: Example, fit: Fit | None = None, path: str = "") -> Markup:
    """A position: discs, the last move outlined, flipped discs dotted, legal moves crossed.

    Where the best pattern holds, its line is drawn under the discs.
    """
    body = _line(fit) if fit is not None and example.holds and fit.direction else ""
    mine = [s for s in range(64) if example.board[s] == 2]
    theirs = [s for s in range(64) if example.board[s] == 1]
    body += discs(mine, theirs, map(LABELS.index, example.flipped))
    body += "".join(_place("legal", LABELS.index(name)) for name in example.legal)
    if example.last is not None:
        body += _place("last", LABELS.index(example.last))
    return Markup(
        f'<svg class="board" viewBox="{BOX}" role="img" aria-label="{escape(position_in_words(example))}"'
        f' data-position="{escape(path)}"><use href="#grid"/>{body}<use href="#cells"/></svg>'
    )


def position_in_words(example: Record) -> str:
    """The position of an `Example`, or of another record with the same fields, for who cannot see the board."""
    mine = [LABELS[s] for s in range(64) if example.board[s] == 2]
    theirs = [LABELS[s] for s in range(64) if example.board[s] == 1]
    words = f"{example.mover.capitalize()} to move. Mine: {' '.join(mine) or 'none'}."
    words += f" Theirs: {' '.join(theirs) or 'none'}."
    if example.last is not None:
        words += f" Last move {example.last}"
        words += f", flipping {' '.join(example.flipped)}." if example.flipped else "."
    return f"{words} Legal: {' '.join(example.legal) or 'none'}."


def fact_board(fit: Fit) -> Markup:
    """The best pattern on an otherwise unspecified board; for a literal, its square."""
    square = LABELS.index(fit.square)
    if fit.direction:
        body = _line(fit) + _place("legal", square)
        body += discs([LABELS.index(fit.squares[-1])], map(LABELS.index, fit.flanked))
    elif fit.literal in ("mine", "theirs"):
        body = discs([square], []) if fit.literal == "mine" else discs([], [square])
    else:
        body = _place("legal" if fit.literal == "legal" else "last", square)
    return Markup(
        f'<svg class="board" viewBox="{BOX}" role="img" aria-label="{escape(what(fit))}">'
        f'<use href="#grid"/>{body}<use href="#cells"/></svg>'
    )


def symbol(name: str) -> Markup:
    """One mark by itself, for the key: "mine", "theirs", "flipped", "last" or "legal"."""
    if name in ("last", "legal"):
        box, body = "0 0 10 10", f'<use href="#{name}"/>'
    else:
        box, body = f"{LEFT} {TOP} 10 10", discs(*([0], []) if name == "mine" else ([], [0], [0] * (name == "flipped")))
    return Markup(f'<svg class="symbol" viewBox="{box}" aria-hidden="true">{body}</svg>')


def small_board(board: Board, title: str) -> Markup:
    """A value map without labels or titles, for the index."""
    scale = scale_of([board])
    cells = "".join(
        f'<rect x="{s % 8}" y="{s // 8}" width="1" height="1" class="{"n" if v < 0 else "p"}"'
        f' fill-opacity="{abs(v) / scale:.2g}"/>'
        for s, v in enumerate(board)
        if v is not None and abs(v) / scale >= 0.05
    )
    words = escape(f"{title}: {in_words(board, n=2)}")
    return Markup(
        f'<svg class="board small" viewBox="0 0 8 8" role="img" aria-label="{words}">'
        f'<rect class="ground" width="8" height="8"/>{cells}</svg>'
    )
