"""What is known of the board: facts that describe each neuron, its extreme positions, what probes read right."""

from typing import Any

import numpy as np
import pyarrow as pa
import torch

from circuits.atlas.results import Results
from circuits.atlas.sources import Opened
from circuits.atlas.squares_table import STATES
from circuits.atlas.table_columns import Column, Words, empty, table
from circuits.atlas.units_table import f1_and_skill
from circuits.errors import InputError
from circuits.extremes import PLIES, unpack
from circuits.features import Pattern
from circuits.games import Games
from circuits.notation import LABELS, TOKEN_SQUARE, Unit
from circuits.patterns import FACTS, parse_fact

PATTERNS_COLUMNS = (
    Column("unit", "text", "the neuron"),
    Column("layer", "whole", "its layer"),
    Column("rank", "whole", "1 is the fact of most skill on the training games"),
    Column("fact", "text", "a way of making a move legal (of 960), or one of 7 literals on a square"),
    Column("move", "text", "patterns: the square that it makes legal; null for literals"),
    Column("direction", "text", "patterns: the compass direction in which discs are flanked; null for literals"),
    Column("flanked", "whole", "patterns: the number of discs flanked; null for literals"),
    Column("square", "text", "literals: the square; null for patterns"),
    Column("literal", "text", "literals: legal, empty, occupied, mine, theirs, played or flipped; null for patterns"),
    Column("threshold", "number", "the neuron counts as on above this activation; of most F1 on the training games"),
    Column("precision", "number", "of positions where it is on, the share where the fact holds; held-out games"),
    Column("recall", "number", "of positions where the fact holds, the share where it is on; held-out games"),
    Column("f1", "number", "their harmonic mean, held-out games"),
    Column("f1_low", "number", "lower end of its 95 % bootstrap interval over games"),
    Column("f1_high", "number", "upper end of its 95 % bootstrap interval over games"),
    Column("auc", "number", "probability that a position with the fact has the higher activation, held-out games"),
    Column("r2", "number", "held-out variance that two means, where it holds and where it fails, explain"),
    Column("base_rate", "number", "share of held-out positions where the fact holds"),
    Column("skill", "number", "how far F1 gets from that of a neuron that is always on to 1; held-out games"),
    Column("shuffled_skill", "number", "skill that the same search reaches on activations dealt to other games at the "
                                       "same ply: chance"),
    Column("positions", "count", "held-out positions"),
)  # fmt: skip

EXAMPLES_COLUMNS = (
    Column("unit", "text", "the neuron"),
    Column("layer", "whole", "its layer"),
    Column("end", "text", "top (the highest activations) or bottom (the lowest)"),
    Column("rank", "whole", "1 is the most extreme"),
    Column("activation", "number", "the activation there"),
    Column("game", "count", "number of the game in the set"),
    Column("ply", "whole", "ply from 0: the position after ply + 1 moves"),
    Column("address", "text", "games fingerprint, game and ply: the same position in reports, notebooks, commands"),
    Column("moves", "text", "the moves up to and with that ply, in the project's notation"),
)  # fmt: skip

PROBES_COLUMNS = (
    Column("point", "text", "the point of the residual stream that the board probe reads"),
    Column("square", "text", "the square"),
    Column("accuracy", "number", "share of positions at which the probe names the square's state"),
    Column("majority", "number", "share of positions of the square's commonest state: what naming it always gets"),
    *(Column(f"recall_{state}", "number", f"of positions where the square is {state}, the share read so; null: none")
      for state in STATES),
    Column("positions", "count", "positions"),
)  # fmt: skip


def patterns_table(results: Results, about: dict) -> pa.Table:
    """Rows by neuron, best fact first."""
    rows: list[dict[str, Any]] = []
    for layer in results.layers:
        scored = results.patterns.get(layer, ())
        for index in results.neurons(layer) if scored else ():
            own = scored[index]
            for rank, score in enumerate(own.scores if own else (), 1):
                both, fact_only, on_only, neither = score.held_out
                f1, skill = f1_and_skill(score.held_out)
                n = both + fact_only + on_only + neither
                rows.append(
                    {
                        "unit": str(Unit(layer, "neuron", index)), "layer": layer, "rank": rank,
                        "threshold": score.threshold, "precision": both / (both + on_only) if both + on_only else None,
                        "recall": both / (both + fact_only) if both + fact_only else None, "f1": f1,
                        "f1_low": score.f1_interval[0], "f1_high": score.f1_interval[1], "auc": score.auc,
                        "r2": score.variance_explained, "base_rate": (both + fact_only) / n, "skill": skill,
                        "shuffled_skill": own.shuffled_skill, "positions": n,
                    }
                    | _fact(score.fact)
                )  # fmt: skip
    if not rows:
        return empty(PATTERNS_COLUMNS, about)
    return table(PATTERNS_COLUMNS, {c.name: [row.get(c.name) for row in rows] for c in PATTERNS_COLUMNS}, about)


