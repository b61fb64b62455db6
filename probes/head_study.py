"""Everything known about every head of a model, in one bundle that is saved and loaded: what head pages are made from.

    study = study_heads(model, probes, train, held_out)     about a minute for the bundled model on two cores
    study                                                   the table of all heads, in Jupyter as in `print`
    study.summary("L2H5")                                   one head's headline figures beside their baselines

Means and probes are learnt on the training games; every figure is measured on the held-out games, with intervals over
them. What each figure is stands where it is computed: `circuits.head_attention`, `circuits.head_writing`,
`probes.heads`, `probes.head_ablation`.
"""

import json
import os
import time
from dataclasses import dataclass, fields
from hashlib import sha256

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from circuits.errors import InputError
from circuits.files import write_whole
from circuits.games import MIDDLE_BAND, Games
from circuits.head_attention import HeadAttention
from circuits.head_means import HeadMeans
from circuits.head_sources import CATEGORIES, FACTS
from circuits.head_writing import HeadWriting
from circuits.heads import HeadKind, kind_of, profile_heads
from circuits.notation import N_CTX, Unit, parse_unit
from circuits.othello_model import OthelloModel
from probes import head_table
from probes.head_ablation import CLASSES, GAMES, PLAY, HeadAblations, ablate_heads
from probes.heads import PASSES, HeadReading, read_heads
from probes.sets import ProbeSet

