"""What counterfactual games and edits show of a rule's literals, in sentences, each literal as the rule has it."""

from circuits.verdicts import checks as c
from circuits.verdicts.records import Inputs, Toggle, Verdict
from reports.text import percent
from reports.verdicts.words import listed, passed, short, whole_percent, with_interval

#: share of the way below which an edit hardly moves the unit
HARDLY = 0.05


def names(i: Inputs | None) -> dict[str, str]:
    """Each atom as the literal that the rule has: "!D2 legal" for "D2 legal"."""
    return {t.literal: c.written(t) for t in i.toggles} if i is not None else {}


def inputs(v: Verdict, i: Inputs) -> str:
    """Which literals move the unit in counterfactual games, by the grade's own checks."""
    asked = [t for t in i.toggles if t.share is not None]
    parts = []
    if asked:
        moved = [c.written(t) for t in asked if passed(v, f"{c.written(t)} moves it")]
        parts.append(
            f"In legal games that differ so that exactly one literal fails, {len(moved)} of {len(asked)} literals take "
            f"the activation at least {percent(c.MOVES)} of the way from “holds” to “fails”"
            + (f": {listed(moved)}." if moved else ".")
        )
        still = [c.written(t) for t in asked if c.written(t) not in moved]
        if still:
            parts.append(f"Not shown for {listed(still)}.")
    else:
        parts.append("No literal could be changed alone in legal games.")
    not_found = [c.written(t) for t in i.toggles if t.share is None and t.possible]
    never = [c.written(t) for t in i.toggles if t.share is None and not t.possible]
    if not_found and asked:
        parts.append(f"Could not be changed alone: {listed(not_found)}.")
    if never:
        parts.append(f"No game can change {listed(never)} alone.")
    if i.control is not None and i.control.share is not None:
        parts.append(
            f"In {i.control.pairs} pairs in which no literal changes, {with_interval(i.control.share, whole_percent)} "
            "of the way."
        )
    return " ".join((*parts, *screened(i)))


def screened(i: Inputs) -> list[str]:
    """What toggles do while a better rule's other facts stay as they are."""
    if not i.better:
        return []
    found = [t for t in i.toggles if t.screened is not None]
    few = [t for t in i.toggles if t.screened is None and t.share is not None]
    told = [f"{c.written(t)} {with_interval(t.screened, whole_percent)} ({t.screened_pairs} pairs)" for t in found]
    told += [f"{c.written(t)} not said, {t.screened_pairs} pairs being too few" for t in few]
    if not told:
        return []
    return [f"Where nothing of the better rule <{short(i.better)}> changes on other squares: {'; '.join(told)}."]


def why_not(t: Toggle) -> str:
    """Why a literal was not toggled."""
    if t.possible:
        return t.reason
    return "no game can change it alone" + (f": {t.reason}" if t.reason else "")


def edits(v: Verdict, i: Inputs) -> str:
    """Of which literals the probe's direction is only part of what is read."""
    parts = []
    # An edit is of the ply that is read; a head has the earlier ones to look at too.
    place = " at the ply that is read, the only one edited" if v.kind == "head" else ""
    for t in i.toggles:
        found = [e for e in i.edits if e.literal == t.literal and e.share is not None]
        best = max(found, key=lambda e: e.share.value, default=None)
        if best is None or t.share is None or best.share.value >= t.share.value / 2:
            continue
        how = "hardly" if best.share.value < HARDLY else "only partly"
        at = f" at {best.where}" if best.where else ""
        parts.append(
            f"What it reads of {c.written(t)} is {how} along the probe’s direction{place}: edited in the checkpoint"
            f"{at}, it moves it {with_interval(best.share, whole_percent)} of the way, in games "
            f"{with_interval(t.share, whole_percent)}."
        )
    return " ".join(parts)
