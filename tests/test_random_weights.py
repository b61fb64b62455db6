"""Random weights of the same shape, one flag away: the same twin everywhere, probes of its own, said on every page."""

import json
import shlex
from pathlib import Path

import pytest
import torch
from command_line import refused

import probes
from circuits import checkpoints, models
from circuits.errors import InputError
from circuits.games import generate
from probes import ProbeSet, of_random_weights
from reports import open_model
from reports.records import NeuronRecord

TINY = Path(__file__).parent / "assets" / "tiny.safetensors"


@pytest.fixture(autouse=True)
def few_games(monkeypatch):
    monkeypatch.setattr(of_random_weights, "PROBE_GAMES", 20)
    monkeypatch.setattr(probes.training, "STEPS", 20)


@pytest.fixture
def no_training(monkeypatch):
    def train(*_, **__):
        pytest.fail("probes were trained")

    monkeypatch.setattr(probes, "train", train)


# ---- the twin


def test_the_twin_is_the_same_by_every_road(tiny):
    twin = models.random_twin(tiny, 5)
    raw = models.read_checkpoint(TINY, random_seed=5)
    loaded = models.load(TINY, random_seed=5)  # without a warning that it plays at chance: it is meant to
    of = models.random_checkpoint(checkpoints.read(TINY), 5)
    hashes = {
        twin.hash,
        loaded.hash,
        models.weights_hash(raw.shape, raw.weights),
        models.weights_hash(of.shape, of.weights),
    }
    assert len(hashes) == 1 and tiny.hash not in hashes and loaded.shape == tiny.shape
    for card, name in ((m.card, m.name) for m in (twin, raw, loaded, of)):
        assert name == card["name"] == "tiny, random weights, seed 5" and "never trained" in card["weights"]
    assert models.random_twin(twin, 5).hash == twin.hash
    assert models.random_twin(twin, 6).name == "tiny, random weights, seed 6"


def test_its_weights_are_gpt2s(tiny):
    weights = models.read_checkpoint(TINY, random_seed=0).weights
    other = models.read_checkpoint(TINY, random_seed=1).weights
    assert set(weights) == set(checkpoints.weight_shapes(tiny.shape))
    for name, w in weights.items():
        kind = name.rsplit(".", 1)[1]
        if kind == "w" or kind.startswith("b"):
            assert torch.equal(w, torch.full_like(w, float(kind == "w")))
        else:
            assert abs(w.std() - 0.02) < 0.002 and abs(w.mean()) < 0.002 and not torch.equal(w, other[name])


# ---- its probes


def test_its_probes_are_trained_once_and_kept(tmp_path, capsys, monkeypatch):
    twin = models.load(TINY, random_seed=3)
    made = of_random_weights.probes_of_random_weights(twin, 3, tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "othello-circuits: tiny, random weights, seed 3: no probes given, training some on 20 random games"
    expected = probes.train(twin, generate(20, 3), seed=3)
    assert all(torch.equal(p.weight, expected[key].weight) for key, p in made.items())
    assert made.model_hash == twin.hash

    with monkeypatch.context() as patch:
        patch.setattr(probes, "train", lambda *_, **__: pytest.fail("probes were trained again"))
        again = of_random_weights.probes_of_random_weights(twin, 3, tmp_path)
        with pytest.raises(pytest.fail.Exception):  # another seed's are others
            of_random_weights.probes_of_random_weights(models.load(TINY, random_seed=4), 4, tmp_path)
    capsys.readouterr()
    for key, probe in again.items():
        torch.testing.assert_close(probe.weight, made[key].weight, rtol=1e-4, atol=1e-5 * float(probe.weight.std()))

    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:1000])
    of_random_weights.probes_of_random_weights(twin, 3, tmp_path)
    warning, said = capsys.readouterr().err.splitlines()
    assert warning.startswith("othello-circuits: warning: ") and "training again" in warning and "training some" in said
    assert ProbeSet.load(kept, twin)


def test_without_a_cache_nothing_is_kept(tmp_path, capsys):
    twin = models.load(TINY, random_seed=0)
    assert of_random_weights.probes_of_random_weights(twin, 0, None).model_hash == twin.hash
    (tmp_path / "file").touch()
    of_random_weights.probes_of_random_weights(twin, 0, tmp_path / "file" / "cache")
    assert "not kept" in capsys.readouterr().err and list(tmp_path.iterdir()) == [tmp_path / "file"]


