"""The page of a model: its figures are the record's, its counts the table's, and what is missing is said."""

import dataclasses
import json
import re
from html import unescape

import pytest
import synthetic_rules
from test_pages import Outline

from circuits.census import published
from circuits.census.replaced import KINDS
from circuits.induction.records import PARTLY, STATUSES, TREE_EXPLAINED
from circuits.serial import at
from circuits.trial.records import FOUND
from reports.model import census as model_census
from reports.model import charts as model_charts
from reports.model import tables as model_tables
from reports.model import trial as model_trial
from reports.model import words as w
from reports.model.build import best, model_record, tally
from reports.model.page import ModelReport, model_page
from reports.model.records import EDGES, LISTED, ModelRecord
from reports.model.trial_summary import summary
from reports.text import percent

NEURONS = 60


@pytest.fixture(scope="module")
def model():
    return synthetic_rules.shape()


@pytest.fixture(scope="module")
def table():
    return synthetic_rules.table(8, NEURONS)


@pytest.fixture(scope="module")
def record():
    return synthetic_rules.model_record(8, NEURONS)


@pytest.fixture(scope="module")
def html(record):
    return model_page(record)


def text_of(html):
    """What is read, in one line."""
    plain_text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.S)
    return " ".join(unescape(plain_text).replace("\u2060", "").split())


# ---- the record ----------------------------------------------------------------------------------------------


def test_layers_count_the_tables_rows(record, table):
    for x in record.layers:
        rows = table.layer(x.layer)
        assert x.neurons == len(rows) == NEURONS == sum(getattr(x, status) for status in STATUSES)
        assert sum(x.histogram) == NEURONS
        for status in STATUSES:
            assert getattr(x, status) == sum(row.status == status for row in rows)
        assert x.tree == sum(row.tree > TREE_EXPLAINED for row in rows) > x.tree_only
        explained = [row for row in rows if row.status == "explained"]
        assert x.not_told_apart == sum(bool(row.alternatives) for row in explained)
        assert x.variance_explained == pytest.approx(
            sum(row.rule.variance_explained.value for row in explained) / len(explained)
        )
        for low, high, n in zip(EDGES, (*EDGES[1:], 2.0), x.histogram[1:], strict=True):
            values = [row.rule.variance_explained.value for row in rows if row.rule]
            assert n == sum(low <= v < high for v in values)
        own = [row for row in record.best if row.unit.startswith(f"L{x.layer}N")]
        values = [row.rule.variance_explained.value for row in own]
        assert len(own) == min(LISTED, x.explained) and all(row.explained for row in own)
        assert values == sorted(values, reverse=True)


def test_what_the_ply_explains_of_dealt_activations_is_not_the_rules(table):
    row = next(row for row in table if row.explained)
    clock = dataclasses.replace(row, ply=0.6, shuffled=0.6 + PARTLY / 2)
    assert tally(0, [clock]).shuffled == 0
    assert tally(0, [dataclasses.replace(clock, shuffled=0.6 + 2 * PARTLY)]).shuffled == 1
    assert tally(0, [dataclasses.replace(clock, shuffled=None)]).shuffled_of == 0


def test_a_layer_with_nothing_in_it_is_counted():
    dead = synthetic_rules.neuron_rule("L0N0", "dead", None)
    found = tally(0, [dead])
    assert (found.dead, found.explained, found.nothing, found.histogram[0]) == (1, 0, 0, 1)
    assert found.variance_explained is found.literals is found.agreement is found.tree_published is None
    assert best([dead]) == []


def test_the_record_goes_to_json_and_back(record):
    assert ModelRecord.from_json(record.to_json()) == record


