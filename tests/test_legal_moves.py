"""Who makes a move legal: planted causes are found, chance is not, and a neuron that tells of a move may oppose it."""

import json

import pytest
import synthetic_atlas

from circuits.atlas import questions
from circuits.atlas.move_effects import FLOOR, LEAST
from circuits.atlas.opened import Atlas
from circuits.notation import LABELS, PLAYABLE
from reports.atlas_site.squares import Square

#: move -> (unit, what it adds where the move is legal, and where it is not)
PLANTED = {"C2": ("L1N7", 0.8, 0.0), "F3": ("L2H1", 0.5, -0.2), "B4": ("L0N3", -0.6, 0.0), "B0": ("L2N9", 0.0, -0.7)}
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
        own = found[name].separate if here > not_here else found[name].blur
        assert own[0].unit == unit and own[0].gap == pytest.approx(here - not_here, abs=0.25)
        assert own[0].legal == pytest.approx(here, abs=0.2) and own[0].illegal == pytest.approx(not_here, abs=0.2)
        assert own[0].gap == pytest.approx(own[0].legal - own[0].illegal, abs=0.1)
        assert own[0].side == ("legal" if abs(here) > abs(not_here) else "illegal")
    named = {c.unit for causes in found.values() for c in (*causes.separate, *causes.blur)}
    # 60 squares at 5 % each: three by chance, over 396 units
    assert len(named - {unit for unit, *_ in PLANTED.values()}) <= 8
    assert EITHER[1] not in {c.unit for c in (*found[EITHER[0]].separate, *found[EITHER[0]].blur)}
    for c in found.values():
        assert c.separating + c.blurring == len(c.separate) + len(c.blur)
        assert c.tested == c.looked_at == 396 and min(c.legal, c.illegal) >= LEAST
        assert all(abs(x.gap) >= FLOOR for x in (*c.separate, *c.blur))
    assert sum(c.control for c in found.values()) <= 8


def test_the_units_table_names_them_by_the_same_test(atlas):
    rows = {row["unit"]: row for row in atlas.table("units").to_pylist()}
    listed = set()
    for name in (LABELS[s] for s in PLAYABLE):
        c = questions.makes_legal(atlas, name, top=1000).causes
        listed |= {("separates", x.unit, name) for x in c.separate} | {("blurs", x.unit, name) for x in c.blur}
    for word in ("separates", "blurs"):
        for unit, row in rows.items():
            assert (row[word] is not None) == any(w == word and u == unit for w, u, _ in listed)
            assert row[word] is None or (word, unit, row[word]) in listed
            assert len({row[f"{word}{end}"] is None for end in ("", "_gap", "_se", "_side")}) == 1
    for name, (unit, here, not_here) in PLANTED.items():
        word = "separates" if here > not_here else "blurs"
        assert rows[unit][word] == name and rows[unit][f"{word}_gap"] == pytest.approx(here - not_here, abs=0.25)
        assert f"{name} most" in questions.unit(atlas, unit).text().split(word)[1]


def test_layers_text_and_json(atlas):
    part = questions.makes_legal(atlas, "C2", layer=1)
    assert (part.causes.tested, part.causes.looked_at) == (396, 132) and part.causes.separate[0].unit == "L1N7"
    assert questions.makes_legal(atlas, "C2", layer=0).causes.separate == ()
    text = part.text()
    assert "1 of 132 of L1" in text and "L1N7" in text and "(Student's t, Bonferroni)" in " ".join(text.split())
    assert "lift it where it is legal" in text and "lower it where it is not" not in text
    assert "lower it where it is not" in questions.makes_legal(atlas, "B0").text()
    assert all(len(line) <= 110 for line in text.splitlines())
    back = json.loads(json.dumps(part.to_dict()))
    assert back["causes"]["separate"][0]["gap_se"] == pytest.approx(part.causes.separate[0].gap_se)
    one = questions.makes_legal(atlas, "C2", top=1)
    assert len(one.causes.separate) == 1 == one.causes.separating


def test_the_square_page_tells_causes_from_tellers(atlas):
    square = Square(atlas, LABELS.index("C2"))
    tables = {t["id"]: t for t in square.tables()}
    assert tables["separate-legal"]["rows"][0][0] == "L1N7" and not {"separate-illegal", "blur-legal"} & set(tables)
    assert square.brief()["separate-legal"][0][0] == "L1N7" and square.brief()["blur-legal"] == []
    ids = {t["id"] for t in Square(atlas, LABELS.index("B0")).tables()}
    assert "separate-illegal" in ids and "separate-legal" not in ids
    assert "blur-legal" in {t["id"] for t in Square(atlas, LABELS.index("B4")).tables()}
    assert not {"separate-legal", "blur-legal"} & {t["id"] for t in Square(atlas, LABELS.index("A0")).tables()}


def test_of_few_positions_nothing_is_said(tmp_path):
    few = synthetic_atlas.planted_ablations([("L1N7", ["C2"], 5.0, 0.0)], positions=40)
    atlas = Atlas.open(synthetic_atlas.write(tmp_path / "few", ablations=few))
    answer = questions.makes_legal(atlas, "C2")
    assert answer.causes.legal < LEAST and answer.causes.separate == ()
    assert f"fewer than {LEAST}, so nothing is said" in answer.text()


def test_without_ablations_nothing_is_said(tmp_path):
    atlas = Atlas.open(synthetic_atlas.write(tmp_path / "bare", ablations=None))
    answer = questions.makes_legal(atlas, "C2")
    assert answer.causes is None and "too few positions were ablated, or none" in " ".join(answer.text().split())
    assert "gap" not in answer.text() and "separate-legal" not in {
        t["id"] for t in Square(atlas, LABELS.index("C2")).tables()
    }
    assert "separates" not in questions.unit(atlas, "L1N7").text()
