"""The captions of a verdict's figures: what is shown, in which unit, over what, and how it was made."""

from circuits.verdicts.records import Fit, Inputs, Outputs, Verdict
from reports.text import count, unbroken
from reports.verdicts.words import sentences, short
from reports.verdicts.writes import controls

#: on every figure with intervals
INTERVAL = "In brackets: 95 %, bootstrap over games."


def captions(v: Verdict) -> dict[str, str]:
    """A caption for each figure that is there."""
    over = _over(v.fit)
    found = _fit(v, v.fit, over) if v.fit is not None else {}
    found |= {
        "rivals": (
            "Activation variance that a rule’s two levels explain. Each stroke is another rule, the dot this one with "
            f"its 95 % interval, the dashed line its value. Levels of training games. {over}"
        ),
        "best_rivals": (
            "Difference: variance explained by this rule less by the other, in points of percent, paired over games; p "
            f"two-sided, corrected over all rivals (Holm). {INTERVAL} {over}"
        ),
        "worth": (
            "Loss: points of variance explained that go with the literal; p corrected over all rivals (Holm). Gain: "
            f"the best rule in which this literal alone is another, less this rule. {INTERVAL} {over}"
        ),
        "toggles": (
            f"100 %: all the way from the mean activation where {_levels(v)} holds to that where it fails; 0: "
            "no change. 95 % intervals over held-out games. These two means are of training games and taken as fixed: "
            f"their own uncertainty is not in the intervals. {_pairs(v.inputs)}"
        ),
        "toggle_table": (
            "Change: activation in the game where the literal fails less in the one where the rule holds. Share: of "
            "the way to the mean where it fails. Squares: on which the two boards differ, mean. p by sign flips over "
            f"held-out games, corrected over the literals (Holm). {_screened(v.inputs)}{INTERVAL}"
        ),
        "edits": (
            "The checkpoint in the stream edited before the unit reads it, so that one literal fails. Random: share, "
            "of changes of equal norm in random directions at the same positions; p of the one against the other, "
            "corrected (Holm). Elsewhere: share, of the same edit on a square of which the rule says nothing. Held-out "
            f"games. {INTERVAL}"
        ),
        "senders": (
            "Verified: the activation’s change by path patching, as a share of the way; p corrected (Holm). Found, on "
            "other pairs: share of the toggle’s change that this unit alone carries to what is read. Both positive: "
            "it passes the literal on; negative: it works against the literal. It excites: more of it raises the "
            "activation; it inhibits: more of it lowers it. Its fact: the single fact that describes the upstream "
            f"unit best, with held-out F1. Held-out games. {INTERVAL}"
        ),
        "colours": (
            "The same rule relative to the side to move, and in players’ colours. Last two columns: mean activation "
            f"where this form holds less where it fails, by who is to move. {INTERVAL} {over}"
        ),
        "checks": "Every threshold that the grade rests on. A grade asks for all that those below it ask for.",
    }
    found |= _outputs(v.outputs) if v.outputs is not None else {}
    return {name: unbroken(text) for name, text in found.items()}


def _fit(v: Verdict, f: Fit, over: str) -> dict[str, str]:
    return {
        "spectrum": (
            "Histogram of the activation, counts on a logarithmic scale, both sets of bars from the axis. Below: the "
            f"share of each bin where the rule holds; dashed, its base rate. Plies {v.band[0]}…{v.band[1]}. {over}"
        ),
        "ranges": (
            "Thin line: all activations; thick: the middle 90 %; bar: the middle half; stroke: the median. Dashed: the "
            f"threshold. {over}"
        ),
        "scores": (
            f"Threshold and the two levels are of {count(f.train_games)} training games ({count(f.train_positives)} "
            "positions where the rule holds), everything else of held-out games. Variance explained: 1 − squared "
            f"error of the two levels / squared deviation; below 0 they predict worse than the mean. {INTERVAL} {over}"
        ),
        "missed": "The lowest activations while the rule holds, held-out games. Below each: which facts hold.",
        "false_alarms": "The highest activations while the rule fails, held-out games. Below each: which facts hold.",
        "typical": "Drawn at random from the held-out positions where the rule holds.",
    }


def _outputs(o: Outputs) -> dict[str, str]:
    where = f"{count(o.positions)} ablated positions of {count(o.games)} held-out games."
    return {
        "writes": (
            "What each effect loses when the unit is ablated, in the effect’s sense (positive: as claimed). "
            f"{sentences(o.words)} {where}"
        ),
        "writes_table": (
            "Lost: as drawn. With controls: the same loss, lowest to highest; p = (1 + as large) / (1 + n). Rank by "
            "size: of the change among all of its kind; mean size of others: there. Direct: with the final LayerNorm’s "
            "scale frozen, where the rule holds relative to where it fails. Weight: what one unit of activation "
            f"writes. {INTERVAL} {where}"
        ),
        "kl": (
            "KL divergence between the predictions with the unit and without."
            f"{' Controls: ' + said + '.' if (said := controls(o)) else ''} {INTERVAL} {where}"
        ),
        "replaced": (
            "The unit replaced in whole runs. Error: change of the top-N error against the legal moves, in moves; "
            f"positive is worse. {INTERVAL} {where}"
        ),
    }


def _over(f: Fit | None) -> str:
    return f"{count(f.positives + f.negatives)} positions of {count(f.games)} held-out games." if f is not None else ""


def _pairs(i: Inputs | None) -> str:
    """How many pairs, edits and games stand behind the shares."""
    if i is None:
        return ""
    parts = []
    if i.toggles:
        games = max(t.games for t in i.toggles)
        parts.append(f"Games: {count(sum(t.pairs for t in i.toggles))} pairs, of up to {count(games)} games a literal.")
    if edits := [e for e in i.edits if e.share is not None]:
        least, most = min(e.positions for e in edits), max(e.positions for e in edits)
        n = count(most) if least == most else f"{count(least)}…{count(most)}"
        games = max(e.games for e in edits)
        parts.append(f"Edits: {n} positions each, of up to {count(games)} games.")
    return " ".join(parts)


def _levels(v: Verdict) -> str:
    """Whose two means shares are of: the better rule's where these lie farther apart, which the shares tell."""
    i, f = v.inputs, v.fit
    if i is None or f is None or not i.better:
        return "the rule"
    gaps = [-t.change.value / t.share.value for t in i.toggles if t.change and t.share and abs(t.share.value) > 1e-3]
    if gaps and abs(gaps[0]) > 1.001 * abs(f.mean_on - f.mean_off):
        return f"the better rule <{short(i.better)}> (its means lie farther apart than those of the rule tested)"
    return "the rule"


def _screened(i: Inputs | None) -> str:
    if i is None or not i.better:
        return ""
    return f"Screened: of the pairs in which the other facts of the better rule <{i.better}> stay as they are. "
