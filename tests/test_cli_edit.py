"""``othello-circuits edit`` and ``edit-benchmark``: numbers are those of the Python named; a refusal is a line."""

import json
import re
import shlex

import pytest
import torch
from command_line import refused

from circuits.editing import cases as edit_cases
from circuits.editing.board_edits import EditCases
from circuits.editing.interventions import METHODS
from circuits.editing.scores import score
from reports.cli.edit import parse_layers
from reports.edits.benchmark_records import BenchmarkRecord
from reports.edits.records import EditRecord
from reports.patching.pair_sources import tokens_of

GAME = "E5 D5 C4 F5 E2"


@pytest.fixture
def model(tiny_files, tmp_path):
    files = ("--model", str(tiny_files["model"]), "--probe", str(tiny_files["probe"]))
    return (*files, "--cache", str(tmp_path / "cache"))


@pytest.fixture(scope="module", autouse=True)
def few_games():
    """Means over few games: these tests are not about them."""
    from circuits.editing import stream_means
    from circuits.games import generate
    from probes import editing

    patch = pytest.MonkeyPatch()
    own = stream_means.stream_means
    patch.setattr(
        editing, "stream_means", lambda model, games=None, *rest, **named: own(model, generate(20, 3), *rest, **named)
    )
    yield
    patch.undo()


