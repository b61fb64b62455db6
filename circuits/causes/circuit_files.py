"""Circuits as JSON: written with everything that says what they are, and read back checked.

The layout is that of `circuits.causes.circuit.Circuit`, with ``"format": "othello-circuits circuit"`` and a version.
Numbers that are not finite (a correlation of nothing, a curve without random graphs) are written as null.
"""

import json
import math
import os
import types
from dataclasses import asdict, fields
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

from circuits.causes.circuit import Circuit, CircuitEdge, CurvePoint
from circuits.errors import InputError
from circuits.files import write_whole
from circuits.othello_model import OthelloModel

FORMAT = "othello-circuits circuit"
VERSION = 1


def to_json(circuit: Circuit) -> str:
    """A circuit as JSON text; the same circuit gives the same text."""
    content = {"format": FORMAT, "version": VERSION, **_finite(asdict(circuit))}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


def from_json(text: str, model: OthelloModel | None = None, where: str = "the circuit") -> Circuit:
    """The inverse of `to_json`.

    Args:
        model: refuse a circuit of any other.
        where: what it is called in messages.

    Raises:
        InputError: no JSON, another format or version, something missing or of the wrong type, an edge or a neuron
            that the model does not have, another model's circuit.
    """
    try:
        content = json.loads(text)
    except ValueError:
        raise InputError(f"{where} is no JSON; write one with circuits.causes.circuit_files.write") from None
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise InputError(f'{where} is no circuit: it does not say "format": "{FORMAT}"')
    version = content.pop("version", None)
    if version != VERSION:
        raise InputError(f"{where} is of version {version!r}; this program reads version {VERSION}")
    circuit = _record(Circuit, content, where)
    if not circuit.edges or not math.isfinite(circuit.kept):
        raise InputError(f"{where} holds no circuit: it needs edges and a share that they keep")
    ends = [(edge.sender, edge.receiver) for edge in circuit.edges]
    if len(set(ends)) < len(ends):
        raise InputError(f"{where} holds an edge twice")
    if model is not None:
        try:
            circuit.mask(model)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    return circuit


def write(circuit: Circuit, path: str | os.PathLike) -> None:
    """Write a circuit's JSON.

    Raises:
        InputError: the place cannot be written.
    """
    with write_whole(path) as temporary:
        temporary.write_text(to_json(circuit), encoding="utf-8")


def read(path: str | os.PathLike, model: OthelloModel | None = None) -> Circuit:
    """Read a circuit's JSON; with a model, refuse that of any other.

    Raises:
        InputError: it cannot be read; as `from_json`.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is no JSON; write one with circuits.causes.circuit_files.write") from None
    return from_json(text, model, str(path))


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _record(kind: type, content: object, where: str):
    """A dataclass from its fields, each checked."""
    names = [field.name for field in fields(kind)]
    if not isinstance(content, dict):
        raise InputError(f"{where}: {content!r:.40} stands where a {kind.__name__} belongs")
    for name in names:
        if name not in content:
            raise InputError(f"{where}: {name!r} of a {kind.__name__} is missing")
    for name in content:
        if name not in names:
            raise InputError(f"{where}: a {kind.__name__} has no {name!r}")
    hints = get_type_hints(kind)
    return kind(**{name: _value(hints[name], content[name], f"{where}: {name!r}") for name in names})


def _value(hint, value, where: str):
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise InputError(f"{where} is {value!r:.40}; it must be a list")
        inner = get_args(hint)[0]
        return tuple(_value(inner, item, f"{where} {i}") for i, item in enumerate(value))
    if get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise InputError(f"{where} is {value!r:.40}; it must be an object")
        return {key: _value(get_args(hint)[1], item, f"{where} {key!r}") for key, item in value.items()}
    if hint in (CircuitEdge, CurvePoint):
        return _record(hint, value, where)
    allowed = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and float in allowed:
        return math.nan
    if isinstance(value, int) and not isinstance(value, bool) and float in allowed and int not in allowed:
        return float(value)
    if not isinstance(value, allowed) or isinstance(value, bool):
        raise InputError(f"{where} is {value!r:.40}; it must be of type {' or '.join(t.__name__ for t in allowed)}")
    return value
