"""The command line as a user meets it: exit status, stdout and stderr; once in a process of its own."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Result, refused

from circuits import checkpoints

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("info",), ("games",), ("games", "convert"), ("probe",), ("neuron",), ("report",), ("train",), ("compare",),
        ("export",), ("head",), ("patch",), ("circuit",), ("rules",),
    ],
)  # fmt: skip
def test_help_shows_an_example_and_loads_nothing_heavy(run, arguments):
    result = run(*arguments, "--help")
    assert result.returncode == 0
    if arguments:
        assert "Example: othello-circuits " + arguments[0] in result.stdout


def test_help_does_not_import_torch():
    script = (
        "import sys; sys.argv = ['othello-circuits', 'neuron', '--help']\n"
        "from reports import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'transformer_lens' not in sys.modules"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", script], env=env, capture_output=True).returncode == 0


def test_neuron_writes_its_page_and_prints_json_alone(run, tiny_files, tmp_path):
    page = tmp_path / "page.html"
    result = run(
        "neuron", "L1N3", "--model", str(tiny_files["model"]), "--probe", str(tiny_files["probe"]), "--games", "40",
        "--out", str(page), "--cache", str(tmp_path / "cache"), "--json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["record"]["unit"] == "L1N3" and found["headline"] and found["page"] == str(page)
    assert "L1N3" in page.read_text() and list(tmp_path.glob(".*")) == []


def test_info_prints_the_card_and_how_well_it_plays(run, tiny_files):
    result = run("info", "--model", str(tiny_files["model"]), "--games", "10", "--json")
    assert result.returncode == 0, result.stderr
    play = json.loads(result.stdout)["play"]
    assert 0 <= play["illegal_top1"] < play["chance_illegal_top1"] and play["games"] == 10


def test_games_are_made_described_converted_and_checked(run, tmp_path):
    made, text = tmp_path / "g.npy", tmp_path / "g.txt"
    assert run("games", "generate", "5", "--seed", "3", "--out", str(made)).returncode == 0
    described = json.loads(run("games", "describe", str(made), "--json").stdout)
    assert described["games"] == 5
    assert run("games", "convert", str(made), "--out", str(text)).returncode == 0
    again = json.loads(run("games", "describe", str(text), "--json").stdout)
    assert again["fingerprint"] == described["fingerprint"]
    assert run("games", "check", str(text)).returncode == 0
    text.write_text(text.read_text() + "A0 A1\n")
    assert "game 5" in refused(run("games", "check", str(text)))
    assert run("games", "describe", str(text), "--skip-invalid").returncode == 0


def test_mixed_up_notation_names_the_flag(run, tmp_path):
    file = tmp_path / "standard.txt"
    file.write_text("F5 D6 C3 D3 C4 F4 F6 F3 E6 E7 D7 C6 D8\n")
    assert "--notation standard" in refused(run("games", "check", str(file)))
    assert run("games", "check", str(file), "--notation", "standard").returncode == 0


def test_bad_input_is_one_line_and_status_2(run, tiny_files, tmp_path):
    model, probe = str(tiny_files["model"]), str(tiny_files["probe"])
    other = str(tmp_path / "other.safetensors")
    read = checkpoints.read(model)
    changed = read.weights | {"unembed.b_U": read.weights["unembed.b_U"] + 1}
    checkpoints.write(replace(read, weights=changed), other)
    broken, pickled, empty = tmp_path / "broken.safetensors", tmp_path / "evil.pth", tmp_path / "empty.txt"
    broken.write_bytes(Path(model).read_bytes()[:5000])
    pickled.write_bytes(b"cposix\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    empty.touch()
    file = tmp_path / "file"
    file.touch()
    common = ("--model", model, "--probe", probe)
    for arguments in (
        ("neuron", "banana"),
        ("neuron", "L9N9999", *common, "--games", "5"),
        ("neuron", "L0N1", "--model", model, "--games", "5"),  # no probes for this model
        ("neuron", "L0N1", "--model", other, "--probe", probe, "--games", "5"),  # another model's probes
        ("neuron", "L0N1", *common, "--games", str(empty)),
        ("neuron", "L0N1", *common, "--games", "0"),
        ("report", "L0N1", *common, "--games", "5", "--out", str(file / "x")),
        ("info", "--model", str(broken)),
        ("info", "--model", str(pickled)),
        ("info", "--model", str(tmp_path / "nothing.pth")),
        ("info", "--model", model, "--device", "banana"),
        ("info", "--banana"),
        ("banana",),
    ):
        refused(run(*arguments))
    assert not (tmp_path / "ran").exists()
    assert not list(tmp_path.glob("*.html"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_one_line(run, tmp_path):
    result = run("games", "generate", "3", "--out", "/dev/full/games.npy")
    assert "cannot write" in refused(result)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("info", "--games", "²"), "cannot read games from ²"),
        (("info", "--games", "-3"), "--games -3: give at least 1 game"),
        (("info", "--games", ""), "--games is empty"),
        (("info", "--games", "9" * 5000), "so many games"),
        (("info", "--model", ""), "the name is empty"),
        (("info", "--seed", "-1"), "-1 is no seed"),
        (("info", "--seed", str(2**63)), "is no seed"),
        (("games", "generate", "99999999999999", "--out", "g.npy"), "at most 100000000"),
        (("games", "describe", "."), "it is a folder"),
    ],
)
def test_odd_numbers_and_names_are_one_line(run, arguments, words):
    assert words in refused(run(*arguments))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EMFILE, "Too many open files", "a.html"), "a.html: Too many open files"),
        (OSError("no name, no number"), "output: no name, no number"),
        (MemoryError(), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory"),
    ],
)
def test_what_the_system_refuses_is_one_line(run, monkeypatch, error, words):
    monkeypatch.setattr("circuits.games.describe", lambda _: (_ for _ in ()).throw(error))
    assert words in refused(run("games", "generate", "1", "--out", "g.npy"))


def test_a_mistake_of_the_program_stays_a_traceback(run, monkeypatch):
    monkeypatch.setattr("circuits.games.describe", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("games", "generate", "1", "--out", "g.npy")


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_file_cut_short_is_a_warning_of_one_line(run, tmp_path):
    (tmp_path / "cut.pgn").write_text("1. F5 D6 2. C3")
    result = run("games", "describe", "cut.pgn")
    assert result.returncode == 0 and "(game 0, line 1, 3 moves) has no result" in result.stderr
    assert result.stderr.startswith("othello-circuits: warning: ") and result.stderr.count("\n") == 1


def test_installed_command_refuses_in_one_line(tmp_path):
    """The real thing: its own process, its own interpreter."""
    command = [sys.executable, "-m", "reports.cli", "info", "--model", str(tmp_path / "nothing.safetensors")]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    assert "no model file" in refused(Result(done.returncode, done.stdout, done.stderr))
