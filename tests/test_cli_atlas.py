"""``othello-circuits atlas``: what it leaves behind, what it says, what it refuses."""

import json

import pytest
from command_line import refused

from circuits.atlas.opened import Atlas
from circuits.errors import InputError
from circuits.games import generate, save
from circuits.induction.table import RuleTable
from circuits.notation import parse_unit
from probes.atlas import atlas

SMALL = ("--sample-games", "40", "--ablated", "8", "--batch", "20")


@pytest.fixture
def model(narrow_files):
    return ("--model", str(narrow_files["model"]), "--probe", str(narrow_files["probe"]))


def test_a_small_atlas_from_a_file_of_games_with_its_rules(run, model, tmp_path):
    games, out = tmp_path / "games.txt", tmp_path / "atlas"
    save(generate(160, seed=4), games)
    given = ("atlas", "--out", str(out), *model, "--games", str(games), *SMALL, "--workers", "1", "--layers", "1")
    result = run(*given, "--rule-games", "150")
    assert result.returncode == 0, result.stderr
    made = Atlas.open(str(out))
    assert f"atlas of {made.model_name} ({made.model_hash})" in result.stdout
    assert f"othello-circuits query {out} reads C0" in result.stdout
    assert made.provenance["games_source"] == "games.txt" and made.provenance["rule_games"] == 150
    table = RuleTable.load(out / "rules.parquet")
    assert table.layers == (1,) and len(table) == 32 and table.provenance.games == 150
    assert {parse_unit(name).layer for name in made.table("units")["unit"].to_pylist()} == {1}

    again = run(*given, "--rule-games", "150", "--json")
    printed = json.loads(again.stdout)
    assert printed["key"] == made.key and printed["rows"] == made.rows and again.stderr == ""

    games.write_text("\n".join(games.read_text().splitlines()[:-1]) + "\n")
    assert "games 160 there, 159 here" in refused(run(*given, "--rule-games", "150"))


def test_python_does_the_same(narrow_files, tmp_path):
    said: list[str] = []
    made = atlas(
        tmp_path / "a", narrow_files["model"], games=60, units=["L2N3", "L0H1"], sample_games=40, ablated=8,
        rules="none", told=said.append, progress=False,
    )  # fmt: skip
    assert made.rows["units"] == 2 and made.rows["probes"] == 0
    assert said == ["no probes for narrow: what is read and written on the board is left out (--probe gives them)"]
    with pytest.raises(InputError, match="no table of rules of narrow"):
        atlas(tmp_path / "b", narrow_files["model"], games=60, rules="kept", cache=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--games", "0"), "give at least 1 game"),
        (("--games", "nowhere.txt"), "nowhere.txt"),
        (("--layers", "9"), "layer 9: model narrow has layers 0..2"),
        (("--units", "L1N9999"), "L1N9999 is out of range"),
        (("--units", "C0"), "C0"),
        (("--rules", "some"), "rules 'some'"),
        (("--workers", "0"), "0 workers"),
        (("--workers", "2", "--ray", "2"), "--workers and --ray"),
        (("--rules", "kept"), "no table of rules of narrow"),
        (("--ablated", "-1"), "ablated -1"),
    ],
)
def test_bad_input(run, model, tmp_path, arguments, said):
    out = tmp_path / "atlas"
    given = ("--games", "60") if "--games" not in arguments else ()
    answer = refused(
        run("atlas", "--out", str(out), *model, *SMALL, "--cache", str(tmp_path / "c"), *given, *arguments)
    )
    assert said in answer
    assert not (out / "atlas.json").exists()


def test_a_place_that_has_something_else(run, model, tmp_path):
    (tmp_path / "file").write_text("x")
    assert "cannot write" in refused(
        run("atlas", "--out", str(tmp_path / "file" / "a"), *model, "--games", "60", *SMALL)
    )
