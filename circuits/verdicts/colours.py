"""Whether a rule on colours is about mine and theirs or about black and white.

In one half of all positions (black to move) *mine* is black, in the other white, so a unit that follows the players'
colours seems to follow mine and theirs there and the opposite elsewhere. Three forms of the rule side by side, on all
held-out positions: in mine and theirs, as black sees it (mine is black), as white sees it. Verdict, by the held-out
variance that each form's two means explain:

    relative    the mine/theirs form explains more than the better of the absolute ones, by `MARGIN` of the variance and
                with the whole bootstrap interval over games on its side
    absolute    that one explains more than the mine/theirs form, likewise
    undecided   neither
    no colours  the rule names none

Contrasts (mean activation where a form holds less where it fails) stand beside them, over the positions with black to
move and with white to move apart: a relative unit's have one sign and size for the mine/theirs form.
"""

from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from circuits.fact_scores import auc
from circuits.rules import Rule, ToMove
from circuits.rules.symmetry import absolute, has_colours, relative
from circuits.verdicts.records import ColourForm, Colours
from circuits.verdicts.scores import Scored, estimate, learn, score, scored, varies

#: share of the variance by which one form has to explain more
MARGIN = 0.02
#: a longer formula (a legal move in absolute colours is one of many lines) is said by the relative one
LONGEST = 160
SEEN = ("mine and theirs", "mine being black", "mine being white")
FORMS = ("mine/theirs", "as black sees it", "as white sees it")


def colours(subject: Any, rule: Rule, train: Any, held_out: Any, seed: int = 0) -> Colours:
    """The three forms of a rule on the held-out positions; the means that predict are of the training ones.

    Args:
        subject: a `circuits.verdicts.subjects.Subject`; train, held_out: its `Readings` on games of their own.
    """
    if not has_colours(rule):
        return Colours((), "no colours", "the rule names no colour of a disc")
    ours = relative(rule)
    rules = [ours, absolute(ours, True), absolute(ours, False)]
    learnt, out = scored(train, subject), scored(held_out, subject)
    levels = learn(learnt, rules)
    scores = score(out, rules, levels)
    draws = out.draws(seed=seed)
    total = out.total(draws).clamp_min(1e-300)
    alike = not varies(out.acts)
    drawn = torch.zeros(3, len(draws)) if alike else 1 - scores.errors @ draws.T / total
    explained = scores.variance_explained
    black = held_out.packed.holds(ToMove(True))
    forms = []
    for i, (name, form) in enumerate(zip(FORMS, rules, strict=True)):
        holds, tried = held_out.packed.holds(form), 0 < int(levels.positives[i]) < len(learnt)
        scorable = tried and 0 < int(scores.positives[i]) < len(out)
        forms.append(
            ColourForm(
                form=name,
                rule=str(form) if len(str(form)) <= LONGEST else f"{ours} ({SEEN[i]})",
                positives=int(scores.positives[i]),
                variance_explained=estimate(float(explained[i]), drawn[i], out.games) if scorable else None,
                f1=float(scores.f1[i]) if scorable else None,
                auc=auc(out.acts, holds) if scorable else None,
                black_to_move=_contrast(out, holds, black),
                white_to_move=_contrast(out, holds, ~black),
            )
        )
    best = 1 + int(explained[1:].argmax())
    if any(forms[i].variance_explained is None for i in (0, best)):
        return Colours(tuple(forms), "undecided", "a form of the rule never holds, or never fails, in these games")
    gap = estimate(float(explained[0] - explained[best]), drawn[0] - drawn[best], out.games)
    if gap.low is None:
        verdict = "undecided"
    elif gap.value >= MARGIN and gap.low > 0:
        verdict = "relative"
    elif gap.value <= -MARGIN and gap.high < 0:
        verdict = "absolute"
    else:
        verdict = "undecided"
    interval = "" if gap.low is None else f" [{100 * gap.low:.1f}, {100 * gap.high:.1f}]"
    return Colours(
        tuple(forms),
        verdict,
        f"in mine and theirs the rule explains {float(explained[0]):.1%} of variance, {FORMS[best]} "
        f"{float(explained[best]):.1%}: {100 * gap.value:+.1f} points{interval} over {out.games} games; decided from "
        f"{100 * MARGIN:.0f} points on, with the interval on one side of 0",
    )


def _contrast(at: Scored, holds: Bool[Tensor, "n"], among: Bool[Tensor, "n"]) -> float | None:
    """Mean activation where a form holds less where it fails, among some positions; None without either."""
    y = at.acts.double()
    inside, outside = among & holds, among & ~holds
    return float(y[inside].mean() - y[outside].mean()) if inside.any() and outside.any() else None
