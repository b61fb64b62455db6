"""All of a site: `build_site` writes it, by this process or several, and reads some of it back.

from reports.atlas_site.build import build_site
print(build_site("atlas", "site"))
"""

import gzip
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from joblib import Parallel, delayed

from circuits.atlas.opened import Atlas
from circuits.errors import InputError
from circuits.files import write_whole
from circuits.notation import LABELS
from circuits.serial import Record
from reports.atlas_site import lists, pages, panels
from reports.atlas_site.alike import Alike
from reports.atlas_site.check import check_site, sampled
from reports.atlas_site.plays import Plays, plays
from reports.atlas_site.positions import positions, shown
from reports.atlas_site.recompute import Again, check_again, inputs_of
from reports.atlas_site.sheets import Sheets
from reports.atlas_site.squares import Square
from reports.atlas_site.unit_page import UnitPages
from reports.atlas_site.unit_words import headline
from reports.neuron import environment as page_environment

MARK = "site.json"
FOLDERS = ("units", "squares", "layers", "boards", "assets")
#: every so many-th page is compressed, to say how large pages are on the way
WEIGHED = 16
#: pages that are read back
CHECKED = 40


@dataclass(frozen=True)
class Built(Record):
    """What was built.

    Attributes:
        units, pages: of units; of all kinds.
        seconds: in all; unit_seconds: for the pages of units and the boards that are compared, as a clock has it;
            cpu_seconds: the processor time of these, of all processes.
        bytes: of all files; page_bytes, page_gzip: of a unit's page, mean.
        cells: of pages that were read back and compared with the tables.
        recomputed: cells of the same pages computed again from the model and the games in the atlas's folder, and on
            how many ``games``; 0 where only the tables are there.
    """

    folder: str
    units: int
    pages: int
    workers: int
    seconds: float
    unit_seconds: float
    cpu_seconds: float
    bytes: int
    page_bytes: float
    page_gzip: float
    cells: int
    recomputed: int
    games: int

    def __str__(self) -> str:
        rate, own = (self.units / max(seconds, 1e-9) for seconds in (self.unit_seconds, self.cpu_seconds))
        again = (
            f"computed again from the model and {self.games:,} games: {self.recomputed:,}"
            if self.recomputed
            else "nothing computed again, since the atlas's folder holds tables alone, no model and no games"
        )
        return (
            f"{self.pages:,} pages of {self.units:,} units in {self.folder}, {self.bytes / 1e6:,.1f} MB, in "
            f"{self.seconds:,.0f} s\n"
            f"a unit's page: {self.page_bytes / 1e3:.1f} KB, {self.page_gzip / 1e3:.1f} KB gzipped, on average; "
            f"{rate:,.0f} a second with {self.workers} process{'es' * (self.workers != 1)}, {own:,.0f} a second of "
            "processor time\n"
            f"read back and compared with the tables: {self.cells:,} cells; {again}\n"
            f"open {Path(self.folder) / 'index.html'}"
        )


def build_site(
    atlas: str | os.PathLike,
    out: str | os.PathLike,
    *,
    workers: int = 1,
    model_hash: str | None = None,
    checked: int = CHECKED,
    told: Callable[[str], None] = lambda _: None,
) -> Built:
    """Write the site of an atlas into a folder; one that holds an older site is made anew.

    Args:
        atlas: a folder, or a URL that fsspec opens.
        workers: processes; those beyond the first open the atlas again, so a URL in this process's memory takes one.
        model_hash: refuse an atlas of another model.
        checked: pages that are read back and compared with the tables.
        told: called with a line at each stage.

    Raises:
        InputError: no atlas, a damaged one, a missing column; ``out`` is no folder, or holds other things.
        reports.checks.PageError: a page that does not say what the tables do, or not what the model and the games give.
    """
    started = time.perf_counter()
    url, folder = os.fspath(atlas), Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is no folder: the site is written into one; give another --out")
    opened = Atlas.open(url, model_hash)
    sheets, worker = Sheets(opened), inputs_of(opened)
    _cleared(folder)
    told(f"pages of {len(sheets):,} units")
    name = Path(url.rstrip("/")).name
    jobs = [range(i, min(i + lists.CHUNK, len(sheets))) for i in range(0, len(sheets), lists.CHUNK)]
    if workers == 1:
        maker = _Maker(opened, sheets, name)
        begun = time.perf_counter()
        done = [maker.units(folder, own) for own in jobs]
        unit_seconds = time.perf_counter() - begun
        answers = [maker.square(folder, s) for s in range(64)]
    else:
        begun = time.perf_counter()
        with Parallel(n_jobs=workers, pre_dispatch="all", batch_size=1) as run:
            done = run(delayed(_units)(url, name, folder, own) for own in jobs)
            unit_seconds = time.perf_counter() - begun
            told("squares")
            answers = run(delayed(_square)(url, name, folder, s) for s in range(64))
    told("lists, and how the model plays")
    brief = {LABELS[s]: own for s, (_, own) in enumerate(answers)}
    more = _rest(folder, sheets, name, brief, None if worker is None else plays(worker))
    total = sum(d[0] + d[1] for d in done) + sum(size for size, _ in answers) + sum(more.values())
    told("reading pages back")
    names = sampled(opened, checked)
    cells = check_site(sheets, folder, names)
    told("computing cells again")
    again = Again(0, 0, 0) if worker is None else check_again(opened, worker, folder, names)
    weighed = [w for d in done for w in d[2]]
    built = Built(
        str(folder), len(sheets), len(sheets) + len(answers) + sum(path.endswith(".html") for path in more), workers,
        time.perf_counter() - started, unit_seconds, sum(d[3] for d in done), total,
        sum(d[0] for d in done) / len(sheets), sum(weighed) / len(weighed), cells, again.cells, again.games,
    )  # fmt: skip
    _write(folder / MARK, json.dumps({"site of": opened.key, "model": opened.model_hash, "units": len(sheets)}) + "\n")
    return built


