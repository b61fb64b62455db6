"""Boards that no game can reach: because no disc on them can have been the last move.

The last move put a disc of side P on a square s, and P is the side that does not move now (*theirs*), unless that
side cannot move: then *mine* may have moved last, and theirs passed. What is left of the last move on the board::

    s holds a disc of P and is no centre square;
    in some direction the next two squares at least hold discs of P (turned by the move, and the one they were
    flanked with);
    in no direction do one or more discs of the other side, without a gap, lead to a disc of P (the move would have
    turned them).

The three hold for s exactly if some board and a legal move of P on it give this board. Where they hold for no square,
no legal game of any length ends here with this side to move, so the board is *provably unreachable*. The converse is
not claimed: the board before may itself be unreachable.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from circuits.bitboards import INNER, Runs, legal_moves
from circuits.notation import CENTRE

_PLAYABLE = ~sum(1 << s for s in CENTRE)


def last_moves(own: Int[Tensor, "*batch"], other: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
    """The squares where the owner of ``own`` can have made the last move, as bitboards."""
    own, other = own.contiguous(), other.contiguous()
    work = Runs(own.shape, own.device)
    work.grow(own, other, torch.empty_like(own))
    flanked, anchored = torch.zeros_like(own), torch.zeros_like(own)
    for line, (step, inner) in enumerate(INNER.items()):
        up, down = work.runs[:, line]
        flanked |= (up << step) | (down >> step)
        # The middle one of three discs in a row: an inner square, so no shift crosses an edge or drags the sign bit.
        middle = own & inner
        anchored |= ((middle & (own >> step)) >> step) | ((middle & (own << step)) << step)
    return own & anchored & ~flanked & _PLAYABLE


def unreachable(mine: Int[Tensor, "*batch"], theirs: Int[Tensor, "*batch"]) -> Bool[Tensor, "*batch"]:
    """Whether no disc can have been the last move on boards where the owner of ``mine`` moves next."""
    by_theirs = last_moves(theirs, mine)
    # A side that passed had no move; the boards do not change while it passes.
    by_mine = last_moves(mine, theirs).masked_fill(legal_moves(theirs, mine) != 0, 0)
    return (by_theirs | by_mine) == 0
