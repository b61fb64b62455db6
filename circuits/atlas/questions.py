"""Questions to an atlas.

    reads(atlas, "C0", state="mine")   which neurons depend on what a square holds
    writes(atlas, "C0")                which units write about it, and to its move's logit
    makes_legal(atlas, "C0")           which units separate legal from illegal, which tell that it is legal
    like(atlas, "L5N404")              which neurons do the same, or do it on the image of the board
    unit(atlas, "L5N404")              everything there is of one unit
    board(atlas)                       what the probes read of the board, point by point

Each gives a record: ``.text()`` for people, ``.to_dict()`` for programs.
"""

import warnings
from typing import Any

import numpy as np

from circuits import notation
from circuits.atlas.answers import (
    Alike,
    Board,
    BoardPoint,
    HeadWriter,
    Like,
    Reader,
    Reads,
    Writer,
    Writes,
)
from circuits.atlas.legal_moves import makes_legal
from circuits.atlas.opened import Atlas
from circuits.atlas.reading import (
    as_record,
    by_square,
    edges_at,
    highest,
    known,
    median,
    neurons,
    numbers,
    one_of,
    present,
    rows_at,
    rows_of,
)
from circuits.atlas.squares_table import STATES
from circuits.atlas.unit_sheet import Edge, Example, FactOf, OnSquare, UnitSheet
from circuits.errors import InputError
from circuits.notation import CENTRE, LABELS, N_SQUARES, Unit
from circuits.rules.symmetry import SYMMETRIC, map_square

__all__ = ["BY", "board", "like", "makes_legal", "reads", "unit", "writes"]

#: what `writes` can be ordered by
BY = ("board", "mine", "theirs", "empty", "logit")
#: share of neurons below the cosine that is said beside those found by `like`
CHANCE = 0.99


def reads(atlas: Atlas, square: str, state: str | None = None, layer: int | None = None, top: int = 20) -> Reads:
    """The neurons whose activation depends most on what a square holds.

    Args:
        state: empty: between that and occupied; mine or theirs: between the two, so that a neuron that only tells
            whether a disc is there does not come first; nothing: among the three states.

    Raises:
        InputError: no such square, state or layer in this atlas; a centre square, which is never empty.
    """
    place = notation.square(square)
    one_of(state, (None, *STATES), "state")
    if state == "empty" and place in CENTRE:
        raise InputError(f"{LABELS[place]} is a centre square: it is never empty")
    units, rows = neurons(atlas, layer, top)
    means = np.stack([by_square(atlas, f"mean_{s}")[rows] for s in STATES], 1)
    counts = np.stack([by_square(atlas, f"positions_{s}")[0] for s in STATES])
    rise = None
    if state is None:
        r2 = by_square(atlas, "state_r2")[rows]
    else:
        own, n = STATES.index(state), counts.sum(0)
        mean, sd = (numbers(units, name)[:, None] for name in ("mean", "sd"))
        with np.errstate(divide="ignore", invalid="ignore"):
            if state == "empty":
                other = n - counts[own]
                rise = (means[:, own] - mean) / (other / n) / sd  # m - rest = (m - mean) / (1 - share)
            else:
                rest = STATES.index("mine" if state == "theirs" else "theirs")
                other, rise = counts[rest], (means[:, own] - means[:, rest]) / sd
            r2 = counts[own] * other / (counts[own] + other) / n * rise**2
    typical = median(r2)
    best = highest(r2[:, place], top)
    near = {name: by_square(atlas, name)[rows, place] for name in ("reads_mine", "reads_empty")}
    ply_r2, facts, names = numbers(units, "ply_r2"), units["best_fact"].to_pylist(), units["unit"].to_pylist()
    found = tuple(
        Reader(
            names[i], float(r2[i, place]), float(typical[i]), None if rise is None else known(rise[i, place]),
            *(known(m) for m in means[i, :, place]), *(known(values[i]) for values in near.values()),
            known(ply_r2[i]), facts[i],
        )
        for i in best
    )  # fmt: skip
    positions = {name: int(n) for name, n in zip(STATES, counts[:, place], strict=True)}
    return Reads(LABELS[place], state, layer, positions, atlas.measured["pass"], atlas.chance_cosine, len(names), found)


def writes(atlas: Atlas, square: str, by: str = "board", layer: int | None = None, top: int = 20) -> Writes:
    """The units that write most about a square.

    Args:
        by: "board" (along mine - theirs or empty - occupied, either sign), "mine", "theirs" or "empty" (towards it),
            "logit" (the square's move, either sign).

    Raises:
        InputError: as `reads`.
    """
    place = notation.square(square)
    one_of(by, BY, "by")
    if place in CENTRE and by in ("empty", "logit"):
        raise InputError(f"{LABELS[place]} is a centre square: it is never empty and never played")
    units, rows = neurons(atlas, layer, top)
    mine, empty, logit = (by_square(atlas, n)[rows, place] for n in ("writes_mine", "writes_empty", "logit"))
    order = {
        "board": np.fmax(abs(mine), abs(empty)), "mine": mine, "theirs": -mine, "empty": empty, "logit": abs(logit),
    }[by]  # fmt: skip
    names, facts = units["unit"].to_pylist(), units["best_fact"].to_pylist()
    kl, error = numbers(units, "kl"), numbers(units, "kl_se")
    found = tuple(
        Writer(names[i], *(known(values[i]) for values in (mine, empty, logit, kl, error)), facts[i])
        for i in highest(order, top)
    )
    heads, head_rows = rows_of(atlas, "head", layer)
    columns = ("separation_mine", "separation_empty", "logit_legal", "logit_illegal")
    own = [by_square(atlas, name)[head_rows, place] for name in columns]
    size = {"mine": own[0], "theirs": own[0], "empty": own[1], "logit": own[2] - own[3]}
    chosen = highest(abs(size.get(by, np.fmax(abs(own[0]), abs(own[1])))), 5)
    said = heads["unit"].to_pylist()
    return Writes(
        LABELS[place], by, layer, atlas.chance_cosine, atlas.measured["pass"], atlas.measured.get("heads"), len(names),
        found, tuple(HeadWriter(said[i], *(known(values[i]) for values in own)) for i in chosen),
    )  # fmt: skip


