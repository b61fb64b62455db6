"""What each neuron of a layer writes of the board: its output in the vocabulary of the checkpoint, and of the moves.

    change    the neuron's mean activation where its rule holds less where it fails, of training games; without a rule,
              the mean of its 5 % highest activations less that of the others
    log-odds  change x (w_out . u), with u of the board probe *at the point behind the layer*, where it is linear in
              what is written:  colour at a square  w_mine - w_theirs,   emptiness  w_empty - (w_mine + w_theirs) / 2
    logits    change x (w_out . (W_U[:, move] - mean over the moves)) / s, with s the mean scale of the final LayerNorm
              on held-out games; what later layers do about it is not in it (direct)

A control says how much of that any vector would do: Gaussian ones with the covariance of the layer's output weights,
at each neuron's norm. Targets differ in how far they reach, so a product is counted in its standard deviations over
these vectors, and a neuron *writes* a target if it is beyond the 99.9 % of their *largest* |z| over all targets, one
neuron in a thousand by chance, and moves it by `LEAST` or more.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits.attribution import logit_targets
from circuits.board_readers import BoardReader
from circuits.errors import InputError
from circuits.notation import CENTRE, LABELS, N_SQUARES, PLAYABLE
from circuits.plain import PlainModel

#: random vectors, and the quantile of their largest |z|
DRAWS, QUANTILE = 10_000, 0.999
#: log-odds (or logits) by which what is written moves, at the least
LEAST = 0.25
#: targets listed for a neuron, the furthest moved first
LISTED = 5
#: share of a neuron's activations that count as high where it has no rule
TOP = 0.05


@dataclass(frozen=True, eq=False)
class Writes:
    """What the neurons of a layer write to targets of one kind.

    Attributes:
        names: of each target, as it is said of a positive change and of a negative one.
        moved: log-odds or logits.
        z: the same in standard deviations of the control.
        bar: the control's `QUANTILE` of the largest |z|.
    """

    names: tuple[tuple[str, str], ...]
    moved: Float[Tensor, "neuron target"]
    z: Float[Tensor, "neuron target"]
    bar: float

    @property
    def written(self) -> tuple[tuple[tuple[str, float], ...], ...]:
        """By neuron, up to `LISTED` that count as written, the furthest first: what, and by how much (> 0)."""
        size = self.moved.abs().masked_fill((self.z.abs() < self.bar) | (self.moved.abs() < LEAST), 0)
        top = size.topk(min(LISTED, size.shape[1]), dim=1)
        return tuple(
            tuple((self.names[i][int(row[i] < 0)], by) for i, by in zip(which, sizes, strict=True) if by > 0)
            for which, sizes, row in zip(top.indices.tolist(), top.values.tolist(), self.moved, strict=True)
        )

    @property
    def counts(self) -> Int[Tensor, "neuron"]:
        """How many targets each neuron writes."""
        return ((self.z.abs() >= self.bar) & (self.moved.abs() >= LEAST)).sum(1)


def change(acts: Float[Tensor, "neuron n"], on: list[float | None], off: list[float | None]) -> Float[Tensor, "neuron"]:
    """By how much each neuron changes: between the levels of its rule, or (None) those of its highest activations."""
    found = torch.tensor([0.0 if high is None else high - low for high, low in zip(on, off, strict=True)])
    rest = [i for i, high in enumerate(on) if high is None]
    if rest:
        k = max(1, round(TOP * acts.shape[1]))
        for some in torch.tensor(rest).split(64):
            values = acts[some]
            top, total = values.topk(k, dim=1).values.double().sum(1), values.double().sum(1)
            found[some] = (top / k - (total - top) / max(acts.shape[1] - k, 1)).float()
    return found


def board_writes(
    model: PlainModel, layer: int, reader: BoardReader, change: Float[Tensor, "neuron"], seed: int = 0
) -> Writes:
    """What a layer's neurons write to the checkpoint behind it.

    Raises:
        InputError: the reader is of another point.
    """
    if reader.hook != f"blocks.{layer}.hook_resid_post":
        raise InputError(f"neurons of L{layer} write to blocks.{layer}.hook_resid_post; the probe is of {reader.hook}")
    vectors, names = board_targets(reader)
    return _writes(model.W_out(layer), vectors, names, change, seed)


def move_writes(model: PlainModel, layer: int, change: Float[Tensor, "neuron"], scale: float, seed: int = 0) -> Writes:
    """What a layer's neurons add directly to the moves' logits; ``scale`` is the final LayerNorm's."""
    names = tuple((f"+{LABELS[square]}", f"-{LABELS[square]}") for square in PLAYABLE)
    return _writes(model.W_out(layer), logit_targets(model).vectors / scale, names, change, seed)


def board_targets(reader: BoardReader) -> tuple[Float[Tensor, "target d_model"], tuple[tuple[str, str], ...]]:
    """Colour of the 64 squares and emptiness of the 60 others than the centre, in log-odds."""
    empty, theirs, mine = reader.weight.float().cpu().unbind(-1)
    squares = [square for square in range(N_SQUARES) if square not in CENTRE]
    vectors = torch.cat([(mine - theirs).T, (empty - (mine + theirs) / 2).T[squares]])
    colours = [(f"{label} mine", f"{label} theirs") for label in LABELS]
    return vectors, (*colours, *((f"{LABELS[s]} empty", f"{LABELS[s]} occupied") for s in squares))


def _writes(
    W_out: Float[Tensor, "neuron d_model"],
    vectors: Float[Tensor, "target d_model"],
    names: tuple[tuple[str, str], ...],
    change: Float[Tensor, "neuron"],
    seed: int,
) -> Writes:
    W, vectors = W_out.detach().float().cpu(), vectors.detach().float().cpu()
    norm = W.norm(dim=1, keepdim=True).clamp_min(1e-12)
    random = _random_directions(W, seed) @ vectors.T
    spread = random.pow(2).mean(0).sqrt().clamp_min(1e-12)
    bar = float((random / spread).abs().amax(1).double().quantile(QUANTILE))
    reach = W @ vectors.T
    return Writes(names, change[:, None] * reach, reach / norm / spread, bar)


def _random_directions(W: Float[Tensor, "neuron d_model"], seed: int) -> Float[Tensor, "draw d_model"]:
    """Unit vectors along Gaussian ones with the covariance of the rows of W."""
    generator = torch.Generator().manual_seed(seed)
    values, vectors = torch.linalg.eigh((W - W.mean(0)).T.double().cov())
    root = (vectors * values.clamp_min(0).sqrt()).float()
    drawn = torch.randn(DRAWS, W.shape[1], generator=generator) @ root.T
    return drawn / drawn.norm(dim=1, keepdim=True).clamp_min(1e-12)
