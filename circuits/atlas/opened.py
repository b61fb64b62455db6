"""A finished atlas: its tables, checked when it is opened.

    atlas = Atlas.open("atlas")            # a folder, or what fsspec opens: s3://…, gs://…, memory://…
    atlas.pandas("units").nlargest(20, "kl")
    questions.reads(atlas, "C0", state="mine")

``atlas.json`` lists the tables with their SHA-256; a file that does not fit is refused, since what it says might be
another atlas's.
"""

import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from html import escape
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from circuits.atlas.plan import FORMAT
from circuits.atlas.store import Store
from circuits.atlas.table_columns import metadata, of_bytes
from circuits.errors import InputError

MANIFEST = "atlas.json"
_REPAIR = "run othello-circuits atlas again, it repairs it"


@dataclass(frozen=True, eq=False)
class Atlas:
    """A finished atlas.

    Attributes:
        key: of what it was made of; provenance: that itself.
        rows: of each table, by name.
    """

    store: Store = field(repr=False)
    key: str
    provenance: dict[str, Any] = field(repr=False)
    rows: dict[str, int]
    _files: dict[str, dict[str, Any]] = field(repr=False)
    _about: dict[str, Any] = field(repr=False)
    _read: dict[str, pa.Table] = field(default_factory=dict, repr=False)

    @staticmethod
    def open(path: str | os.PathLike, model_hash: str | None = None) -> "Atlas":
        """Open a folder, or a URL that fsspec knows.

        Args:
            model_hash: refuse an atlas of another model.

        Raises:
            InputError: no atlas there, one of another format, a table that is missing or damaged.
        """
        store = Store(os.fspath(path))
        manifest = _manifest(store)
        files = manifest["tables"]
        found = {name: _checked(store, entry, manifest["key"]) for name, entry in files.items()}
        rows = {name: count for name, (_, count) in found.items()}
        atlas = Atlas(store, manifest["key"], manifest["provenance"], rows, files, found["units"][0])
        if model_hash is not None and atlas.model_hash != model_hash:
            raise InputError(
                f"{store.url} is an atlas of the model {atlas.model_name} ({atlas.model_hash}), not of {model_hash}"
            )
        return atlas

    @property
    def model_hash(self) -> str | None:
        return self.provenance.get("model")

    @property
    def model_name(self) -> str:
        return str(self.provenance.get("model_name") or "unnamed")

    @property
    def measured(self) -> dict[str, str]:
        """On how many games and positions, in words, by stage."""
        return self._about.get("measured", {})

    @property
    def chance_cosine(self) -> float:
        """The root mean square cosine of a random vector with a direction of the stream."""
        return self._about["chance_cosine"]

    def table(self, name: str) -> pa.Table:
        """One table; kept once read. Each column's field says what it holds, under ``description``.

        Raises:
            InputError: no such table; it was damaged since the atlas was opened.
        """
        if name not in self.rows:
            raise InputError(f"this atlas has no table {name!r}: it has {', '.join(self.rows)}")
        if name not in self._read:
            self._read[name] = of_bytes(_bytes(self.store, self._files[name]))
        return self._read[name]

    def pandas(self, name: str) -> Any:
        """One table as a pandas DataFrame.

        Raises:
            InputError: as `table`; pandas is not installed.
        """
        try:
            import pandas  # noqa: F401 - what to_pandas needs
        except ImportError:
            raise InputError("pandas is not installed: pip install pandas, or use Atlas.table") from None
        return self.table(name).to_pandas()

    def columns(self, name: str) -> dict[str, str]:
        """What each column of a table holds."""
        return {f.name: (f.metadata or {}).get(b"description", b"").decode() for f in self.table(name).schema}

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """Layers whose units have rows."""
        return tuple(sorted(self.table("units")["layer"].unique().to_pylist()))

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{escape(n)}</td><td>{count:,}</td></tr>" for n, count in self.rows.items())
        said = escape(self.measured.get("pass", ""))
        return (
            f"<p>Atlas of <b>{escape(self.model_name)}</b>: {said}</p><table><tr><th>table<th>rows</tr>{rows}</table>"
        )


def _manifest(store: Store) -> dict[str, Any]:
    data = store.read(MANIFEST)
    if data is None:
        raise InputError(f"{store.url} holds no finished atlas (no {MANIFEST}): othello-circuits atlas makes one")
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{store.where(MANIFEST)} is damaged: {_REPAIR}")
    if found.get("format") != FORMAT:
        raise InputError(
            f"{store.where(MANIFEST)}: an atlas of format {found.get('format')!r}; this version reads {FORMAT!r}: "
            "make it again with othello-circuits atlas"
        )
    entries = found.get("tables")
    whole = (
        isinstance(found.get("key"), str) and isinstance(found.get("provenance"), dict) and isinstance(entries, dict)
        and "units" in entries and all(
            isinstance(e, dict) and isinstance(e.get("file"), str) and isinstance(e.get("sha256"), str)
            and isinstance(e.get("rows", 0), int) for e in entries.values()
        )
    )  # fmt: skip
    if not whole:
        raise InputError(f"{store.where(MANIFEST)} is damaged: {_REPAIR}")
    return found


def _bytes(store: Store, entry: dict[str, Any]) -> bytes:
    data, where = store.read(entry["file"]), store.where(entry["file"])
    if data is None:
        raise InputError(f"{where} is missing: {_REPAIR}")
    if sha256(data).hexdigest() != entry["sha256"]:
        raise InputError(f"{where} is damaged (its checksum is not that of {MANIFEST}): {_REPAIR}")
    return data


def _checked(store: Store, entry: dict[str, Any], key: str) -> tuple[dict[str, Any], int]:
    """What a table says of itself and its rows, after a look at its checksum and whose it is."""
    where = store.where(entry["file"])
    data = _bytes(store, entry)
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        found, rows = metadata(file.schema_arrow), file.metadata.num_rows
        found = found.get("atlas", found)
        own = found["provenance"]["key"]
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{where} is no table of an atlas: {_REPAIR}") from None
    if own != key or rows != entry.get("rows", rows):
        raise InputError(f"{where} belongs to another atlas than {MANIFEST}: {_REPAIR}")
    return found, rows
