"""The figures of a page as plotly objects, drawn from the same record, for notebooks and papers.

A page is inline SVG (`reports.boards`, `reports.charts`); these show the same numbers where one wants to zoom,
hover and save. Blue is above zero and orange below, as on the page.
"""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from circuits.errors import InputError
from circuits.notation import LABELS, ROWS
from circuits.serial import at
from reports.index_records import IndexRecord
from reports.records import Board, NeuronRecord

BLUE, ORANGE, GREY, PAPER = "#1c5fb0", "#c05208", "#aab4c0", "#f3f4f6"
SCALE = [[0, ORANGE], [0.5, PAPER], [1, BLUE]]


def board(values: Board, title: str = "", limit: float | None = None) -> go.Figure:
    """A value map of 64 numbers, rows A–H from the top; None is left blank.

    Args:
        limit: the absolute value in full colour; the largest on the board by default.
    """
    limit = limit or max((abs(v) for v in values if v is not None), default=0) or 1.0
    figure = go.Figure(_heatmap(values, limit))
    figure.update_yaxes(autorange="reversed", scaleanchor="x", constrain="domain")
    figure.update_xaxes(side="top", constrain="domain")
    return finish(figure, title, 380, 400)


def boards(record: NeuronRecord, part: str = "reads") -> go.Figure:
    """The board maps of one part of a record side by side, on one colour scale.

    Args:
        part: "reads", "writes", "square_states" (the top's shares) or "conditional_means".

    Raises:
        InputError: another part.
    """
    names = {
        "reads": ("mine", "empty", "flipped", "played"),
        "writes": ("mine", "empty"),
        "square_states": ("top_empty", "top_theirs", "top_mine"),
        "conditional_means": ("empty", "theirs", "mine"),
    }
    if part not in names:
        raise InputError(f"{part!r} has no boards; parts with boards are {', '.join(names)}")
    section = at(record, part)
    shown = [(n, getattr(section, n)) for n in names[part] if getattr(section, n) is not None]
    limit = max(abs(v) for _, values in shown for v in values if v is not None) or 1.0
    figure = make_subplots(1, len(shown), subplot_titles=[n.replace("_", ", ") for n, _ in shown])
    for i, (_, values) in enumerate(shown, start=1):
        figure.add_trace(_heatmap(values, limit), 1, i)
        anchor = "x" if i == 1 else f"x{i}"
        figure.update_yaxes(autorange="reversed", scaleanchor=anchor, constrain="domain", row=1, col=i)
    return finish(figure, f"{record.unit}: {part.replace('_', ' ')}", 260 * len(shown), 340)


def logits(record: NeuronRecord) -> go.Figure:
    """The direct write to the 60 move logits, per unit of activation."""
    return board(record.writes.logits, f"{record.unit}: logit per unit of activation")


def spectrum(record: NeuronRecord) -> go.Figure:
    """Histogram of activations on a logarithmic scale, the fact's positions in front."""
    s = record.spectrum
    centres = [(a + b) / 2 for a, b in zip(s.edges, s.edges[1:], strict=False)]
    widths = [b - a for a, b in zip(s.edges, s.edges[1:], strict=False)]
    figure = go.Figure()
    figure.add_bar(x=centres, y=list(s.counts), width=widths, marker_color=GREY, name="all positions")
    figure.add_bar(x=centres, y=list(s.holds), width=widths, marker_color=BLUE, name=s.fact)
    if s.threshold is not None:
        figure.add_vline(s.threshold, line_dash="dash", annotation_text="threshold")
    figure.update_layout(barmode="overlay", bargap=0)
    figure.update_xaxes(title="activation")
    figure.update_yaxes(title="positions", type="log")
    return finish(figure, f"{record.unit}: spectrum", 640, 400)


def by_ply(record: NeuronRecord) -> go.Figure:
    """Mean activation by ply with its band."""
    b, figure = record.by_ply, go.Figure()
    plies = list(b.plies)
    if b.low is not None and b.high is not None:
        figure.add_scatter(x=plies, y=list(b.high), line_width=0, showlegend=False, hoverinfo="skip")
        figure.add_scatter(x=plies, y=list(b.low), line_width=0, fill="tonexty", fillcolor="#1c5fb022", name=b.band)
    figure.add_scatter(x=plies, y=list(b.mean), line_color=BLUE, name="mean")
    figure.update_xaxes(title="ply")
    figure.update_yaxes(title="activation")
    return finish(figure, f"{record.unit}: activation by ply", 640, 400)


def probe(index: IndexRecord) -> go.Figure:
    """Held-out probe accuracy along the stream, over its baselines."""
    figure = go.Figure()
    hooks = [row.hook for row in index.probe]
    for name, field, colour in (
        ("mine/theirs/empty", "accuracy", BLUE),
        ("black/white/empty", "black_white", ORANGE),
        ("random weights", "random_model", GREY),
        ("constant guess", "constant", "#5a6573"),
    ):
        figure.add_scatter(x=hooks, y=[getattr(r, field) for r in index.probe], name=name, line_color=colour)
    figure.update_yaxes(title="accuracy, held out", tickformat=".0%")
    return finish(figure, "How well the probe reads the board", 640, 400)


def _heatmap(values: Board, limit: float) -> go.Heatmap:
    rows = [list(values[8 * i : 8 * i + 8]) for i in range(8)]
    return go.Heatmap(
        z=rows, x=[str(i) for i in range(8)], y=list(ROWS), zmin=-limit, zmax=limit, colorscale=SCALE,
        text=[list(LABELS[8 * i : 8 * i + 8]) for i in range(8)], hovertemplate="%{text} %{z:+.3f}<extra></extra>",
        xgap=1, ygap=1, hoverongaps=False,
    )  # fmt: skip


def finish(figure: go.Figure, title: str, width: int, height: int) -> go.Figure:
    """The common look: title, size in pixels, margins, a legend where there is more than one trace."""
    figure.update_layout(title=title, width=width, height=height, template="plotly_white",
                         margin={"l": 50, "r": 30, "t": 90, "b": 50}, showlegend=len(figure.data) > 1)  # fmt: skip
    if any(isinstance(t, go.Heatmap) for t in figure.data):
        figure.update_layout(showlegend=False)
        figure.update_traces(showscale=False, selector={"type": "heatmap"})
        figure.data[-1].showscale = True
    return figure
