"""A training run's page: true to the log, whole where the log is long or cut, small, offline and readable."""

import html as html_words
import itertools
import json
import math
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_browser import CHROMIUM, FLAGS
from test_pages import Outline

from circuits import plain
from circuits.behaviour import play_quality
from circuits.checkpoints import Shape
from circuits.errors import InputError
from circuits.training.config import TrainConfig
from circuits.training.lessons import held_out_games
from probes.published import LINEAR_BLACK_WHITE, LINEAR_MINE_THEIRS, PATTERN_NEURONS, PUBLISHED
from probes.specimen import Specimen
from reports.curves import Curve, curves, log_ticks
from reports.text import count, number
from reports.thinning import thin
from reports.training import curves as training_curves
from reports.training import figures as training_figures
from reports.training import runs as training_runs
from reports.training.page import build
from reports.training.runs import read_run, uniform_guess

CONFIG = TrainConfig(shape=Shape(2, 32, 4, 8, 64), games=6400, batch=64, log_every=10, eval_games=20,
                     final_eval_games=40, dropout=0.1)  # fmt: skip
COMMAND = "othello-circuits train --width 32 --games 6400"
ERRORS = ("illegal_top1", "illegal_mass", "kl", "top_n_error")


def train_row(i, n=10, every=10):
    e = math.exp(-3 * i / n)
    return {
        "kind": "train", "step": every * i, "games": 64 * every * i, "seconds": 1.5 * i,
        "games_per_s": None if i == 1 else 430.0 + i, "lr": 0.01 * i / n, "loss": 2.1 + 2 * e + 0.01 * (-1) ** i,
        "illegal_top1": 0.0 if i == n else 0.7 * e, "illegal_mass": 0.8 * e, "kl": 2 * e, "top_n_error": 13 * e,
        "grad_norm": 0.5 + e,
    }  # fmt: skip


def eval_row(i, n=10, games=20):
    e = math.exp(-3 * i / n) * games / 20
    return {
        "kind": "eval", "step": 10 * i, "games": 640 * i, "seconds": 1.5 * i, "eval_games": games, "loss": 2.05 + 2 * e,
        "illegal_top1": 0.6 * e, "illegal_mass": 0.75 * e, "kl": 1.9 * e, "top_n_error": 12 * e,
    }  # fmt: skip


def event(what, i=0, **more):
    return {"kind": "event", "step": 10 * i, "games": 640 * i, "seconds": 1.5 * i, "what": what, **more}


def whole_log():
    rows = [event("started")]
    for i in range(1, 11):
        rows.append(train_row(i))
        if i in (2, 4, 8):
            rows.append(eval_row(i))
        if i == 5:
            rows += [event("leg ended", 5), event("resumed", 5)]
    return [*rows, eval_row(10), eval_row(10, games=40), event("finished", 10)]


def write_run(folder, rows=None, config=CONFIG, tail="", **about):
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    for games in (1280, 2560, 5120, 6400):
        (folder / "checkpoints" / f"games-{games:010d}.safetensors").write_bytes(b"")
    content = {
        "config": config.to_dict(), "command": COMMAND, "parameters": 20_000, "learning": 20_000,
        "data": "random legal games", "machine": "a machine", "versions": {"torch": "2"}, "begun": "2026-01-01",
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(content | about))
    lines = "".join(json.dumps(r) + "\n" for r in (whole_log() if rows is None else rows))
    (folder / "log.jsonl").write_text(lines + tail)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture(scope="module")
def page(folder):
    return build(folder).html


def tables(page):
    """The number tables under the figures, by title: rows of cells."""
    found = {}
    for figure in page.split("<figure>")[1:]:
        title = re.search(r"<h3>(.*?)</h3>", figure)
        rows = re.findall(r"<tr>(<td.*?)</tr>", figure.split("</figure>")[0], re.S)
        if title and rows:
            found[title[1]] = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    return found


def test_every_number_under_a_figure_is_the_logs(page):
    rows = whole_log()
    shown = tables(page)
    assert set(shown) == {f.title for f in training_curves.FIGURES}
    for f in training_curves.FIGURES:
        expected = []
        for r in rows:
            held_out = r["kind"] == "eval"
            last = not held_out or r["games"] != 6400 or r["eval_games"] == 40
            if r["kind"] != "event" and last and r.get(f.name) is not None:
                of = "held out" if held_out else "training"
                expected.append((r["games"], [of, count(r["games"]), number(f.scale * r[f.name], 4)]))
        assert shown[f.title] == [
            row for _, row in sorted(expected, key=lambda pair: (pair[0], pair[1][0] != "training"))
        ]


