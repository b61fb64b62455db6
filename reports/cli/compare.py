"""``othello-circuits compare``: models side by side, and weight arithmetic."""

import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from circuits.errors import InputError
from reports.cli.options import Act, Device, Heads, Json, NotationOption, Seed, count_or_file, emit, read_games


def compare(
    models: Annotated[
        list[str],
        typer.Argument(metavar="A B [B2 ...]", help="Models as for --model elsewhere; 'bundled' is the bundled one."),
    ],
    games: Annotated[
        list[str] | None,
        typer.Option("--games", metavar="N|FILE", help="Games (default 2500); more than once: several sets."),
    ] = None,
    arithmetic: Annotated[
        str | None,
        typer.Option(metavar="SUM", help="A sum of the models' weights, such as 'A - (B - A)': compared too, as C."),
    ] = None,
    out_model: Annotated[
        Path | None, typer.Option("--out-model", help="Where to save that model: a new .safetensors file.")
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Compare random weights (of --seed) too, as R.")
    ] = False,
    no_probes: Annotated[bool, typer.Option("--no-probes", help="Play and weights only, which takes seconds.")] = False,
    held_out: Annotated[
        float, typer.Option(help="Share of the games held out; of a training file, as it was at training.")
    ] = 0.1,
    whole: Annotated[
        bool, typer.Option("--whole", help="Measure on all games of the second set and later, not the held-out ones.")
    ] = False,
    seed: Seed = 0, device: Device = "cpu",
    out: Annotated[Path | None, typer.Option(help="Also write the comparison as JSON.")] = None,
    notation: NotationOption = "ours", heads: Heads = None, act: Act = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Compare models of one shape: play, the board by layer, weight updates; combine their weights.

    A is what the others are compared with. Probes are trained for each model on the first set of games. In sums,
    models are called A, B, B2, B3 as they are given; mean(B) is the average of all the Bs. An --out-model that
    exists already is refused.

    Example: othello-circuits compare bundled mine.safetensors --games 2500 --games wthor.pgn

    Example: othello-circuits compare bundled mine.safetensors --arithmetic "A - (B - A)" --out-model away.safetensors

    In Python: probes.comparison.compare([a, b], games), circuits.arithmetic.combine("A - (B - A)", {"A": a, "B": b})
    """
    import torch

    from circuits import checkpoints
    from circuits.arithmetic import check_shapes, combine
    from circuits.devices import check_device
    from circuits.expressions import coefficients
    from circuits.files import write_whole
    from circuits.models import random_checkpoint, read_checkpoint
    from probes.comparison import compare as compare_models
    from probes.comparison import names

    if len(models) < 2:
        raise InputError(f"{models[0]} alone: give at least two models to compare")
    labels = names(len(models))
    if arithmetic is not None:
        coefficients(arithmetic, labels)  # a sum that cannot be read is refused before anything is loaded
    _check_out_model(out_model, arithmetic)
    check_device(device)
    sets = list(games or ["2500"])
    for given in sets:
        count_or_file(given)
    read = [read_checkpoint(None if m == "bundled" else m, heads, act) for m in models]
    named = dict(zip(labels, read, strict=True))
    check_shapes(named)
    extra = {}
    if arithmetic is not None:
        extra["C"] = combine(arithmetic, named, out_model.stem if out_model else None)
    if random_weights:
        extra["R"] = random_checkpoint(named["A"], seed)
    opened = [read_games(given, seed, notation) for given in sets]

    # The files are begun first: a place that cannot be written is no news after minutes of work. They get their
    # names at the end: a comparison that is refused leaves none.
    with (
        write_whole(out_model) if out_model is not None else nullcontext() as model_place,
        write_whole(out) if out is not None else nullcontext() as place,
    ):
        if model_place is not None:
            checkpoints.write(extra["C"], model_place, torch.float32)
        result = compare_models(
            named, opened, extra=extra, probes=not no_probes, held_out=held_out, whole=whole, seed=seed, device=device,
            progress=True,
        )  # fmt: skip
        content = result.to_json()
        if place is not None:
            place.write_text(content + "\n", encoding="utf-8")
    wrote = [f"wrote {path}" for path in (out_model, out) if path is not None]
    emit(json.loads(content), as_json, "\n\n".join([result.table(), *(["\n".join(wrote)] if wrote else [])]))


def _check_out_model(out_model: Path | None, arithmetic: str | None) -> None:
    if out_model is None:
        return
    if arithmetic is None:
        raise InputError("--out-model saves the result of --arithmetic: give a sum such as --arithmetic 'A - (B - A)'")
    if out_model.suffix != ".safetensors":
        raise InputError(f"--out-model {out_model}: a model is written as .safetensors; give a name that ends so")
    if os.path.exists(out_model):
        raise InputError(f"{out_model} exists already: remove it or give another --out-model")
