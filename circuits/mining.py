"""Mining: what every neuron of the model does over many games, in one streaming pass.

`Mining` is a mergeable accumulator. Over the positions of a band of plies it keeps, for every neuron,

  exactly       count, mean, variance, share above zero; the mean by ply; the mean over the positions where
                each square is empty, theirs, mine; the k highest and k lowest activations with addresses
  on a sample   every activation (fp16) on a fixed-seed choice of whole games, from which histograms,
                quantiles, random examples and pattern scores are drawn, split by game

Sums are held in fixed point (int64; steps of 2^-24, of 2^-20 for squares), so adding them is associative: any
order of updates and merges gives the same bits, and the same file. Another batch size changes only the rounding
of each batch's partial sums. Ties among extremes go to the smaller address. Memory does not depend on the number
of games: 20 million games with activations of root mean square 90 fit, and what would not fit is refused.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Float16, Int
from torch import Tensor
from torch.nn.functional import one_hot

from circuits import mining_files
from circuits.activations import BATCH, stream
from circuits.errors import InputError
from circuits.extremes import Extremes, address_code
from circuits.features import board_state
from circuits.games import MIDDLE_BAND, Address, Games
from circuits.hashing import mix64, signed64
from circuits.mining_files import FORMAT
from circuits.models import OthelloModel
from circuits.notation import N_CTX, N_SQUARES, Unit
from circuits.othello import Boards

FIXED_POINT = 2.0**24
#: coarser for squares, which are larger. While they fit, sums do: |sum x|^2 <= n sum x^2 < 2^35 2^43 = (2^63 / 2^24)^2
FIXED_POINT_SQUARES = 2.0**20
#: the largest magnitude that the fp16 sample has room for
LARGEST = 65504.0
#: extremes kept at each end, and games sampled whole
EXAMPLES = 16
SAMPLE_GAMES = 600
#: games replayed at a time, ahead of the batches
_REPLAYED = 1024


__all__ = ["EXAMPLES", "FORMAT", "SAMPLE_GAMES", "Mining", "mine", "sample_of"]


@dataclass
class Mining:
    """Everything mined so far; see the module's docstring. ``layer`` and ``neuron`` index all tensors alike.

    Attributes:
        model_hash, fingerprint, source: what was run on what.
        first_ply, last_ply: the band, both ends included.
        count: [ply] positions.
        sums: [layer, neuron, ply] fixed point; squares: [layer, neuron] of squares, coarser fixed point.
        positive: [layer, neuron] positions with an activation above 0.
        state_count: [state, square]; state_sums: [layer, neuron, state, square] fixed point; states theirs, mine.
        top, bottom: `Extremes` of each layer.
        scale_sum: fixed-point sum over positions of the final LayerNorm's scale (for direct logit contributions).
        sample_ids: [row] numbers of the sampled games; sample: [layer, neuron, row, ply] fp16;
        seen: [row] which sampled games have been met.
    """

    model_hash: str
    fingerprint: str
    source: str
    first_ply: int
    last_ply: int
    games: int
    count: Int[Tensor, "ply"]
    sums: Int[Tensor, "layer neuron ply"]
    squares: Int[Tensor, "layer neuron"]
    positive: Int[Tensor, "layer neuron"]
    state_count: Int[Tensor, "2 64"]
    state_sums: Int[Tensor, "layer neuron 2 64"]
    top: list[Extremes]
    bottom: list[Extremes]
    scale_sum: Int[Tensor, ""]
    sample_ids: Int[Tensor, "row"]
    sample: Float16[Tensor, "layer neuron row ply"]
    seen: Bool[Tensor, "row"]
    _row_of: dict[int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._row_of = {int(game): row for row, game in enumerate(self.sample_ids)}

    @staticmethod
    def empty(
        model: OthelloModel, games: Games, *, k: int = EXAMPLES, sample_games: int = SAMPLE_GAMES,
        plies: slice = MIDDLE_BAND, seed: int = 0,
    ) -> "Mining":  # fmt: skip
        """An accumulator that has seen nothing.

        Args:
            games: the *whole* set (shards of it are then given to `update`); it fixes the sampled games.
            k: extremes kept at each end; sample_games: games of which every activation is kept.
            plies: the band of plies; seed: of the sample.

        Raises:
            InputError: a band without plies or with a step, no room for an extreme.
        """
        first, last = plies.start or 0, (N_CTX if plies.stop is None else min(plies.stop, N_CTX)) - 1
        if not 0 <= first <= last or plies.step not in (None, 1):
            raise InputError(f"{plies} is no band of plies: give a first and a last within 0..{N_CTX - 1}, step 1")
        if k < 1 or sample_games < 0:
            raise InputError(f"k = {k} and sample_games = {sample_games}: give at least 1 and 0")
        layers, neurons, width = model.shape.n_layers, model.shape.d_mlp, last - first + 1
        ids = sample_of(games, sample_games, seed)

        def zeros(*size: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros(size, dtype=dtype)

        return Mining(
            model.hash, games.fingerprint, games.source, first, last, 0,
            zeros(width), zeros(layers, neurons, width), zeros(layers, neurons), zeros(layers, neurons),
            zeros(2, N_SQUARES), zeros(layers, neurons, 2, N_SQUARES),
            [Extremes.empty(neurons, k) for _ in range(layers)], [Extremes.empty(neurons, k) for _ in range(layers)],
            zeros(), ids,
            zeros(layers, neurons, len(ids), width, dtype=torch.float16), zeros(len(ids), dtype=torch.bool),
        )  # fmt: skip

    def update(
        self,
        games: Games,
        acts: Iterable[Float[Tensor, "game ply neuron"]],
        final_scale: Float[Tensor, "game ply 1"],
        boards: Boards | None = None,
    ) -> None:
        """Take in one batch of games; nothing changes where it is refused.

        Args:
            acts: each layer's activations after the non-linearity, in layer order.
            final_scale: the final LayerNorm's scale, ``ln_final.hook_scale``.
            boards: the games' boards, where they are known already.

        Raises:
            InputError: games of another set, a game met before (if it is in the sample or among the extremes), an
                activation that is not finite or beyond 65504, sums beyond what they have room for.
        """
        if games.fingerprint != self.fingerprint:
            raise InputError(f"games {games.fingerprint} are not of the set being mined, {self.fingerprint}")
        rows = [(i, self._row_of[g]) for i, g in enumerate(games.ids.tolist()) if g in self._row_of]
        row = torch.tensor([r for _, r in rows], dtype=torch.int64)
        if self.seen[row].any() or len(row.unique()) < len(row):
            raise InputError(f"games {_span(games)}: one of them was counted before: give each game once")
        band = slice(self.first_ply, self.last_ply + 1)
        boards = games.boards() if boards is None else boards
        valid = boards.valid[:, band]
        where = valid.flatten().nonzero().squeeze(1)
        state = board_state(boards)[:, band][valid]
        ply = torch.arange(len(self.count)).expand(valid.shape)[valid]
        # One product with these gives the sums by ply and by every square's state.
        facts = torch.cat([one_hot(ply, len(self.count)), state == 1, state == 2], dim=1)
        numbers, ones = facts.float(), torch.ones(len(ply))
        codes = address_code(games.ids[:, None], torch.arange(band.start, band.stop))[valid]

        found = []
        for layer, whole in enumerate(acts):
            act = whole[:, band].flatten(0, 1).float()
            if len(where) < len(act):
                act = act[where]
            # Sums over positions as products with ones, several times faster than `sum(0)`; counts are exact in
            # float32 below 2^24 positions, far more than a batch holds.
            squares = ones @ (act * act)
            if not (squares < LARGEST**2).all() and not (act.abs() <= LARGEST).all():
                raise InputError(
                    f"layer {layer} has activations not finite, or beyond {LARGEST:.0f}, on games {_span(games)}"
                )
            found.append(
                (
                    _fixed(act.T @ numbers),
                    _plus(self.squares[layer], _fixed(squares, FIXED_POINT_SQUARES)),
                    (ones @ torch.gt(act, 0, out=torch.empty_like(act))).long(),
                    self.top[layer].with_block(act, codes),
                    self.bottom[layer].with_block(act, codes, sign=-1),
                    [whole[i, band].half() for i, _ in rows],
                )
            )
        if len(found) != len(self.top):
            raise InputError(f"activations of {len(found)} layers were given; the model has {len(self.top)}")
        scale = final_scale[:, band, 0][valid]
        if not torch.isfinite(scale).all():
            raise InputError(f"the final LayerNorm's scale is not finite on games {_span(games)}")
        self.scale_sum = _plus(self.scale_sum, _fixed(scale).sum())

        for layer, (sums, squares, positive, top, bottom, sample) in enumerate(found):
            self.sums[layer] += sums[:, : len(self.count)]
            self.state_sums[layer] += sums[:, len(self.count) :].unflatten(1, (2, N_SQUARES))
            self.squares[layer] = squares
            self.positive[layer] += positive
            self.top[layer], self.bottom[layer] = top, bottom
            for (_, r), own in zip(rows, sample, strict=True):
                self.sample[layer, :, r] = own.T
        self.count += valid.sum(0)
        self.state_count += facts[:, len(self.count) :].sum(0).unflatten(0, (2, N_SQUARES))
        self.seen[row] = True
        self.games += len(games)

    def merge(self, other: "Mining") -> "Mining":
        """Add what another accumulator of the same pass has seen on other games; self, changed in place.

        Nothing changes where it is refused.

        Raises:
            InputError: another model, game set, band, sample or number of extremes; a game seen by both (if it
                is in the sample or among the extremes of both); sums beyond what they have room for.
        """
        for name in ("model_hash", "fingerprint", "first_ply", "last_ply", "k"):
            if getattr(self, name) != getattr(other, name):
                raise InputError(f"cannot merge: {name} is {getattr(self, name)} here and {getattr(other, name)} there")
        if not torch.equal(self.sample_ids, other.sample_ids):
            raise InputError("cannot merge: the two accumulators sample different games; make both from the whole set")
        if (self.seen & other.seen).any():
            twice = int(self.sample_ids[self.seen & other.seen][0])
            raise InputError(f"cannot merge: game {twice} was seen by both accumulators")
        top, bottom = (
            [a.merged(b) for a, b in zip(getattr(self, end), getattr(other, end), strict=True)]
            for end in ("top", "bottom")
        )
        squares, scale_sum = _plus(self.squares, other.squares), _plus(self.scale_sum, other.scale_sum)
        for name in ("count", "sums", "positive", "state_count", "state_sums"):
            getattr(self, name).add_(getattr(other, name))
        self.top, self.bottom, self.squares, self.scale_sum = top, bottom, squares, scale_sum
        self.sample[:, :, other.seen] = other.sample[:, :, other.seen]
        self.seen |= other.seen
        self.games += other.games
        return self

    # ---- readings, all for one neuron or for all -------------------------------------------------------

    @property
    def k(self) -> int:
        """Extremes kept at each end."""
        return self.top[0].keys.shape[1]

    @property
    def positions(self) -> int:
        return int(self.count.sum())

    @property
    def final_scale(self) -> float:
        """Mean scale of the final LayerNorm."""
        return int(self.scale_sum) / FIXED_POINT / self.positions

    def mean(self) -> Float[Tensor, "layer neuron"]:
        """Mean activation over positions."""
        return (self.sums.sum(-1).double() / FIXED_POINT / self.positions).float()

    def variance(self) -> Float[Tensor, "layer neuron"]:
        """Population variance over positions."""
        mean = self.sums.sum(-1).double() / FIXED_POINT / self.positions
        return (self.squares.double() / FIXED_POINT_SQUARES / self.positions - mean**2).clamp_min(0).float()

    def share_positive(self) -> Float[Tensor, "layer neuron"]:
        """Share of positions with an activation above 0."""
        return (self.positive.double() / self.positions).float()

    def ply_mean(self, unit: Unit) -> Float[Tensor, "ply"]:
        """Mean activation at each ply of the band; NaN where no game has a position."""
        return (self.sums[unit.layer, unit.index].double() / FIXED_POINT / self.count).float()

    def state_means(self, unit: Unit) -> tuple[Float[Tensor, "3 64"], Int[Tensor, "3 64"]]:
        """Mean activation given that each square is empty, theirs, mine (NaN where it never is), and the counts."""
        given = self.state_sums[unit.layer, unit.index].double() / FIXED_POINT
        total = self.sums[unit.layer, unit.index].sum().double() / FIXED_POINT
        sums = torch.cat([(total - given.sum(0))[None], given])
        counts = torch.cat([(self.positions - self.state_count.sum(0))[None], self.state_count])
        return torch.where(counts > 0, sums / counts, torch.nan).float(), counts

    def examples(self, unit: Unit, end: str = "top") -> list[tuple[Address, float]]:
        """The highest (``"top"``) or lowest (``"bottom"``) activations, most extreme first."""
        extremes = self.top[unit.layer] if end == "top" else self.bottom[unit.layer]
        sign = 1.0 if end == "top" else -1.0
        found = extremes.of(unit.index)
        return [(Address(self.fingerprint, code // 64, code % 64), sign * value) for value, code in found]

    # ---- files -----------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> None:
        """One safetensors file, whole or not at all; the same bytes for the same contents.

        Raises:
            InputError: it cannot be written.
        """
        tensors = {name: getattr(self, name).contiguous() for name in mining_files.TENSORS}
        tensors |= {end: torch.stack([e.keys for e in getattr(self, end)]) for end in ("top", "bottom")}
        mining_files.write(path, tensors, {name: getattr(self, name) for name in mining_files.ABOUT})

    @staticmethod
    def load(path: str | os.PathLike) -> "Mining":
        """The inverse of `save`.

        Raises:
            InputError: missing, corrupted, or not a file of mined activations.
        """
        about, tensors = mining_files.read(path)
        ends = {end: [Extremes(keys.clone()) for keys in tensors.pop(end)] for end in ("top", "bottom")}
        return Mining(**about, **tensors, **ends)


def mine(
    model: OthelloModel, games: Games, *, k: int = EXAMPLES, sample_games: int = SAMPLE_GAMES,
    plies: slice = MIDDLE_BAND, seed: int = 0, batch_size: int = BATCH, progress: str | None = None,
) -> Mining:  # fmt: skip
    """Mine every neuron of the model over the games, in this process.

    Args: as `Mining.empty`; ``batch_size`` games a forward pass; ``progress`` the label of a bar.

    Raises:
        InputError: as `Mining.empty` and `Mining.update`; games that have no position in the band.
    """
    mining = Mining.empty(model, games, k=k, sample_games=sample_games, plies=plies, seed=seed)
    hooks = [f"blocks.{layer}.mlp.hook_post" for layer in range(model.shape.n_layers)]
    scale = "ln_final.hook_scale"
    batches = stream(model, games, [*hooks, scale], batch_size=batch_size, progress=progress)
    for batch, boards in zip(batches, boards_of_batches(games, batch_size), strict=True):
        mining.update(batch.games, (batch.acts[hook].cpu() for hook in hooks), batch.acts[scale].cpu(), boards)
    if not mining.positions:
        raise InputError(
            f"these {len(games)} games have no position in plies {mining.first_ply}..{mining.last_ply}: "
            "give longer games, or all plies"
        )
    return mining


def boards_of_batches(games: Games, batch_size: int) -> Iterator[Boards]:
    """The boards of each batch, replayed many games at a time: replaying a few costs nearly as much."""
    for block in games.batches(max(1, _REPLAYED // batch_size) * batch_size):
        boards = block.boards()
        for start in range(0, len(block), batch_size):
            yield boards[start : start + batch_size]


def sample_of(games: Games, n: int, seed: int = 0) -> Int[Tensor, "row"]:
    """Numbers of ``n`` games (or all, if fewer) chosen by hash of their number and the seed, ascending."""
    order = mix64(mix64(games.ids + 1) ^ signed64(seed)).argsort()
    return games.ids[order[:n]].sort().values


def _fixed(values: Tensor, steps: float = FIXED_POINT) -> Int[Tensor, "..."]:
    return (values.double() * steps).round().long()


def _plus(total: Int[Tensor, "*unit"], more: Int[Tensor, "*unit"]) -> Int[Tensor, "*unit"]:
    """The sum of two that are not negative; refused where it wraps."""
    total = total + more
    if (total < 0).any() or (more < 0).any():
        raise InputError("activations are too large for this many games: their squares add up to more than 2^43")
    return total


def _span(games: Games) -> str:
    return f"{int(games.ids.min())}..{int(games.ids.max())}"
