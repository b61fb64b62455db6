"""A sentence and a grade for a head, drawn from its numbers and no stronger than they are.

Three tests, all on held-out games:

* *attends*: it is of a kind (see `circuits.heads`), and the whole interval of the deciding share reaches the threshold;
  or it attends to all moves alike: at most `EVEN` of its attention lies elsewhere than uniform attention would,
  and each side gets as much to within `EVEN_SIDE`;
* *writes*: of what the stream holds to tell mine from theirs, or empty from occupied, the head's output is at least
  `SHARE_AT`, with the lower end of the interval;
* *matters*: with its output replaced by the mean of its ply, the prediction moves by at least `KL_AT` nats, and by more
  than when the same change is turned at random, with the whole intervals. The prediction, since a disturbance in random
  directions can cost more squares in the stream than the loss of what the head says.

``clear role``: all three. ``role in part``: two of them. ``hardly matters``: the prediction moves by less than `KL_AT`
nats and the squares read right by less than `MISREAD_AT`, both with the whole interval. ``no clear role``: all else.
"""

from reports.causes.records import Effect
from reports.headline import Headline, listed
from reports.headline import standing_out as headline_square
from reports.heads.records import Attention, Group, HeadRecord, Link, Moved, PointChange, Separation, Without
from reports.text import fixed, number, percent, unbroken

SHARE_AT = 0.02
MISREAD_AT = 0.001
EVEN, EVEN_SIDE = 0.3, 0.1
KL_AT = 0.001
SQUARE_SD = 4.0  # a square stands out so many standard deviations above the mean
OFFSET_AT = 0.5  # so much of its attention at one distance: that distance is named
COPY_AT, COPY_OUT = 0.15, 2.5  # it hands colours on: cosine, and against the root mean square between squares
STANDS_OUT = 2.0  # own squares' mean write against the root mean square elsewhere
NORM_AT = 0.01  # of the stream's norm: a head that writes less writes next to nothing
KL_NOISE = 1e-6  # nats: what is smaller is rounding
FIXED, FIXED_VARIANCE = 0.05, 0.1  # the ply says all: total variation, or share of variance left, at most
VARIES, VARIES_VARIANCE = 0.3, 0.4  # the game decides: both at least

CLEAR, PART, IDLE, NONE = "clear role", "role in part", "hardly matters", "no clear role"
GRADES = (CLEAR, PART, IDLE, NONE)

#: a fact's direction in words, upwards and downwards
SIDES = {
    "mine": ("mine", "theirs"),
    "empty": ("empty", "occupied"),
    "played": ("just played", "not just played"),
    "flipped": ("just flipped", "not just flipped"),
    "legal": ("legal", "not legal"),
}
OPPOSITES = {
    "mine": "mine from theirs",
    "empty": "empty from occupied",
    "played": "the square just played from others",
    "flipped": "squares just flipped from others",
    "legal": "legal moves from others",
}


def headline(r: HeadRecord) -> Headline:
    """The headline of a record; a pure function of its numbers."""
    tests = {"attends": attends(r), "writes": writes(r), "matters": matters(r)}
    passed = [name for name, holds in tests.items() if holds]
    if len(passed) == 3:
        grade = CLEAR
    elif idle(r):
        grade = IDLE
    else:
        grade = PART if len(passed) == 2 else NONE
    parts = [_attends(r.attention)]
    if grade == IDLE:
        parts.append(f"what it writes hardly matters: {_kl(r)}")
    else:
        parts.append(_writes(r))
        if tests["writes"] and (square := centre(strongest(r))) is not None:
            parts[-1] += f", and helps to tell {OPPOSITES[strongest(r).fact]} above all at {square}"
        if r.causes is not None:
            parts.append(_without(r))
    sentence = "; ".join(p for p in parts if p) + "."
    return Headline(unbroken(sentence), grade, unbroken(_why(r, tests)))


def attends(r: HeadRecord) -> bool:
    k = r.attention.kind
    return even(r.attention) or (
        k.name != "mixed" and (k.share.mean if k.share.low is None else k.share.low) >= k.threshold
    )


def even(a: Attention) -> bool:
    """Whether it attends to all moves about alike."""
    near = all(abs(g.attention.mean - g.uniform) <= EVEN_SIDE for g in a.groups if g.name in ("mine", "theirs"))
    return a.kind.name == "mixed" and a.from_uniform <= EVEN and near


def writes(r: HeadRecord) -> bool:
    best = strongest(r)
    return best is not None and _least(best.share) >= SHARE_AT


def matters(r: HeadRecord) -> bool:
    if (w := ablated(r)) is None or _least(w.kl) < KL_AT:
        return False
    control = r.causes.method("random direction")
    return control is None or _least(w.kl) > _most(control.kl)


