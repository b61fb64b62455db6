"""Where every head attends and what it holds on average, over the valid positions of a band: mergeable sums.

Attention to a category of sources (`circuits.head_sources`) is the mean over positions of the sum of a head's pattern
over them; *uniform* is the same of 1 / (t + 1). Sums are in fixed point (steps of 2^-24), so any order of updates and
merges gives the same bits; another batch size changes only the rounding of each batch's partial sums.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits.checkpoints import Shape
from circuits.errors import InputError
from circuits.games import Games
from circuits.head_sources import CATEGORIES, source_masks, uniform_attention
from circuits.mining import FIXED_POINT, LARGEST
from circuits.notation import N_CTX
from circuits.othello import Boards


@dataclass
class HeadTally:
    """Everything summed so far.

    Attributes:
        count: valid positions of the band by ply.
        pattern: fixed-point sums by query ply and key ply.
        to: fixed-point sums over positions of the attention to each of `CATEGORIES`; uniform: of attention shared
            equally.
        z: fixed-point sums of ``attn.hook_z`` by ply.
    """

    count: Int[Tensor, "ply=59"]
    pattern: Int[Tensor, "layer head query=59 key=59"]
    to: Int[Tensor, "layer head category=10"]
    uniform: Int[Tensor, "category=10"]
    z: Int[Tensor, "layer ply=59 head d_head"]

    @staticmethod
    def empty(shape: Shape) -> "HeadTally":
        """A tally that has seen nothing."""

        def zeros(*size: int) -> Tensor:
            return torch.zeros(size, dtype=torch.int64)

        layers, heads, kinds = shape.n_layers, shape.n_heads, len(CATEGORIES)
        return HeadTally(
            zeros(N_CTX), zeros(layers, heads, N_CTX, N_CTX), zeros(layers, heads, kinds), zeros(kinds),
            zeros(layers, N_CTX, heads, shape.d_head),
        )  # fmt: skip

    def update(
        self,
        patterns: Iterable[Float[Tensor, "game head query=59 key=59"]],
        zs: Iterable[Float[Tensor, "game ply=59 head d_head"]],
        games: Games,
        boards: Boards,
        band: slice,
    ) -> None:
        """Take in one batch of games; nothing changes where it is refused.

        Args:
            patterns, zs: each layer's ``attn.hook_pattern`` and ``attn.hook_z``, in layer order.
            boards: the games' boards; band: the plies counted.

        Raises:
            InputError: another number of layers; at a position counted, a value not finite or beyond 65504.
        """
        plies = slice(*band.indices(N_CTX))
        valid = boards.valid[:, plies]
        holes = None if valid.all() else ~valid
        masks = source_masks(games, boards)[:, plies].float()
        if holes is not None:
            masks[holes] = 0
        uniform = torch.einsum("gqkm,qk->m", masks, uniform_attention()[plies])
        masks = masks.flatten(1, 2)
        found = []
        for layer, (p, z) in enumerate(zip(patterns, zs, strict=False)):
            if layer == len(self.pattern):
                raise InputError(f"patterns and outputs of more than {layer} layers were given")
            p, z = p[:, :, plies].cpu().float(), z[:, plies].cpu().float()
            if holes is not None:
                p = p.masked_fill(holes[:, None, :, None], 0)
                z = z.masked_fill(holes[:, :, None, None], 0)
            p = p.flatten(2)  # contiguous from here on, which makes both sums fast
            sums = p.sum(0).unflatten(1, (-1, N_CTX)), (p @ masks).sum(0), z.sum(0)
            # A sum keeps what is not finite in its terms.
            if not all((x.abs() <= LARGEST * len(games)).all() for x in sums):
                raise InputError(
                    f"layer {layer} has attention patterns or head outputs not finite, or beyond {LARGEST:.0f}, on "
                    f"games {int(games.ids.min())}..{int(games.ids.max())}"
                )
            found.append([_fixed(x) for x in sums])
        if len(found) != len(self.pattern):
            raise InputError(
                f"patterns and outputs of {len(found)} layers were given; the model has {len(self.pattern)}"
            )
        for layer, (pattern, to, z) in enumerate(found):
            self.pattern[layer][:, plies] += pattern
            self.to[layer] += to
            self.z[layer][plies] += z
        self.uniform += _fixed(uniform)
        self.count[plies] += valid.sum(0)

    def merge(self, other: "HeadTally") -> "HeadTally":
        """Add what another tally has seen on other games; self, changed in place.

        Raises:
            InputError: heads of another number or size.
        """
        if other.z.shape != self.z.shape:
            raise InputError(f"cannot merge: outputs are {list(self.z.shape)} here and {list(other.z.shape)} there")
        for name, total in self.tensors().items():
            total += getattr(other, name)
        return self

    def tensors(self) -> dict[str, Tensor]:
        """What a file keeps."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @staticmethod
    def of_tensors(tensors: Mapping[str, Tensor]) -> "HeadTally":
        """The inverse of `tensors`.

        Raises:
            InputError: not the tensors of a tally.
        """
        names = [field.name for field in fields(HeadTally)]
        sound = set(names) <= set(tensors) and all(tensors[name].dtype == torch.int64 for name in names)
        sound = sound and tensors["z"].ndim == 4 and tensors["pattern"].ndim == 4
        if sound:
            (layers, _, heads, d_head), kinds = tensors["z"].shape, len(CATEGORIES)
            shapes = (N_CTX,), (layers, heads, N_CTX, N_CTX), (layers, heads, kinds), (kinds,)
            shapes = (*shapes, (layers, N_CTX, heads, d_head))
            sound = all(tensors[name].shape == shape for name, shape in zip(names, shapes, strict=True))
        if not sound:
            raise InputError(f"these are no sums over heads: they are int64 tensors {', '.join(names)} of one model")
        return HeadTally(*(tensors[name].clone() for name in names))

    @property
    def positions(self) -> int:
        return int(self.count.sum())

    def mean_pattern(self) -> Float[Tensor, "layer head query=59 key=59"]:
        """Mean attention by query ply and key ply; NaN in rows without a position."""
        return (self.pattern.double() / FIXED_POINT / self.count[:, None]).float()

    def attention(self) -> Float[Tensor, "layer head category=10"]:
        """Mean attention to each of `CATEGORIES`."""
        return (self.to.double() / FIXED_POINT / self.positions).float()

    def uniform_attention(self) -> Float[Tensor, "category=10"]:
        """What attention shared equally among the sources gives to each of `CATEGORIES`."""
        return (self.uniform.double() / FIXED_POINT / self.positions).float()

    def mean_z(self) -> Float[Tensor, "layer ply=59 head d_head"]:
        """Mean output by ply; NaN at plies without a position."""
        return (self.z.double() / FIXED_POINT / self.count[:, None, None]).float()


def _fixed(values: Tensor) -> Int[Tensor, "..."]:
    return (values.double() * FIXED_POINT).round().long()
