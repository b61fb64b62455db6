"""The table of rules: its files give back what was put in, columns say what they hold, bad files are refused."""

import dataclasses
import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic_rules
from hypothesis import given
from hypothesis import strategies as st
from synthetic_rules import PROVENANCE, neuron_rule, table

from circuits.census.records import NeuronCensus
from circuits.errors import InputError
from circuits.games import generate
from circuits.induction import columns, kept
from circuits.induction.column_words import COLUMNS, about
from circuits.induction.records import NeuronRule, Score
from circuits.induction.run import games_for_rules
from circuits.induction.table import METADATA, RuleTable, join
from circuits.serial import Record


@pytest.fixture(scope="module")
def small():
    return table(3, 12, census=True)


@pytest.mark.parametrize("ending", ["parquet", "json"])
@pytest.mark.parametrize("census", [False, True])
def test_a_file_gives_back_the_table(tmp_path, ending, census):
    made = table(3, 12, census=census)
    assert {row.status for row in made} == {"explained", "partly", "clock", "unexplained", "dead"}
    path = made.save(tmp_path / "deep" / f"rules.{ending}")
    read = RuleTable.load(path)
    assert read == made and read.provenance == PROVENANCE
    assert len(read.census) == (36 if census else 0)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_rows_of_a_file_are_made_when_asked_for(tmp_path, small, monkeypatch):
    read = RuleTable.load(small.save(tmp_path / "rules.parquet"))
    made, record = [], columns.record
    monkeypatch.setattr(columns, "record", lambda cls, *given: made.append(cls) or record(cls, *given))
    assert len(read) == 36 and read.layers == (0, 1, 2) and repr(read) == repr(small) and "L0N12" not in read
    assert read["L1N4"] == small["L1N4"] and read.counted("L2N3") == small.counted("L2N3")
    assert (
        made.count(NeuronRule) + made.count(NeuronCensus) < 24
    )  # of 72: these two, and those that type checks look at
    assert read["L1N4"] is read["L1N4"] and read.layer(2) == small.layer(2)
    assert read.rows[-1] == small.rows[-1] and read.rows[3:9] == small.rows[3:9] and list(read) == list(small)
    assert read != RuleTable.of(PROVENANCE, small.rows[:-1]) and hash(read) == hash(small)
    with pytest.raises(IndexError):
        read.rows[36]
    assert pickle.loads(pickle.dumps(read)) == small


def test_parquet_of_another_tool_is_read_too(tmp_path, small):
    own = small.to_arrow()
    for changes in ({"rule": pa.large_string(), "peak_ply": pa.int64()}, {"alternatives": pa.large_list(pa.string())}):
        wide = pa.schema(
            [field.with_type(changes.get(field.name, field.type)) for field in own.schema], own.schema.metadata
        )
        pq.write_table(own.cast(wide), tmp_path / "wide.parquet")
        assert RuleTable.load(tmp_path / "wide.parquet") == small


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("f1", float("inf"), r"Score\.f1: inf is not a finite number"),
        ("mean", float("nan"), r"NeuronRule\.mean: nan is not a finite number"),
        ("terms", None, r"Score\.terms: None is not a whole number"),
        ("status", None, r"NeuronRule\.status: None is not str"),
        ("alternatives", ["A0 mine", None], r"NeuronRule\.alternatives\.1: None is not str"),
        ("board", [{"what": "C0 mine", "by": float("nan")}], r"Written\.by: nan is not a finite number"),
        ("partners", None, "damaged|NeuronCensus"),
    ],
)
def test_one_bad_value_in_a_file_is_refused_as_it_is_read(tmp_path, small, name, value, said):
    assert small.rows[0].rule is not None
    rows = small.to_arrow().to_pylist()
    rows[0][name] = value
    schema = small.to_arrow().schema
    loose = pa.schema([field.with_nullable(True) for field in schema], schema.metadata)
    pq.write_table(pa.Table.from_pylist(rows, loose), tmp_path / "bad.parquet")
    with pytest.raises(InputError, match=said) as error:
        RuleTable.load(tmp_path / "bad.parquet")
    assert "bad.parquet" in str(error.value)


