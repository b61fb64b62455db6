"""A table of rules, its census, the model with rules in its neurons' place and a trial, all of invented numbers."""

from dataclasses import replace

import numpy as np

from circuits.census.counts import LayerCounts, ModelCounts, SharedRule
from circuits.census.patterns_covered import PatternCensus, PatternLayer
from circuits.census.records import NeuronCensus, Partner, Written
from circuits.census.replaced import KINDS, WHOLE, Replaced, Run
from circuits.checkpoints import Shape
from circuits.induction.records import STATUSES, NeuronRule, Provenance, Score
from circuits.induction.table import RuleTable
from circuits.plain import PlainModel
from circuits.trial import records as t
from circuits.verdicts.records import Estimate
from reports.model import build as model_build

PROVENANCE = Provenance(
    model="b29b2d44eed5dea3", model_name="synthetic", games=2000, games_source="random, seed 0, 2000 games",
    fingerprint="3f2a9c01d4e5b677", seed=0, first_ply=5, last_ply=53, train_games=1200, tune_games=300,
    held_out_games=500, train_positions=58_800, tune_positions=14_700, held_out_positions=24_500, literals=480,
    literals_tried=512, depth=8, leaf=50, split=100, resamples=4, seconds=61.5,
)  # fmt: skip
LABELS = [f"{row}{column}" for row in "ABCFGH" for column in "01267"]


def score(rng, variance, literals=3, terms=1):
    squares = rng.choice(LABELS, (terms, literals), replace=False)
    ands = [" & ".join(f"{s} {rng.choice(['mine', 'theirs', 'empty'])}" for s in term) for term in squares]
    rule = ands[0] if terms == 1 else " | ".join(f"({a})" for a in ands)
    rate = float(rng.uniform(0.02, 0.3))
    f1 = float(np.clip(variance + rng.uniform(0, 0.15), 0, 1))
    half = float(rng.uniform(0.005, 0.03))
    return Score(
        rule, literals * terms, terms, float(rng.uniform(1, 3)), float(rng.uniform(-0.1, 0.2)), 0.9, rate,
        int(24_500 * rate), Estimate(variance, variance - half, variance + half), min(1.0, f1 + 0.02),
        max(0.0, f1 - 0.02), f1, max(0.0, f1 - 0.1),
    )  # fmt: skip


def neuron_rule(unit, status, rng, resampled=True):
    """One row of a given status, with the scores that go with it."""
    if status == "dead":
        return NeuronRule(unit, "dead", None, None, None, (), 0.0, 0.0, 0.0)
    variance = {
        "explained": rng.uniform(0.55, 0.98), "partly": rng.uniform(0.13, 0.45), "clock": rng.uniform(0.0, 0.2),
        "unexplained": rng.uniform(-0.01, 0.09),
    }[status]  # fmt: skip
    tree_like = bool(rng.random() < 0.4)
    rule = score(rng, float(variance), terms=1 + tree_like)
    other = score(rng, float(variance) * 0.9, terms=2 - tree_like) if rng.random() < 0.8 else None
    told = () if rng.random() < 0.7 else ("C0 empty & D1 theirs",)
    tree = float(min(0.99, variance + rng.uniform(0, 0.3)))
    return NeuronRule(
        unit, status, "tree" if tree_like else "conjunction", rule, other, told, tree, 0.8 * tree,
        float(rng.uniform(0.55, 0.9) if status == "clock" else rng.uniform(0, 0.2)), 0.9 * tree,
        float(rng.normal(0, 0.003)), float(rng.uniform(0.6, 1)) if resampled else None,
        float(rng.uniform(0.2, 1)) if resampled else None, float(rng.normal()), float(rng.uniform(0.1, 2)),
    )  # fmt: skip


def neuron_census(row, rng):
    """What the census might say of a row's neuron."""
    layer = row.unit.partition("N")[0]
    found = bool(rng.random() < 0.2)
    return NeuronCensus(
        unit=row.unit, by_mover=0.01, by_move=float(rng.uniform(0, 0.3)), peak_ply=int(rng.integers(5, 54)),
        played="A4 played", played_r2=0.02, played_skill=None, names_played=False, flipped="C3 flipped",
        flipped_r2=0.15, flipped_skill=0.4, names_flipped=bool(row.rule), change=1.5, from_rule=row.rule is not None,
        board_writes=2, board=(Written("C0 mine", 0.8), Written("D1 empty", -0.4)), move_writes=1,
        moves=(Written("+C0", 0.6),),
        partners=tuple(
            Partner(name, f"{layer}N1", 0.9 if found else 0.3, 0.2, found, found or None)
            for name in ("half-turn", "main diagonal", "anti-diagonal")
        ),
        twin=f"{layer}N2", twin_r=0.4, has_twin=False, groups=row.rule.terms if row.rule else 0,
        further="H7 mine" if row.rule else None, further_r2=0.12 if row.rule else None,
        further_rise=0.3 if row.rule else None, unrelated=row.rule is not None,
        patterns=("C0 via SE x1",) if row.explained else (), exactly=(),
    )  # fmt: skip


