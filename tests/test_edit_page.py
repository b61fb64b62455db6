"""Pages of edits: the headline follows stated thresholds, boards and tables show the record, names stay text."""

import json
import re
import shutil
from dataclasses import replace

import pytest

from circuits.board_edits import EditCases, parse_edit
from circuits.edit_benchmark import Benchmark, CaseSet, Interval, RolloutRow, Row
from circuits.edit_scores import NAMES
from circuits.edit_tuning import Tried, Tuning
from circuits.effects import Ratio
from circuits.errors import InputError
from circuits.interventions import METHODS, Editor, Method, default
from circuits.saliency import SaliencyScore
from reports import edit_benchmark_words, edit_words
from reports.edit_benchmark_build import Plan, files_of, variants
from reports.edit_benchmark_figures import names_of
from reports.edit_benchmark_page import BenchmarkReport
from reports.edit_benchmark_records import BenchmarkRecord, benchmark_record
from reports.edit_build import edit_record
from reports.edit_page import EditReport, cases_of, edit_report
from reports.edit_records import LAYER_NORM, EditRecord, Figure
from reports.edit_settings import SETTINGS, method_of
from reports.patch_records import Origin

GAME = "E5 D5 C4 F5 E2"


@pytest.fixture(scope="module")
def editor(tiny, tiny_files):
    import probes
    from circuits.edit_changes import Ground
    from circuits.games import generate
    from circuits.stream_means import stream_means

    readers = probes.load(tiny, tiny_files["probe"]).board_readers()
    return Editor(tiny, readers, Ground(stream_means(tiny, generate(30, 3))))


@pytest.fixture(scope="module")
def record(editor) -> EditRecord:
    report = edit_report(editor, GAME, ["flip E4", "erase D5"], saliency=["F3", "D2"])
    return report.record


def with_figures(r: EditRecord, **figures: tuple[float, float, float]) -> EditRecord:
    """The record with other scores: (before, after, random)."""
    changed = {name: Figure(a, b, c, c, c, 0.0) for name, (a, b, c) in figures.items()}
    return replace(r, figures=r.figures | changed)


# ---- one edit --------------------------------------------------------------------------------------------------


def test_the_record_reads_back(record):
    assert EditRecord.from_json(record.to_json()) == record
    assert "NaN" not in record.to_json()


def test_boards_are_the_engines(record):
    cases = cases_of(GAME, ["flip E4", "erase D5"])
    for position, boards in ((record.before, cases.boards), (record.after, cases.edited)):
        mine, theirs, legal = (int(b) for b in (boards.mine, boards.theirs, boards.legal))
        assert position.board == tuple(2 * (mine >> s & 1) + (theirs >> s & 1) for s in range(64))
        assert {"ABCDEFGH".index(m[0]) * 8 + int(m[1]) for m in position.legal} == {
            s for s in range(64) if legal >> s & 1
        }
    assert [(e.square, e.action) for e in record.edits] == [("E4", "flip"), ("D5", "erase")]
    changed = [s for s in range(64) if record.before.board[s] != record.after.board[s]]
    assert changed == [29, 36]


def test_probabilities_are_whole_and_the_same_everywhere(record):
    for name in ("before", "after"):
        values = getattr(record, f"probabilities_{name}")
        total = sum(v for v in values if v is not None)
        assert 0.99 < total <= 1.0001  # token 0 has the rest
        for row in record.moves:
            assert getattr(row, name) == values["ABCDEFGH".index(row.move[0]) * 8 + int(row.move[1])]
        legal = set(record.before.legal) | set(record.after.legal)
        loud = {f"{'ABCDEFGH'[s // 8]}{s % 8}" for s in range(64) if (values[s] or 0) > 0.01}
        assert legal | loud <= {row.move for row in record.moves}
    # The scores are those of the probabilities.
    illegal = sum(r.after for r in record.moves if not r.legal_after)
    assert record.figures["illegal"].after >= illegal - 1e-6
    new, gone = edit_words.gained(record)
    assert record.figures["newly legal"].after == pytest.approx(
        sum(r.after for r in record.moves if r.move in new), abs=1e-6
    )
    assert record.figures["newly illegal"].before == pytest.approx(
        sum(r.before for r in record.moves if r.move in gone), abs=1e-6
    )
    assert sum(r.perfect for r in record.moves) == pytest.approx(1)


