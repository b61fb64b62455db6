"""What some units add to each move's logit, computed again for built pages by whole passes with a hook.

A check of the arithmetic by another route: the positions, the means and the measure are the atlas's own. The atlas
ablates thousands of units side by side at the last ply of one transcript; here whole games run with one unit set to its
mean at the ply that was drawn in each.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from circuits.atlas.ablations import drawn_plies
from circuits.atlas.move_effects import REAL
from circuits.atlas.work import Worker
from circuits.bitboards import bits_to_bool
from circuits.games import Games
from circuits.notation import PLAYABLE, Unit
from circuits.plain import Point

#: units that this is done for: each costs a pass over all games with an ablation
MOST = 3
#: games that run together
BATCH = 128


def adds_again(worker: Worker, units: Sequence[Unit]) -> dict[Unit, dict[str, dict[int, float]]]:
    """By unit and column (``adds_legal``, ``gap``, …) the values of squares; of the first neurons and a head."""
    neurons, heads = ([unit for unit in units if unit.kind == kind] for kind in ("neuron", "head"))
    chosen = [*neurons[: MOST - 1], *heads[:1]]
    s = worker.plan.settings
    if not s.ablated or not chosen:
        return {}
    games = worker.games.sample(s.ablated, s.seed, "ablated")
    seen: dict[Unit, list[Tensor]] = {unit: [] for unit in chosen}
    where: list[Tensor] = []
    when: list[Tensor] = []
    for first in range(0, len(games), BATCH):
        part = games[slice(first, first + BATCH)]
        masks, plies, found = _effects(worker, part, chosen)
        where.append(masks)
        when.append(plies)
        for unit, values in found.items():
            seen[unit].append(values)
    masks, plies = torch.cat(where, 1), torch.cat(when)
    return {unit: _columns(torch.cat(values), masks, plies) for unit, values in seen.items()}


def _effects(worker: Worker, games: Games, units: Sequence[Unit]) -> tuple[Tensor, Tensor, Mapping[Unit, Tensor]]:
    """Masks [where, game, square] of the drawn positions, their plies, and what each unit adds [game, move]."""
    boards, band = games.boards(), worker.plan.settings.band
    valid = torch.zeros_like(boards.valid)
    valid[:, band] = boards.valid[:, band]
    plies = drawn_plies(games, valid, worker.plan.settings.seed)
    drawn = plies >= 0
    row, at = torch.arange(len(games)), plies.clamp_min(0)
    legal, held = (bits_to_bool(x[row, at]) for x in (boards.legal, boards.occupied))
    masks = torch.stack([legal, ~legal & ~held]) & drawn[:, None]
    means = worker.means

    def logits(edit: Sequence[tuple[str, Callable]]) -> Tensor:
        found = worker.model.run(games.inputs, edit=edit)[0][row, at, 1:].double()
        return found - found.mean(-1, keepdim=True)

    def without(unit: Unit) -> tuple[str, Callable]:
        neuron = unit.kind == "neuron"
        new = means[0][unit.layer, unit.index, at] if neuron else means[1][unit.layer, at, unit.index]

        def ablate(acts: Tensor, _point: Point) -> None:
            acts[row[drawn], at[drawn], unit.index] = new[drawn].to(acts)

        return f"blocks.{unit.layer}.{'mlp.hook_post' if neuron else 'attn.hook_z'}", ablate

    base = logits([])
    return masks, at, {unit: base - logits([without(unit)]) for unit in units}


def _columns(effects: Tensor, masks: Tensor, plies: Tensor) -> dict[str, dict[int, float]]:
    """Means, and the gap at the same ply by least squares on a constant, the case and the ply."""
    found: dict[str, dict[int, float]] = {name: {} for name in ("adds_legal", "adds_illegal", "gap", "gap_se")}
    for move, square in enumerate(PLAYABLE):
        y = [effects[mask[:, square], move].numpy() for mask in masks]
        t = [plies[mask[:, square]].double().numpy() for mask in masks]
        for name, own in zip(REAL, y, strict=True):
            if len(own):
                found[f"adds_{name}"][square] = float(own.mean())
        if min(map(len, y)) < 2:
            continue
        case = np.concatenate([np.ones(len(y[0])), np.zeros(len(y[1]))])
        known = np.stack([np.ones_like(case), case, np.concatenate(t)], 1)
        _, gap, slope = np.linalg.lstsq(known, np.concatenate(y), rcond=None)[0]
        rest = [own - own.mean() - slope * (at - at.mean()) for own, at in zip(y, t, strict=True)]
        variance = [(r**2).sum() / (len(r) - 1) for r in rest]
        about = [((at - at.mean()) ** 2).sum() for at in t]
        line = sum(v * a for v, a in zip(variance, about, strict=True)) / max(sum(about) ** 2, 1e-30)
        own = sum(v / len(r) for v, r in zip(variance, rest, strict=True))
        found["gap"][square] = float(gap)
        found["gap_se"][square] = float((own + (t[0].mean() - t[1].mean()) ** 2 * line) ** 0.5)
    return found