def like(atlas: Atlas, name: str | Unit, top: int = 5) -> Like:
    """The neurons nearest to one by their means given each square's state, over the sd; by cosine.

    The mean is taken off, and then of each state what all squares have in common.

    Asked as it is and of its image under each of the three maps of the board that keep the start position.

    Raises:
        InputError: no neuron, or not in this atlas; one that never varies.
    """
    asked = present(atlas, name)
    if asked.kind != "neuron":
        raise InputError(f"{asked} is a head: likeness is between neurons, such as L5N404")
    units, rows = neurons(atlas, None, top)
    names, facts = units["unit"].to_pylist(), units["best_fact"].to_pylist()
    mean, sd = (numbers(units, column)[:, None, None] for column in ("mean", "sd"))
    with np.errstate(divide="ignore", invalid="ignore"):
        own = (np.stack([by_square(atlas, f"mean_{s}")[rows] for s in STATES], 1) - mean) / sd
    # What the clock does to every square alike would make all neurons that follow it look the same.
    own = np.where(np.isfinite(own), own, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a neuron of which nothing is known
        own = np.nan_to_num(own - np.nanmean(own, 2, keepdims=True))
    norm = np.sqrt((own**2).sum((1, 2), keepdims=True))
    own = own / np.where(norm > 0, norm, 1)
    at = names.index(str(asked))
    if not norm[at]:
        raise InputError(f"{asked} never varies: nothing is like it")
    chance, found = {}, []
    for map_name, place in SYMMETRIC.items():
        image = np.empty_like(own[at])
        image[:, [map_square(s, place) for s in range(N_SQUARES)]] = own[at]
        cosine = np.einsum("nsq,sq->n", own, image)
        cosine[norm[:, 0, 0] == 0] = np.nan
        if map_name == "identity":
            cosine[at] = np.nan
        if np.isnan(cosine).all():
            continue
        chance[map_name] = float(np.nanquantile(cosine, CHANCE))
        found += [Alike(map_name, names[i], float(cosine[i]), facts[i]) for i in highest(cosine, top)]
    return Like(str(asked), facts[at], atlas.measured["pass"], len(names) - 1, chance, tuple(found))


def board(atlas: Atlas) -> Board:
    """What the probes read of the board at every point that has one.

    Raises:
        InputError: an atlas without probes.
    """
    table = atlas.table("probes")
    if not len(table):
        raise InputError("this atlas was made without probes of the board (--probe gives them)")
    right, n, common = (
        np.array(table[name].to_pylist(), float).reshape(-1, N_SQUARES)
        for name in ("accuracy", "positions", "majority")
    )
    names = table["point"].to_pylist()[::N_SQUARES]
    counts = {s: by_square(atlas, f"positions_{s}")[0] for s in STATES}
    recalls = {state: _recall(table, state, counts[state]) for state in STATES}
    found = tuple(
        BoardPoint(
            name, float(np.average(right[i], weights=n[i])),
            *(float(recalls[s][i] / counts[s].sum()) for s in STATES),
            LABELS[int(right[i].argmin())], float(right[i].min()),
        )
        for i, name in enumerate(names)
    )  # fmt: skip
    return Board(atlas.measured["pass"], str(atlas.provenance.get("probes")), float(common[0].mean()), found)


def _recall(table: Any, state: str, counts: np.ndarray) -> np.ndarray:
    """Squares of a state read right, by point; a square that never has the state counts for none."""
    recall = np.array(table[f"recall_{state}"].to_pylist(), float).reshape(-1, N_SQUARES)
    return np.where(counts > 0, np.nan_to_num(recall), 0.0) @ counts


def unit(atlas: Atlas, name: str | Unit) -> UnitSheet:
    """Everything that the atlas has of one unit.

    Raises:
        InputError: no unit's name, or not in this atlas.
    """
    asked = str(present(atlas, name))
    table = atlas.table("units")
    at = table["unit"].to_pylist().index(asked)
    row = {column: value for column, value in table.slice(at, 1).to_pylist()[0].items() if value is not None}
    squares = atlas.table("squares").slice(at * N_SQUARES, N_SQUARES).to_pylist()
    before, after = (edges_at(atlas, end, [asked])[asked] for end in ("receiver", "sender"))
    after = sorted(after, key=lambda e: -abs(e["effect"]))
    facts, examples = (rows_at(atlas.table(which), asked) for which in ("patterns", "examples"))
    return UnitSheet(
        asked, row["kind"], atlas.chance_cosine, atlas.measured,
        {column: value for column, value in row.items() if not isinstance(value, str)},
        {column: value for column, value in row.items() if isinstance(value, str) and column not in ("unit", "kind")},
        tuple(as_record(FactOf, fact) for fact in facts), tuple(as_record(OnSquare, square) for square in squares),
        tuple(Edge(e["sender"], e["effect"], e["cosine"], e["z"], e["sign"]) for e in before),
        tuple(Edge(e["receiver"], e["effect"], e["cosine"], e["z"], e["sign"]) for e in after),
        tuple(as_record(Example, example) for example in examples),
    )  # fmt: skip
