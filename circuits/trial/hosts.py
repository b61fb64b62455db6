"""A copy of a model with extra neurons in one layer, each of a known rule and a known output.

A probe that knows nothing of the model's own neurons says where a literal is read. With n the normalised stream that
the layer's MLP reads, and for the literals l_1..l_k of a conjunction

    u_j     direction of the literal, in the span of the probe's, that reads no other square (`pure_reading`)
    r_j(n)  = (n . u_j - f_j) / (h_j - f_j)     f_j, h_j: means of n . u_j where l_j fails and where it holds
    pre     = gain (sum_j r_j(n) - theta)       theta between k - 1 and k: of most F1 on the probe's games
    y       = act(pre)                          the model's own non-linearity

and what it writes is ``strength`` times a unit direction: a move's column of the unembedding, a square's class vector
of the probe, or another neuron's reading weights. The other layers get as many neurons that read and write nothing, as
a shape has one width; the model's raw weights are otherwise the original's, so it has a hash of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.board_readers import BoardReader
from circuits.causes.incremental import normalised
from circuits.checkpoints import Checkpoint
from circuits.directions import unit
from circuits.errors import InputError
from circuits.fact_scores import best_threshold
from circuits.games import MIDDLE_BAND, Games
from circuits.lean_pass import entering, middle
from circuits.notation import SQUARE_TOKEN
from circuits.plain import PlainModel, build
from circuits.rules import Claim, Effect, Or, Rule
from circuits.rules.bits import Packed
from circuits.trial.pure_reading import PureReading
from circuits.verdicts.neighbours import literals

CLASSES = ("empty", "theirs", "mine")
#: pre-activation gained for each literal: with the threshold half-way the neuron is on at 2 and off at -2
GAIN = 4.0
#: the norm of what it writes, one and a half times the bundled model's median
STRENGTH = 6.0
BATCH = 64


@dataclass(frozen=True, eq=False)
class PlantedModel:
    """A model with planted neurons.

    Attributes:
        model: the copy; layer: where they are; claims: what was planted, in the order of the neurons.
        f1: of each, "its pre-activation is above the threshold" against its rule, on the probe's games.
    """

    model: PlainModel
    layer: int
    claims: tuple[Claim, ...]
    f1: tuple[float, ...]

    @property
    def units(self) -> tuple[str, ...]:
        first = self.model.shape.d_mlp - len(self.claims)
        return tuple(f"L{self.layer}N{first + i}" for i in range(len(self.claims)))


class Bed:
    """Where neurons are to be planted: what the layer reads at the positions of the probe's games.

    Args:
        checkpoint: the model's raw weights; layer: where.
        reader: a board probe of the middle of this layer (``blocks.L.hook_resid_mid``), on the processed stream.
        games: those that the probe was trained on, or some of them; thresholds are taken on them.

    Raises:
        InputError: a probe of another point.
    """

    def __init__(
        self, checkpoint: Checkpoint, reader: BoardReader, games: Games, layer: int, band: slice = MIDDLE_BAND
    ):
        hook = f"blocks.{layer}.hook_resid_mid"
        if reader.hook != hook:
            raise InputError(f"neurons of layer {layer} read {hook}; the probe given is of {reader.hook}")
        self.checkpoint, self.reader, self.layer = checkpoint, reader, layer
        self.model = build(checkpoint.shape, checkpoint.weights, checkpoint.card, checkpoint.name, check=False)
        self.n, self.packed = _reads(self.model, layer, games, band)
        self.reading = PureReading(reader, self.n, self.packed)

    def fits(self, rule: Rule) -> float:
        """F1 of a neuron's pre-activation, against its threshold, if this conjunction were planted."""
        return _reading(rule, self, GAIN)[2]

    def plant(self, claims: Sequence[Claim], gain: float = GAIN, strength: float = STRENGTH) -> PlantedModel:
        """The model with a neuron for each claim.

        Args:
            claims: conjunctions of squares' states, occupied, and negations, and what each neuron writes.

        Raises:
            InputError: a rule that is no such conjunction, that these games do not have or the probe does not read; an
                effect on a unit that does not come after.
        """
        read = [_reading(claim.rule, self, gain) for claim in claims]
        weights, biases, f1 = zip(*read, strict=True)
        writes = [strength * _writing(claim.effects, self.reader, self.model, self.layer) for claim in claims]
        raw = _with_neurons(
            self.checkpoint, self.layer, torch.stack(weights, 1), torch.tensor(biases), torch.stack(writes)
        )
        shape = replace(self.checkpoint.shape, d_mlp=self.checkpoint.shape.d_mlp + len(claims))
        name = f"{self.checkpoint.name} with {len(claims)} planted neurons in L{self.layer}"
        return PlantedModel(build(shape, raw, {"name": name}, name), self.layer, tuple(claims), f1)


