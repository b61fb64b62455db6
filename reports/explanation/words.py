"""A move explained in words: sentences drawn from the numbers, with their thresholds.

The listed units *carry* the move where setting them to their means lowers its logit by more than every drawn set of
either control does, and by half or more of how far the logit lies above its mean over the reference games; they carry
*part* of it where only the first is so. Otherwise the sentence says that they do no more than drawn sets, or that the
logit is not above its mean, so that there is nothing to carry.
"""

from collections.abc import Sequence

from circuits.explanation.records import Explanation, Line, Test, UnitRow
from reports.charts import point_name
from reports.edits.words import chance
from reports.headline import listed as _listed
from reports.text import fixed, percent

HALF = 0.5
CARRY, PART, NO_MORE, NOTHING = "carry it", "carry part of it", "no more than drawn sets", "nothing to carry"
THRESHOLDS = (
    "“Carry it”: the logit falls by more than under any drawn set of either control, and by at least half of how far "
    "it lies above its mean over the reference games; “carry part of it”: only the first."
)
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def listed(names: Sequence[str]) -> str:
    return _listed(tuple(names))


def logit(value: float) -> str:
    return fixed(value, 2, sign=True)


def many(n: int, what: str = "unit") -> str:
    """ "ten units", "one line", "12 units"."""
    return f"{NUMBERS[n] if n < len(NUMBERS) else n} {what}{'' if n == 1 else 's'}"


def ordinal(n: int) -> str:
    tail = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{tail}"


def beats(test: Test) -> bool:
    """Whether the logit falls by more than under every drawn set."""
    c = test.logit
    return bool(test.units) and c.total < min(c.random.low, c.alike.low)


def share(e: Explanation) -> float | None:
    """What the fall is of how far the logit lies above its mean; None where it does not."""
    above = e.logit - e.mean_logit
    return -e.supports.logit.total / above if above > 0 else None


def verdict(e: Explanation) -> str:
    """`CARRY`, `PART`, `NO_MORE` or `NOTHING`."""
    part = share(e)
    if part is None or not e.supports.units:
        return NOTHING
    if not beats(e.supports):
        return NO_MORE
    return CARRY if part >= HALF else PART


def headline(e: Explanation) -> str:
    """One sentence from numbers."""
    start = f"The model gives {e.move} {chance(e.probability)}"
    start += f", its {ordinal(e.rank)} choice of 60" if e.rank > 1 else ", more than any other move"
    start += f" ({chance(e.mean_probability)} on average at this ply)"
    start += f"; it is legal by {line_words(e)}" if e.legal else f"; it is illegal: {e.reason}"
    found, test = verdict(e), e.supports
    if found == NOTHING:
        return (
            f"{start}. Its logit, {logit(e.logit)}, is not above its mean at this ply, {logit(e.mean_logit)}{held(e)}."
        )
    who = many(len(test.units))
    after = e.logit + test.logit.total
    fall = f"set to {'their means' if len(test.units) > 1 else 'its mean'}, the logit goes from {logit(e.logit)} to"
    numbers = f"{fall} {logit(after)} (units that write as much: to {logit(e.logit + test.logit.alike.mean)})"
    said = {
        CARRY: f"{who} carry it" if len(test.units) > 1 else f"{who} carries it",
        PART: f"{who} carry part of it" if len(test.units) > 1 else f"{who} carries part of it",
        NO_MORE: f"the {who} that contribute most do no more than drawn ones",
    }[found]
    return f"{start}. {said[0].upper() + said[1:]}: {numbers}."


def held(e: Explanation) -> str:
    """What the units against the move do, where there is nothing to carry: a clause, or ""."""
    t = e.opposes
    if not t.units:
        return ""
    it = "their means" if len(t.units) > 1 else "its mean"
    return (
        f"; the {many(len(t.units))} most against it set to {it}, it goes to {logit(e.logit + t.logit.total)} (units "
        f"that write as much: {logit(e.logit + t.logit.alike.mean)})"
    )


def line_words(e: Explanation) -> str:
    held = [line for line in e.lines if line.holds]
    return f"{many(len(held), 'line')}, {listed([one_line(e.move, line) for line in held])}"


def one_line(move: str, line: Line) -> str:
    """ "A2–E2", from the move to the end."""
    return f"{move}–{line.end}"


def moves_words(e: Explanation) -> str:
    """How the model shares its probability out, in a sentence."""
    legal = [m.probability for m in e.moves if m.legal]
    illegal = max(0.0, sum(p for p in e.probabilities if p is not None) - sum(legal))
    if len(legal) == 1:
        return f"The only legal move gets {chance(legal[0])}, all illegal ones together {chance(illegal)}."
    return (
        f"The {len(legal)} legal moves get {chance(sum(legal))} together, from {chance(min(legal))} to "
        f"{chance(max(legal))} each; all illegal ones together {chance(illegal)}."
    )


