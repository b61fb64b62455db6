"""Patching in words: the headline, names of plies, and the table that a terminal shows."""

from collections.abc import Sequence

from circuits.causes.patch_results import DIRECTIONS
from reports.patching.records import EffectRow, Estimate, PatchRecord, SubspaceRecord, differs, is_stream
from reports.text import MINUS, count, fixed, number, percent

#: what a direction asks
ASKS = {DIRECTIONS[0]: "is it enough?", DIRECTIONS[1]: "is it needed?"}
NAMES = {DIRECTIONS[0]: "denoising", DIRECTIONS[1]: "noising"}
#: kinds of places in the order in which tables and pages show them
GROUPS = {
    "stream": ("the residual stream", ("embed", "pre", "mid", "post")),
    "attn": ("attention, by layer", ("attn",)),
    "mlp": ("MLPs, by layer", ("mlp",)),
    "head": ("heads", ("head", "q", "k", "v", "pattern")),
    "neuron": ("neurons", ("neuron",)),
    "other": ("subspaces and sets", ("subspace", "set")),
}


def ply_words(ply: int | None, align: str) -> str:
    """``3, "end"`` -> ``"3 before"``."""
    if ply is None:
        return "all plies"
    if align == "end":
        return "last ply" if ply == 0 else f"{ply} before"
    if align == "first difference":
        return "first move" if ply == 0 else f"{ply} after"
    return f"ply {ply}"


def long_ply(ply: int | None, align: str) -> str:
    """The same within a sentence."""
    if ply is None:
        return "at every ply together"
    if align == "end":
        return "at the last ply" if ply == 0 else f"{ply} {'ply' if ply == 1 else 'plies'} before the last"
    if align == "first difference":
        return "at the first move that differs" if ply == 0 else f"{ply} after the first move that differs"
    return f"at ply {ply}"


def interval(e: Estimate | EffectRow, digits: int = 3) -> str:
    """``[1.2, 3.4]``, or what is missing."""
    if e.low is None or e.high is None:
        return "one game: no interval"
    return f"[{number(e.low, digits)}, {number(e.high, digits)}]"


def p_words(p: float) -> str:
    """A p-value for a sentence."""
    return f"p {p:.3f}" if p >= 0.0015 else "p ≤ 0.001"


def top(r: PatchRecord, k: int, kinds: Sequence[str], direction: str | None = None) -> list[EffectRow]:
    """The k places of largest mean effect in a direction (the first by default), each at its largest ply."""
    direction = direction or r.directions[0]
    rows = sorted((x for x in r.rows if x.direction == direction and x.kind in kinds), key=lambda x: -abs(x.mean))
    best: dict[str, EffectRow] = {}
    for row in rows:
        best.setdefault(row.place, row)
    return list(best.values())[:k]


def back(r: PatchRecord, row: EffectRow) -> EffectRow | None:
    """The same patch in the other direction."""
    return next((x for x in r.rows if (x.place, x.ply) == (row.place, row.ply) and x.direction != row.direction), None)


def arrival(r: PatchRecord) -> EffectRow | None:
    """The first place of the stream that holds half of the difference at the last ply; None if the very first does."""
    if not (differs(r.total) and r.by_ply and r.align == "end"):
        return None
    rows = [x for x in r.rows if is_stream(x) and x.ply == 0 and x.direction == r.directions[0]]
    found = next((x for x in rows if x.share is not None and x.share >= 0.5), None)
    return None if found is None or found is rows[0] else found


def headline(r: PatchRecord) -> str:
    """One sentence that the numbers support: which part carries most, and where the stream has it."""
    if not r.rows:
        return "; ".join(subspace_words(s, r) for s in r.subspaces)
    if not differs(r.total):
        return (
            f"Clean and corrupt runs do not differ for sure in {r.metric} ({number(r.total.mean, 3, sign=True)} "
            f"{interval(r.total)}): there is nothing here to carry."
        )
    parts = [x for x in r.rows if not is_stream(x)]
    said = []
    if parts:
        best = top(r, len(parts), [x.kind for x in parts])
        one = r.pairs.games == 1
        strong = [x for x in best if x.p_family < 0.05 or one][:3]
        of = len({x.place for x in parts})
        if strong:
            first = strong[0]
            words = f"{first.place}, patched {long_ply(first.ply, r.align)}, {carries(first)}"
            other = back(r, first)
            words += f" and {carries(other)}" if other is not None and (other.share or 0) >= 0 else ""
            others = [f"{x.place} {share_words(x)}" for x in strong[1:]]
            words += f" (then {' and '.join(others)})" if others else ""
            most = "the most" if first is best[0] else "the most for sure"
            most = f"in one game, which says nothing of others, {most}" if one else most
            said.append(f"{words}: {most} of {of} parts" if of > 1 else words)
        else:
            said.append(
                f"{best[0].place} moves most, but none of {of} parts does so for sure ({p_words(best[0].p_family)})"
            )
    arrived = arrival(r)
    if arrived is not None:
        said.append(f"at the last ply the stream holds half of it from {arrived.place} on")
    elif not parts:
        best = top(r, 1, [x.kind for x in r.rows])
        place = f"{best[0].place}, patched {long_ply(best[0].ply, r.align)},"
        said.append(f"{place} {carries(best[0])}")
    said += [subspace_words(s, r) for s in r.subspaces[:1]]
    text = "; ".join(said)
    return text[0].upper() + text[1:] + "."


