"""What the edit benchmark gives: rows of scores with intervals, roll-outs, layers; the whole as a table or JSON."""

from dataclasses import asdict, dataclass, field

from circuits.editing.interventions import Method
from circuits.editing.rollout import MOVES
from circuits.editing.scores import NAMES
from circuits.errors import InputError

#: cases by how many moves the edit makes legal or illegal; the last bin is open
BINS = (0, 1, 2, 3, 4)
#: the seed study's scales, at every layer
SCALES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
NO_EDIT, PERFECT = "no edit", "perfect player"


@dataclass(frozen=True)
class Interval:
    """A mean with the ends of its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Row:
    """One way of playing, on one set of cases.

    Attributes:
        cases: name of the set; name: of the method, `NO_EDIT` or `PERFECT`; setting: of the method, in words.
        control: random directions in place of the method's.
        scores: by name of `edit_scores.NAMES`.
        by_changed: mean error by `BINS`, None where a bin has no case.
        share: norm of the largest change, as a share of the stream's; 0 for no edit.
    """

    cases: str
    name: str
    setting: str
    control: bool
    scores: dict[str, Interval]
    by_changed: tuple[float | None, ...]
    share: float


@dataclass(frozen=True)
class RolloutRow:
    """Roll-outs of one set: share still legal after each move, and mean legal moves made of `MOVES`."""

    cases: str
    name: str
    survived: tuple[float, ...]
    made: Interval


@dataclass(frozen=True)
class CaseSet:
    """What a set of cases consists of."""

    name: str
    source: str
    cases: int
    dropped: dict[str, int]
    changed: tuple[int, ...]  # cases by `BINS`
    plies: tuple[int, int]
    actions: dict[str, int]  # "flip" -> cases


@dataclass(frozen=True)
class Benchmark:
    """Everything measured; see the module's docstring.

    Attributes:
        model_name, model_hash; sets; rows; rollouts.
        layers: method's name -> mean error at each single layer, at the strength that was best there in tuning.
        scales: the seed's sweep, mean error [layer, scale] of "negate" over all cases.
        winner: setting of the method of lowest mean error; runner_up; margin: runner-up's error less the winner's.
        tuning: in words; unit: the model's unit of strength.
        own_error: mean error of the model on the unedited boards against their own legal moves.
        to_the_same: total variation of the winner's edits to what is there already, its largest, and (``to_another``)
            that of its real edits.
        methods: the setting measured, by name.
    """

    model_name: str
    model_hash: str
    sets: tuple[CaseSet, ...]
    rows: tuple[Row, ...]
    rollouts: tuple[RolloutRow, ...]
    layers: dict[str, tuple[float, ...]]
    scales: tuple[tuple[float, ...], ...]
    winner: str
    runner_up: str
    margin: Interval | None
    tuning: str
    unit: float
    own_error: Interval
    to_the_same: Interval
    to_the_same_largest: float
    to_another: Interval
    methods: dict[str, Method] = field(default_factory=dict)
    about: dict = field(default_factory=dict)

    def row(self, cases: str, name: str, control: bool = False) -> Row:
        """One row.

        Raises:
            InputError: there is none.
        """
        for row in self.rows:
            if (row.cases, row.name, row.control) == (cases, name, control):
                return row
        raise InputError(f"the benchmark has no row {name!r} on {cases!r}" + (" in random directions" * control))

    def to_dict(self) -> dict:
        return asdict(self)

    @staticmethod
    def from_dict(data: dict) -> "Benchmark":
        """The inverse of `to_dict`, also of what has been through JSON.

        Raises:
            InputError: it is none of ours.
        """
        try:
            rows = tuple(
                Row(**row | {"scores": {n: Interval(**i) for n, i in row["scores"].items()},
                             "by_changed": tuple(row["by_changed"])})
                for row in data["rows"]
            )  # fmt: skip
            rollouts = tuple(
                RolloutRow(r["cases"], r["name"], tuple(r["survived"]), Interval(**r["made"])) for r in data["rollouts"]
            )
            sets = tuple(
                CaseSet(**s | {"changed": tuple(s["changed"]), "plies": tuple(s["plies"])}) for s in data["sets"]
            )
            single = {name: Interval(**data[name]) for name in ("own_error", "to_the_same", "to_another")}
            more = {
                "rows": rows,
                "rollouts": rollouts,
                "sets": sets,
                "layers": {name: tuple(values) for name, values in data["layers"].items()},
                "scales": tuple(tuple(row) for row in data["scales"]),
                "margin": data["margin"] and Interval(**data["margin"]),
                "methods": {name: Method(**m | {"layers": tuple(m["layers"])}) for name, m in data["methods"].items()},
            }
            return Benchmark(**data | single | more)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"this is no result of the edit benchmark ({error})") from None

    def table(self) -> str:
        """The rows as text: error with its interval, then the other means."""
        lines = []
        for set_ in self.sets:
            lines.append(f"{set_.name}: {set_.cases} cases ({set_.source})")
            head = ["error (95 %)", "random", "vs original", "F1", "KL", "newly legal", "newly illegal", "   setting"]
            lines.append(f"  {'':24s}" + "".join(f"{h:>{w}s}" for h, w in zip(head, _WIDTHS, strict=True)))
            for row in self.rows:
                if row.cases != set_.name or row.control:
                    continue
                own = row.name not in (NO_EDIT, PERFECT)
                s = row.scores
                random = f"{self.row(set_.name, row.name, True).scores['error'].mean:.2f}" if own else ""
                e = s["error"]
                cells = [f"{e.mean:.2f} [{e.low:.2f}, {e.high:.2f}]", random] + [f"{s[n].mean:.3f}" for n in NAMES[1:]]
                cells.append(f"   {row.setting}")
                lines.append(f"  {row.name:24s}" + "".join(f"{c:>{w}s}" for c, w in zip(cells, _WIDTHS, strict=True)))
        lines.append(f"the model's own error on the unedited boards: {self.own_error}")
        if self.margin:
            lines.append(f"lowest error: {self.winner}; next {self.runner_up}, worse by {self.margin}")
        lines.append(
            f"total variation of the winner's edits: {self.to_another}; of edits to what is there already "
            f"{self.to_the_same}, at most {self.to_the_same_largest:.2f}"
        )
        for r in self.rollouts:
            lines.append(
                f"roll-out, {r.cases}, {r.name}: {r.made.mean:.2f} legal moves of {MOVES}, "
                f"{100 * r.survived[-1]:.0f} % to the end"
            )
        return "\n".join(lines)


_WIDTHS = (20, 8, 13, 8, 8, 13, 15, 3)
