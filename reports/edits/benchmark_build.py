"""The whole edit benchmark in one call: cases, tuning, every method, roll-outs, saliency maps, and the record of it.

plan = Plan(cases=200, tune=50)
measured = measure(open_model().editor, plan)
print(measured.benchmark.table())
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from circuits.board_readers import BoardReader
from circuits.editing import benchmark as edit_benchmark
from circuits.editing import cases as edit_cases
from circuits.editing import tuning as edit_tuning
from circuits.editing.board_edits import EditCases, join
from circuits.editing.interventions import METHODS, Editor, Method
from circuits.editing.results import SCALES, Benchmark
from circuits.editing.rollout import MOVES
from circuits.editing.saliency import SaliencyScore, saliency, score_maps
from circuits.editing.tuning import Tuning
from circuits.errors import InputError
from circuits.games import MIDDLE_BAND, generate
from circuits.training.lessons import HELD_OUT_SEED
from reports.edits.benchmark_records import BenchmarkRecord, benchmark_record
from reports.edits.records import LAYER_NORM
from reports.edits.settings import plain_name
from reports.patching.records import origin

#: seeds of cases lie below this
SEEDS = 1 << 25
#: by how much the seeds of tuning cases, of those of two squares, and of saliency positions differ
TUNING_SEED, TWO_SEED, SALIENCY_SEED = 1 << 26, 1 << 27, 1 << 23
#: legal moves of a position, at most, nearly always
MOST_CHANGED = 20
#: the released code of Nanda et al. 2023: the L5 probe's class vector added to the middle of every layer from L2 on
RELEASED = "released recipe"
#: settings measured beside the tuned methods, at most; see `variants`
VARIANTS = 4


@dataclass(frozen=True)
class Plan:
    """What is measured; see ``othello-circuits edit-benchmark --help``.

    Attributes:
        cases: natural, and as many unnatural; 0 for none. tune: natural tuning cases, and as many unnatural.
        least_changed: how many moves at least an edit of a case makes legal or illegal.
        files: of cases, a set each.
        methods: which of `METHODS`.
        rollouts: cases of each set that are rolled out; two_squares: cases with two squares edited.
        saliency: positions of saliency maps; seed: of everything.

    Raises:
        InputError: a number that is too small, an unknown method or one given twice, nothing to measure on.
    """

    cases: int = 1000
    tune: int = 100
    least_changed: int = 1
    files: tuple[str, ...] = ()
    methods: tuple[str, ...] = METHODS
    rollouts: int = 300
    two_squares: int = 200
    saliency: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("cases", 0), ("tune", 1), ("least_changed", 0), ("rollouts", 0), ("two_squares", 0)):
            if getattr(self, name) < least:
                raise InputError(f"--{name.replace('_', '-')} {getattr(self, name)}: give {least} at least")
        if self.least_changed > MOST_CHANGED:
            raise InputError(
                f"--least-changed {self.least_changed}: give {MOST_CHANGED} at most, about as many legal moves as a "
                "position has"
            )
        if self.saliency < 0 or self.saliency == 1:
            raise InputError(f"--saliency {self.saliency}: give 2 positions at least, or 0 for none")
        if not 0 <= self.seed < SEEDS:
            raise InputError(f"--seed {self.seed}: cases have seeds 0..{SEEDS - 1}")
        if not self.methods:
            raise InputError(f"--methods is empty: name some of {', '.join(METHODS)}")
        object.__setattr__(self, "methods", tuple(plain_name(name) for name in self.methods))
        for name in self.methods:
            if name not in METHODS:
                raise InputError(f"--methods: {name!r} is no method of an edit: {', '.join(METHODS)}")
            if self.methods.count(name) > 1:
                raise InputError(f"--methods: {name!r} is given twice")
        if not (self.cases or self.two_squares or self.files):
            raise InputError("no cases: give --cases, --two-squares or --file")

    def read_files(self) -> dict[str, EditCases]:
        """The sets of cases of the files, by name."""
        files: dict[str, EditCases] = {}
        for path in self.files:
            name = Path(path).stem
            while name in (*files, "natural", "unnatural", "two squares"):
                name += " (file)"
            files[name] = edit_cases.load(path)
        return files

    def sets(self, files: dict[str, EditCases] | None = None) -> dict[str, EditCases]:
        """The sets of cases by name; files first (or as read), which are soon refused."""
        files = self.read_files() if files is None else files
        found: dict[str, EditCases] = {}
        if self.cases:
            found["natural"] = edit_cases.natural(self.cases, self.seed, least_changed=self.least_changed)
            found["unnatural"] = edit_cases.unnatural(self.cases, self.seed, least_changed=self.least_changed)
        if self.two_squares:
            found["two squares"] = edit_cases.natural(
                self.two_squares, self.seed + TWO_SEED, squares=2, least_changed=self.least_changed
            )
        return found | files

    def runs(self, n_layers: int, files: dict[str, EditCases]) -> str:
        """How much there is to do, roughly, in a line: every pass is of one case and one setting."""
        m, n = len(self.methods), n_layers
        tuning = m * (6 * n + len(edit_tuning.FRACTIONS) * len(edit_tuning.spans(n))) * 2 * self.tune
        sizes = [self.cases] * 2 + [self.two_squares] + [len(cases) for cases in files.values()]
        measuring = (2 * (m + VARIANTS) + n * (m + len(SCALES))) * sum(sizes)
        rolled = sum(3 * MOVES * min(self.rollouts, size) for size in sizes)
        return (
            f"roughly {_about(tuning)} passes of tuning, {_about(measuring)} of measuring and {_about(rolled)} of "
            f"roll-outs, over {sum(sizes):,} cases; {self.saliency:,} positions of saliency maps"
        )

    def tuning_cases(self) -> EditCases:
        """Cases of other games, half natural and half not."""
        seed = self.seed + TUNING_SEED
        return join([make(self.tune, seed, least_changed=1) for make in (edit_cases.natural, edit_cases.unnatural)])


def _about(n: int) -> str:
    """Two digits of a large number: "25,000"."""
    digits = max(0, len(str(n)) - 2)
    return f"{round(n, -digits):,}"


@dataclass(frozen=True, eq=False)
class Measured:
    """What `measure` gives: the benchmark, what tuning tried and on what, the cases, the saliency maps' score.

    ``rollouts``: cases of a set that were rolled out, at most.
    """

    benchmark: Benchmark
    tuning: Tuning
    tuning_source: str
    sets: dict[str, EditCases]
    saliency: SaliencyScore | None
    saliency_method: Method
    rollouts: int = 0


def measure(
    editor: Editor, plan: Plan, sets: dict[str, EditCases] | None = None, *, progress: bool = False
) -> Measured:
    """Tune every method and measure it on the sets of cases (those of the plan).

    Raises:
        InputError: as `Plan.sets`, `edit_tuning.tune` and `edit_benchmark.run`.
    """
    sets = plan.sets() if sets is None else sets
    stage(progress, "making tuning cases")
    tuning_cases = plan.tuning_cases()
    tuning = edit_tuning.tune(editor, tuning_cases, plan.methods, progress="tuning" if progress else None)
    stage(progress, "measuring, then playing roll-outs")
    found = edit_benchmark.run(
        editor, sets, tuning, extra=variants(editor, tuning.winner), rollouts=plan.rollouts,
        seed=plan.seed, progress="measuring" if progress else None,
    )  # fmt: skip
    best = next(m for m in (tuning.best(name) for name in tuning.tried) if str(m) == found.winner)
    stage(progress and bool(plan.saliency), "saliency maps")
    score = _saliency(editor, best, plan) if plan.saliency else None
    return Measured(found, tuning, tuning_cases.source, sets, score, best, plan.rollouts)


def stage(progress: bool, what: str) -> None:
    """Say on stderr, where it is a terminal, what comes next."""
    if progress and sys.stderr.isatty():
        print(f"{what} …", file=sys.stderr, flush=True)


def variants(editor: Editor, winner: Method) -> list[tuple[str, Method]]:
    """What is measured beside the tuned methods: the released recipe, and other ways of making the winner's edit."""
    found = []
    n = editor.model.shape.n_layers
    if n > 5 and isinstance(editor.readers.get("blocks.5.hook_resid_post"), BoardReader):
        found.append((RELEASED, Method("target vector", 2.3, tuple(range(2, n)), point="mid", reader=5)))
    found.append((f"{winner.name}, all plies", replace(winner, plies="all")))
    if winner.name in ("negate", "absolute", "class mean"):
        found += [(f"{winner.name}, {solve}", replace(winner, solve=solve)) for solve in ("in turn", "hold others")]
    return found


