"""The site of an atlas: pages a second, bytes a page, and how soon the list of all units answers in a browser.

    python benchmarks/bench_site.py [--atlas FOLDER] [--pages 1024] [--repeats 7] [--out FOLDER]

Without an atlas, one of 16,384 neurons and 64 heads is made from the tests' small one: the rows of its neurons again
and again, under new names, the means by square with noise so that no two are alike. Its figures mean nothing,
its pages have every part.

build       the whole site by two processes, and some chunks of pages by one; by the clock and by processor time
bytes       of a unit's page as it is and gzipped (level 6): every file is read; beside OthelloScope's page of a neuron
ready       units.html from disk in a fresh browser context: navigation begins -> the first letter typed is answered
            and laid out, in the page's own clock
keystroke   a letter more in the search -> its answer laid out, over all units
"""

import argparse
import gzip
import json
import re
import shutil
import statistics
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from circuits.atlas.opened import Atlas
from circuits.atlas.table_columns import to_bytes
from reports.atlas_site.build import _Maker, build_site
from reports.atlas_site.lists import CHUNK
from reports.atlas_site.sheets import Sheets

LAYERS, NEURONS, HEADS = 8, 2048, 8
#: a neuron's page of OthelloScope, bytes: as it is known, not measured here
OTHELLOSCOPE = 175_000
GOALS = "goals: 100 pages/s by two processes, 120 KB and 25 KB gzipped on average, 100 ms a keystroke"
QUERIES = ("c0 mine", "legal d2", "l3n20", "empty & ", "zzz")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
_ANSWERED = """(() => { const poll = () => {
  const finder = document.querySelector('.finder');
  if (!finder || finder.hidden) return setTimeout(poll, 1);
  const q = document.getElementById('q');
  q.value = 'c'; q.dispatchEvent(new Event('input'));
  requestAnimationFrame(() => setTimeout(() => { document.documentElement.dataset.answered = performance.now(); }));
}; poll(); })()"""
_TYPED = """texts => texts.map(text => { const q = document.getElementById('q'), start = performance.now();
  q.value = text; q.dispatchEvent(new Event('input')); document.body.offsetHeight;
  return performance.now() - start; })"""


def enlarged(small: Path, folder: Path) -> Path:
    """An atlas of a whole model from one of a few units: rows of its scored neurons and its heads, under new names."""
    tables = {path.stem: pq.read_table(path) for path in small.glob("*.parquet")}
    scored = set(tables["patterns"]["unit"].to_pylist())
    own = [n for n in tables["units"]["unit"].to_pylist() if n in scored or "H" in n]
    depth = 1 + max(_place(n)[0] for n in own)
    made: list[tuple[str, str]] = []  # (new name, the unit that it copies)
    for kind, count in (("N", NEURONS), ("H", HEADS)):
        for layer in range(LAYERS):
            # Neurons of the first layer have no neurons before them, all others have.
            source = 0 if layer == 0 else 1 + (layer - 1) % (depth - 1)
            names = [n for n in own if n.startswith(f"L{source}{kind}")]
            made += [(f"L{layer}{kind}{i}", names[i % len(names)]) for i in range(count)]
    folder.mkdir(parents=True)
    sums = {}
    for name, table in tables.items():
        data = to_bytes(_multiplied(name, table, made))
        (folder / f"{name}.parquet").write_bytes(data)
        sums[name] = {"file": f"{name}.parquet", "sha256": sha256(data).hexdigest()}
    manifest = json.loads((small / "atlas.json").read_text())
    (folder / "atlas.json").write_text(json.dumps(manifest | {"tables": sums}))
    return folder


def _multiplied(name: str, table: pa.Table, made: list[tuple[str, str]]) -> pa.Table:
    key = "receiver" if name == "edges" else "unit"
    if key not in table.column_names:
        return table
    rows: dict[str, list[int]] = {}
    for i, unit in enumerate(table[key].to_pylist()):
        rows.setdefault(unit, []).append(i)
    at = [(new, i) for new, old in made for i in rows.get(old, ())]
    taken = table.take(pa.array([i for _, i in at]))
    names = [new for new, _ in at]

    def put(column: str, values: list | np.ndarray) -> None:
        nonlocal taken
        place = taken.schema.get_field_index(column)
        array = pa.array(values, taken.schema.field(place).type, from_pandas=True)
        taken = taken.set_column(place, taken.schema.field(place), array)

    put(key, names)
    for column, values in zip(("layer", "index"), zip(*map(_place, names), strict=True), strict=True):
        if column in taken.column_names:
            put(column, values)
    if name == "squares":
        mine, theirs, n_mine, n_theirs = (
            taken[column].to_numpy().astype(float)
            for column in ("mean_mine", "mean_theirs", "positions_mine", "positions_theirs")
        )
        # What mine gains theirs loses, so that the mean over all positions stays what it is.
        more = 0.05 * np.abs(mine) * np.random.default_rng(0).standard_normal(len(mine))
        more = np.where(np.isfinite(mine) & np.isfinite(theirs) & (n_theirs > 0), more, 0)
        put("mean_mine", mine + more)
        put("mean_theirs", theirs - more * n_mine / np.maximum(n_theirs, 1))
    if name == "edges":
        old = zip(table["sender"].to_pylist(), table["receiver"].to_pylist(), strict=True)
        apart = [(_place(sender)[0] - _place(receiver)[0], _place(sender)[1] - _place(receiver)[1], "H" in sender)
                 for sender, receiver in old]  # fmt: skip
        renamed = []
        for new, (_, i) in zip(names, at, strict=True):
            # As many layers before its receiver as it was, and as far along in its layer.
            layer, index = _place(new)
            layers, places, head = apart[i]
            kind, units = ("H", HEADS) if head else ("N", NEURONS)
            renamed.append(f"L{max(0, layer + layers)}{kind}{(index + places) % units}")
        put("sender", renamed)
    return taken


