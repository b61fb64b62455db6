"""The edit benchmark as a record: what the page and benchmark.json are made of. Unknown interval ends are None."""

from dataclasses import dataclass
from typing import ClassVar

from circuits.editing.results import Benchmark, Interval, RolloutRow
from circuits.editing.saliency import SaliencyScore
from circuits.editing.tuning import Tuning
from circuits.serial import Record
from reports.patching.records import Origin, finite


@dataclass(frozen=True)
class Mean(Record):
    """A mean over cases with its 95 % bootstrap interval; no ends where there is one case."""

    mean: float
    low: float | None
    high: float | None

    @staticmethod
    def of(interval: Interval) -> "Mean":
        return Mean(interval.mean, finite(interval.low), finite(interval.high))


@dataclass(frozen=True)
class MethodRow(Record):
    """One way of playing on one set of cases; see `circuits.editing.results.Row`."""

    cases: str
    name: str
    setting: str
    control: bool
    scores: dict[str, Mean]
    by_changed: tuple[float | None, ...]
    share: float


@dataclass(frozen=True)
class SetRecord(Record):
    """A set of cases; see `circuits.editing.results.CaseSet`."""

    name: str
    source: str
    cases: int
    dropped: dict[str, int]
    changed: tuple[int, ...]
    first_ply: int
    last_ply: int
    actions: dict[str, int]


@dataclass(frozen=True)
class Survival(Record):
    """Share of roll-outs still legal after each move; ``last`` is the share after the last with its 95 % interval."""

    cases: str
    name: str
    n: int  # one a case
    survived: tuple[float, ...]
    last: Mean
    made: Mean


@dataclass(frozen=True)
class SaliencyFigures(Record):
    """Saliency maps against the rules' decisive squares; see `circuits.editing.saliency.SaliencyScore`."""

    setting: str
    positions: int
    maps: int
    threshold: float
    precision: Mean
    recall: Mean
    f1: float
    average_precision: float
    base_rate: float
    lines_precision: float
    control_precision: float
    control_recall: float
    control_f1: float
    control_average_precision: float


@dataclass(frozen=True)
class TunedRow(Record):
    """What tuning chose for a method, and its scores on the tuning cases."""

    name: str
    setting: str
    tried: int
    error: float
    kl: float


@dataclass(frozen=True)
class BenchmarkRecord(Record):
    """Everything that the page of the benchmark shows."""

    VERSION: ClassVar[int] = 2

    version: int
    sets: tuple[SetRecord, ...]
    rows: tuple[MethodRow, ...]
    rollouts: tuple[Survival, ...]
    layers: dict[str, tuple[float, ...]]
    scales: tuple[tuple[float, ...], ...]  # [layer][scale]
    scale_values: tuple[float, ...]
    bins: tuple[int, ...]
    winner: str
    winner_name: str
    runner_up: str
    margin: Mean | None
    tuned: tuple[TunedRow, ...]
    tuning_cases: int
    tuning_source: str
    tuning_unedited: float
    unit: float
    own_error: Mean
    to_the_same: Mean  # total variation of the winner's edits to what is there already, and the largest
    to_the_same_largest: float
    to_another: Mean  # of its real edits
    saliency: SaliencyFigures | None
    probe_source: str
    origin: Origin

    def row(self, cases: str, name: str, control: bool = False) -> MethodRow:
        """One row; `StopIteration` where there is none."""
        return next(r for r in self.rows if (r.cases, r.name, r.control) == (cases, name, control))


def benchmark_record(
    b: Benchmark, tuning: Tuning, tuning_source: str, score: SaliencyScore | None, saliency_setting: str,
    rollouts: int, probe_source: str, origin: Origin,
) -> BenchmarkRecord:  # fmt: skip
    """The record of what was measured; ``rollouts``: cases of a set that were rolled out, at most."""
    from circuits.editing.results import BINS, SCALES

    sizes = {s.name: s.cases for s in b.sets}
    tuned = []
    for name, tried in tuning.tried.items():
        best = min(tried, key=lambda t: (t.error, t.kl))
        tuned.append(TunedRow(name, str(best.method), len(tried), best.error, best.kl))
    return BenchmarkRecord(
        version=BenchmarkRecord.VERSION,
        sets=tuple(
            SetRecord(s.name, s.source, s.cases, s.dropped, s.changed, s.plies[0], s.plies[1], s.actions)
            for s in b.sets
        ),
        rows=tuple(
            MethodRow(
                r.cases, r.name, r.setting, r.control, {name: Mean.of(i) for name, i in r.scores.items()}, r.by_changed,
                r.share,
            )
            for r in b.rows
        ),
        rollouts=tuple(_survival(r, min(rollouts, sizes[r.cases])) for r in b.rollouts),
        layers=b.layers,
        scales=b.scales,
        scale_values=SCALES,
        bins=BINS,
        winner=b.winner,
        winner_name=next((t.name for t in tuned if t.setting == b.winner), tuned[0].name),
        runner_up=b.runner_up,
        margin=Mean.of(b.margin) if b.margin else None,
        tuned=tuple(tuned),
        tuning_cases=tuning.cases,
        tuning_source=tuning_source,
        tuning_unedited=tuning.unedited,
        unit=b.unit,
        own_error=Mean.of(b.own_error),
        to_the_same=Mean.of(b.to_the_same),
        to_the_same_largest=b.to_the_same_largest,
        to_another=Mean.of(b.to_another),
        saliency=_saliency(score, saliency_setting) if score else None,
        probe_source=probe_source,
        origin=origin,
    )  # fmt: skip


def _survival(r: RolloutRow, n: int) -> Survival:
    return Survival(r.cases, r.name, n, r.survived, share_of(r.survived[-1], n), Mean.of(r.made))


def share_of(share: float, n: int) -> Mean:
    """A share of ``n`` with its 95 % interval by Wilson's score (which stays within 0..1 where all or none are in)."""
    z = 1.96
    centre, spread = share + z * z / (2 * n), z * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    low, high = ((centre + side * spread) / (1 + z * z / n) for side in (-1, 1))
    return Mean(share, min(share, max(0.0, low)), max(share, min(1.0, high)))


def _saliency(s: SaliencyScore, setting: str) -> SaliencyFigures:
    precision, recall = (
        Mean(float(r.value), finite(float(r.low)), finite(float(r.high))) for r in (s.precision, s.recall)
    )
    return SaliencyFigures(
        setting, s.positions, s.maps, s.threshold, precision, recall, s.f1, s.average_precision, s.base_rate,
        s.lines_precision, *s.control,
    )  # fmt: skip
