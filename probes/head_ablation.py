"""What breaks without a head: the board read from the stream, and the moves, with one head replaced at every ply.

A head's output z gets, at every ply of a held-out game up to the one that is read,

    mean              its mean at that ply over training games: what it says of the game is gone
    frozen pattern    its own values under the mean pattern of that ply: where it looks no longer depends on the game
    zero              0
    resample          the output of one training game (for each game) at the same ply
    random direction  control for ``mean``: the same change of what it writes, (mean - z) W_O, turned by a random
                      rotation of the stream (another one for every few games), so that as much is changed, in no
                      direction of the head's

and everything behind it, LayerNorms included, is recomputed. Every change is a difference to the whole model on the
same positions. The board is read with the model's own probes at the head's resid_mid (what its loss does at once) and
at every later resid_post (what is left of it, after later layers have had their say).

Nothing before the head is run again: its layer resumes from the recorded stream.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.activations import points
from circuits.behaviour import legal_tokens, score_positions
from circuits.causes.components import head_outputs
from circuits.causes.incremental import Recording, mlp, normalised, record
from circuits.errors import InputError
from circuits.features import board_state
from circuits.game_intervals import ratio_interval
from circuits.games import MIDDLE_BAND, Games
from circuits.head_means import HeadMeans
from circuits.notation import N_CTX
from circuits.othello_model import OthelloModel
from circuits.plain import PlainModel, of
from probes.board_counter import BoardCounter, squares
from probes.sets import ProbeSet
from probes.training import one_thread_each

#: the ways of replacing a head, and how many held-out games each is measured on
GAMES = {"mean": 60, "frozen pattern": 40, "zero": 24, "resample": 24, "random direction": 60}
PLAY = ("illegal_top1", "illegal_mass", "kl_to_uniform_legal", "top_n_error")
CLASSES = ("empty", "theirs", "mine", "all")
#: games run at once
CHUNK = 12


@dataclass(frozen=True, eq=False)
class HeadAblations:
    """Changes (replaced less whole model) for every head; the last axis of intervals is (mean, low, high), over games.

    Attributes:
        methods: the first axis; games, positions: how many each was measured on.
        board: change of the share of squares read right, by point (the head's own resid_mid, then resid_post of layers
            0, 1, …) and by true class (empty, theirs, mine, then all squares). NaN before the head, or without a probe.
        board_base: [method, place, class], the whole model's at resid_mid and resid_post of each layer in turn.
        play: change of each of `PLAY`; play_base: the whole model's.
        kl: KL(whole || replaced) of the next move, nats.
    """

    methods: tuple[str, ...]
    games: Int[Tensor, "method"]
    positions: Int[Tensor, "method"]
    board: Float[Tensor, "method layer head point class=4 3"]
    board_base: Float[Tensor, "method place class=4"]
    play: Float[Tensor, "method layer head figure=4 3"]
    play_base: Float[Tensor, "method figure=4"]
    kl: Float[Tensor, "method layer head 3"]

    def __getitem__(self, method: str) -> int:
        """A method's place on the first axis.

        Raises:
            InputError: no such method.
        """
        if method not in self.methods:
            raise InputError(f"no ablation {method!r}: there are {', '.join(self.methods)}")
        return self.methods.index(method)


@torch.no_grad()
def ablate_heads(
    model: OthelloModel,
    probes: ProbeSet,
    means: HeadMeans,
    train: Games,
    held_out: Games,
    *,
    band: slice = MIDDLE_BAND,
    games: Mapping[str, int] = GAMES,
    seed: int = 0,
) -> HeadAblations:
    """Replace every head in turn, in each way.

    Args:
        means: of the training games (`circuits.head_means`).
        train: the games that resampled outputs come from.
        games: held-out games for each method, the first ones of the set.

    Raises:
        InputError: an unknown method; no position in the band.
    """
    unknown = [name for name in games if name not in GAMES]
    if unknown or not games:
        raise InputError(f"ablation {unknown[:1] or 'of nothing'}: give some of {', '.join(GAMES)}")
    model = of(model)
    s, band = model.shape, slice(band.start or 0, N_CTX if band.stop is None else min(band.stop, N_CTX))
    counts = {name: min(n, len(held_out)) for name, n in games.items()}
    most = max(counts.values())
    readers = [BoardCounter.of(probes, hook, model.device) for hook in points(s)[1:]]
    boards = held_out[:most].boards()
    where = torch.zeros_like(boards.valid)
    where[:, band] = boards.valid[:, band]
    if not where.any():
        raise InputError("these games have no position with a legal move in the band: give longer games")
    donors = _donors(boards.valid, train, band.stop, seed)
    tally = {name: _Sums(s.n_layers, s.n_heads, n) for name, n in counts.items()}
    base = _Sums(2 * s.n_layers, 1, most)
    for rows in (slice(i, min(i + CHUNK, most)) for i in range(0, most, CHUNK)):
        # New ones for every few games, so that the control is no single rotation's.
        first = (seed * N_CTX + rows.start) * s.n_layers
        turns = [_rotation(s.d_model, first + layer) for layer in range(s.n_layers)]
        run = record(model, held_out.inputs[rows, : band.stop])
        other = record(model, train[donors[rows]].inputs[:, : band.stop]) if "resample" in counts else None
        chunk = _Chunk(
            model, run, board_state(boards[rows])[:, band], boards[rows].legal[:, band], where[rows, band], band
        )
        for layer in range(s.n_layers):
            for half, x in enumerate((run.mid[layer], run.pre[layer + 1])):
                base.board[2 * layer + half, 0, :, :, rows] = chunk.right(readers[2 * layer + half], x)
        whole = _logits(model, run.pre[-1], chunk)
        base.play[0, 0, :, rows], _ = _play(whole, whole, chunk)

        def one(job: tuple[str, int, int], rows=rows, run=run, other=other, chunk=chunk, whole=whole, turns=turns):
            name, layer, head = job
            changed = _changed(name, model, means, layer, head, run, other, turns[layer])
            sums = tally[name]
            here = slice(rows.start, min(rows.stop, counts[name]))
            kept = slice(0, here.stop - here.start)
            part = chunk.first(kept)
            x = run.mid[layer][kept] + changed[kept]
            sums.board[layer, head, 0, :, here] = part.right(readers[2 * layer], x)
            for block in range(layer, s.n_layers):
                if block > layer:
                    z = head_outputs(model, block, x)
                    x = x + F.linear(z.flatten(-2), model.W_O(block).flatten(0, 1).T, model.b_O(block))
                x = mlp(model, block, x)
                sums.board[layer, head, 1 + block, :, here] = part.right(readers[2 * block + 1], x)
            after = _logits(model, x, part)
            sums.play[layer, head, :, here], sums.kl[layer, head, here] = _play(after, whole[: len(after)], part)

        jobs = [
            (name, layer, head)
            for name, n in counts.items() if n > rows.start
            for layer in range(s.n_layers) for head in range(s.n_heads)
        ]  # fmt: skip
        with one_thread_each(model.device) as pool:
            list(pool.map(one, jobs))
    there = squares(board_state(boards)[:, band], where[:, band])
    return _result(counts, tally, base, there, where.sum(1).double())


class _Sums:
    """By layer, head and game: squares right by point and class, sums of the play figures, sums of the KL."""

    def __init__(self, layers: int, heads: int, games: int):
        self.board = torch.full((layers, heads, 1 + layers, 3, games), torch.nan, dtype=torch.float64)
        self.play = torch.zeros(layers, heads, len(PLAY), games, dtype=torch.float64)
        self.kl = torch.zeros(layers, heads, games, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Some games with their recorded run; ``state``, ``legal`` and ``where`` are of the band."""

    model: PlainModel
    run: Recording
    state: Tensor
    legal: Tensor
    where: Bool[Tensor, "game ply"]
    band: slice

    def right(self, reader: BoardCounter, x: Tensor) -> Float[Tensor, "class=3 game"]:
        """Squares read right at the band's plies of a stream [game, ply, d_model]."""
        return reader.right(x[:, self.band], self.state, self.where)

    def first(self, kept: slice) -> "_Chunk":
        return _Chunk(self.model, self.run, self.state[kept], self.legal[kept], self.where[kept], self.band)


