"""The curves of one training run or several: which there are, drawn as inline SVG, their captions and numbers.

A single run is drawn with the figures of its training games (a line, where thinned with the band from the lowest
to the highest of a bin) and of its held-out games (dots); several runs with one line each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from probes.published import PATTERN_NEURONS
from reports.charts import power
from reports.curves import Curve, curves
from reports.headline import listed
from reports.text import count, number
from reports.thinning import Thinned, thin
from reports.training.runs import Run, uniform_guess
from reports.training.words import dropout_words

#: bins of a long series; and of all runs that share a chart, so that a page of many stays small
MOST_BINS, MOST_SHARED = 80, 160
#: runs that can be told apart in one chart
MOST_RUNS = 8
#: share of illegal first choices of the published model on held-out random games
PUBLISHED_ILLEGAL = PATTERN_NEURONS["illegal top-1"] / 100


@dataclass(frozen=True)
class Figure:
    """One chart: the log's column, its title and y axis, whether axes are logarithmic, and how it is explained."""

    name: str
    title: str
    label: str
    what: str
    log_x: bool = True
    log_y: bool = True
    per_cent: bool = False
    held_out: bool = True

    @property
    def with_dropout(self) -> bool:
        """Whether dropout, while it is on, is in the training figure."""
        return self.name not in ("lr", "games_per_s")

    @property
    def scale(self) -> float:
        """What a value of the log is multiplied with to be drawn."""
        return 100.0 if self.per_cent else 1000.0 if self.name == "lr" else 1.0


FIGURES = (
    Figure("loss", "Loss", "nats", "", log_y=False),
    Figure("illegal_top1", "Illegal first choices", "per cent of positions (log scale)",
           "Positions whose most probable move is illegal.", per_cent=True),
    Figure("illegal_mass", "Probability on illegal moves", "per cent of the probability (log scale)",
           "Probability that lies on illegal moves, mean over positions.", per_cent=True),
    Figure("kl", "Distance to the best prediction", "KL in nats (log scale)",
           "KL divergence from the uniform distribution over the legal moves to the model’s, mean over positions."),
    Figure("top_n_error", "Top-N error", "moves a position (log scale)",
           "False positives and false negatives of the N most probable moves against the N legal ones, "
           "mean over positions."),
    Figure("lr", "Learning rate", "thousandths", "Learning rate of the weight matrices at that step, times 1,000.",
           log_x=False, log_y=False, held_out=False),
    Figure("grad_norm", "Gradient norm", "norm (log scale)",
           "Norm of the whole gradient before it is clipped.", log_x=False, held_out=False),
    Figure("games_per_s", "Speed", "games a second",
           "Games a second, pauses for evaluations and files counted.", log_x=False, log_y=False, held_out=False),
)  # fmt: skip


def figure(name: str) -> Figure:
    """A figure by the log's column."""
    return next(f for f in FIGURES if f.name == name)


def levels(f: Figure, runs: Sequence[Run]) -> list[tuple[float, str]]:
    """Lines to hold the curves against: a uniform guess, the least possible loss, the published rate.

    All of them are of random games; there are none where a run was trained on a file.
    """
    if not all(r.random_games for r in runs):
        return []
    if f.name == "loss":
        least = uniform_guess()["least_loss"]
        return [(least, f"least possible {number(least)}")]
    if not f.held_out:
        return []
    guess = f.scale * uniform_guess()[f.name]
    found = [(guess, f"uniform guess {number(guess, 2)}")]
    if f.name == "illegal_top1":
        ends = [r.curve(f.name, True)[1] for r in runs]
        reached = min((y.min() for y in ends if len(y)), default=1.0)
        if reached < 50 * PUBLISHED_ILLEGAL:  # further away the line would flatten the curves
            found.append((f.scale * PUBLISHED_ILLEGAL, f"published {number(f.scale * PUBLISHED_ILLEGAL)}"))
    return found


@dataclass(frozen=True, eq=False)
class Series:
    """What is drawn of one run in one figure: training or held-out games, thinned."""

    run: Run
    held_out: bool
    drawn: Thinned


