"""``othello-circuits patch``: its numbers are those of the Python that it names; pairs, metrics and refusals."""

import json

import pytest
import torch
from command_line import refused

from circuits import plain
from circuits.causes.counterfactuals import counterfactuals
from circuits.causes.metrics import logit
from circuits.causes.patch_results import DIRECTIONS
from circuits.causes.patching import sweep
from circuits.errors import InputError
from reports.patching import pair_sources
from reports.patching.metric_names import parse_metric
from reports.patching.page import PatchReport
from reports.patching.pair_records import pairs_record
from reports.patching.records import PatchRecord, patch_record, unpatched
from reports.patching.words import arrival, headline, ply_words, share_text, text_table, top

CLEAN, CORRUPT = "E5 D5 C3 F5", "E5 D5 C4 F5"
MOST = ("--n", "6", "--games", "400")


@pytest.fixture
def model(tiny_files):
    return ("--model", str(tiny_files["model"]), "--probe", str(tiny_files["probe"]))


@pytest.fixture(scope="module")
def small(tiny):
    return plain.of(tiny)


@pytest.fixture(scope="module")
def probes(tiny, tiny_files):
    import probes

    return probes.load(tiny, tiny_files["probe"])


@pytest.fixture(scope="module")
def pairs():
    return pair_sources.pairs_for("C4 flipped", 6, games=400)


def again(python: str):
    """What the Python that a page names gives: its last expression."""
    before, _, last = python.rpartition("; ")
    names: dict = {}
    exec(before, names)
    return eval(last, names)


