"""Fixtures that several test files share. Shapes and types of every call are checked while tests run."""

from pathlib import Path

import pytest
import torch
import type_checks
from hypothesis import settings

# A busy machine is slow, not wrong.
settings.register_profile("here", deadline=None)
settings.load_profile("here")

# Before anything of the project is imported: the hook rewrites modules as they load.
type_checks.install(["circuits", "probes", "reports"])

# The models here are so small that a second thread costs more than it brings.
torch.set_num_threads(1)

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def tiny():
    """A model of 3 layers, 64 wide, 4 heads, 128 neurons a layer, that plays far better than chance."""
    from circuits import models

    return models.load(HERE / "assets" / "tiny.safetensors")


@pytest.fixture(scope="session")
def games():
    """40 random games."""
    from circuits.games import generate

    return generate(40, seed=7)


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of published files, which lies beside the repository on some machines only."""
    folder = HERE.parents[1] / "shared" / "reference"
    if not folder.is_dir():
        pytest.skip(f"no folder of published files at {folder}")
    return folder


@pytest.fixture(scope="session")
def tiny_files(tiny, tmp_path_factory) -> dict[str, Path]:
    """Paths of the tiny model and of probes trained on it for a moment, for the command line."""
    import probes
    from circuits.games import generate

    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes.training, "STEPS", 300)  # enough for so small a model
        trained = probes.train(tiny, generate(60, seed=11), held_out=0.2)
    trained.save(folder / "tiny.probes.safetensors")
    return {"model": HERE / "assets" / "tiny.safetensors", "probe": folder / "tiny.probes.safetensors"}


@pytest.fixture(scope="session")
def bench(tiny_files):
    """A workbench on the tiny model: 80 mined games, all of them sampled."""
    from reports import open_model

    return open_model(tiny_files["model"], tiny_files["probe"], games=80, cache=False)


@pytest.fixture
def local_hub(monkeypatch, tmp_path):
    """The stand-in for the hub, serving; its ``repositories`` are the test's to fill."""
    import threading
    from http.server import ThreadingHTTPServer

    from hub_stand_in import Hub
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    Hub.asked.clear()
    Hub.repositories = {}
    yield Hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Call the entry point with some arguments, in this process (a fresh one takes seconds to import torch)."""
    from command_line import Result

    from reports import cli

    monkeypatch.setenv("OTHELLO_CIRCUITS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Result:
        monkeypatch.setattr("sys.argv", ["othello-circuits", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        out, err = capsys.readouterr()
        return Result(exit_.value.code, out, err)

    return call


@pytest.fixture(scope="session")
def narrow_files(tiny, tmp_path_factory) -> dict[str, Path]:
    """The same with a quarter of the neurons, where every neuron is looked at."""
    from dataclasses import replace

    import probes
    from circuits import checkpoints, models
    from circuits.games import generate

    folder, neurons = tmp_path_factory.mktemp("narrow"), 32
    whole = checkpoints.read(HERE / "assets" / "tiny.safetensors")
    few = {"W_in": lambda w: w[:, :neurons], "b_in": lambda w: w[:neurons], "W_out": lambda w: w[:neurons]}
    weights = {name: few.get(name.rpartition("mlp.")[2], lambda w: w)(w) for name, w in whole.weights.items()}
    narrow = replace(whole, shape=replace(whole.shape, d_mlp=neurons), weights=weights, card={"name": "narrow"})
    checkpoints.write(narrow, folder / "narrow.safetensors", dtype=torch.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes.training, "STEPS", 300)
        trained = probes.train(models.load(folder / "narrow.safetensors"), generate(60, seed=11), held_out=0.2)
    trained.save(folder / "narrow.probes.safetensors")
    return {"model": folder / "narrow.safetensors", "probe": folder / "narrow.probes.safetensors"}


@pytest.fixture(scope="module")
def chromium():
    """The system's Chromium, open."""
    from test_browser import CHROMIUM, FLAGS

    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install the system's (apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()
