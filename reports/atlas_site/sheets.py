"""An atlas's tables arranged so that all rows of one unit are found at once.

`Sheets.sheet` gives what `circuits.atlas.questions.unit` gives, without a search through every table for each unit.
"""

from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from circuits.atlas.opened import Atlas
from circuits.atlas.squares_table import STATES
from circuits.atlas.unit_sheet import Edge, Example, FactOf, OnSquare, UnitSheet
from circuits.notation import LABELS, N_SQUARES
from reports.atlas_site.columns import check_columns
from reports.atlas_site.roles import role

#: what `Sheets.rise` has, in its order: mine less theirs, empty less occupied
RISES = ("mine", "empty")

_ON_SQUARE = tuple(name for name in OnSquare.__dataclass_fields__ if name != "square")


class Sheets:
    """The units of an atlas, by their row in its table ``units``.

    Attributes:
        names: of all units; row: the number of each; is_neuron [unit].
        squares: the columns of the table ``squares`` as [unit, square], NaN for what is not known.
    """

    def __init__(self, atlas: Atlas):
        """Raises:
        InputError: a table or a column is missing.
        """
        check_columns(atlas)
        self.atlas = atlas
        self.units: dict[str, list] = _lists(atlas, "units")
        self.names: list[str] = self.units["unit"]
        self.row = {name: i for i, name in enumerate(self.names)}
        self.is_neuron = np.array(self.units["kind"], dtype=object) == "neuron"
        table = atlas.table("squares")
        self.squares = {
            name: table[name].cast(pa.float64()).to_numpy().reshape(-1, N_SQUARES)
            for name in table.column_names
            if name not in ("unit", "layer", "square")
        }
        self._facts, self._examples = (_Groups(atlas, table, "unit", self.row) for table in ("patterns", "examples"))
        self._before, self._after = (_Groups(atlas, "edges", end, self.row) for end in ("receiver", "sender"))
        self._rules = _Groups(atlas, "rules", "unit", self.row) if "rules" in atlas.rows else None

    def __len__(self) -> int:
        return len(self.names)

    def column(self, name: str) -> Float[np.ndarray, "unit"]:
        """A column of numbers of the table ``units``, NaN where it is null."""
        return np.array([np.nan if v is None else v for v in self.units[name]], dtype=float)

    @cached_property
    def roles(self) -> list[str | None]:
        """Each neuron's role (`reports.atlas_site.roles`); None of heads."""
        rows = (dict(zip(self.units, row, strict=True)) for row in zip(*self.units.values(), strict=True))
        return [role(row) if row["kind"] == "neuron" else None for row in rows]

    @cached_property
    def rise(self) -> Float[np.ndarray, "unit rise=2 square"]:
        """How much higher the mean is for mine than for theirs, for empty than for occupied, in sd (`RISES`)."""
        n = np.stack([self.squares[f"positions_{s}"][0] for s in STATES])
        empty, theirs, own = (self.squares[f"mean_{s}"] for s in STATES)
        mean, sd = (self.column(name)[:, None] for name in ("mean", "sd"))
        with np.errstate(divide="ignore", invalid="ignore"):
            occupied = (n.sum(0) - n[0]) / n.sum(0)
            rise = np.stack([own - theirs, (empty - mean) / occupied], 1) / sd[:, None]
        return np.where(np.isfinite(rise), rise, np.nan)

    def sheet(self, i: int) -> UnitSheet:
        """All there is of a unit, without its look-alikes and its row of the table of rules."""
        name, units, atlas = self.names[i], self.units, self.atlas
        row = {column: values[i] for column, values in units.items() if values[i] is not None}
        columns = [[None if v != v else v for v in self.squares[column][i].tolist()] for column in _ON_SQUARE]
        squares = tuple(OnSquare(label, *values) for label, *values in zip(LABELS, *columns, strict=True))
        after = sorted(self._after.rows(i), key=lambda e: -abs(e["effect"]))
        return UnitSheet(
            name, row["kind"], atlas.chance_cosine, atlas.measured,
            {column: value for column, value in row.items() if not isinstance(value, str)},
            {c: value for c, value in row.items() if isinstance(value, str) and c not in ("unit", "kind")},
            tuple(FactOf(**_only(FactOf, fact)) for fact in self._facts.rows(i)), squares,
            tuple(Edge(e["sender"], e["effect"], e["cosine"], e["z"], e["sign"]) for e in self._before.rows(i)),
            tuple(Edge(e["receiver"], e["effect"], e["cosine"], e["z"], e["sign"]) for e in after),
            tuple(Example(**_only(Example, example)) for example in self._examples.rows(i)),
        )  # fmt: skip

    def rule(self, i: int) -> dict[str, Any] | None:
        """A neuron's row of the table of rules, if there is one."""
        found = self._rules.rows(i) if self._rules else []
        return found[0] if found else None


class _Groups:
    """The rows of a table by the unit in one of its columns, in the table's order.

    They are read as they are asked for, those of `BLOCK` units that follow each other at once.
    """

    BLOCK = 64

    def __init__(self, atlas: Atlas, table: str, column: str, row: dict[str, int]):
        self._table = atlas.table(table).combine_chunks()
        coded = self._table[column].combine_chunks().dictionary_encode()
        units = np.array([row.get(name, len(row)) for name in coded.dictionary.to_pylist()], dtype=np.int64)
        of_unit = units[coded.indices.to_numpy()]
        self._order = np.argsort(of_unit, kind="stable")
        self._bounds = np.searchsorted(of_unit[self._order], np.arange(len(row) + 1))
        self._block, self._read = -1, []

    def rows(self, i: int) -> list[dict[str, Any]]:
        """Of unit ``i`` of the table ``units``."""
        first, last = self._bounds[i : i + 2]
        if first == last:
            return []
        start = i - i % self.BLOCK
        begin = self._bounds[start]
        if self._block != start:
            at = self._order[begin : self._bounds[min(start + self.BLOCK, len(self._bounds) - 1)]]
            together = at[-1] - at[0] == len(at) - 1 and bool((np.diff(at) == 1).all())
            own = self._table.slice(at[0], len(at)) if together else self._table.take(pa.array(at))
            columns = [own[column].to_pylist() for column in own.column_names]
            self._read = [dict(zip(own.column_names, values, strict=True)) for values in zip(*columns, strict=True)]
            self._block = start
        return self._read[first - begin : last - begin]


def _only(kind: Any, row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in kind.__dataclass_fields__}


def _lists(atlas: Atlas, name: str) -> dict[str, list]:
    table = atlas.table(name)
    return {column: table[column].to_pylist() for column in table.column_names}
