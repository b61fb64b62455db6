"""A head's charts as inline SVG: attention by group and by offset, maps by displacement and by ply, accuracy by depth.

Maps of many cells are drawn by level: cells of one colour and one of `LEVELS` strengths make one path, so that a map
of a thousand cells costs a few kilobytes. ``data-map`` is the path in the record, by which `reports.heads.checks` reads
the cells back; their numbers stand in the table under the figure.
"""

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from circuits.notation import LABELS
from reports.boards import BOX, corner, discs, position_in_words
from reports.charts import LEFT, RIGHT, svg, ticks, y_axis
from reports.heads.records import Attended, Attention, Group, HeadCauses
from reports.patching.heatmaps import Dot, dots
from reports.text import fixed, number, percent

LEVELS = 20
SIDE = 15  # of a map by displacement
#: groups as axes name them
NAMES = {
    "itself": "the last move", "mine": "mine: side to move’s", "theirs": "theirs: the other’s",
    "first": "the first move",
    "now mine": "disc is mine now", "now theirs": "disc is theirs now", "turned": "disc has turned since",
    "flipped": "disc was just flipped", "in line": "in line with last move", "beside": "next to last move",
}  # fmt: skip
SHORT = {"itself": "last move", "first": "first move"}
SEEN = 0.0005  # attention below this is left out of a position


def level(value: float, scale: float) -> int:
    """The strength in which a value is drawn, 0 to `LEVELS`, with its sign."""
    strength = round(LEVELS * min(1.0, abs(value) / scale))
    return strength if value >= 0 else -strength


def cells(values: Mapping[tuple[int, int], float], scale: float, size: tuple[int, int], left: int, top: int) -> str:
    """Cells (row, column) -> value as one path for each level; level 0 is left out."""
    width, height = size
    paths: dict[int, list[str]] = {}
    for (i, j), value in values.items():
        paths.setdefault(level(value, scale), []).append(
            f"M{left + width * j} {top + height * i}h{width}v{height}h-{width}z"
        )
    return "".join(
        f'<path class="{"n" if k < 0 else "p"}" fill-opacity="{abs(k) / LEVELS:.2g}" d="{"".join(paths[k])}"/>'
        for k in sorted(paths)
        if k
    )


