"""What one pass over the games keeps of a whole model: an accumulator whose parts can be made anywhere and merged.

    mining   every neuron (`circuits.mining`, without its sample)
    probes   what the board probes read right at every point, counted (`probe_tally`)
    heads    where heads attend and what they hold, summed (`head_tally`)
    scale    the LayerNorm's scale in front of every MLP

Counts and fixed-point sums throughout, so that merging is associative: the same bits whatever the order and however
many took part. Another batch size changes the rounding of each batch's sums, to about 1e-6 of them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from safetensors.torch import load, save
from torch import Tensor

from circuits.activations import BATCH, points, stream
from circuits.atlas.head_tally import HeadTally
from circuits.atlas.probe_tally import ProbeTally
from circuits.atlas.store import about_of
from circuits.board_readers import BoardReader
from circuits.errors import InputError
from circuits.extremes import PLIES, Extremes, unpack
from circuits.games import Games
from circuits.mining import EXAMPLES, FIXED_POINT, Mining, boards_of_batches
from circuits.othello_model import OthelloModel

FORMAT = "othello-circuits streamed 1"
_MINED = ("count", "sums", "squares", "positive", "state_count", "state_sums", "scale_sum")


@dataclass
class Streamed:
    """Everything that was seen so far; see the file's head.

    Attributes:
        scale: [layer] fixed-point sum over positions of ``ln2.hook_scale``.
    """

    mining: Mining
    probes: ProbeTally
    heads: HeadTally
    scale: Int[Tensor, "layer"]

    @staticmethod
    def empty(model: OthelloModel, games: Games, readers: Mapping[str, BoardReader], band: slice, k: int = EXAMPLES):
        """One that has seen nothing; ``games``: the whole set, or a part of it."""
        hooks = tuple(hook for hook in points(model.shape) if hook in readers)
        return Streamed(
            Mining.empty(model, games, k=k, sample_games=0, plies=band), ProbeTally.empty(hooks),
            HeadTally.empty(model.shape), torch.zeros(model.shape.n_layers, dtype=torch.int64),
        )  # fmt: skip

    def merge(self, other: "Streamed") -> "Streamed":
        """Add what another has seen on other games; self.

        Raises:
            InputError: of another model, other games, another band.
        """
        self.mining.merge(other.mining)
        self.probes.merge(other.probes)
        self.heads.merge(other.heads)
        self.scale += other.scale
        return self

    def ln2_scale(self) -> Float[Tensor, "layer"]:
        """Mean scale of the LayerNorm in front of each MLP."""
        return (self.scale.double() / FIXED_POINT / self.mining.positions).float()

    def example_games(self) -> Int[Tensor, "game"]:
        """The numbers of the games that examples are of."""
        ends = torch.stack([e.keys for e in (*self.mining.top, *self.mining.bottom)])
        codes = unpack(ends[ends != torch.iinfo(torch.int64).min])[1]
        return (codes // PLIES).unique()

    def to_bytes(self) -> bytes:
        """The same bytes for the same contents."""
        mined = self.mining
        tensors = {f"mining.{name}": getattr(mined, name).contiguous() for name in _MINED}
        tensors |= {f"mining.{end}": torch.stack([e.keys for e in getattr(mined, end)]) for end in ("top", "bottom")}
        tensors |= {f"probes.{name}": tensor for name, tensor in self.probes.tensors().items()}
        tensors |= {f"heads.{name}": tensor for name, tensor in self.heads.tensors().items()}
        about = {
            "format": FORMAT, "model": mined.model_hash, "fingerprint": mined.fingerprint, "source": mined.source,
            "first_ply": mined.first_ply, "last_ply": mined.last_ply, "games": mined.games,
            "hooks": self.probes.hooks,
        }  # fmt: skip
        tensors = {name: tensor.contiguous() for name, tensor in (tensors | {"scale": self.scale}).items()}
        return save(tensors, {"about": json.dumps(about)})

    @staticmethod
    def of_bytes(data: bytes) -> "Streamed":
        """The inverse of `to_bytes`, of data whose checksum was looked at."""
        about = about_of(data)
        if about["format"] != FORMAT:
            raise InputError(f"a pass of format {about['format']!r}: this version reads {FORMAT!r}")
        tensors = {name: tensor.clone() for name, tensor in load(data).items()}

        def part(name: str) -> dict[str, Tensor]:
            return {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}

        mined = part("mining")
        layers, neurons = mined["squares"].shape
        mining = Mining(
            about["model"], about["fingerprint"], about["source"], about["first_ply"], about["last_ply"],
            about["games"], mined["count"], mined["sums"], mined["squares"], mined["positive"], mined["state_count"],
            mined["state_sums"], *([Extremes(keys.clone()) for keys in mined[end]] for end in ("top", "bottom")),
            mined["scale_sum"], torch.zeros(0, dtype=torch.int64),
            torch.zeros(layers, neurons, 0, len(mined["count"]), dtype=torch.float16),
            torch.zeros(0, dtype=torch.bool),
        )  # fmt: skip
        probes = ProbeTally.of_tensors(tuple(about["hooks"]), part("probes"))
        return Streamed(mining, probes, HeadTally.of_tensors(part("heads")), tensors["scale"])


@torch.no_grad()
def streamed(
    model: OthelloModel, games: Games, readers: Mapping[str, BoardReader], band: slice, *, k: int = EXAMPLES,
    batch_size: int = BATCH, progress: str | None = None,
) -> Streamed:  # fmt: skip
    """One pass over some games.

    Args:
        readers: a board probe for some points of the stream; others are not counted.

    Raises:
        InputError: as `Mining.update`.
    """
    found = Streamed.empty(model, games, readers, band, k)
    layers, hooks = range(model.shape.n_layers), found.probes.hooks
    names = {
        kind: [f"blocks.{i}.{kind}" for i in layers]
        for kind in ("mlp.hook_post", "attn.hook_pattern", "attn.hook_z", "ln2.hook_scale")
    }
    wanted = [*(name for kind in names.values() for name in kind), *hooks, "ln_final.hook_scale"]
    own = [readers[hook] for hook in hooks]
    batches = stream(model, games, wanted, batch_size=batch_size, progress=progress)
    for batch, boards in zip(batches, boards_of_batches(games, batch_size), strict=True):
        acts = batch.acts
        found.mining.update(
            batch.games,
            (acts[name].cpu() for name in names["mlp.hook_post"]),
            acts["ln_final.hook_scale"].cpu(),
            boards,
        )
        found.probes.update([acts[hook] for hook in hooks], own, boards, band)
        patterns, z = ((acts[name] for name in names[kind]) for kind in ("attn.hook_pattern", "attn.hook_z"))
        found.heads.update(patterns, z, batch.games, boards, band)
        where = boards.valid[:, band].to(model.device)
        sums = [(acts[name][:, band, 0] * where).sum() for name in names["ln2.hook_scale"]]
        found.scale += (torch.stack(sums).double().cpu() * FIXED_POINT).round().long()
    return found
