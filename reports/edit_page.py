"""The page of one edit: whether the model plays by the edited board, boards and probabilities before and after, how the
probe reads the squares, side effects, and what a move rests on.

    from reports import open_model
    m = open_model()
    m.edit("E5 D3 C4 F5 E2", ["flip D3"])       # drawn in the cell

Drawn from the record alone, as one offline file without scripts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from markupsafe import escape

from circuits.board_edits import EditCases, parse_edit
from circuits.errors import InputError
from circuits.files import write_whole
from circuits.interventions import Editor, Method
from circuits.notation import Notation, parse_transcript
from circuits.notation import square as parse_square
from reports.edit_build import check_moves, edit_record, probe_words
from reports.edit_records import EditRecord
from reports.edit_view import context
from reports.edit_words import headline
from reports.neuron import HEIGHT, environment
from reports.pair_sources import tokens_of


@dataclass(frozen=True)
class EditReport:
    """A record of an edit with its page: shows itself in Jupyter, saves itself as one file."""

    record: EditRecord

    @property
    def headline(self) -> str:
        return headline(self.record)

    @cached_property
    def html(self) -> str:
        return environment().get_template("edit.html").render(**context(self.record))

    def save(self, path: str | Path) -> Path:
        """Write the page, whole or not at all.

        Raises:
            InputError: the place cannot be written.
        """
        with write_whole(path) as temporary:
            temporary.write_text(self.html, encoding="utf-8")
        return Path(path)

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self.html)}" title="{escape(self.headline)}" sandbox="" '
            f'style="width:100%;height:{HEIGHT}px;border:1px solid #8884"></iframe>'
        )

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
        edits: as `circuits.board_edits.parse_edit` reads them ("flip F4", "erase F4", "F4=mine"), or pairs of a
            square's index and what to do.
        method: by default `circuits.interventions.default`.
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
    if not parse_transcript(transcript, notation):
        raise InputError('the transcript is empty: give the game so far, such as "E5 D3 C4"')
    if isinstance(edits, str):
        raise InputError(f"the edits are a list: [{edits!r}]")
    asked = [parse_edit(e, notation) if isinstance(e, str) else e for e in edits]
    return EditCases.given(tokens_of(transcript, notation), asked, ply, allow_noop=allow_noop, notation=notation)


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
    from circuits.notation import print_transcript

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
    return f"from reports import open_model; from circuits.interventions import Method; {text})"
