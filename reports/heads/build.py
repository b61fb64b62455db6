"""From the study of all heads to a record: everything that one head's page shows.

Most numbers come from the study (`probes.head_study`); the page adds the patterns of a few example games, the
connections in the weights, and one ablated position for the self-check. Every record is checked before it is returned.
"""

import math
import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version

import torch
from torch import Tensor

from circuits.head_sources import CATEGORIES, FACTS
from circuits.notation import N_CTX, N_SQUARES, Unit
from circuits.verdicts.records import Verdict
from circuits.weights import head_points
from probes.head_ablation import PLAY
from reports.build import PACKAGES, trained_by
from reports.causes.records import Effect
from reports.checks import check_record
from reports.fit_records import Sample
from reports.heads import records as hr
from reports.heads.checks import recompute, sampled_paths
from reports.heads.neighbours import neighbours
from reports.heads.positions import attended, check_games, example_games
from reports.records import Board, Provenance
from reports.workbench import Workbench

#: the groups shown, in their order, and what they are in words
GROUPS = {
    "itself": "the move just played",
    "mine": "moves of the side to move",
    "theirs": "other moves of the side that just moved",
    "first": "the first move of the game",
    "now mine": "discs that are mine now",
    "now theirs": "discs that are theirs now",
    "turned": "discs that have turned since",
    "flipped": "discs flipped by the last move",
    "in line": "squares in line with the last move’s",
    "beside": "neighbours of the last move’s square",
}
METHODS = {
    "mean": "its mean at that ply",
    "zero": "zero",
    "resample": "its output in another game at the same ply",
    "frozen pattern": "its own values under the mean pattern of the ply",
    "random direction": "its deviation from the mean, turned at random (a control of equal norm)",
}
LAYER_NORM = (
    "LayerNorm weights are folded into the weights that read the stream, and writing weights are centred. What a head "
    "writes is read in the stream itself, with no LayerNorm between; its logits are divided by the final LayerNorm’s "
    "scale at each position, frozen. In ablations every LayerNorm is recomputed."
)


def head_record(bench: Workbench, unit: Unit, chosen: str, verdict: Verdict | None = None) -> hr.HeadRecord:
    """The record of one head, checked; with a verdict on a rule, where one was tried on it.

    Raises:
        InputError: too few games to learn from some and test on others.
        PageError: a sampled number is not what another route gives.
    """
    check_games(bench)
    record = hr.HeadRecord(
        unit=str(unit),
        layer=unit.layer,
        index=unit.index,
        chosen=chosen,
        provenance=provenance(bench, unit),
        attention=_attention(bench, unit),
        examples=attended(bench, unit),
        moves=_moves(bench, unit),
        writes=_writes(bench, unit),
        reading=_reading(bench, unit),
        causes=_causes(bench, unit),
        neighbours=neighbours(bench.model, unit, bench.seed),
        verdict=verdict,
    )
    return replace(record, checks=check_record(record, recompute(bench, record), sampled_paths(record)))


def costliest(bench: Workbench) -> list[tuple[Unit, str]]:
    """One head of each layer: the one without which the prediction gets worse by most, and why it was chosen."""
    a = bench.heads.ablations
    cost = a.play[a["mean"], :, :, PLAY.index("kl_to_uniform_legal"), 0]
    found = []
    for layer, row in enumerate(cost):
        best = int(row.argmax())
        why = (
            f"costs most of its layer’s {len(row)}: without it the prediction is {float(row[best]):+.2g} nats farther "
            "from uniform over the legal moves"
        )
        found.append((Unit(layer, "head", best), why))
    return found


