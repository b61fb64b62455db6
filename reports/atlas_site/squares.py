"""Pages of the 64 squares: who reads one, who writes it, who is on where it is legal and raises or lowers its logit.

The answers of `circuits.atlas.questions`. To be on where a move is legal is not to cause it: many such neurons lower
the move's logit, so the two kinds stand apart.
"""

from typing import Any

from circuits.atlas import questions
from circuits.atlas.answers import Legal, MakesLegal, Reads, Writes
from circuits.atlas.opened import Atlas
from circuits.notation import CENTRE, LABELS
from reports.atlas_site.unit_words import small
from reports.text import fixed

TOP = 20
#: so many of each for the scripts' panel
BRIEF = 10
#: more neurons than have a fact on one square among their best
EVERY = 100_000


class Square:
    """One square's answers; a question that cannot be asked of it or of this atlas has None."""

    def __init__(self, atlas: Atlas, square: int):
        self.name = LABELS[square]
        self.reads: Reads = questions.reads(atlas, self.name, top=TOP)
        self.writes: Writes = questions.writes(atlas, self.name, top=TOP)
        self.legal: MakesLegal | None = None if square in CENTRE else questions.makes_legal(atlas, self.name, top=EVERY)

    def brief(self) -> dict[str, list]:
        """For the scripts: [unit, figure, what]."""
        return {
            "reads": [[r.unit, f"R² {small(r.r2)}", r.best_fact or ""] for r in self.reads.found[:BRIEF]],
            "writes": [[w.unit, _writes(w), w.best_fact or ""] for w in self.writes.found[:BRIEF]],
            "raises": [[r.unit, f"F1 {fixed(r.f1)}", r.fact] for r in self.on_where_legal(1)[:BRIEF]],
            "lowers": [[r.unit, f"F1 {fixed(r.f1)}", r.fact] for r in self.on_where_legal(-1)[:BRIEF]],
        }

    def on_where_legal(self, sign: int) -> list[Legal]:
        """The neurons that are on where the move is legal and raise (1) or lower (-1) its logit; best F1 first."""
        return [r for r in self.legal.found if r.logit is not None and r.logit * sign > 0] if self.legal else []

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
                f"the mean activation in each state. {r.measured}; {r.neurons:,} neurons.",
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
                f"for one sd of activation. {w.neurons:,} neurons.",
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
        for sign, word in ((1, "raises"), (-1, "lowers")):
            if not (own := self.on_where_legal(sign)):
                continue
            found.append({
                "id": f"legal-{word}", "title": f"Who is on where it is legal, and {word} its logit",
                "python": f'[x for x in questions.makes_legal(atlas, "{self.name}", top={EVERY}).found '
                          f'if x.logit {"<>"[sign > 0]} 0]',
                "head": ("fact", "F1, 95 %", "skill", "shuffled", "logit", "lowered by"),
                "rows": [
                    (x.unit, [x.fact, f"{fixed(x.f1)} [{fixed(x.f1_low)}, {fixed(x.f1_high)}]", small(x.skill),
                              small(x.shuffled_skill), small(x.logit, True),
                              ", ".join(i.unit for i in x.inhibitors[:2]) or "–"])
                    for x in own[:TOP]
                ],
                "caption": "Neurons that are on where the move is legal, in one way or any: F1 of “activation above a "
                f"threshold” against that fact, {self.legal.measured}. Logit: of the move, direct, for one sd of "
                f"activation, relative to the mean of 60 moves. {len(own):,} of {self.legal.neurons:,} neurons with "
                f"such a fact among their best {word[:-1]} it" + (
                    ". They tell that it is legal, and speak against it." if sign < 0 else "."),
            })  # fmt: skip
        return found


def _writes(w) -> str:
    parts = (("mine", w.writes_mine), ("empty", w.writes_empty))
    known = [(abs(v), name, v) for name, v in parts if v is not None]
    if not known:
        return f"logit {small(w.logit, True)}"
    _, name, value = max(known)
    return f"{name} {small(value, True)}"
