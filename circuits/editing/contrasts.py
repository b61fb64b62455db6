"""One pair of games for every square and pair of states: what activation addition adds (Turner et al. 2023).

For a square and two of its states, a legal game in which it is the one and a legal game of equal length, the same side
to move, in which it is the other, as alike as a change of one move allows (`circuits.causes.counterfactuals`). The
difference of their streams at the last ply is added, whole, to turn the one into the other; its negative for the way
back. One pair is all there is to it, so what else differs between the two games is added too.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.causes.counterfactuals import counterfactuals
from circuits.causes.pairs import Pairs
from circuits.editing.board_edits import STATES
from circuits.errors import InputError
from circuits.last_ply import LastPly
from circuits.notation import CENTRE, LABELS, N_SQUARES
from circuits.othello_model import OthelloModel

#: random games searched for a pair, at most
SEARCHED = 20_000


def contrast_pairs(seed: int = 0, searched: int = SEARCHED) -> dict[tuple[int, int, int], Pairs]:
    """One pair for each (square, state in clean, state in corrupt) where one is found; the centre is never empty."""
    found = {}
    for square in range(N_SQUARES):
        name = LABELS[square]
        # Both facts hold in the clean game and neither in the corrupt one, so there the square is empty.
        asked = {(2, 1): (f"{name} mine", [f"{name} occupied"])}
        if square not in CENTRE:
            asked |= {(state, 0): (f"{name} {STATES[state]} & {name} occupied", []) for state in (1, 2)}
        for (clean, corrupt), (fact, keep) in asked.items():
            try:
                found[square, clean, corrupt] = counterfactuals(searched, fact, 1, keep=keep, seed=seed)
            except InputError:  # no such pair among these games
                continue
    return found


def contrasts(
    model: OthelloModel, pairs: dict[tuple[int, int, int], Pairs], hooks: Sequence[str]
) -> dict[str, Float[Tensor, "64 3 3 d_model"]]:
    """By hook, [square, state b, state a, d_model]: the stream where the square is a less that where it is b.

    NaN where there is no pair.
    """
    keys = list(pairs)
    sides = []
    for side in ("clean", "corrupt"):
        tokens = torch.cat([getattr(pairs[key], side) for key in keys])
        ply = torch.cat([pairs[key].ply for key in keys])
        _, saved = LastPly.of(model, tokens[:, : model.shape.n_ctx], ply).run(save=hooks)
        sides.append({hook: x[:, 0] for hook, x in saved.items()})
    found = {}
    for hook in hooks:
        difference = sides[0][hook] - sides[1][hook]
        table = torch.full((N_SQUARES, 3, 3, difference.shape[-1]), torch.nan, device=difference.device)
        table[:, range(3), range(3)] = 0.0
        for (square, clean, corrupt), vector in zip(keys, difference, strict=True):
            table[square, corrupt, clean] = vector
            table[square, clean, corrupt] = -vector
        found[hook] = table
    return found
