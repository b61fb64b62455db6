"""Pages of the 64 squares: who reads one, who writes it, who makes it legal, who is on where it is.

The answers of `circuits.atlas.questions`. To be on where a move is legal is not to cause it: many such neurons lower
the move's logit, so who makes it legal is told by ablations.
"""

from typing import Any

from circuits.atlas import questions
from circuits.atlas.answers import Reads, Writes
from circuits.atlas.legal_moves import Cause, MakesLegal
from circuits.atlas.move_effects import ALPHA, FLOOR
from circuits.atlas.opened import Atlas
from circuits.notation import CENTRE, LABELS
from reports.atlas_site.unit_words import small, with_error
from reports.text import fixed

TOP = 20
#: so many of each for the scripts' panel
BRIEF = 10


#: (list of causes, where more of the gap comes from, title)
SECTIONS = (
    ("separate", "legal", "Who makes it legal: lifts it where it is legal"),
    ("separate", "illegal", "Who makes it legal: lowers it where it is not"),
    ("blur", "legal", "Who works against that: lowers it where it is legal"),
    ("blur", "illegal", "Who works against that: lifts it where it is not"),
)
CAUSES = (
    "What a unit adds to the move’s logit, relative to the mean of the 60 moves, as it is rather than at its ply’s "
    "mean, everything after it recomputed: where the move is legal, and where the square is empty and it is illegal, "
    "± standard error. Gap: the one less the other at the same ply (one slope on the ply for both). {measured}: "
    "{legal:,} with the move legal, {illegal:,} empty and illegal. {passed:,} units have a gap {sign} 0 of {floor} "
    "logits or more that is beyond chance, p < {alpha} over the model’s {tested:,} (Student’s t, Bonferroni); here are "
    "the largest of these. Control, as many empty squares drawn at random for the legal ones: {control:,}. A gap may "
    "also come of later layers that answer differently to the same change. Direct: a neuron’s direct logit for one sd "
    "of activation; a head’s where legal less where illegal. Follows: a neuron’s rule, or else its best fact."
)
#: what stands under the second of such tables and the rest
AGAIN = "Measured as above; {passed:,} units have such a gap {sign} 0, the largest of which stand here."