# ---- reports


def test_a_workbench_on_random_weights(tmp_path, tiny):
    bench = open_model(TINY, games=30, seed=2, cache=tmp_path, random_weights=True)
    assert bench.model.hash == models.random_twin(tiny, 2).hash == bench.probes.model_hash
    assert models.weights_hash(bench.checkpoint.shape, bench.checkpoint.weights) == bench.model.hash
    assert bench.evaluation is None
    assert shlex.split(bench.options) == ["--model", str(TINY), "--random-weights", "--games", "30", "--seed", "2"]
    again = eval(f"open_model({bench.arguments}, cache={str(tmp_path)!r})")
    assert again.model.hash == bench.model.hash and again.options == bench.options

    record = bench.neuron("L1N3", rule=False).record  # checks itself against the raw weights
    assert record.provenance.model_name == "tiny, random weights, seed 2"
    assert record.provenance.model_hash == bench.model.hash
    assert "--random-weights" in record.provenance.command and "random_weights=True" in record.provenance.python


def test_given_probes_must_be_its_own(tmp_path, tiny_files, no_training):
    with pytest.raises(InputError, match="was trained on model"):
        open_model(TINY, tiny_files["probe"], 10, cache=tmp_path, random_weights=True)


# ---- the command line


def test_info(run, tiny):
    result = run("info", "--model", str(TINY), "--games", "10", "--random-weights", "--seed", "4", "--json")
    assert result.returncode == 0 and result.stderr == ""
    found = json.loads(result.stdout)
    assert found["hash"] == models.random_twin(tiny, 4).hash and found["name"] == "tiny, random weights, seed 4"
    assert found["play"]["illegal_top1"] > 0.8 * found["play"]["chance_illegal_top1"]


def test_neuron_and_report_say_so_on_their_pages(run, tmp_path):
    common = ("--model", str(TINY), "--random-weights", "--games", "40", "--cache", str(tmp_path / "kept"))
    result = run("neuron", "L1N3", *common, "--no-rules", "--out", "page.html", "--json")
    assert result.returncode == 0, result.stderr
    assert "training some on 20 random games" in result.stderr
    record = NeuronRecord.from_json(json.dumps(json.loads(result.stdout)["record"]))
    assert record.provenance.model_name == "tiny, random weights, seed 0"
    assert "tiny, random weights, seed 0" in Path("page.html").read_text()

    result = run("report", "L0N1", *common, "--no-rules", "--out", "pages")
    assert result.returncode == 0 and "training some" not in result.stderr  # kept from the first command
    assert "Random weights in the shape of tiny, never trained: a baseline." in Path("pages/index.html").read_text()


def test_probes_are_trained_evaluated_and_used(run, tmp_path, tiny):
    twin = models.random_twin(tiny, 1)
    common = ("--model", str(TINY), "--random-weights", "--seed", "1", "--games", "20")
    assert run("probe", "train", *common, "--out", "twin.probes.safetensors").returncode == 0
    assert ProbeSet.load("twin.probes.safetensors", twin).model_hash == twin.hash
    given = run("probe", "evaluate", *common, "--probe", "twin.probes.safetensors", "--no-baselines", "--json")
    found = run("probe", "evaluate", *common, "--no-baselines", "--json")
    for result in (given, found):
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["about"]["model_hash"] == twin.hash
    assert "training some" in found.stderr and "training some" not in given.stderr
    # The same games and seed: the same probes, whichever command trained them.
    assert json.loads(given.stdout)["accuracy"] == json.loads(found.stdout)["accuracy"]
    assert "was trained on model" in refused(
        run("probe", "evaluate", *common[:3], "--seed", "2", "--games", "20", "--probe", "twin.probes.safetensors")
    )


def test_export(run, tiny):
    result = run(
        "export", "--model", str(TINY), "--random-weights", "--seed", "9", "--out", "twin.safetensors", "--json"
    )
    assert result.returncode == 0, result.stderr
    twin = checkpoints.read("twin.safetensors")
    assert models.weights_hash(twin.shape, twin.weights) == models.random_twin(tiny, 9).hash
    assert twin.name == "tiny, random weights, seed 9"
    found = json.loads(result.stdout)
    assert found["hash"] == found["source_hash"] and found["dtype"] == "fp32"