def test_the_top_says_the_last_evaluation_beside_its_baselines(page):
    last = eval_row(10, games=40)
    for name in ERRORS:
        assert f'data-figure="{name}" data-v="{last[name]:.4g}"' in page
    top = page.split("<nav")[0]
    assert "After 6,400 games, 6 % of its first choices are illegal on 40 held-out games" in top
    assert f"uniform guess {number(100 * uniform_guess()['illegal_top1'], 2)} %" in top
    assert f"after 1,280 games {number(100 * eval_row(2)['illegal_top1'], 2)} %" in top
    assert "0.01 %" in top  # the published rate


def test_the_uniform_guess_is_that_of_the_evaluation(monkeypatch):
    monkeypatch.setattr(training_runs, "GUESS_GAMES", 30)
    ours = uniform_guess.__wrapped__()
    quality = play_quality(plain.load(Path(__file__).parent / "assets" / "tiny.safetensors"), held_out_games(30))
    assert ours["illegal_top1"] == pytest.approx(quality.chance_illegal_top1)
    assert ours["kl"] == pytest.approx(quality.chance_kl)
    assert ours["top_n_error"] == pytest.approx(quality.chance_top_n_error)
    assert ours["loss"] - ours["kl"] == pytest.approx(ours["least_loss"])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "Not finished: 0 of 6,400 games so far; still under way, or killed. It was not evaluated"),
        ([event("started"), train_row(3)], "Not finished: 1,920 of 6,400 games so far"),
        ([event("started"), eval_row(2), train_row(3)], "At the last evaluation, after 1,280 games, 33 %"),
        ([event("started"), eval_row(2), event("interrupted", 3)], "Interrupted after 1,920 of 6,400 games."),
        ([event("started"), event("leg ended", 3), event("resumed", 3), event("leg ended", 4)],
         "Not finished: 2,560 of 6,400 games so far, in 2 legs."),
        ([event("started"), eval_row(2), train_row(3), event("nan", 4, at=37)],
         "Ended at step 37, after 2,560 of 6,400 games, with a loss that is no number."),
        ([event("started"), eval_row(2), event("stopped early", 2), eval_row(2), event("finished", 2)],
         "Stopped early after 1,280 of 6,400 games. At the last evaluation, after 1,280 games, 33 %"),
        ([event("started"), eval_row(2), event("stopped early", 3), eval_row(2), event("finished", 3, kept=1280)],
         "early after 1,920 of 6,400 games. Its weights after 1,280 games, where the held-out loss was lowest, were "
         "kept: with them 33 %"),
        ([event("started"), eval_row(2) | {"illegal_top1": 0.0}, event("finished", 2)], "none of its first choices is"),
        ([event("finished", 2), event("resumed", 2), eval_row(2), event("finished", 2)], "After 1,280 games, 33 %"),
        ([event("stopped early", 2), event("resumed", 2), eval_row(2), event("finished", 2)],
         "Stopped early after 1,280"),
        ([event("stopped early", 2), event("resumed", 2), event("stopped early", 2), eval_row(2), event("finished", 2)],
         "Stopped early after 1,280"),
        ([event("stopped early", 2), event("resumed", 2), eval_row(10), event("finished", 10)],
         "After 6,400 games, 3 %"),
        ([event("started"), event("nan", 0, at=1)],
         "Ended at step 1, after 0 of 6,400 games, with a loss that is no number. It was not evaluated on held-out "
         "games."),
        ([event("nan")], "Ended at step 0, after 0 of 6,400 games"),
    ],
)  # fmt: skip
def test_the_sentence_says_how_the_run_stands(tmp_path, rows, said):
    report = build(write_run(tmp_path / "run", rows))
    assert said in report.headline
    assert html_words.escape(report.headline, quote=False) in report.html
    assert not re.search(r"\b(nan|inf|None)\b", report.html)


def test_places_of_checkpoints_legs_and_the_end_are_marked(tmp_path, page):
    loss = re.search(r'data-chart="loss">.*?</svg>', page, re.S)[0]
    assert loss.count('class="keep"') == 4
    assert loss.count('class="leg"') == 1
    assert 'class="broken"' not in page
    assert "loss no number" not in page
    rows = [event("started"), *map(train_row, (1, 2, 3)), event("nan", 4, at=31)]
    broken = build(write_run(tmp_path / "run", rows)).html
    assert re.search(r'data-chart="loss">.*?</svg>', broken, re.S)[0].count('class="broken"') == 1
    assert "loss no number" in broken
    assert "resumed" not in broken


