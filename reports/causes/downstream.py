"""What a neuron alone does to the rest of the model between the two runs of counterfactual pairs.

The neuron takes its activation from the other run, at every ply from the first move that differs, and everything after
it is recomputed: the logits, the later units, and the board that the probe reads.
"""

from dataclasses import replace

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from circuits.causes import metrics
from circuits.causes.ablation import scale
from circuits.causes.effects import summarise
from circuits.causes.incremental import output
from circuits.causes.nodes import Node, head, neuron
from circuits.causes.pair_runs import DIRECTIONS, Run
from circuits.causes.pairs import Pairs
from circuits.causes.places import place_of_point
from circuits.causes.recorded_games import Paired, PairRuns
from circuits.notation import LABELS, N_SQUARES, PLAYABLE
from reports.causes import records as c
from reports.causes.subject import ALPHA, Subject, effect, effect_of, move_vector, share_of

#: later units listed
LISTED = 10


@torch.no_grad()
def downstream(subject: Subject, paired: Paired) -> c.Downstream:
    """The neuron alone patched, in both directions."""
    pairs, game = paired.pairs, paired.pairs.game
    alone, asked = [], list(_metrics(subject, pairs))
    for direction, both in zip(DIRECTIONS, (paired, paired.swapped), strict=True):
        patched = [_patched(subject, run) for run in both.runs]
        if both is paired:
            kept = patched
        layer = [_layer_patched(subject, run) for run in both.runs]
        for name, metric, rows in asked:
            base, other, after, whole_layer = (
                _measured(both, streams, metric)[rows]
                for streams in (
                    [run.chunk.base.stream[-1] for run in both.runs],
                    [run.clean.stream[-1] for run in both.runs],
                    [p.stream[-1] for p in patched],
                    layer,
                )
            )
            effects, whole, g = after - base, other - base, game[rows]
            alone.append(
                c.Alone(
                    name, direction, len(g), effect_of(effects, g), effect_of(whole, g), share_of(effects, whole, g),
                    share_of(whole_layer - base, whole, g),
                )
            )  # fmt: skip
    square, _ = subject.square
    readers, n_readers, n_later = _readers(subject, paired, kept)
    hook = _board_hook(subject)
    boards = _boards(subject, paired, kept, hook)
    return c.Downstream(
        LABELS[square], tuple(alone), readers, n_readers, n_later, ALPHA, _direct(subject, paired), hook, *boards
    )


def _change(subject: Subject, run: PairRuns) -> Float[Tensor, "row ply"]:
    """Of the neuron's activation, from the base run to the other."""
    layer, i = subject.unit.layer, subject.unit.index
    return run.clean.post[layer][:, :, i] - run.chunk.base.post[layer][:, :, i]


def _patched(subject: Subject, run: PairRuns) -> Run:
    """The base run with the neuron from the other one; ``stream`` from the place that it writes to on."""
    chunk, layer = run.chunk, subject.unit.layer
    written = _change(subject, run)[..., None] * chunk.model.W_out(layer)[subject.unit.index]
    place, kept = 2 * layer + 2, Run(torch.empty(0, 0, 0), [], [], [], [], [], [])
    x = chunk.base.stream[place] + written
    for at in range(place, 2 * chunk.model.shape.n_layers):
        kept.stream.append(x)
        x = chunk.step(at, x, kept)
    kept.stream.append(x)
    return kept


def _layer_patched(subject: Subject, run: PairRuns) -> Tensor:
    """The final stream of the base run with the neuron's whole MLP layer from the other one."""
    before, place = 2 * subject.unit.layer + 1, 2 * subject.unit.layer + 2
    written = run.clean.stream[place] - run.clean.stream[before]
    return run.chunk.carried(run.chunk.base.stream[before] + written, place, 2 * subject.recorded.model.shape.n_layers)


def _metrics(subject: Subject, pairs: Pairs):
    """(name, metric over the pairs, rows that it is of)."""
    square, _ = subject.square
    everything = torch.arange(len(pairs))
    yield f"{LABELS[square]}’s logit", metrics.logit(square), everything
    differ = pairs.legal_differs
    if int(differ.sum()) > 1:
        some = metrics.newly_legal(pairs[differ])
        place = (differ.cumsum(0) - 1).clamp_min(0)
        # Rows of pairs that do not differ read some other pair's moves, and are left out by the caller.
        yield (
            "newly legal moves’ logits",
            replace(some, of=lambda x, pair: some.of(x, place[pair])),
            differ.nonzero()[:, 0],
        )


def _measured(paired: Paired, streams: list[Tensor], metric) -> Float[Tensor, "pair"]:
    streams = iter(streams)

    def of(run: PairRuns) -> Tensor:
        x = run.window.last(next(streams))
        return metric(output(run.chunk.model, x, metric.point), run.window.pair)

    return paired.gather(of)


