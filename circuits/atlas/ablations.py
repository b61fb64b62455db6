"""Every neuron and head mean-ablated, one at a time, at one position of each game.

A unit's activation at that ply becomes the mean of that ply; nothing before it changes, and nothing else there but what
follows from it. With p the run as it is and q the changed one, both over the 60 moves (padding left out):

    kl          KL(p || q), nats: total effect, every later layer and LayerNorm recomputed
    kl_direct   the same when only the path to the logits is changed: what the unit writes less is taken from the final
                stream, the final LayerNorm recomputed
    top         whether the likeliest move changes
    legal       change of the probability on legal moves, q's less p's; total

What this does to each move's logit is kept by move, where it is legal and where not (`circuits.atlas.move_effects`).

Positions are one a game, so that they are independent and a standard error can be given. Each game is run by itself:
what is found for it depends on it alone.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.atlas.ablation_tally import Ablations
from circuits.behaviour import legal_tokens
from circuits.causes.incremental import mlp, normalised
from circuits.errors import InputError
from circuits.games import Games
from circuits.hashing import mix64, signed64
from circuits.last_ply import LastPly
from circuits.notation import N_CTX, N_MOVES
from circuits.othello_model import OthelloModel
from circuits.plain import PlainModel, of

#: streams that are run side by side at most
VARIANTS = 2048


def drawn_plies(games: Games, valid: Bool[Tensor, "game ply=59"], seed: int = 0) -> Int[Tensor, "game"]:
    """One of each game's plies that are ``valid``, by hash of the game's number and the seed; -1 where none is."""
    mixed = mix64(mix64(games.ids + 1) ^ signed64(seed))
    n = valid.sum(1)
    chosen = (mixed >> 33 & (1 << 31) - 1) % n.clamp_min(1)
    ply = (valid.cumsum(1) <= chosen[:, None]).sum(1)
    return torch.where(n > 0, ply, -1)


def drawn_moves(game: int, empty: Bool[Tensor, "move=60"], n: int, seed: int = 0) -> Bool[Tensor, "move=60"]:
    """So many moves to empty squares, by hash of the game's number, the move and the seed."""
    keys = mix64(mix64(torch.arange(N_MOVES) + (game + 1) * N_MOVES) ^ signed64(~seed))
    order = torch.where(empty, keys >> 1, torch.iinfo(torch.int64).max).argsort()
    return torch.zeros_like(empty).index_fill_(0, order[:n], True)


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
        board = boards[row, ply]
        legal, empty = (legal_tokens(x)[1:] for x in (board.legal, board.empty))
        last = LastPly.of(model, games.inputs[row : row + 1, : ply + 1], torch.tensor([ply]))
        figures, moves = _at_one_position(last, *(x.float().to(model.device) for x in means), legal)
        if not all(torch.isfinite(x).all() for x in figures):
            raise InputError(f"{where}: the model's activations, or the means, are too large for a finite prediction")
        drawn = drawn_moves(int(games.ids[row]), empty, int(legal.sum()), seed)
        found.count(figures, moves, legal, empty & ~legal, drawn, ply)
    return found


def _at_one_position(
    last: LastPly,
    neuron_means: Float[Tensor, "layer neuron"],
    z_means: Float[Tensor, "layer head d_head"],
    legal: Bool[Tensor, "move=60"],
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Of every neuron and head at the last ply of one transcript, in float64: `FIGURES` [figure, layer, unit], and
    what it adds to each move [layer, unit, move]."""
    model, layers = last.model, range(last.model.shape.n_layers)
    kinds = ("attn.hook_z", "hook_resid_mid", "mlp.hook_post", "hook_resid_post")
    logits, acts = last.unedited([f"blocks.{layer}.{kind}" for layer in layers for kind in kinds])
    base = _Base.of(logits[0, 1:], legal.to(logits.device))
    final = acts[f"blocks.{layers[-1]}.hook_resid_post"][0]
    figures, moves = [], []
    for layer in layers:
        z, mid, post, after = (acts[f"blocks.{layer}.{kind}"][0] for kind in kinds)
        by_head = ((z_means[layer] - z)[:, None] @ model.W_O(layer))[:, 0]
        by_neuron = (neuron_means[layer] - post)[:, None] * model.W_out(layer)
        # A head's layer goes on with its MLP. From the stream after the layer on all units are alike.
        streams = torch.cat([mlp(model, layer, mid + by_head), after + by_neuron])
        changed = _moves(model, _run_on(last, streams, layer + 1))
        total = base.figures(changed)
        direct = base.figures(_moves(model, final + torch.cat([by_head, by_neuron])))
        figures.append(torch.stack([total[0], direct[0], *total[1:]]).cpu())
        moves.append(base.added(changed).cpu())
    heads = len(by_head)
    of_layers, of_moves = torch.stack(figures, 1), torch.stack(moves)
    return (of_layers[:, :, heads:], of_layers[:, :, :heads]), (of_moves[:, heads:], of_moves[:, :heads])


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

    logits: Float[Tensor, "move=60"]
    logp: Float[Tensor, "move=60"]
    legal: Bool[Tensor, "move=60"]

    @staticmethod
    def of(logits: Float[Tensor, "move=60"], legal: Bool[Tensor, "move=60"]) -> "_Base":
        logits = logits.double()
        return _Base(logits - logits.mean(-1, keepdim=True), logits.log_softmax(-1), legal)

    def added(self, logits: Float[Tensor, "unit move=60"]) -> Float[Tensor, "unit move=60"]:
        """Logits relative to the mean of the moves: as they are, less the changed ones."""
        logits = logits.double()
        return self.logits - (logits - logits.mean(-1, keepdim=True))

    def figures(self, logits: Float[Tensor, "unit move=60"]) -> Float[Tensor, "figure=3 unit"]:
        """KL, whether the likeliest move changes, change of the probability on legal moves."""
        logq = logits.double().log_softmax(-1)
        p = self.logp.exp()
        kl = ((self.logp - logq) @ p).clamp_min(0)
        top = (logq.argmax(-1) != self.logp.argmax()).double()
        return torch.stack([kl, top, (logq.exp() - p) @ self.legal.double()])