def test_json_is_what_the_named_python_gives(run, model):
    result = run("patch", "--fact", "C4 flipped", *MOST, *model, "--metric", "logit:C4", "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    record = PatchRecord.from_dict(found)
    patched = again(record.origin.python)
    assert [row.mean for row in patched.rows("end")] == [row.mean for row in record.rows]
    assert record.clean == float(patched.clean.mean()) and record.corrupt == float(patched.corrupt.mean())
    assert record.total.mean == pytest.approx(record.clean - record.corrupt, rel=1e-5)
    assert record.pairs.pairs == 6 == sum(record.pairs.kinds.values())
    assert "--json" not in record.origin.command and "--metric logit:C4" in record.origin.command
    # Every place of the last ply's stream carries everything: the identity, seen from outside.
    last = [r for r in record.rows if r.place == "L2 pre" and r.ply == 0]
    assert {r.direction for r in last} == set(DIRECTIONS)
    assert all(0 <= r.p_family <= 1 and r.p <= r.p_family for r in record.rows)


def test_a_pair_of_transcripts_has_no_interval_and_null_in_json(run, model):
    arguments = ("patch", "--clean", CLEAN, "--corrupt", CORRUPT, *model, "--what", "L1 MLP,L1H2", "--together")
    found = json.loads(run(*arguments, "--json").stdout)
    assert [(r["place"], r["ply"], r["low"]) for r in found["rows"][:2]] == [
        ("L1 MLP", None, None),
        ("L1H2", None, None),
    ]
    assert found["total"]["low"] is None and found["pairs"]["kinds"] == {"given": 1}
    text = run(*arguments)
    assert text.returncode == 0 and "no interval" in text.stdout
    # The same pair in standard notation: column letter, then row from 1.
    clean, corrupt = "F5 F4 D3 F6", "F5 F4 E3 F6"
    other = run("patch", "--clean", clean, "--corrupt", corrupt, "--notation", "standard", *model, "--what",
                "L1 MLP,L1H2", "--together", "--json")  # fmt: skip
    assert json.loads(other.stdout)["rows"] == found["rows"]


def test_a_page_and_its_json_are_written(run, model, tmp_path):
    out = tmp_path / "deep" / "folder"
    result = run("patch", "--fact", "C4 flipped", *MOST, *model, "--what", "post,head", "--subspace", "C4 mine@L1",
                 "--out", str(out), "--align", "first")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert sorted(p.name for p in out.iterdir()) == ["patch.html", "patch.json"]
    record = PatchRecord.from_json((out / "patch.json").read_text())
    page = (out / "patch.html").read_text()
    assert page == PatchReport(record).html
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert record.align == "first difference" and headline(record).split(",")[0] in page
    space = record.subspaces[0].estimates
    whole, both = space["whole"][DIRECTIONS[0]].mean, space["subspace"][DIRECTIONS[0]].mean
    assert space["beyond random"][DIRECTIONS[0]].mean == pytest.approx(
        both - space["random"][DIRECTIONS[0]].mean, abs=1e-4
    )
    # The whole stream at every ply, patched as the subspace's control, is what the sweep of its place gives.
    patched = again(record.origin.python)
    assert whole == pytest.approx(float(patched.whole[0].mean()), rel=1e-5)
    assert space["whole"][DIRECTIONS[0]].share == pytest.approx(1, abs=1e-4)


def test_pairs_with_the_same_legal_moves_are_left_out_and_said(run, model, tmp_path):
    # A transposition: the same board, so newly-legal has nothing to measure.
    file = tmp_path / "pairs.txt"
    same = pair_sources.pairs_for(None, 2, kind="transposition", games=200)
    differ = pair_sources.given_pair(CLEAN, CORRUPT)
    assert not same.legal_differs.any() and differ.legal_differs.all()
    from circuits.notation import print_transcript, token_square

    def words(tokens):
        return print_transcript([token_square(t) for t in tokens.tolist() if t])

    lines = [f"{words(a)} | {words(b)}" for a, b in zip(same.clean, same.corrupt, strict=True)]
    file.write_text("\n".join(["# mine", *lines, "", f"{CLEAN}|{CORRUPT}"]))
    result = run("patch", "--pairs", str(file), *model, "--what", "attn", "--json")
    assert result.returncode == 0 and "2 of 3 pairs have the same legal moves" in result.stderr
    found = json.loads(result.stdout)
    assert found["pairs"]["pairs"] == 1 and "2 of 3 left out" in found["pairs"]["source"]
    assert again(found["origin"]["python"]).total.pairs == 1
    file.write_text("\n".join(lines))
    assert "in none of the 2 pairs" in refused(run("patch", "--pairs", str(file), *model))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no pairs given"),
        (("--fact", "C4 flipped", "--pairs", "x"), "--pairs and --fact given"),
        (("--clean", CLEAN), "--clean alone"),
        (("--clean", CLEAN, "--corrupt", "E5 D5"), "the clean transcript has 4 moves, the corrupt one 2"),
        (("--clean", CLEAN, "--corrupt", "E5 D5 A0 F5"), "corrupt transcript"),
        (("--clean", CLEAN, "--corrupt", "E5 D5 D4 F5"), "corrupt transcript, ply 2: D4 is a centre square"),
        (("--clean", "F8", "--corrupt", CORRUPT), "--notation standard"),
        (("--clean", CLEAN, "--corrupt", CORRUPT, "--notation", "mine"), "--notation mine"),
        (("--pairs", "nothing.txt"), "cannot read pairs from nothing.txt"),
        (("--fact", "C9 flipped"), "'C9' is no square"),
        (("--fact", "C4 banana"), "is no fact"),
        (("--fact", "A0 mine", "--plies", "0-1", *MOST), "no counterfactual"),
        (("--fact", "C4 flipped", "--plies", "9-3"), "--plies 9-3"),
        (("--fact", "C4 flipped", "--kind", "banana"), "'banana' is no kind of pair"),
        (("--fact", "C4 flipped", "--n", "0"), "at least one"),
        (("--fact", "C4 flipped", *MOST, "--metric", "banana"), "'banana' is no metric"),
        (("--fact", "C4 flipped", *MOST, "--metric", "logit:D4"), "D4 is a centre square"),
        (("--fact", "C4 flipped", *MOST, "--metric", "reading:C4 mine@L9"), "there is no layer 9"),
        (("--fact", "C4 flipped", *MOST, "--metric", "reading:C4 blue@L1"), "no probe reads 'blue'"),
        (("--fact", "C4 flipped", *MOST, "--metric", "reading:C4 mine@L0", "--what", "L2 attn"), "cannot reach"),
        (("--fact", "C4 flipped", *MOST, "--what", "L9 MLP"), "there is no layer 9"),
        (("--fact", "C4 flipped", *MOST, "--what", "banana"), "names no node"),
        (("--fact", "C4 flipped", *MOST, "--what", ","), "--what is empty"),
        (("--fact", "C4 flipped", *MOST, "--at", "58"), "cannot be read at ply 58"),
        (("--fact", "C4 flipped", *MOST, "--at", "5", "--subspace", "C4 mine@L1"), "--at and --subspace"),
        (("--fact", "C4 flipped", *MOST, "--subspace", "C4 mine"), "names no subspace"),
        (("--fact", "C4 flipped", *MOST, "--subspace", "C4 theirs@L1"), "no direction 'C4 theirs'"),
        (("--fact", "C4 flipped", "--direction", "up"), "--direction up"),
        (("--fact", "C4 flipped", "--align", "up"), "--align up"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(run, model, tmp_path, arguments, words):
    out = tmp_path / "out"
    assert words in refused(run("patch", *arguments, *model, "--out", str(out)))
    assert not out.exists()


def test_an_out_that_is_a_file_is_refused_before_the_work(run, model, tmp_path):
    (tmp_path / "file").touch()
    for place in ("file", "file/below"):
        result = run("patch", "--fact", "C4 flipped", *model, "--out", str(tmp_path / place))
        assert "is a file" in refused(result)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("E5 D5 C3", "line 1: a pair is written"),
        (f"# first\n{CLEAN} | {CORRUPT}\n{CLEAN} | E5 D5", "line 3: the clean transcript has 4 moves"),
        (f"{CLEAN} | {CORRUPT}\n{CLEAN} | E5 D5 A0 F5", "line 2: corrupt transcript"),
        (f"{CLEAN} | E5 D5 Q3 F5", "line 1: corrupt transcript, ply 2"),
        (f"{CLEAN} | {CLEAN}", "line 1: the clean and the corrupt transcript are the same"),
        ("# nothing", "holds no pairs"),
    ],
)
def test_a_pairs_file_says_which_line_is_wrong(tmp_path, text, words):
    file = tmp_path / "pairs.txt"
    file.write_text(text)
    with pytest.raises(InputError, match=words.replace("|", r"\|")):
        pair_sources.read_pairs(file)