def idle(r: HeadRecord) -> bool:
    w = ablated(r)
    return w is not None and _most(w.kl) < KL_AT and -_least(w.board[0].all) < MISREAD_AT


def by_ply_alone(a: Attention) -> bool:
    """Whether the ply decides where it looks, whatever was played."""
    return a.distance.mean <= FIXED or a.unexplained <= FIXED_VARIANCE


def faint(r: HeadRecord) -> str:
    """Why maps of what it writes are drawn faint, each being scaled to itself; nothing where they are not."""
    if r.writes.norm < NORM_AT * r.writes.stream_norm:
        return "next to nothing"
    return IDLE if headline(r).grade == IDLE else ""


def ablated(r: HeadRecord) -> Without | None:
    """The ablation that sentences are about: by the mean of each ply."""
    return r.causes.method("mean") if r.causes is not None else None


def strongest(r: HeadRecord) -> Separation | None:
    """Of mine and empty, the fact in which the head has the larger share."""
    known = [f for f in r.writes.facts if f.fact in ("mine", "empty") and f.share is not None]
    return max(known, key=lambda f: f.share.mean, default=None)


def centre(s: Separation) -> str | None:
    """The square where it tells a fact apart, if one stands out: `SQUARE_SD` standard deviations above the mean."""
    top = headline_square(s.board, SQUARE_SD)
    return top[0] if top is not None and top[1] > 0 else None


def main_group(a: Attention) -> Group:
    """The group that its kind is about; of a mixed head, the side farther from uniform."""
    by_name = {g.name: g for g in a.groups}
    wanted = {"last": "itself", "first": "first", "mine": "mine", "theirs": "theirs"}.get(a.kind.name)
    if wanted in by_name:
        return by_name[wanted]
    sides = [by_name[n] for n in ("mine", "theirs") if n in by_name] or list(a.groups)
    return max(sides, key=lambda g: abs(g.attention.mean - g.uniform))


def standing_out(r: HeadRecord) -> list[Moved]:
    """Facts that it writes at the square of a source much more than elsewhere, mine and empty first; not legality."""
    known = [m for m in r.moves.facts if m.fact != "legal" and m.elsewhere > 0]
    out = [m for m in known if abs(m.mean) >= STANDS_OUT * m.elsewhere]
    return sorted(out, key=lambda m: (m.fact not in ("mine", "empty"), -abs(m.mean) / m.elsewhere))


def copies(r: HeadRecord) -> Link | None:
    """How its weights hand on the colours it reads at a source, square by square, if they do."""
    for link in r.moves.links:
        if (link.source, link.target) == ("mine", "mine"):
            strong = abs(link.mean) >= COPY_AT and abs(link.mean) >= COPY_OUT * link.elsewhere
            return link if strong else None
    return None


def said(m: Moved) -> str:
    """What it writes in words, by the sign: “mine”."""
    return f"“{SIDES[m.fact][m.mean < 0]}”"


def _attends(a: Attention) -> str:
    g = main_group(a)
    share = f"{percent(g.attention.mean)} of its attention; uniform would be {percent(g.uniform)}"
    if a.kind.name == "mixed":
        start = "Attends to all moves about alike" if even(a) else "Attends to no one kind of move"
        text = f"{start} ({percent(g.attention.mean)} to {g.words}; uniform would be {percent(g.uniform)})"
    else:
        name = {"last": "the move just played", "first": "the first move of the game"}.get(a.kind.name, g.words)
        best = a.best_offset
        if a.kind.name in ("mine", "theirs") and a.by_offset[best] >= OFFSET_AT:
            back = a.offsets[best]
            name = "the position one move back" if back == 1 else f"the position {back} moves back"
            share = f"{percent(a.by_offset[best])} of its attention; uniform would be {percent(a.offset_uniform[best])}"
        text = f"Attends to {name} ({share})"
    return text + {"ply": ", by ply alone", "game": ", which of them depends on the game", "": ""}[_decided(a)]


def _decided(a: Attention) -> str:
    if by_ply_alone(a):
        return "ply"
    if a.kind.name in ("last", "first"):
        return ""
    return "game" if a.distance.mean >= VARIES and a.unexplained >= VARIES_VARIANCE else ""


def _writes(r: HeadRecord) -> str:
    if (link := copies(r)) is not None:
        how = "with mine and theirs exchanged" if link.mean < 0 else "as they are"
        beside = f"cosine {fixed(link.mean, 2, sign=True)}; between different squares ±{fixed(link.elsewhere, 2)}"
        return f"hands on the colours it reads there, {how} (weights: {beside})"
    out = standing_out(r)[:2]
    if out:
        return f"writes {listed(tuple(said(m) for m in out))} at the square of the move it attends to"
    best = strongest(r)
    if best is None or not writes(r):
        return "writes little that the probe’s directions show"
    return f"carries {percent(best.share.mean)} of what tells {OPPOSITES[best.fact]} in the stream there"


