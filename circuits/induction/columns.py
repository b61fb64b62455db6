"""Records as flat columns of an Arrow table, and back.

A plain field is a column of its name. A field that is a record of its own is spread over columns that begin with the
field's name (those of a record whose first field has that name keep theirs); an `Estimate` over ``name``,
``name_low`` and ``name_high``. A tuple of texts or numbers is a list column, a tuple of records a list of structs.
Numbers are single precision, as the activations are that they describe: `single` makes a record's floats such, after
which a table gives back exactly what was put in.
"""

import types
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
    for field in _laid_out(cls, prefix):
        value = values[field.column]
        if field.of is Estimate:
            low, high = values[f"{field.column}_low"], values[f"{field.column}_high"]
            given[field.name] = None if value is None else Estimate(value, low, high)
        elif field.start is not None:
            there = value is not None or not field.optional
            given[field.name] = record(field.of, values, field.start) if there else None
        elif isinstance(value, list):
            given[field.name] = tuple(record(field.of, v) for v in value) if field.of else tuple(value)
        else:
            given[field.name] = value
    return cls(**given)


class Rows(Sequence[AnyRecord]):
    """Records that lie in a table, each made when it is first asked for.

    Equal to a tuple of the same records, and to other rows that are. A slice is a tuple.
    """

    def __init__(self, cls: type[AnyRecord], table: pa.Table) -> None:
        """
        Args:
            table: has what `sound` asks for.
        """
        self._cls = cls
        own = table.select([name for name, *_ in columns(cls)])
        self._columns = {name: _widened(own[name].combine_chunks()) for name in own.column_names}
        self._made: list[AnyRecord | None] = [None] * len(table)

    def __len__(self) -> int:
        return len(self._made)

    def __getitem__(self, i):
        if isinstance(i, slice):
            return tuple(self[k] for k in range(len(self))[i])
        found = self._made[i]
        if found is None:
            at = range(len(self))[i]
            found = record(self._cls, {name: column[at].as_py() for name, column in self._columns.items()})
            self._made[i] = found
        return found

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Rows | tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    def column(self, name: str) -> list[Any]:
        """One column of all rows."""
        return self._columns[name].to_pylist()


def values(records: Sequence[Record], name: str) -> list[Any]:
    """One plain field of all records."""
    return records.column(name) if isinstance(records, Rows) else [getattr(record, name) for record in records]


def sound(cls: type[Record], table: pa.Table, prefix: str = "") -> bool:
    """Whether every row has a record's columns, of their types, with nothing in them that the record would refuse."""
    for name, kind, null in columns(cls, prefix):
        if name not in table.column_names or table[name].type != kind or not _sound(table[name], null):
            return False
    for field in _laid_out(cls, prefix):
        if field.start is not None:
            here = table[field.column].is_valid()
            needed = (name for name, _, null in columns(field.of, field.start) if not null)
            if any(table[name].is_valid() != here for name in needed):  # a part of a record
                return False
    return True


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
    return _widened(column).to_pylist()


def _widened(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """A column with each single-precision number, at any depth, the double that its shortest decimal says."""
    texts, doubles = (_with_floats(column.type, leaf) for leaf in (pa.string(), pa.float64()))
    return column if texts.equals(column.type) else column.cast(texts).cast(doubles)


def _with_floats(kind: pa.DataType, leaf: pa.DataType) -> pa.DataType:
    """A type with ``leaf`` in the place of single-precision numbers."""
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_with_floats(kind.value_type, leaf)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_with_floats(field.type, leaf)) for field in kind])
    return leaf if pa.types.is_float32(kind) else kind


def _sound(values: pa.Array | pa.ChunkedArray, optional: bool) -> bool:
    """Whether nothing is missing (but in ``optional`` places) and all numbers are finite, at any depth."""
    if values.null_count and not optional:
        return False
    if pa.types.is_list(values.type):
        return _sound(pc.list_flatten(values), False)
    if pa.types.is_struct(values.type):
        return all(_sound(pc.struct_field(values, i), field.nullable) for i, field in enumerate(values.type))
    return not pa.types.is_floating(values.type) or bool(pc.all(pc.is_finite(values), min_count=0).as_py())


class _Field(NamedTuple):
    """Where a field of a record is found.

    Attributes:
        column: that has it, or tells whether it is there; of: the record in it, or in each of its items; start: how the
            columns begin that a record is spread over, None for what has one column.
    """

    name: str
    column: str
    of: Any
    start: str | None
    optional: bool


@cache
def _laid_out(cls: type[Record], prefix: str) -> tuple[_Field, ...]:
    found = []
    for field in fields(cls):
        inner, may = _without_none(field.type)
        column, start, of = prefix + field.name, None, None
        if inner is Estimate:
            of = Estimate
        elif isinstance(inner, type) and issubclass(inner, Record):
            of, start = inner, _start(inner, field.name, prefix)
            # A record that is not there has nothing in its columns that must not be null.
            column = next(name for name, _, null in columns(inner, start) if not null)
        elif get_origin(inner) is tuple:
            item = get_args(inner)[0]
            of = item if isinstance(item, type) and issubclass(item, Record) else None
        found.append(_Field(field.name, column, of, start, may))
    return tuple(found)


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