def _cleared(folder: Path) -> None:
    """Take an older site away; refuse a folder of other things."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / MARK).is_file():
        raise InputError(f"{folder} holds other things and no site: give an empty or a new folder as --out")
    try:
        (folder / MARK).unlink()
        for name in FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}; give another --out") from None
    # What is unfinished is a site too: it may be made anew.
    _write(folder / MARK, json.dumps({"site of": None}) + "\n")


class _Maker:
    """What one process needs to make pages."""

    def __init__(self, atlas: Atlas, sheets: Sheets, name: str):
        self.atlas, self.sheets, self.name = atlas, sheets, name
        self.alike, self.pages = Alike(sheets), UnitPages(sheets, name)

    def units(self, folder: Path, rows: Sequence[int]) -> tuple[int, int, list[int], float]:
        """Write a chunk: bytes of its pages, of its boards, of some pages compressed, and processor time."""
        sheets, begun = self.sheets, time.process_time()
        own = [sheets.sheet(i) for i in rows]
        examples = [shown(sheet.examples) for sheet in own]
        drawn = iter(positions([example for listed in examples for example in listed]))
        near, size, weighed, compared = self.alike.of(rows), 0, [], []
        for i, sheet, alike, listed in zip(rows, own, near, examples, strict=True):
            columns = panels.columns(sheet, sheets.rise[i])
            page = self.pages.page(i, sheet, columns, alike, [next(drawn) for _ in listed]).encode()
            _write(folder / "units" / f"{sheet.unit}.html", page)
            size += len(page)
            if i % WEIGHED == 0:
                weighed.append(len(gzip.compress(page, 6)))
            compared.append((sheet, columns, headline(sheet, sheets.rule(i))))
        number = rows[0] // lists.CHUNK
        boards = lists.boards_script(number, compared).encode()
        _write(folder / "boards" / f"{number}.js", boards)
        return size, len(boards), weighed, time.process_time() - begun

    def square(self, folder: Path, square: int) -> tuple[int, dict[str, list]]:
        """Write a square's page: its bytes, and what scripts say of it."""
        answers = Square(self.atlas, square)
        page = pages.square(self.sheets, self.name, answers).encode()
        _write(folder / "squares" / f"{LABELS[square]}.html", page)
        return len(page), answers.brief()


@lru_cache(maxsize=1)
def _once(url: str, name: str) -> _Maker:
    opened = Atlas.open(url)
    return _Maker(opened, Sheets(opened), name)


def _units(url: str, name: str, folder: Path, rows: Sequence[int]) -> tuple[int, int, list[int], float]:
    return _once(url, name).units(folder, rows)


def _square(url: str, name: str, folder: Path, square: int) -> tuple[int, dict[str, list]]:
    return _once(url, name).square(folder, square)


def _rest(
    folder: Path, sheets: Sheets, name: str, brief: dict[str, dict[str, list]], play: Plays | None
) -> dict[str, int]:
    """Write everything that there is one of; bytes by path."""
    made = {
        "index.html": pages.home(sheets, name, play), "units.html": pages.units(sheets, name),
        "compare.html": pages.compare(sheets, name), "squares/index.html": pages.squares(sheets, name),
        "assets/units.js": lists.units_script(sheets), "assets/squares.js": lists.squares_script(brief),
        "assets/site.css": str(page_environment().globals["css"]) + _asset("site.css"),
    }  # fmt: skip
    made |= {f"layers/L{layer}.html": page for layer, page in pages.layers(sheets, name)}
    made |= {f"assets/{script}": _asset(script) for script in ("site.js", "map.js", "list.js", "compare.js")}
    for path, text in made.items():
        _write(folder / path, text)
    return {path: len(text.encode()) for path, text in made.items()}


def _asset(name: str) -> str:
    return files("reports.atlas_site").joinpath("assets", name).read_text(encoding="utf-8")


def _write(path: Path, data: str | bytes) -> None:
    with write_whole(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)