def test_parquet_is_flat_and_says_what_its_columns_hold(tmp_path, small):
    read = pq.read_table(small.save(tmp_path / "rules.parquet"))
    names = [name for kind in (NeuronRule, NeuronCensus) for name, *_ in columns.columns(kind)]
    assert read.column_names == ["unit", "layer", "neuron", *(n for n in names if n != "unit")]
    for field in read.schema:
        assert field.metadata[b"description"].decode() == about(field.name), field.name
    assert len(set(read.column_names)) == len(read.column_names)
    assert set(COLUMNS) <= set(read.column_names)  # none is described that is not there
    data = json.loads(read.schema.metadata[METADATA])
    assert data["provenance"] == PROVENANCE.to_dict()
    row = small.rows[7]
    at = dict(zip(read.column_names, (read[name][7].as_py() for name in read.column_names), strict=True))
    assert (at["unit"], at["layer"], at["neuron"]) == (row.unit, 0, 7)
    assert at["variance_explained"] == np.float32(row.rule.variance_explained.value)
    assert at["other_f1"] == np.float32(row.other.f1) if row.other else at["other_rule"] is None
    assert at["alternatives"] == list(row.alternatives)
    assert [x["what"] for x in at["board"]] == [x.what for x in small.census[7].board]


def test_rows_are_in_order_and_found_by_name(small):
    shuffled = RuleTable.of(small.provenance, small.rows[::-1], small.census[5:] + small.census[:5])
    assert shuffled == small
    assert [row.unit for row in small.layer(1)] == [f"L1N{i}" for i in range(12)]  # by number, not by text
    assert small["L2N11"].unit == "L2N11" and "L2N12" not in small and small.layers == (0, 1, 2)
    assert small.counted("L2N11").unit == "L2N11" and table(1, 2).counted("L0N0") is None
    with pytest.raises(InputError, match=r"L2N12 is not in the table of rules, which has 36 neurons of L0–L2"):
        small["L2N12"]


def test_a_table_of_layers_is_joined_from_them(small):
    parts = [
        RuleTable.of(small.provenance, small.layer(i), [c for c in small.census if c.unit.startswith(f"L{i}N")])
        for i in (2, 0, 1)
    ]
    assert join(parts, seconds=61.5) == small
    other = RuleTable.of(dataclasses.replace(PROVENANCE, seed=1), small.layer(0))
    for bad, said in (([], "no tables"), ([parts[0], parts[0]], "twice"), ([parts[0], other], "different models")):
        with pytest.raises(InputError, match=said):
            join(bad)


