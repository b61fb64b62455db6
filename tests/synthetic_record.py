"""A realistic `NeuronRecord` from a seed, without a model: real games, invented activations and weights.

``kind`` says what to invent: a neuron that fires when C0 can be taken by flipping D1 ("match"), the same with
so much noise that it agrees in part ("partly"), noise alone ("none"), or one that never fires ("dead").
"""

from functools import cache

import numpy as np
import oracles

from circuits.notation import LABELS, TOKEN_SQUARE
from reports import fit_records as fr
from reports import index_records as ir
from reports import records as r
from reports.causes import records as c

NOISE = {"match": 0.85, "partly": 0.6, "none": 0.7, "dead": 0.1}
#: sizes of a model that is nobody's
LAYERS, WIDTH, HEADS, NEURONS = 9, 250, 10, 1030
MOVES = [int(s) for s in TOKEN_SQUARE[1:]]


@cache
def positions_of(seed, n):
    """Positions of n random games in the middle band: dicts with what an example needs."""
    return [p for p in play(np.random.default_rng(seed), n) if 5 <= p["ply"] <= 53]


def play(rng, n):
    for game in range(n):
        board, side, moves = oracles.start(), oracles.BLACK, []
        while len(moves) < 59:
            legal = oracles.legal(board, side)
            if not legal:
                side = oracles.other(side)
                if not (legal := oracles.legal(board, side)):
                    break
            square = int(rng.choice(legal))
            flipped = oracles.flips(board, side, square)
            board = list(board)
            for s in (square, *flipped):
                board[s] = side
            moves.append(square)
            side = oracles.other(side)
            if not oracles.legal(board, side):
                side = oracles.other(side)
            state = [0 if c == oracles.EMPTY else 2 if c == side else 1 for c in board]
            holds = state[16] == 0 and state[25] == 1 and state[34] == 2
            yield {
                "game": game,
                "ply": len(moves) - 1,
                "state": state,
                "mover": "black" if side == oracles.BLACK else "white",
                "last": LABELS[square],
                "flipped": tuple(LABELS[s] for s in flipped),
                "legal": tuple(LABELS[s] for s in oracles.legal(board, side)),
                "transcript": " ".join(LABELS[s] for s in moves),
                "holds": holds,
            }


def board(values, centre=True):
    return tuple(None if not centre and s in (27, 28, 35, 36) else round(float(v), 5) for s, v in enumerate(values))


