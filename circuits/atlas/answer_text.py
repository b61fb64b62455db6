"""How answers look as text: aligned columns, numbers, paragraphs, within `WIDTH` characters a line."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

WIDTH = 100
#: what is not known
NONE = "–"


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], text: Sequence[int] | None = None) -> list[str]:
    """Aligned lines: ``text`` columns (the first and last) to the left, numbers to the right."""
    if not rows:
        return ["none"]
    left = (0, len(head) - 1) if text is None else text
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(w) if i in left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]


def paragraph(text: str, first: str = "", indent: int = 0) -> list[str]:
    """Lines of at most `WIDTH`; ``first`` is set before the first one, the others are indented as far or ``indent``."""
    start = first.ljust(indent)
    return textwrap.wrap(
        text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def number(value: float | None, places: int = 2, sign: bool = False) -> str:
    """So many decimals; what rounds to zero has no sign."""
    if value is None:
        return NONE
    text = f"{abs(value):.{places}f}"
    return text if float(text) == 0 else ("-" if value < 0 else "+" if sign else "") + text


def signed(value: float | None, places: int = 2) -> str:
    """With its sign."""
    return number(value, places, True)


def with_error(value: float | None, error: float | None) -> str:
    """A figure and its standard error, to two digits of the latter."""
    if value is None:
        return NONE
    size = error or abs(value)
    if size < 1e-4:
        return f"{value:.1e}" + ("" if error is None else f" ± {error:.0e}")
    places = min(max(0, 1 - math.floor(math.log10(size))), 5)
    return number(value, places) + ("" if error is None else f" ± {number(error, places)}")


def shown(value: Any) -> str:
    """A figure of a table for people."""
    if value is None:
        return NONE
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
