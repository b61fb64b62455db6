"""What the stages of an atlas found, put together: all that its tables are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from circuits.atlas.ablation_tally import Ablations
from circuits.atlas.sources import Opened
from circuits.atlas.streamed import Streamed
from circuits.board_readers import BoardReader
from circuits.directions import Directions
from circuits.games import Games
from circuits.heads import HeadProfiles
from circuits.induction.table import RuleTable
from circuits.notation import Unit
from circuits.patterns import FactScores
from circuits.plain import PlainModel


@dataclass(frozen=True, eq=False)
class Results:
    """Every stage's result; a stage that was left out is None, and its columns are null.

    Attributes:
        readers, directions: the board probe and its directions, by point of the stream; a point may be missing.
        games: the set, or a part of it that holds all examples (for their transcripts).
        patterns: by layer, one for each neuron, best facts first; None for a neuron that was not scored.
        rules: of all layers or of some.
        layers: whose units get rows; units: only these of them, if given.
        provenance: JSON; what the atlas was made of. ``key`` is what opening compares; ``model`` (hash), ``model_name``
            and ``games_source`` are shown.
    """

    model: PlainModel
    readers: Mapping[str, BoardReader]
    directions: Mapping[str, Directions]
    games: Games | Opened
    streamed: Streamed
    patterns: Mapping[int, tuple[FactScores | None, ...]]
    rules: RuleTable | None
    profiles: HeadProfiles | None
    ablations: Ablations | None
    layers: tuple[int, ...]
    units: tuple[Unit, ...] | None
    provenance: dict[str, Any]

    @property
    def every(self) -> int:
        """Neurons and heads of the model, whether they get rows or not."""
        shape = self.model.shape
        return shape.n_layers * (shape.d_mlp + shape.n_heads)

    def neurons(self, layer: int) -> list[int]:
        """Numbers of a layer's neurons that get rows, ascending."""
        return self._chosen(layer, "neuron", self.model.shape.d_mlp)

    def heads(self, layer: int) -> list[int]:
        """Numbers of a layer's heads that get rows, ascending."""
        return self._chosen(layer, "head", self.model.shape.n_heads)

    def _chosen(self, layer: int, kind: str, count: int) -> list[int]:
        if layer not in self.layers:
            return []
        if self.units is None:
            return list(range(count))
        return sorted({unit.index for unit in self.units if (unit.layer, unit.kind) == (layer, kind)})
