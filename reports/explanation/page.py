"""The page of a move explained: the board inside the model, what adds up to the move's logit, what is lost without it.

    from reports import open_model
    m = open_model()
    m.explain("D2 C2 E5 E2 E1 F4 B1 B2")            # the model's likeliest move, drawn in the cell
    m.explain("D2 C2 E5 E2 E1 F4 B1 B2", "G4")

Drawn from the record alone, as one offline file without scripts.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from circuits.notation import Notation
from reports.explanation.build import check, explanation_record, has_rules, python_line, reference_games
from reports.explanation.records import ExplanationRecord
from reports.explanation.view import context
from reports.explanation.words import headline
from reports.neuron import environment
from reports.shown import Saved


@dataclass(frozen=True)
class ExplanationReport(Saved):
    """A record of a move explained with its page: shows itself in Jupyter, saves itself as one file."""

    record: ExplanationRecord

    @property
    def headline(self) -> str:
        return headline(self.record.explanation)

    @cached_property
    def html(self) -> str:
        return environment().get_template("explain.html").render(**context(self.record))

    @property
    def title(self) -> str:
        return self.headline

    def __repr__(self) -> str:
        return self.headline


def explanation_report(
    bench: Any, transcript: str, move: str | None = None, *, notation: Notation = "ours", seed: int | None = None
) -> ExplanationReport:
    """Explain a move with an open model (`reports.workbench.Workbench`).

    Means are taken over `reference_games` of the bench's. ``seed``, of the drawn sets, is the bench's by default.

    Raises:
        InputError: as `explanation_record`.
    """
    check(transcript, move, notation)  # before anything is computed
    rules = bench.rules if has_rules(bench.model.hash, bench.cache) else None
    record = explanation_record(
        bench.model,
        bench.probes,
        transcript,
        move,
        games=reference_games(bench.games),
        rules=rules,
        notation=notation,
        seed=bench.seed if seed is None else seed,
        python=python_line(transcript, move, notation, bench.arguments),
    )
    return ExplanationReport(record)
