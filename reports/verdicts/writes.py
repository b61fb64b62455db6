"""What an ablation shows of a claim, in sentences: what is lost, and where not, which threshold it misses."""

from circuits.verdicts import checks as c
from circuits.verdicts.records import Outputs, Verdict, Write
from reports.captions import sentence_case
from reports.text import count
from reports.verdicts.words import listed, measured, passed, sentences


def outputs(v: Verdict, o: Outputs) -> str:
    """What the ablation shows of the claim."""
    parts = [_write(v, x) for x in o.writes]
    if not o.writes:
        parts.append("The rule claims nothing of what the unit writes.")
    if o.largest:
        parts.append(sentences([tidy_signs(o.largest)]))
    if o.writes and (told := controls(o)):
        parts.append(sentence_case(told) + ".")
    if o.kl is not None:
        text = f"Ablated, it moves the prediction by {measured(o.kl)} nats where the rule holds"
        if o.kl_fails is not None:
            text += f", {measured(o.kl_fails)} where it fails"
        parts.append(text + ".")
    return " ".join(parts)


def _write(v: Verdict, x: Write) -> str:
    if x.total is None:
        return f"{x.effect} was not tested{': ' * bool(x.reason)}{x.reason}."
    if passed(v, f"writes {x.effect}"):
        return f"{x.effect} is lost without it where the rule holds: {amount(x)}."
    t = x.total
    if t.value <= 0:
        return f"{x.effect} is not lost without it where the rule holds: {amount(x)}."
    if t.low is None or t.low <= 0:
        return f"{x.effect} is not shown to be lost without it where the rule holds, its interval holds 0: {amount(x)}."
    but = listed(shortfalls(x)) or "its check is not passed"
    return f"{x.effect} is lost without it where the rule holds, {amount(x)}, but {but}."


def shortfalls(x: Write) -> list[str]:
    """Which thresholds of the check a loss misses, once it is above 0."""
    found = []
    if x.difference is not None and (x.difference.low is None or x.difference.low <= 0):
        found.append("no more than where the rule fails")
    if len(x.random) < c.ENOUGH:
        found.append(f"with only {len(x.random)} controls to compare with")
    elif x.total.value <= max(x.random):
        as_much = sum(r >= x.total.value for r in x.random)
        found.append(f"no more than with {as_much} of {len(x.random)} controls")
    if x.rank is not None and x.of and x.rank > max(1, c.RANK * x.of):
        more = x.rank - 1
        found.append(f"{count(more)} of {count(x.of - 1)} other {kind(x)} change{'s' * (more == 1)} more")
    return found


def kind(x: Write) -> str:
    """What an effect is ranked among."""
    return "neurons" if x.unit_of == "activation" else "squares"


def amount(x: Write) -> str:
    """What an effect loses, where the rule holds and where it fails."""
    text = f"{measured(x.total)} {x.unit_of}"
    return text + (f" ({measured(x.total_fails)} where it fails)" if x.total_fails is not None else "")


def controls(o: Outputs) -> str:
    """What the controls are, in the record's words: "compared with 20 random neurons of its layer, …"."""
    return next((text for text in o.words if text.startswith("compared with ")), "").rstrip(".")


def tidy_signs(text: str) -> str:
    """True minus signs before numbers: "−0.38"."""
    return text.replace(" -", " −")
