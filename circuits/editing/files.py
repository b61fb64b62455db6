"""Files of edit cases: our own, written and read back; and the published benchmark's layout, read.

Ours is JSON: {"format", "source", "dropped", "cases": [{"history": squares played, "squares", "after": states by name,
"kind", "proof"}]}. What a file claims to be natural or unnatural is proven again as it is read (`proven`).

Published (Li et al., "Emergent World Representations", 2023): a list of {"history": squares played, "square": the one
whose disc is flipped, "original_color": 0 white or 2 black}, squares numbered as ours. The side to move is kept.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from circuits.editing.board_edits import KINDS, MINE, STATES, EditCases, edited_boards, states
from circuits.editing.retrograde import unreachable
from circuits.errors import InputError
from circuits.files import write_whole
from circuits.notation import CENTRE, LABELS, N_CTX, N_MOVES, SQUARE_TOKEN, TOKEN_SQUARE, parse_transcript
from circuits.othello import illegal_moves, popcount, replay

_FORMAT = "othello-circuits edit cases 1"
_COLOURS = {0: "white", 2: "black"}
_PUBLISHED = '{"history": [squares played], "square": 0..63, "original_color": 0 (white) or 2 (black)}'
_OURS = '{"history": [squares], "squares": [squares], "after": [states], "kind": name, "proof": text}'


def save(cases: EditCases, path: str | os.PathLike) -> None:
    """Write cases as JSON.

    Raises:
        InputError: the place cannot be written (nothing is left half-written).
    """
    rows = []
    for i in range(len(cases)):
        used = cases.square[i] >= 0
        rows.append(
            {
                "history": TOKEN_SQUARE[cases.tokens[i, : cases.ply[i] + 1].long()].tolist(),
                "squares": cases.square[i][used].tolist(),
                "after": [STATES[s] for s in cases.after[i][used].tolist()],
                "kind": cases.kind[i],
                "proof": cases.proof[i],
            }
        )
    head = {"format": _FORMAT, "source": cases.source, "dropped": cases.dropped}
    body = ",\n".join(json.dumps(row) for row in rows)
    with write_whole(path) as temporary:
        temporary.write_text(f'{json.dumps(head)[:-1]}, "cases": [\n{body}\n]}}\n', encoding="utf-8")


def load(path: str | os.PathLike) -> EditCases:
    """The cases of a file of our own, or of one in the published layout.

    Raises:
        InputError: no such file, no JSON, another layout; or a case that is not sound: which, and why.
    """
    data = _read(path)
    if isinstance(data, list):
        return _published(path, data)
    if not isinstance(data, dict) or data.get("format") != _FORMAT or not isinstance(data.get("cases"), list):
        raise InputError(f"{path}: no file of edit cases: a list of published cases, or a file that `save` wrote")
    rows = data["cases"]
    if not rows:
        raise InputError(f"{path}: no cases: at least one is needed, each {_OURS}")
    for i, row in enumerate(rows):
        _check(path, i, row, _FIELDS, _OURS)
        if len(row["after"]) != len(row["squares"]):
            raise InputError(
                f'{path}: case {i}: "after" has {len(row["after"])} states for {len(row["squares"])} squares: one each'
            )
        for s, state in zip(row["squares"], row["after"], strict=True):
            if state == "empty" and s in CENTRE:
                raise InputError(f"{path}: case {i}: {LABELS[s]} is a centre square, which is never empty")
    k = max((len(row["squares"]) for row in rows), default=1)
    square = [row["squares"] + [-1] * (k - len(row["squares"])) for row in rows]
    after = [[STATES.index(s) for s in row["after"]] + [-1] * (k - len(row["after"])) for row in rows]
    tokens = _tokens(path, [row["history"] for row in rows])
    source = " ".join(str(data.get("source", "")).split())
    dropped = data.get("dropped")
    if not isinstance(dropped, dict) or not all(isinstance(n, int) for n in dropped.values()):
        raise InputError(f"{path}: 'dropped' is to be reasons and how many")
    cases = EditCases(
        tokens, (tokens != 0).sum(1) - 1, torch.tensor(square).reshape(-1, k), torch.tensor(after).reshape(-1, k),
        tuple(row["kind"] for row in rows), tuple(row["proof"] for row in rows), source, dropped,
    )  # fmt: skip
    if not cases.edited.valid.all():
        raise InputError(f"{path}: case {_first(~cases.edited.valid)}: the side to move has no move once it is edited")
    if not proven(cases).all():
        i = _first(~proven(cases))
        raise InputError(f"{path}: case {i} is not {cases.kind[i]} as it says: the file was edited or damaged")
    return cases


def published(path: str | os.PathLike) -> EditCases:
    """The cases of a file in the published layout; those whose side to move has no move afterwards are dropped.

    Raises:
        InputError: no such file, no JSON, another layout, an illegal history, a disc of another colour: which case.
    """
    data = _read(path)
    if not isinstance(data, list):
        raise InputError(f"{path}: a published benchmark is a list of cases, each {_PUBLISHED}")
    return _published(path, data)


def proven(cases: EditCases) -> Bool[Tensor, "case"]:
    """Whether each case is what its ``kind`` claims, found anew; True where nothing is claimed.

    A natural one's proof must be a legal transcript of the same length that ends at the edited board with the same
    side to move; an unnatural one's board must have another number of discs than a game has there, or no disc that
    can have been its last move.
    """
    edited = cases.edited
    miscounted = popcount(edited.occupied) != cases.ply + 5
    shown = miscounted | unreachable(edited.mine, edited.theirs)
    natural = torch.tensor([kind == "natural" for kind in cases.kind])
    other = torch.tensor([kind not in ("natural", "unnatural") for kind in cases.kind])
    return torch.where(natural, _reached(cases), shown | other)


def _reached(cases: EditCases) -> Bool[Tensor, "case"]:
    """Whether each proof is a legal transcript of the case's length that ends at its edited board."""
    witness = torch.zeros_like(cases.tokens)
    for row, (proof, kind) in enumerate(zip(cases.proof, cases.kind, strict=True)):
        try:
            moves = parse_transcript(proof) if kind == "natural" else []
        except InputError:
            continue
        if len(moves) == int(cases.ply[row]) + 1 and not set(moves) & set(CENTRE):
            witness[row, : len(moves)] = SQUARE_TOKEN[torch.tensor(moves)].to(torch.uint8)
    for error in illegal_moves(witness):
        witness[error.game] = 0
    end, edited = replay(witness)[torch.arange(len(cases)), cases.ply], cases.edited
    same = (end.mine == edited.mine) & (end.theirs == edited.theirs) & (end.black_to_move == edited.black_to_move)
    return same & (witness[:, 0] != 0)


