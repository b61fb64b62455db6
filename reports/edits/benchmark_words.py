"""The edit benchmark in words: what wins, what fails, and what of the numbers says why.

A method *fails* where it leaves more than `FAILS` of the error that there is without any edit, over all cases.
Sentences on reasons say what was measured; what it suggests is marked as likely.
"""

from circuits.editing.results import NO_EDIT
from reports.edits.benchmark_build import RELEASED
from reports.edits.benchmark_figures import interval, names_of
from reports.edits.benchmark_records import BenchmarkRecord, Mean
from reports.edits.words import listed
from reports.text import count, fixed, percent

FAILS = 0.5
#: cases of a set, and tuning cases, below which settings and order are called provisional
ENOUGH, ENOUGH_TUNING = 100, 50
#: sets that are made, not read from files
OWN = ("natural", "unnatural", "two squares")
#: (study, cases, error without an edit, error with it, how): other models, other cases
PUBLISHED = (
    ("Li et al. 2023 (2210.13382)", "natural", 2.68, 0.12, "gradient descent on the stream with a two-layer probe"),
    ("Li et al. 2023 (2210.13382)", "unnatural", 2.59, 0.06, "gradient descent on the stream with a two-layer probe"),
    ("Nanda et al. 2023 (2309.00941)", "flips", 2.723, 0.10, "class vector of a linear probe added at several layers"),
)


def overall(b: BenchmarkRecord, name: str, control: bool = False) -> float:
    """Mean error over the cases of all sets."""
    total = sum(s.cases for s in b.sets)
    return sum(s.cases * b.row(s.name, name, control).scores["error"].mean for s in b.sets) / total


def highest(b: BenchmarkRecord, name: str) -> float | None:
    """The high end of `overall`'s interval: the sets' high ends, weighted by cases; None where a set has none.

    Wider than that of all cases as one sample, for it lets every set be at its end at once.
    """
    ends = [(s.cases, b.row(s.name, name).scores["error"].high) for s in b.sets]
    if any(high is None for _, high in ends):
        return None
    return sum(n * high for n, high in ends) / sum(n for n, _ in ends)


def beats_random(b: BenchmarkRecord, name: str) -> bool:
    """Whether a method's interval over all cases lies below the mean error of its random directions."""
    high = highest(b, name)
    return high is not None and high < overall(b, name, True)


def headline(b: BenchmarkRecord) -> str:
    """What the method of the lowest error does over all cases, and how sure that is."""
    name = b.winner_name
    none, left, random = overall(b, NO_EDIT), overall(b, name), overall(b, name, True)
    if left <= FAILS * none and beats_random(b, name):
        verdict = f"Written by {b.winner}, the edited board is what the model plays by"
    else:
        verdict = f"No method makes the model play by the edited board; the lowest error is that of {b.winner}"
    total = sum(s.cases for s in b.sets)
    words = (
        f"{verdict}: mean error {fixed(none)} → {fixed(left)} over {count(total)} cases (random directions "
        f"{fixed(random)}; on unedited boards the model itself has {fixed(b.own_error.mean)}). {standing(b)}"
    )
    return f"{words} {caution(b)}".rstrip()


def standing(b: BenchmarkRecord) -> str:
    """Whether the method of the lowest error is the best, or tied."""
    if b.margin is None:
        return "It is the only method measured."
    if sure(b.margin):
        return f"It is the best of {len(b.tuned)} methods measured."
    return f"It is tied with {b.runner_up}: the interval of their difference holds 0."


def caution(b: BenchmarkRecord) -> str:
    """A plain sentence where cases are too few; "" where they are not."""
    few = [f"{count(s.cases)} {s.name} case{'s' if s.cases != 1 else ''}" for s in b.sets if s.cases < ENOUGH]
    few += [f"{count(b.tuning_cases)} tuning cases"] * (b.tuning_cases < ENOUGH_TUNING)
    return f"With only {listed(few)}, the settings chosen and the order of methods are provisional." if few else ""


