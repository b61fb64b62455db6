"""Patching the checkpoint itself: a direction or subspace of the stream, beside everything it has to be compared with.

A late circuit starts in the checkpoint: put the clean run's coordinates on "C0 mine", "D1 mine", ... into the corrupt
run and see whether the move follows. That alone proves little (Makelov, Lange, Nanda 2023, arXiv 2311.17030: a
direction may act through a part that no other node reads), so the result always holds

    subspace      the effect of patching the span of the directions
    whole         the full stream at the same point and plies: what there was to be had
    rest          everything but the subspace: what it is not needed for
    random        the same for random subspaces of equal dimension (mean over draws)

and by reader the share of the subspace in that reader's null space, with its gain: the mean squared reading of the
subspace's unit directions over that of a random direction (1: read like any other direction).
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from circuits.causes.changes import Place, Subspace, check_reach, orthonormal
from circuits.causes.effects import Summary, summarise
from circuits.causes.incremental import read_point
from circuits.causes.metrics import Metric
from circuits.causes.nodes import Node
from circuits.causes.pairs import Pairs
from circuits.causes.patch_results import share_of
from circuits.causes.patching import patch, sweep
from circuits.othello_model import OthelloModel
from circuits.plain import PlainModel, of

RANDOM_DRAWS = 10
#: singular values of a reader below this share of its largest count as not read
NULL = 1e-3


@dataclass(frozen=True)
class Reader:
    """How one reader sees a subspace.

    Attributes:
        name: e.g. ``"L5 attention (q, k, v)"``.
        rank: of its reading matrix, among the d_model - 1 dimensions of the stream.
        null_share: share of the subspace's squared length in the reader's null space, 0..1.
        null_share_random: of a random direction.
        gain: mean squared reading of a unit direction of the subspace over that of a random one.
    """

    name: str
    rank: int
    null_share: float
    null_share_random: float
    gain: float


@dataclass(frozen=True, eq=False)
class SubspacePatch:
    """A subspace's effect and its controls; effects are [direction, pair], ``random`` the mean over the draws.

    ``unpatched_gap`` is clean - corrupt of the metric. ``summaries`` by name: subspace, whole, rest, random, and
    ``beyond random`` (subspace - random), each [direction].
    """

    subspace: Subspace
    directions: tuple[str, ...]
    effect: Float[Tensor, "direction pair"]
    whole: Float[Tensor, "direction pair"]
    rest: Float[Tensor, "direction pair"]
    random: Float[Tensor, "direction pair"]
    draws: Float[Tensor, "draw direction"]
    unpatched_gap: Float[Tensor, "pair"]
    readers: tuple[Reader, ...]
    metric: str
    plies: str
    pairs: Pairs

    @property
    def summaries(self) -> dict[str, Summary]:
        named = {"subspace": self.effect, "whole": self.whole, "rest": self.rest, "random": self.random}
        named["beyond random"] = self.effect - self.random
        return {name: summarise(effects, self.pairs.game) for name, effects in named.items()}

    def shares(self) -> dict[str, list[float]]:
        """Mean effects as shares of the mean difference between the runs, by direction; NaN as `Patched.share`."""
        total = summarise(self.unpatched_gap, self.pairs.game)
        gaps = [share_of(total, name) for name in self.directions]
        named = {"subspace": self.effect, "whole": self.whole, "rest": self.rest, "random": self.random}
        return {name: [float(e.mean()) / gap for e, gap in zip(t, gaps, strict=True)] for name, t in named.items()}


def patch_subspace(
    model: OthelloModel,
    pairs: Pairs,
    metric: Metric,
    subspace: Subspace,
    *,
    plies: int | slice | None = None,
    direction: str = "both",
    draws: int = RANDOM_DRAWS,
    seed: int = 0,
) -> SubspacePatch:
    """Patch a subspace of the stream at its point, at some plies (all by default), with its controls.

    Raises:
        InputError: the metric is read before the subspace's point, or before the plies.
    """
    plain = of(model)
    check_reach(subspace, metric.point, plain)
    randoms = random_subspaces(subspace, draws, seed)
    wanted: list[Place] = [subspace, subspace.node, subspace.complement, *randoms]
    if plies is None:
        found = sweep(model, pairs, metric, wanted, by_ply=False, direction=direction)
        effects = found.effects[:, :, 0]
    else:
        each = [patch(model, pairs, metric, [place], plies=plies, direction=direction) for place in wanted]
        found = each[0]
        effects = torch.cat([result.effects[:, :, 0] for result in each], 1)
    drawn = effects[:, 3:]
    return SubspacePatch(
        subspace=subspace,
        directions=found.directions,
        effect=effects[:, 0],
        whole=effects[:, 1],
        rest=effects[:, 2],
        random=drawn.mean(1) if draws else torch.zeros_like(effects[:, 0]),
        draws=drawn.mean(-1).T,
        unpatched_gap=found.clean - found.corrupt,
        readers=readers(plain, subspace),
        metric=metric.name,
        plies="every ply" if plies is None else f"ply {plies}" if isinstance(plies, int) else f"plies {plies}",
        pairs=pairs,
    )


def random_subspaces(subspace: Subspace, n: int, seed: int = 0) -> list[Subspace]:
    """Random subspaces of the same dimension at the same point, without a mean over d_model, as everything there."""
    generator = torch.Generator().manual_seed(seed)
    k, d = subspace.basis.shape
    found = []
    for i in range(n):
        vectors = torch.randn(k, d, generator=generator)
        basis = orthonormal(vectors - vectors.mean(-1, keepdim=True))
        found.append(Subspace(f"random subspace {i} of {k}", subspace.point, basis.to(subspace.basis)))
    return found


def readers(model: PlainModel, subspace: Subspace) -> tuple[Reader, ...]:
    """All that reads the stream from the subspace's point on: each layer's attention and MLP, the unembedding."""
    block, middle = read_point(model, subspace.point)
    found = []
    for layer in range(block, model.shape.n_layers):
        if not (middle and layer == block):
            kinds = (model.W_Q(layer), model.W_K(layer), model.W_V(layer))
            matrix = torch.cat([rearrange(W, "head d k -> d (head k)") for W in kinds], 1)
            found.append(_reader(f"L{layer} attention (q, k, v)", matrix, subspace))
        found.append(_reader(f"L{layer} MLP", model.W_in(layer), subspace))
    W_U = model.W_U[:, 1:]
    return (*found, _reader("unembedding", W_U - W_U.mean(-1, keepdim=True), subspace))


def reader(model: OthelloModel, node: Node, subspace: Subspace) -> Reader:
    """How one node (``L5H2.q``, ``L5N3``, ``L5 MLP``; a head by its q, k and v together) reads a subspace."""
    plain = of(model)
    if node.kind == "neuron":
        matrix = plain.W_in(node.layer)[:, [node.index]]
    elif node.kind == "mlp":
        matrix = plain.W_in(node.layer)
    else:
        named = {"q": plain.W_Q, "k": plain.W_K, "v": plain.W_V}
        kinds = [node.kind] if node.kind in named else list(named)
        heads = slice(None) if node.index is None else [node.index]
        matrix = torch.cat([rearrange(named[kind](node.layer)[heads], "head d k -> d (head k)") for kind in kinds], 1)
    return _reader(str(node), matrix, subspace)


def _reader(name: str, matrix: Float[Tensor, "d_model out"], subspace: Subspace) -> Reader:
    R = matrix.double()
    d = len(R)
    left, values, _ = torch.linalg.svd(R - R.mean(0), full_matrices=False)
    seen = left[:, values > NULL * values[0]]
    basis = subspace.basis.double().to(R.device)
    rank, k = seen.shape[1], len(basis)
    null = 1 - float((basis @ seen).pow(2).sum()) / k
    gain = float((basis @ R).pow(2).sum()) / k / (float(values.pow(2).sum()) / (d - 1))
    return Reader(name, rank, min(max(null, 0.0), 1.0), 1 - rank / (d - 1), gain)