def test_a_run_that_ended_before_its_first_line_has_a_page(tmp_path, folder):
    broken = write_run(tmp_path / "broken", [event("started"), event("nan", 0, at=1)])
    page = build(broken).html
    assert "No figures in the log." in page
    assert not tables(page)
    assert '<h2 id="h-settings">' in page
    assert "nan" in build([broken, folder]).html.split('id="runs"')[1]
    assert "Fewer than two" in build([broken, broken]).headline
    assert "No figures in the log yet." in build(write_run(tmp_path / "begun", [event("started")])).html


def caption_of(page, title):
    figure = page.split(f"<h3>{title}</h3>")[1].split("</figure>")[0]
    return html_words.unescape(re.sub(r"<[^>]*>", "", re.search(r"<figcaption>(.*?)</figcaption>", figure, re.S)[1]))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "with dropout on"),
        ({"dropout_until": 0.65}, "with dropout on for the first 65 % of the run"),
        ({"dropout": 0.0}, ""),
        ({"dropout_until": 0.0}, ""),
    ],
)
def test_curves_say_that_training_games_were_seen_with_dropout(tmp_path, folder, changed, said):
    run = write_run(tmp_path / "run", config=replace(CONFIG, **changed))
    page = build(run).html
    for f in training_curves.FIGURES:
        caption, dropped = caption_of(page, f.title), said if f.name not in ("lr", "games_per_s") else ""
        assert ("dropout" in caption) == bool(dropped)
        if dropped:
            assert f"Training, {dropped}: " in caption
            assert ("Held-out figures are without dropout." in caption) == f.held_out
    assert f"training games{', ' * bool(said)}{said}</li>" in page
    assert training_figures.curve(run, "loss").data[0].name == f"training{', ' * bool(said)}{said}"
    several = caption_of(build([run, folder]).html, "Gradient norm")
    assert f"Trained {f'run {said} and ' * bool(said)}first with dropout on." in several


def test_a_training_point_may_cover_fewer_games_than_the_others(page):
    assert "Training, with dropout on: means over up to 640 games before." in caption_of(page, "Loss")


# --- drawing ----------------------------------------------------------------------------------------------------


def points(svg, kind):
    path = re.search(rf'class="curve {kind}" d="M([^"]*)"', svg)[1]
    return np.array([[float(v) for v in p.split()] for p in path.split("L")])


@pytest.mark.parametrize("log_x", [False, True])
@pytest.mark.parametrize("log_y", [False, True])
def test_points_lie_where_the_numbers_put_them(log_x, log_y):
    x = np.array([1.0, 3, 10, 40, 100])
    y = np.array([9.0, 5, 2, 0.7, 0.2])
    drawn = points(str(curves("t", [Curve("a", "k", list(x), list(y))], "x", "y", log_x, log_y)), "k")
    for values, place, log in ((x, drawn[:, 0], log_x), (y, -drawn[:, 1], log_y)):
        values = np.log(values) if log else values
        expected = (values - values[0]) / (values[-1] - values[0])
        assert np.allclose((place - place[0]) / (place[-1] - place[0]), expected, atol=2e-3)


def test_zero_lies_on_the_lower_edge_of_a_logarithmic_axis():
    svg = str(curves("t", [Curve("a", "k", [1.0, 2.0, 3.0], [0.5, 0.1, 0.0])], "x", "y", log_y=True))
    floor = float(re.search(r'class="axis" d="M\d+ (\d+)', svg)[1])
    assert points(svg, "k")[2, 1] == floor
    assert points(svg, "k")[1, 1] < floor - 10


@pytest.mark.parametrize("values", [[], [0.0], [0.0, 0.0], [2.0], [1e-9, 1e-9], [3.0, 3.0 + 1e-12]])
@pytest.mark.parametrize("log", [False, True])
def test_little_or_level_data_is_drawn_too(values, log):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = str(curves("t", [Curve("a", "k", [1.0 + i for i in range(len(values))], values)], "x", "y", log, log))
    assert svg.startswith("<svg")
    assert not re.search(r"nan|inf", svg)


