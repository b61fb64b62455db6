"""Edits of a board inside a game: which squares, into which state, and the legal moves that follow from them.

A case is a transcript cut after `ply`, some squares and the state that each is to have there::

    edited = the same discs, but for those squares; the same side moves; its legal moves by the rules

States are the probes' classes: 0 empty, 1 theirs, 2 mine, for the side that moves next. An edit says what it does at
earlier plies too (`EditCases.by_ply`), for methods that write to every position: a flip turns the square's disc
wherever there is one, an erasure takes it away wherever there is one, and a disc placed lies there, in one colour,
for as long as the square is empty.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Int, Integer, UInt8
from torch import Tensor

from circuits.bitboards import legal_moves, popcount
from circuits.errors import InputError
from circuits.games import Games
from circuits.notation import CENTRE, N_CTX, N_MOVES, Notation, print_transcript
from circuits.notation import square as parse_square
from circuits.othello import Boards, IllegalMove, replay

EMPTY, THEIRS, MINE = 0, 1, 2
#: a square's states by class, the order of the board probes
STATES = ("empty", "theirs", "mine")
#: what an edit can be told to do to a square; the last four put a disc there, or turn one
WHATS = ("flip", "erase", "mine", "theirs", "black", "white")
#: what an edit does to a square, by code: `EditCases.action`
ACTIONS = ("nothing", "flip", "erase", "place")
NOTHING, FLIP, ERASE, PLACE = range(4)
#: where cases come from
KINDS = ("natural", "unnatural", "published", "given")


@dataclass(frozen=True, eq=False)
class EditCases:
    """Positions with an edit each; made by `EditCases.given`, `circuits.editing.cases` or `join`.

    Attributes:
        tokens: the transcripts up to the position, 0 behind it.
        ply: the position: the state after ``ply + 1`` moves.
        square: the squares edited, -1 where a case has fewer than others.
        after: the state (0 empty, 1 theirs, 2 mine) that each is to have; -1 likewise.
        kind: one of `KINDS` each.
        proof: why a case is natural or unnatural, in words or as a transcript; "" where nothing is claimed.
        source: where the positions come from, in words.
        dropped: why candidates were left out -> how many.
    """

    tokens: UInt8[Tensor, "case 60"]
    ply: Int[Tensor, "case"]
    square: Int[Tensor, "case k"]
    after: Int[Tensor, "case k"]
    kind: tuple[str, ...]
    proof: tuple[str, ...]
    source: str
    dropped: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.tokens)
        if not count:
            why = ", ".join(f"{n} dropped: {reason}" for reason, n in self.dropped.items())
            raise InputError(f"no edits ({self.source}{'; ' + why if why else ''}): at least one case is needed")
        if len(self.kind) != count or len(self.proof) != count:
            raise InputError(f"{len(self.kind)} kinds and {len(self.proof)} proofs for {count} cases: one each")

    @staticmethod
    def given(
        transcript: Games | Integer[Tensor, "*game ply"],
        edits: Sequence[tuple[int, str]],
        ply: int | None = None,
        *,
        allow_noop: bool = False,
        notation: Notation = "ours",
    ) -> "EditCases":
        """One case: a game (or its tokens) up to ``ply`` (by default its last move), and what to do to each square.

        ``edits`` are (square index, one of `WHATS`); "mine" and "theirs" are meant at ``ply``. ``notation`` is that
        of the squares in error messages.

        Raises:
            InputError: not one game; an illegal transcript, or one that ends before ``ply``; a position where the
                game is over, or that no model reads; no edit, an edit that says something else, a square twice or
                outside the board; a square that is that already (unless ``allow_noop``); nothing there to flip; a
                centre square emptied; an edited board on which the side to move, or neither side, can move.
        """
        tokens = _one_row(transcript)
        try:
            boards = replay(tokens[None])
        except IllegalMove as error:
            raise InputError(error.reason(notation)) from None
        length = int((tokens != 0).sum())
        if not length:
            raise InputError("the transcript has no moves: an edit needs one at least")
        ply = length - 1 if ply is None else ply
        if not 0 <= ply < length:
            raise InputError(f"ply {ply}: the transcript has {length} moves, so plies 0..{length - 1}")
        board = boards[0, ply]
        if not board.valid:
            raise InputError(f"ply {ply}: the game is over there, neither side can move: give an earlier ply")
        if ply >= N_CTX:
            raise InputError(f"ply {ply}: a model reads plies 0..{N_CTX - 1}: give an earlier one")
        if not edits:
            raise InputError(f"no edit: give a square and one of {', '.join(WHATS)}")
        squares, after = [], []
        for square, what in edits:
            if square in squares:
                raise InputError(f"{_label(square, notation)} is edited twice: one edit a square")
            after.append(_target(board, square, what, allow_noop, notation))
            squares.append(square)
        _check_playable(board, torch.tensor(squares), torch.tensor(after))
        whole = torch.zeros(1, N_MOVES, dtype=torch.uint8)
        whole[0, : ply + 1] = tokens[: ply + 1]
        return EditCases(
            whole, torch.tensor([ply]), torch.tensor([squares]), torch.tensor([after]), ("given",), ("",), "given"
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"EditCases({len(self)}: {self.source})"

    def __getitem__(self, index: int | slice | list | Tensor) -> "EditCases":
        """Some of the cases, by row, slice, rows or mask; ``dropped`` stays that of the whole."""
        rows = torch.arange(len(self))[index if isinstance(index, slice) else torch.as_tensor(index)]
        rows = rows[None] if rows.ndim == 0 else rows
        tensors = {name: getattr(self, name)[rows] for name in ("tokens", "ply", "square", "after")}
        words = {name: tuple(getattr(self, name)[i] for i in rows.tolist()) for name in ("kind", "proof")}
        return replace(self, **tensors, **words)

    def batches(self, size: int) -> "list[EditCases]":
        """The cases in order, ``size`` at a time; the last batch may be smaller."""
        return [self[start : start + size] for start in range(0, len(self), size)]

    @cached_property
    def boards(self) -> Boards:
        """The positions before the edit, [case]."""
        return self._history[torch.arange(len(self)), self.ply]

    @cached_property
    def edited(self) -> Boards:
        """The positions after it, [case]: the same side moves, its legal moves found anew."""
        return edited_boards(self.boards, self.square, self.after)

    @cached_property
    def before(self) -> Int[Tensor, "case k"]:
        """The state of each edited square before the edit, -1 where `square` is."""
        return states(self.boards, self.square)

    @cached_property
    def action(self) -> Int[Tensor, "case k"]:
        """What is done to each square, by code in `ACTIONS`; -1 where `square` is."""
        found = torch.where(self.before == EMPTY, PLACE, torch.where(self.after == EMPTY, ERASE, FLIP))
        found = found.masked_fill(self.before == self.after, NOTHING)
        return found.masked_fill(self.square < 0, -1)

    @cached_property
    def changed(self) -> Int[Tensor, "case"]:
        """How many moves are legal on one of the two boards only."""
        return popcount(self.boards.legal ^ self.edited.legal)

    def by_ply(
        self,
    ) -> tuple[Int[Tensor, "case k ply"], Int[Tensor, "case k ply"], Bool[Tensor, "case k ply"]]:
        """(state before, state after, whether anything is done) at every ply 0..58, for the mover of that ply.

        The states are -1 where nothing is done: after `ply`; where the square is empty and a disc is flipped or
        erased; where it is occupied and a disc is placed. An edit to what is there already is done at every ply.
        """
        return self._by_ply

    @cached_property
    def _by_ply(self) -> tuple[Tensor, Tensor, Tensor]:
        boards = self._history
        before = states(boards, self.square[:, None].expand(-1, N_CTX, -1)).mT
        black = boards.black_to_move[:, None]
        # A disc placed has one colour, whoever moves: mine at `ply` is theirs wherever the other side moves.
        at_ply = self.boards.black_to_move[:, None, None]
        target = self.after[:, :, None].expand_as(before)
        placed = torch.where(black == at_ply, target, 3 - target)
        action = self.action[:, :, None]
        after = torch.where(action == FLIP, 3 - before, torch.where(action == PLACE, placed, EMPTY))
        after = torch.where(action == NOTHING, before, after)
        there = (before == EMPTY) == (action == PLACE)
        applies = (there | (action == NOTHING)) & (action >= 0)
        applies = applies & (torch.arange(N_CTX) <= self.ply[:, None, None])
        return before.masked_fill(~applies, -1), after.masked_fill(~applies, -1), applies

    @cached_property
    def _history(self) -> Boards:
        """The states [case, 59]; padding after `ply`."""
        return replay(self.tokens[:, :N_CTX])


def edited_boards(boards: Boards, square: Int[Tensor, "*batch k"], after: Int[Tensor, "*batch k"]) -> Boards:
    """Boards with the squares in another state, the same side to move, and its legal moves.

    Squares of -1 are left alone. ``valid`` says whether that side can move; the last move and what it flipped stay
    on record as they were.
    """
    mine, theirs = boards.mine.clone(), boards.theirs.clone()
    for s, state in zip(square.unbind(-1), after.unbind(-1), strict=True):
        bit = torch.where(s < 0, 0, torch.ones_like(mine) << s.clamp(min=0))
        mine = (mine & ~bit) | bit.masked_fill(state != MINE, 0)
        theirs = (theirs & ~bit) | bit.masked_fill(state != THEIRS, 0)
    legal = legal_moves(mine, theirs)
    return replace(boards, mine=mine, theirs=theirs, legal=legal, valid=legal != 0)


def states(boards: Boards, square: Int[Tensor, "*batch k"]) -> Int[Tensor, "*batch k"]:
    """The state (0 empty, 1 theirs, 2 mine) of squares on each board; -1 where the square is -1."""
    at = square.clamp(min=0)
    mine, theirs = (bits[..., None] >> at & 1 for bits in (boards.mine, boards.theirs))
    return (mine * MINE + theirs * THEIRS).masked_fill(square < 0, -1)


def join(parts: Sequence[EditCases]) -> EditCases:
    """Several sets of cases as one; what was dropped is added up."""
    if not parts:
        raise InputError("no cases to join: give at least one set")
    k = max(part.square.shape[1] for part in parts)
    pad = [(part, (0, k - part.square.shape[1])) for part in parts]
    dropped: dict[str, int] = {}
    for part in parts:
        for reason, count in part.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
    return EditCases(
        torch.cat([part.tokens for part in parts]),
        torch.cat([part.ply for part in parts]),
        torch.cat([torch.nn.functional.pad(part.square, width, value=-1) for part, width in pad]),
        torch.cat([torch.nn.functional.pad(part.after, width, value=-1) for part, width in pad]),
        tuple(name for part in parts for name in part.kind),
        tuple(why for part in parts for why in part.proof),
        "; ".join(dict.fromkeys(part.source for part in parts)),
        dropped,
    )


def parse_edit(text: str, notation: Notation = "ours") -> tuple[int, str]:
    """An edit written as ``flip F4``, ``erase F4`` or ``F4=mine``: (square index, one of `WHATS`).

    Raises:
        InputError: none of these forms, or no square of this notation.
    """
    words = text.strip()
    if match := re.fullmatch(r"(flip|erase)\s+(\S+)", words, re.IGNORECASE):
        what, where = match.groups()
    elif match := re.fullmatch(r"(\S+?)\s*=\s*(mine|theirs|black|white)", words, re.IGNORECASE):
        where, what = match.groups()
    else:
        raise InputError(
            f"{words!r} is no edit: write 'flip F4', 'erase F4', or F4=mine (theirs, black, white) to put a disc there"
        )
    return parse_square(where, notation), what.lower()


def _one_row(transcript: Games | Tensor) -> Integer[Tensor, "ply"]:
    tokens = transcript.tokens if isinstance(transcript, Games) else transcript
    if tokens.ndim == 2 and len(tokens) == 1:
        tokens = tokens[0]
    if tokens.ndim != 1:
        raise InputError(f"an edit is of one game, and these are {len(tokens)}: give one row, as in games[3]")
    return tokens


def _target(board: Boards, square: int, what: str, allow_noop: bool, notation: Notation) -> int:
    """The state that ``what`` gives a square, checked against what it is."""
    name = _label(square, notation)
    if what not in WHATS:
        raise InputError(f"{name}: {what!r} is no edit: {', '.join(WHATS)}")
    now = int(states(board, torch.tensor([square])))
    black = bool(board.black_to_move)
    if what == "flip":
        if now == EMPTY:
            raise InputError(f"{name} is empty: there is no disc to flip; {name}=mine or {name}=theirs places one")
        return 3 - now
    if what == "erase":
        if square in CENTRE:
            raise InputError(f"{name} is a centre square, which is never empty: flip it instead")
        after = EMPTY
    else:
        after = MINE if what == "mine" or what == ("black" if black else "white") else THEIRS
    if after == now and not allow_noop:
        raise InputError(f"{name} is already {STATES[now] if what == 'erase' else what}: an edit must change a square")
    return after


def _check_playable(board: Boards, square: Int[Tensor, "k"], after: Int[Tensor, "k"]) -> None:
    edited = edited_boards(board, square, after)
    if edited.valid:
        return
    side, other = ("black", "white") if board.black_to_move else ("white", "black")
    if not legal_moves(edited.theirs, edited.mine):
        raise InputError("on the edited board neither side can move: edit other squares")
    raise InputError(
        f"on the edited board {side}, whose move it is, has none, and {other} would move instead: an edit keeps the "
        "side to move, so edit other squares"
    )


def _label(square: int, notation: Notation) -> str:
    if not 0 <= square < 64:
        raise InputError(f"square index {square} is outside 0..63")
    return print_transcript([square], notation)
