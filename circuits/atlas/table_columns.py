"""Columns of an atlas's tables: a name, a type and what it holds; from NumPy to Parquet, the same bytes each time."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from circuits.errors import InputError

#: key of a schema's metadata
METADATA = b"othello_circuits"
_TYPES = {"text": pa.string(), "whole": pa.int32(), "count": pa.int64(), "number": pa.float32()}


@dataclass(frozen=True)
class Column:
    """``kind``: text, whole (int32), count (int64) or number (float32). ``about``: what it holds, with its unit."""

    name: str
    kind: str
    about: str

    @property
    def field(self) -> pa.Field:
        return pa.field(self.name, _TYPES[self.kind], True, {b"description": self.about.encode()})


@dataclass(frozen=True)
class Words:
    """A text column as distinct texts and, for each row, which; -1 for null."""

    texts: Sequence[str]
    which: np.ndarray


def table(columns: Sequence[Column], values: Mapping[str, Any], about: Mapping[str, Any]) -> pa.Table:
    """A table of columns in their order.

    Args:
        values: by name, arrays (NaN is null, as is None in a list), lists, or `Words`; a missing column is null
            throughout.
        about: JSON for the schema's metadata, under `METADATA`.
    """
    rows = next(len(v.which) if isinstance(v, Words) else len(v) for v in values.values())
    if unknown := set(values) - {column.name for column in columns}:
        raise KeyError(f"no such columns: {sorted(unknown)}")
    arrays = [_array(column, values.get(column.name), rows) for column in columns]
    metadata = {METADATA: json.dumps(about, allow_nan=False, sort_keys=True).encode()}
    return pa.Table.from_arrays(arrays, schema=pa.schema([c.field for c in columns]).with_metadata(metadata))


def empty(columns: Sequence[Column], about: Mapping[str, Any]) -> pa.Table:
    """A table without rows."""
    return table(columns, {columns[0].name: []}, about)


def _array(column: Column, values: Any, rows: int) -> pa.Array:
    kind = _TYPES[column.kind]
    if values is None:
        return pa.nulls(rows, kind)
    if isinstance(values, Words):
        which = np.asarray(values.which)
        return pa.array(list(values.texts), kind).take(pa.array(which, pa.int64(), mask=which < 0))
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        values = values.astype(np.float32)
        if np.isinf(values).any():
            raise InputError(f"the atlas's column {column.name} is infinite somewhere: its inputs do not fit together")
        return pa.array(values, kind, mask=np.isnan(values))
    return pa.array(values, kind)


def to_bytes(made: pa.Table) -> bytes:
    """The table as a Parquet file; the same bytes for the same table and version of pyarrow."""
    numbers = [field.name for field in made.schema if pa.types.is_float32(field.type)]
    others = [field.name for field in made.schema if not pa.types.is_float32(field.type)]
    sink = io.BytesIO()
    # Bytes of one significance beside each other: measured numbers compress a quarter better.
    pq.write_table(
        made, sink, compression="zstd", use_dictionary=others,
        column_encoding=dict.fromkeys(numbers, "BYTE_STREAM_SPLIT") or None,
    )  # fmt: skip
    return sink.getvalue()


def of_bytes(data: bytes) -> pa.Table:
    """The inverse of `to_bytes`.

    Raises:
        ValueError: (or what pyarrow raises) no Parquet file.
    """
    return pq.read_table(pa.BufferReader(data))


def metadata(schema: pa.Schema) -> dict[str, Any]:
    """What a table says it was made of.

    Raises:
        KeyError, ValueError: it says nothing.
    """
    return json.loads((schema.metadata or {})[METADATA])