def test_pairs_from_lines_and_json_are_the_same(tmp_path):
    lines, listed = tmp_path / "a.txt", tmp_path / "a.json"
    lines.write_text(f"{CLEAN} | {CORRUPT}\n\n{CLEAN}|E5 D5 C2 D2")
    listed.write_text(json.dumps([{"clean": CLEAN, "corrupt": CORRUPT}, {"clean": CLEAN, "corrupt": "E5 D5 C2 D2"}]))
    a, b = pair_sources.read_pairs(lines), pair_sources.read_pairs(listed)
    assert torch.equal(a.clean, b.clean) and torch.equal(a.corrupt, b.corrupt)
    assert a.game.tolist() == [0, 0]  # one game: not two independent draws
    listed.write_text('[{"clean": "E5"}]')
    with pytest.raises(InputError, match="entry 0"):
        pair_sources.read_pairs(listed)


def test_facts_give_the_pairs_of_counterfactuals(pairs):
    same = counterfactuals(400, "C4 flipped", 6)
    assert torch.equal(pairs.clean, same.clean) and torch.equal(pairs.corrupt, same.corrupt)


def test_what_pairs_are_is_counted_right(small, pairs):
    runs = unpatched(small, pairs, logit("C4"))
    found = pairs_record(pairs, runs.clean, runs.corrupt)
    flipped = next(x for x in found.literals if x.literal == "C4 flipped")
    assert (flipped.clean_only, flipped.corrupt_only) == (1, 0)
    squares = [len(pairs.difference(i).squares) for i in range(len(pairs))]
    assert found.squares_differ == pytest.approx(sum(squares) / len(squares))
    legal = [len(pairs.difference(i).legal_clean) for i in range(len(pairs))]
    assert found.newly_legal_clean == pytest.approx(sum(legal) / len(legal))
    e = found.example
    assert e.differs == str(pairs.difference(e.number)) and "C4" in e.clean.flipped and "C4" not in e.corrupt.flipped
    assert e.clean.metric == pytest.approx(float(runs.clean[e.number]))


def test_unpatched_runs_are_read_where_the_metric_is(small, probes, pairs):
    for name in ("logit:C4", "reading:C4 mine@L1", "reading:C4 mine@L1 mid"):
        metric = parse_metric(name, pairs, small, probes)
        runs = unpatched(small, pairs, metric)
        full = sweep(small, pairs, metric, ["embed"], by_ply=False)
        assert torch.allclose(runs.clean, full.clean) and torch.allclose(runs.corrupt, full.corrupt)
        # Patching where the metric is read gives the other run.
        assert torch.allclose(runs.effects[0, 0, 0], runs.clean - runs.corrupt, atol=1e-4)


def test_words_say_what_the_numbers_say(small, pairs):
    record = patch_record(small, sweep(small, pairs, logit("C4"), ("pre", "mlp")))
    best = top(record, 1, ("mlp",))[0]
    rows = [r for r in record.rows if r.kind == "mlp" and r.direction == record.directions[0]]
    assert abs(best.mean) == max(abs(r.mean) for r in rows)
    text = text_table(record)
    assert headline(record) in text and best.place in text and record.pairs.source in text
    assert headline(record).endswith(".")
    half = arrival(record)
    assert half is None or half.share >= 0.5
    assert share_text(-0.123) == "−12 %" and share_text(-0.002) == "−0.2 %" and share_text(0.0) == "0 %"
    assert (ply_words(0, "end"), ply_words(3, "end"), ply_words(None, "end")) == ("last ply", "3 before", "all plies")


def test_runs_that_do_not_differ_are_not_divided_by(small, pairs):
    both = pair_sources.pairs_for("C4 flipped", 3, games=400)
    from circuits.causes.pairs import join

    # Each pair and its reverse: the mean difference is nothing.
    balanced = join([both, both.swapped()])
    record = patch_record(small, sweep(small, balanced, logit("C4"), ("attn",)))
    assert "do not differ for sure" in headline(record)
    assert record.rows and all(r.share is None for r in record.rows)
    assert logit("C4").name in PatchReport(record).html and "%" not in text_table(record).splitlines()[8]
