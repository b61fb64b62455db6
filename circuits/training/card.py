"""How a model was made, in the words of its card, and the command that makes it again."""

import os
from dataclasses import fields, replace

import torch

from circuits.training.config import SIZES, TrainConfig

OBJECTIVE_WORDS = {
    "legal": "legal: cross-entropy to the uniform distribution over the legal moves at each ply, so that it was shown "
    "the legal set, not just moves",
    "sampled": "sampled: cross-entropy of the next move",
}


#: figures of the log -> their words, factor, decimals and unit
HELD_OUT = (
    ("illegal_top1", "illegal first choices", 100, 3, " %"),
    ("illegal_mass", "illegal mass", 100, 2, " %"),
    ("kl", "KL to uniform-legal", 1, 4, " nats"),
    ("top_n_error", "top-N error", 1, 3, ""),
)


def card(
    config: TrainConfig, name: str, about: dict, games: int, seconds: float, evaluation: dict
) -> dict[str, str | int | float]:
    """The card of a model after ``games`` games.

    ``about`` is the run's description (``run.json``), ``evaluation`` the last held-out line of its log, or empty.
    """
    lr, lr_rest = config.rates
    made = {
        "name": name,
        "data": about["data"],
        "games": games,
        "objective": OBJECTIVE_WORDS[config.objective],
        "optimiser": f"{config.optimiser}, rates {lr} and {lr_rest}, weight decay {config.matrix_decay}, "
        f"batch {config.batch}",
        "dropout": _dropout_words(config),
        "seed": config.seed,
        "started from": about["started_from"],
        "machine": about["machine"],
        "precision": config.precision,
        "minutes": round(seconds / 60, 1),
        "command": command_of(config),
        "versions": f"torch {torch.__version__}",
    }
    if evaluation:
        figures = [
            f"{words} {factor * evaluation[name]:.{digits}f}{unit}"
            for name, words, factor, digits, unit in HELD_OUT
            if evaluation[name] is not None
        ]
        made["held out"] = f"{evaluation['eval_games']} games: {', '.join(figures)}"
    return made


def _dropout_words(config: TrainConfig) -> str | float:
    if not config.dropout or config.dropout_until == 1:
        return config.dropout
    return f"{config.dropout} until {config.dropout_until:g} of the run, then none"


def command_of(config: TrainConfig) -> str:
    """The command line that makes this run, with every setting that is not the default."""
    plain, words = TrainConfig(), ["othello-circuits train"]
    s = config.shape
    if config.init is None:
        size = next((n for n, known in SIZES.items() if replace(known, act=s.act) == s), None)
        words += (
            [f"--size {size}"]
            if size
            else [f"--layers {s.n_layers} --width {s.d_model} --heads {s.n_heads} --mlp {s.d_mlp}"]
        )
        words += [f"--act {s.act}"] if s.act != plain.shape.act else []
    for field in fields(TrainConfig):
        value = getattr(config, field.name)
        if field.name == "shape" or value == getattr(plain, field.name):
            continue
        flag = "--" + field.name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif isinstance(value, tuple):
            words += [f"{flag} {part}" for part in value]
        elif field.name in ("init", "games_file"):
            words.append(f"{flag} {os.path.basename(value)}")
        else:
            words.append(f"{flag} {value}")
    return " ".join(words)
