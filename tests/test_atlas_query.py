"""Opening an atlas and asking it: answers are what loops over tables and activations give, damage is refused."""

import json
from dataclasses import replace

import fsspec
import numpy as np
import pytest
import synthetic_atlas

from circuits.activations import stream
from circuits.atlas import questions
from circuits.atlas.answer_text import WIDTH, columns, number, with_error
from circuits.atlas.answers import Like, Reads, Writes
from circuits.atlas.legal_moves import MakesLegal
from circuits.atlas.opened import Atlas
from circuits.atlas.unit_sheet import UnitSheet, info
from circuits.errors import InputError
from circuits.features import board_state
from circuits.notation import LABELS
from circuits.rules.symmetry import SYMMETRIC, map_square


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return synthetic_atlas.write(tmp_path_factory.mktemp("atlas") / "a")


@pytest.fixture(scope="module")
def atlas(folder):
    return Atlas.open(folder)


def by_unit(atlas, name):
    return {row["unit"]: row for row in atlas.table(name).to_pylist()}


# ---- opening


def test_an_atlas_is_opened_with_its_tables(folder, atlas):
    results = synthetic_atlas.results()
    assert atlas.key == synthetic_atlas.KEY and atlas.layers == (0, 1, 2) and atlas.model_hash == results.model.hash
    assert atlas.rows["units"] == 396 and atlas.rows["squares"] == 396 * 64
    assert Atlas.open(str(folder), model_hash=results.model.hash).rows == atlas.rows
    assert atlas.table("units") is atlas.table("units")
    assert atlas.columns("edges")["z"].startswith("effect over the root mean square")
    assert "396" in atlas._repr_html_() and "tiny" in atlas._repr_html_()
    frame = atlas.pandas("units")
    assert len(frame) == 396 and frame.loc[5, "unit"] == "L0N5"
    with pytest.raises(InputError, match="has no table 'heads': it has units, rules"):
        atlas.table("heads")
    with pytest.raises(InputError, match="is an atlas of the model tiny"):
        Atlas.open(folder, model_hash="f" * 16)


def test_an_atlas_is_opened_where_fsspec_can(folder):
    memory = fsspec.filesystem("memory")
    for path in folder.iterdir():
        memory.pipe_file(f"/somewhere/atlas/{path.name}", path.read_bytes())
    there = Atlas.open("memory://somewhere/atlas")
    assert there.table("units").equals(Atlas.open(folder).table("units"))
    memory.rm_file("/somewhere/atlas/edges.parquet")
    with pytest.raises(InputError, match=r"memory://somewhere/atlas/edges.parquet is missing: run othello-circuits"):
        Atlas.open("memory://somewhere/atlas")


