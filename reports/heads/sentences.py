"""One plain sentence or two for each section of a head's page, drawn from the record's numbers."""

from reports.captions import sentence_case
from reports.headline import listed
from reports.heads.records import Connected, HeadRecord
from reports.heads.words import (
    KL_AT,
    KL_NOISE,
    OFFSET_AT,
    OPPOSITES,
    STANDS_OUT,
    ablated,
    by_ply_alone,
    main_group,
    nats,
    said,
    standing_out,
    strongest,
    with_interval,
    worst,
)
from reports.text import fixed, number, percent

STRONGER = 1.2  # a connection against the largest of as many random ones
LITTLE = 0.01  # of the model’s gap between legal and illegal logits


def attention(r: HeadRecord) -> str:
    a = r.attention
    g = main_group(a)
    text = f"{sentence_case(g.words)} get {percent(g.attention.mean)} of its attention"
    text = text if " get " in text and g.name not in ("itself", "first") else text.replace(" get ", " gets ")
    text += f" (uniform: {percent(g.uniform)}). "
    least = "differs little from game to game" if a.distance.mean < 0.15 else "differs from game to game"
    text += (
        f"Its pattern {least}: on average {percent(a.distance.mean)} of the attention lies elsewhere than in the mean "
        f"pattern of the ply (from uniform attention: {percent(a.from_uniform)})."
    )
    if a.unexplained < 1:
        text += f" The ply alone explains {percent(1 - a.unexplained)} of the pattern’s variance."
    else:
        text += " What little variance the pattern has, the ply does not explain."
    if a.kind.name == "first":
        return f"{text} The move attended to most is the first."
    best = a.best_offset
    back = {0: "the one just played", 1: "the one before the last"}
    back = back.get(a.offsets[best], f"the one {a.offsets[best]} moves back")
    return text + f" The move attended to most is {back}, at {percent(a.by_offset[best])}."


def places(r: HeadRecord) -> str:
    """A warning before the maps by square, where these only show what was played at the plies it looks at."""
    a = r.attention
    if not by_ply_alone(a):
        return ""
    if a.kind.name == "first":
        looks, lie = "at the first move, whatever it was", "first moves"
    elif a.by_offset[a.best_offset] >= OFFSET_AT:
        looks, lie = "by distance alone", "moves at that distance"
    else:
        looks, lie = "by ply alone", "the moves of those plies"
    return f"It looks {looks}; these two maps show where {lie} lie, not a preference for squares."


def moves(r: HeadRecord) -> str:
    out = standing_out(r)
    if not out:
        return (
            "What it moves from a source says nothing at that square in particular: on no fact’s direction is its mean "
            f"write there {STANDS_OUT:.0f} times what it writes on the same directions elsewhere."
        )
    words = listed(
        tuple(f"{said(m)} ({number(m.mean, 2, sign=True)}; elsewhere ±{number(m.elsewhere, 2)})" for m in out)
    )
    return f"Attending to a move writes {words} at its square (coordinates per unit of attention)."


def written(r: HeadRecord) -> str:
    best = strongest(r)
    text = f"Its output has {percent(r.writes.norm / r.writes.stream_norm)} of the stream’s norm there. "
    if best is not None:
        text += (
            f"It separates {OPPOSITES[best.fact]} by {number(best.pooled.mean, 2)} on the square’s own direction, "
            f"{percent(max(0.0, best.share.mean))} of the whole stream’s separation. "
        )
    gap, whole = r.writes.gap, number(r.writes.gap_whole, 3)
    if abs(gap.mean) < LITTLE * abs(r.writes.gap_whole):
        return text + (
            f"Directly to the logits it writes next to nothing of what is legal: {number(gap.mean, 2, sign=True)} of "
            f"the whole model’s {whole} between legal and illegal moves."
        )
    return text + (
        f"Directly to the logits it tells legal from illegal moves by {with_interval(gap, 1.0)}, "
        f"{percent(gap.mean / r.writes.gap_whole)} of the whole model’s {whole}."
    )


def reading(r: HeadRecord) -> str:
    x = r.reading
    names = {
        "constant": "guessing by square and ply gives",
        "random": "the same head of a model with random weights",
        "layer": "all heads of the layer together",
    }
    beside = [f"{words} {percent(x.baseline(n), 1)}" for n, words in names.items() if x.baseline(n) is not None]
    text = f"From its output alone {percent(x.accuracy.mean, 1)} of squares are read right"
    if below_guessing(r):
        text += ", fewer than by guessing: its output says nothing of the board that this reading could use"
    return text + (f"; {', '.join(beside)}." if beside else ".")


def below_guessing(r: HeadRecord) -> bool:
    """Whether its output alone is read worse than guessing by square and ply does."""
    guessed = r.reading.baseline("constant")
    return guessed is not None and r.reading.accuracy.mean < guessed


def causes(r: HeadRecord) -> str:
    w = ablated(r)
    first, last = w.board[0], w.board[-1]
    name, e = worst(first)
    text = (
        f"With its output replaced by the mean of its ply, everywhere, squares read right change by "
        f"{with_interval(first.all)} percentage points where it writes (most for {name}: {with_interval(e)}) and by "
        f"{with_interval(last.all)} after the last layer. "
    )
    control = r.causes.method("random direction")
    if control is not None:
        text += (
            f"The same change turned at random: {with_interval(control.board[0].all)} and "
            f"{with_interval(control.board[-1].all)} points. "
        )
    text += f"The prediction moves by {nats(w.kl.mean)} nats (KL)"
    text += f"; by {nats(control.kl.mean)} under the same change turned at random." if control is not None else "."
    frozen = r.causes.method("frozen pattern")
    if frozen is not None and w.kl.mean >= KL_NOISE:
        share = frozen.kl.mean / w.kl.mean
        if w.kl.mean >= KL_AT:
            text += (
                f" With only the pattern frozen to its mean by ply it moves by {nats(frozen.kl.mean)}: "
                + ("where it looks in each game matters." if share >= 0.5 else
                   "where it looks in each game matters in part." if share >= 0.1 else
                   "where it looks in each game hardly matters, the ply decides.")
            )  # fmt: skip
    return text


def neighbours(found: tuple[Connected, ...]) -> str:
    """The connections that exceed the largest of as many random ones, and where there are none."""
    parts, weak = [], []
    for name in ("earlier heads", "later heads", "earlier neurons", "later neurons"):
        rows = [c for c in found if c.name == name and c.units]
        if not rows:
            continue
        best = max(rows, key=lambda c: c.units[0].value / (c.null or 1))
        if best.null is not None and best.units[0].value <= STRONGER * best.null:
            weak.append(name)
            continue
        via = f" via {best.via}" if "heads" in name else ""
        random = f"; random at most {fixed(best.null)}" if best.null is not None else ""
        parts.append(f"of the {name} {best.units[0].unit}{via} ({fixed(best.units[0].value)}{random})")
    text = f"Connected most strongly: {', '.join(parts)}. " if parts else ""
    if weak:
        text += (
            f"Among {listed(tuple(weak))} none is connected {STRONGER:g} times as strongly as random weights can be."
        )
    return text.strip() or "It has no neighbours."
