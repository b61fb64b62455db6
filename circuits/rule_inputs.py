"""What drives a subject, by a rule's own facts: each toggled by itself, in games, in the checkpoint, and upstream.

    toggles    counterfactual games in which one fact changes and no other        (`circuits.rule_pairs`)
    control    counterfactual games in which none changes, as unlike the clean ones
    edits      the stream edited before the subject reads it, so that one fact fails   (`circuits.rule_board_edits`)
    senders    which upstream units carry a fact to the subject                        (`circuits.rule_senders`)

A change is the scalar toggled less clean; its share is of the way from the mean where the rule holds to the mean where
it fails, on training games (1: all the way). Intervals and p-values draw whole games; Holm over the rule's facts.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.effects import Summary, summarise
from circuits.pairs import join
from circuits.places import place_of_point, written_at
from circuits.rule_atoms import Atom
from circuits.rule_board_edits import board_edits, early, method
from circuits.rule_formulas import Rule
from circuits.rule_pair_runs import EndRuns, acts, end_runs
from circuits.rule_pairs import PAIRS, Toggles, toggles
from circuits.rule_places import Places
from circuits.rule_readings import Ground
from circuits.rule_scores import FLIPS, holm
from circuits.rule_senders import scaled, senders
from circuits.rule_subjects import Subject
from circuits.verdict_records import Inputs, Toggle

#: what the control is called among the toggles
NONE = "no literal"


def inputs(
    ground: Ground, subject: Subject, rule: Rule, places: Places, mean_on: float, mean_off: float, n: int = PAIRS
) -> Inputs:
    """All tests of a rule on the input side.

    Args:
        subject: fitted, where its scalar has to be learnt.
        places: held-out positions at which the checkpoint is edited.
        mean_on, mean_off: of the scalar where the rule holds and fails, on training games.
        n: pairs looked for, for each literal.
    """
    gap = mean_on - mean_off
    found = toggles(rule, ground.held_out, n, plies=ground.band, seed=ground.seed, fresh=ground.fresh)
    runs = toggled_runs(subject, found)
    changes = {atom: activation_change(subject, own) for atom, own in runs.items()}
    measured = {atom: summarise(change, runs[atom].pairs.game, flips=FLIPS) for atom, change in changes.items()}
    facts = [atom for atom in rule.atoms if atom in measured]
    corrected = holm(torch.tensor([round(float(measured[atom].p), 6) for atom in facts], dtype=torch.float64)).tolist()
    family = {atom: round(p, 6) for atom, p in zip(facts, corrected, strict=True)}
    units, reasons = senders(subject, {atom: runs[atom] for atom in facts}, gap)
    return Inputs(
        tuple(_toggle(found, atom, measured.get(atom), family.get(atom), gap) for atom in rule.atoms),
        _toggle(found, None, measured.get(None), None, gap) if None in measured else None,
        board_edits(ground.editor, subject, rule, places, gap, ground.seed),
        units,
        (*_words(subject, found), *reasons),
    )


def toggled_runs(subject: Subject, found: Toggles) -> dict[Atom | None, EndRuns]:
    """Both runs of all pairs, by the atom toggled; clean transcripts that several share are run once."""
    if not found.pairs:
        return {}
    node = max(subject.nodes, key=lambda node: node.order)
    direction = subject.kind == "direction"
    to = place_of_point(node.hook, subject.model.shape) if direction else written_at(node)
    together = end_runs(subject.model, join(list(found.pairs.values()), f"{found.rule}, toggled"), to)
    first, runs = 0, {}
    for atom, pairs in found.pairs.items():
        runs[atom] = together[torch.arange(first, first + len(pairs))]
        first += len(pairs)
    return runs


def activation_change(subject: Subject, runs: EndRuns) -> Float[Tensor, "pair"]:
    """The subject's scalar in the corrupt runs less that in the clean ones."""
    clean, corrupt = (subject.scalar(subject.values(acts(run))) for run in (runs.clean, runs.corrupt))
    return (corrupt - clean).cpu()


def _toggle(found: Toggles, atom: Atom | None, s: Summary | None, family: float | None, gap: float) -> Toggle:
    name, becomes = (NONE, "") if atom is None else (str(atom), found.becomes(atom))
    reason = found.reasons.get(atom, "")
    if s is None:
        return Toggle(name, becomes, 0, 0, None, None, None, None, None, reason)
    ends = float(s.mean), float(s.low), float(s.high)
    squares = float(found.squares[atom].mean())
    return Toggle(
        name,
        becomes,
        s.pairs,
        s.games,
        scaled(*ends, 1.0),
        scaled(*ends, -gap),
        round(float(s.p), 6),
        family,
        squares,
        reason,
    )


def _words(subject: Subject, found: Toggles) -> tuple[str, ...]:
    edits = [how for how in (method(subject), early(subject)) if how]
    return (
        "toggles: pairs of legal games that differ in one move, with as many moves and the same side to move, in which "
        f"one literal changes and no other; {found.searched}",
        "control: other such changes of the same positions, by which no literal changes, on as many squares",
        f"edits of the checkpoint: {'; and early: '.join(map(str, edits))}; at the last ply, LayerNorms recomputed"
        if edits
        else f"no edits of the checkpoint: there is none before {subject.name}",
        "upstream units: their direct path only, LayerNorm recomputed; found on half of the pairs’ games, verified on "
        "the other half by what the path does to the activation",
    )
