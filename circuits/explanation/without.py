"""What a model does at one position without some units: set to their means at this ply, everything behind recomputed.

For a transcript, a position at its end and any neurons and heads:

    base, changed   the probabilities of all moves, the board that every point's probe reads, how legal the moves are
    KL              sum over all 61 tokens of p_base ln(p_base / p_changed), in nats
    controls        the same KL for drawn sets: random units, and units that write as much (`set_to_means`)

All runs share one pass, so that no units change exactly nothing.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from circuits.bitboards import bits_to_bool
from circuits.board_readers import BoardReader
from circuits.errors import InputError
from circuits.explanation.describe import position_of
from circuits.explanation.explain import DRAWS
from circuits.explanation.records import Position, Reference, Spread
from circuits.explanation.run import Run, checkpoint_of, run_position
from circuits.explanation.set_to_means import random_units, set_to_means, sizes, units_alike
from circuits.games import Games
from circuits.notation import LABELS, SQUARE_TOKEN, TOKEN_SQUARE, Unit
from circuits.othello_model import OthelloModel
from circuits.serial import Record


@dataclass(frozen=True)
class Read(Record):
    """What one point's probe reads.

    Attributes:
        board: the most probable state of every square, 0 empty, 1 theirs, 2 mine; probability: that it gives it.
        right: of 64; mean: squares right of reference positions at this ply, nothing changed.
    """

    point: str
    board: Annotated[tuple[int, ...], 64]
    probability: Annotated[tuple[float, ...], 64]
    right: int
    mean: float


@dataclass(frozen=True)
class Outcome(Record):
    """What comes out of one run.

    Attributes:
        probabilities: by square; None at the centre.
        legal_mass: the probability of all legal moves together.
        likeliest: as many moves as are legal, the likeliest first.
        error: illegal ones among them, and legal ones that are missing.
    """

    probabilities: Annotated[tuple[float | None, ...], 64]
    legal_mass: float
    likeliest: tuple[str, ...]
    error: int
    readings: tuple[Read, ...]


@dataclass(frozen=True)
class AtMean(Record):
    """A unit that is set to its mean: a neuron's activation here and its mean at this ply; None for a head."""

    unit: str
    activation: float | None
    mean: float | None


@dataclass(frozen=True)
class Without(Record):
    """A position with some units at their means; see the module's docstring.

    Attributes:
        checkpoint: the point whose probe reads the reference games best at this ply, of equals the middle one.
        kl: of the changed probabilities from the base's, nats; random, alike: of ``draws`` drawn sets each.
    """

    VERSION: ClassVar[int] = 1

    version: int
    position: Position
    units: tuple[AtMean, ...]
    checkpoint: str
    base: Outcome
    changed: Outcome
    kl: float
    random: Spread
    alike: Spread
    draws: int
    seed: int
    reference: Reference


def without(
    model: OthelloModel,
    tokens: Integer[Tensor, "ply"],
    readers: Mapping[str, BoardReader],
    games: Games,
    units: str | Iterable[str | Unit],
    draws: int = DRAWS,
    seed: int = 0,
) -> Without:
    """Set units to their means at one position.

    Args:
        tokens: the game so far, each move legal, nothing behind it.
        readers: the board probes by point, in the order of the stream.
        games: those that means are taken over, at this ply.
        units: neurons and heads, "L5N404 L2H5" or names; none change nothing.
        draws: sets drawn for each control; seed: of the draws.

    Raises:
        InputError: as `circuits.explanation.run.run_position`; a name that is no unit's, one that comes twice.
    """
    chosen = named_units(model, units)
    return without_units(run_position(model, tokens, readers, games), chosen, games, draws, seed)


def named_units(model: OthelloModel, units: str | Iterable[str | Unit]) -> tuple[Unit, ...]:
    """The units of a text, apart by commas or spaces, or of names.

    Raises:
        InputError: a name that is no unit's, or not of this model's; one that comes twice.
    """
    names = [name for name in re.split(r"[\s,;]+", units) if name] if isinstance(units, str) else units
    found: list[Unit] = []
    for name in names:
        unit = model.unit(name)
        if unit in found:
            raise InputError(f"{unit} is named twice: a unit is set to its mean once")
        found.append(unit)
    return tuple(found)


def without_units(run: Run, units: Sequence[Unit], games: Games, draws: int = DRAWS, seed: int = 0) -> Without:
    """`without` for a position that is run already.

    Args:
        games: what the run's means are of.
    """
    size = sizes(run.model, run.acts, run.means.acts)
    drawn = [random_units(run.model, units, draws, seed), units_alike(run.model, units, size, draws, seed)]
    sets: list[Sequence[Unit]] = [(), units]
    if units:  # no units have no controls: every drawn set would be empty too
        sets += [*drawn[0], *drawn[1]]
    logits, saved = set_to_means(run.last, sets, run.means.acts, list(run.readers))
    logp = logits.double().log_softmax(-1).cpu()
    kl = (logp[0].exp() * (logp[0] - logp)).sum(-1).clamp(min=0)  # below 0 by rounding alone
    if not units:
        logp[1], kl = logp[0], torch.zeros(2 + 2 * draws, dtype=torch.float64)
        saved = {point: x[[0, 0]] for point, x in saved.items()}
    outcomes = [_outcome(run, logp[i], {point: x[i] for point, x in saved.items()}) for i in (0, 1)]
    return Without(
        version=Without.VERSION,
        position=position_of(run),
        units=tuple(_at_mean(run, unit) for unit in units),
        checkpoint=checkpoint_of(run),
        base=outcomes[0],
        changed=outcomes[1],
        kl=float(kl[1]),
        random=_spread(kl[2 : 2 + draws]),
        alike=_spread(kl[2 + draws :]),
        draws=draws,
        seed=seed,
        reference=Reference(games.source, len(games), run.means.positions),
    )


def _outcome(run: Run, logp: Float[Tensor, "token"], saved: Mapping[str, Tensor]) -> Outcome:
    probabilities = logp.exp()
    legal = bits_to_bool(run.boards.legal)[0, run.ply][TOKEN_SQUARE[1:]]
    first = logp[1:].argsort(descending=True, stable=True)[: int(legal.sum())]
    truth, readings = torch.tensor(run.board), []
    for point, reader in run.readers.items():
        probability, board = reader(saved[point]).double().softmax(-1).cpu().max(-1)
        readings.append(
            Read(point, tuple(board.tolist()), tuple(probability.tolist()), int((board == truth).sum()),
                 run.means.right[point])
        )  # fmt: skip
    return Outcome(
        probabilities=tuple(float(probabilities[t]) if t else None for t in SQUARE_TOKEN.tolist()),
        legal_mass=float(probabilities[1:][legal].sum()),
        likeliest=tuple(LABELS[int(TOKEN_SQUARE[1 + i])] for i in first.tolist()),
        error=2 * int((~legal[first]).sum()),
        readings=tuple(readings),
    )


def _at_mean(run: Run, unit: Unit) -> AtMean:
    if unit.kind == "head":
        return AtMean(str(unit), None, None)
    here, mean = (float(acts.neurons[unit.layer, unit.index]) for acts in (run.acts, run.means.acts))
    return AtMean(str(unit), here, mean)


def _spread(values: Float[Tensor, "draw"]) -> Spread:
    return Spread(float(values.mean()), float(values.min()), float(values.max()))
