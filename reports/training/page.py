"""The page of a training run, or of several side by side: one offline HTML file drawn from the runs' folders.

Top: name, one sentence that the log supports, four figures on held-out games beside their baselines. Then the
curves, what was found inside the finished model, the settings, and how to make the same model again. Like every
page of this project it has no script and asks nothing of anyone.
"""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from circuits.errors import InputError
from reports import charts
from reports.neuron import environment
from reports.shown import Saved
from reports.text import count, exact, number
from reports.training import curves as training_curves
from reports.training.curves import FIGURES, MOST_RUNS, PUBLISHED_ILLEGAL, figure
from reports.training.inside import inside
from reports.training.runs import GUESS_GAMES, Run, read_runs, uniform_guess
from reports.training.words import (
    comparison,
    dropout_words,
    duration,
    eyebrow,
    flat_settings,
    games_words,
    legs_words,
    sentence,
    setting,
    settings,
    share,
    sizes,
    status,
)


@dataclass(frozen=True, eq=False)
class TrainingReport(Saved):
    """Runs with their page: shows itself in Jupyter, saves itself as one file."""

    runs: tuple[Run, ...]

    @property
    def headline(self) -> str:
        return sentence(self.runs[0]) if len(self.runs) == 1 else comparison(self.runs)

    @property
    def title(self) -> str:
        return self.runs[0].name if len(self.runs) == 1 else f"{len(self.runs)} training runs"

    @cached_property
    def html(self) -> str:
        return environment().get_template("training.html").render(**context(self))

    def __repr__(self) -> str:
        return f"{self.title}: {self.headline}"


def build(folder: Run | str | os.PathLike | Sequence[Run | str | os.PathLike]) -> TrainingReport:
    """Read a run's folder, or several, into a report. A run may be finished, under way, or broken off.

    Raises:
        InputError: no run in a folder, a damaged file in it, no run or too many.
    """
    runs = read_runs(folder)
    if len(runs) > MOST_RUNS:
        raise InputError(f"{len(runs)} runs: at most {MOST_RUNS} can be told apart in one chart")
    names = [r.name for r in runs]
    runs = tuple(replace(r, name=r.path) if names.count(r.name) > 1 else r for r in runs)
    return TrainingReport(runs)


def context(report: TrainingReport) -> dict[str, Any]:
    """What the template shows."""
    runs = report.runs
    one = runs[0] if len(runs) == 1 else None
    given = repr(one.path) if one else repr([r.path for r in runs])
    figures = [
        {
            "title": f.title,
            "name": f.name,
            "chart": training_curves.chart(f, runs),
            "caption": training_curves.caption(f, runs),
            "table": training_curves.table(f, runs),
            "python": "from reports.training import figures as training_figures; "
            f'training_figures.curve({given}, "{f.name}")',
        }
        for f in FIGURES
        if training_curves.series(f, runs)
    ]
    return {
        "title": report.title,
        "headline": report.headline,
        "eyebrow": eyebrow(one) if one else "Training runs side by side",
        "status": status(one) if one else "",
        "tiles": tiles(one) if one else [],
        "measured": measured(one) if one else "",
        "runs": overview(runs) if not one else None,
        "names": [r.name for r in runs],
        "figures": figures,
        "marks": marks(one) if one else [],
        "dropout": dropout_words(one) if one else "",
        "broken_off": all(r.state in ("nan", "interrupted") for r in runs),
        "inside": inside(runs),
        "settings": settings(one) if one else None,
        "provenance": [(r.name, provenance(r)) for r in runs],
        "python": f"from reports.training import page as training_page; training_page.build({given})",
    }


TILES = (
    ("illegal_top1", "Illegal first choices"),
    ("illegal_mass", "Probability on illegal moves"),
    ("kl", "KL to uniform over the legal moves, in nats"),
    ("top_n_error", "Top-N error, moves a position"),
)


