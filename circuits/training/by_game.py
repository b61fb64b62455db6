"""How well a model plays, game by game, so that models can be compared on the same games in pairs.

Positions of one game are not independent, so games are the unit. With x_g the sum of a figure over the n_g
positions of game g (ratio estimator, linearised; Cochran 1977, section 6.3):

    value = sum x_g / sum n_g        se = sqrt( sum (x_g - value n_g)^2 ) / sum n_g

The difference of two models has the same form in the differences of their x_g: what makes a game hard for both
cancels.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.activations import stream
from circuits.behaviour import legal_tokens, score_positions
from circuits.errors import InputError
from circuits.games import Games
from circuits.notation import PLAYABLE


@dataclass(frozen=True, eq=False)
class PerGame:
    """A figure's sums over each game's positions, and their numbers."""

    sums: Float[Tensor, "game"]
    counts: Float[Tensor, "game"]

    @property
    def value(self) -> float:
        return float(self.sums.sum() / self.counts.sum())

    @property
    def standard_error(self) -> float | None:
        """With games as the unit; None of a single game, which says nothing of others."""
        if int((self.counts > 0).sum()) < 2:
            return None
        return float((self.sums - self.value * self.counts).square().sum().sqrt() / self.counts.sum())

    def __sub__(self, other: "PerGame") -> "PerGame":
        """The paired difference: the same positions of the same games."""
        return PerGame(self.sums - other.sums, self.counts)


def play_by_game(model, games: Games, progress: str | None = None) -> dict[str, tuple[PerGame, float]]:
    """Each figure of `circuits.behaviour` by game, and its value for a uniform guess over the 60 moves; the same
    of the move that was really played, ``next_move_loss`` (nats) and ``next_move_accuracy``, where the guess is
    uniform over the legal moves.

    Raises:
        InputError: no position of the games has a next move.
    """
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    guesses: dict[str, float] = {}
    for batch in stream(model, games, progress=progress):
        boards = batch.games.boards()
        rows = boards.valid
        game = rows.nonzero()[:, 0]
        logits = batch.output[rows.to(batch.output.device)].float()
        legal = legal_tokens(boards.legal[rows]).to(logits.device)
        n, moves = legal.sum(-1).double().cpu(), len(PLAYABLE)
        chance = {
            "illegal_top1": 1 - n / moves,
            "illegal_mass": 1 - n / moves,
            "kl_to_uniform_legal": math.log(moves) - n.log(),
            "top_n_error": 2 * n * (1 - n / moves),
            "next_move_loss": n.log(),
            "next_move_accuracy": 1 / n,
        }
        played = batch.games.tokens[:, 1:][rows].long()
        move = played.to(logits.device)
        scores = score_positions(logits, legal) | {
            "next_move_loss": -logits.log_softmax(-1).gather(-1, move[:, None]).squeeze(-1),
            "next_move_accuracy": (logits.argmax(-1) == move).float(),
        }
        there = (played != 0).double()  # the last position of an unfinished game has legal moves, but no move
        for name, values in scores.items():
            use = there if name.startswith("next") else torch.ones_like(there)
            sums, counts = torch.zeros(2, len(batch.games), dtype=torch.float64)
            sums.index_add_(0, game, values.double().cpu() * use)
            counts.index_add_(0, game, use)
            found.setdefault(name, []).append((sums, counts))
            guesses[name] = guesses.get(name, 0.0) + float((chance[name] * use).sum())
    out = {name: PerGame(*map(torch.cat, zip(*pairs, strict=True))) for name, pairs in found.items()}
    if not all(p.counts.sum() for p in out.values()):
        raise InputError(f"no position of {games.source} has a next move to predict: give longer games")
    return {name: (p, guesses[name] / float(p.counts.sum())) for name, p in out.items()}