@given(st.floats(1e-9, 1e9), st.floats(1.01, 1e9))
def test_marks_of_a_logarithmic_axis_are_inside_and_ascend(low, factor):
    marks = log_ticks(low, low * factor)
    assert 1 <= len(marks) <= 12
    assert all(low * (1 - 1e-6) <= m <= low * factor * (1 + 1e-6) for m in marks)
    assert all(a < b for a, b in itertools.pairwise(marks))


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.floats(-10, 10)), min_size=1, max_size=300),
    st.integers(3, 60),
    st.booleans(),
)
def test_thinning_hides_nothing(steps, most, log_x):
    x = np.cumsum([a for a, _ in steps]).astype(float)
    y = np.array([b for _, b in steps])
    bins = thin(x, y, most, log_x)
    assert 1 <= len(bins.mean) <= most
    assert bins.lines.sum() == len(x)
    assert (bins.first[0], bins.mean[0]) == (x[0], y[0])
    assert (bins.last[-1], bins.mean[-1]) == (x[-1], y[-1])
    assert (bins.high.max(), bins.low.min()) == (y.max(), y.min())
    assert np.isclose((bins.mean * bins.lines).sum(), y.sum(), atol=1e-6)
    assert (bins.first <= bins.last).all()
    assert (bins.last[:-1] <= bins.first[1:]).all()
    ends = np.cumsum(bins.lines)
    for end, n, low, mean, high in zip(ends, bins.lines, bins.low, bins.mean, bins.high, strict=True):
        part = y[end - n : end]
        assert (low, high) == (part.min(), part.max())
        assert np.isclose(mean, part.mean())
    if len(x) <= most:
        assert (bins.lines == 1).all()
        return
    place = np.log(np.maximum(x, 0.5)) if log_x else x
    width = (place[-2] - place[1]) / (most - 2)
    first, last = (np.log(np.maximum(v, 0.5)) if log_x else v for v in (bins.first, bins.last))
    assert (last - first <= width * (1 + 1e-9) + 1e-9).all()  # no bin is wider on the axis than another may be


def test_a_long_log_makes_a_small_page_that_still_shows_its_extremes(tmp_path):
    n = 4000
    rows = [event("started")] + [r for i in range(1, n + 1) for r in (train_row(i, n), eval_row(i, n))]
    rows[2 * 1234 + 1]["loss"] = 7.25  # one bad moment, far from any end
    page = build(write_run(tmp_path / "run", [*rows, event("finished", n)])).html
    assert len(page.encode()) <= 200_000
    loss = tables(page)["Loss"]
    assert sum(int(r[5].replace(",", "")) for r in loss if r[0] == "training") == n
    assert "7.25" in [r[4] for r in loss]
    training = [r for r in loss if r[0] == "training"]
    assert training[0][1] == "640"
    assert training[-1][1] == count(640 * n)
    assert training[-1][2] == number(rows[-2]["loss"], 4)
    assert "Thinned to" in page
    svg = re.search(r'data-chart="loss">.*?</svg>', page, re.S)[0]
    height = -points(svg, "train")[:, 1]
    means = np.array([float(r[2]) for r in training])
    assert len(means) <= training_curves.MOST_BINS
    assert np.allclose((height - height[0]) / np.ptp(height), (means - means[0]) / np.ptp(means), atol=2e-3)


# --- the page ---------------------------------------------------------------------------------------------------


def test_a_page_is_small_and_asks_nothing_of_anyone(page):
    assert len(page.encode()) <= 100_000
    outline = Outline(page)
    assert not outline.all("script")
    assert not re.findall(r"https?://|url\(|@import", page)
    for tag, attrs in outline.tags:
        for name in ("src", "srcset", "data", "action", "href", "xlink:href"):
            value = attrs.get(name)
            assert value is None or value.startswith(("#", "data:,")), (tag, name, value)
        assert not any(name.startswith("on") for name in attrs)


def test_a_page_can_be_heard(page):
    outline = Outline(page)
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    for svg in outline.all("svg"):
        assert svg.get("aria-hidden") == "true" or (svg.get("role") == "img" and svg.get("aria-label"))
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for a in outline.all("a"):
        assert a["href"][1:] in ids
    charts = {svg["data-chart"]: svg["aria-label"] for svg in outline.all("svg") if "data-chart" in svg}
    assert "held out from" in charts["loss"]
    for figure in page.split("<figure>")[1:]:
        assert "<figcaption>" in figure.split("</figure>")[0]


