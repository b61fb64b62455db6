"""From analyses to a record: everything that a neuron's page shows, gathered from one workbench.

Most numbers come from the mining pass; the page adds the weights, the pattern scores on the sampled games,
and one forward pass over the handful of games whose positions are drawn. Every record is checked before it
is returned: sampled numbers are computed again by another route (`reports.recompute`).
"""

import platform
from dataclasses import replace
from importlib.metadata import version

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits import attribution, fact_scores, patterns, weights
from circuits.directions import Directions
from circuits.errors import InputError
from circuits.notation import LABELS, N_SQUARES, SQUARE_TOKEN, Unit
from circuits.verdicts.records import Verdict
from reports import fit_records as fr
from reports import records as r
from reports.causes.section import causes
from reports.checks import check_record
from reports.neighbours import neighbours
from reports.positions import examples
from reports.recompute import recompute
from reports.workbench import Workbench

BINS = 48
TOP_SHARE = 0.99
PACKAGES = ("torch", "transformer-lens", "othello-circuits")


def neuron_record(bench: Workbench, unit: Unit, chosen: str, verdict: Verdict | None = None) -> r.NeuronRecord:
    """The record of one neuron, checked; with a verdict on a rule, where one was tried on it.

    Raises:
        PageError: a sampled number is not what another route gives.
    """
    gallery = bench.gallery
    scores = _scores(bench, unit)
    best = scores.scores[0] if scores and scores.scores else None
    acts = gallery.activations(unit)
    record = r.NeuronRecord(
        unit=str(unit),
        layer=unit.layer,
        index=unit.index,
        chosen=chosen,
        provenance=provenance(bench, unit),
        activity=_activity(bench, unit),
        patterns=_patterns(bench, scores),
        reads=_reads(bench, unit),
        spectrum=_spectrum(bench, acts, best),
        by_ply=_by_ply(bench, unit, acts),
        examples=examples(bench, unit, acts, best),
        square_states=_square_states(bench, acts),
        conditional_means=_conditional_means(bench, unit),
        writes=_writes(bench, unit),
        neighbours=neighbours(bench, unit),
        verdict=verdict,
    )
    record = replace(record, causes=causes(bench, record))
    return replace(record, checks=check_record(record, recompute(bench, record)))


def samples(bench: Workbench) -> dict[str, fr.Sample]:
    """The sets of positions that figures are over: all games, the sampled ones, and their two halves."""
    mining, gallery = bench.mining, bench.gallery
    n_sample, n_train = len(gallery.games), int(gallery.train.sum())
    whole = f"{n_sample} whole games drawn with seed {bench.seed}"
    return {
        "all": fr.Sample("all", mining.games, mining.positions),
        "sample": fr.Sample("all", n_sample, len(gallery), whole),
        "train": fr.Sample("train", gallery.n_train, n_train, f"part of {whole}"),
        "held-out": fr.Sample("held-out", gallery.n_held_out, len(gallery) - n_train, f"part of {whole}"),
    }


