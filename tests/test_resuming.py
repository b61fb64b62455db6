"""Runs that are gone on with after something went wrong: stopped in the last evaluation, or a damaged folder."""

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest
import torch
from test_training import CONFIG, losses, weights

from circuits import games
from circuits.checkpoints import read
from circuits.errors import InputError
from circuits.training import loop as training
from circuits.training.lessons import HELD_OUT_SEED
from circuits.training.run_folder import RunFolder, read_log
from circuits.training.start import COMPILE_FROM, worth_compiling


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("begun") / "run"
    training.train(CONFIG, folder, minutes=0.0)
    return folder


@pytest.fixture
def run_folder(begun, tmp_path) -> Path:
    return copytree(begun, tmp_path / "run")


def resume(folder: Path, config=None) -> training.Trained:
    return training.train(config, folder, resume=True)


def test_a_run_out_of_patience_stays_stopped(tmp_path, monkeypatch):
    """Interrupted in its last evaluation, it does not train on."""
    games.save(games.generate(60, 4), tmp_path / "games.safetensors")
    config = replace(
        CONFIG, games_file=str(tmp_path / "games.safetensors"), objective="sampled", games=4000, lr=0.02, decay=0.0,
        patience=1, eval_every=16, held_out=0.3, first_checkpoint=10_000,
    )  # fmt: skip
    whole = training.train(config, tmp_path / "whole")
    assert whole.games < 4000

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(training._Run, "_finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(config, tmp_path / "run")
    monkeypatch.undo()
    trained = resume(tmp_path / "run")
    assert trained.finished and trained.games == whole.games
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    ours, theirs = weights(tmp_path / "run"), weights(tmp_path / "whole")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_whether_a_run_is_compiled_does_not_depend_on_where_it_stands():
    cpu = torch.device("cpu")
    assert not worth_compiling(replace(CONFIG, games=COMPILE_FROM - 1), cpu)
    assert not worth_compiling(replace(CONFIG, games=COMPILE_FROM, dropout=0.1), cpu)


def test_a_default_said_again_is_no_other_setting(run_folder):
    lr, lr_rest = CONFIG.rates
    said = replace(CONFIG, lr=lr, lr_rest=lr_rest, weight_decay=CONFIG.matrix_decay)
    assert resume(run_folder, said).finished


def test_another_size_is_named(run_folder):
    with pytest.raises(InputError, match=r"was begun with d_mlp 64, not 32: resume it as it is$"):
        resume(run_folder, replace(CONFIG, shape=replace(CONFIG.shape, d_mlp=32)))


def rewrite_state(folder: Path, change) -> None:
    holder = RunFolder(folder)
    tensors, counters = holder.load_state()
    change(tensors, counters)
    holder.save_state(tensors, counters)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, counters: counters.clear(),
        lambda tensors, counters: counters.update(step="x"),
        lambda tensors, counters: counters.update(meter=3),
        lambda tensors, counters: tensors.pop(next(k for k in tensors if k.startswith("o."))),
    ],
)
def test_a_state_with_something_missing_is_refused(run_folder, change):
    rewrite_state(run_folder, change)
    with pytest.raises(InputError, match=r"state.safetensors is damaged"):
        resume(run_folder)


def test_the_state_of_another_run_is_refused(run_folder, tmp_path):
    training.train(replace(CONFIG, seed=5), tmp_path / "other", minutes=0.0)
    (run_folder / "state.safetensors").write_bytes((tmp_path / "other" / "state.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"state.safetensors is of another run"):
        resume(run_folder)


def test_a_run_without_its_description_is_refused(run_folder):
    (run_folder / "run.json").unlink()
    for config in (CONFIG, None):
        with pytest.raises(InputError, match=r"run.json"):
            resume(run_folder, config)


def test_a_damaged_setting_names_the_file(run_folder):
    about = json.loads((run_folder / "run.json").read_text())
    about["config"]["games"] = "many"
    (run_folder / "run.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=r"run.json is damaged"):
        resume(run_folder)


def test_a_finished_run_is_read_whatever_became_of_its_log(run_folder):
    whole = resume(run_folder)
    assert resume(run_folder) == replace(whole, seconds=resume(run_folder).seconds)
    (run_folder / "log.jsonl").write_text("")
    assert resume(run_folder).finished
    (run_folder / "log.jsonl").unlink()
    assert resume(run_folder).evaluation == {}


def test_a_start_that_fails_leaves_no_folder(tmp_path):
    for kept in (False, True):
        out = tmp_path / "run"
        if kept:
            out.mkdir()
        with pytest.raises(InputError):
            training.train(replace(CONFIG, freeze=("L7",)), out)
        assert out.exists() == kept and not (out / "lock").exists()


@pytest.mark.parametrize("minutes", [-1.0, float("nan")])
def test_minutes_that_are_none_are_refused(tmp_path, minutes):
    with pytest.raises(InputError, match="minutes"):
        training.train(CONFIG, tmp_path / "run", minutes=minutes)


def test_games_that_models_are_looked_at_with_are_not_trained_on(tmp_path):
    games.save(games.generate(50, HELD_OUT_SEED), tmp_path / "games.safetensors")
    with pytest.raises(InputError, match="held out"):
        training.train(replace(CONFIG, games_file=str(tmp_path / "games.safetensors")), tmp_path / "run")


def test_the_card_names_what_the_run_started_from(begun, tmp_path):
    first = resume(copytree(begun, tmp_path / "first"))
    start = replace(CONFIG, init=str(first.model))
    after = training.train(start, tmp_path / "after")
    said = read(after.model).card["started from"]
    assert said.startswith("model.safetensors, hash ") and str(tmp_path) not in said
    assert read_log(tmp_path / "after" / "log.jsonl")[-1]["what"] == "finished"
