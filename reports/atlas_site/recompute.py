"""Cells of built pages computed again from the model, the probe and the games that lie in the atlas's own folder.

By a route of its own, for the units whose pages are read back:

    weights       reads, writes: cosines in double precision of a neuron's weights with differences of the probe's class
                  weights; logit: its output weight on each move, times sd, over the final LayerNorm's mean scale
    activations   a neuron's two highest and two lowest positions, their moves run through the model anew
    means         a neuron's mean in each state of each square, over some of the atlas's games. Those of the page are
                  over all, so they may differ by `ERRORS` standard errors: the larger of the one over these games and
                  sd / (p sqrt(n)), p the state's share of the n positions, which allows for rare bursts of activity
    adds          what a few of them add to each move's logit (`reports.atlas_site.recompute_adds`)
    separations   what a head writes along mine - theirs and empty - occupied, on the very games that the atlas took
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from circuits.activations import stream
from circuits.atlas.opened import Atlas
from circuits.atlas.work import PLAN, Worker
from circuits.errors import InputError
from circuits.features import board_state
from circuits.games import Games
from circuits.notation import LABELS, PLAYABLE, Unit, parse_transcript, parse_unit, token
from reports.atlas_site.page_read import PageRead, number_of, read_page
from reports.atlas_site.recompute_adds import adds_again
from reports.checks import PageError

#: games that means by state are taken over again
GAMES = 256
#: standard errors by which such a mean may differ
ERRORS = 6.0
#: positions that a state of a square needs to be compared
LEAST = 100
#: of a number written with three digits
ROUNDING = 0.0051
#: logits: what single precision leaves between two orders of the same sums
ADDS_SLACK = 1e-4
STATES = ("empty", "theirs", "mine")


@dataclass(frozen=True)
class Again:
    """How much was computed again: cells, on how many games; of how many units."""

    cells: int
    games: int
    units: int


def inputs_of(atlas: Atlas) -> Worker | None:
    """The model, probe and games of an atlas; None where only its tables are there.

    Raises:
        InputError: they are damaged, or of another model or other games than the tables.
    """
    worker = Worker(atlas.store)
    if not atlas.store.has(PLAN):
        return None
    plan = worker.plan
    own, theirs = (plan.model, plan.source.fingerprint), (atlas.model_hash, atlas.provenance.get("fingerprint"))
    if own != theirs:
        raise InputError(
            f"{atlas.store.url}: its tables are of model {theirs[0]} and games {theirs[1]}, its inputs of {own[0]} and "
            f"{own[1]}: run othello-circuits atlas again, it repairs it"
        )
    return worker


def check_again(atlas: Atlas, worker: Worker, folder: Path, names: Sequence[str], games: int = GAMES) -> Again:
    """Compute cells of some units' pages again.

    Raises:
        PageError: with the page, the cell, what it shows and what it should.
    """
    units = [parse_unit(name) for name in names]
    read = {unit: read_page(folder / "units" / f"{unit}.html") for unit in units}
    neurons = [unit for unit in units if unit.kind == "neuron"]
    heads = [unit for unit in units if unit.kind == "head"]
    given, cells = worker.games.part(0, games), 0
    with torch.no_grad():
        if neurons:
            sd = dict(
                zip(atlas.table("units")["unit"].to_pylist(), atlas.table("units")["sd"].to_pylist(), strict=True)
            )
            cells += _weights(worker, read, neurons)
            cells += _activations(worker, read, neurons)
            cells += _means(worker, given, read, neurons, sd)
        if heads:
            cells += _separations(worker, read, heads)
        for unit, columns in adds_again(worker, units).items():
            for key, values in columns.items():
                cells += _compare(unit, read[unit], key, values, dict.fromkeys(values, ADDS_SLACK))
    return Again(cells, len(given), len(units))


def _compare(unit: Unit, read: PageRead, key: str, values: Mapping[int, float], slack: Mapping[int, float]) -> int:
    """Compare some squares of a column of the page's numbers; how many."""
    shown = read.columns.get(key)
    if shown is None:
        return 0
    for s, value in values.items():
        text = shown[s]
        found = number_of(text)
        if found is None or not abs(found - value) <= ROUNDING * abs(found) + slack[s]:
            raise PageError(
                f"{unit}.html: {key} at {LABELS[s]} shows {text}, the model and the games give {value:.3g} "
                f"± {slack[s]:.2g}"
            )
    return len(values)


