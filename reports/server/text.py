"""A position with units at their means for a terminal, at most 100 columns wide."""

import textwrap

from circuits.explanation.without import Without
from reports.charts import point_name
from reports.edits.text import aligned
from reports.edits.words import chance
from reports.server import words
from reports.text import fixed

WIDTH = 100
#: units listed by name
LISTED = 40


def without_text(w: Without) -> str:
    """The change in a sentence, the units, the figures with their controls, the moves, the squares read otherwise."""
    point = w.checkpoint
    said = words.change(w, point) if w.units else words.as_it_is(w, point)
    lines = textwrap.wrap(said, WIDTH)
    if not w.units:
        return "\n".join(lines)
    before, after = (words.reading_of(outcome, point) for outcome in (w.base, w.changed))
    n = len(w.position.legal)
    rows = [
        ("on legal moves", chance(w.base.legal_mass), chance(w.changed.legal_mass)),
        (f"illegal or missing among the {n} likeliest", str(w.base.error), str(w.changed.error)),
        (f"squares right at {point_name(point)} (mean {fixed(before.mean, 1)})", str(before.right), str(after.right)),
    ]
    rows += [(f"{name}, {kind}", chance(p), chance(q)) for name, kind, p, q in words.moves(w)]
    lines += ["", *aligned(("", "before", "then"), rows)]
    lines += [
        "",
        f"KL {words.kl(w.kl)}; of {w.draws} drawn sets the mean [least, most]:",
        f"  units that write as much {words.spread(w.alike)}",
        f"  random units {words.spread(w.random)}",
    ]
    units = [(row.unit, *words.at_mean(row.activation, row.mean)) for row in w.units[:LISTED]]
    lines += ["", *aligned(("set to its mean", "here", "mean"), units)]
    lines += [f"  and {len(w.units) - LISTED} more"] if len(w.units) > LISTED else []
    if changed := words.misread(w, point):
        shown = ", ".join(f"{s} {before} → {after}" for s, _, before, after in changed)
        lines += ["", *textwrap.wrap(f"read otherwise at {point_name(point)}: {shown}", WIDTH)]
    return "\n".join(line.rstrip() for line in lines)
