"""One edit in words: the verdict with its thresholds, and the headline.

With N legal moves on the edited board, error = false positives + negatives of the N likeliest moves against them:

    plays by the edited board   error 0, which random directions do not reach; newly legal moves get at least half of
                                what a perfect player gives them, newly illegal ones at most half of what they got
    comes part of the way       error at most half of what it was, and below that of random directions; newly legal
                                moves get at least a tenth, or newly illegal ones at most half
    fails                       otherwise

Where there are no newly legal (or newly illegal) moves, that condition is not asked. Where the error is 0 without any
edit (all that the edit takes away the model held unlikely) the KL takes its place: at most half of what it was, and
below random directions, the error still 0. Where the edit changes no legal move there is nothing to judge by, and the
sentence says so.
"""

from collections.abc import Sequence

from reports.charts import point_name
from reports.edits.records import EditRecord, Figure
from reports.headline import listed as _listed
from reports.text import fixed, number, percent

#: "at most half", and "at least a tenth"
PART, LITTLE = 0.5, 0.1
WORKS, PARTLY, FAILS, UNDECIDED = "works", "partly", "fails", "no legal move depends on it"
THRESHOLDS = (
    "“Makes the model play by the edited board”: error 0, which random directions do not reach, newly legal moves get "
    "at least half of a perfect player’s probability and newly illegal ones at most half of before. “Part of the "
    "way”: error at most half and below random directions, newly legal moves at least a tenth or newly illegal ones "
    "at most half. Otherwise: fails. (Error 0 without an edit: the KL, halved and below random, in its place.)"
)
#: scores in the order of the table: name in the record, its name here, its unit
FIGURES = (
    ("error", "error against the edited board’s legal moves", "moves"),
    ("error original", "error against the original board’s", "moves"),
    ("KL", "KL from uniform over the edited board’s legal moves, nats", "nats"),
    ("F1", "F1 of moves above 1 % against the edited board’s", ""),
    ("newly legal", "probability of moves newly legal", "%"),
    ("newly illegal", "probability of moves newly illegal", "%"),
    ("illegal", "probability of all moves illegal on the edited board", "%"),
)
ACTING = {"flip": "Flipping", "erase": "Erasing", "place": "Placing a disc on", "nothing": "Leaving"}


def listed(names: Sequence[str]) -> str:
    return _listed(tuple(names))


def verdict(r: EditRecord) -> str:
    """`WORKS`, `PARTLY`, `FAILS` or `UNDECIDED`."""
    if set(r.before.legal) == set(r.after.legal):
        return UNDECIDED
    gain, loss = shares(r)
    if unlike(r):
        return FAILS
    if r.figures["error"].after == 0 and not missing(r):
        return WORKS
    return PARTLY if (gain is not None and gain >= LITTLE) or (loss is not None and loss <= PART) else FAILS


def shares(r: EditRecord) -> tuple[float | None, float | None]:
    """What newly legal moves get, of what a perfect player gives them, and newly illegal ones, of what they got.

    None where there are no such moves.
    """
    new, gone = gained(r)
    legal, illegal = r.figures["newly legal"], r.figures["newly illegal"]
    perfect = sum(m.perfect for m in r.moves if m.move in new)
    gain = legal.after / perfect if new else None
    loss = (illegal.after / illegal.before if illegal.before else float(illegal.after > 0)) if gone else None
    return gain, loss


def unlike(r: EditRecord) -> str:
    """Why the likeliest moves are not nearer to the edited board's, in a few words; "" where they are."""
    error, kl = r.figures["error"], r.figures["KL"]
    if error.before == 0:
        if error.after:
            return "the edit adds errors"
        error, name = kl, "KL"
    else:
        name = "error"
    if error.after > PART * error.before:
        return f"the {name} is not halved"
    return "" if error.after < error.random else "random directions do as well"


