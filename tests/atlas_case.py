"""A small atlas of the tiny model, made in this process or, to be killed, in another one.

python tests/atlas_case.py PLACE MODEL PROBES [WORKERS] [BYTES]    makes it; BYTES: no file may be larger
"""

import sys
from dataclasses import replace
from pathlib import Path

from circuits import models, plain
from circuits.atlas import plan as p
from circuits.atlas.drivers import Driver, Local
from circuits.atlas.opened import Atlas
from circuits.atlas.run import Inputs, make_atlas
from circuits.atlas.sources import Source
from circuits.atlas.store import Store
from circuits.games import Games

GAMES, SHARD = 130, 20
SETTINGS = p.Settings(shard_games=SHARD, sample_games=60, ablated=40, batch=10, examples=4, rules="none")


def case(model: Path, probe: Path, games: Games | None = None, **changed) -> tuple[p.Plan, Inputs]:
    """A plan and its inputs; ``changed`` settings."""
    import probes

    checkpoint = models.read_checkpoint(model)
    opened = plain.load(checkpoint)
    own = probes.load(opened, probe)
    readers = own.board_readers()
    directions = {hook: own.directions(hook) for hook in own.hooks()}
    source = Source.random(GAMES, 3) if games is None else Source.of(games)
    plan = p.Plan(
        opened.hash, opened.name, source, replace(SETTINGS, **changed), opened.shape.n_layers, "trained for a moment",
        "0" * 16, None, "cpu", p.code(), p.torch_version(),
    )  # fmt: skip
    return plan, Inputs(checkpoint, readers, directions, games)


def make(place: Path | str, files: dict[str, Path], driver: Driver | None = None, **more) -> Atlas | None:
    plan, inputs = case(files["model"], files["probe"], **more)
    return make_atlas(plan, inputs, Store(str(place)), driver, progress=False)


if __name__ == "__main__":
    place, model, probe, *rest = sys.argv[1:]
    if len(rest) > 1:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (int(rest[1]), int(rest[1])))
    make(place, {"model": Path(model), "probe": Path(probe)}, Local(int(rest[0]) if rest else 1))
