"""Finished work kept in a folder while rules are found: a file for each layer, and records of the whole model.

    L5-<key>.safetensors    a layer's rows, its census and its trees
    <name>-<key>.json       a record of the model

The key stands for everything that the work depends on, so that what is found under it can be used as it is, and what
was made of another model, other games or other settings is not looked at. Files are written whole or not at all; one
that cannot be read counts as not there.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from circuits.census.records import LayerCensus
from circuits.errors import InputError
from circuits.files import write_whole
from circuits.induction.records import NeuronRule
from circuits.induction.trees import Trees
from circuits.serial import Record

AnyRecord = TypeVar("AnyRecord", bound=Record)
TREES = ("literal", "value", "n", "error")


@dataclass(frozen=True, eq=False)
class LayerFound:
    """What was found of a layer, in how many seconds."""

    layer: int
    rows: tuple[NeuronRule, ...]
    census: LayerCensus | None
    trees: Trees
    seconds: float


@dataclass(frozen=True)
class LayerFiles:
    """The folder; None to keep nothing."""

    folder: Path | None
    key: str

    def layer(self, layer: int) -> LayerFound | None:
        """A finished layer, if there is one under this key."""
        path = self._path(f"L{layer}", "safetensors")
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads(file.metadata()["found"])
                trees = Trees(*(file.get_tensor(name) for name in TREES))
            rows = tuple(NeuronRule.from_dict(row) for row in about["rows"])
            census = None if about["census"] is None else LayerCensus.from_dict(about["census"])
            return LayerFound(layer, rows, census, trees, float(about["seconds"]))
        except (OSError, SafetensorError, InputError, ValueError, KeyError, TypeError):
            return None

    def keep_layer(self, found: LayerFound) -> None:
        """
        Raises:
            InputError: the folder cannot be written.
        """
        if self.folder is None:
            return
        about = {
            "rows": [row.to_dict() for row in found.rows],
            "census": None if found.census is None else found.census.to_dict(),
            "seconds": found.seconds,
        }
        tensors = {name: getattr(found.trees, name).cpu().contiguous() for name in TREES}
        with write_whole(self._path(f"L{found.layer}", "safetensors")) as temporary:
            temporary.write_bytes(save(tensors, {"found": json.dumps(about, allow_nan=False)}))

    def record(self, name: str, kind: type[AnyRecord]) -> AnyRecord | None:
        """A finished record, if there is one under this key."""
        try:
            return kind.from_json(self._path(name, "json").read_text(encoding="utf-8"))
        except (OSError, InputError, UnicodeDecodeError):
            return None

    def keep_record(self, name: str, record: Record) -> None:
        """
        Raises:
            InputError: the folder cannot be written.
        """
        if self.folder is not None:
            with write_whole(self._path(name, "json")) as temporary:
                temporary.write_text(record.to_json(), encoding="utf-8")

    def _path(self, name: str, ending: str) -> Path:
        # Without a folder the path is one where there is never a file.
        return (self.folder or Path("/dev/null")) / f"{name}-{self.key}.{ending}"
