"""An atlas is the same, to the byte, however it came about; and what is wrong with it is said."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from atlas_case import GAMES, SHARD, case, make

from circuits.atlas import run as atlas_run
from circuits.atlas import work
from circuits.atlas.drivers import Local, OnRay
from circuits.atlas.opened import Atlas
from circuits.atlas.plan import Plan
from circuits.atlas.store import DamagedError, Store
from circuits.atlas.streamed import Streamed, streamed
from circuits.errors import InputError
from circuits.games import Games, generate
from circuits.notation import parse_unit

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def whole(tmp_path_factory, narrow_files) -> Path:
    """An atlas that nothing disturbed."""
    place = tmp_path_factory.mktemp("atlas") / "whole"
    make(place, narrow_files)
    return place


def copy_of(whole: Path, place: Path) -> Path:
    """The finished atlas again, to be spoiled."""
    return shutil.copytree(whole, place)


def contents(place: Path) -> dict[str, bytes]:
    """The finished files, and the merged pass."""
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def started(place: Path, files: dict[str, Path], *more: object) -> subprocess.Popen:
    command = [sys.executable, HERE / "atlas_case.py", place, files["model"], files["probe"], *more]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [str(word) for word in command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


# ---- the same, however it came about -------------------------------------------------------------------


def test_the_merged_pass_is_the_pass_over_all_games(whole, narrow_files):
    plan, inputs = case(narrow_files["model"], narrow_files["probe"])
    worker = work.Worker(Store(str(whole)))
    merged = work.merged_pass(worker.store, plan)
    games = generate(GAMES, 3)
    assert plan.source.fingerprint == games.fingerprint and plan.source.source == games.source
    parts = [
        streamed(worker.model, games[i : i + SHARD], inputs.readers, plan.settings.band, k=4, batch_size=10)
        for i in range(0, GAMES, SHARD)
    ]
    for part in reversed(parts[:-1]):  # another order
        parts[-1].merge(part)
    assert parts[-1].to_bytes() == merged.to_bytes()
    assert merged.mining.games == GAMES


@pytest.mark.parametrize("workers", [2, 7])
def test_workers_do_not_change_a_byte(whole, narrow_files, tmp_path, workers):
    make(tmp_path / "atlas", narrow_files, Local(workers))
    assert contents(tmp_path / "atlas") == contents(whole)


def test_killed_at_random_moments_it_goes_on_to_the_same_bytes(whole, narrow_files, tmp_path):
    place, kills, choose = tmp_path / "atlas", 0, random.Random(5)
    begun = time.monotonic()
    first = started(place, narrow_files)
    while not (place / "plan.json").exists():  # it takes seconds to import
        time.sleep(0.02)
    ready = time.monotonic() - begun
    while first.poll() is None:
        time.sleep(choose.uniform(0.05, 0.6))
        first.send_signal(signal.SIGKILL)
        first.wait()
        kills += 1
        if kills == 6:
            break
        first = started(place, narrow_files)
        time.sleep(ready * choose.uniform(0.7, 1.0))
    assert kills >= 3
    make(place, narrow_files)
    assert contents(place) == contents(whole)


def test_a_dead_worker_is_replaced(whole, narrow_files, tmp_path, capfd):
    place = tmp_path / "atlas"
    process = started(place, narrow_files, 2)
    killed = False
    while process.poll() is None and not killed:
        time.sleep(0.05)
        if any((place / "work").glob("stream-*")):
            for child in psutil.Process(process.pid).children(recursive=True):
                if "loky" in " ".join(child.cmdline()) and "tracker" not in " ".join(child.cmdline()):
                    child.kill()
                    killed = True
                    break
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert killed and "a worker died" in errors
    assert contents(place) == contents(whole)


def test_no_room_leaves_what_is_done_and_goes_on(whole, narrow_files, tmp_path):
    place = tmp_path / "atlas"
    sizes = sorted(path.stat().st_size for path in (whole / "work").iterdir())
    process = started(place, narrow_files, 1, sizes[-1] - 1)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0 and "InputError" in errors and "cannot write" in errors
    assert not list(place.rglob(".*"))  # nothing half-written
    make(place, narrow_files)
    assert contents(place) == contents(whole)


def test_in_memory(whole, narrow_files):
    made = make("memory://atlas-test", narrow_files)
    assert made.rows == Atlas.open(str(whole)).rows
    for name in made.rows:
        assert made.table(name).equals(Atlas.open(str(whole)).table(name))


def test_another_batch_size_changes_rounding_alone(whole, narrow_files, tmp_path):
    one = Atlas.open(str(whole))
    other = make(tmp_path / "atlas", narrow_files, batch=7)
    plans = [case(narrow_files["model"], narrow_files["probe"], **more)[0] for more in ({}, {"batch": 7})]
    a, b = (
        work.merged_pass(Store(str(place)), plan)
        for place, plan in zip((whole, tmp_path / "atlas"), plans, strict=True)
    )
    torch.testing.assert_close(a.mining.mean(), b.mining.mean(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(a.mining.variance(), b.mining.variance(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(a.heads.attention(), b.heads.attention(), atol=1e-6, rtol=1e-5)
    assert torch.equal(a.mining.state_count, b.mining.state_count)
    columns = ("unit", "end", "rank", "address")
    rows = [
        list(zip(*(atlas.table("examples")[c].to_pylist() for c in columns), strict=True)) for atlas in (one, other)
    ]
    ties = sum(x != y for x, y in zip(*rows, strict=True))
    assert ties <= 0.002 * len(rows[0])


def test_torchrun(whole, narrow_files, tmp_path):
    place = tmp_path / "atlas"
    script = tmp_path / "go.py"
    script.write_text(
        "from pathlib import Path\nfrom atlas_case import make\nfrom circuits.atlas.drivers import Torchrun\n"
        f"files = {{'model': Path({str(narrow_files['model'])!r}), 'probe': Path({str(narrow_files['probe'])!r})}}\n"
        f"make({str(place)!r}, files, Torchrun())\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{HERE.parent}:{HERE}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert contents(place) == contents(whole)
    plan = case(narrow_files["model"], narrow_files["probe"])[0]
    work.Worker(Store(str(place))).do(plan.parts("stream", ())[1])  # as a killed run leaves it beside the sum
    for table in place.glob("*.parquet"):
        table.unlink()
    assert subprocess.run(command, env=environment, capture_output=True, timeout=300).returncode == 0
    assert contents(place) == contents(whole)  # and no process has computed a shard again


def test_ray(whole, narrow_files, tmp_path):
    ray = pytest.importorskip("ray")
    here = {"PYTHONPATH": f"{HERE.parent}", "OMP_NUM_THREADS": "1"}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": here})
    try:
        make(tmp_path / "atlas", narrow_files, OnRay(2))
    finally:
        ray.shutdown()
    assert contents(tmp_path / "atlas") == contents(whole)


def test_made_again_it_computes_nothing(whole, narrow_files, monkeypatch):
    before = contents(whole)
    monkeypatch.setattr(work, "streamed", lambda *_, **__: pytest.fail("the pass ran again"))
    make(whole, narrow_files)
    assert contents(whole) == before


def test_more_is_added_to_a_finished_pass(whole, narrow_files, tmp_path, monkeypatch):
    place = copy_of(whole, tmp_path / "a")
    monkeypatch.setattr(work, "streamed", lambda *_, **__: pytest.fail("the pass ran again"))
    before = Atlas.open(str(place)).provenance["ablated_positions"]
    assert make(place, narrow_files, ablated=48).provenance["ablated_positions"] == 48 > before


def test_a_part_of_the_units(narrow_files, tmp_path, whole):
    plan, inputs = case(narrow_files["model"], narrow_files["probe"])
    for given in ({"layers": [1]}, {"units": [parse_unit("L0N5")]}):
        with pytest.raises(InputError, match="holds the tables of more units"):
            atlas_run.make_atlas(plan, inputs, Store(str(whole)), progress=False, **given)
    with pytest.raises(InputError, match="L0N5 is not in the layers asked for, 1"):
        atlas_run.make_atlas(plan, inputs, Store("x"), layers=[1], units=[parse_unit("L0N5")], progress=False)
    units = [parse_unit(name) for name in ("L1N5", "L1H2")]
    atlas_run.make_atlas(plan, inputs, Store(str(tmp_path / "part")), units=units, progress=False)
    part, all_ = Atlas.open(str(tmp_path / "part")), Atlas.open(str(whole))
    assert sorted(part.table("units")["unit"].to_pylist()) == ["L1H2", "L1N5"]
    want = [row for row in all_.table("units").to_pylist() if row["unit"] == "L1N5"]
    assert [row for row in part.table("units").to_pylist() if row["unit"] == "L1N5"] == want


# ---- faults ------------------------------------------------------------------------------------------------


def test_a_damaged_part_is_computed_again(whole, narrow_files, tmp_path, capsys):
    place = copy_of(whole, tmp_path / "atlas")
    for pattern in ("heads-*", "merged-*"):
        (path,) = (place / "work").glob(pattern)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(DamagedError, match=r"heads-\w+ is damaged: its checksum"):
        Store(str(place)).unseal(next(iter((place / "work").glob("heads-*"))).relative_to(place).as_posix())
    make(place, narrow_files)
    assert "is damaged; it is computed again" in capsys.readouterr().err
    assert contents(place) == contents(whole)


def test_a_damaged_shard_is_computed_again(whole, narrow_files, tmp_path, capsys):
    place, plan = copy_of(whole, tmp_path / "atlas"), case(narrow_files["model"], narrow_files["probe"])[0]
    (merged,) = (place / "work").glob("merged-*")
    merged.unlink()
    worker = work.Worker(Store(str(place)))
    parts = plan.parts("stream", ())
    for part in parts[:3]:
        worker.do(part)
    shard = place / plan.object(parts[1])
    shard.write_bytes(shard.read_bytes()[:-7])
    make(place, narrow_files)
    assert "is computed again" in capsys.readouterr().err
    assert contents(place) == contents(whole)


def test_a_damaged_table_is_refused_and_repaired(narrow_files, tmp_path, whole):
    place = copy_of(whole, tmp_path / "atlas")
    table = place / "edges.parquet"
    data = bytearray(table.read_bytes())
    data[100] ^= 4
    table.write_bytes(data)
    (place / "plan.json").write_bytes((place / "plan.json").read_bytes() + b"x")
    with pytest.raises(
        InputError, match=r"edges\.parquet is damaged .*: run othello-circuits atlas again, it repairs it"
    ):
        Atlas.open(str(place))
    make(place, narrow_files)
    assert contents(place) == contents(whole)


def test_two_runs_in_one_place(narrow_files, tmp_path):
    place = tmp_path / "atlas"
    with Store(str(place)).lock(), pytest.raises(InputError, match=rf"process {os.getpid()} on .* is making the atlas"):
        make(place, narrow_files)
    with Store("memory://locked").lock(), pytest.raises(InputError, match="is making the atlas in memory://locked"):
        make("memory://locked", narrow_files)
    assert not Store("memory://locked").has("lock")


def test_another_atlas_is_not_overwritten(whole, narrow_files, tmp_path):
    before = contents(whole)
    said = r"holds an atlas of something else \(seed 0 there, 1 here; batch 10 there, 9 here\): give another --out"
    with pytest.raises(InputError, match=said):
        make(whole, narrow_files, batch=9, seed=1)
    plan, inputs = case(narrow_files["model"], narrow_files["probe"])
    other = replace(plan, code="f" * 16)
    with pytest.raises(InputError, match=r"code \w+ there, f{16} here"):
        atlas_run.make_atlas(other, inputs, Store(str(whole)), progress=False)
    assert contents(whole) == before
    wrong = tmp_path / "atlas.json"
    wrong.write_text("{}")
    with pytest.raises(InputError, match="holds something else"):
        make(tmp_path, narrow_files)


def test_a_games_file_that_changes_meanwhile(narrow_files, tmp_path):
    games = generate(40, 9)
    own = Games(games.tokens, games.ids, games.fingerprint, "some.txt")
    plan, inputs = case(narrow_files["model"], narrow_files["probe"], games=own, shard_games=20)

    def changed() -> None:
        raise InputError("some.txt changed while the atlas was made of it")

    with pytest.raises(InputError, match="changed while"):
        atlas_run.make_atlas(plan, replace(inputs, unchanged=changed), Store(str(tmp_path / "a")), progress=False)
    assert not (tmp_path / "a" / "atlas.json").exists()
    made = atlas_run.make_atlas(plan, inputs, Store(str(tmp_path / "a")), progress=False)
    assert made.provenance["games"] == 40


def test_games_that_a_dead_run_left_are_not_taken_for_these(narrow_files, tmp_path):
    one, other = (case(narrow_files["model"], narrow_files["probe"], games=generate(40, seed)) for seed in (9, 10))
    atlas_run.make_atlas(*one, Store(str(tmp_path / "one")), progress=False)
    clean = atlas_run.make_atlas(*other, Store(str(tmp_path / "clean")), progress=False)
    (tmp_path / "mixed" / "inputs").mkdir(parents=True)
    for path in (tmp_path / "one" / "inputs").iterdir():
        (tmp_path / "mixed" / "inputs" / path.name).write_bytes(path.read_bytes())
    mixed = atlas_run.make_atlas(*other, Store(str(tmp_path / "mixed")), progress=False)
    assert mixed.table("units").equals(clean.table("units"))


def test_the_model_in_the_atlas_is_checked(whole, narrow_files):
    store = Store(str(whole))
    plan = Plan.from_json(store.unseal(work.PLAN).decode())
    with pytest.raises(InputError, match=r"the atlas's model file has hash \w+; its plan says 0{16}"):
        work.model_of(store.unseal(work.MODEL), replace(plan, model="0" * 16))


def test_bad_input(narrow_files, tmp_path, whole):
    plan, inputs = case(narrow_files["model"], narrow_files["probe"])
    for layers, said in (((7,), "layer 7: model"), ((), "no layers: model")):
        with pytest.raises(InputError, match=said):
            atlas_run.make_atlas(plan, inputs, Store(str(tmp_path / "a")), layers=layers, progress=False)
    for changed, said in (
        ({"rules": "some"}, "rules 'some': it is one of find, kept, none"),
        ({"batch": 0}, "batch 0: give 1 or more"),
        ({"last_ply": 80}, r"plies 5\.\.80 are not within"),
    ):
        with pytest.raises(InputError, match=said):
            case(narrow_files["model"], narrow_files["probe"], **changed)
    with pytest.raises(InputError, match="0 workers"):
        Local(0)
    with pytest.raises(InputError, match="no place that can be opened"):
        Store("nowhere://x").has("y")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot write"):
        make(tmp_path / "file" / "atlas", narrow_files)


def test_the_manifest_says_what_it_was_made_of(whole):
    manifest = json.loads((whole / "atlas.json").read_text())
    about = manifest["provenance"]
    assert about["games"] == GAMES and about["positions"] > 4000 and about["ablated_positions"] == 40
    assert about["sample_games"] == 60 and 0 < about["sample_held_out"] < 60
    assert set(manifest["tables"]) == {
        "units",
        "patterns",
        "examples",
        "edges",
        "squares",
        "probes",
    }  # no rules asked for


def test_a_streamed_pass_survives_its_bytes(whole, narrow_files):
    plan = case(narrow_files["model"], narrow_files["probe"])[0]
    data = Store(str(whole)).unseal(work.merged(plan))
    assert Streamed.of_bytes(data).to_bytes() == data
