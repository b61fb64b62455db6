"""What the views of a head's page share: cells of tables, boards on one scale, maps in words and as CSV."""

from collections.abc import Sequence
from typing import Any

from reports import boards, tables
from reports.causes.records import Effect
from reports.heads.words import KL_NOISE, unbroken
from reports.heads.words import nats as nats_of
from reports.records import Board
from reports.text import exact, fixed, number, percent

NOTHING = "–"


def cell(
    e: Effect, path: str, scale: float, unit: str = "", signed: bool = True, places: int | None = None
) -> dict[str, str]:
    """A mean that the page's check compares with the record, and its interval, as written."""
    if places is None:
        places = 1 if abs(scale * e.mean) >= 10 or unit else 2 if abs(scale * e.mean) >= 0.1 or scale != 1.0 else 3
    interval = ""
    if e.low is not None and e.high is not None:
        ends = ", ".join(fixed(scale * v, places, sign=signed) for v in (e.low, e.high))
        interval = f"[{ends}]"
    return {
        "path": path,
        "exact": exact(e.mean),
        "value": fixed(scale * e.mean, places, sign=signed) + unit,
        "interval": interval,
    }


def one_decimal(share: float) -> str:
    return percent(share, 1)


def interval(e: Effect, places: int = 0) -> str:
    if e.low is None or e.high is None:
        return ""
    low, high = (fixed(100 * v, places) for v in (e.low, e.high))
    return "" if low == high else unbroken(f"{low}–{high} %")


def nats(e: Effect) -> str:
    """The interval of a KL divergence; none for what is lost in rounding."""
    if e.low is None or e.high is None or e.mean < KL_NOISE:
        return ""
    low = number(e.low, 2) if e.low >= KL_NOISE else "0"
    return unbroken(f"{low}–{nats_of(e.high)}")


def kl_cell(e: Effect, path: str) -> dict[str, str]:
    """A cell for a KL divergence, with as many places as its size asks for."""
    if e.mean < KL_NOISE:
        return {"path": path, "exact": exact(e.mean), "value": unbroken(nats_of(e.mean)), "interval": ""}
    return cell(e, path, 1.0, signed=False, places=4 if e.mean >= 0.001 else 6)


def ends(e: Effect) -> tuple[str, ...]:
    return tuple(NOTHING if v is None else f"{v:.4g}" for v in (e.mean, e.low, e.high))


def map_words(values: Sequence[float | None]) -> str:
    """The extreme cells of a map by displacement: "highest 1 down, 0 right +0.80; lowest …"."""
    known = [(v, k) for k, v in enumerate(values) if v is not None]
    ends = (("highest", max(known)), ("lowest", min(known)))
    return "; ".join(f"{name} {place(k)} {number(v, 2, sign=True)}" for name, (v, k) in ends)


def place(k: int) -> str:
    """A cell of a map in words: "2 up, 1 right"."""
    down, right = k // 15 - 7, k % 15 - 7
    parts = [f"{abs(down)} {'down' if down > 0 else 'up'}"] * (down != 0)
    parts += [f"{abs(right)} {'right' if right > 0 else 'left'}"] * (right != 0)
    return ", ".join(parts) or "the middle"


def map_csv(values: Sequence[float | None]) -> str:
    rows = ["down\\right," + ",".join(str(k) for k in range(-7, 8))]
    for i in range(15):
        rows.append(f"{i - 7}," + ",".join("" if v is None else f"{v:.3g}" for v in values[15 * i : 15 * i + 15]))
    return "\n".join(rows)


def value_map(path: str, values: Board, what: str, scale: float | None = None) -> dict[str, Any]:
    scale = scale or boards.scale_of([values])
    head, rows = tables.board([(what, values)])
    return {
        "svg": boards.value_board(values, scale, what, path),
        "words": boards.extremes_markup(values),
        "scale": scale,
        "head": head,
        "rows": rows,
    }


def group(items: Sequence[tuple], kind: str, head, rows) -> dict[str, Any]:
    """Boards on one colour scale: (title, note, board, path)."""
    scale = boards.scale_of([values for _, _, values, _ in items])
    drawn = [
        {
            "title": title,
            "note": note,
            "svg": boards.value_board(
                values, scale, f"{title}, {note}", path, mark=3 * (boards.scale_of([values]) > scale / 20)
            ),
            "words": boards.extremes_markup(values),
        }
        for title, note, values, path in items
    ]
    return {"boards": drawn, "scale": scale, "kind": kind, "head": head, "rows": rows}
