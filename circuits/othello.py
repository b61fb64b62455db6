"""The rules of Othello batched over games in torch: replay of transcripts, random games.

Built on the fills of `circuits.bitboards`, whose public functions can be imported from here too.

Ply ``t`` (0-based) is the state after ``t + 1`` moves. A side without a move passes, and passes are not
written: `Boards.mine` belongs to the side that will actually move next. The game ends when neither can.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Int, Integer, UInt8
from torch import Tensor

from circuits.bitboards import (
    SELECT_IN_BYTE,
    Runs,
    bits_to_bool,
    bool_to_bits,
    choose,
    flips,
    legal_moves,
    popcount,
)
from circuits.errors import InputError
from circuits.hashing import GOLDEN, mix64, signed64
from circuits.notation import N_MOVES, SQUARE_TOKEN, TOKEN_SQUARE, Notation, print_transcript

__all__ = [
    "Boards",
    "IllegalMove",
    "bits_to_bool",
    "bool_to_bits",
    "flips",
    "illegal_moves",
    "legal_moves",
    "popcount",
    "random_games",
    "replay",
]

_BLACK = 1 << 28 | 1 << 35
_WHITE = 1 << 27 | 1 << 36


class IllegalMove(InputError):
    """A move that the rules do not allow.

    Attributes: ``game`` (row number), ``ply``, ``square`` played, ``legal``: the squares legal there (none
    after the end of the game).
    """

    def __init__(self, game: int, ply: int, square: int, legal: tuple[int, ...], notation: Notation = "ours"):
        self.game, self.ply, self.square, self.legal = game, ply, square, legal
        super().__init__(f"game {game}, {self.reason(notation)}")

    def reason(self, notation: Notation = "ours") -> str:
        """The message without the game's number, in either notation."""
        move = print_transcript([self.square], notation)
        if not self.legal:
            return f"ply {self.ply}: {move} is played after the end of the game, when neither side can move"
        legal = print_transcript(list(self.legal), notation)
        return f"ply {self.ply}: {move} is not legal; legal there: {legal}"


@dataclass(frozen=True)
class Boards:
    """The state after every move of a set of games; `replay` makes every field ``[game, ply]``.

    ``mine`` and ``theirs`` are the discs of the side that moves next (after any forced pass) and of the
    other; ``legal`` its legal moves; ``played`` the last move and ``flipped`` the discs it turned, without
    the placed one; ``passed`` says that a forced pass came just before this mover's turn. ``valid`` is
    False on padding and once neither side can move. On padding every bitboard is 0; the final position of a
    finished game keeps its discs (and ``mine`` there is the side that did not move last).
    """

    mine: Int[Tensor, "*batch"]
    theirs: Int[Tensor, "*batch"]
    legal: Int[Tensor, "*batch"]
    flipped: Int[Tensor, "*batch"]
    played: Int[Tensor, "*batch"]
    black_to_move: Bool[Tensor, "*batch"]
    passed: Bool[Tensor, "*batch"]
    valid: Bool[Tensor, "*batch"]

    @property
    def occupied(self) -> Int[Tensor, "*batch"]:
        return self.mine | self.theirs

    @property
    def empty(self) -> Int[Tensor, "*batch"]:
        return (~self.occupied).masked_fill_(self.occupied == 0, 0)  # a board without discs is padding

    def __getitem__(self, index) -> "Boards":
        """Rows, or rows and plies: ``boards[3:5]``, ``boards[:, 10:20]``, ``boards[boards.valid]``."""
        return Boards(*(getattr(self, field.name)[index] for field in fields(self)))


