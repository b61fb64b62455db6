"""The page of a circuit: every edge is drawn and counted, its sign and width say what its number says."""

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from markupsafe import escape
from oracles_edges import wired_model, wired_pairs

from circuits.causes import circuit_files, metrics
from circuits.causes.circuit_search import find_circuit
from reports.patching.circuit_drawing import (
    MOST_EDGES,
    NARROW,
    WIDE,
    drawing,
    level,
    pushes,
    rows,
    strongest,
    sure,
    whole,
)
from reports.patching.circuit_page import circuit_page, circuit_report
from reports.patching.circuit_words import headline, itself, text
from reports.patching.pair_records import PairsRecord


@pytest.fixture(scope="module")
def wired():
    return wired_model()


@pytest.fixture(scope="module")
def report(wired):
    pairs, metric = wired_pairs(16), metrics.logit_difference("C2", "F5")
    found = find_circuit(wired, pairs, metric, keep=0.9, open_neurons=3, random_graphs=2)
    return circuit_report(wired, pairs, metric, found, command="othello-circuits circuit", python="find_circuit()")


def edges_of(svg: str) -> dict[str, ElementTree.Element]:
    root = ElementTree.fromstring(svg)
    return {e.get("data-edge"): e for e in root.iter() if e.get("data-edge")}


@pytest.mark.parametrize("layout", [WIDE, NARROW])
def test_every_edge_is_drawn_once_with_its_sign_and_width(report, layout):
    c = report.circuit
    drawn = edges_of(drawing(c, layout))
    assert set(drawn) == {f"{e.sender} {e.receiver}" for e in c.edges}
    widths = {}
    for e in c.edges:
        path = drawn[f"{e.sender} {e.receiver}"]
        kinds = path.get("class").split()
        assert ("raises" in kinds) == (e.effect <= 0) and ("unsure" in kinds) != sure(e)
        widths[e] = float(path.get("stroke-width"))
    ordered = sorted(c.edges, key=lambda e: abs(e.effect))
    assert [widths[e] for e in ordered] == sorted(widths.values())


def test_edges_run_upwards_and_end_on_their_nodes(report):
    root = ElementTree.fromstring(drawing(report.circuit, WIDE))
    box = {}
    for group in root.iter("g"):
        rect, label = group.find("rect"), group.find("text")
        if rect is not None:
            box[label.text] = [float(rect.get(k)) for k in ("x", "y", "width", "height")]
    assert set(box) == set(report.circuit.nodes)
    for name, path in edges_of(drawing(report.circuit, WIDE)).items():
        sender, receiver = name.rsplit(" ", 1) if not name.endswith("MLP") else name.split(" ", 1)
        numbers = [float(v) for v in re.findall(r"-?[0-9.]+", path.get("d"))]
        (x, y, *_), (x2, y2) = numbers, numbers[-2:]
        a, b = box[sender], box[whole(receiver)]
        assert y == pytest.approx(a[1]) and a[0] <= x <= a[0] + a[2]
        assert y2 == pytest.approx(b[1] + b[3], abs=0.1) and b[0] <= x2 <= b[0] + b[2]
        assert y2 < y


def test_rows_keep_to_the_width_and_to_the_order_of_computation(report):
    edges = report.circuit.edges
    many = tuple(replace(edges[0], receiver=f"L0H{i}.q") for i in range(11)) + tuple(
        replace(edges[0], sender=f"L0H{i}", receiver="target") for i in range(11)
    )
    lines = rows(many, 5)
    assert [len(line) for line in lines] == [1, 4, 4, 3, 1]
    assert lines[0] == ["embed"] and lines[-1] == ["target"]
    levels = [{level(n) for n in line} for line in lines]
    assert all(len(line) == 1 for line in levels)
    assert [min(line) for line in levels] == sorted(min(line) for line in levels)
    svg = drawing(replace(report.circuit, edges=many), NARROW)
    width = float(re.search(r'viewBox="0 0 ([0-9.]+)', svg)[1])
    rects = list(ElementTree.fromstring(svg).iter("rect"))
    assert all(float(r.get("x")) >= 0 and float(r.get("x")) + float(r.get("width")) <= width for r in rects)


def test_only_the_strongest_of_very_many_edges_are_drawn_and_the_page_says_so(report):
    one = report.circuit.edges[0]
    many = tuple(replace(one, receiver=f"L0H{i}.{p}", effect=-float(i)) for i in range(60) for p in "qkv")
    big = replace(report.circuit, edges=many)
    kept = strongest(big)
    assert len(kept) == MOST_EDGES and min(abs(e.effect) for e in kept) >= 19
    assert f"The {MOST_EDGES} strongest of 180 edges" in circuit_page(replace(report, circuit=big))


def test_the_page_says_what_the_circuit_says(report):
    page, c = report.html, report.circuit
    assert escape(headline(c).replace(" %", "\u00a0%")) in page
    kept = itself(c, "resample").kept
    assert f'data-figure="kept resample" data-v="{kept:.4g}"' in page
    for e in c.edges:
        assert f"{e.sender} → {e.receiver}</th>" in page
    assert "<script" not in page and "othello-circuits circuit" in page and "find_circuit()" in page
    assert page.count("data-position=") == 2
    assert all(pushes(e) == -e.effect for e in c.edges)
    assert headline(c) in text(c, report.pairs) and c.attribution in text(c, report.pairs)


def test_units_with_pages_are_linked_and_only_they(report, tmp_path):
    (tmp_path / "L1N3.html").write_text("x")
    page = report.write(tmp_path)
    written = page.read_text()
    assert 'href="L1N3.html"' in written and 'href="L1N5.html"' not in written
    assert circuit_files.read(tmp_path / "circuit.json") == report.circuit


def test_json_is_whole(report):
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert circuit_files.from_json(json.dumps(found["circuit"])) == report.circuit
    assert PairsRecord.from_dict(found["pairs"]) == report.pairs


def test_without_random_graphs_none_are_named(wired):
    pairs, metric = wired_pairs(8), metrics.logit_difference("C2", "F5")
    found = find_circuit(wired, pairs, metric, keep=0.9, open_neurons=3, random_graphs=0)
    page = circuit_report(wired, pairs, metric, found).html
    assert "no random graphs were drawn" in page and "nan" not in page.replace("&nbsp;", "").lower().split("<style>")[0]
    assert not re.search(r">[^<]*\bnan\b", page)
