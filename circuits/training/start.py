"""What a run begins with: its settings, the weights, the games it is shown and those it is held to."""

import os
import shutil
from dataclasses import asdict

import torch
from torch import Tensor

from circuits.checkpoints import Checkpoint, Shape
from circuits.errors import InputError
from circuits.games import Games, load, transcript_hash
from circuits.gpt import add_layers, initial_weights
from circuits.models import read_checkpoint, weights_hash
from circuits.training import lessons
from circuits.training.config import TrainConfig
from circuits.training.crew import Crew
from circuits.training.run_folder import RunFolder

#: CPU runs shorter than this many games are not worth the half minute that compiling takes
COMPILE_FROM = 50_000
#: so many of the held-out random games are kept out of files of games
LOOKED_AT = 10_000


def settle(config: TrainConfig | None, folder: RunFolder, resume: bool, crew: Crew) -> TrainConfig:
    """The configuration of a new run, or of the one resumed, with every default written out.

    Raises:
        InputError: the folder holds a run and ``resume`` is not given, or one begun with other settings, or none.
    """
    if resume and folder.config_path.exists():
        stored = stored_config(folder)
        if config is not None and config.settled() != stored:
            ours, theirs = (c.pop("shape") | c for c in (config.settled().to_dict(), stored.to_dict()))
            name = next(k for k in ours if ours[k] != theirs[k])
            said = f"{name} {theirs[name]}, not {ours[name]}"
            raise InputError(f"{folder.path} was begun with {said}: resume it as it is")
        return stored
    if resume and folder.has_run:
        raise InputError(f"{folder.config_path} is missing: without its settings the run can't be gone on with")
    if resume and config is None:
        folder.read_config()  # says that there is no run
    if config is None:
        config = TrainConfig()
    if crew.leads and folder.has_run:
        raise InputError(f"{folder.path} holds a training run: give --resume to go on with it, or another --out")
    return config.settled()


def stored_config(folder: RunFolder) -> TrainConfig:
    """The configuration that a run was begun with.

    Raises:
        InputError: no run in the folder, or a damaged ``run.json``.
    """
    try:
        return TrainConfig.from_dict(folder.read_config()["config"]).settled()
    except InputError as error:
        where = str(folder.config_path)
        raise error if str(folder.path) in str(error) else InputError(f"{where} is damaged: {error}") from None


def shape_to_go_on_from(init: str) -> Shape:
    """The sizes of a model to go on from (a path, a Hugging Face id, or ``"bundled"``), for `TrainConfig.shape`."""
    return _read(init).shape


def first_weights(config: TrainConfig) -> dict[str, Tensor]:
    """Raw weights under TransformerLens names: random, or those of ``config.init``, with the new layers on top.

    Raises:
        InputError: the model to go on from is not readable, or of another shape.
    """
    if config.init is None:
        weights = initial_weights(config.shape, config.seed)
    else:
        start = _read(config.init)
        if start.shape != config.shape:
            raise InputError(
                f"{config.init} is {_sizes(start.shape)}; this run is configured as {_sizes(config.shape)}"
            )
        weights = start.weights
    if not config.add_layers:
        return weights
    return add_layers(config.shape, weights, config.add_layers, config.seed)[1]


def started_from(config: TrainConfig) -> str:
    """What `first_weights` are, for the model's card: the file's name, and the hash of what is in it."""
    if config.init is None:
        return "random weights"
    start = _read(config.init)
    return f"{os.path.basename(config.init)}, hash {weights_hash(start.shape, start.weights)}"


def games_of(config: TrainConfig, device: torch.device) -> tuple[lessons.RandomGames | lessons.FileGames, Games]:
    """The games a run is shown, and those held out from it.

    Raises:
        InputError: a file that is no games, or one that the objective is not for.
    """
    if config.games_file is None:
        held_out = lessons.held_out_games(config.final_eval_games)
        return lessons.RandomGames(config.seed, transcript_hash(held_out.tokens), device), held_out
    games = load(config.games_file, notation=config.notation)
    if config.objective == "legal" and not lessons.is_uniform(games):
        raise InputError(
            f"objective legal is for games of uniformly random moves, which only a .safetensors file written by "
            f"'othello-circuits games generate' vouches for, not {config.games_file}: give --objective sampled"
        )
    _, held_out = games.split(config.held_out, config.seed)
    # A file may hold the games that every model is looked at with, too.
    hashes = torch.cat([transcript_hash(g.tokens) for g in (held_out, lessons.held_out_games(LOOKED_AT))])
    return lessons.FileGames(games, config.seed, hashes, config.symmetries, device), held_out


def worth_compiling(config: TrainConfig, device: torch.device) -> bool:
    """On GPUs always; on a CPU for long runs where there is a compiler, but not with dropout, which it makes slower."""
    if device.type != "cpu":
        return True
    long_enough = config.games >= COMPILE_FROM  # whatever is left, so that a resumed run is the same one
    return long_enough and not config.dropout and any(map(shutil.which, ("g++", "clang++")))


class Marks:
    """Multiples of a number of games, each reached once; none where it is 0."""

    def __init__(self, every: int, games: int):
        self.every, self.done = every, games // every if every else 0

    def reached(self, games: int) -> bool:
        before, self.done = self.done, games // self.every if self.every else 0
        return self.done > before


def _read(init: str) -> Checkpoint:
    return read_checkpoint(None if init == "bundled" else init)


def _sizes(shape: Shape) -> str:
    s = asdict(shape)
    return ", ".join(f"{name} {s[name]}" for name in ("n_layers", "d_model", "n_heads", "d_mlp", "act"))
