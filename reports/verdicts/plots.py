"""A verdict as plotly figures, for notebooks: activations where the rule holds, its rivals, its literals taken away."""

import plotly.graph_objects as go

from circuits.errors import InputError
from circuits.verdicts.records import Estimate, Verdict
from reports.figures import BLUE, GREY, ORANGE, finish
from reports.verdicts import words as w
from reports.verdicts.inputs import names


def fit_figure(v: Verdict) -> go.Figure:
    """Histogram of held-out activations, split by the rule, with the threshold.

    Raises:
        InputError: the verdict has no fit.
    """
    f = _part(v, "fit")
    middle = [(a + b) / 2 for a, b in zip(f.edges, f.edges[1:], strict=False)]
    width = [b - a for a, b in zip(f.edges, f.edges[1:], strict=False)]
    figure = go.Figure()
    for name, counts, colour in (("all positions", f.counts, GREY), ("the rule holds", f.holds, BLUE)):
        figure.add_bar(x=middle, y=list(counts), width=width, name=name, marker_color=colour)
    figure.add_vline(x=f.threshold, line_color=ORANGE, annotation_text="threshold")
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(title="activation")
    figure.update_yaxes(title="held-out positions", type="log")
    return finish(figure, f"{v.unit}: {v.rule} (F1 {w.with_interval(f.f1)})", 720, 420)


def rivals_figure(v: Verdict) -> go.Figure:
    """Variance explained by the rule and by every other, a row for each kind.

    Raises:
        InputError: the verdict has no rivals.
    """
    r = _part(v, "rivals")
    figure = go.Figure()
    for kind in reversed([k for k in w.KINDS if any(x.kind == k for x in r.rivals)]):
        found = [x for x in r.rivals if x.kind == kind]
        figure.add_scatter(
            x=[x.variance_explained for x in found], y=[w.KINDS[kind]] * len(found), mode="markers", name=w.KINDS[kind],
            text=[f"{x.rule}<br>{x.what}" for x in found], marker={"color": GREY, "size": 8, "opacity": 0.6},
            hovertemplate="%{text}<br>%{x:.1%}<extra></extra>", showlegend=False,
        )  # fmt: skip
    if r.random is not None:
        name = f"{r.random.n} random rules"
        figure.add_scatter(
            x=list(r.random.variance_explained), y=[name] * len(r.random.variance_explained), mode="markers", name=name,
            marker={"color": GREY, "size": 6, "opacity": 0.3}, showlegend=False,
        )  # fmt: skip
    if v.fit is not None:
        _dots(figure, ["this rule"], [v.fit.variance_explained], BLUE, "this rule")
        figure.add_vline(x=v.fit.variance_explained.value, line_dash="dash", line_color=BLUE)
    figure.update_xaxes(title="activation variance explained", tickformat=".0%")
    rows = len({y for trace in figure.data for y in trace.y})
    return finish(figure, f"{v.unit}: {v.rule} and other rules", 720, 140 + 34 * rows)


def toggles_figure(v: Verdict) -> go.Figure:
    """How far each literal's loss takes the activation: counterfactual games, edits of the checkpoint, controls.

    Raises:
        InputError: the input side was not tested.
    """
    i = _part(v, "inputs")
    toggles = [t for t in i.toggles if t.share is not None]
    edits = [e for e in i.edits if e.share is not None]
    figure, named = go.Figure(), names(i)
    _dots(figure, [named[t.literal] for t in toggles], [t.share for t in toggles], BLUE, "counterfactual games")
    _dots(
        figure, [named.get(e.literal, e.literal) for e in edits], [e.share for e in edits], ORANGE, "checkpoint edited"
    )
    random = [e for e in edits if e.random is not None]
    _dots(
        figure, [named.get(e.literal, e.literal) for e in random], [e.random for e in random], GREY, "random directions"
    )
    if i.control is not None and i.control.share is not None:
        _dots(figure, ["no literal changed"], [i.control.share], GREY, "games, no literal changed")
    figure.update_xaxes(title="share of the way from “holds” to “fails”", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(autorange="reversed")
    rows = len({y for trace in figure.data for y in trace.y})
    return finish(figure, f"{v.unit}: one literal of {v.rule} taken away", 720, 180 + 40 * rows)


def _part(v: Verdict, name: str):
    found = getattr(v, name)
    if found is None:
        why = "; ".join(v.notes)
        raise InputError(f"the verdict on {v.unit} has no {name}{': ' * bool(why)}{why}")
    return found


def _dots(figure: go.Figure, names: list[str], found: list[Estimate], colour: str, title: str) -> None:
    if not found:
        return
    ends = {
        "array": [(e.value if e.high is None else e.high) - e.value for e in found],
        "arrayminus": [e.value - (e.value if e.low is None else e.low) for e in found],
    }
    figure.add_scatter(
        x=[e.value for e in found], y=names, mode="markers", name=title, error_x=ends,
        marker={"color": colour, "size": 10},
    )  # fmt: skip
