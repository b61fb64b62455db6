"""``othello-circuits probe``: train, evaluate and convert linear probes."""

import json
from pathlib import Path
from typing import Annotated

import typer

from reports.cli.options import (
    Act,
    Device,
    GamesOption,
    Heads,
    Json,
    Model,
    Probe,
    RandomWeights,
    Seed,
    emit,
    read_games,
)

app = typer.Typer(
    help="Train, evaluate and convert linear probes.\n\nExample: othello-circuits probe evaluate",
    no_args_is_help=True,
)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="The probe file to write (.safetensors).")],
    model: Model = None, games: GamesOption = "2500", seed: Seed = 0, device: Device = "cpu",
    method: Annotated[str, typer.Option(help="whitened (default), or adamw: the published recipe.")] = "whitened",
    by_mover: Annotated[bool, typer.Option("--by-mover", help="Also black-to-move and white-to-move apart.")] = False,
    all_plies: Annotated[bool, typer.Option("--all-plies", help="Every ply, not the middle band 5..53.")] = False,
    random_weights: RandomWeights = False, heads: Heads = None, act: Act = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Train probes of the board (and flipped, played, legal) at every point of the stream.

    Example: othello-circuits probe train --model mine.safetensors --out mine.probes.safetensors

    In Python: probes.train(model, games).save("mine.probes.safetensors")
    """
    import probes
    from circuits.games import MIDDLE_BAND
    from circuits.models import load

    set_ = read_games(games, seed)
    random_seed = seed if random_weights else None
    opened = load(model, heads=heads, act=act, device=device, random_seed=random_seed)
    band = slice(None) if all_plies else MIDDLE_BAND
    trained = probes.train(opened, set_, method=method, by_mover=by_mover, band=band, seed=seed, progress="training")
    trained.save(out)
    result = {"file": str(out), "probes": [list(key) for key in trained], "about": trained.about}
    emit(result, as_json, f"{trained!r}\nwrote {out}")


@app.command()
def evaluate(
    model: Model = None, probe: Probe = None,
    games: Annotated[
        str | None, typer.Option(metavar="N|FILE", help="Games, split as in training; nothing: the stored evaluation.")
    ] = None,
    seed: Seed = 0, device: Device = "cpu",
    no_baselines: Annotated[bool, typer.Option("--no-baselines", help="No baselines that need training.")] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the evaluation as JSON.")] = None,
    random_weights: RandomWeights = False, heads: Heads = None, act: Act = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Held-out accuracy of probes at every point, beside their baselines.

    For the bundled model's own probes the stored evaluation is shown unless --games is given. Probes of random
    weights are trained first where none are given, and kept.

    Example: othello-circuits probe evaluate --games 2000 --json

    In Python: probes.evaluate(model, probe_set, games).table()
    """
    import probes
    from circuits.files import cache_folder
    from circuits.models import load
    from probes.evaluation import bundled
    from probes.of_random_weights import probes_of_random_weights

    if model is None and probe is None and games is None and not random_weights:
        result = bundled()
    else:
        set_ = read_games(games or "2000", seed)
        random_seed = seed if random_weights else None
        opened = load(model, heads=heads, act=act, device=device, random_seed=random_seed)
        if random_weights and probe is None:
            found = probes_of_random_weights(opened, seed, cache_folder())
        else:
            found = probes.load(opened, probe)
        result = probes.evaluate(
            opened, found, set_, with_baselines=not no_baselines, seed=seed, progress="evaluating"
        )  # fmt: skip
    if out is not None:
        result.to_json(out)
    emit(json.loads(result.to_json()), as_json, result.table() + (f"\nwrote {out}" if out else ""))


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A published probe file, or with --format one of ours.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    to: Annotated[
        str | None, typer.Option("--format", help="Published layout to write: nanda, board, flipped or li.")
    ] = None,
    hook: Annotated[str | None, typer.Option(help="The point it reads, where the file's name does not say.")] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The model it belongs to: checked, and written into the file.")
    ] = None,
    drop_bias: Annotated[bool, typer.Option("--drop-bias", help="Leave out the bias, as published.")] = False,
    heads: Heads = None, act: Act = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Turn a published probe file into ours, or ours into a published one.

    Example: othello-circuits probe convert main_linear_probe.pth --out main.probes.safetensors

    In Python: probes.convert("main_linear_probe.pth", "main.probes.safetensors")
    """
    import probes
    from circuits.models import load

    opened = load(model, heads=heads, act=act) if model is not None else None
    said = probes.convert(source, out, format_=to, hook=hook, model=opened, drop_bias=drop_bias)
    emit({"file": str(out), "probes": said}, as_json, f"wrote {said}")
