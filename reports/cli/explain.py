"""``othello-circuits explain``: one move of one position, from the board inside the model to the move's logit."""

from pathlib import Path
from typing import Annotated

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
    out: Annotated[Path | None, typer.Option(help="The page to write, an .html file (.html is added).")] = None,
    notation: NotationOption = "ours", random_weights: RandomWeights = False, heads: Heads = None, act: Act = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Explain a move: the board that the model reads, the units behind the move's logit, what is lost without them.

    Contributions sum to the logit exactly. The units listed are set to their means at this position, together and one
    by one, beside drawn units that write as much; what they leave unexplained is said in numbers.

    Example: othello-circuits explain "D2 C2 E5 E2 E1 F4 B1 B2" --out explain.html

    Example: othello-circuits explain "D2 C2 E5 E2 E1 F4 B1 B2" --move G4 --json

    In Python: reports.open_model().explain("D2 C2 E5 E2 E1 F4 B1 B2", "G4")
    """
    from circuits.errors import InputError
    from reports.cli.edit import page_path

    if notation not in ("ours", "standard"):
        raise InputError(f"--notation {notation}: it is ours or standard")
    if out is not None:
        out = page_path(out)
    from reports.explanation.build import check, explanation_record, python_line, reference_games, rules_of

    check(transcript, move, notation)
    reference = reference_games(read_games(games, seed))

    import probes as probe_files
    from circuits import plain
    from circuits.files import cache_folder
    from reports.cli.pairs import command
    from reports.explanation.page import ExplanationReport
    from reports.explanation.text import text
    from reports.explanation.words import headline, verdict
    from reports.workbench import probes_of_random_weights

    folder = cache or cache_folder()
    opened = plain.load(model, heads=heads, act=act, device=device, random_seed=seed if random_weights else None)
    if random_weights and probe is None:
        found = probes_of_random_weights(opened, seed, folder)
    else:
        found = probe_files.load(opened, probe)
    given = {"model": model, "probe": probe, "seed": seed or None, "heads": heads, "act": act,
             "device": device if device != "cpu" else None, "random_weights": random_weights or None}  # fmt: skip
    arguments = ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)
    if games != "500":
        value = int(games) if games.isdigit() else repr(games)
        arguments += f"{', ' if arguments else ''}games={value}"
    record = explanation_record(
        opened, found, transcript, move, games=reference, rules=rules_of(opened.hash, folder), notation=notation,
        seed=seed, command=command(), python=python_line(transcript, move, notation, arguments),
    )  # fmt: skip
    report = ExplanationReport(record)
    lines = ["Squares below are in our notation: row letter A-H, then column digit 0-7."] * (notation == "standard")
    lines.append(text(record))
    result = {"headline": headline(record.explanation), "verdict": verdict(record.explanation), **record.to_dict()}
    if out is not None:
        page = report.save(out)
        lines.append(f"page: {page}")
        result = {"page": str(page), **result}
    emit(result, as_json, "\n".join(lines))