def tiles(run: Run) -> list[dict[str, Any]]:
    """The four figures of the top beside their baselines; the loss where there is no KL; none without evaluation."""
    e, first = run.evaluation, run.first_evaluation
    if e is None or first is None:
        return []
    made = []
    for name, label in TILES:
        if e[name] != e[name]:  # games that are no uniform choice have no best prediction to be far from
            name, label = "loss", "Loss on held-out games, in nats"
        write = share if figure(name).per_cent else lambda v: number(v, 3)
        beside = []
        if run.random_games:
            beside.append(("uniform guess", uniform_guess()[name]))
        if first["games"] < e["games"]:
            beside.append((f"after {games_words(first['games'])}", first[name]))
        published = name == "illegal_top1" and run.random_games
        values = [v for _, v in beside] + [PUBLISHED_ILLEGAL] * published
        most = max([e[name], *values]) or 1.0
        made.append(
            {
                "label": label,
                "name": name,
                "exact": exact(e[name]),
                "value": write(e[name]),
                "bar": charts.bullet(e[name] / most, [v / most for v in values]),
                "baselines": [f"{text} {write(v)}" for text, v in beside]
                + ([f"published, 8 layers of 512, {share(PUBLISHED_ILLEGAL)}"] if published else []),
            }
        )
    return made


def measured(run: Run) -> str:
    """Over which games the figures of the top are."""
    e = run.evaluation
    if e is None:
        return ""
    words = f"Measured on {count(int(e['eval_games']))} held-out games after {games_words(e['games'])} of training"
    if run.random_games:
        words += f"; a uniform guess over the 60 moves, on {GUESS_GAMES}"
    return words + ". Lower is better; bars start at 0 and ticks mark the baselines."


def overview(runs: Sequence[Run]) -> dict[str, Any]:
    """Several runs as a table: their figures, and the settings in which they differ."""
    flat = [flat_settings(r.config) for r in runs]
    names = dict.fromkeys(k for f in flat for k in f if k != "games")  # the games shown have a column of their own
    differ = [k for k in names if len({repr(f.get(k)) for f in flat}) > 1]
    unended = any(r.state != "finished" for r in runs)
    head = ["run", "illegal first", "illegal mass", "KL", "top-N", "loss", "on games", "games", "time"]
    head += ["state"] * unended + [k.removeprefix("shape.") for k in differ]
    rows = []
    for run, config in zip(runs, flat, strict=True):
        e = run.evaluation or {}
        figures = [
            "–" if not e or e[name] != e[name] else share(e[name]) if figure(name).per_cent else number(e[name])
            for name in (*(name for name, _ in TILES), "loss")
        ]
        cells = [*figures, count(int(e["eval_games"])) if e else "–", count(run.games), duration(run.seconds)]
        cells += [run.state] * unended + [setting(run.config, k, config.get(k)) for k in differ]
        rows.append({"name": run.name, "cells": cells})
    return {"head": head, "rows": rows}


def marks(run: Run) -> list[str]:
    """What the key to the curves has to explain."""
    here = {
        "train": len(run.train["games"]) > 0,
        "held": len(run.evals["games"]) > 0,
        "keep": bool(run.kept),
        "leg": bool(run.legs),
        "broken": bool(run.broken),
    }
    return [name for name, is_there in here.items() if is_there]


def provenance(run: Run) -> list[tuple[str, str, bool]]:
    """What it is, on what it was made, and how to make it again: (term, text, is it code)."""
    about, config = run.about, run.config
    parameters = about.get("parameters")
    model = sizes(run)
    if isinstance(parameters, int):
        model += f" · {count(parameters)} parameters"
        learning = about.get("learning")
        if isinstance(learning, int) and learning != parameters:
            model += f", {count(learning)} of them learning"
    versions = about.get("versions") if isinstance(about.get("versions"), dict) else {}
    command = str(about.get("command", ""))
    if command and " --out" not in command:
        command += f" --out {shlex.quote(run.name)}"
    again = (
        "import json; from circuits.training.loop import TrainConfig, train; "
        f'train(TrainConfig.from_dict(json.load(open({os.path.join(run.path, "run.json")!r}))["config"]), "again")'
    )
    begun = about.get("begun", "at no stated time")
    rows = [
        ("Model", model, False),
        ("Data", str(about.get("data", "not stated")), False),
        ("Started from", str(config.get("init") or "random weights"), False),
        ("Machine", str(about.get("machine", "not stated")), False),
        ("Time", f"{duration(run.seconds)} in {legs_words(run)}, begun {begun}", False),
        ("Checkpoints", f"{len(run.kept)} kept: after {', '.join(count(k) for k in run.kept)} games" if run.kept
         else "none kept", False),
        ("Versions", ", ".join(f"{k} {v}" for k, v in versions.items()) or "not stated", False),
        ("Folder", run.path, True),
        ("Command", command or "not stated", bool(command)),
        ("Python", again, True),
    ]  # fmt: skip
    return rows
