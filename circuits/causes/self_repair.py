"""Self-repair: what later components do about an ablated set, one by one.

With the final LayerNorm frozen at its scale s in the unablated run, u_m the move's unembedding less the mean over
moves, d the change of what the set writes and c_i that of each later component i:

    direct_m     (d / s) . u_m
    later_im     (c_i / s) . u_m
    LayerNorm_m  (x' . u_m) (1/s' - 1/s)      the ablated stream x' is divided by its own scale s'
    total_m      direct_m + sum over i of later_im + LayerNorm_m, exactly

A component *compensates* where it puts back what the set no longer writes (McGrath et al. 2023, arXiv 2307.15771;
Rushing and Nanda 2024, arXiv 2402.15390):

    compensation of a move    - mean later_im / mean direct_m: a ratio of means over positions
    compensation overall      - sum later_im direct_m / sum direct_m^2 over positions and all 60 moves: the slope of
                              what comes later against what was lost, which needs no move to be chosen

1 puts all of it back, 0 leaves it lost, below 0 loses more. The rows of all components and of the LayerNorm add up to
the last row, together: 1 - total / direct. A set replaced by its mean has a mean direct effect of about zero over all
positions, so its compensation of a move wants a mask (where the set is active); the overall one does not.
"""

from dataclasses import dataclass

import torch

from circuits.causes.ablated_runs import ablated
from circuits.causes.ablation import Tally, Where, check_mode, in_words, logits, move_reader, relative, scale
from circuits.causes.baseline import Baseline
from circuits.causes.components import Nodes, groups_of
from circuits.causes.effects import Ratio, Summary, ratio_of_sums
from circuits.causes.nodes import Node
from circuits.causes.replacements import Given, replacement
from circuits.errors import InputError

LAYER_NORM, TOGETHER = "final LayerNorm", "together"


@dataclass(frozen=True, eq=False)
class Repair:
    """Who compensates at the positions of one mask; rows as in `SelfRepair.names`, moves by token 1 to 60.

    Attributes:
        total, direct: change of each move's logit [move].
        later: change of each later component's direct contribution [component, move].
        compensation: of each move [component, move]; NaN where the direct effect could be zero.
        overall: over all moves [component].
    """

    total: Summary
    direct: Summary
    later: Summary
    compensation: Ratio
    overall: Ratio


@dataclass(frozen=True, eq=False)
class SelfRepair:
    """What later components do about an ablated set.

    Attributes:
        names: later components in the order in which they run, the final LayerNorm, and all together.
        at: the figures at the positions of each mask, ``"all positions"`` among them.
    """

    nodes: tuple[Node, ...]
    names: tuple[str, ...]
    at: dict[str, Repair]
    words: str


def self_repair(
    base: Baseline,
    nodes: Nodes,
    *,
    by: str = "part",
    method: str = "mean",
    given: Given = "ply",
    plies: str = "own",
    where: Where | None = None,
    seed: int = 0,
) -> SelfRepair:
    """Ablate a set and take apart the answer of what comes after it.

    Args:
        by: ``"part"``, whole attention and MLP layers, or ``"head"``, attention by head. What the set itself holds of a
            layer is left out of that layer's row.
        method, given, plies, where, seed: as for `ablation.ablate`.

    Raises:
        InputError: as `ablation.ablate`.
    """
    if by not in ("part", "head"):
        raise InputError(f"by {by!r}: 'part' (whole attention and MLP layers) or 'head'")
    model = base.model
    checked, groups = groups_of(nodes, model)
    values = replacement(base, groups, method, given, before_band=check_mode(plies) == "all", seed=seed)
    tally, read, names = Tally(base, where), move_reader(model), ()
    for change in ablated(base, groups, values, plies, by):
        s, s_after = scale(model, change.before), scale(model, change.after)
        direct = read(change.direct) / s
        total = relative(logits(model, change.after) - logits(model, change.before))
        later = {name: read(written) / s for name, written in change.later.items()}
        later[LAYER_NORM] = read(change.after) * (1 / s_after - 1 / s)
        later[TOGETHER] = total - direct
        names = tuple(later)
        answer = torch.stack(list(later.values()), 2)
        tally.add("total", change.rows, total)
        tally.add("direct", change.rows, direct)
        tally.add("later", change.rows, answer)
        tally.add("squared", change.rows, direct.square().sum(-1))
        tally.add("answered", change.rows, (answer * direct[:, :, None]).sum(-1))
    at = {}
    for mask in tally.masks:
        later, direct, answered, squared = (
            tally.sums(name, mask).movedim(0, -1) for name in ("later", "direct", "answered", "squared")
        )
        summaries = (tally.summary(name, mask) for name in ("total", "direct", "later"))
        at[mask] = Repair(*summaries, ratio_of_sums(-later, direct), ratio_of_sums(-answered, squared))
    words = (
        f"{in_words(base, checked, values.words, plies)}; contributions with the final LayerNorm frozen, and what its "
        "scale does in a row of its own"
    )
    return SelfRepair(checked, names, at, words)
