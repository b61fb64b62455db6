"""Where a model's table of rules is kept: the user's cache folder, and for the bundled model the package.

A command that finds the rules of all layers leaves its table in the cache folder under the model's hash, unless a
better one is there: of more games, or of as many with more resamples or deeper trees. `table_of` gives the best. The
package may hold a trial on planted truth too.
"""

from importlib.resources import as_file, files
from pathlib import Path

from circuits.errors import InputError
from circuits.games import Games
from circuits.induction.table import RuleTable
from circuits.trial.records import Trial

BUNDLED = files("circuits") / "assets" / "rules.parquet"
BUNDLED_TRIAL = files("circuits") / "assets" / "trial.json"


def path_in(cache: Path, model_hash: str) -> Path:
    return cache / f"rules-{model_hash}.parquet"


def table_of(model_hash: str, cache: Path | None) -> RuleTable | None:
    """The best table of this very model; None where there is none.

    Raises:
        InputError: the only one there is cannot be read.
    """
    found, damaged = [], None
    if BUNDLED.is_file():
        with as_file(BUNDLED) as path:
            found.append(RuleTable.load(path))
    if cache is not None and path_in(cache, model_hash).is_file():
        try:
            found.append(RuleTable.load(path_in(cache, model_hash)))
        except InputError as error:  # an older version's, perhaps
            damaged = error
    own = [table for table in found if table.provenance.model == model_hash]
    if damaged is not None and not own:
        raise damaged
    return max(own, key=_rank, default=None)


def _rank(table: RuleTable) -> tuple[int, int, int]:
    made = table.provenance
    return made.games, made.resamples, made.depth


def keep(table: RuleTable, cache: Path) -> bool:
    """Leave a table in the cache folder; whether it was written: not in the place of a better one.

    Raises:
        InputError: the folder cannot be written.
    """
    path = path_in(cache, table.provenance.model)
    try:
        if path.is_file() and _rank(RuleTable.load(path)) > _rank(table):
            return False
    except InputError:  # damaged: a new one takes its place
        pass
    table.save(path)
    return True


def shares_games(table: RuleTable, games: Games) -> bool:
    """Whether the table may have been made on some of these games: the same set, or random ones of the same seed."""
    source = table.provenance.games_source
    alike = source.startswith("random, seed ") and source.split(",")[:2] == games.source.split(",")[:2]
    return alike or table.provenance.fingerprint == games.fingerprint


def trial_of(model_hash: str) -> Trial | None:
    """The trial on planted truth that is bundled, if it was made on this very model."""
    if not BUNDLED_TRIAL.is_file():
        return None
    found = Trial.from_json(BUNDLED_TRIAL.read_text(encoding="utf-8"))
    return found if found.model_hash == model_hash else None
