"""The sentences of a verdict's section, each no stronger than the numbers that it stands on."""

import math
import re
from collections.abc import Callable, Sequence

from circuits.verdicts import checks as c
from circuits.verdicts import grades as g
from circuits.verdicts.records import Estimate, Fit, Rival, Rivals, Verdict
from reports.captions import sentence_case
from reports.text import MINUS, count, fixed, number, percent

#: what a grade says, in one line
MEANS = {
    g.UNTESTABLE: "the rule cannot be tried on this unit",
    g.REFUTED: "on held-out games the rule does no better than chance",
    g.UNDERPOWERED: "too few positions, ablations or counterfactual pairs stand behind any grade above",
    g.CORRELATES: "the rule beats chance, but no literal of it was shown to move the unit in counterfactual games",
    g.PARTLY: "the rule beats chance, and some of its literals, not all, were shown to move the unit",
    g.ONE_CAUSE: "all its literals move the unit, but the rule says little about when the unit is active",
    g.INCOMPLETE: "all its literals move the unit and the rule describes its activation, with a stated hole",
    g.FITS: "all its literals move the unit, the rule describes its activation well, and no rival is clearly better",
    g.WRITES: "all that, and without the unit what it is said to write is lost, where the rule holds",
}
#: groups of checks, in the order of the grades, and what failing one means
GROUPS = {
    "evidence": ("Enough evidence", f"else “{g.UNDERPOWERED}”"),
    "chance": ("Beats chance", f"else “{g.REFUTED}”"),
    "causes": ("Its literals move the unit", f"none: “{g.CORRELATES}”; not all: “{g.PARTLY}”"),
    "some description": ("Says when it is active", f"else “{g.ONE_CAUSE}”"),
    "good description": ("Describes it well", f"else “{g.INCOMPLETE}”"),
    "writes": ("Writes what is claimed", f"asked for by “{g.WRITES}”"),
}
#: letters of a rule in a table or a sentence
LONG = 60
#: kinds of rivals, in the order of the chart
KINDS = {
    "without a literal": "without a literal",
    "neighbour": "one literal changed",
    "translation": "shifted",
    "symmetric": "same by symmetry",
    "geometric": "turned, mirrored",
    "swapped": "mine ↔ theirs",
    "automatic": "found automatically",
}


def signed_percent(share: float) -> str:
    """A share that may be negative, one decimal below ten percent."""
    return f"{fixed(100 * share, 1 if abs(share) < 0.0995 else 0)} %"


def whole_percent(share: float) -> str:
    return f"{fixed(100 * share, 0)} %"


def interval(e: Estimate, write=fixed) -> str:
    """ "[0.91, 0.94]"; nothing where one game cannot say."""
    if e.low is None or e.high is None:
        return ""
    low, high = write(e.low), write(e.high)
    if low.endswith(" %"):
        low, high = low.removesuffix(" %"), high.removesuffix(" %")
    return f"[{low}, {high}]"


def with_interval(e: Estimate | None, write=fixed, absent: str = "–") -> str:
    """ "0.93 [0.91, 0.94]"."""
    return absent if e is None else f"{write(e.value)} {interval(e, write)}".rstrip()


def digits(e: Estimate, sign: bool = False) -> Callable[[float], str]:
    """Writes a figure and the ends of its interval with as many decimals as the largest of them has use for."""
    largest = max(abs(v) for v in (e.value, e.low, e.high) if v is not None)
    places = min(6, max(0, 2 - math.floor(math.log10(largest)))) if largest else 2
    return lambda value: fixed(value, places, sign)


def missing_title(v: Verdict) -> str:
    """What the list of unmet checks is called."""
    if v.grade == g.UNTESTABLE:
        return "Why it cannot be tested"
    if v.grade == g.REFUTED:
        return "What it fails on"
    if v.grade == g.UNDERPOWERED or v.grade not in g.GRADES:
        return "Missing for any grade above"
    if v.grade == g.GRADES[-1]:
        return "Missing"
    if v.grade == g.FITS and v.outputs is not None and v.outputs.writes:
        return f"Claimed but not borne out, so not “{g.WRITES}”"
    return f"Missing for the next grade, “{g.GRADES[g.GRADES.index(v.grade) + 1]}”"


def origin(v: Verdict) -> str:
    """How the rule came about, for headings."""
    found = {"given": "given", "found on the training games": "found by search on the training games"}
    return found.get(v.source, v.source)


def untestable(v: Verdict) -> bool:
    """Nothing was measured, so that there is one thing to say."""
    return v.fit is None and v.rivals is None and v.inputs is None and v.outputs is None and v.colours is None


def notes(v: Verdict) -> list[str]:
    """What is said of the rule, less what the summary has said already."""
    return [note for note in v.notes if note not in v.summary]


def p_value(p: float) -> str:
    """ "0.048", "< 0.001"."""
    return "< 0.001" if p < 0.001 else number(p, 2)


