"""A position with units at their means in words, for the live page and the terminal."""

from circuits.explanation.lines import STATES
from circuits.explanation.records import Spread
from circuits.explanation.without import Outcome, Read, Without
from circuits.notation import LABELS
from reports.charts import point_name
from reports.edits.words import chance
from reports.explanation.words import listed, many, where
from reports.text import fixed, number

MORE, NO_MORE = "more than under any drawn set", "no more than under some drawn set"
#: probability from which an illegal move is in the table
SHOWN = 0.01
#: nats below which a change is said to be less than this
LEAST = 0.0001


def reading_of(outcome: Outcome, point: str) -> Read:
    return next(read for read in outcome.readings if read.point == point)


def legal_first(w: Without, outcome: Outcome) -> str:
    """How many of as many likeliest moves as are legal are: "7 of the 8 likeliest", "the likeliest"."""
    n = len(w.position.legal)
    right = n - outcome.error // 2
    if n == 1:
        return "so is the likeliest" if right else "the likeliest is not"
    said = "all" if right == n else "none" if not right else str(right)
    return f"{said} of the {n} likeliest {'is' if right == 1 else 'are'}"


def as_it_is(w: Without, point: str) -> str:
    """The position with nothing changed, in a sentence."""
    read, best = reading_of(w.base, point), w.base.likeliest[0]
    return (
        f"{w.position.mover.capitalize()} to move. The model plays {best} ({chance(of(w.base, best))}) most; legal "
        f"moves get {chance(w.base.legal_mass)}, and {legal_first(w, w.base)} legal. The probe {where(point)} reads "
        f"{read.right} of 64 squares right."
    )


def of(outcome: Outcome, move: str) -> float:
    """A move's probability."""
    return outcome.probabilities[LABELS.index(move)] or 0.0


def most_changed(w: Without) -> str:
    """The move whose probability changes most."""
    return max((name for name, *_ in moves(w)), key=lambda name: abs(of(w.changed, name) - of(w.base, name)))


def verdict(w: Without) -> str:
    """`MORE` where the change is larger than under every drawn set of both controls."""
    return MORE if w.kl > max(w.random.high, w.alike.high) else NO_MORE


def change(w: Without, point: str) -> str:
    """What is different with the units at their means, in a few sentences."""
    names, one = [row.unit for row in w.units], len(w.units) == 1
    who = listed(names) if len(names) <= 4 else many(len(names))
    read, before, move = reading_of(w.changed, point), reading_of(w.base, point), most_changed(w)
    return (
        f"With {who} at {'its mean' if one else 'their means'} {move} goes from {chance(of(w.base, move))} to "
        f"{chance(of(w.changed, move))}, the most of all moves. All moves’ probabilities change by {kl(w.kl)}, "
        f"{verdict(w)} (units that write as much: {small(w.alike.mean)} on average, {small(w.alike.high)} at most). "
        "Legal moves get "
        f"{chance(w.changed.legal_mass)} (before: {chance(w.base.legal_mass)}), and {legal_first(w, w.changed)} legal. "
        f"The probe {where(point)} reads {read.right} of 64 squares right (before: {before.right})."
    )


def kl(value: float) -> str:
    """ "0.0312 nats"; what is next to nothing is said so."""
    return f"{small(value)} nats"


def spread(s: Spread) -> str:
    """Mean and range: "0.01 [0.002, 0.05]"."""
    return f"{small(s.mean)} [{small(s.low)}, {small(s.high)}]"


def small(value: float) -> str:
    """Three digits of a number that is not below 0, or that it is less than `LEAST`."""
    return f"< {number(LEAST)}" if 0 < value < LEAST else number(value)


def at_mean(activation: float | None, mean: float | None) -> tuple[str, str]:
    """A unit's activation here and its mean; dashes for a head, whose output is a vector."""
    return ("–", "–") if activation is None or mean is None else (fixed(activation), fixed(mean))


def moves(w: Without) -> list[tuple[str, str, float, float]]:
    """Legal moves, and illegal ones of more than `SHOWN` before or after: move, "legal" or "illegal", both
    probabilities; the likeliest before come first."""
    found = []
    for name, before, after in zip(LABELS, w.base.probabilities, w.changed.probabilities, strict=True):
        if before is None or after is None:
            continue
        legal = name in w.position.legal
        if legal or max(before, after) > SHOWN:
            found.append((name, "legal" if legal else "illegal", before, after))
    return sorted(found, key=lambda row: -row[2])


def misread(w: Without, point: str) -> list[tuple[str, str, str, str]]:
    """Squares that a point reads otherwise than before: square, true state, read before, read after."""
    before, after = (reading_of(outcome, point).board for outcome in (w.base, w.changed))
    return [
        (LABELS[s], STATES[w.position.board[s]], STATES[before[s]], STATES[after[s]])
        for s in range(64)
        if before[s] != after[s]
    ]


def points(w: Without) -> list[tuple[str, str]]:
    """Every point with its name, for a choice."""
    return [(read.point, point_name(read.point)) for read in w.base.readings]
