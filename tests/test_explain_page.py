"""The page of a move explained: sentences follow stated thresholds, figures show the record, names stay text."""

import re
import shutil
from dataclasses import replace

import pytest

from circuits.explanation.records import Explanation, Known, Spread
from circuits.notation import LABELS
from reports.explanation import words as w
from reports.explanation.build import python_line
from reports.explanation.page import ExplanationReport
from reports.explanation.records import ExplanationRecord
from reports.explanation.text import WIDTH, text

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
GAME = "E5 D5 C4 F5 E2"


@pytest.fixture(scope="module")
def report(bench) -> ExplanationReport:
    return bench.explain(GAME)


@pytest.fixture(scope="module")
def illegal(bench) -> ExplanationReport:
    return bench.explain(GAME, "H7")


def with_change(e: Explanation, total: float, alike: float, above: float = 4.0) -> Explanation:
    """The explanation with other changes of the logit; ``above``: how far it lies above its mean."""
    change = replace(e.supports.logit, total=total, alike=Spread(alike, alike, alike), random=Spread(0.0, -0.1, 0.1))
    return replace(e, supports=replace(e.supports, logit=change), mean_logit=e.logit - above)


def test_the_record_reads_back_and_the_bench_gives_its_origin(report, bench):
    record = report.record
    assert ExplanationRecord.from_json(record.to_json()) == record
    assert record.origin.model_hash == bench.model.hash and GAME in record.origin.python
    assert record.explanation.reference.games == 80 and record.rules_source == ""
    again = bench.explain(GAME).record.explanation
    assert again == record.explanation  # the draws are seeded
    assert bench.explain(GAME, seed=1).record.explanation.seed == 1


def test_verdicts_follow_their_thresholds(report):
    e = report.record.explanation
    found = [w.verdict(with_change(e, total, alike)) for total, alike in ((-2.0, -1.0), (-1.9, -1.0), (-3.0, -3.1))]
    assert found == [w.CARRY, w.PART, w.NO_MORE]
    assert w.verdict(with_change(e, -3.0, 0.0, above=-1.0)) == w.NOTHING
    assert "carry it" in w.headline(with_change(e, -2.0, -1.0))
    assert "carry part of it" in w.headline(with_change(e, -1.9, -1.0))
    assert "no more than drawn ones" in w.headline(with_change(e, -3.0, -3.1))
    assert "not above its mean" in w.headline(with_change(e, -3.0, 0.0, above=-1.0))


def test_the_headline_says_what_the_move_is(report, illegal):
    e = report.record.explanation
    assert report.headline.startswith(f"The model gives {e.move} ") and "it is legal by" in report.headline
    assert "more than any other move" in report.headline and repr(report) == report.title == report.headline
    assert "it is illegal: no disc of theirs is beside H7" in illegal.headline
    assert f"its {w.ordinal(illegal.record.explanation.rank)} choice of 60" in illegal.headline
    assert [w.ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 52)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "52nd",
    ]  # fmt: skip


def test_the_page_is_offline_and_shows_every_number_of_the_record(report, illegal):
    for one in (report, illegal):
        html, e = one.html, one.record.explanation
        assert "<script" not in html and not re.findall(r'(?:src|href)="(?!#|data:)[^"]', html)
        assert "default-src 'none'" in html and html.count("<h1>") == 1
        assert f'data-verdict="{w.verdict(e)}"' in html
        for test in (e.supports, e.opposes, e.writers):
            for unit in test.units:
                assert unit.unit in html and w.logit(unit.beyond) in html and w.logit(unit.alone) in html
        for move in e.moves:
            assert f'<th scope="row">{move.move}</th>' in html
        assert "no table of this model’s rules" in html
        board = re.search(r'data-board="explanation.probabilities".*?</svg>', html, re.DOTALL)[0]
        assert len(re.findall("<title>", board)) == 64 and f"{LABELS[27]} no value" in board
    assert "sandbox" in report._repr_html_() and "&lt;h1&gt;" in report._repr_html_()


def test_wrong_squares_are_outlined(report):
    e = report.record.explanation
    reading = e.readings[0]
    board = list(e.position.board)
    board[0], board[63] = 2, 1
    changed = replace(e, readings=(replace(reading, board=tuple(board), right=62), *e.readings[1:]))
    from reports.explanation.figures import reading_board

    drawn = str(reading_board(changed, changed.readings[0]))
    assert drawn.count('class="wrong"') == 2 and "Wrong: A0 H7" in drawn


def test_what_a_unit_is_known_for(report):
    e = report.record.explanation
    neuron = next(u for u in e.supports.units if u.activation is not None)
    assert w.known_words(neuron) == "no rule in a table"
    known = Known("A2 legal", "explained", 0.57, 0.5, 0.6, 3.0, 0.1, False, False)
    said = w.known_words(replace(neuron, known=known))
    assert said == "A2 legal (57 %; fails here, but the neuron is nearer its other level)"
    assert (
        w.known_words(replace(neuron, known=replace(known, holds=True, agrees=True))) == "A2 legal (57 %; holds here)"
    )


def test_markup_in_names_stays_text(report):
    record = report.record
    evil = "<script>alert(1)</script>"
    changed = replace(record, origin=replace(record.origin, model_name=evil), probe_source=evil, rules_source=evil)
    html = ExplanationReport(changed).html
    assert "<script" not in html and "&lt;script&gt;" in html


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_its_window(report, tmp_path, width):
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install the system's (apt-get install chromium)")
    page = report.save(tmp_path / "move.html")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened, said = browser.new_page(viewport={"width": width, "height": 900}), []
        opened.on("console", lambda message: said.append(message.text))
        opened.on("request", lambda request: said.append(request.url))
        opened.goto(page.as_uri())
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        assert opened.locator("svg.board").count() == 3 + sum(
            "mid" not in x.point for x in report.record.explanation.readings
        )
        browser.close()
    assert said == [page.as_uri()]


def test_text_fits_a_terminal(report, illegal):
    for one in (report, illegal):
        said = text(one.record)
        assert max(map(len, said.splitlines())) <= WIDTH
        e = one.record.explanation
        assert e.move in said and w.logit(e.logit) in said and all(u.unit in said for u in e.supports.units)
    assert f"[{'×' if report.record.explanation.legal else '·'}]" in text(report.record)


def test_the_python_line_repeats_what_was_asked():
    assert python_line(GAME, None, "ours").endswith(f"open_model().explain({GAME!r})")
    assert python_line("f5", "d6", "standard", "seed=1").endswith(
        "open_model(seed=1).explain('f5', 'd6', notation='standard')"
    )