def test_names_reach_a_page_as_text(tmp_path):
    evil = "<img src=x onerror=alert(1)>\"'"
    config = CONFIG.to_dict() | {"objective": evil, "optimiser": evil, "init": evil, "freeze": [evil], "new": evil}
    folder = write_run(
        tmp_path / evil, config=CONFIG, command=evil, data=evil, machine=evil, versions={evil: evil}, begun=evil
    )
    about = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(about | {"config": config}))
    for report in (build(folder), build([folder, write_run(tmp_path / "b")])):
        outline = Outline(report.html)
        assert not outline.all("img")
        assert not outline.all("script")
        assert not any(name.startswith("on") for _, attrs in outline.tags for name in attrs)
        assert "&lt;img src=x" in report.html
        assert [tag for tag, _ in Outline(report._repr_html_()).tags] == ["iframe"]


def test_settings_that_were_changed_come_first_and_all_are_there(page):
    section = page.split('id="settings"')[1].split("</section>")[0]
    changed, kept = section.split("<details>")
    names = lambda part: re.findall(r"<code>([\w.]+)</code>", part)  # noqa: E731
    plain, here = TrainConfig().to_dict(), CONFIG.to_dict()
    shape, plain_shape = here.pop("shape"), plain.pop("shape")
    differ = {k for k in here if here[k] != plain[k]} | {f"shape.{k}" for k in shape if shape[k] != plain_shape[k]}
    assert set(names(changed)) == differ
    assert set(names(changed) + names(kept)) == set(here) | {f"shape.{k}" for k in shape}
    assert "0.01 (of muon)" in kept  # the learning rate that was left open


def test_the_command_makes_the_run_and_the_python_lines_run(folder, page, monkeypatch):
    commands = [html_words.unescape(c) for c in re.findall(r'<code class="copy">(.*?)</code>', page)]
    assert f"{COMMAND} --out first" in commands
    again = next(c for c in commands if "TrainConfig" in c)
    asked = []
    monkeypatch.setattr("circuits.training.loop.train", lambda config, out: asked.append(config))
    exec(again, {})
    assert asked == [CONFIG]
    lines = [
        html_words.unescape(c)
        for c in re.findall(r"<code>(from reports.training import figures as training_figures.*?)</code>", page)
    ]
    assert len(lines) == len(training_curves.FIGURES)
    for line in lines:
        space = {}
        exec(line.replace("; ", "; figure = "), space)
        assert len(space["figure"].data) >= 1


def test_plotly_figures_carry_the_logs_numbers(folder):
    run = read_run(folder)
    training, held_out = training_figures.curve(run, "illegal_top1").data
    logged = [r for r in whole_log() if r["kind"] == "train"]
    assert list(training.x) == [r["games"] for r in logged]
    assert np.allclose(training.y, [100 * r["illegal_top1"] for r in logged])
    assert list(held_out.x) == [1280, 2560, 5120, 6400]
    assert len(training_figures.overview([run, run]).data) == 2 * len(training_curves.FIGURES)
    with pytest.raises(InputError, match="no figure 'accuracy': they are loss"):
        training_figures.curve(run, "accuracy")


def test_games_of_a_file_have_neither_uniform_guess_nor_published_rate(tmp_path):
    config = TrainConfig(shape=CONFIG.shape, games=6400, objective="sampled", games_file="wthor.pgn")
    rows = [r | {"kl": None} if r["kind"] != "event" else r for r in whole_log()]
    page = build(write_run(tmp_path / "run", rows, config)).html
    top = page.split("<nav")[0]
    assert "uniform" not in page
    assert "published" not in top
    assert 'data-figure="loss"' in top  # in place of the KL that there is not
    assert 'data-figure="kl"' not in top
    assert "Distance to the best prediction" not in page
    assert "Cross-entropy of the next move" in page
    assert not re.search(r"\b(nan|inf|None)\b", page)


# --- inside -----------------------------------------------------------------------------------------------------


def specimen(layers=8, **changed):
    rising = tuple(range(layers))
    play = {
        "games": 30, "positions": 1770, "illegal_top1": 0.0123, "illegal_mass": 0.02, "kl_to_uniform_legal": 0.1,
        "top_n_error": 0.5, "chance_illegal_top1": 0.857, "chance_kl": 2.09, "chance_top_n_error": 14.2,
    }  # fmt: skip
    counts = {
        bar: {
            "released": tuple(k * i for i in rising), "strict": rising, "covered": 80 + k, "covered late": 70 + k,
            "strict covered": 60 + k,
        }
        for bar, k in (("0.95", 3), ("0.9", 5))
    }  # fmt: skip
    about = {
        "model": "m", "model_hash": "h", "shape": {"n_layers": layers, "d_model": 32, "n_heads": 4, "d_mlp": 64},
        "parameters": 1000, "probe_games": 300, "play_games": 30, "pattern_games": 200, "maxima_games": 100,
        "fact_games": 90,
    }  # fmt: skip
    made = {
        "about": about,
        "play": play,
        "play_by_ply": {
            name: (*(0.001 * t for t in range(58)), None) for name in play if name not in ("games", "positions")
        },
        "mine_theirs": tuple(0.9 + 0.01 * i for i in rising),
        "black_white": tuple(0.7 + 0.01 * i for i in rising),
        "standard_error": (0.002,) * layers,
        "patterns": counts,
        "one_fact": {"0.5": tuple(7 * i for i in rising), "0.9": tuple(2 * i for i in rising)},
        "published": PUBLISHED | PATTERN_NEURONS,
    }
    return Specimen(**made | changed)


