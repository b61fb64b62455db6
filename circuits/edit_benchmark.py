"""The edit benchmark: does the model play by the edited board? Every method, on cases that none was tuned on.

Each method comes with the layers and strength that did best on tuning cases (`circuits.edit_tuning`), beside no edit
and beside changes of equal norm in random directions. Means carry 95 % bootstrap intervals over cases, which come from
different games (published ones may share openings). The winner is the method of lowest mean error over all these
cases; a comparison of it with the runner-up, case by case, says how sure that is. An edit of every square to what it
is already ("to the same") shows what the winner does where nothing should happen: the total variation between the move
probabilities before and after, beside that of its real edits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from circuits.board_edits import ACTIONS, EditCases
from circuits.edit_scores import NAMES, ideal, score
from circuits.edit_tuning import Tuning
from circuits.effects import summarise
from circuits.errors import InputError
from circuits.interventions import Edited, Editor, Method
from circuits.rollout import MOVES, rollout

#: cases by how many moves the edit makes legal or illegal; the last bin is open
BINS = (0, 1, 2, 3, 4)
#: the seed study's scales, at every layer
SCALES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
NO_EDIT, PERFECT = "no edit", "perfect player"


@dataclass(frozen=True)
class Interval:
    """A mean with the ends of its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Row:
    """One way of playing, on one set of cases.

    Attributes:
        cases: name of the set; name: of the method, `NO_EDIT` or `PERFECT`; setting: of the method, in words.
        control: random directions in place of the method's.
        scores: by name of `edit_scores.NAMES`.
        by_changed: mean error by `BINS`, None where a bin has no case.
        share: norm of the largest change, as a share of the stream's; 0 for no edit.
    """

    cases: str
    name: str
    setting: str
    control: bool
    scores: dict[str, Interval]
    by_changed: tuple[float | None, ...]
    share: float


@dataclass(frozen=True)
class RolloutRow:
    """Roll-outs of one set: share still legal after each move, and mean legal moves made of `MOVES`."""

    cases: str
    name: str
    survived: tuple[float, ...]
    made: Interval


@dataclass(frozen=True)
class CaseSet:
    """What a set of cases consists of."""

    name: str
    source: str
    cases: int
    dropped: dict[str, int]
    changed: tuple[int, ...]  # cases by `BINS`
    plies: tuple[int, int]
    actions: dict[str, int]  # "flip" -> cases


@dataclass(frozen=True)
class Benchmark:
    """Everything measured; see the module's docstring.

    Attributes:
        model_name, model_hash; sets; rows; rollouts.
        layers: method's name -> mean error at each single layer, at the strength that was best there in tuning.
        scales: the seed's sweep, mean error [layer, scale] of "negate" over all cases.
        winner: setting of the method of lowest mean error; runner_up; margin: runner-up's error less the winner's.
        tuning: in words; unit: the model's unit of strength.
        own_error: mean error of the model on the unedited boards against their own legal moves.
        to_the_same: total variation of the winner's edits to what is there already, its largest, and (``to_another``)
            that of its real edits.
        methods: the setting measured, by name.
    """

    model_name: str
    model_hash: str
    sets: tuple[CaseSet, ...]
    rows: tuple[Row, ...]
    rollouts: tuple[RolloutRow, ...]
    layers: dict[str, tuple[float, ...]]
    scales: tuple[tuple[float, ...], ...]
    winner: str
    runner_up: str
    margin: Interval | None
    tuning: str
    unit: float
    own_error: Interval
    to_the_same: Interval
    to_the_same_largest: float
    to_another: Interval
    methods: dict[str, Method] = field(default_factory=dict)
    about: dict = field(default_factory=dict)

    def row(self, cases: str, name: str, control: bool = False) -> Row:
        """One row.

        Raises:
            InputError: there is none.
        """
        for row in self.rows:
            if (row.cases, row.name, row.control) == (cases, name, control):
                return row
        raise InputError(f"the benchmark has no row {name!r} on {cases!r}" + (" in random directions" * control))

    def to_dict(self) -> dict:
        return asdict(self)

    @staticmethod
    def from_dict(data: dict) -> "Benchmark":
        """The inverse of `to_dict`, also of what has been through JSON.

        Raises:
            InputError: it is none of ours.
        """
        try:
            rows = tuple(
                Row(**row | {"scores": {n: Interval(**i) for n, i in row["scores"].items()},
                             "by_changed": tuple(row["by_changed"])})
                for row in data["rows"]
            )  # fmt: skip
            rollouts = tuple(
                RolloutRow(r["cases"], r["name"], tuple(r["survived"]), Interval(**r["made"])) for r in data["rollouts"]
            )
            sets = tuple(
                CaseSet(**s | {"changed": tuple(s["changed"]), "plies": tuple(s["plies"])}) for s in data["sets"]
            )
            single = {name: Interval(**data[name]) for name in ("own_error", "to_the_same", "to_another")}
            more = {
                "rows": rows,
                "rollouts": rollouts,
                "sets": sets,
                "layers": {name: tuple(values) for name, values in data["layers"].items()},
                "scales": tuple(tuple(row) for row in data["scales"]),
                "margin": data["margin"] and Interval(**data["margin"]),
                "methods": {name: Method(**m | {"layers": tuple(m["layers"])}) for name, m in data["methods"].items()},
            }
            return Benchmark(**data | single | more)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"this is no result of the edit benchmark ({error})") from None

    def table(self) -> str:
        """The rows as text: error with its interval, then the other means."""
        lines = []
        for set_ in self.sets:
            lines.append(f"{set_.name}: {set_.cases} cases ({set_.source})")
            head = ["error (95 %)", "random", "vs original", "F1", "KL", "newly legal", "newly illegal", "   setting"]
            lines.append(f"  {'':24s}" + "".join(f"{h:>{w}s}" for h, w in zip(head, _WIDTHS, strict=True)))
            for row in self.rows:
                if row.cases != set_.name or row.control:
                    continue
                own = row.name not in (NO_EDIT, PERFECT)
                s = row.scores
                random = f"{self.row(set_.name, row.name, True).scores['error'].mean:.2f}" if own else ""
                e = s["error"]
                cells = [f"{e.mean:.2f} [{e.low:.2f}, {e.high:.2f}]", random] + [f"{s[n].mean:.3f}" for n in NAMES[1:]]
                cells.append(f"   {row.setting}")
                lines.append(f"  {row.name:24s}" + "".join(f"{c:>{w}s}" for c, w in zip(cells, _WIDTHS, strict=True)))
        lines.append(f"the model's own error on the unedited boards: {self.own_error}")
        if self.margin:
            lines.append(f"lowest error: {self.winner}; next {self.runner_up}, worse by {self.margin}")
        lines.append(
            f"total variation of the winner's edits: {self.to_another}; of edits to what is there already "
            f"{self.to_the_same}, at most {self.to_the_same_largest:.2f}"
        )
        for r in self.rollouts:
            lines.append(
                f"roll-out, {r.cases}, {r.name}: {r.made.mean:.2f} legal moves of {MOVES}, "
                f"{100 * r.survived[-1]:.0f} % to the end"
            )
        return "\n".join(lines)


_WIDTHS = (20, 8, 13, 8, 8, 13, 15, 3)


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
