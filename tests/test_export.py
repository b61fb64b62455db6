"""A model written in three forms is the same model when it is read again; what cannot be written is refused."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import oracles_gpt as oracle
import pytest
import torch
from command_line import refused as refused_command
from huggingface_hub import HfApi, ModelCard
from safetensors import safe_open

from circuits import checkpoints, models
from circuits.checkpoints import Checkpoint, Shape
from circuits.errors import InputError
from circuits.export import export

TINY = Path(__file__).parent / "assets" / "tiny.safetensors"


@pytest.fixture(scope="module")
def odd() -> Checkpoint:
    """A model that fp16 rounds, of a shape that has no default in it."""
    shape = Shape(2, 24, 3, 5, 20, 64, "relu")
    weights = oracle.random_transformer_lens(2, 24, 3, 5, 20, context=64)
    return Checkpoint(shape, checkpoints.complete(shape, weights, "odd"), {"name": "odd", "games": 7}, "odd")


@pytest.fixture(scope="module")
def stored() -> Checkpoint:
    return checkpoints.read(TINY)


def refused(*arguments, **options) -> str:
    """The one line that an export is refused with."""
    with pytest.raises(InputError) as info:
        export(*arguments, **options)
    message = str(info.value)
    assert message and "\n" not in message
    return message


def hash_of(checkpoint: Checkpoint) -> str:
    return models.weights_hash(checkpoint.shape, checkpoint.weights)


def same(a: Checkpoint, b: Checkpoint) -> bool:
    return a.shape == b.shape and all(torch.equal(w, b.weights[name]) for name, w in a.weights.items())


# ---- our safetensors


def test_ours_keeps_model_and_card_in_the_smaller_type_that_loses_nothing(tmp_path, stored, odd):
    small, large = export(stored, tmp_path / "a.safetensors"), export(odd, tmp_path / "b.safetensors")
    assert (small.dtype, large.dtype) == ("fp16", "fp32")
    for checkpoint, made in ((stored, small), (odd, large)):
        again = checkpoints.read(made.path)
        assert same(checkpoint, again) and (again.card, again.name) == (checkpoint.card, checkpoint.name)
        assert made.hash == made.source_hash == hash_of(again) and made.notes == ()
        assert made.bytes == made.path.stat().st_size
    with safe_open(small.path, "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_rounding_to_fp16_is_said(tmp_path, odd):
    made = export(odd, tmp_path / "m.safetensors", dtype="fp16")
    again = checkpoints.read(made.path)
    assert made.hash == hash_of(again) != made.source_hash == hash_of(odd)
    assert again.card["rounded to fp16 from"] == hash_of(odd) and again.card["games"] == 7
    for name, w in odd.weights.items():
        assert torch.equal(again.weights[name], w.half().float())
    assert "probes of that one do not fit" in made.notes[0]
    assert made.bytes < 0.7 * export(odd, tmp_path / "n.safetensors", dtype="fp32").bytes


def test_a_weight_that_fp16_cannot_hold(tmp_path, odd):
    large = replace(odd, weights=odd.weights | {"blocks.1.mlp.b_in": torch.full((20,), 7e4)})
    for out in ("m.safetensors", "m.pth", "folder"):
        message = refused(large, tmp_path / out, dtype="fp16")
        assert "blocks.1.mlp.b_in of model odd does not fit fp16" in message and "--dtype fp32" in message
    assert list(tmp_path.iterdir()) == []
    assert export(large, tmp_path / "m.safetensors").dtype == "fp32"


# ---- TransformerLens


@pytest.mark.parametrize("ending", [".pth", ".pt"])
def test_a_state_dict_has_the_raw_weights_under_transformer_lens_names(tmp_path, odd, ending):
    made = export(odd, tmp_path / f"m{ending}")
    again = checkpoints.read(made.path, act="relu")
    assert made.format == "transformerlens" and same(odd, again)
    state = torch.load(made.path, weights_only=True)
    tokens = torch.randint(1, 61, (2, 59), generator=torch.Generator().manual_seed(0))
    expected = oracle.transformer_lens(odd.weights, tokens, "relu")
    torch.testing.assert_close(oracle.transformer_lens(state, tokens, "relu"), expected)
    assert made.notes == ("a state dict does not say its activation: read it with --act relu",)


def test_a_state_dict_loads_strictly(tmp_path, odd):
    """Into TransformerLens's own module, by its own conversion; with the buffers that its older class has."""
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint

    export(odd, tmp_path / "m.pth")
    state = torch.load(tmp_path / "m.pth", weights_only=True)
    sizes = asdict(odd.shape)
    config = TransformerBridgeConfig(
        **{k: v for k, v in sizes.items() if k != "act"}, act_fn="relu", normalization_type="LN", device="cpu"
    )
    TransformerBridge.boot_native(config).load_state_dict(convert_tl_checkpoint(state, config), strict=True)
    for layer in range(2):
        mask = state[f"blocks.{layer}.attn.mask"]
        rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
        assert torch.equal(mask, columns <= rows) and state[f"blocks.{layer}.attn.IGNORE"] == -torch.inf