def test_the_trial_is_reduced_to_its_rates():
    trial = synthetic_rules.trial()
    found = summary(trial)
    low = [p for p in trial.planted if p.dose is None and p.noise <= 0.5]
    assert (found.alone.recovered.k, found.alone.recovered.n) == (sum(p.outcome in FOUND for p in low), len(low))
    assert sum(sum(c.outcomes.values()) for c in found.cells) == found.planted == len(trial.planted)
    assert {(c.noise, c.dose) for c in found.cells} == {(p.noise, p.dose) for p in trial.planted}
    assert sum(f.recovered.n for f in found.families) == len(low)
    assert found.noise[0].explained.k == 0 and found.clocks[0].clock.k == 30
    for made, kept in zip(trial.headlines, found.asked, strict=True):
        assert (made.what, made.rate, made.met) == (kept.what, kept.rate, kept.met)
    said = model_trial.lead(found)
    missed = [x.what for x in found.asked if x.met is False]
    assert missed and f"not met: {'; '.join(missed)}." in said


# ---- the page ------------------------------------------------------------------------------------------------


def test_every_figure_of_the_page_is_its_records(html, record):
    found = re.findall(r'data-path="([^"]+)" data-v="([^"]+)">([^<]*)<', html)
    assert len(found) > 600
    for path, exact, _ in found:
        assert float(exact) == pytest.approx(at(record, path), rel=1e-3, abs=1e-12), path
    tiles = dict(re.findall(r'data-figure="([^"]+)" data-v="([^"]+)"', html))
    n = sum(x.neurons for x in record.layers)
    assert float(tiles["explained"]) == pytest.approx(sum(x.explained for x in record.layers) / n, rel=1e-3)
    assert float(tiles["trees"]) == pytest.approx(sum(x.tree_published for x in record.layers) / n, rel=1e-3)
    assert float(tiles["trial"]) == pytest.approx(record.trial.alone.recovered.value, rel=1e-3)
    own, whole = record.replaced.of(None, "rules", KINDS[1]), record.replaced.runs[-2]
    assert float(tiles["replaced"]) == pytest.approx(1 - own.kl.value / whole.kl.value, rel=1e-3)


def test_published_figures_stand_beside_ours(record, html):
    rows = model_tables.layers(record).rows
    assert [row[-1] for row in rows[:8]] == [
        f"{100 * n / 2048:.{0 if n >= 205 else 1}f} %" for n in published.TREE_EXPLAINED
    ]
    replaced = model_tables.replaced(record, record.replaced)
    trees = {row[0]: row for row in replaced.rows if row[1] == "trees"}
    column = replaced.head.index("published")
    assert [trees[f"L{i}"][column] for i in (0, 6)] == ["0.0034", "0.143"]
    first = replaced.rows[0]
    assert first[0] == "unchanged" and len(first) == len(replaced.head) and first[-3]["value"] == "99.80 %"
    assert first[-2] == "99.96 %" and trees["L6"][-2] == "98.65 %"
    grown = record.layers[0].tree_published
    assert rows[0][-2]["exact"] == str(grown) and rows[0][-2]["value"] == percent(grown / NEURONS)
    part = dataclasses.replace(record, layers=record.layers[:2])
    assert model_tables.published_trees(part) == pytest.approx((825 + 233) / 4096)
    assert model_tables.layers(part).rows[-2][0] == "L0–L1 together"
    assert model_charts.trees(part)[-1].x == [0.0, 1.0]
    assert model_tables.replaced(part, part.replaced).rows[-1][0] == "L0–L1 together"
    census = model_census.table(record.counts).rows
    (patterns,) = (row for row in census if row[0] == "– published")
    assert patterns[1:9] == tuple(map(str, published.PATTERN_NEURONS))
    drawn = model_charts.trees(record)
    assert [c.kind for c in drawn][-1] == "pub" and drawn[-1].y[5] == pytest.approx(100 * 903 / 2048)
    assert "arXiv 2511.00059" in text_of(html)