def record(
    measured: Measured, editor: Editor, probe_source: str, command: str, python: str, seed: int
) -> BenchmarkRecord:
    """What the page is made of."""
    m = measured
    return benchmark_record(
        m.benchmark, m.tuning, m.tuning_source, m.saliency, str(m.saliency_method), m.rollouts, probe_source,
        origin(editor.model, seed, command, python, LAYER_NORM),
    )  # fmt: skip


def _saliency(editor: Editor, method: Method, plan: Plan) -> SaliencyScore:
    """Maps of every legal move at one position of each of some random games, in the middle band."""
    games = generate(plan.saliency, HELD_OUT_SEED + SALIENCY_SEED + plan.seed % SALIENCY_SEED)
    boards = games.boards()
    random = torch.rand(len(games), generator=torch.Generator().manual_seed(plan.seed))
    ply = MIDDLE_BAND.start + (random * (MIDDLE_BAND.stop - MIDDLE_BAND.start)).long()
    valid = boards.valid[torch.arange(len(games)), ply]
    maps, control = (
        saliency(editor, games.tokens[valid], ply[valid], method, control=control, seed=plan.seed)
        for control in (False, True)
    )
    return score_maps(maps, control)


def text(m: Measured) -> str:
    """For a terminal: the benchmark's table, and the score of the saliency maps."""
    lines = [m.benchmark.table()]
    if m.saliency:
        s = m.saliency
        precision, recall, f1, average = s.control
        lines += [
            f"saliency maps, {s.maps} legal moves at {s.positions} held-out positions ({m.saliency_method}): precision "
            f"{_ratio(s.precision)}, recall {_ratio(s.recall)}, F1 {s.f1:.2f}, average precision "
            f"{s.average_precision:.2f}",
            f"  random directions: precision {precision:.2f}, recall {recall:.2f}, F1 {f1:.2f}, average precision "
            f"{average:.2f}; {100 * s.base_rate:.1f} % of discs are decisive; {100 * s.lines_precision:.0f} % of "
            "squares found lie on a line of the move",
        ]
    return "\n".join(lines)


def _ratio(r) -> str:
    return f"{r.value:.2f} [{r.low:.2f}, {r.high:.2f}]"


def files_of(sets: dict[str, EditCases]) -> Sequence[tuple[str, EditCases]]:
    """File names of the sets: letters, digits and dashes."""
    clean = lambda name: "".join(c if c.isalnum() else "-" for c in name).strip("-")  # noqa: E731
    return [(f"cases-{clean(name)}.json", cases) for name, cases in sets.items()]