def test_a_state_dict_of_a_default_activation_needs_no_option(tmp_path, odd):
    gelu = replace(odd, shape=replace(odd.shape, act="gelu"))
    made = export(gelu, tmp_path / "m.pth")
    assert made.notes == () and hash_of(checkpoints.read(made.path)) == made.hash == made.source_hash


def test_an_eps_that_a_state_dict_cannot_say_is_refused(tmp_path, odd):
    other = replace(odd, shape=replace(odd.shape, eps=1e-3))
    assert "eps of 0.001" in refused(other, tmp_path / "m.pth")
    assert checkpoints.read(export(other, tmp_path / "m.safetensors").path).shape.eps == 1e-3


# ---- the hub


def test_a_folder_goes_up_to_the_hub_and_comes_back(tmp_path, stored, local_hub, tiny):
    made = export(stored, tmp_path / "folder", repository="someone/tiny", license="mit")
    assert made.format == "hub" and sorted(os.listdir(made.path)) == ["README.md", "config.json", "model.safetensors"]
    api = HfApi(endpoint=os.environ["HF_ENDPOINT"], token="nobody's")
    api.upload_folder(repo_id="someone/tiny", folder_path=made.path)
    assert local_hub.repositories["someone/tiny"] == {p.name: p.read_bytes() for p in made.path.iterdir()}
    for source in ("someone/tiny", "someone/tiny:model.safetensors", str(made.path), made.path):
        again = models.read_checkpoint(source)
        assert same(stored, again) and again.card == stored.card
    loaded = models.load(made.path)
    assert (loaded.hash, loaded.name) == (tiny.hash, tiny.name)


def test_the_cards_metadata_and_words(tmp_path, odd):
    card = {"name": "odd\n# two", "made by": "<b>me</b>\n\n---\n| x |", "license": "MIT License"}
    hostile = replace(odd, name="odd\n# two", card=card)
    made = export(hostile, tmp_path / "folder", repository="some-one/o.dd")
    text = (made.path / "README.md").read_text()
    card = ModelCard(text)
    assert card.data.license == "mit" and card.data.library_name == "othello-circuits"
    assert "othello-gpt" in card.data.tags
    assert text.count("\n# ") == 1 and "# odd # two\n" in text  # one heading, from one line
    assert "<b>" not in text.replace("\\<", "") and text.count("\n---\n") == 1
    for words in (
        'models.load("some-one/o.dd")', "othello-circuits info --model some-one/o.dd", made.hash, "heads | 3 of 5",
        "layers | 2", "width | 24", "fp32", f"{sum(w.numel() for w in odd.weights.values()):,}",
    ):  # fmt: skip
        assert words in text
    config = json.loads((made.path / "config.json").read_text())
    assert Shape(**{k: config[k] for k in asdict(odd.shape)}) == odd.shape
    export(odd, tmp_path / "folder", dtype="fp16")  # again, in place
    again = (tmp_path / "folder" / "README.md").read_text()
    assert "OWNER/NAME" in again and "license: unknown" in again and "- rounded to fp16 from" in again


def test_a_folder_of_model_files(tmp_path, odd, stored):
    export(odd, tmp_path / "one.safetensors")
    assert same(models.read_checkpoint(tmp_path), odd)
    export(stored, tmp_path / "two.pth")
    with pytest.raises(InputError, match=r"has 2 model files .*name one as '.*FILE'"):
        models.read_checkpoint(tmp_path)
    export(stored, tmp_path / "model.safetensors")  # of several, the usual name
    assert same(models.read_checkpoint(tmp_path), stored)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no model file"):
        models.read_checkpoint(tmp_path / "empty")


# ---- what is refused


def test_bad_places_and_names(tmp_path, odd):
    (tmp_path / "file").touch()
    for out, options, words in (
        ("m.onnx", {}, "ends in '.onnx'"),
        ("m.ckpt", {}, "ends in '.ckpt'"),
        ("m.safetensors", {"format": "gguf"}, "unknown format 'gguf'"),
        ("m.safetensors", {"format": "transformerlens"}, "named in .pth or .pt"),
        ("m", {"format": "safetensors"}, "named in .safetensors"),
        ("m.safetensors", {"dtype": "bf16"}, "unknown dtype 'bf16': it is one of fp32, fp16"),
        ("m", {"repository": "me"}, "written owner/name"),
        ("m", {"license": "a\nb: c"}, "no licence"),
        ("file", {}, "is a file; for the hub, give a folder"),
        ("file/m.safetensors", {}, "cannot write"),
        ("file/m.pth", {}, "cannot write"),
        ("file/folder", {}, "cannot write"),
    ):
        assert words in refused(odd, tmp_path / out, **options)
    assert os.listdir(tmp_path) == ["file"]
    assert export(odd, tmp_path / "odd-0.5", format="hub").format == "hub"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_device_is_refused(odd):
    for out in ("/dev/full", "/dev/full/m.safetensors", "/dev/full/m.pth"):
        assert "/dev/full" in refused(odd, out)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["m.safetensors", "m.pth", "m.pt"])
