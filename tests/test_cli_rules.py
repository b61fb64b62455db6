"""``othello-circuits rules`` and what it leaves behind: the table, the page, and the rule on a neuron's page."""

import dataclasses
import json

import pytest
import synthetic_rules
from command_line import refused
from synthetic_record import record_of
from test_model_page import text_of

from circuits.induction import kept
from circuits.induction import run as driver
from circuits.induction.records import Provenance
from circuits.induction.run import Found
from circuits.induction.table import RuleTable
from circuits.rules.text import parse_rule
from reports.checks import check_page
from reports.found_rule import again, found_rule
from reports.model.records import ModelRecord
from reports.neuron import neuron_page
from reports.records import NeuronRecord
from reports.verdicts import build as verdict_build
from reports.verdicts.build import rule_of_neuron


def table_for(model_hash, layers=3, rows=6, census=True, **provenance):
    return synthetic_rules.table(layers, rows, census=census, model=model_hash, **provenance)


@pytest.fixture
def found(monkeypatch):
    """The driver replaced: what it was asked for, and a table that it gives back."""
    asked = {}

    def find_rules(model, games, **given):
        asked.update(given, model=model, games=games)
        layers = given.get("layers") or range(model.shape.n_layers)
        table = table_for(model.hash, games=len(games))
        rows = [row for row in table if int(row.unit[1]) in layers]
        own = RuleTable.of(table.provenance, rows, [table.counted(row.unit) for row in rows])
        return Found(own, (), synthetic_rules.counts(3, 6), None, ())

    monkeypatch.setattr(driver, "find_rules", find_rules)
    return asked


@pytest.fixture
def model(tiny_files):
    return ("--model", str(tiny_files["model"]), "--probe", str(tiny_files["probe"]))


def test_the_table_the_page_and_json_say_the_same(run, model, found, tmp_path):
    out = tmp_path / "found"
    result = run("rules", "--out", str(out), *model, "--games", "7", "--seed", "3", "--resamples", "2", "--json")
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)
    tables = [RuleTable.load(out / f"rules.{ending}") for ending in ("parquet", "json")]
    assert tables[0] == tables[1] and [str(out / "rules.parquet"), str(out / "rules.json")] == printed["tables"]
    assert Provenance.from_dict(printed["provenance"]) == tables[0].provenance
    record = ModelRecord.from_json((out / "model.json").read_text())
    assert [x.to_dict() for x in record.layers] == printed["layers"]
    assert record.origin.command.startswith("othello-circuits rules --out") and "--json" not in record.origin.command
    names: dict = {}
    exec(record.origin.python, names)  # the driver is replaced here as well
    again = names["report"].record
    assert again.layers == record.layers and found["seed"] == 3 and found["resamples"] == 2
    page = (out / "model.html").read_text()
    assert 'href="rules.parquet"' in page and printed["page"] == str(out / "model.html")
    assert found["games"].source == "random, kept for rules, seed 3, 7 games" and found["resamples"] == 2
    assert set(found["readers"]) >= {f"blocks.{layer}.hook_resid_post" for layer in range(3)}
    assert found["folder"] == out / "layers" and found["replace_neurons"] is True


def test_only_a_whole_models_table_is_kept_for_other_pages(run, model, found, tmp_path):
    cache = tmp_path / "kept"
    options = (*model, "--games", "7", "--cache", str(cache), "--no-replaced")
    part = run("rules", "--out", str(tmp_path / "part"), *options, "--layers", "0,2")
    assert part.returncode == 0 and not cache.exists() and found["layers"] == (0, 2)
    assert "12 neurons of L0, L2" in part.stdout and "layer  neurons" in part.stdout
    assert found["replace_neurons"] is False and "not kept for neuron pages: not all layers" in part.stdout
    record = ModelRecord.from_json((tmp_path / "part" / "model.json").read_text())
    assert ", replace_neurons=False)" in record.origin.python
    every = run("rules", "--out", str(tmp_path / "all"), *options)
    assert every.returncode == 0
    path = kept.path_in(cache, found["model"].hash)
    assert f"kept for neuron pages: {path}" in every.stdout
    kept.keep(table_for(found["model"].hash, games=8), cache)
    more = run("rules", "--out", str(tmp_path / "all"), *options)
    assert f"a better table (more games, resamples or depth) is there: {path}" in more.stdout
    assert len(kept.table_of(found["model"].hash, cache)) == 18


def test_a_model_without_probes_is_told_what_is_left_out(run, tiny_files, found, tmp_path):
    result = run("rules", "--out", str(tmp_path / "o"), "--model", str(tiny_files["model"]), "--games", "7")
    assert result.returncode == 0 and found["readers"] is None
    assert "what neurons write to the checkpoint is left out" in result.stderr


