"""What rules and trees say of every neuron of a layer at positions of held-out games: what `replaced` puts in place.

rules   the rule's two training means, where it holds and where it fails; without a rule the training mean
trees   the training mean of the leaf
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuits.census.replaced import Predictions
from circuits.errors import InputError
from circuits.games import Games
from circuits.induction.facts import Facts
from circuits.induction.records import TREE_EXPLAINED, NeuronRule
from circuits.induction.sample import LayerActs
from circuits.induction.trees import Trees
from circuits.rules.text import parse_rule

#: held-out games that are run with neurons replaced
GAMES = 200


def some_games(facts: Facts, n: int = GAMES) -> Games:
    """The first held-out games, on which neurons are replaced."""
    return facts.sample.held_out.games[:n]


def predictions(
    rows: Sequence[NeuronRule], trees: Trees | None, acts: LayerActs, facts: Facts, n: int = GAMES
) -> Predictions:
    """What is predicted of a layer at the positions of the first ``n`` held-out games.

    Args:
        rows: the layer's neurons in order; trees: theirs, or None where only rules are asked for.

    Raises:
        InputError: rows of other neurons than those of the layer.
    """
    if [row.unit for row in rows] != list(acts.names):
        raise InputError(f"{len(rows)} rows from {rows[0].unit if rows else 'none'} on: L{acts.layer}'s are needed")
    side = facts.sample.held_out
    here = side.packed.row < n
    values: dict[str, Tensor] = {"rules": _by_rules(rows, acts, facts, here)}
    explained = {"rules": torch.tensor([row.explained for row in rows])}
    if trees is not None:
        values["trees"] = trees.predict(facts.matrix(side)[here]).float()
        explained["trees"] = torch.tensor([row.tree > TREE_EXPLAINED for row in rows])
    return Predictions(acts.layer, values, explained, acts.train.mean(1), by_ply(acts, facts))


def _by_rules(
    rows: Sequence[NeuronRule], acts: LayerActs, facts: Facts, here: Bool[Tensor, "n"]
) -> Float[Tensor, "neuron position"]:
    packed = facts.sample.held_out.packed
    found = acts.train.mean(1)[:, None].expand(-1, int(here.sum())).clone()
    for i, row in enumerate(rows):
        if row.rule is not None:
            holds = packed.holds(parse_rule(row.rule.rule))[here]
            found[i] = torch.where(holds, row.rule.mean_on, row.rule.mean_off)
    return found


def by_ply(acts: LayerActs, facts: Facts) -> Float[Tensor, "neuron ply"]:
    """Training means at each ply of the band; at a ply without positions, of all."""
    band, ply = facts.sample.band, facts.sample.train.ply
    n = band.stop - band.start
    sums = torch.zeros(len(acts.train), n, dtype=torch.float64).index_add_(1, ply - band.start, acts.train.double())
    count = torch.bincount(ply - band.start, minlength=n)
    mean = acts.train.double().mean(1, keepdim=True)
    return torch.where(count > 0, sums / count.clamp_min(1), mean).float()
