"""The driver: a run that was cut off goes on and gives the same table; work done for something else is not taken."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

from circuits import plain
from circuits.board_readers import BoardReader
from circuits.errors import InputError
from circuits.games import generate
from circuits.induction import run as driver
from circuits.induction.as_published import AsPublished
from circuits.induction.literals import PUBLISHED
from circuits.induction.run import RULE_SEEDS, find_rules, games_for_rules
from circuits.induction.sample import layers, sample

NEURONS = 4


@pytest.fixture(scope="module")
def narrow(tiny):
    """The tiny model's first neurons of two layers, few enough to look at all of them."""
    model = plain.of(tiny)
    few = {"W_in": lambda w: w[:, :NEURONS], "b_in": lambda w: w[:NEURONS], "W_out": lambda w: w[:NEURONS]}
    weights = {
        name: few.get(name.rpartition("mlp.")[2], lambda w: w)(w)
        for name, w in model.weights.items()
        if not name.startswith("blocks.2.")
    }
    shape = dataclasses.replace(model.shape, d_mlp=NEURONS, n_layers=2)
    return plain.PlainModel(shape, model.card, "0123456789abcdef", "narrow", weights)


@pytest.fixture(scope="module")
def games():
    return games_for_rules(260, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("found")


@pytest.fixture(scope="module")
def whole(narrow, games, folder):
    return find_rules(narrow, games, seed=1, folder=folder, progress=False)


def test_every_neuron_has_a_row_a_census_and_a_place_in_the_counts(whole, narrow, games):
    table = whole.table
    assert [row.unit for row in table] == [f"L{layer}N{n}" for layer in range(2) for n in range(NEURONS)]
    assert [row.unit for row in table.census] == [row.unit for row in table]
    assert [x.neurons for x in whole.counts.layers] == [NEURONS] * 2 and whole.resumed == ()
    assert sum(x.explained for x in whole.counts.layers) == sum(row.explained for row in table)
    assert len(whole.counts.patterns) == 2  # all layers were asked for
    p = table.provenance
    assert (p.model, p.games, p.fingerprint, p.seed) == (narrow.hash, 260, games.fingerprint, 1)
    assert p.train_games + p.tune_games + p.held_out_games == 260 and p.literals <= p.literals_tried
    assert {(run.layer, run.of) for run in whole.replaced.runs} == {(0, 4), (1, 4), (None, 8)}
    mine = sample(narrow, games, seed=1)
    assert p.held_out_positions == mine.held_out.n
    (acts,) = layers(mine, [1])
    assert [row.mean for row in table.layer(1)] == pytest.approx(acts.held_out.mean(1).tolist(), rel=1e-4, abs=1e-5)


def test_a_run_that_was_cut_off_goes_on_and_ends_alike(whole, narrow, games, folder, tmp_path, monkeypatch):
    (first,) = folder.glob("L0-*.safetensors")  # all that was finished
    shutil.copy(first, tmp_path)
    real, done = driver.discover, []

    def discover(facts, acts, *rest, **options):
        done.append(acts.layer)
        return real(facts, acts, *rest, **options)

    monkeypatch.setattr(driver, "discover", discover)
    again = find_rules(narrow, games, seed=1, folder=tmp_path, replace_neurons=False, progress=False)
    assert again.resumed == (0,) and done == [1]
    assert dataclasses.replace(again.table, provenance=whole.table.provenance) == whole.table
    assert again.table.provenance.seconds > 0 and again.counts == whole.counts and again.replaced is None


def test_a_finished_run_is_not_made_again(whole, narrow, games, folder, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("this was done before")

    for name in ("discover", "layers", "replaced", "counts", "pattern_neurons"):
        monkeypatch.setattr(driver, name, refuse)
    again = find_rules(narrow, games, seed=1, folder=folder, progress=False)
    assert again.resumed == (0, 1) and again.table == whole.table
    assert (again.replaced, again.counts) == (whole.replaced, whole.counts)


def test_what_is_finished_is_kept_when_a_run_is_interrupted(narrow, games, tmp_path, monkeypatch):
    def interrupted(self, acts):
        raise KeyboardInterrupt

    monkeypatch.setattr(driver.Run, "predictions", lambda *_: None)
    real = driver.Run.layer
    monkeypatch.setattr(driver.Run, "layer", lambda self, acts: (interrupted if acts.layer else real)(self, acts))
    with pytest.raises(KeyboardInterrupt):
        find_rules(narrow, games, seed=1, folder=tmp_path, progress=False)
    assert [path.name.partition("-")[0] for path in tmp_path.iterdir()] == ["L0"]


def test_only_work_done_for_the_very_same_is_taken(whole, narrow, games, folder, tmp_path, monkeypatch):
    def run(**changes):
        values = {"readers": {}, "band": slice(5, 54), "seed": 1, "depth": 8, "resamples": 0, "folder": tmp_path}
        return driver.Run(**({"model": narrow, "games": games, "progress": False} | values | changes))

    own = run().key
    assert run(folder=None).key == own
    other = dataclasses.replace(narrow, hash="f" * 16)
    reader = BoardReader("blocks.0.hook_resid_post", torch.ones(64, 64, 3), torch.zeros(64, 3))
    changed = [
        run(model=other), run(games=games[:259]), run(games=games_for_rules(260, seed=4)), run(band=slice(5, 31)),
        run(seed=2), run(depth=4), run(resamples=2), run(readers={reader.hook: reader}),
    ]  # fmt: skip
    assert len({own, *(x.key for x in changed)}) == 9
    monkeypatch.setattr(driver, "method", lambda: "of an older version")
    assert run().key != own
    monkeypatch.undo()
    (kept,) = folder.glob("L1-*.safetensors")
    kept = Path(shutil.copy(kept, tmp_path))
    assert run().files.layer(1).rows[0].unit == "L1N0" and run().files.layer(0) is None
    assert changed[4].files.layer(1) is None
    kept.write_bytes(kept.read_bytes()[:-50])
    assert run().files.layer(1) is None


def test_trees_as_published_are_of_held_out_games_at_published_plies(narrow, games):
    from sklearn.metrics import r2_score
    from sklearn.tree import DecisionTreeRegressor

    mine = sample(narrow, games, seed=1)
    (acts,) = layers(mine, [0])
    found = AsPublished(mine).r2(acts)
    matrices, values = [], []
    for side, y in ((mine.train, acts.train), (mine.held_out, acts.held_out)):
        here = (side.ply >= 5) & (side.ply <= 30)
        side.packed.prepare(PUBLISHED)
        matrices.append(torch.stack([side.packed.holds(atom) for atom in PUBLISHED], 1)[here].numpy())
        values.append(y[:, here].double().numpy())
    varies = (matrices[0].sum(0) >= 50) & ((~matrices[0]).sum(0) >= 50)
    for n in range(2):
        tree = DecisionTreeRegressor(max_depth=8, min_samples_leaf=50, min_samples_split=100, random_state=0)
        tree.fit(matrices[0][:, varies], values[0][n])
        expected = r2_score(values[1][n], tree.predict(matrices[1][:, varies]))
        assert float(found[n]) == pytest.approx(expected, abs=0.01)  # ties are broken in another order


def test_games_for_rules_are_of_no_seed_given_elsewhere():
    found = games_for_rules(5, seed=2)
    assert torch.equal(found.tokens, generate(5, RULE_SEEDS + 2).tokens)
    assert found.source == "random, kept for rules, seed 2, 5 games"
    assert torch.equal(games_for_rules(3, seed=2).tokens, found.tokens[:3])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layers": [2]}, r"layer 2: model narrow has layers 0\.\.1"),
        ({"layers": []}, "no layers"),
        ({"depth": 13}, "trees of depth 13: give 1 to 12"),
        ({"resamples": -1}, "-1 resamples"),
        ({"games": generate(60, 0)}, "too few games to hold out"),
    ],
)
def test_bad_input_is_refused(narrow, games, changes, said):
    given = {"games": games} | changes
    with pytest.raises(InputError, match=said):
        find_rules(narrow, given.pop("games"), progress=False, **given)
