"""Every kind of page against axe: WCAG 2 A and AA and its best practices, light and dark, screen and phone."""

import dataclasses

import numpy as np
import pytest
import synthetic_atlas
import synthetic_rules
from oracles_edges import wired_model, wired_pairs
from synthetic_head import head_of
from synthetic_record import record_of, synthetic_index
from synthetic_verdict import verdict_of
from test_edit_page import GOOD, made
from test_training_page import write_run

from circuits import plain
from circuits.causes import metrics
from circuits.causes.circuit_search import find_circuit
from circuits.causes.patching import sweep
from circuits.notation import CENTRE, Unit
from circuits.verdicts.grades import PARTLY
from reports import boards
from reports.atlas_site import maps
from reports.atlas_site.build import build_site
from reports.edits.benchmark_page import BenchmarkReport
from reports.found_records import FoundRule
from reports.model.page import model_page
from reports.neuron import neuron_page
from reports.patching import pair_sources
from reports.patching.circuit_page import circuit_report
from reports.patching.page import PatchReport
from reports.patching.records import patch_record
from reports.site import head_entry, write_site
from reports.training.page import build as training_page
from reports.verdicts.page import VerdictReport

pytestmark = pytest.mark.browser

#: what axe is asked on a light screen: everything; and in the dark on a phone: what may differ there
ALL = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
LOOKS = ("color-contrast", "target-size", "scrollable-region-focusable", "link-in-text-block", "region")
ON_A_PHONE = {"type": "rule", "values": list(LOOKS)}
#: few enough to be quick: a neuron with a rule, others to stand beside it, heads
UNITS = (*(Unit(layer, "neuron", i) for layer in range(3) for i in range(8)), Unit(2, "head", 1), Unit(2, "head", 2))
ATLAS = ("index.html", "units.html", "units.html#q=mine&square=C2", "units/L1N5.html", "units/L2H1.html",
         "squares/index.html", "squares/C2.html", "layers/L1.html", "compare.html", "compare.html#a=L1N5&b=L1N7",
         "compare.html#a=L2H1&b=L9N9")  # fmt: skip
REPORTS = ("index.html", "L5N12.html", "tested.html", "L5H2.html", "verdict.html", "model.html", "training.html",
           "circuit.html", "patch.html", "edit.html", "edit_benchmark.html", "explain.html",
           "illegal.html")  # fmt: skip


@pytest.fixture(scope="module")
def atlas_site(tmp_path_factory):
    folder = synthetic_atlas.write(tmp_path_factory.mktemp("atlas") / "tiny", units=UNITS)
    site = tmp_path_factory.mktemp("site")
    build_site(folder, site, checked=1)
    return site


@pytest.fixture(scope="module")
def report_site(tmp_path_factory, bench, tiny):
    """One page of every other kind."""
    record, head = record_of("match"), head_of("clear")
    index = dataclasses.replace(synthetic_index([record]), heads=(head_entry(head),))
    folder = write_site(tmp_path_factory.mktemp("reports"), [record, head], index).parent
    found = verdict_of(PARTLY)
    row = synthetic_rules.table(6, 14, census=True)["L5N12"]
    rule = FoundRule(row, synthetic_rules.neuron_census(row, np.random.default_rng(0)), synthetic_rules.PROVENANCE)
    wired, pairs, metric = wired_model(), wired_pairs(16), metrics.logit_difference("C2", "F5")
    circuit = find_circuit(wired, pairs, metric, keep=0.9, open_neurons=3, random_graphs=2)
    small = plain.of(tiny)
    patched = sweep(small, pair_sources.pairs_for("C4 flipped", 6, games=400), metrics.logit("C4"), ("pre", "head"))
    pages = {
        "tested": neuron_page(dataclasses.replace(record, verdict=found, found=rule)),
        "verdict": VerdictReport(found).html,
        "model": model_page(synthetic_rules.model_record()),
        "training": training_page(write_run(tmp_path_factory.mktemp("runs") / "first")).html,
        "circuit": circuit_report(wired, pairs, metric, circuit, command="command", python="line()").html,
        "patch": PatchReport(patch_record(small, patched)).html,
        "edit": bench.edit("E5 D5 C4 F5 E2", ["flip E4"], saliency=["F3"]).html,
        "edit_benchmark": BenchmarkReport(made(GOOD)).html,
        "explain": bench.explain("E5 D5 C4 F5 E2").html,
        "illegal": bench.explain("E5 D5 C4 F5 E2", "H7").html,
    }
    for name, html in pages.items():
        (folder / f"{name}.html").write_text(html, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def axe():
    return pytest.importorskip("axe_playwright_python.sync_playwright").Axe()


@pytest.fixture
def complaints(chromium, axe):
    """A function: what axe finds on a page with everything unfolded, a line for each place."""
    pages = []

    def find(url, planted=""):
        page = chromium.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        pages.append(page)
        page.goto(url)
        page.evaluate("document.querySelectorAll('details').forEach(own => { own.open = true; })")
        if "compare" in url:
            page.wait_for_selector("#beside table, #said:not(:empty)")
        if planted:
            page.evaluate(planted)
        found = axe.run(page, options={"runOnly": ALL, "resultTypes": ["violations"]}).response["violations"]
        page.set_viewport_size({"width": 390, "height": 844})
        page.emulate_media(color_scheme="dark")
        found += axe.run(page, options={"runOnly": ON_A_PHONE, "resultTypes": ["violations"]}).response["violations"]
        return [
            f"{v['id']}: {node['target']} {node['html'][:160]!r} {node.get('failureSummary', '')}"
            for v in found for node in v["nodes"]
        ]  # fmt: skip

    yield find
    for page in pages:
        page.close()


@pytest.mark.parametrize("name", ATLAS)
def test_the_atlas_is_open_to_everyone(complaints, atlas_site, name):
    assert complaints(f"{atlas_site.as_uri()}/{name}") == []


@pytest.mark.parametrize("name", REPORTS)
def test_reports_are_open_to_everyone(complaints, report_site, name):
    assert complaints(f"{report_site.as_uri()}/{name}") == []


@pytest.mark.parametrize(
    ("planted", "rule"),
    [
        ("document.querySelector('svg.board').removeAttribute('aria-label')", "svg-img-alt"),
        ("document.querySelector('figcaption').style.color = '#ccc'", "color-contrast"),
        ("document.querySelector('h2').outerHTML = '<h5>x</h5>'", "heading-order"),
        ("document.querySelector('nav a').textContent = ''", "link-name"),
    ],
)
def test_what_is_planted_is_found(complaints, atlas_site, planted, rule):
    found = complaints(f"{atlas_site.as_uri()}/units/L2H1.html", planted)
    assert {line.split(":")[0] for line in found} == {rule}


@pytest.mark.parametrize("size", [1.0, 0.02, 0.0])
def test_boards_of_the_atlas_are_told_as_all_boards_are(size):
    drawn = np.random.default_rng(1).normal(0, size, (20, 64))
    drawn[:, ::5] *= 1e-4  # zero at the digits that are shown
    drawn[3:6, 4:] = 0.0
    for values in drawn:
        board = tuple(None if s in CENTRE else value for s, value in enumerate(values.tolist()))
        assert maps._extremes(board) == boards.extremes(board)
        assert maps._in_words(board) == boards.in_words(board)
