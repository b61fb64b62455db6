"""One edit for a terminal: the verdict and its thresholds, both boards, moves, scores and readings."""

from reports.boards import ROWS
from reports.charts import point_name
from reports.edits import words as w
from reports.edits.records import EditRecord
from reports.text import fixed, percent


def text(r: EditRecord) -> str:
    """Everything for a terminal."""
    other = "white" if r.mover == "black" else "black"
    lines = [
        w.headline(r),
        f"  {r.origin.model_name}, ply {r.ply}, {r.mover} to move: {w.done(r)}; {r.method}"
        f"{' (default)' if r.is_default else ''}; LayerNorm recomputed",
        "",
        *side_by_side(_board_lines(r, r.before, "before"), _board_lines(r, r.after, "after the edit")),
        f"  ● mine ({r.mover}, who moves next)   ○ theirs ({other})   × legal   [ ] edited",
        "",
    ]
    new, gone = w.gained(r)
    lines.append(f"newly legal: {' '.join(new) or 'none'}; newly illegal: {' '.join(gone) or 'none'}")
    rows = [(m.move, _legality(m), *(w.chance(v) for v in (m.before, m.after, m.random, m.perfect))) for m in r.moves]
    lines += aligned(("move", "legal", "before", "after", f"random ({r.seeds})", "perfect player"), rows)
    lines.append("")
    rows = [(name.replace("’", "'"), *w.figure_cells(r.figures[key], unit)) for key, name, unit in w.FIGURES]
    lines += aligned(("", "before", "after", "random [least, most]", "perfect player"), rows)
    lines += ["", w.THRESHOLDS]
    points = [point_name(s.point) for s in r.side_effects]
    if points:
        lines += ["", "the probe, after each layer (probability of the state that the edit asks for):"]
        rows = []
        for edit in r.edits:
            state = ("empty", "theirs", "mine").index(edit.after)
            for when in ("before", "after"):
                values = [f"{getattr(x, when)[state]:.2f}" for x in r.readings[edit.square]]
                rows.append((f"{edit.square} {edit.after}, {when}", *values))
        rows.append(("other squares read differently", *(str(s.changed) for s in r.side_effects)))
        rows.append(("  the same, random directions", *(fixed(s.random, 1) for s in r.side_effects)))
        lines += aligned(("", *points), rows)
    size = ", ".join(f"{point_name(w.point) if 'resid' in w.point else 'L' + w.point.split('.')[1]} {percent(w.share)}"
                     for w in r.written)  # fmt: skip
    lines.append(f"size of the change, of the {'head outputs' if 'hook_z' in r.written[0].point else 'stream'}: {size}")
    for s in r.saliency:
        lines.append(f"saliency of {s.move}: {w.saliency_words(s)}")
    return "\n".join(lines)


def _legality(m) -> str:
    return {(True, True): "both", (False, True): "now", (True, False): "before", (False, False): "never"}[
        m.legal_before, m.legal_after
    ]


def _board_lines(r: EditRecord, position, title: str) -> list[str]:
    squares = {e.square for e in r.edits}
    lines = [title, "   " + "  ".join("01234567") + " "]
    for i, row in enumerate(ROWS):
        cells = ""
        for j in range(8):
            name = f"{row}{j}"
            mark = "●" if position.board[8 * i + j] == 2 else "○" if position.board[8 * i + j] == 1 else "·"
            mark = "×" if name in position.legal else mark
            cells += f"[{mark}]" if name in squares else f" {mark} "
        lines.append(f"{row} {cells}")
    return lines


def side_by_side(left: list[str], right: list[str]) -> list[str]:
    return [f"  {a:<32}{b}".rstrip() for a, b in zip(left, right, strict=True)]


def aligned(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(str(line[i])) for line in (head, *rows)) for i in range(len(head))]
    return [
        "  "
        + "  ".join(
            f"{cell:<{w}}" if not i else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in (head, *rows)
    ]