@pytest.fixture
def examined(tmp_path):
    folder = write_run(tmp_path / "examined")
    specimen().to_json(folder / "specimen.json")
    return folder


def rows_of(page, title):
    """A table that stands open on the page: its head, and rows by their name."""
    figure = page.split(f"<h3>{title}</h3>")[1].split("</figure>")[0]
    head = [html_words.unescape(h) for h in re.findall(r'<th scope="col">(.*?)</th>', figure)]
    rows = re.findall(r'<th scope="row">(.*?)</th>(.*?)</tr>', figure)
    return head[1:], {name: re.findall(r"<td>(.*?)</td>", cells) for name, cells in rows}


def test_what_was_found_inside_stands_by_layer_beside_what_was_published(examined):
    page, s = build(examined).html, specimen()
    head, rows = rows_of(page, "By layer")
    assert head == ["mine/theirs", "published", "black/white", "published", "patterns 0.95", "published", "strict 0.95",
                    "patterns 0.9", "strict 0.9", "fact > 0.5", "fact > 0.9"]  # fmt: skip
    for i in range(8):
        assert rows[f"L{i}"] == [
            f"{90 + i:.1f}", str(LINEAR_MINE_THEIRS[i]), f"{70 + i:.1f}", str(LINEAR_BLACK_WHITE[i]), str(3 * i),
            str(PATTERN_NEURONS["pattern neurons at 0.95"][i]), str(i), str(5 * i), str(i), str(7 * i), str(2 * i),
        ]  # fmt: skip
    assert rows["all"][4:] == ["84", "627", "28", "140", "28", "196", "56"]
    assert "at 0.95: 83 (strictly 63); at 0.9: 85 (strictly 65); published, L4–L6 at 0.9: 939" in page
    assert "best after L7: 97.0 % of squares" in page
    assert "84 of its 512 neurons are pattern neurons at 0.95 (28 strictly)" in page
    by_ply = tables(page)["Illegal first choices by ply"]
    assert by_ply == [[str(t), number(100 * v, 4)] for t, v in enumerate(s.play_by_ply["illegal_top1"][:-1])]
    assert len(page.encode()) <= 150_000


GUESS = {"mine_theirs": 0.612, "black_white": 0.587}


def test_the_constant_guess_stands_beside_the_probes(tmp_path, examined):
    folder = write_run(tmp_path / "run")
    plain = specimen()
    specimen(about=plain.about | {"constant_guess": GUESS}).to_json(folder / "specimen.json")
    said = "Constant guess, the most frequent state of each square at each ply: 61.2 (black/white 58.7)."
    page = build(folder).html
    assert "and 77.0 % as black, white or empty (a constant guess: 61.2 and 58.7 %)" in page
    assert said in caption_of(page, "How well the board is read")
    assert ">constant guess 61.2</text>" in page
    row = rows_of(page, "By layer")[1]["guess"]
    assert row == ["61.2", "", "58.7", *[""] * 8]
    assert training_figures.board(folder).layout.shapes[0].y0 == 61.2
    both = build([folder, examined]).html
    assert ">constant guess 61.2</text>" in both
    assert said in caption_of(both, "Side by side")
    old = build(examined).html  # written before there was one
    assert "onstant guess" not in old
    assert not training_figures.board(examined).layout.shapes


def test_another_depth_has_no_layer_to_stand_beside(tmp_path):
    folder = write_run(tmp_path / "run")
    specimen(3).to_json(folder / "specimen.json")
    page = build(folder).html
    head, rows = rows_of(page, "By layer")
    assert "published" not in head
    assert set(rows) == {"L0", "L1", "L2", "all"}
    assert "Published for 8 layers of 512, best layer: mine/theirs 99.6, black/white 75.0; 627 pattern neurons" in page
    assert 'class="curve pub"' not in page


