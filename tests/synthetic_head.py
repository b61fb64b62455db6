"""A realistic `HeadRecord` from a seed, without a model: real games, invented attention, writes and ablations.

``kind`` says what to invent: a head that attends to the moves of the side to move and writes "mine" there ("clear"),
one that attends to the first move and does nothing ("idle"), one that attends anywhere and matters a little ("none").
"""

from dataclasses import replace
from functools import cache

import numpy as np
from synthetic_record import board, positions_of, record_of

from circuits.notation import LABELS
from reports.causes.records import Effect
from reports.fit_records import Sample
from reports.heads import records as hr
from reports.heads.build import GROUPS, METHODS
from reports.records import CheckedCell, Neighbour

HELD_OUT = Sample("held-out", 12, 588)
PLAY = ("illegal_top1", "illegal_mass", "kl_to_uniform_legal", "top_n_error")


def effect(mean, sd=0.0):
    return Effect(float(mean), float(mean - 2 * sd), float(mean + 2 * sd))


def attended(rng, position, kind):
    """A position with an invented pattern."""
    moves, movers = position["transcript"].split(), position["movers"]
    own = np.array([m == position["mover"] for m in movers])
    weight = rng.random(len(moves)) + 0.01
    if kind == "clear":
        weight *= np.where(own, 1.0, 0.02)
    elif kind == "idle":
        weight[1:] *= 0.01
    pattern = weight / weight.sum()
    before = np.arange(len(moves)) < len(moves) - 1
    return hr.Attended(
        address=f"3f2a9c01d4e5b677:g{position['game']}:p{position['ply']}", ply=position["ply"],
        distance=float(rng.random()), transcript=position["transcript"], board=tuple(position["state"]),
        mover=position["mover"], last=position["last"], flipped=position["flipped"], legal=position["legal"],
        pattern=tuple(pattern.tolist()), itself=float(pattern[-1]), mine=float(pattern[own & before].sum()),
        theirs=float(pattern[~own & before].sum()),
    )  # fmt: skip


def with_movers(position):
    """The position with who made each move: black, then the other side unless it had to pass."""
    import oracles

    state, side, movers = oracles.start(), oracles.BLACK, []
    for label in position["transcript"].split():
        square = LABELS.index(label)
        if square not in oracles.legal(state, side):
            side = oracles.other(side)
        movers.append("black" if side == oracles.BLACK else "white")
        state = list(state)
        for s in (square, *oracles.flips(state, side, square)):
            state[s] = side
        side = oracles.other(side)
    return position | {"movers": movers}