def positions(games: Games, band: slice) -> Packed:
    """The valid positions of a band of plies."""
    boards = games.boards()
    where = torch.zeros_like(boards.valid)
    where[:, band] = boards.valid[:, band]
    return Packed(boards, where)


def _reads(model: PlainModel, layer: int, games: Games, band: slice) -> tuple[Float[Tensor, "n d_model"], Packed]:
    """The normalised stream that a layer's MLP reads at the positions of the band, and these."""
    packed, found = positions(games, band), []
    for tokens, rows in zip(games.inputs.split(BATCH), packed.where.split(BATCH), strict=True):
        mid = middle(model, layer, entering(model, tokens[:, : band.stop], layer))
        found.append(normalised(mid, model.shape.eps)[rows[:, : band.stop]])
    return torch.cat(found), packed


def _reading(rule: Rule, bed: Bed, gain: float) -> tuple[Float[Tensor, "d_model"], float, float]:
    """Weights and bias on the processed stream, and how well the threshold fits."""
    parts, n, packed = literals(rule), bed.n, bed.packed
    if isinstance(rule, Or) or any(isinstance(part, Or) for part in getattr(rule, "rules", ())):
        raise InputError(f"{rule} cannot be planted in one neuron: give a conjunction")
    holds = packed.holds(rule)
    if not holds.any() or holds.all():
        raise InputError(f"{rule} holds at {int(holds.sum())} of {packed.n:,} positions of the probe's games")
    w, offset = torch.zeros(n.shape[1]), 0.0
    for literal in parts:
        u, here = bed.reading.direction(literal), packed.holds(literal)
        x = n @ u
        high, low = float(x[here].mean()), float(x[~here].mean())
        if high <= low:
            raise InputError(f"the probe does not read {literal}: it is no higher where it holds")
        w += u / (high - low)
        offset += low / (high - low)
    read = n @ w - offset
    # The threshold of most F1, kept to where all of the literals but one at most can be missing.
    theta = min(max(best_threshold(read, holds), len(parts) - 1.0), float(len(parts)))
    on = read > theta
    f1 = 2 * int((on & holds).sum()) / max(int(on.sum()) + int(holds.sum()), 1)
    return gain * w, -gain * (offset + theta), f1


def _writing(effects: Sequence[Effect], reader: BoardReader, model: PlainModel, layer: int) -> Float[Tensor, "d_model"]:
    """The sum of the effects' unit directions; nothing where a claim names none."""
    return sum((_written(effect, reader, model, layer) for effect in effects), torch.zeros(model.shape.d_model))


def _written(effect: Effect, reader: BoardReader, model: PlainModel, layer: int) -> Float[Tensor, "d_model"]:
    if effect.kind == "logit":
        vector = model.W_U[:, int(SQUARE_TOKEN[effect.square])]
    elif effect.kind == "reading":
        vector = reader.classes[effect.square, CLASSES.index(effect.name)]
    else:
        target = model.unit(effect.name)
        if target.layer <= layer:
            raise InputError(f"{target} does not come after layer {layer}: it cannot be written to")
        vector = model.W_in(target.layer)[:, target.index]
    return effect.sign * unit(vector[None])[0]


def _with_neurons(
    checkpoint: Checkpoint, layer: int, w: Float[Tensor, "d_model k"], b: Float[Tensor, "k"],
    writes: Float[Tensor, "k d_model"],
) -> dict[str, Tensor]:  # fmt: skip
    """Raw weights that give these on the processed stream: folding multiplies by ln2's weight and adds its bias."""
    raw = dict(checkpoint.weights)
    for block in range(checkpoint.shape.n_layers):
        mlp, own = f"blocks.{block}.mlp", block == layer
        scale, shift = raw[f"blocks.{block}.ln2.w"], raw[f"blocks.{block}.ln2.b"]
        if own and float(scale.abs().min()) < 1e-3:
            raise InputError(
                f"layer {layer} has a LayerNorm weight of {float(scale.abs().min()):.1g}: it cannot be undone"
            )
        read = w / scale[:, None] if own else torch.zeros_like(w)
        bias = b - shift @ read if own else torch.zeros_like(b)
        write = writes if own else torch.zeros_like(writes)
        raw[f"{mlp}.W_in"] = torch.cat([raw[f"{mlp}.W_in"], read], 1)
        raw[f"{mlp}.b_in"] = torch.cat([raw[f"{mlp}.b_in"], bias])
        raw[f"{mlp}.W_out"] = torch.cat([raw[f"{mlp}.W_out"], write])
    return raw
