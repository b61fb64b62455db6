"""What the subcommands share: common options, the game set that ``--games`` names, how results are printed."""

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from circuits.errors import InputError


def _named(value: str | None) -> str | None:
    if value is not None and not value.strip():
        raise typer.BadParameter("the name is empty; leave the option out for what is bundled")
    return value


def _seed(value: int) -> int:
    if not 0 <= value < 2**63:
        raise typer.BadParameter(f"{value} is no seed: give a whole number from 0 to 2^63 - 1")
    return value


Model = Annotated[
    str | None,
    typer.Option(
        callback=_named,
        help="Nothing: the bundled model. A .safetensors, .pth or .ckpt file, or a Hugging Face id (owner/name:file).",
    ),
]
Heads = Annotated[
    int | None, typer.Option(help="Head count, for minGPT files, which do not store it (default: width/64).")
]
Act = Annotated[
    str | None, typer.Option(help="Activation, for files that do not store it: gelu (default), gelu_new, relu.")
]
RandomWeights = Annotated[
    bool,
    typer.Option("--random-weights", help="Random weights (of --seed) in place of the model's: the baseline."),
]
Probe = Annotated[
    str | None,
    typer.Option(
        callback=_named, help="A probe file; nothing: the bundled one, for the bundled model.", metavar="FILE"
    ),
]
GamesOption = Annotated[
    str, typer.Option("--games", help="A number of random games, or a games file.", metavar="N|FILE")
]
Seed = Annotated[int, typer.Option(callback=_seed, help="Seed of random games, samples and splits.")]
Device = Annotated[str, typer.Option(help="Torch device, such as cpu or cuda.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, and nothing else there.")]
AllPlies = Annotated[bool, typer.Option("--all-plies", help="Statistics over every ply, not the middle band 5..53.")]
Rules = Annotated[
    bool, typer.Option("--rules/--no-rules", help="Look for each neuron's best rule and test it (some seconds each).")
]
RuleOption = Annotated[
    str | None,
    typer.Option("--rule", help='A rule to test on it, such as "C0 empty & D1 theirs"; see othello-circuits test.'),
]
Cache = Annotated[Path | None, typer.Option(help="Folder for finished passes (default: the user's cache folder).")]
NotationOption = Annotated[str, typer.Option(help="Notation of text files: ours (C0) or standard (A3).")]


def emit(result: dict, as_json: bool, text: str) -> None:
    """Print a result: JSON alone, or text."""
    if as_json:
        print(json.dumps(result, indent=1, allow_nan=False))
    else:
        print(text)


def count_or_file(games: str) -> int | str:
    """``--games`` as a number of random games, or a path.

    Raises:
        InputError: a number below 1 or of too many digits, or nothing.
    """
    if not games.strip():
        raise InputError("--games is empty: give a number of random games, or a games file")
    if not re.fullmatch("[+-]?[0-9]+", games):
        return games
    if len(games) > 18:  # before int(), which refuses thousands of digits
        raise InputError(f"--games {games[:18]}…: so many games cannot be made")
    if int(games) < 1:
        raise InputError(f"--games {games}: give at least 1 game")
    return int(games)


def read_games(games: str, seed: int, notation: str = "ours", skip_invalid: bool = False):
    """The game set that ``--games`` names."""
    from circuits.games import generate, load

    chosen = count_or_file(games)
    if isinstance(chosen, int):
        return generate(chosen, seed)
    return load(chosen, notation=notation, skip_invalid=skip_invalid)
