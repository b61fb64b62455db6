"""The literals that trees and conjunctions ask about, and where they hold: one byte a literal and position.

Two lists. `PUBLISHED` are the 320 facts of published trees (arXiv 2511.00059): on each square mine, theirs, empty, just
flipped, just played. `STANDARD` adds where a move is legal, what was played one ply earlier, bounds on the ply and on
the discs turned, who moves, and passes. Of facts that say the same at all positions the one listed first is preferred.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from circuits.errors import InputError
from circuits.induction.memory import check_fits
from circuits.notation import N_SQUARES, PLAYABLE
from circuits.rules import Atom, Count, Literal, Passed, ToMove
from circuits.rules.bits import Packed

#: as published: all 64 squares, although the four in the centre are never empty and never played
PUBLISHED: tuple[Atom, ...] = tuple(
    Literal(square, name) for name in ("mine", "theirs", "empty", "flipped", "played") for square in range(N_SQUARES)
)
STANDARD: tuple[Atom, ...] = (
    *PUBLISHED,
    *(Literal(square, "legal") for square in PLAYABLE),
    *(Literal(square, "played", 1) for square in PLAYABLE),
    *(Count("ply", low=low) for low in range(8, 54, 3)),
    *(Count("flips", low=low) for low in (2, 3, 4, 5, 6, 8)),
    ToMove(True),
    Passed(),
)
#: no tree is grown on more
MOST_LITERALS = 512
#: positions where a literal must hold, and where it must fail, to be asked about: a leaf of a tree
LEAST = 50
#: bytes of packed columns turned at a time: 320 literals then stay in a core's cache
_AT_ONCE = 512


def columns(packed: Packed, atoms: Sequence[Atom]) -> Bool[Tensor, "n literal"]:
    """Where each atom holds; row-major, so that a position's facts lie side by side.

    Raises:
        InputError: no atoms, or the matrix does not fit into memory.
    """
    if not atoms:
        raise InputError("no literals are given: give some atoms, as in induction.literals.STANDARD")
    check_fits(packed.n, len(atoms), torch.device("cpu"), share=1 + 1 / 8)
    packed.prepare(atoms)
    octets = torch.stack([packed.column(atom) for atom in atoms]).numpy().view(np.uint8)
    out = torch.empty(packed.n, len(atoms), dtype=torch.bool)
    for first in range(0, -(-packed.n // 8), _AT_ONCE):
        rows = out[8 * first : 8 * (first + _AT_ONCE)]
        bits = np.unpackbits(octets[:, first : first + _AT_ONCE], axis=1, bitorder="little")
        rows.copy_(torch.from_numpy(bits[:, : len(rows)].T))
    return out


def varying(
    holds: Bool[Tensor, "n literal"] | Sequence[Bool[Tensor, "_ literal"]], least: int = LEAST
) -> Int[Tensor, "kept"]:
    """The literals that hold and fail at ``least`` positions or more, in each of several matrices.

    Raises:
        InputError: none does.
    """
    matrices = [holds] if isinstance(holds, Tensor) else list(holds)
    rarer = torch.stack([torch.minimum(n := m.sum(0), len(m) - n) for m in matrices]).amin(0)
    kept = (rarer >= least).nonzero().squeeze(1)
    if not len(kept):
        raise InputError(
            f"none of {len(rarer)} literals holds at {least} positions and fails at {least}: the best of them"
            f" reaches {int(rarer.max()) if len(rarer) else 0} of {len(matrices[0]):,}; give more games"
        )
    return kept
