"""Boards of the live page: one whose legal squares are links, and what a probe reads, before and after."""

from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

from circuits.notation import LABELS
from reports.boards import BOX, corner, discs
from reports.charts import point_name
from reports.edits.figures import cross, outline, squares_of


def playable(
    board: Sequence[int], legal: Sequence[str], mover: str, link: Callable[[str], str], last: str = "",
    flipped: Sequence[str] = (),
) -> Markup:  # fmt: skip
    """A position whose legal squares play the move.

    Args:
        board: 64 states, 0 empty, 1 theirs, 2 mine.
        link: a move's address.
    """
    mine, theirs = ([s for s in range(64) if board[s] == state] for state in (2, 1))
    body = discs(mine, theirs, squares_of(flipped)) + cross(squares_of(legal), "legal")
    if last:
        x, y = corner(LABELS.index(last))
        body += f'<use href="#last" x="{x}" y="{y}"/>'
    links = ""
    for name in legal:
        x, y = corner(LABELS.index(name))
        links += (
            f'<a href="{escape(link(name))}" data-live="" aria-label="Play {name}" id="play-{name}"><rect class="play" '
            f'x="{x}" y="{y}" width="10" height="10"><title>Play {name}</title></rect></a>'
        )
    words = f"{mover.capitalize()} to move. Mine: {_named(mine)}. Theirs: {_named(theirs)}. Legal: {' '.join(legal)}."
    return Markup(
        f'<svg class="board" viewBox="{BOX}" role="group" aria-label="{escape(words)}"><use href="#grid"/>{body}'
        f'<use href="#cells"/>{links}</svg>'
    )


def reading(truth: Sequence[int], read: Sequence[int], point: str, before: Sequence[int] | None = None) -> Markup:
    """What a probe reads: outlined what is wrong, dashed what it read otherwise before."""
    mine, theirs = ([s for s in range(64) if read[s] == state] for state in (2, 1))
    wrong = [s for s in range(64) if read[s] != truth[s]]
    changed = [] if before is None else [s for s in range(64) if read[s] != before[s]]
    words = f"Read {point_name(point)}: {64 - len(wrong)} of 64 right. Wrong: {_named(wrong)}."
    words += "" if before is None else f" Otherwise than before: {_named(changed)}."
    body = discs(mine, theirs) + outline(wrong, "wrong") + outline(changed, "edited")
    return Markup(
        f'<svg class="board" viewBox="{BOX}" role="img" aria-label="{escape(words)}"><use href="#grid"/>{body}'
        '<use href="#cells"/></svg>'
    )


def _named(squares: Sequence[int]) -> str:
    return " ".join(LABELS[s] for s in squares) or "none"
