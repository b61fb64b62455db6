"""Value boards of a site: one path for each of ten strengths of colour, so that a board is a kilobyte.

Strength k of a board with scale m: |value| within half a step of k m / 10; what rounds to 0 stays blank. The exact
values stand in the page's table of numbers, the strongest on the board; scripts show each under the pointer.
"""

from collections.abc import Sequence
from functools import lru_cache

from markupsafe import Markup, escape

from circuits.notation import CENTRE, LABELS
from reports.boards import BOX, corner, places, scale_of
from reports.text import fixed

STEPS = 10
#: a board's values, None where there is none
Values = Sequence[float | None]

_CORNERS = tuple(corner(s) for s in range(64))
_AREAS = tuple(f"M{x} {y}h10v10h-10z" for x, y in _CORNERS)
_CENTRE = set(CENTRE)


def level(value: float, scale: float) -> int:
    """Strength of colour from -`STEPS` to `STEPS`."""
    return max(-STEPS, min(STEPS, round(STEPS * value / scale)))


def board(values: Values, scale: float, title: str, column: str, mark: int = 3) -> Markup:
    """A value map.

    Args:
        scale: the absolute value drawn in full colour.
        column: what the page's table of numbers calls it.
        mark: so many of the strongest cells carry their number.
    """
    areas: dict[int, list[str]] = {}
    blank = []
    for s, value in enumerate(values):
        if value is None:
            blank.append(s)
        elif strength := level(value, scale):
            areas.setdefault(strength, []).append(_AREAS[s])
    body = "".join(
        f'<path class="{"n" if k < 0 else "p"}" fill-opacity="{abs(k) / STEPS:g}" d="{"".join(own)}"/>'
        for k, own in sorted(areas.items())
    )
    if blank:
        dashes = "".join(f"M{_CORNERS[s][0] + 4} {_CORNERS[s][1] + 5}h2" for s in blank)
        body += f'<path class="na" d="{"".join(_AREAS[s] for s in blank)}"/><path class="dash" d="{dashes}"/>'
    return Markup(
        f'<svg class="board" viewBox="{BOX}" role="img" aria-label="{escape(f"{title}: {_in_words(values)}")}" '
        f'data-column="{escape(column)}"><use href="#grid"/>{body}'
        f'<g class="numbers">{_numbers(values, scale, mark)}</g><use href="#cells"/></svg>'
    )


def _numbers(values: Values, scale: float, mark: int) -> str:
    strongest = sorted((s for s in range(64) if values[s]), key=lambda s: -abs(values[s]))[:mark]
    digits, found = places(scale), []
    for s in strongest:
        value, (x, y) = values[s], _CORNERS[s]
        digits_here = digits if abs(value) < 9.95 else 0
        short = "−" * (value < 0) + fixed(abs(value), min(digits_here, 3)).removeprefix("0")
        tone = ("on" if abs(value) / scale > 0.55 else "off") + (" long" if len(short) > 3 else "")
        found.append(f'<text class="{tone}" x="{x + 5}" y="{y + 6.4}">{short}</text>')
    return "".join(found)


@lru_cache(maxsize=8)  # a board is described twice
def _extremes(values: tuple[float | None, ...], n: int = 3) -> tuple[list[str], list[str]]:
    """What `reports.boards.extremes` gives, each cell written out only where it may be among them."""
    digits = places(scale_of([values]))
    known = sorted(((v, -s) for s, v in enumerate(values) if v), reverse=True)
    ends = []
    for own, sign in ((known, 1), (known[::-1], -1)):
        said = []
        for v, s in own[:n]:
            text = fixed(v, digits, sign=True)
            if v * sign <= 0 or text[0] not in "+−":  # on the other side, or zero at the digits shown
                break
            said.append(f"{LABELS[-s]} {text}")
        ends.append(said)
    return ends[0], ends[1]


def _in_words(values: Values) -> str:
    high, low = _extremes(tuple(values))
    parts = [f"{name} {', '.join(cells)}" for name, cells in (("highest", high), ("lowest", low)) if cells]
    return "; ".join(parts) or "every value is zero"


def strongest(values: Values) -> Markup:
    """The highest and lowest three in words."""
    lines = [
        Markup("<b>{}</b> {}").format(name, ", ".join(cell.replace(" ", "\u00a0") for cell in cells))
        for name, cells in zip(("highest", "lowest"), _extremes(tuple(values)), strict=True)
        if cells
    ]
    return Markup("<br>").join(lines) or Markup("every value is zero")


def known(values: Values) -> bool:
    """Whether there is anything to draw."""
    return any(v is not None for v in values)


def blank_as(values: Values) -> str:
    """What the blank cells of a board are, in words."""
    own = {s for s in range(64) if values[s] is None}
    return "" if not own else "no value at the centre squares" if own <= _CENTRE else "no value where it is blank"
