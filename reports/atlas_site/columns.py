"""What a site needs of an atlas, looked for before anything is written."""

from circuits.atlas.opened import Atlas
from circuits.atlas.tables import COLUMNS
from circuits.errors import InputError

#: of the table of rules; the others' are all of `circuits.atlas.tables.COLUMNS`
RULES = (
    "unit", "status", "source", "rule", "variance_explained", "variance_explained_low", "variance_explained_high",
    "base_rate", "precision", "recall", "f1", "mean_on", "mean_off", "shuffled", "ply", "tree", "other_rule",
    "other_variance_explained", "alternatives", "agreement",
)  # fmt: skip


def check_columns(atlas: Atlas) -> None:
    """Refuse an atlas that lacks a table or a column.

    Raises:
        InputError: with the first that is missing.
    """
    needed = {name: tuple(column.name for column in columns) for name, columns in COLUMNS.items()} | {"rules": RULES}
    for name, columns in needed.items():
        if name not in atlas.rows:
            if name == "rules":
                continue
            raise InputError(
                f"{atlas.store.url}: the atlas has no table {name}: make it again with othello-circuits atlas"
            )
        have = set(atlas.table(name).column_names)
        missing = [column for column in columns if column not in have]
        if missing:
            raise InputError(
                f"{atlas.store.where(name + '.parquet')} has no column {missing[0]}: this version needs it; "
                "make the atlas again with othello-circuits atlas"
            )
    if not atlas.rows["units"]:
        raise InputError(f"{atlas.store.url}: the atlas has no units: nothing to make pages of")