def table(layers=8, neurons=60, seed=0, census=False, **provenance):
    """A table with every status in every layer, which begins with one of each; more explained in the middle."""
    rng = np.random.default_rng(seed)
    rows = []
    for layer in range(layers):
        share = 0.1 + 0.4 * np.exp(-((layer - 4.5) ** 2) / 4)
        weights = np.array([share, 0.3, 0.1, 0.55 - share + 0.03, 0.02])
        drawn = rng.choice(STATUSES, neurons, p=weights / weights.sum()).tolist()
        for n, status in enumerate((*STATUSES, *drawn)[:neurons]):
            rows.append(neuron_rule(f"L{layer}N{n}", status, rng))
    counted = [neuron_census(row, rng) for row in rows] if census else ()
    return RuleTable.of(replace(PROVENANCE, **provenance), rows, counted)


def counts(layers=8, neurons=60):
    """Counts of a model."""
    rng = np.random.default_rng(1)

    def layer(number):
        n = {name: int(rng.integers(0, neurons)) for name in LayerCounts.__dataclass_fields__}
        return LayerCounts(**(n | {"layer": number, "neurons": neurons, "literals": 2.7, "terms": 1.4,
                                   "partners": {"half-turn": 3}}))  # fmt: skip

    units = tuple(f"L{i}N{i}" for i in range(layers))
    patterns = tuple(
        PatternCensus(at, 600, 300, tuple(PatternLayer(i, units[:i], units[: i // 2], 4 * i, i) for i in range(layers)),
                      120, 60, 90)
        for at in (0.95, 0.9)
    )  # fmt: skip
    shared = (SharedRule("C0 empty & D1 theirs", 9, units), SharedRule("A4 played", 2, units[:2]))
    totals = {name: 200 - 9 * i for i, name in enumerate(ModelCounts.__dataclass_fields__)}
    made = {
        "layers": tuple(map(layer, range(layers))),
        "largest": shared,
        "largest_turned": shared,
        "patterns": patterns,
    }
    return ModelCounts(**(totals | made))


def replaced(layers=8, neurons=60):
    """Every run, rules better than random ones, means worst."""

    def run(layer, by, kind):
        kl = 0.01 * (1 + ("random" in kind)) * (4 if by == "means" else 1) * (layer or 3 * layers)
        kl = max(kl, 0.001)
        return Run(layer, by, kind, 20, neurons, Estimate(kl, 0.9 * kl, 1.1 * kl), Estimate(0.99, 0.985, 0.995))

    runs = [
        run(layer, by, kind)
        for layer in (*range(layers), None)
        for by, kinds in (("rules", KINDS), ("trees", KINDS), ("means", WHOLE))
        for kind in kinds
    ]
    return Replaced(tuple(runs), Estimate(0.998, 0.997, 0.999), 200, 9800, 5, 53, 3)


def trial(seeds=(0, 1)):
    """A trial in which noise and a small dose cost recoveries."""
    rng = np.random.default_rng(2)
    planted = []
    for family in ("line", "conjunction of 2", "either"):
        for dose in (None, 4.0, 1.0):
            for noise in (0.0, 0.25, 0.5, 1.0, 2.0):
                for seed in seeds:
                    for _ in range(4):
                        good = rng.random() < 1 - 0.25 * noise - (0.1 if dose == 1.0 else 0)
                        outcome = t.RECOVERED if good else str(rng.choice([t.LISTED, t.TOLD, t.NOTHING]))
                        planted.append(t.Planted(family, noise, dose, seed, "C0 empty & D1 theirs", 0.1, 0.2,
                                                 "explained", "conjunction", "C0 empty & D1 theirs", None, (), outcome,
                                                 1.0, 0.7))  # fmt: skip

    def blank(kind, **statuses):
        return t.Blank(kind, sum(statuses.values()), statuses, 0, 0.02)

    graded = tuple(
        t.Graded("L5N1024", "C0 legal", kind, 0.7, grade)
        for kind, grade in (("true", "fits and writes"), ("legal", "correlates, not causal"))
    )
    return t.Trial(
        "synthetic", "b29b2d44eed5dea3", 2000, 58_800, 24_500, (5, 53), tuple(seeds), tuple(planted),
        (blank("Gaussian", unexplained=100),), (blank("level by ply", clock=30),),
        blank("dealt", unexplained=90, clock=6), blank("real", explained=30, unexplained=66),
        (t.ThroughWeights("L5N1024", 0, "C0 empty", 0.95, 0.8, "explained", "C0 empty", (), t.RECOVERED, 0.8),), graded,
    )  # fmt: skip


def shape(layers=8):
    """A model in name: its sizes and its hash."""
    sizes = Shape(n_layers=layers, d_model=64, n_heads=4, d_head=16, d_mlp=60, n_ctx=59, act="gelu_new", d_vocab=61)
    return PlainModel(sizes, {}, PROVENANCE.model, "synthetic", {})


def model_record(layers=8, neurons=60):
    """The record of a model's page with everything on it."""
    return model_build.model_record(
        shape(layers), table(layers, neurons), replaced(layers, neurons), counts(layers, neurons), trial(),
        command="othello-circuits rules --out found",
    )  # fmt: skip
