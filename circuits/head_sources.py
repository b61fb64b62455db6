"""What a head can attend to, as masks over (position, source), and which facts hold at a position.

A position is (game, query ply t), its sources are plies k = 0..t, and source k is the move made there, on its square.
Whose move it was and whose disc is there now follow from the boards, never from the parity of a ply:

    itself        k = t, the move just played
    mine, theirs  a move of the side to move next, of the other side; the move just played is in neither
    first         k = 0, also counted as mine or theirs; not where t = 0
    now mine      the disc on the source's square now belongs to the side to move; now theirs: to the other side
    turned        that disc now has another colour than its player's
    flipped       it was turned by the last move
    in line       the source's square is on a row, column or diagonal with the last move's; the last move left out
    beside        it is one of the last move's eight neighbours

itself + mine + theirs = 1, and now mine + now theirs = 1.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.features import board_state
from circuits.games import Games
from circuits.notation import N_CTX, TOKEN_SQUARE
from circuits.othello import Boards, bits_to_bool

CATEGORIES = (
    "itself", "mine", "theirs", "first", "now mine", "now theirs", "turned", "flipped", "in line", "beside",
)  # fmt: skip
#: what a direction at a square says: mine rather than theirs, empty rather than occupied, yes rather than no
FACTS = ("mine", "empty", "played", "flipped", "legal")


def source_squares(games: Games) -> Int[Tensor, "game ply=59"]:
    """The square of the move made at each ply; 0 on padding, which no valid position can see."""
    return TOKEN_SQUARE[games.inputs].clamp_min(0)


def source_masks(games: Games, boards: Boards) -> Bool[Tensor, "game query=59 key=59 category"]:
    """Which sources of each position belong to each of `CATEGORIES`; none lies ahead of its query."""
    square = source_squares(games)
    plies = torch.arange(N_CTX)
    past = plies <= plies[:, None]
    itself, first = plies == plies[:, None], ((plies == 0) & (plies[:, None] > 0)).expand(N_CTX, N_CTX)
    black_moved = torch.cat([torch.ones_like(boards.black_to_move[:, :1]), boards.black_to_move[:, :-1]], 1)
    own = black_moved[:, None, :] == boards.black_to_move[:, :, None]

    def there(squares: Tensor) -> Tensor:
        """A quantity of every square at every query, taken at each source's square."""
        return squares.gather(2, square[:, None, :].expand(-1, N_CTX, -1))

    state = there(board_state(boards))
    row, column = square // 8, square % 8
    down, right = ((x[:, None, :] - x[:, :, None]).abs() for x in (row, column))
    in_line = (down == 0) | (right == 0) | (down == right)
    masks = (
        itself.expand_as(own), own & ~itself, ~own & ~itself, first.expand_as(own), state == 2, state == 1,
        (state == 2) != own, there(bits_to_bool(boards.flipped)), in_line & ~itself, torch.maximum(down, right) == 1,
    )  # fmt: skip
    return torch.stack([mask & past for mask in masks], -1)


def uniform_attention() -> Float[Tensor, "query=59 key=59"]:
    """Attention shared equally among the sources."""
    return torch.ones(N_CTX, N_CTX).tril() / torch.arange(1, N_CTX + 1)[:, None]
