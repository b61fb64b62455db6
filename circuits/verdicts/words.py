"""A verdict in one or two sentences, every one of them from numbers in it."""

from circuits.verdicts.checks import written
from circuits.verdicts.figures import percent, said
from circuits.verdicts.grades import (
    CORRELATES,
    FITS,
    INCOMPLETE,
    ONE_CAUSE,
    PARTLY,
    REFUTED,
    UNDERPOWERED,
    UNTESTABLE,
    WRITES,
)
from circuits.verdicts.records import Check, Fit, Inputs, Outputs, Rivals

_OPENING = {
    UNDERPOWERED: "Too little to go by",
    CORRELATES: "Goes with it, but is not what moves it",
    PARTLY: "Some of it is what moves the unit",
    ONE_CAUSE: "One of its causes, not a description",
    INCOMPLETE: "Fits, with a hole",
    FITS: "Fits",
    WRITES: "Fits, and writes what it is said to",
}


def summary(
    grade: str,
    notes: tuple[str, ...],
    missing: tuple[str, ...],
    checks: tuple[Check, ...],
    fit: Fit | None = None,
    rivals: Rivals | None = None,
    inputs: Inputs | None = None,
    outputs: Outputs | None = None,
) -> str:
    """What was found, beginning with the grade."""
    if grade == UNTESTABLE or fit is None:
        return f"Cannot be tested: {notes[0] if notes else 'nothing was measured'}."
    if grade == REFUTED:
        return f"Refuted: {_refuted(fit, rivals, checks)}; {_fits(fit)}."
    parts = [f"{_OPENING[grade]}: {_fits(fit)}"]
    if grade == UNDERPOWERED:
        return f"{parts[0]}; {missing[0]}."
    if told := _moves(inputs):
        parts.append(told)
    if grade == WRITES and (told := _writes(outputs)):
        parts.append(told)
    sentence = "; ".join(parts) + "."
    if grade == FITS and outputs and outputs.writes:
        failed = [c.name.removeprefix("writes ") for c in checks if c.group == "writes" and not c.passed]
        sentence += f" Not borne out is what it is said to write: {', '.join(failed)}."
    if grade in (INCOMPLETE, ONE_CAUSE, PARTLY) and missing:
        sentence += f" Missing: {missing[0].split(' (')[0]}."
    return sentence


def _fits(fit: Fit) -> str:
    return (
        f"F1 {fit.f1.value:.2f} held out (always on {fit.chance_f1:.2f}), "
        f"{percent(max(0.0, fit.variance_explained.value))} of the activation’s variance (ply alone "
        f"{percent(max(0.0, fit.ply_variance_explained))})"
    )


def _refuted(fit: Fit, rivals: Rivals | None, checks: tuple[Check, ...]) -> str:
    """Why: the first of the comparisons with chance that fails."""
    if fit.auc.high is not None and fit.auc.high < 0.5:
        return f"the unit is lower where the rule holds (AUC {said(fit.auc)}), so its opposite may be true"
    failed = [check for check in checks if check.group == "chance" and check.passed is False]
    if failed and failed[0].name.startswith("random") and rivals and rivals.random:
        r = rivals.random
        most = percent(max(r.variance_explained), 1)
        return f"no better than {r.n} random rules of its size, which explain up to {most} (p {r.p:.2g})"
    return f"no better than chance ({failed[0].name} {failed[0].figure})" if failed else "no better than chance"


def _moves(inputs: Inputs | None) -> str:
    asked = [t for t in inputs.toggles if t.share is not None] if inputs else []
    if not asked:
        return ""
    least = min(asked, key=lambda t: t.share.value)
    control = inputs.control.share if inputs.control else None
    beside = f" (no fact changed: {percent(control.value)})" if control else ""
    if len(asked) == 1:
        return (
            f"changing {written(least)} alone in legal games moves it {percent(least.share.value)} of the way{beside}"
        )
    return (
        f"changing one fact alone in legal games moves it {percent(least.share.value)} of the way at least, for "
        f"{written(least)}{beside}"
    )


def _writes(outputs: Outputs | None) -> str:
    written = [w for w in outputs.writes if w.total is not None] if outputs else []
    listed = ", ".join(f"{w.effect} loses {w.total.value:.2f} {w.unit_of}" for w in written)
    return f"without it {listed}" if listed else ""
