"""A verdict of each grade, without a model: real games, invented activations, effects and rivals.

Grades are not put in by hand: the numbers are, and `circuits.verdicts.grades` says what they come to.
"""

from functools import cache

import numpy as np
from synthetic_record import positions_of

from circuits.rules.text import parse_claim
from circuits.verdicts import checks as verdict_checks
from circuits.verdicts import grades as g
from circuits.verdicts import records as r

RULE = "C0 empty & D1 theirs & E2 mine"
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
POSITIONS, GAMES = 16_000, 320


def estimate(value, half=0.02):
    return r.Estimate(value, value - half, value + half)


def facts_of(position):
    """The three facts of `RULE` at a position of `positions_of`."""
    state = position["state"]
    return {"C0 empty": state[16] == 0, "D1 theirs": state[25] == 1, "E2 mine": state[34] == 2}


def examples(seed, holds, high):
    """Six positions where the rule holds or fails, of six games."""
    rng = np.random.default_rng(seed)
    found = {p["game"]: p for p in positions_of(1, 60) if p["holds"] == holds}
    return tuple(
        r.Example(
            address=f"3f2a9c01d4e5b677:g{p['game']}:p{p['ply']}", transcript=tuple(p["transcript"].split()),
            ply=p["ply"], activation=float(high + 0.1 * rng.normal()), holds=holds, literals=facts_of(p),
        )
        for p in list(found.values())[:6]
    )  # fmt: skip


def fit(positives=812, f1=0.93, auc=0.99, variance=0.8, top=0.97):
    rng = np.random.default_rng(0)
    on, off = rng.normal(2.5, 0.7, positives), np.abs(rng.normal(0, 0.3, POSITIONS - positives))
    both = np.concatenate([on, off])
    edges = np.linspace(both.min(), both.max(), 41)
    base = positives / POSITIONS
    return r.Fit(
        threshold=1.13, mean_on=2.51, mean_off=0.24, sd=float(both.std()), positives=positives,
        negatives=POSITIONS - positives, games=GAMES, train_positives=1203, train_games=500,
        precision=estimate(0.95), recall=estimate(0.91), f1=estimate(f1), auc=estimate(auc, 0.005),
        variance_explained=estimate(variance), top_coverage=estimate(top), chance_f1=2 * base / (1 + base),
        chance_top=base, ply_variance_explained=0.031, shuffled_variance_explained=-0.002,
        when_holds=np.quantile(on, QUANTILES), when_fails=np.quantile(off, QUANTILES), quantiles=QUANTILES,
        edges=edges, counts=np.histogram(both, edges)[0], holds=np.histogram(on, edges)[0],
        missed=examples(1, True, 0.1), false_alarms=examples(2, False, 2.2), typical=examples(3, True, 2.5),
    )  # fmt: skip


def rival(kind, rule, what, variance, own, literal=None, note=""):
    better = own - variance
    return r.Rival(kind, rule, what, 0.05, 800, variance, 0.7, 0.68, estimate(better, 0.01), 0.001,
                   0.002 if abs(better) > 0.03 else 1.0, literal, note)  # fmt: skip


def rivals(own=0.8, chance=0.005, automatic=0.81):
    found = [
        rival("without a literal", "C0 empty & D1 theirs", "without E2 mine", own - 0.2, own, "E2 mine"),
        rival("without a literal", "C0 empty & E2 mine", "without D1 theirs", own - 0.3, own, "D1 theirs"),
        rival("without a literal", "D1 theirs & E2 mine", "without C0 empty", own - 0.25, own, "C0 empty"),
        rival("swapped", "C0 empty & D1 mine & E2 theirs", "mine and theirs exchanged", -0.003, own),
        rival("automatic", "legal C0 via SE x1", "the best rule found", automatic, own, note="found in 0.8 s"),
    ]
    rng = np.random.default_rng(4)
    for i in range(24):
        found.append(rival("neighbour", f"C0 empty & D1 theirs & E{i % 8} mine | F{i // 8} mine", "E2 changed",
                           own * float(rng.uniform(0.2, 0.9)), own, "E2 mine"))  # fmt: skip
        found.append(rival("translation", f"D{i % 8} empty & E{i // 8} theirs", f"{i} shifted", 0.01 * i / 24, own))
    found += [rival("symmetric", "H7 empty & G6 theirs & F5 mine", "half-turn", 0.01, own),
              rival("geometric", "C7 empty & D6 theirs & E5 mine", "left-right", 0.004, own)]  # fmt: skip
    random = r.RandomRules(200, 3, tuple(np.abs(rng.normal(0, 0.004, 200))), chance, "same kinds of literals anywhere",
                           ("A1 empty & H6 theirs & B3 mine",))  # fmt: skip
    worth = tuple(
        r.Worth(literal, estimate(0.2), 0.003, "C0 empty & D1 theirs & E2 occupied", -0.07, True)
        for literal in ("C0 empty", "D1 theirs", "E2 mine")
    )
    return r.Rivals(tuple(found), random, worth, found[4], f"Variance explained; Holm over {len(found)} rivals.")


def toggle(literal, share, pairs=120, **changes):
    values = {
        "literal": literal, "becomes": f"!{literal}", "pairs": pairs, "games": 80,
        "change": estimate(-2.27 * share, 0.1), "share": estimate(share, 0.04), "p": 0.001, "p_family": 0.003,
        "squares": 5.4,
    }  # fmt: skip
    return r.Toggle(**(values | changes))


