"""The thresholds behind a verdict's grade, each beside the number that it is held against.

Groups, as `circuits.verdicts.grades` asks for them: "evidence" (how much there is), "chance" (better than no rule, than
random rules), "causes" (its facts, one at a time, in counterfactual games), "some description" and "good description"
(when it is active, beside rivals), "writes" (what the claim names). One that could not be asked has ``passed`` None.
"""

from circuits.verdicts.figures import percent, points, said, share
from circuits.verdicts.records import Check, Colours, Estimate, Fit, Inputs, Outputs, Rival, Rivals, Toggle, Write

#: evidence behind any grade; training positions from which the two means are learnt
POSITIVES, NEGATIVES, ABLATED, PAIRS, LEARNT = 200, 2000, 500, 100, 50
#: family-wise error; random rules, or controls, without which no p can be so small
ALPHA = 0.05
ENOUGH = round(1 / ALPHA) - 1
#: a fact's loss moves the activation by at least this share of the way from "holds" to "fails"
MOVES = 0.2
#: a good description: lower ends of intervals (F1, AUC), and a share
GOOD_F1, GOOD_AUC, GOOD_TOP = 0.8, 0.95, 0.9
#: a description at all: F1's skill over a unit that is always on
SOME_SKILL = 0.5
#: variance explained by which a rival must be better to count
BETTER = 0.02
#: an effect is among this share of all of its kind that change most
RANK = 0.1
CONTROL = "games in which no fact of it changes"


def checks(
    fit: Fit, rivals: Rivals, colours: Colours | None = None, inputs: Inputs | None = None,
    outputs: Outputs | None = None,
) -> tuple[Check, ...]:  # fmt: skip
    """All thresholds with their numbers, in the order of the grades."""
    return (
        *_evidence(fit, inputs, outputs),
        *_chance(fit, rivals),
        *(_causes(inputs) if inputs else ()),
        *_description(fit, rivals, colours),
        *(map(_writes, outputs.writes) if outputs else ()),
    )


def better_rival(rivals: Rivals) -> Rival | None:
    """The best of the rivals that are significantly better, by more than `BETTER` of variance."""
    found = [rival for rival in rivals.rivals if is_better(rival)]
    return max(found, key=lambda rival: rival.variance_explained, default=None)


def is_better(rival: Rival) -> bool:
    """Whether a rival is significantly better than the rule tested, by more than `BETTER` of variance."""
    significant = rival.p_family is not None and rival.p_family < ALPHA
    return rival.better is not None and rival.better.value < -BETTER and significant


def written(t: Toggle) -> str:
    """A toggled fact as the rule has it: what its becoming otherwise takes away."""
    return f"!{t.literal}" if t.becomes == t.literal else t.literal


def remarks(fit: Fit, outputs: Outputs | None) -> list[str]:
    """What no threshold asks for and a reader should know."""
    found = []
    if _high(fit.auc) < 0.5:
        found.append(f"the unit is lower where the rule holds (AUC {said(fit.auc)}): test its opposite")
    if outputs and outputs.p_kl is not None and outputs.p_kl >= ALPHA:
        found.append(
            f"without it the prediction moves by {outputs.kl.value:.2g} nats where the rule holds, no more than with "
            f"controls (p {outputs.p_kl:.2g})"
        )
    return found


def _evidence(fit: Fit, inputs: Inputs | None, outputs: Outputs | None) -> list[Check]:
    found = [
        _count("held-out positions where the rule holds", fit.positives, POSITIVES),
        _count("held-out positions where it fails", fit.negatives, NEGATIVES),
        _count("training positions where it holds", fit.train_positives, LEARNT),
        _count("ablated positions", outputs.positions if outputs else 0, ABLATED),
    ]
    if inputs is not None:
        found += [
            _count(f"counterfactual pairs for {written(t)}", t.pairs, PAIRS) for t in inputs.toggles if t.possible
        ]
        if inputs.control is not None:
            found.append(_count(f"pairs of {CONTROL}", inputs.control.pairs, PAIRS))
    return found


def _count(name: str, n: int, least: int) -> Check:
    return Check("evidence", name, n >= least, f"{n:,}", f"at least {least:,}")


def _chance(fit: Fit, rivals: Rivals) -> list[Check]:
    name, asked = "random rules of its size and base rate", f"p below {ALPHA}"
    found = [
        Check("chance", "AUC", _low(fit.auc) > 0.5, said(fit.auc), "interval above 0.5"),
        Check(
            "chance", "variance explained", _low(fit.variance_explained) > 0, said(fit.variance_explained),
            "interval above 0",
        ),
    ]  # fmt: skip
    r = rivals.random
    if r is None or r.n < ENOUGH:
        figure = f"only {r.n} could be drawn" if r else "none can be drawn for a rule like this"
        return [*found, Check("chance", name, None, figure, f"at least {ENOUGH} to compare with")]
    most = percent(max(r.variance_explained), 1)
    return [*found, Check("chance", name, r.p < ALPHA, f"p {r.p:.2g}; the best of {r.n} explains {most}", asked)]


