"""All heads, and one head's attention, as plotly figures for notebooks."""

import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from circuits.notation import Unit
from probes.head_study import HeadStudy
from reports.figures import BLUE, GREY, SCALE, finish


def grid(values: Float[Tensor, "layer head"], title: str, places: int = 2, scale: float = 1.0) -> go.Figure:
    """A number for every head, layers downwards; blue above zero, orange below.

    Args:
        scale: what the values are multiplied by, 100 for percent.
    """
    rows = [[scale * v for v in row] for row in values.tolist()]
    limit = max(abs(v) for row in rows for v in row) or 1.0
    figure = go.Figure(
        go.Heatmap(
            z=rows, x=[f"H{i}" for i in range(len(rows[0]))], y=[f"L{i}" for i in range(len(rows))],
            zmin=-limit, zmax=limit, colorscale=SCALE, xgap=1, ygap=1,
            text=[[f"{v:.{places}f}" for v in row] for row in rows], texttemplate="%{text}",
            hovertemplate="%{y}%{x} %{z:.3f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    return finish(figure, title, 640, 460)


def by_offset(study: HeadStudy, unit: str | Unit, most: int = 24) -> go.Figure:
    """Mean attention to the move k moves back, beside attention shared equally.

    Raises:
        InputError: no such head.
    """
    unit = study.unit(unit)
    attention, uniform = study.attention.by_offset()
    x = list(range(min(most, attention.shape[-1])))
    figure = go.Figure()
    figure.add_bar(x=x, y=attention[unit.layer, unit.index][: len(x)].tolist(), marker_color=BLUE, name=str(unit))
    figure.add_scatter(x=x, y=uniform[: len(x)].tolist(), line_color=GREY, name="shared equally")
    figure.update_xaxes(title="moves back (0: the move just played)")
    figure.update_yaxes(title="share of attention", rangemode="tozero")
    return finish(figure, f"{unit}: where it looks", 760, 380)
