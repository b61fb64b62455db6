"""`open_model`: a model, its probes and its games opened together, as `reports.workbench` takes them."""

import os
import shlex
from pathlib import Path

import probes as probe_files
from circuits import models
from circuits.errors import InputError
from circuits.files import cache_folder
from circuits.games import MIDDLE_BAND, Games, generate
from circuits.notation import N_CTX
from probes.evaluation import bundled as bundled_evaluation
from probes.of_random_weights import probes_of_random_weights
from reports.workbench import SEED, Workbench

#: games mined when none are given
GAMES = 4000


def open_model(
    model: str | os.PathLike | None = None,
    probe: str | os.PathLike | None = None,
    games: str | os.PathLike | Games | int = GAMES,
    *,
    seed: int = SEED,
    all_plies: bool = False,
    device: str = "cpu",
    heads: int | None = None,
    act: str | None = None,
    cache: str | os.PathLike | bool = True,
    random_weights: bool = False,
) -> Workbench:
    """Open a model with its probes and games.

    Args:
        model: nothing for the bundled one, a path, or a Hugging Face id (see `circuits.models.load`).
        probe: a probe file; nothing for the bundled one, which fits the bundled model only.
        games: how many random games, a games file, or a set of games.
        seed: of the random games, the samples and the splits.
        all_plies: statistics over every ply instead of the middle band 5..53.
        cache: True for the default folder, a folder, or False to keep no finished pass.
        random_weights: random weights (of ``seed``) in place of the model's, as a baseline. Probes for them are
            trained where none are given, and kept in the cache.

    Raises:
        InputError: something cannot be read, or the probe is another model's.
    """
    random_seed = seed if random_weights else None
    checkpoint = models.read_checkpoint(model, heads, act, random_seed)
    opened = models.load(model, heads=heads, act=act, device=device, random_seed=random_seed)
    folder = cache_folder() if cache is True else Path(cache) if cache else None
    if random_weights and probe is None:
        probe_set = probes_of_random_weights(opened, seed, folder)
    else:
        probe_set = probe_files.load(opened, probe)
    options, arguments = "", ""
    for flag, value in (("model", model), ("probe", probe), ("heads", heads), ("act", act)):
        if value is not None:
            options += f" --{flag} {shlex.quote(str(value))}"
            arguments += f", {flag}={value if isinstance(value, int) else str(value)!r}"
    if random_weights:
        options, arguments = f"{options} --random-weights", f"{arguments}, random_weights=True"
    if str(device) != "cpu":
        options, arguments = f"{options} --device {shlex.quote(str(device))}", f"{arguments}, device={str(device)!r}"
    if isinstance(games, int):
        if games < 1:
            raise InputError(f"{games} games: give at least 1")
        if games != GAMES:
            options, arguments = f"{options} --games {games}", f"{arguments}, games={games}"
        games = generate(games, seed)
    elif not isinstance(games, Games):
        from circuits.games import load

        options = f"{options} --games {shlex.quote(str(games))}"
        arguments = f"{arguments}, games={str(games)!r}"
        games = load(games)
    if seed != SEED:
        options, arguments = f"{options} --seed {seed}", f"{arguments}, seed={seed}"
    if all_plies:
        options, arguments = f"{options} --all-plies", f"{arguments}, all_plies=True"
    plies = slice(0, N_CTX) if all_plies else MIDDLE_BAND
    return Workbench(
        opened, checkpoint, probe_set, games, seed, plies, cache=folder,
        evaluation=bundled_evaluation() if probe is None and not random_weights else None,
        options=options, arguments=arguments[2:],
    )  # fmt: skip
