"""An atlas's tables: Parquet files, each saying what its columns hold, what it was made of and on how many games.

    units      a row a neuron and a row a head           squares    a row a unit and square
    rules      the table of rules (circuits.induction)   edges      the neurons and heads before each neuron
    patterns   each neuron's best facts                  examples   its highest and lowest positions
    probes     what the board probes read right

The same results give the same bytes. `rules` is there only where rules were found; it is a table of rules like any
other and `RuleTable.load` reads it.
"""

import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from circuits.atlas.edges_table import COLUMNS as EDGES
from circuits.atlas.edges_table import edges_table
from circuits.atlas.facts_tables import (
    EXAMPLES_COLUMNS,
    PATTERNS_COLUMNS,
    PROBES_COLUMNS,
    examples_table,
    patterns_table,
    probes_table,
)
from circuits.atlas.plan import FORMAT
from circuits.atlas.results import Results
from circuits.atlas.squares_table import COLUMNS as SQUARES
from circuits.atlas.squares_table import squares_table
from circuits.atlas.table_columns import METADATA, metadata, to_bytes
from circuits.atlas.units_table import COLUMNS as UNITS
from circuits.atlas.units_table import units_table

#: every table's columns; those of ``rules`` are `circuits.induction.column_words`
COLUMNS = {
    "units": UNITS, "patterns": PATTERNS_COLUMNS, "examples": EXAMPLES_COLUMNS, "edges": EDGES, "squares": SQUARES,
    "probes": PROBES_COLUMNS,
}  # fmt: skip
TABLES = ("units", "rules", "patterns", "examples", "edges", "squares", "probes")


def write_tables(results: Results, put: Callable[[str, bytes], None]) -> dict[str, str]:
    """Make all tables and give each to ``put`` as (file name, bytes).

    Returns:
        the SHA-256 of each, by table's name.

    Raises:
        InputError: inputs that do not belong together (a game among the examples that ``results.games`` has not).
    """
    checksums = {}
    for name, made in tables(results):
        data = to_bytes(made)
        put(file_of(name), data)
        checksums[name] = sha256(data).hexdigest()
    return checksums


def file_of(name: str) -> str:
    """A table's file."""
    return f"{name}.parquet"


def tables(results: Results) -> Iterator[tuple[str, pa.Table]]:
    """Each table by name, one at a time, in the order of `TABLES`."""
    about = {
        "format": FORMAT, "provenance": results.provenance, "measured": measured(results),
        # The root mean square cosine of a random vector with any direction; the processed stream has no mean.
        "chance_cosine": (results.model.shape.d_model - 1) ** -0.5,
    }  # fmt: skip
    makers = {
        "units": units_table, "patterns": patterns_table, "examples": examples_table, "edges": edges_table,
        "squares": squares_table, "probes": probes_table, "rules": _rules,
    }  # fmt: skip
    for name in TABLES:
        if name != "rules" or results.rules is not None:
            yield name, makers[name](results, about | {"table": name})


def _rules(results: Results, about: dict[str, Any]) -> pa.Table:
    """The rules of the units that get rows, under the metadata that a table of rules has, with the atlas's beside."""
    whole = results.rules.to_arrow()
    chosen = {f"L{layer}N{index}" for layer in results.layers for index in results.neurons(layer)}
    own = whole.filter(pc.is_in(whole["unit"], pa.array(sorted(chosen), pa.string())))
    data = metadata(whole.schema) | {"table": "rules", "atlas": about}
    return own.replace_schema_metadata({METADATA: json.dumps(data, allow_nan=False, sort_keys=True).encode()})


def measured(results: Results) -> dict[str, str]:
    """On what each stage's figures were measured, in words."""
    mining = results.streamed.mining
    plies = f"plies {mining.first_ply}–{mining.last_ply}"
    found = {"pass": f"{mining.games:,} games, {mining.positions:,} positions, {plies}"}
    scores = (own for layer in results.layers for own in results.patterns.get(layer, ()) if own and own.scores)
    if (first := next(scores, None)) is not None:
        games = results.provenance.get("sample_held_out")
        found["patterns"] = (
            f"{sum(first.scores[0].held_out):,} positions of {f'{games:,} ' if games else ''}held-out games, {plies}"
        )
    if results.rules is not None:
        own = results.rules.provenance
        found["rules"] = (
            f"{own.held_out_games:,} held-out games, {own.held_out_positions:,} positions, "
            f"plies {own.first_ply}–{own.last_ply}"
        )
    if results.profiles is not None:
        heads = results.profiles.attention
        found["heads"] = f"{heads.games:,} held-out games, {heads.positions:,} positions, {plies}"
    if results.ablations is not None:
        found["ablations"] = f"{results.ablations.positions:,} positions, one a game"
    return found
