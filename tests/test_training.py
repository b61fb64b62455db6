"""Training: resumed runs equal uninterrupted ones, also over two processes; what is refused; what is kept."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from circuits import checkpoints, games
from circuits.checkpoints import Shape
from circuits.errors import InputError
from circuits.gpt import GPT
from circuits.training import loop as training
from circuits.training.config import TrainConfig
from circuits.training.run_folder import RunFolder, read_log

SMALL = Shape(n_layers=2, d_model=32, n_heads=2, d_head=16, d_mlp=64)
CONFIG = TrainConfig(
    SMALL, games=96, batch=8, warmup=3, log_every=4, eval_games=8, final_eval_games=16, first_checkpoint=16,
    precision="fp32",
)  # fmt: skip
ROOT = Path(__file__).parents[1]


def losses(folder: Path) -> list[tuple[int, float, float]]:
    return [(r["step"], r["loss"], r["grad_norm"]) for r in read_log(folder / "log.jsonl") if r["kind"] == "train"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoints.read(folder / "model.safetensors").weights


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("run") / "whole"
    training.train(CONFIG, folder)
    return folder


def test_a_run_leaves_what_it_says(whole):
    log = read_log(whole / "log.jsonl")
    assert [r["what"] for r in log if r["kind"] == "event"] == ["started", "finished"]
    assert [r["step"] for r in log if r["kind"] == "train"] == [4, 8, 12]
    assert [p.name for p in sorted((whole / "checkpoints").iterdir())] == [
        f"games-{n:010d}.safetensors" for n in (16, 32, 64, 96)
    ]
    model = checkpoints.read(whole / "model.safetensors")
    assert model.shape == SMALL and model.card["games"] == 96 and "legal set" in model.card["objective"]
    last = checkpoints.read(whole / "checkpoints" / "games-0000000096.safetensors")
    assert all(torch.equal(w.half().float(), last.weights[n]) for n, w in model.weights.items())


def test_resuming_a_finished_run_changes_nothing(whole):
    before = {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file() and path.name != "lock"}
    again = training.train(None, whole, resume=True)
    evals = [r for r in read_log(whole / "log.jsonl") if r["kind"] == "eval"]
    assert again.finished and again.games == 96 and again.evaluation["loss"] == evals[-1]["loss"]
    assert before == {
        path.name: path.read_bytes() for path in whole.iterdir() if path.is_file() and path.name != "lock"
    }


def test_it_learns(tmp_path):
    trained = training.train(replace(CONFIG, games=1600, batch=16, warmup=10), tmp_path / "run")
    log = [r for r in read_log(tmp_path / "run" / "log.jsonl") if r["kind"] == "eval"]
    assert trained.finished and trained.evaluation["kl"] < log[0]["kl"] - 0.2
    assert trained.evaluation["illegal_top1"] < 0.7 < log[0]["illegal_top1"]


@pytest.mark.parametrize("optimiser", ["muon", "adamw"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_resuming_gives_the_same_run(tmp_path, optimiser, dropout):
    config = replace(CONFIG, optimiser=optimiser, dropout=dropout, batch=24, log_every=2)
    if dropout:
        config = replace(config, dropout_until=0.5)
    training.train(config, tmp_path / "whole")
    part = training.train(config, tmp_path / "legs", minutes=0.0)  # one step and out
    assert not part.finished and part.games == 24
    legs = 1
    while not part.finished:
        part = training.train(None, tmp_path / "legs", resume=True, minutes=1e-9)
        legs += 1
    assert legs == 4
    assert losses(tmp_path / "legs") == losses(tmp_path / "whole")
    a, b = weights(tmp_path / "legs"), weights(tmp_path / "whole")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_dropout_acts_for_the_first_part_of_a_run_only(tmp_path):
    config = replace(CONFIG, batch=24, log_every=1)
    runs = {until: replace(config, dropout=0.5, dropout_until=until) for until in (0.0, 0.5, 1.0)}
    shown = {}
    for until, run in runs.items():
        training.train(run, tmp_path / str(until))
        shown[until] = losses(tmp_path / str(until))
    training.train(config, tmp_path / "none")
    assert shown[0.0] == losses(tmp_path / "none") != shown[0.5]
    first_half = config.steps // 2
    assert shown[0.5][:first_half] == shown[1.0][:first_half] and shown[0.5][first_half] != shown[1.0][first_half]


def test_a_killed_run_goes_on_from_its_last_state(whole, tmp_path):
    """kill -9 in the middle, a torn last line in the log: the resumed run is the uninterrupted one."""
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from circuits.training import loop as training\nfrom circuits.training.config import TrainConfig\n"
        f"training.train(TrainConfig.from_dict({CONFIG.to_dict()!r}), {str(tmp_path / 'run')!r}, save_seconds=0.0)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    log = tmp_path / "run" / "log.jsonl"
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None and not (log.exists() and '"step": 4' in log.read_text()):
        time.sleep(0.01)
    process.kill()
    process.wait()
    with open(log, "a") as file:
        file.write('{"kind": "train", "step": 9')
    training.train(None, tmp_path / "run", resume=True)
    assert losses(tmp_path / "run") == losses(whole)
    a, b = weights(tmp_path / "run"), weights(whole)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_ctrl_c_saves_and_stops(whole, tmp_path, monkeypatch):
    step = training._Run._one_step

    def interrupted(run):
        step(run)
        if run.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(training._Run, "_one_step", interrupted)
    part = training.train(CONFIG, tmp_path / "run")
    monkeypatch.undo()
    assert not part.finished and part.games == 40
    assert read_log(tmp_path / "run" / "log.jsonl")[-1]["what"] == "interrupted"
    training.train(None, tmp_path / "run", resume=True)
    assert losses(tmp_path / "run") == losses(whole)


def test_two_processes_train_as_one_does(whole, tmp_path):
    """Under torchrun, on the CPU: equal to rounding."""
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from circuits.training import loop as training\nfrom circuits.training.config import TrainConfig\n"
        f"training.train(TrainConfig.from_dict({CONFIG.to_dict()!r}), {str(tmp_path / 'run')!r})"
    )
    (tmp_path / "go.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(tmp_path / "go.py")],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    for (step, loss, _), (same, other, _) in zip(losses(tmp_path / "run"), losses(whole), strict=True):
        assert step == same and loss == pytest.approx(other, rel=1e-4)
    a, b = weights(tmp_path / "run"), weights(whole)
    assert all(torch.allclose(a[name], b[name], atol=2e-3) for name in a)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path, monkeypatch):
    real = training.lessons.total_loss
    calls = []

    def broken(*args):
        calls.append(1)
        return real(*args) * (float("nan") if len(calls) == 7 else 1)

    monkeypatch.setattr(training.lessons, "total_loss", broken)
    config = replace(CONFIG, first_checkpoint=1000)  # so that no evaluation counts among the calls
    with pytest.raises(InputError, match=r"step 7: the loss or its gradient is no number; begin again"):
        training.train(config, tmp_path / "run", save_seconds=0.0)
    tensors, counters = RunFolder(tmp_path / "run").load_state()
    assert counters["step"] == 6 and all(torch.isfinite(t.float()).all() for t in tensors.values())
    assert read_log(tmp_path / "run" / "log.jsonl")[-1] | {"seconds": 0} == {
        "kind": "event", "step": 7, "games": 56, "seconds": 0, "what": "nan", "at": 7,
    }  # fmt: skip


def test_refusals(whole, tmp_path, games_file):
    path, _ = games_file
    refused = [
        (CONFIG, whole, {}, "holds a training run: give --resume"),
        (replace(CONFIG, seed=1), whole, {"resume": True}, "was begun with seed 0, not 1"),
        (None, tmp_path / "none", {"resume": True}, "holds no training run"),
        (CONFIG, tmp_path / "a", {"device": "cuda:9"}, "cannot be used here"),
        (replace(CONFIG, games_file=str(path)), tmp_path / "b", {}, "give --objective sampled"),
        (replace(CONFIG, games_file="missing.npy"), tmp_path / "c", {}, "missing.npy"),
        (replace(CONFIG, init=str(whole / "log.jsonl")), tmp_path / "d", {}, "log.jsonl"),
        (replace(CONFIG, shape=replace(SMALL, d_mlp=32), init=str(whole / "model.safetensors")), tmp_path / "e", {},
         "d_mlp 64.*configured as.*d_mlp 32"),
        (replace(CONFIG, freeze=("L7",)), tmp_path / "f", {}, "layers L0 to L1"),
        (replace(CONFIG, freeze=("L0-L1", "embed", "pos_embed", "ln_final", "unembed")), tmp_path / "g", {},
         "nothing is left to learn"),
    ]  # fmt: skip
    for config, out, options, message in refused:
        with pytest.raises(InputError, match=message):
            training.train(config, out, **options)
    with RunFolder(tmp_path / "held"), pytest.raises(InputError, match=f"in use by another run .process {os.getpid()}"):
        training.train(CONFIG, tmp_path / "held")


@pytest.mark.parametrize(
    "bad",
    [
        {"objective": "best"}, {"optimiser": "sgd"}, {"games": 0}, {"lr": -1.0}, {"dropout": 1.0}, {"decay": 2.0},
        {"freeze": ("mlp",)}, {"freeze": ("init",)}, {"symmetries": True}, {"patience": 3}, {"precision": "fp8"},
        {"seed": 1 << 40}, {"clip": 0.0}, {"weight_decay": -0.1}, {"batch": 0}, {"held_out": 0.0},
        {"dropout_until": 0.5},
    ],
)  # fmt: skip
def test_bad_settings_are_refused_by_name(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        replace(CONFIG, **bad)


def test_a_full_disk_leaves_the_state_before(tmp_path, monkeypatch):
    training.train(CONFIG, tmp_path / "run", minutes=0.0)
    before = (tmp_path / "run" / "state.safetensors").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left on device"):
        training.train(None, tmp_path / "run", resume=True, save_seconds=0.0)
    monkeypatch.undo()
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == before
    assert training.train(None, tmp_path / "run", resume=True).finished


@pytest.fixture
def games_file(tmp_path):
    made = games.generate(60, 4)
    path = tmp_path / "club.npy"
    games.save(made, path)
    return path, made


def test_frozen_parts_keep_their_weights(whole, tmp_path):
    config = replace(CONFIG, init=str(whole / "model.safetensors"), freeze=("init",), add_layers=1)
    training.train(config, tmp_path / "run")
    old, new = weights(whole), weights(tmp_path / "run")
    assert all(torch.equal(old[name], new[name]) for name in old)
    assert new["blocks.2.mlp.W_out"].abs().max() > 0  # it began as zero
    part = replace(CONFIG, init=str(whole / "model.safetensors"), freeze=("L0", "embed"))
    training.train(part, tmp_path / "part")
    new = weights(tmp_path / "part")
    same = {name for name in old if torch.equal(old[name], new[name])}
    assert same == {name for name in old if name.startswith(("blocks.0.", "embed."))}


def test_going_on_from_a_model_starts_at_its_loss(whole, tmp_path):
    config = replace(CONFIG, init=str(whole / "model.safetensors"), lr=1e-9, lr_rest=1e-9)
    trained = training.train(config, tmp_path / "run")
    before = [r for r in read_log(whole / "log.jsonl") if r["kind"] == "eval"][-1]
    assert trained.evaluation["loss"] == pytest.approx(before["loss"], abs=1e-4)


def test_file_games_stop_early_and_keep_the_best(tmp_path, games_file):
    path, _ = games_file
    config = replace(
        CONFIG, games_file=str(path), objective="sampled", games=6000, batch=30, eval_every=60, eval_games=16, lr=0.05,
        patience=2, symmetries=True, decay=0.0, held_out=0.3,
    )  # fmt: skip
    trained = training.train(config, tmp_path / "run")
    log = read_log(tmp_path / "run" / "log.jsonl")
    evals = [r for r in log if r["kind"] == "eval"]
    assert trained.finished and trained.games < 6000
    assert [r["what"] for r in log if r["kind"] == "event"] == ["started", "stopped early", "finished"]
    lowest = min(r["loss"] for r in evals[:-1])
    assert evals[-1]["loss"] == pytest.approx(lowest, rel=1e-4)  # of the model that was kept
    assert all(r["kl"] is None for r in evals)
    model = checkpoints.read(tmp_path / "run" / "model.safetensors")
    best = next(r["games"] for r in evals if r["loss"] == lowest)
    assert f"after {best} games" in model.card["kept"]
    assert "four orientations" in checkpoints.read(tmp_path / "run" / "model.safetensors").card["data"]


def test_bf16_and_fp32_learn_alike(tmp_path):
    rows = {}
    for precision in ("fp32", "bf16"):
        training.train(replace(CONFIG, precision=precision), tmp_path / precision)
        rows[precision] = losses(tmp_path / precision)[-1][1]
    assert rows["bf16"] == pytest.approx(rows["fp32"], abs=0.02)


def test_gradients_are_those_of_the_slow_objective(whole):
    """The first step's gradient against one worked out position by position in float64."""
    from circuits.training import lessons

    source = lessons.RandomGames(0, torch.zeros(0, dtype=torch.int64))
    shown = source.batch(0, 4)
    gpt = GPT.from_weights(SMALL, weights(whole)).double()
    loss = lessons.total_loss(gpt(shown.inputs), shown, "legal") / shown.where("legal").sum()
    loss.backward()
    slow = GPT.from_weights(SMALL, weights(whole)).double()
    logp = slow(shown.inputs).log_softmax(-1)
    terms = []
    for g, t in shown.where("legal").nonzero().tolist():
        board = int(shown.legal[g, t])
        tokens = [int(lessons.SQUARE_TOKEN[s]) for s in range(64) if board >> s & 1]
        terms.append(-logp[g, t, tokens].mean())
    torch.stack(terms).mean().backward()
    for (name, p), q in zip(gpt.named_parameters(), slow.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, atol=1e-6), name
