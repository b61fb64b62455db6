"""Tuning picks what was measured best; the benchmark's rows are what a direct run gives."""

import pytest
import torch

import probes
from circuits import plain
from circuits.editing import tuning as edit_tuning
from circuits.editing.benchmark import run
from circuits.editing.board_edits import join
from circuits.editing.cases import natural, unnatural
from circuits.editing.changes import Ground
from circuits.editing.interventions import Editor, Method
from circuits.editing.results import NO_EDIT, PERFECT, Benchmark
from circuits.editing.scores import score
from circuits.editing.stream_means import stream_means
from circuits.editing.tuning import tune, unit_of
from circuits.errors import InputError
from circuits.games import generate

NAMES = ("negate", "class mean")


@pytest.fixture(scope="module")
def editor(tiny, tiny_files):
    model = plain.of(tiny)
    readers = probes.load(tiny, tiny_files["probe"]).board_readers()
    return Editor(model, readers, Ground(stream_means(model, generate(40, seed=2))))


@pytest.fixture(scope="module")
def tuning(editor):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edit_tuning, "GRID", {**edit_tuning.GRID, "negate": (1.0, 4.0), "class mean": (1.0, 3.0)})
        return tune(editor, join([natural(12, seed=1), unnatural(12, seed=1)]), NAMES)


@pytest.fixture(scope="module")
def found(editor, tuning):
    sets = {"natural": natural(20, seed=2, least_changed=1), "unnatural": unnatural(20, seed=2)}
    extra = [("all plies", Method("class mean", 2.0, (0, 1), plies="all"))]
    return sets, run(editor, sets, tuning, extra=extra, rollouts=6)


def test_the_best_is_the_lowest(editor, tuning):
    cases = join([natural(12, seed=1), unnatural(12, seed=1)])
    for name in NAMES:
        errors = [(t.error, t.kl) for t in tuning.tried[name]]
        best = tuning.best(name)
        again = score(editor.run(cases, best).after, cases)
        assert (float(again["error"].mean()), float(again["KL"].mean())) == pytest.approx(min(errors), abs=1e-5)
        assert tuning.best(name, 2).layers == (2,)
    assert str(tuning.winner) in [str(tuning.best(name)) for name in NAMES]
    before = score(editor.run(cases, tuning.best("negate")).before, cases)["error"].mean()
    assert tuning.unedited == pytest.approx(float(before))
    with pytest.raises(InputError, match="no setting of 'gradient'"):
        tuning.best("gradient")
    with pytest.raises(InputError, match="no method of editing"):
        tune(editor, cases, ("wish",))


def test_the_unit_is_half_the_distance_of_the_classes(editor):
    hook = "blocks.1.hook_resid_post"
    state, weight = editor.ground.means.state[hook], editor.readers[hook].weight
    distances = []
    for square in range(64):
        u = weight[:, square, 2] - weight[:, square, 1]
        u = (u - u.mean()) / (u - u.mean()).norm()
        distances.append(float(((state[square, 2] - state[square, 1]) @ u).abs() / 2))
    assert unit_of(editor) == pytest.approx(float(torch.tensor(distances).median()), rel=1e-4)


def test_rows_are_direct_runs(editor, tuning, found):
    sets, bench = found
    for name, cases in sets.items():
        edited = editor.run(cases, tuning.best("negate"))
        assert bench.row(name, "negate").scores["KL"].mean == pytest.approx(
            float(score(edited.after, cases)["KL"].mean()), abs=1e-4
        )
        control = editor.run(cases, tuning.best("negate"), control=True)
        assert bench.row(name, "negate", control=True).scores["error"].mean == pytest.approx(
            float(score(control.after, cases)["error"].mean()), abs=1e-4
        )
        assert bench.row(name, NO_EDIT).scores["error"].mean == pytest.approx(
            float(score(edited.before, cases)["error"].mean()), abs=1e-4
        )
        assert bench.row(name, PERFECT).scores["error"].mean == 0
        single = score(editor.run(cases, tuning.best("negate", 1)).after, cases)["error"]
        assert len(bench.layers["negate"]) == 3 and single.shape == (20,)
    both = torch.cat([score(editor.run(c, tuning.best("class mean", 1)).after, c)["error"] for c in sets.values()])
    assert bench.layers["class mean"][1] == pytest.approx(float(both.mean()), abs=1e-4)
    sweep = torch.cat([score(editor.run(c, Method("negate", 8.0, (1,))).after, c)["error"] for c in sets.values()])
    assert bench.scales[1][4] == pytest.approx(float(sweep.mean()), abs=1e-4)


def test_the_winner_and_its_margin(editor, tuning, found):
    sets, bench = found
    errors = {
        name: torch.cat([score(editor.run(c, tuning.best(name)).after, c)["error"] for c in sets.values()])
        for name in NAMES
    }
    order = sorted(NAMES, key=lambda name: float(errors[name].mean()))
    assert (bench.winner, bench.runner_up) == tuple(str(tuning.best(name)) for name in order)
    assert bench.margin.mean == pytest.approx(float((errors[order[1]] - errors[order[0]]).mean()), abs=1e-4)
    assert bench.margin.low <= bench.margin.mean <= bench.margin.high
    described = {s.name: s for s in bench.sets}
    assert sum(described["natural"].changed) == 20 and described["natural"].changed[0] == 0
    assert described["natural"].actions == {"flip": 20}
    assert {r.name for r in bench.rollouts} == {bench.winner, NO_EDIT, "original boards"}
    text = bench.table()
    assert all(word in text for word in ("natural", "unnatural", "roll-out", bench.winner, "all plies"))


def test_nothing_to_measure(editor, tuning):
    with pytest.raises(InputError, match="no set of cases"):
        run(editor, {}, tuning)
    with pytest.raises(InputError, match="needs the stream's means"):
        unit_of(Editor(editor.model, editor.readers))


def test_there_and_back(found, tuning):
    import json

    _, bench = found
    again = Benchmark.from_dict(json.loads(json.dumps(bench.to_dict())))
    assert again == bench and again.methods["negate"] == tuning.best("negate")
    with pytest.raises(InputError, match="no result of the edit benchmark"):
        Benchmark.from_dict({"rows": []})