def test_layers_without_a_pattern_neuron_lie_on_the_lower_edge(tmp_path):
    nothing = {bar: c | {"released": (0,) * 8, "strict": (0,) * 8} for bar, c in specimen().patterns.items()}
    folder = write_run(tmp_path / "run")
    specimen(patterns=nothing, published={**PUBLISHED, **PATTERN_NEURONS, "pattern neurons at 0.95": ()}).to_json(
        folder / "specimen.json"
    )
    svg = re.search(r'data-chart="patterns">.*?</svg>', build(folder).html, re.S)[0]
    floor = float(re.search(r'class="axis" d="M\d+ (\d+)', svg)[1])
    assert (points(svg, "held")[:, 1] == floor).all()
    assert ">0</text>" in svg


def test_the_lines_under_what_was_found_inside_run(examined, folder, tmp_path):
    twin = write_run(tmp_path / "twin")
    specimen(3).to_json(twin / "specimen.json")
    for runs, n in ((examined, 5), ([examined, twin, folder], 3)):
        section = build(runs).html.split('id="inside"')[1].split("</section>")[0]
        lines = [html_words.unescape(c) for c in re.findall(r"<code>(from .*?)</code>", section)]
        assert len(lines) == n
        for line in lines:
            space = {}
            exec(line.replace("; ", "; made = "), space)
            assert space["made"]
    assert list(training_figures.board(examined).data[0].y) == pytest.approx([90 + i for i in range(8)])
    assert list(training_figures.patterns(examined).data[0].y) == [3 * i for i in range(8)]
    with pytest.raises(InputError, match="no figure 'loss' by ply"):
        training_figures.by_ply(examined, "loss")
    with pytest.raises(InputError, match="none of these runs was looked into"):
        training_figures.board(folder)


def test_models_side_by_side_inside(examined, folder):
    page = build([folder, examined]).html
    head, rows = rows_of(page, "Side by side")
    assert dict(zip(head, rows["examined"], strict=True)) == {
        "after": "L7", "mine/theirs": "97.0", "black/white": "77.0", "patterns 0.95": "84", "strict 0.95": "28",
        "patterns 0.9": "140", "strict 0.9": "28", "covered 0.9": "85", "fact > 0.5": "196", "fact > 0.9": "56",
    }  # fmt: skip
    assert "Not looked into: first." in page


def test_a_damaged_specimen_is_refused(examined):
    text = (examined / "specimen.json").read_text()
    (examined / "specimen.json").write_text(text.replace("0.0123", "0.0001"))
    with pytest.raises(InputError, match=r"specimen\.json: .*damaged or edited") as error:
        build(examined)
    assert "\n" not in str(error.value)


# --- several runs -----------------------------------------------------------------------------------------------


def test_runs_side_by_side(folder, tmp_path):
    other = TrainConfig(shape=Shape(2, 32, 4, 8, 64, act="relu"), games=6400, batch=64, log_every=10, eval_games=20,
                        final_eval_games=40, dropout=0.1)  # fmt: skip
    rows = [r | {"illegal_top1": r["illegal_top1"] / 2} if r["kind"] == "eval" else r for r in whole_log()[:-1]]
    second = write_run(tmp_path / "second", rows, other)
    report = build([folder, second])
    assert report.headline == (
        "Fewest illegal first choices: second, 3 % after 6,400 games; most: first, 6 % after 6,400 games. "
        "Not finished: second."
    )
    section = report.html.split('id="runs"')[1].split("</section>")[0]
    head = re.findall(r'<th scope="col">(.*?)</th>', section)
    assert head[-3:] == ["time", "state", "act"]  # the only setting in which they differ
    assert "relu" in section
    svg = re.search(r'data-chart="illegal_top1">.*?</svg>', report.html, re.S)[0]
    first, half = points(svg, "run0"), points(svg, "run1")
    assert np.allclose(first[:, 0], half[:, 0])
    assert np.allclose(np.diff(half[:, 1] - first[:, 1]), 0, atol=0.15)  # half as many: as far below everywhere
    shown = tables(report.html)["Illegal first choices"]
    assert [r[0] for r in shown] == ["first"] * 4 + ["second"] * 4
    assert len(report.html.encode()) <= 100_000
    assert build([folder]).headline == build(folder).headline


