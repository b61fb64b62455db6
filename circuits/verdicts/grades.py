"""From the checks of a verdict to its grade.

Grades, from the lowest:

    untestable               the rule cannot be tried: never or always true, the unit constant
    refuted                  held-out scores no better than without a rule, or than those of random rules of its kind
    underpowered             too few positions, ablations or counterfactual pairs for any grade above
    correlates, not causal   beats chance, but changing its facts in counterfactual games does not move the unit
    partly causal            some of its facts move it and some do not
    one of its causes        all that can be changed move it, but the rule says little about when it is active
    fits but incomplete      causal and a good description, with a stated hole: F1, top activations, a better rival, a
                             fact that no counterfactual game can change alone
    fits                     causal, a good description, and no rival is better
    fits and writes          and its ablation changes what the claim says it writes, where the rule holds

A grade asks for all that those below it ask for (`circuits.verdicts.checks`). What is missing for the next is listed.
"""

from collections.abc import Sequence

from circuits.verdicts.checks import CONTROL
from circuits.verdicts.records import Check

UNTESTABLE, REFUTED, UNDERPOWERED = "untestable", "refuted", "underpowered"
CORRELATES, PARTLY, ONE_CAUSE = "correlates, not causal", "partly causal", "one of its causes"
INCOMPLETE, FITS, WRITES = "fits but incomplete", "fits", "fits and writes"
GRADES = (UNTESTABLE, REFUTED, UNDERPOWERED, CORRELATES, PARTLY, ONE_CAUSE, INCOMPLETE, FITS, WRITES)


def grade(found: Sequence[Check]) -> tuple[str, tuple[str, ...]]:
    """The grade that the checks give, and the checks that the next grade fails on, in words."""

    def of(group: str) -> list[Check]:
        return [check for check in found if check.group == group]

    def failed(group: str) -> list[Check]:
        return [check for check in of(group) if check.passed is False]

    short = [check for check in of("evidence") if not check.passed]
    # Too few positions say nothing either way; enough of them, and chance does as well: refuted.
    if failed("chance") and not [check for check in short if "held-out" in check.name]:
        return REFUTED, _missing(failed("chance"))
    if short:
        return UNDERPOWERED, _missing(short)
    facts = [check for check in of("causes") if check.name != CONTROL]
    if not any(check.passed for check in facts):
        return CORRELATES, _missing(facts) or ("a counterfactual test: none of its facts could be changed",)
    if still := failed("causes"):
        return PARTLY, _missing(still)
    if some := failed("some description"):
        return ONE_CAUSE, _missing(some)
    unasked = [check for check in (*of("chance"), *of("causes")) if check.passed is None]
    if good := failed("good description") + unasked:
        return INCOMPLETE, _missing(good)
    if not of("writes"):
        return FITS, ("a claim of what it writes, as in '… => +C0'",)
    if not all(check.passed for check in of("writes")):
        return FITS, _missing([check for check in of("writes") if not check.passed])
    return WRITES, ()


def _missing(failed: Sequence[Check]) -> tuple[str, ...]:
    return tuple(
        f"{check.name}: {check.figure}" + (f" ({check.threshold} is asked for)" if check.threshold else "")
        for check in failed
    )
