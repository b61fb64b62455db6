"""The section of a neuron's page on the rule that the model's table of rules has for it, and what else was counted."""

from collections.abc import Callable, Mapping
from typing import Any

from circuits.census.records import NeuronCensus
from circuits.induction.choose import APART
from circuits.induction.records import Score
from circuits.induction.table import RuleTable
from circuits.notation import Unit
from reports.found_records import FoundRule
from reports.text import count, fixed, percent
from reports.verdicts import words as w
from reports.verdicts.tables import NOTHING, Cells, Table

STATUS = {
    "explained": "explained by this rule",
    "partly": "explained in part by this rule",
    "clock": "explained better by the ply alone",
    "unexplained": "not explained",
    "dead": "never varies",
}
MAPS = {
    "half-turn": "turned by half",
    "main diagonal": "mirrored at its main diagonal",
    "anti-diagonal": "mirrored at its other diagonal",
}


def found_rule(table: RuleTable | None, unit: Unit | str) -> FoundRule | None:
    """What the table says of a neuron, if it says anything."""
    if table is None or unit not in table:
        return None
    return FoundRule(table[unit], table.counted(unit), table.provenance)


def context(f: FoundRule, python: Callable[[str], str], links: Mapping[str, str]) -> dict[str, Any]:
    """What the template shows; ``python`` gets at a part of the record by its path."""
    return {
        "lead": lead(f),
        "again": again(f),
        "alternatives": f.row.alternatives if f.row.rule else (),
        "refined": f.row.refined,
        "scores": scores(f),
        "caption": caption(f),
        "besides": besides(f.census, links) if f.census else [],
        "python": python("found"),
    }


def lead(f: FoundRule) -> str:
    """The rule and what it is worth, in a sentence or two."""
    row = f.row
    if row.rule is None:
        return f"{row.unit}: {STATUS[row.status]}; no rule was found for it among all neurons’."
    variance = w.with_interval(row.rule.variance_explained, w.signed_percent)
    said = f"{row.rule.rule}. On held-out games its two levels explain {variance} of the activation"
    said += f" ({STATUS[row.status]}); the ply alone {percent(max(0.0, row.ply))}"
    if row.shuffled is not None:
        said += f", the same rule on activations dealt to other games {w.signed_percent(row.shuffled)}"
    tree = f"A regression tree of depth {f.table.depth} on {count(f.table.literals)} facts reaches R² {fixed(row.tree)}"
    return f"{said}. {tree}, of depth 4 {fixed(row.tree_4)}."


def again(f: FoundRule) -> str:
    """How far these games settle which rule it is."""
    row, said = f.row, []
    if row.rule is None:
        return ""
    if row.agreement is not None and row.same is not None:
        said.append(
            f"Found again on {f.table.resamples} random halves of the training games: the rules agree with it at an "
            f"F1 of {fixed(row.agreement)}, {percent(row.same, 0)} of them are equivalent to it."
        )
    if not row.alternatives:
        said.append(
            "On training and tuning games none of the drops and exchanges of one fact tried comes within "
            f"{APART:g} standard errors of it."
        )
    if row.unseen is not None:
        said.append(
            f"A further fact that matters at fewer than {count(row.unseen)} training and tuning positions would not "
            "have shown."
        )
    if row.alternatives:
        n = len(row.alternatives)
        said.append(
            f"These games do not tell it from {'this rule' if n == 1 else f'these {n} rules'}, which may be the "
            "neuron’s as well:"
        )
    return " ".join(said)


def scores(f: FoundRule) -> Table:
    """The rule, and the best one of the other source."""
    head = ("rule", "from", "variance explained", "F1", "precision", "recall", "skill", "holds at", "levels")
    rule, other, source = f.row.rule, f.row.other, f.row.source
    if rule is None:
        return Table(head, [])
    if other is None or other.rule == rule.rule:
        return Table(head, [_row(rule, "found.row.rule", source if other is None else "both")])
    return Table(head, [_row(rule, "found.row.rule", source), _row(other, "found.row.other", _other(source))])


def _other(source: str | None) -> str:
    return {"tree": "conjunction", "conjunction": "tree"}.get(source, NOTHING)


def _row(s: Score, path: str, source: str | None) -> tuple:
    cells = Cells()
    variance = cells.estimate(s.variance_explained, f"{path}.variance_explained", w.signed_percent)
    figures = (cells.one(getattr(s, name), f"{path}.{name}", fixed) for name in ("f1", "precision", "recall", "skill"))
    levels = f"{fixed(s.mean_on)} / {fixed(s.mean_off)}"
    return s.rule, source or NOTHING, variance, *figures, percent(s.base_rate), levels


def caption(f: FoundRule) -> str:
    t = f.table
    return (
        f"The best rule of trees and of a search for conjunctions; found on {count(t.train_games)} games, chosen on "
        f"{count(t.tune_games)}, measured on {count(t.held_out_games)} others ({count(t.held_out_positions)} "
        f"positions, plies {t.first_ply}–{t.last_ply}; {t.games_source}). F1, precision and recall of “activation "
        "above the threshold”; levels: mean activation where the rule holds and where it fails, training games."
    )


def besides(c: NeuronCensus, links: Mapping[str, str]) -> list[dict[str, Any]]:
    """What else was counted, as terms and texts, some with a neuron to link to."""
    found: list[dict[str, Any]] = []

    def add(term: str, text: str, unit: str = "") -> None:
        found.append({"term": term, "text": text, "unit": unit, "link": links.get(unit)})

    for term, written, n, unit in (
        ("Writes to the checkpoint", c.board, c.board_writes, "log-odds"),
        ("Writes to moves, directly", c.moves, c.move_writes, "logits"),
    ):
        if n:
            listed = ", ".join(f"{x.what} {fixed(x.by, 2, sign=True)}" for x in written)
            add(term, f"{listed} {unit}" + (f", and {n - len(written)} more" if n > len(written) else ""))
    for p in c.partners:
        if p.found:
            same = {True: "; its rule is the image", False: "; its rule is another", None: ""}[p.same_rule]
            add(f"Partner, board {MAPS.get(p.map, p.map)}", f"r {fixed(p.r)}{same}", p.unit)
    if c.has_twin:
        add("Twin", f"r {fixed(c.twin_r)}", c.twin)
    if c.unrelated and c.further:
        add("Where the rule fails", f"{c.further} explains {percent(c.further_r2 or 0.0)} of what varies there")
    if c.groups > 1:
        add("Unrelated parts", f"{c.groups} groups of the rule’s terms share no square and carry by themselves")
    if c.patterns:
        add("Patterns", ", ".join(c.patterns))
    return found
