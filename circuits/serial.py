"""Frozen records that check themselves and go to JSON and back unchanged.

A class derived from `Record` is a frozen dataclass whose fields are checked against their annotations when
it is made: ``int``, ``float`` (finite), ``str``, ``bool``, ``X | None``, ``Literal[...]``,
``tuple[X, ...]``, ``tuple[X, Y]``, ``dict[str, X]``, other records, and ``Annotated[tuple[X, ...], n]`` for a
fixed length. Lists become tuples and NumPy or torch scalars plain numbers, so what is read back from JSON is
equal to what was written. Unknown and missing fields are refused: a record is either whole or an error.
"""

import json
import math
import types
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from circuits.errors import InputError

AnyRecord = TypeVar("AnyRecord", bound="Record")


@dataclass(frozen=True)
class Record:
    """Base of all records: checks its fields when made, and knows JSON.

    Raises:
        InputError: a field of the wrong type or length, or a number that is not finite, by its path.
    """

    #: a type checker that looks at arguments (as the tests' does) would come before lists become tuples
    __no_type_check__ = True

    def __post_init__(self) -> None:
        for name, kind in _hints(type(self)).items():
            value = getattr(self, name)
            if not _fits(kind)(value):
                object.__setattr__(self, name, _check(value, kind, f"{type(self).__name__}.{name}"))

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings, in field order."""
        return {name: _plain(getattr(self, name)) for name in _hints(type(self))}

    @classmethod
    def from_dict(cls: type[AnyRecord], data: Any, where: str = "") -> AnyRecord:
        """The inverse of `to_dict`; ``where`` names the place in error messages."""
        return _read(data, cls, where or cls.__name__)

    def to_json(self, indent: int | None = None) -> str:
        """JSON text; floats in full, so that reading it back gives an equal record."""
        separators = None if indent else (",", ":")
        return json.dumps(self.to_dict(), indent=indent, separators=separators, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls: type[AnyRecord], text: str) -> AnyRecord:
        """The inverse of `to_json`.

        Raises:
            InputError: not JSON; an unknown, missing or ill-typed field; another version of the record.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise InputError(f"{cls.__name__}: not JSON ({error}); expected a file written by to_json") from None
        version = getattr(cls, "VERSION", None)
        if version is not None and isinstance(data, dict) and data.get("version") != version:
            given = data.get("version")
            raise InputError(
                f"{cls.__name__}: version {given!r} cannot be read, only {version}: build the report again"
            )
        return cls.from_dict(data)


def at(record: Record, path: str) -> Any:
    """The value at a dotted path, numbers indexing tuples: ``at(record, "writes.logits.16")``.

    Raises:
        InputError: no such path.
    """
    value: Any = record
    for step in path.split("."):
        try:
            if isinstance(value, tuple):
                value = value[int(step)]
            else:
                value = value[step] if isinstance(value, dict) else getattr(value, step)
        except (AttributeError, KeyError, IndexError, ValueError):
            raise InputError(f"the record has no {path!r}: there is no {step!r} on the way") from None
    return value


@cache
def _hints(cls: type) -> dict[str, Any]:
    return {f.name: f.type for f in fields(cls)}