def test_the_trial_is_on_the_page(run, model, found, tmp_path):
    path = tmp_path / "trial.json"
    path.write_text(synthetic_rules.trial().to_json())
    result = run("rules", "--out", str(tmp_path / "o"), *model, "--games", "7", "--trial", str(path))
    assert result.returncode == 0, result.stderr
    assert "360 rules were planted" in text_of((tmp_path / "o" / "model.html").read_text())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--layers", "2-"), "--layers 2-"),
        (("--layers", "7"), "layer 7: model tiny has layers 0..2"),
        (("--depth", "0"), "trees of depth 0"),
        (("--games", "0"), "--games 0"),
        (("--games", "30"), "too few games to hold out"),
        (("--trial", "nothing.json"), "--trial nothing.json: no readable file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(run, model, tmp_path, arguments, words):
    assert words in refused(run("rules", "--out", str(tmp_path / "o"), *model, "--games", "40", *arguments))
    assert not (tmp_path / "o").exists()


def test_out_is_a_folder(run, model, tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file; a folder is written here" in refused(run("rules", "--out", str(tmp_path / "file"), *model))
    assert "--out" in refused(run("rules", *model))


# ---- on a neuron's page --------------------------------------------------------------------------------------


def test_the_rule_of_a_neuron_is_the_tables(bench, monkeypatch):
    own = dataclasses.replace(bench)  # with nothing computed yet
    for name in ("ground", "games"):
        if name in bench.__dict__:
            own.__dict__[name] = bench.__dict__[name]
    table = table_for(bench.model.hash, games_source="random, kept for rules, seed 0, 2000 games")
    own.__dict__["rules"] = table
    rule, source = rule_of_neuron(own, bench.unit("L1N0"))
    assert str(rule) == table["L1N0"].rule.rule and source == "from the table of rules, found on 1,200 other games"
    monkeypatch.setattr(verdict_build, "best_rule", lambda *_: parse_rule("C0 empty"))
    dead = next(row.unit for row in table if row.status == "dead")
    assert rule_of_neuron(own, bench.unit(dead))[0] is None
    # Rules found on the games that verdicts are measured on are looked for again.
    own.__dict__["rules"] = table_for(bench.model.hash, fingerprint=bench.games.fingerprint)
    assert rule_of_neuron(own, bench.unit("L1N0"))[1] == "found on the training games"
    own.__dict__["rules"] = table_for(bench.model.hash, layers=1)
    assert rule_of_neuron(own, bench.unit("L1N0"))[1] == "found on the training games"


def test_a_workbench_has_the_table_that_was_kept(bench, tmp_path, capsys):
    own = dataclasses.replace(bench, cache=tmp_path)
    assert own.rules is None
    table = table_for(bench.model.hash)
    kept.keep(table, tmp_path)
    assert dataclasses.replace(bench, cache=tmp_path).rules == table
    kept.path_in(tmp_path, bench.model.hash).write_text("nothing")
    assert dataclasses.replace(bench, cache=tmp_path).rules is None
    assert "damaged" in capsys.readouterr().err


def test_a_neurons_page_says_what_the_table_says(tmp_path):
    table = table_for("b29b2d44eed5dea3", layers=6, rows=14)
    record = dataclasses.replace(record_of("match"), found=found_rule(table, "L5N12"))
    row, census = table["L5N12"], table.counted("L5N12")
    html = neuron_page(record, links={census.partners[0].unit: "partner.html"})
    said = text_of(html)
    assert row.rule.rule in said and "Rule in the model’s table" in said and 'href="#found"' in html
    assert "found on 1,200 games, chosen on 300, measured on 500 others" in said
    assert all(rule in said for rule in row.alternatives)
    assert f'data-path="found.row.rule.f1" data-v="{row.rule.f1:.4g}"' in html
    assert "C0 mine +0.80" in said
    check_page(html, record)
    assert NeuronRecord.from_json(record.to_json()) == record
    alone = dataclasses.replace(record.found, row=dataclasses.replace(row, alternatives=(), unseen=120))
    assert "none of the drops and exchanges of one fact tried comes within 2 standard errors" in again(alone)
    assert "at fewer than 120 training and tuning positions would not have shown" in again(alone)
    assert found_rule(table, "L5N99") is None and found_rule(None, "L5N12") is None
    assert 'id="found"' not in neuron_page(record_of("match"))


@pytest.mark.parametrize("status", ["explained", "partly", "clock", "unexplained", "dead"])
def test_every_kind_of_row_has_a_section(status):
    table = table_for("b29b2d44eed5dea3", layers=6, rows=14)
    row = next(row for row in table.layer(5) if row.status == status)
    more = {"alternatives": ("A0 mine",), "refined": ("A0 mine & A1 mine",) if row.rule else ()}
    found = dataclasses.replace(found_rule(table, row.unit), row=dataclasses.replace(row, **more))
    said = text_of(neuron_page(dataclasses.replace(record_of("match"), found=found)))
    assert ("Longer rules" in said) == (row.rule is not None)
    assert "None" not in said.partition("Rule in the model’s table")[2].partition("Neighbours")[0]
    assert ("A0 mine" in said) == (row.rule is not None)
    assert ("which may be the neuron’s as well" in said) == (row.rule is not None)
