"""``othello-circuits query``: questions to a finished atlas."""

from typing import Annotated, Any

import typer

from circuits.errors import InputError
from reports.cli.options import Json, emit

QUESTIONS = ("info", "board", "reads", "writes", "legal", "like", "unit")
#: which options a question takes
_TAKES = {
    "info": (),
    "board": (),
    "reads": ("state", "layer", "top"),
    "writes": ("state", "layer", "top"),
    "legal": ("layer", "top"),
    "like": ("top",),
    "unit": (),
}
_ABOUT = {"reads": "a square, such as C0", "writes": "a square, such as C0", "legal": "a square, such as C0",
          "like": "a neuron, such as L5N404", "unit": "a neuron or head, such as L5N404"}  # fmt: skip


def query(
    atlas: Annotated[str, typer.Argument(metavar="ATLAS", help="An atlas's folder or URL (othello-circuits atlas).")],
    question: Annotated[
        str, typer.Argument(metavar="QUESTION", help="reads, writes, legal, like, unit, board, or info.")
    ] = "info",
    about: Annotated[str | None, typer.Argument(metavar="[SQUARE|UNIT]", help="What is asked about.")] = None,
    state: Annotated[
        str | None,
        typer.Option(help="reads: empty, theirs or mine (nothing: all three). writes: these, or logit."),
    ] = None,
    layer: Annotated[int | None, typer.Option(help="Only neurons and heads of this layer.")] = None,
    top: Annotated[int | None, typer.Option(help="How many at most (20; like: 5 for each map).")] = None,
    as_json: Json = False,
) -> None:
    """Ask an atlas: which neurons read a square, write to it, are on where it is legal, or are like another.

    reads SQUARE: neurons whose activation depends on what the square holds.
    writes SQUARE: neurons and heads that write about it, and to its move's logit.
    legal SQUARE: neurons that are on where it is a legal move, and what lowers them.
    like NEURON: neurons that do the same, or the same on the image of the board.
    unit UNIT: everything there is of one neuron or head.
    board: what the probes read of the board, point by point.
    info: what the atlas was made of, and its tables.

    Example: othello-circuits query atlas reads C0 --state mine --top 10

    Example: othello-circuits query atlas unit L5N404 --json

    In Python: circuits.atlas.questions.reads(Atlas.open("atlas"), "C0", state="mine")
    """
    given = {"state": state, "layer": layer, "top": top}
    if question not in QUESTIONS:
        raise InputError(f"{question!r} is no question: ask {', '.join(QUESTIONS)}")
    alone = question in ("info", "board")
    if (about is None) != alone:
        said = "nothing more is asked about" if alone else f"say about what: {_ABOUT[question]}"
        raise InputError(f"query {question}: {said}")
    for name, value in given.items():
        if value is not None and name not in _TAKES[question]:
            raise InputError(f"query {question} takes no --{name}")
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    check(question, about)

    from circuits.atlas import questions
    from circuits.atlas.opened import Atlas
    from circuits.atlas.unit_sheet import info

    opened = Atlas.open(atlas)
    if question == "info":
        result = {"key": opened.key, "provenance": opened.provenance, "measured": opened.measured, "rows": opened.rows}
        emit(result, as_json, info(**result))
        return
    if question == "board":
        answer = questions.board(opened)
        emit(answer.to_dict(), as_json, answer.text())
        return
    if question == "writes" and "state" in options:
        options["by"] = options.pop("state")
    ask = {"reads": questions.reads, "writes": questions.writes, "legal": questions.makes_legal,
           "like": questions.like, "unit": questions.unit}[question]  # fmt: skip
    answer = ask(opened, about, **options)
    emit(answer.to_dict(), as_json, answer.text())


def check(question: str, about: str | None) -> None:
    """Refuse what is no square or unit before anything is read.

    Raises:
        InputError: it is none.
    """
    from circuits.notation import parse_unit, square

    if question in ("reads", "writes", "legal"):
        square(about)
    elif question in ("like", "unit"):
        parse_unit(about)
