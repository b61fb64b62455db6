"""``othello-circuits query``: what Python says, as text and as JSON; refusals in one line."""

import json

import pytest
import synthetic_atlas
from command_line import refused

from circuits.atlas import questions
from circuits.atlas.opened import Atlas


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(synthetic_atlas.write(tmp_path_factory.mktemp("atlas")))


@pytest.mark.parametrize(
    ("arguments", "ask"),
    [
        (("reads", "C0"), lambda a: questions.reads(a, "C0")),
        (("reads", "c0", "--state", "mine", "--layer", "1", "--top", "3"),
         lambda a: questions.reads(a, "C0", state="mine", layer=1, top=3)),
        (("writes", "B2", "--top", "4"), lambda a: questions.writes(a, "B2", top=4)),
        (("writes", "B2", "--state", "logit"), lambda a: questions.writes(a, "B2", by="logit")),
        (("legal", "C1", "--layer", "2"), lambda a: questions.makes_legal(a, "C1", layer=2)),
        (("like", "L1N5", "--top", "2"), lambda a: questions.like(a, "L1N5", top=2)),
        (("unit", "L1N5"), lambda a: questions.unit(a, "L1N5")),
        (("unit", "L2H1"), lambda a: questions.unit(a, "L2H1")),
    ],
)  # fmt: skip
def test_the_command_says_what_python_says(run, folder, arguments, ask):
    wanted = ask(Atlas.open(folder))
    result = run("query", folder, *arguments)
    assert (result.returncode, result.stdout, result.stderr) == (0, wanted.text() + "\n", "")
    printed = json.loads(run("query", folder, *arguments, "--json").stdout)
    assert printed == json.loads(wanted.to_json())


def test_an_atlas_says_what_it_is(run, folder):
    for arguments in ((), ("info",)):
        result = run("query", folder, *arguments)
        assert result.returncode == 0 and "40 games, 1,960 positions, plies 5–53" in result.stdout
        assert "squares" in result.stdout and synthetic_atlas.KEY in result.stdout
    printed = json.loads(run("query", folder, "info", "--json").stdout)
    assert printed["rows"]["units"] == 396 and printed["provenance"]["model_name"] == "tiny"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("raeds", "C0"), "'raeds' is no question: ask info, board, reads, writes, legal, like, unit"),
        (("reads",), "query reads: say about what: a square, such as C0"),
        (("info", "C0"), "nothing more is asked about"),
        (("reads", "C8"), "has the digit 8"),
        (("reads", "L1N5"), "'L1N5' is no square"),
        (("like", "C0"), "'C0' names no unit"),
        (("like", "L1H0"), "is a head"),
        (("legal", "D3"), "D3 is a centre square"),
        (("legal", "C0", "--state", "mine"), "query legal takes no --state"),
        (("unit", "L1N5", "--top", "3"), "query unit takes no --top"),
        (("unit", "L9N5"), "L9N5 is not in this atlas, which has 396 units of layers 0, 1, 2"),
        (("reads", "C0", "--state", "white"), "state 'white' is none of empty, theirs, mine"),
        (("writes", "C0", "--state", "legal"), "none of board, mine, theirs, empty, logit"),
        (("reads", "C0", "--layer", "7"), "layer 7: this atlas has rows of layers 0, 1, 2"),
        (("reads", "C0", "--top", "0"), "top 0"),
    ],
)
def test_refusals_are_one_line(run, folder, arguments, said):
    assert said in refused(run("query", folder, *arguments))


def test_what_is_no_atlas_is_refused(run, folder, tmp_path):
    assert "holds no finished atlas" in refused(run("query", str(tmp_path / "none"), "reads", "C0"))
    damaged = synthetic_atlas.write(tmp_path / "damaged")
    (damaged / "edges.parquet").write_bytes(b"PAR1")
    assert "edges.parquet is damaged" in refused(run("query", str(damaged)))
    assert "nowhere" in refused(run("query", "nowhere://x", "info"))
