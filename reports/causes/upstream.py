"""What switches a neuron on and off between the two runs of counterfactual pairs.

Direct paths into the neuron's pre-activation at the pair's ply (`circuits.causes.senders`); the strongest of them are
run again, patched at every ply and with everything up to the neuron recomputed.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.causes.effects import summarise
from circuits.causes.nodes import Node
from circuits.causes.pair_runs import Run
from circuits.causes.pairs import Pairs
from circuits.causes.places import written_at
from circuits.causes.recorded_games import Paired, PairRuns
from circuits.causes.senders import Reading, sender_effects, senders_before
from circuits.gpt import activation
from circuits.notation import LABELS, PLAYABLE
from reports.causes import records as c
from reports.causes.subject import ALPHA, Subject, effect, effect_of

#: senders listed of either sign, and run again
LISTED, RUN_AGAIN = 5, 2


@torch.no_grad()
def upstream(subject: Subject, paired: Paired) -> c.Upstream:
    """Senders into the neuron, from the clean run into the corrupt one."""
    model, unit, game = subject.recorded.model, subject.unit, paired.pairs.game
    place, eps = 2 * unit.layer + 1, model.shape.eps
    W, b = model.W_in(unit.layer)[:, unit.index], model.b_in(unit.layer)[unit.index]

    def reading(run: PairRuns, of: Run) -> Reading:
        x = run.window.last(of.stream[place])
        return Reading(x, W.expand(len(x), -1), eps)

    def senders(run: PairRuns) -> Float[Tensor, "2 sender row"]:
        parts = zip(*sender_effects(run.chunk, run.clean, reading(run, run.chunk.base), place), strict=True)
        return torch.stack([torch.cat(part) for part in parts])

    def frozen_total(run: PairRuns) -> Tensor:
        r = reading(run, run.chunk.base)
        x, y = (run.window.last(of.stream[place]) for of in (run.chunk.base, run.clean))
        return r.frozen(((y - x) * r.read).sum(-1))

    clean, corrupt = (
        paired.gather(lambda run, side=side: reading(run, run.clean if side else run.chunk.base).now + b)
        for side in (1, 0)
    )
    frozen, recomputed = paired.gather(senders)
    nodes = senders_before(model, place)
    # The family is all senders; intervals are only wanted of those listed.
    family = summarise(recomputed, game, bootstrap=2)
    sure = family.p_family <= ALPHA
    order = family.mean.argsort(descending=True).tolist()
    on = [i for i in order if sure[i] and family.mean[i] > 0]
    off = [i for i in reversed(order) if sure[i] and family.mean[i] < 0]
    listed = on[:LISTED] + off[:LISTED]
    again = on[:RUN_AGAIN] + off[:RUN_AGAIN]
    rows = summarise(recomputed[listed], game, flips=1) if listed else None
    totals = {i: effect_of(_by_every_path(paired, nodes[i], reading, place), game) for i in again}

    def sender(i: int) -> c.Sender:
        direct = replace(effect(rows, listed.index(i)), p=float(family.p_family[i]))
        return c.Sender(str(nodes[i]), direct, totals.get(i))

    act = activation(model.shape.act)
    solu = model.shape.act == "solu"
    acts = [
        paired.gather(
            lambda run, side=side: run.window.last((run.clean if side else run.chunk.base).post[unit.layer])[
                :, unit.index
            ]
        )
        if solu
        else act(pre)
        for side, pre in ((1, clean), (0, corrupt))
    ]
    return c.Upstream(
        clean=float(clean.mean()),
        corrupt=float(corrupt.mean()),
        clean_activation=float(acts[0].mean()),
        corrupt_activation=float(acts[1].mean()),
        total=effect_of(clean - corrupt, game),
        frozen=effect_of(paired.gather(frozen_total), game),
        on=tuple(map(sender, on[:LISTED])),
        off=tuple(map(sender, off[:LISTED])),
        alpha=ALPHA,
        n_on=len(on),
        n_off=len(off),
        n_senders=len(nodes),
        layers=_layer_sums(nodes, frozen, game),
        example=_sent_pair(paired.pairs, nodes, frozen, again[0]) if again else None,
    )


def _by_every_path(paired: Paired, node: Node, reading, place: int) -> Float[Tensor, "pair"]:
    """Patch one sender at every ply and recompute everything between it and the neuron."""

    def run_again(run: PairRuns) -> Tensor:
        chunk, at = run.chunk, written_at(node)
        change = run.clean.written(chunk.model, node) - chunk.base.written(chunk.model, node)
        x = chunk.carried(chunk.base.stream[at] + change, at, place)
        r = reading(run, chunk.base)
        return Reading(run.window.last(x), r.read, r.eps).now - r.now

    return paired.gather(run_again)


def _layer_sums(nodes, frozen, game) -> tuple[c.LayerSum, ...]:
    names = ["embedding" if n.kind == "embed" else f"L{n.layer} {n.kind}s" for n in nodes]
    parts = list(dict.fromkeys(names))
    group = torch.tensor([parts.index(name) for name in names])
    sums = torch.zeros(len(parts), frozen.shape[1]).index_add_(0, group, frozen)
    s = summarise(sums, game, flips=1)
    return tuple(c.LayerSum(part, effect(s, i), int((group == i).sum())) for i, part in enumerate(parts))


def _sent_pair(pairs: Pairs, nodes, frozen, i: int) -> c.SentPair:
    def moves(tokens: Tensor) -> str:
        return " ".join(LABELS[PLAYABLE[t - 1]] for t in tokens.tolist() if t)

    k = int(frozen[i].abs().argmax())
    return c.SentPair(moves(pairs.clean[k]), moves(pairs.corrupt[k]), str(nodes[i]), float(frozen[i, k]))
