"""An atlas of a model with its probes: what `circuits.atlas` needs, opened and put together.

from probes.atlas import atlas
made = atlas("atlas", games=200_000)     # goes on where an earlier call was cut off
made.pandas("units").nlargest(20, "kl")
"""

import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import torch

from circuits import models, plain
from circuits.activations import BATCH
from circuits.atlas import plan as p
from circuits.atlas.drivers import Driver, Local
from circuits.atlas.opened import Atlas
from circuits.atlas.run import Inputs, make_atlas
from circuits.atlas.sources import Source
from circuits.atlas.store import Store
from circuits.atlas.work import probes_to_bytes
from circuits.checkpoints import Checkpoint
from circuits.devices import check_device
from circuits.errors import InputError
from circuits.files import cache_folder
from circuits.games import MIDDLE_BAND, Games, load
from circuits.head_sources import FACTS
from circuits.induction.kept import table_of
from circuits.mining import SAMPLE_GAMES
from circuits.notation import N_CTX, Unit
from probes import load as load_probes
from probes.sets import ProbeSet

GAMES = 20_000


def atlas(
    out: str | os.PathLike,
    model: str | os.PathLike | Checkpoint | None = None,
    probe: str | os.PathLike | ProbeSet | None = None,
    games: int | str | os.PathLike | Games = GAMES,
    *,
    seed: int = 0,
    layers: Sequence[int] | None = None,
    units: Sequence[str | Unit] | None = None,
    driver: Driver | None = None,
    rules: str = "find",
    rule_games: int = 1500,
    sample_games: int = SAMPLE_GAMES,
    ablated: int = 256,
    batch: int = BATCH,
    all_plies: bool = False,
    heads: int | None = None,
    act: str | None = None,
    cache: Path | None = None,
    told: Callable[[str], None] = lambda _: None,
    progress: bool = True,
) -> Atlas | None:
    """Make the atlas of a model, or go on with one.

    Args:
        out: a folder, or a URL that fsspec opens.
        model, probe: as `reports.open_model`; without a probe of another model, what is read and written on the board
            is left out, and ``told`` is told so.
        games: a number of random games, a file, or a set.
        layers, units: those that get rows in the tables.
        driver: who computes; this machine's cores if not given.
        rules: "find" them, take the table "kept" in the cache or the package, or "none".
        rule_games, sample_games: games for rules, and for patterns and heads; ablated: positions, one a game.

    Returns:
        The atlas; None in a process that does not lead.

    Raises:
        InputError: as `circuits.atlas.run.make_atlas`; a model, probe or games that cannot be read; no table kept.
    """
    driver = driver or Local(_cores())
    check_device(driver.device)
    checkpoint = model if isinstance(model, Checkpoint) else models.read_checkpoint(model, heads, act)
    opened = plain.load(checkpoint)
    wanted = None if units is None else [opened.unit(unit) for unit in units]
    own = None if isinstance(games, int) else games if isinstance(games, Games) else load(games)
    source = Source.kept(games, seed) if isinstance(games, int) else Source.of(own)
    probes = _probes(opened, probe, told)
    readers = probes.board_readers() if probes else {}
    directions = {hook: _directions(probes, hook) for hook in probes.hooks()} if probes else {}
    table = table_of(opened.hash, cache or cache_folder()) if rules == "kept" else None
    if rules == "kept" and table is None:
        raise InputError(f"rules kept: there is no table of rules of {opened.name}; othello-circuits rules makes one")
    band = slice(0, N_CTX) if all_plies else MIDDLE_BAND
    settings = p.Settings(
        first_ply=band.start, last_ply=band.stop - 1, seed=seed, batch=batch, shard_games=p.shard_games(source.games),
        sample_games=sample_games, rule_games=rule_games, ablated=ablated, rules=rules,
    )  # fmt: skip
    plan = p.Plan(
        model=opened.hash, model_name=opened.name, source=source, settings=settings, n_layers=opened.shape.n_layers,
        probes="none" if probes is None else repr(probes), readers=_hash(probes_to_bytes(readers, directions)),
        kept_rules=None if table is None else _hash(table.provenance.to_json().encode()),
        device=torch.device(driver.device).type, code=p.code(), torch=p.torch_version(),
    )  # fmt: skip
    unchanged = _unchanged(Path(games)) if isinstance(games, str | os.PathLike) else lambda: None
    inputs = Inputs(checkpoint, readers, directions, own, table, unchanged)
    return make_atlas(plan, inputs, Store(os.fspath(out)), driver, layers=layers, units=wanted, progress=progress)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _probes(model: plain.PlainModel, probe, told: Callable[[str], None]) -> ProbeSet | None:
    if isinstance(probe, ProbeSet):
        probe.check(model)
        return probe
    if probe is None and not model.is_bundled:
        told(f"no probes for {model.name}: what is read and written on the board is left out (--probe gives them)")
        return None
    return load_probes(model, probe)


def _directions(probes: ProbeSet, hook: str):
    """Those of every task that the set has at a point."""
    return probes.directions(hook, tuple(task for task in ("board", *FACTS[2:]) if (task, hook) in probes))


def _unchanged(path: Path) -> Callable[[], None]:
    """Asked at the end: is the games file what it was?"""
    before = _hash(path.read_bytes())

    def check() -> None:
        if not path.is_file() or _hash(path.read_bytes()) != before:
            raise InputError(
                f"{path} changed while the atlas was made of it: no tables were written; "
                "bring the file back and run the same command again, or give another --out"
            )

    return check


def _hash(data: bytes) -> str:
    return sha256(data).hexdigest()[:16]