def _published(path: str | os.PathLike, data: list) -> EditCases:
    for i, case in enumerate(data):
        _check(path, i, case, _PUBLISHED_FIELDS, _PUBLISHED)
    if not data:
        raise InputError(f"{path}: no cases: at least one is needed, each {_PUBLISHED}")
    tokens = _tokens(path, [case["history"] for case in data])
    ply = (tokens != 0).sum(1) - 1
    board = replay(tokens)[torch.arange(len(data)), ply]
    square = torch.tensor([[case["square"]] for case in data])
    before = states(board, square)
    black = (before == MINE) == board.black_to_move[:, None]
    for i, case in enumerate(data):
        named, where = _COLOURS[case["original_color"]], LABELS[case["square"]]
        found = "empty" if before[i] == 0 else "black" if black[i] else "white"
        if found != named:
            raise InputError(f"{path}: case {i}: {where} is {found} after its history, not {named}")
    after = 3 - before
    over = ~board.valid | (ply >= N_CTX)
    stuck = ~edited_boards(board, square, after).valid & ~over
    dropped = {
        reason: int(which.sum())
        for reason, which in (
            ("the game is over, or no model reads so far", over),
            ("the side to move has no move on the edited board", stuck),
        )
        if which.any()
    }
    kept = ~(over | stuck)
    count = int(kept.sum())
    source = f"{Path(path).name}, {count} of {len(data)} cases"
    return EditCases(
        tokens[kept], ply[kept], square[kept], after[kept], ("published",) * count, ("",) * count, source, dropped
    )


def _read(path: str | os.PathLike):
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: no JSON: a file of edit cases is needed") from None


def _squares(value, fewest: int, most: int) -> bool:
    return (
        isinstance(value, list) and fewest <= len(value) <= most and all(type(s) is int and 0 <= s < 64 for s in value)
    )


def _tokens(path: str | os.PathLike, histories: Sequence[list[int]]) -> Tensor:
    """Tokens [case, 60] of histories, each legal."""
    tokens = torch.zeros(len(histories), N_MOVES, dtype=torch.uint8)
    for i, history in enumerate(histories):
        for s in history:
            if s in CENTRE:
                raise InputError(f"{path}: case {i}: {LABELS[s]} is a centre square, where nobody plays")
        tokens[i, : len(history)] = SQUARE_TOKEN[torch.tensor(history)].to(torch.uint8)
    if len(tokens):
        for error in illegal_moves(tokens):
            raise InputError(f"{path}: case {error.game}: {error.reason()}")
    return tokens


def _first(which: Bool[Tensor, "case"]) -> int:
    return int(which.nonzero()[0])


def _check(path: str | os.PathLike, i: int, case, fields: dict, layout: str) -> None:
    """Refuse a case that lacks a field, or has something else in it."""
    if not isinstance(case, dict) or (lacking := [name for name in fields if name not in case]):
        what = "" if not isinstance(case, dict) else f" (no {lacking[0]!r})"
        raise InputError(f"{path}: case {i} has another layout{what}: expected {layout}")
    for name, (sound, wanted) in fields.items():
        if not sound(case[name]):
            given = json.dumps(case[name])
            given = given if len(given) <= 60 else given[:60] + "…"
            raise InputError(f'{path}: case {i}: "{name}" is {given}: expected {wanted}')


#: by field of a case: what it may be, and that in words
_FIELDS = {
    "history": (lambda v: _squares(v, 1, N_CTX), f"a list of 1..{N_CTX} squares, each 0..63"),
    "squares": (lambda v: _squares(v, 1, 64) and len(set(v)) == len(v), "a list of squares, each 0..63 and once"),
    "after": (lambda v: isinstance(v, list) and all(s in STATES for s in v), f"a list of {', '.join(STATES)}"),
    "kind": (lambda v: v in KINDS, f"one of {', '.join(KINDS)}"),
    "proof": (lambda v: isinstance(v, str), "text"),
}
_PUBLISHED_FIELDS = {
    "history": (lambda v: _squares(v, 1, N_MOVES), f"a list of 1..{N_MOVES} squares, each 0..63"),
    "square": (lambda v: _squares([v], 1, 1), "a square, 0..63"),
    "original_color": (lambda v: type(v) is int and v in _COLOURS, "0 (white) or 2 (black)"),
}
