"""Pages of edits: the headline follows stated thresholds, boards and tables show the record, names stay text."""

import inspect
import json
import re
import shutil
from dataclasses import replace

import pytest

from circuits.causes.effects import Ratio
from circuits.editing.board_edits import EditCases, parse_edit
from circuits.editing.interventions import METHODS, Editor, Method, default
from circuits.editing.results import Benchmark, CaseSet, Interval, RolloutRow, Row
from circuits.editing.saliency import SaliencyScore
from circuits.editing.scores import NAMES
from circuits.editing.tuning import Tried, Tuning
from circuits.errors import InputError
from reports.edits import benchmark_words as edit_benchmark_words
from reports.edits import text as edit_text
from reports.edits import words as edit_words
from reports.edits.benchmark_build import Plan, files_of, variants
from reports.edits.benchmark_figures import names_of
from reports.edits.benchmark_page import BenchmarkReport
from reports.edits.benchmark_records import BenchmarkRecord, benchmark_record, share_of
from reports.edits.build import edit_record
from reports.edits.page import EditReport, cases_of, edit_report
from reports.edits.records import LAYER_NORM, EditRecord, Figure
from reports.edits.settings import SETTINGS, method_of
from reports.patching.records import Origin

GAME = "E5 D5 C4 F5 E2"


@pytest.fixture(scope="module")
def editor(tiny, tiny_files):
    import probes
    from circuits.editing.changes import Ground
    from circuits.editing.stream_means import stream_means
    from circuits.games import generate

    readers = probes.load(tiny, tiny_files["probe"]).board_readers()
    return Editor(tiny, readers, Ground(stream_means(tiny, generate(30, 3))))


@pytest.fixture(scope="module")
def record(editor) -> EditRecord:
    report = edit_report(editor, GAME, ["flip E4", "erase D5"], saliency=["F3", "D2"])
    return report.record


@pytest.fixture(scope="module")
def gains_and_losses(editor) -> EditRecord:
    """An edit that makes two moves legal (C1 and G5) and two illegal."""
    return edit_report(editor, "D2 C2 E5 E2 E1 F4 B1 B2", ["flip E3"]).record


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
    "error, kl, gain, loss, verdict, said",
    [
        ((4, 0, 3.9), 0.1, 0.5, 0.5, edit_words.WORKS, "makes the model play by the edited board: error 4 → 0"),
        ((4, 0, 3.9), 0.8, 0.5, 0.5, edit_words.WORKS, "makes the model play"),  # the KL is not asked
        ((4, 0, 3.9), 0.1, 0.49, 0.2, edit_words.PARTLY, "; the new legal moves still get"),
        ((4, 0, 3.9), 0.1, 0.9, 0.51, edit_words.PARTLY, "; the new illegal moves still get"),
        ((4, 0, 3.9), 0.1, 0.08, 0.6, edit_words.FAILS, "get 2.0 % (a perfect player: 25.0 %) and the new illegal"),
        ((4, 0, 3.9), 0.1, 0.1, 0.9, edit_words.PARTLY, "part of the way"),
        ((4, 0, 3.9), 0.1, 0.0, 0.5, edit_words.PARTLY, "part of the way"),
        ((4, 2, 3.9), 0.1, 0.9, 0.1, edit_words.PARTLY, "part of the way to the edited board: error 4 → 2"),
        ((4, 2, 1.5), 0.1, 0.9, 0.1, edit_words.FAILS, "random directions do as well"),
        ((4, 0, 0.0), 0.1, 0.9, 0.1, edit_words.FAILS, "random directions do as well"),
        ((4, 3, 3.9), 0.1, 0.9, 0.1, edit_words.FAILS, "the error is not halved"),
        ((0, 0, 0.0), 0.1, 0.9, 0.1, edit_words.WORKS, "KL 0.900 → 0.100 nats"),
        ((0, 0, 0.0), 0.8, 0.9, 0.1, edit_words.FAILS, "the KL is not halved"),
        ((0, 2, 0.0), 0.1, 0.9, 0.1, edit_words.FAILS, "the edit adds errors"),
    ],
)
def test_the_verdict_follows_its_thresholds(gains_and_losses, error, kl, gain, loss, verdict, said):
    """``gain``: of what a perfect player gives the newly legal moves; ``loss``: of what newly illegal ones got."""
    record = gains_and_losses
    new, gone = edit_words.gained(record)
    assert new == ["C1", "G5"] and gone == ["F2", "F3"]
    perfect = len(new) / len(record.after.legal)
    legal, illegal = (0.0, gain * perfect, 0.0), (0.5, 0.5 * loss, 0.5)
    r = with_figures(record, error=error, KL=(0.9, kl, 0.9), **{"newly legal": legal, "newly illegal": illegal})
    assert edit_words.verdict(r) == verdict
    assert said in edit_words.headline(r)
    assert edit_words.headline(r) in re.sub(r"\s+", " ", EditReport(r).html)
    assert edit_words.THRESHOLDS in edit_text.text(r).splitlines() and edit_words.THRESHOLDS in EditReport(r).html