# ---- the weights -------------------------------------------------------------------------------------------


def _weights(worker: Worker, read: Mapping[Unit, PageRead], units: Sequence[Unit]) -> int:
    model, cells = worker.model, 0
    for unit in units:
        point = f"blocks.{unit.layer}.hook_resid_"
        for word, weight, hook in (
            ("reads", model.W_in(unit.layer)[:, unit.index], f"{point}mid"),
            ("writes", model.W_out(unit.layer)[unit.index], f"{point}post"),
        ):  # fmt: skip
            if hook not in worker.readers:
                continue
            empty, theirs, mine = worker.readers[hook].weight.double().unbind(-1)
            for name, direction, squares in (
                ("mine", mine - theirs, range(64)), ("empty", empty - (mine + theirs) / 2, PLAYABLE),
            ):  # fmt: skip
                along = weight.double() @ direction / (weight.double().norm() * direction.norm(dim=0))
                values = {s: float(along[s]) for s in squares if float(direction[:, s].norm()) > 0}
                cells += _compare(unit, read[unit], f"{word}_{name}", values, dict.fromkeys(values, 1e-4))
    return cells


def _logits(worker: Worker, read: Mapping[Unit, PageRead], units: Sequence[Unit], sd: Mapping, scale: float) -> int:
    """``scale``: the final LayerNorm's mean scale over some games, which the page's may differ from by a fiftieth."""
    W, cells = worker.model.W_U[:, 1:].double(), 0
    for unit in units:
        own = (worker.model.W_out(unit.layer)[unit.index].double() @ (W - W.mean(-1, keepdim=True))) * sd[str(unit)]
        values = dict(zip(PLAYABLE, (own / scale).tolist(), strict=True))
        cells += _compare(unit, read[unit], "logit", values, {s: abs(v) / 50 + 1e-4 for s, v in values.items()})
    return cells


# ---- the games ---------------------------------------------------------------------------------------------


def _activations(worker: Worker, read: Mapping[Unit, PageRead], units: Sequence[Unit]) -> int:
    cells = 0
    for unit in units:
        rows = [row for row in read[unit].rows if len(row) == 4 and row[1] in ("top", "bottom")]
        for end in ("top", "bottom"):
            for address, _, text, moves in [row for row in rows if row[1] == end][:2]:
                tokens = torch.tensor([[token(s) for s in parse_transcript(moves)]])
                hook = f"blocks.{unit.layer}.mlp.hook_post"
                _, saved = worker.model.run(tokens, save=[hook], stop_at=unit.layer + 1)
                value, shown = float(saved[hook][0, -1, unit.index]), number_of(text)
                if shown is None or not abs(shown - value) <= ROUNDING * abs(value) + 1e-3:
                    raise PageError(f"{unit}.html: at {address} it shows {text}, the model gives {value:.4g}")
                cells += 1
    return cells


