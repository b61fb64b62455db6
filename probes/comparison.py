"""Several models of one shape side by side: how they play, how the board is read in them, how their weights differ.

Everything is measured on the same held-out games (`Games.split`), and a difference is taken game by game, so
that what makes a game hard for every model cancels (`circuits.training.by_game`). The standard errors are those of the
games drawn; that a probe trained once more comes out a little different (a few hundredths of a per cent) is not in
them.

play      the figures of `circuits.behaviour`, and the loss and accuracy of the move that was really played (on
          uniformly random games the best loss is that of the guess, the mean of log N over N legal moves)
reading   after each layer, the accuracy of probes trained for each model on the same games, asked for mine and
          theirs and for black and white
transfer  A's own probe on another model's stream. A probe as good as A's says that the other model knows the
          board as well; A's probe still working says that it is written in the same directions. ``kept`` is the
          skill that A's probe has there over that of the model's own, both over a constant guess:
          (A's probe - constant) / (own probe - constant)
updates, alignment, inside   of the weights: see `circuits.arithmetic`
"""

import json
import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from circuits import arithmetic, plain
from circuits.activations import points
from circuits.checkpoints import Checkpoint, weight_shapes
from circuits.errors import InputError
from circuits.files import write_whole
from circuits.games import MIDDLE_BAND, Games
from circuits.training.by_game import PerGame, play_by_game
from probes import baselines, comparison_tables, training
from probes.scoring import Item, count
from probes.sets import ProbeSet

TASKS = ("board", "board_absolute")
#: the share of games held out, as at training (`circuits.training.config`)
HELD_OUT = 0.1


