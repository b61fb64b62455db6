"""Every neuron and head mean-ablated, one at a time, at one position of each game.

A unit's activation at that ply becomes the mean of that ply; nothing before it changes, and nothing else there but what
follows from it. With p the run as it is and q the changed one, both over the 60 moves (padding left out):

    kl          KL(p || q), nats: total effect, every later layer and LayerNorm recomputed
    kl_direct   the same when only the path to the logits is changed: what the unit writes less is taken from the final
                stream, the final LayerNorm recomputed
    top         whether the likeliest move changes
    legal       change of the probability on legal moves, q's less p's; total

Positions are one a game, so that they are independent and a standard error can be given. Each game is run by itself:
what is found for it depends on it alone, and sums over any chunks of games in any order are the same bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.behaviour import legal_tokens
from circuits.causes.incremental import mlp, normalised
from circuits.checkpoints import Shape
from circuits.errors import InputError
from circuits.games import Games
from circuits.hashing import mix64, signed64
from circuits.last_ply import LastPly
from circuits.notation import N_CTX
from circuits.othello_model import OthelloModel
from circuits.plain import PlainModel, of

FIGURES = ("kl", "kl_direct", "top", "legal")
#: Finer than in mining, for most units do next to nothing: a standard error below 2e-7 nats may read 0. There is room
#: for sums of 2^31, and of squares 2^19, which 20,000 games reach where every one of them loses 5 nats.
FIXED_POINT, FIXED_POINT_SQUARES = 2.0**32, 2.0**44
#: streams that are run side by side at most
VARIANTS = 2048


@dataclass
class Ablations:
    """Everything summed so far: fixed-point sums over positions of `FIGURES`, and of their squares (finer).

    Attributes:
        positions: how many, one a game.
    """

    positions: int
    neurons: Int[Tensor, "figure=4 layer neuron"]
    neuron_squares: Int[Tensor, "figure=4 layer neuron"]
    heads: Int[Tensor, "figure=4 layer head"]
    head_squares: Int[Tensor, "figure=4 layer head"]

    @staticmethod
    def empty(shape: Shape) -> "Ablations":
        """Sums of nothing."""

        def zeros(units: int) -> Tensor:
            return torch.zeros(len(FIGURES), shape.n_layers, units, dtype=torch.int64)

        return Ablations(0, zeros(shape.d_mlp), zeros(shape.d_mlp), zeros(shape.n_heads), zeros(shape.n_heads))

    def merge(self, other: "Ablations") -> "Ablations":
        """Add what was found on other games; self, changed in place. Nothing changes where it is refused.

        Raises:
            InputError: units of another number; sums beyond what they have room for.
        """
        ours, theirs = self._sums(), other._sums()
        if any(ours[name].shape != theirs[name].shape for name in ours):
            here, there = ([tuple(x.shape[1:]) for x in (a.neurons, a.heads)] for a in (self, other))
            raise InputError(f"cannot merge: layers, and neurons and heads in each, are {here} here and {there} there")
        total = {name: ours[name] + theirs[name] for name in ours}
        if any(((ours[n] ^ total[n]) & (theirs[n] ^ total[n])).lt(0).any() for n in ours):
            raise InputError("cannot merge: effects are too large for this many games: their squares pass 2^19")
        for name, tensor in total.items():
            setattr(self, name, tensor)
        self.positions += other.positions
        return self

    def tensors(self) -> dict[str, Tensor]:
        """What a file keeps."""
        return {"positions": torch.tensor(self.positions), **self._sums()}

    @staticmethod
    def of_tensors(tensors: Mapping[str, Tensor]) -> "Ablations":
        """The inverse of `tensors`.

        Raises:
            InputError: not the tensors of ablations.
        """
        names = [field.name for field in fields(Ablations)][1:]
        sound = {"positions", *names} <= set(tensors) and all(
            tensors[name].dtype == torch.int64 and tensors[name].ndim == 3 and len(tensors[name]) == len(FIGURES)
            for name in names
        )
        shapes = [tuple(tensors[name].shape) for name in names] if sound else []
        if not sound or shapes[0] != shapes[1] or shapes[2] != shapes[3] or shapes[0][1] != shapes[2][1]:
            raise InputError(f"these are no sums of ablations: they are positions and int64 {', '.join(names)}")
        return Ablations(int(tensors["positions"]), *(tensors[name].clone() for name in names))

    def mean(self, name: str, kind: str = "neuron") -> Float[Tensor, "layer unit"]:
        """The mean of one of `FIGURES` over positions (of ``top``: the share) for every neuron, or head.

        Raises:
            InputError: no such figure or kind; nothing was measured.
        """
        return self._moments(name, kind)[0].float()

    def se(self, name: str, kind: str = "neuron") -> Float[Tensor, "layer unit"]:
        """The standard error of `mean` over games; NaN for fewer than two.

        Raises:
            InputError: as `mean`.
        """
        mean, square = self._moments(name, kind)
        if self.positions < 2:
            return torch.full_like(mean, torch.nan).float()
        return ((square - mean**2).clamp_min(0) / (self.positions - 1)).sqrt().float()

    def _moments(self, name: str, kind: str) -> tuple[Float[Tensor, "layer unit"], Float[Tensor, "layer unit"]]:
        if name not in FIGURES or kind not in ("neuron", "head"):
            raise InputError(f"{name!r} of a {kind!r}: figures are {', '.join(FIGURES)}, of a neuron or a head")
        if not self.positions:
            raise InputError("nothing was ablated: these games have no position with a legal move in the band")
        sums = (self.neurons, self.neuron_squares) if kind == "neuron" else (self.heads, self.head_squares)
        steps = FIXED_POINT, FIXED_POINT_SQUARES
        mean, square = (x[FIGURES.index(name)].double() / s / self.positions for x, s in zip(sums, steps, strict=True))
        return mean, square

    def _sums(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in fields(self)[1:]}


def drawn_plies(games: Games, valid: Bool[Tensor, "game ply=59"], seed: int = 0) -> Int[Tensor, "game"]:
    """One of each game's plies that are ``valid``, by hash of the game's number and the seed; -1 where none is."""
    mixed = mix64(mix64(games.ids + 1) ^ signed64(seed))
    n = valid.sum(1)
    chosen = (mixed >> 33 & (1 << 31) - 1) % n.clamp_min(1)
    ply = (valid.cumsum(1) <= chosen[:, None]).sum(1)
    return torch.where(n > 0, ply, -1)


@torch.no_grad()
def ablate_units(
    model: OthelloModel,
    games: Games,
    neuron_means: Float[Tensor, "layer neuron ply"],
    z_means: Float[Tensor, "layers plies head d_head"],
    band: slice,
    seed: int = 0,
) -> Ablations:
    """Ablate every neuron and head at one position of each game; a game without a valid one in the band is left out.

    Args:
        neuron_means: mean of ``mlp.hook_post`` by ply: of all 59, or of the band's.
        z_means: mean of ``attn.hook_z`` by ply, likewise.
        band: the plies from which positions are drawn, ``seed`` with the games' numbers which.

    Raises:
        InputError: means of another model or of other plies, or not finite at a ply drawn; activations not finite.
    """
    model = of(model)
    s, plies, found = model.shape, range(N_CTX)[band], Ablations.empty(model.shape)
    if not plies or plies.step != 1:
        raise InputError(f"{band} is no band of plies: give a first and a last within 0..{N_CTX - 1}, step 1")
    widths = {N_CTX: 0, len(plies): plies.start}
    sizes = neuron_means.shape[2], z_means.shape[1]
    if (*neuron_means.shape[:2], z_means.shape[0], *z_means.shape[2:]) != (
        s.n_layers, s.d_mlp, s.n_layers, s.n_heads, s.d_head
    ) or not set(sizes) <= set(widths):  # fmt: skip
        raise InputError(
            f"means are {list(neuron_means.shape)} of neurons and {list(z_means.shape)} of heads: give [layer, neuron, "
            f"ply] and [layer, ply, head, d_head] of model {model.name}, of all 59 plies or of the band's {len(plies)}"
        )
    boards = games.boards()
    valid = torch.zeros_like(boards.valid)
    valid[:, plies.start : plies.stop] = boards.valid[:, plies.start : plies.stop]
    for row, ply in enumerate(drawn_plies(games, valid, seed).tolist()):
        if ply < 0:
            continue
        means = neuron_means[:, :, ply - widths[sizes[0]]], z_means[:, ply - widths[sizes[1]]]
        where = f"game {int(games.ids[row])}, ply {ply}"
        if not all(torch.isfinite(x).all() for x in means):
            raise InputError(
                f"{where}: the means of this ply are not finite: they come from games that have none there"
            )
        legal = legal_tokens(boards.legal[row, ply])[1:]
        last = LastPly.of(model, games.inputs[row : row + 1, : ply + 1], torch.tensor([ply]))
        neurons, heads = _at_one_position(last, *(x.float().to(model.device) for x in means), legal)
        if not (torch.isfinite(neurons).all() and torch.isfinite(heads).all()):
            raise InputError(f"{where}: the model's activations, or the means, are too large for a finite prediction")
        found.merge(
            Ablations(1, *(_fixed(x**power, steps) for x in (neurons, heads)
                           for power, steps in ((1, FIXED_POINT), (2, FIXED_POINT_SQUARES))))
        )  # fmt: skip
    return found


def _at_one_position(
    last: LastPly,
    neuron_means: Float[Tensor, "layer neuron"],
    z_means: Float[Tensor, "layer head d_head"],
    legal: Bool[Tensor, "move=60"],
) -> tuple[Float[Tensor, "figure=4 layer neuron"], Float[Tensor, "figure=4 layer head"]]:
    """`FIGURES` of every unit at the last ply of one transcript, in float64."""
    model, layers = last.model, range(last.model.shape.n_layers)
    kinds = ("attn.hook_z", "hook_resid_mid", "mlp.hook_post", "hook_resid_post")
    logits, acts = last.unedited([f"blocks.{layer}.{kind}" for layer in layers for kind in kinds])
    base = _Base.of(logits[0, 1:], legal.to(logits.device))
    final = acts[f"blocks.{layers[-1]}.hook_resid_post"][0]
    neurons, heads = [], []
    for layer in layers:
        z, mid, post, after = (acts[f"blocks.{layer}.{kind}"][0] for kind in kinds)
        by_head = ((z_means[layer] - z)[:, None] @ model.W_O(layer))[:, 0]
        by_neuron = (neuron_means[layer] - post)[:, None] * model.W_out(layer)
        # A head's layer goes on with its MLP. From the stream after the layer on all units are alike.
        streams = torch.cat([mlp(model, layer, mid + by_head), after + by_neuron])
        total = base.figures(_moves(model, _run_on(last, streams, layer + 1)))
        direct = base.figures(_moves(model, final + torch.cat([by_head, by_neuron])))
        figures = torch.stack([total[0], direct[0], *total[1:]]).cpu()
        heads.append(figures[:, : len(by_head)])
        neurons.append(figures[:, len(by_head) :])
    return torch.stack(neurons, 1), torch.stack(heads, 1)


def _run_on(last: LastPly, streams: Float[Tensor, "unit d_model"], layer: int) -> Float[Tensor, "unit d_model"]:
    """The final stream, for streams entering a block."""
    shape = last.model.shape
    if layer == shape.n_layers:
        return streams
    final, found = f"blocks.{shape.n_layers - 1}.hook_resid_post", []
    for part in streams.split(VARIANTS):
        enter = (f"blocks.{layer}.hook_resid_pre", lambda _x, _point, part=part: part[None])
        found.append(last.run([enter], [final], variants=len(part), start_at=layer)[1][final][0])
    return torch.cat(found)


def _moves(model: PlainModel, final: Float[Tensor, "unit d_model"]) -> Float[Tensor, "unit move=60"]:
    """Logits of the 60 moves."""
    return (normalised(final, model.shape.eps) @ model.W_U + model.b_U)[:, 1:]


@dataclass(frozen=True, eq=False)
class _Base:
    """The unchanged prediction at a position, over the 60 moves, in float64: small effects are differences of it."""

    logp: Float[Tensor, "move=60"]
    legal: Bool[Tensor, "move=60"]

    @staticmethod
    def of(logits: Float[Tensor, "move=60"], legal: Bool[Tensor, "move=60"]) -> "_Base":
        return _Base(logits.double().log_softmax(-1), legal)

    def figures(self, logits: Float[Tensor, "unit move=60"]) -> Float[Tensor, "figure=3 unit"]:
        """KL, whether the likeliest move changes, change of the probability on legal moves."""
        logq = logits.double().log_softmax(-1)
        p = self.logp.exp()
        kl = ((self.logp - logq) @ p).clamp_min(0)
        top = (logq.argmax(-1) != self.logp.argmax()).double()
        return torch.stack([kl, top, (logq.exp() - p) @ self.legal.double()])


def _fixed(values: Tensor, steps: float) -> Int[Tensor, "..."]:
    return (values * steps).round().long()
