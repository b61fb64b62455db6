"""From the numbers of a verdict to its grade: every step is a stated threshold on a stated number.

Grades, from the lowest:

    untestable               the rule cannot be tried: never or always true, the unit constant
    refuted                  held-out scores no better than those of random rules, or of no rule at all
    underpowered             too few positions, ablations or counterfactual pairs for any grade above
    correlates, not causal   beats chance, but changing its literals in counterfactual games does not move the unit
    partly causal            some literals move it and some do not
    one of its causes        all literals that can be changed move it, but the rule says little about when it is active
    fits but incomplete      causal and a good description, with a stated hole: F1, top activations, a better rival, a
                             literal that no counterfactual game can change alone
    fits                     causal, a good description, and no rival is better
    fits and writes          and its ablation changes what the claim says it writes, where the rule holds

A grade asks for everything that those below it ask for. What is missing for the next one is listed.
"""

from collections.abc import Sequence

from circuits.verdict_records import Check, Estimate, Fit, Inputs, Outputs, Rivals, Toggle, Write

UNTESTABLE, REFUTED, UNDERPOWERED = "untestable", "refuted", "underpowered"
CORRELATES, PARTLY, ONE_CAUSE = "correlates, not causal", "partly causal", "one of its causes"
INCOMPLETE, FITS, WRITES = "fits but incomplete", "fits", "fits and writes"
GRADES = (UNTESTABLE, REFUTED, UNDERPOWERED, CORRELATES, PARTLY, ONE_CAUSE, INCOMPLETE, FITS, WRITES)

#: evidence behind any grade
POSITIVES, NEGATIVES, ABLATED, PAIRS = 200, 2000, 500, 100
#: family-wise error
ALPHA = 0.05
#: a literal's loss moves the activation by at least this share of the way from "holds" to "fails", interval above 0
MOVES = 0.2
#: a good description: lower ends of intervals (F1, AUC), and shares
GOOD_F1, GOOD_AUC, GOOD_TOP = 0.8, 0.95, 0.9
#: a description at all: F1's skill over a unit that is always on
SOME_SKILL = 0.5
#: variance explained by which a rival must be better to count
BETTER = 0.02
#: an effect is among this share of the squares that lose most
RANK = 0.1


def checks(fit: Fit, rivals: Rivals, inputs: Inputs | None, outputs: Outputs | None) -> tuple[Check, ...]:
    """All thresholds with their numbers, in the order of the grades."""
    found = [
        _count("held-out positions where the rule holds", fit.positives, POSITIVES),
        _count("held-out positions where it fails", fit.negatives, NEGATIVES),
    ]
    if outputs is not None:
        found.append(_count("ablated positions", outputs.positions, ABLATED))
    if inputs is not None:
        for t in inputs.toggles:
            if t.pairs or not t.reason:
                found.append(_count(f"counterfactual pairs for {t.literal}", t.pairs, PAIRS))
    found += _chance(fit, rivals)
    if inputs is not None:
        found += [_moves(t) for t in inputs.toggles]
        if inputs.control is not None and inputs.control.share is not None:
            found.append(_control(inputs.control))
    found += _description(fit, rivals)
    if outputs is not None:
        found += [_writes(w) for w in outputs.writes]
    return tuple(found)


def grade(found: Sequence[Check]) -> tuple[str, tuple[str, ...]]:
    """The grade that the checks give, and the checks that the next grade fails on, in words."""

    def of(group: str) -> list[Check]:
        return [check for check in found if check.group == group]

    def failed(group: str) -> list[Check]:
        return [check for check in of(group) if not check.passed]

    chance = failed("chance")
    short = failed("evidence")
    # Too few positions say nothing either way; enough of them, and chance does as well: refuted.
    if chance and not [c for c in short if "held-out" in c.name]:
        return REFUTED, _missing(chance)
    if short:
        return UNDERPOWERED, _missing(short)
    literals = [check for check in of("causes") if check.name != CONTROL]
    asked = [check for check in literals if check.passed is not None]
    moved = [check for check in asked if check.passed]
    if not moved:
        return CORRELATES, _missing(literals) or ("a counterfactual test: none of its literals could be toggled",)
    if still := [check for check in of("causes") if check.passed is False]:
        return PARTLY, _missing(still)
    if some := failed("some description"):
        return ONE_CAUSE, _missing(some)
    unasked = [check for check in literals if check.passed is None]
    if good := failed("good description") + unasked:
        return INCOMPLETE, _missing(good)
    writes = of("writes")
    if not writes:
        return FITS, ("a claim of what it writes, as in '… ⇒ +C0'",)
    if failed("writes"):
        return FITS, _missing(failed("writes"))
    return WRITES, ()


def _missing(failed: Sequence[Check]) -> tuple[str, ...]:
    return tuple(
        f"{check.name}: {check.figure}" + (f" ({check.threshold} is asked for)" if check.threshold else "")
        for check in failed
    )


def _count(name: str, n: int, least: int) -> Check:
    return Check("evidence", name, n >= least, f"{n:,}", f"at least {least:,}")


