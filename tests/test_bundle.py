"""A model in the package: whole or in parts, which are checked and joined, and kept where they can be."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circuits import bundle, checkpoints, models
from circuits.errors import InputError

TINY = Path(__file__).parent / "assets" / "tiny.safetensors"
PART = 100_000  # bytes; the tiny model makes three parts


def refused(function, *arguments, **options) -> str:
    """The one line that the call is refused with."""
    with pytest.raises(InputError) as info:
        function(*arguments, **options)
    message = str(info.value)
    assert message and "\n" not in message
    return message


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("OTHELLO_CIRCUITS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def parts(tmp_path) -> Path:
    """A folder with tiny in parts."""
    bundle.store(TINY, tmp_path / "parts", PART)
    return tmp_path / "parts"


def same_as_tiny(read: checkpoints.Checkpoint) -> bool:
    expected = checkpoints.read(TINY)
    same = all(torch.equal(read.weights[name], w) for name, w in expected.weights.items())
    return same and (read.shape, read.card, read.name) == (expected.shape, expected.card, expected.name)


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=1, max_size=400), st.integers(5, 500))
def test_parts_make_the_file_again(tmp_path_factory, content, part_bytes):
    folder = tmp_path_factory.mktemp("any")
    (folder / "a file").write_bytes(content)
    manifest, *written = bundle.split(folder / "a file", folder / "to", part_bytes)
    assert bundle.join(folder / "to", "a file") == content
    assert [p.name for p in written] == [f"a file.part-{i:02d}" for i in range(len(written))]
    assert {p.stat().st_size for p in written[:-1]} <= {part_bytes} and written[-1].stat().st_size <= part_bytes
    assert {p.name for p in (folder / "to").iterdir()} == {manifest.name, *(p.name for p in written)}
    assert b"".join(p.read_bytes() for p in written) == content  # `cat` joins them, too


def test_a_model_in_parts_is_the_model(parts, cache):
    assert len(list(parts.glob("*.part-*"))) == -(-TINY.stat().st_size // PART) > 2
    assert same_as_tiny(bundle.read("tiny", parts))
    (kept,) = cache.iterdir()
    assert kept.read_bytes() == TINY.read_bytes() and kept.suffix == ".safetensors"


def test_a_kept_file_is_used_and_made_anew_where_damaged(parts, cache):
    bundle.read("tiny", parts)
    (kept,) = cache.iterdir()
    first = kept.stat().st_ino
    hidden = parts / "tiny.safetensors.part-01"
    hidden.rename(parts / "hidden")
    assert same_as_tiny(bundle.read("tiny", parts))  # without the parts: it is the kept file that is read
    (parts / "hidden").rename(hidden)
    assert kept.stat().st_ino == first
    for damaged in (TINY.read_bytes()[:-1] + b"?", TINY.read_bytes()[:5000], b""):
        kept.write_bytes(damaged)
        assert same_as_tiny(bundle.read("tiny", parts))
        assert kept.read_bytes() == TINY.read_bytes() and len(list(cache.iterdir())) == 1


def test_another_file_of_that_name_is_not_taken_from_the_cache(parts, cache, tmp_path):
    bundle.read("tiny", parts)
    read = checkpoints.read(TINY)
    other = tmp_path / "tiny.safetensors"
    checkpoints.write(checkpoints.Checkpoint(read.shape, read.weights, {"name": "newer"}, "newer"), other)
    bundle.store(other, parts, PART)
    assert bundle.read("tiny", parts).name == "newer"


@pytest.mark.parametrize("place", ["below a file", "a folder in the way"])
def test_without_a_cache_it_is_joined_in_memory(parts, tmp_path, monkeypatch, place):
    if place == "below a file":
        (tmp_path / "file").touch()
        monkeypatch.setenv("OTHELLO_CIRCUITS_CACHE", str(tmp_path / "file" / "cache"))
    else:
        cache = tmp_path / "cache"
        monkeypatch.setenv("OTHELLO_CIRCUITS_CACHE", str(cache))
        bundle.read("tiny", parts)
        (kept,) = cache.iterdir()
        kept.unlink()
        kept.mkdir()
    for _ in range(2):
        assert same_as_tiny(bundle.read("tiny", parts))


def test_a_user_without_a_home_has_a_cache(monkeypatch):
    from circuits.files import cache_folder

    for name in ("OTHELLO_CIRCUITS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert cache_folder().name == "othello-circuits"


def test_damage_is_refused_in_one_line(parts, cache):
    def damage(name, change):
        file = parts / name
        before = file.read_bytes()
        change(file)
        message = refused(bundle.read, "tiny", parts)
        file.write_bytes(before)
        return message

    part, manifest = "tiny.safetensors.part-01", "tiny.safetensors.parts.json"
    flipped = damage(part, lambda f: f.write_bytes(bytes([f.read_bytes()[0] ^ 1]) + f.read_bytes()[1:]))
    assert part in flipped and "damaged" in flipped
    assert "damaged" in damage(part, lambda f: f.write_bytes(f.read_bytes()[:-1]))
    assert "missing, one of" in damage(part, lambda f: f.unlink())
    about = json.loads((parts / manifest).read_text())
    for change in (
        {"sha256": "0" * 64},  # whole parts that do not make the file
        {"sha256": 3},
        {"parts": {}},
        {"parts": list(about["parts"])},
        {"parts": {"../secret": "0" * 64}},
        {"parts": {part: "banana"}},
    ):
        message = damage(manifest, lambda f, change=change: f.write_text(json.dumps(about | change)))
        assert "parts" in message and "tiny.safetensors" in message
    for content in (b"", b"[]", b"{", b"{}", b"null", b"\xff"):
        assert "no readable list" in damage(manifest, lambda f, c=content: f.write_bytes(c))
    assert not cache.exists()  # nothing was kept
    assert same_as_tiny(bundle.read("tiny", parts))


def test_parts_in_another_order_are_refused(parts, cache):
    manifest = parts / "tiny.safetensors.parts.json"
    about = json.loads(manifest.read_text())
    about["parts"] = dict(reversed(about["parts"].items()))
    manifest.write_text(json.dumps(about))
    assert "do not make the file" in refused(bundle.read, "tiny", parts)


def test_storing_leaves_one_form_of_a_file(tmp_path, cache):
    folder = tmp_path / "assets"
    names = lambda: sorted(p.name for p in folder.iterdir())  # noqa: E731
    bundle.store(TINY, folder, PART // 2)
    many = len(names())
    bundle.store(TINY, folder, PART)
    assert len(names()) < many and same_as_tiny(bundle.read("tiny", folder))
    assert bundle.store(TINY, folder) == [folder / "tiny.safetensors"]
    assert names() == ["tiny.safetensors"] and same_as_tiny(bundle.read("tiny", folder))
    bundle.store(folder / "tiny.safetensors", folder, PART)  # in its own place
    assert "tiny.safetensors" not in names() and same_as_tiny(bundle.read("tiny", folder))
    exact = TINY.stat().st_size
    assert len(bundle.store(TINY, folder, exact)) == 1 and len(bundle.store(TINY, folder, exact - 1)) == 3


def test_what_cannot_be_stored(tmp_path, parts):
    (tmp_path / "file").touch()
    (tmp_path / "text.safetensors").write_text("no model")
    assert "not a readable safetensors" in refused(bundle.store, tmp_path / "text.safetensors", tmp_path / "to")
    assert "bundled as .safetensors" in refused(bundle.store, tmp_path / "model.pth", tmp_path / "to")
    assert "no model file" in refused(bundle.store, tmp_path / "none.safetensors", tmp_path / "to")
    assert "cannot write" in refused(bundle.store, TINY, tmp_path / "file" / "x", PART)
    assert "at least 1" in refused(bundle.split, TINY, tmp_path / "to", 0)
    assert "1 to 100" in refused(bundle.split, TINY, tmp_path / "to", 5)
    assert "1 to 100" in refused(bundle.split, tmp_path / "file", tmp_path / "to")
    assert "cannot read" in refused(bundle.split, tmp_path, tmp_path / "to")
    assert not (tmp_path / "to").exists()
    assert "neither" in refused(bundle.read, "nothing", parts)


def test_the_default_model_goes_by_its_name(parts, cache, monkeypatch, tmp_path):
    """Another name of the bundled model is another model, whole or in parts."""
    monkeypatch.setattr(bundle, "ASSETS", parts)
    monkeypatch.setattr(models, "BUNDLED", "tiny")
    assert same_as_tiny(models.read_checkpoint())
    shutil.copy(TINY, parts / "whole.safetensors")
    monkeypatch.setattr(models, "BUNDLED", "whole")
    assert same_as_tiny(models.read_checkpoint())


def test_as_a_command(tmp_path, monkeypatch, capsys, cache):
    monkeypatch.setattr(bundle, "__file__", str(tmp_path / "package" / "bundle.py"))
    monkeypatch.setattr(bundle, "PART_BYTES", PART)
    monkeypatch.setattr("sys.argv", ["bundle", str(TINY)])
    bundle.main()
    written = sorted((tmp_path / "package" / "assets").iterdir())
    said = capsys.readouterr().out
    assert len(written) == 4 and all(str(path) in said for path in written)
    assert same_as_tiny(bundle.read("tiny", tmp_path / "package" / "assets"))


def test_a_refusal_of_the_command_is_one_line(tmp_path):
    command = [sys.executable, "-m", "circuits.bundle", str(tmp_path / "none.safetensors")]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 2 and "no model file" in done.stderr and done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [[], ["a.safetensors", "b.safetensors"], ["model.pth"]])
def test_bad_arguments_of_the_command_have_status_2(monkeypatch, capsys, arguments):
    monkeypatch.setattr("sys.argv", ["bundle", *arguments])
    with pytest.raises(SystemExit) as exit_:
        bundle.main()
    said = capsys.readouterr()
    assert exit_.value.code == 2 and said.out == "" and said.err.count("\n") == 1
