"""One position run once, with everything that an explanation asks of it, and the vectors that are asked about."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.board_readers import COLOUR, EMPTINESS, BoardReader
from circuits.errors import InputError
from circuits.explanation.means import Acts, Means, acts_at, hooks, means
from circuits.features import board_state
from circuits.games import Games
from circuits.last_ply import LastPly
from circuits.othello import Boards, replay
from circuits.othello_model import OthelloModel
from circuits.plain import PlainModel, of

#: squares read right by which points are equals
EQUAL = 0.05


@dataclass(frozen=True, eq=False)
class Run:
    """The position run once, and what is asked of it."""

    model: PlainModel
    tokens: Tensor  # [ply]
    boards: Boards  # [1, ply]
    logits: Float[Tensor, "token"]
    saved: dict[str, Tensor]
    acts: Acts
    last: LastPly
    means: Means
    readers: Mapping[str, BoardReader]

    @property
    def ply(self) -> int:
        return len(self.tokens) - 1

    @property
    def board(self) -> tuple[int, ...]:
        return tuple(board_state(self.boards[0, self.ply][None])[0].long().tolist())


def run_position(
    model: OthelloModel,
    tokens: Tensor,
    readers: Mapping[str, BoardReader],
    games: Games,
    known: Callable[[int], Means] | None = None,
) -> Run:
    """Run a game's last position, and take the means at its ply.

    Args:
        known: the means at a ply over the same games, where they are kept; asked once the position is known to be good.

    Raises:
        InputError: as `explain`.
    """
    plain, plies = of(model), len(tokens)
    if not 1 <= plies <= plain.shape.n_ctx:
        raise InputError(
            f"{plies} moves: a move is explained behind 1 to {plain.shape.n_ctx} of them"
            + (", and then the game is over" if plies > plain.shape.n_ctx else "")
        )
    boards = replay(tokens[None])
    if not boards.valid[0, -1]:
        raise InputError(f"the game is over after these {plies} moves: nobody can move, so no move is to be explained")
    readers = {point: reader for point, reader in readers.items() if isinstance(reader, BoardReader)}
    if not readers:
        raise InputError("no linear probe of the board: give one, so that the board inside the model can be read")
    n = plain.shape.n_layers
    saves = [*hooks(n), *readers, "ln_final.hook_scale"]
    saves += [f"blocks.{layer}.{hook}" for layer in range(n) for hook in ("attn.hook_pattern", "hook_resid_post")]
    logits, saved = plain.run(tokens[None].long(), save=list(dict.fromkeys(saves)))
    usual = means(plain, games, plies - 1, readers) if known is None else known(plies - 1)
    ply = torch.tensor([plies - 1])
    return Run(
        plain, tokens, boards, logits[0, -1].float().cpu(), saved, acts_at(saved, plies - 1, n),
        LastPly.of(plain, tokens[None].long(), ply), usual, readers,
    )  # fmt: skip


def checkpoint_of(run: Run) -> str:
    """The point whose probe reads the reference games best at this ply, of several equals the middle one."""
    best = max(run.means.right.values()) - EQUAL
    equals = [point for point in run.readers if run.means.right[point] >= best]
    return equals[len(equals) // 2]


def relative(logits: Float[Tensor, "*batch token"]) -> Float[Tensor, "*batch move"]:
    moves = logits[..., 1:].double().cpu()
    return moves - moves.mean(-1, keepdim=True)


def rank(values: Float[Tensor, "move"], at: int) -> int:
    return 1 + int((values > values[at]).sum())


def logit_target(run: Run, at: int) -> tuple[Float[Tensor, "d_model"], float]:
    """The move's logit as a vector of the final stream at this position, and its constant."""
    W, b = run.model.W_U[:, 1:].double(), run.model.b_U[1:].double()
    scale = run.saved["ln_final.hook_scale"][0, run.ply, 0].double()
    return (W[:, at] - W.mean(-1)) / scale, float(b[at] - b.mean())


def state_direction(reader: BoardReader, square: int, state: int) -> Float[Tensor, "d_model"]:
    """The unit direction along which a square reads as its state; 0 where it has none."""
    if state == 0:
        return reader.directions[square, EMPTINESS]
    return reader.directions[square, COLOUR] * (1 if state == 2 else -1)


def board_direction(run: Run, point: str, resting: Sequence[tuple[int, str]]) -> Float[Tensor, "d_model"]:
    found = [state_direction(run.readers[point], s, run.board[s]) for s, _ in resting]
    return torch.stack(found).sum(0).double()