def _changed(name, model: PlainModel, means: HeadMeans, layer: int, head: int, run, other, rotation) -> Tensor:
    """The change [game, ply, d_model] of what a head writes."""
    z, W_O = run.z[layer][:, :, head], model.W_O(layer)[head]
    mean = means.z[layer, : z.shape[1], head].to(z.device)
    if name == "mean":
        new = mean
    elif name == "zero":
        new = torch.zeros_like(mean)
    elif name == "resample":
        new = other.z[layer][:, :, head]
    elif name == "frozen pattern":
        pattern = means.pattern[layer, head, : z.shape[1], : z.shape[1]].to(z.device)
        new = pattern @ run.v[layer][:, :, head]
    else:
        return (mean - z) @ W_O @ rotation.to(z.device)
    return (new - z) @ W_O


def _rotation(d_model: int, seed: int) -> Float[Tensor, "d_model d_model"]:
    """A random rotation of the stream, which has no mean over d_model: norms of what is written stay the same."""
    generator = torch.Generator().manual_seed(seed)
    n = d_model
    # Helmert's basis of the vectors without a mean: row k has k equal entries, then minus their sum.
    k = torch.arange(1, n, dtype=torch.float64)
    basis = (torch.arange(n) < k[:, None]).double() / (k * (k + 1)).sqrt()[:, None]
    basis[torch.arange(n - 1), torch.arange(1, n)] = -(k / (k + 1)).sqrt()
    turn, r = torch.linalg.qr(torch.randn(n - 1, n - 1, generator=generator, dtype=torch.float64))
    turn = turn * r.diagonal().sign()  # the one decomposition whatever the library's signs
    return (basis.T @ turn @ basis).float()