def test_moves_that_are_not_there_are_not_asked_for(gains_and_losses):
    """An edit that takes moves away only is judged by those."""
    record = gains_and_losses
    new, _ = edit_words.gained(record)
    r = replace(record, after=replace(record.after, legal=tuple(m for m in record.after.legal if m not in new)))
    r = with_figures(r, error=(4, 0, 3.9), **{"newly illegal": (0.5, 0.1, 0.5), "newly legal": (0.0, 0.0, 0.0)})
    assert edit_words.shares(r) == (None, pytest.approx(0.2)) and edit_words.verdict(r) == edit_words.WORKS


def test_a_number_reads_alike_everywhere(record):
    """No probability is "0.0 %" anywhere: it is 0 %, below 0.1 %, or has one decimal."""
    assert [edit_words.chance(p) for p in (0.0, 1e-5, 0.0009999, 0.001, 0.1249, 1.0)] == [
        "0 %", "< 0.1 %", "< 0.1 %", "0.1 %", "12.5 %", "100.0 %"
    ]  # fmt: skip
    for text in (edit_text.text(record), EditReport(record).html):
        assert not re.search(r"(?<![0-9])0\.0[ \u00a0]%", text)
    kl = f"{record.figures['KL'].before:.3f} → {record.figures['KL'].after:.3f}"
    assert kl in EditReport(record).html and "legal moves, nats" in edit_text.text(record)


def test_marks_differ_and_saliency_says_which_board(gains_and_losses):
    page = EditReport(gains_and_losses).html
    boards = re.findall(r'<svg class="board".*?</svg>', page, re.DOTALL)
    assert [svg.count('class="edited"') for svg in boards[:4]] == [1, 1, 0, 0]  # the edited squares, and only there
    assert all('class="lost"' in svg for svg in boards[2:4]) and 'class="lost"' not in boards[0]
    move = gains_and_losses.saliency[0].move
    assert f"{move}, on the original board" in page and f"Saliency of {move} on the original board" in page


def test_an_edit_on_which_no_move_depends_says_so(record):
    r = replace(record, after=replace(record.after, legal=record.before.legal))
    assert edit_words.verdict(r) == edit_words.UNDECIDED
    assert "changes no legal move" in edit_words.headline(r) and "E4 as" in edit_words.headline(r)


def test_the_terminal_shows_both_boards_side_by_side(record):
    lines = edit_text.text(record).splitlines()
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
        (GAME, None, "the edits are None"),
        (GAME, 5, "the edits are 5"),
        (GAME, [5], "5 is no edit"),
        (GAME, [(36,)], "is no edit"),
        (GAME, [(36, 2)], "is no edit"),
        (GAME, [("E4", "flip")], "is no edit"),
        (5, ["flip E4"], "the transcript is 5"),
        (None, ["flip E4"], "the transcript is None"),
        ("E5 A0", ["flip E4"], "A0"),
    ],
)
def test_bad_edits(transcript, edits, said):
    with pytest.raises(InputError, match=said):
        inspect.unwrap(cases_of)(transcript, edits)  # without the tests' own check of types


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
    assert method_of(editor, "Mean-Difference") == method_of(editor, "mean difference")
    with pytest.raises(InputError, match="magic"):
        method_of(editor, "magic")
    with pytest.raises(InputError, match="joint"):
        method_of(editor, "gradient", solve="in turn")