def _place(unit: str) -> tuple[int, int]:
    layer, index = re.split("[NH]", unit[1:])
    return int(layer), int(index)


def by_one(atlas: Path, folder: Path, pages: int) -> tuple[float, float]:
    """Pages a second and a second of processor time, of chunks from all over the atlas, by this process."""
    opened = Atlas.open(atlas)
    maker = _Maker(opened, Sheets(opened), atlas.name)
    first = range(0, len(maker.sheets) - CHUNK + 1, CHUNK)
    chosen = first[:: max(1, len(first) // max(1, pages // CHUNK))]
    maker.units(folder, range(CHUNK))  # what is made once
    begun, busy = time.perf_counter(), 0.0
    for i in chosen:
        busy += maker.units(folder, range(i, i + CHUNK))[3]
    n = CHUNK * len(chosen)
    return n / (time.perf_counter() - begun), n / busy


def in_browser(site: Path, repeats: int) -> None:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        print("ready: no Chromium on this machine, not measured")
        return
    from playwright.sync_api import sync_playwright

    url = (site / "units.html").as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=FLAGS)
        ready, typed = [], []
        for _ in range(repeats):
            context = browser.new_context()
            page = context.new_page()
            page.add_init_script(_ANSWERED)
            page.goto(url)
            ready.append(float(page.locator("html[data-answered]").get_attribute("data-answered")))
            letters = [text[: i + 1] for text in QUERIES for i in range(len(text))] + [""]
            typed += page.evaluate(_TYPED, letters)
            context.close()
        browser.close()
    print(f"ready: {statistics.median(ready):.0f} ms, at worst {max(ready):.0f} ms of {repeats} times")
    print(f"keystroke: {statistics.median(typed):.1f} ms, at worst {max(typed):.0f} ms of {len(typed)}")


def main(atlas: Path | None, pages: int, repeats: int, out: Path) -> None:
    if atlas is None:
        sys.path.append(str(Path(__file__).parents[1] / "tests"))
        import synthetic_atlas

        atlas = enlarged(synthetic_atlas.write(out / "small"), out / "atlas")
    rate, own = by_one(atlas, out / "some", pages)
    print(f"one process: {rate:.0f} pages/s; {own:.0f} a second of processor time", flush=True)
    built = build_site(atlas, out / "site", workers=2)
    both, both_own = built.units / built.unit_seconds, built.units / built.cpu_seconds
    print(f"{built.units:,} units, {built.pages:,} pages, {built.bytes / 1e6:,.0f} MB; {GOALS}")
    print(f"two processes: {both:.0f} pages/s; {both_own:.0f} a second of processor time")
    sizes = [(len(data), len(gzip.compress(data, 6))) for data in (
        path.read_bytes() for path in sorted((out / "site" / "units").iterdir()))]  # fmt: skip
    raw, packed = ([s[i] for s in sizes] for i in (0, 1))
    print(
        f"a unit's page: {statistics.mean(raw) / 1e3:.1f} KB, at most {max(raw) / 1e3:.1f}; gzipped "
        f"{statistics.mean(packed) / 1e3:.1f} KB, at most {max(packed) / 1e3:.1f}; OthelloScope's is "
        f"{OTHELLOSCOPE / statistics.mean(raw):.1f} times as large"
    )
    for name in ("units.js", "squares.js"):
        data = (out / "site" / "assets" / name).read_bytes()
        print(f"{name}: {len(data) / 1e3:,.0f} KB, {len(gzip.compress(data, 6)) / 1e3:,.0f} KB gzipped")
    in_browser(out / "site", repeats)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atlas", type=Path, help="a finished atlas; nothing: one is made")
    parser.add_argument("--pages", type=int, default=1024, help="pages that one process makes")
    parser.add_argument("--repeats", type=int, default=7, help="times that the list is opened")
    parser.add_argument("--out", type=Path, help="an empty folder to keep what is made; nothing: a temporary one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        main(given.atlas, given.pages, given.repeats, given.out or Path(temporary))
