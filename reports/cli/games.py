"""``othello-circuits games``: make, convert, check and describe files of games."""

from pathlib import Path
from typing import Annotated

import typer

from reports.cli.options import Json, NotationOption, Seed, emit

app = typer.Typer(
    help="Make, convert, check and describe files of games.\n\nExample: othello-circuits games describe tournament.pgn",
    no_args_is_help=True,
)

File = Annotated[Path, typer.Argument(help=".txt transcripts, .pgn, or tokens/squares as .npy, .pt, .safetensors.")]
SkipInvalid = Annotated[bool, typer.Option("--skip-invalid", help="Leave illegal games out, and say which and why.")]
Encoding = Annotated[
    str | None, typer.Option(help="What the numbers of an array are: tokens or squares (default: found out).")
]


@app.command()
def generate(
    n: Annotated[int, typer.Argument(help="How many games.")],
    out: Annotated[Path, typer.Option(help=".safetensors, .npy or .txt.")],
    seed: Seed = 0, as_json: Json = False,
) -> None:  # fmt: skip
    """Play random games, each move uniform among the legal ones.

    Example: othello-circuits games generate 10000 --seed 7 --out games.npy

    In Python: circuits.games.save(circuits.games.generate(10000, seed=7), "games.npy")
    """
    from circuits import games
    from circuits.errors import InputError

    if n < 1:
        raise InputError(f"{n} games: give at least 1")
    made = games.generate(n, seed)
    games.save(made, out)
    _describe(made, as_json, f"wrote {out}\n", out)


@app.command()
def convert(
    source: File, out: Annotated[Path, typer.Option(help=".safetensors, .npy or .txt.")],
    notation: NotationOption = "ours", encoding: Encoding = None, skip_invalid: SkipInvalid = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Read a games file of any kind and write it as another.

    Example: othello-circuits games convert WTHOR-2018.pgn --out wthor.npy

    In Python: circuits.games.save(circuits.games.load("WTHOR-2018.pgn"), "wthor.npy")
    """
    from circuits import games

    read = games.load(source, notation=notation, skip_invalid=skip_invalid, encoding=encoding)
    games.save(read, out)
    _describe(read, as_json, f"wrote {out}\n", out)


@app.command()
def check(source: File, notation: NotationOption = "ours", encoding: Encoding = None, as_json: Json = False) -> None:
    """Check every game of a file against the rules; exit status 2 if one is illegal.

    Example: othello-circuits games check games.txt --notation standard

    In Python: circuits.games.load("games.txt", notation="standard")
    """
    from circuits import games

    read = games.load(source, notation=notation, encoding=encoding)
    text = f"{source}: all {len(read)} games are legal"
    emit({"file": str(source), "games": len(read), "legal": True}, as_json, text)


@app.command()
def describe(
    source: File, notation: NotationOption = "ours", encoding: Encoding = None, skip_invalid: SkipInvalid = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Say what is in a games file: lengths, passes, results, duplicates, fingerprint.

    Example: othello-circuits games describe WTHOR-2018.pgn --json

    In Python: circuits.games.describe(circuits.games.load("WTHOR-2018.pgn"))
    """
    from circuits import games

    _describe(games.load(source, notation=notation, skip_invalid=skip_invalid, encoding=encoding), as_json)


def _describe(read, as_json: bool, before: str = "", out: Path | None = None) -> None:
    from circuits import games

    about = games.describe(read)
    result = about | ({"file": str(out)} if out else {})
    skipped = getattr(read, "skipped", ())
    if skipped:
        result["skipped"] = [{"game": i, "why": why} for i, why in skipped]
    lines = [f"{key.replace('_', ' '):>22}  {value}" for key, value in about.items()]
    lines += [f"skipped {len(skipped)} games:"] if skipped else []
    lines += [f"  {why}" for _, why in skipped[:5]] + ([f"  and {len(skipped) - 5} more"] if len(skipped) > 5 else [])
    emit(result, as_json, before + "\n".join(lines))