@cache
def _fits(kind: Any) -> Callable[[Any], bool]:
    """A quick test whether a value is what `_check` would make of it; False is no verdict, only a case for `_check`."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is float:
        return lambda value: type(value) is float and math.isfinite(value)
    if kind in (int, str, bool):
        return lambda value: type(value) is kind
    if isinstance(kind, type) and issubclass(kind, Record):
        return lambda value: isinstance(value, kind)
    if origin in (Union, types.UnionType):
        (inner,) = (_fits(option) for option in args if option is not type(None))
        return lambda value: value is None or inner(value)
    if origin is Literal:
        return lambda value: type(value) is str and value in args
    if origin is Annotated:
        whole, length = _fits(args[0]), args[1]
        return lambda value: whole(value) and len(value) == length
    if origin is tuple and args[-1] is Ellipsis:
        item = _fits(args[0])
        return lambda value: type(value) is tuple and all(map(item, value))
    return lambda _: False


@cache
def _holds_records(kind: Any) -> bool:
    """Whether a value of this kind may have a record in it."""
    return (isinstance(kind, type) and issubclass(kind, Record)) or any(map(_holds_records, get_args(kind)))


def _fail(where: str, value: Any, expected: str) -> InputError:
    text = repr(value)
    return InputError(f"{where}: {text if len(text) <= 60 else text[:57] + '...'} is not {expected}")


def _check(value: Any, kind: Any, where: str) -> Any:
    """``value`` as ``kind`` demands it, coerced where nothing is lost."""
    if hasattr(value, "tolist") and not isinstance(value, Record):  # a NumPy or torch value
        value = value.tolist()
    origin = get_origin(kind)
    if origin is Annotated:
        inner, length = get_args(kind)
        value = _check(value, inner, where)
        if len(value) != length:
            raise InputError(f"{where}: has {len(value)} entries, expected {length}")
        return value
    if origin in (Union, types.UnionType):
        options = get_args(kind)
        if value is None and type(None) in options:
            return None
        (option,) = (o for o in options if o is not type(None))
        return _check(value, option, where)
    if origin is Literal:
        if value not in get_args(kind):
            raise _fail(where, value, "one of " + ", ".join(map(repr, get_args(kind))))
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise _fail(where, value, "a list")
        items = get_args(kind)
        if items[-1] is Ellipsis:
            if all(map(_fits(items[0]), value)):
                return tuple(value)
            return tuple(_check(v, items[0], f"{where}.{i}") for i, v in enumerate(value))
        if len(value) != len(items):
            raise InputError(f"{where}: has {len(value)} entries, expected {len(items)}")
        return tuple(_check(v, k, f"{where}.{i}") for i, (v, k) in enumerate(zip(value, items, strict=True)))
    if origin is dict:
        if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
            raise _fail(where, value, "a mapping from names")
        return {k: _check(v, get_args(kind)[1], f"{where}.{k}") for k, v in value.items()}
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise _fail(where, value, "a finite number")
        return float(value)
    if kind is int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _fail(where, value, "a whole number")
        return value
    if not isinstance(value, kind):
        raise _fail(where, value, kind.__name__)
    return value


def _plain(value: Any) -> Any:
    if type(value) in (float, str, int, bool, types.NoneType):
        return value
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


def _read(data: Any, kind: Any, where: str) -> Any:
    """JSON data with every mapping that stands for a record made into that record."""
    if not _holds_records(kind):
        return data
    origin = get_origin(kind)
    if origin is Annotated:
        return _read(data, get_args(kind)[0], where)
    if origin in (Union, types.UnionType):
        if data is None:
            return None
        (option,) = (o for o in get_args(kind) if o is not type(None))
        return _read(data, option, where)
    if origin is tuple and isinstance(data, list):
        item = get_args(kind)[0]
        if (isinstance(item, type) and issubclass(item, Record)) or get_origin(item) is tuple:
            return tuple(_read(v, item, f"{where}.{i}") for i, v in enumerate(data))
        return data
    if origin is dict and isinstance(data, dict):
        return {k: _read(v, get_args(kind)[1], f"{where}.{k}") for k, v in data.items()}
    if isinstance(kind, type) and issubclass(kind, Record):
        if not isinstance(data, dict):
            raise _fail(where, data, "a mapping of fields")
        hints = _hints(kind)
        if unknown := sorted(set(data) - set(hints)):
            raise InputError(f"{where}: unknown field {unknown[0]!r}; known are {', '.join(hints)}")
        if missing := [name for name in hints if name not in data]:
            raise InputError(f"{where}: the field {missing[0]!r} is missing")
        return kind(**{name: _read(data[name], hint, f"{where}.{name}") for name, hint in hints.items()})
    return data
