"""The live page as HTML, drawn from records: a position, what the model makes of it, and that without some units."""

import shlex
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from circuits.bitboards import bits_to_bool, legal_moves
from circuits.errors import InputError
from circuits.explanation.records import Test
from circuits.explanation.without import Outcome, Without
from circuits.features import board_state
from circuits.notation import LABELS, TOKEN_SQUARE, parse_transcript, print_transcript
from circuits.othello import replay
from reports import boards as shared
from reports.charts import point_name
from reports.edits.build import probe_words
from reports.edits.figures import probability_board
from reports.edits.words import chance
from reports.explanation import words as explained
from reports.explanation.build import check
from reports.explanation.view import units_table
from reports.server import boards, words
from reports.server.asked import Asked
from reports.server.session import Session
from reports.text import count, exact, fixed, unbroken

#: the discs before the first move, of the side that makes it and of the other
_MINE, _THEIRS = 1 << 28 | 1 << 35, 1 << 27 | 1 << 36


@cache
def environment() -> Environment:
    """The templates, with autoescape on."""
    env = Environment(
        loader=PackageLoader("reports.server"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    env.filters.update(unbroken=unbroken, count=count)
    env.globals.update(definitions=shared.DEFINITIONS, symbol=shared.symbol)
    return env


def live(session: Session, asked: Asked, site: Path | None = None) -> str:
    """The page of what is asked for.

    Raises:
        InputError: a transcript, a unit, a move or a point that is none; a game that is over.
    """
    if not asked.moves:
        return _render(session, asked, board=_start(asked), title="A new game", headline=_INVITATION)
    _, square = session.checked(asked.moves, asked.move or None, asked.written)
    w = session.without(asked.moves, asked.units, asked.written)
    point = _point(w, asked.point)
    # As it is linked to from here on: in our notation, names as they are printed.
    asked = replace(
        asked, moves=w.position.transcript, units=tuple(row.unit for row in w.units), notation="ours",
        move="" if square is None else LABELS[square],
    )  # fmt: skip
    record = session.explained(asked.moves, asked.move or None)
    if record is None and asked.listed:
        record = session.explanation(asked.moves, asked.move or None)
    p = w.position
    return _render(
        session, asked, title=f"Ply {p.ply}, {p.mover} to move", w=w, point=point,
        headline=words.change(w, point) if w.units else words.as_it_is(w, point),
        board=boards.playable(p.board, p.legal, p.mover, _play(asked), p.last, p.flipped),
        drawn=_drawn(w, point), tiles=_tiles(w, point) if w.units else [], units=_units(w, asked),
        listing=None if record is None else _listing(record.explanation, asked, site),
        changes=[(name, kind, chance(before), chance(after)) for name, kind, before, after in words.moves(w)],
        otherwise=words.misread(w, point), command=_command(session, asked), python=_python(session, asked),
    )  # fmt: skip


def failed(session: Session, asked: Asked, message: str) -> str:
    """The page with what was asked for still in its fields, and why it is refused."""
    if asked.notation not in ("ours", "standard"):
        asked = replace(asked, notation="ours")
    board = _last_legal(asked)
    over = board is not None and "<a " not in board  # no square plays a move
    return _render(session, asked, title="Refused", error=message, board=board, over=over)


_INVITATION = "Type a transcript, or play a first move. Black begins."


def _render(session: Session, asked: Asked, **more: Any) -> str:
    given = {"w": None, "point": "", "drawn": None, "tiles": [], "units": [], "listing": None, "error": "",
             "headline": "", "board": None, "changes": [], "otherwise": [], "command": "", "python": "",
             "over": False}  # fmt: skip
    given |= more
    w = given["w"]
    shown = {row["name"] for part in given["listing"]["parts"] for row in part["rows"]} if given["listing"] else ()
    return environment().get_template("live.html").render(
        **given, asked=asked, model=session.model, games=session.games, probe=probe_words(session.probes),
        others=" ".join(name for name in asked.units if name not in shown), seed=session.seed,
        points=words.points(w) if w else [], undo=_undo(asked), fresh=Asked().url(),
        page=asked.url("/explain", units=(), point="", listed=False), later=asked.url(listed=True),
        numbers=asked.url("/api/without" if asked.units else "/api/explain", point="", listed=False),
    )  # fmt: skip


def _drawn(w: Without, point: str) -> list[dict[str, Any]]:
    """Boards before, and after where units are at their means, probabilities on one scale."""
    outcomes = [w.base, w.changed] if w.units else [w.base]
    most = max(p for outcome in outcomes for p in outcome.probabilities if p is not None)
    found = []
    for outcome in outcomes:
        read = words.reading_of(outcome, point)
        before = None if outcome is w.base else words.reading_of(w.base, point).board
        illegal = [name for name in outcome.likeliest if name not in w.position.legal]
        missing = [name for name in w.position.legal if name not in outcome.likeliest]
        name = "base" if outcome is w.base else "changed"
        played = probability_board(
            outcome.probabilities, most, "The model’s probabilities", f"{name}.probabilities", illegal, missing
        )
        found.append({"read": boards.reading(w.position.board, read.board, point, before), "right": read.right,
                      "played": played, "most": chance(most), "where": explained.where(point)})  # fmt: skip
    return found


def _tiles(w: Without, point: str) -> list[dict[str, Any]]:
    def one(outcome: Outcome) -> tuple[float, int]:
        return outcome.legal_mass, words.reading_of(outcome, point).right

    (mass, right), (mass_before, right_before) = one(w.changed), one(w.base)
    n = len(w.position.legal)
    return [
        {"label": "Change of the moves’ probabilities (KL)", "value": words.kl(w.kl), "v": exact(w.kl), "name": "kl",
         "lines": [f"units that write as much {words.spread(w.alike)}", f"random units {words.spread(w.random)}"]},
        {"label": "On legal moves", "value": chance(mass), "v": exact(mass), "name": "mass",
         "lines": [f"before {chance(mass_before)}", f"{n} of 60 moves: {chance(n / 60)}"]},
        {"label": f"Illegal or missing among the {n} likeliest", "value": str(w.changed.error), "name": "error",
         "v": str(w.changed.error), "lines": [f"before {w.base.error}"]},
        {"label": f"Squares read right {explained.where(point)}", "value": str(right), "v": str(right), "name": "right",
         "lines": [f"before {right_before}", f"reference games {fixed(words.reading_of(w.base, point).mean, 1)}"]},
    ]  # fmt: skip


def _units(w: Without, asked: Asked) -> list[dict[str, Any]]:
    """The units at their means, each with the address at which it is put back."""
    found = []
    for row in w.units:
        here, mean = words.at_mean(row.activation, row.mean)
        rest = tuple(name for name in asked.units if name != row.unit)
        found.append({"name": row.unit, "here": here, "mean": mean, "back": asked.url(units=rest)})
    return found


def _listing(e: Any, asked: Asked, site: Path | None) -> dict[str, Any]:
    """The units for and against the move, each with whether it is at its mean now."""

    def rows(test: Test) -> list[dict[str, Any]]:
        return [
            {"name": cells[0], "cells": cells[1:], "on": cells[0] in asked.units, "page": _page_of(site, cells[0])}
            for cells in units_table(test)["rows"]
        ]

    return {
        "move": e.move, "headline": explained.headline(e), "head": units_table(e.supports)["head"],
        "parts": [
            {"title": f"For {e.move}", "rows": rows(e.supports)}, {"title": "Against it", "rows": rows(e.opposes)},
        ],
    }  # fmt: skip


def _page_of(site: Path | None, name: str) -> str:
    """The address of a unit's page in the site served beside; "" where it has none."""
    return f"/site/units/{name}.html" if site is not None and (site / "units" / f"{name}.html").is_file() else ""


def _command(session: Session, asked: Asked) -> str:
    """The command that gives these numbers."""
    said = f"othello-circuits explain {shlex.quote(asked.moves)}"
    said += f" --move {asked.move}" if asked.move else ""
    said += f" --without {shlex.quote(','.join(asked.units))}" if asked.units else ""
    return said + session.options


def _python(session: Session, asked: Asked) -> str:
    """The Python that gives these numbers."""
    opened = f"Session.of(open_model({session.arguments}))"
    return (
        "from reports import open_model; from reports.server.session import Session; "
        f"{opened}.without({asked.moves!r}, {' '.join(asked.units)!r})"
    )


def _point(w: Without, asked: str) -> str:
    known = [read.point for read in w.base.readings]
    if asked and asked not in known:
        raise InputError(f"point {asked!r}: no probe reads there; probes read {', '.join(map(point_name, known))}")
    return asked or w.checkpoint


def _play(asked: Asked):
    """A move's address: what was asked for one move later."""
    return lambda name: asked.url(moves=f"{asked.moves} {name}".strip(), move="", listed=False)


def _undo(asked: Asked) -> str:
    """The address without the last move, "" where there is none, or no move can be told."""
    try:
        played = parse_transcript(asked.moves, asked.written)
    except InputError:
        return ""
    return asked.url(moves=print_transcript(played[:-1]), move="", notation="ours", listed=False) if played else ""


def _start(asked: Asked) -> Markup:
    mine, theirs = (torch.tensor([bits]) for bits in (_MINE, _THEIRS))
    states = (bits_to_bool(theirs)[0].long() + 2 * bits_to_bool(mine)[0].long()).tolist()
    legal = [LABELS[s] for s in bits_to_bool(legal_moves(mine, theirs))[0].nonzero().flatten().tolist()]
    return boards.playable(states, legal, "black", _play(asked))


def _last_legal(asked: Asked) -> Markup | None:
    """The board of a legal transcript, whatever else was wrong; None for any other transcript."""
    try:
        tokens, _ = check(asked.moves, None, asked.written)
    except InputError:
        return None
    own = replay(tokens[None])[0, len(tokens) - 1]
    legal = [LABELS[s] for s in bits_to_bool(own.legal[None])[0].nonzero().flatten().tolist()]
    state = board_state(own[None])[0].long().tolist()
    last = LABELS[int(TOKEN_SQUARE[int(tokens[-1])])]
    mover = "black" if own.black_to_move else "white"
    moves = print_transcript([int(TOKEN_SQUARE[int(t)]) for t in tokens])
    return boards.playable(state, legal, mover, _play(Asked(moves)), last)
