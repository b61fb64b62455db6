"""The probes of one model in one file.

A file holds, for each probe, the weights and biases of all classes against the first, and in its metadata the
model's hash, how its stream was processed, the class order and the plies.
"""

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import as_file, files
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from circuits import directions
from circuits.board_readers import BoardReader
from circuits.directions import Directions
from circuits.errors import InputError
from circuits.files import write_whole
from circuits.models import BUNDLED, OthelloModel
from probes import tasks
from probes.linear import LinearProbe, train_command

FORMAT = "othello-circuits probes 1"


@dataclass(frozen=True, eq=False)
class ProbeSet(Mapping):
    """Probes of one model, by (task, hook, plies); ``about`` says how they were trained."""

    probes: tuple[LinearProbe, ...]
    about: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.probes:
            raise InputError("a set of probes needs at least one")
        if len(self._by_key()) != len(self.probes):
            raise InputError("a set of probes holds two of one task, point and plies")
        if len({(p.model_hash, p.d_model) for p in self.probes}) > 1:
            raise InputError("a set of probes belongs to one model; these come from several")

    def _by_key(self) -> dict[tuple[str, str, str], LinearProbe]:
        return {p.key: p for p in self.probes}

    def __getitem__(self, key: tuple[str, ...]) -> LinearProbe:
        """``probes["board", "blocks.5.hook_resid_mid"]``, with a third entry for other plies than all.

        Raises:
            InputError: no such probe in the set.
        """
        task, hook, plies = (*key, "all")[:3]
        found = self._by_key().get((task, hook, plies))
        if found is None:
            have = self.hooks(task, plies)
            at = (
                f"it has one at {', '.join(have[:3])}{'…' if len(have) > 3 else ''}"
                if have
                else "it has none of that task"
            )
            raise InputError(f"no {task} probe for {plies} plies at {hook!r} in this set; {at}")
        return found

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and (*key, "all")[:3] in self._by_key()

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        return iter(self._by_key())

    def __len__(self) -> int:
        return len(self.probes)

    def __repr__(self) -> str:
        kinds = dict.fromkeys(f"{p.task}" + ("" if p.plies == "all" else f" ({p.plies})") for p in self.probes)
        hooks = len({p.hook for p in self.probes})
        return (
            f"ProbeSet({len(self)} probes of model {self.model_hash or 'unknown'}: {', '.join(kinds)}; {hooks} points)"
        )

    @property
    def model_hash(self) -> str:
        return self.probes[0].model_hash

    @property
    def d_model(self) -> int:
        return self.probes[0].d_model

    def hooks(self, task: str = "board", plies: str = "all") -> tuple[str, ...]:
        """The points at which the set has a probe of a task, in its own order."""
        return tuple(p.hook for p in self.probes if (p.task, p.plies) == (task, plies))

    def board(self, hook: str, plies: str = "all") -> LinearProbe:
        """The empty/theirs/mine probe of a point."""
        return self["board", hook, plies]

    def directions(self, hook: str, facts: tuple[str, ...] = ("board",)) -> Directions:
        """The directions of one point: of the board, and of any binary tasks named."""
        return directions.join(self[task, hook].directions() for task in facts)

    def board_readers(self, device: torch.device | str = "cpu") -> dict[str, BoardReader]:
        """The board probes of all plies as `circuits.editing.interventions` takes them, by point."""
        found = (self.board(hook) for hook in self.hooks())
        return {p.hook: BoardReader(p.hook, p.weight.to(device), p.bias.to(device)) for p in found}

    def check(self, model: OthelloModel) -> None:
        """Raises InputError: made for another model, or for one of another width."""
        for probe in self.probes:
            probe.check(model)

    def for_model(self, model: OthelloModel) -> "ProbeSet":
        """Bind probes that carry no model's hash (published files) to a model.

        Raises:
            InputError: they do not fit it.
        """
        self.check(model)
        return ProbeSet(tuple(replace(p, model_hash=model.hash) for p in self.probes), self.about)

    def save(self, path: str | os.PathLike, dtype: torch.dtype = torch.float32) -> None:
        """Write one safetensors file, whole or not at all; ``torch.float16`` halves it.

        Raises:
            InputError: the place cannot be written.
        """
        tensors, entries = {}, []
        for i, p in enumerate(self.probes):
            # Relative to the first class: as much information, and a binary probe takes half the space.
            tensors[f"{i}.weight"] = (p.weight[..., 1:] - p.weight[..., :1]).to(dtype).contiguous()
            tensors[f"{i}.bias"] = (p.bias[..., 1:] - p.bias[..., :1]).contiguous()
            entries.append({"task": p.task, "hook": p.hook, "plies": p.plies, "classes": p.classes})
        header = {
            "format": FORMAT,
            "model_hash": self.model_hash,
            "processing": self.probes[0].processing,
            "probes": entries,
            "about": self.about,
        }
        if not all(torch.isfinite(t).all() for t in tensors.values()):
            raise InputError(f"cannot write {path}: a weight does not fit into {dtype}; save as torch.float32")
        with write_whole(path) as temporary:
            # Through bytes: safetensors' own writer makes files that only their owner may read.
            temporary.write_bytes(to_bytes(tensors, metadata={"probes": json.dumps(header)}))

    @staticmethod
    def load(path: str | os.PathLike, model: OthelloModel | None = None) -> "ProbeSet":
        """Read a file that `save` wrote; with ``model``, refuse another model's probes.

        Raises:
            InputError: missing, corrupted or truncated, no probe file, or made for another model.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"no probe file at {path}")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError):
            if path.suffix in (".pth", ".pt", ".ckpt") or path.read_bytes()[:4] == b"PK\x03\x04":
                raise InputError(
                    f"{path} looks like a torch file in a published layout; turn it into ours first: "
                    f"othello-circuits probe convert {shlex.quote(str(path))} --out NAME.probes.safetensors"
                ) from None
            raise InputError(f"{path} is not a readable safetensors file (corrupted or truncated)") from None
        if "probes" not in metadata:
            raise InputError(
                f"{path} is no probe file of ours; published files are read by 'othello-circuits probe convert'"
            )
        try:
            probes = _from_header(json.loads(metadata["probes"]), tensors)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
            raise InputError(f"{path}: its description of the probes cannot be read ({error})") from None
        if model is not None:
            try:
                probes.check(model)
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
        return probes


def _from_header(header: dict, tensors: dict[str, Tensor]) -> ProbeSet:
    if header["format"] != FORMAT:
        raise InputError(f"format {header['format']!r} is not read; this version reads {FORMAT!r}")
    probes = []
    for i, entry in enumerate(header["probes"]):
        tasks.check(entry["task"], entry["plies"])
        if tuple(entry["classes"]) != tasks.TASKS[entry["task"]]:
            raise InputError(
                f"classes {entry['classes']} of a {entry['task']} probe; expected {tasks.TASKS[entry['task']]}"
            )
        weight, bias = tensors[f"{i}.weight"].float(), tensors[f"{i}.bias"].float()
        weight = torch.cat([torch.zeros_like(weight[..., :1]), weight], -1)
        bias = torch.cat([torch.zeros_like(bias[..., :1]), bias], -1)
        origin = {"model_hash": header["model_hash"], "processing": header["processing"]}
        probes.append(LinearProbe(weight, bias, entry["task"], entry["hook"], entry["plies"], **origin))
    return ProbeSet(tuple(probes), header.get("about", {}))


def load(model: OthelloModel, path: str | os.PathLike | None = None) -> ProbeSet:
    """The probes of a model: those of a file, or the bundled ones for the bundled model.

    Raises:
        InputError: not the bundled model and no path; a file that is unreadable or made for another model.
    """
    if path is not None:
        return ProbeSet.load(path, model)
    if not model.is_bundled:
        raise InputError(
            f"no probes are bundled for model {model.name} ({model.hash}); train some: {train_command(model)}"
        )
    with as_file(files("probes") / "assets" / f"{BUNDLED}.probes.safetensors") as bundled:
        return ProbeSet.load(bundled, model)