class _Table:
    """A batch of games in play: one move of each at a time, the states kept in ``[field, ply, game]`` buffers.

    With fewer plies than moves the buffers are used in turn (two suffice to play on).
    """

    def __init__(self, bits: Int[Tensor, "5 ply game"], flags: Bool[Tensor, "3 ply game"]):
        self.mine, self.theirs, self.legal, self.flipped, self.played = bits.unbind()
        self.black, self.passed, self.valid = flags.unbind()
        self.plies, games = self.mine.shape
        self.runs = Runs((games,), bits.device)
        ones = torch.ones(games, dtype=torch.int64, device=bits.device)
        self.start = ones * _BLACK, ones * _WHITE
        self.start_legal = self.runs.grow(*self.start, torch.empty_like(ones))

    @classmethod
    def empty(cls, plies: int, games: int, device: torch.device) -> "_Table":
        bits = torch.empty((5, plies, games), dtype=torch.int64, device=device)
        return cls(bits, torch.empty((3, plies, games), dtype=torch.bool, device=device))

    def legal_before(self, ply: int) -> Tensor:
        return self.legal[(ply - 1) % self.plies] if ply else self.start_legal

    def turn(self, ply: int) -> None:
        """Make the moves in ``played[ply]``, which are legal or none (padding, from then on all zeros)."""
        now, before = ply % self.plies, (ply - 1) % self.plies
        mine, theirs = (self.mine[before], self.theirs[before]) if ply else self.start
        played, flipped = self.played[now], self.runs.flips(self.played[now], self.flipped[now])
        # The other side's turn: its discs without the flipped ones, against ours with them and the move.
        new_mine = torch.bitwise_xor(theirs, flipped, out=self.mine[now])
        new_theirs = torch.bitwise_or(mine, flipped, out=self.theirs[now]).bitwise_or_(played)
        legal = self.runs.grow(new_mine, new_theirs, self.legal[now])
        valid = torch.ne(legal, 0, out=self.valid[now]).logical_and_(played)
        black, passed = self.black[now], self.passed[now].zero_()
        _ = torch.logical_not(self.black[before], out=black) if ply else black.zero_()
        if valid.all():  # nearly always until late in the game
            return
        stuck = valid.logical_not().nonzero().squeeze(1)
        moved = played.index_select(0, stuck) != 0
        padding, stuck = stuck[~moved], stuck[moved]
        for field in (new_mine, new_theirs, legal, black):
            field.index_fill_(0, padding, 0)
        if len(stuck):
            passing = self.runs.regrow(stuck, new_mine, new_theirs, legal)
            passed.index_fill_(0, passing, True)
            valid.index_fill_(0, passing, True)
            black.logical_xor_(passed)


def replay(tokens: Integer[Tensor, "game ply"]) -> Boards:
    """Play whole transcripts and give the state after every move.

    ``tokens`` are 1..60, 0 for padding at the end of a game; any integer type; at most 60 plies, on CPU or
    GPU, and the boards lie on the same device. They are stored ply by ply (``reshape`` works, ``view`` may
    not) and take 43 bytes a position.

    Raises:
        IllegalMove: the first illegal move of the first game that has one, with the legal moves there.
        InputError: no games, more than 60 plies, tokens outside 0..60, a move after padding.
    """
    _check_tokens(tokens)
    games, plies = tokens.shape
    bits = torch.empty((5, plies, games), dtype=torch.int64, device=tokens.device)
    flags = torch.empty((3, plies, games), dtype=torch.bool, device=tokens.device)
    for rows in _chunks(games, tokens.device):
        wrong = _play(tokens[rows], _Table(bits[..., rows], flags[..., rows]))
        if wrong.any():
            raise illegal_moves(tokens[: rows.stop])[0]
    return Boards(*(field.t() for field in (*bits, *flags)))


def illegal_moves(tokens: Integer[Tensor, "game ply"]) -> list[IllegalMove]:
    """The first illegal move of every game that has one, in order of the games; refuses as `replay` does.

    Takes no memory for boards.
    """
    _check_tokens(tokens)
    found = []
    for rows in _chunks(len(tokens), tokens.device):
        own = tokens[rows]
        wrong = _play(own, _Table.empty(2, len(own), own.device)).nonzero().squeeze(1)
        if not len(wrong):
            continue
        own = own[wrong]
        table = _Table.empty(own.shape[1], len(own), own.device)
        _play(own, table)
        legal = torch.cat([table.start_legal[None], table.legal[:-1]])
        plies = ((table.played & ~legal) != 0).int().argmax(0)
        moves, legal = (
            bits_to_bool(b[plies, torch.arange(len(own), device=own.device)]).cpu() for b in (table.played, legal)
        )
        found += [
            IllegalMove(rows.start + game, ply, int(move.nonzero()), tuple(where.nonzero().flatten().tolist()))
            for game, ply, move, where in zip(wrong.tolist(), plies.tolist(), moves, legal, strict=True)
        ]
    return found


