"""``othello-circuits explain``: its numbers are the record's; a refusal is one line."""

import json

import pytest
from command_line import refused

from circuits.explanation.without import Without
from circuits.games import generate
from circuits.notation import TOKEN_SQUARE, print_transcript
from reports.explanation.records import ExplanationRecord
from reports.server.text import without_text

GAME = "E5 D5 C4 F5 E2"
STANDARD = "F5 F4 E3 F6 C5"  # the same game


@pytest.fixture
def model(tiny_files, tmp_path):
    files = ("--model", str(tiny_files["model"]), "--probe", str(tiny_files["probe"]))
    return (*files, "--cache", str(tmp_path / "cache"), "--games", "80")


def test_the_result_is_the_record_that_python_gives(run, model, bench):
    result = run("explain", GAME, *model, "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    headline, verdict = found.pop("headline"), found.pop("verdict")
    record, expected = ExplanationRecord.from_dict(found), bench.explain(GAME)
    assert headline == expected.headline and verdict
    ours, theirs = record.explanation, expected.record.explanation
    assert [u.unit for u in ours.supports.units] == [u.unit for u in theirs.supports.units]
    assert ours.supports.logit.total == pytest.approx(theirs.supports.logit.total, abs=1e-3)
    assert ours.logit == pytest.approx(theirs.logit, abs=1e-4) and ours.reference == theirs.reference
    assert "--json" not in record.origin.command and "games=80" in record.origin.python


def test_text_and_page(run, model, tmp_path):
    result = run("explain", GAME, "--move", "c3", *model, "--out", "pages/move")
    assert result.returncode == 0, result.stderr
    assert "the board" in result.stdout and "C3" in result.stdout and "page: pages/move.html" in result.stdout
    page = (tmp_path / "pages" / "move.html").read_text()
    assert "C3" in page and "--move c3" in page and max(map(len, result.stdout.splitlines())) <= 100


def test_units_set_to_their_means(run, model, bench):
    result = run("explain", GAME, "--without", "L0N3,l1h2", *model, "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    record = Without.from_dict(found.pop("without"))
    assert [row.unit for row in record.units] == ["L0N3", "L1H2"] and record.kl > 0
    assert record.base.probabilities == pytest.approx(found["explanation"]["probabilities"], abs=1e-6)
    assert record.checkpoint == found["explanation"]["checkpoint"]
    said = without_text(record)
    assert "With L0N3 and L1H2 at their means" in said and max(map(len, said.splitlines())) <= 100
    assert "units that write as much" in said and "random units" in said
    again = run("explain", GAME, "--without", "L0N3,l1h2", *model)
    assert said in again.stdout and "without" not in json.loads(run("explain", GAME, *model, "--json").stdout)


def test_units_that_the_model_does_not_have_are_refused(run, model):
    assert "L9N3 is out of range" in refused(run("explain", GAME, "--without", "L9N3", *model))
    assert "L0N3 is named twice" in refused(run("explain", GAME, "--without", "L0N3 L0N3", *model))


def test_standard_notation_is_the_same_game(run, model):
    asked = run("explain", STANDARD, "--move", "D3", "--notation", "standard", *model)
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.startswith("Squares below are in our notation")
    assert "The model gives C3" in asked.stdout


def finished() -> str:
    games = generate(400, seed=5)
    row = games.tokens[int(games.lengths.argmin())]
    return print_transcript([int(TOKEN_SQUARE[int(t)]) for t in row if t])


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((f"{GAME} H7",), "ply 5"),
        (("E5 Z9",), "Z9"),
        (("",), "the transcript is empty"),
        ((STANDARD,), "--notation standard"),
        ((GAME, "--move", "Q4"), "Q4"),
        ((GAME, "--move", "D3"), "centre square"),
        ((GAME, "--move", "C8"), "--notation standard"),
        ((GAME, "--notation", "theirs"), "ours or standard"),
        ((GAME, "--out", "."), "is a folder"),
        ((GAME, "--out", "a.html", "--without", "L0N3"), "leave one out"),
        ((GAME, "--out", "page.pdf"), ".html"),
        ((GAME, "--without", "L0N3 C4"), "'C4' names no unit"),
        ((GAME, "--without", " , "), "--without is empty"),
        ((GAME, "--games", "0"), "at least 1 game"),
        ((GAME, "--games", "nowhere.txt"), "nowhere.txt"),
        ((GAME, "--model", "nowhere.safetensors"), "nowhere.safetensors"),
    ],
)
def test_bad_input_is_one_line(run, arguments, said):
    assert said in refused(run("explain", *arguments))


def test_a_finished_game_is_refused(run, model):
    assert "nobody can move" in refused(run("explain", finished(), *model))
