"""The edit benchmark: does the model play by the edited board? Every method, on cases that none was tuned on.

Each method comes with the layers and strength that did best on tuning cases (`circuits.editing.tuning`), beside no edit
and beside changes of equal norm in random directions. Means carry 95 % bootstrap intervals over cases, which come from
different games (published ones may share openings). The winner is the method of lowest mean error over all these
cases; a comparison of it with the runner-up, case by case, says how sure that is. An edit of every square to what it
is already ("to the same") shows what the winner does where nothing should happen: the total variation between the move
probabilities before and after, beside that of its real edits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from circuits.causes.effects import summarise
from circuits.editing.board_edits import ACTIONS, EditCases
from circuits.editing.interventions import Edited, Editor, Method
from circuits.editing.results import (
    BINS,
    NO_EDIT,
    PERFECT,
    SCALES,
    Benchmark,
    CaseSet,
    Interval,
    RolloutRow,
    Row,
)
from circuits.editing.rollout import rollout
from circuits.editing.scores import NAMES, ideal, score
from circuits.editing.tuning import Tuning
from circuits.errors import InputError


def run(
    editor: Editor,
    sets: Mapping[str, EditCases],
    tuning: Tuning,
    *,
    extra: Sequence[tuple[str, Method]] = (),
    rollouts: int = 300,
    seed: int = 0,
    progress: str | None = None,
) -> Benchmark:
    """Measure every tuned method on some sets of cases.

    Args:
        sets: name -> cases, none of them used in tuning.
        extra: more settings to measure, by name.
        rollouts: cases of each set that are rolled out.
        seed: of random directions and of the moves drawn.

    Raises:
        InputError: no cases.
    """
    if not sets:
        raise InputError("no set of cases to measure on: give at least one")
    methods = [(name, tuning.best(name)) for name in tuning.tried] + list(extra)
    n = editor.model.shape.n_layers
    errors: dict[str, list[Tensor]] = {name: [] for name, _ in methods}
    layers: dict[str, list[Tensor]] = {name: [] for name in tuning.tried}
    scales, rows, rolled, own = [], [], [], []
    with tqdm(
        total=len(sets) * (2 * len(methods) + n * (len(tuning.tried) + len(SCALES))), desc=progress, unit=" runs",
        disable=None if progress else True, leave=False,
    ) as bar:  # fmt: skip
        for set_name, cases in sets.items():
            passes = editor.passes(cases)

            def edited(method: Method, control: bool = False, cases=cases, passes=passes):
                bar.update()
                return editor.run(
                    cases, method, control=control, seed=seed, passes=passes if method.plies == "last" else None
                )

            for i, (name, method) in enumerate(methods):
                for control in (False, True):
                    found = edited(method, control)
                    if not i and not control:
                        none = score(found.before, cases)
                        own.append(none["error original"])
                        rows.append(_row(set_name, NO_EDIT, "", False, none, cases, 0.0))
                        rows.append(_row(set_name, PERFECT, "", False, ideal(cases), cases, 0.0))
                    scores = score(found.after, cases)
                    share = max(float(s.mean()) for s in found.share.values())
                    rows.append(_row(set_name, name, str(method), control, scores, cases, share))
                    if not control:
                        errors[name].append(scores["error"])
            for name in tuning.tried:
                single = (edited(tuning.best(name, layer)) for layer in range(n))
                layers[name].append(torch.stack([score(found.after, cases)["error"] for found in single]))
            sweep = (edited(Method("negate", s, (layer,))) for layer in range(n) for s in SCALES)
            scales.append(torch.stack([score(found.after, cases)["error"] for found in sweep]))
    whole = {name: torch.cat(parts) for name, parts in errors.items()}
    order = sorted((name for name in tuning.tried), key=lambda name: float(whole[name].mean()))
    named = dict(methods)
    margin = _interval(whole[order[1]] - whole[order[0]]) if len(order) > 1 else None
    moved = {"same": [], "another": []}
    for set_name, cases in sets.items():
        for kind, edits in (("same", replace(cases, after=cases.before)), ("another", cases)):
            moved[kind].append(_total_variation(editor.run(edits, named[order[0]])))
        for label, method, original in (
            (str(named[order[0]]), named[order[0]], False), (NO_EDIT, None, False), ("original boards", None, True),
        ):  # fmt: skip
            if rollouts:
                r = rollout(editor, cases[:rollouts], method, original=original, seed=seed)
                survived = tuple(r.survived.float().mean(0).tolist())
                rolled.append(RolloutRow(set_name, label, survived, _interval(r.made.float())))
    return Benchmark(
        model_name=editor.model.name,
        model_hash=editor.model.hash,
        sets=tuple(_describe(name, cases) for name, cases in sets.items()),
        rows=tuple(rows),
        rollouts=tuple(rolled),
        layers={name: tuple(torch.cat(parts, 1).mean(1).tolist()) for name, parts in layers.items()},
        scales=tuple(tuple(row) for row in torch.cat(scales, 1).mean(1).view(n, len(SCALES)).tolist()),
        winner=str(named[order[0]]),
        runner_up=str(named[order[1]]) if len(order) > 1 else "",
        margin=margin,
        tuning=(
            f"layers and strength of every method chosen by the lowest mean error on {tuning.cases} other cases "
            f"(unedited {tuning.unedited:.2f})"
        ),
        unit=tuning.unit,
        own_error=_interval(torch.cat(own)),
        to_the_same=_interval(torch.cat(moved["same"])),
        to_the_same_largest=float(torch.cat(moved["same"]).max()),
        to_another=_interval(torch.cat(moved["another"])),
        methods=named,
    )


def _total_variation(edited: Edited) -> Float[Tensor, "case"]:
    return ((edited.after.softmax(-1) - edited.before.softmax(-1)).abs().sum(-1) / 2).cpu()


def _row(cases_name, name, setting, control, scores, cases: EditCases, share: float) -> Row:
    table = torch.stack([scores[n] for n in NAMES])
    summary = summarise(table, flips=1)
    columns = (t.tolist() for t in (summary.mean, summary.low, summary.high))
    intervals = {n: Interval(*ends) for n, *ends in zip(NAMES, *columns, strict=True)}
    return Row(cases_name, name, setting, control, intervals, _binned(scores["error"], cases), share)


def _binned(error: Float[Tensor, "case"], cases: EditCases) -> tuple[float | None, ...]:
    inside = _bins(cases)
    return tuple(float(error[inside == b].mean()) if (inside == b).any() else None for b in BINS)


def _bins(cases: EditCases) -> Tensor:
    return cases.changed.clamp(max=BINS[-1])


def _describe(name: str, cases: EditCases) -> CaseSet:
    inside = _bins(cases)
    first = cases.action[:, 0]
    return CaseSet(
        name,
        cases.source,
        len(cases),
        dict(cases.dropped),
        tuple(int((inside == b).sum()) for b in BINS),
        (int(cases.ply.min()), int(cases.ply.max())),
        {word: int((first == code).sum()) for code, word in enumerate(ACTIONS) if (first == code).any()},
    )


def _interval(values: Float[Tensor, "case"]) -> Interval:
    s = summarise(values, flips=1)
    return Interval(float(s.mean), float(s.low), float(s.high))
