"""What some units add to each move's logit, computed again for built pages by whole passes with a hook.

The atlas ablates thousands of units side by side at the last ply of one transcript; here whole games run with one unit
set to its mean at the ply that was drawn in each.
"""

from collections.abc import Callable, Mapping, Sequence

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
    """By unit and column (``adds_legal``, its ``_se``, …) the values of squares; of the first neurons and a head."""
    neurons, heads = ([unit for unit in units if unit.kind == kind] for kind in ("neuron", "head"))
    chosen = [*neurons[: MOST - 1], *heads[:1]]
    s = worker.plan.settings
    if not s.ablated or not chosen:
        return {}
    games = worker.games.sample(s.ablated, s.seed, "ablated")
    seen: dict[Unit, list[Tensor]] = {unit: [] for unit in chosen}
    where: list[Tensor] = []
    for first in range(0, len(games), BATCH):
        part = games[slice(first, first + BATCH)]
        masks, found = _effects(worker, part, chosen)
        where.append(masks)
        for unit, values in found.items():
            seen[unit].append(values)
    masks = torch.cat(where, 1)
    return {unit: _columns(torch.cat(values), masks) for unit, values in seen.items()}


def _effects(worker: Worker, games: Games, units: Sequence[Unit]) -> tuple[Tensor, Mapping[Unit, Tensor]]:
    """Masks [where, game, square] of the drawn positions, and what each unit adds [game, move]."""
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
    return masks, {unit: base - logits([without(unit)]) for unit in units}


def _columns(effects: Tensor, masks: Tensor) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {f"adds_{w}{end}": {} for w in REAL for end in ("", "_se")}
    for w, mask in zip(REAL, masks, strict=True):
        for move, square in enumerate(PLAYABLE):
            own = effects[mask[:, square], move]
            if len(own):
                found[f"adds_{w}"][square] = float(own.mean())
            if len(own) > 1:
                found[f"adds_{w}_se"][square] = float(own.std() / len(own) ** 0.5)
    return found
