"""A training run read back from its folder: configuration, log, events, checkpoints, and what was found inside.

The folder itself is the record that a run's page is drawn from (`circuits.training.run_folder` says what lies in it).
Every line of the log is checked here, so that a page never meets a number that is none.

    log.jsonl  ─►  train: columns, a row for each "train" line  ┐
                   evals: columns, a row for each "eval" line   ├─►  `thinning`  ─►  curves and tables
                   events: "started", "resumed", "finished", …  ┘
"""

import json
import math
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from circuits.behaviour import legal_tokens
from circuits.errors import InputError
from circuits.notation import PLAYABLE
from circuits.training import lessons
from circuits.training.config import TrainConfig
from circuits.training.run_folder import RunFolder
from probes.specimen import Specimen

SHAPE = ("n_layers", "d_model", "n_heads", "d_mlp")
AT = ("step", "games", "seconds")
TRAIN = ("loss", "illegal_top1", "illegal_mass", "kl", "top_n_error", "lr", "games_per_s", "grad_norm")
EVAL = ("eval_games", "loss", "illegal_top1", "illegal_mass", "kl", "top_n_error")
#: the held-out games on which the figures of a uniform guess are computed
GUESS_GAMES = 500

Columns = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Run:
    """One run's folder.

    Attributes:
        name: the folder's name; path: the folder as it was given.
        about: the content of ``run.json``.
        train, evals: columns [line] of the log; NaN where a line has none.
        events: the log's events in order.
        kept: games at each checkpoint in the folder.
        specimen: what the command line found inside the finished model, as `probes.specimen` wrote it.
    """

    name: str
    path: str
    about: dict[str, Any]
    train: Columns
    evals: Columns
    events: tuple[dict[str, Any], ...]
    kept: tuple[int, ...]
    specimen: Specimen | None = None

    @property
    def config(self) -> dict[str, Any]:
        return self.about["config"]

    @property
    def random_games(self) -> bool:
        """Whether it was trained on fresh random games, not on those of a file."""
        return self.config.get("games_file") is None

    def _last(self, column: str) -> float:
        ends = [c[column][-1] for c in (self.train, self.evals) if len(c[column])]
        ends += [e[column] for e in self.events[-1:]]
        return float(max(ends, default=0))

    @property
    def games(self) -> int:
        """Games shown so far."""
        return int(self._last("games"))

    @property
    def seconds(self) -> float:
        return float(self._last("seconds"))

    @property
    def state(self) -> str:
        """How its log ends: "finished", "stopped early", "interrupted", "leg ended", "nan" or "under way"."""
        said = [e["what"] for e in self.events]
        if said[-1:] == ["finished"]:
            # It may have been resumed between its stop and its final evaluation; one that trained on stops anew.
            end = self.events[-1]["step"]
            early = any(e["what"] == "stopped early" and e["step"] == end for e in self.events)
            return "stopped early" if early else "finished"
        return said[-1] if said[-1:] and said[-1] in ("interrupted", "leg ended", "nan") else "under way"

    @property
    def ended(self) -> bool:
        return self.state in ("finished", "stopped early")

    @property
    def shown(self) -> int:
        """Games that the weights kept at the end had been shown: fewer than `games` where earlier ones were better."""
        return int(self.events[-1].get("kept", self.games)) if self.ended else self.games

    @property
    def legs(self) -> tuple[int, ...]:
        """Games at which the run was resumed."""
        return tuple(int(e["games"]) for e in self.events if e["what"] == "resumed")

    @property
    def broken(self) -> tuple[int, ...]:
        """Games at which the loss was no number."""
        return tuple(int(e["games"]) for e in self.events if e["what"] == "nan")

    @property
    def evaluation(self) -> dict[str, float] | None:
        """The last evaluation on held-out games; None before the first."""
        return self._evaluation(-1)

    @property
    def first_evaluation(self) -> dict[str, float] | None:
        return self._evaluation(0)

    def _evaluation(self, i: int) -> dict[str, float] | None:
        return {k: float(v[i]) for k, v in self.evals.items()} if len(self.evals["games"]) else None

    def curve(self, figure: str, held_out: bool) -> tuple[np.ndarray, np.ndarray]:
        """Games and values of a figure, in order, without lines that have none.

        Of several evaluations at one number of games, as at the end, the one on the most games is kept.
        """
        columns = self.evals if held_out else self.train
        if figure not in columns:
            return np.zeros(0), np.zeros(0)
        there = np.isfinite(columns[figure])
        if held_out:
            order = np.lexsort((columns["eval_games"], columns["games"]))
            last = np.append(np.diff(columns["games"][order]) > 0, True)[: len(order)]
            order = order[last & there[order]]
        else:
            order = np.argsort(columns["games"], kind="stable")
            order = order[there[order]]
        return columns["games"][order], columns[figure][order]