FORMAT = "othello-circuits heads 3"
_PARTS = {
    "means": HeadMeans, "attention": HeadAttention, "writing": HeadWriting, "reading": HeadReading,
    "ablations": HeadAblations,
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A held-out figure with its 95 % interval over games, and what it has to be compared with."""

    value: float
    low: float
    high: float
    baseline: float


@dataclass(frozen=True)
class HeadSummary:
    """One head's headline figures.

    Attributes:
        attends: attention to each category of sources; baseline: attention shared equally.
        input_dependence: total variation between its pattern and the mean pattern of the ply; baseline: between its
            pattern and uniform attention, how far there would be to go for a head without preferences.
        writes: its share of what tells a fact's two sides apart in the stream at its resid_mid, by fact; baseline: an
            equal share for each head of the layer of what the layer's heads write together.
        logit_gap: direct contribution to legal moves' logits less that to illegal ones on empty squares; baseline: the
            same of the whole final stream.
        read: share of squares read right from its output alone; baseline: the commonest class of square and ply.
        board: change, without it (replaced by its mean of the ply), of the share of squares read right at its own
            resid_mid and at the last layer's resid_post; baseline: the same amount written in a random direction.
        moves: change of each figure of play without it; baseline likewise.
        frozen: as ``board``, with only its pattern replaced by the mean pattern of the ply.
    """

    unit: Unit
    kind: HeadKind
    attends: dict[str, Figure]
    input_dependence: Figure
    writes: dict[str, Figure]
    logit_gap: Figure
    read: Figure
    board: dict[str, Figure]
    moves: dict[str, Figure]
    frozen: dict[str, Figure]


@dataclass(frozen=True, eq=False)
class HeadStudy:
    """All heads of one model; see the file's head. ``about`` is its provenance, ready for JSON."""

    means: HeadMeans
    attention: HeadAttention
    writing: HeadWriting
    reading: HeadReading
    ablations: HeadAblations
    about: dict

    @property
    def shape(self) -> tuple[int, int]:
        """(layers, heads)."""
        return tuple(self.attention.tv_uniform.shape)

    def unit(self, name: str | Unit) -> Unit:
        """Parse and check a head's name.

        Raises:
            InputError: no head of this model.
        """
        unit = parse_unit(name) if isinstance(name, str) else name
        layers, heads = self.shape
        if unit.kind != "head" or unit.layer >= layers or unit.index >= heads:
            raise InputError(f"{unit} is no head of this model: it has L0H0 to L{layers - 1}H{heads - 1}")
        return unit

    def kind(self, name: str | Unit) -> HeadKind:
        """What kind of head it is, and how sure."""
        unit = self.unit(name)
        return kind_of(self.attention, unit.layer, unit.index)

    def summary(self, name: str | Unit) -> HeadSummary:
        """One head's headline figures.

        Raises:
            InputError: no such head.
        """
        unit = self.unit(name)
        at, a, w, r, b = (unit.layer, unit.index), self.attention, self.writing, self.reading, self.ablations
        points = {"own": 0, "last": self.shape[0]}
        every = CLASSES.index("all")

        def change(method: str, point: int) -> Figure:
            control = b.board[b["random direction"]][at][point, every, 0] if "random direction" in b.methods else None
            return _figure(b.board[b[method]][at][point, every], torch.nan if control is None else control)

        control = b.play[b["random direction"]][at][:, 0] if "random direction" in b.methods else [torch.nan] * 4
        share = w.separation_share[unit.layer, :, :, 0].mean(0)
        return HeadSummary(
            unit=unit,
            kind=self.kind(unit),
            attends={name: _figure(a.to[at][i], a.uniform[i]) for i, name in enumerate(CATEGORIES)},
            input_dependence=_figure(a.tv[at], a.tv_uniform[at]),
            writes={fact: _figure(w.separation_share[at][i], share[i]) for i, fact in enumerate(FACTS)},
            logit_gap=_figure(w.logit_gap[at], w.logit_gap_total[0]),
            read=_figure(r.accuracy[at], r.constant_square_ply),
            board={name: change("mean", point) for name, point in points.items()},
            moves={name: _figure(b.play[b["mean"]][at][i], control[i]) for i, name in enumerate(PLAY)},
            frozen={name: change("frozen pattern", point) for name, point in points.items()},
        )

    def table(self) -> str:
        """All heads as text."""
        return head_table.text(self)

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        layers, heads = self.shape
        return f"HeadStudy({layers * heads} heads of {self.about['model']}, {self.about['games']} held-out games)"

    def _repr_html_(self) -> str:
        return head_table.as_html(self)

    # ---- files -----------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> None:
        """One safetensors file, whole or not at all.

        Raises:
            InputError: it cannot be written.
        """
        tensors, plain = {}, {}
        for part in _PARTS:
            for field in fields(_PARTS[part]):
                value = getattr(getattr(self, part), field.name)
                (tensors if isinstance(value, Tensor) else plain)[f"{part}.{field.name}"] = value
        header = {"format": FORMAT, "about": self.about, "plain": plain}
        ready = {name: tensor.contiguous() for name, tensor in tensors.items()}
        with write_whole(path) as temporary:
            temporary.write_bytes(to_bytes(ready, metadata={"heads": json.dumps(header)}))

    @staticmethod
    def load(path: str | os.PathLike) -> "HeadStudy":
        """The inverse of `save`.

        Raises:
            InputError: missing, corrupted, or not a study of heads.
        """
        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads((file.metadata() or {}).get("heads", "{}"))
                if header.get("format") != FORMAT:
                    raise InputError(f"{path} is not a study of heads ({FORMAT!r})")
                values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            values |= {name: _plain(value) for name, value in header["plain"].items()}
            wanted = {f"{part}.{field.name}" for part, kind in _PARTS.items() for field in fields(kind)}
            if set(values) != wanted:
                raise InputError(f"{path}: {min(set(values) ^ wanted)!r} is missing or unknown")
            parts = {
                part: kind(**{field.name: values[f"{part}.{field.name}"] for field in fields(kind)})
                for part, kind in _PARTS.items()
            }
            return HeadStudy(**parts, about=dict(header["about"]))
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            reason = (str(error).splitlines() or [""])[0]
            raise InputError(f"{path} cannot be read as a study of heads ({type(error).__name__}: {reason})") from None


def study_heads(
    model: OthelloModel,
    probes: ProbeSet,
    train: Games,
    held_out: Games,
    *,
    band: slice = MIDDLE_BAND,
    ablation_games: dict[str, int] | None = None,
    random_weights: bool = True,
    seed: int = 0,
    progress: str | None = None,
) -> HeadStudy:
    """Study every head.

    Args:
        probes: the model's; what is read at a point where they have none is NaN.
        train, held_out: disjoint games.
        ablation_games: held-out games for each way of replacing a head (`probes.head_ablation.GAMES`).
        random_weights: whether reading is compared with a model of random weights too.

    Raises:
        InputError: probes of another model; a game on both sides; no position in the band.
    """
    start = time.perf_counter()
    probes.check(model)
    found = {
        hook: probes.directions(hook, tuple(f for f in ("board", *FACTS[2:]) if (f, hook) in probes))
        for hook in probes.hooks("board")
    }
    profiles = profile_heads(model, train, held_out, found, band=band, progress=progress)
    reading = read_heads(
        model, probes, train, held_out, band=band, random_weights=random_weights, seed=seed, progress=progress
    )
    games = GAMES if ablation_games is None else ablation_games
    ablations = ablate_heads(model, probes, profiles.means, train, held_out, band=band, games=games, seed=seed)
    first, last, _ = band.indices(N_CTX)
    about = {
        "model": model.name,
        "model_hash": model.hash,
        "fingerprint": held_out.fingerprint,
        "source": held_out.source,
        "first_ply": first,
        "last_ply": last - 1,
        "seed": seed,
        "train_games": len(train),
        "games": len(held_out),
        "positions": profiles.attention.positions,
        "probes": probes.about,
        "ablation_games": dict(zip(ablations.methods, ablations.games.tolist(), strict=True)),
        "seconds": round(time.perf_counter() - start, 1),
    }
    return HeadStudy(profiles.means, profiles.attention, profiles.writing, reading, ablations, about)


def fingerprint(probes: ProbeSet) -> str:
    """16 hex digits over the probes' weights and a study's settings: what it depends on beside model and games."""
    digest = sha256(repr((PASSES, GAMES)).encode())
    for probe in probes.probes:
        digest.update(repr(probe.key).encode())
        for tensor in (probe.weight, probe.bias):
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _figure(interval: Tensor, baseline: float | Tensor) -> Figure:
    return Figure(*(float(x) for x in interval), float(baseline))


def _plain(value):
    return tuple(value) if isinstance(value, list) else value