def tidy(text: str) -> str:
    """A line of the record with its p-values and minus signs written as everywhere on a page."""
    text = re.sub(r"(?<=[\s\[(])-(?=\d)", MINUS, text)
    return re.sub(r"\bp (\d+(?:\.\d+)?(?:e-\d+)?)\b", lambda found: f"p {p_value(float(found[1]))}", text)


def absent(v: Verdict, what: str) -> str:
    """Why a part is not there, as far as the record says."""
    why = "; ".join(v.notes)
    return f"{what} was not measured" + (f": {why}." if why else "; the record gives no reason.")


def scores(v: Verdict, f: Fit) -> str:
    sentence = (
        f"Above a threshold of {number(f.threshold)}, chosen on {count(f.train_games)} training games, the rule holds "
        f"at {percent(f.precision.value)} of the positions (precision), and {v.unit} gets there at "
        f"{percent(f.recall.value)} of the {count(f.positives)} held-out positions where the rule holds (recall). "
        f"Its mean activation is {number(f.mean_on)} where the rule holds and {number(f.mean_off)} where it fails; "
        f"these two levels explain {signed_percent(f.variance_explained.value)} of its variance"
    )
    if f.variance_explained.value < 0:
        sentence += ", so they predict worse than its mean does"
    return (
        f"{sentence}. The ply alone explains {signed_percent(f.ply_variance_explained)}, the rule on activations dealt "
        f"to other games at the same ply {signed_percent(f.shuffled_variance_explained)}."
    )


def extremes(f: Fit) -> str:
    """How low the activation goes while the rule holds, and how high while it fails."""
    low, high = f.when_holds, f.when_fails
    if not low or not high:
        return ""
    q = f.quantiles
    inner_low, inner_high = (f" ({number(100 * q[i])} %: {number(values[i])})" if len(q) > 2 else ""
                             for i, values in ((1, low), (-2, high)))  # fmt: skip
    return (
        f"While the rule holds the activation goes down to {number(low[0])}{inner_low}; while it fails, up to "
        f"{number(high[-1])}{inner_high}."
    )


def rivals(r: Rivals, f: Fit | None) -> str:
    """How many are better, and what random rules explain."""
    better = significantly_better(r.rivals)
    n = len(r.rivals)
    parts = []
    if n:
        text = f"Of {n} other rules on the same positions, "
        if better:
            best = max(better, key=lambda x: x.variance_explained)
            text += (
                f"{len(better)} explain{'s' * (len(better) == 1)} significantly more of the variance, by over "
                f"{number(100 * c.BETTER)} points; the best is “{short(best.rule)}” ({kind_words(best)}), with "
                f"{signed_percent(best.variance_explained)}"
            )
        else:
            text += f"none explains significantly more of the variance by over {number(100 * c.BETTER)} points"
        parts.append(text + (f" (this rule: {signed_percent(f.variance_explained.value)})." if f else "."))
    if r.random is not None and r.random.variance_explained:
        x = r.random
        parts.append(
            f"The best of {x.n} random rules of {x.size} literal{'s' * (x.size != 1)} and a like base rate explains "
            f"{signed_percent(max(x.variance_explained))} (p {p_value(x.p)})."
        )
    if r.literals:
        idle = [w.literal for w in r.literals if not w.earns]
        earn = len(r.literals) - len(idle)
        parts.append(
            f"All {earn} literals earn their place." if not idle and earn > 1
            else "Its literal earns its place." if not idle
            else f"{earn} of {len(r.literals)} literals earn their place; not {listed(idle)}."
        )  # fmt: skip
    return " ".join(parts) or "No other rule was tried."


def significantly_better(found: Sequence[Rival]) -> list[Rival]:
    """Rivals that explain more, by the grade's own criterion."""
    return [x for x in found if c.is_better(x)]


def kind_words(x: Rival) -> str:
    """Which kind of rival, and how it differs, without saying one word twice."""
    name = KINDS.get(x.kind, x.kind)
    if not x.what or x.what == name:
        return name
    return x.what if x.what.split()[0] == name.split()[0] else f"{name}: {x.what}"


def sentences(notes: Sequence[str]) -> str:
    """Notes as sentences of one paragraph."""
    return " ".join(sentence_case(note) + ("" if note.endswith((".", "!", "?")) else ".") for note in notes if note)


def passed(v: Verdict, name: str) -> bool:
    """Whether a check of that name was passed."""
    return any(check.passed for check in v.checks if check.name == name)


def short(rule: str) -> str:
    """A rule in a table or a sentence: its beginning, where it is long."""
    return rule if len(rule) <= LONG else rule[: LONG - 1].rstrip(" &|(!") + "…"


def measured(e: Estimate) -> str:
    return with_interval(e, digits(e))


def listed(names: Sequence[str]) -> str:
    """ "A", "A and B", "A, B and C"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"