class Square:
    """One square's answers; a question that cannot be asked of it or of this atlas has None."""

    def __init__(self, atlas: Atlas, square: int):
        self.name = LABELS[square]
        self.reads: Reads = questions.reads(atlas, self.name, top=TOP)
        self.writes: Writes = questions.writes(atlas, self.name, top=TOP)
        self.legal: MakesLegal | None = None if square in CENTRE else questions.makes_legal(atlas, self.name, top=TOP)

    def brief(self) -> dict[str, list]:
        """For the scripts: [unit, figure, what]."""
        return {
            "reads": [[r.unit, f"R² {small(r.r2)}", r.best_fact or ""] for r in self.reads.found[:BRIEF]],
            "writes": [[w.unit, _writes(w), w.best_fact or ""] for w in self.writes.found[:BRIEF]],
            **{
                f"{name}-{side}": [
                    [c.unit, with_error(c.gap, c.gap_se), c.follows or ""] for c in self._causes(name, side)[:BRIEF]
                ]
                for name, side, _ in SECTIONS
            },
            "legal": [[r.unit, f"F1 {fixed(r.f1)}", r.fact] for r in (self.legal.found if self.legal else ())[:BRIEF]],
        }

    def _causes(self, name: str, side: str) -> list[Cause]:
        causes = self.legal.causes if self.legal else None
        return [] if causes is None else [cause for cause in getattr(causes, name) if cause.side == side]

    def tables(self) -> list[dict[str, Any]]:
        """The page's tables: title, caption, head, rows of (unit, cells), the Python line."""
        r, w = self.reads, self.writes
        found = [
            {
                "id": "who-reads", "title": "Who reads it", "python": f'questions.reads(atlas, "{self.name}")',
                "head": ("R²", "median", "empty", "theirs", "mine", "best fact"),
                "rows": [
                    (x.unit, [*map(small, (x.r2, x.typical, x.mean_empty, x.mean_theirs, x.mean_mine)),
                              x.best_fact or "–"])
                    for x in r.found
                ],
                "caption": "Neurons whose activation depends most on what the square holds. R²: share of the variance "
                "between the means of its three states, not held out; median: the same at the middling square; then "
                f"the mean activation in each state. {r.measured}; of {r.neurons:,}.",
            },
            {
                "id": "who-writes", "title": "Who writes it", "python": f'questions.writes(atlas, "{self.name}")',
                "head": ("mine", "empty", "logit", "KL without", "best fact"),
                "rows": [
                    (x.unit, [*(small(v, True) for v in (x.writes_mine, x.writes_empty, x.logit)), small(x.kl),
                              x.best_fact or "–"])
                    for x in w.found
                ],
                "caption": "Neurons whose output weight lies most along the square’s directions: cosine with mine − "
                f"theirs and empty − occupied; a random vector has ±{fixed(w.chance_cosine)}. Logit: of the move here, "
                f"for one sd of activation. Of {w.neurons:,}.",
            },
        ]  # fmt: skip
        if w.heads:
            found.append({
                "id": "heads", "title": "Heads that write it",
                "python": f'questions.writes(atlas, "{self.name}").heads',
                "head": ("mine", "empty", "logit where legal", "where illegal"),
                "rows": [
                    (x.unit, [small(v, True) for v in (x.separation_mine, x.separation_empty, x.logit_legal,
                                                       x.logit_illegal)])
                    for x in w.heads
                ],
                "caption": "What a head writes along each direction where it holds less where it does not, stream "
                f"units; its direct logit of the move where legal, and where empty and illegal, less the ply’s mean "
                f"and relative to the mean of the 60 moves. {w.measured_heads}.",
            })  # fmt: skip
        first = True
        for name, side, title in SECTIONS:
            if not (own := self._causes(name, side)):
                continue
            c = self.legal.causes
            found.append({
                "id": f"{name}-{side}", "title": title,
                "python": f'[c for c in questions.makes_legal(atlas, "{self.name}").causes.{name} '
                          f'if c.side == "{side}"]',
                "head": ("gap", "where legal", "empty, illegal", "direct", "follows"),
                "rows": [
                    (x.unit, [*(with_error(*pair) for pair in ((x.gap, x.gap_se), (x.legal, x.legal_se),
                                                               (x.illegal, x.illegal_se))),
                              small(x.direct, True), x.follows or "–"])
                    for x in own
                ],
                "caption": (CAUSES if first else AGAIN).format(
                    measured=c.measured, legal=c.legal, illegal=c.illegal, tested=c.tested, control=c.control,
                    passed=c.separating if name == "separate" else c.blurring,
                    floor=FLOOR, alpha=ALPHA, sign="above" if name == "separate" else "below",
                ),
            })  # fmt: skip
            first = False
        if self.legal and self.legal.found:
            m = self.legal
            found.append({
                "id": "on-where-legal", "title": "Who is on where it is legal",
                "python": f'questions.makes_legal(atlas, "{self.name}").found',
                "head": ("fact", "F1, 95 %", "skill", "shuffled", "logit", "gap", "lowered by"),
                "rows": [
                    (x.unit, [x.fact, f"{fixed(x.f1)} [{fixed(x.f1_low)}, {fixed(x.f1_high)}]", small(x.skill),
                              small(x.shuffled_skill), small(x.logit, True), with_error(x.gap, x.gap_se),
                              ", ".join(i.unit for i in x.inhibitors[:2]) or "–"])
                    for x in m.found
                ],
                "caption": "Neurons that are on where the move is legal, in one way or any: F1 of “activation above a "
                f"threshold” against that fact, {m.measured}; such a fact is among the best of {m.neurons:,}. "
                "Logit: of the move, direct, for one sd of activation. Gap: as above, whether or not it passes. "
                "Logit below 0: the neuron tells that the move is legal, and speaks against it.",
            })  # fmt: skip
        return found


def _writes(w) -> str:
    parts = (("mine", w.writes_mine), ("empty", w.writes_empty))
    known = [(abs(v), name, v) for name, v in parts if v is not None]
    if not known:
        return f"logit {small(w.logit, True)}"
    _, name, value = max(known)
    return f"{name} {small(value, True)}"