def synthetic_record(seed=0, kind="match", n_games=60, unit="L5N12", d_model=WIDTH, **changes) -> r.NeuronRecord:
    rng = np.random.default_rng(seed)
    positions = positions_of(seed, n_games)
    n = len(positions)
    holds = np.array([p["holds"] for p in positions])
    state = np.array([p["state"] for p in positions])
    ply = np.array([p["ply"] for p in positions])
    planted = {"match": 2.6, "partly": 1.2}.get(kind, 0) * holds
    pre = planted - 0.9 + NOISE[kind] * rng.standard_normal(n) + (0 if kind == "dead" else 0.008 * (ply - 29))
    if kind == "dead":
        pre = -3 + 0.1 * rng.standard_normal(n)
    act = pre * 0.5 * (1 + np.tanh(0.79788 * (pre + 0.044715 * pre**3)))

    held = np.array([p["game"] % 5 == 0 for p in positions])
    scale = {name: fr.Sample(split=s, games=g, positions=int(m.sum())) for name, s, g, m in [
        ("all", "all", n_games, held | ~held),
        ("train", "train", n_games - n_games // 5, ~held),
        ("held_out", "held-out", n_games // 5, held),
    ]}  # fmt: skip
    threshold = 0.4 if kind in ("match", "partly") else float(np.quantile(act, 0.97))

    def counts(which, fact):
        on, fact = act[which] > threshold, fact[which]
        cells = ((on & fact).sum(), (~on & fact).sum(), (on & ~fact).sum(), (~on & ~fact).sum())
        return fr.Counts(*(int(c) for c in cells))

    def fit(square, direction, squares):
        sign = (0, *[1] * (len(squares) - 1), 2)
        fact = np.all([state[:, LABELS.index(s)] == k for s, k in zip((square, *squares), sign, strict=True)], axis=0)
        out = counts(held, fact)
        mean = np.where(fact, act[fact].mean() if fact.any() else 0, act[~fact].mean())
        return fr.Fit(
            name=f"legal {square} via {direction} x{len(squares) - 1}", square=square, direction=direction,
            squares=squares, literal=None, threshold=threshold, train=counts(~held, fact), held_out=out,
            f1_low=max(0.0, out.f1 - 0.06), f1_high=min(1.0, out.f1 + 0.05), shuffled_f1=0.06,
            auc=0.5 + 0.49 * out.f1, variance_explained=float(1 - ((act - mean) ** 2).mean() / act.var()),
        )  # fmt: skip

    by_ply_mean = np.array([act[ply == t].mean() for t in range(5, 54)])
    fits = (fit("C0", "SE", ("D1", "E2")), fit("C0", "SE", ("D1", "E2", "F3")), fit("B0", "SE", ("C1", "D2")))
    ply_r2 = 1 - ((act - by_ply_mean[ply - 5]) ** 2).mean() / act.var()
    order = np.argsort(-act, kind="stable")

    def example(i, quantile=None):
        p = positions[i]
        likely = rng.dirichlet(np.ones(len(p["legal"])) * 3) * 0.97
        moves = sorted(zip(p["legal"], likely, strict=True), key=lambda m: -m[1])[:4]
        return r.Example(
            address=f"3f2a9c01d4e5b677:g{p['game']}:p{p['ply']}", ply=p["ply"], activation=float(act[i]),
            transcript=p["transcript"], board=tuple(p["state"]), mover=p["mover"], last=p["last"],
            flipped=p["flipped"], legal=p["legal"], top_moves=tuple(r.Move(s, float(q)) for s, q in moves),
            holds=bool(p["holds"]), quantile=quantile,
        )  # fmt: skip

    quantiles = (0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
    examples = (
        r.Examples("top", "the 10 highest activations, one per game", scale["all"], [example(i) for i in order[:10]]),
        r.Examples("quantile", "the position nearest to each quantile of the activation", scale["all"],
                   [example(order[int((1 - q) * (n - 1))], q) for q in quantiles]),
        r.Examples("random", "drawn evenly from all positions, seed 0", scale["all"],
                   [example(int(i)) for i in rng.choice(n, 8, replace=False)]),
        r.Examples("bottom", "the 5 lowest activations, one per game", scale["all"],
                   [example(i) for i in order[-5:]]),
    )  # fmt: skip

    edges = np.linspace(min(act.min(), -0.2), act.max() + 1e-6, 49)
    top = order[: max(1, n // 100)]

    def noise(size=64, sd=None):
        return rng.standard_normal(size) * (sd or d_model**-0.5)

    def planted_board(marks, centre=True):
        values = noise()
        if kind in ("match", "partly"):
            for s, v in marks.items():
                values[LABELS.index(s)] += v
        return board(values, centre)

    logits = planted_board({"C0": 0.42, "D1": 0.1, "B0": -0.12}, centre=False)
    mean_logit = sum(v for v in logits if v is not None) / 60
    logits = tuple(None if v is None else v - mean_logit for v in logits)
    means = [[act[state[:, s] == c] for s in range(64)] for c in range(3)]
    conditional = [board([m.mean() if len(m) else 0 for m in row], centre=c != 0) for c, row in enumerate(means)]
    conditional_counts = [tuple(len(m) for m in row) for row in means]
    share = [board((state[top] == c).mean(0)) for c in range(3)]
    base = [board((state == c).mean(0)) for c in range(3)]
    _, layer, index = unit[0], *(int(x) for x in unit[1:].split("N"))
    story = kind in ("match", "partly")

    record = r.NeuronRecord(
        unit=unit, layer=layer, index=index, chosen=f"among the best explained of its layer: rank 3 of {NEURONS}",
        provenance=r.Provenance(
            model_name="synthetic", model_hash="b29b2d44eed5dea3", n_layers=LAYERS, d_model=d_model, n_heads=HEADS,
            d_mlp=NEURONS, activation="tanh-GELU", probe_source="linear probe trained on 1600 random games, seed 0",
            read_hook=f"blocks.{layer}.hook_resid_mid", write_hook=f"blocks.{layer}.hook_resid_post",
            games_source=f"random, seed 0, {n_games} games", games_fingerprint="3f2a9c01d4e5b677", **scale,
            first_ply=5, last_ply=53, seed=0,
            layer_norm="Folded into the weights that read; the final one is fixed at its mean scale.",
            versions={"othello-circuits": "0.1.0", "torch": "2.13.0", "transformer-lens": "4.3.0"},
            command=f"othello-circuits neuron {unit} --games random:{n_games} --seed 0",
            python=f'from reports import open_model; open_model().neuron("{unit}")',
        ),
        activity=r.Activity(f"blocks.{layer}.mlp.hook_post", act.mean(), act.std(), act.min(), act.max(),
                            float((act > 0).mean()), scale["all"]),
        patterns=fr.Patterns(fits, 960, "F1 on the training games", "activations permuted between games at the same "
                            "ply, then the best pattern and threshold chosen again", float(ply_r2), 1000,
                            scale["train"], scale["held_out"]),
        reads=r.Reads(f"blocks.{layer}.hook_resid_mid", 1.83, -0.71,
                      planted_board({"E2": 0.34, "D1": -0.41, "C0": 0.02}),
                      planted_board({"C0": 0.38, "D1": -0.15, "E2": -0.12}, centre=False),
                      planted_board({"D1": 0.1}), planted_board({"C0": -0.1}, centre=False),
                      r.Share(0.71 if story else 0.49, "the board probe’s directions", 124, d_model)),
        spectrum=r.Spectrum(edges, np.histogram(act, edges)[0], np.histogram(act[holds], edges)[0], fits[0].name,
                            threshold, scale["all"]),
        by_ply=r.ByPly(tuple(range(5, 54)), by_ply_mean, [np.quantile(act[ply == t], 0.1) for t in range(5, 54)],
                       [np.quantile(act[ply == t], 0.9) for t in range(5, 54)],
                       [int((ply == t).sum()) for t in range(5, 54)], "10 % and 90 % quantiles", scale["all"]),
        examples=examples,
        square_states=r.SquareStates(0.99, float(act[top[-1]]), len(top), *share, *base, scale["all"]),
        conditional_means=r.ConditionalMeans(act.mean(), act.std(), *conditional, *conditional_counts, scale["all"]),
        writes=r.Writes(f"blocks.{layer}.hook_resid_post", 0.92, planted_board({"C0": 0.1}),
                        planted_board({"C0": -0.3}, centre=False), logits, 14.2, "mean over the held-out positions",
                        r.Share(0.52, "the board probe’s directions", 124, d_model),
                        r.Share(0.44 if story else 0.25, "the 60 unembedding directions", 60, d_model)),
        neighbours=r.Neighbours(
            (r.Neighbour("L4N700", 0.31, "legal C0 via SE x1", 0.734), r.Neighbour("L3H2", -0.27),
             r.Neighbour("L3N12", 0.22, "D1 theirs", 0.5), r.Neighbour("L0N5", -0.2)),
            (r.Neighbour("L6N88", 0.36, "legal C0 via SE x1", 0.31), r.Neighbour("L7N3", -0.25, "C0 occupied", 0.2),
             r.Neighbour("L6N901", 0.19)),
            "cosine of the one’s output weight with the other’s input weight", layer * (NEURONS + HEADS),
            (LAYERS - 1 - layer) * NEURONS, 0.26, 0.24),
        causes=synthetic_causes(rng, board, fits[0].square, kind, layer, scale["held_out"]),
        checks=(r.CheckedCell("writes.logits.16", logits[16], logits[16] + 1e-7, 1e-4),),
    )  # fmt: skip
    return record if not changes else type(record)(**{**record.__dict__, **changes})


def synthetic_causes(rng, board, square, kind, layer, held_out) -> c.Causes:
    """A neuron that raises its square's logit where its fact holds and is switched on by two units; or does nothing."""
    story = kind in ("match", "partly")
    if kind == "dead":
        return c.Causes(None, None, None, None, None, "Hardly ever active: at 3 of 600 held-out positions.")

    def effect(mean, sd=0.05, p=None):
        return c.Effect(mean, mean - 2 * sd, mean + 2 * sd, p)

    def place(name, words, peak):
        values = 0.01 * rng.standard_normal(64)
        values[LABELS.index(square)] += peak
        change = board(values, centre=False)
        ends = [tuple(None if v is None else v + d for v in change) for d in (-0.1, 0.1)]
        p = board([0.001 if abs(v or 0) > 0.1 else 1.0 for v in change], centre=False)
        return c.Place(name, words, 120, 100, 2.5 if peak else 0.01, change, *ends, p)

    size = 0.9 if story else 0.0
    fact = "C0 can be taken by flipping D1 along the diagonal C0–E2"
    names = (("the fact holds", f"where {fact}"), ("the fact fails", "elsewhere"))
    if not story:
        words = "where its activation is above 0.2, as at 4.0 % of training positions"
        names = (("most active", words), ("elsewhere", "elsewhere"))
    methods = [
        c.Method(name, value, i, effect(-1.5 * size * (1 - i)), effect(-size * (1 - i)),
                 effect(0.33) if story and not i else None, effect(0.02 * size, 0.001), effect(0.001 * size, 0.0001))
        for i in range(2) for name, value in (("mean", 0.05), ("zero", 0.0), ("another game’s", None))
    ]  # fmt: skip
    others = tuple(0.01 * rng.standard_normal(20))
    without = c.Without(
        square=square, why="the square of its best fact", fact=fact if story else None,
        places=[place(*name, -size * (1 - i)) for i, name in enumerate(names)], methods=methods,
        controls=[c.Control(f, i, -size * (1 - i), others) for i in range(2) for f in ("logit", "KL")],
        own_places=c.OwnPlaces(-size, [c.Other(f"L{layer}N{i}", "D1", 20, 0.07 * i) for i in range(20)]),
        answers=[c.Answer(f"L{layer + 1} MLP", effect(0.4, p=0.001)), c.Answer("final LayerNorm", effect(0.01, p=0.9))],
        undone_by_layers=effect(0.36) if story else None, undone_by_norm=effect(-0.03) if story else None,
        random_units=[f"L{layer}N{i}" for i in range(20)], words="replaced at the position that is read",
        examples=[c.Ablated(f"3f2a9c01d4e5b677:g{i}:p20", i, 5.0, -size * (1 - i)) for i in range(2)],
    )  # fmt: skip
    if not story:
        return c.Causes(without, None, None, None, "it follows no single fact, so there is no fact to change")
    senders = [c.Sender("L4N700", effect(1.2, p=0.001), effect(1.4)), c.Sender("L3H2", effect(0.5, p=0.01), None)]
    layers = [c.LayerSum("embedding", effect(0.0, 0.01), 1)]
    layers += [c.LayerSum(f"L{i} {kind}s", effect(float(rng.normal()) / 4, 0.1), n)
               for i in range(layer) for kind, n in (("head", HEADS), ("neuron", NEURONS))]  # fmt: skip
    upstream = c.Upstream(
        1.7, -0.9, 1.6, -0.2, effect(2.6), effect(2.5), senders, (), 0.05, 2, 0, layer * (NEURONS + HEADS) + 1, layers,
        None,
    )  # fmt: skip
    alone = [c.Alone(f"{square}’s logit", d, 80, effect(s * 0.8), effect(s * 8.0), effect(0.1, 0.01), effect(0.3, 0.02))
             for d, s in (("clean → corrupt", 1), ("corrupt → clean", -1))]  # fmt: skip
    readers = [c.Reader("L6N88", effect(0.3, p=0.001), effect(1.1), 2.0), c.Reader("L7H3", effect(-0.1), None, None)]
    noise = [board(0.1 * rng.standard_normal(64), centre=i % 2 == 0) for i in range(4)]
    downstream = c.Downstream(
        square, alone, readers, 2, 3 * NEURONS, 0.05, effect(0.6), "blocks.7.hook_resid_post", *noise
    )
    kinds = {"last move changed": 20, "one move swapped": 60}
    pairs = c.PairSet(fact, 80, held_out.games, kinds, 3, 2, 1.0, "random, seed 0")
    return c.Causes(without, pairs, upstream, downstream, None)


@cache
def record_of(kind, unit="L5N12"):
    """One small record of each kind, made once."""
    return synthetic_record(seed=1, kind=kind, n_games=40, unit=unit)


def synthetic_index(records) -> ir.IndexRecord:
    from reports.site import index_entry

    p = records[0].provenance
    return ir.IndexRecord(
        title="Neurons of synthetic", provenance=p,
        model_note=f"{LAYERS} layers, {WIDTH} wide, trained on 916,352 random legal games.",
        quality=(
            ir.Quality("illegal top-1 rate", 0.0041, 0.86, "uniform over the 60 moves", True, "lower",
                      "how often the move it thinks most likely is illegal"),
            ir.Quality("illegal probability mass", 0.053, 0.86, "uniform over the 60 moves", True, "lower",
                      "probability given to illegal moves"),
            ir.Quality("top-N error", 0.44, 8.1, "uniform over the 60 moves", False, "lower",
                      "wrong moves among its N likeliest, N the number of legal ones, both kinds counted"),
        ),
        quality_sample=p.held_out,
        probe=tuple(ir.ProbeRow(f"blocks.{i}.hook_resid_post", a, 0.52, 0.73, 0.74) for i, a in
                    enumerate((0.888, 0.916, 0.932, 0.945, 0.948, 0.947, 0.941, 0.923, 0.896))),
        probe_sample=p.held_out,
        entries=tuple(index_entry(rec) for rec in records),
    )  # fmt: skip