def test_readings_follow_the_edit_where_it_is_written(editor):
    method = Method("class mean", 3.0, (1,))
    r = edit_report(editor, GAME, ["flip E4"], method).record
    first, second, last = r.readings["E4"]
    assert first.before == first.after and second.log_odds_after > second.log_odds_before
    assert [w.point for w in r.written] == ["blocks.1.hook_resid_post"] and r.written[0].share > 0
    assert r.side_effects[0].changed == r.side_effects[0].random == 0  # nothing is written there yet
    assert sum(second.after) == pytest.approx(1, abs=1e-5) and last.point == "blocks.2.hook_resid_post"


def test_all_plies_changes_more_than_the_last_one(editor):
    method = Method("class mean", 3.0, (1,))
    cases = cases_of(GAME, ["flip E4"])
    last, everywhere = (edit_record(editor, cases, replace(method, plies=p), seeds=2) for p in ("last", "all"))
    assert last.moves != everywhere.moves
    # What is written at the last ply itself is the same either way: one layer, and nothing before it has changed.
    assert everywhere.written[0].norm == pytest.approx(last.written[0].norm, rel=1e-3)
    assert everywhere.saliency_method == last.saliency_method  # maps flip at the last ply alone
    for a, b in zip(last.probabilities_before, everywhere.probabilities_before, strict=True):
        assert (a is None) == (b is None) and (a is None or a == pytest.approx(b, abs=1e-5))


def test_saliency_is_where_discs_are_and_decides_by_the_rules(record):
    by_move = {s.move: s for s in record.saliency}
    assert list(by_move) == ["F3", "D2"] and all(s.asked for s in record.saliency)
    for s in record.saliency:
        assert [v is not None for v in s.effect] == [state != 0 for state in record.before.board]
        assert s.legal == (s.move in record.before.legal)
        for square in s.decisive:
            flipped = cases_of(GAME, [f"flip {square}"]).edited
            at = "ABCDEFGH".index(s.move[0]) * 8 + int(s.move[1])
            assert bool(int(flipped.legal) >> at & 1) != s.legal


def test_random_directions_are_the_seeds(editor):
    cases = cases_of(GAME, ["flip E4"])
    a, again, other = (edit_record(editor, cases, seeds=3, seed=seed) for seed in (0, 0, 50))
    assert a == again and a.figures["KL"].random != other.figures["KL"].random
    assert a.figures["KL"].after == other.figures["KL"].after


@pytest.mark.parametrize(
    "error, kl, verdict, said",
    [
        ((4, 0, 3.9), (0.9, 0.1, 0.9), edit_words.WORKS, "makes the model play by the edited board: error 4 → 0"),
        ((4, 2, 3.9), (0.9, 0.1, 0.9), edit_words.PARTLY, "part of the way to the edited board: error 4 → 2"),
        ((4, 2, 1.5), (0.9, 0.1, 0.9), edit_words.FAILS, "fails"),  # random directions do better
        ((4, 3, 3.9), (0.9, 0.1, 0.9), edit_words.FAILS, "fails to make the model play by the edited board"),
        ((4, 0, 0.0), (0.9, 0.1, 0.9), edit_words.PARTLY, None),  # below: random does as well
        ((4, 0, 3.9), (0.9, 0.6, 0.9), edit_words.PARTLY, "part of the way"),
        ((0, 0, 0.0), (0.9, 0.1, 0.9), edit_words.WORKS, "KL 0.9 → 0.1"),
        ((0, 0, 0.0), (0.9, 0.8, 0.9), edit_words.FAILS, "KL 0.9 → 0.8"),
        ((0, 2, 0.0), (0.9, 0.1, 0.9), edit_words.FAILS, "error 0 → 2"),
    ],
)
def test_the_verdict_follows_its_thresholds(record, error, kl, verdict, said):
    r = with_figures(record, error=error, KL=kl)
    if said is None:  # as low as random directions: no better than those
        assert edit_words.verdict(r) == edit_words.FAILS
        return
    assert edit_words.verdict(r) == verdict
    assert said in edit_words.headline(r)
    assert edit_words.headline(r) in re.sub(r"\s+", " ", EditReport(r).html)


