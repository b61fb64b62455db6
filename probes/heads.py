"""How well the board can be read from one head's output alone, for every head.

A probe of the few numbers z that a head puts out at a position (32 in the bundled model), one softmax per square over
empty, theirs, mine. Multinomial logistic regression as in `probes.solvers`, fitted on training games, over which it
goes `PASSES` times, and measured on held-out games. What it has to be compared with:

    constant        the most frequent class of each square (at each ply) of the training games
    layer           the same probe of all heads' outputs of the layer together: what its attention writes
    pre, mid        the stream before and after the layer's attention, through the model's own probes (more games)
    random weights  the same probe of the same head in a model of this shape that was never trained

All of a head's probes are small, so each head gets a thread of its own.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from circuits.activations import points, stream
from circuits.game_intervals import ratio_interval
from circuits.games import MIDDLE_BAND, Games
from circuits.models import random_twin
from circuits.othello_model import OthelloModel
from circuits.plain import of
from probes import tasks
from probes.board_counter import BoardCounter, squares
from probes.scoring import class_counts, in_band
from probes.sets import ProbeSet
from probes.solvers import Problem, Whitened
from probes.training import one_thread_each, positions_of

#: times the training positions are gone over: with 32 inputs, more change the accuracy by less than 0.0005
PASSES = 4


@dataclass(frozen=True, eq=False)
class HeadReading:
    """Held-out accuracies of reading the board from single heads; the last axis of intervals is (value, low, high).

    Attributes:
        accuracy: share of squares right; recall: by true class (empty, theirs, mine); by_square.
        layer, layer_recall: from all of a layer's heads together.
        pre, mid, pre_recall, mid_recall: of the model's own probes of the stream around the layer's attention; NaN
            where the set has none.
        random: from the same head of a model with random weights.
        constant_square, constant_square_ply: of the commonest class of each square, of each square and ply;
            constant_recall of the latter.
        games, positions: held out; train_games.
    """

    accuracy: Float[Tensor, "layer head 3"]
    recall: Float[Tensor, "layer head class=3"]
    by_square: Float[Tensor, "layer head 64"]
    layer: Float[Tensor, "layer 3"]
    layer_recall: Float[Tensor, "layer class=3"]
    pre: Float[Tensor, "layer"]
    mid: Float[Tensor, "layer"]
    pre_recall: Float[Tensor, "layer class=3"]
    mid_recall: Float[Tensor, "layer class=3"]
    random: Float[Tensor, "layer head"]
    constant_square: float
    constant_square_ply: float
    constant_recall: Float[Tensor, "class=3"]
    games: int
    positions: int
    train_games: int


@dataclass(frozen=True)
class Outputs:
    """Heads' outputs z at the positions of a band [position, head, d_head] by layer, the board there, and games.

    ``around``: accuracy and recall of the model's own probes before and after each layer's attention, if asked for.
    """

    z: list[Float[Tensor, "position head d_head"]]
    board: UInt8[Tensor, "position 64"]
    row: Int[Tensor, "position"]
    games: int
    around: dict[str, Tensor]


def read_heads(
    model: OthelloModel,
    probes: ProbeSet,
    train: Games,
    held_out: Games,
    *,
    band: slice = MIDDLE_BAND,
    passes: int = PASSES,
    random_weights: bool = True,
    seed: int = 0,
    progress: str | None = None,
) -> HeadReading:
    """Fit a probe to every head (and every layer's heads together) and measure it.

    Args:
        probes: the model's own, for the stream around each layer's attention.
        random_weights: whether a model with random weights is run for its baseline too (NaN otherwise).
    """
    model = of(model)
    layers = range(model.shape.n_layers)
    seen, unseen = (outputs(model, games, band, progress, own) for games, own in ((train, None), (held_out, probes)))
    heads = [(layer, head) for layer in layers for head in range(model.shape.n_heads)]
    jobs = [(seen.z[layer][:, head], unseen.z[layer][:, head]) for layer, head in heads]
    jobs += [(seen.z[layer].flatten(1), unseen.z[layer].flatten(1)) for layer in layers]
    scores = _scores(jobs, seen, unseen, passes, seed)
    shape = (model.shape.n_layers, model.shape.n_heads)
    random = torch.full(shape, torch.nan)
    if random_weights:
        twin = random_twin(model, seed)
        a, b = (outputs(twin, games, band, progress) for games in (train, held_out))
        found = _scores([(a.z[i][:, j], b.z[i][:, j]) for i, j in heads], a, b, passes, seed)
        random = torch.tensor([float(score.accuracy[0]) for score in found]).view(shape)
    own, whole = scores[: len(heads)], scores[len(heads) :]
    constant = _constant(train, held_out, band)
    return HeadReading(
        accuracy=torch.stack([s.accuracy for s in own]).unflatten(0, shape),
        recall=torch.stack([s.recall for s in own]).unflatten(0, shape),
        by_square=torch.stack([s.by_square for s in own]).unflatten(0, shape),
        layer=torch.stack([s.accuracy for s in whole]),
        layer_recall=torch.stack([s.recall for s in whole]),
        random=random,
        games=len(held_out),
        positions=len(unseen.row),
        train_games=len(train),
        **constant,
        **unseen.around,
    )


@torch.no_grad()
def outputs(
    model: OthelloModel, games: Games, band: slice, progress: str | None = None, probes: ProbeSet | None = None
) -> Outputs:
    """Every head's output at the valid positions of a band: 8 KB a position in the bundled model."""
    layers = range(model.shape.n_layers)
    hooks = [f"blocks.{layer}.attn.hook_z" for layer in layers]
    # The stream in front of a block is the one behind the last: of the points, all but the very last.
    around = [] if probes is None else list(points(model.shape)[:-1])
    readers = [BoardCounter.of(probes, hook, model.device) for hook in around]
    right = torch.zeros(len(around), 3, dtype=torch.float64)
    boards = games.boards()
    where, state = positions_of(boards, band), tasks.labels(boards, "board")
    z = [torch.empty(int(where.sum()), model.shape.n_heads, model.shape.d_head) for _ in layers]
    row = first = 0
    for batch in stream(model, games, [*hooks, *around], stop_at=model.shape.n_layers, progress=progress):
        keep = where[first : first + len(batch.games)]
        n = int(keep.sum())
        for layer, hook in enumerate(hooks):
            z[layer][row : row + n] = batch.acts[hook][keep.to(model.device)].cpu()
        for i, (hook, reader) in enumerate(zip(around, readers, strict=True)):
            right[i] += reader.right(batch.acts[hook], state[first : first + len(keep)], keep).sum(1)
        row, first = row + n, first + len(batch.games)
    found = {}
    if around:
        there = squares(state, where).sum(1)
        accuracy, recall = (right.sum(1) / there.sum()).float(), (right / there).float()
        for name, own in (("pre", slice(0, None, 2)), ("mid", slice(1, None, 2))):
            found |= {name: accuracy[own], f"{name}_recall": recall[own]}
    return Outputs(z, state[where], where.nonzero()[:, 0], len(games), found)


@dataclass(frozen=True)
class _Score:
    accuracy: Float[Tensor, "3"]
    recall: Float[Tensor, "3"]
    by_square: Float[Tensor, "64"]


def _scores(jobs: list, seen: Outputs, unseen: Outputs, passes: int, seed: int) -> list[_Score]:
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(seen.row), generator=generator) for _ in range(passes)]
    every = torch.ones(len(seen.row), dtype=torch.bool)
    positions = torch.bincount(unseen.row, minlength=unseen.games).double()

    problem, truth = Problem.of("board"), unseen.board

    def score(job: tuple[Tensor, Tensor]) -> _Score:
        x, new = job
        solver = Whitened([problem], passes * len(x), seed)
        solver.learn(x, [seen.board], every, orders)
        ((weight, bias),) = solver.solution()
        right = ((new @ weight.flatten(1)).unflatten(1, weight.shape[1:]) + bias).argmax(-1) == truth
        by_game = torch.zeros(unseen.games, dtype=torch.float64)
        by_game.index_add_(0, unseen.row, right.sum(1).double() / 64)
        recall = torch.stack([right[truth == c].double().mean() for c in range(3)])
        return _Score(ratio_interval(by_game, positions), recall.float(), right.double().mean(0).float())

    with one_thread_each(torch.device("cpu")) as pool:
        return list(pool.map(score, jobs))


def _constant(train: Games, held_out: Games, band: slice) -> dict[str, float | Tensor]:
    """Accuracy of the commonest class of each square, of each square and ply, and recalls of the latter."""
    learnt, seen = (in_band(class_counts(games), band) for games in (train, held_out))
    by_square = learnt.sum(0).argmax(-1)
    total = seen.sum()
    right = seen.sum(0).gather(-1, by_square[:, None]).sum()
    guess = learnt.argmax(-1, keepdim=True)
    hits = torch.zeros(3, dtype=torch.float64)
    hits.index_add_(0, guess.flatten(), seen.gather(-1, guess).flatten().double())
    return {
        "constant_square": float(right / total),
        "constant_square_ply": float(hits.sum() / total),
        "constant_recall": (hits / seen.sum((0, 1))).float(),
    }
