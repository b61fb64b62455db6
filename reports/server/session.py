"""An open model that is asked about one position after another: what ``explain`` and ``serve`` share.

    from reports import open_model
    from reports.server.session import Session
    s = Session.of(open_model())
    s.without("D2 C2 E5 E2 E1 F4 B1 B2", "L5N404 L2H5")

Means by ply over the reference games take most of the time of an answer; they, positions that were run and answers are
kept, the latest of them. Threads may ask at once: explanations are made one after another, and so is all else, so that
a click need not wait for an explanation under way.
"""

import shlex
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from threading import RLock
from typing import Any, TypeVar

from circuits.explanation.means import Means, means
from circuits.explanation.run import Run, run_position
from circuits.explanation.without import Without, named_units, without_units
from circuits.games import Games
from circuits.induction.table import RuleTable
from circuits.notation import Notation
from circuits.othello_model import OthelloModel
from circuits.plain import PlainModel, of
from probes.sets import ProbeSet
from reports.explanation.build import check, explanation_record, has_rules, python_line, reference_games
from reports.explanation.records import ExplanationRecord
from reports.explanation.words import headline, verdict

#: kept: means of so many plies, positions that were run, explanations, sets of units
PLIES, RUNS, EXPLANATIONS, SETS = 60, 16, 64, 64

Answer = TypeVar("Answer")


@dataclass(eq=False)
class Session:
    """A model with what its answers are made of.

    Attributes:
        games: the reference, those that means are taken over.
        rules: the model's table of rules, or None.
        seed: of the drawn sets.
        options, arguments: what reopens it on the command line and in Python, for the provenance.
    """

    model: OthelloModel
    probes: ProbeSet
    games: Games
    rules: RuleTable | None = None
    seed: int = 0
    options: str = ""
    arguments: str = ""
    _locks: tuple[Any, Any] = field(default_factory=lambda: (RLock(), RLock()), repr=False)
    _kept: dict[str, dict[Hashable, Any]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.probes.check(self.model)

    @staticmethod
    def of(bench: Any) -> "Session":
        """A session on an open workbench (`reports.workbench.Workbench`)."""
        rules = bench.rules if has_rules(bench.model.hash, bench.cache) else None
        return Session(
            bench.model, bench.probes, reference_games(bench.games), rules, bench.seed, bench.options, bench.arguments
        )

    @cached_property
    def plain(self) -> PlainModel:
        return of(self.model)

    @cached_property
    def readers(self) -> dict[str, Any]:
        """The board probes by point, in the order of the stream."""
        return self.probes.board_readers(self.model.device)

    def checked(self, transcript: str, move: str | None = None, notation: Notation = "ours") -> tuple[Any, int | None]:
        """The tokens [ply] of a transcript and the move's square, as `reports.explanation.build.check`."""
        return self._once("checked", (transcript, move, notation), SETS, lambda: check(transcript, move, notation))

    def explanation(
        self, transcript: str, move: str | None = None, notation: Notation = "ours", command: str | None = None
    ) -> ExplanationRecord:
        """A move explained; the model's likeliest by default.

        Args:
            command: what the provenance gives as the command; by default the one that gives this record.

        Raises:
            InputError: as `reports.explanation.build.explanation_record`.
        """
        self.checked(transcript, move, notation)
        if command is None:
            command = f"othello-circuits explain {shlex.quote(transcript)}"
            command += f" --move {shlex.quote(move)}" if move is not None else ""
            command += f" --notation {notation}" if notation != "ours" else ""
            command += self.options

        def make() -> ExplanationRecord:
            return explanation_record(
                self.model, self.probes, transcript, move, games=self.games, rules=self.rules, notation=notation,
                seed=self.seed, command=command, python=python_line(transcript, move, notation, self.arguments),
                known=self.means,
            )  # fmt: skip

        return self._once("explanations", (transcript, move, notation, command), EXPLANATIONS, make)

    def explained(self, transcript: str, move: str | None = None) -> ExplanationRecord | None:
        """The same if it is kept, without computing it."""
        kept = self._kept.get("explanations", {})
        return next((x for key, x in list(kept.items()) if key[:3] == (transcript, move, "ours")), None)

    def without(self, transcript: str, units: Any = "", notation: Notation = "ours") -> Without:
        """The end of a transcript with some units at their means; none: as it is.

        Args:
            units: a text such as "L5N404 L2H5", or names.

        Raises:
            InputError: as `reports.explanation.build.check` and `circuits.explanation.without.without`.
        """
        tokens, _ = self.checked(transcript, None, notation)
        chosen = named_units(self.model, units)

        def run() -> Run:
            return run_position(self.plain, tokens, self.readers, self.games, self.means)

        key = tuple(tokens.tolist())
        return self._once(
            "sets", (key, chosen), SETS,
            lambda: without_units(self._once("runs", key, RUNS, run), chosen, self.games, seed=self.seed),
        )  # fmt: skip

    def means(self, ply: int) -> Means:
        """The means at a ply, taken now if they are not kept.

        Raises:
            InputError: no reference game reaches it.
        """
        return self._once("means", ply, PLIES, lambda: means(self.plain, self.games, ply, self.readers))

    def _once(self, kind: str, key: Hashable, size: int, make: Callable[[], Answer]) -> Answer:
        """What is kept under a key, or made now; of each kind only the latest are kept."""
        with self._locks[kind == "explanations"]:
            kept = self._kept.setdefault(kind, {})
            found = kept.pop(key) if key in kept else make()
            kept[key] = found  # the latest comes last
            while len(kept) > size:
                del kept[next(iter(kept))]
            return found


def result(record: ExplanationRecord, without: Without | None = None) -> dict[str, Any]:
    """What ``explain --json`` prints, a page's path apart."""
    e = record.explanation
    found = {"headline": headline(e), "verdict": verdict(e), **record.to_dict()}
    return found if without is None else {**found, "without": without.to_dict()}