def test_a_file_is_never_written_over(tmp_path, odd, stored, name):
    export(odd, tmp_path / name)
    before = content(tmp_path)
    for model in (odd, stored):
        assert refused(model, tmp_path / name) == f"{tmp_path / name} exists already: remove it or give another --out"
    assert content(tmp_path) == before


def test_a_folder_of_an_earlier_export_is_written_anew(tmp_path, odd, stored):
    (tmp_path / "folder").mkdir()  # an empty one is fine, too
    export(odd, tmp_path / "folder", repository="me/odd", license="mit")
    export(stored, tmp_path / "folder")
    assert same(models.read_checkpoint(tmp_path / "folder"), stored)
    (tmp_path / "folder" / "README.md").unlink()
    export(odd, tmp_path / "folder")
    assert sorted(content(tmp_path / "folder")) == ["README.md", "config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("README.md", "# My notes on this model\n"),
        ("README.md", "---\nlicense: mit\n---\n\nlibrary_name: othello-circuits\n"),
        ("README.md", "My notes\n---\nlibrary_name: othello-circuits\n---\n"),
        ("run.json", "{}"),
        ("other.pth", ""),
        ("notes/today.txt", ""),
    ],
)
def test_what_no_export_wrote_is_in_the_way(tmp_path, odd, stored, name, text):
    folder = tmp_path / "folder"
    export(odd, folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    before = content(folder)
    message = refused(stored, folder)
    assert f"folder is in use: {name.split('/')[0]} is not of an earlier export; give another --out" in message
    assert content(folder) == before


@pytest.mark.parametrize(
    "config", [None, "", "[]", "{}", '{"model_type": "gpt2"}', '{"model_type": "othello-gpt", "dtype": ["fp16"]}']
)
def test_without_our_config_a_model_is_in_the_way(tmp_path, odd, stored, config):
    """A training run's folder above all."""
    folder = tmp_path / "folder"
    export(odd, folder)
    (folder / "config.json").unlink()
    if config is not None:
        (folder / "config.json").write_text(config)
    before = content(folder)
    names = "README.md, config.json, model.safetensors" if config is not None else "README.md, model.safetensors"
    assert f"{names} are not of an earlier export" in refused(stored, folder)
    for i in range(9):
        (folder / f"{i}").touch()
    assert "0, 1, 2, 3, 4, 5 and " in refused(stored, folder)
    assert content(folder) == before | {f"{i}": b"" for i in range(9)}


def test_a_link_in_an_earlier_export_is_not_followed(tmp_path, odd, stored):
    export(odd, tmp_path / "precious.safetensors")
    export(odd, tmp_path / "folder")
    (tmp_path / "folder" / "model.safetensors").unlink()
    (tmp_path / "folder" / "model.safetensors").symlink_to(tmp_path / "precious.safetensors")
    assert "model.safetensors is not of an earlier export" in refused(stored, tmp_path / "folder")
    assert same(checkpoints.read(tmp_path / "precious.safetensors"), odd)


# ---- the command


def test_the_command_writes_every_form(run, tiny):
    for out, form in (("a.safetensors", "safetensors"), ("a.pth", "transformerlens"), ("a", "hub")):
        result = run("export", "--model", str(TINY), "--out", out)
        assert (
            result.returncode == 0
            and result.stdout.startswith(f"wrote {out}: tiny, fp16, 0.")
            and tiny.hash in result.stdout
        )
        assert ("--act gelu_new" in result.stdout) == (form == "transformerlens")
        again = models.read_checkpoint(out, act=None if form != "transformerlens" else "gelu_new")
        assert models.weights_hash(again.shape, again.weights) == tiny.hash
    for arguments, words in (
        (("--out", "a.gguf"), "ends in '.gguf'"),
        (("--out", "a.pth"), "a.pth exists already: remove it or give another --out"),
        (("--out", "."), "a, a.pth, a.safetensors are not of an earlier export"),
        (("--out", "a.safetensors", "--dtype", "int8"), "unknown dtype"),
        (("--out", "a.safetensors/b.safetensors"), "cannot write"),
        (("--out", "b", "--repo", "x"), "owner/name"),
        ((), "--out"),
    ):
        assert words in refused_command(run("export", "--model", str(TINY), *arguments))
