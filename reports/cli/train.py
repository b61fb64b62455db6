"""``othello-circuits train``: make an Othello-GPT, and look at it when it is done."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from circuits.errors import InputError
from reports.cli.options import Device, Json, emit

Out = Annotated[Path, typer.Option(help="The run's folder: log, checkpoints, the model, a page with the curves.")]


def train(
    out: Out,
    size: Annotated[
        str | None,
        typer.Option(help="mini (the default), paper (8 x 512, 25 M parameters), or nano."),
    ] = None,
    layers: Annotated[int | None, typer.Option(help="Layers, in place of the size's.")] = None,
    width: Annotated[int | None, typer.Option(help="Width of the residual stream.")] = None,
    heads: Annotated[int | None, typer.Option(help="Heads a layer.")] = None,
    mlp: Annotated[int | None, typer.Option(help="Neurons a layer (default: 4 x width).")] = None,
    act: Annotated[str | None, typer.Option(help="gelu (default), gelu_new, relu, silu or solu.")] = None,
    objective: Annotated[str | None, typer.Option(help="legal (default; random games only) or sampled.")] = None,
    games: Annotated[int | None, typer.Option(help="How many games to show in all (default 1000000).")] = None,
    games_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Train on these games, not on fresh random ones."),
    ] = None,
    notation: Annotated[str | None, typer.Option(help="Of a text file: ours (default) or standard.")] = None,
    symmetries: Annotated[bool | None, typer.Option("--symmetries", help="File games in four orientations.")] = None,
    held_out: Annotated[float | None, typer.Option(help="Share of a file's games held out (default 0.1).")] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="File games: stop after so many worse evaluations (default 0: never)."),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Games a step (default 128).")] = None,
    optimiser: Annotated[str | None, typer.Option(help="muon (default; AdamW on what is no matrix) or adamw.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate (default: muon 0.01, adamw 0.001).")] = None,
    lr_rest: Annotated[
        float | None,
        typer.Option(help="Peak rate of what is no matrix (default: 0.002 beside muon)."),
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of matrices (default: muon 0.2, adamw 0.1).")] = None,
    warmup: Annotated[int | None, typer.Option(help="Steps of warm-up (default 100).")] = None,
    decay: Annotated[
        float | None,
        typer.Option(help="Last fraction of the run, over which the rates fall (default 0.5)."),
    ] = None,
    final: Annotated[float | None, typer.Option(help="Share of the peak rates at the end (default 0.02).")] = None,
    dropout: Annotated[float | None, typer.Option(help="Dropout probability (default 0.0; paper 0.1).")] = None,
    dropout_until: Annotated[
        float | None,
        typer.Option(help="Share of the run after which nothing is dropped (default 1.0)."),
    ] = None,
    clip: Annotated[float | None, typer.Option(help="Largest gradient norm (default 1.0).")] = None,
    precision: Annotated[str | None, typer.Option(help="bf16 (default; autocast) or fp32.")] = None,
    init: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Go on from this model; 'bundled' is the bundled one."),
    ] = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option(help="Do not train: embed, pos_embed, L0-L5, ln_final, unembed, or init (all of --init)."),
    ] = None,
    add_layers: Annotated[int | None, typer.Option(help="New layers on top of --init (default 0).")] = None,
    log_every: Annotated[int | None, typer.Option(help="Steps between lines of the log (default 20).")] = None,
    eval_every: Annotated[
        int | None,
        typer.Option(help="Games between evaluations (default 0: at checkpoints)."),
    ] = None,
    eval_games: Annotated[int | None, typer.Option(help="Held-out games of each (default 500).")] = None,
    final_eval_games: Annotated[int | None, typer.Option(help="Held-out games of the last (default 10000).")] = None,
    first_checkpoint: Annotated[
        int | None,
        typer.Option(help="Games at the first checkpoint, then at each doubling (default 1000)."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, games and dropout (default 0).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, or begin it.")] = False,
    minutes: Annotated[float | None, typer.Option(help="Stop after so long, ready for --resume.")] = None,
    compiled: Annotated[bool | None, typer.Option("--compile/--no-compile", help="Default: where it helps.")] = None,
    specimen: Annotated[bool, typer.Option("--specimen/--no-specimen", help="At the end, look inside.")] = True,
    device: Device = "cpu", as_json: Json = False,
) -> None:  # fmt: skip
    """Train an Othello-GPT, on random games made as training goes, or on games of a file.

    Example: othello-circuits train --size mini --games 200000 --out runs/mine

    Ctrl-C stops with everything saved; the same command with --resume goes on. Several GPUs:
    torchrun --nproc-per-node 4 -m reports.cli train --device cuda …

    In Python: circuits.training.loop.train(TrainConfig(...), "runs/mine")
    """
    from circuits.training.config import TrainConfig, shape_of
    from circuits.training.loop import LossIsNoNumber
    from circuits.training.loop import train as run
    from circuits.training.run_folder import RunFolder
    from circuits.training.start import shape_to_go_on_from, stored_config

    sizes = {"size": size, "layers": layers, "width": width, "heads": heads, "mlp": mlp, "act": act}
    sizes = {name: value for name, value in sizes.items() if value is not None}
    said = {
        "objective": objective, "games": games, "batch": batch, "optimiser": optimiser, "lr": lr, "lr_rest": lr_rest,
        "weight_decay": weight_decay, "warmup": warmup, "decay": decay, "final": final, "dropout": dropout,
        "dropout_until": dropout_until, "clip": clip, "seed": seed, "precision": precision, "games_file": games_file,
        "notation": notation, "symmetries": symmetries, "held_out": held_out, "patience": patience, "init": init,
        "freeze": tuple(freeze) if freeze else None, "add_layers": add_layers, "log_every": log_every,
        "eval_every": eval_every, "eval_games": eval_games, "final_eval_games": final_eval_games,
        "first_checkpoint": first_checkpoint,
    }  # fmt: skip
    said = {name: value for name, value in said.items() if value is not None}
    folder = RunFolder(out)
    if resume and folder.config_path.exists():  # what is not said again stays as the run was begun
        stored = stored_config(folder)
        config = replace(stored, shape=shape_of(**sizes) if sizes else stored.shape, **said)
    elif init is not None:
        if sizes:
            raise InputError(f"--{next(iter(sizes))} and --init: the model to go on from has its sizes already")
        config = TrainConfig(shape=shape_to_go_on_from(init), **said)
    else:
        config = TrainConfig(shape=shape_of(**sizes), **said)
    try:
        trained = run(config, out, resume=resume, device=device, minutes=minutes, compiled=compiled, progress=True)
    except LossIsNoNumber:
        from reports.training import page as training_page

        training_page.build(out).save(out / "report.html")
        raise
    if os.environ.get("RANK", "0") != "0":
        return
    finish(trained, specimen, device, as_json)


def finish(trained, specimen: bool, device: str, as_json: bool) -> None:
    """Look inside a finished model, write the page, and print both."""
    from circuits.training.progress import figures_in_words
    from reports.training import page as training_page

    inside = None
    if trained.finished and specimen:
        from circuits.plain import load
        from probes.specimen import examine

        inside = examine(load(trained.model, device=device), progress="looking inside")
        inside.to_json(trained.folder / "specimen.json")
    page = training_page.build(trained.folder).save(trained.folder / "report.html")
    e = trained.evaluation
    lines = [
        f"{trained.folder}: {trained.games:,} games in {trained.seconds / 60:.1f} minutes, "
        + ("finished" if trained.finished else "not finished: --resume goes on")
    ]
    if e:
        figures = f"{figures_in_words(e)}, top-N error {e['top_n_error']:.3f}"
        lines.append(f"on {e['eval_games']:,} held-out games: {figures}")
    if inside is not None:
        lines.append(inside.table())
    if trained.finished:
        lines.append(f"model: {trained.model}")
    lines.append(f"page: {page}")
    result = {
        "folder": str(trained.folder), "finished": trained.finished, "games": trained.games,
        "seconds": trained.seconds, "evaluation": e, "model": str(trained.model) if trained.finished else None,
        "page": str(page), "specimen": None if inside is None else json.loads(inside.to_json()),
    }  # fmt: skip
    emit(result, as_json, "\n".join(lines))