def missing(r: EditRecord) -> str:
    """What newly legal and newly illegal moves lack of what `WORKS` asks, in a few words; "" where nothing."""
    gain, loss = shares(r)
    new, gone = gained(r)
    words = []
    if gain is not None and gain < PART:
        perfect = sum(m.perfect for m in r.moves if m.move in new)
        words.append(
            f"the new legal move{'s' if len(new) > 1 else ''} still get{'s' if len(new) == 1 else ''} "
            f"{chance(r.figures['newly legal'].after)} (a perfect player: {chance(perfect)})"
        )
    if loss is not None and loss > PART:
        f = r.figures["newly illegal"]
        words.append(
            f"the new illegal move{'s' if len(gone) > 1 else ''} still get{'s' if len(gone) == 1 else ''} "
            f"{chance(f.after)} (before: {chance(f.before)})"
        )
    return " and ".join(words)


def acting(r: EditRecord) -> str:
    """What is done, as a subject: "Flipping F4 and F5", "Erasing C3 and flipping F4"."""
    parts = []
    for action, words in ACTING.items():
        squares = [e.square for e in r.edits if e.action == action]
        if squares:
            parts.append(f"{words} {listed(squares)}")
    return listed([parts[0], *(p[0].lower() + p[1:] for p in parts[1:])])


def where(r: EditRecord) -> str:
    """The points written to: "after L2–L5", "in the middle of L3", "in the heads of L2–L7"."""
    layers = sorted({int(w.point.split(".")[1]) for w in r.written})
    run = len(layers) > 2 and layers == list(range(layers[0], layers[-1] + 1))
    spans = f"L{layers[0]}–L{layers[-1]}" if run else listed([f"L{n}" for n in layers])
    point = r.written[0].point
    if point.endswith("hook_z"):
        return f"in heads of {spans}"
    return f"in the stream {'after' if point.endswith('post') else 'in the middle of'} {spans}"


def headline(r: EditRecord) -> str:
    """One sentence from numbers."""
    subject, found = f"{acting(r)} {where(r)}", verdict(r)
    error, kl = r.figures["error"], r.figures["KL"]
    if found == UNDECIDED:
        return f"{subject} changes no legal move, so the model’s moves cannot show whether it took; {reading_words(r)}."
    by_kl = error.before == 0
    if by_kl:
        numbers = (
            f"KL {shown(kl.before, 'nats')} → {shown(kl.after, 'nats')} nats (random directions "
            f"{shown(kl.random, 'nats')}); error "
            f"0 → {_whole(error.after)}"
        )
    else:
        numbers = f"error {_whole(error.before)} → {_whole(error.after)} (random directions {fixed(error.random, 1)})"
    if found == WORKS:
        return f"{subject} makes the model play by the edited board: {numbers}."
    why = unlike(r) or missing(r)
    tail = f"; {why}" if why else ""
    if found == PARTLY:
        return f"{subject} brings the model part of the way to the edited board: {numbers}{tail}."
    return f"{subject} fails to make the model play by the edited board: {numbers}{tail}."


def reading_words(r: EditRecord) -> str:
    """How the last point reads the edited squares: "after L7 the probe reads F4 as mine"."""
    words = []
    for edit in r.edits:
        readings = r.readings[edit.square]
        if readings:
            last = readings[-1]
            words.append(f"{edit.square} as {state_read(last.after)} (it was to be {edit.after})")
    if not words:
        return "there is no probe to read it with"
    return f"after {point_name(r.readings[r.edits[0].square][-1].point)} the probe reads {listed(words)}"


def state_read(p: tuple[float, ...]) -> str:
    """The most probable state."""
    return ("empty", "theirs", "mine")[max(range(3), key=lambda c: p[c])]


def gained(r: EditRecord) -> tuple[list[str], list[str]]:
    """Moves legal on the edited board only, and on the original only."""
    old, new = r.before.legal, r.after.legal
    return [m for m in new if m not in old], [m for m in old if m not in new]


