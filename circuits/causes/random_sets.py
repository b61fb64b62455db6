"""Ablation's control: random sets of as many components of the same kinds and layers.

Almost anything that is ablated changes something; what counts is whether a set does more than others of its size
(Shi et al. 2024, arXiv 2407.08734).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import comb, prod

import torch
from torch import Tensor

from circuits.causes.ablation import EVERYWHERE, Ablation, Effects, ablate
from circuits.causes.baseline import Baseline
from circuits.causes.components import Nodes, groups_of
from circuits.causes.nodes import Node
from circuits.errors import InputError
from circuits.othello_model import OthelloModel


def random_sets(model: OthelloModel, nodes: Nodes, n: int = 20, seed: int = 0) -> tuple[tuple[Node, ...], ...]:
    """Different random sets with as many nodes of each kind and layer, none of them in the set.

    Whole layers' parts are drawn among the other layers. There are fewer than ``n`` where no more exist.

    Raises:
        InputError: as `ablate`; a layer has too few other units for one such set.
    """
    _, groups = groups_of(nodes, model)
    shape, generator = model.shape, torch.Generator().manual_seed(seed)
    pools: list[tuple[str, list[Node], int]] = []
    for kind in ("attn", "mlp"):
        if size := sum(group.kind == kind for group in groups):
            taken = {group.part for group in groups}
            others = [Node(kind, layer) for layer in range(shape.n_layers) if (layer, kind) not in taken]
            pools.append((f"whole {kind} layers", others, size))
    for group in groups:
        if group.index is not None:
            own, count = set(group.index.tolist()), shape.d_mlp if group.kind == "neuron" else shape.n_heads
            others = [Node(group.kind, group.layer, i) for i in range(count) if i not in own]
            pools.append((f"{group.kind}s of L{group.layer}", others, len(own)))
    for name, others, size in pools:
        if len(others) < size:
            raise InputError(
                f"no random set to compare with: {size} {name} are in the set, and only {len(others)} others exist"
            )
    wanted = min(n, prod(comb(len(others), size) for _, others, size in pools))
    found: dict[tuple[Node, ...], None] = {}
    while len(found) < wanted:
        drawn: list[Node] = []
        for _, others, size in pools:
            chosen = torch.randperm(len(others), generator=generator)[:size].sort().values
            drawn += [others[i] for i in chosen.tolist()]
        found[tuple(drawn)] = None
    return tuple(found)


@dataclass(frozen=True)
class Standing:
    """A set's figure among those of random sets.

    Attributes:
        value, others: the set's, and each random set's.
        p: (1 + random sets at least as far from zero) / (1 + random sets).
    """

    value: float
    others: tuple[float, ...]

    @property
    def p(self) -> float:
        return (1 + sum(abs(other) >= abs(self.value) for other in self.others)) / (1 + len(self.others))

    @property
    def percentile(self) -> float:
        """The share of random sets whose figure is nearer to zero."""
        return sum(abs(other) < abs(self.value) for other in self.others) / len(self.others)


@dataclass(frozen=True, eq=False)
class Comparison:
    """A set's ablation beside those of random sets, all done in the same way."""

    ablation: Ablation
    others: tuple[Ablation, ...]

    def standing(self, figure: Callable[[Effects], Tensor | float], at: str = EVERYWHERE) -> Standing:
        """Any figure of the effects, e.g. ``lambda e: e.kl.mean``."""
        return Standing(float(figure(self.ablation.at[at])), tuple(float(figure(o.at[at])) for o in self.others))


def compare_with_random(base: Baseline, nodes: Nodes, n: int = 20, *, seed: int = 0, **options) -> Comparison:
    """Ablate a set and ``n`` random sets of its kinds, layers and size (`random_sets`); options as for `ablate`."""
    others = random_sets(base.model, nodes, n, seed)
    return Comparison(
        ablate(base, nodes, seed=seed, **options), tuple(ablate(base, o, seed=seed, **options) for o in others)
    )