def _fact(fact: int) -> dict[str, Any]:
    what = parse_fact(fact)
    if isinstance(what, Pattern):
        own = {"move": LABELS[what.square], "direction": what.direction, "flanked": what.flanked}
    else:
        own = {"square": LABELS[what[0]], "literal": what[1]}
    return {"fact": FACTS[fact]} | own


def examples_table(results: Results, about: dict) -> pa.Table:
    """Rows by neuron, the highest before the lowest, most extreme first.

    Raises:
        InputError: a game among the examples is not among ``results.games``.
    """
    mining = results.streamed.mining
    names: list[str] = []
    parts: list[tuple[np.ndarray, ...]] = []
    for layer in results.layers:
        chosen = results.neurons(layer)
        if not chosen:
            continue
        ends = [getattr(mining, end)[layer].keys[chosen] for end in ("top", "bottom")]
        keys = torch.stack(ends, 1)  # neuron, end, rank
        values, codes = unpack(keys)
        unit, end, rank = (keys > torch.iinfo(torch.int64).min).nonzero(as_tuple=True)
        values, codes = (x[unit, end, rank].numpy() for x in (values, codes))
        unit, end, rank = unit.numpy(), end.numpy(), rank.numpy()
        parts.append((unit + len(names), end, rank + 1, np.where(end == 1, -values, values), codes,
                      np.full(len(unit), layer)))  # fmt: skip
        names += [str(Unit(layer, "neuron", index)) for index in chosen]
    if not parts:
        return empty(EXAMPLES_COLUMNS, about)
    unit, end, rank, value, code, layer = (np.concatenate(column) for column in zip(*parts, strict=True))
    positions, which = np.unique(code, return_inverse=True)
    addresses = [f"{mining.fingerprint}:g{c // PLIES}:p{c % PLIES}" for c in positions.tolist()]
    return table(
        EXAMPLES_COLUMNS,
        {
            "unit": Words(names, unit), "layer": layer.astype(np.int32), "end": Words(("top", "bottom"), end),
            "rank": rank.astype(np.int32), "activation": value + 0.0, "game": code // PLIES,
            "ply": (code % PLIES).astype(np.int32), "address": Words(addresses, which),
            "moves": Words(_transcripts(results.games, positions), which),
        },
        about,
    )  # fmt: skip


def _transcripts(games: Games | Opened, codes: np.ndarray) -> list[str]:
    """The moves up to each position, by address code."""
    order = games.ids.numpy().argsort()
    numbers = games.ids.numpy()[order]
    wanted = np.unique(codes // PLIES)
    place = np.searchsorted(numbers, wanted).clip(max=len(numbers) - 1)
    if len(missing := wanted[numbers[place] != wanted]):
        raise InputError(f"game {missing[0]} is among the examples and not among these {len(numbers)} games")
    rows = torch.from_numpy(order[place])
    own = games.rows(rows) if isinstance(games, Opened) else games[rows]
    squares = TOKEN_SQUARE[own.tokens.long()].tolist()
    # Every label has two letters: a position's transcript is the beginning of its game's.
    whole = {n: " ".join(LABELS[s] for s in row if s >= 0) for n, row in zip(wanted.tolist(), squares, strict=True)}
    return [whole[code // PLIES][: 3 * (code % PLIES) + 2] for code in codes.tolist()]


def probes_table(results: Results, about: dict) -> pa.Table:
    """Rows by point and square; none where no point has a probe."""
    tally = results.streamed.probes
    if not tally.hooks:
        return empty(PROBES_COLUMNS, about)
    counts = tally.counts.double().numpy()  # point, square, true, said
    true, right = counts.sum(-1), np.diagonal(counts, axis1=2, axis2=3)
    n = true.sum(-1)
    points, squares = n.shape
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = np.where(true > 0, right / true, np.nan)
    majority = np.broadcast_to(tally.majority().numpy(), (points, squares))
    found: dict[str, Any] = {"accuracy": tally.accuracy().numpy(), "majority": majority}
    found |= {f"recall_{state}": recall[..., i] for i, state in enumerate(STATES)}
    found = {name: values.reshape(-1) for name, values in found.items()}
    found |= {
        "point": Words(tally.hooks, np.repeat(np.arange(points), squares)),
        "square": Words(LABELS, np.tile(np.arange(squares), points)), "positions": n.reshape(-1).astype(np.int64),
    }  # fmt: skip
    return table(PROBES_COLUMNS, found, about)