def _without(r: HeadRecord) -> str:
    lost = {n: e for n, e in by_state(ablated(r).board[0]).items() if beyond_control(r, n)}
    if not lost:
        control = r.causes.method("random direction")
        beside = "" if control is None else f" (the same change turned at random: {nats(control.kl.mean)})"
        return f"{_kl(r)}{beside}"
    name, e = min(lost.items(), key=lambda item: item[1].mean)
    kind = {"empty": "empty squares", "theirs": "squares of theirs", "mine": "squares of mine"}[name]
    if _most(e) <= -MISREAD_AT:
        return f"without it, {points(-e.mean)} more of 100 {kind} are misread"
    joined = ", but" if ablated(r).kl.mean >= KL_AT else " and"
    return f"without it hardly more squares are misread{joined} {_kl(r).removeprefix('without it ')}"


def worst(p: PointChange) -> tuple[str, Effect]:
    """The state whose squares suffer most."""
    return min(by_state(p).items(), key=lambda item: item[1].mean)


def by_state(p: PointChange) -> dict[str, Effect]:
    return {name: getattr(p, name) for name in ("mine", "theirs", "empty")}


def beyond_control(r: HeadRecord, state: str) -> bool:
    """Whether more squares of a state are lost where it writes than under the same change in a random direction."""
    control = r.causes.method("random direction")
    return control is None or _most(getattr(ablated(r).board[0], state)) < _least(getattr(control.board[0], state))


def points(change: float) -> str:
    """A change of a share in percentage points: two decimals where it is small."""
    return fixed(100 * change, 1 if abs(change) >= 0.01 else 2)


def _kl(r: HeadRecord) -> str:
    return f"without it the prediction moves by {nats(ablated(r).kl.mean)} nats"


def _why(r: HeadRecord, tests: dict[str, bool]) -> str:
    k = r.attention.kind
    goes = {
        "last": "of its attention goes to the move just played", "first": "of its attention goes to the first move",
    }.get(k.name, "of its attention beyond the last move goes to one side’s moves")  # fmt: skip
    if even(r.attention):
        parts = [
            f"{percent(r.attention.from_uniform)} of its attention lies elsewhere than uniform’s (at most "
            f"{percent(EVEN)})"
        ]
    else:
        size = "" if tests["attends"] else "not surely " if k.share.mean >= k.threshold else "only "
        parts = [f"{size}{percent(k.share.mean)} {goes} (asked for: {percent(k.threshold)})"]
    best = strongest(r)
    if best is not None:
        size = "" if tests["writes"] else "not surely " if best.share.mean >= SHARE_AT else "only "
        parts.append(
            f"{size}{percent(max(0.0, best.share.mean))} of the stream’s separation of {OPPOSITES[best.fact]} "
            f"(asked for: {percent(SHARE_AT, 0)})"
        )
    if (w := ablated(r)) is None:
        parts.append("not ablated, so nothing is known of its effect")
    else:
        control = r.causes.method("random direction")
        beside = f"; turned at random: {nats(control.kl.mean)}" if control is not None else ""
        parts.append(f"prediction moved by {nats(w.kl.mean)} nats without it (asked for: {KL_AT}{beside})")
    return "; ".join(parts)


def nats(kl: float) -> str:
    """A KL divergence: two digits, or that it is lost in rounding."""
    return "< 1e−6" if kl < KL_NOISE else number(kl, 2)


def with_interval(e: Effect, scale: float = 100.0, places: int | None = None) -> str:
    """A change with its interval, in percentage points by default: "−0.42 [−0.50, −0.35]"."""
    if places is None:
        places = 1 if abs(scale * e.mean) >= 10 else 2
    mean = fixed(scale * e.mean, places, sign=True)
    if e.low is None or e.high is None:
        return mean
    return f"{mean} [{fixed(scale * e.low, places, sign=True)}, {fixed(scale * e.high, places, sign=True)}]"


def _least(e: Effect | None) -> float:
    return 0.0 if e is None else e.mean if e.low is None else e.low


def _most(e: Effect) -> float:
    return e.mean if e.high is None else e.high


def grades_in_words() -> str:
    """The rule of every grade in one line."""
    return (
        f"attends: of a kind, with its whole interval, or at most {percent(EVEN, 0)} from uniform and "
        f"either side’s share to within {percent(EVEN_SIDE, 0)}; writes: at least "
        f"{percent(SHARE_AT, 0)} of the stream’s separation of mine from theirs or empty from occupied; matters: "
        f"without it the prediction moves by at least {KL_AT} nats, and more than under the same change turned at "
        f"random; {CLEAR}: all three; {PART}: two; {IDLE}: the prediction moves by less than {KL_AT} nats and squares "
        f"read right by less than {100 * MISREAD_AT:.1f} points; {NONE}: everything else"
    )