def _causes(inputs: Inputs) -> list[Check]:
    control = inputs.control.share if inputs.control else None
    found = [_moves(t, control, inputs.better) for t in inputs.toggles]
    asked = f"interval within ±{percent(MOVES)}"
    if control is None:
        return [*found, Check("causes", CONTROL, None, "there are none", asked)]
    passed = _low(control) >= -MOVES and _high(control) <= MOVES
    return [*found, Check("causes", CONTROL, passed, f"{share(control)} of the way", asked)]


def _moves(t: Toggle, control: Estimate | None, better: str) -> Check:
    name = f"{written(t)} moves it"
    asked = f"at least {percent(MOVES)} of the way, interval above the control\u2019s and 0, p below {ALPHA}"
    if t.share is None:
        return Check("causes", name, None, t.reason or "not tested", asked)
    beyond = max(0.0, 0.0 if control is None else _high(control))
    passed = t.share.value >= MOVES and _low(t.share) > beyond and t.p_family is not None and t.p_family < ALPHA
    figure = f"{share(t.share)} of the way" + ("" if t.p_family is None else f", p {t.p_family:.2g}")
    if better and passed:
        kept = f"where the better rule\u2019s other facts stay ({t.screened_pairs} pairs)"
        if t.screened is None:
            return Check("causes", name, None, f"{figure}; too few pairs {kept}", asked)
        passed = t.screened.value >= MOVES and _low(t.screened) > 0
        figure += f"; {share(t.screened)} {kept}"
    return Check("causes", name, passed, figure, asked)


def _description(fit: Fit, rivals: Rivals, colours: Colours | None) -> list[Check]:
    some, good = "some description", "good description"
    explained = percent(fit.variance_explained.value, 1)
    found = [
        Check(some, "F1\u2019s skill over an always-on unit", fit.skill >= SOME_SKILL, f"{fit.skill:.2f}",
              f"at least {SOME_SKILL}"),
        Check(some, "variance explained, beside the ply alone",
              fit.variance_explained.value > fit.ply_variance_explained,
              f"{explained}, the ply {percent(fit.ply_variance_explained, 1)}", "more than the ply"),
    ]  # fmt: skip
    if colours is not None and colours.verdict in ("relative", "absolute"):
        best = max(
            (form for form in colours.forms if form.variance_explained), key=lambda f: f.variance_explained.value
        )
        figure = f"{best.form}: {percent(best.variance_explained.value, 1)} of variance; as tested {explained}"
        ours = best.variance_explained.value - fit.variance_explained.value <= BETTER
        found.append(Check(some, "colours", ours, figure, "the better of the framings"))
    found += [
        Check(good, "F1", _low(fit.f1) >= GOOD_F1, said(fit.f1), f"interval above {GOOD_F1}"),
        Check(good, "AUC", _low(fit.auc) >= GOOD_AUC, said(fit.auc), f"interval above {GOOD_AUC}"),
        Check(good, "the 1 % highest activations", fit.top_coverage.value >= GOOD_TOP,
              f"the rule holds at {share(fit.top_coverage)}", f"at least {percent(GOOD_TOP)}"),
    ]  # fmt: skip
    for w in rivals.literals:
        if w.loss is not None:
            lost = f"without it {points(w.loss)} of variance are lost"
            found.append(
                Check(good, f"{w.literal} earns its place", w.earns, lost, f"a loss, corrected p below {ALPHA}")
            )
    best = better_rival(rivals)
    figure = (
        f"{best.rule} explains {percent(best.variance_explained, 1)} of variance, this rule {explained}"
        if best
        else f"none of {len(rivals.rivals)} is better by more than {percent(BETTER)} of variance"
    )
    found.append(Check(good, "rivals", best is None, figure, "no rival significantly better"))
    return found


def _writes(w: Write) -> Check:
    kind = "neurons" if w.unit_of == "activation" else "squares"
    asked = (
        "lost without it where the rule holds, interval above 0 and above elsewhere; more than with any of "
        f"{ENOUGH} or more controls; among the {percent(RANK)} of {kind} that change most"
    )
    if w.total is None:
        return Check("writes", f"writes {w.effect}", None, w.reason or "not tested", asked)
    passed = (
        _low(w.total) > 0
        and (w.difference is None or _low(w.difference) > 0)
        and len(w.random) >= ENOUGH
        and w.total.value > max(w.random)
        and (w.rank is None or w.rank <= max(1, RANK * w.of))
    )
    figure = f"{said(w.total)} {w.unit_of} where it holds"
    if w.total_fails is not None:
        figure += f", {said(w.total_fails)} elsewhere"
    if w.random:
        figure += f", {max(w.random):.2f} at most with {len(w.random)} controls"
    if w.rank is not None:
        figure += f"; rank {w.rank} of {w.of:,} {kind}"
    return Check("writes", f"writes {w.effect}", passed, figure, asked)


def _low(e: Estimate) -> float:
    return float("-inf") if e.low is None else e.low


def _high(e: Estimate) -> float:
    return float("inf") if e.high is None else e.high
