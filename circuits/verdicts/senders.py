"""Which upstream units carry a fact to a subject: found on some counterfactual pairs, verified on others.

In pairs that toggle one fact (`circuits.verdicts.pairs`) every neuron and head before the subject, and the embedding of
the last move, is given its corrupt output in the subject's clean input, each alone, along the direct path only:

    effect of s = what the subject reads of LN(x_clean + d_s) less that of LN(x_clean)
    d_s         = what s writes in the corrupt run less what it writes in the clean one

with the LayerNorm recomputed: exact path patching at the last ply (`circuits.causes.senders`). What is read is a
neuron's pre-activation; a direction's coordinate of the stream; a set's scalar, each member through its non-linearity.

    found       on half of the pairs' games: the units of the largest mean effect either way, each as a share of the
                whole change that the toggle makes in what is read
    verified    on the other half: effect on the activation, act(pre + effect) - act(pre), as a share of the distance
                between its means where the rule holds and where it fails; sign-flip p over games, Holm over all
                units verified

A neuron *excites* where more of it raises what the subject reads, and *inhibits* where more of it lowers that: one that
is active while the fact fails, and inhibits, carries it as well as one that is active while it holds, and excites.
Heads have no one activation: they *carry* the fact, or *oppose* it where losing it raises the subject. Paths
through other units, and units at earlier plies, which only attention brings, are not counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuits.causes.effects import ratio_of_sums, summarise
from circuits.causes.nodes import Node
from circuits.causes.places import place_of_point, read_at
from circuits.causes.senders import Reading, sender_effects, senders_before
from circuits.gpt import activation
from circuits.hashing import mix64
from circuits.rules.atoms import Atom
from circuits.verdicts.pair_runs import EndRuns
from circuits.verdicts.records import Estimate, Sender
from circuits.verdicts.scores import FLIPS, holm
from circuits.verdicts.subjects import Subject

#: upstream units named for each fact
MOST = 4
#: pairs in each half, at the least
LEAST = 10


@dataclass(frozen=True, eq=False)
class Carried:
    """What each sender carries of a toggle, [sender, pair], corrupt less clean.

    Senders are those of `senders.senders_before`, in its order.

    Attributes:
        read: effects on what the subject reads; whole: [pair], the change of all that it reads.
        acts: effects on its scalar.
    """

    read: Float[Tensor, "sender pair"]
    whole: Float[Tensor, "pair"]
    acts: Float[Tensor, "sender pair"]


def why_not(subject: Subject) -> str:
    """Why a subject's senders are not asked for, "" where they can be."""
    act = subject.model.shape.act
    if subject.kind == "head":
        return "what feeds a head’s queries, keys and values, at every ply, is asked with circuits.causes.senders"
    if act == "solu" and subject.kind != "direction":
        return "SoLU mixes the neurons of a layer, so that no single one has inputs of its own"
    return ""


def carried(subject: Subject, runs: EndRuns) -> Carried:
    """The direct effects of every sender on a neuron, a direction or a set."""
    model, weights = runs.model, torch.ones(len(subject.nodes)) if subject.weights is None else subject.weights
    places = read_places(subject)
    pairs, shape = len(runs.pairs), model.shape
    count = 1 + sum(shape.d_mlp if place % 2 else shape.n_heads for place in range(max(places)))
    read, acts, whole = torch.zeros(count, pairs), torch.zeros(count, pairs), torch.zeros(pairs)
    act = activation(model.shape.act)
    for node, place, weight in zip(subject.nodes, places, weights.tolist(), strict=True):
        x, y = (run.stream[place][:, 0] for run in (runs.clean, runs.corrupt))
        through_norm = subject.kind != "direction"
        vector = model.W_in(node.layer)[:, node.index] if through_norm else subject.vector
        reading = Reading(x, vector.expand(len(x), -1), model.shape.eps if through_norm else None)
        change = torch.cat([exact for _, exact in sender_effects(runs.base, runs.corrupt, reading, place)]).cpu()
        total = (Reading(y, reading.read, reading.eps).now - reading.now).cpu()
        own = slice(len(change))  # a member of an earlier layer has fewer senders, the first ones of all
        if through_norm:
            pre = (reading.now + model.b_in(node.layer)[node.index]).cpu()
            after = act(pre + change) - act(pre)
        else:
            after = change
        acts[own] += weight * after
        read[own] += change if len(places) == 1 else weight * after
        whole += total if len(places) == 1 else weight * (act(pre + total) - act(pre))
    return Carried(read, whole, acts)


