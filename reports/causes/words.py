"""The sentences and captions of a page's causal section, drawn from its numbers.

An effect is called one only where its interval excludes zero; where it does not, the sentence says so.
"""

import math
from statistics import median

from circuits.notation import LABELS
from reports.causes.records import Causes, Downstream, Effect, OwnPlaces, PairSet, Upstream, Without
from reports.headline import listed
from reports.text import count, fixed, number, percent

#: what is smaller than this, with its whole interval, is written as about zero
ZERO = 5e-5
#: the part after a neuron that is no layer
NORM = "final LayerNorm"
#: a largest of many is named where its corrected p is at most this
ALPHA = 0.05
#: a direct effect smaller than this, in logits, is not worth asking what became of it
SMALL = 0.005


def places(e: Effect) -> int:
    """Decimals that show two or three digits of its largest end: 17.5, 2.62, 0.127; four at most."""
    size = largest(e)
    return 2 if size == 0 else min(4, max(1, 1 - math.floor(math.log10(size / 3))))


def largest(e: Effect) -> float:
    return max(abs(v) for v in (e.mean, e.low, e.high) if v is not None)


def mean(e: Effect, sign: bool = True) -> str:
    """The mean with as many decimals as its interval."""
    return fixed(e.mean, places(e), sign)


def interval(e: Effect) -> str:
    """The ends in brackets: "[−0.20, −0.07]"."""
    if e.low is None or e.high is None:
        return "[one game: no interval]"
    return f"[{fixed(e.low, places(e))}, {fixed(e.high, places(e))}]"


def with_interval(e: Effect) -> str:
    """ "−0.13 [−0.20, −0.07]" """
    return f"{mean(e)} {interval(e)}"


def share(e: Effect) -> str:
    """A share with its interval: "57 % [32 %, 78 %]"."""
    if e.low is None or e.high is None:
        return percent(e.mean, 0)
    return f"{percent(e.mean, 0)} [{percent(e.low, 0)}, {percent(e.high, 0)}]"


def without(w: Without) -> str:
    """What its ablation does to the square's logit, here and there, beside other neurons at their own places."""
    rows = [m for m in w.methods if m.method == w.methods[0].method]
    parts = []
    for i, (row, place) in enumerate(zip(rows, w.places, strict=True)):
        subject = f"{w.square}’s logit" if i == 0 else "it"
        e = row.total
        if not e.sure:
            by = with_interval(e) if largest(e) >= ZERO else "less than 0.0001 either way"
            parts.append(f"{subject} does not change measurably {place.words} ({by})")
        else:
            verb = "rises" if e.mean > 0 else "falls"
            by = f"{fixed(abs(e.mean), places(e))} {_sizes(e)}" if largest(e) >= ZERO else "less than 0.0001"
            parts.append(f"{subject} {verb} by {by} {place.words}")
            if i == 0:
                parts[0] += f", {beside(w.own_places)}"
    return f"Without it (set to its {w.methods[0].method}), {'; '.join(parts)}. {_most_changed(w)}".strip()


def _sizes(e: Effect) -> str:
    """The interval of a change whose sign is in the verb before it."""
    if e.low is None or e.high is None:
        return interval(e)
    low, high = sorted((abs(e.low), abs(e.high)))
    return f"[{fixed(low, places(e))}, {fixed(high, places(e))}]"


def _most_changed(w: Without) -> str:
    """The move whose logit changes most at the first place; nothing where that could be chance among 60 moves."""
    p = w.places[0]
    s = max((s for s in range(64) if p.change[s] is not None), key=lambda s: abs(p.change[s]))
    e = Effect(p.change[s], p.low[s], p.high[s], p.p[s])
    if not e.sure or e.p > ALPHA:
        return ""
    if LABELS[s] == w.square:
        return "No other move’s logit changes more there."
    return (
        f"Of the 60 moves’ logits {LABELS[s]}’s changes most there ({with_interval(e)}; p = {number(e.p, 1)}, "
        "corrected for the 60)."
    )


def beside(own: OwnPlaces) -> str:
    """The comparison in words: "a larger effect than 14 of 20 other neurons of its layer have on their own moves where
    they are most active (median 0.05, at most 0.4)"."""
    n, sizes = len(own.others), sorted(abs(o.effect) for o in own.others)
    if not n:
        return "with no other neuron in its layer to compare"
    spread = f"median {number(median(sizes), 2)}, at most {number(sizes[-1], 2)}"
    if own.exceeded in (0, n):
        more = "a larger effect than any" if own.exceeded else "a smaller effect than each"
        return f"{more} of {n} other neurons of its layer has on its own move where it is most active ({spread})"
    many = f"a larger effect than {own.exceeded} of {n} other neurons of its layer"
    return f"{many} have on their own moves where they are most active ({spread})"


