"""``othello-circuits circuit``: the circuit is that of the Python that it names; files, options and refusals."""

import json

import pytest
from command_line import refused

from circuits.causes import circuit_files

FEW = ("--n", "8", "--games", "400", "--open-neurons", "3", "--max-edges", "20", "--random-graphs", "1")


@pytest.fixture
def model(tiny_files):
    return ("--model", str(tiny_files["model"]), "--probe", str(tiny_files["probe"]))


def again(python: str):
    """What the Python that a page names gives: its last expression."""
    before, _, last = python.rpartition("; ")
    names: dict = {}
    exec(before, names)
    return eval(last, names)


def test_json_and_files_are_what_the_named_python_gives(run, model, tmp_path):
    out = tmp_path / "found"
    out.mkdir()
    (out / "L1H2.html").write_text("a page of a unit")
    result = run("circuit", "--fact", "C4 flipped", *FEW, *model, "--metric", "logit:C4", "--out", str(out), "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert set(found) == {"page", "circuit", "pairs", "origin"} and found["page"] == str(out / "circuit.html")
    written = circuit_files.read(out / "circuit.json")
    assert json.loads(circuit_files.to_json(written)) == found["circuit"]
    assert circuit_files.to_json(again(found["origin"]["python"])) == circuit_files.to_json(written)
    assert written.searched + written.held_out == found["pairs"]["pairs"] == 8
    assert written.settings["max_edges"] == 20 and written.settings["keep"] == 0.8
    page = (out / "circuit.html").read_text()
    assert "<script" not in page and ('href="L1H2.html"' in page) == ("L1H2" in written.nodes)


def test_text_shows_the_sentence_the_curve_and_the_edges(run, model):
    result = run("circuit", "--fact", "C4 flipped", *FEW, *model, "--metric", "reading:C4 mine@L1", "--share", "0.5")
    assert result.returncode == 0, result.stderr
    assert "held-out pairs" in result.stdout.splitlines()[0]
    for words in ("mean ablation", "random", "→", "C4 mine at L1 post reading", "LayerNorm"):
        assert words in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no pairs given"),
        (("--clean", "E5 D5 C3 F5", "--corrupt", "E5 D5 C4 F5"), "1 games with 50% held out"),
        (("--fact", "C4 flipped", *FEW, "--metric", "top-n-error"), "top-N error"),
        (("--fact", "C4 flipped", *FEW, "--metric", "reading:C4 mine@L9"), "there is no layer 9"),
        (("--fact", "C4 flipped", "--share", "0"), "--share 0"),
        (("--fact", "C4 flipped", "--held-out", "2"), "--held-out 2"),
        (("--fact", "C4 flipped", "--max-edges", "0"), "--max-edges 0"),
        (("--fact", "C4 flipped", "--open-neurons", "-1"), "--open-neurons -1"),
        (("--fact", "A0 mine", "--plies", "0-1", "--games", "300"), "no counterfactual"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(run, model, tmp_path, arguments, words):
    out = tmp_path / "out"
    assert words in refused(run("circuit", *arguments, *model, "--out", str(out)))
    assert not out.exists()


@pytest.mark.parametrize("command", ["patch", "circuit"])
def test_help_shows_examples(run, command):
    result = run(command, "--help")
    assert result.returncode == 0 and f"Example: othello-circuits {command} --fact" in result.stdout
    assert "In Python: circuits." in result.stdout