def test_an_edit_on_which_no_move_depends_says_so(record):
    r = replace(record, after=replace(record.after, legal=record.before.legal))
    assert edit_words.verdict(r) == edit_words.UNDECIDED
    assert "changes no legal move" in edit_words.headline(r) and "E4 as" in edit_words.headline(r)


def test_the_terminal_shows_both_boards_side_by_side(record):
    lines = edit_words.text(record).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("  before"))
    board = lines[start + 2 : start + 10]
    assert [line.split()[0] for line in board] == list("ABCDEFGH")
    assert sum(line[:34].count("×") for line in board) == len(record.before.legal)
    assert sum(line[34:].count("×") for line in board) == len(record.after.legal)
    assert "".join(board).count("[") == 2 * len(record.edits)
    for row in record.moves:
        assert any(re.match(rf"\s+{row.move}\s", line) for line in lines)
    for name in edit_words.FIGURES:
        assert any(name[1].replace("’", "'") in line for line in lines)


def test_the_page_holds_what_the_record_says(record):
    page = EditReport(record).html
    assert "default-src 'none'" in page and "<script" not in page
    for row in record.moves:
        assert f'<th scope="row">{row.move}</th>' in page
    for number in ("E4 as", "D5 as", LAYER_NORM, record.transcript, record.origin.model_hash):
        assert number in page
    assert page.count('class="edited"') >= 4  # two squares on each board
    # A cross is two strokes: as many on the two boards as there are legal moves (and one a saliency map).
    boards = re.findall(r'<svg class="board".*?</svg>', page, re.DOTALL)[:2]
    for svg, position in zip(boards, (record.before, record.after), strict=True):
        strokes = "".join(re.findall(r'<path class="(?:only|legal)" d="([^"]*)"', svg))
        assert strokes.count("M") == len(position.legal)


def test_names_reach_the_page_as_text(record):
    nasty = '<b>"&'
    r = replace(
        record, probe_source=nasty, origin=replace(record.origin, model_name=nasty, command=nasty, python=nasty)
    )
    page = EditReport(r).html
    assert nasty not in page and "&lt;b&gt;" in page
    assert nasty not in EditReport(r)._repr_html_()


def test_the_workbench_edits(bench, monkeypatch, editor):
    monkeypatch.setitem(bench.__dict__, "editor", editor)
    report = bench.edit(GAME, ["flip E4", "erase D5"], saliency=["F3"])
    assert report.record.origin.python.startswith("from reports import open_model")
    assert "saliency=['F3']" in report.record.origin.python and "['flip E4', 'erase D5']" in report.record.origin.python
    assert report.record.figures == edit_report(editor, GAME, ["flip E4", "erase D5"]).record.figures
    assert repr(report) == report.headline and "<iframe" in report._repr_html_()
    again = bench.edit(GAME, [(36, "flip"), (29, "erase")], saliency=["F3"])
    assert again.record.figures == report.record.figures
    noop = bench.edit(GAME, ["D5=theirs" if report.record.before.board[29] == 1 else "D5=mine"], allow_noop=True)
    assert noop.record.edits[0].action == "nothing" and edit_words.verdict(noop.record) == edit_words.UNDECIDED


@pytest.mark.parametrize(
    "transcript, edits, said",
    [
        ("", ["flip E4"], "empty"),
        (GAME, "flip E4", "a list"),
        (GAME, [], "no edit"),
        (GAME, ["turn E4"], "is no edit"),
        ("E5 A0", ["flip E4"], "A0"),
    ],
)
def test_bad_edits(editor, transcript, edits, said):
    with pytest.raises(InputError, match=said):
        edit_report(editor, transcript, edits)


# ---- methods ---------------------------------------------------------------------------------------------------


def test_every_method_named_alone_has_a_setting(editor):
    assert set(SETTINGS) == set(METHODS)
    for name in METHODS:
        if name == "contrast":  # needs pairs of games, which this editor has not
            continue
        method = method_of(editor, name)
        assert method.name == name and method.strength > 0 and set(method.layers) <= {0, 1, 2}
    assert method_of(editor) == default(editor.model)
    assert method_of(editor, strength=0.5, layers=[2]) == Method("class mean", 0.5, (2,))
    assert method_of(editor, "negate", solve="in turn", plies="all").solve == "in turn"
    with pytest.raises(InputError, match="magic"):
        method_of(editor, "magic")
    with pytest.raises(InputError, match="joint"):
        method_of(editor, "gradient", solve="in turn")


