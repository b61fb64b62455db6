"""From a model and a transcript to the record of a move explained."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import as_file
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from circuits.errors import InputError
from circuits.explanation.explain import explain
from circuits.explanation.means import Means
from circuits.explanation.records import LAYER_NORM
from circuits.games import Games, generate
from circuits.induction.kept import BUNDLED, path_in, table_of
from circuits.induction.table import METADATA, RuleTable
from circuits.notation import CENTRE, Notation
from circuits.notation import square as parse_square
from circuits.othello_model import OthelloModel
from probes.sets import ProbeSet
from reports.edits.build import probe_words
from reports.edits.page import played_moves
from reports.explanation.records import ExplanationRecord
from reports.patching.records import origin
from reports.text import count

#: seeds of random reference games begin here: neither the model nor its probes were trained on them
SEEDS = 1 << 43
#: reference games that means are taken over
GAMES = 500


def reference_games(games: Games) -> Games:
    """As many as `GAMES` of a set; for random ones as many others of the same seed that nothing was trained on."""
    n, random = min(GAMES, len(games)), re.match(r"random, seed (\d+), ", games.source)
    if random is None:
        return games[:n]
    seed = int(random[1])
    return replace(generate(n, SEEDS + seed), source=f"random, kept for reference, seed {seed}, {n} games")


def check(transcript: Any, move: Any, notation: Notation = "ours") -> tuple[Any, int | None]:
    """The tokens [ply] of a transcript, and the move's square.

    Raises:
        InputError: no text; no moves, a piece that is no square, an illegal move; a move that is no square, or one of
            the centre, where nobody plays; another notation than "ours" or "standard".
    """
    if notation not in ("ours", "standard"):
        raise InputError(f"notation {notation!r}: it is 'ours' or 'standard'")
    for what, given in (("transcript", transcript), ("move", move)):
        if not isinstance(given, str) and not (what == "move" and given is None):
            raise InputError(f'the {what} is {given!r}: give text, such as "D2 C2 E5"')
    tokens = played_moves(transcript, notation)
    tokens = tokens[: int((tokens != 0).sum())]
    if move is None:
        return tokens, None
    square = parse_square(move, notation)
    if square in CENTRE:
        raise InputError(f"move {move.strip()}: a centre square, where nobody ever plays; give one of the other 60")
    return tokens, square


def explanation_record(
    model: OthelloModel,
    probes: ProbeSet,
    transcript: str,
    move: str | None = None,
    *,
    games: Games,
    rules: RuleTable | None = None,
    notation: Notation = "ours",
    seed: int = 0,
    command: str = "",
    python: str = "",
    known: Callable[[int], Means] | None = None,
) -> ExplanationRecord:
    """Explain a move of one position.

    Args:
        transcript: the game so far; move: a square, by default the model's likeliest.
        games: those that means are taken over; rules: the model's table of rules.
        seed: of the drawn sets; known: the means at a ply over the same games, where they are kept.

    Raises:
        InputError: as `check` and `circuits.explanation.explain.explain`; probes of another model.
    """
    tokens, square = check(transcript, move, notation)
    probes.check(model)
    found = explain(model, tokens, probes.board_readers(model.device), games, square, rules, seed=seed, known=known)
    return ExplanationRecord(
        version=ExplanationRecord.VERSION,
        explanation=found,
        probe_source=probe_words(probes),
        rules_source=rules_words(rules),
        origin=origin(model, seed, command, python, LAYER_NORM),
    )


def rules_of(model_hash: str, cache: Path | None) -> RuleTable | None:
    """This model's table of rules, as `circuits.induction.kept.table_of`; others' are not read beyond their heads.

    Raises:
        InputError: the only one there is cannot be read.
    """
    return table_of(model_hash, cache) if has_rules(model_hash, cache) else None


def has_rules(model_hash: str, cache: Path | None) -> bool:
    """Whether there is a table of this very model, told by the heads of the files."""
    if cache is not None and path_in(cache, model_hash).is_file():
        return True
    if not BUNDLED.is_file():
        return False
    with as_file(BUNDLED) as path:
        head = json.loads((pq.read_schema(path).metadata or {})[METADATA])
    return head["provenance"]["model"] == model_hash


def rules_words(rules: RuleTable | None) -> str:
    """What the table of rules was made of, in a few words; "" without one."""
    if rules is None:
        return ""
    made = rules.provenance
    return (
        f"{count(len(rules))} neurons, {count(made.games)} games ({made.games_source}), scores on "
        f"{count(made.held_out_games)} held-out ones, plies {made.first_ply}–{made.last_ply}"
    )


def python_line(transcript: str, move: str | None, notation: Notation, arguments: str = "") -> str:
    """The Python that makes the same report."""
    given = [repr(transcript), *([repr(move)] if move is not None else [])]
    given += [f"notation={notation!r}"] if notation != "ours" else []
    return f"from reports import open_model; open_model({arguments}).explain({', '.join(given)})"
