"""The page of one edit: whether the model plays by the edited board, boards and probabilities before and after, how the
probe reads the squares, side effects, and what a move rests on.

    from reports import open_model
    m = open_model()
    m.edit("D2 C2 E5 E2 E1 F4 B1 B2", ["flip E3"])       # drawn in the cell

Drawn from the record alone, as one offline file without scripts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from circuits.editing.board_edits import EditCases, parse_edit
from circuits.editing.interventions import Editor, Method
from circuits.errors import InputError
from circuits.notation import CENTRE, Notation, OtherNotation, parse_transcript, print_transcript
from circuits.notation import square as parse_square
from circuits.othello import illegal_moves
from reports.edits.build import check_moves, edit_record, probe_words
from reports.edits.records import EditRecord
from reports.edits.view import context
from reports.edits.words import headline
from reports.neuron import environment
from reports.patching.pair_sources import tokens_of
from reports.shown import Saved


@dataclass(frozen=True)
class EditReport(Saved):
    """A record of an edit with its page: shows itself in Jupyter, saves itself as one file."""

    record: EditRecord

    @property
    def headline(self) -> str:
        return headline(self.record)

    @cached_property
    def html(self) -> str:
        return environment().get_template("edit.html").render(**context(self.record))

    @property
    def title(self) -> str:
        return self.headline

    def __repr__(self) -> str:
        return self.headline


def edit_report(
    bench: Any,
    transcript: str,
    edits: Sequence[str | tuple[int, str]],
    method: Method | None = None,
    *,
    ply: int | None = None,
    saliency: Sequence[str] = (),
    notation: Notation = "ours",
    seed: int = 0,
    allow_noop: bool = False,
) -> EditReport:
    """Edit squares of the board in a position, and report what the model plays then.

    Args:
        bench: an open model (`reports.workbench.Workbench`), or an `Editor`.
        transcript: the game so far.
        edits: as `circuits.editing.board_edits.parse_edit` reads them ("flip F4", "erase F4", "F4=mine"), or pairs of a
            square's index and what to do.
        method: by default `circuits.editing.interventions.default`.
        ply: the position, by default the last.
        saliency: moves whose maps are drawn; by default the one that the edit changes most.
        seed: the first of the random directions'.
        allow_noop: let an edit ask for what a square is already.

    Raises:
        InputError: as `EditCases.given`, `parse_edit` and `edit_build.edit_record`.
    """
    cases = cases_of(transcript, edits, ply, notation, allow_noop)
    moves = saliency_squares(cases, saliency, notation)
    about: dict[str, Any] = {}
    if isinstance(bench, Editor):
        editor = bench
    else:
        editor = bench.editor
        if method is not None and method.name == "contrast":
            editor = bench.editor_with_contrasts
        python = python_line(transcript, edits, ply, method, moves, notation, {}, bench.arguments)
        about = {"python": python, "probe_source": probe_words(bench.probes)}
    return EditReport(edit_record(editor, cases, method, moves=moves, notation=notation, seed=seed, **about))


def cases_of(
    transcript: str, edits: Sequence[str | tuple[int, str]], ply: int | None = None, notation: Notation = "ours",
    allow_noop: bool = False,
) -> EditCases:  # fmt: skip
    """The one case that a transcript and some edits in words are.

    Raises:
        InputError: as `parse_edit` and `EditCases.given`.
    """
    if not isinstance(transcript, str):
        raise InputError(f'the transcript is {_brief(transcript)}: give the game so far as text, such as "D2 C2 E5"')
    if isinstance(edits, str):
        raise InputError(f"the edits are a list: [{edits!r}]")
    if not isinstance(edits, Sequence):
        raise InputError(f'the edits are {_brief(edits)}: give a list, such as ["flip E3"]')
    asked = [_edit(e, notation) for e in edits]
    tokens = played_moves(transcript, notation)
    return EditCases.given(tokens, asked, ply, allow_noop=allow_noop, notation=notation)


def _edit(given: Any, notation: Notation) -> tuple[int, str]:
    """One edit of a list, in words or as a pair."""
    if isinstance(given, str):
        return parse_edit(given, notation)
    pair = isinstance(given, tuple | list) and len(given) == 2
    if not pair or not isinstance(given[0], Integral) or isinstance(given[0], bool) or not isinstance(given[1], str):
        raise InputError(f'{_brief(given)} is no edit: write "flip E3", "erase F4" or "F4=mine", or (35, "flip")')
    return int(given[0]), given[1]


def _brief(given: Any) -> str:
    text = " ".join(repr(given).split())
    return text if len(text) <= 40 else text[:40] + "…"


def played_moves(transcript: str, notation: Notation) -> UInt8[Tensor, "60"]:
    """A transcript's tokens, each move legal; a refusal says where the other notation would make it a legal game.

    Raises:
        InputError: no moves, a piece that is no square, an illegal move.
    """
    try:
        return _legal_tokens(transcript, notation)
    except OtherNotation:  # which names the flag
        raise
    except InputError as error:
        other: Notation = "standard" if notation == "ours" else "ours"
        try:
            _legal_tokens(transcript, other)
        except InputError:
            raise error from None
        hint = "give --notation standard" if other == "standard" else "leave out --notation standard"
        name = "standard" if other == "standard" else "our"
        raise InputError(f"{error}; in {name} notation it is a legal game: {hint}") from None


def _legal_tokens(transcript: str, notation: Notation) -> UInt8[Tensor, "60"]:
    squares = parse_transcript(transcript, notation)
    if not squares:
        raise InputError('the transcript is empty: give the game so far, such as "D2 C2 E5"')
    for ply, square in enumerate(squares):
        if square in CENTRE:  # named in the notation given
            name = print_transcript([square], notation)
            raise InputError(f"ply {ply}: {name} is a centre square: it is never played")
    tokens = tokens_of(transcript, notation)
    for error in illegal_moves(tokens[None]):
        raise InputError(error.reason(notation))
    return tokens


def saliency_squares(cases: EditCases, moves: Sequence[str], notation: Notation = "ours") -> list[int] | None:
    """The squares of some moves, or None where none are given.

    Raises:
        InputError: no square; one that holds a disc.
    """
    squares = [parse_square(move, notation) for move in moves]
    check_moves(cases, squares, notation)
    return squares or None


def python_line(
    transcript: str, edits: Sequence[str | tuple[int, str]], ply: int | None, method: Method | None,
    moves: Sequence[int] | None, notation: Notation, opened: dict[str, Any], arguments: str = "",
) -> str:  # fmt: skip
    """The Python that makes the same report."""
    given = arguments or ", ".join(f"{name}={value!r}" for name, value in opened.items() if value is not None)
    text = f"open_model({given}).edit({transcript!r}, {list(edits)!r}"
    if method is not None:
        parts = [repr(method.name), repr(float(method.strength)), repr(method.layers)]
        for name, default in (("point", "post"), ("plies", "last"), ("solve", "joint"), ("reader", None), ("heads", 8),
                              ("steps", 20)):  # fmt: skip
            value = getattr(method, name)
            parts += [f"{name}={value!r}"] if value != default else []
        text += f", Method({', '.join(parts)})"
    if ply is not None:
        text += f", ply={ply}"
    if moves:
        text += f", saliency={[print_transcript([m], notation) for m in moves]!r}"
    if notation != "ours":
        text += f", notation={notation!r}"
    return f"from reports import open_model; from circuits.editing.interventions import Method; {text})"