def inputs(shares=(0.95, 0.9, 0.85), pairs=120):
    literals = ("C0 empty", "D1 theirs", "E2 mine")
    toggles = tuple(
        toggle(x, share, pairs) if share is not None
        else r.Toggle(x, f"!{x}", 0, 0, None, None, None, None, None, "no legal game differs so", False)
        for x, share in zip(literals, shares, strict=True)
    )  # fmt: skip
    edits = (
        r.BoardEdit("D1 theirs", "D1 theirs → mine", 300, 140, estimate(-1.8), estimate(0.79), estimate(0.02), 0.001,
                    0.003, elsewhere=estimate(0.01), where="L5 mid"),
        r.BoardEdit("C0 empty", "", 0, 0, None, None, None, None, None, "the board probe reads no such fact"),
    )  # fmt: skip
    senders = (
        r.Sender("L2N17", "D1 theirs", estimate(0.31), estimate(0.28), 0.004, "excites", "D1 theirs", 0.71),
        r.Sender("L0H3", "D1 theirs", estimate(0.12), None, None, "inhibits", "", None),
    )
    control = toggle("none", 0.01, becomes="")
    return r.Inputs(toggles, control, edits, senders, ("Pairs: one move swapped.", "LayerNorm recomputed."))


def outputs(writes=True, lost=1.4, positions=600):
    claimed = r.Write(
        "+C0", "logits", "logit", 0.31, 1, 60, estimate(1.1), estimate(0.1), estimate(lost), estimate(0.2),
        estimate(0.05), 1, 60, tuple(np.linspace(-0.1, 0.12, 20)), 0.048,
    )  # fmt: skip
    untested = r.Write("-L7N4", "L7N4", "activation", *[None] * 10, (), None, "it lies in the same layer")
    replaced = (
        r.Replacement("the rule's two levels", "where the rule holds", estimate(0.01), estimate(0.02)),
        r.Replacement("its mean", "where the rule holds", estimate(0.2), estimate(0.31)),
    )
    return r.Outputs((claimed, untested)[: 2 if writes == "untested" else 1] if writes else (), positions, 310,
                     estimate(0.21), estimate(0.002, 0.001), tuple(np.linspace(0.0005, 0.01, 20)), 0.048, replaced,
                     "The logit of C0 changes most, by −1.4", ("Set to 0.24, its training mean where the rule fails.",
                     "LayerNorm recomputed."))  # fmt: skip


def colours():
    forms = (
        r.ColourForm("mine/theirs", RULE, 812, estimate(0.8), 0.93, 0.99, 2.3, 2.2),
        r.ColourForm("as black sees it", "C0 empty & D1 white & E2 black", 405, estimate(0.36), 0.6, None, 2.3, -0.03),
        r.ColourForm("as white sees it", "C0 empty & D1 black & E2 white", 0, None, None, None, None, None),
    )
    return r.Colours(forms, "relative", "The form in mine and theirs explains 44 points more than either in colours.")


PARTS = {
    g.WRITES: {},
    g.FITS: {"outputs": outputs(writes=False)},
    g.INCOMPLETE: {"fit": fit(f1=0.72), "rivals": rivals(automatic=0.9)},
    g.ONE_CAUSE: {"fit": fit(f1=0.32)},
    g.PARTLY: {"inputs": inputs((0.9, 0.02, None)), "outputs": outputs(writes="untested")},
    g.CORRELATES: {"inputs": inputs((0.01, 0.02, 0.0))},
    g.UNDERPOWERED: {"fit": fit(positives=40), "inputs": inputs(pairs=12), "outputs": outputs(positions=80)},
    g.REFUTED: {"fit": fit(f1=0.1, auc=0.5, variance=-0.01, top=0.05), "rivals": rivals(-0.01, 0.7, 0.2)},
}


def verdict(fit=None, rivals=None, inputs=None, outputs=None, rule=RULE, **changes):
    """A verdict on given parts; its grade and its checks are what the thresholds make of them."""
    claim = parse_claim(f"{rule} => +C0" if outputs is not None and outputs.writes else rule)
    if fit is not None and rivals is not None:
        checks = verdict_checks.checks(fit, rivals, colours(), inputs, outputs)
        grade, missing = g.grade(checks)
    else:
        checks, grade, missing = (), g.UNTESTABLE, ()
    values = {
        "unit": "L5N1393", "kind": "neuron", "scalar": "activation after GELU", "rule": str(claim.rule),
        "claim": str(claim), "simplified": str(claim.rule), "in_words": "C0 is empty, D1 is theirs and E2 is mine",
        "grade": grade, "summary": f"L5N1393 on “{claim.rule}”: {grade}.", "missing": missing, "checks": checks,
        "notes": () if fit else ("C0 empty & C0 mine can never both hold",), "fit": fit, "rivals": rivals,
        "colours": colours() if fit else None, "inputs": inputs, "outputs": outputs, "model": "synthetic",
        "model_hash": "b29b2d44eed5dea3", "games": "random, seed 0", "band": (5, 53), "seed": 0,
        "seconds": {"fit": 0.21, "rivals": 1.4}, "command": "othello-circuits test L5N1393 'C0 empty & D1 theirs'",
        "python": 'open_model().test("L5N1393", "C0 empty & D1 theirs & E2 mine")',
    }  # fmt: skip
    return r.Verdict(**(values | changes))


@cache
def verdict_of(grade):
    """One verdict of each grade, made once."""
    if grade == g.UNTESTABLE:
        return verdict()
    default = {"fit": fit(), "rivals": rivals(), "inputs": inputs(), "outputs": outputs()}
    found = verdict(**(default | PARTS[grade]))
    assert found.grade == grade, (found.grade, grade, found.missing)
    return found
