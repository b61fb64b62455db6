"""The trial on planted truth (`circuits.trial.records`), reduced to what a page shows: rates and counts."""

from collections import Counter
from dataclasses import dataclass

from circuits.serial import Record
from circuits.trial import records as t
from circuits.trial.records import SMALL, Blank, Rate, Trial


@dataclass(frozen=True)
class Asked(Record):
    """A share that the tool is judged by, and what it should be at the least, or at the most; met: None if untried."""

    what: str
    rate: Rate
    asked: float
    at_least: bool
    met: bool | None


@dataclass(frozen=True)
class Cell(Record):
    """Rules planted at one noise (in effects) and dose (effect in sds of the host; None without one), by outcome.

    ``recovered``: found, or with what its host does by itself; ``seen``: or listed with the rule found, as one that the
    games do not tell apart or prefer.
    """

    noise: float
    dose: float | None
    recovered: Rate
    seen: Rate
    silent: Rate
    outcomes: dict[str, int]


@dataclass(frozen=True)
class Family(Record):
    """Rules of one family without a host, at noise up to `SMALL`."""

    name: str
    recovered: Rate
    seen: Rate
    silent: Rate


@dataclass(frozen=True)
class Blanks(Record):
    """Neurons without a rule: those that come out explained, explained or partly, clock; the most a rule explains.

    ``by_ply``: called, by a rule that explains hardly more than the ply does.
    """

    kind: str
    explained: Rate
    called: Rate
    clock: Rate
    by_ply: int
    worst: float


@dataclass(frozen=True)
class Grades(Record):
    """Claims of one kind on planted neurons, by the grade of their verdict."""

    kind: str
    n: int
    grades: dict[str, int]


@dataclass(frozen=True)
class TrialSummary(Record):
    """What the page says of the trial; ``alone``: without a host, at noise up to `SMALL`."""

    model: str
    model_hash: str
    games: int
    held_out_positions: int
    seeds: tuple[int, ...]
    planted: int
    alone: Cell
    cells: tuple[Cell, ...]
    families: tuple[Family, ...]
    noise: tuple[Blanks, ...]
    clocks: tuple[Blanks, ...]
    dealt: Blanks
    real: Blanks
    asked: tuple[Asked, ...]
    graded: tuple[Grades, ...]


def summary(trial: Trial) -> TrialSummary:
    """The rates of a trial."""
    cells = [
        cell(trial, noise, dose, (noise,), (dose,))
        for dose in trial.doses
        for noise in trial.noises
        if trial.of(noises=(noise,), doses=(dose,)).n
    ]
    low = tuple(noise for noise in trial.noises if noise <= SMALL)
    families = [
        Family(name, *(trial.of(*which, family=name, noises=low, doses=(None,)) for which in SHARES))
        for name in trial.families
    ]
    asked = tuple(Asked(h.what, h.rate, h.asked, h.at_least, h.met) for h in trial.headlines)
    kinds = dict.fromkeys(g.kind for g in trial.graded)
    graded = [
        Grades(
            kind, sum(g.kind == kind for g in trial.graded), Counter(g.grade for g in trial.graded if g.kind == kind)
        )
        for kind in kinds
    ]
    return TrialSummary(
        trial.model, trial.model_hash, trial.games, trial.held_out_positions, trial.seeds, len(trial.planted),
        cell(trial, SMALL, None, low, (None,)), tuple(cells), tuple(families), tuple(map(blanks, trial.noise)),
        tuple(map(blanks, trial.clocks)), blanks(trial.dealt), blanks(trial.real), asked, tuple(graded),
    )  # fmt: skip


SHARES = (t.FOUND, t.SEEN, (t.SILENT,))


def cell(
    trial: Trial, noise: float, dose: float | None, noises: tuple[float, ...], doses: tuple[float | None, ...]
) -> Cell:
    """The rates of some noises and doses, under one of each."""
    counted = {name: trial.of(name, noises=noises, doses=doses).k for name in t.OUTCOMES}
    return Cell(noise, dose, *(trial.of(*which, noises=noises, doses=doses) for which in SHARES), counted)


def blanks(b: Blank) -> Blanks:
    return Blanks(b.kind, b.share("explained"), b.share(*t.CALLED), b.share("clock"), b.by_ply, b.worst)
