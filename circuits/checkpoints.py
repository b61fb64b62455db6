"""Model files of every layout, read into one: a `Shape` and raw weights under TransformerLens names.

Layouts:
  ours            ``.safetensors`` with TransformerLens names; ``config`` and ``card`` as JSON in its metadata
  TransformerLens a state dict of a ``HookedTransformer`` (``.pth``), LN or LNPre, with or without biases
  minGPT          a state dict as the Othello-GPT authors published (``gpt_synthetic.ckpt``)

LNPre is LayerNorm without weights, so it becomes LN with weight 1 and bias 0; missing biases become 0.
Nothing here needs transformer_lens, and nothing is ever unpickled unsafely.
"""

import json
import os
import pickle
import re
import warnings
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from safetensors.torch import save
from torch import Tensor

from circuits import mingpt
from circuits.errors import InputError
from circuits.files import write_whole
from circuits.notation import D_VOCAB, N_CTX

#: how activation functions are called here -> in TransformerLens
ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_new", "relu": "relu", "silu": "silu", "solu": "solu"}
#: head width that published Othello models share; minGPT files do not store their head count
DEFAULT_D_HEAD = 64


@dataclass(frozen=True)
class Shape:
    """Sizes of a GPT-2-shaped transformer (pre-LayerNorm, learned positions, untied unembedding)."""

    n_layers: int
    d_model: int
    n_heads: int
    d_head: int
    d_mlp: int
    n_ctx: int = N_CTX
    act: str = "gelu"
    d_vocab: int = D_VOCAB
    eps: float = 1e-5

    def __post_init__(self) -> None:
        for field in ("n_layers", "d_model", "n_heads", "d_head", "d_mlp", "n_ctx"):
            if getattr(self, field) < 1:
                raise InputError(f"the model's {field} is {getattr(self, field)}; it must be a positive integer")
        if self.act not in ACTIVATIONS:
            raise InputError(f"unknown activation {self.act!r}: it is one of {', '.join(ACTIVATIONS)}")
        if self.d_vocab != D_VOCAB:
            raise InputError(
                f"the vocabulary has {self.d_vocab} tokens; an Othello-GPT has {D_VOCAB}: padding and 60 moves"
            )
        if self.n_ctx < N_CTX:
            raise InputError(f"the model's context is {self.n_ctx} tokens; whole games need {N_CTX}")
        if not 0 < self.eps < 1:
            raise InputError(f"the model's eps is {self.eps}; it must be a small positive number")


@dataclass(frozen=True)
class Checkpoint:
    """Raw (unprocessed) fp32 weights under TransformerLens names, their shape, and the model's card."""

    shape: Shape
    weights: dict[str, Tensor]
    card: dict
    name: str


def weight_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Every weight's TransformerLens name -> its dimensions."""
    d, h, k, m = shape.d_model, shape.n_heads, shape.d_head, shape.d_mlp
    shapes = {"embed.W_E": (shape.d_vocab, d), "pos_embed.W_pos": (shape.n_ctx, d)}
    for layer in range(shape.n_layers):
        block = {f"attn.W_{x}": (h, d, k) for x in "QKV"} | {f"attn.b_{x}": (h, k) for x in "QKV"}
        block |= {"attn.W_O": (h, k, d), "attn.b_O": (d,)}
        block |= {"mlp.W_in": (d, m), "mlp.b_in": (m,), "mlp.W_out": (m, d), "mlp.b_out": (d,)}
        block |= {f"{ln}.{w}": (d,) for ln in ("ln1", "ln2") for w in "wb"}
        shapes |= {f"blocks.{layer}.{name}": size for name, size in block.items()}
    return shapes | {
        "ln_final.w": (d,),
        "ln_final.b": (d,),
        "unembed.W_U": (d, shape.d_vocab),
        "unembed.b_U": (shape.d_vocab,),
    }