def test_the_bundled_default_is_its_own_setting():
    """On a model of eight layers the table agrees with `circuits.interventions.default`."""
    strength, first, last = SETTINGS["class mean"]
    assert (strength, tuple(range(round(8 * first), round(8 * last)))) == (3.0, (3, 4, 5, 6))


# ---- the benchmark ----------------------------------------------------------------------------------------------


def interval(mean: float) -> Interval:
    return Interval(mean, mean - 0.1, mean + 0.1)


def benchmark(errors: dict[str, float], sets=("natural", "unnatural"), none: float = 2.0) -> Benchmark:
    """A benchmark made by hand: no edit ``none``, methods by name, their random control at 2.1."""
    rows = []
    for cases in sets:
        for name, error, control in (
            ("no edit", none, False),
            ("perfect player", 0.0, False),
            *((name, error, False) for name, error in errors.items()),
            *((name, 2.1, True) for name in errors),
        ):
            scores = {n: interval(error if n == "error" else 0.5) for n in NAMES}
            own = name not in ("no edit", "perfect player")
            rows.append(
                Row(
                    cases,
                    name,
                    f"{name} x1, L1" if own else "",
                    control,
                    scores,
                    (None, error, error + 1, None, 0.5),
                    0.1,
                )
            )
    order = sorted(errors, key=lambda name: errors[name])
    return Benchmark(
        model_name="tiny", model_hash="0" * 16,
        sets=tuple(
            CaseSet(s, f"seed <{s}>", 50, {"no move": 2}, (0, 30, 15, 0, 5), (5, 53), {"flip": 50}) for s in sets
        ),
        rows=tuple(rows),
        rollouts=tuple(
            RolloutRow(s, n, tuple(1 - 0.05 * i for i in range(10)), interval(6.0))
            for s in sets for n in (f"{order[0]} x1, L1", "no edit", "original boards")
        ),
        layers={n: (1.9, e, 1.8) for n, e in errors.items()},
        scales=((2.0, 1.9, 1.8, 1.7, 1.6, 2.5), (2.0, 1.5, 1.0, 0.8, 1.2, 2.2), (2.0,) * 6),
        winner=f"{order[0]} x1, L1", runner_up=f"{order[1]} x1, L1" if len(order) > 1 else "",
        margin=interval(0.3) if len(order) > 1 else None, tuning="", unit=27.0, own_error=interval(0.2),
        to_the_same=interval(0.03), to_the_same_largest=0.3, to_another=interval(0.2),
    )  # fmt: skip


def made(errors: dict[str, float], saliency: bool = True, **named) -> BenchmarkRecord:
    import torch

    b = benchmark(errors, **named)
    tuned = {
        n: (Tried(Method(n, 1.0, (1,)), e, 0.2), Tried(Method(n, 2.0, (1,)), e + 1, 0.3))
        for n, e in errors.items()
        if n in METHODS
    }
    ratio = Ratio(*(torch.tensor(v) for v in (0.8, 0.7, 0.9)))
    score = SaliencyScore(10, 90, 1.2, ratio, ratio, 0.8, 0.82, 0.04, 0.9, (0.05, 0.5, 0.09, 0.06))
    origin = Origin(
        "tiny", "0" * 16, 3, 64, 4, 128, LAYER_NORM, 0, {"torch": "2"}, "othello-circuits edit-benchmark", "x"
    )
    tuning = Tuning(tuned, 20, 27.0, 2.0)
    return benchmark_record(b, tuning, "20 cases", score if saliency else None, "negate x1, L1", "linear", origin)


GOOD = {"class mean": 0.3, "negate": 0.9, "gradient": 1.6, "class mean, all plies": 0.4}


