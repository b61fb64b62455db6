"""What a model is trained on: games, made as training goes or read from a file, and the two objectives.

With L_t the legal set after ply t, N_t = |L_t|, and p the model's next-token distribution:

    sampled   -log p(move t + 1)                  next-move cross-entropy (Li et al. 2023)
    legal     -1/N_t sum over L_t of log p        its expectation where the move is drawn uniformly from L_t

On uniformly random games both have the same optimum, p uniform on L_t, and `legal` far less variance: it shows
the model all legal moves, not one. It is refused on games that were not made by uniform choice.
L_t is the legal set of the side that really moves next, after any forced pass. Means are over positions that
have a next move.

Games are numbered from 0 in the order in which they are shown, so that game i, and with it a resumed run, is
the same however training is cut into batches, legs and processes. Games held out by the hash of their
transcript are never shown.
"""

import re
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from circuits.behaviour import legal_tokens, score_positions
from circuits.errors import InputError
from circuits.games import Games, generate, transcript_hash
from circuits.hashing import mix64, signed64
from circuits.notation import N_CTX, SQUARE_TOKEN, TOKEN_SQUARE
from circuits.othello import random_games, replay

OBJECTIVES = ("legal", "sampled")
#: the seed of the games that a model trained here is evaluated on
HELD_OUT_SEED = 1_000_003
#: added to a run's seed: the games that a model was trained on are those of no seed that people give elsewhere
TRAINING_SEEDS = 1 << 40
#: games made at once: small batches would spend their time on overhead
CHUNK = 4096


@dataclass(frozen=True)
class Lesson:
    """Games [game, 60] as tokens, with the legal moves after each of the plies that a model reads."""

    tokens: Int[Tensor, "game 60"]
    legal: Int[Tensor, "game 59"]

    @property
    def inputs(self) -> Int[Tensor, "game 59"]:
        return self.tokens[:, :N_CTX]

    @property
    def next_tokens(self) -> Int[Tensor, "game 59"]:
        return self.tokens[:, 1:]

    def where(self, objective: str) -> Bool[Tensor, "game 59"]:
        """The positions that are learned from: those with a legal move, or those whose next move is known."""
        return self.legal != 0 if objective == "legal" else self.next_tokens != 0

    def __getitem__(self, rows: slice) -> "Lesson":
        return Lesson(self.tokens[rows], self.legal[rows])

    def __len__(self) -> int:
        return len(self.tokens)


def lesson(tokens: Integer[Tensor, "game 60"]) -> Lesson:
    """Replay games, on the device that they lie on."""
    boards = replay(tokens[:, :N_CTX])
    return Lesson(tokens.long(), boards.legal.masked_fill(~boards.valid, 0))


def total_loss(logits: Float[Tensor, "game ply token"], games: Lesson, objective: str) -> Float[Tensor, ""]:
    """The objective summed over the positions that are learned from."""
    logp = logits.float().log_softmax(-1)
    if objective == "legal":
        legal = legal_tokens(games.legal)
        return -((logp * legal).sum(-1) / legal.sum(-1).clamp(min=1)).sum()
    at_next = logp.gather(-1, games.next_tokens[..., None]).squeeze(-1)
    return -at_next.masked_fill(games.next_tokens == 0, 0.0).sum()


@torch.no_grad()
def figures(logits: Float[Tensor, "game ply token"], games: Lesson) -> dict[str, float]:
    """Sums over the positions with a legal move of the figures of `behaviour.score_positions`, and their number."""
    rows = games.legal != 0
    scores = score_positions(logits[rows], legal_tokens(games.legal[rows]))
    return {name: float(values.double().sum()) for name, values in scores.items()} | {"positions": int(rows.sum())}