def _means(
    worker: Worker, games: Games, read: Mapping[Unit, PageRead], units: Sequence[Unit], sd: Mapping[str, float]
) -> int:
    layers = sorted({unit.layer for unit in units})
    hooks = {layer: f"blocks.{layer}.mlp.hook_post" for layer in layers}
    n, sums, counts, scales = len(games), [], [], []
    for batch in stream(worker.model, games, [*hooks.values(), "ln_final.hook_scale"]):
        boards = batch.games.boards()
        where = _band(worker, boards.valid)
        states = torch.stack([(board_state(boards) == i) & where[..., None] for i in range(3)], 2).double()
        acts = torch.stack([batch.acts[hooks[unit.layer]][..., unit.index] for unit in units], -1).double()
        sums.append(torch.einsum("gpu,gpzs->guzs", acts.nan_to_num(), states))
        counts.append(states.sum(1))
        scales.append(batch.acts["ln_final.hook_scale"][..., 0][where])
    by_game, held = torch.cat(sums), torch.cat(counts)
    total = held.sum(0)
    mean = by_game.sum(0) / total
    error = (by_game - mean * held[:, None]).square().sum(0).sqrt() / total
    positions, cells = float(total[:, 0].sum()), 0
    whole = n == worker.plan.source.games
    for i, unit in enumerate(units):
        own = sd[str(unit)]
        for z, state in enumerate(STATES):
            values, slack = {}, {}
            for s in (total[z] >= (1 if whole else LEAST)).nonzero()[:, 0].tolist():
                burst = own * positions**0.5 / float(total[z, s])
                values[s] = float(mean[i, z, s])
                slack[s] = 1e-3 * (own + abs(values[s])) if whole else ERRORS * max(float(error[i, z, s]), burst)
            cells += _compare(unit, read[unit], f"mean_{state}", values, slack)
    return cells + _logits(worker, read, [u for u in units if sd[str(u)]], sd, float(torch.cat(scales).double().mean()))


def _separations(worker: Worker, read: Mapping[Unit, PageRead], units: Sequence[Unit]) -> int:
    if not worker.readers:
        return 0
    train, held_out = worker.sample.split(0.5, worker.plan.settings.seed)
    hooks = {unit.layer: f"blocks.{unit.layer}.attn.hook_z" for unit in units}
    ahead = {"stop_at": max(hooks) + 1}
    usual, plies = dict.fromkeys(units, 0.0), 0.0
    for batch in stream(worker.model, train, list(hooks.values()), **ahead):
        where = _band(worker, batch.games.boards().valid)
        plies = plies + where.sum(0)
        for unit in units:
            z = batch.acts[hooks[unit.layer]][:, :, unit.index]
            usual[unit] = usual[unit] + torch.where(where[..., None], z, 0.0).sum(0).double()
    sums = {unit: torch.zeros(4, 64, dtype=torch.float64) for unit in units}
    total = torch.zeros(4, 64, dtype=torch.float64)
    for batch in stream(worker.model, held_out, list(hooks.values()), **ahead):
        boards = batch.games.boards()
        where, state = _band(worker, boards.valid), board_state(boards)
        groups = torch.stack([state == 2, state == 1, state == 0, state > 0]) & where[..., None]
        total += groups.sum((1, 2))
        for unit in units:
            off = batch.acts[hooks[unit.layer]][:, :, unit.index] - usual[unit] / plies.clamp_min(1)[:, None]
            written = off.double() @ worker.model.W_O(unit.layer)[unit.index].double()
            for k, direction in enumerate(_along(worker, unit.layer)):
                along = torch.where(where[..., None], written @ direction, 0.0)
                for g in (2 * k, 2 * k + 1):
                    sums[unit][g] += (along * groups[g]).sum((0, 1))
    cells = 0
    for unit in units:
        mean = sums[unit] / total
        for k, (name, squares) in enumerate((("mine", range(64)), ("empty", PLAYABLE))):
            gap = mean[2 * k] - mean[2 * k + 1]
            values = {s: float(gap[s]) for s in squares if np.isfinite(float(gap[s]))}
            slack = dict.fromkeys(values, 1e-3 * float(gap[list(values)].abs().max()))
            cells += _compare(unit, read[unit], f"separation_{name}", values, slack)
    return cells


def _along(worker: Worker, layer: int) -> tuple[Tensor, Tensor]:
    """Unit directions [d_model, square] of mine - theirs and of empty - occupied where a head of the layer writes."""
    empty, theirs, mine = worker.readers[f"blocks.{layer}.hook_resid_mid"].weight.double().unbind(-1)
    found = (mine - theirs, empty - (mine + theirs) / 2)
    return tuple(d / d.norm(dim=0).clamp_min(1e-12) for d in found)


def _band(worker: Worker, valid: Tensor) -> Tensor:
    """Positions of the atlas's plies."""
    plies = torch.arange(valid.shape[1])
    s = worker.plan.settings
    return valid & (plies >= s.first_ply) & (plies <= s.last_ply)