def alone_words(e: Explanation) -> str:
    """What the units for the move are worth one by one, beside all at once."""
    units = e.supports.units
    if len(units) < 2:
        return ""
    most = min(units, key=lambda u: u.alone)
    one_by_one, together = sum(u.alone for u in units), e.supports.logit.total
    said = f"One by one the units for the move change the logit by {logit(one_by_one)} in sum, most {most.unit} "
    said += f"({logit(most.alone)}); together by {logit(together)}."
    if together < one_by_one < 0 and one_by_one > 0.8 * together:
        said += " So they stand in for one another: what is lost with one, others make up in part."
    return said


def legality(lines: Sequence[Line]) -> str:
    """The lines of a move in a table: "S: B2 C2 D2, then E2"."""
    return "; ".join(f"{x.direction}: {' '.join(x.flanked)}, then {x.end}" for x in lines) or "illegal"


def known_words(u: UnitRow) -> str:
    """What a unit is known for, and whether that is what it does here."""
    if u.attends:
        return "reads " + ", ".join(f"{a.move} {percent(a.weight, 0)}" for a in u.attends)
    if u.activation is None:
        return "reads no ply much"
    if u.known is None:
        return "no rule in a table"
    k = u.known
    here = "holds here" if k.holds else "fails here"
    does = "" if k.agrees else ", but the neuron is nearer its other level"
    return f"{k.rule} ({percent(max(0.0, k.variance_explained), 0)}; {here}{does})"


def board_words(e: Explanation) -> str:
    """How the board forms, in a sentence or two."""
    point = next(x for x in e.readings if x.point == e.checkpoint)
    whole = [x for x in e.readings if x.right == 64]
    said = (
        f"The probe {where(whole[0].point)} is the first to read all 64 squares right"
        if whole
        else f"No point’s probe reads all 64 squares right; at most {max(x.right for x in e.readings)} are"
    )
    said += (
        f". The checkpoint, the middle one of the points that read reference games best at this ply, is "
        f"{point_name(e.checkpoint)}: "
        f"{point.right} right here, {fixed(point.mean, 1)} on average."
    )
    index = [x.point for x in e.readings].index(e.checkpoint)
    weak = [x for x in e.rests if x.probabilities[index] < 0.5]
    if weak:
        said += f" There it does not hold {listed([f'{x.square} {x.state}' for x in weak])} likely."
    return said


def where(point: str) -> str:
    name = point_name(point)
    return "at the input" if name == "in" else f"{'in the middle of' if name.endswith('mid') else 'after'} {name[:2]}"


def lens_words(e: Explanation) -> str:
    first = next((x.layer for x in e.lens if all(y.rank == e.rank for y in e.lens if y.layer >= x.layer)), None)
    last = len(e.lens) - 1
    said = f"Read out after each layer, {e.move} is {ordinal(e.lens[0].rank)} of 60 after L0"
    if first is not None and first < last:
        return f"{said} and {ordinal(e.rank)} from L{first} on."
    return f"{said}, {ordinal(e.lens[-2].rank)} after L{last - 1} and {ordinal(e.rank)} at the end." if last else said


def writers_words(e: Explanation) -> str:
    """What the writers of the squares do, and what the logit says of that."""
    t = e.writers
    if t.board is None or not t.units:
        return "No unit before the checkpoint writes towards these states."
    b, above = t.board, e.board - e.board_at_means
    said = (
        f"The {many(len(t.units))} before {point_name(e.checkpoint)} that write most of these squares’ states: set to "
        f"their means, the coordinates go from {fixed(e.board, 1)} to {fixed(e.board + b.total, 1)} (every unit at its "
        f"mean: {fixed(e.board_at_means, 1)}; units that write as much: {fixed(e.board + b.alike.mean, 1)})"
    )
    said += f", and the probe misreads {listed(t.misread)}." if t.misread else ", and the probe misreads none of them."
    c = t.logit
    more = "more than under any drawn set" if beats(t) else "no more than under some drawn set"
    said += f" The move’s logit changes by {logit(c.total)}, {more} (as much writing: {logit(c.alike.mean)})."
    said += (
        f" Directly they write {fixed(-b.direct, 1, sign=True)} beyond their means; all units together "
        f"{fixed(above, 1, sign=True)}."
    )
    return said


def rest_words(e: Explanation) -> str:
    """What is left unexplained."""
    c = e.cover
    said = (
        f"All units together write {logit(c.positive)} for the move beyond their means and {logit(c.negative)} against "
        f"it. The {many(len(e.supports.units))} listed for it write "
        f"{percent(c.shown / c.positive if c.positive else 0.0, 0)} of the first sum; half of it takes {c.half} and "
        f"90 % takes {c.most} of {c.all:,} units."
    )
    if c.explained is not None and c.partly is not None:
        said += (
            f" Of what is written for it {percent(c.explained, 0)} comes from neurons that a rule explains and that do "
            f"here what it says, {percent(c.partly, 0)} from neurons that a rule explains in part; the other "
            f"{percent(max(0.0, 1 - c.explained - c.partly), 0)} has no such account: heads, other neurons, and the "
            "many small ones beyond 90\u00a0%."
        )
    t = e.supports.logit
    if e.supports.units:
        said += (
            f" Without those listed the direct change is {logit(t.direct)} and the total {logit(t.total)}: later "
            f"layers and the final LayerNorm make up {logit(t.total - t.direct)} of it."
        )
    return said