def _play(tokens: Integer[Tensor, "game ply"], table: _Table) -> Bool[Tensor, "game"]:
    """Play the games through ``table``; which of them hold an illegal move (and nonsense from there on)."""
    token_bit = torch.where(TOKEN_SQUARE < 0, 0, 1 << TOKEN_SQUARE.clamp(min=0)).to(tokens.device)
    wrong = torch.zeros_like(table.start_legal)
    own = tokens.t().contiguous()
    for ply in range(len(own)):
        played = table.played[ply % table.plies]
        torch.index_select(token_bit, 0, own[ply].long(), out=played)
        wrong |= played & ~table.legal_before(ply)
        table.turn(ply)
    return wrong != 0


def _check_tokens(tokens: Tensor) -> None:
    if tokens.ndim != 2 or tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
        raise InputError(
            f"tokens are whole numbers [game, ply], not {str(tokens.dtype)[6:]} of shape {list(tokens.shape)}"
        )
    games, plies = tokens.shape
    if not games:
        raise InputError("the set of games is empty: at least one game is needed")
    if not 1 <= plies <= N_MOVES:
        raise InputError(f"games have 1..{N_MOVES} moves, and these tokens have {plies} columns")
    low, high = tokens.aminmax()
    if low < 0 or high > N_MOVES:
        game, ply = ((tokens < 0) | (tokens > N_MOVES)).nonzero()[0].tolist()
        raise InputError(f"game {game}, ply {ply}: {int(tokens[game, ply])} is no token: moves are 1..60, padding is 0")
    late = (tokens[:, 1:] != 0) & (tokens[:, :-1] == 0)
    if late.any():
        game, ply = late.nonzero()[0].tolist()
        raise InputError(f"game {game}, ply {ply}: padding (token 0) before a move: it belongs at the end")


def _chunks(games: int, device: torch.device) -> Iterator[slice]:
    """Slices of the games, each as large as keeps the work in a core's second-level cache."""
    # On a CPU one thread: below 32,768 elements torch does not share an operation among threads. Sharing
    # such short ones gains a factor of two on an idle machine and loses one of fifty on a busy one.
    chunk = 32767 // 8 if device.type == "cpu" else 1 << 18
    return (slice(i, min(i + chunk, games)) for i in range(0, games, chunk))


def random_games(
    n: int, seed: int, first: int | Int[Tensor, "n"] = 0, device: str | torch.device = "cpu"
) -> UInt8[Tensor, "n 60"]:
    """Games by uniform choice among the legal moves, as tokens, padded with 0 after the end.

    Game ``i`` depends on ``seed`` and ``first + i`` (or ``first[i]``) alone: the choice at a ply is a hash of (seed,
    game, ply), so any split into batches, and any device, gives the same games. The bias of a choice is below
    2^-25 (a 31-bit fraction scaled to at most 33 moves).

    Raises:
        InputError: fewer than one game.
    """
    if n < 1:
        raise InputError(f"{n} games were asked for: at least one is needed")
    device = torch.device(device)
    tokens = torch.empty((N_MOVES, n), dtype=torch.uint8, device=device)
    square_token, select = SQUARE_TOKEN.to(device, torch.uint8), SELECT_IN_BYTE.to(device)
    golden = signed64(GOLDEN)
    key = mix64(mix64(torch.tensor(signed64(seed), device=device) + golden))
    numbers = first.to(device) if isinstance(first, Tensor) else torch.arange(first, first + n, device=device)
    for rows in _chunks(n, device):
        table = _Table.empty(2, rows.stop - rows.start, device)
        state = mix64(numbers[rows] * golden + key)
        for ply in range(N_MOVES):
            legal = table.legal_before(ply)
            square = choose(legal, mix64(state + signed64(GOLDEN * (ply + 1))), select)
            over = legal == 0
            table.played[ply % 2] = (torch.ones_like(square) << square).masked_fill_(over, 0)
            tokens[ply, rows] = square_token.index_select(0, square).masked_fill_(over, 0)
            table.turn(ply)
    return tokens.t().contiguous()