def _donors(valid: Bool[Tensor, "game ply"], train: Games, stop: int, seed: int) -> Int[Tensor, "game"]:
    """For each game a random training game that lasts as long (or, where there is none, the longest)."""
    lengths, there = valid[:, :stop].sum(1), train.boards().valid[:, :stop].sum(1)
    generator = torch.Generator().manual_seed(seed)
    found = []
    for length in lengths.tolist():
        able = (there >= min(length, int(there.max()))).nonzero().flatten()
        found.append(int(able[torch.randint(len(able), (1,), generator=generator)]))
    return torch.tensor(found)


def _logits(model: PlainModel, x: Tensor, chunk: _Chunk) -> Float[Tensor, "game ply token"]:
    return (normalised(x[:, chunk.band], model.shape.eps) @ model.W_U + model.b_U).cpu()


def _play(logits: Tensor, whole: Tensor, chunk: _Chunk) -> tuple[Float[Tensor, "figure game"], Float[Tensor, "game"]]:
    """Sums by game of the play figures, and of the KL from the whole model's prediction."""
    where = chunk.where
    scores = score_positions(logits[where], legal_tokens(chunk.legal[where]))
    before, after = whole[where].log_softmax(-1), logits[where].log_softmax(-1)
    kl = (before.exp() * (before - after)).sum(-1)
    rows = torch.stack([*(scores[name] for name in PLAY), kl]).double()
    sums = torch.zeros(len(rows), len(where), dtype=torch.float64).index_add_(1, where.nonzero()[:, 0], rows)
    return sums[:-1], sums[-1]


def _result(counts, tally: dict, base: _Sums, there: Tensor, positions: Tensor) -> HeadAblations:
    found: dict[str, list[Tensor]] = {name: [] for name in ("board", "board_base", "play", "play_base", "kl")}
    layers = len(next(iter(tally.values())).kl)
    # The whole model at the points of each head: its own resid_mid, then every resid_post.
    at = base.board[:, 0, 0]
    whole = torch.stack([torch.cat([at[2 * layer][None], at[1::2]]) for layer in range(layers)])
    for name, n in counts.items():
        sums, share = tally[name], _with_all(there[:, :n], dim=0)
        change = _with_all(sums.board - whole[:, None, ..., :n], dim=-2)
        found["board"].append(ratio_interval(change, share))
        found["board_base"].append((_with_all(at[..., :n], dim=-2).sum(-1) / share.sum(-1)).float())
        found["play"].append(ratio_interval(sums.play - base.play[0, 0, :, :n], positions[:n]))
        found["play_base"].append((base.play[0, 0, :, :n].sum(-1) / positions[:n].sum()).float())
        found["kl"].append(ratio_interval(sums.kl, positions[:n]))
    return HeadAblations(
        methods=tuple(counts),
        games=torch.tensor(list(counts.values())),
        positions=torch.tensor([int(positions[:n].sum()) for n in counts.values()]),
        **{name: torch.stack(parts) for name, parts in found.items()},
    )


def _with_all(x: Tensor, dim: int) -> Tensor:
    """Beside the three classes, all squares."""
    return torch.cat([x, x.sum(dim, keepdim=True)], dim)
