"""Ablation: what the model loses without a set of its components, on natural positions of whole games.

A set (heads, neurons, whole attention or MLP layers, of any layers together) gets other activations than its own:
zero, a mean, a conditional mean, or another game's (`circuits.causes.replacements`). The change of every move's logit,
relative to the mean over the 60 moves, is ablated - original:

    total    everything behind the set is recomputed
    direct   only the final stream loses the set's writing d, later components stay as they were. With the final
             LayerNorm *frozen* at its scale s: (d / s) . (W_U - mean over moves); or *recomputed*, on x + d

total - direct is what later components do about it: `circuits.causes.self_repair` says which. ``plies``: the set is
ablated at the ``"own"`` position that is read, or at ``"all"`` plies up to it.

`circuits.causes.random_sets` is the control. Source: McGrath et al. 2023 (arXiv 2307.15771) on direct and total
effects.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuits.behaviour import legal_tokens
from circuits.causes.ablated_runs import ablated
from circuits.causes.baseline import Baseline
from circuits.causes.components import Nodes, groups_of
from circuits.causes.effects import Summary, summarise_sums
from circuits.causes.incremental import normalised
from circuits.causes.nodes import Node
from circuits.causes.replacements import Given, replacement
from circuits.errors import InputError
from circuits.othello_model import OthelloModel

EVERYWHERE = "all positions"
Where = Mapping[str, Bool[Tensor, "game ply"]]


@dataclass(frozen=True, eq=False)
class Effects:
    """Means over the positions of one mask, with intervals and p-values over games.

    Attributes:
        total, direct: change of each move's logit, [move 60] in the order of tokens 1 to 60.
        kl: KL(original || ablated) over the vocabulary, nats [].
        illegal_mass, illegal_top1: change of the probability of illegal moves, and of how often the likeliest token is
            illegal [].
    """

    total: Summary
    direct: Summary
    kl: Summary
    illegal_mass: Summary
    illegal_top1: Summary

    @property
    def positions(self) -> int:
        return self.total.pairs


@dataclass(frozen=True, eq=False)
class Ablation:
    """What ablating a set does; ``at[name]`` at the positions of a mask, ``"all positions"`` among them.

    ``words`` says in full what was done.
    """

    nodes: tuple[Node, ...]
    method: str
    plies: str
    layer_norm: str
    at: dict[str, Effects]
    words: str


def ablate(
    base: Baseline,
    nodes: Nodes,
    *,
    method: str = "mean",
    given: Given = "ply",
    plies: str = "own",
    where: Where | None = None,
    layer_norm: str = "frozen",
    seed: int = 0,
) -> Ablation:
    """Ablate a set of components.

    Args:
        base: the games measured and those of reference, run once for many ablations: ``Baseline(model, games)``.
        nodes: one name or several, such as ``["L5N1393", "L6 MLP"]``.
        method: ``"zero"``, ``"mean"``, ``"conditional mean"`` or ``"resample"``.
        given: of a conditional mean: ``"ply"``; ``"whether C0 empty"`` (the mean over reference positions that agree on
            the fact); ``"not C0 empty"`` or ``"C0 empty"`` (the mean where it fails, or holds, put in at every
            position); or integer classes (of the games [game, 59], of the reference [game, 59]).
        plies: ``"own"`` or ``"all"``.
        where: masks [game, 59] of positions, of which those that are measured at all (``base.where``) are used.
        layer_norm: how the direct effect treats the final LayerNorm.
        seed: of resampling.

    Raises:
        InputError: no such component, method, fact or option; a mask of another shape or without a position; a class
            without a reference position.
    """
    if layer_norm not in ("frozen", "recomputed"):
        raise InputError(f"layer_norm {layer_norm!r}: it is 'frozen' or 'recomputed'")
    checked, groups = groups_of(nodes, base.model)
    values = replacement(base, groups, method, given, before_band=check_mode(plies) == "all", seed=seed)
    tally, read = Tally(base, where), move_reader(base.model)
    for change in ablated(base, groups, values, plies):
        before, after = (logits(base.model, x) for x in (change.before, change.after))
        if layer_norm == "frozen":
            direct = read(change.direct) / scale(base.model, change.before)
        else:
            direct = relative(logits(base.model, change.before + change.direct) - before)
        found = {"total": relative(after - before), "direct": direct}
        found |= _play(before, after, legal_tokens(base.boards.legal[change.rows, base.plies]).to(before.device))
        for name, value in found.items():
            tally.add(name, change.rows, value)
    names = ("total", "direct", "kl", "illegal_mass", "illegal_top1")
    at = {mask: Effects(*(tally.summary(name, mask) for name in names)) for mask in tally.masks}
    words = f"{in_words(base, checked, values.words, plies)}; direct effects with the final LayerNorm {layer_norm}"
    return Ablation(checked, method, plies, layer_norm, at, words)


def _play(before: Tensor, after: Tensor, legal: Bool[Tensor, "game ply token"]) -> dict[str, Float[Tensor, "game ply"]]:
    log_p, log_q = before.log_softmax(-1), after.log_softmax(-1)
    p, q = log_p.exp(), log_q.exp()

    def illegal(log):
        return (~legal.gather(-1, log.argmax(-1, keepdim=True))).float().squeeze(-1)

    return {
        "kl": (p * (log_p - log_q)).sum(-1),
        "illegal_mass": ((p - q) * legal).sum(-1),
        "illegal_top1": illegal(log_q) - illegal(log_p),
    }


def logits(model: OthelloModel, x: Float[Tensor, "*position d_model"]) -> Float[Tensor, "*position token"]:
    """The logits that the final stream gives."""
    return normalised(x, model.shape.eps) @ model.W_U + model.b_U


def relative(logits: Float[Tensor, "*position token"]) -> Float[Tensor, "*position move"]:
    """Logits of the 60 moves relative to their mean."""
    moves = logits[..., 1:]
    return moves - moves.mean(-1, keepdim=True)


def move_reader(model: OthelloModel) -> Callable[[Tensor], Tensor]:
    """[..., d_model] -> [..., move 60], what is written for each move relative to their mean, before LayerNorm."""
    vectors = model.W_U[:, 1:] - model.W_U[:, 1:].mean(-1, keepdim=True)
    return lambda written: (written - written.mean(-1, keepdim=True)) @ vectors


def scale(model: OthelloModel, x: Float[Tensor, "*position d_model"]) -> Float[Tensor, "*position 1"]:
    """What the final LayerNorm divides by."""
    return (x.var(-1, correction=0, keepdim=True) + model.shape.eps).sqrt()


def check_mode(plies: str) -> str:
    if plies not in ("own", "all"):
        raise InputError(f"plies {plies!r}: 'own' (the position that is read) or 'all' (every ply up to it)")
    return plies


def in_words(base: Baseline, nodes: tuple[Node, ...], replaced: str, plies: str) -> str:
    listed = ", ".join(map(str, nodes[:6])) + (f" and {len(nodes) - 6} more" if len(nodes) > 6 else "")
    when = "at the position read only" if plies == "own" else "at every ply up to the position read"
    return (
        f"{listed} {replaced}, {when}; {len(base.games)} games, {int(base.where.sum())} positions at plies "
        f"{base.plies.start} to {base.plies.stop - 1}; logits relative to the mean over the 60 moves"
    )


class Tally:
    """Sums by game of named values over the positions of each mask, from which means and intervals come."""

    def __init__(self, base: Baseline, where: Where | None):
        """Check the masks.

        Raises:
            InputError: a mask of another shape, or without a position that is measured.
        """
        self.masks: dict[str, Tensor] = {}
        for name, mask in ({EVERYWHERE: base.where} | dict(where or {})).items():
            if mask.shape != base.where.shape:
                raise InputError(
                    f"mask {name!r} is {list(mask.shape)}: it must cover every game and ply, {list(base.where.shape)}"
                )
            self.masks[name] = (mask & base.where)[:, base.plies]
            if not self.masks[name].any():
                raise InputError(f"mask {name!r} holds at no position measured: give more games, or leave it out")
        self._stacked = torch.stack(list(self.masks.values()))
        self._sums: dict[str, Tensor] = {}

    def add(self, name: str, rows: slice, values: Float[Tensor, "game ply *rest"]) -> None:
        masks = self._stacked[:, rows].to(values.device, values.dtype)
        sums = torch.einsum("mgp,gpr->mgr", masks, values.flatten(2) if values.ndim > 2 else values[..., None])
        if name not in self._sums:
            self._sums[name] = torch.zeros(*self._stacked.shape[:2], *values.shape[2:], dtype=torch.float64)
        self._sums[name][:, rows] += sums.reshape(*sums.shape[:2], *values.shape[2:]).double().cpu()

    def sums(self, name: str, mask: str) -> Float[Tensor, "game *rest"]:
        return self._sums[name][list(self.masks).index(mask)]

    def summary(self, name: str, mask: str) -> Summary:
        return summarise_sums(self.sums(name, mask).movedim(0, -1), self.masks[mask].sum(1))