def provenance(bench: Workbench, unit: Unit | None = None) -> r.Provenance:
    """Where the numbers come from; of a set of pages where no unit is given."""
    model, sets = bench.model, samples(bench)
    layer = unit.layer if unit else 0
    read, write = weights.neuron_points(unit or Unit(layer, "neuron", 0))
    return r.Provenance(
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
        all=sets["all"],
        train=sets["train"],
        held_out=sets["held-out"],
        first_ply=bench.mining.first_ply,
        last_ply=bench.mining.last_ply,
        seed=bench.seed,
        layer_norm=(
            "LayerNorm weights are folded into the weights that read the stream, and writing weights are centred. "
            + attribution.LAYER_NORM
        ),
        versions={"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        command=f"othello-circuits neuron {unit}{bench.options}" if unit else f"othello-circuits report{bench.options}",
        python="from reports import open_model; "
        + (f'open_model({bench.arguments}).neuron("{unit}")' if unit else f"open_model({bench.arguments})"),
    )


def trained_by(bench: Workbench) -> str:
    """How the probes were made, in a few words."""
    about = bench.probes.about
    used = about.get("games", {})
    return (
        f"linear, {about.get('method', 'by an unstated method')}, trained on "
        f"{used.get('used', 'an unstated number of')} games ({used.get('source', 'source not stated')})"
    )


def _scores(bench: Workbench, unit: Unit) -> patterns.FactScores | None:
    try:
        return bench.gallery.score(unit)
    except InputError:  # too few games for any fact; the page says that none was tried
        return None


def _activity(bench: Workbench, unit: Unit) -> r.Activity:
    mining = bench.mining
    layer, n = unit.layer, unit.index
    return r.Activity(
        hook=f"blocks.{layer}.mlp.hook_post",
        mean=float(mining.mean()[layer, n]),
        sd=float(mining.variance()[layer, n].sqrt()),
        minimum=mining.examples(unit, "bottom")[0][1],
        maximum=mining.examples(unit, "top")[0][1],
        share_positive=float(mining.share_positive()[layer, n]),
        sample=samples(bench)["all"],
    )


def _patterns(bench: Workbench, scores: patterns.FactScores | None) -> fr.Patterns:
    sets = samples(bench)
    fits = []
    for s in scores.scores if scores else ():
        fact, held_out = patterns.parse_fact(s.fact), fr.Counts(*s.held_out)
        if isinstance(fact, patterns.Pattern):
            where = {"square": fact.square, "direction": fact.direction, "literal": None, "squares": fact.squares()}
        else:
            where = {"square": fact[0], "direction": None, "literal": fact[1], "squares": (fact[0],)}
        fits.append(
            fr.Fit(
                name=patterns.FACTS[s.fact],
                square=LABELS[where["square"]],
                direction=where["direction"],
                squares=tuple(LABELS[i] for i in where["squares"]),
                literal=where["literal"],
                threshold=s.threshold,
                train=fr.Counts(*s.train),
                held_out=held_out,
                f1_low=s.f1_interval[0],
                f1_high=s.f1_interval[1],
                shuffled_f1=_on_scale_of(scores.shuffled_skill, held_out.chance_f1),
                auc=s.auc,
                variance_explained=s.variance_explained,
            )
        )
    return fr.Patterns(
        fits=tuple(fits),
        n_candidates=scores.candidates if scores else 0,
        criterion=(
            f"skill on the training games (how far F1 gets from that of a neuron that is always on to 1), of the "
            f"{patterns.SHORTLIST} of highest correlation there; tried were those of {len(patterns.FACTS)} facts (960 "
            f"patterns, {len(patterns.FACTS) - 960} literals) that hold, and fail to, {patterns.MIN_OCCURRENCES} times "
            "in either half of the sample"
        ),
        shuffle=(
            "the same choice of fact and threshold on activations dealt to other games at the same ply, mean skill of "
            f"{patterns.SHUFFLES} deals, as an F1 at this fact’s base rate"
        ),
        ply_variance_explained=scores.ply_variance_explained if scores else 0.0,
        bootstrap_rounds=fact_scores.BOOTSTRAP,
        train=sets["train"],
        held_out=sets["held-out"],
    )


def _on_scale_of(skill: float, chance_f1: float) -> float:
    """The F1 that a skill means at the base rate of a fact whose always-on F1 is ``chance_f1``."""
    return chance_f1 + (1 - chance_f1) * skill


def _boards(vector: Float[Tensor, "d_model"], directions: Directions, fact: str) -> r.Board:
    return tuple(directions.board(weights.cosines(vector, directions), fact))


def _reads(bench: Workbench, unit: Unit) -> r.Reads:
    hook, _ = weights.neuron_points(unit)
    w = weights.neuron_input(bench.model, unit)
    board = bench.probes["board", hook].directions()
    extra = {
        fact: _boards(w, bench.probes[fact, hook].directions(), fact) if (fact, hook) in bench.probes else None
        for fact in ("flipped", "played")
    }
    return r.Reads(
        hook=hook,
        norm=float(w.norm()),
        bias=float(bench.model.b_in(unit.layer)[unit.index]),
        mine=_boards(w, board, "mine"),
        empty=_boards(w, board, "empty"),
        share=_share(w, board.vectors, f"the board probe’s {len(board)} directions", bench),
        **extra,
    )


def _share(vector: Tensor, basis: Tensor, space: str, bench: Workbench) -> r.Share:
    share = weights.share_inside(vector, basis)
    return r.Share(share.value, space, share.rank, bench.model.shape.d_model - 1)


def _writes(bench: Workbench, unit: Unit) -> r.Writes:
    _, hook = weights.neuron_points(unit)
    w = weights.neuron_output(bench.model, unit)
    board = bench.probes["board", hook].directions()
    scale = bench.mining.final_scale
    logits = (weights.neuron_logits(bench.model, unit) / scale).tolist()
    place = SQUARE_TOKEN.tolist()
    return r.Writes(
        hook=hook,
        norm=float(w.norm()),
        mine=_boards(w, board, "mine"),
        empty=_boards(w, board, "empty"),
        logits=tuple(logits[place[s] - 1] if place[s] else None for s in range(N_SQUARES)),
        logit_scale=scale,
        logit_scale_note=f"mean over the {bench.mining.positions:,} mined positions",
        share_probe=_share(w, board.vectors, f"the board probe’s {len(board)} directions", bench),
        share_unembed=_share(
            w, weights.unembedding(bench.model), "the 60 moves’ unembedding, relative to its mean", bench
        ),
    )


def _spectrum(bench: Workbench, acts: Tensor, best: patterns.Score | None) -> r.Spectrum:
    low, high = float(acts.min()), float(acts.max())
    if high <= low:  # a constant neuron still has a histogram
        low, high = low - 0.5, high + 0.5
    edges = torch.linspace(low, high, BINS + 1, dtype=torch.float64)
    edges[0], edges[-1] = low, high
    bins = torch.bucketize(acts.double(), edges[1:-1], right=True)
    holds = bench.gallery.fact(best.fact) if best else torch.zeros(len(acts), dtype=torch.bool)
    return r.Spectrum(
        edges=tuple(edges.tolist()),
        counts=tuple(torch.bincount(bins, minlength=BINS).tolist()),
        holds=tuple(torch.bincount(bins[holds], minlength=BINS).tolist()),
        fact=patterns.FACTS[best.fact] if best else "no fact was tried",
        threshold=best.threshold if best else None,
        sample=samples(bench)["sample"],
    )


def _by_ply(bench: Workbench, unit: Unit, acts: Tensor) -> r.ByPly:
    """Means over all mined games; the band from the sampled games, whose activations are kept one by one."""
    mining, gallery = bench.mining, bench.gallery
    met = mining.count > 0
    plies = (torch.arange(mining.first_ply, mining.last_ply + 1)[met]).tolist()
    mean = mining.ply_mean(unit)[met].tolist()
    ends = torch.tensor([0.1, 0.9])
    bands = [acts[gallery.ply == p].quantile(ends).tolist() if (gallery.ply == p).any() else None for p in plies]
    whole = all(b is not None for b in bands)
    return r.ByPly(
        plies=tuple(plies),
        mean=tuple(mean),
        low=tuple(b[0] for b in bands) if whole else None,
        high=tuple(b[1] for b in bands) if whole else None,
        count=tuple(mining.count[met].tolist()),
        band=f"10 % and 90 % quantiles over the {len(gallery.games)} sampled games",
        sample=samples(bench)["all"],
    )


def _square_states(bench: Workbench, acts: Tensor) -> r.SquareStates:
    state = bench.gallery.state
    n_top = max(1, round(len(acts) * (1 - TOP_SHARE)))
    threshold = float(acts.sort(descending=True).values[n_top - 1])
    top = acts >= threshold

    def shares(rows: Tensor, value: int) -> r.Board:
        return tuple((state[rows] == value).double().mean(0).tolist())

    everything = torch.ones_like(top)
    return r.SquareStates(
        TOP_SHARE, threshold, int(top.sum()),
        *(shares(rows, value) for rows in (top, everything) for value in range(3)),
        samples(bench)["sample"],
    )  # fmt: skip


def _conditional_means(bench: Workbench, unit: Unit) -> r.ConditionalMeans:
    means, counts = bench.mining.state_means(unit)

    def board(row: Tensor, n: Int[Tensor, "square"]) -> r.Board:
        return tuple(float(v) if c else None for v, c in zip(row, n, strict=True))

    activity = _activity(bench, unit)
    return r.ConditionalMeans(
        activity.mean, activity.sd,
        *(board(row, n) for row, n in zip(means, counts, strict=True)),
        *(tuple(n.tolist()) for n in counts),
        activity.sample,
    )  # fmt: skip