def test_the_record_is_what_the_engine_and_the_scores_say(run, model, bench):
    result = run("edit", GAME, "--flip", "E4", *model, "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    verdict = found.pop("verdict")
    record = EditRecord.from_dict(found)
    cases = EditCases.given(tokens_of(GAME), [(36, "flip")])
    assert set(record.after.legal) == {
        f"{'ABCDEFGH'[s // 8]}{s % 8}" for s in range(64) if int(cases.edited.legal) >> s & 1
    }
    assert [(e.square, e.action, e.after) for e in record.edits] == [("E4", "flip", record.edits[0].after)]
    logits = bench.model(cases.tokens[:, :5].long())[:, 4]
    expected = score(logits, cases)
    assert record.figures["error"].before == float(expected["error"])
    assert record.figures["KL"].before == pytest.approx(float(expected["KL"]), rel=1e-4)
    p = logits[0].softmax(-1)
    shown = {m.move: m.before for m in record.moves}
    assert set(record.before.legal) | set(record.after.legal) <= set(shown)
    for move, value in shown.items():
        assert value == pytest.approx(float(p[int(tokens_of(move)[0])]), abs=1e-5)
    assert "--json" not in record.origin.command and verdict in ("works", "partly", "fails")
    assert record.figures["illegal"].perfect == 0 and record.figures["newly illegal"].perfect == 0


def test_text_page_and_python_say_the_same(run, model, tmp_path):
    arguments = ("edit", GAME, "--flip", "E4", "--erase", "D5", *model, "--method", "negate", "--layers", "1",
                 "--strength", "2", "--saliency", "F3")  # fmt: skip
    result = run(*arguments, "--out", "page/edit.html")
    assert result.returncode == 0, result.stderr
    assert (
        "before" in result.stdout
        and "[●]" in result.stdout
        and "[" in result.stdout
        and "saliency of F3" in result.stdout
    )
    page = (tmp_path / "page" / "edit.html").read_text()
    headline = result.stdout.splitlines()[0]
    assert headline.startswith("Flipping E4 and erasing D5 in the stream after L1") and headline in page
    record = EditRecord.from_dict(
        {k: v for k, v in json.loads(run(*arguments, "--json").stdout).items() if k != "verdict"}
    )
    before, _, call = record.origin.python.rpartition("; ")
    names: dict = {}
    exec(before, names)
    again = eval(call, names).record
    assert again.method == record.method == "negate x2, L1" and again.transcript == record.transcript
    for name, figure in record.figures.items():  # the same weights, loaded by another route
        assert again.figures[name].to_dict() == pytest.approx(figure.to_dict(), abs=1e-4), name
    assert [s.decisive for s in again.saliency] == [s.decisive for s in record.saliency]


def test_a_strength_of_nothing_changes_nothing(run, model):
    found = json.loads(
        run("edit", GAME, "--flip", "E4", *model, "--method", "mean difference", "--strength", "0", "--json").stdout
    )
    assert all(m["before"] == m["after"] for m in found["moves"])
    assert all(w["norm"] == 0 for w in found["written"])
    assert all(s["changed"] == 0 and s["random"] == 0 for s in found["side_effects"])
    assert found["verdict"] == "fails"


def test_standard_notation_is_the_same_edit(run, model):
    ours = json.loads(run("edit", GAME, "--flip", "E4", *model, "--json").stdout)
    theirs = run("edit", "F5 F4 E3 F6 C5", "--flip", "E5", "--notation", "standard", *model, "--json")
    other = json.loads(theirs.stdout)
    for name in ("transcript", "edits", "figures", "moves", "readings"):
        assert ours[name] == other[name], name
    text = run("edit", "F5 F4 E3 F6 C5", "--flip", "E5", "--notation", "standard", *model).stdout
    assert text.startswith("Squares below are in our notation: row letter A-H, then column digit 0-7.\nFlipping E4")


def test_an_earlier_ply_is_the_shorter_transcript(run, model):
    a = json.loads(run("edit", GAME, "--flip", "E4", "--at", "3", *model, "--json").stdout)
    b = json.loads(run("edit", "E5 D5 C4 F5", "--flip", "E4", *model, "--json").stdout)
    assert a["figures"] == b["figures"] and a["ply"] == 3 and a["transcript"] == "E5 D5 C4 F5"


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((GAME,), "no edit"),
        ((GAME, "--flip", "A0"), "A0 is empty"),
        ((GAME, "--erase", "E4"), "centre"),
        ((GAME, "--erase", "A0"), "A0 is already empty"),
        ((GAME, "--place", "F5=mine", "--place", "F5=mine"), "F5"),
        ((GAME, "--flip", "E4", "--flip", "E4"), "E4 is edited twice"),
        ((GAME, "--flip", "E4", "--at", "7"), "plies 0..4"),
        ((GAME, "--flip", "E4", "--at", "-1"), "plies 0..4"),
        (("E5 A0", "--flip", "E4"), "A0"),
        (("", "--flip", "E4"), "empty"),
        (("E5 E8", "--flip", "E4"), "--notation standard"),
        ((GAME, "--flip", "E9"), "no square"),
        ((GAME, "--place", "E4"), "D2=mine"),
        ((GAME, "--place", "E4=blue"), "D2=mine"),
        ((GAME, "--flip", "E4", "--method", "magic"), "--method magic"),
        ((GAME, "--flip", "E4", "--solve", "guess"), "--solve guess"),
        ((GAME, "--flip", "E4", "--plies", "some"), "--plies some"),
        ((GAME, "--flip", "E4", "--strength", "-1"), "--strength -1"),
        ((GAME, "--flip", "E4", "--strength", "nan"), "--strength nan"),
        ((GAME, "--flip", "E4", "--strength", "1e30"), "--strength 1e+30: give a number from 0 to 1e+06"),
        ((GAME, "--flip", "E4", "--strength", "inf"), "--strength inf"),
        ((GAME, "--flip", ""), "--flip is empty"),
        ((GAME, "--erase", " "), "--erase is empty"),
        ((GAME, "--place", ""), "--place is empty"),
        ((GAME, "--flip", "E4", "--out", "x.pdf"), "x.html"),
        (("F5 F4 E3", "--flip", "E5"), "give --notation standard"),
        (("E5 D5 C4 F5 E2", "--flip", "E4", "--notation", "standard"), "leave out --notation standard"),
        ((GAME, "--flip", "E4", "--layers", "2-"), "--layers 2-"),
        ((GAME, "--flip", "E4", "--layers", "3-1"), "--layers 3-1"),
        ((GAME, "--flip", "E4", "--saliency", "E4"), "E4 is a centre square"),
        ((GAME, "--flip", "E4", "--saliency", "F5"), "F5 holds a disc"),
        ((GAME, "--flip", "E4", "--notation", "other"), "--notation other"),
        ((GAME, "--flip", "E4", "--out", "."), "folder"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_loaded(run, monkeypatch, arguments, said):
    def never(*_, **__):
        raise AssertionError("a model was loaded for input that is bad")

    monkeypatch.setattr("reports.cli.edit.open_editing", never)
    assert said in refused(run("edit", *arguments))


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--layers", "9"), "layers 0..2"),
        (("--layers", "1,1"), "twice"),
        (("--method", "gradient", "--solve", "in turn"), "leave it joint"),
    ],
)
def test_what_the_model_has_not(run, model, arguments, said):
    assert said in refused(run("edit", GAME, "--flip", "E4", *model, *arguments))


def test_an_edit_after_which_nobody_can_move(run):
    # Four discs of one game's start, all turned to one colour: nothing is left to flank.
    assert "neither side can move" in refused(run("edit", "E5", "--flip", "D3"))


def test_no_hint_where_the_other_notation_is_no_game_either(run):
    said = refused(run("edit", "E3 E4", "--flip", "E4"))
    assert "E3 is a centre square" in said and "notation" not in said


def samples(text: str) -> list[str]:
    """What stands in quotes and consists of moves."""
    return [t for t in re.findall(r'"([^"]*)"', text) if re.fullmatch(r"[A-H][0-7]( [A-H][0-7])+", t)]