def complete(shape: Shape, weights: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """The weights as fp32, in a fixed order, absent biases as 0 and absent LayerNorm weights as 1.

    Raises:
        InputError: a weight is missing (or, of a kind that may be absent, in some layers only), a name is
            unknown, a size is not the shape's, or a value is not finite.
    """
    # Buffers that TransformerLens files carry and that follow from the shape.
    weights = {k: v for k, v in weights.items() if not k.endswith((".mask", ".IGNORE"))}
    if _count_layers(weights, where) != shape.n_layers:
        raise InputError(
            f"{where} holds {_count_layers(weights, where)} layers; its configuration says {shape.n_layers}"
        )
    shapes = weight_shapes(shape)
    unknown = sorted(set(weights) - set(shapes))
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise InputError(f"{where}: unknown weight {unknown[0]!r}{more}; an Othello-GPT has none of that name")
    kinds = {_kind(name) for name in weights}
    full = {}
    for name, size in shapes.items():
        last = name.rsplit(".", 1)[1]
        if name not in weights:
            optional = last == "w" or last.startswith("b")
            if not optional or _kind(name) in kinds:
                raise InputError(f"{where}: weight {name!r} is missing; the file is incomplete or of another layout")
            full[name] = torch.ones(size) if last == "w" else torch.zeros(size)
            continue
        weight = weights[name].detach()
        if tuple(weight.shape) != size:
            raise InputError(
                f"{where}: {name} has the size {tuple(weight.shape)}; by the other weights it must be {size}"
            )
        if not weight.is_floating_point() or weight.layout != torch.strided:
            raise InputError(f"{where}: {name} is of type {weight.dtype}, {weight.layout}; weights are dense floats")
        full[name] = weight.to("cpu", torch.float32).contiguous()
        if not torch.isfinite(full[name]).all():
            raise InputError(f"{where}: {name} holds NaN or infinite values")
    return full


def _kind(name: str) -> str:
    """A weight's name without its layer: a kind is in every layer or in none."""
    return re.sub(r"^blocks\.\d+\.", "", name)


def read(path: str | os.PathLike, heads: int | None = None, act: str | None = None) -> Checkpoint:
    """Read a model file of any of the three layouts.

    Args:
        path: ``.safetensors``, or a torch file (``.pth``, ``.pt``, ``.ckpt``) in TransformerLens or minGPT layout.
        heads: number of heads, which minGPT files do not store (default ``d_model / 64``).
        act: activation, which neither torch layout stores (default exact GELU, ``"gelu"``).

    Raises:
        InputError: missing, truncated or corrupted file, a pickle with anything but tensors, another layout,
            another vocabulary, an option that contradicts the file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no model file at {path}")
    if path.suffix == ".safetensors":
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from None
        return from_bytes(content, path, heads, act)
    state = load_torch(path)
    if not isinstance(state, dict):
        raise InputError(f"{path} holds a {type(state).__name__}; a model file is a dictionary of weights")
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(state.get(key), dict):
            state = state[key]
    state = {str(k).removeprefix("module."): v for k, v in state.items() if isinstance(v, Tensor)}
    if "tok_emb.weight" in state:
        return _from_mingpt(state, path, heads, act)
    if "embed.W_E" in state:
        return _from_transformer_lens(state, path, heads, act)
    first = f"its first name is {next(iter(state))!r}" if state else "it holds no tensors"
    raise InputError(
        f"{path} has neither TransformerLens names ('embed.W_E') nor minGPT names ('tok_emb.weight'); {first}"
    )


def load_torch(path: str | os.PathLike):
    """``torch.load`` that refuses to run code.

    Raises:
        InputError: not a torch file, truncated, or a pickle that would execute code.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # on an odd pickle protocol, which damaged bytes look like
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes reach every corner of the unpickler, and so every kind of error
        code = re.search(r"GLOBAL (\S+) was not an allowed|unsupported GLOBAL (\S+) whose module", str(error))
        if isinstance(error, pickle.UnpicklingError) and code:
            raise InputError(
                f"{path} is a pickle that would run code on loading ({code[1] or code[2]}); only plain tensors are read"
            ) from None
        raise InputError(f"{path} is not a readable torch file (corrupted, truncated or of another kind)") from None


def write(checkpoint: Checkpoint, path: str | os.PathLike, dtype: torch.dtype = torch.float16) -> None:
    """Write our safetensors: weights in ``dtype``, configuration and card as JSON in the metadata.

    Raises:
        InputError: the place cannot be written, or a weight is too large for ``dtype``.
    """
    tensors = {name: w.to(dtype).contiguous() for name, w in checkpoint.weights.items()}
    for name, w in tensors.items():
        if not torch.isfinite(w).all():
            raise InputError(f"{name} does not fit {str(dtype).removeprefix('torch.')}; write the model as float32")
    metadata = {"config": json.dumps(asdict(checkpoint.shape)), "card": json.dumps(checkpoint.card), "format": "pt"}
    with write_whole(path) as temporary:
        temporary.write_bytes(_in_order(save(tensors, metadata)))


def _in_order(content: bytes) -> bytes:
    """A safetensors file with its metadata in order: the library's own order changes from run to run."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # so that the weights stay aligned
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def from_bytes(content: bytes, path: Path, heads: int | None = None, act: str | None = None) -> Checkpoint:
    """One of our own files from its bytes; ``path`` is where they come from, for messages and the name.

    Raises:
        InputError: as `read`.
    """
    try:
        weights = from_safetensors(content)
        # The format: the header's length in eight bytes, then the header, as JSON.
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__") or {}
    except (SafetensorError, ValueError, KeyError, RuntimeError):  # the last two: a type of number that torch lacks
        raise InputError(f"{path} is not a readable safetensors file (corrupted or truncated)") from None
    if "config" not in metadata:
        raise InputError(f"{path} has no 'config' in its metadata; our model files carry their configuration")
    try:
        config, card = json.loads(metadata["config"]), json.loads(metadata.get("card", "{}"))
    except ValueError:
        raise InputError(f"{path}: the configuration or the card in its metadata is no JSON") from None
    if not (isinstance(config, dict) and isinstance(card, dict)):
        raise InputError(f"{path}: the configuration or the card in its metadata is no JSON object")
    try:
        shape = _shape_from_config(config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if heads not in (None, shape.n_heads):
        raise InputError(f"{path} says it has {shape.n_heads} heads; leave --heads out")
    if act not in (None, shape.act):
        raise InputError(f"{path} says its activation is {shape.act}; leave --act out")
    name = " ".join(str(card.get("name") or path.stem).split())
    return Checkpoint(shape, complete(shape, weights, str(path)), card, name)


def _shape_from_config(config: dict) -> Shape:
    """Our own fields, or TransformerLens's names for them."""
    if config.get("attn_only") or config.get("positional_embedding_type", "standard") != "standard":
        raise InputError("only GPT-2-shaped models are read: MLPs, and learned positions added to the embedding")
    if config.get("normalization_type", "LN") not in ("LN", "LNPre"):
        raise InputError(f"normalization {config['normalization_type']!r} is not read: it must be LN or LNPre")
    config = {"act": config.get("act_fn", "gelu")} | config
    needed = [f.name for f in fields(Shape) if f.default is MISSING and f.name not in config]
    if needed:
        raise InputError(f"its configuration lacks {', '.join(needed)}")
    given = {f.name: config[f.name] for f in fields(Shape) if f.name in config}
    for field in fields(Shape):
        if field.name in given and type(given[field.name]) is not field.type:
            raise InputError(f"its {field.name} is {given[field.name]!r}; it must be of type {field.type.__name__}")
    return Shape(**given)


def _count_layers(state: dict[str, Tensor], where: str | Path) -> int:
    layers = sorted({int(m[1]) for k in state if (m := re.match(r"blocks\.(\d{1,6})\.", k))})
    if not layers:
        raise InputError(f"{where} has no layers: no weight is named 'blocks.0.…'")
    if layers[-1] != len(layers) - 1:
        missing = next(i for i in range(len(layers)) if i not in layers)
        raise InputError(f"{where}: layer {missing} is missing, though there is a layer {layers[-1]}")
    return len(layers)


def _need(state: dict[str, Tensor], name: str, where: Path, dims: int) -> tuple[int, ...]:
    if name not in state or state[name].dim() != dims:
        raise InputError(f"{where}: weight {name!r} is missing or has not {dims} dimensions")
    return tuple(state[name].shape)


def _shape(path: Path, *fields_: int | str) -> Shape:
    try:
        return Shape(*fields_)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _from_transformer_lens(state: dict[str, Tensor], path: Path, heads: int | None, act: str | None) -> Checkpoint:
    d_vocab, d_model = _need(state, "embed.W_E", path, 2)
    n_heads, _, d_head = _need(state, "blocks.0.attn.W_Q", path, 3)
    _, d_mlp = _need(state, "blocks.0.mlp.W_in", path, 2)
    n_ctx, _ = _need(state, "pos_embed.W_pos", path, 2)
    if heads not in (None, n_heads):
        raise InputError(f"{path} has {n_heads} heads; --heads {heads} contradicts it")
    n_layers = _count_layers(state, path)
    shape = _shape(path, n_layers, d_model, n_heads, d_head, d_mlp, n_ctx, act or "gelu", d_vocab)
    card = {
        "name": path.stem,
        "layout": "TransformerLens state dict",
        "activation": f"{shape.act} (not stored in the file)",
    }
    return Checkpoint(shape, complete(shape, state, str(path)), card, path.stem)


def _from_mingpt(state: dict[str, Tensor], path: Path, heads: int | None, act: str | None) -> Checkpoint:
    d_vocab, d_model = _need(state, "tok_emb.weight", path, 2)
    _, n_ctx, _ = _need(state, "pos_emb", path, 3)
    d_mlp, _ = _need(state, "blocks.0.mlp.0.weight", path, 2)
    if heads is None:
        if d_model % DEFAULT_D_HEAD:
            raise InputError(
                f"{path}: width {d_model} is no multiple of {DEFAULT_D_HEAD}; give the head count with --heads"
            )
        heads = d_model // DEFAULT_D_HEAD
    if heads < 1 or d_model % heads:
        raise InputError(f"{path}: {heads} heads do not divide the width {d_model}; give another --heads")
    n_layers = _count_layers(state, path)
    shape = _shape(path, n_layers, d_model, heads, d_model // heads, d_mlp, n_ctx, act or "gelu", d_vocab)
    card = {
        "name": path.stem,
        "layout": "minGPT",
        "heads": f"{heads} (not stored in the file)",
        "activation": f"{shape.act} (not stored in the file)",
    }
    return Checkpoint(shape, complete(shape, mingpt.rename(state, heads, str(path)), str(path)), card, path.stem)
