"""``othello-circuits explain``: one move of one position, from the board inside the model to the move's logit."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reports.cli.options import (
    Act,
    Cache,
    Device,
    Heads,
    Json,
    Model,
    NotationOption,
    Probe,
    RandomWeights,
    Seed,
    emit,
    read_games,
)

if TYPE_CHECKING:
    from reports.server.session import Session

Games = Annotated[
    str, typer.Option("--games", help="Games that means are taken over: a number, or a file.", metavar="N|FILE")
]


def explain(
    transcript: Annotated[str, typer.Argument(metavar="TRANSCRIPT", help='The game so far, such as "D2 C2 E5".')],
    move: Annotated[
        str | None, typer.Option(metavar="SQUARE", help="The move explained (default: the model's likeliest).")
    ] = None,
    model: Model = None, probe: Probe = None, games: Games = "500", seed: Seed = 0, device: Device = "cpu",
    cache: Cache = None,
    without: Annotated[
        str | None, typer.Option(metavar="UNITS", help='Set to their means at this position, such as "L5N404,L2H5".')
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The page to write, an .html file (.html is added).")] = None,
    notation: NotationOption = "ours", random_weights: RandomWeights = False, heads: Heads = None, act: Act = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Explain a move: the board that the model reads, the units behind the move's logit, what is lost without them.

    Contributions sum to the logit exactly. The units listed are set to their means at this position, together and one
    by one, beside drawn units that write as much; what they leave unexplained is said in numbers. With --without any
    units are: the probabilities, the board that every probe reads and KL, before and after, beside drawn units.

    Example: othello-circuits explain "D2 C2 E5 E2 E1 F4 B1 B2" --out explain.html

    Example: othello-circuits explain "D2 C2 E5 E2 E1 F4 B1 B2" --move G4 --json

    In Python: reports.open_model().explain("D2 C2 E5 E2 E1 F4 B1 B2", "G4")
    """
    from circuits.errors import InputError
    from reports.cli.edit import page_path

    if notation not in ("ours", "standard"):
        raise InputError(f"--notation {notation}: it is ours or standard")
    if out is not None and without is not None:
        raise InputError(
            "--without is for the terminal and --json, and the page of --out explains the move as it is: leave one out "
            "(othello-circuits serve shows both)"
        )
    if out is not None:
        out = page_path(out, "explain.html")
    from circuits.notation import parse_unit
    from reports.explanation.build import check
    from reports.server.asked import names

    check(transcript, move, notation)
    if without is not None:  # a name that is no unit's is refused before anything is loaded
        named = names(without)
        if not named:
            raise InputError('--without is empty: give neurons and heads, such as "L5N404,L2H5"')
        for name in named:
            parse_unit(name)

    from reports.cli.pairs import command
    from reports.explanation.page import ExplanationReport
    from reports.explanation.text import text
    from reports.server.session import result
    from reports.server.text import without_text

    session = open_session(model, probe, games, seed, device, cache, random_weights, heads, act)
    chosen = None if without is None else session.without(transcript, without, notation)
    record = session.explanation(transcript, move, notation, command())
    lines = ["Squares below are in our notation: row letter A-H, then column digit 0-7."] * (notation == "standard")
    lines.append(text(record))
    if chosen is not None:
        lines += ["", without_text(chosen)]
    found = result(record, chosen)
    if out is not None:
        page = ExplanationReport(record).save(out)
        lines.append(f"page: {page}")
        found = {"page": str(page), **found}
    emit(found, as_json, "\n".join(lines))


def open_session(
    model: str | None, probe: str | None, games: str, seed: int, device: str, cache: Path | None, random_weights: bool,
    heads: int | None, act: str | None,
) -> "Session":  # fmt: skip
    """Open what the options name, for `explain` and `serve` alike.

    Args:
        games: ``--games``, as typed: the reference is made of them.

    Raises:
        InputError: something cannot be read, or the probe is another model's.
    """
    from reports.explanation.build import reference_games, rules_of

    reference = reference_games(read_games(games, seed))

    import probes as probe_files
    from circuits import plain
    from circuits.files import cache_folder
    from probes.of_random_weights import probes_of_random_weights
    from reports.server.session import Session

    folder = cache or cache_folder()
    opened = plain.load(model, heads=heads, act=act, device=device, random_seed=seed if random_weights else None)
    if random_weights and probe is None:
        found = probes_of_random_weights(opened, seed, folder)
    else:
        found = probe_files.load(opened, probe)
    given = {"model": model, "probe": probe, "seed": seed or None, "heads": heads, "act": act,
             "device": device if device != "cpu" else None, "random_weights": random_weights or None}  # fmt: skip
    arguments = [f"{name}={value!r}" for name, value in given.items() if value is not None]
    options = ""
    for name, value in given.items():
        flag = f" --{name.replace('_', '-')}"
        options += "" if value is None else flag if value is True else f"{flag} {shlex.quote(str(value))}"
    if games != "500":
        arguments.append(f"games={int(games) if games.isdigit() else repr(games)}")
        options += f" --games {shlex.quote(games)}"
    rules = rules_of(opened.hash, folder)
    return Session(opened, found, reference, rules, seed, options, ", ".join(arguments))
