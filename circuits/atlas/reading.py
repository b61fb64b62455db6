"""What questions read from an atlas's tables: columns as arrays, the rows of a unit, the edges at some neurons."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from circuits.atlas.opened import Atlas
from circuits.errors import InputError
from circuits.notation import N_SQUARES, Unit, parse_unit


def one_of(value: str | None, known: Sequence[str | None], what: str) -> None:
    if value not in known:
        raise InputError(f"{what} {value!r} is none of {', '.join(k for k in known if k)}")


def rows_of(atlas: Atlas, kind: str, layer: int | None) -> tuple[pa.Table, np.ndarray]:
    """The rows of ``units`` of one kind (and layer), and their numbers."""
    if layer is not None and layer not in atlas.layers:
        raise InputError(f"layer {layer}: this atlas has rows of layers {', '.join(map(str, atlas.layers))}")
    table = atlas.table("units")
    here = np.array(table["kind"].to_pylist(), dtype=object) == kind
    if layer is not None:
        here &= table["layer"].to_numpy() == layer
    return table.filter(pa.array(here)), here.nonzero()[0]


def neurons(atlas: Atlas, layer: int | None, top: int) -> tuple[pa.Table, np.ndarray]:
    if top < 1:
        raise InputError(f"top {top}: ask for at least 1")
    return rows_of(atlas, "neuron", layer)


def by_square(atlas: Atlas, column: str) -> np.ndarray:
    """A column of ``squares`` as [unit, square], units in the order of the table ``units``; NaN for null."""
    return numbers(atlas.table("squares"), column).reshape(-1, N_SQUARES)


def numbers(table: pa.Table, column: str) -> np.ndarray:
    return table[column].cast(pa.float64()).to_numpy()


def median(values: np.ndarray) -> np.ndarray:
    """Of each row, what is not known left out; NaN for a row without anything."""
    found = np.full(len(values), np.nan)
    some = ~np.isnan(values).all(1)
    found[some] = np.nanmedian(values[some], 1)
    return found


def highest(values: np.ndarray, top: int) -> list[int]:
    """The rows of the highest values, unknown ones left out; of equal ones the first."""
    order = np.argsort(-values, kind="stable")
    return [int(i) for i in order[:top] if not np.isnan(values[i])]


def known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def present(atlas: Atlas, name: str | Unit) -> Unit:
    asked = parse_unit(name) if isinstance(name, str) else name
    if not pc.is_in(pa.scalar(str(asked)), atlas.table("units")["unit"].combine_chunks()).as_py():
        raise InputError(
            f"{asked} is not in this atlas, which has {atlas.rows['units']:,} units of layers "
            f"{', '.join(map(str, atlas.layers))}"
        )
    return asked


def rows_at(table: pa.Table, name: str) -> list[dict[str, Any]]:
    return table.filter(pc.equal(table["unit"], name)).to_pylist()


def edges_at(atlas: Atlas, end: str, names: Sequence[str], sign: int | None = None) -> dict[str, list[dict[str, Any]]]:
    """Edges at some neurons, by neuron, in the table's order (strongest first for a receiver and a sign)."""
    table = atlas.table("edges")
    here = pc.is_in(table[end], pa.array(list(names), pa.string()))
    if sign is not None:
        here = pc.and_(here, pc.equal(table["sign"], sign))
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for row in table.filter(here).to_pylist():
        found[row[end]].append(row)
    return found


def as_record(kind: Any, row: dict[str, Any]) -> Any:
    """A record of the columns that have its fields' names."""
    return kind(**{name: row[name] for name in kind.__dataclass_fields__})
