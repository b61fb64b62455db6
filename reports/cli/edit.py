"""``othello-circuits edit``: a board edited inside the model, its legal moves and probabilities before and after."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from circuits.errors import InputError
from reports.cli.options import Act, Cache, Device, Heads, Json, Model, NotationOption, Probe, RandomWeights, Seed, emit

Flip = Annotated[
    list[str] | None, typer.Option("--flip", metavar="SQUARE", help="Turn the disc there; may be repeated.")
]
Erase = Annotated[
    list[str] | None, typer.Option("--erase", metavar="SQUARE", help="Take the disc away; may be repeated.")
]
Place = Annotated[
    list[str] | None,
    typer.Option(
        "--place", metavar="SQUARE=WHOSE", help="Put a disc there, or turn one: D2=mine, theirs, black, white."
    ),
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="negate, absolute, class mean (default), contrast, target vector, mean difference, gradient, head shift.",
    ),
]
Layers = Annotated[
    str | None,
    typer.Option(metavar="LAYERS", help="Where it is written, as in 2-5 or 2,4 (default: the method's own)."),
]


def edit(
    transcript: Annotated[str, typer.Argument(metavar="TRANSCRIPT", help='The game so far, such as "D2 C2 E5".')],
    flip: Flip = None, erase: Erase = None, place: Place = None,
    at: Annotated[int | None, typer.Option(metavar="PLY", help="The position edited (default: the last).")] = None,
    method: MethodOption = None,
    strength: Annotated[float | None, typer.Option(help="Of the method: see circuits.editing.interventions.")] = None,
    layers: Layers = None,
    solve: Annotated[
        str, typer.Option(metavar="HOW", help='Several squares: joint (default), "in turn", or "hold others".')
    ] = "joint",
    plies: Annotated[str, typer.Option(metavar="last|all", help="Write at the last ply, or at every one.")] = "last",
    saliency: Annotated[
        list[str] | None,
        typer.Option(metavar="MOVE", help="Draw this move's saliency map; may be repeated (default: chosen)."),
    ] = None,
    model: Model = None, probe: Probe = None, seed: Seed = 0, device: Device = "cpu", cache: Cache = None,
    out: Annotated[Path | None, typer.Option(help="The page to write, an .html file (.html is added).")] = None,
    notation: NotationOption = "ours", random_weights: RandomWeights = False, heads: Heads = None, act: Act = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Edit squares of the board inside the model, and show what it plays before and after.

    The stream is changed so that the squares read as asked; the rules say which moves are legal then. Every number
    stands beside changes of the same size in random directions.

    Example: othello-circuits edit "D2 C2 E5 E2 E1 F4 B1 B2" --flip E3 --out edit.html

    Example: othello-circuits edit "D2 C2 E5 E2 E1 F4 B1 B2" --erase F4 --method gradient --saliency G4 --json

    In Python: reports.open_model().edit("D2 C2 E5 E2 E1 F4 B1 B2", ["flip E3"])
    """
    from reports.cli import pairs as c

    if notation not in ("ours", "standard"):
        raise InputError(f"--notation {notation}: it is ours or standard")
    asked = _asked(flip, erase, place)
    chosen = parse_layers(layers)
    out = None if out is None else page_path(out)
    from circuits.editing.interventions import METHODS, SOLVES, STRONGEST
    from reports.edits.page import EditReport, cases_of, python_line, saliency_squares
    from reports.edits.settings import method_of, plain_name

    if strength is not None and not 0 <= strength <= STRONGEST:  # nan is neither
        raise InputError(f"--strength {strength:g}: give a number from 0 to {STRONGEST:g}")
    method, solve, plies = (given and plain_name(given) for given in (method, solve, plies))
    for flag, given, known in (
        ("--method", method, (*METHODS, None)), ("--solve", solve, SOLVES), ("--plies", plies, ("last", "all")),
    ):  # fmt: skip
        if given not in known:
            raise InputError(f"{flag} {given}: it is one of {', '.join(str(name) for name in known if name)}")
    cases = cases_of(transcript, asked, at, notation)
    moves = saliency_squares(cases, saliency or (), notation)
    _, probes, editor = open_editing(
        model, probe, seed, device, cache, random_weights, heads, act, contrast=method == "contrast"
    )

    from reports.edits.build import edit_record, probe_words

    how = method_of(editor, method, strength, chosen, solve, plies)
    record = edit_record(
        editor, cases, how, moves=moves, notation=notation, seed=seed, probe_source=probe_words(probes),
        command=c.command(),
        python=python_line(
            transcript, asked, at, how, moves, notation,
            {"model": model, "probe": probe, "seed": seed or None, "heads": heads, "act": act,
             "device": device if device != "cpu" else None, "random_weights": random_weights or None},
        ),
    )  # fmt: skip
    from reports.edits.text import text
    from reports.edits.words import verdict

    report = EditReport(record)
    lines = ["Squares below are in our notation: row letter A-H, then column digit 0-7."] * (notation == "standard")
    lines.append(text(record))
    result = {"verdict": verdict(record), **record.to_dict()}
    if out is not None:
        page = report.save(out)
        lines.append(f"page: {page}")
        result = {"page": str(page), **result}
    emit(result, as_json, "\n".join(lines))


