"""A circuit in words: the headline, and what a terminal shows."""

from circuits.causes.circuit import Circuit, CurvePoint
from reports.patching.circuit_drawing import edge_words, pushes
from reports.patching.pair_records import PairsRecord
from reports.patching.words import share_text
from reports.text import count, fixed, number


def itself(circuit: Circuit, ablation: str) -> CurvePoint:
    """The circuit's own point of the curve under an ablation."""
    return next(p for p in circuit.curve if p.chosen == "circuit" and p.ablation == ablation)


def kept_words(p: CurvePoint) -> str:
    """``"83 % [78 %, 88 %]"``."""
    gap = f" [{share_text(p.low)}, {share_text(p.high)}]" if p.low == p.low else ""
    return f"{share_text(p.kept)}{gap}"


def random_words(p: CurvePoint) -> str:
    """What random graphs of as many edges keep."""
    if p.random != p.random:
        return "no random graphs were drawn"
    return (
        f"random graphs of as many edges keep {share_text(p.random)}, this graph with its nodes exchanged within "
        f"layers {share_text(p.exchanged)}"
    )


def enough(circuit: Circuit) -> bool:
    """Whether it keeps the share that was asked for, on the held-out pairs."""
    return circuit.kept >= circuit.settings.get("keep", 0)


def headline(circuit: Circuit) -> str:
    """One sentence that the numbers support."""
    p, asked = itself(circuit, "resample"), circuit.settings.get("keep")
    begin = f"From {circuit.start} on, " if circuit.start else ""
    edges, nodes = count(len(circuit.edges)), count(len(circuit.nodes))
    words = (
        f"{begin}{edges} edges between {nodes} nodes keep {kept_words(p)} of the effect on {circuit.metric} on "
        f"{count(circuit.held_out)} held-out pairs"
    )
    if asked is not None and not enough(circuit):
        words += f", less than the {share_text(asked)} asked for (more pairs, or more edges, may do better)"
    mean = share_text(itself(circuit, "mean").kept)
    return f"{words}; {random_words(p)}. With all others at their mean instead, {mean}."


def effect_words(circuit: Circuit) -> str:
    """Which effect, in the metric's unit."""
    total = circuit.clean - circuit.corrupt
    clean, corrupt = (fixed(v, 2, sign=True) for v in (circuit.clean, circuit.corrupt))
    clean_words = "corrupt with the start's clean coordinates" if circuit.start else "clean"
    difference = number(total, 3, sign=True)
    return f"{circuit.metric}: {clean_words} {clean}, corrupt {corrupt}, difference {difference} (held-out pairs)"


def text(circuit: Circuit, pairs: PairsRecord, most: int = 40) -> str:
    """What a terminal shows: the sentence, the curve, the strongest edges."""
    lines = [headline(circuit), "", effect_words(circuit)]
    lines.append(
        f"{count(pairs.pairs)} pairs of {count(pairs.games)} games: {circuit.question}; {circuit.searched} searched, "
        f"{circuit.held_out} held out by game"
    )
    lines += [f"  {circuit.source}", "", "effect kept, on held-out pairs:"]
    lines.append(
        f"  {'edges':>7}  {'chosen by':<12}{'resample':<26}{'random':<10}{'exchanged':<11}{'mean ablation':<26}"
        f"{'random':<10}exchanged"
    )
    sizes = list(dict.fromkeys((p.edges, p.chosen) for p in circuit.curve))
    for edges, chosen in sizes:
        cells = []
        for ablation, width in (("resample", 26), ("mean", 26)):
            found = [p for p in circuit.curve if (p.edges, p.chosen, p.ablation) == (edges, chosen, ablation)]
            for p in found:
                controls = [share_text(v) if v == v else "–" for v in (p.random, p.exchanged)]
                cells.append(f"{kept_words(p):<{width}}{controls[0]:<10}{controls[1]:<11}")
        lines.append(f"  {count(edges):>7}  {chosen:<12}{''.join(cells)}".rstrip())
    strongest = sorted(circuit.edges, key=lambda e: -abs(e.effect))
    lines += ["", "edges, by what each adds to the metric when the others are there:"]
    lines += [f"  {edge_words(e)}" for e in strongest[:most]]
    if len(strongest) > most:
        rest = sum(pushes(e) for e in strongest[most:])
        lines.append(
            f"  … and {len(strongest) - most} more, together {number(rest, 3, sign=True)}; --json has them all"
        )
    lines += ["", f"attribution beside exact removal: {circuit.attribution}"]
    lines.append(f"LayerNorm {circuit.layer_norm}; model {circuit.model} ({circuit.model_hash})")
    return "\n".join(lines)
