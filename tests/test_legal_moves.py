"""Who makes a move legal: planted causes are found, chance is not, and a neuron that tells of a move may oppose it."""

import json

import numpy as np
import pytest
import synthetic_atlas

from circuits.atlas import questions
from circuits.atlas.move_effects import ALPHA
from circuits.atlas.opened import Atlas
from circuits.notation import LABELS, PLAYABLE
from reports.atlas_site.squares import Square

#: move -> (unit, what it adds where the move is legal, and where it is not)
PLANTED = {"C2": ("L1N7", 0.8, 0.0), "F3": ("L2H1", 0.5, -0.2), "B4": ("L0N3", -0.6, 0.0)}
#: adds the same to a move whether or not it is legal: makes nothing legal
EITHER = ("D0", "L1N9", 2.0)


@pytest.fixture(scope="module")
def atlas(tmp_path_factory) -> Atlas:
    planted = [(unit, [name], here, not_here) for name, (unit, here, not_here) in PLANTED.items()]
    planted.append((EITHER[1], [EITHER[0]], EITHER[2], EITHER[2]))
    ablations = synthetic_atlas.planted_ablations(planted)
    return Atlas.open(synthetic_atlas.write(tmp_path_factory.mktemp("atlas") / "planted", ablations=ablations))


def test_planted_causes_are_found_and_nothing_else(atlas):
    found = {name: questions.makes_legal(atlas, name).causes for name in (LABELS[s] for s in PLAYABLE)}
    for name, (unit, here, not_here) in PLANTED.items():
        own = found[name].raise_it if here > not_here else found[name].lower_it
        assert own[0].unit == unit and own[0].gap == pytest.approx(here - not_here, abs=0.25)
        assert own[0].legal == pytest.approx(here, abs=0.2) and own[0].illegal == pytest.approx(not_here, abs=0.2)
        assert own[0].gap == pytest.approx(own[0].legal - own[0].illegal, abs=0.1)
    named = {c.unit for causes in found.values() for c in (*causes.raise_it, *causes.lower_it)}
    # 60 squares at 5 % each: three by chance, over 396 units
    assert len(named - {unit for unit, *_ in PLANTED.values()}) <= 8
    assert EITHER[1] not in {c.unit for c in (*found[EITHER[0]].raise_it, *found[EITHER[0]].lower_it)}
    sums = [(c.raising + c.lowering, len(c.raise_it) + len(c.lower_it), c.tested) for c in found.values()]
    assert all(a == b and n == 396 for a, b, n in sums)
    assert sum(c.control for c in found.values()) <= 8


def test_the_units_table_names_them(atlas):
    rows = {row["unit"]: row for row in atlas.table("units").to_pylist()}
    for name, (unit, here, not_here) in PLANTED.items():
        word = "makes_legal" if here > not_here else "unmakes_legal"
        assert rows[unit][word] == name and rows[unit]["legal_moves"] >= 1
        assert rows[unit][f"{word}_gap"] == pytest.approx(here - not_here, abs=0.25)
        assert f"{name} " in questions.unit(atlas, unit).text().split("makes legal")[1]
    share = np.mean([row["legal_moves"] > 0 for row in rows.values()])
    assert share < ALPHA + 0.04  # by chance one in twenty
    for row in rows.values():
        assert (row["makes_legal"] is None) == (row["makes_legal_gap"] is None) == (row["makes_legal_se"] is None)
        if row["makes_legal"] is None and row["unmakes_legal"] is None:
            assert row["legal_moves"] == 0


def test_layers_text_and_json(atlas):
    part = questions.makes_legal(atlas, "C2", layer=1)
    assert part.causes.tested == 132 and part.causes.raise_it[0].unit == "L1N7"
    assert questions.makes_legal(atlas, "C2", layer=0).causes.raise_it == ()
    text = part.text()
    assert "1 of 132 of L1" in text and "L1N7" in text and "Student's t, Bonferroni" in " ".join(text.split())
    assert all(len(line) <= 110 for line in text.splitlines())
    back = json.loads(json.dumps(part.to_dict()))
    assert back["causes"]["raise_it"][0]["gap_se"] == pytest.approx(part.causes.raise_it[0].gap_se)
    one = questions.makes_legal(atlas, "C2", top=1)
    assert len(one.causes.raise_it) == 1 == one.causes.raising


def test_the_square_page_tells_causes_from_tellers(atlas):
    square = Square(atlas, LABELS.index("C2"))
    tables = {t["id"]: t for t in square.tables()}
    assert tables["raise-it"]["rows"][0][0] == "L1N7" and "lower-it" not in tables
    assert square.brief()["raises"][0][0] == "L1N7" and square.brief()["lowers"] == []
    assert "raise-it" not in {t["id"] for t in Square(atlas, LABELS.index("A0")).tables()}


def test_without_ablations_nothing_is_said(tmp_path):
    atlas = Atlas.open(synthetic_atlas.write(tmp_path / "bare", ablations=None))
    answer = questions.makes_legal(atlas, "C2")
    assert answer.causes is None and "no ablations in this atlas" in answer.text()
    assert "raise-it" not in {t["id"] for t in Square(atlas, LABELS.index("C2")).tables()}
    assert "makes legal" not in questions.unit(atlas, "L1N7").text()
