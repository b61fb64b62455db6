"""Reading and writing files of games. Nothing here trusts a file, and nothing is ever unpickled.

====================  ==========================================================================
``.txt``              transcripts in letters and digits, one game a line; ``#`` begins a comment
``.pgn``              tournament files, always in standard notation; passes unwritten, ``*`` for
                      an unfinished game
``.npy .pt            one array of whole numbers [game, ply <= 60] (``.pt`` also a list of lists):
.safetensors``        *tokens* 1..60, padded with 0, or *squares* 0..63, padded with a negative
====================  ==========================================================================

Reading gives tokens and, for every bad game, its number and the reason; `circuits.games.load` decides
whether to refuse the file or to leave those games out.
"""

import os
import re
import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from circuits.errors import InputError
from circuits.files import write_whole
from circuits.game_arrays import ARRAYS, Raw, games_of_array
from circuits.notation import (
    N_MOVES,
    SQUARE_TOKEN,
    TOKEN_SQUARE,
    Notation,
    OtherNotation,
    parse_transcript,
    print_transcript,
)
from circuits.othello import illegal_moves, replay

READABLE = (".txt", ".pgn", ".npy", ".pt", ".safetensors")
WRITABLE = (".txt", ".npy", ".safetensors")


def read(path: str | os.PathLike, notation: str = "ours", encoding: str | None = None) -> Raw:
    """The games of a file, checked against the rules.

    Raises:
        InputError: no such file, of no known kind, damaged, without games, or in the other notation.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if path.is_dir():
        raise InputError(f"cannot read games from {path}: it is a folder; give one file in it")
    if kind not in READABLE:
        pickled = kind in (".pkl", ".pickle", ".ckpt", ".joblib")
        ending = f"it ends in {kind!r}" if kind else "its name has no ending"
        why = "a pickle may run code and is never opened" if pickled else ending
        raise InputError(f"cannot read games from {path}: {why}; readable are {', '.join(READABLE)}")
    if encoding not in (None, "tokens", "squares"):
        raise InputError(f"unknown encoding {encoding!r}: it is 'tokens' or 'squares'")
    if notation not in ("ours", "standard"):
        raise InputError(f"unknown notation {notation!r}: it is 'ours' or 'standard'")
    try:
        if path.is_file() and not path.stat().st_size:
            raise InputError("the file is empty")
        if kind in (".txt", ".pgn"):
            notation = "standard" if kind == ".pgn" else notation
            text = path.read_bytes()
            games = _pgn_games(text) if kind == ".pgn" else _lines(text)
            raw = _from_text([(line, moves) for line, moves, _ in games], notation)
        else:
            values, metadata, ids = ARRAYS[kind](path)
            raw = games_of_array(values, encoding, metadata, ids)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if not len(raw.tokens):
        raise InputError(f"{path}: no games in it")
    raw = _judge(raw, notation)
    if kind == ".pgn" and not games[-1][2] and not _is_over(raw):
        moves = int((raw.tokens[-1] != 0).sum())
        warnings.warn(
            f"{path}: the last game (game {len(games) - 1}, line {games[-1][0]}, {moves} moves) has no result: "
            "is the file cut short?",
            stacklevel=3,
        )
    return raw


def _is_over(raw: Raw) -> bool:
    """Whether the last game ended: nobody can move. Some tournament files state results in their heads alone."""
    length = int((raw.tokens[-1] != 0).sum())
    if len(raw.tokens) - 1 in raw.bad or not length:
        return False
    return not bool(replay(raw.tokens[-1:]).valid[0, length - 1])


def _judge(raw: Raw, notation: Notation) -> Raw:
    """Add the games that break the rules to the bad ones."""
    bad = dict(raw.bad)
    for error in illegal_moves(raw.tokens):
        bad[error.game] = error.reason(notation)
    for game in (raw.tokens[:, 0] == 0).nonzero().squeeze(1).tolist():
        bad.setdefault(game, "no moves")
    return Raw(raw.tokens, bad, raw.metadata, raw.ids)


# Text ---------------------------------------------------------------------------------------------


def _lines(text: bytes) -> list[tuple[int, str, bool]]:
    """(line number from 1, transcript, True) of every game."""
    try:
        lines = text.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start} is not UTF-8 text: transcripts are plain text") from error
    games = [(number, line.partition("#")[0]) for number, line in enumerate(lines, 1)]
    return [(number, line, True) for number, line in games if line.strip()]


def _pgn_games(text: bytes) -> list[tuple[int, str, bool]]:
    """(line number from 1, moves alone, whether a result follows them) of every game."""
    # Names of players come in any code page and are not kept; the moves are ASCII.
    lines = text.decode("utf-8-sig", errors="replace").split("\n")
    games: list[tuple[int, list[str]]] = []
    tags: set[str] | None = None  # those of the game whose head we are in
    for number, line in enumerate(lines, 1):
        tag = line.split()[0] if line.startswith("[") else None
        if tag and (tags is None or tag in tags):
            games.append((number, []))
            tags = set()
        if tag:
            tags.add(tag)
        elif line.strip():
            tags = None
            if not games:
                games.append((number, []))
            games[-1][1].append(line.partition(";")[0])
    comment, result = r"\{[^{}]*\}", r"\*|(?<!\S)\d+(?:/\d+)?-\d+(?:/\d+)?(?!\S)"
    furniture = re.compile(rf"{comment}|\$\d+|\b\d+\.+|{result}")
    whole = [(number, "\n".join(moves)) for number, moves in games]
    return [
        (number, furniture.sub(" ", moves), bool(re.search(result, re.sub(comment, " ", moves))))
        for number, moves in whole
    ]


def _from_text(games: list[tuple[int, str]], notation: Notation) -> Raw:
    tokens = np.zeros((len(games), N_MOVES), dtype=np.uint8)
    square_token = SQUARE_TOKEN.numpy()
    bad, other = {}, None
    for game, (line, text) in enumerate(games):
        try:
            squares = parse_transcript(text, notation)
            if len(squares) > N_MOVES:
                raise InputError(f"ply {N_MOVES}: a game has at most {N_MOVES} moves, this one {len(squares)}")
            row = square_token[squares] if squares else []
            if 0 in row:
                ply = int((row == 0).argmax())
                name = print_transcript([squares[ply]], notation)
                raise InputError(f"ply {ply}: {name} is a centre square, where nobody plays")
            tokens[game, : len(squares)] = row
        except InputError as error:
            bad[game] = f"line {line}, {error}"
            if isinstance(error, OtherNotation) and other is None:
                other = f"game {game}, {bad[game]}"
    # Leaving out the games that betray the other notation would keep the rest transposed.
    digit = "0" if notation == "ours" else "8"
    if other and not any(digit in text for _, text in games):
        raise InputError(other)
    return Raw(torch.from_numpy(tokens), bad)


# Writing ------------------------------------------------------------------------------------------


def write(
    path: str | os.PathLike, tokens: UInt8[Tensor, "game 60"], ids: Int[Tensor, "game"], metadata: dict[str, str]
) -> None:
    """Write games whole or not at all: ``.safetensors`` with ids and metadata, ``.npy``, or ``.txt``.

    Raises:
        InputError: another ending, or the place cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in WRITABLE:
        raise InputError(f"cannot write games to {path}: the name must end in {', '.join(WRITABLE)}")
    with write_whole(path) as temporary:
        if kind == ".safetensors":
            from safetensors.torch import save

            temporary.write_bytes(save({"tokens": tokens.contiguous(), "ids": ids.contiguous()}, metadata))
        elif kind == ".npy":
            with temporary.open("wb") as file:
                np.save(file, tokens.numpy(), allow_pickle=False)
        else:
            rows = [[s for s in row if s >= 0] for row in TOKEN_SQUARE[tokens.long()].tolist()]
            head = f"# {metadata['source']}; fingerprint {metadata['fingerprint']}\n"
            temporary.write_text(head + "".join(print_transcript(row) + "\n" for row in rows), encoding="utf-8")