def test_the_bundled_default_is_its_own_setting():
    """On a model of eight layers the table agrees with `circuits.editing.interventions.default`."""
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
    tuning = Tuning(tuned, 60, 27.0, 2.0)
    return benchmark_record(b, tuning, "60 cases", score if saliency else None, "negate x1, L1", 30, "linear", origin)


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
    assert "gradient 1.60" in words["What fails"] and "negate" not in words["What fails"].partition("Better than")[0]
    assert "worse by 0.30 [0.20, 0.40]" in words["The lowest error"] and "leaves out 0" in words["The lowest error"]
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
    assert (
        "Not shown to be better than random directions: negate 2.30 (high end 2.40; random 2.10)."
        in (words["What fails"])
    )


def test_random_directions_are_beaten_by_a_margin_only():
    """The interval's high end (0.1 above the mean) must lie below the random mean of 2.1."""
    words = dict(edit_benchmark_words.findings(made({"negate": 0.4, "gradient": 2.05})))["What fails"]
    assert "below the random mean: negate." in words and "gradient 2.05 (high end 2.15; random 2.10)" in words
    assert "All do better" not in words
    assert "Not shown" not in dict(edit_benchmark_words.findings(made(GOOD)))["What fails"]


def test_the_best_is_said_of_a_margin_only_and_few_cases_are_named():
    b = made(GOOD)
    assert "It is the best of 3 methods measured." in edit_benchmark_words.headline(b) and "over 100 cases" in (
        edit_benchmark_words.headline(b)
    )
    tie = edit_benchmark_words.headline(replace(b, margin=replace(b.margin, low=-0.1)))
    assert "tied with class mean, all plies x1, L1" in tie and "the best" not in tie
    assert "With only 50 natural cases and 50 unnatural cases, the settings chosen and the order" in tie
    many = replace(b, sets=tuple(replace(s, cases=100) for s in b.sets))
    assert "provisional" not in edit_benchmark_words.headline(many)
    assert "49 tuning cases" in edit_benchmark_words.headline(replace(many, tuning_cases=49))


def test_rollouts_have_their_number_and_interval():
    b = made(GOOD)
    assert all(r.n == 30 and r.last.low < r.survived[-1] < r.last.high for r in b.rollouts)
    assert "30 roll-outs: class mean x1, L1 55.0 %" in edit_benchmark_words.rolled(b)[0].replace("55 %", "55.0 %")
    assert "Natural, 30 roll-outs" in BenchmarkReport(b).html
    # Wilson's interval: 8 of 10, from a table; nothing and all stay within 0..1.
    assert (share_of(0.8, 10).low, share_of(0.8, 10).high) == pytest.approx((0.490, 0.943), abs=1e-3)
    assert share_of(0.0, 10).low == 0 and share_of(1.0, 10).high == 1 and share_of(0.0, 10).high < 0.3


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
    with pytest.raises(InputError, match="--least-changed 21: give 20 at most"):
        Plan(least_changed=21)
    plan = Plan(cases=10, tune=5, methods=("Class-Mean",), rollouts=4, two_squares=0, saliency=0)
    assert plan.methods == ("class mean",)
    # 6 strengths at 8 layers and 4 at each of 14 runs of layers, on 10 cases; 10 runs and 7 a layer on 20 cases.
    assert plan.runs(8, {}) == (
        "roughly 1,000 passes of tuning, 1,300 of measuring and 240 of roll-outs, over 20 cases; 0 positions of "
        "saliency maps"
    )
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