def test_one_row_a_neuron_and_a_census_of_the_same(small):
    rows = small.rows
    for bad, said in (
        ((rows[:2] + rows[:1],), "L0N0 twice"),
        (([dataclasses.replace(rows[0], unit="L2H3")],), "L2H3 is no neuron"),
        ((rows[:2], small.census[1:3]), "of the same ones"),
    ):
        with pytest.raises(InputError, match=said):
            RuleTable.of(PROVENANCE, *bad)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.parquet", b"PAR1 this is none", "no table of rules, or is damaged"),
        ("a.json", b"[1, 2]", "format None"),
        ("a.json", b'{"format": "othello-circuits rules 0"}', "rules 0"),
        ("a.json", b"{", "no table of rules"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        RuleTable.load(tmp_path / name)


def test_a_file_that_is_not_there_or_of_another_kind_is_refused(tmp_path, small):
    with pytest.raises(InputError, match="othello-circuits rules makes"):
        RuleTable.load(tmp_path / "none.parquet")
    with pytest.raises(InputError, match=r"written as \.parquet or \.json"):
        small.save(tmp_path / "rules.csv")
    cut = small.save(tmp_path / "rules.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(cut[: len(cut) // 2])
    with pytest.raises(InputError, match="damaged"):
        RuleTable.load(tmp_path / "cut.parquet")


@dataclasses.dataclass(frozen=True)
class Inner(Record):
    inner: int
    words: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Outer(Record):
    inner: Inner | None
    other: Inner | None
    several: tuple[Inner, ...]
    share: float | None


@given(
    st.none() | st.builds(Inner, st.integers(-9, 9), st.lists(st.text("ab", max_size=2), max_size=2)),
    st.lists(st.builds(Inner, st.integers(0, 3), st.just(())), max_size=2),
    st.none() | st.floats(-1e6, 1e6, width=32),
)
def test_a_record_is_what_its_columns_are(one, several, share):
    made = columns.single(Outer(one, None, tuple(several), share))
    assert columns.record(Outer, columns.row(made)) == made
    names = [name for name, *_ in columns.columns(Outer)]
    assert list(columns.row(made)) == names == ["inner", "words", "other_inner", "other_words", "several", "share"]


@given(st.floats(-1e30, 1e30))
def test_numbers_are_the_shortest_decimals_of_single_precision(value):
    found = columns.single(value)
    assert np.float32(found) == np.float32(value)
    assert len(f"{found:e}".partition("e")[0].strip("-").rstrip("0")) <= len("1.23456789")
    assert columns.single(found) == found


# ---- where tables are kept -----------------------------------------------------------------------------------


def test_the_table_of_most_games_of_this_model_is_used(tmp_path, monkeypatch, small):
    monkeypatch.setattr(kept, "BUNDLED", tmp_path / "bundled.parquet")
    model = PROVENANCE.model
    assert kept.table_of(model, tmp_path) is None and kept.table_of(model, None) is None
    dataclasses.replace(small, provenance=dataclasses.replace(PROVENANCE, games=900)).save(tmp_path / "bundled.parquet")
    assert kept.table_of(model, None).provenance.games == 900 and kept.table_of("another", tmp_path) is None
    assert kept.keep(small, tmp_path) and kept.table_of(model, tmp_path) == small
    fewer = dataclasses.replace(small, provenance=dataclasses.replace(PROVENANCE, games=400))
    assert not kept.keep(fewer, tmp_path) and kept.table_of(model, tmp_path) == small
    kept.path_in(tmp_path, model).write_text("nothing")
    assert kept.keep(fewer, tmp_path)  # in the place of a damaged one
    assert kept.table_of(model, tmp_path).provenance.games == 900


def test_games_of_a_table_are_told_from_those_of_a_page(small):
    random = games_for_rules(3, seed=0)
    own = RuleTable.of(
        dataclasses.replace(PROVENANCE, games_source=random.source, fingerprint=random.fingerprint), small.rows
    )
    assert not kept.shares_games(own, generate(40, 0)) and kept.shares_games(own, random)
    assert kept.shares_games(small, generate(40, 0))  # fewer games of a seed are a prefix of more
    assert not kept.shares_games(small, generate(40, 1))
    whole = {tuple(row) for row in generate(40, 0).tokens.tolist()}
    assert not whole & {tuple(row) for row in random.tokens.tolist()}


def test_every_field_of_a_score_is_a_column():
    rng = np.random.default_rng(0)
    row = columns.row(neuron_rule("L0N0", "explained", rng))
    assert {f.name for f in dataclasses.fields(Score)} <= set(row)


def test_a_bundled_trial_is_of_its_model(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "BUNDLED_TRIAL", tmp_path / "trial.json")
    made = synthetic_rules.trial()
    assert kept.trial_of(made.model_hash) is None
    (tmp_path / "trial.json").write_text(made.to_json())
    assert kept.trial_of(made.model_hash) == made and kept.trial_of("another") is None