def undone(w: Without) -> str:
    """What the later layers and the final LayerNorm do about it."""
    row = w.methods[0]
    if largest(row.direct) < SMALL:
        return f"Its direct effect on that logit is next to nothing ({with_interval(row.direct)})."
    if not w.answers:
        less = f" (share undone: {share(row.undone)})" if row.undone else ""
        return f"No layer comes after it: only the final LayerNorm, rescaling, changes its direct effect{less}."
    e, direct = row.undone, row.direct
    if e is None:
        return (
            f"Its direct effect could be zero ({with_interval(direct)}): what comes after it cannot be put as a share."
        )
    if not e.sure:
        so_much = "; ".join(filter(None, (share(e), _split(w, 1))))
        return (
            f"Whether what comes after it, the final LayerNorm included, undoes some of its direct effect "
            f"({with_interval(direct)}) or adds to it cannot be told (undone: {so_much})."
        )
    if e.mean > 0:
        text, sign = f"Of its direct effect ({with_interval(direct)}), what comes after it undoes {share(e)}", 1
    else:
        text, sign = f"To its direct effect ({with_interval(direct)}), what comes after it adds {share(_minus(e))}", -1
    text += f" ({_split(w, sign) or 'the final LayerNorm included'})"
    parts = [
        a for a in w.answers if a.part != NORM and a.effect.p is not None and a.effect.p <= ALPHA and a.effect.sure
    ]
    parts = [a for a in parts if a.effect.mean * direct.mean * sign < 0]
    if parts:
        most = max(parts, key=lambda a: abs(a.effect.mean))
        way = "the other way" if sign > 0 else "the same way"
        text += (
            f". Of the attention and MLP layers after it, the {most.part}’s own contribution moves most {way} "
            f"({with_interval(most.effect)})"
        )
    return text + "."


def _split(w: Without, sign: int) -> str:
    """How much of it is the later layers', how much the LayerNorm's: shares of one direct effect, which add up."""
    if w.undone_by_layers is None or w.undone_by_norm is None:
        return ""
    layers, norm = (e if sign > 0 else _minus(e) for e in (w.undone_by_layers, w.undone_by_norm))
    return f"later layers {share(layers)}, the final LayerNorm {share(norm)}"


def _minus(e: Effect) -> Effect:
    return Effect(-e.mean, None if e.high is None else -e.high, None if e.low is None else -e.low)


def pairs(p: PairSet) -> str:
    """The pairs, in a sentence."""
    kinds = listed(tuple(f"{n} with {name}" for name, n in _kinds(p)))
    return (
        f"Asked with {p.pairs} pairs of transcripts from {p.games} held-out games: in the clean one {p.fact}, in the "
        f"corrupt one not ({kinds}). In the median pair the boards differ on {p.squares} squares and {p.legal} moves "
        f"are legal in one only, and {_plies(p.plies)}."
    )


def _kinds(p: PairSet) -> list[tuple[str, int]]:
    words = {"last move changed": "another last move", "one move swapped": "one earlier move swapped"}
    return [(words.get(name, name), n) for name, n in p.kinds.items()]


def _plies(n: float) -> str:
    if n == 0:
        return "it is the last move that differs"
    return f"the first move that differs lies {number(n)} {'ply' if n == 1 else 'plies'} before the last"


def upstream(u: Upstream) -> str:
    """What moves the pre-activation."""
    text = (
        f"Between corrupt and clean its pre-activation goes from {number(u.corrupt, 2)} to {number(u.clean, 2)} "
        f"({with_interval(u.total)}), its activation from {number(u.corrupt_activation, 2)} to "
        f"{number(u.clean_activation, 2)}."
    )
    if not u.on and not u.off:
        return (
            f"{text} No single one of {count(u.n_senders)} heads and neurons before it has an effect that stands out."
        )
    for name, senders, n in (("switches it on", u.on, u.n_on), ("switches it off", u.off, u.n_off)):
        if senders:
            e = senders[0].direct
            first = "The embedding" if senders[0].unit == "embed" else senders[0].unit
            text += f" {first} {name} most, by {with_interval(e)}"
            text += f" ({n} of {count(u.n_senders)} units stand out)." if n > 1 else "."
        else:
            text += f" None {name} measurably."
    return text


def downstream(d: Downstream) -> str:
    """How much of the pairs' difference the neuron alone carries."""
    a = d.alone[0]
    text = f"Put alone from the clean run into the corrupt one, it changes {a.figure} by {with_interval(a.effect)}"
    if a.share is not None:
        against = ", against it" if a.share.mean < 0 else ""
        text += f": {share(a.share)} of the difference of {mean(a.whole)} between the two runs{against}"
        if a.layer is not None:
            text += f"; all neurons of its layer together {share(a.layer)}"
    back = next((b for b in d.alone[1:] if b.figure == a.figure), None)
    if back is not None:
        text += f". Put from the corrupt run into the clean one: {with_interval(back.effect)}"
    if d.readers:
        text += f". Of the later units {d.readers[0].unit} changes most in what it adds to {d.square}’s logit"
        text += f" ({with_interval(d.readers[0].effect)}; the neuron’s own direct write: {with_interval(d.direct)})"
    return text + "."


