"""Records as flat columns of an Arrow table, and back.

A plain field is a column of its name. A field that is a record of its own is spread over columns that begin with the
field's name (those of a record whose first field has that name keep theirs); an `Estimate` over ``name``,
``name_low`` and ``name_high``. A tuple of texts or numbers is a list column, a tuple of records a list of structs.
Numbers are single precision, as the activations are that they describe: `single` makes a record's floats such, after
which a table gives back exactly what was put in.
"""

import types
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin

import numpy as np
import pyarrow as pa

from circuits.serial import Record
from circuits.verdicts.records import Estimate

AnyRecord = TypeVar("AnyRecord", bound=Record)

_PLAIN = {str: pa.string(), bool: pa.bool_(), int: pa.int32(), float: pa.float32()}


@cache
def columns(cls: type[Record], prefix: str = "", optional: bool = False) -> tuple[tuple[str, pa.DataType, bool], ...]:
    """(name, type, may be null) of every column of a record, in order."""
    found: list[tuple[str, pa.DataType, bool]] = []
    for field in fields(cls):
        inner, may = _without_none(field.type)
        name, null = prefix + field.name, optional or may
        if inner is Estimate:
            found += [(name, pa.float32(), null), (f"{name}_low", pa.float32(), True),
                      (f"{name}_high", pa.float32(), True)]  # fmt: skip
        elif isinstance(inner, type) and issubclass(inner, Record):
            found += columns(inner, _start(inner, field.name, prefix), null)
        else:
            found.append((name, _arrow(inner), null))
    return tuple(found)


def row(record: Record) -> dict[str, Any]:
    """One record as the values of its columns."""
    found: dict[str, Any] = {}
    _spread(record, type(record), "", found)
    return found


def record(cls: type[AnyRecord], values: dict[str, Any], prefix: str = "") -> AnyRecord:
    """The inverse of `row`.

    Raises:
        KeyError: a column is missing. InputError: a value that the record refuses.
    """
    given: dict[str, Any] = {}
    for field in fields(cls):
        inner, may = _without_none(field.type)
        name = prefix + field.name
        if inner is Estimate:
            value = values[name]
            given[field.name] = (
                None if value is None else Estimate(value, values[f"{name}_low"], values[f"{name}_high"])
            )
        elif isinstance(inner, type) and issubclass(inner, Record):
            start = _start(inner, field.name, prefix)
            # A record that is not there has nothing in its columns that must not be null.
            needed = next(name for name, _, null in columns(inner, start) if not null)
            given[field.name] = None if may and values[needed] is None else record(inner, values, start)
        elif isinstance(values[name], list):
            item = get_args(inner)[0]
            of_records = isinstance(item, type) and issubclass(item, Record)
            given[field.name] = tuple(record(item, v) if of_records else v for v in values[name])
        else:
            given[field.name] = values[name]
    return cls(**given)


def single(value: Any) -> Any:
    """A record, or plain data, with every float the shortest decimal of its single-precision value."""
    if isinstance(value, Record):
        return type(value).from_dict(single(value.to_dict()))
    if isinstance(value, float):
        return float(str(np.float32(value)))
    if isinstance(value, dict):
        return {k: single(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [single(v) for v in value]
    return value


def decimals(column: pa.ChunkedArray) -> list[Any]:
    """A column's values as Python has them; single-precision numbers by their shortest decimals."""
    if not pa.types.is_float32(column.type):
        return [_decimal(v) for v in column.to_pylist()] if pa.types.is_list(column.type) else column.to_pylist()
    known = column.is_valid().to_pylist()
    texts = column.fill_null(0.0).to_numpy().astype(str).astype(float).tolist()
    return [v if here else None for v, here in zip(texts, known, strict=True)]


def _decimal(value: Any) -> Any:
    if isinstance(value, float):
        return float(str(np.float32(value)))
    if isinstance(value, list):
        return [_decimal(v) for v in value]
    return {k: _decimal(v) for k, v in value.items()} if isinstance(value, dict) else value


def _spread(value: Record | None, cls: type[Record], prefix: str, found: dict[str, Any]) -> None:
    for field in fields(cls):
        inner, _ = _without_none(field.type)
        name, given = prefix + field.name, None if value is None else getattr(value, field.name)
        if inner is Estimate:
            found |= {
                name: given and given.value,
                f"{name}_low": given and given.low,
                f"{name}_high": given and given.high,
            }
        elif isinstance(inner, type) and issubclass(inner, Record):
            _spread(given, inner, _start(inner, field.name, prefix), found)
        elif isinstance(given, tuple):
            found[name] = [row(v) if isinstance(v, Record) else v for v in given]
        else:
            found[name] = given


def _start(inner: type[Record], name: str, prefix: str) -> str:
    """How the columns of a record begin that lies in a field of this name."""
    return prefix if fields(inner)[0].name == name else f"{prefix}{name}_"


def _arrow(kind: Any) -> pa.DataType:
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        if isinstance(item, type) and issubclass(item, Record):
            return pa.list_(pa.struct([pa.field(name, of, null) for name, of, null in columns(item)]))
        return pa.list_(_arrow(item))
    return _PLAIN[kind]


def _without_none(kind: Any) -> tuple[Any, bool]:
    if get_origin(kind) in (Union, types.UnionType):
        (option,) = (o for o in get_args(kind) if o is not type(None))
        return option, True
    return kind, False