def bins(runs: Sequence[Run]) -> int:
    """How many bins a series is thinned to."""
    return min(MOST_BINS, MOST_SHARED // len(runs))


def series(f: Figure, runs: Sequence[Run]) -> list[Series]:
    """The series of a figure: training and held-out of one run; of several the held-out ones where there are any."""
    most = bins(runs)
    found = []
    for run in runs:
        for held_out in (False, True):
            if len(runs) > 1 and held_out != f.held_out:
                continue
            x, y = run.curve(f.name, held_out)
            if len(x):
                found.append(Series(run, held_out, thin(x, y, most, f.log_x)))
    return found


def chart(f: Figure, runs: Sequence[Run]) -> Markup:
    """The figure as inline SVG."""
    lines = []
    for s in series(f, runs):
        d = s.drawn
        name = s.run.name if len(runs) > 1 else "held out" if s.held_out else "training"
        kind = f"run{runs.index(s.run) % MOST_RUNS}" if len(runs) > 1 else "held" if s.held_out else "train"
        band = (list(f.scale * d.low), list(f.scale * d.high)) if d.is_thinned and len(runs) == 1 else None
        middle = np.sqrt(d.first * d.last) if f.log_x else (d.first + d.last) / 2
        dots = s.held_out and len(d.mean) <= 40
        lines.append(Curve(name, kind, list(middle), list(f.scale * d.mean), band, dots))
    one = runs[0] if len(runs) == 1 else None
    return curves(
        f.name,
        lines,
        "games shown" + (" (log scale)" if f.log_x else ""),
        f.label,
        f.log_x,
        f.log_y,
        levels(f, runs),
        kept=[float(v) for v in one.kept] if one else (),
        legs=[float(v) for v in one.legs] if one else (),
        broken=[float(v) for v in one.broken] if one else (),
        write=_tick,
        write_x=power,
    )


def table(f: Figure, runs: Sequence[Run]) -> dict[str, Any]:
    """Every number that is drawn: a row for each line of the log, or for each bin of a long one."""
    shown = series(f, runs)
    thinned = any(s.drawn.is_thinned for s in shown)
    rows = []
    for s in shown:
        d = s.drawn
        who = s.run.name if len(runs) > 1 else "held out" if s.held_out else "training"
        for i in range(len(d.mean)):
            games = count(int(d.first[i]))
            if d.lines[i] > 1:
                games += f"–{count(int(d.last[i]))}"
            row = [who, games, _value(f, d.mean[i])]
            if thinned:
                row += [_value(f, d.low[i]), _value(f, d.high[i]), count(int(d.lines[i]))]
            rows.append((float(d.first[i]), s.held_out, tuple(row)))
    if len(runs) == 1:
        rows.sort(key=lambda r: r[:2])
    head = ("run" if len(runs) > 1 else "of", "games", f"{f.title.lower()}, {f.label.removesuffix(' (log scale)')}")
    head += ("lowest", "highest", "lines") if thinned else ()
    return {"head": head, "rows": [row for _, _, row in rows]}


def caption(f: Figure, runs: Sequence[Run]) -> str:
    """What is shown, over which games, and how it was thinned."""
    said = [loss_words(runs) if f.name == "loss" else f.what]
    shown = series(f, runs)
    if not shown:
        return f"{said[0]} Nothing in the log yet."
    if f.held_out and any(s.held_out for s in shown):
        said.append(held_out_words(runs))
    if len(runs) == 1:
        said.append(_training_words(f, runs[0]))
    elif not f.held_out and f.with_dropout:
        on = [f"{r.name} {words}" for r in runs if (words := dropout_words(r))]
        said.append(f"Trained {listed(tuple(on))}." if on else "")
    if any(s.drawn.is_thinned for s in shown):
        band = ", the band its lowest to its highest value" if len(runs) == 1 else ""
        said.append(f"Thinned to {bins(runs)} bins of equal width on the axis: the line is a bin’s mean{band}.")
    named = levels(f, runs)
    if f.name == "loss" and named:
        said.append(
            "Dashed: the mean of log N at N legal moves, below which no prediction of a random move gets "
            "(500 held-out games)."
        )
    elif named:
        said.append("Dashed: a uniform guess over the 60 moves (500 held-out games)"
                    + (", and the published model’s rate." if len(named) > 1 else "."))  # fmt: skip
    return " ".join(s for s in said if s)


def loss_words(runs: Sequence[Run]) -> str:
    """What the loss of these runs is."""
    objectives = {r.config.get("objective") for r in runs}
    of = {
        "legal": "to the uniform distribution over the legal moves",
        "sampled": "of the next move",
    }
    words = tuple(of[o] for o in of if o in objectives)
    return f"Cross-entropy {listed(words)}, mean over positions." if words else "The objective, mean over positions."


def held_out_words(runs: Sequence[Run]) -> str:
    """How many held-out games each evaluation was on."""
    sizes = {tuple(sorted({int(n) for n in r.evals["eval_games"]})) for r in runs if len(r.evals["eval_games"])}
    there = [r for r in runs if len(r.evals["eval_games"])]
    lasts = {int(r.evals["eval_games"][-1]) for r in [r for r in there if r.ended] or there}
    every = sorted({n for s in sizes for n in s} - lasts) or sorted(lasts)
    words = f"Held out: {listed(tuple(count(n) for n in every))} games at each evaluation"
    last = listed(tuple(count(n) for n in sorted(lasts)))
    return words + (f", {last} at the last." if set(every) != lasts else ".")


def _training_words(f: Figure, run: Run) -> str:
    every, batch = run.config.get("log_every"), run.config["batch"]
    if f.name == "lr":
        return ""
    if not isinstance(every, int):
        what = "a value for each line of the log"
    elif f.name in ("loss", "grad_norm", "games_per_s"):
        what = f"means over up to {count(every * batch)} games before"
    else:
        fresh = ", none of them seen before" if run.random_games else ", before they are learned from"
        what = f"the {count(batch)} games of one step in {every}{fresh}"
    dropped = dropout_words(run) if f.with_dropout else ""
    if not dropped:
        return f"Training: {what}."
    return f"Training, {dropped}: {what}." + (" Held-out figures are without dropout." if f.held_out else "")


def _value(f: Figure, v: float) -> str:
    return number(f.scale * float(v), 4)


def _tick(v: float) -> str:
    if 0 < abs(v) < 0.001:
        mantissa, _, power_of_ten = f"{v:.2g}".partition("e")
        return f"{mantissa}e−{int(power_of_ten[1:])}" if power_of_ten else mantissa
    return number(v)
