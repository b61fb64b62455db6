"""A roll-out from an edited board: the model plays on, the edit made anew at every ply, an engine as the judge.

At every ply the model reads the transcript, an edit is written at its last position, and a move is drawn from the
probabilities that result. The engine plays it on the *edited* board, with which it was started: a move that is illegal
there ends the roll-out. What the model reads is still the original game with the moves drawn, so the edit has to be
made again as long as the model's own reading of an edited square (the probe at the method's first point, on the
unedited pass) differs from the engine's board; where the two agree, nothing is written for that square.

Beside it the same without edits, and the model on the original boards: the best that could be hoped for.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.bitboards import flips, legal_moves
from circuits.editing.board_edits import EditCases, states
from circuits.editing.interventions import BATCH, Editor, Method
from circuits.errors import InputError
from circuits.games import transcript_hash
from circuits.hashing import GOLDEN, mix64, signed64
from circuits.last_ply import LastPly
from circuits.notation import N_CTX, TOKEN_SQUARE
from circuits.othello import Boards

MOVES = 10


@dataclass(frozen=True, eq=False)
class Rollout:
    """How long roll-outs stayed legal.

    Attributes:
        survived: [case, move] whether the first so many moves were all legal on the engine's board (or its game was
            over by then).
        made: [case] legal moves made, at most ``MOVES``.
        written: [case, move] how many squares were written at that move.
        over: [case] whether the engine's game ended before so many moves.
    """

    survived: Bool[Tensor, "case move"]
    made: Int[Tensor, "case"]
    written: Int[Tensor, "case move"]
    over: Bool[Tensor, "case"]


def rollout(
    editor: Editor,
    cases: EditCases,
    method: Method | None,
    *,
    original: bool = False,
    moves: int = MOVES,
    seed: int = 0,
    batch: int = BATCH,
) -> Rollout:
    """Roll every case out.

    Args:
        method: how the edit is written; None: it is not.
        original: the engine starts from the original board, and nothing is edited.
        moves: how many are drawn at most.
        seed: of the moves drawn; with the transcript it fixes each draw, whatever the batch.

    Raises:
        InputError: as `Editor.check`; an edit at all plies, which is not offered; no linear or other reader at the
            method's first point.
    """
    if method is not None:
        editor.check(method)
        if method.plies != "last":
            raise InputError("a roll-out writes its edit at the last ply: give a method with plies='last'")
        if _reading_point(editor, method) is None:
            raise InputError(f"a roll-out needs a reader of the board at or after {method.hook(min(method.layers))}")
    parts = [
        _roll(editor, cases[start : start + batch], method, original, moves, seed)
        for start in range(0, len(cases), batch)
    ]
    return Rollout(*(torch.cat([getattr(p, name) for p in parts]) for name in Rollout.__dataclass_fields__))


def _reading_point(editor: Editor, method: Method) -> str | None:
    """The first point, from the method's first layer on, at which the board can be read."""
    for layer in range(min(method.layers), editor.model.shape.n_layers):
        for point in (method.hook(layer), f"blocks.{layer}.hook_resid_post"):
            if point in editor.readers:
                return point
    return None


def _roll(editor: Editor, cases: EditCases, method: Method | None, original: bool, moves: int, seed: int) -> Rollout:
    tokens, ply = cases.tokens.clone().long(), cases.ply.clone()
    board = cases.boards if original else cases.edited
    n = len(cases)
    alive, over = torch.ones(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)
    survived = torch.zeros(n, moves, dtype=torch.bool)
    written = torch.zeros(n, moves, dtype=torch.int64)
    code = transcript_hash(cases.tokens, seed)
    for move in range(moves):
        over |= alive & ((board.legal == 0) | (ply >= N_CTX))
        playing = (alive & ~over).nonzero()[:, 0]
        if len(playing):
            now = LastPly.of(editor.model, tokens[playing][:, :N_CTX], ply[playing])
            squares = cases.square[playing]
            before = None if move else cases.before  # at first the state is known, later only as the model reads it
            logits, written[playing, move] = _logits(editor, now, method, board[playing], squares, before)
            chosen = _draw(logits.softmax(-1), mix64(code[playing] + signed64(GOLDEN * (move + 1))))
            board, ok = _play(board, playing, chosen)
            alive[playing] = ok
            at = playing[ok]
            ply[at] += 1
            full = at[ply[at] < tokens.shape[1]]
            tokens[full, ply[full]] = chosen[ok][ply[at] < tokens.shape[1]]
        survived[:, move] = alive
    made = (ply - cases.ply).clamp(max=moves)
    return Rollout(survived, made, written, over)


def _logits(
    editor: Editor, now: LastPly, method: Method | None, board: Boards, squares: Tensor, before: Tensor | None
) -> tuple[Float[Tensor, "row token"], Int[Tensor, "row"]]:
    """Logits with the edit, and how many squares it wrote."""
    if method is None:
        return now.run()[0][:, 0], torch.zeros(len(now), dtype=torch.int64)
    wanted = states(board, squares)
    if before is None:
        point = _reading_point(editor, method)
        _, saved = now.run(save=[point])
        read = editor.readers[point](saved[point][:, 0]).argmax(-1).cpu()
        before = read.gather(1, squares.clamp_min(0))
    on = (squares >= 0) & (before != wanted)
    edits, _ = editor.edits_at(squares, before[:, None], wanted[:, None], on[:, None], now.ply.cpu()[:, None], method)
    return now.run(edits)[0][:, 0], on.sum(1)


def _draw(p: Float[Tensor, "row token"], random: Int[Tensor, "row"]) -> Int[Tensor, "row"]:
    """A move token of each row, by its probabilities among the 60 moves."""
    share = ((random >> 11) & ((1 << 53) - 1)).double() / float(1 << 53)
    total = p[:, 1:].double().cpu().cumsum(-1)
    return (total < share[:, None] * total[:, -1:]).sum(-1).clamp(max=59) + 1


def _play(board: Boards, rows: Int[Tensor, "row"], token: Int[Tensor, "row"]) -> tuple[Boards, Bool[Tensor, "row"]]:
    """The boards after a move in some rows (passes included), and which of the moves were legal."""
    square = TOKEN_SQUARE[token]
    mine, theirs, black = board.mine[rows], board.theirs[rows], board.black_to_move[rows]
    bit = torch.ones_like(mine) << square
    ok = (board.legal[rows] & bit) != 0
    turned = flips(mine, theirs, square)
    new_mine, new_theirs = theirs & ~turned, mine | turned | bit
    legal = legal_moves(new_mine, new_theirs)
    passed = (legal == 0) & (legal_moves(new_theirs, new_mine) != 0)
    new_mine, new_theirs = torch.where(passed, new_theirs, new_mine), torch.where(passed, new_mine, new_theirs)
    legal = legal_moves(new_mine, new_theirs)
    values = {
        "mine": new_mine, "theirs": new_theirs, "legal": legal, "flipped": turned, "played": bit,
        "black_to_move": black == passed, "passed": passed, "valid": legal != 0,
    }  # fmt: skip
    changed = {name: getattr(board, name).clone() for name in values}
    for name, value in values.items():
        changed[name][rows[ok]] = value[ok]
    return replace(board, **changed), ok