def test_the_benchmark_reads_back_and_is_drawn_whole():
    b = made(GOOD)
    assert BenchmarkRecord.from_json(b.to_json()) == b and b.winner_name == "class mean"
    page = BenchmarkReport(b).html
    assert "default-src 'none'" in page and "<script" not in page and "(None)" not in page
    assert "seed &lt;natural&gt;" in page and "<natural>" not in page
    for chart in (
        "errors natural",
        "errors unnatural",
        "layers negate",
        "scales",
        "changed natural",
        "survival unnatural",
    ):
        assert f'data-chart="{chart}"' in page, chart
    for published in ("2.68", "0.12", "2.59", "0.06", "2.72", "2210.13382", "2309.00941"):
        assert published in page
    assert edit_benchmark_words.headline(b) in re.sub(r"\s+", " ", page)
    assert names_of(b, "natural") == ["class mean", "class mean, all plies", "negate", "gradient"]


def test_the_benchmark_says_what_fails():
    words = dict(edit_benchmark_words.findings(made(GOOD)))
    assert "gradient 1.60" in words["What fails"] and "negate" not in words["What fails"]
    assert "worse by 0.30 [0.20, 0.40]" in words["The best"] and "leaves out zero" in words["The best"]
    assert (
        "After L0 alone it leaves 1.90" in words["Where it is written"]
        and "After L2 alone" in words["Where it is written"]
    )
    assert "0.80 at scale 4 and 1.50 at scale 1" in words["How strongly"]
    assert "class mean, all plies 0.40" in words["How it is made"]
    assert "2.00 → 0.30" in edit_benchmark_words.headline(made(GOOD))


def test_a_benchmark_that_nothing_wins_says_so():
    b = made({"negate": 2.3, "gradient": 1.7})
    assert edit_benchmark_words.headline(b).startswith("No method makes the model play by the edited board")
    words = dict(edit_benchmark_words.findings(b))
    assert "No better than random directions: negate." in words["What fails"]


def test_one_method_one_set_no_saliency():
    b = made({"negate": 0.4}, saliency=False, sets=("cases <x>",))
    page = BenchmarkReport(b).html
    assert "Only one method was measured" in page and 'id="saliency"' not in page
    assert "cases &lt;x&gt;" in page and "cases <x>" not in page


def test_the_page_and_its_numbers_are_written_together(tmp_path):
    report = BenchmarkReport(made(GOOD))
    path = report.write(tmp_path / "b")
    assert path.read_text() == report.html
    assert BenchmarkRecord.from_dict(json.loads((tmp_path / "b" / "benchmark.json").read_text())) == report.record


def test_variants_depend_on_the_model_and_the_winner(editor):
    winner = Method("class mean", 3.0, (1,))
    assert [name for name, _ in variants(editor, winner)] == [
        "class mean, all plies", "class mean, in turn", "class mean, hold others"
    ]  # fmt: skip
    assert [name for name, _ in variants(editor, Method("gradient", 1.0, (1,)))] == ["gradient, all plies"]


def test_plans_and_file_names():
    with pytest.raises(InputError, match="tune"):
        Plan(tune=0)
    cases = EditCases.given(cases_of(GAME, ["flip E4"]).tokens, [parse_edit("flip E4")], 4)
    assert [name for name, _ in files_of({"two squares": cases, "a/../b": cases})] == [
        "cases-two-squares.json", "cases-a----b.json"
    ]  # fmt: skip


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_no_sideways_scrolling_and_nothing_asked_for(record, tmp_path, width):
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium on this machine: install the system's (apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api")
    pages = [EditReport(record).save(tmp_path / "edit.html"), BenchmarkReport(made(GOOD)).write(tmp_path / "b")]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for path in pages:
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark")
            asked, complaints = [], []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.on("console", lambda message, complaints=complaints: complaints.append(message.text))
            page.goto(path.as_uri())
            page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            cut = page.evaluate(
                """() => [...document.querySelectorAll('svg.chart[data-chart] text')].filter(t => {
                     const r = t.getBoundingClientRect(), s = t.closest('svg').getBoundingClientRect();
                     return r.left < s.left - 1 || r.right > s.right + 1 || r.bottom > s.bottom + 1; })
                   .map(t => t.textContent)"""
            )
            assert cut == [] and complaints == []
            assert [url for url in asked if not url.startswith(("file://", "data:"))] == []
        browser.close()