def done(r: EditRecord) -> str:
    """The edits with their states: "F4 theirs → mine"."""
    return ", ".join(f"{e.square} {e.before} → {e.after}" for e in r.edits)


def stubborn(r: EditRecord) -> str:
    """Where the probe follows the edit, from the first point written to on, and whether it lasts."""
    sentences = []
    first = min(int(w.point.split(".")[1]) for w in r.written)
    for edit in r.edits:
        all_points = r.readings[edit.square]
        behind = [x for x in all_points if int(x.point.split(".")[1]) >= first]
        if not behind:
            continue
        follows = [point_name(x.point) for x in behind if state_read(x.after) == edit.after]
        unedited = [point_name(x.point) for x in all_points if state_read(x.before) == edit.before]
        if len(follows) == len(behind):
            words = f"{edit.square} reads as {edit.after} at every point from {point_name(behind[0].point)} on"
        elif not follows:
            words = f"{edit.square} reads as {edit.after} nowhere from {point_name(behind[0].point)} on"
        else:
            words = (
                f"{edit.square} reads as {edit.after} after {listed(follows)} and as something else at the other points"
            )
        if len(unedited) < len(all_points):
            words += (
                f"; unedited, the probe has its true state ({edit.before}) right after "
                f"{listed(unedited) if unedited else 'no layer'}"
            )
        sentences.append(words + ".")
    return " ".join(sentences)


def elsewhere(r: EditRecord) -> str:
    """Side effects in one sentence."""
    if not r.side_effects:
        return "There is no probe to read other squares with."
    worst = max(r.side_effects, key=lambda s: s.changed)
    if not worst.changed:
        return "No other square reads differently after any layer."
    last = r.side_effects[-1]
    n = 64 - len(r.edits)
    return (
        f"Most after {point_name(worst.point)}: {worst.changed} of {n} other squares read differently (random "
        f"directions {fixed(worst.random, 1)}). After {point_name(last.point)} {last.wrong_after} of {n} are read "
        f"wrongly, {last.wrong_before} without the edit."
    )


def saliency_words(s) -> str:
    """What a map shows, beside random directions."""
    what = "legal" if s.legal else "not legal"
    if not s.decisive:
        head = f"{s.move} is {what} here, and no single disc decides that."
    else:
        who = ("any one of " if len(s.decisive) > 1 else "") + listed(s.decisive)
        turned = "make it illegal" if s.legal else "make it legal"
        head = f"{s.move} is {what} here; to flip {who} would {turned}."
    tail = f" Other discs: {number(s.mean_other, 2, sign=True)} on average" if s.mean_other is not None else ""
    if s.mean_decisive is not None:
        head += (
            f" Flipped in the stream, {'it moves' if len(s.decisive) == 1 else 'they move'} the logit by "
            f"{number(s.mean_decisive, 2, sign=True)}{' on average' if len(s.decisive) > 1 else ''} (random directions "
            f"{number(s.random_decisive, 2, sign=True)})."
        )
    if s.random_other is not None:
        tail += f" (random directions {number(s.random_other, 2, sign=True)})."
    return head + tail


def chance(p: float) -> str:
    """A probability, alike wherever it stands: "13.4 %", "< 0.1 %", "0 %"."""
    return percent(p, 1 if p >= 0.001 else None)


def shown(value: float, unit: str) -> str:
    """A score in its unit, alike wherever it stands."""
    if unit == "%":
        return chance(value)
    return _whole(value) if unit == "moves" else fixed(value, 3)


def _whole(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else fixed(value, 1)


def figure_cells(f: Figure, unit: str) -> tuple[str, str, str, str]:
    """Before, after, random [least, most], perfect."""
    random = fixed(f.random, 1) if unit == "moves" else shown(f.random, unit)
    random += f" [{shown(f.random_low, unit)}, {shown(f.random_high, unit)}]"
    return shown(f.before, unit), shown(f.after, unit), random, "–" if f.perfect is None else shown(f.perfect, unit)