def displacement(values: Sequence[float | None], scale: float, centre: str, words: str, path: str) -> Markup:
    """A map of 15 x 15: the centre is a square, each cell another by where it lies from it."""
    known = {(k // SIDE, k % SIDE): v for k, v in enumerate(values) if v is not None}
    missing = "".join(
        f"M{9 + 10 * (k % SIDE)} {8 + 10 * (k // SIDE)}h10v10h-10z" for k, v in enumerate(values) if v is None
    )
    lines = "".join(f"M{9 + 10 * i} 8v150" for i in range(16)) + "".join(f"M9 {8 + 10 * i}h150" for i in range(16))
    marks = (-7, -4, 0, 4, 7)
    names = "".join(f'<text x="{9 + 10 * (k + 7) + 5}" y="6">{_signed(k)}</text>' for k in marks)
    names += "".join(f'<text x="4" y="{8 + 10 * (k + 7) + 7}">{_signed(k)}</text>' for k in marks)
    return Markup(
        f'<svg class="board map" viewBox="-2 0 163 159" role="img" aria-label="{escape(words)}"'
        f' data-map="{escape(path)}" data-scale="{scale:.6g}">'
        '<rect class="ground" x="9" y="8" width="150" height="150"/>'
        f'<path class="gone" d="{missing}"/>{cells(known, scale, (10, 10), 9, 8)}<path class="lines" d="{lines}"/>'
        f'<rect class="last" x="79" y="78" width="10" height="10"><title>{escape(centre)}</title></rect>'
        f'<g class="labels">{names}</g></svg>'
    )


def _signed(k: int) -> str:
    return "0" if not k else f"{'−' if k < 0 else '+'}{abs(k)}"


def by_ply(a: Attention) -> Markup:
    """The mean pattern: a row for each ply that is attended from, a column for each ply attended to."""
    plies = len(a.by_ply)
    width, height, left, top = 7, 6, 44, 18
    last = a.first_ply + plies - 1
    scale = max(v for row in a.by_ply for v in row)
    values = {(i, j): v for i, row in enumerate(a.by_ply) for j, v in enumerate(row)}
    floor, right = top + height * plies, left + width * (last + 1)
    body = [f'<path class="ground" d="M{left} {top}h{width * (a.first_ply + 1)}L{right} {floor}H{left}z"/>']
    body.append(cells(values, scale, (width, height), left, top))
    for t in ticks(float(a.first_ply), float(last), 6):
        y = top + height * (t - a.first_ply + 0.5)
        body.append(f'<text class="tick" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{number(t)}</text>')
    for k in ticks(0.0, float(last), 6):
        x = left + width * (k + 0.5)
        body.append(f'<text class="tick" x="{x:.1f}" y="{floor + 14}" text-anchor="middle">{number(k)}</text>')
    body.append('<text class="name" x="0" y="12">ply attended from</text>')
    body.append(f'<text class="name" x="{right}" y="{floor + 29}" text-anchor="end">ply of the move attended to</text>')
    i, j = max(values, key=lambda k: values[k])
    words = (
        f"Mean attention by ply; the most, {percent(values[i, j])}, is paid from ply {a.first_ply + i} to the move of "
        f"ply {j}."
    )
    drawn = svg(floor + 34, words, body, "pattern")
    return Markup(str(drawn).replace("<svg ", f'<svg data-map="attention.by_ply" data-scale="{scale:.6g}" ', 1))


def groups(rows: Sequence[Group]) -> Markup:
    """Attention to each group as a bar with its interval, and a tick where uniform attention would be."""
    left, right, top, height = 168, 376, 4, 22
    floor = top + height * len(rows)
    high = max([0.02, *(max(g.attention.high or 0, g.attention.mean, g.uniform) for g in rows)])

    def x(v: float) -> float:
        return left + (right - left) * v / high

    body = []
    for mark in ticks(0.0, high, 4):
        body.append(f'<path class="rule" d="M{x(mark):.1f} {top}V{floor}"/>')
        body.append(
            f'<text class="tick" x="{x(mark):.1f}" y="{floor + 14}" text-anchor="middle">{number(100 * mark)} %</text>'
        )
    for i, g in enumerate(rows):
        y, e = top + height * i, g.attention
        name = escape(NAMES.get(g.name, g.name))
        body.append(f'<text class="tick" x="{left - 7}" y="{y + 15}" text-anchor="end">{name}</text>')
        body.append(f'<path class="part more" d="M{left} {y + 5}H{x(e.mean):.1f}v12H{left}z"/>')
        if e.low is not None and e.high is not None:
            body.append(f'<path class="whisker" d="M{x(e.low):.1f} {y + 11}H{x(e.high):.1f}"/>')
        body.append(f'<path class="even" d="M{x(g.uniform):.1f} {y + 2}v18"/>')
        body.append(f'<text class="tick strong" x="{right + 8}" y="{y + 15}">{percent(e.mean)}</text>')
    body.append(f'<path class="axis" d="M{left} {top}V{floor}"/>')
    words = "Attention by group of moves: " + "; ".join(
        f"{g.name} {percent(g.attention.mean)}, uniform {percent(g.uniform)}" for g in rows
    )
    return svg(floor + 20, words + ".", body, "groups")


def by_offset(a: Attention) -> Markup:
    """Mean attention so many moves back: even numbers in one colour and odd ones in another, uniform dashed."""
    top, floor = 22, 206
    n = max(a.offsets) + 1
    high = max(*a.by_offset, *a.offset_uniform) * 1.04
    width = (RIGHT - LEFT) / n

    def y(v: float) -> float:
        return floor - (floor - top) * v / high

    body = y_axis([(v, number(100 * v)) for v in ticks(0.0, high)], y)
    body.append('<text class="name" x="0" y="12">attention to that move, %</text>')
    for kind, parity in (("less", 0), ("more", 1)):
        d = "".join(
            f"M{LEFT + width * k + 0.5:.1f} {floor}V{y(v):.1f}h{width - 1:.1f}V{floor}"
            for k, v in zip(a.offsets, a.by_offset, strict=True)
            if k % 2 == parity
        )
        body.append(f'<path class="part {kind}" d="{d}"/>')
    line = "L".join(
        f"{LEFT + width * (k + 0.5):.1f} {y(v):.1f}" for k, v in zip(a.offsets, a.offset_uniform, strict=True)
    )
    body.append(f'<path class="base" d="M{line}"/>')
    body.append(f'<path class="axis" d="M{LEFT} {floor}H{RIGHT}"/>')
    for k in ticks(0.0, float(n - 1), 6):
        x = LEFT + width * (k + 0.5)
        body.append(f'<text class="tick" x="{x:.1f}" y="{floor + 14}" text-anchor="middle">{number(k)}</text>')
    body.append(
        f'<text class="name" x="{RIGHT}" y="{floor + 29}" text-anchor="end">moves back (0: the move just played)</text>'
    )
    best = a.best_offset
    words = (
        f"Attention by offset, highest {percent(a.by_offset[best])} to the move {a.offsets[best]} back, where uniform "
        f"attention would give {percent(a.offset_uniform[best])}."
    )
    return svg(240, words, body, "offset")


def small_groups(rows: Sequence[Group]) -> Markup:
    """A few groups for the top of the page: names over bars with ticks at uniform attention."""
    body = []
    high = max([0.02, *(max(g.attention.mean, g.uniform) for g in rows)])
    for i, g in enumerate(rows):
        y = 4 + 26 * i
        body.append(f'<text x="0" y="{y + 6}" style="text-anchor:start">{escape(SHORT.get(g.name, g.name))}</text>')
        body.append(
            f'<text x="90" y="{y + 6}" style="text-anchor:end;font-weight:600">{percent(g.attention.mean)}</text>'
        )
        body.append(f'<rect class="ground" x="0" y="{y + 9}" width="90" height="8"/>')
        body.append(f'<rect class="p" x="0" y="{y + 9}" width="{90 * g.attention.mean / high:.1f}" height="8"/>')
        body.append(f'<path class="even" d="M{90 * g.uniform / high:.1f} {y + 7}v12"/>')
    words = "; ".join(f"{g.name} {percent(g.attention.mean)}, uniform {percent(g.uniform)}" for g in rows)
    return Markup(
        f'<svg class="board" viewBox="0 0 90 90" role="img" aria-label="{escape(words)}">{"".join(body)}</svg>'
    )


def attended_board(e: Attended, path: str) -> Markup:
    """A position with the attention on the squares where moves were made: cells behind small discs."""
    shares = e.attention
    peak = max(shares)
    drawn = []
    strongest = sorted(range(64), key=lambda s: -shares[s])[:3]
    for s, share in enumerate(shares):
        if share < SEEN:
            continue
        x, y = corner(s)
        drawn.append(
            f'<path class="p" d="M{x} {y}h10v10H{x}z" fill-opacity="{share / peak:.2g}">'
            f"<title>{LABELS[s]} {number(share, 4)}</title></path>"
        )
    mine, theirs = ([s for s in range(64) if e.board[s] == k] for k in (2, 1))
    x, y = corner(LABELS.index(e.last))
    top = ", ".join(f"{LABELS[s]} {percent(shares[s])}" for s in strongest)
    return Markup(
        f'<svg class="board attended" viewBox="{BOX}" role="img" aria-label="Attends to {escape(top)}. '
        f'{escape(position_in_words(e))}" data-attention="{escape(path)}" data-position="{escape(path)}">'
        f'<use href="#grid"/>{"".join(drawn)}{discs(mine, theirs, map(LABELS.index, e.flipped))}'
        f'<use href="#last" x="{x}" y="{y}"/></svg>'
    )


def by_depth(c: HeadCauses, method: str) -> Markup:
    """Change of the share of squares read right without the head, by true state, along the stream."""
    points = c.method(method).board
    names = (("mine", "curve"), ("theirs", "curve run1"), ("empty", "curve run2"))
    top, floor, right = 22, 190, 356
    ends = [
        v
        for p in points
        for name, _ in names
        for e in [getattr(p, name)]
        for v in (e.mean, e.low, e.high)
        if v is not None
    ]
    low, high = min(0.0, *ends), max(0.0, *ends)
    pad = 0.06 * (high - low) or 0.001
    low, high = low - pad, high + pad

    def x(i: int) -> float:
        return LEFT + 8 + (right - LEFT - 12) * i / max(1, len(points) - 1)

    def y(v: float) -> float:
        return floor - (floor - top) * (v - low) / (high - low)

    body = y_axis([(v, fixed(100 * v, 0 if high - low > 0.05 else 1, sign=True)) for v in ticks(low, high)], y)
    body.append('<text class="name" x="0" y="12">change, percentage points</text>')
    taken: list[float] = []
    for name, style in names:
        effects = [getattr(p, name) for p in points]
        for i, e in enumerate(effects):
            if e.low is not None and e.high is not None:
                body.append(f'<path class="range {style}" d="M{x(i):.1f} {y(e.low):.1f}V{y(e.high):.1f}"/>')
        line = "L".join(f"{x(i):.1f} {y(e.mean):.1f}" for i, e in enumerate(effects))
        body.append(f'<path class="{style}" d="M{line}"/>')
        dots = "".join(f"M{x(i):.1f} {y(e.mean):.1f}h0" for i, e in enumerate(effects))
        body.append(f'<path class="spots {style.partition(" ")[2]}" d="{dots}"/>')
        end = y(effects[-1].mean)
        while any(abs(end - other) < 14 for other in taken):
            end += 1
        taken.append(end)
        body.append(f'<text class="tick strong" x="{right + 10}" y="{end + 4:.1f}">{name}</text>')
    body.append(f'<path class="base" d="M{LEFT} {y(0.0):.1f}H{right}"/>')
    for i, p in enumerate(points):
        body.append(
            f'<text class="tick" x="{x(i):.1f}" y="{floor + 14}" text-anchor="middle">{short_point(p.point)}</text>'
        )
    body.append(f'<text class="name" x="{right}" y="{floor + 29}" text-anchor="end">where the board is read</text>')
    first = points[0]
    words = "Change of the share of squares read right without it, at the point it writes to: " + ", ".join(
        f"{name} {fixed(100 * getattr(first, name).mean, 2, sign=True)} points" for name, _ in names
    )
    return svg(224, words + ".", body, "depth")


def by_method(c: HeadCauses, names: Mapping[str, str]) -> Markup:
    """Change of the share of all squares read right, by method: where the head writes, and after the last layer."""
    rows = [
        (
            names.get(m.method, m.method),
            [
                Dot(e.mean, e.low, e.high, hollow, f"{m.words}, {where}: {fixed(100 * e.mean, 2, sign=True)} points")
                for e, hollow, where in (
                    (m.board[0].all, False, "where it writes"),
                    (m.board[-1].all, True, "at the end"),
                )
            ],
        )
        for m in c.methods
    ]
    words = "Change of the share of squares read right, by what the output is set to: " + "; ".join(
        f"{name} {fixed(100 * dots_[0].value, 2, sign=True)} points where it writes" for name, dots_ in rows
    )
    return dots("methods", rows, "change of squares read right", words + ".", True)


def short_point(hook: str) -> str:
    """ "L3", or "L3½" for the middle of a layer."""
    return f"L{hook.split('.')[1]}" + ("½" if hook.endswith("resid_mid") else "")