def _direct(subject: Subject, paired: Paired) -> c.Effect:
    u = move_vector(subject.recorded.model, subject.square[0])
    w = subject.recorded.model.W_out(subject.unit.layer)[subject.unit.index] @ u

    def of(run: PairRuns) -> Tensor:
        s = scale(run.chunk.model, run.window.last(run.chunk.base.stream[-1]))[:, 0]
        return run.window.last(_change(subject, run)) * w / s

    return effect_of(paired.gather(of), paired.pairs.game)


def _readers(subject: Subject, paired: Paired, kept: list[Run]) -> tuple[tuple[c.Reader, ...], int, int]:
    """Later units by the change of what they add to the square's logit."""
    model, game = subject.recorded.model, paired.pairs.game
    first, s = subject.unit.layer + 1, model.shape
    layers = range(first, s.n_layers)
    if not layers:
        return (), 0, 0
    u = move_vector(model, subject.square[0])
    nodes = [node(layer, i) for layer in layers for node, n in ((head, s.n_heads), (neuron, s.d_mlp)) for i in range(n)]
    runs = iter(kept)

    def added(run: PairRuns) -> Float[Tensor, "unit row"]:
        after, base, last = next(runs), run.chunk.base, run.window.last
        rows = []
        for j, layer in enumerate(layers):
            z = last(after.z[j]) - last(base.z[layer])
            w = einsum(model.W_O(layer), u, "head d_head d_model, d_model -> head d_head")
            rows.append(einsum(z, w, "row head d_head, head d_head -> head row"))
            rows.append(((last(after.post[j]) - last(base.post[layer])) * (model.W_out(layer) @ u)).T)
        return torch.cat(rows) / scale(model, last(base.stream[-1]))[:, 0]

    effects = paired.gather(added)
    family = summarise(effects, game, bootstrap=2)
    sure = (family.p_family <= ALPHA).nonzero()[:, 0]
    listed = sure[family.mean[sure].abs().argsort(descending=True)][:LISTED].tolist()
    if not listed:
        return (), 0, len(nodes)
    rows = summarise(effects[listed], game, flips=1)

    def reader(k: int, i: int) -> c.Reader:
        node = nodes[i]
        changed = whole = None
        if node.kind == "neuron":
            runs = iter(kept)

            def change(run: PairRuns, other: Run | None = None) -> Tensor:
                base = run.window.last(run.chunk.base.post[node.layer])[:, node.index]
                return run.window.last(next(runs).post[node.layer - first])[:, node.index] - base

            changed = effect_of(paired.gather(change), game)
            whole = float(paired.gather(lambda run: _difference(run, node)).mean())
        return c.Reader(str(node), replace(effect(rows, k), p=float(family.p_family[i])), changed, whole)

    return tuple(reader(k, i) for k, i in enumerate(listed)), len(sure), len(nodes)


def _difference(run: PairRuns, node: Node) -> Float[Tensor, "row"]:
    """Of a neuron's activation between the two runs, at the position asked about."""
    a, b = (run.window.last(r.post[node.layer])[:, node.index] for r in (run.clean, run.chunk.base))
    return a - b


def _board_hook(subject: Subject) -> str:
    """Where the board is read: after the last layer but one, or the neuron's own where that is later or not probed."""
    n, layer = subject.recorded.model.shape.n_layers, subject.unit.layer
    late = f"blocks.{max(layer, n - 2)}.hook_resid_post"
    return late if ("board", late) in subject.bench.probes else f"blocks.{layer}.hook_resid_post"


def _boards(subject: Subject, paired: Paired, kept: list[Run], hook: str) -> list[tuple[float | None, ...]]:
    """Changes of the probe's log-odds: mine, empty, by the neuron alone; and those of the whole pair."""
    place = place_of_point(hook, subject.recorded.model.shape)
    probe = subject.bench.probes["board", hook].weight
    empty, theirs, mine = probe.unbind(-1)
    weights = (mine - theirs, empty - (mine + theirs) / 2)
    total = torch.zeros(2, probe.shape[0])
    for run, after in zip(paired.runs, kept, strict=True):
        last, base = run.window.last, run.chunk.base.stream[place]
        for k, x in enumerate((after.stream[place - 2 * subject.unit.layer - 2], run.clean.stream[place])):
            total[k] += (last(x) - last(base)).sum(0).cpu()
    boards = []
    for x in total / len(paired.pairs):
        for k, w in enumerate(weights):
            values = (x @ w.to(x)).tolist()
            boards.append(tuple(values[s] if k == 0 or s in PLAYABLE else None for s in range(N_SQUARES)))
    return boards
