"""Cells of a site computed again from the model and the games in the atlas: right ones pass, wrong ones do not."""

import json
import shutil
from hashlib import sha256

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from atlas_case import GAMES, case

from circuits.atlas.drivers import Local
from circuits.atlas.opened import Atlas
from circuits.atlas.run import make_atlas
from circuits.atlas.store import Store
from circuits.atlas.work import PLAN
from circuits.errors import InputError
from reports.atlas_site.build import _Maker, build_site
from reports.atlas_site.plays import plays
from reports.atlas_site.recompute import check_again, inputs_of
from reports.atlas_site.sheets import Sheets
from reports.checks import PageError

NEURON, OTHER, HEAD = "L1N7", "L1N20", "L1H2"


@pytest.fixture(scope="module")
def made(tmp_path_factory, narrow_files):
    place = tmp_path_factory.mktemp("atlas") / "tiny"
    plan, inputs = case(narrow_files["model"], narrow_files["probe"], ablated=4, sample_games=20)
    make_atlas(plan, inputs, Store(str(place)), Local(1), layers=(1,), progress=False)
    site = tmp_path_factory.mktemp("site") / "site"
    return place, site, build_site(place, site, checked=4)


def changed(made, to, name: str, column: str, unit: str, change) -> Atlas:
    """A copy of the atlas in which a column of one unit is changed, with checksums that fit."""
    shutil.copytree(made[0], to)
    table = pq.read_table(to / f"{name}.parquet")
    mine = pc.equal(table["unit"], unit)
    values = [change(v, table, i) if here else v for i, (v, here) in enumerate(
        zip(table[column].to_pylist(), mine.to_pylist(), strict=True))]  # fmt: skip
    field = table.schema.field(column)
    table = table.set_column(table.schema.get_field_index(column), field, pa.array(values, field.type))
    pq.write_table(table, to / f"{name}.parquet")
    manifest = json.loads((to / "atlas.json").read_text())
    manifest["tables"][name]["sha256"] = sha256((to / f"{name}.parquet").read_bytes()).hexdigest()
    (to / "atlas.json").write_text(json.dumps(manifest))
    return Atlas.open(to)


def drawn(atlas: Atlas, to, *names: str):
    """The pages of some units alone."""
    sheets = Sheets(atlas)
    _Maker(atlas, sheets, "atlas").units(to, [sheets.row[name] for name in names])
    return to


def again(atlas: Atlas, site, *names: str, games: int = GAMES):
    return check_again(atlas, inputs_of(atlas), site, names, games)


def test_what_is_right_passes(made):
    place, site, built = made
    assert built.recomputed > 1000 and built.games == GAMES
    atlas = Atlas.open(place)
    whole = again(atlas, site, NEURON, HEAD)
    # reads, writes, logits, three states of 64 squares, four positions; of the head two separations; adds of both
    assert whole.cells > 4 * 60 + 60 + 3 * 50 + 4 + 2 * 60 + 2 * 2 * 40
    assert again(atlas, site, NEURON, OTHER, games=60).games == 60


@pytest.mark.parametrize(
    ("name", "column", "unit", "change"),
    [
        ("squares", "reads_mine", NEURON, lambda v, *_: -v),
        ("squares", "writes_empty", NEURON, lambda v, *_: None if v is None else v + 0.02),
        ("squares", "logit", NEURON, lambda v, *_: None if v is None else v * 1.1),
        ("squares", "mean_mine", NEURON, lambda v, *_: None if v is None else v + 0.05),
        ("squares", "mean_empty", NEURON, lambda v, t, i: t["mean_theirs"][i].as_py()),
        ("squares", "separation_mine", HEAD, lambda v, *_: -v),
        ("squares", "adds_legal", NEURON, lambda v, *_: None if v is None else v + 0.01),
        ("squares", "adds_illegal", HEAD, lambda v, *_: None if v is None else v * 1.1),
        ("squares", "gap", NEURON, lambda v, *_: None if v is None else v + 0.01),
        ("examples", "activation", NEURON, lambda v, *_: v * 1.05),
    ],
)
def test_a_corrupted_artefact_is_found_though_its_checksum_fits(made, tmp_path, name, column, unit, change):
    atlas = changed(made, tmp_path / "atlas", name, column, unit, change)
    site = drawn(atlas, tmp_path / "site", unit)
    with pytest.raises(PageError, match=f"{unit}.html"):
        again(atlas, site, unit)


def test_on_some_of_the_games_the_means_of_another_neuron_are_found(made, tmp_path):
    place, site, _ = made
    (tmp_path / "units").mkdir()
    page = (site / "units" / f"{OTHER}.html").read_text().replace(OTHER, NEURON)
    (tmp_path / "units" / f"{NEURON}.html").write_text(page)
    with pytest.raises(PageError, match=NEURON):
        again(Atlas.open(place), tmp_path, NEURON, games=60)


def test_the_build_refuses_it(made, tmp_path):
    units = pq.read_table(made[0] / "units.parquet")["unit"].to_pylist()
    changed(made, tmp_path / "atlas", "squares", "reads_mine", units[0], lambda v, *_: v + 0.5)
    with pytest.raises(PageError, match=f"{units[0]}.html: reads_mine at A0"):
        build_site(tmp_path / "atlas", tmp_path / "site", checked=len(units))


def test_inputs_of_something_else_are_refused(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "atlas")
    manifest = json.loads((tmp_path / "atlas" / "atlas.json").read_text())
    manifest["provenance"]["fingerprint"] = "0" * 16
    (tmp_path / "atlas" / "atlas.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="its inputs of"):
        build_site(tmp_path / "atlas", tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_tables_alone_have_no_model(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "atlas")
    (tmp_path / "atlas" / PLAN).unlink()
    assert inputs_of(Atlas.open(tmp_path / "atlas")) is None


def test_how_the_model_plays_is_on_the_first_page(made):
    place, site, _ = made
    found, text = plays(inputs_of(Atlas.open(place)), 30), (site / "index.html").read_text()
    assert all(row.number >= 0 for row in found.rows) and "30 games" in found.measured
    assert f"{GAMES} games of the atlas" in text and all(row.name in text for row in found.rows)
