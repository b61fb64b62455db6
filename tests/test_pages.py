"""Pages show what their record says, notice when they do not, and stay small, offline and readable."""

import dataclasses
import itertools
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_record import record_of, synthetic_index

from circuits.errors import InputError
from circuits.notation import LABELS
from circuits.serial import at
from reports import boards, charts, figures
from reports.checks import PageError, check_page, check_record, sampled_paths
from reports.neuron import NeuronReport, neuron_page
from reports.records import NeuronRecord
from reports.site import index_page, write_site
from reports.text import fixed, number, percent

KINDS = ("match", "partly", "none", "dead")


@pytest.fixture(scope="module", params=KINDS)
def record(request):
    return record_of(request.param)


@pytest.fixture(scope="module")
def html(record):
    return neuron_page(record)


class Outline(HTMLParser):
    """Tags, ids and headings of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, name):
        return [attrs for tag, attrs in self.tags if tag == name]


def test_a_page_is_small_and_passes_its_own_check(record, html):
    assert len(html.encode()) <= 400_000
    examples = sum(len(e.positions) for e in record.examples)
    assert check_page(html, record) > 64 * (15 + examples)


def test_a_page_asks_nothing_of_anyone(html):
    outline = Outline(html)
    assert not outline.all("script")
    assert not re.findall(r"https?://|url\(|@import", html)
    for tag, attrs in outline.tags:
        for name in ("src", "srcset", "data", "action", "href", "xlink:href"):
            value = attrs.get(name)
            assert value is None or value.startswith(("#", "data:,")), (tag, name, value)
        assert not any(name.startswith("on") for name in attrs)


def test_a_page_can_be_heard(html):
    outline = Outline(html)
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    for svg in outline.all("svg"):
        assert svg.get("aria-hidden") == "true" or (svg.get("role") == "img" and svg.get("aria-label"))
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for a in outline.all("a"):
        assert a["href"][0] != "#" or a["href"][1:] in ids
    for attrs in (attrs for tag, attrs in outline.tags if tag == "use"):
        assert attrs["href"][1:] in ids


def test_sections_come_in_their_order(html):
    order = re.findall(r'<section id="(\w+)"', html)
    assert order == ["reads", "fires", "writes", "without", "neighbours", "provenance"]


def test_every_figure_has_a_caption_and_its_code(html):
    figures = html.split("<figure>")[1:]
    assert len(figures) >= 12
    for figure in figures:
        figure = figure.split("</figure>")[0]
        assert "<figcaption>" in figure
        assert "open_model().neuron(&#34;L5N12&#34;).record." in figure


def test_the_code_under_a_figure_is_a_path_of_the_record(record, html):
    paths = re.findall(r"\.record\.([\w.\[\]]+)</code>", html)
    assert len(paths) >= 12
    for path in paths:
        at(record, path.replace("[", ".").replace("]", ""))


def test_names_reach_a_page_as_text():
    evil = '<script>alert("x")</script>'
    record = record_of("match")
    provenance = dataclasses.replace(
        record.provenance, model_name=evil, games_source=evil, probe_source=evil, command=evil, python=evil,
        versions={evil: evil}, layer_norm=evil, activation=evil,
    )  # fmt: skip
    examples = tuple(dataclasses.replace(e, note=evil) for e in record.examples)
    first = examples[0].positions[0]
    odd = dataclasses.replace(first, address=evil, transcript=evil)
    examples = (dataclasses.replace(examples[0], positions=(odd,)), *examples[1:])
    changed = dataclasses.replace(
        record, provenance=provenance, chosen=evil, examples=examples,
        spectrum=dataclasses.replace(record.spectrum, fact=evil),
        by_ply=dataclasses.replace(record.by_ply, band=evil),
        patterns=dataclasses.replace(record.patterns, criterion=evil, shuffle=evil),
        neighbours=dataclasses.replace(record.neighbours, measure=evil),
        reads=dataclasses.replace(record.reads, hook=evil),
    )  # fmt: skip
    page = neuron_page(changed, index_link='" onclick="x', json_link=evil)
    index = synthetic_index([changed])
    for html in (page, index_page(dataclasses.replace(index, title=evil, model_note=evil))):
        outline = Outline(html)
        assert not outline.all("script")
        assert not any(name.startswith("on") for _, attrs in outline.tags for name in attrs)
        assert "&lt;script&gt;" in html
    shown = NeuronReport(changed)._repr_html_()
    assert [tag for tag, _ in Outline(shown).tags] == ["iframe"]


def swapped(record, part, name, a, b):
    """The record with two cells of a board exchanged: what a mistake in placing squares looks like."""
    section = getattr(record, part)
    values = list(getattr(section, name))
    values[a], values[b] = values[b], values[a]
    return dataclasses.replace(record, **{part: dataclasses.replace(section, **{name: tuple(values)})})


def test_a_wrong_cell_is_named():
    record = record_of("match")
    html = neuron_page(swapped(record, "writes", "logits", 16, 40))
    with pytest.raises(PageError, match=r"L5N12: writes\.logits:C0 shows .*the record has"):
        check_page(html, record)


@pytest.mark.parametrize(
    ("part", "name"),
    [("reads", "mine"), ("reads", "empty"), ("reads", "flipped"), ("reads", "played"), ("writes", "mine"),
     ("writes", "empty"), ("square_states", "top_mine"), ("square_states", "base_empty"),
     ("conditional_means", "theirs")],
)  # fmt: skip
def test_every_board_is_checked(part, name):
    record = record_of("match")
    with pytest.raises(PageError, match=f"{part}.{name}|{part}.top_{name.split('_')[-1]}"):
        check_page(neuron_page(swapped(record, part, name, 1, 62)), record)


def transposed(match):
    x, y = int(match[1]), int(match[2])
    column, row = (x - boards.LEFT) // 10, (y - boards.TOP) // 10
    return f"M{boards.LEFT + 10 * row} {boards.TOP + 10 * column}h10v10H{boards.LEFT + 10 * row}z"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda h: re.sub(r"M(\d+) (\d+)h10v10H\d+z", transposed, h), "its place is"),
        (lambda h: h.replace("<title>C0 ", "<title>C1 "), "C1"),
        (lambda h: h.replace('class="p" ', 'class="p" data-x="" ', 1).replace("<title>C0 +", "<title>C0 −"), "C0"),
        (lambda h: re.sub(r'(class="headline" data-headline>)[^<]*', r"\1Drives C0.", h), "headline"),
        (lambda h: re.sub(r"(data-grade>.*?</svg>)[^<]+", r"\1Proven", h, flags=re.S), "grade"),
        (lambda h: re.sub(r'(data-path="patterns.fits.0.held_out.f1" data-v=")[^"]+', r"\g<1>0.99", h), "0.99"),
        (lambda h: re.sub(r'class="disc mine" d="M\d+ \d+h0', 'class="disc mine" d="M14 13h0', h), "mine"),
        (lambda h: re.sub(r'class="disc dot-theirs" d="M\d+ \d+h0', 'class="disc dot-theirs" d="', h), "dots"),
        (lambda h: re.sub(r'<use href="#last"[^>]*>', "", h), "last"),
        (lambda h: h.replace('data-board="writes.logits"', ""), "no board"),
    ],
)  # fmt: skip
def test_a_page_that_was_tampered_with_is_caught(change, named):
    record = record_of("match")
    html = neuron_page(record)
    changed = change(html)
    assert changed != html
    with pytest.raises(PageError, match=named):
        check_page(changed, record)


def test_recomputing_catches_columns_past_the_centre_put_on_the_wrong_squares():
    """The known mistake: 60 moves laid out one after another, as if the centre squares did not count."""
    right = record_of("match")
    moves = [v for v in right.writes.logits if v is not None]
    naive = tuple(moves + [None] * 4)
    wrong = dataclasses.replace(right, writes=dataclasses.replace(right.writes, logits=naive))
    assert check_page(neuron_page(wrong), wrong)  # the page is true to its record: only recomputing can tell
    truth = lambda path: at(right, path)  # noqa: E731
    with pytest.raises(PageError, match=r"L5N12: writes\.logits\.\d+ is .*, recomputed"):
        check_record(wrong, lambda p: truth(p) or 0.0, [f"writes.logits.{s}" for s in range(60) if naive[s]])
    cells = check_record(right, truth)
    assert len(cells) > 20
    assert {c.path for c in cells} == set(sampled_paths(right))
    assert any(c.path == "writes.logits.16" for c in cells)  # the largest is always among them
    with pytest.raises(PageError, match="nan"):
        check_record(right, lambda p: float("nan"))


def test_cells_lie_in_row_and_column():
    assert boards.corner(LABELS.index("C0")) == (boards.LEFT, boards.TOP + 20)
    assert boards.corner(LABELS.index("A7")) == (boards.LEFT + 70, boards.TOP)
    cells = re.findall(r'd="M(\d+) (\d+)h10.*?<title>(\w\d)', boards.value_board((0.1,) * 64, 1.0, "t", "p"))
    assert len(cells) == 64
    for x, y, name in cells:
        assert name == "ABCDEFGH"[(int(y) - boards.TOP) // 10] + str((int(x) - boards.LEFT) // 10)


def test_colour_is_symmetric_about_zero_and_shared_by_boards_that_are_compared():
    values = tuple(0.5 if s == 0 else -0.5 if s == 1 else 0.0 for s in range(64))
    svg = boards.value_board(values, 1.0, "t", "p")
    assert 'class="p" d="M9 8h10v10H9z" fill-opacity="0.5"' in svg
    assert 'class="n" d="M19 8h10v10H19z" fill-opacity="0.5"' in svg


def test_the_spectrum_draws_every_bin_at_its_height(record):
    """Bars read back from the drawing: as many as filled bins, and logarithmic counts in their order."""
    svg = charts.spectrum(record.spectrum)
    for kind, counts in (("all", record.spectrum.counts), ("holds", record.spectrum.holds)):
        path = re.search(rf'class="bars {kind}" d="([^"]*)"', svg)[1]
        bars = [(float(x), float(y)) for x, y in re.findall(r"M([\d.]+) [\d.]+V([\d.]+)H", path)]
        filled = [(i, n) for i, n in enumerate(counts) if n]
        assert len(bars) == len(filled)
        assert [x for x, _ in bars] == sorted(x for x, _ in bars)
        heights = [168 - y for _, y in bars]  # in decades above 0.7, as log counts are
        logs = [np.log10(n / 0.7) for _, n in filled]
        assert np.allclose(np.array(heights) / heights[0], np.array(logs) / logs[0], atol=0.02)


@given(st.floats(-100, 100), st.floats(1e-3, 100), st.integers(3, 8))
def test_axis_marks_are_round_and_inside(low, span, n):
    marks = charts.ticks(low, low + span, n)
    assert 1 <= len(marks) <= 2 * n + 1
    assert all(low - 1e-6 * span <= m <= low + span * (1 + 1e-6) for m in marks)
    steps = {round((b - a) / span, 6) for a, b in itertools.pairwise(marks)}
    assert len(steps) <= 1


def test_an_illegal_move_of_the_model_is_called_so():
    record = record_of("match")
    first = record.examples[0].positions[0]
    illegal = next(s for s in LABELS if s not in first.legal)
    moves = (dataclasses.replace(first.top_moves[0], square=illegal), *first.top_moves[1:])
    examples = dataclasses.replace(record.examples[0], positions=(dataclasses.replace(first, top_moves=moves),))
    assert "(illegal)" in neuron_page(dataclasses.replace(record, examples=(examples,)))
    assert "(illegal)" not in neuron_page(record)


def test_a_record_with_little_in_it_still_makes_a_page():
    record = record_of("none")
    bare = dataclasses.replace(
        record,
        patterns=dataclasses.replace(record.patterns, fits=()),
        examples=(),
        checks=(),
        causes=None,
        reads=dataclasses.replace(record.reads, flipped=None, played=None, mine=(0.0,) * 64),
        by_ply=dataclasses.replace(record.by_ply, low=None, high=None),
        spectrum=dataclasses.replace(record.spectrum, threshold=None),
        neighbours=dataclasses.replace(record.neighbours, upstream=(), downstream=(), null_upstream=None),
    )
    html = neuron_page(bare)
    check_page(html, bare)
    assert "None: there is no layer on that side" in html
    assert "Not measured: the neuron was neither ablated nor patched" in html


def test_a_site_is_whole(tmp_path):
    records = [record_of("match"), record_of("none", "L2N3"), record_of("dead", "L6N88")]
    index = write_site(tmp_path / "site", records, synthetic_index(records))
    assert index == tmp_path / "site" / "index.html"
    names = {p.name for p in index.parent.iterdir()}
    assert names == {"index.html", "index.json"} | {f"{r.unit}.{e}" for r in records for e in ("html", "json")}
    for page in index.parent.glob("*.html"):
        for link in Outline(page.read_text()).all("a"):
            assert link["href"].startswith("#") or (index.parent / link["href"]).is_file()
    assert 'href="L6N88.html"' in (index.parent / "L5N12.html").read_text()  # a neighbour that has a page
    assert NeuronRecord.from_json((index.parent / "L2N3.json").read_text()) == records[1]


def test_nothing_is_written_when_something_is_wrong(tmp_path):
    good, other = record_of("match"), record_of("none", "L2N3")
    with pytest.raises(InputError, match="L2N3"):
        write_site(tmp_path / "site", [good], synthetic_index([other]))
    assert not (tmp_path / "site").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_site(tmp_path / "file", [good], synthetic_index([good]))


def test_a_report_shows_and_saves_itself(tmp_path):
    report = NeuronReport(record_of("match"))
    assert report.save(tmp_path / "a" / "page.html").read_text() == report.html
    assert report._repr_html_().startswith("<iframe srcdoc=")
    assert repr(report).startswith("L5N12: Fires")


def test_plotly_figures_carry_the_records_numbers(record):
    heat = figures.logits(record).data[0]
    assert heat.z[2][0] == record.writes.logits[16]
    assert heat.zmin == -heat.zmax
    assert heat.y[2] == "C"
    reads = figures.boards(record)
    assert [t.z[3][1] for t in reads.data] == [
        b[25] for b in (record.reads.mine, record.reads.empty, record.reads.flipped, record.reads.played)
    ]
    assert sum(figures.spectrum(record).data[0].y) == sum(record.spectrum.counts)
    assert figures.by_ply(record).data[-1].y == record.by_ply.mean
    with pytest.raises(InputError, match="reads"):
        figures.boards(record, "spectrum")


def test_the_index_has_a_line_for_every_neuron():
    records = [record_of(kind, f"L{i}N{i}") for i, kind in enumerate(KINDS)]
    index = synthetic_index(records)
    html = index_page(index)
    for entry in index.entries:
        assert f'href="{entry.link}"' in html
    assert html.count('class="board small"') == len(records)
    assert figures.probe(index).data[0].y == tuple(row.accuracy for row in index.probe)


def test_the_index_names_only_baselines_that_were_measured():
    index = synthetic_index([record_of("match")])
    bare = [dataclasses.replace(row, random_model=None, black_white=None) for row in index.probe]
    assert "random-weights" in index_page(index)
    html = index_page(dataclasses.replace(index, probe=bare))
    assert "beside the best constant guess" in html
    assert "random-weights" not in html
    assert 'id="probe"' not in index_page(dataclasses.replace(index, probe=()))


@given(st.floats(-1e6, 1e6).filter(lambda v: v == 0 or abs(v) > 1e-6), st.integers(1, 5))
def test_numbers_are_written_as_they_are(value, digits):
    text = number(value, digits, sign=True)
    shown = float(text.replace("−", "-").replace(",", ""))
    assert shown == pytest.approx(value, rel=0.5001 * 10 ** (1 - digits), abs=1e-12)
    assert "e" not in text
    assert "-" not in text


def test_small_shares_do_not_become_nothing():
    assert percent(0.0004) == "< 0.1 %"
    assert percent(0.0) == "0 %"
    assert percent(0.0041) == "0.4 %"
    assert percent(0.123) == "12 %"
    assert fixed(-0.001) == "0.00"  # no minus before zero
    assert fixed(np.float64(-0.378), 2, sign=True) == "−0.38"