def none_found(c: Causes) -> str:
    """Why the neuron was not asked with pairs."""
    return f"Not compared between counterfactual games: {c.no_pairs}."


def _own_places(w: Without) -> str:
    """How the others at their own places were measured."""
    own = w.own_places
    if not own.others:
        return "No other neuron of the layer is active often enough to be compared at places of its own."
    first = f"At positions of their own: the size of the mean effect of {len(own.others)} other neurons, "
    mine = "" if w.methods[0].method == "mean" else " (so is this one for the comparison)"
    each = max(o.positions for o in own.others)
    return (
        f"{first}each set to its mean{mine} at {each} held-out positions where it is itself most active (above what at "
        "most 5 % of training positions exceed), on the move to whose logit it writes most strongly; neurons hardly "
        "ever active are passed over."
    )


def captions(c: Causes) -> dict[str, str]:
    """What is shown in each figure, in which unit, and how it was made."""
    w = c.without
    if w is None:
        return {}
    found = {
        "boards": (
            f"Mean change of every move’s logit, relative to the mean over the 60 moves, where the neuron is set to "
            f"its mean: {'; '.join(f'{p.words}: {p.positions} positions of {p.games} games' for p in w.places)}. "
            "The table has 95 % intervals of single cells, not corrected for there being 60 of them, and p, which is. "
            "Corrected p, here and below: sign-flip tests over games; their null is that effects are symmetric about "
            "zero, which is more than a mean of zero."
        ),
        "methods": (
            f"Effects on {w.square}’s logit ({w.why}). The neuron is {w.words}. 95 % intervals: bootstrap over games. "
            f"Undone: (direct − total) / direct, a ratio of means, by all that comes after the neuron, the final "
            f"LayerNorm’s scale included; a dash where the direct effect could be zero. "
            f"KL: of the original prediction to the ablated one. Random: the mean effect of each of "
            f"{len(w.random_units)} neurons of the layer drawn with the seed, set to its own {w.methods[0].method}; "
            f"positions and square are this neuron’s choice, so most others do little there. {_own_places(w)}"
        ),
    }
    if c.upstream is None or c.downstream is None or c.pairs is None:
        return found
    u, d = c.upstream, c.downstream
    found["senders"] = (
        "What the neuron’s pre-activation gains when one unit’s output is taken from the clean run and all else stays "
        "corrupt. Direct: only the neuron sees it, at the pair’s last ply, its LayerNorm recomputed. By all paths: the "
        "unit is patched at every ply and everything up to the neuron recomputed (the first two of either side). "
        f"Listed are units with p ≤ {number(u.alpha)}, sign-flip test over games corrected for all "
        f"{count(u.n_senders)} senders, five of either side at most; they are chosen and measured on the same "
        f"pairs, which flatters the largest a little. {c.pairs.source[:1].upper()}{c.pairs.source[1:]}."
    )
    found["layers"] = (
        "The same direct effects added up by layer, with the neuron’s LayerNorm frozen at the corrupt run’s scale, in "
        f"which they are exact: together {number(u.frozen.mean, 3, sign=True)} of the "
        f"{number(u.total.mean, 3, sign=True)} that it changes by. 95 % intervals: bootstrap over games. What units "
        "did at earlier plies reaches the neuron through heads only, and is counted there."
    )
    found["alone"] = (
        "The neuron’s activation taken from the other run at every ply from the first move that differs, everything "
        "after it recomputed, LayerNorms included. Share: mean effect by the mean difference between the runs; 100 % "
        "would be all of it. Its layer: the share when the output of its whole MLP layer is patched in the same way. "
        "Newly legal: mean logit of the moves legal in the clean position only, less that of those legal in the "
        "corrupt one only."
    )
    found["readers"] = (
        f"Later heads and neurons by how much the patch (clean into corrupt) changes what they add to {d.square}’s "
        f"logit, final LayerNorm frozen; p ≤ {number(d.alpha)} corrected for all {count(d.n_later)} later units "
        f"({count(d.n_readers)} pass, ten at most are listed). Beside it the change of a neuron’s activation, and its "
        "difference between the two runs."
        if d.n_later
        else f"Its effect on {d.square}’s logit is its direct write, rescaled by the final LayerNorm."
    )
    found["checkpoint"] = (
        f"Mean change of the probe’s log-odds at {d.hook} when the neuron alone is patched, clean into corrupt: mine "
        "over theirs, and empty over the mean of both. The table has the pairs’ whole difference beside it."
    )
    return found
