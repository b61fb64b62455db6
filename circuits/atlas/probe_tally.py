"""What a linear board probe reads right at every point of the stream: counts of true state against state read.

Of the class logits only differences matter, so one product a point gives two planes, theirs and mine against empty:

    empty   where neither is above 0        theirs   where it is above 0 and not below mine        mine   otherwise

Counts are whole numbers, so any order of updates and merges gives the same ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits.board_readers import BoardReader
from circuits.errors import InputError
from circuits.features import board_state
from circuits.notation import N_SQUARES
from circuits.othello import Boards

STATES = ("empty", "theirs", "mine")


@dataclass
class ProbeTally:
    """Everything counted so far.

    Attributes:
        hooks: the points, in the order of `circuits.activations.points`.
        counts: valid positions of the band by true state and state read, both of `STATES`.
    """

    hooks: tuple[str, ...]
    counts: Int[Tensor, "point square=64 true=3 said=3"]

    @staticmethod
    def empty(hooks: Sequence[str]) -> "ProbeTally":
        """A tally that has seen nothing."""
        return ProbeTally(tuple(hooks), torch.zeros(len(hooks), N_SQUARES, 3, 3, dtype=torch.int64))

    def update(
        self,
        acts: Iterable[Float[Tensor, "game ply d_model"]],
        readers: Sequence[BoardReader],
        boards: Boards,
        band: slice,
    ) -> None:
        """Take in one batch of games; nothing changes where it is refused.

        Args:
            acts: the stream at each point, in the order of ``hooks``; one is looked at at a time.
            readers: the probe's reader of each point.
            boards: the games' boards; band: the plies counted.

        Raises:
            InputError: readers of other points, another number of points; at a position counted the stream is not
                finite.
        """
        if tuple(reader.hook for reader in readers) != self.hooks:
            raise InputError(
                f"the readers are of {', '.join(reader.hook for reader in readers) or 'no point'}; this tally is of "
                f"{', '.join(self.hooks) or 'no point'}, in that order"
            )
        valid = boards.valid[:, band]
        where = valid.flatten().nonzero().squeeze(1)
        state = board_state(boards)[:, band][valid].T
        true, said = (torch.ones(N_SQUARES, 3, len(where)) for _ in range(2))
        true[:, 1], true[:, 2] = state > 0, state == 2
        found = []
        for point, whole in enumerate(acts):
            if point == len(readers):
                raise InputError(f"the stream at more than {point} points was given")
            reader = readers[point]
            x = whole[:, band].flatten(0, 1)
            x = (x if len(where) == len(x) else x[where]).float()
            weight, bias = (t[..., 1:] - t[..., :1] for t in (reader.weight, reader.bias))
            planes = torch.addmm(bias.T.flatten()[:, None].to(x), weight.movedim(-1, 1).flatten(1).to(x).T, x.T)
            # A sum keeps what is not finite in its terms; if it overflows itself, look closer.
            if not torch.isfinite(planes.sum()) and not torch.isfinite(planes).all():
                raise InputError(f"the stream at {reader.hook} is not finite at a position of these games")
            theirs, mine = planes.unflatten(0, (2, N_SQUARES)).cpu()
            torch.gt(torch.maximum(theirs, mine), 0, out=said[:, 1])
            torch.gt(mine, theirs.clamp_min_(0), out=said[:, 2])
            found.append(_table(true @ said.mT))
        if len(found) != len(self.hooks):
            raise InputError(f"the stream at {len(found)} points was given; this tally has {len(self.hooks)}")
        for counts, more in zip(self.counts, found, strict=True):
            counts += more

    def merge(self, other: "ProbeTally") -> "ProbeTally":
        """Add what another tally has seen on other games; self, changed in place.

        Raises:
            InputError: other points.
        """
        if other.hooks != self.hooks:
            raise InputError(f"cannot merge: the points are {self.hooks} here and {other.hooks} there")
        self.counts += other.counts
        return self

    def tensors(self) -> dict[str, Tensor]:
        """What a file keeps, beside the hooks."""
        return {"counts": self.counts}

    @staticmethod
    def of_tensors(hooks: Sequence[str], tensors: Mapping[str, Tensor]) -> "ProbeTally":
        """The inverse of `tensors`.

        Raises:
            InputError: not the tensors of a tally of these points.
        """
        counts = tensors.get("counts")
        if counts is None or counts.dtype != torch.int64 or counts.shape != (len(hooks), N_SQUARES, 3, 3):
            raise InputError(f"these are no counts of {len(hooks)} points: they are int64 [{len(hooks)}, 64, 3, 3]")
        return ProbeTally(tuple(hooks), counts.clone())

    @property
    def positions(self) -> int:
        return int(self.counts[:1, 0].sum())

    def accuracy(self) -> Float[Tensor, "point square"]:
        """Share of positions where the square is read right; NaN without a position."""
        return (self.counts.diagonal(dim1=-2, dim2=-1).sum(-1).double() / self.counts.sum((-2, -1))).float()

    def majority(self) -> Float[Tensor, "square"]:
        """Share of positions where the square has its commonest state: what always guessing that one gets."""
        # Every point has seen the same positions.
        true = self.counts[:1].sum((0, -1)).double()
        return (true.amax(-1) / true.sum(-1)).float()


def _table(margins: Float[Tensor, "square 3 3"]) -> Int[Tensor, "square 3 3"]:
    """Positions by `STATES`, true and read, from how many are any, occupied, mine by any, occupied, mine."""
    # Exact in float32 below 2^24 positions, far more than a batch holds.
    table = margins.long()
    for axis in (1, 2):
        whole, occupied, mine = table.unbind(axis)
        table = torch.stack([whole - occupied, occupied - mine, mine], axis)
    return table