def test_every_sample_transcript_is_legal_and_the_examples_run(run, model, tmp_path):
    from circuits.othello import illegal_moves
    from reports.cli import edit as cli_edit
    from reports.cli import pairs as cli_pairs
    from reports.edits import page as edit_page
    from reports.patching import pair_sources

    shown = " ".join(re.sub(r"\s+", " ", run(name, "--help").stdout) for name in ("edit", "patch"))
    written = "".join(open(m.__file__).read() for m in (cli_edit, cli_pairs, edit_page, pair_sources))  # noqa: SIM115
    found = samples(shown) + samples(written)
    assert len(found) >= 8
    for text in found:
        assert not list(illegal_moves(tokens_of(text)[None])), text
    examples = re.findall(r"Example: othello-circuits (edit .*?)(?= Example:| In Python:)", shown.split("Usage:")[1])
    assert len(examples) == 2
    for example in examples:
        result = run(*shlex.split(example), *model)
        assert result.returncode == 0, result.stderr
    assert (tmp_path / "edit.html").exists()
    call = re.search(r"In Python: reports.open_model\(\)\.edit\((.*?)\) ", shown)[1]
    transcript, edits = eval(f"({call})")
    assert edit_page.cases_of(transcript, edits).square.tolist() == [[35]]


def test_names_are_forgiven_their_case_and_hyphens_and_a_page_its_suffix(run, model, tmp_path):
    result = run("edit", GAME, "--flip", "E4", *model, "--method", "Mean-Difference", "--out", "page", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["method"].startswith("mean difference") and (tmp_path / "page.html").exists()


def test_layers():
    assert parse_layers(None) is None
    assert parse_layers("2-5") == parse_layers("L2–L5") == parse_layers("2, 3,4-5") == (2, 3, 4, 5)


MEASURED = ("edit-benchmark", "--cases", "6", "--tune", "2", "--two-squares", "3", "--rollouts", "2")


def test_the_benchmark_writes_its_page_numbers_and_cases(run, model, tmp_path, monkeypatch):
    from circuits.editing import tuning as edit_tuning

    monkeypatch.setitem(edit_tuning.GRID, "absolute", (2.0, 4.0))  # it is not about tuning
    monkeypatch.setattr(edit_tuning, "FRACTIONS", (1.0,))
    result = run(*MEASURED, "--methods", "absolute", "--saliency", "6", *model, "--out", "b", "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    page = found.pop("page")
    record = BenchmarkRecord.from_dict(found)
    assert re.search(r"roughly [0-9,]+ passes of tuning, [0-9,]+ of measuring", result.stderr)
    assert {r.n for r in record.rollouts} == {2}
    names = sorted(p.name for p in (tmp_path / "b").iterdir())
    assert names == [
        "benchmark.html", "benchmark.json", "cases-natural.json", "cases-two-squares.json", "cases-unnatural.json"
    ]  # fmt: skip
    assert BenchmarkRecord.from_json((tmp_path / "b" / "benchmark.json").read_text()) == record and page.endswith(
        "html"
    )
    saved = edit_cases.load(tmp_path / "b" / "cases-two-squares.json")
    assert saved.square.shape == (3, 2) and torch.equal(
        saved.tokens, edit_cases.load("b/cases-two-squares.json").tokens
    )
    assert {s.name: s.cases for s in record.sets} == {"natural": 6, "unnatural": 6, "two squares": 3}
    assert set(record.layers) == {"absolute"} and len(record.scales) == 3
    assert record.saliency is not None and 0 < record.saliency.base_rate < 1
    # The winner has the lowest error over all cases; its variants are there, the released recipe needs six layers.
    rows = {r.name for r in record.rows}
    assert f"{record.winner_name}, all plies" in rows and "released recipe" not in rows
    assert record.row("natural", "perfect player").scores["error"].mean == 0

    # Its own cases, read back as a file, score the same.
    again = run("edit-benchmark", "--cases", "0", "--two-squares", "0", "--tune", "2", "--file", "b/cases-natural.json",
                "--methods", "absolute", "--rollouts", "0", "--saliency", "0", *model, "--json")  # fmt: skip
    assert again.returncode == 0, again.stderr
    other = BenchmarkRecord.from_dict(json.loads(again.stdout))
    assert [s.name for s in other.sets] == ["cases-natural"] and not other.rollouts
    assert other.row("cases-natural", "absolute").scores == record.row("natural", "absolute").scores


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--cases", "-1"), "--cases -1"),
        (("--tune", "0"), "--tune 0"),
        (("--saliency", "1"), "--saliency 1"),
        (("--cases", "0", "--two-squares", "0"), "no cases"),
        (("--methods", "negate,magic"), "magic"),
        (("--methods", "negate,negate"), "twice"),
        (("--methods", "class mean,Class-Mean"), "twice"),
        (("--least-changed", "21"), "--least-changed 21"),
        (("--methods", ","), METHODS[0]),
        (("--file", "nothing.json"), "nothing.json"),
        (("--seed", str(2**40)), "--seed"),
    ],
)
def test_bad_input_of_the_benchmark(run, arguments, said):
    assert said in refused(run("edit-benchmark", *arguments))


def test_a_file_of_another_layout_says_which_case(run, tmp_path):
    (tmp_path / "cases.json").write_text('[{"history": [37], "square": 28, "original_color": 2}, {"history": 5}]')
    assert "case 1" in refused(run("edit-benchmark", "--file", "cases.json"))
    (tmp_path / "cases.json").write_text('[{"history": [37], "square": 99, "original_color": 2}]')
    assert 'cases.json: case 0: "square" is 99' in refused(run("edit-benchmark", "--file", "cases.json"))
