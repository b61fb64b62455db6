"""The figures of training runs as plotly objects, for notebooks: the same numbers as on a run's page, not thinned.

Blue is held out and grey training for one run; several runs have a colour each.
"""

import os
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from circuits.errors import InputError
from reports.figures import BLUE, GREY, ORANGE
from reports.training.curves import FIGURES, Figure, figure, levels
from reports.training.runs import Run, read_runs
from reports.training.words import dropout_words, guesses

COLOURS = (BLUE, ORANGE, "#1f7a4d", "#8447a8")

Runs = Run | str | os.PathLike | Sequence[Run | str | os.PathLike]


def curve(runs: Runs, name: str = "loss") -> go.Figure:
    """One figure against the games shown: a column of the log, of one run or several.

    Args:
        runs: folders of runs, or what `training_runs.read_run` gave.
        name: "loss", "illegal_top1", "illegal_mass", "kl", "top_n_error", "lr", "grad_norm" or "games_per_s".

    Raises:
        InputError: no such figure; no run in a folder.
    """
    read, f = read_runs(runs), _known(name)
    drawn = go.Figure()
    for trace in _traces(f, read):
        drawn.add_trace(trace)
    for value, text in levels(f, read):
        drawn.add_hline(value, line_dash="dash", line_width=1, annotation_text=text)
    for games in read[0].legs if len(read) == 1 else ():
        drawn.add_vline(games, line_dash="dot", line_color=GREY)
    drawn.update_xaxes(title="games shown", type="log" if f.log_x else "linear")
    drawn.update_yaxes(title=_label(f), type="log" if f.log_y else "linear")
    return _finish(drawn, f"{_names(read)}: {f.title.lower()}", 640, 420)


def overview(runs: Runs) -> go.Figure:
    """Every figure of the page in one."""
    read = read_runs(runs)
    drawn = make_subplots(4, 2, subplot_titles=[f.title for f in FIGURES], vertical_spacing=0.09)
    for i, f in enumerate(FIGURES):
        place = {"row": 1 + i // 2, "col": 1 + i % 2}
        for trace in _traces(f, read):
            drawn.add_trace(trace.update(showlegend=i == 0), **place)
        drawn.update_xaxes(type="log" if f.log_x else "linear", **place)
        drawn.update_yaxes(title=_label(f), type="log" if f.log_y else "linear", **place)
    return _finish(drawn, _names(read), 1000, 1300)


def board(runs: Runs) -> go.Figure:
    """Probe accuracy after each layer: mine/theirs, of a single run black/white and the published figures too.

    Raises:
        InputError: none of the runs was looked into.
    """
    read = _looked_into(runs)
    drawn = go.Figure()
    for i, run in enumerate(read):
        s = run.specimen
        error = {"array": [196 * e for e in s.standard_error]}
        _by_layer(drawn, run.name, [100 * v for v in s.mine_theirs], _line(i), error_y=error)
        if len(read) == 1:
            _by_layer(drawn, "black/white/empty", [100 * v for v in s.black_white], {"color": GREY})
            for name in ("linear, mine/theirs", "linear, black/white"):
                _by_layer(drawn, f"published: {name}", s.published[name], {"color": GREY, "dash": "dash"})
    for guess in guesses(read):
        drawn.add_hline(float(guess), line_dash="dot", line_width=1, annotation_text=f"constant guess {guess}")
    drawn.update_yaxes(title="per cent of squares, held out")
    return _finish(drawn, f"{_names(read)}: how well a linear probe reads the board", 640, 420)


def patterns(runs: Runs) -> go.Figure:
    """Pattern neurons in each layer at the first threshold; of a single run the strict and the published ones too.

    Raises:
        InputError: none of the runs was looked into.
    """
    read = _looked_into(runs)
    drawn = go.Figure()
    for i, run in enumerate(read):
        s = run.specimen
        bar, found = next(iter(s.patterns.items()))
        _by_layer(drawn, run.name, found["released"], _line(i))
        if len(read) == 1:
            _by_layer(drawn, "strict", found["strict"], {"color": ORANGE})
            name = f"pattern neurons at {bar}"
            if name in s.published:
                _by_layer(drawn, "published", s.published[name], {"color": GREY, "dash": "dash"})
    drawn.update_yaxes(title="neurons")
    return _finish(drawn, f"{_names(read)}: pattern neurons", 640, 420)


def by_ply(runs: Runs, name: str = "illegal_top1") -> go.Figure:
    """A figure of play by ply: "illegal_top1", "illegal_mass", "kl_to_uniform_legal" or "top_n_error".

    Raises:
        InputError: no such figure; none of the runs was looked into.
    """
    read = _looked_into(runs)
    drawn = go.Figure()
    for i, run in enumerate(read):
        if name not in run.specimen.play_by_ply:
            raise InputError(f"no figure {name!r} by ply: they are {', '.join(run.specimen.play_by_ply)}")
        drawn.add_scatter(y=list(run.specimen.play_by_ply[name]), name=run.name, line=_line(i))
    drawn.update_xaxes(title="ply")
    return _finish(drawn, f"{_names(read)}: {name.replace('_', ' ')} by ply", 640, 420)


def _looked_into(runs: Runs) -> tuple[Run, ...]:
    read = tuple(r for r in read_runs(runs) if r.specimen is not None)
    if not read:
        raise InputError("none of these runs was looked into: there is no specimen.json in their folders")
    return read


def _by_layer(drawn: go.Figure, name: str, values: Sequence, line: dict, **more) -> None:
    x = [f"L{i}" for i in range(len(values))]
    drawn.add_scatter(x=x, y=list(values), name=name, line=line, mode="lines+markers", **more)


def _line(i: int) -> dict:
    return {"color": COLOURS[i % len(COLOURS)], "dash": "solid" if i < len(COLOURS) else "dash"}


def _known(name: str) -> Figure:
    names = [f.name for f in FIGURES]
    if name not in names:
        raise InputError(f"no figure {name!r}: they are {', '.join(names)}")
    return figure(name)


def _traces(f: Figure, runs: Sequence[Run]) -> list[go.Scatter]:
    traces = []
    for i, run in enumerate(runs):
        for held_out in (False, True):
            if len(runs) > 1 and held_out != f.held_out:
                continue
            x, y = run.curve(f.name, held_out)
            if not len(x):
                continue
            dropped = dropout_words(run) if f.with_dropout and not held_out else ""
            of = "held out" if held_out else "training" + f", {dropped}" * bool(dropped)
            line = _line(i) if len(runs) > 1 or held_out else {"color": GREY, "width": 1}
            name = run.name if len(runs) > 1 else of
            mode = "lines+markers" if held_out else "lines"
            traces.append(go.Scatter(x=x, y=f.scale * y, name=name, mode=mode, line=line, legendgroup=name))
    return traces


def _label(f: Figure) -> str:
    return f.label.removesuffix(" (log scale)")


def _names(runs: Sequence[Run]) -> str:
    return ", ".join(r.name for r in runs)


def _finish(drawn: go.Figure, title: str, width: int, height: int) -> go.Figure:
    drawn.update_layout(title=title, width=width, height=height, template="plotly_white",
                        margin={"l": 60, "r": 30, "t": 80, "b": 50}, showlegend=len(drawn.data) > 1)  # fmt: skip
    return drawn
