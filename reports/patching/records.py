"""What patching found, as a record: the page and the JSON are made of it alone.

Numbers that are not there (an interval over one game, a share of no difference) are None, null in JSON.
"""

import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import ClassVar

from circuits.causes.effects import Summary, summarise
from circuits.causes.metrics import Metric
from circuits.causes.nodes import STREAM, Node
from circuits.causes.pairs import Pairs
from circuits.causes.patch_results import DIRECTIONS, Patched
from circuits.causes.patching import sweep
from circuits.causes.subspaces import SubspacePatch
from circuits.errors import InputError
from circuits.othello_model import OthelloModel
from circuits.serial import Record
from reports.patching.pair_records import PairsRecord, pairs_record

PACKAGES = ("torch", "othello-circuits")
LAYER_NORM = "folded weights; recomputed in the patched run"


@dataclass(frozen=True)
class Origin(Record):
    """How it was made, and how to make it again."""

    model_name: str
    model_hash: str
    n_layers: int
    d_model: int
    n_heads: int
    d_mlp: int
    layer_norm: str
    seed: int
    versions: dict[str, str]
    command: str
    python: str


@dataclass(frozen=True)
class Estimate(Record):
    """A mean over pairs, its 95 % bootstrap interval over games, its share of the total, and sign-flip p-values.

    No share is given where the total's own interval holds zero: nothing is a share of next to nothing.
    """

    mean: float
    low: float | None
    high: float | None
    share: float | None
    p: float
    p_family: float


@dataclass(frozen=True)
class EffectRow(Record):
    """One place patched at one ply (as aligned; None: at every ply together), in one direction."""

    place: str
    kind: str  # of the node, as in `circuits.causes.nodes`; "subspace", or "set" where several were patched together
    layer: int | None
    ply: int | None
    direction: str
    mean: float
    low: float | None
    high: float | None
    share: float | None
    p: float
    p_family: float


@dataclass(frozen=True)
class ReaderRecord(Record):
    """How one reader of the stream sees a subspace; see `circuits.causes.subspaces.Reader`."""

    name: str
    rank: int
    null_share: float
    null_share_random: float
    gain: float


@dataclass(frozen=True)
class SubspaceRecord(Record):
    """A checkpoint subspace beside its controls; estimates by control, then direction."""

    name: str
    point: str
    dimension: int
    draws: int
    estimates: dict[str, dict[str, Estimate]]  # subspace, whole, rest, random, beyond random
    readers: tuple[ReaderRecord, ...]


@dataclass(frozen=True)
class PatchRecord(Record):
    """Everything that a page of patching shows."""

    VERSION: ClassVar[int] = 1

    version: int
    metric: str
    point: str
    read_at: str
    clean: float  # mean metric of the clean runs
    corrupt: float
    total: Estimate  # clean - corrupt
    directions: tuple[str, ...]
    what: tuple[str, ...]
    by_ply: bool
    align: str
    plies: int  # how many columns a heatmap has
    rows: tuple[EffectRow, ...]
    subspaces: tuple[SubspaceRecord, ...]
    pairs: PairsRecord
    origin: Origin