def test_what_is_missing_damaged_or_anothers_is_refused_in_a_line(folder, tmp_path):
    def changed(name, of):
        """A copy of the atlas with one file changed; ``of`` None: without it."""
        copy = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        copy.mkdir()
        for path in folder.iterdir():
            data = path.read_bytes() if path.name != name else of and of(path.read_bytes())
            if data is not None:
                (copy / path.name).write_bytes(data)
        return copy

    def manifest(**new):
        return lambda data: json.dumps(json.loads(data) | new).encode()

    other = synthetic_atlas.results()
    other = replace(other, provenance=other.provenance | {"key": "another"}, layers=(0,))
    anothers = synthetic_atlas.write(tmp_path / "another", other)
    # Another atlas's table under a manifest that agrees with it.
    mixed = changed("atlas.json", lambda data: data)
    (mixed / "edges.parquet").write_bytes((anothers / "edges.parquet").read_bytes())
    lists = [json.loads((x / "atlas.json").read_text()) for x in (mixed, anothers)]
    lists[0]["tables"]["edges"] = lists[1]["tables"]["edges"]
    (mixed / "atlas.json").write_text(json.dumps(lists[0]))
    repair = "run othello-circuits atlas again, it repairs it"
    flipped = changed("squares.parquet", lambda d: d[:5000] + bytes([d[5000] ^ 1]) + d[5001:])
    for path, said in (
        (tmp_path / "nowhere", "holds no finished atlas (no atlas.json): othello-circuits atlas makes one"),
        (changed("atlas.json", lambda d: d[:100]), f"atlas.json is damaged: {repair}"),
        (changed("atlas.json", lambda d: b"[]"), f"atlas.json is damaged: {repair}"),
        (changed("atlas.json", manifest(tables={})), f"atlas.json is damaged: {repair}"),
        (changed("atlas.json", manifest(format="othello-circuits atlas 9")), "an atlas of format 'othello-circuits"),
        (changed("rules.parquet", None), f"rules.parquet is missing: {repair}"),
        (flipped, f"squares.parquet is damaged (its checksum is not that of atlas.json): {repair}"),
        (changed("units.parquet", lambda d: d[: len(d) // 2]), "units.parquet is damaged"),
        (mixed, f"edges.parquet belongs to another atlas than atlas.json: {repair}"),
    ):  # fmt: skip
        with pytest.raises(InputError) as refused:
            Atlas.open(path)
        assert said in str(refused.value) and "\n" not in str(refused.value), path


# ---- asking


@pytest.mark.parametrize("state", [None, "mine", "theirs", "empty"])
def test_readers_are_those_of_a_loop_over_positions(atlas, state):
    results, square = synthetic_atlas.results(), 9
    answer = questions.reads(atlas, "B1", state=state, layer=1, top=4)
    (batch,) = stream(results.model, results.games, ["blocks.1.mlp.hook_post"], batch_size=len(results.games))
    boards = results.games.boards()
    where = boards.valid.clone()
    where[:, :5], where[:, 54:] = False, False
    acts = batch.acts["blocks.1.mlp.hook_post"][where].double().numpy()
    states = board_state(boards)[where][:, square].numpy()
    one, other = {"mine": ([2], [1]), "theirs": ([1], [2]), "empty": ([0], [1, 2])}.get(state, ([], []))
    found, rises = {}, {}
    for neuron in range(acts.shape[1]):
        own = acts[:, neuron]
        kinds = [one, other] if state else [[0], [1], [2]]
        groups = [own[np.isin(states, kind)] for kind in kinds]
        middle = np.concatenate(groups).mean()
        found[f"L1N{neuron}"] = sum(len(g) * (g.mean() - middle) ** 2 for g in groups) / len(own) / own.var()
        rises[f"L1N{neuron}"] = (groups[0].mean() - groups[1].mean()) / own.std()
    assert [r.unit for r in answer.found] == sorted(found, key=found.get, reverse=True)[:4]
    for r in answer.found:
        assert r.r2 == pytest.approx(found[r.unit], rel=1e-3)
        assert r.rise is None if state is None else r.rise == pytest.approx(rises[r.unit], rel=1e-3)
    row = next(
        s for s in atlas.table("squares").to_pylist() if (s["unit"], s["square"]) == (answer.found[0].unit, "B1")
    )
    first = answer.found[0]
    assert (first.mean_mine, first.reads_empty) == (row["mean_mine"], row["reads_empty"])
    assert sum(answer.positions.values()) == len(acts) and answer.neurons == 128
    if state is None:
        every = [s["state_r2"] for s in atlas.table("squares").to_pylist() if s["unit"] == first.unit]
        assert first.typical == pytest.approx(np.median(every))


def test_writers_are_ordered_by_what_was_asked(atlas):
    squares = {r["unit"]: r for r in atlas.table("squares").to_pylist() if r["square"] == "E6"}
    neurons = [r for r in squares.values() if r["writes_mine"] is not None]
    for by, order in (
        ("board", lambda r: max(abs(r["writes_mine"]), abs(r["writes_empty"]))),
        ("mine", lambda r: r["writes_mine"]), ("theirs", lambda r: -r["writes_mine"]),
        ("empty", lambda r: r["writes_empty"]), ("logit", lambda r: abs(r["logit"] or 0)),
    ):  # fmt: skip
        answer = questions.writes(atlas, "e6", by=by, top=7)
        assert [w.unit for w in answer.found] == [r["unit"] for r in sorted(neurons, key=order, reverse=True)[:7]]
    assert {w.unit[:2] for w in questions.writes(atlas, "E6", layer=2).found} == {"L2"}
    heads = [r for r in squares.values() if r["separation_mine"] is not None]
    wanted = sorted(heads, key=lambda r: -abs(r["separation_mine"]))[:5]
    answer = questions.writes(atlas, "E6", by="mine")
    assert [h.unit for h in answer.heads] == [r["unit"] for r in wanted] and answer.measured_heads.startswith("20 held")
    assert answer.heads[0].logit_illegal == wanted[0]["logit_illegal"]
    unit = answer.found[0]
    assert unit.kl == by_unit(atlas, "units")[unit.unit]["kl"]


def test_who_makes_a_move_legal_with_what_lowers_them(atlas):
    patterns = atlas.table("patterns").to_pylist()
    counted = {s: sum(r["move"] == s or (r["square"], r["literal"]) == (s, "legal") for r in patterns) for s in LABELS}
    square = max(counted, key=counted.get)
    answer = questions.makes_legal(atlas, square, top=50)
    own = {}
    for row in patterns:
        if row["move"] == square or (row["square"] == square and row["literal"] == "legal"):
            own.setdefault(row["unit"], []).append(row)
    assert {r.unit for r in answer.found} == set(own) and answer.neurons == len(own) >= 3
    chosen = {unit: min(rows, key=lambda r: r["rank"]) for unit, rows in own.items()}
    assert [r.f1 for r in answer.found] == sorted((r["f1"] for r in chosen.values()), reverse=True)
    assert all((r.fact, r.rank) == (chosen[r.unit]["fact"], chosen[r.unit]["rank"]) for r in answer.found)
    squares = {r["unit"]: r for r in atlas.table("squares").to_pylist() if r["square"] == square}
    edges = atlas.table("edges").to_pylist()
    for r in answer.found:
        assert r.logit == squares[r.unit]["logit"] and r.f1_low <= r.f1_high
        lowers = [e for e in edges if e["receiver"] == r.unit and e["sign"] == -1][:3]
        assert [(i.unit, i.effect, i.z) for i in r.inhibitors] == [(e["sender"], e["effect"], e["z"]) for e in lowers]
        assert (len(lowers) == 3) == (r.unit[:2] != "L0")
    layers = {r.unit[1] for r in answer.found}
    part = questions.makes_legal(atlas, square, layer=int(min(layers)))
    assert {r.unit[1] for r in part.found} == {min(layers)}


def test_what_is_like_a_neuron_and_like_its_images(atlas):
    squares = atlas.table("squares").to_pylist()
    units = by_unit(atlas, "units")
    vectors = {}
    for start in range(0, len(squares), 64):
        rows, unit = squares[start : start + 64], squares[start]["unit"]
        if units[unit]["kind"] == "neuron" and units[unit]["sd"]:
            means = [[r[f"mean_{s}"] for r in rows] for s in ("empty", "theirs", "mine")]
            means = [[None if m is None else (m - units[unit]["mean"]) / units[unit]["sd"] for m in x] for x in means]
            level = [np.mean([m for m in x if m is not None]) for x in means]
            vectors[unit] = [[0 if m is None else m - y for m in x] for x, y in zip(means, level, strict=True)]
    answer = questions.like(atlas, "L2N17", top=3)
    for name, place in SYMMETRIC.items():
        cosine = {}
        for unit, vector in vectors.items():
            products = [
                (vectors["L2N17"][s][q], vector[s][map_square(q, place)]) for s in range(3) for q in range(64)
            ]  # fmt: skip
            a, b = (np.array(x) for x in zip(*products, strict=True))
            cosine[unit] = a @ b / np.sqrt((a @ a) * (b @ b))
        if name == "identity":
            assert cosine.pop("L2N17") == pytest.approx(1)
        best = sorted(cosine, key=cosine.get, reverse=True)[:3]
        own = [a for a in answer.found if a.map == name]
        assert [a.unit for a in own] == best and own[0].cosine == pytest.approx(cosine[best[0]], abs=1e-5)
        assert answer.chance[name] == pytest.approx(np.quantile(list(cosine.values()), 0.99), abs=1e-5)
    with pytest.raises(InputError, match="L1H2 is a head"):
        questions.like(atlas, "L1H2")


@pytest.mark.parametrize("name", ["L1N5", "L0N100", "l2h3"])
def test_a_unit_with_everything_there_is_of_it(atlas, name):
    sheet = questions.unit(atlas, name)
    row = by_unit(atlas, "units")[sheet.unit]
    said = {k: v for k, v in row.items() if v is not None and k not in ("unit", "kind")}
    assert sheet.figures | sheet.words == said and sheet.kind == row["kind"]
    assert [s.square for s in sheet.squares] == list(LABELS)
    edges = atlas.table("edges").to_pylist()
    assert [e.unit for e in sheet.before] == [e["sender"] for e in edges if e["receiver"] == sheet.unit]
    assert {e.unit for e in sheet.after} == {e["receiver"] for e in edges if e["sender"] == sheet.unit}
    assert len(sheet.examples) == (6 if sheet.kind == "neuron" else 0)
    assert len(sheet.facts) == (5 if name == "L1N5" else 0)
    text = sheet.text()
    assert text.startswith(f"{sheet.unit}: a {sheet.kind} of layer") and "40 games, 1,960 positions" in text
    if sheet.kind == "head":
        assert row["head_kind"] in text and "equal attention" in text
    else:
        assert row["rule_status"] in text and sheet.examples[0].address in text


def test_answers_fit_a_terminal_and_go_to_json_and_back(atlas):
    for kind, answer in (
        (Reads, questions.reads(atlas, "C1")), (Reads, questions.reads(atlas, "C1", state="mine", layer=2)),
        (Writes, questions.writes(atlas, "D3")), (MakesLegal, questions.makes_legal(atlas, "C2")),
        (Like, questions.like(atlas, "L1N5")), (UnitSheet, questions.unit(atlas, "L2N8")),
        (UnitSheet, questions.unit(atlas, "L1H2")),
    ):  # fmt: skip
        text = answer.text()
        assert max(map(len, text.splitlines())) <= WIDTH, text
        assert "nan" not in text.lower() and "None" not in text
        assert kind.from_json(answer.to_json()) == answer
    assert "positions of held-out games" in questions.makes_legal(atlas, "C2").text()
    assert "not held" in questions.reads(atlas, "C1").text()
    assert "squares " in info(atlas.key, atlas.provenance, atlas.measured, atlas.rows)


def test_questions_that_make_no_sense_are_refused(atlas):
    for ask, said in (
        (lambda: questions.reads(atlas, "C9"), "'C9' is no square"),
        (lambda: questions.reads(atlas, "C0", state="black"), "state 'black' is none of empty, theirs, mine"),
        (lambda: questions.reads(atlas, "D3", state="empty"), "D3 is a centre square: it is never empty"),
        (lambda: questions.reads(atlas, "C0", layer=5), "layer 5: this atlas has rows of layers 0, 1, 2"),
        (lambda: questions.reads(atlas, "C0", top=0), "top 0: ask for at least 1"),
        (lambda: questions.writes(atlas, "C0", by="played"), "by 'played' is none of board, mine"),
        (lambda: questions.writes(atlas, "D4", by="logit"), "never empty and never played"),
        (lambda: questions.makes_legal(atlas, "E3"), "E3 is a centre square"),
        (lambda: questions.unit(atlas, "neuron 5"), "names no unit"),
        (lambda: questions.unit(atlas, "L2N128"), "L2N128 is not in this atlas, which has 396 units"),
        (lambda: questions.like(atlas, "L7N1"), "L7N1 is not in this atlas"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            ask()


def test_an_atlas_of_few_units_and_stages_answers_what_it_can(tmp_path):
    results = synthetic_atlas.results()
    some = tuple(results.model.unit(name) for name in ("L1N3", "L2N9", "L1H0"))
    part = Atlas.open(
        synthetic_atlas.write(
            tmp_path / "part", units=some, layers=(1, 2), rules=None, profiles=None, ablations=None, patterns={}
        )
    )
    assert "rules" not in part.rows and part.rows["units"] == 3
    assert len(questions.reads(part, "C1").found) == 2
    answer = questions.writes(part, "C1")
    assert len(answer.found) == 2 and answer.heads == () and answer.measured_heads is None
    assert questions.makes_legal(part, "C1").found == () and "none" in questions.makes_legal(part, "C1").text()
    assert [a.unit for a in questions.like(part, "L1N3").found if a.map == "identity"] == ["L2N9"]
    for answer in (questions.unit(part, "L1N3"), questions.unit(part, "L1H0"), questions.writes(part, "C1")):
        assert "None" not in answer.text()
    with pytest.raises(InputError, match="L1N4 is not in this atlas, which has 3 units of layers 1, 2"):
        questions.unit(part, "L1N4")


def test_numbers_are_written_to_the_digits_that_are_known():
    assert with_error(0.0016, 0.001) == "0.0016 ± 0.0010" and with_error(25.0, 25.0) == "25 ± 25"
    assert with_error(2.9e-5, 3e-5) == "2.9e-05 ± 3e-05" and with_error(0.02, None) == "0.020"
    assert with_error(None, None) == "–" and with_error(0.0, 0.0) == "0.0e+00 ± 0e+00"
    assert number(-0.001) == "0.00" and number(-0.5, 1, True) == "-0.5" and number(None) == "–"
    assert columns(["a", "b"], []) == ["none"] and columns(["a", "bc"], [["xyz", "1"]], (0,)) == ["a    bc", "xyz   1"]


def test_the_board_is_what_the_probes_table_has(atlas):
    answer = questions.board(atlas)
    rows = [r for r in atlas.table("probes").to_pylist() if r["point"] == answer.points[-1].point]
    last = answer.points[-1]
    assert last.accuracy == pytest.approx(np.mean([r["accuracy"] for r in rows]))
    assert last.worst == min(r["accuracy"] for r in rows)
    states = {r["square"]: r for r in atlas.table("squares").to_pylist()[:64]}
    mine = [(r["recall_mine"], states[r["square"]]["positions_mine"]) for r in rows]
    assert last.recall_mine == pytest.approx(sum(r * n for r, n in mine if n) / sum(n for _, n in mine))
    assert answer.majority == pytest.approx(np.mean([r["majority"] for r in rows]))
    assert len(answer.points) == len({r["point"] for r in atlas.table("probes").to_pylist()})
