"""The captions of a verdict's figures: what is shown, in which unit, over what, and how it was made."""

from circuits.verdict_records import Fit, Inputs, Outputs, Verdict
from reports.text import count
from reports.verdict_words import sentences

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
            "100 %: all the way from the mean activation where the rule holds to that where it fails (means of "
            f"training games); 0: no change. 95 % intervals over held-out games. {_pairs(v.inputs)}"
        ),
        "toggle_table": (
            "Change: activation in the game where the literal fails less in the one where the rule holds. Share: of "
            "the way to the mean where it fails. Squares: on which the two boards differ, mean. p by sign flips over "
            f"held-out games, corrected over the literals (Holm). {INTERVAL}"
        ),
        "edits": (
            "The checkpoint in the stream edited before the unit reads it, so that one literal fails. Random: share, "
            "of changes of equal norm in random directions at the same positions; p of the one against the other, "
            "corrected (Holm). Elsewhere: share, of the same edit on a square of which the rule says nothing. Held-out "
            f"games. {INTERVAL}"
        ),
        "senders": (
            "Found: share of the toggle’s change that this unit alone carries to what is read, on some pairs. "
            "Verified: the activation’s change by path patching, as a share, on other pairs; p corrected (Holm). Its "
            "fact: the single fact that describes the upstream unit best, with held-out F1. Held-out games. "
            f"{INTERVAL}"
        ),
        "colours": (
            "The same rule relative to the side to move, and in players’ colours. Last two columns: mean activation "
            f"where this form holds less where it fails, by who is to move. {INTERVAL} {over}"
        ),
        "checks": "Every threshold that the grade rests on. A grade asks for all that those below it ask for.",
    }
    return found | (_outputs(v.outputs) if v.outputs is not None else {})


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
            "Weight: what one unit of activation writes, and its rank among squares. Direct: with the final "
            "LayerNorm’s scale frozen, where the rule holds relative to where it fails. Lost: as drawn. Other "
            "squares: mean size of the same loss, and the rank among all. Random units: the same loss; p = (1 + as "
            f"large) / (1 + n). {INTERVAL} {where}"
        ),
        "kl": f"KL divergence between the predictions with the unit and without. {INTERVAL} {where}",
        "replaced": (
            "The unit replaced in whole runs. Error: change of the top-N error against the legal moves, in moves; "
            f"positive is worse. {INTERVAL} {where}"
        ),
    }


def _over(f: Fit | None) -> str:
    return f"{count(f.positives + f.negatives)} positions of {count(f.games)} held-out games." if f is not None else ""


def _pairs(i: Inputs | None) -> str:
    """How many pairs and games stand behind the toggles."""
    if i is None or not i.toggles:
        return ""
    return (
        f"{count(sum(t.pairs for t in i.toggles))} pairs, of up to {count(max(t.games for t in i.toggles))} games each."
    )
