"""Games as arrays of whole numbers, in .npy, .pt and .safetensors files; nothing is ever unpickled.

Tokens and squares are told apart by the first moves: black opens on square 19, 26, 37 or 44, that is with token 20, 27,
34 or 41, so no opening is legal both ways.
"""

import pickle
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from circuits.errors import InputError
from circuits.notation import N_MOVES, SQUARE_TOKEN, label


@dataclass(frozen=True)
class Raw:
    """What a file holds: tokens of every game (all 0 for a bad one), and for the bad ones why."""

    tokens: UInt8[Tensor, "game 60"]
    bad: dict[int, str]
    metadata: dict[str, str] = field(default_factory=dict)
    ids: Int[Tensor, "game"] | None = None


def _from_npy(path: Path):
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise InputError("this is no .npy file, or a damaged one")
    try:
        return np.load(path, allow_pickle=False), {}, None
    except Exception as error:  # whatever numpy raises on a damaged file
        if "allow_pickle" in str(error):
            raise InputError("holds Python objects, which may run code and are never opened: save numbers") from error
        raise InputError(f"a damaged .npy file ({_short(error)})") from error


def _from_pt(path: Path):
    try:
        with warnings.catch_warnings(action="ignore"):  # torch remarks on odd pickles before it refuses them
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            "not a plain tensor, or damaged: other Python objects may run code and are never opened; "
            "save the tokens as a tensor"
        ) from error
    except Exception as error:  # whatever torch raises on a damaged file
        raise InputError(f"a damaged .pt file ({_short(error)})") from error
    if isinstance(content, dict):
        content = _only(content)
    if isinstance(content, list | tuple):
        return _padded(content), {}, None
    if not isinstance(content, Tensor):
        raise InputError(f"holds a {type(content).__name__}: a tensor of tokens [game, ply] is needed")
    return _numpy(content), {}, None


def _from_safetensors(path: Path):
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except Exception as error:  # whatever safetensors raises on a damaged file
        raise InputError(f"a damaged .safetensors file ({_short(error)})") from error
    ids = tensors.pop("ids", None)
    return _numpy(_only(tensors)), metadata, ids


#: what reads an array from a file of each kind: (values, metadata, ids)
ARRAYS = {".npy": _from_npy, ".pt": _from_pt, ".safetensors": _from_safetensors}


def _only(tensors: dict) -> object:
    """The entry ``tokens``, or the only one."""
    if "tokens" in tensors or len(tensors) == 1:
        return tensors.get("tokens", next(iter(tensors.values())))
    names = ", ".join(sorted(str(k)[:30] for k in tensors)[:5])
    raise InputError(f"holds {len(tensors)} entries ({names}): one tensor, or one named 'tokens', is needed")


def _numpy(tensor: Tensor) -> np.ndarray:
    if tensor.layout is not torch.strided or tensor.dtype not in _WHOLE:
        raise InputError(f"holds {str(tensor.dtype)[6:]} values: tokens or squares are whole numbers")
    return tensor.detach().numpy()


_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def _padded(games: list) -> np.ndarray:
    """Lists of different lengths, padded with -1."""
    whole = all(isinstance(g, list | tuple) and all(type(v) is int and abs(v) < 1 << 31 for v in g) for g in games)
    if not whole:
        raise InputError("holds a list that is not of lists of whole numbers, one a game")
    width = max(map(len, games), default=0)
    return np.array([list(g) + [-1] * (width - len(g)) for g in games], dtype=np.int64).reshape(len(games), width)


def games_of_array(values: np.ndarray, encoding: str | None, metadata: dict, ids: Tensor | None) -> Raw:
    """The games of an array, each checked square by square or token by token.

    Raises:
        InputError: no whole numbers, another shape, no games, neither tokens nor squares.
    """
    if values.dtype.kind not in "iu":
        raise InputError(f"holds {values.dtype} values: tokens or squares are whole numbers")
    if values.ndim != 2:
        raise InputError(f"has the shape {list(values.shape)}: [game, ply] is needed")
    if not values.size:
        raise InputError("no games in it")
    if values.dtype.kind == "u":  # what does not fit into int64 is off the board anyway
        values = np.minimum(values, values.dtype.type(255))
    values = values.astype(np.int64)
    encoding = encoding or _encoding(values)
    lowest = 1 if encoding == "tokens" else 0
    highest = N_MOVES if encoding == "tokens" else 63
    played = values >= lowest
    tokens = values * played if encoding == "tokens" else SQUARE_TOKEN.numpy()[values.clip(0, 63)] * played
    bad: dict[int, str] = {}

    def refuse(where: np.ndarray, reason) -> None:
        """Note the first place of each row where ``where`` holds, unless the row is bad already."""
        for game in where.any(1).nonzero()[0].tolist():
            ply = int(where[game].argmax())
            bad.setdefault(game, f"ply {ply}: {reason(int(values[game, ply]))}")

    if encoding == "tokens":
        refuse(values > highest, lambda v: f"{v} is no token: moves are 1..60, padding is 0")
    else:
        refuse(values > highest, lambda v: f"{v} is no square of an 8x8 board: squares are 0..63")
        refuse(played & (tokens == 0), lambda v: f"{label(v)} is a centre square, where nobody plays")
    late = np.zeros_like(played)
    late[:, :-1] = ~played[:, :-1] & played[:, 1:]
    refuse(late, lambda v: f"{v} is padding before a move: it belongs at the end")
    long = played.copy()
    long[:, :N_MOVES] = False
    refuse(long, lambda _: f"a game has at most {N_MOVES} moves")
    whole = np.zeros((len(values), N_MOVES), dtype=np.uint8)
    width = min(N_MOVES, values.shape[1])
    tokens[list(bad)] = 0
    whole[:, :width] = tokens[:, :width]
    return Raw(torch.from_numpy(whole), bad, metadata, ids)


def _encoding(values: np.ndarray) -> str:
    """``tokens`` or ``squares``, by the first moves."""
    openings = np.array([19, 26, 37, 44])
    counts = {
        "tokens": int(np.isin(values[:, 0], SQUARE_TOKEN.numpy()[openings]).sum()),
        "squares": int(np.isin(values[:, 0], openings).sum()),
    }
    if counts["tokens"] == counts["squares"]:
        first = int(values[0, 0])
        board = f"; it holds {values.max()}: a larger board?" if values.max() > 63 else ""
        raise InputError(
            f"neither tokens nor squares of an 8x8 board: the first game begins with {first}, and black opens with "
            f"token 20, 27, 34 or 41 (square 19, 26, 37 or 44){board}"
        )
    return max(counts, key=counts.get)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__