def test_runs_of_one_name_are_told_apart_by_their_folders(folder, tmp_path):
    twin = write_run(tmp_path / "first")
    report = build([folder, twin])
    assert {r.name for r in report.runs} == {str(folder), str(twin)}
    with pytest.raises(InputError, match=r"^9 runs: at most 8"):
        build([folder] * 9)
    with pytest.raises(InputError, match="no training run"):
        build([])


def test_eight_long_runs_make_one_small_page(tmp_path):
    rows = [event("started")] + [r for i in range(1, 301) for r in (train_row(i, 300), eval_row(i, 300))]
    folders = [write_run(tmp_path / str(i), rows) for i in range(8)]
    assert len(build(folders).html.encode()) <= 200_000


# --- bad input --------------------------------------------------------------------------------------------------


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path, folder):
    cut = build(write_run(tmp_path / "first", tail='{"kind": "train", "step": 99'))
    assert cut.headline == build(folder).headline


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no json", "line 3: no line of a training log"),
        ('{"kind": "train", "step": 1, "games": "many", "seconds": 1}', "line 3: "),
        (
            '{"kind": "train", "step": 1, "games": 1, "seconds": "many"}',
            'line 3: seconds is "many", which is no number',
        ),
        ('{"kind": "train", "step": 1, "games": -1, "seconds": 1}', "line 3: games is -1"),
        ('{"kind": "train", "step": 1, "games": 1}', "line 3: seconds is null"),
        ('{"kind": "train", "step": 1, "games": 1, "seconds": 1, "loss": [1]}', r"line 3: loss is \[1\]"),
        ('{"kind": "train", "step": 1, "games": 1, "seconds": 1, "loss": 1%s}' % ("0" * 400), "line 3: loss is 10000"),
        ('{"kind": "eval", "step": 1, "games": 1, "seconds": 1, "loss": 1}', "line 3: eval_games is null"),
        ('{"kind": "event", "step": 1, "games": 1, "seconds": 1}', "line 3: an event that does not say"),
    ],
)
def test_a_damaged_log_is_refused_by_its_line(tmp_path, line, said):
    folder = write_run(
        tmp_path / "run", [event("started"), train_row(1)], tail=line + "\n" + json.dumps(event("x")) + "\n"
    )
    with pytest.raises(InputError, match=said) as error:
        build(folder)
    assert "log.jsonl" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.pop("games"), "games is null"),
        (lambda c: c.update(batch="x"), 'batch is "x"'),
        (lambda c: c.update(optimiser=[]), r"optimiser is \[\]"),
        (lambda c: c.update(shape={"n_layers": 8}), "shape has no whole number d_model"),
    ],
)
def test_a_damaged_configuration_is_refused(tmp_path, change, said):
    folder = write_run(tmp_path / "run")
    about = json.loads((folder / "run.json").read_text())
    change(about["config"])
    (folder / "run.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=said) as error:
        build(folder)
    assert "\n" not in str(error.value)


def test_a_folder_without_a_run_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for place, said in (
        (tmp_path / "none", "holds no training run"),
        (tmp_path / "file", "is no folder of a training"),
    ):
        with pytest.raises(InputError, match=said) as error:
            build(place)
        assert "\n" not in str(error.value)
    folder = write_run(tmp_path / "run")
    (folder / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json is damaged"):
        build(folder)


def test_a_report_saves_and_names_itself(folder, tmp_path):
    report = build(folder)
    assert report.save(tmp_path / "a" / "report.html").read_text() == report.html
    assert repr(report).startswith("first: After 6,400 games")
    with pytest.raises(InputError, match="cannot write"):
        report.save(folder)


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_no_sideways_scrolling_in_a_browser(folder, examined, tmp_path, width):
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install the system's (apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api")
    long = write_run(tmp_path / ("a-long-name-without-a-break" * 4))
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for i, runs in enumerate((folder, examined, [long, examined])):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark")
            asked, complaints = [], []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.on("console", lambda message, complaints=complaints: complaints.append(message.text))
            page.goto(build(runs).save(tmp_path / f"{i}.html").as_uri())
            page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            cut = page.evaluate(
                """() => [...document.querySelectorAll('svg.chart[data-chart] text')].filter(t => {
                     const r = t.getBoundingClientRect(), s = t.closest('svg').getBoundingClientRect();
                     return r.left < s.left - 1 || r.right > s.right + 1 || r.bottom > s.bottom + 1; })
                   .map(t => t.textContent)"""
            )
            assert cut == []
            shade = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
            assert sum(page.evaluate(shade)) < 100
            assert [url for url in asked if not url.startswith(("file://", "data:"))] == []
            assert complaints == []
            page.close()
        browser.close()
