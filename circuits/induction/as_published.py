"""How well trees do that are grown as published (arXiv 2511.00059), but with games held out, not positions.

320 literals, depth 8, 50 positions a leaf and 100 to split, plies 5-30, 600 games: of the sample's training games the
first 600. R^2 is of its held-out games at the same plies.
"""

from jaxtyping import Float64, Int
from torch import Tensor

from circuits.induction.literals import PUBLISHED, columns, varying
from circuits.induction.sample import LayerActs, Sample, Side, Triple
from circuits.induction.trees import grow

GAMES, FIRST, LAST = 600, 5, 30
DEPTH, LEAF, SPLIT = 8, 50, 100


class AsPublished:
    """What the trees of all layers share; made once for a sample."""

    def __init__(self, sample: Sample):
        """
        Raises:
            InputError: no literal varies enough at these plies.
        """
        self.train, self.held_out = _where(sample.train, GAMES), _where(sample.held_out)
        wanted = [
            columns(side.packed, PUBLISHED)[where]
            for side, where in ((sample.train, self.train), (sample.held_out, self.held_out))
        ]
        kept = varying(wanted[0], LEAF)
        self.learnt, self.tested = (matrix[:, kept].contiguous() for matrix in wanted)

    def r2(self, acts: Triple | LayerActs) -> Float64[Tensor, "neuron"]:
        """Held-out R^2 of a tree for each activation."""
        grown = grow(self.learnt, acts.train[:, self.train].contiguous(), DEPTH, LEAF, SPLIT)
        return grown.r2(self.tested, acts.held_out[:, self.held_out].contiguous())


def _where(side: Side, games: int | None = None) -> Int[Tensor, "some"]:
    """The positions at the published plies, of the first games."""
    here = (side.ply >= FIRST) & (side.ply <= LAST)
    if games is not None:
        here &= side.group < games
    return here.nonzero().squeeze(1)