def patch_record(
    model: OthelloModel,
    patched: Patched | None,
    subspaces: Sequence[SubspacePatch] = (),
    *,
    runs: Patched | None = None,
    align: str | None = None,
    seed: int = 0,
    command: str = "",
    python: str = "",
) -> PatchRecord:
    """The record of a sweep, of patched subspaces of the same pairs and metric, or both.

    Args:
        runs: without a sweep, what `unpatched` gives.
        align: how plies are counted: "ply", "end" or "first difference"; by default "ply" where every pair is read at
            the same ply, else "end".
    """
    runs = patched if patched is not None else runs
    if runs is None:
        raise InputError("a record of patching needs a sweep, or the unpatched runs beside its subspaces")
    pairs, clean, corrupt, read = runs.pairs, runs.clean, runs.corrupt, runs.read
    align = align or ("ply" if int(read.min()) == int(read.max()) else "end")
    total = estimates(summarise(clean - corrupt, pairs.game), 1.0)[0]
    rows: tuple[EffectRow, ...] = ()
    if patched is not None:
        nodes = dict(zip(patched.names, patched.places, strict=True))
        rows = tuple(_effect(row, nodes[row.place], differs(total)) for row in patched.rows(align))
    same = int(read.min()) == int(read.max())
    return PatchRecord(
        version=PatchRecord.VERSION,
        metric=runs.metric,
        point=runs.point,
        read_at=f"ply {int(read.min())}" if same else "each pair's last ply",
        clean=float(clean.mean()),
        corrupt=float(corrupt.mean()),
        total=total,
        directions=patched.directions if patched is not None else subspaces[0].directions,
        what=tuple(patched.names) if patched is not None else (),
        by_ply=patched.by_ply if patched is not None else False,
        align=align,
        plies=patched.effects.shape[2] if patched is not None else 0,
        rows=rows,
        subspaces=tuple(subspace_record(s, differs(total)) for s in subspaces),
        pairs=pairs_record(pairs, clean, corrupt),
        origin=origin(model, seed, command, python),
    )


def unpatched(model: OthelloModel, pairs: Pairs, metric: Metric) -> Patched:
    """The metric in the two runs of every pair, as the sweep of the one place where it is read."""
    parts = metric.point.split(".")
    place = (
        Node(parts[2].rpartition("_")[2], int(parts[1])) if len(parts) == 3 else Node("post", model.shape.n_layers - 1)
    )
    return sweep(model, pairs, metric, [place], by_ply=False, direction=DIRECTIONS[0])


def origin(model: OthelloModel, seed: int, command: str, python: str, layer_norm: str = LAYER_NORM) -> Origin:
    shape = model.shape
    return Origin(
        model.name, model.hash, shape.n_layers, shape.d_model, shape.n_heads, shape.d_mlp, layer_norm, seed,
        {"python": platform.python_version()} | {p: version(p) for p in PACKAGES}, command, python,
    )  # fmt: skip


def differs(total: Estimate) -> bool:
    """Whether two runs differ for sure, so that shares of their difference mean something."""
    return bool(total.mean) and (total.low is None or total.high is None or not total.low <= 0 <= total.high)


def subspace_record(patch: SubspacePatch, with_shares: bool) -> SubspaceRecord:
    shares = patch.shares() if with_shares else {}
    found = {}
    for name, summary in patch.summaries.items():
        by_direction = estimates(summary, *shares.get(name, [None] * len(patch.directions)))
        found[name] = dict(zip(patch.directions, by_direction, strict=True))
    readers = tuple(ReaderRecord(r.name, r.rank, r.null_share, r.null_share_random, r.gain) for r in patch.readers)
    space = patch.subspace
    return SubspaceRecord(space.name, space.point, len(space.basis), len(patch.draws), found, readers)


def estimates(summary: Summary, *shares: float | None) -> list[Estimate]:
    """A summary of any shape, flat, each with its share."""
    columns = [getattr(summary, name).flatten().tolist() for name in ("mean", "low", "high", "p", "p_family")]
    return [
        Estimate(mean, finite(low), finite(high), finite(share), p, p_family)
        for mean, low, high, p, p_family, share in zip(*columns, shares, strict=True)
    ]


def finite(value: float | None) -> float | None:
    """The value, or None where it is no number."""
    return None if value is None or not math.isfinite(value) else float(value)


def _effect(row, place, with_share: bool) -> EffectRow:
    node = isinstance(place, Node)
    kind = place.kind if node else "set" if isinstance(place, str) else "subspace"
    return EffectRow(
        row.place, kind, place.layer if node else None, row.ply, row.direction, row.mean, finite(row.low),
        finite(row.high), finite(row.share) if with_share else None, row.p, row.p_family,
    )  # fmt: skip


def is_stream(row: EffectRow) -> bool:
    """Whether what was patched is the stream itself, everything before it at once, and no part that writes to it."""
    return row.kind in (*STREAM, "embed")


def denoising(direction: str) -> bool:
    return direction == DIRECTIONS[0]
