"""A model written for use elsewhere, in three forms.

    safetensors       one of our files: weights, configuration and card inside
    transformerlens   a state dict of raw weights for TransformerLens's ``HookedTransformer``; which activation it
                      has is the reader's to know
    hub               a folder that ``huggingface_hub`` uploads as it is: model.safetensors (one of our files),
                      config.json, and a README.md with the metadata that the hub reads

Weights are written as fp16 where that loses nothing, and as fp32 otherwise, so that a copy keeps its hash and with
it its probes; fp16 that does round is for the asking, and the card then says from which model.

Nothing is written over but the hub's folder of an earlier export: its config.json says "model_type": "othello-gpt",
its README.md "library_name: othello-circuits", and besides these and model.safetensors there is nothing in it.
"""

import json
import os
import re
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from circuits import checkpoints
from circuits.checkpoints import Checkpoint, Shape
from circuits.errors import InputError
from circuits.files import ANOTHER, write_whole
from circuits.models import weights_hash

FORMATS = ("safetensors", "transformerlens", "hub")
DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
_ENDINGS = {".safetensors": "safetensors", ".pth": "transformerlens", ".pt": "transformerlens", "": "hub"}
TAGS = ("othello", "othello-gpt", "transformer-lens", "interpretability")
_REPOSITORY = "OWNER/NAME"
_MODEL, _CONFIG, _README = "model.safetensors", "config.json", "README.md"
#: what tells an export's config.json and README.md from those of others
_MARKS = {"model_type": "othello-gpt", "normalization_type": "LN"}
_LIBRARY = "othello-circuits"


@dataclass(frozen=True)
class Exported:
    """What was written. ``hash`` is that of the model in the file; ``source_hash`` that of the one given."""

    path: Path
    format: str
    dtype: str
    name: str
    hash: str
    source_hash: str
    bytes: int
    act: str

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever reads the file has to know and cannot see there."""
        said = []
        if self.hash != self.source_hash:
            said.append(
                f"rounded to fp16, it is another model than {self.source_hash}: probes of that one do not fit it"
            )
        if self.format == "transformerlens" and self.act != Shape.act:
            said.append(f"a state dict does not say its activation: read it with --act {self.act}")
        return tuple(said)


def export(
    checkpoint: Checkpoint,
    out: str | os.PathLike,
    *,
    format: str | None = None,
    dtype: str | None = None,
    repository: str | None = None,
    license: str | None = None,
) -> Exported:
    """Write a model; ``circuits.models.read_checkpoint`` gives one from anything that can be loaded.

    Args:
        out: a new file, or the folder of the hub's form: new, empty, or of an earlier export.
        format: one of `FORMATS`; by default what ``out`` ends in says (nothing: a folder for the hub).
        dtype: "fp32" or "fp16"; by default fp16 where every weight is the same in it.
        repository: where the folder will be uploaded to, for the commands in its README.
        license: as the hub abbreviates it, such as "mit"; by default what the card says, or "unknown".

    Raises:
        InputError: an unknown ending, format or dtype; a file that exists already, a folder with anything else in
            it; a weight too large for fp16; a place that cannot be written; for TransformerLens an eps that its
            files do not carry.
    """
    out = Path(out)
    form = _format(out, format)
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}: it is one of {', '.join(DTYPES)}")
    if repository is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise InputError(f"{repository!r} names no repository: it is written owner/name")
    if license is not None and not re.fullmatch(r"[A-Za-z0-9.-]+", license):
        raise InputError(f"{license!r} is no licence as the hub abbreviates them: mit, apache-2.0, cc-by-4.0, other")
    _check_place(out, form)
    given = weights_hash(checkpoint.shape, checkpoint.weights)
    if dtype is None:
        dtype = "fp16" if weights_hash(checkpoint.shape, _rounded(checkpoint.weights)) == given else "fp32"
    if dtype == "fp16":
        checkpoint = _to_fp16(checkpoint, given)
    hash_ = weights_hash(checkpoint.shape, checkpoint.weights)
    if form == "hub":
        license = license or _identifier(checkpoint.card.get("license", "unknown"))
        size = _write_folder(checkpoint, out, dtype, hash_, repository or _REPOSITORY, license)
    else:
        {"safetensors": checkpoints.write, "transformerlens": write_state_dict}[form](checkpoint, out, DTYPES[dtype])
        size = out.stat().st_size
    return Exported(out, form, dtype, checkpoint.name, hash_, given, size, checkpoint.shape.act)


def write_state_dict(checkpoint: Checkpoint, path: str | os.PathLike, dtype: torch.dtype = torch.float32) -> None:
    """Write raw weights under TransformerLens names, with the buffers that ``load_state_dict`` there asks for.

    Raises:
        InputError: the place cannot be written; an eps other than TransformerLens's own.
    """
    s = checkpoint.shape
    if s.eps != Shape.eps:
        raise InputError(
            f"model {checkpoint.name} has a LayerNorm eps of {s.eps:g}, which a state dict does not store (readers "
            f"take {Shape.eps:g}); export it as .safetensors"
        )
    state = {name: w.to(dtype).contiguous() for name, w in checkpoint.weights.items()}
    for layer in range(s.n_layers):
        state[f"blocks.{layer}.attn.mask"] = torch.ones(s.n_ctx, s.n_ctx, dtype=torch.bool).tril()
        state[f"blocks.{layer}.attn.IGNORE"] = torch.tensor(-torch.inf)
    content = BytesIO()
    torch.save(state, content)
    with write_whole(path) as temporary:
        temporary.write_bytes(content.getvalue())


def _format(out: Path, format: str | None) -> str:
    if format is None:
        if out.suffix not in _ENDINGS:
            raise InputError(
                f"{out} ends in {out.suffix!r}: give a name in .safetensors or .pth, a folder for the hub, "
                f"or --format {'|'.join(FORMATS)}"
            )
        return "hub" if out.is_dir() else _ENDINGS[out.suffix]
    if format not in FORMATS:
        raise InputError(f"unknown format {format!r}: it is one of {', '.join(FORMATS)}")
    ending = _ENDINGS.get(out.suffix)
    if format != "hub" and ending != format:  # what reads a model goes by the ending
        endings = " or ".join(e for e, f in _ENDINGS.items() if f == format)
        raise InputError(f"{out}: a file of the format {format} is named in {endings}")
    return format


def _check_place(out: Path, form: str) -> None:
    """Refuse to write over anything but an earlier export's folder."""
    if not os.path.exists(out):
        return
    if form != "hub":
        raise InputError(f"{out} exists already: remove it or {ANOTHER}")
    if not out.is_dir():
        raise InputError(f"{out} is a file; for the hub, give a folder")
    try:
        names = sorted(os.listdir(out))
    except OSError as error:
        raise InputError(f"cannot read {out}: {error.strerror or error}; {ANOTHER}") from None
    earlier = _is_config(out / _CONFIG)  # without it nothing in the folder is taken for ours
    others = [name for name in names if not (earlier and _is_exported(out / name))]
    if others:
        more = f" and {len(others) - 6} more" if len(others) > 6 else ""
        what = "is not" if len(others) == 1 else "are not"
        raise InputError(f"{out} is in use: {', '.join(others[:6])}{more} {what} of an earlier export; {ANOTHER}")