def provenance(bench: Workbench, unit: Unit | None = None) -> Provenance:
    """Where the numbers come from; of a set of pages where no unit is given."""
    model, study = bench.model, bench.heads
    read, write = head_points(unit or Unit(0, "head", 0))
    train, held = _train(bench), _held_out(bench)
    both = Sample("all", train.games + held.games, train.positions + held.positions)
    return Provenance(
        model_name=model.name,
        model_hash=model.hash,
        n_layers=model.shape.n_layers,
        d_model=model.shape.d_model,
        n_heads=model.shape.n_heads,
        d_mlp=model.shape.d_mlp,
        activation={"gelu_new": "tanh-GELU", "gelu": "GELU"}.get(model.shape.act, model.shape.act),
        probe_source=trained_by(bench),
        read_hook=read,
        write_hook=write,
        games_source=bench.games.source,
        games_fingerprint=bench.games.fingerprint,
        all=both,
        train=train,
        held_out=held,
        first_ply=study.about["first_ply"],
        last_ply=study.about["last_ply"],
        seed=bench.seed,
        layer_norm=LAYER_NORM,
        versions={"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        command=f"othello-circuits head {unit}{bench.options}" if unit else f"othello-circuits report{bench.options}",
        python="from reports import open_model; "
        + (f'open_model({bench.arguments}).head("{unit}")' if unit else f"open_model({bench.arguments})"),
    )


def _train(bench: Workbench) -> Sample:
    means = bench.heads.means
    return Sample("train", means.games, int(means.count.sum()))


def _held_out(bench: Workbench) -> Sample:
    a = bench.heads.attention
    return Sample("held-out", a.games, a.positions)


def _attention(bench: Workbench, unit: Unit) -> hr.Attention:
    at = unit.layer, unit.index
    study = bench.heads
    a, names = study.attention, CATEGORIES
    kind = study.kind(unit)
    offsets, uniform = a.by_offset()
    known = offsets[at].isfinite().nonzero().squeeze(1).tolist()
    first, last = study.about["first_ply"], study.about["last_ply"]
    pattern = a.pattern[at]
    return hr.Attention(
        kind=hr.Kind(kind.name, effect((kind.share, kind.low, kind.high)), kind.threshold, kind.agreement),
        groups=tuple(
            hr.Group(name, words, effect(a.to[at][names.index(name)]), float(a.uniform[names.index(name)]))
            for name, words in GROUPS.items()
        ),
        offsets=known,
        by_offset=[float(offsets[at][k]) for k in known],
        offset_uniform=[float(uniform[k]) for k in known],
        displacement=board((a.displacement()[at] - 1).flatten()),
        source=board(a.source_square()[at] - 1),
        first_ply=first,
        by_ply=tuple(tuple(round(v, 5) for v in pattern[t, : t + 1].tolist()) for t in range(first, last + 1)),
        distance=effect(a.tv[at]),
        from_uniform=float(a.tv_uniform[at]),
        unexplained=float(a.unexplained[at]),
        entropy=float(a.entropy[at]),
        entropy_uniform=a.entropy_uniform,
        sample=_held_out(bench),
    )


def _moves(bench: Workbench, unit: Unit) -> hr.Moves:
    w, at = bench.heads.writing, (unit.layer, unit.index)
    read, write = head_points(unit)
    own, elsewhere = (x[at] for x in w.ov_own())
    facts = tuple(
        hr.Moved(fact, board(w.ov[at][f].diagonal()), float(own[f]), float(elsewhere[f]), board(around(w.ov[at][f])))
        for f, fact in enumerate(FACTS)
        if own[f].isfinite()
    )
    links, boards = [], {}
    for f, source in enumerate(FACTS):
        for e, target in enumerate(FACTS):
            same, off = w.ov_weights[at][f, e], float(w.ov_weights_off[at][f, e])
            if same.isfinite().any() and math.isfinite(off):
                links.append(hr.Link(source, target, float(same.nanmean()), off))
                boards[source, target] = board(same)
    links.sort(key=lambda k: -abs(k.mean) / max(k.elsewhere, 1e-12))
    first = boards[links[0].source, links[0].target] if links else None
    return hr.Moves(read, write, facts, tuple(links), first, _train(bench))


def around(ov: Tensor) -> Tensor:
    """Mean over source squares of what is written on a target square, by where the target lies: [15 x 15]."""
    s = torch.arange(N_SQUARES)
    down, right = s[None] // 8 - s[:, None] // 8, s[None] % 8 - s[:, None] % 8
    place = ((down + 7) * 15 + right + 7).flatten()
    values = ov.double().flatten()
    known = values.isfinite()
    total = torch.zeros(225, dtype=torch.float64).index_add_(0, place[known], values[known])
    return (total / torch.bincount(place[known], minlength=225)).float()


def _writes(bench: Workbench, unit: Unit) -> hr.HeadWrites:
    w, at = bench.heads.writing, (unit.layer, unit.index)
    facts = tuple(
        hr.Separation(
            fact,
            board(w.separation[at][f]),
            board(w.separation_total[unit.layer, f]),
            effect(w.separation_all[at][f]),
            effect(w.separation_share[at][f]) if w.separation_share[at][f, 0].isfinite() else None,
        )
        for f, fact in enumerate(FACTS)
        if w.separation_all[at][f, 0].isfinite()
    )
    legal, illegal, occupied = (board(x) for x in w.logits[at])
    return hr.HeadWrites(
        hook=head_points(unit)[1],
        facts=facts,
        legal=legal,
        illegal=illegal,
        occupied=occupied,
        gap=effect(w.logit_gap[at]),
        gap_whole=float(w.logit_gap_total[0]),
        norm=float(w.norm[at]),
        stream_norm=float(w.stream_norm[unit.layer]),
        sample=_held_out(bench),
    )


def _reading(bench: Workbench, unit: Unit) -> hr.Reading:
    x, at, layer = bench.heads.reading, (unit.layer, unit.index), unit.layer

    def row(name: str, words: str, accuracy, recall=None) -> hr.Read | None:
        mean, low, high = (finite(v) for v in accuracy) if not isinstance(accuracy, float) else (accuracy, None, None)
        return None if mean is None else hr.Read(name, words, mean, low, high, recall and tuple(recall))

    rows = (
        row("constant", "always the commonest state at the square and ply", float(x.constant_square_ply),
            x.constant_recall.tolist()),
        row("random", "the same head of a model with random weights", (x.random[at], math.nan, math.nan)),
        row("layer", "all heads of its layer together, the same probe", x.layer[layer], x.layer_recall[layer].tolist()),
        row("before", "the stream that it reads from, the usual probe", (x.pre[layer], math.nan, math.nan),
            x.pre_recall[layer].tolist()),
        row("after", "the stream that it writes to, the usual probe", (x.mid[layer], math.nan, math.nan),
            x.mid_recall[layer].tolist()),
    )  # fmt: skip
    return hr.Reading(
        method="a softmax regression for each square, fitted on training games",
        accuracy=effect(x.accuracy[at]),
        recall=x.recall[at].tolist(),
        by_square=board(x.by_square[at]),
        baselines=tuple(r for r in rows if r is not None),
        sample=Sample("held-out", x.games, x.positions),
    )


def _causes(bench: Workbench, unit: Unit) -> hr.HeadCauses | None:
    """The ablations; None where the probes read none of the points that the head can change."""
    a, at = bench.heads.ablations, (unit.layer, unit.index)
    hooks = {0: head_points(unit)[1]}
    hooks |= {1 + i: f"blocks.{i}.hook_resid_post" for i in range(unit.layer, bench.model.shape.n_layers)}
    points = [p for p in hooks if a.board[a["mean"]][at][p].isfinite().all()]
    if not points:
        return None
    methods = tuple(
        hr.Without(
            method=method,
            words=METHODS[method],
            board=tuple(hr.PointChange(hooks[p], *(effect(e) for e in a.board[m][at][p])) for p in points),
            play=tuple(effect(e) for e in a.play[m][at]),
            kl=effect(a.kl[m][at]),
            games=int(a.games[m]),
            positions=int(a.positions[m]),
        )
        for m, method in enumerate(a.methods)
    )
    base = a.board_base[a["mean"]]
    rows = [(hooks[p], base[2 * unit.layer if p == 0 else 2 * p - 1]) for p in points]
    return hr.HeadCauses(
        methods=methods,
        base=tuple(hr.PointBase(hook, *row.tolist()) for hook, row in rows),
        play=PLAY,
        play_base=tuple(a.play_base[a["mean"]].tolist()),
        example=_ablated(bench, unit),
    )


def _ablated(bench: Workbench, unit: Unit) -> hr.AblatedPosition:
    """The prediction at one position with the head's output at its mean by ply, at every ply."""
    games = example_games(bench)[0]
    ply = min(20, int(games.lengths[0]) - 2, N_CTX - 1)
    mean = bench.heads.means.z[unit.layer, :, unit.index].to(bench.model.device)

    def edit(z: Tensor, hook) -> Tensor:
        z[:, :, unit.index] = mean[: z.shape[1]]
        return z

    original, changed = (
        bench.model.run(games.inputs, edit=edits)[0][0, ply].log_softmax(-1).double()
        for edits in ([], [(f"blocks.{unit.layer}.attn.hook_z", edit)])
    )
    kl = float((original.exp() * (original - changed)).sum())
    return hr.AblatedPosition(str(games.address(0, ply)), "mean", kl)


def effect(values: Tensor | Sequence[float]) -> Effect:
    """(mean, low, high) as a record; ends that are NaN (one game) are None."""
    mean, low, high = (float(v) for v in values)
    return Effect(mean, finite(low), finite(high))


def finite(value: Tensor | float) -> float | None:
    """A number, or None for NaN."""
    return float(value) if math.isfinite(float(value)) else None


def board(values: Tensor) -> Board:
    """Values as a record has them, to six digits: None for NaN."""
    return tuple(float(f"{v:.6g}") if math.isfinite(v) else None for v in values.tolist())