def rolled(b: BenchmarkRecord) -> list[str]:
    """How roll-outs end, by set, beside no edit and original boards."""
    lines = []
    for s in b.sets:
        own = [r for r in b.rollouts if r.cases == s.name]
        if own:
            shares = "; ".join(f"{r.name} {share_words(r.last)}" for r in own)
            n = f"{count(own[0].n)} roll-out{'s' if own[0].n != 1 else ''}"
            lines.append(f"legal to the end of {len(own[0].survived)} moves {on(s.name)}, {n}: {shares}")
    return lines


def share_words(m: Mean) -> str:
    """``40 % [30 %, 51 %]``."""
    return f"{percent(m.mean)} [{percent(m.low)}, {percent(m.high)}]"


def on(cases: str) -> str:
    """ "on natural cases"."""
    if cases == "two squares":
        return "with two squares edited"
    return f"on {cases} cases" if cases in OWN else f"on {cases}"


def sure(m: Mean) -> bool:
    """Whether an interval leaves out zero."""
    return m.low is not None and m.high is not None and not m.low <= 0 <= m.high


def margin(b: BenchmarkRecord) -> str:
    """How sure the order of the first two is."""
    if b.margin is None:
        return "Only one method was measured, so nothing stands beside it."
    more = "the interval over cases leaves out 0" if sure(b.margin) else "the interval holds 0: a tie"
    return f"Next comes {b.runner_up}, worse by {interval(b.margin)} case by case; {more}."


def findings(b: BenchmarkRecord) -> list[tuple[str, str]]:
    """(What, in words) for the section on what fails and why."""
    none = overall(b, NO_EDIT)
    names = names_of(b, b.sets[0].name)
    found = [("The lowest error", margin(b))]
    failing = [n for n in names if overall(b, n) > FAILS * none]
    better = [n for n in names if beats_random(b, n)]
    beaten = [n for n in names if n not in better]
    words = "; ".join(f"{n} {fixed(overall(b, n))}" for n in failing)
    found.append(
        (
            "What fails",
            (
                f"More than half of the error without an edit ({fixed(none)}) is left by {words}."
                if failing
                else f"Every method leaves less than half of the error without an edit ({fixed(none)})."
            )
            + (f" {_beside_random(b, better, beaten)}"),
        )
    )
    found.append(("Where it is written", _layers(b, none)))
    found.append(("How strongly", _scales(b)))
    if variants := _variants(b):
        found.append(("How it is made", variants))
    if many := _changed(b):
        found.append(("How much changes", many))
    found.append(
        (
            "Where nothing should happen",
            f"An edit of {b.winner_name} to what a square is already moves the move probabilities by "
            f"{interval(b.to_the_same, 3)} (total variation; at most {fixed(b.to_the_same_largest)}), its real edits "
            f"by {interval(b.to_another, 3)}.",
        )
    )
    kinds = {s.name: b.row(s.name, b.winner_name).scores["error"] for s in b.sets}
    if "natural" in kinds and "unnatural" in kinds:
        n, u = kinds["natural"], kinds["unnatural"]
        apart = None not in (n.low, n.high, u.low, u.high) and (n.high < u.low or u.high < n.low)
        found.append(
            (
                "Boards that no game reaches",
                f"{b.winner_name} leaves {interval(u)} on unnatural boards and {interval(n)} on natural ones: "
                + ("they differ." if apart else "the intervals overlap, so what was never seen is no harder for sure."),
            )
        )
    return [(name, text[0].upper() + text[1:]) for name, text in found]