def share_words(e: Estimate | EffectRow) -> str:
    """The share, or the effect itself where a share would be of next to nothing."""
    return number(e.mean, 3, sign=True) if e.share is None else share_text(e.share)


def carries(e: Estimate | EffectRow) -> str:
    """``"is enough for 43 % of the difference"``, or needed for it; what makes it larger works against it."""
    if e.share is None:
        return f"changes it by {number(e.mean, 3, sign=True)}"
    if e.share < 0:
        return f"works against the difference by {percent(-e.share)} of it"
    noising = getattr(e, "direction", DIRECTIONS[0]) == DIRECTIONS[1]
    return f"is {'needed' if noising else 'enough'} for {percent(e.share)} of the difference"


def share_text(share: float) -> str:
    """A share that may be below zero: "−12 %"."""
    text = percent(abs(share))
    return MINUS + text if share < 0 and text[0] != "<" else text


def subspace_words(s: SubspaceRecord, r: PatchRecord) -> str:
    """One subspace's effect beside its controls."""
    d = r.directions[0]
    e = {name: s.estimates[name][d] for name in ("subspace", "whole", "random")}
    return (
        f"{s.name}, patched at every ply, {'moves' if e['subspace'].share is None else 'gives'} "
        f"{share_words(e['subspace'])}{'' if e['subspace'].share is None else ' of the difference'} ({d}); the whole "
        "stream there "
        f"{share_words(e['whole'])}, a random subspace of as many dimensions {share_words(e['random'])}"
    )


def pairs_words(r: PatchRecord) -> str:
    """How many pairs, of what."""
    p = r.pairs
    kinds = ", ".join(f"{name} {count(n)}" for name, n in p.kinds.items())
    games = f"{count(p.games)} game{'s' if p.games != 1 else ''}"
    plies = f"ply {p.first_ply}" if p.first_ply == p.last_ply else f"plies {p.first_ply}–{p.last_ply}"
    return f"{count(p.pairs)} pair{'s' if p.pairs != 1 else ''} of {games}: {p.question} ({kinds}), {plies}"


def total_words(r: PatchRecord) -> str:
    """What the runs differ by."""
    t = r.total
    runs = f": clean {fixed(r.clean, 2, sign=True)}, corrupt {fixed(r.corrupt, 2, sign=True)}"
    return f"{r.metric}{runs}; difference {fixed(t.mean, 2, sign=True)} {interval(t)}, {p_words(t.p)}"


def text_table(r: PatchRecord, k: int = 6) -> str:
    """What a terminal shows: the total, the largest effects of each kind in both directions, the subspaces."""
    lines = [headline(r), "", total_words(r), pairs_words(r), f"  {r.pairs.source}"]
    if r.rows:
        lines += ["", "mean effect [95 % interval], share of the difference, p over all cells of a direction:"]
        title = "".join(f"{f'{d} ({ASKS[d]})':<44}" for d in r.directions)
        lines.append(f"  {'':<22}{title}".rstrip())
    for name, kinds in GROUPS.values():
        rows = top(r, k, kinds)
        if not rows:
            continue
        lines.append(f" {name}")
        for row in rows:
            pair = [row, back(r, row)]
            cells = "".join(f"{_cell(x):<44}" for x in pair if x is not None)
            lines.append(f"  {row.place:<12}{ply_words(row.ply, r.align):<10}{cells}".rstrip())
    for s in r.subspaces:
        lines += ["", *_subspace_lines(s, r)]
    lines += ["", f"read at {r.read_at}; LayerNorm: {r.origin.layer_norm}; model {r.origin.model_name} "
              f"({r.origin.model_hash})"]  # fmt: skip
    return "\n".join(lines)


def _cell(e: Estimate | EffectRow) -> str:
    share = "" if e.share is None else f"  {share_text(e.share):>5}"
    gap = "" if e.low is None else f" {interval(e)}"
    p = "" if e.low is None else f"  {p_words(e.p_family)}"
    return f"{number(e.mean, 3, sign=True)}{gap}{share}{p}"


def _subspace_lines(s: SubspaceRecord, r: PatchRecord) -> list[str]:
    lines = [f"{s.name} ({s.dimension} dimension{'s' if s.dimension != 1 else ''}), at every ply"]
    names = {"whole": "whole stream", "rest": "all but it", "random": f"random ({s.draws} drawn)"}
    for name, by_direction in s.estimates.items():
        cells = "".join(f"{_cell(by_direction[d]):<44}" for d in r.directions)
        lines.append(f"  {names.get(name, name):<22}{cells}".rstrip())
    lines.append("  how its readers see it: share in the null space (of a random direction), gain over a random one")
    lines += [
        f"    {x.name:<24}{percent(x.null_share):>8} ({percent(x.null_share_random)})   gain {number(x.gain)}"
        for x in s.readers
    ]
    return lines
