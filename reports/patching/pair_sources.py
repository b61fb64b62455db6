"""Pairs from where users have them: two transcripts, a file, or a question put to games.

A file has one pair a line, ``clean | corrupt`` (empty lines and those that begin with # are skipped), or is JSON: a
list of ``{"clean": "D2 C2 ...", "corrupt": "D2 E2 ..."}``. Every pair is checked; a refusal names its line.
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from circuits.causes.counterfactuals import counterfactuals
from circuits.causes.pairs import KINDS, Pairs
from circuits.errors import InputError
from circuits.games import MIDDLE_BAND, Games
from circuits.notation import N_MOVES, Notation, parse_transcript, token

#: how many random games are searched at most, where none are given
GAMES = 100_000
#: short names of kinds, for the command line
SHORT_KINDS = {
    "last-move": (KINDS[1],),
    "one-move": (KINDS[2],),
    "both": (KINDS[1], KINDS[2]),
    "transposition": (KINDS[3],),
}


def tokens_of(transcript: str, notation: Notation = "ours") -> UInt8[Tensor, "60"]:
    """A transcript's tokens, 0 after its end; legality is not checked here.

    Raises:
        InputError: a piece that is no square, a centre square, too many moves.
    """
    squares = parse_transcript(transcript, notation)
    if len(squares) > N_MOVES:
        raise InputError(f"{len(squares)} moves: a game has at most {N_MOVES}")
    row = torch.zeros(N_MOVES, dtype=torch.uint8)
    for ply, one in enumerate(squares):
        try:
            row[ply] = token(one)
        except InputError as error:
            raise InputError(f"ply {ply}: {error}") from None
    return row


def given_pair(clean: str, corrupt: str, notation: Notation = "ours") -> Pairs:
    """One pair of transcripts.

    Raises:
        InputError: as `Pairs.of` and `tokens_of`, naming the transcript.
    """
    rows = _both({"clean": clean, "corrupt": corrupt}, notation)
    try:
        return Pairs.of(*(row[None] for row in rows), question="the pair given", source="given", notation=notation)
    except InputError as error:
        raise InputError(_alone(error)) from None


def read_pairs(path: str | os.PathLike, notation: Notation = "ours") -> Pairs:
    """The pairs of a file; lines with the same clean transcript count as one game.

    Raises:
        InputError: it cannot be read, holds no pairs, or a pair is no pair (which line, and why).
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read pairs from {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"cannot read pairs from {path}: it is no text") from None
    entries = _json_entries(text, path) if path.suffix == ".json" else _line_entries(text, path)
    if not entries:
        raise InputError(f"{path} holds no pairs: write one a line, 'clean | corrupt'")
    rows = []
    for where, entry in entries:
        try:
            rows.append(_both(entry, notation))
        except InputError as error:
            raise type(error)(f"{path}, {where}: {error}") from None
    clean, corrupt = (torch.stack(side) for side in zip(*rows, strict=True))
    _, game = clean.unique(dim=0, return_inverse=True)
    try:
        return Pairs.of(
            clean, corrupt, game=game, question=f"the pairs of {path.name}", source=str(path), notation=notation
        )
    except InputError as error:
        number = re.match(r"pair (\d+)\b", str(error))
        if number is None:
            raise InputError(f"{path}: {error}") from None
        where = entries[int(number[1])][0]
        raise InputError(f"{path}, {where}: {str(error)[number.end() :].lstrip(',: ')}") from None


def pairs_for(
    fact: str | None,
    n: int,
    *,
    kind: str = "both",
    keep: Sequence[str] = (),
    plies: slice = MIDDLE_BAND,
    games: Games | int = GAMES,
    seed: int = 0,
) -> Pairs:
    """Counterfactual pairs of a fact, by the short name of a kind; see
    `circuits.causes.counterfactuals.counterfactuals`.

    Raises:
        InputError: an unknown kind; as `counterfactuals`.
    """
    if kind not in SHORT_KINDS:
        raise InputError(f"{kind!r} is no kind of pair: {', '.join(SHORT_KINDS)}")
    return counterfactuals(games, fact, n, kinds=SHORT_KINDS[kind], keep=tuple(keep), plies=plies, seed=seed)


def _both(entry: dict[str, str], notation: Notation) -> tuple[Tensor, Tensor]:
    rows = []
    for name in ("clean", "corrupt"):
        try:
            rows.append(tokens_of(entry[name], notation))
        except InputError as error:
            raise type(error)(f"{name} transcript, {error}") from None
    return rows[0], rows[1]


def _alone(error: InputError) -> str:
    """What is wrong with the only pair there is."""
    return re.sub(r"^pair 0[,:] ", "", str(error))


def _line_entries(text: str, path: Path) -> list[tuple[str, dict[str, str]]]:
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = line.split("|")
        if len(parts) != 2:
            raise InputError(f"{path}, line {number}: a pair is written 'clean | corrupt', with one | between them")
        entries.append((f"line {number}", {"clean": parts[0], "corrupt": parts[1]}))
    return entries


def _json_entries(text: str, path: Path) -> list[tuple[str, dict[str, str]]]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, list):
        raise InputError(f'{path}: a list of {{"clean": "D2 C2", "corrupt": "D2 E2"}} is expected')
    for i, entry in enumerate(content):
        good = isinstance(entry, dict) and all(isinstance(entry.get(name), str) for name in ("clean", "corrupt"))
        if not good:
            raise InputError(f'{path}, entry {i}: "clean" and "corrupt" must both be transcripts')
    return [(f"entry {i}", entry) for i, entry in enumerate(content)]