def _is_exported(file: Path) -> bool:
    """Whether a file beside our config.json is an export's."""
    if file.is_symlink() or not file.is_file():  # a link's target would be written over
        return False
    return file.name in (_CONFIG, _MODEL) or (file.name == _README and _is_readme(file))


def _is_config(file: Path) -> bool:
    try:
        config = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and _MARKS.items() <= config.items() and config.get("dtype") in (*DTYPES,)


def _is_readme(file: Path) -> bool:
    try:
        before, *metadata = file.read_text("utf-8").split("---\n", 2)
    except (OSError, ValueError):
        return False
    return not before and len(metadata) == 2 and f"library_name: {_LIBRARY}" in metadata[0].splitlines()


def _rounded(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: w.half().float() for name, w in weights.items()}


def _to_fp16(checkpoint: Checkpoint, hash_: str) -> Checkpoint:
    weights = _rounded(checkpoint.weights)
    for name, w in weights.items():
        if not torch.isfinite(w).all():
            raise InputError(f"{name} of model {checkpoint.name} does not fit fp16; export it with --dtype fp32")
    card = checkpoint.card
    if weights_hash(checkpoint.shape, weights) != hash_:
        card = card | {"rounded to fp16 from": hash_}
    return Checkpoint(checkpoint.shape, weights, card, checkpoint.name)


def _write_folder(checkpoint: Checkpoint, folder: Path, dtype: str, hash_: str, repository: str, license: str) -> int:
    """The bytes of the model file."""
    model = folder / _MODEL
    checkpoints.write(checkpoint, model, DTYPES[dtype])
    config = {**_MARKS, **asdict(checkpoint.shape), "dtype": dtype}
    readme = model_card(checkpoint, dtype, hash_, model.stat().st_size, repository, license)
    for name, text in ((_CONFIG, json.dumps(config, indent=2) + "\n"), (_README, readme)):
        with write_whole(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return model.stat().st_size


def model_card(checkpoint: Checkpoint, dtype: str, hash_: str, size: int, repository: str, license: str) -> str:
    """The hub's README: its metadata, the sizes, how the model was made, how to load it."""
    from huggingface_hub import ModelCardData

    s = checkpoint.shape
    about = ModelCardData(license=license, library_name=_LIBRARY, tags=list(TAGS)).to_yaml()
    parameters = sum(w.numel() for w in checkpoint.weights.values())
    made = "\n".join(f"- {_line(k)}: {_line(v)}" for k, v in checkpoint.card.items() if k != "name")
    return f"""---
{about}
---

# {_line(checkpoint.name)}

An Othello-GPT: a GPT-2-shaped transformer that reads a game of Othello as a list of moves and predicts the next one.

| | |
|---|---|
| layers | {s.n_layers} |
| width | {s.d_model} |
| heads | {s.n_heads} of {s.d_head} |
| neurons a layer | {s.d_mlp} |
| activation | {s.act} |
| context, vocabulary | {s.n_ctx}, {s.d_vocab} |
| LayerNorm | with weights, eps {s.eps:g} |
| parameters | {parameters:,} |
| model.safetensors | {dtype}, {size / 1e6:.1f} MB |
| hash | `{hash_}` |

Token 0 is padding; tokens 1 to 60 are the playable squares in order, row by row, the four centre squares skipped. The
logits at a position predict the move after it.

## How it was made

{made or "Its file does not say."}

## How to load it

```python
from circuits import models  # of othello-circuits

model = models.load("{repository}")
```

```sh
othello-circuits info --model {repository}
```

The weights in model.safetensors are raw (LayerNorm not folded), under TransformerLens's names; configuration and card
are in its metadata, as JSON.
"""


def _identifier(license: object) -> str:
    """The hub's spelling of a card's licence; "other" for what has none."""
    text = str(license).lower().removesuffix(" license")
    return text if re.fullmatch(r"[a-z0-9.-]+", text) else "other"


def _line(value: object) -> str:
    """Any value of a card as one line of Markdown."""
    return re.sub(r"([<>`|*_\[\]])", r"\\\1", " ".join(str(value).split()))
