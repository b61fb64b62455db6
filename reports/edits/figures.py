"""Figures of an edit as inline SVG: boards with edited squares outlined, readings by layer, saliency maps."""

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from circuits.notation import LABELS
from reports.boards import BOX, corner, discs, value_board
from reports.charts import point_name
from reports.curves import Curve, curves
from reports.edits.records import EditPosition, EditRecord, SaliencyRecord, SquareReading
from reports.text import number

#: what the stylesheet needs for these figures
STYLE = Markup(
    ".edited { fill: none; stroke: var(--ink); stroke-width: 1.1; stroke-dasharray: 1.8 1.1; }"
    " .only { stroke: var(--ink); stroke-width: 2; stroke-linecap: round; fill: none; }"
    " .lost { fill: none; stroke: var(--ink); stroke-width: 1.1; stroke-linecap: round; }"
    " .decisive { fill: none; stroke: var(--ink); stroke-width: 1.2; }"
    " .asked { fill: none; stroke: var(--ink); stroke-width: .8; }"
)


def squares_of(names: Iterable[str]) -> list[int]:
    return [LABELS.index(name) for name in names]


def outline(squares: Iterable[int], name: str) -> str:
    """A rectangle inside each square."""
    drawn = ""
    for s in squares:
        x, y = corner(s)
        drawn += f'<rect class="{name}" x="{x + 0.7}" y="{y + 0.7}" width="8.6" height="8.6" rx="1"/>'
    return drawn


def cross(squares: Iterable[int], name: str) -> str:
    drawn = "".join(f"M{x + 3.4} {y + 3.4}l3.2 3.2m0-3.2l-3.2 3.2" for x, y in map(corner, squares))
    return f'<path class="{name}" d="{drawn}"/>' if drawn else ""


def strike(squares: Iterable[int], name: str) -> str:
    """A stroke through each square, from corner to corner."""
    drawn = "".join(f"M{x + 1.6} {y + 8.4}l6.8-6.8" for x, y in map(corner, squares))
    return f'<path class="{name}" d="{drawn}"/>' if drawn else ""


def board(r: EditRecord, position: EditPosition, other: EditPosition, title: str) -> Markup:
    """A board: edited squares outlined, legal moves crossed, those legal on this board only in bold."""
    mine, theirs = ([s for s in range(64) if position.board[s] == state] for state in (2, 1))
    legal = squares_of(position.legal)
    own = squares_of(m for m in position.legal if m not in other.legal)
    both = [s for s in legal if s not in own]
    edited = squares_of(e.square for e in r.edits)
    words = (
        f"{title}. {r.mover.capitalize()} to move. Mine: {_named(mine)}. Theirs: {_named(theirs)}. Edited: "
        f"{_named(edited)}. Legal: {_named(legal)}; on this board only: {_named(own)}."
    )
    body = discs(mine, theirs) + cross(both, "legal") + cross(own, "only") + outline(edited, "edited")
    return Markup(
        f'<svg class="board" viewBox="{BOX}" role="img" aria-label="{escape(words)}"><use href="#grid"/>{body}'
        '<use href="#cells"/></svg>'
    )


def probability_board(
    values: Sequence[float | None], scale: float, title: str, path: str, gained: Sequence[str], lost: Sequence[str]
) -> Markup:
    """The model's probability of every move; newly legal moves are outlined, newly illegal struck through."""
    drawn = value_board(tuple(values), scale, title, path, mark=0)
    marks = outline(squares_of(gained), "decisive") + strike(squares_of(lost), "lost")
    return overlaid(drawn, marks)


def saliency_board(s: SaliencyRecord, scale: float, index: int) -> Markup:
    """A map: how flipping each disc changes the move's logit; decisive squares outlined, the move crossed."""
    title = f"Saliency of {s.move} on the original board"
    drawn = value_board(s.effect, scale, title, f"saliency.{index}.effect", mark=4)
    marks = outline(squares_of(s.decisive), "decisive") + cross(squares_of([s.move]), "only")
    return overlaid(drawn, marks)


def overlaid(drawn: Markup, marks: str) -> Markup:
    """A drawing with more on top."""
    return Markup(str(drawn).removesuffix("</svg>") + marks + "</svg>")


def readings_chart(square: str, state: str, readings: Sequence[SquareReading]) -> Markup:
    """Log-odds of the wanted state at every point, before and after."""
    x = [float(i) for i in range(len(readings))]
    names = [point_name(reading.point) for reading in readings]
    lines = [
        Curve("unedited", "train", x, [reading.log_odds_before for reading in readings], dots=True),
        Curve("edited", "", x, [reading.log_odds_after for reading in readings], dots=True),
    ]
    return curves(
        f"readings {square}", lines, "after layer", f"log-odds of {square} {state}",
        levels=[(0.0, "even")], write=number, write_x=lambda v: names[int(v)], x_marks=x,
    )  # fmt: skip


def side_effects_chart(r: EditRecord) -> Markup:
    """How many other squares read differently after each layer, beside random directions."""
    x = [float(i) for i in range(len(r.side_effects))]
    names = [point_name(s.point) for s in r.side_effects]
    lines = [
        Curve("random directions", "train", x, [s.random for s in r.side_effects], dots=True),
        Curve("the edit", "", x, [float(s.changed) for s in r.side_effects], dots=True),
    ]
    return curves(
        "side effects", lines, "after layer", "other squares that read differently", write=number,
        write_x=lambda v: names[int(v)], x_marks=x,
    )  # fmt: skip


def key_mark(kind: str) -> Markup:
    """A piece of line for a key."""
    return Markup(
        f'<svg viewBox="0 0 26 14" aria-hidden="true" class="chart mark"><path class="curve {kind}" d="M2 7H24"/></svg>'
    )


def _named(squares: Sequence[int]) -> str:
    return " ".join(LABELS[s] for s in squares) or "none"