def _asked(flip: list[str] | None, erase: list[str] | None, place: list[str] | None) -> list[str]:
    """The options as edits in words, those that `circuits.editing.board_edits.parse_edit` reads."""
    for flag, given, sample in (("--flip", flip, "E3"), ("--erase", erase, "F4"), ("--place", place, "F4=mine")):
        if not all(text.strip() for text in given or ()):
            raise InputError(f"{flag} is empty: write it as in {flag} {sample}")
    found = [f"flip {square}" for square in flip or ()] + [f"erase {square}" for square in erase or ()]
    for text in place or ():
        if not re.fullmatch(r"\s*\S+?\s*=\s*(mine|theirs|black|white)\s*", text, re.IGNORECASE):
            raise InputError(f"--place {text}: write a square and whose disc, as in D2=mine (theirs, black, white)")
        found.append(text.strip())
    if not found:
        raise InputError("no edit: say which squares by --flip F4, --erase F4 or --place F4=mine")
    return found


def page_path(out: Path, example: str = "edit.html") -> Path:
    """Where the page goes: ``--out`` with .html behind it where it has no suffix.

    Raises:
        InputError: a folder, or a suffix of something else.
    """
    if str(out) == "." or out.is_dir():
        raise InputError(f"--out {out} is a folder: name the page itself, as in {out / example}")
    if out.suffix.lower() not in ("", ".html", ".htm"):
        raise InputError(f"--out {out}: the page is an .html file, as in {out.with_suffix('.html')}")
    found = out if out.suffix else out.with_name(out.name + ".html")
    if found.is_dir():
        raise InputError(f"--out {found} is a folder: give another name")
    return found


def parse_layers(text: str | None) -> tuple[int, ...] | None:
    """Layers such as ``2-5``, ``L2-L5`` or ``2,4``.

    Raises:
        InputError: anything else.
    """
    if text is None:
        return None
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*L?([0-9]{1,3})\s*(?:(?:-|–|\.\.)\s*L?([0-9]{1,3})\s*)?", part)
        if not match or (match[2] and int(match[2]) < int(match[1])):
            raise InputError(f"--layers {text}: give layers such as 2-5 or 2,4,6")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(found)


def open_editing(
    model: str | None, probe: str | None, seed: int, device: str, cache: Path | None, random_weights: bool,
    heads: int | None, act: str | None, contrast: bool = False,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """(model, probes, editor), with the means of the stream from the cache or taken now."""
    import probes as probe_files
    from circuits import plain
    from circuits.files import cache_folder
    from probes.editing import open_editor
    from probes.of_random_weights import probes_of_random_weights

    folder = cache or cache_folder()
    opened = plain.load(model, heads=heads, act=act, device=device, random_seed=seed if random_weights else None)
    if random_weights and probe is None:
        found = probes_of_random_weights(opened, seed, folder)
    else:
        found = probe_files.load(opened, probe)
    return opened, found, open_editor(opened, found, contrast=contrast, cache=folder, progress=True)