class RandomGames:
    """Fresh games by uniform choice among the legal moves: game ``i`` is `othello.random_games`' game i of a seed
    from a range of its own (`TRAINING_SEEDS`).

    ``held_out`` are transcript hashes; a game among them (which no run has met) is shown as padding.
    """

    uniform = True

    def __init__(self, seed: int, held_out: Int[Tensor, "game"], device: str | torch.device = "cpu"):
        self.seed, self.device = seed, torch.device(device)
        self.held_out = held_out.to(self.device)
        self.chunk = CHUNK if self.device.type == "cpu" else 16 * CHUNK
        self._at, self._lesson = -1, None
        self.about = f"random legal games, seed {seed}, made on the fly, each seen once"

    def batch(self, first: int, n: int) -> Lesson:
        """Games ``first`` to ``first + n - 1``."""
        parts = []
        while n:
            at, row = divmod(first, self.chunk)
            if at != self._at:
                self._at, self._lesson = at, self._make(at)
            part = self._lesson[row : row + n]
            parts.append(part)
            first, n = first + len(part), n - len(part)
        if len(parts) == 1:
            return parts[0]
        return Lesson(torch.cat([p.tokens for p in parts]), torch.cat([p.legal for p in parts]))

    def _make(self, at: int) -> Lesson:
        tokens = random_games(self.chunk, TRAINING_SEEDS + self.seed, first=at * self.chunk, device=self.device)
        met = torch.isin(transcript_hash(tokens), self.held_out)
        return lesson(tokens.masked_fill_(met[:, None], 0))


class FileGames:
    """A set of games, shown in another order in every epoch, with ``symmetries`` each in one of four orientations."""

    def __init__(
        self,
        games: Games,
        seed: int,
        held_out: Int[Tensor, "game"],
        symmetries: bool = False,
        device: str | torch.device = "cpu",
    ):
        """
        Raises:
            InputError: every game is held out.
        """
        shown = SYMMETRIC_TOKENS if symmetries else SYMMETRIC_TOKENS[:1]  # a held-out game's image is held out too
        hashes = torch.stack([transcript_hash(image[games.tokens.long()]) for image in shown])
        kept = ~torch.isin(hashes, held_out).any(0)
        if not kept.any():
            raise InputError(f"all of the {len(games)} games ({games.source}) are held out: none is left to train on")
        self.games, self.seed, self.symmetries, self.device = games[kept], seed, symmetries, torch.device(device)
        self.uniform = is_uniform(games)
        orientations = ", each time in one of the four orientations that keep the start position" if symmetries else ""
        self.about = f"{len(self.games)} games of {games.source} ({games.fingerprint}), over and over{orientations}"
        self._epoch, self._order = -1, None

    @cached_property
    def _lesson(self) -> Lesson:
        return lesson(self.games.tokens)

    def _row(self, i: int) -> int:
        epoch, at = divmod(i, len(self.games))
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(signed64(self.seed * 1_000_003 + epoch) & (1 << 63) - 1)
            self._epoch, self._order = epoch, torch.randperm(len(self.games), generator=generator)
        return int(self._order[at])

    def batch(self, first: int, n: int) -> Lesson:
        """The ``n`` games shown from number ``first`` on."""
        rows = torch.tensor([self._row(i) for i in range(first, first + n)])
        if not self.symmetries:
            chosen = self._lesson
            return Lesson(chosen.tokens[rows].to(self.device), chosen.legal[rows].to(self.device))
        which = mix64(torch.arange(first, first + n) + mix64(torch.tensor(signed64(self.seed)))) >> 13 & 3
        tokens = SYMMETRIC_TOKENS[which[:, None], self.games.tokens[rows].long()]
        return lesson(tokens.to(self.device))


def is_uniform(games: Games) -> bool:
    """Whether a set says of itself that it was made by uniform choice among the legal moves."""
    return re.match(r"random, seed \d+", games.source) is not None


def _symmetric_tokens() -> Int[Tensor, "symmetry token"]:
    """Token -> token under identity, half-turn, and the reflections in the two diagonals.

    Of the square's eight symmetries these four keep the start position with its colours, so that they take legal
    games to legal games.
    """
    square = TOKEN_SQUARE.clamp(min=0)
    row, column = square // 8, square % 8
    images = torch.stack([square, 63 - square, 8 * column + row, 8 * (7 - column) + 7 - row])
    return SQUARE_TOKEN[images].masked_fill(TOKEN_SQUARE < 0, 0)


SYMMETRIC_TOKENS = _symmetric_tokens()


def held_out_games(n: int) -> Games:
    """The games that models trained here are evaluated on."""
    return generate(n, HELD_OUT_SEED)