def read_run(folder: str | os.PathLike) -> Run:
    """Read a run's folder; the run may be under way.

    Raises:
        InputError: no run in this folder, or a damaged file of it.
    """
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is no folder of a training run: give the --out of othello-circuits train")
    run = RunFolder(path)
    about = run.read_config()
    _check_config(about["config"], run.config_path)
    train, evals, events = _log(run.read_log(), run.log_path)
    kept = [re.fullmatch(r"games-(\d+)\.safetensors", p.name) for p in sorted(path.glob("checkpoints/games-*"))]
    return Run(
        name=path.resolve().name,
        path=str(folder),
        about=about,
        train=train,
        evals=evals,
        events=events,
        kept=tuple(sorted(int(m[1]) for m in kept if m)),
        specimen=Specimen.from_json(path / "specimen.json") if (path / "specimen.json").exists() else None,
    )


def read_runs(folders: Run | str | os.PathLike | Sequence[Run | str | os.PathLike]) -> tuple[Run, ...]:
    """One run or several, each from its folder or as it is."""
    given = [folders] if isinstance(folders, Run | str | os.PathLike) else list(folders)
    if not given:
        raise InputError("no training run: give the folder of one, or a list of folders")
    return tuple(f if isinstance(f, Run) else read_run(f) for f in given)


def _check_config(config: dict[str, Any], path: Path) -> None:
    """What a page reads of a configuration is there, and of its kind; another version may have more fields or fewer."""
    for name, plain in TrainConfig().to_dict().items():
        kind = int | float if isinstance(plain, float) else list if isinstance(plain, tuple) else type(plain)
        value = config.get(name, None if name in ("shape", "games", "batch") else plain)
        if plain is not None and not isinstance(value, kind | tuple):
            raise InputError(f"{path} is damaged: its config's {name} is {json.dumps(value)[:40]}")
    missing = [k for k in SHAPE if not isinstance(config["shape"].get(k), int)]
    if missing:
        raise InputError(f"{path} is damaged: its config's shape has no whole number {missing[0]}")


def _log(rows: list[dict], path: Path) -> tuple[Columns, Columns, tuple[dict, ...]]:
    parts: dict[str, list[dict]] = {"train": [], "eval": [], "event": []}
    for i, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not isinstance(row["kind"], str):
            raise InputError(f"{path}, line {i}: no line of a training log")
        if row["kind"] in parts:
            parts[row["kind"]].append(row)
        if row["kind"] == "event" and not isinstance(row.get("what"), str):
            raise InputError(f"{path}, line {i}: an event that does not say what happened")
    train = _columns(parts["train"], (*AT, *TRAIN), AT, rows, path)
    evals = _columns(parts["eval"], (*AT, *EVAL), {*AT, *EVAL} - {"kl"}, rows, path)
    places = _columns(parts["event"], AT, AT, rows, path)
    events = [e | {k: float(places[k][i]) for k in AT} for i, e in enumerate(parts["event"])]
    return train, evals, tuple(events)


def _columns(part: list[dict], names: Sequence[str], needed: Collection[str], rows: list[dict], path: Path) -> Columns:
    """The lines of one kind as columns; NaN where a line has no number, which those ``needed`` must have."""
    columns = {}
    for name in names:
        try:
            column = np.array([row.get(name) for row in part], dtype=float)
        except (TypeError, ValueError, OverflowError):
            column = None
        if column is None or column.ndim != 1 or (name in needed and not (np.isfinite(column) & (column >= 0)).all()):
            bad = next(row for row in part if not _is_number(row.get(name), name in needed))
            line = 1 + next(i for i, row in enumerate(rows) if row is bad)
            raise InputError(f"{path}, line {line}: {name} is {json.dumps(bad.get(name))[:40]}, which is no number")
        column[~np.isfinite(column)] = np.nan
        columns[name] = column
    return columns


def _is_number(value: Any, needed: bool) -> bool:
    if value is None:
        return not needed
    try:
        return isinstance(value, int | float) and (0 <= float(value) < math.inf or not needed)
    except OverflowError:
        return False


@cache
def uniform_guess() -> dict[str, float]:
    """The figures of a uniform guess over the 60 moves on the first of the held-out random games.

    With N legal moves at a position: 1 - N/60 of the guesses are illegal, KL is log(60/N), and of N moves drawn
    at random N (1 - N/60) are false positives, while as many are missed. ``"least_loss"`` is the mean of log N: no
    prediction of a uniformly random next move has a lower loss.
    """
    legal = lessons.lesson(lessons.held_out_games(GUESS_GAMES).tokens).legal
    n = legal_tokens(legal[legal != 0]).sum(-1).double()
    moves = len(PLAYABLE)
    figures = {
        "illegal_top1": 1 - n / moves,
        "illegal_mass": 1 - n / moves,
        "kl": math.log(moves) - n.log(),
        "top_n_error": 2 * n * (1 - n / moves),
        "least_loss": n.log(),
    }
    return {name: float(values.mean()) for name, values in figures.items()} | {"loss": math.log(moves)}
