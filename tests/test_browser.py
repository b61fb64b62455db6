"""Pages in a real browser: wide and narrow, light and dark, by keyboard, offline."""

import dataclasses
import shutil

import numpy as np
import pytest
import synthetic_rules
from synthetic_head import head_of
from synthetic_record import record_of, synthetic_index
from synthetic_verdict import verdict_of

from circuits.verdicts.grades import PARTLY
from reports.found_records import FoundRule
from reports.model.page import model_page
from reports.neuron import neuron_page
from reports.site import head_entry, write_site
from reports.verdicts.page import VerdictReport

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    records, heads = [record_of("match"), record_of("none", "L6N88")], [head_of("clear"), head_of("none", "L6H0")]
    index = dataclasses.replace(synthetic_index(records), heads=tuple(head_entry(r) for r in heads))
    folder = write_site(tmp_path_factory.mktemp("site"), records + heads, index).parent
    found = verdict_of(PARTLY)
    VerdictReport(found).save(folder / "verdict.html")
    row = synthetic_rules.table(6, 14, census=True)["L5N12"]
    rule = FoundRule(row, synthetic_rules.neuron_census(row, np.random.default_rng(0)), synthetic_rules.PROVENANCE)
    tested = dataclasses.replace(records[0], verdict=found, found=rule)
    (folder / "tested.html").write_text(neuron_page(tested), encoding="utf-8")
    (folder / "model.html").write_text(model_page(synthetic_rules.model_record()), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install the system's (apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")), executable_path=CHROMIUM, headless=True, args=FLAGS
        )
        yield context
        context.close()


@pytest.fixture
def opened(browser, site):
    """A function that opens a page of the site and returns it with what it asked for and complained of."""
    pages = []

    def open_page(name="L5N12.html", width=1280, scheme="light", media="screen"):
        page = browser.new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme, media=media)
        page.asked, page.complaints = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto((site / name).as_uri())
        return page

    yield open_page
    for page in pages:
        page.close()


@pytest.mark.parametrize("name", ["L5N12.html", "L6N88.html", "L5H2.html", "L6H0.html", "index.html", "verdict.html",
                                  "tested.html", "model.html"])  # fmt: skip
@pytest.mark.parametrize("width", [1280, 390])
def test_no_sideways_scrolling_and_nothing_asked_for(opened, name, width):
    page = opened(name, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = page.evaluate(
        """() => [...document.querySelectorAll('main *, header *')].filter(e => {
             const r = e.getBoundingClientRect();
             return r.width && r.right > innerWidth + 1 && !e.closest('.scroll');
           }).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert outside == []
    assert [url for url in page.asked if not url.startswith(("file://", "data:"))] == []
    assert len([url for url in page.asked if url.startswith("file://")]) == 1
    assert page.complaints == []


def test_dark_mode_turns_the_page_dark(opened):
    shade = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((a, b) => +a + +b, 0)"
    assert opened(scheme="light").evaluate(shade) > 700
    assert opened(scheme="dark").evaluate(shade) < 100


def test_a_heads_page_draws_every_figure(opened):
    page = opened("L5H2.html")
    drawn = page.evaluate(
        """() => [...document.querySelectorAll('svg.board, svg.chart')].map(s => {
             const r = s.getBoundingClientRect(); return Math.min(r.width, r.height); })"""
    )
    assert len(drawn) > 25 and min(drawn) > 80
    # A map whose cells had no colour of their own would look like an empty one.
    fill = "e => getComputedStyle(e).fill"
    for path in ("attention.by_ply", "attention.displacement"):
        cell = page.locator(f'[data-map="{path}"] path.p').last
        assert cell.evaluate(fill) not in ("none", "rgb(0, 0, 0)")
    assert page.get_by_role("img", name="Attends to").count() == 8
    page.get_by_role("link", name="All units").click()
    page.get_by_role("link", name="L6H0", exact=True).click()
    assert page.title().startswith("L6H0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_have_contrast(opened, scheme):
    """Text against the page, by the WCAG formula: 4.5 at least."""
    ratio = """selector => {
      const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(v => v / 255)
        .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
      const a = light(getComputedStyle(document.querySelector(selector)).color);
      const b = light(getComputedStyle(document.body).backgroundColor);
      return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); }"""
    page = opened(scheme=scheme)
    for selector in ("p.lead", "figcaption", ".tile .label", "nav.sections a", ".extremes", "summary", ".holds"):
        assert page.evaluate(ratio, selector) >= 4.5, selector


@pytest.mark.parametrize("width", [1280, 390])
def test_squares_stand_where_they_belong(opened, width):
    """Where the eye finds C0 on the logit board: third row, first column."""
    page = opened(width=width)
    cells = page.evaluate(
        """() => [...document.querySelectorAll('#writes [data-board="writes.logits"] title')].map(t => {
             const r = t.parentElement.getBoundingClientRect();
             return [t.textContent.slice(0, 2), r.x + r.width / 2, r.y + r.height / 2, r.width]; })"""
    )
    assert len(cells) == 64
    xs = sorted({round(x) for _, x, _, _ in cells})
    ys = sorted({round(y) for _, _, y, _ in cells})
    assert len(xs) == len(ys) == 8
    for name, x, y, size in cells:
        assert (xs.index(round(x)), ys.index(round(y))) == (int(name[1]), "ABCDEFGH".index(name[0]))
        assert size > 10


def test_every_board_is_drawn(opened):
    page = opened()
    sizes = page.evaluate(
        """() => [...document.querySelectorAll('svg.board, svg.chart')].map(s => {
             const r = s.getBoundingClientRect(); return Math.min(r.width, r.height); })"""
    )
    assert len(sizes) > 40
    assert min(sizes) > 90
    labels = page.evaluate("""() => parseFloat(getComputedStyle(document.querySelector('#grid text')).fontSize)""")
    assert labels < 6  # in the drawing's units, of which a cell has 10


def test_the_keyboard_reaches_everything(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.url.endswith("#reads")
    summary = page.locator("#reads summary").first
    summary.focus()
    assert page.locator("#reads details").first.get_attribute("open") is None
    page.keyboard.press("Enter")
    assert page.locator("#reads details").first.get_attribute("open") is not None
    assert page.locator("#reads details td").first.is_visible()
    ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert ring != "none"


def test_a_screen_reader_hears_the_boards(opened):
    page = opened()
    board = page.get_by_role("img", name="60 moves, logit per unit of activation: highest C0")
    assert board.count() == 1
    assert page.get_by_role("img", name="to move. Mine:").count() == 31
    assert page.get_by_role("heading", level=1).inner_text() == "L5N12"


def test_links_lead_from_the_index_to_a_neuron_and_on(opened):
    page = opened("index.html")
    page.get_by_role("link", name="L5N12", exact=True).click()
    assert page.title().startswith("L5N12")
    page.locator("#without").get_by_role("link", name="L6N88", exact=True).wait_for(state="visible")
    page.locator("#neighbours").get_by_role("link", name="L6N88", exact=True).click()
    assert page.title().startswith("L6N88")
    page.get_by_role("link", name="All units").click()
    assert page.url.endswith("index.html")


def test_print_leaves_out_what_paper_cannot_use(opened):
    page = opened(media="print", scheme="dark")
    assert not page.locator("nav.sections").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
