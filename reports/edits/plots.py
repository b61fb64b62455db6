"""The edit benchmark and saliency maps as plotly figures, for notebooks."""

import math

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from circuits.editing.results import BINS, NO_EDIT, PERFECT, SCALES, Benchmark
from circuits.editing.rollout import MOVES
from circuits.editing.saliency import SaliencyMaps
from circuits.notation import LABELS
from reports.figures import BLUE, GREY, ORANGE, finish
from reports.figures import board as value_board

#: one colour a method, in the order of the benchmark
COLOURS = (BLUE, ORANGE, "#2b7a4b", "#7a3f98", "#b5880b", "#0f8a93", "#a33c4d", "#4d5a69")


def methods(bench: Benchmark) -> go.Figure:
    """Mean error of every method with its 95 % interval, one panel a set; no edit dashed, random directions hollow."""
    sets = [s.name for s in bench.sets]
    figure = make_subplots(cols=len(sets), shared_yaxes=True, subplot_titles=sets, horizontal_spacing=0.03)
    for column, name in enumerate(sets, 1):
        rows = [r for r in bench.rows if r.cases == name and r.name not in (NO_EDIT, PERFECT)]
        own, random = ([r for r in rows if r.control is control] for control in (False, True))
        for of, symbol, colour in ((own, "circle", BLUE), (random, "circle-open", GREY)):
            e = [r.scores["error"] for r in of]
            figure.add_scatter(
                x=[i.mean for i in e], y=[r.name for r in of], mode="markers", marker={"symbol": symbol, "size": 9},
                marker_color=colour, showlegend=column == 1,
                name="edited" if of is own else "random directions of equal norm",
                error_x={"array": [i.high - i.mean for i in e], "arrayminus": [i.mean - i.low for i in e]},
                row=1, col=column,
            )  # fmt: skip
        unedited = bench.row(name, NO_EDIT).scores["error"].mean
        figure.add_vline(x=unedited, line_dash="dash", line_color=ORANGE, row=1, col=column)
        figure.update_xaxes(title="error", rangemode="tozero", row=1, col=column)
    figure.update_yaxes(autorange="reversed")
    title = "False positives + false negatives against the edited board (dashed: no edit)"
    return finish(figure, title, 260 + 260 * len(sets), 190 + 26 * len(own))


def layers(bench: Benchmark) -> go.Figure:
    """Mean error of every method at each single layer, over all sets."""
    figure = go.Figure()
    for (name, errors), colour in zip(bench.layers.items(), COLOURS, strict=False):
        figure.add_scatter(
            x=[f"L{i}" for i in range(len(errors))], y=list(errors), name=name, mode="lines+markers", line_color=colour
        )
    total = sum(s.cases for s in bench.sets)
    unedited = sum(bench.row(s.name, NO_EDIT).scores["error"].mean * s.cases for s in bench.sets) / total
    figure.add_hline(y=unedited, line_dash="dash", line_color=GREY, annotation_text="no edit")
    figure.update_yaxes(title="error", rangemode="tozero")
    return finish(figure, "Error when one layer alone is edited, at its best strength", 820, 460)


def scales(bench: Benchmark) -> go.Figure:
    """The seed study's sweep: error of negating the coordinate, by scale and layer."""
    figure = go.Figure(
        go.Heatmap(
            z=[list(row) for row in bench.scales], x=[f"{s:g}" for s in SCALES],
            y=[f"L{i}" for i in range(len(bench.scales))], colorscale="Blues_r",
            text=[[f"{v:.2f}" for v in row] for row in bench.scales], texttemplate="%{text}",
            hovertemplate="%{y}, scale %{x}: %{z:.2f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title="scale", type="category")
    figure.update_yaxes(autorange="reversed")
    return finish(figure, "Error of negating the coordinate × scale, by layer", 560, 430)


def changed(bench: Benchmark, cases: str, names: tuple[str, ...]) -> go.Figure:
    """Error by how many moves an edit makes legal or illegal."""
    figure = go.Figure()
    for name, colour in zip((NO_EDIT, *names), (GREY, *COLOURS), strict=False):
        values = bench.row(cases, name).by_changed
        x = [f"{b}{'+' if b == BINS[-1] else ''}" for b in BINS]
        figure.add_scatter(x=x, y=list(values), name=name, mode="lines+markers", line_color=colour)
    figure.update_xaxes(title="moves that the edit makes legal or illegal", type="category")
    figure.update_yaxes(title="error", rangemode="tozero")
    return finish(figure, f"Error by how much changes ({cases} cases)", 700, 420)


def survival(bench: Benchmark) -> go.Figure:
    """Share of roll-outs in which every move so far was legal on the engine's board, one panel a set."""
    sets = list(dict.fromkeys(r.cases for r in bench.rollouts))
    figure = make_subplots(cols=len(sets), shared_yaxes=True, subplot_titles=sets, horizontal_spacing=0.03)
    for column, name in enumerate(sets, 1):
        for row, colour in zip((r for r in bench.rollouts if r.cases == name), (BLUE, ORANGE, GREY), strict=False):
            figure.add_scatter(
                x=list(range(1, MOVES + 1)), y=list(row.survived), name=row.name, mode="lines+markers",
                line_color=colour, showlegend=column == 1, row=1, col=column,
            )  # fmt: skip
        figure.update_xaxes(title="moves drawn", row=1, col=column)
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%")
    return finish(figure, "Roll-outs still legal", 260 + 260 * len(sets), 420)


def saliency_map(maps: SaliencyMaps, i: int) -> go.Figure:
    """One map as a board; the rules' decisive squares outlined, the move marked."""
    values = tuple(None if math.isnan(v) else v for v in maps.effect[i].tolist())
    move = int(maps.move[i])
    figure = value_board(values, f"{LABELS[move]}: change of its logit when a disc is flipped")
    for square in maps.decisive[i].nonzero()[:, 0].tolist():
        row, column = divmod(square, 8)
        figure.add_shape(
            type="rect", x0=column - 0.46, x1=column + 0.46, y0=row - 0.46, y1=row + 0.46, line_color="#1b2330"
        )
    row, column = divmod(move, 8)
    figure.add_annotation(x=column, y=row, text="×", showarrow=False, font={"size": 22})
    return figure
