"""What opening a model leaves behind: the command that reopens it, a kept pass, and torch as it was."""

import shlex
import shutil

import pytest
import torch

from circuits.errors import InputError
from reports import open_model


@pytest.fixture(scope="module")
def odd(tiny_files, tmp_path_factory):
    """The tiny model's files in a folder whose name a shell would split."""
    folder = tmp_path_factory.mktemp("it's a folder")
    return {name: shutil.copy(path, folder / path.name) for name, path in tiny_files.items()}


def test_gradients_stay_on_through_a_report(odd):
    assert torch.is_grad_enabled()
    bench = open_model(odd["model"], odd["probe"], 30, cache=False)
    report = bench.neuron("L1N3", rule=False)
    assert torch.is_grad_enabled() and report.record.unit == "L1N3"
    assert not bench.move_probabilities([0]).requires_grad


def test_the_provenance_reopens_the_bench(odd):
    bench = open_model(
        odd["model"], odd["probe"], 30, seed=2, all_plies=True, device="cpu", act="gelu_new", cache=False
    )
    words = shlex.split(bench.options)
    assert words == [
        "--model", str(odd["model"]), "--probe", str(odd["probe"]), "--act", "gelu_new", "--games", "30", "--seed", "2",
        "--all-plies",
    ]  # fmt: skip
    again = eval(f"open_model({bench.arguments}, cache=False)")
    assert (again.model.hash, again.games.fingerprint, again.plies) == (
        bench.model.hash, bench.games.fingerprint, bench.plies,
    )  # fmt: skip
    assert (again.options, again.arguments) == (bench.options, bench.arguments)


def test_heads_and_device_are_in_the_provenance(odd):
    bench = open_model(odd["model"], odd["probe"], 5, heads=4, device="cpu:0", cache=False)
    assert "--heads 4 --device cpu:0" in bench.options
    assert "heads=4, device='cpu:0'" in bench.arguments


def test_a_cache_that_cannot_be_written_costs_the_kept_pass_alone(odd, tmp_path, capsys):
    (tmp_path / "file").touch()
    bench = open_model(odd["model"], odd["probe"], 5, cache=tmp_path / "file" / "cache")
    assert bench.mining is not None
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "cannot write" in line]
    assert line.startswith("othello-circuits: warning: ")
    assert "give another --cache" in line and "--out" not in line


def test_no_games_are_refused(odd):
    with pytest.raises(InputError, match="give at least 1"):
        open_model(odd["model"], odd["probe"], 0)