def synthetic_head(seed=0, kind="clear", unit="L5H2", **changes) -> hr.HeadRecord:
    rng = np.random.default_rng(seed)
    positions = positions_of(seed, 12)
    layer, index = (int(x) for x in unit[1:].split("H"))
    clear, idle = kind == "clear", kind == "idle"
    shares = {"itself": 0.02, "mine": 0.9 if clear else 0.5, "theirs": 0.08 if clear else 0.48, "first": 0.05}
    if idle:
        shares["first"] = 0.97
    uniform = {"itself": 0.05, "mine": 0.49, "theirs": 0.46, "first": 0.05}
    name = "mine" if clear else "first" if idle else "mixed"
    decides = {"mine": 0.92, "first": 0.97, "mixed": 0.51}[name]
    rows = []
    for t in range(5, 54):
        row = rng.random(t + 1) + 0.01
        rows.append(tuple((row / row.sum()).round(5).tolist()))
    offsets = tuple(range(54))
    decay = np.exp(-np.arange(54) / 8)

    def map_(size=0.1, peak=0.0):
        values = size * rng.standard_normal(225)
        values[112] += peak
        return board(values)[:225]

    shown = [with_movers(positions[i]) for i in rng.choice(len(positions), 8, replace=False)]
    lists = tuple(
        hr.AttendedList(k, note, HELD_OUT, tuple(attended(rng, p, kind) for p in part))
        for k, note, part in (("farthest", "the farthest", shown[:4]), ("random", "drawn evenly", shown[4:]))
    )
    peak = {"clear": 3.0, "idle": 0.0, "none": 0.5}[kind]
    facts = tuple(
        hr.Moved(f, board(s * peak + 0.2 * rng.standard_normal(64), centre=f == "mine"), s * peak, 0.5,
                 map_(0.1, s * peak))
        for f, s in (("mine", 1.0), ("empty", -0.3), ("played", 0.1), ("flipped", 0.1), ("legal", 0.0))
    )  # fmt: skip
    links = (hr.Link("mine", "mine", 0.2 * peak, 0.03), hr.Link("played", "empty", -0.1, 0.03))
    share = {"clear": 0.09, "idle": 0.0, "none": 0.01}[kind]
    separations = tuple(
        hr.Separation(f, board(share + 0.01 * rng.standard_normal(64)), board(1 + 0.1 * rng.standard_normal(64)),
                      effect(share, 0.001), effect(s * share, 0.002) if f != "legal" else None)
        for f, s in (("mine", 1.0), ("empty", 0.3), ("played", 0.0), ("legal", 0.1))
    )  # fmt: skip
    reading = hr.Reading(
        "a softmax for each square", effect(0.66, 0.002), (0.9, 0.6, 0.5), board(0.5 + 0.4 * rng.random(64)),
        (hr.Read("constant", "guessing by square and ply", 0.6, None, None, (0.87, 0.6, 0.1)),
         hr.Read("random", "random weights", 0.58, None, None, None),
         hr.Read("layer", "the whole layer", 0.8, 0.79, 0.81, (0.9, 0.8, 0.7))), HELD_OUT,
    )  # fmt: skip
    lost = {"clear": 0.03, "idle": 0.0, "none": 0.002}[kind]
    kl = {"clear": 0.02, "idle": 1e-6, "none": 0.0015}[kind]
    points = [f"blocks.{layer}.hook_resid_mid", *(f"blocks.{i}.hook_resid_post" for i in range(layer, 9))]
    methods = tuple(
        hr.Without(
            method, METHODS[method],
            tuple(hr.PointChange(p, *(effect(-s * lost * k / (1 + i), lost / 40) for s in (0.2, 0.9, 1.3, 0.8)))
                  for i, p in enumerate(points)),
            tuple(effect(0.1 * lost * k, lost / 100) for _ in PLAY), effect(kl * k, kl / 20), 12, 588,
        )
        for method, k in (("mean", 1.0), ("frozen pattern", 0.3), ("zero", 1.2), ("random direction", 0.5))
    )  # fmt: skip
    causes = hr.HeadCauses(
        methods, tuple(hr.PointBase(p, 0.99, 0.93, 0.92, 0.94) for p in points), PLAY, (0.005, 0.04, 0.07, 0.35),
        hr.AblatedPosition("3f2a9c01d4e5b677:g0:p20", "mean", kl),
    )  # fmt: skip

    def units(n, letter, at):
        return tuple(Neighbour(f"L{at}{letter}{i}", 0.4 - 0.03 * i) for i in range(n))

    neighbours = (
        hr.Connected("earlier heads", "V", "composition", units(4, "H", layer - 1), 50, 0.07),
        hr.Connected("later heads", "Q", "composition", units(4, "H", layer + 1), 30, 0.5),
        hr.Connected("earlier neurons", "output weight", "moved on", (), 0, None),
        hr.Connected("later neurons", "input weight", "read", units(4, "N", layer), 4000, 0.13),
    )
    base = record_of("match").provenance
    python = f'from reports import open_model; open_model().head("{unit}")'
    provenance = replace(base, python=python, command=f"othello-circuits head {unit}")
    record = hr.HeadRecord(
        unit=unit, layer=layer, index=index, chosen="asked for by name", provenance=provenance,
        attention=hr.Attention(
            hr.Kind(name, effect(decides, 0.01), 0.5 if idle else 0.75, 0.98),
            tuple(hr.Group(g, words, effect(shares.get(g, 0.3), 0.004), uniform.get(g, 0.25))
                  for g, words in GROUPS.items()),
            offsets, tuple((decay / decay.sum()).tolist()), tuple(0.05 - 0.0005 * np.arange(54)), map_(0.8),
            board(0.8 * rng.standard_normal(64), centre=False), 5, tuple(rows), effect(0.4, 0.01), 0.7, 0.5, 1.2, 3.2,
            HELD_OUT),
        examples=lists,
        moves=hr.Moves(f"blocks.{layer}.hook_resid_pre", f"blocks.{layer}.hook_resid_mid", facts, links,
                       board(0.2 + 0.1 * rng.standard_normal(64)), Sample("train", 12, 588)),
        writes=hr.HeadWrites(f"blocks.{layer}.hook_resid_mid", separations,
                             *(board(0.1 * rng.standard_normal(64), centre=False) for _ in range(3)),
                             effect(0.2, 0.01), 8.0, 20.0, 200.0, HELD_OUT),
        reading=reading, causes=causes, neighbours=neighbours,
        checks=(CheckedCell("causes.example.kl", kl, kl, 1e-4),),
    )  # fmt: skip
    return record if not changes else type(record)(**{**record.__dict__, **changes})


@cache
def head_of(kind, unit="L5H2"):
    """One small record of each kind, made once."""
    return synthetic_head(seed=1, kind=kind, unit=unit)