@dataclass(frozen=True)
class Comparison:
    """Figures of several models; accuracies and shares are fractions, lists by layer have one entry a layer.

    Attributes:
        about: games, split, plies, seeds, versions, seconds; ``base``: the model the others are compared with.
        models: name -> the model's own name, its hash, and how it was made if by arithmetic.
        play: for each set of games, ``figures``: figure -> model -> value, se, and difference, difference_se to
            the first model; and ``guess``: the same figures of a uniform guess (over the 60 moves; for the
            move played, over the legal ones).
        reading: for each set of games, ``accuracy``: task -> model -> the same four, by layer; ``transfer``: model
            -> the same four, the differences to its own probe, and kept; ``constant``: task -> constant guess.
        updates: model -> rows of `circuits.arithmetic.Update`; empty where models were given without raw weights.
        alignment: rows of `circuits.arithmetic.Alignment`.
        inside: model -> by layer, the share of the update of W_O and W_out in the span of A's board probe's
            directions (``update``), the share of A's own W_O and W_out (``weights``), and a random one's.
    """

    about: dict
    models: dict
    play: tuple
    reading: tuple
    updates: dict
    alignment: tuple
    inside: dict

    def table(self) -> str:
        """Everything as text."""
        return comparison_tables.text(self)

    def _repr_html_(self) -> str:
        return comparison_tables.html(self)

    def to_json(self, path: str | os.PathLike | None = None) -> str:
        """As JSON, and into a file where a path is given."""
        content = json.dumps(asdict(self), indent=1, allow_nan=False)
        if path is not None:
            with write_whole(path) as temporary:
                temporary.write_text(content + "\n", encoding="utf-8")
        return content

    @staticmethod
    def from_json(source: str | os.PathLike) -> "Comparison":
        """From a file, or from the text that `to_json` gave.

        Raises:
            InputError: no such file, or no comparison.
        """
        is_text = isinstance(source, str) and source.lstrip().startswith("{")
        where = "the text" if is_text else source
        try:
            content = json.loads(source if is_text else Path(source).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{where} is no readable comparison ({error})") from None
        if not isinstance(content, dict) or set(content) != {f.name for f in fields(Comparison)}:
            raise InputError(f"{where} is no comparison of models: its fields differ from ours")
        return Comparison(**{k: _tuples(v) for k, v in content.items()})


def compare(
    models: Mapping[str, Any] | Sequence[Any],
    games: Games | Sequence[Games],
    *,
    extra: Mapping[str, Any] | None = None,
    probes: bool = True,
    held_out: float = HELD_OUT,
    whole: bool = False,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = False,
) -> Comparison:
    """Compare models of one shape with the first of them.

    Args:
        models: two or more, by name or in order (then called A, B, B2, B3, ...): checkpoints
            (`circuits.models.read_checkpoint`), or models that are open, whose raw weights are no longer known.
        games: one set or several. Probes are trained on the first one's training side; everything is measured on
            the held-out side of every set.
        extra: more models that are measured, but are no continuations of the first one's training.
        probes: train and evaluate probes, which takes most of the time.
        held_out, seed: of the split; a file of games on which a model was trained needs the same ones here.
        whole: measure on every game of the sets but the first, not only on the held-out side.
        device: where checkpoints are run.
        progress: bars on stderr.

    Raises:
        InputError: fewer than two models, models of different shapes, too few games to split.
    """
    start = time.perf_counter()
    named = dict(models) if isinstance(models, Mapping) else dict(zip(names(len(models)), models, strict=True))
    if len(named) < 2:
        raise InputError(f"{len(named)} model to compare: give at least two")
    everything = {**named, **(extra or {})}
    shape = arithmetic.check_shapes(everything)
    sets = [games] if isinstance(games, Games) else list(games)
    if not sets:
        raise InputError("no games are given to compare models on")
    parts = [s if whole and i else s.split(held_out, seed)[1] for i, s in enumerate(sets)]
    hooks = [h for h in points(shape) if h.endswith("resid_post")]
    base, own, played, read = next(iter(named)), {}, [{} for _ in sets], [{} for _ in sets]
    cards = {}
    for name, item in everything.items():  # one at a time, so that memory holds one model
        model = _open(item, device)
        cards[name] = {"name": model.name, "hash": model.hash, "made of": str(model.card.get("expression", ""))}
        for i, part in enumerate(parts):
            played[i][name] = play_by_game(model, part, f"{name} playing" if progress else None)
        if not probes:
            continue
        label = f"{name} probes" if progress else None
        own[name] = training.train(
            model, sets[0], hooks=hooks, tasks_=TASKS, held_out=held_out, seed=seed, progress=label
        )
        for i, part in enumerate(parts):
            read[i][name] = _read(model, part, hooks, own[name], own[base], label)

    a, *bs = named.items()
    raw = all(isinstance(m, Checkpoint) for m in named.values())
    a, rest = (a[1], dict(bs)) if raw else (None, {})
    train_side = sets[0].split(held_out, seed)[0] if probes else None
    return Comparison(
        about={
            "base": base,
            "updated": tuple(n for n in named if n != base),
            "games": tuple({"source": s.source, "fingerprint": s.fingerprint, "games": len(s)} for s in sets),
            "held_out": held_out,
            "whole": whole,
            "seed": seed,
            "plies": (MIDDLE_BAND.start, MIDDLE_BAND.stop - 1),
            "probe_games": 0 if train_side is None else len(train_side),
            "parameters": sum(math.prod(size) for size in weight_shapes(shape).values()),
            "versions": {"torch": torch.__version__, "python": platform.python_version()},
            "device": device,
            "seconds": round(time.perf_counter() - start, 1),
        },
        models=cards,
        play=tuple(_play_figures(s, part, by, base) for s, part, by in zip(sets, parts, played, strict=True)),
        reading=tuple(
            _reading_figures(s, part, by, base, train_side, hooks)
            for s, part, by in zip(sets, parts, read, strict=True)
            if by
        ),
        updates={n: tuple(asdict(u) for u in arithmetic.updates(a, b)) for n, b in rest.items()},
        alignment=tuple(asdict(row) for row in arithmetic.alignment(a, rest)) if rest else (),
        inside={n: _inside(a, b, own[base], hooks) for n, b in rest.items()} if own else {},
    )


def names(n: int) -> list[str]:
    """What n models are called: A, B, B2, B3, ..."""
    return ["A", "B", *(f"B{i}" for i in range(2, n))][:n]


def _open(item: Any, device: str):
    if not isinstance(item, Checkpoint):
        return item
    return plain.load(item, device=device)


def _read(model, games: Games, hooks: Sequence[str], own: ProbeSet, base: ProbeSet, progress: str | None) -> dict:
    """Per task, and for A's probe as "transfer": by layer, what was read by game."""
    items = [Item(own[task, h], h, task) for task in TASKS for h in hooks]
    items += [Item(base["board", h], h, "board") for h in hooks]
    counts = [PerGame(c.game_correct, c.game_squares) for c in count(model, games, items, progress=progress)]
    if not counts[0].counts.sum():
        raise InputError(f"{games.source} has no position at plies {MIDDLE_BAND.start}..{MIDDLE_BAND.stop - 1} to read")
    n = len(hooks)
    return {name: counts[i * n : (i + 1) * n] for i, name in enumerate((*TASKS, "transfer"))}


def _figures(values: Sequence[PerGame], than: Sequence[PerGame] | None) -> dict:
    """value, se, difference, difference_se, each by layer."""
    differences = [v - t for v, t in zip(values, than, strict=True)] if than is not None else []
    return {
        "value": tuple(v.value for v in values),
        "se": tuple(v.standard_error for v in values),
        "difference": tuple(d.value for d in differences),
        "difference_se": tuple(d.standard_error for d in differences),
    }


def _play_figures(games: Games, part: Games, by: dict, base: str) -> dict:
    first = by[base]
    figures = {}
    for name in first:
        rows = {m: _figures([p[name][0]], None if m == base else [first[name][0]]) for m, p in by.items()}
        figures[name] = {m: {k: v[0] if v else None for k, v in row.items()} for m, row in rows.items()}
    return {
        "games": games.source,
        "fingerprint": games.fingerprint,
        "measured_games": len(part),
        "positions": int(first["illegal_top1"][0].counts.sum()),
        "moves": int(first["next_move_loss"][0].counts.sum()),
        "figures": figures,
        "guess": {name: guess for name, (_, guess) in first.items()},
    }


def _reading_figures(games: Games, part: Games, by: dict, base: str, train: Games, hooks: Sequence[str]) -> dict:
    constant = {t: baselines.constant(train, part, task=t).per_square_and_ply for t in TASKS}
    transfer = {}
    for name, found in by.items():
        if name == base:
            continue
        own = found["board"]
        kept = [
            (t.value - constant["board"]) / (o.value - constant["board"]) if o.value > constant["board"] else None
            for t, o in zip(found["transfer"], own, strict=True)
        ]
        transfer[name] = {**_figures(found["transfer"], own), "kept": tuple(kept)}
    return {
        "games": games.source,
        "fingerprint": games.fingerprint,
        "measured_games": len(part),
        "positions": int(by[base]["board"][0].counts.sum()) // 64,
        "points": tuple(hooks),
        "constant": constant,
        "accuracy": {t: {m: _figures(f[t], None if m == base else by[base][t]) for m, f in by.items()} for t in TASKS},
        "transfer": transfer,
    }


def _inside(a: Checkpoint, b: Checkpoint, probes: ProbeSet, hooks: Sequence[str]) -> tuple:
    rows = []
    for layer, hook in enumerate(hooks):
        directions = probes.directions(hook)
        before, after = arithmetic.written(a, layer), arithmetic.written(b, layer)
        rows.append(
            {
                "update": arithmetic.inside(after - before, directions),
                "weights": arithmetic.inside(before, directions),
                "random": min(1.0, directions.rank / (a.shape.d_model - 1)),
                "rank": directions.rank,
            }
        )
    return tuple(rows)


def _tuples(value):
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
