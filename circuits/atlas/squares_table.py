"""Every unit against every square: what it is like in each of the square's states, what it reads and writes there.

state_r2   sum_s n_s (m_s - m)^2 / (n variance), s the square's three states: the share of the activation's
           variance that lies between their means
reads      cosine of the input weight with the probe's direction at the resid_mid that the neuron reads
writes     cosine of the output weight with the direction at the resid_post that it writes to
logit      sd (W_out . (W_U[move] - mean over the 60 moves)) / mean scale of the final LayerNorm
adds       what the unit adds to the move's logit, by ablation: `circuits.atlas.move_effects`
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float

from circuits.atlas.move_effects import ALPHA, CONTROL, FLOOR, LEAST, REAL
from circuits.atlas.results import Results
from circuits.atlas.table_columns import Column, Words, empty, table
from circuits.extremes import unpack
from circuits.head_sources import FACTS
from circuits.head_writing import vectors
from circuits.mining import FIXED_POINT, Mining
from circuits.notation import LABELS, N_SQUARES, PLAYABLE, Unit
from circuits.weights import unembedding

STATES = ("empty", "theirs", "mine")
MINE, EMPTY = FACTS.index("mine"), FACTS.index("empty")

COLUMNS = (
    Column("unit", "text", "the neuron or head, such as L5N1393 or L2H5"),
    Column("layer", "whole", "its layer"),
    Column("square", "text", "the square, row letter and column digit"),
    Column("positions_empty", "count", "positions at which the square is empty; the same for all units"),
    Column("positions_theirs", "count", "positions at which it holds a disc of the side not to move"),
    Column("positions_mine", "count", "positions at which it holds a disc of the side to move"),
    Column("mean_empty", "number", "neurons: mean activation where the square is empty; null where it never is"),
    Column("mean_theirs", "number", "neurons: mean activation where it is theirs"),
    Column("mean_mine", "number", "neurons: mean activation where it is mine"),
    Column(
        "state_r2", "number",
        "neurons: share of the activation's variance between the means of the square's three states, 0 to 1; not held "
        "out; a neuron of the ply alone has some of it at every square",
    ),
    Column("reads_mine", "number", "neurons: cosine of the input weight with the direction mine - theirs it reads"),
    Column("reads_empty", "number", "neurons: cosine of the input weight with the direction empty - occupied"),
    Column("writes_mine", "number", "neurons: cosine of the output weight with mine - theirs where it writes"),
    Column("writes_empty", "number", "neurons: cosine of the output weight with empty - occupied"),
    Column(
        "logit", "number",
        "neurons: direct effect of one sd of activation on the move's logit, over the final LayerNorm's mean scale, "
        "relative to the mean over the 60 moves",
    ),
    Column(
        "separation_mine", "number",
        "heads: what the head writes along mine - theirs where the square is mine less where it is theirs, stream "
        "units, means of the ply taken out, held-out games",
    ),
    Column("separation_empty", "number", "heads: the same along empty - occupied, empty less occupied"),
    Column(
        "logit_legal", "number",
        "heads: mean direct contribution to the move's logit where it is legal, held-out games: of what the head "
        "writes less its mean at the ply (of training games), relative to the mean of all 60; see logit_illegal",
    ),
    Column("logit_illegal", "number", "heads: the same where the square is empty and the move illegal: the baseline"),
    Column("ablated_legal", "count", "positions at which units were ablated, one a game, and the move was legal; the "
           "same for all units"),
    Column("ablated_illegal", "count", "positions at which its square was empty and it was illegal"),
    Column(
        "adds_legal", "number",
        "what the unit adds to the move's logit where it is legal: the logit relative to the mean of the 60 moves, "
        "with the unit as it is less with it at its ply's mean, everything after it recomputed; mean over positions",
    ),
    Column("adds_legal_se", "number", "its standard error over games"),
    Column("adds_illegal", "number", "the same where the square is empty and the move illegal: the baseline"),
    Column("adds_illegal_se", "number", "its standard error over games"),
    Column("gap", "number", "adds_legal less adds_illegal at the same ply (one slope on the ply for both), logits"),
    Column("gap_se", "number", "its standard error over games"),
    Column("gap_p", "number", "how often a gap as large comes of chance, two-sided (Student's t, Welch-Satterthwaite); "
           f"null where the move was legal, or illegal, at fewer than {LEAST} positions"),
    Column("tested_units", "count", "units of the model, all of which were ablated; the same everywhere"),
    Column("control_units", "count", "units whose gap passes here when as many empty squares drawn at random stand for "
           f"the legal ones: at least {FLOOR} logits, p < {ALPHA} over all units; the same for all units"),
)  # fmt: skip


def squares_table(results: Results, about: dict) -> pa.Table:
    """A row for each unit and square, neurons before heads in every layer."""
    names: list[str] = []
    layers: list[int] = []
    parts: list[dict[str, np.ndarray]] = []
    for layer in results.layers:
        for kind, chosen, values in (
            ("neuron", results.neurons(layer), _neurons), ("head", results.heads(layer), _heads),
        ):  # fmt: skip
            if chosen:
                names += [str(Unit(layer, kind, index)) for index in chosen]
                layers += [layer] * len(chosen)
                parts.append(values(results, layer, chosen))
    if not names:
        return empty(COLUMNS, about)
    units, counts = len(names), state_counts(results.streamed.mining)
    found: dict = {
        "unit": Words(names, np.repeat(np.arange(units), N_SQUARES)),
        "layer": np.repeat(np.array(layers, np.int32), N_SQUARES),
        "square": Words(LABELS, np.tile(np.arange(N_SQUARES), units)),
    }
    found |= {f"positions_{state}": np.tile(row, units) for state, row in zip(STATES, counts, strict=True)}
    if results.ablations is not None:
        counts = np.zeros((2, N_SQUARES), dtype=np.int64)
        counts[:, list(PLAYABLE)] = results.ablations.moves.positions[:2].numpy()
        for where, row in zip(REAL, counts, strict=True):
            found[f"ablated_{where}"] = np.tile(row, units)
        found["tested_units"] = np.full(units * N_SQUARES, results.every)
        found["control_units"] = np.tile(_control(results), units)
    for column in COLUMNS:
        if any(column.name in part for part in parts):
            own = (part.get(column.name, np.full(_rows(part), np.nan)) for part in parts)
            found[column.name] = np.concatenate([values.reshape(-1) for values in own])
    return table(COLUMNS, found, about)


def _rows(part: dict[str, np.ndarray]) -> tuple[int, ...]:
    return next(iter(part.values())).shape


def _neurons(results: Results, layer: int, chosen: Sequence[int]) -> dict[str, np.ndarray]:
    model, mining = results.model, results.streamed.mining
    means, r2 = conditional_means(mining, layer)
    found = {f"mean_{state}": means[chosen, i] for i, state in enumerate(STATES)}
    found["state_r2"] = r2[chosen]
    point = f"blocks.{layer}.hook_resid_"
    for word, weight, hook in (
        ("reads", model.W_in(layer).T, f"{point}mid"), ("writes", model.W_out(layer), f"{point}post"),
    ):  # fmt: skip
        directions = vectors(results.directions, hook, model.shape.d_model)
        # Of the whole layer, whichever are wanted: another shape of product would round otherwise.
        cosine = (_unit(weight.float().cpu()) @ directions.flatten(0, 1).T)[chosen].unflatten(1, directions.shape[:2])
        # A direction that is not there is zero: a centre square's emptiness, a point without a probe.
        cosine = cosine.masked_fill(~directions.any(-1), torch.nan).numpy()
        found |= {f"{word}_mine": cosine[:, MINE], f"{word}_empty": cosine[:, EMPTY]}
    found["logit"] = logits(results, layer)[chosen]
    return found | _adds(results, "neuron", layer, chosen)


def _heads(results: Results, layer: int, chosen: Sequence[int]) -> dict[str, np.ndarray]:
    adds = _adds(results, "head", layer, chosen)
    if results.profiles is None:
        return {"separation_mine": np.full((len(chosen), N_SQUARES), np.nan)} | adds
    writing = results.profiles.writing
    separation, legal = (x[layer, chosen].double().numpy() for x in (writing.separation, writing.logits))
    return {
        "separation_mine": separation[:, MINE], "separation_empty": separation[:, EMPTY],
        "logit_legal": legal[:, 0], "logit_illegal": legal[:, 1],
    } | adds  # fmt: skip


def _control(results: Results) -> np.ndarray:
    """[square] how many of all units pass in the control."""
    found, moves = np.zeros(N_SQUARES, dtype=np.int64), results.ablations.moves
    for kind in ("neuron", "head"):
        for layer in range(results.model.shape.n_layers):
            compared = moves.compare(kind, slice(layer, layer + 1), CONTROL)
            found[list(PLAYABLE)] += compared.passes(results.every)[0].sum(0)
    return found


def _adds(results: Results, kind: str, layer: int, chosen: Sequence[int]) -> dict[str, np.ndarray]:
    """What ablation says that the units add to each move, at the squares of the moves."""
    if results.ablations is None:
        return {}
    moves, own = results.ablations.moves, slice(layer, layer + 1)
    compared = moves.compare(kind, own)
    values = {"gap": compared.gap, "gap_se": compared.se, "gap_p": compared.p}
    for where in REAL:
        values[f"adds_{where}"] = moves.mean(where, kind, own).numpy()
        values[f"adds_{where}_se"] = moves.se(where, kind, own).numpy()
    found = {name: np.full((len(chosen), N_SQUARES), np.nan) for name in values}
    for name, by_move in values.items():
        found[name][:, list(PLAYABLE)] = by_move[0, chosen]
    return found


# ---- figures of a layer's neurons, which other tables use too --------------------------------------------


def state_counts(mining: Mining) -> np.ndarray:
    """Positions [state, square], states empty, theirs, mine."""
    given = mining.state_count.numpy()
    return np.concatenate([mining.positions - given.sum(0, keepdims=True), given])


def varies(mining: Mining, layer: int) -> np.ndarray:
    """[neuron] whether the activation was ever two different numbers."""
    high, low = (unpack(getattr(mining, end)[layer].keys[:, 0])[0] for end in ("top", "bottom"))
    return (high != -low).numpy()  # the lowest are kept with their signs turned


def deviation(mining: Mining, layer: int) -> np.ndarray:
    """[neuron] standard deviation, 0 for one that never varies; float64."""
    return np.where(varies(mining, layer), np.sqrt(mining.variance()[layer].double().numpy()), 0.0)


def conditional_means(mining: Mining, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean activation [neuron, state, square], NaN where a square is never so, and ``state_r2`` [neuron, square]."""
    counts = state_counts(mining)
    given = mining.state_sums[layer].double().numpy() / FIXED_POINT
    total = mining.sums[layer].sum(-1).double().numpy() / FIXED_POINT
    sums = np.concatenate([(total[:, None] - given.sum(1))[:, None], given], 1)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    off = np.nan_to_num(means - (total / mining.positions)[:, None, None])
    between = (counts * off**2).sum(1)
    all_ = mining.positions * deviation(mining, layer)[:, None] ** 2
    # Sums are rounded: what is 1 may come out a little beyond.
    return means, np.where(all_ > 0, np.clip(between / np.where(all_ > 0, all_, 1), 0, 1), np.nan)


def logits(results: Results, layer: int) -> Float[np.ndarray, "neuron 64"]:
    """Direct logit of every move for one sd of activation; NaN at the centre."""
    model, mining = results.model, results.streamed.mining
    per_unit = (model.W_out(layer).double().cpu() @ unembedding(model).double().cpu().T).numpy()
    found = np.full((len(per_unit), N_SQUARES), np.nan)
    found[:, list(PLAYABLE)] = per_unit * deviation(mining, layer)[:, None] / mining.final_scale
    return found


def _unit(rows: torch.Tensor) -> torch.Tensor:
    return rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-12)
