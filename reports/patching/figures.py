"""Figures of causal results as plotly objects, for notebooks: patching by ply, effects with intervals, faithfulness."""

from collections.abc import Sequence
from itertools import groupby

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from circuits.causes.changes import Subspace
from circuits.causes.effects import Summary
from circuits.causes.patch_results import Align, Patched
from circuits.errors import InputError
from reports.figures import BLUE, GREY, ORANGE, SCALE, finish

_TITLES = {"pre": "stream before", "mid": "stream mid", "post": "stream after", "attn": "attention", "mlp": "MLP"}
_AXES = {"end": "plies before the last", "ply": "ply", "first difference": "plies after the first difference"}


def by_ply(found: Patched, direction: str | None = None, align: Align = "end", plies: int = 16) -> go.Figure:
    """Shares of the difference between the runs, place by ply, one panel a kind of place.

    Args:
        plies: how many plies are drawn, counted as ``align`` says.

    Raises:
        InputError: the effects are not by ply, or of another direction.
    """
    if not found.by_ply:
        raise InputError("these effects are over every ply together; sweep with by_ply=True, or draw them with `bars`")
    direction = direction or found.directions[0]
    share = found.share(direction, align)[:, :plies]

    def kind(i: int) -> str:
        place = found.places[i]
        return "subspace" if isinstance(place, Subspace) else place.kind

    panels = [(k, list(members)) for k, members in groupby(range(len(share)), key=kind)]
    figure = make_subplots(1, len(panels), subplot_titles=[_TITLES.get(k, k) for k, _ in panels], shared_xaxes=True)
    limit = max(1.0, float(share.abs().max()))
    for column, (_, members) in enumerate(panels, start=1):
        heat = go.Heatmap(
            z=share[members].tolist(),
            y=[found.names[i] for i in members],
            x=list(range(share.shape[1])),
            zmin=-limit,
            zmax=limit,
            colorscale=SCALE,
            showscale=column == len(panels),
            colorbar={"title": "share"},
            hovertemplate="%{y}, %{x}: %{z:.3f}<extra></extra>",
        )
        figure.add_trace(heat, 1, column)
        figure.update_xaxes(title=_AXES[align], row=1, col=column)
    title = f"{found.metric}: {direction}, {len(found.pairs)} pairs, mean difference {float(found.total.mean):.2f}"
    return finish(figure, title, 300 * len(panels), 120 + 24 * max(len(m) for _, m in panels))


def bars(names: Sequence[str], summary: Summary, title: str, unit: str, most: int = 16) -> go.Figure:
    """The largest of some mean effects with their 95 % intervals; grey where the family-wise p is above 0.05.

    Args:
        summary: of one effect a name.
    """
    means = summary.mean.flatten()
    if len(means) != len(names):
        raise InputError(f"{len(names)} names for {len(means)} effects")
    order = means.abs().argsort(descending=True)[:most].flip(0).tolist()
    low, high, p = (t.flatten() for t in (summary.low, summary.high, summary.p_family))
    colours = [GREY if p[i] > 0.05 else BLUE if means[i] > 0 else ORANGE for i in order]
    bar = go.Bar(
        x=[float(means[i]) for i in order],
        y=[names[i] for i in order],
        orientation="h",
        marker_color=colours,
        error_x={
            "array": [float(high[i] - means[i]) for i in order],
            "arrayminus": [float(means[i] - low[i]) for i in order],
        },
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    figure = go.Figure(bar)
    figure.update_xaxes(title=unit)
    return finish(figure, f"{title} ({summary.pairs} pairs of {summary.games} games)", 560, 120 + 22 * len(order))


def faithfulness(curves: dict[str, tuple[Sequence[int], Sequence[float]]], title: str) -> go.Figure:
    """Effect kept against edges kept, one line a name; "random …" is drawn grey, "exchanged …" pale."""
    figure = go.Figure()
    colours = iter((BLUE, ORANGE, "#2b7a4b", "#7a3f98"))
    for name, (edges, kept) in curves.items():
        controls = {"random": GREY, "exchanged": "#d9b38c"}
        colour = controls.get(name.split(",")[0]) or next(colours)
        dash = "dot" if "mean" in name else "solid"
        line = {"color": colour, "dash": dash}
        figure.add_trace(go.Scatter(x=list(edges), y=list(kept), name=name, mode="lines+markers", line=line))
    figure.update_xaxes(title="edges kept", type="log")
    figure.update_yaxes(title="share of the effect kept")
    figure.add_hline(1, line_color=GREY, line_width=1)
    return finish(figure, title, 560, 380)
