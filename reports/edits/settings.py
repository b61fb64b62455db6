"""A method of editing from what was said of it: names without layers or strength get those that did best in tuning."""

from collections.abc import Sequence
from dataclasses import replace

from circuits.editing import interventions
from circuits.editing.interventions import METHODS, Editor, Method
from circuits.editing.tuning import IN_UNITS, unit_of
from circuits.errors import InputError

#: strength (times the model's unit, `edit_tuning.unit_of`, for methods in units of the stream), first and last share of
#: the depth with which each method did best in tuning on the bundled model: what a method named alone is run with
SETTINGS = {
    "negate": (4.0, 1 / 2, 5 / 8),
    "absolute": (4.0, 3 / 8, 7 / 8),
    "class mean": (3.0, 3 / 8, 7 / 8),
    "contrast": (0.5, 1 / 2, 5 / 8),
    "target vector": (4.0, 3 / 8, 7 / 8),
    "mean difference": (1.5, 3 / 8, 5 / 8),
    "gradient": (0.08, 3 / 8, 7 / 8),
    "head shift": (4.0, 1 / 4, 1.0),
}


def plain_name(text: str) -> str:
    """A name as it is known: "Class-Mean" is "class mean"."""
    return " ".join(text.lower().replace("-", " ").replace("_", " ").split())


def method_of(
    editor: Editor,
    name: str | None = None,
    strength: float | None = None,
    layers: Sequence[int] | None = None,
    solve: str = "joint",
    plies: str = "last",
) -> Method:
    """A method from what was said of it; the rest is the default method's, or what `SETTINGS` has for the one named.

    Raises:
        InputError: no such method, layer, solve or choice of plies; a negative strength; a way to solve for a method
            that moves no coordinates.
    """
    default = interventions.default(editor.model)
    name = name and plain_name(name)
    if name is None or name == default.name:
        found = default
    elif name not in METHODS:
        raise InputError(f"{name!r} is no method of an edit: {', '.join(METHODS)}")
    else:
        n = editor.model.shape.n_layers
        amount, first, last = SETTINGS[name]
        amount *= unit_of(editor) if name in IN_UNITS and strength is None else 1.0
        start = min(n - 1, round(first * n))
        found = Method(name, float(f"{amount:.3g}"), tuple(range(start, max(start + 1, round(last * n)))))
    if solve != "joint" and found.name not in ("negate", "absolute", "class mean"):
        raise InputError(f"{solve!r} is a way to move coordinates, and {found.name} adds a vector: leave it joint")
    found = replace(found, solve=solve, plies=plies)
    if strength is not None:
        found = replace(found, strength=float(strength))
    if layers is not None:
        found = replace(found, layers=tuple(layers))
    editor.check(found)
    return found
