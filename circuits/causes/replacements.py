"""What ablated components get instead of their own activations: nothing, a mean, or another game's.

zero               0
mean               over all reference positions of the band
conditional mean   over those of the same class. By ply each ply is its own class, also before the band
resample           the activation of one random reference game for each game, at the same ply; the same game for all
                   components of a set. Where that game is over, the next one (by row) that is not
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.causes.baseline import Baseline
from circuits.causes.components import Group
from circuits.errors import InputError
from circuits.notation import N_CTX

METHODS = ("zero", "mean", "conditional mean", "resample")
#: of a conditional mean: a key in words, or classes of the games measured and of the reference
Given = str | tuple[Int[Tensor, "game ply=59"], Int[Tensor, "reference ply=59"]]


@dataclass(frozen=True, eq=False)
class Replacement:
    """Activations to put in, looked up by position.

    Attributes:
        tables: of each group of the set, [row, unit, width].
        row: [game, ply], the row of the tables for each position measured.
        words: ``"replaced by …"``.
    """

    tables: list[Tensor]
    row: Int[Tensor, "game ply=59"]
    words: str

    def __call__(self, group: int, games: slice, plies: slice) -> Float[Tensor, "game ply unit width"]:
        """What a group gets at some games and plies."""
        table = self.tables[group]
        return table[self.row[games, plies].to(table.device)]


def replacement(
    base: Baseline,
    groups: Sequence[Group],
    method: str,
    given: Given = "ply",
    *,
    before_band: bool = False,
    seed: int = 0,
) -> Replacement:
    """What a set gets.

    Args:
        before_band: whether it is ablated at the plies before the band too.

    Raises:
        InputError: no such method or fact; a key without a conditional mean; a class, or a ply, without a reference
            position.
    """
    if method not in METHODS:
        raise InputError(f"method {method!r}: it is one of {', '.join(METHODS)}")
    if given != "ply" and method != "conditional mean":
        raise InputError(
            f"a key ({given if isinstance(given, str) else 'classes'}) goes with a conditional mean, not {method!r}"
        )
    if method == "zero":
        tables = [torch.zeros(1, *group.width(base.model), device=base.model.device) for group in groups]
        return Replacement(tables, torch.zeros_like(base.where, dtype=torch.int64), "replaced by zero")
    games = f"{len(base.reference)} reference games"
    ablated, measured_from = base.where, base.reference_where
    if before_band:
        ablated = base.boards.valid & (torch.arange(N_CTX) < base.plies.stop)
    if method == "resample" or (method == "conditional mean" and given == "ply"):
        # Every ply stands for itself, so those before the band have values of their own.
        measured_from = base.reference_boards.valid & (torch.arange(N_CTX) < base.plies.stop)
    if method == "resample":
        row = _donors(ablated, measured_from, base.plies.stop, seed)
        tables = [_reference(base, group).flatten(0, 1) for group in groups]
        words = f"resampled: one of {games} for each game, at the same ply, the same for all of the set (seed {seed})"
        return Replacement(tables, row, words)
    row, classes, words = _classes(base, "everything" if method == "mean" else given)
    counts = torch.bincount(classes[measured_from & (classes >= 0)], minlength=int(row.max()) + 1)
    missing = ablated & (counts[row] == 0)
    if missing.any():
        game, ply = missing.nonzero()[0].tolist()
        raise InputError(
            f"no reference position of the class that game {game}, ply {ply} has ({words}): give more reference games, "
            "or another key"
        )
    tables = [_means(base, group, classes, measured_from, counts) for group in groups]
    number = int(counts[row[ablated].unique()].sum())
    return Replacement(tables, row, f"replaced by the mean over {words} ({number} positions of {games})")


def _classes(base: Baseline, given: Given) -> tuple[Int[Tensor, "game ply"], Int[Tensor, "reference ply"], str]:
    """Classes of the measured and of the reference positions (-1: in no mean), and what they are."""
    like = [torch.zeros_like(where, dtype=torch.int64) for where in (base.where, base.reference_where)]
    if not isinstance(given, str):
        for name, classes, zeros in zip(("games", "reference"), given, like, strict=True):
            if classes.shape != zeros.shape or classes.min() < 0:
                raise InputError(
                    f"the classes of the {name} are {list(classes.shape)}, from {int(classes.min())}: they must be "
                    f"numbers from 0, one for each position {list(zeros.shape)}"
                )
        return *given, "reference positions of the same class"
    if given == "everything":
        return *like, "all reference positions"
    if given == "ply":
        return *(zeros + torch.arange(N_CTX) for zeros in like), "reference positions of the same ply"
    word, _, fact = given.partition(" ")
    if word == "whether":
        sides = [base.holds(fact, reference).long() for reference in (False, True)]
        return *sides, f"reference positions that agree on whether {fact}"
    negated = word == "not"
    holds = base.holds(fact if negated else given, reference=True)
    return like[0], torch.where(holds ^ negated, 0, -1), f"reference positions with {given}"


def _means(
    base: Baseline, group: Group, classes: Tensor, where: Bool[Tensor, "reference ply"], counts: Tensor
) -> Tensor:
    sums: Tensor | float = 0.0
    plies = slice(0, base.plies.stop)
    for run in base.runs(reference=True):
        used = (where & (classes >= 0))[run.rows, plies]
        values = group.read(base.model, run.kept, plies)[used.to(base.model.device)].double()
        zeros = values.new_zeros(len(counts), *values.shape[1:])
        sums = sums + zeros.index_add_(0, classes[run.rows, plies][used].to(values.device), values)
    return (sums / counts.clamp(min=1).to(sums.device)[:, None, None]).float()


def _reference(base: Baseline, group: Group) -> Float[Tensor, "reference ply unit width"]:
    plies = slice(0, base.plies.stop)
    return torch.cat([group.read(base.model, run.kept, plies) for run in base.runs(reference=True)])


def _donors(
    ablated: Bool[Tensor, "game ply"], there: Bool[Tensor, "reference ply"], plies: int, seed: int
) -> Int[Tensor, "game ply"]:
    """The row of (reference game, ply), flattened, that each position takes."""
    generator = torch.Generator().manual_seed(seed)
    donor = torch.randint(len(there), (len(ablated),), generator=generator)
    row = torch.zeros_like(ablated, dtype=torch.int64)
    for ply in range(plies):
        able = there[:, ply].nonzero().flatten()
        if not len(able):
            if ablated[:, ply].any():
                raise InputError(f"no reference game has a position with a legal move at ply {ply}: give more of them")
            continue
        chosen = able[torch.searchsorted(able, donor) % len(able)]
        row[:, ply] = chosen * plies + ply
    return row