def _chance(fit: Fit, rivals: Rivals) -> list[Check]:
    found = [
        Check("chance", "AUC", _low(fit.auc) > 0.5, said(fit.auc), "interval above 0.5"),
        Check(
            "chance", "variance explained", _low(fit.variance_explained) > 0, said(fit.variance_explained),
            "interval above 0",
        ),
    ]  # fmt: skip
    if rivals.random is not None:
        r = rivals.random
        most = max(r.variance_explained, default=0.0)
        found.append(
            Check(
                "chance", "random rules of its size and base rate", r.p < ALPHA,
                f"p {r.p:.3g}; the best of {r.n} explains {percent(most, 1)}", f"p below {ALPHA}",
            )
        )  # fmt: skip
    return found


CONTROL = "games in which no literal changes"


def _moves(t: Toggle) -> Check:
    name, asked = f"{t.literal} moves it", f"at least {percent(MOVES)} of the way, interval above 0, p below {ALPHA}"
    if t.share is None:
        return Check("causes", name, None, t.reason or "not tested", asked)
    passed = t.share.value >= MOVES and _low(t.share) > 0 and t.p_family is not None and t.p_family < ALPHA
    p = "" if t.p_family is None else f", p {t.p_family:.2g}"
    return Check("causes", name, passed, f"{share(t.share)} of the way{p}", asked)


def _control(t: Toggle) -> Check:
    unsure = t.share.low is not None and t.share.low <= 0 <= t.share.high
    asked = f"within ±{percent(MOVES)}, or 0 in the interval"
    return Check("causes", CONTROL, unsure or abs(t.share.value) < MOVES, f"{share(t.share)} of the way", asked)


def _description(fit: Fit, rivals: Rivals) -> list[Check]:
    good = "good description"
    explained = percent(fit.variance_explained.value, 1)
    found = [
        Check("some description", "F1’s skill over an always-on unit", fit.skill >= SOME_SKILL, f"{fit.skill:.2f}",
              f"at least {SOME_SKILL}"),
        Check("some description", "variance explained, beside the ply alone",
              fit.variance_explained.value > fit.ply_variance_explained,
              f"{explained}, the ply {percent(fit.ply_variance_explained, 1)}", "more than the ply"),
        Check(good, "F1", _low(fit.f1) >= GOOD_F1, said(fit.f1), f"interval above {GOOD_F1}"),
        Check(good, "AUC", _low(fit.auc) >= GOOD_AUC, said(fit.auc), f"interval above {GOOD_AUC}"),
        Check(good, "the 1 % highest activations", fit.top_coverage.value >= GOOD_TOP,
              f"the rule holds at {share(fit.top_coverage)}", f"at least {percent(GOOD_TOP)}"),
    ]  # fmt: skip
    for w in rivals.literals:
        if w.loss is not None:
            found.append(
                Check(good, f"{w.literal} earns its place", w.earns,
                      f"without it {points(w.loss)} of variance are lost", "a loss, corrected p below 0.05")
            )  # fmt: skip
    better = [
        r for r in rivals.rivals
        if r.better is not None and r.better.value < -BETTER and r.p_family is not None and r.p_family < ALPHA
    ]  # fmt: skip
    best = max(better, key=lambda r: r.variance_explained, default=None)
    figure = (
        f"{best.rule} explains {percent(best.variance_explained, 1)} of variance, this rule {explained}"
        if best
        else f"none of {len(rivals.rivals)} is better by more than {percent(BETTER)} of variance"
    )
    found.append(Check(good, "rivals", best is None, figure, "no rival significantly better"))
    return found


def _writes(w: Write) -> Check:
    name = f"writes {w.effect}"
    asked = (
        "lost without it where the rule holds, interval above 0; more than elsewhere, than with any random unit, and "
        f"among the {percent(RANK)} of squares that lose most"
    )
    if w.total is None:
        return Check("writes", name, None, w.reason or "not tested", asked)
    passed = (
        _low(w.total) > 0
        and (w.total_fails is None or w.total.value > w.total_fails.value)
        and bool(w.random)
        and w.total.value > max(w.random)
        and (w.rank is None or w.rank <= max(1, RANK * w.of))
    )
    figure = f"{said(w.total)} {w.unit_of} where it holds"
    if w.total_fails is not None:
        figure += f", {said(w.total_fails)} elsewhere"
    if w.random:
        figure += f", {max(w.random):.2f} at most without one of {len(w.random)} random units"
    if w.rank is not None:
        figure += f"; rank {w.rank} of {w.of} squares"
    return Check("writes", name, passed, figure, asked)


def said(e: Estimate) -> str:
    """ "0.93 [0.91, 0.94]"."""
    return f"{e.value:.2f}" + ("" if e.low is None else f" [{e.low:.2f}, {e.high:.2f}]")


def share(e: Estimate) -> str:
    """``93 % [91, 94]``."""
    return percent(e.value) + ("" if e.low is None else f" [{percent(e.low)[:-2]}, {percent(e.high)[:-2]}]")


def points(e: Estimate) -> str:
    """``3.1 points [2.0, 4.2]``, of percent."""
    return f"{100 * e.value:.1f} points" + ("" if e.low is None else f" [{100 * e.low:.1f}, {100 * e.high:.1f}]")


def percent(value: float, digits: int = 0) -> str:
    """``78 %``, without a sign before a rounded zero."""
    return f"{round(100 * value, digits) + 0:.{digits}f} %"


def _low(e: Estimate) -> float:
    return float("-inf") if e.low is None else e.low
