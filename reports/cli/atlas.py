"""``othello-circuits atlas``: everything about every unit, in one pass that may be cut off, as tables."""

import os
from typing import Annotated

import typer

from circuits.errors import InputError
from circuits.told import say
from reports.cli.edit import parse_layers
from reports.cli.options import (
    Act,
    AllPlies,
    Cache,
    Device,
    Heads,
    Json,
    Model,
    Probe,
    RandomWeights,
    Seed,
    count_or_file,
    emit,
)


def atlas(
    out: Annotated[str, typer.Option(metavar="FOLDER|URL", help="Where it is kept: a folder, or s3://…, gs://….")],
    model: Model = None, probe: Probe = None,
    games: Annotated[
        str, typer.Option(metavar="N|FILE", help="A number of random games, or a games file.")
    ] = "20000",
    seed: Seed = 0,
    layers: Annotated[
        str | None, typer.Option(metavar="LAYERS", help="Such as 5, 2-4 or 0,2-4; nothing: all.")
    ] = None,
    units: Annotated[
        str | None, typer.Option(metavar="UNITS", help="Such as L5N404,L2H5: rows of these alone.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes on this machine; nothing: as many as it has cores, one with a GPU.")
    ] = None,
    ray: Annotated[
        int | None, typer.Option(metavar="N", help="N actors of a Ray cluster instead (RAY_ADDRESS says which).")
    ] = None,
    rules: Annotated[
        str, typer.Option(metavar="find|kept|none", help="Find the rules, take the table that is there, or none.")
    ] = "find",
    rule_games: Annotated[int, typer.Option(help="Games for the rules, a quarter of them held out.")] = 1500,
    sample_games: Annotated[int, typer.Option(help="Games for patterns and heads, half of them held out.")] = 600,
    ablated: Annotated[int, typer.Option(help="Positions at which every unit is ablated; one a game.")] = 512,
    batch: Annotated[int, typer.Option(help="Games a forward pass.")] = 32,
    device: Device = "cpu", random_weights: RandomWeights = False, heads: Heads = None, act: Act = None,
    all_plies: AllPlies = False, cache: Cache = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Make the atlas of a model: tables of all neurons and heads that can be asked.

    The same command goes on where an earlier one was cut off. Under torchrun the processes share the work.

    Example: othello-circuits atlas --games 200000 --out atlas

    Example: torchrun --nproc-per-node 8 -m reports.cli atlas --games 20000000 --device cuda --out s3://bucket/atlas

    In Python: probes.atlas.atlas; circuits.atlas.opened.Atlas.open
    """
    chosen, number = parse_layers(layers), count_or_file(games)

    from circuits import models
    from probes.atlas import atlas as make

    checkpoint = models.read_checkpoint(model, heads, act)
    if random_weights:
        checkpoint = models.random_checkpoint(checkpoint, seed)
    made = make(
        out, checkpoint, probe, number, seed=seed, layers=chosen,
        units=None if units is None else [name.strip() for name in units.split(",")],
        driver=_driver(workers, ray, device), rules=rules, rule_games=rule_games, sample_games=sample_games,
        ablated=ablated, batch=batch, all_plies=all_plies, cache=cache,
        told=say, progress=not as_json,
    )  # fmt: skip
    if made is not None:
        result = {"atlas": out, "key": made.key, "provenance": made.provenance, "rows": made.rows}
        emit(result, as_json, text(made, out))


def text(made, out: str) -> str:
    """What there is now, and what to ask it."""
    lines = [f"atlas of {made.model_name} ({made.model_hash})", "measured on"]
    lines += [*(f"  {name:9s} {said}" for name, said in made.measured.items()), "tables"]
    lines += [f"  {name:9s} {rows:>9,} rows   {name}.parquet" for name, rows in made.rows.items()]
    return "\n".join([*lines, f"ask it:  othello-circuits query {out} reads C0"])


def _driver(workers: int | None, ray: int | None, device: str):
    """Who computes, by what was asked for and by torchrun's environment; None: this machine's cores."""
    from circuits.atlas.drivers import Local, OnRay, Torchrun

    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        if workers is not None or ray is not None:
            raise InputError("under torchrun its processes are the workers: leave --workers and --ray out")
        return Torchrun(device)
    if ray is not None:
        if workers is not None:
            raise InputError("--workers and --ray: give one of them")
        return OnRay(ray, gpus=float(device.startswith("cuda")), address=os.environ.get("RAY_ADDRESS"))
    if workers is None and device == "cpu":
        return None
    return Local(1 if workers is None else workers, device)
