"""How far a model follows an edited board: its move probabilities against the legal moves before and after the edit.

With L the legal moves of the edited board, L0 those of the original, N = |L|, p the probabilities over the 61 tokens:

    error            false positives + false negatives of the N likeliest moves against L (Li et al. 2023)
    error original   the same for L0 and its own number: the edit should raise it
    F1               of the moves with p > 1 % against L
    KL               of the uniform distribution over L to p, nats
    newly legal      sum of p over moves in L and not in L0; a perfect model gives |L - L0| / N
    newly illegal    sum of p over moves in L0 and not in L; a perfect model gives 0
"""

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.behaviour import legal_tokens, score_positions
from circuits.editing.board_edits import EditCases

#: a move counts as played, for F1, above this probability
PLAYED = 0.01
NAMES = ("error", "error original", "F1", "KL", "newly legal", "newly illegal")


def score(logits: Float[Tensor, "case token"], cases: EditCases) -> dict[str, Float[Tensor, "case"]]:
    """The scores of every case, by name."""
    old, new = (legal_tokens(b.legal).to(logits.device) for b in (cases.boards, cases.edited))
    against_new, against_old = score_positions(logits, new), score_positions(logits, old)
    p = logits.float().softmax(-1)
    played = p > PLAYED
    f1 = 2 * (played & new).sum(-1) / (played.sum(-1) + new.sum(-1))
    found = {
        "error": against_new["top_n_error"],
        "error original": against_old["top_n_error"],
        "F1": f1,
        "KL": against_new["kl_to_uniform_legal"],
        "newly legal": (p * (new & ~old)).sum(-1),
        "newly illegal": (p * (old & ~new)).sum(-1),
    }
    return {name: values.cpu() for name, values in found.items()}


def ideal(cases: EditCases) -> dict[str, Float[Tensor, "case"]]:
    """What a player that knew the edited board, and played uniformly over its legal moves, would score."""
    uniform = torch.where(legal_tokens(cases.edited.legal), 0.0, -1e9)
    return score(uniform, cases)
