"""The table of rules: a row for every neuron, what it was made of, and its two files.

Parquet: one flat table, a row a neuron, for pandas, polars or a database. Its columns are those of
`circuits.induction.records.NeuronRule` (``other_...``: of the best rule of the other source), and where neurons were
counted too those of `circuits.census.records.NeuronCensus`; each says what it holds in its field's metadata. What the
table was made of is JSON in the schema's metadata, under ``othello_circuits``. JSON: the same as ``{"format",
"provenance", "rows", "census"}``. Both are written whole or not at all, and both give back an equal table: numbers are
kept to single precision.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from circuits.census.records import NeuronCensus
from circuits.errors import InputError
from circuits.files import write_whole
from circuits.induction import columns
from circuits.induction.column_words import about
from circuits.induction.records import STATUSES, NeuronRule, Provenance
from circuits.notation import Unit, parse_unit

FORMAT = "othello-circuits rules 1"
#: key of the schema's metadata
METADATA = b"othello_circuits"


@dataclass(frozen=True)
class RuleTable:
    """Rows by layer and neuron, with what they were made of.

    Made by `RuleTable.of`, which orders the rows and keeps numbers to single precision.

    Attributes:
        census: what else is known of each row's neuron, in the order of the rows; empty where that was not asked for.
    """

    provenance: Provenance
    rows: Sequence[NeuronRule]
    census: Sequence[NeuronCensus] = ()

    @staticmethod
    def of(provenance: Provenance, rows: Sequence[NeuronRule], census: Sequence[NeuronCensus] = ()) -> "RuleTable":
        """
        Raises:
            InputError: two rows of one neuron, a name that is no neuron's, or a census of other neurons.
        """
        units = [_neuron(row.unit) for row in rows]
        twice = [str(unit) for unit, n in Counter(units).items() if n > 1]
        if twice:
            raise InputError(f"the table has {twice[0]} twice: one row a neuron")
        if census and sorted(row.unit for row in census) != sorted(row.unit for row in rows):
            raise InputError(
                f"a census of {len(census)} neurons beside rules of {len(rows)}: of the same ones, or none"
            )
        return RuleTable(provenance, *(tuple(map(columns.single, sorted(own, key=_place))) for own in (rows, census)))

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[NeuronRule]:
        return iter(self.rows)

    def __contains__(self, unit: str | Unit) -> bool:
        return str(unit) in self._at

    def __getitem__(self, unit: str | Unit) -> NeuronRule:
        """The row of one neuron.

        Raises:
            InputError: it is not in the table.
        """
        try:
            return self.rows[self._at[str(unit)]]
        except KeyError:
            raise InputError(f"{unit} is not in the table of rules, which has {self._extent()}") from None

    def __repr__(self) -> str:
        counted = Counter(columns.values(self.rows, "status"))
        said = ", ".join(f"{counted[s]:,} {s}" for s in STATUSES if counted[s])
        return f"RuleTable({self._extent()} of {self.provenance.model_name}: {said or 'none'})"

    def counted(self, unit: str | Unit) -> NeuronCensus | None:
        """What else is known of a neuron, if it was asked for."""
        at = self._counted_at.get(str(unit))
        return None if at is None else self.census[at]

    @cached_property
    def _at(self) -> dict[str, int]:
        return {unit: i for i, unit in enumerate(columns.values(self.rows, "unit"))}

    @cached_property
    def _counted_at(self) -> dict[str, int]:
        return {unit: i for i, unit in enumerate(columns.values(self.census, "unit"))}

    def _extent(self) -> str:
        layers = self.layers
        return f"{len(self):,} neurons of " + (f"L{layers[0]}–L{layers[-1]}" if len(layers) > 1 else
                                               f"L{layers[0]}" if layers else "no layer")  # fmt: skip

    @cached_property
    def layers(self) -> tuple[int, ...]:
        return tuple(sorted({parse_unit(unit).layer for unit in self._at}))

    def layer(self, layer: int) -> tuple[NeuronRule, ...]:
        """The rows of one layer, by neuron; none where the table has none of it."""
        return tuple(self.rows[i] for unit, i in self._at.items() if parse_unit(unit).layer == layer)

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "provenance": self.provenance.to_dict(),
            "rows": [row.to_dict() for row in self.rows],
            "census": [row.to_dict() for row in self.census],
        }

    @staticmethod
    def from_dict(data: Any) -> "RuleTable":
        """The inverse of `to_dict`.

        Raises:
            InputError: another format, or a row that is none.
        """
        _check_format(data)
        provenance = Provenance.from_dict(data.get("provenance"), "provenance")
        parts = []
        for name, kind in (("rows", NeuronRule), ("census", NeuronCensus)):
            if not isinstance(data.get(name), list):
                raise InputError(f"a table of rules: its {name} are missing")
            parts.append([kind.from_dict(row, f"{name}.{i}") for i, row in enumerate(data[name])])
        return RuleTable.of(provenance, *parts)

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table, which pandas and polars read."""
        own = []
        for i, row in enumerate(self.rows):
            unit = _neuron(row.unit)
            own.append(columns.row(row) | {"layer": unit.layer, "neuron": unit.index})
            if self.census:
                own[-1] |= columns.row(self.census[i])
        data = {"format": FORMAT, "provenance": self.provenance.to_dict(), "census": bool(self.census)}
        schema = _schema(bool(self.census)).with_metadata({METADATA: json.dumps(data, allow_nan=False).encode()})
        return pa.Table.from_pylist(own, schema=schema)

    def save(self, path: str | os.PathLike) -> Path:
        """Write ``.parquet`` or ``.json``, whole or not at all.

        Raises:
            InputError: another ending, or the place cannot be written.
        """
        path = Path(path)
        if path.suffix not in (".parquet", ".json"):
            raise InputError(f"{path}: a table of rules is written as .parquet or .json")
        with write_whole(path) as temporary:
            if path.suffix == ".json":
                text = json.dumps(self.to_dict(), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
                temporary.write_text(text, encoding="utf-8")
            else:
                pq.write_table(self.to_arrow(), temporary, compression="zstd")
        return path

    @staticmethod
    def load(path: str | os.PathLike) -> "RuleTable":
        """A table that `save` wrote.

        Raises:
            InputError: no such file, or no table of rules.
        """
        path = Path(path)
        try:
            if path.suffix == ".json":
                return RuleTable.from_dict(json.loads(path.read_text(encoding="utf-8")))
            with pq.ParquetFile(path) as file:  # `read_table` would import Arrow's data sets, half a second of it
                table = file.read()
            data = json.loads((table.schema.metadata or {})[METADATA])
            _check_format(data)
            made = Provenance.from_dict(data["provenance"], "provenance")
            kinds = (NeuronRule, NeuronCensus) if data["census"] else (NeuronRule,)
            if all(columns.sound(kind, table) for kind in kinds):
                return RuleTable(made, *(columns.Rows(kind, table) for kind in kinds))
            # Written by something else, or damaged: every record is made, and refuses what is wrong by its name.
            names = table.column_names
            values = zip(*(columns.decimals(table[name]) for name in names), strict=True)
            found = [dict(zip(names, row, strict=True)) for row in values]
            return RuleTable(made, *(tuple(columns.record(kind, row) for row in found) for kind in kinds))
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; othello-circuits rules makes a table of rules") from None
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
            raise InputError(f"{path} is no table of rules, or is damaged: make it again") from None


def join(tables: Sequence[RuleTable], seconds: float | None = None) -> RuleTable:
    """One table of several of one making, such as its layers.

    Raises:
        InputError: none, or tables made of different things; a neuron twice.
    """
    if not tables:
        raise InputError("no tables of rules to join")
    first = replace(tables[0].provenance, seconds=None)
    for table in tables[1:]:
        if replace(table.provenance, seconds=None) != first:
            raise InputError(
                "these tables of rules were made of different models, games or settings: join those of one"
            )
    rows = [row for table in tables for row in table.rows]
    census = [row for table in tables for row in table.census]
    return RuleTable.of(replace(first, seconds=seconds), rows, census)


def _neuron(name: str) -> Unit:
    unit = parse_unit(name)
    if unit.kind != "neuron":
        raise InputError(f"{name} is no neuron: a table of rules has rows like L5N1393")
    return unit


def _place(row: NeuronRule | NeuronCensus) -> Unit:
    return _neuron(row.unit)


def _schema(census: bool) -> pa.Schema:
    found = [("unit", pa.string(), False), ("layer", pa.int32(), False), ("neuron", pa.int32(), False)]
    for kind in (NeuronRule, NeuronCensus)[: 1 + census]:
        found += columns.columns(kind)[1:]  # the unit is there already
    return pa.schema([pa.field(name, of, null, {b"description": about(name).encode()}) for name, of, null in found])


def _check_format(data: Any) -> None:
    given = data.get("format") if isinstance(data, dict) else None
    if given != FORMAT:
        raise InputError(f"a table of rules of format {given!r}: this version reads {FORMAT!r}")
