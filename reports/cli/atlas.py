"""``othello-circuits atlas``: everything about every unit, in one pass that may be cut off, as tables."""

import os
import sys
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from circuits.errors import InputError
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

GAMES = 20_000


def atlas(
    out: Annotated[str, typer.Option(metavar="FOLDER|URL", help="Where it is kept: a folder, or s3://…, gs://….")],
    model: Model = None, probe: Probe = None,
    games: Annotated[
        str, typer.Option(metavar="N|FILE", help="A number of random games, or a games file.")
    ] = str(GAMES),
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
    ablated: Annotated[int, typer.Option(help="Positions at which every unit is ablated; one a game.")] = 256,
    batch: Annotated[int, typer.Option(help="Games a forward pass.")] = 32,
    device: Device = "cpu", random_weights: RandomWeights = False, heads: Heads = None, act: Act = None,
    all_plies: AllPlies = False, cache: Cache = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Make the atlas of a model: tables of all neurons and heads that can be asked.

    The same command goes on where an earlier one was cut off. Under torchrun the processes share the work.

    Example: othello-circuits atlas --games 200000 --out atlas

    Example: torchrun --nproc-per-node 8 -m reports.cli atlas --games 20000000 --device cuda --out s3://bucket/atlas

    In Python: circuits.atlas.run.make_atlas; circuits.atlas.opened.Atlas.open
    """
    chosen, number = parse_layers(layers), count_or_file(games)

    import torch

    import probes as probe_files
    from circuits import models, plain
    from circuits.atlas import plan as p
    from circuits.atlas.run import Inputs, make_atlas
    from circuits.atlas.sources import Source
    from circuits.atlas.store import Store
    from circuits.devices import check_device
    from circuits.files import cache_folder
    from circuits.games import MIDDLE_BAND, load
    from circuits.induction.kept import table_of
    from circuits.notation import N_CTX, parse_unit

    check_device(device)
    checkpoint = models.read_checkpoint(model, heads, act)
    if random_weights:
        checkpoint = models.random_checkpoint(checkpoint, seed)
    opened = plain.load(checkpoint)
    wanted = None if units is None else [opened.unit(parse_unit(name.strip())) for name in units.split(",")]
    probes = readers = None
    if probe is None and (random_weights or not opened.is_bundled):
        print(
            f"othello-circuits: no probes for {opened.name}: what is read and written on the board is left out "
            "(--probe gives them)",
            file=sys.stderr,
        )
    else:
        probes = probe_files.load(opened, probe)
        readers = probes.board_readers()
    own = None if isinstance(number, int) else load(number)
    source = Source.random(number, seed) if own is None else Source.of(own)
    kept = table_of(opened.hash, cache or cache_folder()) if rules == "kept" else None
    if rules == "kept" and kept is None:
        raise InputError(f"--rules kept: there is no table of rules of {opened.name}; othello-circuits rules makes one")
    band = slice(0, N_CTX) if all_plies else MIDDLE_BAND
    settings = p.Settings(
        first_ply=band.start, last_ply=band.stop - 1, seed=seed, batch=batch, shard_games=p.shard_games(source.games),
        sample_games=sample_games, rule_games=rule_games, ablated=ablated, rules=rules,
    )  # fmt: skip
    directions = {hook: _directions(probes, hook) for hook in probes.hooks()} if probes else {}
    plan = p.Plan(
        model=opened.hash, model_name=opened.name, source=source, settings=settings, n_layers=opened.shape.n_layers,
        probes="none" if probes is None else repr(probes), readers=_readers_hash(readers or {}, directions),
        kept_rules=None if kept is None else sha256(kept.provenance.to_json().encode()).hexdigest()[:16],
        device=torch.device(device).type, code=p.code(), torch=p.torch_version(),
    )  # fmt: skip
    inputs = Inputs(
        checkpoint, readers or {}, directions, own, kept, (lambda: None) if own is None else _unchanged(Path(number))
    )
    made = make_atlas(
        plan, inputs, Store(out), _driver(workers, ray, device), layers=chosen, units=wanted, progress=not as_json
    )
    if made is not None:
        result = {"atlas": out, "key": made.key, "provenance": made.provenance, "rows": made.rows}
        emit(result, as_json, text(made, out))


def text(made, out: str) -> str:
    """What there is now, and what to ask it."""
    lines = [f"atlas of {made.model_name} ({made.model_hash})", *(f"  {said}" for said in made.measured.values())]
    lines += [f"  {name:9s} {rows:>9,} rows   {name}.parquet" for name, rows in made.rows.items()]
    return "\n".join([*lines, f"ask it:  othello-circuits query {out} reads C0"])


def _driver(workers: int | None, ray: int | None, device: str):
    from circuits.atlas.drivers import Local, OnRay, Torchrun

    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        if workers is not None or ray is not None:
            raise InputError("under torchrun its processes are the workers: leave --workers and --ray out")
        return Torchrun(device)
    if ray is not None:
        if workers is not None:
            raise InputError("--workers and --ray: give one of them")
        return OnRay(ray, gpus=float(device.startswith("cuda")))
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if device == "cpu" and hasattr(os, "sched_getaffinity") else 1
    return Local(workers, device)


def _unchanged(path: Path):
    """Asked at the end: is the games file what it was?"""
    before = sha256(path.read_bytes()).hexdigest()

    def check() -> None:
        if not path.is_file() or sha256(path.read_bytes()).hexdigest() != before:
            raise InputError(
                f"{path} changed while the atlas was made of it: no tables were written; "
                "bring the file back and run the same command again, or give another --out"
            )

    return check


def _directions(probes, hook: str):
    """Those of every task that the set has at a point."""
    from circuits.head_sources import FACTS

    return probes.directions(hook, tuple(task for task in ("board", *FACTS[2:]) if (task, hook) in probes))


def _readers_hash(readers: dict, directions: dict) -> str:
    from circuits.atlas.work import probes_to_bytes

    return sha256(probes_to_bytes(readers, directions)).hexdigest()[:16]
