"""What a training run is: sizes, objective, optimiser, schedule, data; checked before anything is computed.

Sizes by name:
    paper   8 layers, 512 wide, 8 heads, 2048 neurons a layer (Li et al. 2023, 25 M parameters)
    mini    8 layers, 256 wide, 8 heads, 1024 neurons a layer (6.4 M)
    nano    4 layers, 128 wide, 4 heads, 512 neurons a layer (0.8 M), for short experiments
"""

import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace

from circuits.checkpoints import ACTIVATIONS, Shape
from circuits.errors import InputError
from circuits.training.lessons import OBJECTIVES, TRAINING_SEEDS

SIZES = {
    "paper": Shape(n_layers=8, d_model=512, n_heads=8, d_head=64, d_mlp=2048),
    "mini": Shape(n_layers=8, d_model=256, n_heads=8, d_head=32, d_mlp=1024),
    "nano": Shape(n_layers=4, d_model=128, n_heads=4, d_head=32, d_mlp=512),
}
OPTIMISERS = ("muon", "adamw")
PRECISIONS = ("bf16", "fp32")
#: learning rates where none is given: of matrices under Muon, of everything else beside it, of AdamW alone
LEARNING_RATES = {"muon": 0.01, "rest": 0.002, "adamw": 0.001}
#: the default weight decays: of matrices under Muon (benchmarks/SPECIMENS.md), and of AdamW alone (as in minGPT)
WEIGHT_DECAYS = {"muon": 0.2, "adamw": 0.1}
#: a part of a model that can be frozen
_PART = re.compile(r"embed|pos_embed|ln_final|unembed|init|L\d+(-L?\d+)?")


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Attributes:
        shape: sizes of the model, without ``add_layers``; with ``init`` those of the model started from.
        objective: ``"legal"`` or ``"sampled"`` (see `circuits.training.lessons`).
        games: how many games are shown in all.
        batch: games a step, over all processes.
        optimiser: ``"muon"`` (the matrices of the blocks; AdamW on the rest) or ``"adamw"``.
        lr, lr_rest: peak learning rates; None: `LEARNING_RATES`.
        weight_decay: of matrices; None: `WEIGHT_DECAYS`. Biases, LayerNorms and embeddings never decay.
        warmup: steps over which the rates rise; ``decay``: the last fraction of the run, over which they fall
            linearly to ``final`` of their peak.
        dropout: probability; ``dropout_until``: the share of the run after which nothing is dropped any more (what
            dropout does to neurons stays, what it costs in play comes back: benchmarks/SPECIMENS.md).
        clip: the largest gradient norm.
        seed: of weights, games and dropout.
        precision: ``"bf16"`` (autocast) or ``"fp32"``.
        games_file: a file of games to train on in place of fresh random ones; ``notation`` of a text file.
        symmetries: show file games in the four orientations that keep the start position.
        held_out: the share of a file's games that is held out.
        patience: stop early after so many evaluations without a lower held-out loss, and keep the best weights;
            0 never stops.
        init: a model to go on from; ``freeze``: parts that do not learn (``embed``, ``pos_embed``, ``L3``,
            ``L0-L5``, ``ln_final``, ``unembed``, or ``init``: all that came with ``init``); ``add_layers``: new layers
            on top, which at first change nothing.
        log_every: steps between lines of the log; ``eval_every``: games between evaluations (0: at checkpoints);
            ``eval_games``: games of each; ``final_eval_games``: of the last one.
        first_checkpoint: games at which the first checkpoint is kept; then at each doubling.
    """

    shape: Shape = SIZES["mini"]
    objective: str = "legal"
    games: int = 1_000_000
    batch: int = 128
    optimiser: str = "muon"
    lr: float | None = None
    lr_rest: float | None = None
    weight_decay: float | None = None
    warmup: int = 100
    decay: float = 0.5
    final: float = 0.02
    dropout: float = 0.0
    dropout_until: float = 1.0
    clip: float = 1.0
    seed: int = 0
    precision: str = "bf16"
    games_file: str | None = None
    notation: str = "ours"
    symmetries: bool = False
    held_out: float = 0.1
    patience: int = 0
    init: str | None = None
    freeze: tuple[str, ...] = ()
    add_layers: int = 0
    log_every: int = 20
    eval_every: int = 0
    eval_games: int = 500
    final_eval_games: int = 10_000
    first_checkpoint: int = 1000

    def __post_init__(self) -> None:
        positive = ("games", "batch", "log_every", "eval_games", "final_eval_games", "first_checkpoint")
        for name in positive:
            _check(getattr(self, name) >= 1, name, getattr(self, name), "a whole number of at least 1")
        for name in ("warmup", "eval_every", "add_layers", "patience", "seed"):
            _check(getattr(self, name) >= 0, name, getattr(self, name), "a whole number of at least 0")
        for name, known in (("objective", OBJECTIVES), ("optimiser", OPTIMISERS), ("precision", PRECISIONS)):
            _check(getattr(self, name) in known, name, getattr(self, name), " or ".join(known))
        for name in ("lr", "lr_rest"):
            value = getattr(self, name)
            _check(value is None or 0 < value < 10, name, value, "above 0 and below 10")
        _check(self.weight_decay is None or 0 <= self.weight_decay < 10, "weight_decay", self.weight_decay, "0 to 10")
        _check(0 <= self.decay <= 1, "decay", self.decay, "a fraction of the run, 0 to 1")
        _check(0 <= self.final <= 1, "final", self.final, "a fraction of the peak rate, 0 to 1")
        _check(0 <= self.dropout <= 0.9, "dropout", self.dropout, "a probability from 0 to 0.9")
        _check(0 <= self.dropout_until <= 1, "dropout_until", self.dropout_until, "a fraction of the run, 0 to 1")
        if self.dropout_until < 1 and not self.dropout:
            raise InputError(f"dropout_until {self.dropout_until}: there is no dropout to end; give --dropout")
        _check(0 < self.clip < math.inf, "clip", self.clip, "a positive gradient norm")
        _check(0 < self.held_out < 1, "held_out", self.held_out, "a fraction between 0 and 1")
        _check(self.seed < TRAINING_SEEDS, "seed", self.seed, "below 2^40")
        for part in self.freeze:
            known = "embed, pos_embed, ln_final, unembed, init, or layers as in L3 or L0-L5"
            _check(bool(_PART.fullmatch(part)), "freeze", part, known)
        if "init" in self.freeze and self.init is None:
            raise InputError("freeze init: there is no --init whose weights could be frozen")
        if self.symmetries and self.games_file is None:
            raise InputError("symmetries are for games of a file; random games come in every orientation anyway")
        if self.patience and self.games_file is None:
            raise InputError("patience is for games of a file: fresh random games cannot be overfitted")

    @property
    def full_shape(self) -> Shape:
        return replace(self.shape, n_layers=self.shape.n_layers + self.add_layers)

    @property
    def steps(self) -> int:
        return math.ceil(self.games / self.batch)

    @property
    def rates(self) -> tuple[float, float]:
        """Peak learning rates of the matrices and of the rest."""
        lr = LEARNING_RATES[self.optimiser] if self.lr is None else self.lr
        rest = LEARNING_RATES["rest"] if self.optimiser == "muon" else lr
        return lr, rest if self.lr_rest is None else self.lr_rest

    @property
    def matrix_decay(self) -> float:
        return WEIGHT_DECAYS[self.optimiser] if self.weight_decay is None else self.weight_decay

    def settled(self) -> "TrainConfig":
        """The same run with the defaults that depend on the optimiser written out, as they are at this version."""
        lr, lr_rest = self.rates
        return replace(self, lr=lr, lr_rest=lr_rest, weight_decay=self.matrix_decay)

    def dropout_at(self, step: int) -> float:
        """The probability of dropout at a step."""
        return self.dropout if step < self.dropout_until * self.steps else 0.0

    def rate_factor(self, step: int) -> float:
        """The share of the peak learning rates at a step: warm-up, constant, linear decay."""
        rise = (step + 1) / self.warmup if self.warmup else 1.0
        left = 1 - step / self.steps
        fall = 1.0 if not self.decay else self.final + (1 - self.final) * left / self.decay
        return min(1.0, rise, fall)

    def checkpoints(self) -> list[int]:
        """The numbers of games at which a checkpoint is kept: doublings of the first, and the end."""
        at, found = self.first_checkpoint, []
        while at < self.games:
            found.append(at)
            at *= 2
        return [*found, self.steps * self.batch]

    def to_dict(self) -> dict:
        return asdict(self)

    @staticmethod
    def from_dict(values: dict) -> "TrainConfig":
        """A configuration from `to_dict`; a setting that did not exist yet when it was written has its default.

        Raises:
            InputError: not what `to_dict` gave.
        """
        try:
            unknown = set(values) - {f.name for f in fields(TrainConfig)}
            if unknown:
                raise TypeError(f"unknown fields: {', '.join(sorted(unknown))}")
            return TrainConfig(
                **values | {"shape": Shape(**values["shape"]), "freeze": tuple(values["freeze"])},
            )
        except (TypeError, KeyError) as error:
            raise InputError(f"no configuration of a training run ({error})") from None


def _check(holds: bool, name: str, value: object, right: str) -> None:
    if not holds:
        raise InputError(f"{name} {value}: it must be {right}")


def shape_of(
    size: str | None = None,
    *,
    layers: int | None = None,
    width: int | None = None,
    heads: int | None = None,
    mlp: int | None = None,
    act: str | None = None,
) -> Shape:
    """A named size with any of its dimensions replaced; ``mlp`` defaults to 4 x ``width``, heads to the size's.

    Raises:
        InputError: no such size or activation; heads that do not divide the width.
    """
    if size is not None and size not in SIZES:
        raise InputError(f"unknown size {size!r}: it is {', '.join(SIZES)}")
    if act is not None and act not in ACTIVATIONS:
        raise InputError(f"unknown activation {act!r}: it is one of {', '.join(ACTIVATIONS)}")
    base = SIZES[size or "mini"]
    d_model, n_heads = width or base.d_model, heads or base.n_heads
    for name, value in (("layers", layers), ("width", width), ("heads", heads), ("mlp", mlp)):
        if value is not None and value < 1:
            raise InputError(f"{name} {value}: it must be a positive integer")
    if d_model % n_heads:
        raise InputError(f"{n_heads} heads do not divide the width {d_model}: give another --heads")
    return replace(
        base,
        n_layers=layers or base.n_layers,
        d_model=d_model,
        n_heads=n_heads,
        d_head=d_model // n_heads,
        d_mlp=mlp or (4 * width if width else base.d_mlp),
        act=act or base.act,
    )


def frozen_layers(parts: Iterable[str]) -> set[int]:
    """The layers that ``L3`` and ``L0-L5`` name."""
    layers: set[int] = set()
    for part in parts:
        if part.startswith("L"):
            first, _, last = part.replace("L", "").partition("-")
            layers |= set(range(int(first), int(last or first) + 1))
    return layers