def read_places(subject: Subject) -> list[int]:
    """The places of the stream (`circuits.causes.places`) at which a subject's parts read."""
    shape, direction = subject.model.shape, subject.kind == "direction"
    return [place_of_point(node.hook, shape) if direction else read_at(node) for node in subject.nodes]


def senders(
    subject: Subject, runs: Mapping[Atom, EndRuns], gap: float, most: int = MOST
) -> tuple[tuple[Sender, ...], tuple[str, ...]]:
    """The units that carry each toggled fact, and why there are none for some of the facts.

    Args:
        runs: by atom, of the pairs that toggle it.
        gap: the activation's mean where the rule holds less that where it fails.
    """
    if reason := why_not(subject):
        return (), (reason,)
    nodes = senders_before(subject.model, max(read_places(subject)))
    rows, p, reasons = [], [], []
    for atom, own in runs.items():
        half = first_half(own)
        if min(int(half.sum()), int((~half).sum())) < LEAST:
            reasons.append(f"{atom}: {len(half)} pairs are too few to find its senders on one half and verify them")
            continue
        found = carried(subject, own)
        games = own.pairs.game
        _, game = games[half].unique(return_inverse=True)
        sums = torch.zeros(len(nodes) + 1, int(game.max()) + 1, dtype=torch.float64)
        sums.index_add_(1, game, torch.cat([found.read, found.whole[None]])[:, half].double())
        chosen = sums[:-1].sum(1).abs().topk(min(most, len(nodes))).indices
        shares = ratio_of_sums(sums[chosen], sums[-1:])
        if shares.value.isnan().any():
            reasons.append(f"{atom}: its toggles do not change what {subject.name} reads, by the interval over games")
            continue
        summary = summarise(found.acts[chosen][:, ~half], games[~half], flips=FLIPS)
        p += [round(one, 6) for one in summary.p.tolist()]
        for i, row in enumerate(chosen.tolist()):
            effect = [float(getattr(summary, name)[i]) for name in ("mean", "low", "high")]
            share = Estimate(*(float(getattr(shares, name)[i]) for name in ("value", "low", "high")))
            sign = _direction(own, nodes[row], float(found.read[row, half].mean()), effect[0])
            rows.append((str(nodes[row]), str(atom), share, scaled(*effect, -gap), sign))
    corrected = holm(torch.tensor(p, dtype=torch.float64)).tolist()
    named = (
        Sender(unit, literal, share, verified, round(family, 6), sign, "", None)
        for (unit, literal, share, verified, sign), family in zip(rows, corrected, strict=True)
    )
    return tuple(named), tuple(reasons)


def _direction(runs: EndRuns, node: Node, read: float, effect: float) -> str:
    """What a sender does to the subject, from its change, corrupt less clean, and that of what is read."""
    if node.kind != "neuron":
        return "carries" if effect < 0 else "opposes"
    clean, corrupt = (run.post[node.layer][:, 0, node.index] for run in (runs.clean, runs.corrupt))
    return "excites" if float((corrupt - clean).mean()) * read > 0 else "inhibits"


def first_half(runs: EndRuns) -> Bool[Tensor, "pair"]:
    """Which pairs are of the half of the games on which senders are looked for."""
    return (mix64(runs.pairs.game + 1) & 1).bool()


def scaled(mean: float, low: float, high: float, by: float) -> Estimate | None:
    """An estimate over a number; None over next to nothing. No interval where it is NaN."""
    if abs(by) < 1e-9:
        return None
    ends = sorted((low / by, high / by))
    known = ends[0] == ends[0] and ends[1] == ends[1]
    return Estimate(mean / by, *(ends if known else (None, None)))
