"""What drives a subject, by a rule's own facts: each toggled by itself, in games, in the checkpoint, and upstream.

    toggles    counterfactual games in which one fact changes and no other        (`circuits.verdicts.pairs`)
    control    counterfactual games in which none changes, as unlike the clean ones
    edits      the stream edited before the subject reads it, so that one fact fails   (`circuits.verdicts.board_edits`)
    senders    which upstream units carry a fact to the subject                        (`circuits.verdicts.senders`)

A change is the scalar toggled less clean; its share is of the way from the mean where the rule holds to the mean where
it fails, on training games (1: all the way); of a better rule's means, where one is known and these lie farther apart.
What a toggle moves then has to move also in the pairs that keep the better rule's other facts (*screened*): all on
other squares, and on its own square where it is no state of it ("C0 legal" has to matter while C0 stays empty).
Intervals and p-values draw whole games, with the means taken as fixed; Holm over the rule's facts.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.causes.effects import Summary, summarise
from circuits.causes.pairs import Pairs, join
from circuits.causes.places import place_of_point, written_at
from circuits.othello import replay
from circuits.rules.atoms import Atom, Line, Literal
from circuits.rules.formulas import Rule
from circuits.verdicts.board_edits import board_edits, early, method
from circuits.verdicts.pair_runs import EndRuns, acts, end_runs
from circuits.verdicts.pairs import PAIRS, Toggles, toggles
from circuits.verdicts.places import Places
from circuits.verdicts.readings import Ground
from circuits.verdicts.records import Estimate, Inputs, Toggle
from circuits.verdicts.scores import FLIPS, holm
from circuits.verdicts.senders import scaled, senders
from circuits.verdicts.subjects import Subject

#: pairs over which a share is said
LEAST = 20
#: what the control is called among the toggles
NONE = "no literal"


def inputs(
    ground: Ground, subject: Subject, rule: Rule, places: Places, gap: float, n: int = PAIRS, better: Rule | None = None
) -> Inputs:
    """All tests of a rule on the input side.

    Args:
        subject: fitted, where its scalar has to be learnt.
        places: held-out positions at which the checkpoint is edited.
        gap: what shares are of: the scalar's mean where the rule (or the better one) holds less where it fails.
        n: pairs looked for, for each literal.
        better: a rule known to describe the subject better: what a toggle moves has to move also where none of the
            better rule's other facts change.
    """
    found = toggles(rule, ground.held_out, n, plies=ground.band, seed=ground.seed, fresh=ground.fresh)
    runs = toggled_runs(subject, found)
    changes = {atom: activation_change(subject, own) for atom, own in runs.items()}
    measured = {atom: summarise(change, runs[atom].pairs.game, flips=FLIPS) for atom, change in changes.items()}
    facts = [atom for atom in rule.atoms if atom in measured]
    corrected = holm(torch.tensor([round(float(measured[atom].p), 6) for atom in facts], dtype=torch.float64)).tolist()
    family = {atom: round(p, 6) for atom, p in zip(facts, corrected, strict=True)}
    units, reasons = senders(subject, {atom: runs[atom] for atom in facts}, gap)
    screened = {
        atom: _screened(atom, runs[atom].pairs, changes[atom], better, gap) for atom in facts if better is not None
    }
    return Inputs(
        tuple(
            _toggle(found, atom, measured.get(atom), family.get(atom), gap, *screened.get(atom, (None, 0)))
            for atom in rule.atoms
        ),
        _toggle(found, None, measured.get(None), None, gap) if None in measured else None,
        board_edits(ground.editor, subject, rule, places, gap, ground.seed),
        units,
        (*_words(subject, found), *reasons),
        "" if better is None else str(better),
    )


def _screened(atom: Atom, pairs: Pairs, change: Float[Tensor, "pair"], better: Rule, gap: float) -> tuple:
    """The share over the pairs that keep the better rule's other facts, of `LEAST` at least; how many."""
    clean, corrupt = (replay(tokens) for tokens in (pairs.clean, pairs.corrupt))
    kept, end = torch.ones(len(pairs), dtype=torch.bool), (torch.arange(len(pairs)), pairs.ply)
    for other in better.atoms:
        # A state of a square is not told apart from another state of it: there it is the description that decides.
        own = other == atom or (_squares(other) & _squares(atom) and not _derived(atom))
        if not own:
            kept &= other._holds(clean)[end] == other._holds(corrupt)[end]
    if int(kept.sum()) < LEAST:
        return None, int(kept.sum())
    s = summarise(change[kept], pairs.game[kept], flips=1)
    return scaled(float(s.mean), float(s.low), float(s.high), -gap), int(kept.sum())


def _derived(atom: Atom) -> bool:
    """Whether an atom says of its square something else than what lies there."""
    return isinstance(atom, Literal) and atom.name in ("legal", "played", "flipped")


def _squares(atom: Atom) -> set[int]:
    """The squares that an atom is about."""
    if isinstance(atom, Literal):
        return {atom.square}
    return {atom.pattern.square, *atom.pattern.squares()} if isinstance(atom, Line) else set()


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


def _toggle(
    found: Toggles, atom: Atom | None, s: Summary | None, family: float | None, gap: float,
    screened: Estimate | None = None, screened_pairs: int = 0,
) -> Toggle:  # fmt: skip
    name, becomes = (NONE, "") if atom is None else (str(atom), found.becomes(atom))
    reason = found.reasons.get(atom, "")
    if s is None:
        return Toggle(name, becomes, 0, 0, None, None, None, None, None, reason, atom not in found.excluded)
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
        True,
        screened,
        screened_pairs,
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
