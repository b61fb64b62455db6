"""Figures of a move explained as inline SVG: the position with its lines, boards as probes read them, bars."""

from collections.abc import Sequence

from markupsafe import Markup, escape

from circuits.explanation.records import BoardReading, Explanation, Part
from circuits.notation import LABELS
from reports.boards import BOX, corner, discs, value_board
from reports.charts import LEFT, RIGHT, point_name, svg
from reports.curves import Curve, curves
from reports.edits.figures import cross, outline, overlaid, squares_of
from reports.text import fixed, number


def position_board(e: Explanation) -> Markup:
    """The position: the explained move's square outlined, its lines under the discs, legal moves crossed."""
    p = e.position
    mine, theirs = ([s for s in range(64) if p.board[s] == state] for state in (2, 1))
    x, y = corner(LABELS.index(e.move))
    body = ""
    for line in e.lines:
        if line.holds and line.end is not None:
            x2, y2 = corner(LABELS.index(line.end))
            body += f'<path class="line" d="M{x + 5} {y + 5}L{x2 + 5} {y2 + 5}"/>'
    body += discs(mine, theirs, squares_of(p.flipped)) + cross(squares_of(p.legal), "legal")
    lx, ly = corner(LABELS.index(p.last))
    body += f'<use href="#last" x="{lx}" y="{ly}"/>' + outline([LABELS.index(e.move)], "edited")
    words = (
        f"{p.mover.capitalize()} to move. Mine: {named(mine)}. Theirs: {named(theirs)}. Last move {p.last}. Legal: "
        f"{' '.join(p.legal) or 'none'}. Explained: {e.move}."
    )
    return _board(body, words)


def probability_board(e: Explanation, scale: float) -> Markup:
    """The model's probability of every move, the explained one outlined."""
    drawn = value_board(e.probabilities, scale, "The model’s probabilities", "explanation.probabilities", mark=0)
    return overlaid(drawn, outline([LABELS.index(e.move)], "edited"))


def reading_board(e: Explanation, reading: BoardReading) -> Markup:
    """What a probe reads; squares that it reads wrongly are outlined, the move's squares too, dashed."""
    mine, theirs = ([s for s in range(64) if reading.board[s] == state] for state in (2, 1))
    wrong = [s for s in range(64) if reading.board[s] != e.position.board[s]]
    body = discs(mine, theirs) + outline(squares_of(x.square for x in e.rests), "edited") + outline(wrong, "wrong")
    words = f"Read {point_name(reading.point)}: {reading.right} of 64 right. Wrong: {named(wrong)}."
    return _board(body, words)


def right_chart(e: Explanation) -> Markup:
    """Squares that each point's probe reads right, beside the mean over reference games."""
    x = [float(i) for i in range(len(e.readings))]
    names = [point_name(row.point) for row in e.readings]
    lines = [
        Curve("reference games, mean", "train", x, [row.mean for row in e.readings], dots=True),
        Curve("here", "", x, [float(row.right) for row in e.readings], dots=True),
    ]
    marks = [i for i, name in zip(x, names, strict=True) if "mid" not in name]
    return curves(
        "squares right", lines, "after layer", "squares of 64 read right", write=number,
        write_x=lambda v: names[int(v)], x_marks=marks,
    )  # fmt: skip


def lens_chart(e: Explanation) -> Markup:
    """The move's logit, read out after each layer."""
    x = [float(row.layer) for row in e.lens]
    return curves(
        "logit lens", [Curve(e.move, "", x, [row.logit for row in e.lens], dots=True)], "after layer",
        f"logit of {e.move}, less the mean of 60", levels=[(e.mean_logit, "mean over reference games, at the end")],
        write=number, write_x=lambda v: f"L{int(v)}", x_marks=x,
    )  # fmt: skip


def parts_chart(parts: Sequence[Part]) -> Markup:
    """What each part of the model adds to the logit beyond its mean, as bars from zero."""
    low, high = min(0.0, *(p.beyond for p in parts)), max(0.0, *(p.beyond for p in parts))
    left, right, step = LEFT + 62, RIGHT - 44, 18
    span = (high - low) or 1.0

    def x(v: float) -> float:
        return left + 40 + (right - left - 40) * (v - low) / span

    zero, body = x(0.0), []
    for i, p in enumerate(parts):
        y = 4 + step * i
        kind = "less" if p.beyond < 0 else "more"
        body.append(f'<text x="{left - 8}" y="{y + 11}" text-anchor="end">{escape(p.name)}</text>')
        body.append(f'<path class="part {kind}" d="M{zero:.1f} {y + 2}H{x(p.beyond):.1f}v11H{zero:.1f}z"/>')
        side, anchor = (x(p.beyond) - 4, "end") if p.beyond < 0 else (x(p.beyond) + 4, "start")
        body.append(
            f'<text class="strong" x="{side:.1f}" y="{y + 11}" text-anchor="{anchor}">'
            f"{fixed(p.beyond, 2, sign=True)}</text>"
        )
    body.append(f'<path class="axis" d="M{zero:.1f} 2V{4 + step * len(parts)}"/>')
    heard = "; ".join(f"{p.name} {fixed(p.beyond, 2, sign=True)}" for p in parts)
    return svg(8 + step * len(parts), f"Beyond the mean, to the move’s logit: {heard}.", body, "parts")


def named(squares: Sequence[int]) -> str:
    return " ".join(LABELS[s] for s in squares) or "none"


def _board(body: str, words: str) -> Markup:
    return Markup(
        f'<svg class="board" viewBox="{BOX}" role="img" aria-label="{escape(words)}"><use href="#grid"/>{body}'
        '<use href="#cells"/></svg>'
    )