def _beside_random(b: BenchmarkRecord, better: list[str], beaten: list[str]) -> str:
    """Which methods are shown to do better than random directions of the same size, and which are not."""
    words = []
    if better:
        words.append(
            f"Better than random directions, their interval’s high end below the random mean: {listed(better)}."
        )
    if beaten:
        parts = []
        for name in beaten:
            high = highest(b, name)
            end = "no interval" if high is None else f"high end {fixed(high)}"
            parts.append(f"{name} {fixed(overall(b, name))} ({end}; random {fixed(overall(b, name, True))})")
        words.append(f"Not shown to be better than random directions: {'; '.join(parts)}.")
    return " ".join(words)


def _layers(b: BenchmarkRecord, none: float) -> str:
    name = b.winner_name
    values = b.layers[name]
    best = min(range(len(values)), key=lambda i: values[i])
    text = f"At one layer alone {name} does best after L{best} ({fixed(values[best])})"
    all_ = overall(b, name)
    text += f"; its chosen setting, {b.winner}, leaves {fixed(all_)}." if b.winner.find(" L") >= 0 else "."
    last = len(values) - 1
    if values[0] > FAILS * none:
        text += (
            f" After L0 alone it leaves {fixed(values[0])}: likely the layers that follow still compute the board "
            "from the moves and undo it."
        )
    if values[last] > FAILS * none:
        text += f" After L{last} alone it leaves {fixed(values[last])}: no layer is left that could read the square."
    return text


def _scales(b: BenchmarkRecord) -> str:
    by_scale = [min(row[j] for row in b.scales) for j in range(len(b.scale_values))]
    best = min(range(len(by_scale)), key=lambda j: by_scale[j])
    text = f"Negation at the best single layer leaves {fixed(by_scale[best])} at scale {b.scale_values[best]:g}"
    if 1.0 in b.scale_values and b.scale_values[best] != 1.0:
        text += f" and {fixed(by_scale[b.scale_values.index(1.0)])} at scale 1, the mirror image"
    last = len(by_scale) - 1
    if best != last:
        text += f"; at scale {b.scale_values[last]:g} {fixed(by_scale[last])}"
    return text + "."


def _variants(b: BenchmarkRecord) -> str:
    parts = []
    tuned = {t.name for t in b.tuned}
    for name in names_of(b, b.sets[0].name):
        if name not in tuned:
            share = max(b.row(s.name, name).share for s in b.sets)
            size = f" (its published strength is {percent(share)} of this model’s stream)" if name == RELEASED else ""
            parts.append(f"{name} {fixed(overall(b, name))}{size}")
    if not parts:
        return ""
    best = fixed(overall(b, b.winner_name))
    return f"Over all cases the winner leaves {best}; untuned variants beside it: {'; '.join(parts)}."


def _changed(b: BenchmarkRecord) -> str:
    name, first = b.winner_name, b.sets[0].name
    known = [(i, v) for i, v in zip(b.bins, b.row(first, name).by_changed, strict=True) if v is not None]
    none = dict(zip(b.bins, b.row(first, NO_EDIT).by_changed, strict=True))
    known = [(i, v) for i, v in known if i]
    if len(known) < 2:
        return ""
    (low, a), (high, z) = known[0], known[-1]
    plus = "or more " if high == b.bins[-1] else ""
    return (
        f"{on(first).capitalize()}, where {low} move{'s' if low != 1 else ''} changes, {name} leaves {fixed(a)} of "
        f"{fixed(none[low])}; where {high} {plus}do, {fixed(z)} of {fixed(none[high])}."
    )


def saliency_words(b: BenchmarkRecord) -> str:
    """How well the maps find the squares that decide by the rules."""
    s = b.saliency
    if s is None:
        return ""
    return (
        f"Of the squares that a map calls decisive (the move’s logit falls by more than {fixed(s.threshold)}) "
        f"{percent(s.precision.mean)} are so by the rules, and {percent(s.recall.mean)} of those that are so are "
        f"found; random directions: {percent(s.control_precision)} and {percent(s.control_recall)}. "
        f"{percent(s.base_rate)} of all discs are decisive, which is the precision of any map that ignores the board. "
        f"{percent(s.lines_precision)} of the squares found lie on a line of the move."
    )
