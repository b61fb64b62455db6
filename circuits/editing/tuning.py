"""Choosing layers and strength for every method of editing, on cases that no comparison uses.

Two rounds a method: every single layer at every strength of a geometric grid; then runs of several layers at the best
single layer's strength, a half, a quarter and an eighth of it (edits at several layers add up). The lowest mean error
against the edited board wins, ties go to the lower KL. Strengths of methods that are in units of the stream are
multiples of that model's own unit: half the median distance, along colour, between the means of mine and theirs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tqdm.auto import tqdm

from circuits.board_readers import COLOUR
from circuits.editing.board_edits import EditCases
from circuits.editing.interventions import METHODS, Editor, Method
from circuits.editing.scores import score
from circuits.errors import InputError

#: strengths tried at single layers; those in `IN_UNITS` are multiplied by the model's unit
GRID = {
    "negate": (0.0, 1.0, 2.0, 4.0, 8.0, 16.0),
    "absolute": (0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
    "class mean": (0.5, 1.0, 2.0, 3.0, 4.0, 6.0),
    "contrast": (0.25, 0.5, 1.0, 1.5, 2.0, 3.0),
    "target vector": (1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
    "mean difference": (0.5, 1.0, 1.5, 2.0, 3.0, 4.0),
    "gradient": (0.005, 0.01, 0.02, 0.04, 0.08, 0.16),
    "head shift": (0.5, 1.0, 2.0, 3.0, 4.0, 6.0),
}
IN_UNITS = ("absolute", "target vector", "gradient")
FRACTIONS = (1.0, 0.5, 0.25, 0.125)


@dataclass(frozen=True)
class Tried:
    """One setting, and its mean scores on the tuning cases."""

    method: Method
    error: float
    kl: float


@dataclass(frozen=True)
class Tuning:
    """All settings tried.

    Attributes:
        tried: by method's name; cases: on how many.
        unit: the model's unit of strength.
        unedited: mean error where nothing is edited.
    """

    tried: dict[str, tuple[Tried, ...]]
    cases: int
    unit: float
    unedited: float

    def best(self, name: str, layer: int | None = None) -> Method:
        """The best setting of a method, or the best at one layer alone.

        Raises:
            InputError: none was tried.
        """
        of = [t for t in self.tried.get(name, ()) if layer is None or t.method.layers == (layer,)]
        if not of:
            where = "" if layer is None else f" at layer {layer} alone"
            raise InputError(f"no setting of {name!r} was tried{where}")
        return min(of, key=lambda t: (t.error, t.kl)).method

    @property
    def winner(self) -> Method:
        """The best setting of all."""
        return min((t for row in self.tried.values() for t in row), key=lambda t: (t.error, t.kl)).method


def unit_of(editor: Editor) -> float:
    """The model's unit of strength.

    Raises:
        InputError: an editor without means of the stream.
    """
    means = editor.ground.means
    hooks = [hook for hook in editor.readers if means is not None and hook in means.state and "resid_post" in hook]
    if not hooks:
        raise InputError("tuning needs the stream's means and a board reader after some layer")
    hook = hooks[len(hooks) // 2]
    state, u = means.state[hook], editor.readers[hook].directions[:, COLOUR]
    return float((((state[:, 2] - state[:, 1]) * u).sum(-1).abs() / 2).median())


def spans(n_layers: int) -> list[tuple[int, ...]]:
    """Runs of two, and of four layers, the released recipe's (all but the first two), and all."""
    runs = [tuple(range(a, a + size)) for size in (2, 4) for a in range(n_layers - size + 1)]
    runs += [tuple(range(min(2, n_layers - 1), n_layers)), tuple(range(n_layers))]
    return list(dict.fromkeys(run for run in runs if len(run) > 1))


def tune(editor: Editor, cases: EditCases, names: Sequence[str] = METHODS, *, progress: str | None = None) -> Tuning:
    """Try every method's settings on some cases.

    Raises:
        InputError: an unknown method; as `Editor.check`.
    """
    if unknown := [name for name in names if name not in METHODS]:
        raise InputError(f"{unknown[0]!r} is no method of editing: {', '.join(METHODS)}")
    unit, n = unit_of(editor), editor.model.shape.n_layers
    passes = editor.passes(cases)
    unedited = float("nan")
    rounds = len(names) * (6 * n + len(FRACTIONS) * len(spans(n)))
    tried: dict[str, list[Tried]] = {name: [] for name in names}

    def measure(method: Method) -> Tried:
        edited = editor.run(cases, method, passes=passes)
        scores = score(edited.after, cases)
        nonlocal unedited
        if unedited != unedited:
            unedited = float(score(edited.before, cases)["error"].mean())
        bar.update()
        return Tried(method, float(scores["error"].mean()), float(scores["KL"].mean()))

    with tqdm(total=rounds, desc=progress, unit=" runs", disable=None if progress else True, leave=False) as bar:
        for name in names:
            tried[name] = [measure(method) for method in _single(name, n, unit)]
            best = min(tried[name], key=lambda t: (t.error, t.kl)).method
            tried[name] += [measure(method) for method in _several(best, n)]
    return Tuning({name: tuple(row) for name, row in tried.items()}, len(cases), unit, unedited)


def _single(name: str, n: int, unit: float) -> Iterator[Method]:
    scale = unit if name in IN_UNITS else 1.0
    for layer in range(n):
        for strength in GRID[name]:
            yield Method(name, float(f"{strength * scale:.3g}"), (layer,))


def _several(best: Method, n: int) -> Iterator[Method]:
    for layers in spans(n):
        for fraction in FRACTIONS:
            yield replace(best, layers=layers, strength=float(f"{best.strength * fraction:.3g}"))