def test_a_model_of_another_depth_is_not_drawn_beside_the_published_one():
    small = model_record(synthetic_rules.shape(3), synthetic_rules.table(3, 12), synthetic_rules.replaced(3, 12))
    assert all(c.kind != "pub" for c in model_charts.trees(small) + model_charts.replaced(small, small.replaced))
    assert "published model" not in model_tables.layers(small).head
    assert "Published, of a model of 8 layers" in text_of(model_page(small))


def test_the_bars_are_as_long_as_the_counts(record):
    svg = str(model_charts.statuses(record))
    found = re.findall(r'class="s-(\w+)" x="([\d.]+)" y="(\d+)" width="([\d.]+)".*?<title>L(\d)', svg)
    whole = model_charts.RIGHT - model_charts.LEFT
    for status, _, _, width, layer in found:
        x = record.layers[int(layer)]
        assert float(width) == pytest.approx(whole * getattr(x, status) / x.neurons, abs=0.06)
    assert len(found) == sum(getattr(x, status) > 0 for x in record.layers for status in STATUSES)
    tops = {layer: int(y) for _, _, y, _, layer in found}
    assert [tops[str(i)] for i in range(8)] == sorted(tops.values(), reverse=True)  # upwards, as the layers go


def test_sentences_say_what_the_counts_are(record, html):
    said = text_of(html)
    explained = sum(x.explained for x in record.layers)
    assert f"{explained} of 480 neurons" in w.headline(record) and w.headline(record) in said
    assert f"{480 - explained - sum(x.dead for x in record.layers)} neurons are not explained" in said
    assert "none of" in w.shuffled(record) and w.shuffled(record) in said
    assert "rules found on 1,200, chosen on 300, measured on 500" in said
    assert "of all layers set to what their rules say" in said
    part = dataclasses.replace(record, layers=record.layers[2:5])
    assert "of L2–L4 set to what their rules say" in w.replaced(part, record.replaced)
    assert w.layer_names(part) == "L2–L4" and "neurons of L2–L4 (" in w.headline(part)
    assert w.layer_names(dataclasses.replace(record, layers=record.layers[::3])) == "L0, L3, L6"


def test_a_page_asks_nothing_of_anyone_and_stays_small(html):
    outline = Outline(html)
    assert not outline.all("script") and "http" not in re.sub(r"http-equiv", "", html)
    assert "default-src 'none'" in html
    assert len(html) < 400_000
    links = {a["href"][1:] for a in outline.all("a") if a["href"].startswith("#")}
    assert links <= set(re.findall(r'id="([^"]+)"', html))


def test_what_was_not_done_is_said(model):
    bare = model_record(model, synthetic_rules.table(8, 12, resamples=0))
    assert not {"agreement", "same rule"} & {*model_tables.explained(bare).head, *model_tables.neurons(bare, 0).head}
    said = text_of(model_page(bare))
    for words in (
        "was not run with rules in the place",
        "Nothing else was counted",
        "trial on planted truth is not on",
        "--resamples 2 does that",
    ):
        assert words in said
    assert said.count("None") == 0
    report = ModelReport(bare)
    assert "Neurons of L" in said and repr(report).startswith("Rules in synthetic: ")


def test_files_and_pages_of_neurons_beside_the_page_are_linked(record, table, tmp_path):
    first = record.best[0].unit
    (tmp_path / f"{first}.html").write_text("a page of a neuron")
    table.save(tmp_path / "rules.parquet")
    path = ModelReport(record).write(tmp_path)
    html = path.read_text()
    assert f'href="{first}.html"' in html and 'href="rules.parquet"' in html and 'href="rules.json"' not in html
    assert ModelRecord.from_dict(json.loads((tmp_path / "model.json").read_text())) == record


def test_names_are_text_never_markup(model):
    odd = dataclasses.replace(model_record(model, synthetic_rules.table(2, 8)))
    odd = dataclasses.replace(odd, origin=dataclasses.replace(odd.origin, model_name="<b>x</b>"))
    assert "<b>x</b>" not in model_page(odd) and "&lt;b&gt;x&lt;/b&gt;" in model_page(odd)
