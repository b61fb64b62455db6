"""Which single fact describes a neuron best: every neuron against patterns and literals, scored on held-out games.

A *fact* is one of the 960 patterns (``legal C0 via SE x1``) or one of 448 literals, seven on each square: legal (by
whatever line), empty, occupied, mine, theirs, played, flipped.

On the games that a `Mining` sampled whole, split by game into training and held-out halves:

  screen   every neuron against every fact by the correlation r of its activation with the fact on the
           training games (point-biserial; r^2 is the share of variance explained) - one product of
           (neurons x positions) and (positions x facts) a layer
  score    a neuron's few facts of highest r, by F1 of "activation > threshold" against the fact. The threshold
           maximises F1 on the training games. Facts of other base rates are compared by *skill*, how far F1
           gets from that of a neuron that is always on, c = 2 p / (1 + p), to 1: (F1 - c) / (1 - c).
           Precision, recall, F1, AUC and R^2 are of the held-out games, F1 with a 95 % bootstrap interval
           over games
  control  the same choice of fact and threshold after the activations were dealt to other games (ply by
           ply, so that what a neuron does by ply alone is kept)

A neuron is *on* above its threshold, so a fact that keeps it low (r < 0) is not among its best. Facts that
hold, or fail to hold, at few positions of either half are left out. A constant neuron correlates with nothing.
Copies of one transcript lie in the same half and are drawn together by the bootstrap.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from circuits.errors import InputError
from circuits.fact_scores import (
    auc,
    counts_of,
    f1_interval,
    f1_of,
    r_squared,
    skill_of,
    skill_of_counts,
    threshold_and_f1,
)
from circuits.features import PATTERNS, Pattern, board_state, literal_bits, patterns_matrix
from circuits.games import Games
from circuits.mining import Mining
from circuits.notation import LABELS, N_SQUARES, Unit
from circuits.othello import Boards, bits_to_bool

#: the literals tried on every square
LITERALS = ("legal", "empty", "occupied", "mine", "theirs", "played", "flipped")
#: every fact by name: the patterns, then the literals square by square
FACTS = (*map(str, PATTERNS), *(f"{square} {literal}" for literal in LITERALS for square in LABELS))

#: positions where a fact must hold, and where it must not, among the training ones and the held-out ones
MIN_OCCURRENCES = 20
#: facts of highest r whose F1 is computed
SHORTLIST = 12
SHUFFLES = 5


@dataclass(frozen=True)
class Score:
    """How "activation > threshold" agrees with a fact; counts are (both, fact only, on only, neither)."""

    fact: int
    threshold: float
    train: tuple[int, int, int, int]
    held_out: tuple[int, int, int, int]
    f1_interval: tuple[float, float]
    auc: float
    variance_explained: float


@dataclass(frozen=True)
class FactScores:
    """A neuron's best facts, of most skill in training first, and the mean held-out skill that the same
    procedure reaches on shuffled activations (F1 would depend on the base rate of whatever fact it hits on)."""

    scores: tuple[Score, ...]
    shuffled_skill: float
    ply_variance_explained: float
    candidates: int


class Gallery:
    """The sampled games of a mining pass, their positions and facts; activations by neuron on demand.

    Positions are the valid ones of the band, game by game. ``train`` says which belong to training games.
    """

    def __init__(self, mining: Mining, games: Games, held_out: float = 0.5, seed: int = 0):
        """Args: ``games`` the set that was mined (or any part that holds the sampled games).

        Raises:
            InputError: another set of games, or too few to hold some out.
        """
        if games.fingerprint != mining.fingerprint:
            raise InputError(f"games {games.fingerprint} are not those mined, {mining.fingerprint}")
        rows = torch.isin(games.ids, mining.sample_ids).nonzero().squeeze(1)
        rows = rows[games.ids[rows].argsort()]
        if len(rows) != len(mining.sample_ids):
            raise InputError(f"{len(rows)} of the {len(mining.sample_ids)} sampled games are here; give the whole set")
        if not mining.seen.all():
            raise InputError(
                f"{int(mining.seen.sum())} of the {len(mining.seen)} sampled games were mined: merge all parts first"
            )
        if not len(rows):
            raise InputError("this mining pass kept no sample; mine with sample_games of at least 2")
        self.mining, self.games = mining, games[rows]
        self.band = slice(mining.first_ply, mining.last_ply + 1)
        self.boards = self.games.boards()
        self.where = self.boards.valid[:, self.band]
        _, out = self.games.split(held_out, seed)
        in_train = ~torch.isin(self.games.ids, out.ids)
        self.row, ply = self.where.nonzero(as_tuple=True)
        self.ply = ply + mining.first_ply
        self.train = in_train[self.row]
        self.n_train, self.n_held_out = int(in_train.sum()), int((~in_train).sum())
        # Copies of one game are one draw of the bootstrap.
        self.transcript = self.games.tokens.unique(dim=0, return_inverse=True)[1][self.row]
        self._columns: dict[int, Tensor] = {}
        self._best: dict[Unit, tuple[str, float]] = {}

    def __len__(self) -> int:
        return len(self.row)

    def activations(self, unit: Unit) -> Float[Tensor, "position"]:
        """One neuron's activation at every position of the sample."""
        return self.mining.sample[unit.layer, unit.index][self.where].float()

    @cached_property
    def facts(self) -> Bool[Tensor, "position fact"]:
        """Where each of `FACTS` holds."""
        return facts_matrix(self.boards[:, self.band][self.where])

    @cached_property
    def state(self) -> UInt8[Tensor, "position square"]:
        """0 empty, 1 theirs, 2 mine."""
        return board_state(self.boards)[:, self.band][self.where]

    @cached_property
    def usable(self) -> Bool[Tensor, "fact"]:
        """Facts that occur often enough on both sides to be scored."""
        enough = torch.ones(len(FACTS), dtype=torch.bool)
        for half in (self.train, ~self.train):
            holds = self.facts[half].sum(0)
            enough &= (holds >= MIN_OCCURRENCES) & (int(half.sum()) - holds >= MIN_OCCURRENCES)
        return enough

    @cached_property
    def _standard(self) -> tuple[Float[Tensor, "position fact"], Int[Tensor, "fact"]]:
        """Usable facts on the training positions, of mean 0 and norm 1, and which they are."""
        which = self.usable.nonzero().squeeze(1)
        x = self.facts[self.train][:, which].float()
        x = x - x.mean(0)
        return x / x.norm(dim=0), which

    def screen(self, layer: int) -> tuple[Float[Tensor, "neuron fact"], Int[Tensor, "fact"]]:
        """Signed correlation of every neuron of a layer with every usable fact, on the training positions.

        Returns the correlations and which of `FACTS` their columns are. A constant neuron has 0.
        """
        acts = self.mining.sample[layer][:, self.where][:, self.train].float()
        standard, which = self._standard
        return _unit_rows(acts) @ standard, which

    def score(self, unit: Unit, keep: int = 5) -> FactScores:
        """The best facts of one neuron, with the shuffled control.

        Raises:
            InputError: no fact occurs often enough in these games.
        """
        acts = self.activations(unit)
        standard, which = self._standard
        self._enough(which)
        generator = torch.Generator().manual_seed(unit.layer << 20 | unit.index)
        shuffled = torch.stack([self._deal(unit, generator) for _ in range(SHUFFLES)])
        r = _unit_rows(torch.cat([acts[None], shuffled])[:, self.train]) @ standard
        shortlist = which[r.topk(min(SHORTLIST, len(which)), dim=1).indices]
        scores = tuple(self._score(acts, *fit) for fit in self._fits(acts, shortlist[0])[:keep])
        null = [
            skill_of_counts(self._agreement(a, *self._fits(a, facts)[0], ~self.train))
            for a, facts in zip(shuffled, shortlist[1:], strict=True)
        ]
        return FactScores(scores, sum(null) / len(null), self._ply_variance_explained(acts), len(which))

    def best(self, unit: Unit) -> tuple[str, float]:
        """The name and the held-out F1 of the fact that `score` puts first, without its controls; kept.

        Raises:
            InputError: as `score`.
        """
        if unit not in self._best:
            acts = self.activations(unit)
            standard, which = self._standard
            self._enough(which)
            r = _unit_rows(acts[None, self.train])[0] @ standard
            fact, threshold = self._fits(acts, which[r.topk(min(SHORTLIST, len(which))).indices])[0]
            self._best[unit] = FACTS[fact], f1_of(self._agreement(acts, fact, threshold, ~self.train))
        return self._best[unit]

    def _enough(self, which: Int[Tensor, "fact"]) -> None:
        if not len(which):
            raise InputError(
                f"no fact holds and fails to {MIN_OCCURRENCES} times in both halves of {len(self.games)} games: "
                "give more games"
            )

    def fact(self, fact: int) -> Bool[Tensor, "position"]:
        """Where one of `FACTS` holds."""
        if fact not in self._columns:
            self._columns[fact] = self.facts[:, fact].contiguous()
        return self._columns[fact]

    def _fits(self, acts: Float[Tensor, "position"], facts: Int[Tensor, "n"]) -> list[tuple[int, float]]:
        """(fact, threshold) by skill on the training positions, best first."""
        # One sort serves all facts: only which positions hold differs.
        values, order = acts[self.train].sort(descending=True)
        held = torch.stack([self.fact(f) for f in facts.tolist()])[:, self.train][:, order]
        fits = []
        for fact, holds in zip(facts.tolist(), held, strict=True):
            threshold, f1 = threshold_and_f1(values, holds)
            fits.append((-skill_of(f1, float(holds.double().mean())), fact, threshold))
        return [(fact, threshold) for _, fact, threshold in sorted(fits)]

    def _agreement(
        self, acts: Float[Tensor, "position"], fact: int, threshold: float, half: Bool[Tensor, "position"]
    ) -> tuple[int, int, int, int]:
        return counts_of(acts[half] > threshold, self.fact(fact)[half])

    def _score(self, acts: Float[Tensor, "position"], fact: int, threshold: float) -> Score:
        holds, out = self.fact(fact), ~self.train
        per_game = self._counts_by_game(acts[out] > threshold, holds[out], self.transcript[out])
        return Score(
            fact, threshold,
            self._agreement(acts, fact, threshold, self.train), self._agreement(acts, fact, threshold, out),
            f1_interval(per_game), auc(acts[out], holds[out]), self._variance_explained(acts, holds),
        )  # fmt: skip

    def _deal(self, unit: Unit, generator: torch.Generator) -> Float[Tensor, "position"]:
        """The activations dealt again at random among the positions of the same ply and the same half."""
        acts, dealt = self.activations(unit), torch.empty(len(self))
        # A random order within (half, ply): sort by group with random ties, and map onto the sorted groups.
        group = self.train.long() * 64 + self.ply
        here = group.argsort(stable=True)
        noise = torch.rand(len(self), generator=generator, dtype=torch.float64)
        there = (group.double() + noise).argsort()
        dealt[here] = acts[there]
        return dealt

    @staticmethod
    def _counts_by_game(
        on: Bool[Tensor, "n"], fact: Bool[Tensor, "n"], game: Int[Tensor, "n"]
    ) -> Float[Tensor, "game 3"]:
        """both, on, fact: by game, for the games that have positions here."""
        _, game = game.unique(return_inverse=True)
        columns = torch.stack([on & fact, on, fact], dim=1).double()
        return torch.zeros(int(game.max()) + 1, 3, dtype=torch.float64).index_add_(0, game, columns)

    def _variance_explained(self, acts: Float[Tensor, "position"], fact: Bool[Tensor, "position"]) -> float:
        """Held-out R^2 of the two-level prediction fitted on the training positions (can be negative)."""
        acts = acts.double()
        level = [acts[self.train & (fact == value)].mean() for value in (False, True)]
        return r_squared(acts[~self.train], torch.where(fact[~self.train], level[1], level[0]))

    def _ply_variance_explained(self, acts: Float[Tensor, "position"]) -> float:
        """Held-out R^2 of the mean activation at each ply, fitted on the training positions."""
        acts, train = acts.double(), self.train
        sums = torch.zeros(64, dtype=torch.float64).index_add_(0, self.ply[train], acts[train])
        counts = torch.bincount(self.ply[train], minlength=64)
        level = torch.where(counts > 0, sums / counts, acts[train].mean())
        return r_squared(acts[~train], level[self.ply[~train]])


def parse_fact(fact: int) -> Pattern | tuple[int, str]:
    """One of `FACTS` as a pattern, or as (square, literal)."""
    if fact < len(PATTERNS):
        return PATTERNS[fact]
    literal, square = divmod(fact - len(PATTERNS), N_SQUARES)
    return square, LITERALS[literal]


def facts_matrix(boards: Boards) -> Bool[Tensor, "position fact"]:
    """Where each of `FACTS` holds, positions flattened."""
    literals = [bits_to_bool(literal_bits(boards, name)).reshape(-1, N_SQUARES) for name in LITERALS]
    return torch.cat([patterns_matrix(boards), *literals], dim=1)


def _unit_rows(acts: Float[Tensor, "neuron position"]) -> Float[Tensor, "neuron position"]:
    """Each row of mean 0 and norm 1; a constant one 0 (its mean is rounded, and would leave something)."""
    varies = acts.amax(1, keepdim=True) > acts.amin(1, keepdim=True)
    acts = acts - acts.mean(1, keepdim=True)
    return torch.where(varies, acts / acts.norm(dim=1, keepdim=True).clamp_min(1e-30), 0.0)
